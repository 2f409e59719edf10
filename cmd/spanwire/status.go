package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"spanwire/bridge"
	"spanwire/cmd/internal/api"
	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
)

const statusHelp = `Status asks a running daemon how things stand: by --control at its control socket,
by -c at the one that its configuration names; else at the one in ` + socketDir + `,
if there is one alone.

A static tunnel is "up" when frames can be sent; it cannot know whether the peer
lives: HEARD says when the last frame came. The state of a dynamic one is that of
its control connection, as RFC 3931 section 7 names it. COOKIES are octets, ours
and the peer's. AGAIN counts retransmissions.

Control messages that were not acted upon are counted as REFUSED, and get no answer:
the side that refuses is the one that tells why. Frames that were DROPPED are counted
by reason, an rx_errors of a session being one that its segment refused, as a rule for
a reason that it counts too; a hint says what looks misconfigured. --json has all
counters.

LINKs of PPP stand by the calls of L2TPv2 that carry them. SINCE is from when they carry
packets, LCP, IPCP and IPV6CP are the states of RFC 1661 section 4.2.`

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
	row(table, "TUNNEL", "MODE", "STATE", "SINCE", "ENCAP", "LOCAL", "PEER", "PATH MTU", "HEARD", "LAST ERROR")
	for _, t := range s.Tunnels {
		peer := strings.TrimSpace(t.PeerName + " " + t.Peer)
		problem := t.LastError
		if problem != "" && t.Control != nil {
			problem += next(now, t.Control.NextAttempt)
		}
		encap := t.Encap
		if t.Version == 2 {
			encap += " L2TPv2"
		}
		row(table, t.Name, t.Mode, t.State, ago(now, t.Since), encap, t.Local, peer, number(t.PathMTU), ago(now, t.LastReceived), problem)
	}
	table.Flush()
	showConnections(table, s)
	showSessions(table, s, now)
	showCalls(table, s, now)
	showPPP(table, s, now)
	showRADIUS(table, s, now)
	showSerials(table, s)
	showHubs(table, s)
	showRefusals(table, s, now)
	showDrops(table, s)
	showHints(table, s, now)
	return table.Flush()
}

// showConnections prints the control connections, if there are any.
func showConnections(table *tabwriter.Writer, s *api.Status) {
	first := true
	for _, t := range s.Tunnels {
		c := t.Control
		if c == nil || c.ConnectionID == 0 {
			continue
		}
		if first {
			row(table)
			row(table, "CONNECTION", "HOST NAME", "ROUTER ID", "VENDOR", "ID", "PEER ID", "DIGEST", "WINDOW", "SENT", "AGAIN", "RTT")
			first = false
		}
		digest := c.Digest
		if digest != "" && t.State == established && !c.Authenticated {
			digest += " (no secret)"
		}
		rtt := ""
		if c.RTT > 0 {
			rtt = fmt.Sprintf("%.1f ms", c.RTT)
		}
		sent, again := any(c.Sent), any(c.Retransmitted)
		if t.Version == 2 { // which does not count them
			sent, again = "", ""
			if c.Authenticated {
				digest = "challenge"
			}
		}
		row(table, t.Name, c.PeerHostName, c.PeerRouterID, c.PeerVendor, c.ConnectionID, number(c.PeerConnectionID), digest, number(c.Window),
			sent, again, rtt)
	}
	table.Flush()
}

// showSessions prints the sessions, if there are any.
func showSessions(table *tabwriter.Writer, s *api.Status, now time.Time) {
	first := true
	for _, t := range s.Tunnels {
		for _, p := range t.Sessions {
			if first {
				row(table)
				row(table, "SESSION", "STATE", "SINCE", "ID", "PEER ID", "PSEUDOWIRE", "JOINS", "MTU", "COOKIES", "SUBLAYER", "SEQUENCING",
					"FRAMES IN", "OCTETS IN", "FRAMES OUT", "OCTETS OUT")
				first = false
			}
			state, since := "static", ""
			id, peerID, cookies := any(p.SessionID), any(p.PeerSessionID), fmt.Sprintf("%d/%d", p.ReceiveCookieOctets, p.SendCookieOctets)
			if p.Call != nil {
				state, since = p.Call.State, ago(now, p.Call.Since)
				if state != established { // so nothing is agreed yet, or any more
					id, peerID, cookies = "", "", ""
				}
			}
			row(table, p.Name, state, since, id, peerID, p.Pseudowire, joins(&p.Joined), number(p.MTU), cookies, p.Sublayer, p.Sequencing,
				p.Counters["rx_packets"], p.Counters["rx_bytes"], p.Counters["tx_packets"], p.Counters["tx_bytes"])
		}
	}
	table.Flush()
}

