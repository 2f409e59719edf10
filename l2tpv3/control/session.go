package control

import (
	"fmt"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
)

// A session is one L2TP session of a connection, RFC 3931 section 3.4.
type session struct {
	conn    *conn
	circuit *circuit
	role    role
	state   State
	begun   time.Time
	since   time.Time // of the state

	params Params
	tie    wire.Optional[uint64]
	told   wire.CircuitStatus // the status that the peer knows
	opened bool               // SessionOpen was emitted
	lasted time.Time          // since when it is established; zero: it never was
	gave   bool               // it gave way to the peer's request

	links [2]machine.Links[session]
}

// A sessionList holds sessions in the order in which they came.
type sessionList = machine.List[session, *session]

// Links implements machine.Member.
func (s *session) Links(kind int) *machine.Links[session] { return &s.links[kind] }

// newSession returns a session in idle, with what we assign to it.
func (c *conn) newSession(now time.Time, k *circuit, r role) *session {
	l := c.lcce
	s := &session{conn: c, circuit: k, role: r, begun: now, since: now}
	s.params = Params{
		SessionID:  l.newID(func(id uint32) bool { return l.sessions[id] != nil || l.reserved[id] }),
		Pseudowire: k.cfg.Pseudowire,
		Sublayer:   k.cfg.Sublayer,
		Sequencing: k.cfg.Sequencing,
	}
	var octets [cookie.MaxSize]byte
	l.cfg.Random(octets[:k.cfg.CookieSize])
	s.params.ReceiveCookie, _ = cookie.FromBytes(octets[:k.cfg.CookieSize])
	l.sessions[s.params.SessionID] = s
	c.all.Add(s)
	c.waiting.Add(s)
	return s
}

// open asks for a session on the connection.
func (c *conn) open(now time.Time, k *circuit, r role) *session {
	s := c.newSession(now, k, r)
	if !k.cfg.NoTieBreaker {
		s.tie = wire.Some(c.lcce.random64())
	}
	s.do(now, localOpen, wire.Result{})
	if c.state == Established {
		s.do(now, ctlConnOpen, wire.Result{})
	}
	return s
}

// do moves the machine. The result is what a CDN says.
func (s *session) do(now time.Time, e event, r wire.Result) {
	step := sessionSteps[s.role].step(s.state, e)
	if step.action == impossible {
		return
	}
	if step.next != s.state {
		s.state, s.since = step.next, now
	}
	switch step.action {
	case none:
		if s.state == WaitConnect { // an OCRP
			s.open(now)
		}
	case sendRequest:
		s.sendRequest(now)
	case sendReply:
		s.sendReply(now)
		if s.role == icrqRecipient {
			s.open(now) // for the peer may send as soon as it has the ICRP
		}
	case sendConnected:
		s.sendConnected(now)
		s.up(now)
	case openSession:
		s.up(now)
	case rejectRequest: // by conn.call, which has the request
	case sendCDN:
		s.conn.send(now, &wire.CDN{LocalSessionID: s.params.SessionID, RemoteSessionID: s.params.PeerSessionID, Result: r})
		s.gone(now, ours(r, wire.TypeCDN))
	case cleanUp:
		reason := r.Text(wire.TypeCDN)
		if e == rcvCDN {
			reason = "closed by peer: " + reason
		} else if r == (wire.Result{}) {
			reason = "gave way to the peer's request"
		}
		s.gone(now, reason)
	}
	s.conn.arrange(now)
}

// timeout returns the event that waiting for too long is.
func (s *session) timeout() event {
	if s.state == WaitCSAnswer {
		return callFailed
	}
	return localClose
}

// status returns the circuit's status as the peer shall know it now.
func (s *session) status() wire.CircuitStatus {
	s.told = s.circuit.status
	return s.told
}

