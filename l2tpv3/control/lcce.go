package control

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
)

// An LCCE is a node's whole control protocol: its tunnels, their connections and
// sessions, and those that peers ask for. It is a machine: it does no I/O, starts
// no goroutine, reads no clock, and is not safe for concurrent use.
type LCCE struct {
	cfg Config

	tunnels  map[string]*tunnel
	circuits map[string]*circuit
	sources  machine.Sources[*tunnel] // of SCCRQs
	order    int

	conns     map[uint32]*conn // by our Control Connection ID
	requests  map[requestKey]*conn
	sessions  map[uint32]*session // by our Session ID
	reserved  map[uint32]bool     // Session IDs of static sessions
	halfOpen  []*conn             // that peers have begun and not completed
	lingering []*conn             // that peers had begun, and that answer for a while what comes again

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
	body     []byte // of the message that is being written
	encoding wire.Encoding
}

// New returns an LCCE without tunnels.
func New(cfg Config) *LCCE {
	set(&cfg.HalfOpen, defaultHalfOpen)
	set(&cfg.RequestRate, defaultRequestRate)
	l := &LCCE{
		cfg:      cfg,
		tunnels:  make(map[string]*tunnel),
		circuits: make(map[string]*circuit),
		conns:    make(map[uint32]*conn),
		requests: make(map[requestKey]*conn),
		sessions: make(map[uint32]*session),
		reserved: make(map[uint32]bool),
		jitter:   machine.NewJitter(cfg.Random),
	}
	l.serial = uint32(l.random64())
	return l
}

// Reserve keeps a Session ID for a static session.
func (l *LCCE) Reserve(sessionID uint32) { l.reserved[sessionID] = true }

