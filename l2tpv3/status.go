package l2tpv3

import (
	"net/netip"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/transport"
	"spanwire/pseudowire"
)

// A Status is what an endpoint can tell of itself at one moment.
type Status struct {
	Tunnels   []TunnelStatus           // the static ones first
	Version2  []Version2Status         // what is configured, with its tunnel or followed by them
	Refused   [control.Drops]Refusal   // control messages that were not acted upon
	RefusedV2 [l2tpv2.Drops]Refusal    // those of L2TPv2
	Drops     [pseudowire.Drops]uint64 // of what belongs to no session
}

// A Refusal is how many control messages were not acted upon for one reason, and
// the last of them.
type Refusal struct {
	Count uint64
	Last  control.Dropped
}

// A TunnelStatus is a tunnel's part of a Status.
type TunnelStatus struct {
	Name         string
	Encap        string
	State        State
	Since        time.Time      // in this state
	Peer         netip.AddrPort // not valid: unknown yet
	PeerName     string         // empty: the peer is configured by address
	PathMTU      int            // octets of an IP packet, 0: unknown yet
	LastError    string
	LastReceived time.Time
	SocketStatus
	Sessions []SessionStatus

	// Control is how its control connection stands; nil: it is static.
	Control *control.TunnelStatus
}

// A SocketStatus tells of the socket that a tunnel has.
type SocketStatus struct {
	Local        netip.AddrPort
	Receive      int  // octets of the receive buffer
	Send         int  // octets of the send buffer
	Segment, GRO bool // UDP_SEGMENT and UDP_GRO are in use
}

func socketStatus(conn *transport.Conn) SocketStatus {
	s := SocketStatus{Local: conn.LocalAddr()}
	s.Receive, s.Send = conn.Buffers()
	s.Segment, s.GRO = conn.Offload()
	return s
}

// A SessionStatus is a session's part of a Status.
type SessionStatus struct {
	Name   string
	Params dataplane.Params
	MTU    int // of the local segment, as the path allows it; 0: unknown yet
	Stats  dataplane.Stats
	Hint   string // what looks misconfigured; mostly empty

	// Control is how a dynamic session stands; nil: it is static.
	Control *control.SessionStatus
}

// A Glance is what changes by itself, told without the cost of a Status.
type Glance struct {
	Tunnels, Up int                      // without templates; of all versions
	Calls       int                      // of L2TPv2
	Refused     [control.Drops]Refusal   // as in Status
	RefusedV2   [l2tpv2.Drops]Refusal    // as in Status
	Drops       [pseudowire.Drops]uint64 // as in Status
	Sessions    []*Session               // of all tunnels; not to be changed
}

// Glance tells what may be looked at often.
func (e *Endpoint) Glance() (g Glance) {
	e.mu.Lock()
	static := e.tunnels
	e.mu.Unlock()
	g.Drops = e.plane.Drops()
	c := e.channel
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused(&g.Refused)
	c.refusedV2(&g.RefusedV2)
	g.Calls = len(c.calls)
	c.glanceV2(&g)
	for _, t := range static {
		t.mu.Lock()
		if g.Tunnels++; t.state == Up {
			g.Up++
		}
		t.mu.Unlock()
	}
	for _, d := range c.all {
		if d.cfg.Control.Many && d.template == "" {
			continue
		}
		if g.Tunnels++; d.path != nil {
			g.Up++
		}
	}
	if c.ports == nil || c.static != len(static) {
		c.ports, c.static = make([]*Session, 0, len(c.ports)), len(static)
		for _, t := range static {
			c.ports = append(c.ports, t.sessions...)
		}
		for _, d := range c.all {
			for _, s := range d.sessions {
				c.ports = append(c.ports, s)
			}
		}
	}
	g.Sessions = c.ports
	return g
}

