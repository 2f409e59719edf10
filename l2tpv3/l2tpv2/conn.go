package l2tpv2

import (
	"encoding/binary"
	"fmt"
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/reliable"
	"spanwire/l2tpv3/wire"
)

// A conn is one tunnel with its control connection, RFC 2661 section 5.1.
type conn struct {
	node   *Node
	config *peer
	cfg    *TunnelConfig
	timer  machine.Timer
	name   string

	id, peerID uint16
	known      bool // the peer has told its ID
	dialled    bool
	offered    bool // its SCCRQ is somebody else's until it is answered
	gaveWay    bool // it lost a tie
	state      State
	since      time.Time
	at         Address
	repeated   Address // from where a message has come again; no Peer: from nowhere else
	reliable   reliable.Channel
	tie        wire.Optional[uint64]
	peer       Peer
	asked      request // what an incoming one began with
	former     *conn   // the tunnel that the peer had before it began anew
	delivered  uint16  // the number of the peer's next message

	challenge     []byte // ours
	peerChallenge []byte

	byID     map[uint16]*session // by our Session ID
	byPeerID map[uint16]*session // by the peer's, once it is known
	all      sessionList
	setup    sessionList // of all, those not yet established, the oldest first

	heard   time.Time           // when the peer was last heard
	hello   time.Time           // when to send a HELLO
	empty   time.Time           // since when there is no session
	linger  time.Time           // in idle: when the last trace of the tunnel may go
	place   machine.Place[conn] // in a list of those that are not established
	queued  bool                // in node.out
	removed bool                // from the node
	reason  string              // in idle: why
	byPeer  bool                // in idle: the peer's StopCCN
}

// A request is what tells an SCCRQ that comes again from a new one.
type request struct {
	key requestKey
	sum uint64 // of its AVPs
}

// A requestKey is whose SCCRQ it is: until it has our answer, a peer can name its
// tunnel by its own ID alone, and many peers have the same.
type requestKey struct {
	at     Address
	peerID uint16
}

func (n *Node) newConn(p *peer, id uint16, at Address, now time.Time) *conn {
	c := &conn{node: n, config: p, cfg: &p.cfg, id: id, at: at, since: now, heard: now, empty: now, name: p.cfg.Name}
	c.timer.What = c
	c.byID, c.byPeerID = make(map[uint16]*session), make(map[uint16]*session)
	c.setup.Kind = waitingLink // the list of all has the other links
	if p.cfg.Secret != nil && !p.cfg.NoChallenge {
		c.challenge = make([]byte, challengeSize)
		n.cfg.Random(c.challenge)
	}
	n.conns[id] = c
	p.all[c] = struct{}{}
	return c
}

// challengeSize is the octets of our challenges.
const challengeSize = 16

// prepare readies what delivers the messages of the tunnel.
func (c *conn) prepare(firstRetries int) {
	c.reliable.Init(reliable.Config{
		Timeout:       c.cfg.Timeout,
		MaxTimeout:    c.cfg.MaxTimeout,
		Retries:       c.cfg.Retries,
		FirstRetries:  firstRetries,
		ReceiveWindow: c.cfg.ReceiveWindow,
	})
	if c.dialled && c.cfg.TieBreaker {
		c.tie = wire.Some(c.node.random64())
	}
}

// dial begins a tunnel of ours.
func (n *Node) dial(now time.Time, p *peer) {
	id, ok := n.newTunnelID()
	if !ok {
		p.lastError = "no Tunnel ID is free"
		p.redial(now)
		return
	}
	c := n.newConn(p, id, p.binding.At, now)
	c.dialled = true
	p.conn = c
	c.prepare(c.cfg.DialRetries)
	c.do(now, localOpen, wire.Result{})
	c.arrange(now)
}

