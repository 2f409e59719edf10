package control

import (
	"bytes"
	"fmt"
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/reliable"
	"spanwire/l2tpv3/wire"
)

// A conn is one control connection, RFC 3931 section 3.3.
type conn struct {
	lcce   *LCCE
	tunnel *tunnel // of an incoming one to a template: that template, until it is established
	cfg    *TunnelConfig
	timer  machine.Timer

	id, peerID uint32
	dialled    bool
	offered    bool // its SCCRQ is one for L2TPv2 too
	state      State
	since      time.Time
	at         Address
	repeated   Address // from where a message has come again; no Peer: from nowhere else
	reliable   reliable.Channel
	auth       auth
	tie        wire.Optional[uint64]
	peer       Peer
	dialect    dialect
	request    request // what an incoming one began with
	delivered  uint16  // the number of the peer's next message

	sessions map[uint32]*session // by the peer's Session ID, once it is known
	all      sessionList
	waiting  sessionList // of all, those not yet established, the oldest first

	heard   time.Time           // when the peer was last heard
	hello   time.Time           // when to send a HELLO
	linger  time.Time           // in idle: when the last trace of the connection may go
	place   machine.Place[conn] // in a list of those that are not established
	queued  bool                // in lcce.out
	removed bool                // from the LCCE
	reason  string              // in idle: why
	byPeer  bool                // in idle: the peer's StopCCN
}

// A dialect is what a peer turned out to speak.
type dialect struct {
	cisco  bool // AVPs of Cisco's drafts
	yamaha bool // Yamaha's routers, and what follows them: no Receive Window Size
}

// yamahaVendor is the Vendor Name of Yamaha's routers, over UDP.
const yamahaVendor = "YAMAHA Corporation"

// A request is what tells an SCCRQ that comes again from a new one.
type request struct {
	key requestKey
	sum uint64 // of its AVPs
}

// A requestKey is whose SCCRQ it is: until it has our answer, a peer can name its
// connection by its own ID alone.
type requestKey struct {
	at     Address
	peerID uint32
}

func (l *LCCE) newConn(t *tunnel, at Address, now time.Time) *conn {
	cfg := &t.cfg
	c := &conn{lcce: l, tunnel: t, cfg: cfg, id: l.newID(func(id uint32) bool { return l.conns[id] != nil }), at: at, since: now, heard: now}
	c.timer.What = c
	c.auth = newAuth(cfg, l.cfg.Random)
	c.dialect.cisco = cfg.Dialect == Cisco
	c.sessions = make(map[uint32]*session)
	c.waiting.Kind = 1 // the list of all has the other links
	l.conns[c.id] = c
	return c
}

func (c *conn) reliably(firstRetries int) {
	c.reliable.Init(reliable.Config{
		Timeout:       c.cfg.Timeout,
		MaxTimeout:    c.cfg.MaxTimeout,
		Retries:       c.cfg.Retries,
		FirstRetries:  firstRetries,
		ReceiveWindow: c.cfg.ReceiveWindow,
	})
}

// dial begins a connection of ours.
func (l *LCCE) dial(now time.Time, t *tunnel) *conn {
	c := l.newConn(t, t.binding.At, now)
	c.dialled = true
	c.reliably(c.cfg.DialRetries)
	if !c.cfg.NoTieBreaker {
		c.tie = wire.Some(l.random64())
	}
	c.do(now, localOpen, wire.Result{})
	return c
}

// accept begins a connection that a peer asked for, with an SCCRQ that is
// authentic and acceptable.
func (l *LCCE) accept(now time.Time, t *tunnel, at Address, h wire.ControlHeader, m *wire.SCCRQ, p *wire.Parsed, r request, a auth) *conn {
	c := l.newConn(t, at, now)
	a.nonce = c.auth.nonce
	c.auth = a
	c.reliably(0)
	c.request = r
	l.requests[r.key] = c
	machine.Enter(&l.halfOpen, c)
	t.incoming++
	c.learn(&m.LCCE, p.Cisco)
	c.reliable.Receive(now, h.Ns, h.Nr, false, nil)
	c.delivered = 1
	c.do(now, rcvSCCRQ, wire.Result{})
	return c
}

