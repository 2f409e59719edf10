package l2tpv2

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
)

// A Node is the whole control protocol of a LAC, an LNS, or both: its tunnels and
// sessions, and those that peers ask for. It is a machine: it does no I/O, starts no
// goroutine, reads no clock, and is not safe for concurrent use.
type Node struct {
	cfg Config

	peers   map[string]*peer
	sources machine.Sources[*peer] // of SCCRQs
	order   int

	conns     map[uint16]*conn // by our Tunnel ID
	names     map[string]*conn // of those that are established, or dialled
	requests  map[requestKey]*conn
	dialled   map[netip.Addr][]*conn // in wait-ctl-reply
	calls     map[CallID]*session
	lastCall  CallID
	halfOpen  []*conn // that peers have begun and not completed
	lingering []*conn // that peers had begun, and that answer for a while what comes again

	budgets     machine.Budgets
	notes       machine.Notes
	drops       [Drops]uint64
	lastDropped [Drops]Dropped

	timers  machine.Timers
	out     machine.Outbox[Address, *conn]
	events  machine.Queue[Event]
	closing bool

	jitter   machine.Jitter
	serial   uint32
	now      time.Time
	encoding wire.EncodingV2
}

// New returns a node without tunnels.
func New(cfg Config) *Node {
	set(&cfg.HalfOpen, defaultHalfOpen)
	set(&cfg.RequestRate, defaultRequestRate)
	n := &Node{
		cfg:      cfg,
		peers:    make(map[string]*peer),
		conns:    make(map[uint16]*conn),
		names:    make(map[string]*conn),
		requests: make(map[requestKey]*conn),
		dialled:  make(map[netip.Addr][]*conn),
		calls:    make(map[CallID]*session),
		jitter:   machine.NewJitter(cfg.Random),
	}
	n.serial = uint32(n.random64())
	return n
}