// accept begins a tunnel that a peer asked for, with an SCCRQ that is acceptable.
func (n *Node) accept(now time.Time, p *peer, id uint16, at Address, h wire.ControlHeaderV2, m *wire.SCCRQV2, r request) *conn {
	c := n.newConn(p, id, at, now)
	c.name = fmt.Sprintf("%s#%d", p.cfg.Name, id)
	c.prepare(0)
	c.asked = r
	n.requests[r.key] = c
	machine.Enter(&n.halfOpen, c)
	c.learn(&m.PeerV2)
	if m.DiffServ.Set && c.cfg.DiffServ.Set { // else it is ignored
		c.peer.DiffServ = c.cfg.DiffServ
	}
	c.reliable.Receive(now, h.Ns, h.Nr, false, nil)
	c.delivered = 1
	c.do(now, rcvSCCRQ, wire.Result{})
	return c
}

// learn takes what the peer tells of itself.
func (c *conn) learn(p *wire.PeerV2) {
	c.peerID, c.known = p.TunnelID, true
	c.peerChallenge = p.Challenge
	c.peer = Peer{
		HostName:      p.HostName,
		VendorName:    p.VendorName,
		Firmware:      p.Firmware,
		TunnelID:      p.TunnelID,
		ReceiveWindow: int(p.ReceiveWindow),
		Framing:       p.Framing,
		Bearer:        p.Bearer,
	}
	if p.ReceiveWindow == 0 {
		// RFC 2661 section 4.4.3: "If absent, the peer must assume a Window Size
		// of 4 for its transmit window."
		c.peer.ReceiveWindow = 4
	}
	c.reliable.SetSendWindow(c.peer.ReceiveWindow)
}

// judgeReply reports why an SCCRP is not acceptable.
func (c *conn) judgeReply(m *wire.SCCRPV2) (bad wire.Result) {
	switch {
	case m.Protocol>>8 != wire.ProtocolV2>>8:
		return wire.Result{Code: wire.StopVersion, Error: wire.ProtocolV2 >> 8}
	case m.TunnelID == 0 && c.cfg.Strict:
		return wire.Result{Code: wire.StopError, Error: wire.ErrorRange, Message: "Assigned Tunnel ID: 0"}
	case c.cfg.PeerHostName != "" && c.cfg.PeerHostName != m.HostName:
		return wire.Result{Code: wire.StopNotAuthorized, Message: "not the host name that is expected here"}
	case !c.authentic(wire.TypeSCCRP, m.Response):
		return notAuthentic
	case len(m.Challenge) > 0 && c.cfg.Secret == nil:
		return wire.Result{Code: wire.StopNotAuthorized, Message: "there is no secret here to answer a challenge with"}
	case c.cfg.DiffServ.Set && m.DiffServ.Set && m.DiffServ != c.cfg.DiffServ:
		// RFC 3308 section 3: "If it is unwilling to use the value, the tunnel
		// initiator MUST send a StopCCN control message containing the Result
		// Code 8 that indicates CCDS AVP value (47) as the reason".
		return wire.Result{Code: wire.StopDiffServ, Error: wire.ErrorCode(wire.AttrControlConnectionDS)}
	}
	return bad
}

// notAuthentic is the result where the peer did not prove to know the secret. RFC
// 2661 section 5.1.1: "If the expected response and response received from a peer
// does not match, establishment of the tunnel MUST be disallowed."
var notAuthentic = wire.Result{Code: wire.StopNotAuthorized, Message: "wrong challenge response"}

// authentic reports whether the peer has answered our challenge, if there was one.
func (c *conn) authentic(t wire.MessageType, response []byte) bool {
	return c.challenge == nil || c.cfg.Secret.Verify(t, c.challenge, response)
}

// response answers the peer's challenge; nil: there was none.
func (c *conn) response(t wire.MessageType) []byte {
	if len(c.peerChallenge) == 0 {
		return nil
	}
	return c.cfg.Secret.Response(t, c.peerChallenge)
}