// learn takes what the peer tells of itself.
func (c *conn) learn(p *wire.LCCE, cisco bool) {
	c.peerID = p.ConnectionID
	c.peer = Peer{
		HostName:      p.HostName,
		RouterID:      p.RouterID,
		VendorName:    p.VendorName,
		ConnectionID:  p.ConnectionID,
		ReceiveWindow: int(p.ReceiveWindow),
		Capabilities:  p.Capabilities,
	}
	if p.ReceiveWindow == 0 {
		// RFC 3931 section 5.4.3: "If absent, the peer must assume a Window
		// Size of 4 for its transmit window."
		c.peer.ReceiveWindow = 4
	}
	c.reliable.SetSendWindow(c.peer.ReceiveWindow)
	if c.cfg.Dialect != IETF {
		c.dialect.cisco = c.dialect.cisco || cisco
		c.dialect.yamaha = p.VendorName == yamahaVendor
	}
}

// judge reports why the peer is not one that we want, nil if it is.
func (c *conn) judge() *wire.Result {
	switch {
	case c.cfg.PeerHostName != "" && c.cfg.PeerHostName != c.peer.HostName:
		return &wire.Result{Code: wire.StopNotAuthorized, Message: "not the host name that is expected here"}
	case c.cfg.PeerRouterID != 0 && c.cfg.PeerRouterID != c.peer.RouterID:
		return &wire.Result{Code: wire.StopNotAuthorized, Message: "not the Router ID that is expected here"}
	}
	return nil
}

// do moves the machine. The result is what a StopCCN says.
func (c *conn) do(now time.Time, e event, r wire.Result) {
	s := connSteps.step(c.state, e)
	former := c.state
	if s.next != former {
		c.state, c.since = s.next, now
	}
	switch s.action {
	case none, impossible:
	case sendSCCRQ:
		c.sendRequest(now)
		c.emit(Event{Kind: TunnelDialing})
	case sendSCCRP:
		c.send(now, &wire.SCCRP{LCCE: c.lcceAVPs()})
	case sendSCCCN:
		c.send(now, &wire.SCCCN{})
		c.opened(now)
	case openConn:
		if former != Established {
			c.opened(now)
		}
	case sendStopCCN:
		if c.peerID == 0 {
			// The peer has told no ID to which it could be addressed. One
			// StopCCN tells it, should it have seen the SCCRQ; there is no
			// connection yet whose end would have to be sure.
			c.lcce.farewell(c, r)
			c.closed(now, former, ours(r, wire.TypeStopCCN), false)
			c.lcce.remove(c)
			return
		}
		c.reliable.Withdraw()
		c.send(now, &wire.StopCCN{ConnectionID: c.id, Result: r})
		c.closed(now, former, ours(r, wire.TypeStopCCN), false)
	case rejectSCCRQ: // by LCCE.request, which has the SCCRQ
	case cleanUp:
		if former != Idle {
			c.closed(now, former, r.Text(wire.TypeStopCCN), e == rcvStopCCN)
		}
		if c.peerID == 0 {
			c.lcce.remove(c) // nobody has an ID to which it could be of use
			return
		}
	}
	c.lcce.wake(c)
}

// sendRequest sends an SCCRQ, which may be one for both versions.
func (c *conn) sendRequest(now time.Time) {
	l := c.lcceAVPs()
	var v2 *wire.SCCRQV2
	if c.cfg.Offer != nil {
		v2 = c.cfg.Offer(now)
	}
	if v2 == nil {
		c.send(now, &wire.SCCRQ{LCCE: l, TieBreaker: c.tie})
		return
	}
	c.offered = true
	both := *v2
	both.HostName, both.VendorName, both.ReceiveWindow, both.TieBreaker = l.HostName, l.VendorName, l.ReceiveWindow, c.tie
	c.reliable.Send(now, wire.AppendOffer(nil, &both, &wire.EncodingV2{Random: c.lcce.cfg.Random}, &l, c.encoding()))
	c.lcce.wake(c)
}