func (s *session) sendRequest(now time.Time) {
	k, c := s.circuit, s.conn
	call := wire.CallRequest{
		LocalSessionID:      s.params.SessionID,
		SerialNumber:        c.lcce.serialNumber(),
		PseudowireType:      k.cfg.Pseudowire,
		RemoteEndID:         k.endID,
		Status:              s.status() | k.newBit(),
		Cookie:              s.params.ReceiveCookie,
		TieBreaker:          s.tie,
		Sublayer:            k.cfg.Sublayer,
		Sequencing:          k.cfg.Sequencing,
		TxSpeed:             k.cfg.TxSpeed,
		RxSpeed:             k.cfg.RxSpeed,
		FrameRelayHeaderLen: k.cfg.toldHeaderLen(),
	}
	if s.role == ocrqSender {
		c.send(now, &wire.OCRQ{CallRequest: call})
		return
	}
	c.send(now, &wire.ICRQ{CallRequest: call, PhysicalChannelID: k.cfg.PhysicalChannelID})
}

func (s *session) sendReply(now time.Time) {
	k := s.circuit
	reply := wire.CallReply{
		LocalSessionID:      s.params.SessionID,
		RemoteSessionID:     s.params.PeerSessionID,
		Status:              s.status() | k.newBit(),
		Cookie:              s.params.ReceiveCookie,
		Sublayer:            k.cfg.Sublayer,
		Sequencing:          k.cfg.Sequencing,
		TxSpeed:             k.cfg.TxSpeed,
		RxSpeed:             k.cfg.RxSpeed,
		PhysicalChannelID:   k.cfg.PhysicalChannelID,
		FrameRelayHeaderLen: k.cfg.toldHeaderLen(),
	}
	if s.role == ocrqRecipient {
		s.conn.send(now, &wire.OCRP{CallReply: reply})
		return
	}
	s.conn.send(now, &wire.ICRP{CallReply: reply})
}

func (s *session) sendConnected(now time.Time) {
	connected := wire.CallConnected{
		LocalSessionID:  s.params.SessionID,
		RemoteSessionID: s.params.PeerSessionID,
		TxSpeed:         s.circuit.cfg.TxSpeed,
		RxSpeed:         s.circuit.cfg.RxSpeed,
	}
	// What the request said stands, but some peers take what is absent here
	// for none.
	if s.params.Sublayer != pseudowire.NoSublayer {
		connected.Sublayer = wire.Some(s.params.Sublayer)
	}
	if s.params.Sequencing != pseudowire.NoSequencing {
		connected.Sequencing = wire.Some(s.params.Sequencing)
	}
	if s.circuit.status != s.told {
		connected.Status = wire.Some(s.status())
	}
	if s.role == ocrqRecipient {
		s.conn.send(now, &wire.OCCN{CallConnected: connected})
		return
	}
	s.conn.send(now, &wire.ICCN{CallConnected: connected})
}

// open lets the session receive.
func (s *session) open(now time.Time) {
	if s.opened {
		return
	}
	s.opened = true
	s.emit(Event{Kind: SessionOpen})
}

// up makes the session the one to send by.
func (s *session) up(now time.Time) {
	s.conn.waiting.Remove(s)
	s.lasted = now
	s.open(now)
	s.circuit.up(now, s)
	s.tell(now)
}

// tell tells the peer of the circuit's status, if it is another than it knows.
func (s *session) tell(now time.Time) {
	if s.state != Established || s.told == s.circuit.status {
		return
	}
	s.conn.send(now, &wire.SLI{LocalSessionID: s.params.SessionID, RemoteSessionID: s.params.PeerSessionID, Status: wire.Some(s.status())})
	s.conn.arrange(now)
}

// gone forgets the session.
func (s *session) gone(now time.Time, reason string) {
	c, l := s.conn, s.conn.lcce
	if l.sessions[s.params.SessionID] != s {
		return
	}
	s.state = Idle
	delete(l.sessions, s.params.SessionID)
	if c.sessions[s.params.PeerSessionID] == s {
		delete(c.sessions, s.params.PeerSessionID)
	}
	c.all.Remove(s)
	c.waiting.Remove(s)
	s.circuit.lost(now, s, reason)
}

func (s *session) emit(e Event) {
	e.Params = s.params
	s.circuit.emit(e)
}

