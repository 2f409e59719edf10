package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
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
	var file, format, level string
	cmd := &cobra.Command{
		Use:     "run -c FILE",
		Short:   "Join the segments that a configuration names",
		Long:    runHelp,
		Example: runExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := load(file)
			if err != nil {
				return err
			}
			log, err := newLog(cmd.ErrOrStderr(), cmp.Or(format, f.Node.LogFormat), cmp.Or(level, f.Node.LogLevel))
			if err != nil {
				return exit{exitUsage, err}
			}
			for _, w := range f.Warnings {
				log.Warn(w.String())
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			defer stop()
			context.AfterFunc(ctx, stop) // the second signal finds nobody who waits for it
			return daemon.Run(ctx, f, log)
		},
	}
	fileFlag(cmd, &file, "the configuration, a TOML `FILE`")
	cmd.Flags().StringVar(&format, "log-format", "", "`FORMAT` of the log: text or json (default: as the configuration says, else text)")
	cmd.Flags().StringVar(&level, "log-level", "", "least `LEVEL` that is logged: debug, info, warn or error (default: as the configuration says, else info)")
	return cmd
}

// newLog returns a log of this format from this level on.
func newLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level: %q, want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format: %q, want text or json", format)
}