func (c *conn) lcceAVPs() wire.LCCE {
	l := wire.LCCE{
		HostName:      c.cfg.HostName,
		RouterID:      c.cfg.RouterID,
		ConnectionID:  c.id,
		Capabilities:  c.lcce.cfg.Capabilities,
		Nonce:         c.auth.nonce,
		ReceiveWindow: uint16(min(c.cfg.ReceiveWindow, 0xffff)),
		VendorName:    c.lcce.cfg.VendorName,
		Language:      c.cfg.Language,
	}
	if c.dialect.yamaha {
		l.ReceiveWindow = 0
	}
	return l
}

// opened begins what waits for the connection.
func (c *conn) opened(now time.Time) {
	c.lcce.unlist(c)
	c.arrange(now)
	c.lcce.established(now, c)
}

// closed forgets what is not needed to have the last messages acknowledged.
func (c *conn) closed(now time.Time, former State, reason string, byPeer bool) {
	c.state, c.reason, c.byPeer = Idle, reason, byPeer
	if byPeer {
		c.reliable.Abandon()
	}
	c.lingerOn(now)
	c.lcce.unlist(c)
	c.lcce.rest(c)
	for s := range c.all.Each {
		s.gone(now, TunnelClosed)
	}
	clear(c.sessions)
	c.lcce.closed(now, c, former)
}

// lingerOn keeps the rest of the connection for a while. RFC 3931 section 3.3.2:
// "maintain enough control connection state to properly accept StopCCN
// retransmissions over at least a full retransmission cycle". "The recommended
// time for a full retransmission cycle is at least 31 seconds".
func (c *conn) lingerOn(now time.Time) {
	c.linger = now.Add(max(c.reliable.RetransmissionCycle(), leastLinger))
}

const leastLinger = 31 * time.Second

// close ends the connection on our side.
func (c *conn) close(now time.Time, r wire.Result) { c.do(now, localClose, r) }

// encoding says how messages to the peer are written.
func (c *conn) encoding() *wire.Encoding {
	e := &c.lcce.encoding
	*e = wire.Encoding{Signatures: c.auth.signatures, Random: c.lcce.cfg.Random, Cisco: c.dialect.cisco}
	if c.cfg.Hide && c.auth.enabled {
		e.Hide = c.auth.agreed
	}
	return e
}

// send queues a message for reliable delivery.
func (c *conn) send(now time.Time, m wire.Message) {
	l := c.lcce
	l.body = wire.AppendBody(l.body[:0], m, c.encoding())
	c.reliable.Send(now, bytes.Clone(l.body))
	l.wake(c)
}

// Transmit appends the next packet of the connection.
func (c *conn) Transmit(b []byte) (_ []byte, at Address, ok bool) {
	if c.removed {
		return b, at, false
	}
	for {
		ns, nr, body, ok := c.reliable.Transmit()
		if !ok {
			return b, at, false
		}
		alone := body == nil // an acknowledgment
		first := !alone && c.isRequest(body)
		if alone {
			if c.peerID == 0 {
				continue // whose ID we do not know, it cannot be told anything
			}
			// RFC 3931 section 6.15: "ZLB messages are only permitted when
			// Control Message Authentication defined in Section 4.3 is not
			// enabled." Where it is not, some peers know nothing else.
			if c.auth.enabled {
				c.lcce.body = wire.AppendBody(c.lcce.body[:0], &wire.ACK{}, c.encoding())
				body = c.lcce.body
			}
		}
		to := c.at
		if alone && c.repeated.Peer.IsValid() {
			to = c.repeated
		}
		c.repeated = Address{}
		start := len(b)
		h := wire.ControlHeader{Version: 3, ConnectionID: c.peerID, Ns: ns, Nr: nr}
		if first && c.offered {
			h.Version = 2
		}
		b = wire.AppendControl(b, h, body)
		c.auth.seal(b[start:], first)
		if trace := c.lcce.cfg.Trace; trace != nil {
			trace(Traced{true, c.tunnel.cfg.Name, to, b[start:], c.auth.agreed})
		}
		return b, to, true
	}
}

