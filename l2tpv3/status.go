package l2tpv3

import (
	"net/netip"
	"time"

	"spanwire/l2tpv3/dataplane"
	"spanwire/pseudowire"
)

// A Status is what an endpoint can tell of itself at one moment.
type Status struct {
	Tunnels []TunnelStatus
	Drops   [pseudowire.Drops]uint64 // of what belongs to no session
}

// A TunnelStatus is a tunnel's part of a Status.
type TunnelStatus struct {
	Name         string
	Encap        string
	State        State
	Since        time.Time // in this state
	Local        netip.AddrPort
	Peer         netip.AddrPort // not valid: unknown yet
	PeerName     string         // empty: the peer is configured by address
	PathMTU      int            // octets of an IP packet, 0: unknown yet
	LastError    string
	LastReceived time.Time
	Receive      int // octets of the socket's receive buffer
	Send         int // octets of the socket's send buffer
	Sessions     []SessionStatus
}

// A SessionStatus is a session's part of a Status.
type SessionStatus struct {
	Name   string
	Params dataplane.Params
	MTU    int // of the local segment, as the path allows it; 0: unknown yet
	Stats  dataplane.Stats
	Hint   string // what looks misconfigured; mostly empty
}

// Status tells how things stand.
func (e *Endpoint) Status() Status {
	e.mu.Lock()
	tunnels := e.tunnels
	e.mu.Unlock()
	s := Status{Drops: e.plane.Drops()}
	for _, t := range tunnels {
		s.Tunnels = append(s.Tunnels, t.status())
	}
	return s
}

func (t *Tunnel) status() TunnelStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := TunnelStatus{
		Name:      t.cfg.Name,
		Encap:     t.cfg.Encap().String(),
		State:     t.state,
		Since:     t.since,
		Local:     t.cfg.Socket.Local,
		PeerName:  t.cfg.Peer.Name,
		PathMTU:   t.mtu,
		LastError: why(t.err),
	}
	if t.bound != nil {
		s.Local, s.Peer = t.bound.LocalAddr(), t.shown.Peer()
		s.Receive, s.Send = t.bound.Buffers()
	}
	for _, session := range t.sessions {
		ss := session.status()
		if ss.Stats.LastReceived.After(s.LastReceived) {
			s.LastReceived = ss.Stats.LastReceived
		}
		s.Sessions = append(s.Sessions, ss)
	}
	return s
}

func (s *Session) status() SessionStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.link.Stats()
	return SessionStatus{Name: s.params.Name, Params: s.params, MTU: s.mtu, Stats: stats, Hint: s.hint(&stats)}
}

// hint says what a person should look at first.
func (s *Session) hint(stats *dataplane.Stats) string {
	switch {
	case stats.Misread && s.params.Sublayer == pseudowire.NoSublayer:
		return "frames make sense only 4 octets later: the peer seems to send the default sublayer, this side has sublayer = \"none\""
	case stats.Misread:
		return "frames make sense only 4 octets earlier: the peer seems to send no sublayer, this side has sublayer = \"default\""
	case stats.RxPackets == 0 && stats.Drops[pseudowire.DropCookie] > 0:
		return "every frame has another cookie: receive_cookie here must be the peer's send_cookie"
	case stats.RxPackets == 0 && stats.Drops[pseudowire.DropSource] > 0:
		return "frames with the right cookie come from another address or port than the peer's: look at peer, and for address translation"
	}
	return ""
}