// name takes the peer's ID of the session.
func (s *session) name(peerID uint32) {
	s.params.PeerSessionID = peerID
	s.conn.sessions[peerID] = s
}

// find returns the session that a message is about: by our ID or, where the peer
// did not know it or mangled it, by its own.
func (c *conn) find(local, remote uint32) *session {
	if s := c.lcce.sessions[remote]; s != nil && s.conn == c {
		return s
	}
	return c.sessions[local]
}

// sessionMessage acts on a message of a session.
func (c *conn) sessionMessage(now time.Time, p *wire.Parsed) {
	switch m := p.Message.(type) {
	case *wire.ICRQ:
		c.call(now, p.Type, &m.CallRequest, m.PhysicalChannelID)
	case *wire.OCRQ:
		c.call(now, p.Type, &m.CallRequest, 0)
	case *wire.ICRP:
		c.replied(now, p.Type, &m.CallReply)
	case *wire.OCRP:
		c.replied(now, p.Type, &m.CallReply)
	case *wire.ICCN:
		c.connected(now, p.Type, &m.CallConnected)
	case *wire.OCCN:
		c.connected(now, p.Type, &m.CallConnected)
	case *wire.CDN:
		s := c.find(m.LocalSessionID, m.RemoteSessionID)
		if s == nil && c.cfg.Dialect != IETF {
			s = c.find(swapped(m.LocalSessionID), swapped(m.RemoteSessionID))
		}
		if s != nil {
			s.do(now, rcvCDN, m.Result)
		}
	case *wire.SLI:
		if s := c.find(m.LocalSessionID, m.RemoteSessionID); s != nil && m.Status.Set {
			s.circuit.hears(s, m.Status.Value)
		}
	case *wire.WEN:
		if s := c.find(m.LocalSessionID, m.RemoteSessionID); s != nil {
			s.emit(Event{Kind: SessionErrors, Errors: m.Errors})
		}
	default:
		c.do(now, localClose, wrongState(p.Type, c.state))
	}
}

// swapped returns an ID with its octets in the other order, as some peers send it
// in a CDN.
func swapped(id uint32) uint32 {
	return id<<24 | id>>24 | id<<8&0x00ff0000 | id>>8&0x0000ff00
}

// replies reports whether a reply of this type is one to the session's request: an
// ICRP to an ICRQ, an OCRP to an OCRQ.
func (s *session) replies(t wire.MessageType) bool {
	return (t == wire.TypeICRP) == (s.role == icrqSender || s.role == icrqRecipient)
}

// malformedSession clears the session of a message that makes no sense.
func (c *conn) malformedSession(now time.Time, p *wire.Parsed, r wire.Result) {
	var local, remote uint32
	e := localClose
	switch m := p.Message.(type) {
	case *wire.ICRQ:
		local, remote, e = m.LocalSessionID, m.RemoteSessionID, rcvRequestBad
	case *wire.OCRQ:
		local, remote, e = m.LocalSessionID, m.RemoteSessionID, rcvRequestBad
	case *wire.ICRP:
		local, remote, e = m.LocalSessionID, m.RemoteSessionID, rcvReplyBad
	case *wire.OCRP:
		local, remote, e = m.LocalSessionID, m.RemoteSessionID, rcvReplyBad
	case *wire.ICCN:
		local, remote, e = m.LocalSessionID, m.RemoteSessionID, rcvConnectedBad
	case *wire.OCCN:
		local, remote, e = m.LocalSessionID, m.RemoteSessionID, rcvConnectedBad
	case *wire.CDN:
		local, remote, e, r = m.LocalSessionID, m.RemoteSessionID, rcvCDN, m.Result
	case *wire.SLI:
		local, remote = m.LocalSessionID, m.RemoteSessionID
	case *wire.WEN:
		local, remote = m.LocalSessionID, m.RemoteSessionID
	}
	if s := c.find(local, remote); s != nil {
		if s.params.PeerSessionID == 0 && local != 0 && c.sessions[local] == nil {
			s.name(local)
		}
		s.do(now, e, r)
		return
	}
	if local != 0 && p.Type != wire.TypeCDN {
		c.refuse(now, local, r)
	}
}