func (l *LCCE) random64() uint64 {
	var b [8]byte
	l.cfg.Random(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// newID returns a random ID, never 0, that is not taken.
func (l *LCCE) newID(taken func(uint32) bool) uint32 {
	for {
		if id := uint32(l.random64()); id != 0 && !taken(id) {
			return id
		}
	}
}

// serialNumber returns the next Serial Number.
func (l *LCCE) serialNumber() uint32 {
	l.serial++
	return l.serial
}

// candidates yields the tunnels that a source may belong to: those of the address
// before those of its network.
func (l *LCCE) candidates(at Address, yield func(*tunnel) bool) {
	for t := range l.sources.Of(at.Peer.Addr().WithZone("")) {
		if t.via(at.Via) && !yield(t) {
			return
		}
	}
}

// Receive takes a control message as it came: over UDP the datagram, over IP what
// follows the Session ID of 0. It keeps nothing of it.
func (l *LCCE) Receive(now time.Time, at Address, datagram []byte) {
	l.now = now
	h, message, err := wire.ParseControl(datagram)
	if err != nil {
		l.drop(DropHeader, at)
		return
	}
	t, has := wire.TypeOf(message)
	switch {
	case h.ConnectionID != 0:
		c := l.conns[h.ConnectionID]
		if c == nil {
			// RFC 3931 section 7.2 has a StopCCN sent for an SCCRP or SCCCN
			// in idle. There is nothing to authenticate it by, and whoever
			// wants to have us send somewhere must know no number.
			l.drop(DropConnection, at)
			return
		}
		c.receive(now, at, h, message)
	case has && t == wire.TypeSCCRQ:
		l.request(now, at, h, message)
	case has && t == wire.TypeStopCCN:
		l.farewellFrom(now, at, h, message)
	default:
		l.drop(DropConnection, at)
	}
}

// farewellFrom takes a StopCCN of a peer that does not know our ID yet, by a
// reverse lookup. RFC 3931 section 5.4.3, Assigned Control Connection ID.
func (l *LCCE) farewellFrom(now time.Time, at Address, h wire.ControlHeader, message []byte) {
	p, _ := wire.Parse(message, &wire.Decoding{Lenient: true})
	m, ok := p.Message.(*wire.StopCCN)
	if !ok || m.ConnectionID == 0 {
		l.drop(DropConnection, at)
		return
	}
	c := l.requests[requestKey{at, m.ConnectionID}]
	if c == nil {
		l.drop(DropConnection, at)
		return
	}
	c.receive(now, at, h, message)
}

// request takes an SCCRQ.
func (l *LCCE) request(now time.Time, at Address, h wire.ControlHeader, message []byte) {
	p, err := wire.Parse(message, &wire.Decoding{Lenient: true})
	m, ok := p.Message.(*wire.SCCRQ)
	if !ok {
		l.drop(DropRequest, at)
		return
	}
	var t *tunnel
	var a auth
	var why Drop
	// An ID that is hidden is known when the peer is.
	if m.ConnectionID == 0 && wire.HasDigest(message) {
		if t, a, why = l.match(at, m, message); t == nil {
			l.drop(why, at)
			return
		}
		m, p, err = reread(t, &a, message)
	}
	switch {
	case m.ConnectionID == 0 && h.Version == 2:
		l.drop(DropVersion2, at)
		return
	case m.ConnectionID == 0:
		l.drop(DropRequest, at)
		return
	}
	r := request{requestKey{at, m.ConnectionID}, sum(message)}
	if c := l.requests[r.key]; c != nil && c.again(now, r.sum) {
		c.receive(now, at, h, message)
		return
	}
	if t == nil {
		if t, a, why = l.match(at, m, message); t == nil {
			l.drop(why, at)
			return
		}
		m, p, err = reread(t, &a, message)
	}
	if h.Ns != 0 || h.Nr != 0 { // and it is to be the first message of all
		l.drop(DropSequence, at)
		return
	}
	// RFC 3931 section 4.3: "Implementations MAY rate-limit control messages,
	// particularly SCCRQ messages".
	if !a.enabled && !l.budgets.Take(now, at.Peer.Addr(), float64(l.cfg.RequestRate)) {
		l.drop(DropRate, at)
		return
	}
	if trace := l.cfg.Trace; trace != nil {
		trace(Traced{false, t.cfg.Name, at, message, a.agreed})
	}
	if !l.tied(now, t, at, m, a) {
		return
	}
	if err != nil {
		// Of a request that is not acceptable nothing is kept, or strangers
		// could have us remember and repeat as much as they like.
		l.emit(Event{Kind: Noted, Tunnel: t.cfg.Name, Address: at, Reason: "malformed SCCRQ: " + err.Text})
		l.reject(t, at, m, a, wire.Result{Code: wire.StopError, Error: err.Code, Message: err.Text})
		return
	}
	if t.cfg.Many && len(t.instances) >= t.cfg.Limit && t.instances[instanceKey{m.HostName, m.RouterID}] == nil {
		l.drop(DropLimit, at)
		return
	}
	if len(l.halfOpen) >= l.cfg.HalfOpen {
		l.drop(DropHalfOpen, at)
		l.halfOpen[l.jitter.IntN(len(l.halfOpen))].lost(now, "it made room for another")
	}
	l.accept(now, t, at, h, m, &p, r, a).arrange(now)
}

// reread reads an SCCRQ that is known to be a tunnel's peer's, as this peer is to
// be taken.
func reread(t *tunnel, a *auth, message []byte) (*wire.SCCRQ, wire.Parsed, *wire.Error) {
	p, err := wire.Parse(message, &wire.Decoding{Secret: a.agreed, Lenient: t.cfg.Dialect != IETF})
	return p.Message.(*wire.SCCRQ), p, err
}

// match returns the tunnel whose peer has sent an SCCRQ, with what its messages
// are authenticated by; or why there is none.
func (l *LCCE) match(at Address, m *wire.SCCRQ, message []byte) (found *tunnel, with auth, why Drop) {
	why = DropNoTunnel
	var busy *tunnel
	var busyWith auth
	l.candidates(at, func(t *tunnel) bool {
		if t.down || l.closing || t.cfg.PeerHostName != "" && t.cfg.PeerHostName != m.HostName ||
			t.cfg.PeerRouterID != 0 && t.cfg.PeerRouterID != m.RouterID {
			return true
		}
		a := newAuth(&t.cfg, l.cfg.Random)
		if drop := a.begin(message); drop != accepted {
			why = drop
			return true
		}
		if c := t.conn; c != nil && c.state == Established && !t.cfg.Many && c.peer.HostName != m.HostName {
			// Of several tunnels to one address, one whose peer is somebody
			// else is taken last.
			if busy == nil {
				busy, busyWith = t, a
			}
			return true
		}
		found, with = t, a
		return false
	})
	if found == nil {
		found, with = busy, busyWith
	}
	return found, with, why
}

// tied breaks the tie between an SCCRQ and one that we have sent to the same
// peer, and reports whether the peer's is to be accepted. RFC 3931 section 5.4.3.
func (l *LCCE) tied(now time.Time, t *tunnel, at Address, m *wire.SCCRQ, a auth) bool {
	c := t.conn
	if c == nil || c.state != WaitCtlReply {
		return true
	}
	switch tie(c.tie, m.TieBreaker) {
	case won:
		c.do(now, rcvSCCRQBeaten, wire.Result{})
		l.reject(t, at, m, a, wire.Result{Code: wire.StopExists, Message: "lost the tie breaker"})
		return false
	case lost:
		c.do(now, rcvSCCRQLost, wire.Result{})
		return true
	case equal:
		c.do(now, rcvSCCRQLost, wire.Result{})
		t.redialAt = now.Add(l.jitter.Around(tieRestart))
		t.arrange()
		return false
	}
	return true // "then two separate control connections are opened"
}

// reject answers an SCCRQ with a StopCCN and keeps nothing of it.
func (l *LCCE) reject(t *tunnel, at Address, m *wire.SCCRQ, a auth, r wire.Result) {
	e := &wire.Encoding{Signatures: a.signatures, Random: l.cfg.Random}
	body := wire.AppendBody(nil, &wire.StopCCN{Result: r}, e)
	message := wire.AppendControl(nil, wire.ControlHeader{Version: 3, ConnectionID: m.ConnectionID, Ns: 0, Nr: 1}, body)
	if len(a.signatures) > 0 {
		if a.enabled {
			wire.Seal(message, a.signatures, nil, a.peerNonce)
		} else {
			wire.Seal(message, a.signatures, nil, nil)
		}
	}
	l.reply(t, at, message, a.agreed)
}

// farewell tells a peer that may have seen our SCCRQ that it is void.
func (l *LCCE) farewell(c *conn, r wire.Result) {
	body := wire.AppendBody(nil, &wire.StopCCN{ConnectionID: c.id, Result: r}, c.encoding())
	message := wire.AppendControl(nil, wire.ControlHeader{Version: 3, Ns: 1}, body)
	c.auth.seal(message, false)
	l.reply(c.tunnel, c.at, message, c.auth.agreed)
}

func (l *LCCE) reply(t *tunnel, at Address, message []byte, secret *wire.Secret) {
	if trace := l.cfg.Trace; trace != nil {
		trace(Traced{true, t.cfg.Name, at, message, secret})
	}
	l.out.Reply(at, message)
}

// again reports whether an SCCRQ that names the peer's connection as this one's
// did is the same one come again, and not a peer that has begun anew with an ID
// that it had before.
func (c *conn) again(now time.Time, sum uint64) bool {
	if c.request.sum != sum {
		return false
	}
	// Once the connection was completed no copy of its SCCRQ is sent any more;
	// the network holds one for a moment.
	return c.state == WaitCtlConn || now.Sub(c.since) < 5*time.Second
}

// sum tells SCCRQs apart, whatever their header's Nr.
func sum(message []byte) uint64 {
	h := fnv.New64a()
	h.Write(message[wire.ControlHeaderLen:])
	return h.Sum64()
}

// unlist takes a connection off its list.
func (l *LCCE) unlist(c *conn) {
	if c.place.List == &l.halfOpen {
		c.tunnel.incoming--
	}
	machine.Leave(c)
}

// rest lists a connection of a peer's that is closed, or strangers could have us
// remember as many as they like.
func (l *LCCE) rest(c *conn) {
	if c.dialled {
		return
	}
	if len(l.lingering) >= l.cfg.HalfOpen {
		l.remove(l.lingering[l.jitter.IntN(len(l.lingering))])
	}
	machine.Enter(&l.lingering, c)
}

// remove forgets a connection for good.
func (l *LCCE) remove(c *conn) {
	if c.removed {
		return
	}
	c.removed = true
	l.unlist(c)
	l.timers.Set(&c.timer, time.Time{})
	delete(l.conns, c.id)
	if l.requests[c.request.key] == c {
		delete(l.requests, c.request.key)
	}
}

// wake has a connection asked for what it has to send.
func (l *LCCE) wake(c *conn) {
	if !c.queued && !c.removed {
		c.queued = true
		l.out.Wake(c)
	}
}

// Transmit appends the next control message to b and says where it goes; call it
// until ok is false. Over IP a Session ID of 0 is to be put before it.
func (l *LCCE) Transmit(b []byte) (_ []byte, to Address, ok bool) { return l.out.Transmit(b) }

// Advance does what has become due.
func (l *LCCE) Advance(now time.Time) {
	l.now = now
	l.timers.Advance(now)
}

// Deadline returns when to call Advance; the zero time: never.
func (l *LCCE) Deadline() time.Time { return l.timers.Deadline() }

// Event returns what happened, in its order; call it until ok is false.
func (l *LCCE) Event() (_ Event, ok bool) { return l.events.Take() }

func (l *LCCE) emit(e Event) {
	e.Time = l.now
	if e.Kind == Noted {
		end, ok := l.notes.Take(l.now)
		if !ok {
			return
		}
		e.Reason += end
	}
	l.events.Put(e)
}

func (l *LCCE) drop(why Drop, at Address) {
	l.drops[why]++
	l.lastDropped[why] = Dropped{Time: l.now, From: at.Peer}
}

// DropCounts returns how many messages were not acted upon, by reason.
func (l *LCCE) DropCounts() [Drops]uint64 { return l.drops }

// A Dropped tells of a message that was not acted upon.
type Dropped = machine.Dropped

// LastDropped returns the last message of each reason; the zero value: there was
// none.
func (l *LCCE) LastDropped() [Drops]Dropped { return l.lastDropped }

// Close closes all tunnels by StopCCN. What is to be sent is still to be sent,
// until Quiet.
func (l *LCCE) Close(now time.Time) {
	l.now, l.closing = now, true
	for _, t := range l.tunnels {
		l.shut(now, t, wire.Result{Code: wire.StopShutdown})
	}
	for _, c := range slices.Clone(l.halfOpen) {
		c.close(now, wire.Result{Code: wire.StopShutdown})
	}
}

// Quiet reports whether no message waits for its acknowledgment any more.
func (l *LCCE) Quiet() bool {
	for _, c := range l.conns {
		if !c.reliable.Idle() && !c.reliable.Failed() {
			return false
		}
	}
	return len(l.out.Replies) == 0
}