func (n *Node) random64() uint64 {
	var b [8]byte
	n.cfg.Random(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// newID returns a random ID that is free, never 0: "a 2 octet non-zero unsigned
// integer", RFC 2661 section 4.4.3. Where many are taken it takes the next one.
func newID[T any](random func([]byte), taken map[uint16]T) (id uint16, ok bool) {
	if len(taken) >= 65535 {
		return 0, false
	}
	var b [2]byte
	random(b[:])
	for id = binary.BigEndian.Uint16(b[:]); ; id++ {
		if _, is := taken[id]; id != 0 && !is {
			return id, true
		}
	}
}

func (n *Node) newTunnelID() (uint16, bool) { return newID(n.cfg.Random, n.conns) }

// Receive takes a control message as it came, the datagram. It keeps nothing of it.
func (n *Node) Receive(now time.Time, at Address, datagram []byte) {
	n.now = now
	h, message, err := wire.ParseControlV2(datagram)
	if err != nil {
		n.drop(DropHeader, at)
		return
	}
	t, has := wire.TypeOf(message)
	switch {
	case h.TunnelID != 0:
		c := n.conns[h.TunnelID]
		if c == nil {
			// RFC 2661 section 7.2.1 has a StopCCN sent for an SCCRP in idle.
			// Whoever wants to have us send somewhere must know a number.
			n.drop(DropTunnel, at)
			return
		}
		c.receive(now, at, h, message)
	case has && t == wire.TypeSCCRQ:
		n.request(now, at, h, message)
	case has && t == wire.TypeStopCCN:
		n.farewellFrom(now, at, h, message)
	default:
		n.drop(DropTunnel, at)
	}
}

// farewellFrom takes a StopCCN of a peer that does not know our ID yet: its Assigned
// Tunnel ID permits "the peer to identify the appropriate tunnel even if a StopCCN is
// sent before an Assigned Tunnel ID AVP is received", RFC 2661 section 4.4.3.
func (n *Node) farewellFrom(now time.Time, at Address, h wire.ControlHeaderV2, message []byte) {
	p, _ := wire.ParseV2(message, &wire.DecodingV2{Lenient: true})
	if m, ok := p.Message.(*wire.StopCCNV2); ok {
		if c := n.requests[requestKey{at, m.TunnelID}]; c != nil {
			c.receive(now, at, h, message)
			return
		}
	}
	n.drop(DropTunnel, at)
}

// request takes an SCCRQ.
func (n *Node) request(now time.Time, at Address, h wire.ControlHeaderV2, message []byte) {
	p, _ := wire.ParseV2(message, &wire.DecodingV2{Lenient: true})
	m, ok := p.Message.(*wire.SCCRQV2)
	if !ok {
		n.drop(DropRequest, at)
		return
	}
	t := n.match(at, m.HostName)
	if t == nil {
		n.drop(DropNoTunnel, at)
		return
	}
	// What is hidden is known when the peer is.
	p, err := wire.ParseV2(message, t.decoding())
	m = p.Message.(*wire.SCCRQV2)
	r := request{requestKey{at, m.TunnelID}, sum(message)}
	former := n.requests[r.key]
	if former != nil && former.again(now, r.sum) {
		former.receive(now, at, h, message)
		return
	}
	if h.Ns != 0 || h.Nr != 0 { // and it is to be the first message of all
		n.drop(DropSequence, at)
		return
	}
	if !n.budgets.Take(now, at.Peer.Addr(), float64(n.cfg.RequestRate)) {
		n.drop(DropRate, at)
		return
	}
	if trace := n.cfg.Trace; trace != nil {
		trace(Traced{false, t.cfg.Name, at, message, t.cfg.Secret})
	}
	if !n.tied(now, at, m) {
		return
	}
	// Of a request that is not acceptable nothing is kept, or strangers could have
	// us remember and repeat as much as they like.
	bad := t.judgeRequest(m)
	if err != nil {
		bad = wire.Result{Code: wire.StopError, Error: err.Code, Message: err.Text}
	}
	if bad != (wire.Result{}) {
		n.emit(Event{Kind: Noted, Config: t.cfg.Name, Address: at, Reason: "SCCRQ refused: " + bad.Text(wire.TypeStopCCN)})
		n.reject(t, at, m, bad)
		return
	}
	if len(n.halfOpen) >= n.cfg.HalfOpen {
		n.drop(DropHalfOpen, at)
		n.halfOpen[n.jitter.IntN(len(n.halfOpen))].lost(now, "it made room for another")
	}
	id, free := n.newTunnelID()
	if !free || t.accepted >= t.cfg.Limit {
		n.drop(DropLimit, at)
		n.reject(t, at, m, tooMany)
		return
	}
	c := n.accept(now, t, id, at, h, m, r)
	if former != nil && former.peer.HostName == m.HostName {
		// A peer that begins anew with the ID that it had before has lost what
		// it had. Whoever has merely its address does not complete this.
		c.former = former
	}
	c.arrange(now)
}

// tooMany is the result where there are as many tunnels as there may be.
var tooMany = wire.Result{Code: wire.StopError, Error: wire.ErrorResources, Message: "too many tunnels"}

// candidates yields those to whom a source may belong: those of the address before
// those of its network.
func (n *Node) candidates(at Address, yield func(*peer) bool) {
	for p := range n.sources.Of(at.Peer.Addr().Unmap().WithZone("")) {
		if p.via(at.Via) && !yield(p) {
			return
		}
	}
}

// match returns whose SCCRQ it is, nil if nobody's: one that names the host rather
// than one that takes any.
func (n *Node) match(at Address, hostName string) (found *peer) {
	n.candidates(at, func(p *peer) bool {
		if p.down || n.closing || p.cfg.Dial && !p.cfg.Listen {
			return true
		}
		switch p.cfg.PeerHostName {
		case hostName:
			found = p
			return false
		case "":
			if found == nil {
				found = p
			}
		}
		return true
	})
	return found
}

// judgeRequest reports why an SCCRQ is not acceptable.
func (p *peer) judgeRequest(m *wire.SCCRQV2) (bad wire.Result) {
	switch {
	case m.Protocol>>8 != wire.ProtocolV2>>8:
		// "The protocol version of the requester is not supported. Error Code
		// indicates highest version supported"
		return wire.Result{Code: wire.StopVersion, Error: wire.ProtocolV2 >> 8}
	case m.TunnelID == 0 && p.cfg.Strict:
		return wire.Result{Code: wire.StopError, Error: wire.ErrorRange, Message: "Assigned Tunnel ID: 0"}
	case len(m.Challenge) > 0 && p.cfg.Secret == nil:
		return wire.Result{Code: wire.StopNotAuthorized, Message: "there is no secret here to answer a challenge with"}
	}
	return bad
}

// tied breaks the tie between an SCCRQ and those that we have sent to the same
// peer, and reports whether it is still to be accepted. RFC 2661 section 4.4.3: "The
// lower value "wins", and the "loser" MUST silently discard its tunnel. In the case
// where a tie breaker is present on both sides, and the value is equal, both sides
// MUST discard their tunnels."
func (n *Node) tied(now time.Time, at Address, m *wire.SCCRQV2) bool {
	for _, c := range slices.Clone(n.dialled[at.Peer.Addr()]) {
		ours, theirs := c.tie, m.TieBreaker
		switch {
		case c.at.Via != at.Via:
		case !ours.Set && !theirs.Set:
			// "If neither side issues a tie breaker, then two separate tunnels
			// are opened."
		case ours.Set && theirs.Set && ours.Value == theirs.Value:
			c.do(now, rcvSCCRQLost, wire.Result{})
			if p := c.config; !p.down {
				p.redialAt = now.Add(n.jitter.Around(tieRestart))
				p.arrange()
			}
			return false
		case ours.Set && (!theirs.Set || ours.Value < theirs.Value):
			n.drop(DropTie, at)
			return false
		default:
			c.do(now, rcvSCCRQLost, wire.Result{})
		}
	}
	return true
}

// tieRestart is about how long after a tie of equals both sides begin anew.
const tieRestart = 100 * time.Millisecond

// reject answers an SCCRQ with a StopCCN and keeps nothing of it.
func (n *Node) reject(p *peer, at Address, m *wire.SCCRQV2, r wire.Result) {
	id, _ := n.newTunnelID() // which the AVP must have, and nobody will use
	body := wire.AppendBodyV2(nil, &wire.StopCCNV2{TunnelID: id, Result: r}, &wire.EncodingV2{})
	n.reply(p, at, wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: m.TunnelID, Nr: 1}, body))
}

