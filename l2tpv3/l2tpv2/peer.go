package l2tpv2

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
)

// A peer is a TunnelConfig and what came of it: of one that dials the tunnel to its
// peer, of others those that are accepted.
type peer struct {
	node    *Node
	cfg     TunnelConfig
	order   int // among the peers, as they were added
	timer   machine.Timer
	binding Binding

	conn     *conn // of one that dials: established, or being dialled
	all      map[*conn]struct{}
	accepted int // of all, those that are established and that the peer asked for
	waiting  sessionList
	kept     *kept // nil: no call is

	down      bool // by command
	since     time.Time
	redialAt  time.Time
	backoff   time.Duration
	attempts  int
	ups       int
	lastError string // why there is no tunnel
}

// Add adds a peer to dial, as soon as Bind says where, or those to accept.
func (n *Node) Add(now time.Time, cfg TunnelConfig) error {
	if n.peers[cfg.Name] != nil {
		return fmt.Errorf("l2tpv2: tunnel %s is there already", cfg.Name)
	}
	cfg.complete(&n.cfg)
	n.order++
	p := &peer{node: n, cfg: cfg, order: n.order, since: now, all: make(map[*conn]struct{})}
	p.waiting.Kind = waitingLink
	p.timer.What = p
	n.peers[cfg.Name] = p
	return nil
}

// Bind says where a peer is. It may be said again whenever that changes: an address
// that is among the new ones too is dialled on.
func (n *Node) Bind(now time.Time, name string, b Binding) {
	n.now = now
	p := n.peers[name]
	if p == nil {
		return
	}
	n.sources.Remove(p)
	former := p.binding.At
	p.binding = b
	if former.Peer.IsValid() && slices.Contains(b.Others, former) {
		for p.binding.At != former {
			p.binding.turn()
		}
	}
	n.sources.Add(p)
	if p.binding.At == former {
		return
	}
	if c := p.conn; c != nil && c.state == WaitCtlReply && c.at != p.binding.At {
		c.close(now, wire.Result{Code: wire.StopGeneral, Message: "another address is tried"})
	}
	p.dialSoon(now)
}

// dialSoon has one that dials do so at once, if there is a reason to.
func (p *peer) dialSoon(now time.Time) {
	if p.mayDial() && p.wanted() {
		p.redialAt, p.backoff = now, 0
		p.arrange()
	}
}

// mayDial reports whether one that dials can do so.
func (p *peer) mayDial() bool {
	return p.cfg.Dial && !p.down && !p.node.closing && p.conn == nil && p.binding.At.Peer.IsValid()
}

// wanted reports whether there is a reason to dial.
func (p *peer) wanted() bool {
	return !p.cfg.Offered && (!p.cfg.OnDemand || p.waiting.Count > 0 || p.kept != nil)
}

// turn has the next address be dialled.
func (b *Binding) turn() {
	if len(b.Others) > 0 {
		b.At, b.Others = b.Others[0], append(b.Others[1:len(b.Others):len(b.Others)], b.At)
	}
}

// Prefixes implements machine.Source.
func (p *peer) Prefixes() []netip.Prefix { return p.binding.Peers }

// Order implements machine.Source.
func (p *peer) Order() int { return p.order }

// via reports whether the peer's SCCRQs may come through a socket.
func (p *peer) via(via int) bool {
	if len(p.binding.Vias) == 0 {
		return p.binding.At.Via == via
	}
	return slices.Contains(p.binding.Vias, via)
}

func (p *peer) decoding() *wire.DecodingV2 {
	return &wire.DecodingV2{Secret: p.cfg.Secret, Lenient: !p.cfg.Strict}
}

