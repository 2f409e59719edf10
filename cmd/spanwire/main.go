// Command spanwire joins Ethernet segments by L2TPv3 pseudowires, RFC 3931, and lets users
// dial in by PPP over L2TPv2, RFC 2661.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/demo"
	"spanwire/config"
)

// The exit codes.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2 // the configuration or the command line is wrong
	exitNoDaemon = 3
)

const rootHelp = `Spanwire makes two Ethernet segments one, over UDP or IP protocol 115, by
L2TPv3 (RFC 3931). By L2TPv2 (RFC 2661) it lets users of PPP in, or dials in itself. It
takes one TOML file on each side.

Exit codes:
  0  all is well
  1  something went wrong while it ran
  2  the configuration or the command line is wrong; nothing was touched
  3  no daemon answers (status, stations, watch, up, down, roll, disconnect, reload)`

const rootExample = `  spanwire cookie                              # a pair of cookies, for static sessions
  spanwire check -c /etc/spanwire/lyon.toml    # say all that is wrong
  spanwire run -c /etc/spanwire/lyon.toml      # join the segments
  spanwire status                              # how things stand
  spanwire watch                               # what happens, as it does
  spanwire decode capture.pcap                 # the control messages of a capture, AVP by AVP`

func main() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) }

// Main runs the command that args name and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "spanwire",
		Short:         "Join Ethernet segments by L2TPv3 pseudowires",
		Long:          rootHelp,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	// What cobra refuses before a command starts is wrong on the command line.
	code := exitUsage
	root.PersistentPreRun = func(*cobra.Command, []string) { code = exitFailure }
	root.AddCommand(runCommand(), checkCommand(), statusCommand(), stationsCommand(), watchCommand(), reloadCommand(), decodeCommand(), cookieCommand(), versionCommand(), demo.Command())
	root.AddCommand(daemonCommands()...)
	if args == nil {
		args = []string{} // cobra takes nil for the process's own
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)

	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	var problems config.Errors
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Fprintln(stderr, p)
		}
		return exitUsage
	}
	fmt.Fprintf(stderr, "spanwire: %v\n", err)
	var with exit
	if errors.As(err, &with) {
		code = with.code
	}
	if code == exitUsage {
		fmt.Fprintf(stderr, "See: %s --help\n", cmd.CommandPath())
	}
	return code
}

// An exit is an error with the exit code that it asks for.
type exit struct {
	code int
	error
}

func (e exit) Unwrap() error { return e.error }

// fileFlag gives a command the flag -c.
func fileFlag(cmd *cobra.Command, file *string, usage string) {
	cmd.Flags().StringVarP(file, "config", "c", "", usage)
	cmd.MarkFlagFilename("config", "toml")
}

// load reads the file that -c names.
func load(file string) (*config.File, error) {
	if file == "" {
		return nil, exit{exitUsage, errors.New("no configuration named, want -c FILE")}
	}
	f, err := config.Load(file)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	return f, nil
}
