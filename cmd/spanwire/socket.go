package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/api"
)

// socketDir is where daemons have their control sockets unless told otherwise.
const socketDir = "/run/spanwire"

// A target is the daemon that a command is for.
type target struct {
	file, socket string
}

// flags gives a command the flags that name a daemon.
func (t *target) flags(cmd *cobra.Command) {
	fileFlag(cmd, &t.file, "ask the daemon of this configuration, a TOML `FILE`")
	cmd.Flags().StringVar(&t.socket, "control", "", "ask the daemon at this control `SOCKET`")
	cmd.MarkFlagFilename("control", "sock")
}

// dial returns a client of the daemon.
func (t *target) dial() (*api.Client, error) {
	switch {
	case t.file != "" && t.socket != "":
		return nil, exit{exitUsage, errors.New("--control and -c, want one of them")}
	case t.file != "":
		f, err := load(t.file)
		if err != nil {
			return nil, err
		}
		return api.Dial(f.Node.Control), nil
	case t.socket != "":
		return api.Dial(t.socket), nil
	}
	socket, err := onlySocket(socketDir)
	if err != nil {
		return nil, err
	}
	return api.Dial(socket), nil
}

// unanswered gives an error of a client its exit code.
func unanswered(err error) error {
	if errors.Is(err, api.ErrNoDaemon) {
		return exit{exitNoDaemon, err}
	}
	return err
}

// onlySocket returns the control socket in dir, if there is one alone.
func onlySocket(dir string) (string, error) {
	sockets, err := filepath.Glob(filepath.Join(dir, "*.sock"))
	switch {
	case err != nil:
		return "", err
	case len(sockets) == 0:
		return "", exit{exitNoDaemon, fmt.Errorf("no control socket in %s: no daemon runs, or say --control SOCKET or -c FILE", dir)}
	case len(sockets) > 1:
		return "", exit{exitUsage, fmt.Errorf("%d control sockets, say --control with one of %s", len(sockets), strings.Join(sockets, ", "))}
	}
	return sockets[0], nil
}
