package daemon

import (
	"maps"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/l2tpv2"
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
	counts := refusedOf(&s.Refused, &s.RefusedV2)
	for why, r := range reasons {
		if why != 0 && why != int(control.Drops) { // which is none
			answer.Refused[r.name] = counts[why].Count
		}
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

	answer.PPP, answer.RADIUS = d.showPPP(), d.showRADIUS(time.Now())

	for i := range s.Tunnels {
		t := &s.Tunnels[i]
		tunnel := api.Tunnel{
			Version:      3,
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
				tunnel.PeerName = expected(c.Peer, c.Dynamic.From)
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
	for i := range s.Version2 {
		answer.Tunnels = append(answer.Tunnels, version2Tunnel(&s.Version2[i], configured))
	}
	return answer
}

// version2Tunnel tells how a tunnel of L2TPv2 stands.
func version2Tunnel(t *l2tpv3.Version2Status, configured map[string]*config.Tunnel) api.Tunnel {
	c := configured[t.Config]
	a := api.Tunnel{
		Name: t.Name, Mode: c.Mode, Version: 2, Encap: wire.UDP.String(), State: string(t.State), Since: t.Since,
		Local: address(t.Local, wire.UDP.String()), Peer: address(t.Peer, wire.UDP.String()), PeerName: t.PeerName,
		PathMTU: t.PathMTU, LastError: t.LastError, LastReceived: t.LastReceived, Sessions: []api.Session{}, Calls: []api.PPPCall{},
	}
	if t.Receive != 0 || t.Send != 0 {
		a.Socket = &api.Socket{ReceiveBuffer: t.Receive, SendBuffer: t.Send, Segment: t.Segment, GRO: t.GRO}
	}
	a.Control = &api.Control{Dialect: "ietf"}
	if k := t.Control; k != nil {
		a.Control.Attempts, a.Control.Ups, a.Control.NextAttempt = k.Attempts, k.Ups, k.Next
		if a.Peer == "" && a.PeerName == "" {
			a.PeerName = expected(c.Peer, c.Version2.From)
		}
	}
	if t.Name != t.Config {
		a.Control.Template = t.Config
	}
	if k := t.Tunnel; k != nil {
		a.Control.ConnectionID, a.Control.PeerConnectionID = uint32(k.TunnelID), uint32(k.Peer.TunnelID)
		a.Control.PeerHostName, a.Control.PeerVendor, a.Control.Window = k.Peer.HostName, k.Peer.VendorName, k.Peer.ReceiveWindow
		a.Control.Authenticated = c.Version2.Control.Secret != nil && k.State == l2tpv2.Established
		a.Control.Heard = k.Heard
	}
	for i := range t.Calls {
		k := &t.Calls[i]
		call := api.PPPCall{
			Name: k.Name, State: string(k.State), Since: k.Since, Role: "lns", SessionID: k.Params.SessionID, PeerSessionID: k.Params.PeerSessionID,
			SerialNumber: k.Params.SerialNumber, CalledNumber: k.Params.CalledNumber, CallingNumber: k.Params.CallingNumber,
			LastReceived: k.Stats.LastReceived, Counters: counters(&k.Stats),
		}
		if k.Params.LAC {
			call.Role = "lac"
		}
		a.Calls = append(a.Calls, call)
	}
	return a
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
func expected(peer l2tpv3.Host, from []netip.Prefix) string {
	if peer.Addr.IsValid() {
		return peer.Addr.String()
	}
	var all []string
	for _, p := range from {
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
	a.Counters = counters(&s.Stats)
	return a
}

// counters returns a session's by name.
func counters(s *dataplane.Stats) api.Counters {
	c := api.Counters{
		"tx_packets":     s.TxPackets,
		"tx_bytes":       s.TxBytes,
		"rx_packets":     s.RxPackets,
		"rx_bytes":       s.RxBytes,
		"rx_oos_packets": s.RxOOSPackets,
		"rx_reordered":   s.RxReordered,
		"rx_lost":        s.RxLost,
	}
	addDrops(c, &s.Drops)
	return c
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