// do moves the machine. The result is what a StopCCN says.
func (c *conn) do(now time.Time, e event, r wire.Result) {
	s := tunnelSteps.step(c.state, e)
	former := c.state
	if s.next != former {
		c.state, c.since = s.next, now
	}
	switch s.action {
	case none, impossible:
	case sendSCCRQ:
		c.send(now, 0, c.request())
		c.node.dialling(c, true)
		c.emit(Event{Kind: TunnelDialing})
	case sendSCCRP:
		c.send(now, 0, &wire.SCCRPV2{PeerV2: c.ours(), Response: c.response(wire.TypeSCCRP)})
	case sendSCCCN:
		c.node.dialling(c, false)
		c.send(now, 0, &wire.SCCCNV2{Response: c.response(wire.TypeSCCCN)})
		c.opened(now)
	case openWaiting:
		if former != Established {
			c.opened(now)
		}
	case sendStopCCN:
		if !c.known {
			// The peer has told no ID to which it could be addressed. One
			// StopCCN tells it, should it have seen the SCCRQ.
			c.farewell(r)
			c.closed(now, former, ours(r, wire.TypeStopCCN), false, r)
			c.node.remove(c)
			return
		}
		c.reliable.Withdraw()
		c.send(now, 0, &wire.StopCCNV2{TunnelID: c.id, Result: r})
		c.closed(now, former, ours(r, wire.TypeStopCCN), false, r)
	case cleanUp:
		if former == Idle {
			break
		}
		c.gaveWay = e == rcvSCCRQLost
		reason := r.Text(wire.TypeStopCCN)
		if c.gaveWay {
			reason = "gave way to the peer's own request"
		}
		c.closed(now, former, reason, e == rcvStopCCN, r)
		if !c.known {
			c.node.remove(c) // nobody has an ID to which it could be of use
			return
		}
	}
	c.node.wake(c)
}

// ours is what we tell of ourselves.
func (c *conn) ours() wire.PeerV2 {
	return wire.PeerV2{
		Protocol:      wire.ProtocolV2,
		HostName:      c.cfg.HostName,
		Framing:       c.cfg.Framing,
		Bearer:        c.cfg.Bearer,
		TunnelID:      c.id,
		ReceiveWindow: uint16(min(c.cfg.ReceiveWindow, 0xffff)),
		VendorName:    c.node.cfg.VendorName,
		Firmware:      c.node.cfg.Firmware,
		Challenge:     c.challenge,
		DiffServ:      c.peer.DiffServ,
	}
}

// request returns the SCCRQ.
func (c *conn) request() *wire.SCCRQV2 {
	m := &wire.SCCRQV2{PeerV2: c.ours(), TieBreaker: c.tie}
	m.DiffServ = c.cfg.DiffServ
	return m
}

// farewell tells a peer that may have seen our SCCRQ that it is void.
func (c *conn) farewell(r wire.Result) {
	body := wire.AppendBodyV2(nil, &wire.StopCCNV2{TunnelID: c.id, Result: r}, c.encoding())
	c.node.reply(c.config, c.at, wire.AppendControlV2(nil, wire.ControlHeaderV2{Ns: 1}, body))
}

// opened begins what waits for the tunnel.
func (c *conn) opened(now time.Time) {
	machine.Leave(c)
	c.empty = now
	c.setHello()
	c.arrange(now)
	c.config.established(now, c)
}

// closed forgets what is not needed to have the last messages acknowledged.
func (c *conn) closed(now time.Time, former State, reason string, byPeer bool, r wire.Result) {
	c.state, c.reason, c.byPeer = Idle, reason, byPeer
	if byPeer {
		c.reliable.Abandon()
	}
	c.node.dialling(c, false)
	c.lingerOn(now)
	machine.Leave(c)
	c.node.rest(c)
	for s := range c.all.Each {
		s.gone(now, ending{reason: TunnelClosed})
	}
	c.config.closed(now, c, former, Event{Result: r})
}