// refused tells what control messages were not acted upon.
func (c *channel) refused(all *[control.Drops]Refusal) {
	last := c.lcce.LastDropped()
	for why, n := range c.lcce.DropCounts() {
		all[why] = Refusal{n, last[why]}
	}
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
	e.channel.status(&s)
	e.channel.statusV2(&s)
	return s
}

// status tells how the dynamic tunnels stand.
func (c *channel) status(s *Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused(&s.Refused)
	c.refusedV2(&s.RefusedV2)
	for _, t := range c.lcce.Status() {
		if d := c.tunnels[t.Name]; d != nil {
			s.Tunnels = append(s.Tunnels, c.tunnelStatus(d, &t))
		}
	}
}

// The states of a dynamic tunnel are those of its control connection,
// control.State, and these, while there can be none.
const (
	Template State = "template" // its instances have states of their own
	Down     State = "down"     // by command
)

func (c *channel) tunnelStatus(d *Dynamic, t *control.TunnelStatus) TunnelStatus {
	s := TunnelStatus{
		Name:         d.cfg.Name,
		Encap:        d.cfg.Encap().String(),
		State:        State(t.State.String()),
		Since:        t.Since,
		SocketStatus: SocketStatus{Local: d.cfg.Socket.Local},
		Peer:         t.Address.Peer,
		PeerName:     d.cfg.Peer.Name,
		PathMTU:      d.mtu,
		LastError:    t.LastError,
		LastReceived: t.Heard,
		Control:      t,
	}
	switch {
	case t.Down:
		s.State = Down
	case d.state != "":
		s.State = d.state
	case t.Many:
		s.State = Template
	}
	if t.State != control.Established {
		for _, err := range []error{c.pathError(t.Address), d.err} {
			if err != nil {
				s.LastError = why(err)
			}
		}
	}
	if d.bound != nil {
		s.SocketStatus = socketStatus(c.vias[t.Address.Via].conn)
	}
	for i := range t.Sessions {
		k := &t.Sessions[i]
		session := d.sessions[k.Name]
		if session == nil {
			continue
		}
		ss := session.status()
		ss.Control = k
		if ss.Stats.LastReceived.After(s.LastReceived) {
			s.LastReceived = ss.Stats.LastReceived
		}
		s.Sessions = append(s.Sessions, ss)
	}
	return s
}

// Up reports whether frames can be sent, as far as it is known.
func (t *TunnelStatus) Up() bool {
	return t.State == Up || t.State == State(control.Established.String())
}

func (t *Tunnel) status() TunnelStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := TunnelStatus{
		Name:         t.cfg.Name,
		Encap:        t.cfg.Encap().String(),
		State:        t.state,
		Since:        t.since,
		SocketStatus: SocketStatus{Local: t.cfg.Socket.Local},
		PeerName:     t.cfg.Peer.Name,
		PathMTU:      t.mtu,
		LastError:    why(t.err),
	}
	if t.bound != nil {
		s.SocketStatus, s.Peer = socketStatus(t.bound), t.shown.Peer()
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
	stats := s.sum()
	return SessionStatus{Name: s.name, Params: s.params, MTU: s.mtu, Stats: stats, Hint: s.hint(&stats)}
}

// hint says what a person should look at first.
func (s *Session) hint(stats *dataplane.Stats) string {
	switch {
	case stats.Misread && s.params.Sublayer == pseudowire.NoSublayer:
		return "frames make sense only 4 octets later: the peer seems to send the default sublayer, this side has sublayer = \"none\""
	case stats.Misread:
		return "frames make sense only 4 octets earlier: the peer seems to send no sublayer, this side has sublayer = \"default\""
	case s.circuit != nil: // the two have agreed on the rest
	case stats.RxPackets == 0 && stats.Drops[pseudowire.DropCookie] > 0:
		return "every frame has another cookie: receive_cookie here must be the peer's send_cookie"
	case stats.RxPackets == 0 && stats.Drops[pseudowire.DropSource] > 0:
		return "frames with the right cookie come from another address or port than the peer's: look at peer, and for address translation"
	}
	return ""
}