// joins says what a session or a port joins.
func joins(s *api.Joined) string {
	var words []string
	add := func(word, value string) {
		if value != "" {
			words = append(words, strings.TrimSpace(word+" "+value))
		}
	}
	add("tap", s.TAP)
	add("bridge", s.Bridge)
	add("interface", s.Interface)
	if s.State == api.Down || s.State == api.Missing {
		words[len(words)-1] += " (" + s.State + ")"
	}
	add("serial", s.Serial)
	add("hub", s.Hub)
	add("vlan", s.VLAN)
	add("peer vlan", s.PeerVLAN)
	if s.DLCI != 0 {
		add("dlci", fmt.Sprintf("%d (%s)", s.DLCI, s.PVC))
	}
	return strings.Join(words, ", ")
}

// showSerials prints the serial lines, if there are any.
func showSerials(table *tabwriter.Writer, s *api.Status) {
	for i, p := range s.Serials {
		if i == 0 {
			row(table)
			row(table, "SERIAL", "LINE", "CARRIES", "LMI", "FRAMES IN", "OCTETS IN", "FRAMES OUT", "OCTETS OUT")
		}
		lmi := ""
		if p.LMI != nil {
			lmi = "down"
			if p.LMI.Up {
				lmi = "up"
			}
			lmi = strings.TrimSpace(p.LMI.Form + " " + p.LMI.Role + " " + lmi)
		}
		row(table, p.Name, p.Line, p.Carries, lmi, p.Counters["in_frames"], p.Counters["in_octets"], p.Counters["out_frames"], p.Counters["out_octets"])
	}
	table.Flush()
}

// lost are the reasons for which a hub drops what somebody may miss: all but those for
// frames that are where they should be, and for those that a port has refused, which
// it has counted itself.
var lost = []bridge.Verdict{
	bridge.Runt, bridge.BadSource, bridge.Malformed, bridge.SplitHorizon, bridge.Alone, bridge.MACLimited, bridge.BPDU, bridge.PortDisabled,
	bridge.BroadcastStorm, bridge.MulticastStorm, bridge.UnknownStorm,
}

// showHubs prints the ports of hubs, if there are any.
func showHubs(table *tabwriter.Writer, s *api.Status) {
	for i, h := range s.Hubs {
		if i == 0 {
			row(table)
			row(table, "HUB", "PORT", "JOINS", "MTU", "GROUP", "STATIONS", "FRAMES IN", "FLOODED", "FRAMES OUT", "DROPPED")
		}
		for _, p := range h.Ports {
			group := fmt.Sprint(p.Group)
			if p.Spoke {
				group += " spoke"
			}
			if p.Disabled {
				group += " DISABLED by a BPDU"
			}
			dropped := uint64(0)
			for _, v := range lost {
				dropped += p.Counters["drop_"+v.String()]
			}
			joined, mtu := "session", any("")
			if p.Joins != nil {
				joined, mtu = joins(p.Joins), number(p.Joins.MTU)
			}
			row(table, h.Name, p.Name, joined, mtu, group, p.Stations, p.Counters["in_frames"], p.Counters["flooded"], p.Counters["out_frames"], dropped)
		}
	}
	table.Flush()
}

// showRefusals prints why control messages were not acted upon, if any were not.
func showRefusals(table *tabwriter.Writer, s *api.Status, now time.Time) {
	for i, r := range s.Refusals {
		if i == 0 {
			row(table)
			row(table, "REFUSED", "MESSAGES", "LAST", "FROM", "WHICH MEANS")
		}
		row(table, r.Reason, r.Count, ago(now, r.Last), r.From, r.Meaning)
	}
	table.Flush()
}

