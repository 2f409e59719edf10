package daemon

import (
	"maps"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// Version returns the version of this program, as Go built it in.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// status tells how things stand.
func (d *daemon) status() api.Status {
	s := d.endpoint.Status()
	answer := api.Status{
		Node: api.Node{
			Hostname: d.file.Node.Hostname,
			Version:  Version(),
			PID:      os.Getpid(),
			Started:  d.started,
		},
		Drops:   api.Counters{},
		Refused: api.Counters{},
		Tunnels: []api.Tunnel{},
	}
	if id := d.file.Node.RouterID; id.IsValid() {
		answer.Node.RouterID = id.String()
	}
	addDrops(answer.Drops, &s.Drops)
	for why := control.Drop(1); why < control.Drops; why++ {
		answer.Refused[why.String()] = s.Refused[why].Count
	}
	answer.Refusals = refusals(&s)

	configured := make(map[string]*config.Tunnel)
	for i := range d.file.Tunnels {
		configured[d.file.Tunnels[i].Name] = &d.file.Tunnels[i]
	}
	d.mu.Lock()
	segments := maps.Clone(d.segments)
	hubs := slices.Collect(maps.Values(d.hubs))
	serials := slices.Collect(maps.Values(d.serials))
	d.mu.Unlock()
	for _, h := range hubs {
		answer.Hubs = append(answer.Hubs, h.show())
	}
	for _, p := range serials {
		answer.Serials = append(answer.Serials, p.show())
	}
	sortBy(answer.Hubs, func(h api.Hub) string { return h.Name })
	sortBy(answer.Serials, func(p api.Serial) string { return p.Name })

	for i := range s.Tunnels {
		t := &s.Tunnels[i]
		tunnel := api.Tunnel{
			Name:         t.Name,
			Mode:         mode(configured, t),
			Encap:        t.Encap,
			State:        string(t.State),
			Since:        t.Since,
			Local:        address(t.Local, t.Encap),
			Peer:         address(t.Peer, t.Encap),
			PeerName:     t.PeerName,
			PathMTU:      t.PathMTU,
			LastError:    t.LastError,
			LastReceived: t.LastReceived,
			Sessions:     []api.Session{},
		}
		if t.Control != nil {
			tunnel.Control = connection(t.Control)
			if c := configured[t.Name]; c != nil && tunnel.Peer == "" && tunnel.PeerName == "" {
				tunnel.PeerName = expected(c.Dynamic)
			}
		}
		if t.Receive != 0 || t.Send != 0 {
			tunnel.Socket = &api.Socket{ReceiveBuffer: t.Receive, SendBuffer: t.Send, Segment: t.Segment, GRO: t.GRO}
		}
		for j := range t.Sessions {
			var local api.Joined // which the endpoint does not know of
			if s := segments[t.Sessions[j].Name]; s != nil {
				local = s.show()
			}
			tunnel.Sessions = append(tunnel.Sessions, session(&t.Sessions[j], local))
		}
		answer.Tunnels = append(answer.Tunnels, tunnel)
	}
	return answer
}

// sortBy sorts by what all have.
func sortBy[T any](all []T, key func(T) string) {
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
}

// mode returns a tunnel's mode, an instance's being its template's.
func mode(configured map[string]*config.Tunnel, t *l2tpv3.TunnelStatus) string {
	name := t.Name
	if t.Control != nil && t.Control.Template != "" {
		name = t.Control.Template
	}
	return configured[name].Mode
}

// expected tells from where a peer may come, that has not.
func expected(c *l2tpv3.DynamicConfig) string {
	if c.Peer.Addr.IsValid() {
		return c.Peer.Addr.String()
	}
	var all []string
	for _, p := range c.From {
		if p.Bits() == 0 {
			return "any"
		}
		all = append(all, p.String())
	}
	return strings.Join(all, " ")
}

// connection tells how a control connection stands.
func connection(t *control.TunnelStatus) *api.Control {
	c := &api.Control{
		Template:         t.Template,
		ConnectionID:     t.ConnectionID,
		PeerConnectionID: t.Peer.ConnectionID,
		PeerHostName:     t.Peer.HostName,
		PeerVendor:       t.Peer.VendorName,
		Authenticated:    t.Secret && t.State == control.Established,
		Digest:           t.Digest,
		Dialect:          "ietf",
		Attempts:         t.Attempts,
		Ups:              t.Ups,
		NextAttempt:      t.Next,
		Heard:            t.Heard,
		Window:           t.Peer.ReceiveWindow,
		Congestion:       t.Reliable.CongestionWindow,
		Outstanding:      t.Reliable.Outstanding,
		Queued:           t.Reliable.Queued,
		Sent:             t.Reliable.Sent,
		Received:         t.Reliable.Received,
		Retransmitted:    t.Reliable.Retransmitted,
		Duplicates:       t.Reliable.Duplicates,
		OutOfOrder:       t.Reliable.OutOfOrder,
		RTT:              float64(t.Reliable.RTT.Microseconds()) / 1000,
	}
	if t.Cisco {
		c.Dialect = "cisco"
	}
	if t.Peer.RouterID != 0 {
		c.PeerRouterID = l2tpv3.RouterID(t.Peer.RouterID)
	}
	for _, p := range t.Peer.Capabilities {
		c.PeerCapabilities = append(c.PeerCapabilities, p.String())
	}
	return c
}

// call tells how a dynamic session stands.
func call(s *control.SessionStatus) *api.Call {
	c := &api.Call{
		State:       s.State.String(),
		Since:       s.Since,
		RemoteEndID: wire.EndID(s.EndID),
		Circuit:     s.Status.String(),
		LastError:   s.LastError,
		NextAttempt: s.Next,
		Rollover:    s.Rollover,
		TxSpeed:     s.Params.TxSpeed,
		RxSpeed:     s.Params.RxSpeed,
		Channel:     s.Params.PhysicalChannel,
	}
	if s.Down {
		c.State = string(l2tpv3.Down)
	}
	if s.State == control.Established {
		c.PeerCircuit = s.PeerStatus.String()
	}
	return c
}

// session puts what the endpoint knows of a session to what its segment knows.
func session(s *l2tpv3.SessionStatus, local api.Joined) api.Session {
	a := api.Session{Name: s.Name, Joined: local}
	a.Pseudowire = s.Params.Pseudowire.String()
	a.SessionID = s.Params.SessionID
	a.PeerSessionID = s.Params.PeerSessionID
	a.ReceiveCookieOctets = s.Params.ReceiveCookie.Len()
	a.SendCookieOctets = s.Params.SendCookie.Len()
	a.Sublayer = s.Params.Sublayer.String()
	a.Sequencing = s.Params.Sequencing.String()
	a.LastReceived = s.Stats.LastReceived
	a.PeerSublayer = s.Params.PeerSublayer.String()
	a.PeerSequencing = s.Params.PeerSequencing.String()
	a.Hint = s.Hint
	if s.Control != nil {
		a.Call = call(s.Control)
		a.Pseudowire = s.Control.Pseudowire
	}
	a.Counters = api.Counters{
		"tx_packets":     s.Stats.TxPackets,
		"tx_bytes":       s.Stats.TxBytes,
		"rx_packets":     s.Stats.RxPackets,
		"rx_bytes":       s.Stats.RxBytes,
		"rx_oos_packets": s.Stats.RxOOSPackets,
		"rx_reordered":   s.Stats.RxReordered,
		"rx_lost":        s.Stats.RxLost,
	}
	addDrops(a.Counters, &s.Stats.Drops)
	return a
}

func addDrops(c api.Counters, drops *[pseudowire.Drops]uint64) {
	for d := pseudowire.NotDropped + 1; d < pseudowire.Drops; d++ {
		c[d.String()] += drops[d]
	}
}

// address leaves out the port where there is none, and an address that is unknown.
func address(a netip.AddrPort, encap string) string {
	switch {
	case !a.IsValid():
		return ""
	case encap == wire.IP.String():
		return a.Addr().String()
	}
	return a.String()
}