// Rest sets the time to look at the connection again, when it has nothing more to send.
func (c *conn) Rest() {
	c.queued = false
	c.arrange(c.lcce.now)
}

// Place implements machine.Placed.
func (c *conn) Place() *machine.Place[conn] { return &c.place }

// isRequest reports whether a body is that of our SCCRQ, which is sealed without
// nonces.
func (c *conn) isRequest(body []byte) bool {
	return c.dialled && c.peerID == 0 && len(body) >= 8 && body[7] == byte(wire.TypeSCCRQ)
}

// receive takes a message that names this connection, or the SCCRQ that asked for
// it come again.
func (c *conn) receive(now time.Time, at Address, h wire.ControlHeader, message []byte) {
	l := c.lcce
	if h.Version != 3 && h.ConnectionID != 0 {
		l.drop(DropHeader, at)
		return
	}
	elsewhere := at.Peer != c.at.Peer || at.Via != c.at.Via
	if elsewhere && !c.auth.enabled && !(c.state == WaitCtlReply && at.Peer.Addr() == c.at.Peer.Addr() && at.Via == c.at.Via) {
		l.drop(DropSource, at) // who proves nothing stays where it was
		return
	}
	t, has := wire.TypeOf(message)
	if !has && len(message) > wire.ControlHeaderLen {
		t = 0 // a body without a Message Type in front: Parse tells the peer so
	}
	if why := c.auth.verify(h, message, t); why != accepted {
		l.drop(why, at)
		return
	}
	if trace := l.cfg.Trace; trace != nil {
		trace(Traced{false, c.tunnel.cfg.Name, at, message, c.auth.agreed})
	}
	ack := len(message) == wire.ControlHeaderLen || t == wire.TypeACK
	if queued := c.reliable.Stats().Queued; !ack && queued > maxQueued+2*c.cfg.SessionLimit {
		// A peer that asks and acknowledges nothing. RFC 3931 section 4.2: "A
		// peer MAY drop messages". What it does acknowledge is taken.
		l.drop(DropQueue, at)
		ack = true
	} else if !ack && c.tooEarly(h, message) {
		l.drop(DropQueue, at)
		ack = true
	}
	verdict := c.reliable.Receive(now, h.Ns, h.Nr, ack, message)
	l.wake(c)
	switch verdict {
	case reliable.Deliver:
	case reliable.Invalid:
		l.drop(DropSequence, at)
		return
	default:
		if verdict != reliable.Dropped {
			c.hear(now)
		}
		if verdict == reliable.Duplicate && elsewhere && at.Peer.Addr() == c.at.Peer.Addr() && at.Via == c.at.Via {
			// Whoever repeats it moves nobody. But a peer whose NAT has forgotten its
			// port just before our acknowledgment came repeats it until it has one.
			c.repeated = at
		}
		c.arrange(now)
		return
	}
	c.hear(now)
	if elsewhere || at.Local != c.at.Local {
		c.follow(now, at)
	}
	c.delivered++
	c.deliver(now, message)
	for {
		held, ok := c.reliable.Next()
		if !ok {
			break
		}
		c.delivered++
		c.deliver(now, held)
	}
	c.arrange(now)
}

// tooEarly reports whether a message comes so long before its turn, or is so long,
// that it is not kept until then: the peer sends it again. Of one that has not
// completed the connection hardly anything is kept.
func (c *conn) tooEarly(h wire.ControlHeader, message []byte) bool {
	ahead := h.Ns - c.delivered
	switch {
	case ahead == 0 || ahead >= 1<<15: // its turn, or past
		return false
	case c.state == Established:
		return len(message) > maxHeld
	}
	return ahead > 4 || len(message) > maxHeld/4
}

