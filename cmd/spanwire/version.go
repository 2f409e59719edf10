package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/daemon"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Version prints the version of this program, the revision that it was built from,\nand the Go that built it.",
		Example: "  spanwire version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			revision, modified := "unknown", ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					switch {
					case s.Key == "vcs.revision":
						revision = s.Value
					case s.Key == "vcs.modified" && s.Value == "true":
						modified = " (modified)"
					}
				}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "spanwire %s\nrevision %s%s\n%s %s/%s\n",
				daemon.Version(), revision, modified, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