// lingerOn keeps the rest of the tunnel for a while. RFC 2661 section 5.7: "The
// receiver of a StopCCN MUST send a ZLB ACK to acknowledge receipt of the message and
// maintain enough control connection state to properly accept StopCCN
// retransmissions over at least a full retransmission cycle (in case the ZLB ACK is
// lost). The recommended time for a full retransmission cycle is 31 seconds".
func (c *conn) lingerOn(now time.Time) {
	c.linger = now.Add(max(c.reliable.RetransmissionCycle(), leastLinger))
}

const leastLinger = 31 * time.Second

// close ends the tunnel on our side.
func (c *conn) close(now time.Time, r wire.Result) {
	c.do(now, localClose, r)
	c.arrange(now)
}

// encoding says how messages to the peer are written.
func (c *conn) encoding() *wire.EncodingV2 {
	e := &c.node.encoding
	*e = wire.EncodingV2{Random: c.node.cfg.Random}
	if c.cfg.Hide {
		e.Hide = c.cfg.Secret
	}
	return e
}

// send queues a message for reliable delivery to a session of the peer's, or to the
// tunnel. The Session ID travels in front of the body.
func (c *conn) send(now time.Time, sessionID uint16, m wire.Message) {
	b := binary.BigEndian.AppendUint16(nil, sessionID)
	c.reliable.Send(now, wire.AppendBodyV2(b, m, c.encoding()))
	c.node.wake(c)
}

// Transmit appends the next packet of the tunnel.
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
		h := wire.ControlHeaderV2{TunnelID: c.peerID, Ns: ns, Nr: nr}
		if alone {
			if !c.known {
				continue // whose ID we do not know, it cannot be told anything
			}
		} else {
			h.SessionID, body = binary.BigEndian.Uint16(body), body[2:]
		}
		to := c.at
		if alone && c.repeated.Peer.IsValid() {
			to = c.repeated
		}
		c.repeated = Address{}
		start := len(b)
		b = wire.AppendControlV2(b, h, body)
		if trace := c.node.cfg.Trace; trace != nil {
			trace(Traced{true, c.name, to, b[start:], c.cfg.Secret})
		}
		return b, to, true
	}
}

// Rest sets the time to look at the tunnel again, when it has nothing more to send.
func (c *conn) Rest() {
	c.queued = false
	c.arrange(c.node.now)
}

// Place implements machine.Placed.
func (c *conn) Place() *machine.Place[conn] { return &c.place }

