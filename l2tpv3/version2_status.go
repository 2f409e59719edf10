package l2tpv3

import (
	"cmp"
	"net/netip"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/l2tpv2"
)

// A Version2Status is the part of a Status that is of a Version2Config, with its tunnel
// if it is one that dials; or of a tunnel that a peer asked for.
type Version2Status struct {
	Name   string // of the tunnel: "phones", or "phones#17" of one that a peer asked for
	Config string // of the Version2Config
	// State is that of the tunnel, l2tpv2.State, or where there can be none Resolving,
	// Binding, Template of one that waits for peers, or Down.
	State State
	Since time.Time
	SocketStatus
	Peer         netip.AddrPort // not valid: unknown yet
	PeerName     string         // empty: the peer is configured by address
	PathMTU      int            // octets of an IP packet, 0: unknown yet
	LastError    string
	LastReceived time.Time

	// Control is how the Version2Config stands, without its tunnels; nil: this is of a
	// tunnel that a peer asked for.
	Control *l2tpv2.Status
	// Tunnel is how the tunnel stands, without its sessions; nil: there is none.
	Tunnel *l2tpv2.TunnelStatus
	Calls  []CallStatus // in the order in which they began
}

// A CallStatus is a call's part of a Status.
type CallStatus struct {
	Name   string
	Call   l2tpv2.CallID
	State  State
	Since  time.Time // in this state
	Params l2tpv2.Params
	MTU    int // of a PPP packet, as the path allows it; 0: unknown yet
	Stats  dataplane.Stats

	call *Call
}

// Up reports whether the tunnel is established.
func (t *Version2Status) Up() bool { return t.State == State(l2tpv2.Established.String()) }

// refusedV2 tells what control messages were not acted upon.
func (c *channel) refusedV2(all *[l2tpv2.Drops]Refusal) {
	last := c.node.LastDropped()
	for why, n := range c.node.DropCounts() {
		all[why] = Refusal{n, control.Dropped(last[why])}
	}
}

// glanceV2 counts the tunnels of L2TPv2. One that dials for both versions is one of
// the version that it comes to.
func (c *channel) glanceV2(g *Glance) {
	g.Up += len(c.allV2)
	g.Tunnels += len(c.allV2)
	for _, v := range c.configsV2 {
		switch {
		case v.auto != nil && v.one != nil:
			g.Tunnels--
		case v.auto == nil && v.cfg.Control.Dial && v.one == nil:
			g.Tunnels++
		}
	}
}

// statusV2 tells how the tunnels of L2TPv2 stand.
func (c *channel) statusV2(s *Status) {
	c.mu.Lock()
	for _, config := range c.node.Status() {
		v := c.configsV2[config.Name]
		if v == nil {
			continue
		}
		at := len(s.Version2)
		s.Version2 = append(s.Version2, v.status(&config))
		for _, t := range config.Tunnels {
			if t.Name == config.Name {
				c.tellTunnel(&s.Version2[at], &t)
				continue
			}
			one := Version2Status{Name: t.Name, Config: config.Name, PeerName: v.cfg.Peer.Name}
			c.tellTunnel(&one, &t)
			s.Version2 = append(s.Version2, one)
		}
	}
	c.mu.Unlock()
	for i := range s.Version2 {
		t := &s.Version2[i]
		for j := range t.Calls {
			k := &t.Calls[j]
			if k.Stats = k.call.Stats(); k.Stats.LastReceived.After(t.LastReceived) {
				t.LastReceived = k.Stats.LastReceived
			}
		}
	}
}

// status tells how what is configured stands.
func (v *configV2) status(config *l2tpv2.Status) Version2Status {
	control := *config
	control.Tunnels = nil
	s := Version2Status{
		Name:         config.Name,
		Config:       config.Name,
		State:        State(l2tpv2.Idle.String()),
		Since:        config.Since,
		SocketStatus: SocketStatus{Local: v.cfg.Socket.Local},
		PeerName:     v.cfg.Peer.Name,
		LastError:    config.LastError,
		Control:      &control,
	}
	switch {
	case config.Down:
		s.State = Down
	case v.state != "":
		s.State = v.state
	case !v.cfg.Control.Dial:
		s.State = Template
	}
	if v.err != nil {
		s.LastError = why(v.err)
	}
	if v.bound != nil {
		s.SocketStatus = socketStatus(v.bound)
	}
	return s
}

// tellTunnel tells how a tunnel stands.
func (c *channel) tellTunnel(s *Version2Status, t *l2tpv2.TunnelStatus) {
	tunnel := *t
	tunnel.Sessions = nil
	s.State, s.Since, s.Tunnel = State(t.State.String()), t.Since, &tunnel
	s.Peer, s.LastReceived = t.Address.Peer, t.Heard
	s.SocketStatus = socketStatus(c.vias[t.Address.Via].conn)
	err := c.pathError(fromV2(t.Address))
	if one := c.tunnelsV2[t.TunnelID]; one != nil {
		s.PathMTU, err = one.mtu, cmp.Or(err, one.err)
	}
	if err != nil {
		s.LastError = why(err)
	}
	for i := range t.Sessions {
		k := &t.Sessions[i]
		if p := c.calls[k.Call]; p != nil {
			s.Calls = append(s.Calls, CallStatus{Name: p.name, Call: p.id, State: State(k.State.String()), Since: k.Since, Params: k.Params, MTU: p.mtu, call: p})
		}
	}
}