// refuse sends a CDN for a session that never was one of ours.
func (c *conn) refuse(now time.Time, peerID uint32, r wire.Result) {
	l := c.lcce
	id := l.newID(func(id uint32) bool { return l.sessions[id] != nil || l.reserved[id] })
	c.send(now, &wire.CDN{LocalSessionID: id, RemoteSessionID: peerID, Result: r})
}

// call takes an ICRQ or OCRQ.
func (c *conn) call(now time.Time, t wire.MessageType, m *wire.CallRequest, physical uint32) {
	if s := c.find(m.LocalSessionID, m.RemoteSessionID); s != nil {
		s.do(now, rcvRequest, wire.Result{Code: wire.CDNStateMachine, Message: fmt.Sprintf("%v in state %v", t, s.state)})
		return
	}
	k, r := c.judgeCall(now, m)
	if r == nil && k.pending() != nil {
		if r = c.tied(now, k, m); r == nil {
			// With the session that gave way its circuit may have gone.
			k, r = c.judgeCall(now, m)
		}
	}
	if r == nil && k.next != nil {
		r = &wire.Result{Code: wire.CDNTemporary, Message: "another session for it is being set up"}
	}
	if r != nil {
		if *r == (wire.Result{}) {
			return // both sides begin anew
		}
		c.emit(Event{Kind: Noted, Reason: fmt.Sprintf("%v for %s refused: %s", t, wire.EndID(m.RemoteEndID), r.Text(wire.TypeCDN))})
		c.refuse(now, m.LocalSessionID, *r)
		return
	}
	s := c.newSession(now, k, icrqRecipient)
	if t == wire.TypeOCRQ {
		s.role = ocrqRecipient
	}
	k.begin(s)
	s.name(m.LocalSessionID)
	s.params.SendCookie = m.Cookie
	s.params.PeerSublayer, s.params.PeerSequencing = m.Sublayer, m.Sequencing
	s.params.TxSpeed, s.params.RxSpeed, s.params.PhysicalChannel = m.TxSpeed, m.RxSpeed, physical
	k.hears(s, m.Status)
	s.do(now, rcvRequest, wire.Result{})
	k.place(now)
}

// judgeCall reports to which circuit a request belongs, or why it is not
// acceptable.
func (c *conn) judgeCall(now time.Time, m *wire.CallRequest) (*circuit, *wire.Result) {
	l := c.lcce
	if !contains(l.cfg.Capabilities, m.PseudowireType) {
		return nil, &wire.Result{Code: wire.CDNPseudowireType, Message: m.PseudowireType.String() + " was not offered"}
	}
	if r := unsequenced(m.Sublayer, m.Sequencing); r != nil {
		return nil, r
	}
	if c.all.Count >= c.cfg.SessionLimit {
		return nil, &wire.Result{Code: wire.CDNError, Error: wire.ErrorResources, Message: fmt.Sprintf("%d sessions are the limit here", c.cfg.SessionLimit)}
	}
	k, cfg := c.tunnel.called(m.RemoteEndID)
	switch {
	case cfg == nil:
		return nil, &wire.Result{Code: wire.CDNPermanent, Message: "no session with Remote End ID " + wire.EndID(m.RemoteEndID) + " here"}
	case cfg.Pseudowire != m.PseudowireType:
		return nil, &wire.Result{Code: wire.CDNPseudowireType, Message: fmt.Sprintf("%s is %v here", wire.EndID(m.RemoteEndID), cfg.Pseudowire)}
	case k != nil && k.down:
		return nil, &wire.Result{Code: wire.CDNAdministrative, Message: ByCommand}
	case k != nil && k.absent != 0:
		return nil, k.refusal()
	}
	if r := cfg.judge(m.Cookie, m.Sublayer); r != nil {
		return nil, r
	}
	if r := cfg.judgeHeaderLen(m.FrameRelayHeaderLen); r != nil {
		return nil, r
	}
	if k == nil {
		if k = c.tunnel.make(now, cfg, m.RemoteEndID); k == nil {
			return nil, &wire.Result{Code: wire.CDNTemporary, Message: "another session has its name here"}
		}
	}
	return k, nil
}

