package main

import (
	"context"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/daemon"
)

const runHelp = `Run opens what the file names and keeps it open, in the foreground: Linux
bridges, made if they are missing; a TAP for each session; and the tunnels, which
wait for addresses, routes and names that are not there yet.

SIGTERM, SIGINT or SIGHUP ends it: what it made is removed, what it found is left
as it was. A second one ends it at once. After a kill -9 just start it again.

It tells systemd when it is ready (Type=notify), how many tunnels are up, and, if
asked (WatchdogSec), that it is alive. It needs CAP_NET_ADMIN; encap "ip" needs
CAP_NET_RAW too. The log goes to standard error.`

const runExample = `  spanwire run -c /etc/spanwire/lyon.toml
  spanwire run -c /etc/spanwire/lyon.toml --log-format json --log-level debug`

func runCommand() *cobra.Command {
	var file, format string
	var level slog.Level
	cmd := &cobra.Command{
		Use:     "run -c FILE",
		Short:   "Join the segments that a configuration names",
		Long:    runHelp,
		Example: runExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options := slog.HandlerOptions{Level: level}
			var handler slog.Handler
			switch format {
			case "text":
				handler = slog.NewTextHandler(cmd.ErrOrStderr(), &options)
			case "json":
				handler = slog.NewJSONHandler(cmd.ErrOrStderr(), &options)
			default:
				return exit{exitUsage, fmt.Errorf("--log-format: %q, want text or json", format)}
			}
			f, err := load(file)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			defer stop()
			context.AfterFunc(ctx, stop) // the second signal finds nobody who waits for it
			return daemon.Run(ctx, f, slog.New(handler))
		},
	}
	fileFlag(cmd, &file, "the configuration, a TOML `FILE`")
	cmd.Flags().StringVar(&format, "log-format", "text", "`FORMAT` of the log: text or json")
	cmd.Flags().TextVar(&level, "log-level", slog.LevelInfo, "least `LEVEL` that is logged: debug, info, warn or error")
	return cmd
}