// maxHeld is the octets of the longest message that waits for its turn.
const maxHeld = 4096

// maxQueued is how many messages may wait for the peer, beyond two for each session
// that there may be, until no more of its messages are taken.
const maxQueued = 1024

// follow takes the peer to be where a new and authentic message came from, as
// after a NAT has given it another port.
func (c *conn) follow(now time.Time, at Address) {
	former := c.at
	c.at = at
	if c.state == Established && former.Peer != at.Peer {
		c.emit(Event{Kind: TunnelMoved, Reason: fmt.Sprintf("from %v", former.Peer)})
	} else if c.state == Established {
		c.emit(Event{Kind: TunnelMoved})
	}
}

// hear notes that the peer lives.
func (c *conn) hear(now time.Time) {
	c.heard = now
	c.setHello()
}

// setHello sets the time of the next HELLO. RFC 3931 section 4.4: "An LCCE
// sending Hello messages across multiple control connections between the same
// LCCE endpoints MUST employ a jittered timer mechanism".
func (c *conn) setHello() {
	c.hello = c.heard.Add(c.lcce.jitter.Before(c.cfg.Hello))
}

// deliver acts on a message in its turn.
func (c *conn) deliver(now time.Time, message []byte) {
	decoding := wire.Decoding{Lenient: c.cfg.Dialect != IETF}
	if c.auth.enabled {
		decoding.Secret = c.auth.agreed
	}
	p, err := wire.Parse(message, &decoding)
	if p.Ignored {
		return
	}
	if c.state == Idle && c.reason != "" {
		// Nothing moves a connection that is closed. If the peer closes it
		// too, that may come again, and is to be acknowledged each time.
		if p.Type == wire.TypeStopCCN {
			c.byPeer = true
			if c.reliable.Stats().Queued > 0 {
				c.reliable.Abandon() // ours was not sent yet, and tells nothing now
			}
			c.lingerOn(now)
		}
		return
	}
	if err != nil {
		c.malformed(now, &p, err)
		return
	}
	switch m := p.Message.(type) {
	case *wire.SCCRQ: // with our Control Connection ID, so it is in the wrong state
		c.do(now, rcvSCCRQ, wrongState(p.Type, c.state))
	case *wire.SCCRP:
		c.reply(now, m, &p, message)
	case *wire.SCCCN:
		c.do(now, rcvSCCCN, wrongState(p.Type, c.state))
	case *wire.StopCCN:
		c.stopped(now, m)
	case *wire.HELLO, nil:
	default:
		if c.state != Established {
			c.do(now, localClose, wrongState(p.Type, c.state))
			return
		}
		c.sessionMessage(now, &p)
	}
}

// wrongState is the result of a message that is received in the wrong state,
// which RFC 3931 section 7.1 calls invalid.
func wrongState(t wire.MessageType, s State) wire.Result {
	return wire.Result{Code: wire.StopStateMachine, Message: fmt.Sprintf("%v in state %v", t, s)}
}

// stopped takes a StopCCN. One that refuses our SCCRQ may tell the ID by which it
// can be acknowledged.
func (c *conn) stopped(now time.Time, m *wire.StopCCN) {
	if c.peerID == 0 {
		c.peerID = m.ConnectionID
	}
	c.do(now, rcvStopCCN, m.Result)
}

// reply takes an SCCRP.
func (c *conn) reply(now time.Time, m *wire.SCCRP, p *wire.Parsed, message []byte) {
	if c.state != WaitCtlReply {
		c.do(now, rcvSCCRP, wrongState(p.Type, c.state))
		return
	}
	c.auth.peerNonce = bytes.Clone(wire.Nonce(message))
	c.learn(&m.LCCE, p.Cisco)
	if bad := c.judge(); bad != nil {
		c.do(now, rcvSCCRPBad, *bad)
		return
	}
	c.do(now, rcvSCCRP, wire.Result{})
}

