package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/api"
	"spanwire/pseudowire"
)

// socketDir is where daemons have their control sockets unless told otherwise.
const socketDir = "/run/spanwire"

const statusHelp = `Status asks a running daemon how things stand: by --control at its control socket,
by -c at the one that its configuration names; else at the one in ` + socketDir + `,
if there is one alone.

A tunnel is "up" when frames can be sent; a static one cannot know whether the
peer lives: HEARD says when the last frame came. COOKIES are octets, ours and the
peer's. Frames that were dropped are counted by reason; a hint says what looks
misconfigured. --json has all counters.`

const statusExample = `  spanwire status
  spanwire status -c /etc/spanwire/lyon.toml
  spanwire status --json | jq '.tunnels[].sessions[].counters'`

func statusCommand() *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status [--control SOCKET | -c FILE]",
		Short:   "Tell how a running daemon's tunnels and sessions stand",
		Long:    statusHelp,
		Example: statusExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			switch {
			case file != "" && socket != "":
				return exit{exitUsage, errors.New("--control and -c, want one of them")}
			case file != "":
				f, err := load(file)
				if err != nil {
					return err
				}
				socket = f.Node.Control
			case socket == "":
				if socket, err = onlySocket(socketDir); err != nil {
					return err
				}
			}
			status, err := api.Dial(socket).Status(cmd.Context())
			switch {
			case errors.Is(err, api.ErrNoDaemon):
				return exit{exitNoDaemon, err}
			case err != nil:
				return err
			case asJSON:
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(&status)
			}
			return show(cmd.OutOrStdout(), &status, time.Now())
		},
	}
	fileFlag(cmd, &file, "ask the daemon of this configuration, a TOML `FILE`")
	cmd.Flags().StringVar(&socket, "control", "", "ask the daemon at this control `SOCKET`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the daemon answers, in JSON")
	cmd.MarkFlagFilename("control", "sock")
	return cmd
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

// show prints a status for a person.
func show(w io.Writer, s *api.Status, now time.Time) error {
	node := s.Node.Hostname
	if s.Node.RouterID != "" {
		node += " (" + s.Node.RouterID + ")"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s: spanwire %s, pid %d, started %s ago\n", node, s.Node.Version, s.Node.PID, ago(now, s.Node.Started))

	row(table)
	row(table, "TUNNEL", "STATE", "SINCE", "ENCAP", "LOCAL", "PEER", "PATH MTU", "HEARD", "LAST ERROR")
	for _, t := range s.Tunnels {
		peer := t.Peer
		if t.PeerName != "" {
			peer = strings.TrimSpace(t.PeerName + " " + t.Peer)
		}
		row(table, t.Name, t.State, ago(now, t.Since), t.Encap, t.Local, peer, number(t.PathMTU), ago(now, t.LastReceived), t.LastError)
	}
	table.Flush()

	row(table)
	row(table, "SESSION", "ID", "PEER ID", "TAP", "BRIDGE", "MTU", "COOKIES", "SUBLAYER", "SEQUENCING",
		"FRAMES IN", "OCTETS IN", "FRAMES OUT", "OCTETS OUT")
	sessions := []api.Session{}
	for _, t := range s.Tunnels {
		sessions = append(sessions, t.Sessions...)
	}
	for _, p := range sessions {
		row(table, p.Name, p.SessionID, p.PeerSessionID, p.TAP, p.Bridge, number(p.MTU),
			fmt.Sprintf("%d/%d", p.ReceiveCookieOctets, p.SendCookieOctets), p.Sublayer, p.Sequencing,
			p.Counters["rx_packets"], p.Counters["rx_bytes"], p.Counters["tx_packets"], p.Counters["tx_bytes"])
	}
	table.Flush()

	first := true
	drops := func(where string, c api.Counters) {
		for d := pseudowire.NotDropped + 1; d < pseudowire.Drops; d++ {
			n := c[d.String()]
			if n == 0 {
				continue
			}
			if first {
				row(table)
				row(table, "DROPPED", "OF", "FRAMES")
				first = false
			}
			row(table, d, where, n)
		}
	}
	drops("no session", s.Drops)
	for _, p := range sessions {
		drops(p.Name, p.Counters)
	}
	for _, p := range sessions {
		if p.Hint != "" {
			fmt.Fprintf(table, "\nhint: %s: %s\n", p.Name, p.Hint)
		}
	}
	return table.Flush()
}

// row writes a line of a table; what is empty shows as a dash.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		if c == "" {
			c = "-"
		}
		fmt.Fprint(w, c)
	}
	fmt.Fprintln(w)
}

// number leaves out a zero, which means unknown.
func number(n int) any {
	if n == 0 {
		return ""
	}
	return n
}

// ago says how long ago a time was, in full seconds; never for the zero time.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return "never"
	}
	return max(now.Sub(then), 0).Truncate(time.Second).String()
}