// Advance dials, when the time has come, and gives up calls that wait for too long.
func (p *peer) Advance(now time.Time) {
	if !p.redialAt.IsZero() && !now.Before(p.redialAt) {
		p.redialAt = time.Time{}
		switch {
		case p.down || p.conn != nil || !p.binding.At.Peer.IsValid():
		case p.cfg.TieBreaker && len(p.all) > 0 && now.Sub(p.since) < p.cfg.SetupTimeout:
			// The peer's own attempt may do; for a while, or whoever begins
			// tunnels and completes none could hold ours up.
			p.redialAt = now.Add(p.node.jitter.Around(p.cfg.RedialMin))
		default:
			p.attempts++
			p.since = now
			p.node.dial(now, p)
		}
	}
	for s := p.waiting.First; s != nil && !now.Before(s.begun.Add(p.cfg.SetupTimeout)); s = p.waiting.First {
		s.do(now, localClose, ending{reason: "the tunnel did not come up in time"})
	}
	if k := p.kept; k != nil && !k.at.IsZero() && !now.Before(k.at) {
		p.keep(now)
	}
	p.arrange()
}

func (p *peer) arrange() {
	at := p.redialAt
	if s := p.waiting.First; s != nil {
		at = machine.Earliest(at, s.begun.Add(p.cfg.SetupTimeout))
	}
	if p.kept != nil {
		at = machine.Earliest(at, p.kept.at)
	}
	p.node.timers.Set(&p.timer, at)
}

// redial sets the time of the next attempt.
func (p *peer) redial(now time.Time) {
	if !p.cfg.Dial || p.down || p.node.closing || !p.wanted() ||
		p.cfg.RedialLimit > 0 && p.attempts >= p.cfg.RedialLimit {
		return
	}
	p.backoff = min(max(2*p.backoff, p.cfg.RedialMin), p.cfg.RedialMax)
	p.redialAt = now.Add(p.node.jitter.Around(p.backoff))
	p.arrange()
}

// established takes a tunnel that is complete.
func (p *peer) established(now time.Time, c *conn) {
	n := p.node
	if f := c.former; f != nil {
		c.former = nil
		if !f.removed && f.state != Idle {
			f.lost(now, "the peer began anew")
		}
	}
	if !c.dialled {
		if p.accepted >= p.cfg.Limit {
			p.node.drop(DropLimit, c.at)
			c.close(now, tooMany)
			return
		}
		p.accepted++
	}
	if old := p.conn; p.cfg.TieBreaker && old != nil && old != c {
		// "the sender wishes a single tunnel to exist between the given LAC-LNS
		// pair": a peer that asks for another has lost the one that it had, or
		// the two have met where no tie could be seen.
		p.node.Withdraw(now, p.cfg.Name)
		p.conn = nil
		old.close(now, wire.Result{Code: wire.StopExists, Message: "a newer tunnel has taken its place"})
	}
	if p.cfg.Dial && p.conn == nil {
		p.conn = c
		c.name = p.cfg.Name
	}
	n.names[c.name] = c
	p.redialAt, p.backoff, p.attempts, p.lastError = time.Time{}, 0, 0, ""
	p.since = now
	p.ups++
	c.emit(Event{Kind: TunnelUp})
	if p.conn == c {
		for s := range p.waiting.Each {
			c.open(now, s)
		}
		p.keep(now)
	}
	p.arrange()
}

// closed takes a tunnel that is no more.
func (p *peer) closed(now time.Time, c *conn, former State, e Event) {
	delete(p.all, c)
	was := p.node.names[c.name] == c
	if was {
		delete(p.node.names, c.name)
		if !c.dialled {
			p.accepted--
		}
	}
	e.Kind, e.Reason, e.ByPeer = TunnelDown, c.reason, c.byPeer
	if c.byPeer {
		e.Reason = "closed by peer: " + c.reason
	}
	if p.conn != c {
		if was {
			c.emit(e)
		} else {
			c.emit(Event{Kind: Noted, Reason: "a tunnel was not completed: " + e.Reason})
		}
		return
	}
	p.conn = nil
	p.since, p.lastError = now, e.Reason
	if former == WaitCtlReply && (c.byPeer || c.reliable.Failed()) {
		p.binding.turn()
	}
	if !c.gaveWay { // else the calls wait for the tunnel that the peer asked for
		for s := range p.waiting.Each {
			s.do(now, localClose, ending{reason: "the tunnel did not come up: " + e.Reason})
		}
	}
	p.redial(now)
	e.Next = p.redialAt
	c.emit(e)
}