// showDrops prints why frames were dropped, if any were.
func showDrops(table *tabwriter.Writer, s *api.Status) {
	first := true
	drop := func(why, where string, n uint64) {
		if n == 0 {
			return
		}
		if first {
			row(table)
			row(table, "DROPPED", "OF", "FRAMES")
			first = false
		}
		row(table, why, where, n)
	}
	drops := func(where string, c api.Counters) {
		for d := pseudowire.NotDropped + 1; d < pseudowire.Drops; d++ {
			drop(d.String(), where, c[d.String()])
		}
	}
	segment := func(name string, c api.Counters) {
		drops(name, c)
		for _, why := range []string{"in_errors", "in_lost", "out_errors"} {
			drop(why, "segment of "+name, c[why])
		}
	}
	drops("no session", s.Drops)
	for _, t := range s.Tunnels {
		for _, p := range t.Sessions {
			drops(p.Name, p.Counters)
			segment(p.Name, p.Segment)
		}
		for _, c := range t.Calls {
			drops(c.Name, c.Counters)
		}
	}
	for _, p := range s.PPP {
		for _, why := range []string{"no_link", "malformed", "too_big", "closed", "spoofed", "refused"} {
			drop(why, "ppp "+p.Name, p.Counters["drop_"+why])
		}
	}
	for _, h := range s.Hubs {
		for _, p := range h.Ports {
			where := "hub " + h.Name + " port " + p.Name
			for _, v := range lost {
				drop(v.String(), where, p.Counters["drop_"+v.String()])
			}
			if p.Joins != nil {
				segment(where, p.Joins.Segment)
			}
		}
	}
	for _, p := range s.Serials {
		where := "serial " + p.Name
		for _, why := range []string{"in_errors", "in_foreign", "out_errors", "lmi_malformed", "lmi_other_form", "lmi_unexpected"} {
			drop(why, where, p.Counters[why])
		}
		for why := framerelay.NotDropped + 1; why < framerelay.Drops; why++ {
			drop("in_"+why.String(), where, p.Counters["in_"+why.String()])
			drop("out_"+why.String(), where, p.Counters["out_"+why.String()])
		}
	}
	table.Flush()
}

// showHints says what a person should look at.
func showHints(w io.Writer, s *api.Status, now time.Time) {
	var silent []string
	for _, t := range s.Tunnels {
		if t.Mode == "dial" && t.State != established && t.LastError == unanswering {
			silent = append(silent, t.Name)
		}
		for _, c := range t.Calls {
			if c.State == established && c.LastReceived.IsZero() && now.Sub(c.Since) > silence {
				fmt.Fprintf(w, "\n%s: the call is up, and nothing has come by it: its data may be lost on the way, or the peer speaks no PPP\n", c.Name)
			}
		}
		for _, p := range t.Sessions {
			c := p.Call
			if c != nil && c.State == established && !strings.HasPrefix(c.Circuit, "active") {
				fmt.Fprintf(w, "\n%s: our circuit is %s, %s: the peer sends nothing\n", p.Name, c.Circuit, joins(&p.Joined))
			}
			switch {
			case c == nil:
			case c.State == established && !strings.HasPrefix(c.PeerCircuit, "active"):
				fmt.Fprintf(w, "\n%s: the peer's circuit is %s: nothing is sent\n", p.Name, c.PeerCircuit)
			case c.State != established && c.State != "down" && c.LastError != "":
				fmt.Fprintf(w, "\n%s: %s%s\n", p.Name, c.LastError, next(now, c.NextAttempt))
			}
			if p.Offload == "none" {
				fmt.Fprintf(w, "\n%s: TAP %s takes and gives frame by frame, which is slower: the user made it, or the kernel has no vnet_hdr\n", p.Name, p.TAP)
			}
			if p.Hint != "" {
				fmt.Fprintf(w, "\nhint: %s: %s\n", p.Name, p.Hint)
			}
		}
	}
	for _, p := range s.PPP {
		// Of a client whose link is up it is over.
		if e := p.LastError; e != nil && (p.Mode == "lns" || len(p.Links) == 0 || p.Links[0].Since.IsZero()) {
			fmt.Fprintf(w, "\nppp %s: the last link that failed, %s ago, peer %s, user %s: %s\n", p.Name, ago(now, e.Time), e.Peer, cmp.Or(printed(e.User), "-"), printed(e.Text))
		}
	}
	const most = 5
	if more := len(silent) - most; more > 0 {
		silent = append(silent[:most], fmt.Sprintf("%d more", more))
	}
	if len(silent) > 0 {
		fmt.Fprintf(w, "\nhint: %s: the peer is down, cannot be reached, or refuses in silence, as where the secrets differ: its own status tells\n",
			strings.Join(silent, ", "))
	}
}

// What a daemon says of a connection or a session that is up, and of a peer that
// has never answered.
const (
	established = "established"
	unanswering = "the peer does not answer"
)

// silence is for how long a call may be new.
const silence = 10 * time.Second

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
func number[T int | uint32](n T) any {
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