func contains(all []pseudowire.Type, t pseudowire.Type) bool {
	for _, v := range all {
		if v == t {
			return true
		}
	}
	return false
}

// unsequenced refuses sequencing without what carries the numbers. RFC 3931
// section 5.4.4: "If sequencing is requested without requesting a L2-Specific
// Sublayer AVP, the session MUST be disconnected with a Result Code of 15".
func unsequenced(s pseudowire.Sublayer, q pseudowire.Sequencing) *wire.Result {
	if q != pseudowire.NoSequencing && s == pseudowire.NoSublayer {
		return &wire.Result{Code: wire.CDNSequencing}
	}
	return nil
}

// judge reports why what a peer asks for cannot be used, nil if it can.
func (k *CircuitConfig) judge(c cookie.Cookie, s pseudowire.Sublayer) *wire.Result {
	switch {
	case c.Len() < k.PeerCookieSize:
		return &wire.Result{Code: wire.CDNPermanent, Message: fmt.Sprintf("the peer assigned a cookie of %v, want %d", c, k.PeerCookieSize)}
	case s > pseudowire.DefaultSublayer:
		return &wire.Result{Code: wire.CDNPermanent, Message: fmt.Sprintf("unknown L2-specific %v", s)}
	}
	return nil
}

// headerLen returns how long the headers of a PVC are.
func (k *CircuitConfig) headerLen() uint16 {
	if k.FrameRelayHeaderLen == 0 {
		return framerelay.ShortHeader
	}
	return uint16(k.FrameRelayHeaderLen)
}

// toldHeaderLen returns what a peer is told of the length of a PVC's headers:
// nothing, where that says as much.
func (k *CircuitConfig) toldHeaderLen() wire.Optional[uint16] {
	if k.Pseudowire != pseudowire.FrameRelay || k.headerLen() == framerelay.ShortHeader {
		return wire.Optional[uint16]{}
	}
	return wire.Some(k.headerLen())
}

// judgeHeaderLen refuses a peer whose PVC has headers of another length. RFC 4591
// section 3.5: "If the Frame Relay Header Length AVP is not signalled, it MUST be
// assumed that the peer uses a 2-byte Frame Relay header."
func (k *CircuitConfig) judgeHeaderLen(told wire.Optional[uint16]) *wire.Result {
	theirs := uint16(framerelay.ShortHeader)
	if told.Set {
		theirs = told.Value
	}
	if k.Pseudowire != pseudowire.FrameRelay || theirs == k.headerLen() {
		return nil
	}
	return &wire.Result{Code: wire.CDNHeaderLength, Message: fmt.Sprintf("%d octets there, %d here", theirs, k.headerLen())}
}

// tied breaks the tie of two requests for one circuit. Its result is that of the
// CDN for the peer's; nil: ours has lost; the zero Result: both begin anew.
func (c *conn) tied(now time.Time, k *circuit, m *wire.CallRequest) *wire.Result {
	s := k.pending()
	switch tie(s.tie, m.TieBreaker) {
	case won:
		s.do(now, rcvRequestBeaten, wire.Result{})
		return &wire.Result{Code: wire.CDNTieBreaker}
	case lost:
		s.gave = true
		s.do(now, rcvRequestLost, wire.Result{})
		return nil
	case equal:
		s.gave = true
		s.do(now, rcvRequestLost, wire.Result{})
		if k.cfg.Initiate {
			k.retry(now.Add(c.lcce.jitter.Around(tieRestart)))
		}
		return &wire.Result{}
	}
	// RFC 3931 section 5.4.4: "If neither side issues a tie breaker, then both
	// sides MUST tear down the session."
	s.do(now, localClose, wire.Result{Code: wire.CDNTieBreaker, Message: "no tie breaker on either side"})
	return &wire.Result{Code: wire.CDNTieBreaker, Message: "no tie breaker on either side"}
}

