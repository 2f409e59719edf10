package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/api"
	"spanwire/pseudowire"
)

const statusHelp = `Status asks a running daemon how things stand: by --control at its control socket,
by -c at the one that its configuration names; else at the one in ` + socketDir + `,
if there is one alone.

A static tunnel is "up" when frames can be sent; it cannot know whether the peer
lives: HEARD says when the last frame came. The state of a dynamic one is that of
its control connection, as RFC 3931 section 7 names it. COOKIES are octets, ours
and the peer's. Frames that were dropped are counted by reason; a hint says what looks
misconfigured. --json has all counters.`

const statusExample = `  spanwire status
  spanwire status -c /etc/spanwire/lyon.toml
  spanwire status --json | jq '.tunnels[].sessions[].counters'`

func statusCommand() *cobra.Command {
	var at target
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status [--control SOCKET | -c FILE]",
		Short:   "Tell how a running daemon's tunnels and sessions stand",
		Long:    statusHelp,
		Example: statusExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := at.dial()
			if err != nil {
				return err
			}
			status, err := client.Status(cmd.Context())
			switch {
			case err != nil:
				return unanswered(err)
			case asJSON:
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(&status)
			}
			return show(cmd.OutOrStdout(), &status, time.Now())
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the daemon answers, in JSON")
	return cmd
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
	showConnections(table, s, now)

	row(table)
	row(table, "SESSION", "STATE", "SINCE", "ID", "PEER ID", "TAP", "BRIDGE", "MTU", "COOKIES", "SUBLAYER", "SEQUENCING",
		"FRAMES IN", "OCTETS IN", "FRAMES OUT", "OCTETS OUT")
	sessions := []api.Session{}
	for _, t := range s.Tunnels {
		sessions = append(sessions, t.Sessions...)
	}
	for _, p := range sessions {
		state, since := "static", ""
		if p.Call != nil {
			state, since = p.Call.State, ago(now, p.Call.Since)
		}
		row(table, p.Name, state, since, p.SessionID, p.PeerSessionID, p.TAP, p.Bridge, number(p.MTU),
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
		if c := p.Call; c != nil && c.State != "established" && c.LastError != "" {
			fmt.Fprintf(table, "\n%s: %s%s\n", p.Name, c.LastError, next(now, c.NextAttempt))
		}
		if c := p.Call; c != nil && c.State == "established" && !strings.HasPrefix(c.PeerCircuit, "active") {
			fmt.Fprintf(table, "\n%s: the peer's circuit is %s: nothing is sent\n", p.Name, c.PeerCircuit)
		}
		if p.Hint != "" {
			fmt.Fprintf(table, "\nhint: %s: %s\n", p.Name, p.Hint)
		}
	}
	return table.Flush()
}

// showConnections prints the control connections, if there are any.
func showConnections(table *tabwriter.Writer, s *api.Status, now time.Time) {
	first := true
	for _, t := range s.Tunnels {
		c := t.Control
		if c == nil || t.State == "template" {
			continue
		}
		if first {
			row(table)
			row(table, "CONNECTION", "PEER", "ROUTER ID", "VENDOR", "IDS", "DIGEST", "WINDOW", "SENT", "AGAIN", "RTT", "HEARD", "NEXT ATTEMPT")
			first = false
		}
		ids := ""
		if c.ConnectionID != 0 {
			ids = fmt.Sprintf("%d/%d", c.ConnectionID, c.PeerConnectionID)
		}
		digest := c.Digest
		if digest != "" && !c.Authenticated {
			digest += " (no secret)"
		}
		rtt := ""
		if c.RTT > 0 {
			rtt = fmt.Sprintf("%.1f ms", c.RTT)
		}
		attempt := ""
		if !c.NextAttempt.IsZero() {
			attempt = "in " + max(c.NextAttempt.Sub(now), 0).Round(time.Second).String()
		}
		row(table, t.Name, c.PeerHostName, c.PeerRouterID, c.PeerVendor, ids, digest, number(c.Window), c.Sent, c.Retransmitted,
			rtt, ago(now, c.Heard), attempt)
	}
	table.Flush()
	for why, n := range s.Refused {
		if n > 0 {
			fmt.Fprintf(table, "control messages refused: %s %d\n", why, n)
		}
	}
}

// next says when the next attempt is made.
func next(now, at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return ", again in " + max(at.Sub(now), 0).Round(time.Second).String()
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