// Remove closes the tunnels of a peer and forgets it.
func (n *Node) Remove(now time.Time, name string) {
	n.now = now
	if p := n.peers[name]; p != nil {
		p.down = true
		p.shut(now, wire.Result{Code: wire.StopGeneral, Message: "removed from the configuration"})
		n.sources.Remove(p)
		n.timers.Set(&p.timer, time.Time{})
		delete(n.peers, name)
	}
}

// shut closes all tunnels of a peer, and the calls that wait for one.
func (p *peer) shut(now time.Time, r wire.Result) {
	p.redialAt = time.Time{}
	for s := range p.waiting.Each {
		s.do(now, localClose, ending{reason: ours(r, wire.TypeStopCCN)})
	}
	if p.kept != nil {
		p.kept.at = time.Time{}
	}
	for _, c := range p.tunnels() {
		if c.offered {
			p.node.Withdraw(now, p.cfg.Name)
			continue
		}
		c.close(now, r)
	}
	p.arrange()
}

// tunnels returns the tunnels that are not closed, in the order of their IDs.
func (p *peer) tunnels() (all []*conn) {
	for c := range p.all {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *conn) int { return int(a.id) - int(b.id) })
	return all
}

// Down closes the tunnels of a peer until Up, or one tunnel that was accepted.
func (n *Node) Down(now time.Time, name string) error {
	n.now = now
	r := wire.Result{Code: wire.StopGeneral, Message: ByCommand}
	if p := n.peers[name]; p != nil {
		p.down = true
		p.shut(now, r)
		p.lastError = ByCommand
		return nil
	}
	if c := n.names[name]; c != nil {
		c.close(now, r)
		return nil
	}
	return fmt.Errorf("l2tpv2: %s: no such tunnel", name)
}

// Up opens what is down, and has one that waits for its next attempt try at once.
func (n *Node) Up(now time.Time, name string) error {
	n.now = now
	p := n.peers[name]
	if p == nil {
		return fmt.Errorf("l2tpv2: %s: no such tunnel", name)
	}
	p.down, p.attempts = false, 0
	p.dialSoon(now)
	if p.kept != nil {
		p.kept.backoff = 0
		p.keep(now)
		p.arrange()
	}
	return nil
}

// Heard says that data of a tunnel, named by our ID, came at a time: a peer that
// sends data lives, and is sent no HELLO. RFC 2661 section 6.5.
func (n *Node) Heard(tunnelID uint16, at time.Time) {
	if c := n.conns[tunnelID]; c != nil && c.state == Established && at.After(c.heard) {
		c.heard = at
		c.setHello()
		c.arrange(at)
	}
}

// A Status is what there is to be known of a TunnelConfig.
type Status struct {
	Name      string
	Down      bool      // by command
	Since     time.Time // of the state
	Next      time.Time // the next attempt to dial; zero: none
	Attempts  int       // since the last success
	Ups       int
	LastError string
	Waiting   int // calls
	Tunnels   []TunnelStatus
}

// A TunnelStatus is what there is to be known of a tunnel.
type TunnelStatus struct {
	Name     string
	TunnelID uint16
	State    State
	Since    time.Time
	Address  Address
	Peer     Peer
	Heard    time.Time
	Sessions []SessionStatus
}

// A SessionStatus is what there is to be known of a session.
type SessionStatus struct {
	Call   CallID
	State  State
	Since  time.Time
	Params Params
}

// Status returns what there is, in the order in which it was added.
func (n *Node) Status() (all []Status) {
	order := make([]*peer, 0, len(n.peers))
	for _, p := range n.peers {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b *peer) int { return a.order - b.order })
	for _, p := range order {
		s := Status{Name: p.cfg.Name, Down: p.down, Since: p.since, Next: p.redialAt, Attempts: p.attempts, Ups: p.ups, LastError: p.lastError, Waiting: p.waiting.Count}
		for _, c := range p.tunnels() {
			t := TunnelStatus{Name: c.name, TunnelID: c.id, State: c.state, Since: c.since, Address: c.at, Peer: c.peer, Heard: c.heard}
			for s := range c.all.Each {
				t.Sessions = append(t.Sessions, SessionStatus{s.id, s.state, s.since, s.params})
			}
			s.Tunnels = append(s.Tunnels, t)
		}
		all = append(all, s)
	}
	return all
}