// tieRestart is about how long after a tie of equals both sides begin anew.
const tieRestart = 100 * time.Millisecond

// An outcome is how a tie ended for us.
type outcome uint8

const (
	won outcome = iota
	lost
	equal
	neither
)

// tie compares our tie breaker with the peer's: the lower wins, one that is there
// wins over none. RFC 3931 sections 5.4.3 and 5.4.4.
func tie(ours, theirs wire.Optional[uint64]) outcome {
	switch {
	case !ours.Set && !theirs.Set:
		return neither
	case ours.Set && theirs.Set && ours.Value == theirs.Value:
		return equal
	case ours.Set && (!theirs.Set || ours.Value < theirs.Value):
		return won
	}
	return lost
}

// replied takes an ICRP or OCRP.
func (c *conn) replied(now time.Time, t wire.MessageType, m *wire.CallReply) {
	s := c.find(m.LocalSessionID, m.RemoteSessionID)
	if s == nil {
		// RFC 3931 section 7.3.2, idle.
		c.refuse(now, m.LocalSessionID, wire.Result{Code: wire.CDNError, Error: wire.ErrorSessionID, Message: fmt.Sprintf("%v for a session that is not here", t)})
		return
	}
	if s.state != WaitReply || !s.replies(t) {
		s.do(now, rcvReplyBad, wire.Result{Code: wire.CDNStateMachine, Message: fmt.Sprintf("%v in state %v", t, s.state)})
		return
	}
	if c.sessions[m.LocalSessionID] != nil {
		s.do(now, rcvReplyBad, wire.Result{Code: wire.CDNError, Error: wire.ErrorSessionID, Message: "the session ID is another session's"})
		return
	}
	s.name(m.LocalSessionID)
	s.params.SendCookie = m.Cookie
	s.params.PeerSublayer, s.params.PeerSequencing = m.Sublayer, m.Sequencing
	s.params.TxSpeed, s.params.RxSpeed, s.params.PhysicalChannel = m.TxSpeed, m.RxSpeed, m.PhysicalChannelID
	r := unsequenced(m.Sublayer, m.Sequencing)
	if r == nil {
		r = s.circuit.cfg.judge(m.Cookie, m.Sublayer)
	}
	if r == nil {
		r = s.circuit.cfg.judgeHeaderLen(m.FrameRelayHeaderLen)
	}
	if r != nil {
		s.do(now, rcvReplyBad, *r)
		return
	}
	s.circuit.hears(s, m.Status)
	s.do(now, rcvReply, wire.Result{})
}

// connected takes an ICCN or OCCN.
func (c *conn) connected(now time.Time, t wire.MessageType, m *wire.CallConnected) {
	s := c.find(m.LocalSessionID, m.RemoteSessionID)
	if s == nil {
		return
	}
	incoming := t == wire.TypeICCN
	if s.state != WaitConnect || incoming != (s.role == icrqRecipient) {
		s.do(now, rcvConnectedBad, wire.Result{Code: wire.CDNStateMachine, Message: fmt.Sprintf("%v in state %v", t, s.state)})
		return
	}
	if m.Sublayer.Set {
		s.params.PeerSublayer = m.Sublayer.Value
	}
	if m.Sequencing.Set {
		s.params.PeerSequencing = m.Sequencing.Value
	}
	if m.TxSpeed != 0 {
		s.params.TxSpeed = m.TxSpeed
	}
	if m.RxSpeed != 0 {
		s.params.RxSpeed = m.RxSpeed
	}
	r := unsequenced(s.params.PeerSublayer, s.params.PeerSequencing)
	if r == nil {
		r = s.circuit.cfg.judge(s.params.SendCookie, s.params.PeerSublayer)
	}
	if r != nil {
		s.do(now, rcvConnectedBad, *r)
		return
	}
	if m.Status.Set {
		s.circuit.hears(s, m.Status.Value)
	}
	s.do(now, rcvConnected, wire.Result{})
}
