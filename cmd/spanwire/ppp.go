package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/api"
)

// showCalls prints the calls of L2TPv2, if there are any.
func showCalls(table *tabwriter.Writer, s *api.Status, now time.Time) {
	first := true
	for _, t := range s.Tunnels {
		for _, c := range t.Calls {
			if first {
				row(table)
				row(table, "CALL", "STATE", "SINCE", "WE ARE", "ID", "PEER ID", "CALLED", "CALLING", "FRAMES IN", "OCTETS IN", "FRAMES OUT", "OCTETS OUT")
				first = false
			}
			row(table, c.Name, c.State, ago(now, c.Since), c.Role, number(uint32(c.SessionID)), number(uint32(c.PeerSessionID)), printed(c.CalledNumber), printed(c.CallingNumber),
				c.Counters["rx_packets"], c.Counters["rx_bytes"], c.Counters["tx_packets"], c.Counters["tx_bytes"])
		}
	}
	table.Flush()
}

// showPPP prints the profiles of PPP with their links, if there are any.
func showPPP(table *tabwriter.Writer, s *api.Status, now time.Time) {
	for i, p := range s.PPP {
		if i == 0 {
			row(table)
			row(table, "PPP", "MODE", "TUN", "MTU", "LINKS", "WERE UP", "REFUSED", "OCTETS IN", "OCTETS OUT", "POOLS")
		}
		tun := p.TUN
		if p.State != api.Up {
			tun += " (" + p.State + ")"
		}
		var pools []string
		for _, pool := range p.Pools {
			pools = append(pools, fmt.Sprintf("%s %d/%d", pool.Name, pool.Used, pool.Size))
		}
		row(table, p.Name, p.Mode, tun, p.MTU, len(p.Links), p.Counters["links_up"], p.Counters["links_refused"],
			p.Counters["in_octets"], p.Counters["out_octets"], strings.Join(pools, ", "))
	}
	table.Flush()
	first := true
	for _, p := range s.PPP {
		for _, l := range p.Links {
			if first {
				row(table)
				row(table, "LINK", "USER", "ADDRESS", "PREFIXES", "SINCE", "METHOD", "ENCRYPTION", "LCP", "IPCP", "IPV6CP", "MTU",
					"PACKETS IN", "OCTETS IN", "PACKETS OUT", "OCTETS OUT")
				first = false
			}
			since := any("")
			if !l.Since.IsZero() {
				since = ago(now, l.Since)
			}
			row(table, l.Name, printed(l.User), l.Address, strings.TrimSpace(l.Prefix+" "+l.Delegated), since, l.Method, l.Encryption, l.LCP, l.IPCP, l.IPV6CP, l.MTU,
				l.Counters["in_packets"], l.Counters["in_octets"], l.Counters["out_packets"], l.Counters["out_octets"])
		}
	}
	table.Flush()
}

// showRADIUS prints the RADIUS servers, if there are any.
func showRADIUS(table *tabwriter.Writer, s *api.Status, now time.Time) {
	for i, r := range s.RADIUS {
		if i == 0 {
			row(table)
			row(table, "RADIUS", "SERVER", "FOR", "STATE", "SENT", "ANSWERS", "LOST", "REFUSED")
		}
		for _, server := range r.Servers {
			state := server.State
			if !server.DeadUntil.IsZero() {
				state += next(now, server.DeadUntil)
			}
			row(table, r.Name, server.Address, server.For, state, server.Counters["sent"], server.Counters["answers"], server.Counters["lost"],
				server.Counters["forged"]+server.Counters["malformed"])
		}
		if a := r.Accounting; a != nil && (a.Undelivered > 0 || !a.On) {
			row(table, r.Name, fmt.Sprintf("%d sessions that are over are yet to be told, %d go on", a.Undelivered, a.Open))
		}
	}
	table.Flush()
}

// printed shows what somebody else has said, with nothing in it that a terminal obeys.
func printed(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError }) {
		return strconv.Quote(s)
	}
	return s
}

// tellLink returns what an event says of a link.
func tellLink(e *api.Event) (words []string) {
	words = append(words, e.Link, "peer "+e.Peer)
	if e.User != "" {
		words = append(words, "user "+printed(e.User))
	}
	for _, v := range []struct{ word, value string }{{"by", e.Method}, {"address", e.Address}, {"prefix", e.Prefix}, {"delegated", e.Delegated}} {
		if v.value != "" {
			words = append(words, v.word+" "+v.value)
		}
	}
	return words
}

const reloadHelp = `Reload has a daemon read its configuration again. Who the users of an LNS are is taken
up at once, and links stay. All else that the file says otherwise is printed: it takes a
restart. A file that is wrong changes nothing.`

func reloadCommand() *cobra.Command {
	var at target
	cmd := &cobra.Command{
		Use:     "reload [--control SOCKET | -c FILE]",
		Short:   "Read the configuration again, of which users are taken up",
		Long:    reloadHelp,
		Example: "  spanwire reload -c /etc/spanwire/lyon.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := at.dial()
			if err != nil {
				return err
			}
			done, err := client.Reload(cmd.Context())
			if err != nil {
				return unanswered(err)
			}
			out := cmd.OutOrStdout()
			for _, name := range done.Users {
				fmt.Fprintf(out, "ppp %s: users read again\n", name)
			}
			for _, key := range done.Restart {
				fmt.Fprintf(out, "%s: not changed while running, want a restart\n", key)
			}
			return nil
		},
	}
	at.flags(cmd)
	return cmd
}
