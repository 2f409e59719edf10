package daemon

import (
	"net/netip"
	"os"
	"runtime/debug"

	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
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
		Tunnels: []api.Tunnel{},
	}
	if id := d.file.Node.RouterID; id.IsValid() {
		answer.Node.RouterID = id.String()
	}
	addDrops(answer.Drops, &s.Drops)

	configured := make(map[string]*config.Tunnel)
	for i := range d.file.Tunnels {
		configured[d.file.Tunnels[i].Name] = &d.file.Tunnels[i]
	}
	segments := make(map[string]api.Session) // what the endpoint does not know of
	d.mu.Lock()
	for _, s := range d.segments {
		segments[s.name] = api.Session{TAP: s.cfg.Name, Bridge: s.cfg.Bridge, MTU: s.mtu()}
	}
	d.mu.Unlock()

	for i := range s.Tunnels {
		t := &s.Tunnels[i]
		tunnel := api.Tunnel{
			Name:         t.Name,
			Mode:         configured[t.Name].Mode,
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
		if t.Receive != 0 || t.Send != 0 {
			tunnel.Socket = &api.Socket{ReceiveBuffer: t.Receive, SendBuffer: t.Send}
		}
		for j := range t.Sessions {
			tunnel.Sessions = append(tunnel.Sessions, session(&t.Sessions[j], segments[t.Sessions[j].Name]))
		}
		answer.Tunnels = append(answer.Tunnels, tunnel)
	}
	return answer
}

// session puts what the endpoint knows of a session to what its segment knows.
func session(s *l2tpv3.SessionStatus, a api.Session) api.Session {
	a.Name = s.Name
	a.Pseudowire = s.Params.Pseudowire.String()
	a.SessionID = s.Params.SessionID
	a.PeerSessionID = s.Params.PeerSessionID
	a.ReceiveCookieOctets = s.Params.ReceiveCookie.Len()
	a.SendCookieOctets = s.Params.SendCookie.Len()
	a.Sublayer = s.Params.Sublayer.String()
	a.Sequencing = s.Params.Sequencing.String()
	a.LastReceived = s.Stats.LastReceived
	a.Hint = s.Hint
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
		c[d.String()] = drops[d]
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