// receive takes a message that names this tunnel, or the SCCRQ that asked for it
// come again.
func (c *conn) receive(now time.Time, at Address, h wire.ControlHeaderV2, message []byte) {
	n := c.node
	elsewhere := at.Peer != c.at.Peer || at.Via != c.at.Via || at.Mark != c.at.Mark
	if elsewhere && !c.near(at) {
		n.drop(DropSource, at)
		return
	}
	if c.offered {
		if t, _ := wire.TypeOf(message); t != wire.TypeSCCRP && t != wire.TypeStopCCN {
			n.drop(DropTunnel, at)
			return
		}
		c.answered(now)
	}
	if trace := n.cfg.Trace; trace != nil {
		trace(Traced{false, c.name, at, message, c.cfg.Secret})
	}
	ack := len(message) == wire.ControlHeaderLen
	if queued := c.reliable.Stats().Queued; !ack && (queued > maxQueued+2*c.cfg.SessionLimit || c.tooEarly(h, message)) {
		// A peer that asks and acknowledges nothing, or sends what it is not to
		// send yet. What it does acknowledge is taken; the rest it sends again.
		n.drop(DropQueue, at)
		ack = true
	}
	verdict := c.reliable.Receive(now, h.Ns, h.Nr, ack, message)
	n.wake(c)
	switch verdict {
	case reliable.Deliver:
	case reliable.Invalid:
		n.drop(DropSequence, at)
		return
	default:
		if verdict != reliable.Dropped {
			c.hear(now)
		}
		if verdict == reliable.Duplicate && elsewhere {
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
	c.deliver(now, h, message)
	for {
		held, ok := c.reliable.Next()
		if !ok {
			break
		}
		c.delivered++
		h, _, _ := wire.ParseControlV2(held) // as it was when it came
		c.deliver(now, h, held)
	}
	c.arrange(now)
}

// near reports whether the peer may be at another address than the one known: at
// another port of it, for nothing proves where a message of L2TPv2 comes from. RFC
// 2661 section 8.1: "The recipient picks a free port on its own system (which may or
// may not be 1701)", and NATs forget which port they gave.
func (c *conn) near(at Address) bool {
	return at.Peer.Addr() == c.at.Peer.Addr() && at.Via == c.at.Via && (!c.cfg.FixedPort || c.state == WaitCtlReply || c.offered)
}

// tooEarly reports whether a message comes so long before its turn, or is so long,
// that it is not kept until then. Of a peer that has not completed its tunnel hardly
// anything is kept.
func (c *conn) tooEarly(h wire.ControlHeaderV2, message []byte) bool {
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

// follow takes the peer to be where a new message came from.
func (c *conn) follow(now time.Time, at Address) {
	former := c.at
	if c.state == WaitCtlReply {
		c.node.dialling(c, false)
		c.at = at
		c.node.dialling(c, true)
		return
	}
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

// setHello sets the time of the next HELLO, a little before its turn, so that those
// of many tunnels come not together.
func (c *conn) setHello() {
	if c.cfg.Hello > 0 {
		c.hello = c.heard.Add(c.node.jitter.Before(c.cfg.Hello))
	}
}

// deliver acts on a message in its turn.
func (c *conn) deliver(now time.Time, h wire.ControlHeaderV2, message []byte) {
	p, err := wire.ParseV2(message, c.config.decoding())
	if p.Ignored {
		return
	}
	if c.state == Idle {
		// Nothing moves a tunnel that is closed. If the peer closes it too, that
		// may come again, and is to be acknowledged each time.
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
		c.malformed(now, h, &p, err)
		return
	}
	switch m := p.Message.(type) {
	case *wire.SCCRQV2:
		c.do(now, rcvSCCRQ, wrongState(p.Type, c.state))
	case *wire.SCCRPV2:
		c.reply(now, m)
	case *wire.SCCCNV2:
		switch {
		case c.state != WaitCtlConn:
			c.do(now, rcvSCCCNBad, wrongState(p.Type, c.state))
		case !c.authentic(wire.TypeSCCCN, m.Response):
			c.do(now, rcvSCCCNBad, notAuthentic)
		default:
			c.do(now, rcvSCCCN, wire.Result{})
		}
	case *wire.StopCCNV2:
		c.stopped(now, m)
	case *wire.HELLOV2, nil:
	default:
		if c.state != Established {
			c.do(now, localClose, wrongState(p.Type, c.state))
			return
		}
		c.sessionMessage(now, h, &p)
	}
}

// wrongState is the result of "a control message that is received in an improper
// sequence", which RFC 2661 section 7.1 calls invalid.
func wrongState(t wire.MessageType, s State) wire.Result {
	return wire.Result{Code: wire.StopStateMachine, Message: fmt.Sprintf("%v in state %v", t, s)}
}

// stopped takes a StopCCN. One that refuses our SCCRQ tells the ID by which it can be
// acknowledged.
func (c *conn) stopped(now time.Time, m *wire.StopCCNV2) {
	if !c.known && m.TunnelID != 0 {
		c.peerID, c.known = m.TunnelID, true
	}
	c.do(now, rcvStopCCN, m.Result)
}

// reply takes an SCCRP.
func (c *conn) reply(now time.Time, m *wire.SCCRPV2) {
	if c.state != WaitCtlReply {
		c.do(now, rcvSCCRPBad, wrongState(wire.TypeSCCRP, c.state))
		return
	}
	c.learn(&m.PeerV2)
	if bad := c.judgeReply(m); bad != (wire.Result{}) {
		c.do(now, rcvSCCRPBad, bad)
		return
	}
	if c.cfg.DiffServ.Set {
		c.peer.DiffServ = m.DiffServ // not set: it does not support it
	}
	c.do(now, rcvSCCRP, wire.Result{})
}

// malformed clears what a message that makes no sense belongs to. RFC 2661 sections
// 4.1 and 7.1.
func (c *conn) malformed(now time.Time, h wire.ControlHeaderV2, p *wire.Parsed, err *wire.Error) {
	r := wire.Result{Code: wire.StopError, Error: err.Code, Message: err.Text}
	c.emit(Event{Kind: Noted, Reason: fmt.Sprintf("malformed %v: %s", p.Type, err.Text)})
	switch m := p.Message.(type) {
	case *wire.SCCRPV2:
		if c.state == WaitCtlReply {
			c.learn(&m.PeerV2)
			c.known = m.TunnelID != 0
		}
		c.do(now, rcvSCCRPBad, r)
	case *wire.SCCCNV2:
		c.do(now, rcvSCCCNBad, r)
	case *wire.StopCCNV2:
		c.stopped(now, m)
	default:
		if p.Type.Session() && m != nil && c.state == Established {
			c.malformedSession(now, h, p, r)
			return
		}
		c.do(now, localClose, r)
	}
}

// Advance does what the time asks for.
func (c *conn) Advance(now time.Time) {
	c.reliable.Advance(now)
	c.node.wake(c)
	switch {
	case c.offered:
	case c.state == Idle:
		if !now.Before(c.linger) || c.reliable.Failed() || c.reliable.Idle() && !c.byPeer {
			c.node.remove(c)
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
		c.lost(now, "the peer did not complete the tunnel in time")
		return
	case c.state == Established:
		for s := c.setup.First; s != nil && !now.Before(s.begun.Add(c.cfg.SetupTimeout)); s = c.setup.First {
			s.late(now)
		}
		if c.idle(now) {
			c.do(now, localClose, wire.Result{Code: wire.StopGeneral, Message: "no sessions"})
			break
		}
		if !c.hello.IsZero() && !now.Before(c.hello) {
			if c.reliable.Idle() {
				c.send(now, 0, &wire.HELLOV2{})
			}
			c.hello = now.Add(c.cfg.Hello)
		}
	}
	c.arrange(now)
}

// idle reports whether the tunnel has been without sessions for long enough to go.
func (c *conn) idle(now time.Time) bool {
	return c.cfg.Idle > 0 && c.all.Count == 0 && !now.Before(c.empty.Add(c.cfg.Idle))
}

// lost clears a tunnel whose peer is not there, and sends nothing.
func (c *conn) lost(now time.Time, reason string) {
	former := c.state
	c.state = Idle
	c.closed(now, former, reason, false, wire.Result{})
	c.node.remove(c)
}

// arrange sets the time at which the tunnel wants to be looked at.
func (c *conn) arrange(now time.Time) {
	if c.removed || c.offered {
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
		at = machine.Earliest(at, c.hello)
		if s := c.setup.First; s != nil {
			at = machine.Earliest(at, s.begun.Add(c.cfg.SetupTimeout))
		}
		if c.cfg.Idle > 0 && c.all.Count == 0 {
			at = machine.Earliest(at, c.empty.Add(c.cfg.Idle))
		}
	}
	c.node.timers.Set(&c.timer, at)
}

func (c *conn) emit(e Event) {
	e.Tunnel, e.Config, e.TunnelID, e.Address, e.Peer = c.name, c.config.cfg.Name, c.id, c.at, c.peer
	c.node.emit(e)
}