func (n *Node) reply(p *peer, at Address, message []byte) {
	if trace := n.cfg.Trace; trace != nil {
		trace(Traced{true, p.cfg.Name, at, message, p.cfg.Secret})
	}
	n.out.Reply(at, message)
}

// again reports whether an SCCRQ that names the peer's tunnel as this one's did is
// the same one come again, and not a peer that has begun anew.
func (c *conn) again(now time.Time, sum uint64) bool {
	if c.asked.sum != sum {
		return false
	}
	// Once the tunnel was completed no copy of its SCCRQ is sent any more; the
	// network holds one for a moment. After the tunnel was closed it is rather a
	// client that dials again: some say the same each time.
	return c.state == WaitCtlConn || c.state == Established && now.Sub(c.since) < 5*time.Second
}

// sum tells SCCRQs apart.
func sum(message []byte) uint64 {
	h := fnv.New64a()
	h.Write(message[wire.ControlHeaderLen:])
	return h.Sum64()
}

// dialling notes, or forgets, that a tunnel's SCCRQ may meet one of the peer's.
func (n *Node) dialling(c *conn, yes bool) {
	addr := c.at.Peer.Addr()
	all := slices.DeleteFunc(n.dialled[addr], func(o *conn) bool { return o == c })
	if yes {
		all = append(all, c)
	}
	if len(all) == 0 {
		delete(n.dialled, addr)
		return
	}
	n.dialled[addr] = all
}

// rest lists a tunnel of a peer's that is closed, or strangers could have us
// remember as many as they like.
func (n *Node) rest(c *conn) {
	if c.dialled {
		return
	}
	if len(n.lingering) >= n.cfg.HalfOpen {
		n.remove(n.lingering[n.jitter.IntN(len(n.lingering))])
	}
	machine.Enter(&n.lingering, c)
}

// remove forgets a tunnel for good.
func (n *Node) remove(c *conn) {
	if c.removed {
		return
	}
	c.removed = true
	machine.Leave(c)
	n.dialling(c, false)
	n.timers.Set(&c.timer, time.Time{})
	delete(n.conns, c.id)
	if n.requests[c.asked.key] == c {
		delete(n.requests, c.asked.key)
	}
	c.former = nil
}

// wake has a tunnel asked for what it has to send.
func (n *Node) wake(c *conn) {
	if !c.queued && !c.removed {
		c.queued = true
		n.out.Wake(c)
	}
}

// Transmit appends the next control message to b and says where it goes; call it
// until ok is false.
func (n *Node) Transmit(b []byte) (_ []byte, to Address, ok bool) { return n.out.Transmit(b) }

// Advance does what has become due.
func (n *Node) Advance(now time.Time) {
	n.now = now
	n.timers.Advance(now)
}

// Deadline returns when to call Advance; the zero time: never.
func (n *Node) Deadline() time.Time { return n.timers.Deadline() }

// Event returns what happened, in its order; call it until ok is false.
func (n *Node) Event() (_ Event, ok bool) { return n.events.Take() }

func (n *Node) emit(e Event) {
	e.Time = n.now
	if e.Kind == Noted {
		end, ok := n.notes.Take(n.now)
		if !ok {
			return
		}
		e.Reason += end
	}
	n.events.Put(e)
}

// Close closes all tunnels by StopCCN. What is to be sent is still to be sent, until
// Quiet.
func (n *Node) Close(now time.Time) {
	n.now, n.closing = now, true
	for _, p := range n.peers {
		p.shut(now, wire.Result{Code: wire.StopShutdown})
	}
}

// Quiet reports whether no message waits for its acknowledgment any more.
func (n *Node) Quiet() bool {
	for _, c := range n.conns {
		if !c.reliable.Idle() && !c.reliable.Failed() {
			return false
		}
	}
	return len(n.out.Replies) == 0
}