// malformed clears what a message that makes no sense belongs to. RFC 3931
// sections 5.2 and 7.1.
func (c *conn) malformed(now time.Time, p *wire.Parsed, err *wire.Error) {
	r := wire.Result{Code: wire.StopError, Error: err.Code, Message: err.Text}
	c.emit(Event{Kind: Noted, Reason: fmt.Sprintf("malformed %v: %s", p.Type, err.Text)})
	switch {
	case p.Type.Session() && p.Message != nil && c.state == Established:
		c.malformedSession(now, p, r)
	case p.Type == wire.TypeSCCRP:
		if m, ok := p.Message.(*wire.SCCRP); ok && c.state == WaitCtlReply {
			c.learn(&m.LCCE, p.Cisco)
		}
		c.do(now, rcvSCCRPBad, r)
	case p.Type == wire.TypeSCCCN:
		c.do(now, rcvSCCCNBad, r)
	case p.Type == wire.TypeStopCCN:
		c.stopped(now, p.Message.(*wire.StopCCN))
	default:
		c.do(now, localClose, r)
	}
}

// Advance does what the time asks for.
func (c *conn) Advance(now time.Time) {
	c.reliable.Advance(now)
	c.lcce.wake(c)
	switch {
	case c.state == Idle:
		if !now.Before(c.linger) || c.reliable.Failed() || c.reliable.Idle() && !c.byPeer {
			c.lcce.remove(c)
			return
		}
	case c.reliable.Failed():
		reason := "the peer does not answer"
		if c.state == Established {
			reason = "the peer does not answer any more"
		}
		c.lost(now, reason)
		return
	case c.state == WaitCtlReply && c.reliable.Idle() && !now.Before(c.heard.Add(c.cfg.SetupTimeout)):
		c.lost(now, "the peer acknowledges, and does not answer")
		return
	case c.state == WaitCtlConn && !now.Before(c.since.Add(c.cfg.SetupTimeout)):
		c.lost(now, "the peer did not complete the connection in time")
		return
	case c.state == Established:
		for s := c.waiting.First; s != nil && !now.Before(s.begun.Add(c.cfg.SetupTimeout)); s = c.waiting.First {
			s.do(now, s.timeout(), wire.Result{Code: wire.CDNStateMachine, Message: fmt.Sprintf("%v took too long", s.state)})
		}
		if !now.Before(c.hello) {
			if c.reliable.Idle() {
				c.send(now, &wire.HELLO{})
			}
			c.hello = now.Add(c.cfg.Hello)
		}
	}
	c.arrange(now)
}

// lost clears a connection whose peer is not there, and sends nothing.
func (c *conn) lost(now time.Time, reason string) {
	former := c.state
	c.state = Idle
	c.closed(now, former, reason, false)
	c.lcce.remove(c)
}

// arrange sets the time at which the connection wants to be looked at.
func (c *conn) arrange(now time.Time) {
	if c.removed {
		return
	}
	at := c.reliable.Deadline()
	switch c.state {
	case Idle:
		at = machine.Earliest(at, c.linger)
		if c.reliable.Idle() && !c.byPeer {
			at = now // and gone
		}
	case WaitCtlReply:
		if c.reliable.Idle() { // its SCCRP may be under way, or it may be gone
			at = c.heard.Add(c.cfg.SetupTimeout)
		}
	case WaitCtlConn:
		at = machine.Earliest(at, c.since.Add(c.cfg.SetupTimeout))
	case Established:
		if c.hello.IsZero() {
			c.setHello()
		}
		at = machine.Earliest(at, c.hello)
		if s := c.waiting.First; s != nil {
			at = machine.Earliest(at, s.begun.Add(c.cfg.SetupTimeout))
		}
	}
	c.lcce.timers.Set(&c.timer, at)
}

func (c *conn) emit(e Event) {
	e.Tunnel, e.Address, e.Peer = c.tunnel.cfg.Name, c.at, c.peer
	c.lcce.emit(e)
}
