package l2tpv2

import (
	"fmt"
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
)

// A session is one call, and the L2TP session that carries it. RFC 2661 section 5.2.
type session struct {
	id     CallID
	node   *Node
	config *peer
	conn   *conn // nil in wait-tunnel
	role   role
	state  State
	begun  time.Time
	since  time.Time // of the state

	params    Params
	connected wire.ICCNV2 // as LAC: what the LNS is told when it accepts
	opened    bool        // SessionOpen was emitted
	shown     bool        // to the owner, who must be told of its end

	links [2]machine.Links[session]
}

// The links of a session: in the list of all, and in one of those that wait.
const (
	allLink = iota
	waitingLink
)

// A sessionList holds sessions in the order in which they came.
type sessionList = machine.List[session, *session]

// Links implements machine.Member.
func (s *session) Links(kind int) *machine.Links[session] { return &s.links[kind] }

// An ending is why a session ends: what a CDN says of it, or what else there is to
// say.
type ending struct {
	wire.CDNV2
	reason string // "": the Result's
	byPeer bool
}

func because(code wire.ResultCode, e wire.ErrorCode, format string, args ...any) ending {
	return ending{CDNV2: wire.CDNV2{Result: wire.Result{Code: code, Error: e, Message: fmt.Sprintf(format, args...)}}}
}

// An IncomingCall is a call that has come to a LAC: what the LNS is asked, and what it
// is told once it accepts. The session's ID and serial number are the node's affair.
type IncomingCall struct {
	Request   wire.ICRQV2
	Connected wire.ICCNV2
}

// Indicate has the LAC indicate an incoming call to the LNS at the other end of a
// tunnel, which is dialled if need be. The call has been answered, or needs no answer.
func (n *Node) Indicate(now time.Time, tunnel string, call IncomingCall) (CallID, error) {
	r, k := call.Request, call.Connected
	if err := call.fits(); err != nil {
		return 0, err
	}
	return n.call(now, tunnel, lacIncoming, k, Params{
		LAC: true, Bearer: r.Bearer, Framing: k.Framing, TxSpeed: k.TxSpeed, RxSpeed: k.RxSpeed,
		PhysicalChannelID: r.PhysicalChannelID, CalledNumber: r.CalledNumber, CallingNumber: r.CallingNumber, SubAddress: r.SubAddress,
		PrivateGroupID: k.PrivateGroupID, Sequence: k.Sequence, LCPWant: k.LCPWant, LCPAllow: k.LCPAllow, Proxy: k.Proxy, DiffServ: r.DiffServ,
	})
}

// fits reports whether what the call says fits into AVPs.
func (c *IncomingCall) fits() error {
	k := &c.Connected
	return fits(k.LCPWant, k.LCPAllow, k.Proxy.InitialReceived, k.Proxy.LastSent, k.Proxy.LastReceived, k.Proxy.Challenge, k.Proxy.Response, k.PrivateGroupID)
}

// longest is the octets that fit into an AVP, be it hidden.
const longest = 1008

// fits reports whether values fit into AVPs.
func fits(values ...[]byte) error {
	for _, b := range values {
		if len(b) > longest {
			return fmt.Errorf("l2tpv2: a value of %d octets, want %d at most", len(b), longest)
		}
	}
	return nil
}

// Request has the LNS request an outgoing call of the LAC at the other end of a tunnel,
// which is dialled if need be. The session's ID and serial number are the node's affair.
func (n *Node) Request(now time.Time, tunnel string, call wire.OCRQV2) (CallID, error) {
	return n.call(now, tunnel, lnsOutgoing, wire.ICCNV2{}, Params{
		Outgoing: true, Bearer: wire.Some(call.Bearer), Framing: call.Framing, MinimumBPS: call.MinimumBPS, MaximumBPS: call.MaximumBPS,
		CalledNumber: call.CalledNumber, SubAddress: call.SubAddress, DiffServ: call.DiffServ,
	})
}

// call begins a call of ours.
func (n *Node) call(now time.Time, tunnel string, r role, connected wire.ICCNV2, params Params) (CallID, error) {
	n.now = now
	c := n.names[tunnel]
	p := n.peers[tunnel]
	switch {
	case n.closing:
		return 0, fmt.Errorf("l2tpv2: %s: %s", tunnel, ShutDown)
	case c != nil:
		p = c.config
	case p == nil:
		return 0, fmt.Errorf("l2tpv2: %s: no such tunnel", tunnel)
	case !p.cfg.Dial:
		return 0, fmt.Errorf("l2tpv2: %s is not one tunnel: its peers ask for theirs", tunnel)
	case p.down:
		return 0, fmt.Errorf("l2tpv2: %s: %s", tunnel, ByCommand)
	case p.waiting.Count >= p.cfg.SessionLimit:
		return 0, fmt.Errorf("l2tpv2: %s: %d calls wait already", tunnel, p.waiting.Count)
	}
	if c != nil {
		if err := c.mayCall(r, &params); err != nil {
			return 0, err
		}
	}
	s := n.newSession(now, p, r)
	s.shown = true
	s.params, s.connected = params, connected
	n.serial++
	s.params.SerialNumber = n.serial
	s.do(now, localOpen, ending{})
	p.waiting.Add(s)
	if c != nil {
		c.open(now, s)
	} else {
		p.dialSoon(now)
	}
	p.arrange()
	return s.id, nil
}

// mayCall reports why a call cannot be on this tunnel.
func (c *conn) mayCall(r role, p *Params) error {
	switch {
	case c.all.Count >= c.cfg.SessionLimit:
		return fmt.Errorf("l2tpv2: %s: %d sessions are the limit here", c.name, c.cfg.SessionLimit)
	case p.Framing&(wire.SyncFraming|wire.AsyncFraming)&^c.peer.Framing != 0:
		// RFC 2661 section 4.4.3: "A peer MUST NOT request an incoming or outgoing
		// call with a Framing Type AVP specifying a value not advertised in the
		// Framing Capabilities AVP it received".
		return fmt.Errorf("l2tpv2: %s: the peer takes framing %v, not %v", c.name, c.peer.Framing, p.Framing)
	case r == lnsOutgoing && !c.peer.Bearer.Set:
		// Section 6.9: "An LNS MUST have received a Bearer Capabilities AVP during
		// tunnel establishment from an LAC in order to request an outgoing call to
		// that LAC."
		return fmt.Errorf("l2tpv2: %s: the peer places no calls", c.name)
	case r == lnsOutgoing && p.Bearer.Value&^c.peer.Bearer.Value != 0:
		// Section 4.4.4: "Bits in the Value field of this AVP MUST only be set by
		// the LNS for an OCRQ if it was set in the Bearer Capabilities AVP
		// received".
		return fmt.Errorf("l2tpv2: %s: the peer places calls on %v lines, not on %v", c.name, c.peer.Bearer.Value, p.Bearer.Value)
	}
	return nil
}

// newSession returns a session in idle.
func (n *Node) newSession(now time.Time, p *peer, r role) *session {
	n.lastCall++
	s := &session{id: n.lastCall, node: n, config: p, role: r, begun: now, since: now}
	n.calls[s.id] = s
	return s
}

// join gives a session an ID on the tunnel; false: none is free.
func (c *conn) join(s *session) bool {
	id, ok := newID(c.node.cfg.Random, c.byID)
	if !ok {
		return false
	}
	s.conn = c
	s.params.TunnelID, s.params.PeerTunnelID, s.params.SessionID = c.id, c.peerID, id
	c.byID[id] = s
	c.all.Add(s)
	c.setup.Add(s)
	return true
}

// open begins a call that waited for the tunnel.
func (c *conn) open(now time.Time, s *session) {
	if err := c.mayCall(s.role, &s.params); err != nil {
		s.do(now, localClose, ending{reason: err.Error()})
		return
	}
	s.config.waiting.Remove(s)
	if !c.join(s) {
		s.do(now, localClose, ending{reason: "no Session ID is free"})
		return
	}
	s.do(now, tunnelOpen, ending{})
}

// do moves the machine. The ending is what a CDN says.
func (s *session) do(now time.Time, e event, why ending) {
	step := sessionSteps[s.role].step(s.state, e)
	if step.action == impossible {
		return
	}
	if step.next != s.state {
		s.state, s.since = step.next, now
	}
	c := s.conn
	switch step.action {
	case none:
		if s.state == WaitConnect { // an OCRP
			s.open(now)
		}
	case sendRequest:
		s.sendRequest(now)
	case sendReply:
		s.sendReply(now)
	case sendConnected:
		s.sendConnected(now)
		s.up(now)
	case prepareData:
		s.up(now)
	case sendCDN:
		m := why.CDNV2
		m.SessionID = s.params.SessionID
		c.send(now, s.params.PeerSessionID, &m)
		s.gone(now, why)
	case cleanUp:
		s.gone(now, why)
	}
	if c != nil {
		c.arrange(now)
	}
}

// late gives up what was begun and is not completed.
func (s *session) late(now time.Time) {
	e, why := localClose, because(wire.CDNTimeout, 0, "%v took too long", s.state)
	if s.state == WaitCSAnswer {
		e = bearerFailure
	}
	s.do(now, e, why)
}

func (s *session) sendRequest(now time.Time) {
	p := &s.params
	if s.role == lnsOutgoing {
		s.conn.send(now, 0, &wire.OCRQV2{
			SessionID: p.SessionID, SerialNumber: p.SerialNumber, MinimumBPS: p.MinimumBPS, MaximumBPS: p.MaximumBPS,
			Bearer: p.Bearer.Value, Framing: p.Framing, CalledNumber: p.CalledNumber, SubAddress: p.SubAddress, DiffServ: p.DiffServ,
		})
		return
	}
	s.conn.send(now, 0, &wire.ICRQV2{
		SessionID: p.SessionID, SerialNumber: p.SerialNumber, Bearer: p.Bearer, PhysicalChannelID: p.PhysicalChannelID,
		CalledNumber: p.CalledNumber, CallingNumber: p.CallingNumber, SubAddress: p.SubAddress, DiffServ: p.DiffServ,
	})
}

// sendReply accepts a request: an LNS is ready for data then, a LAC opens the bearer.
func (s *session) sendReply(now time.Time) {
	p := &s.params
	if s.role == lnsIncoming {
		s.conn.send(now, p.PeerSessionID, &wire.ICRPV2{SessionID: p.SessionID, DiffServ: p.DiffServ})
		s.open(now) // data may overtake the ICCN
		return
	}
	s.conn.send(now, p.PeerSessionID, &wire.OCRPV2{SessionID: p.SessionID, DiffServ: p.DiffServ})
	s.emit(Event{Kind: SessionPlace})
}

func (s *session) sendConnected(now time.Time) {
	if s.role == lacOutgoing {
		s.conn.send(now, s.params.PeerSessionID, &wire.OCCNV2{ConnectedV2: s.connected.ConnectedV2})
		return
	}
	s.conn.send(now, s.params.PeerSessionID, &s.connected)
}

// open lets the session receive.
func (s *session) open(now time.Time) {
	if !s.opened {
		s.opened = true
		s.emit(Event{Kind: SessionOpen})
	}
}

// up lets the session send.
func (s *session) up(now time.Time) {
	s.conn.setup.Remove(s)
	s.open(now)
	s.emit(Event{Kind: SessionUp})
}

// gone forgets the session.
func (s *session) gone(now time.Time, why ending) {
	n := s.node
	if n.calls[s.id] != s {
		return
	}
	s.state = Idle
	delete(n.calls, s.id)
	if c := s.conn; c != nil {
		delete(c.byID, s.params.SessionID)
		if c.byPeerID[s.params.PeerSessionID] == s {
			delete(c.byPeerID, s.params.PeerSessionID)
		}
		c.all.Remove(s)
		c.setup.Remove(s)
		if c.all.Count == 0 {
			c.empty = now
		}
	} else {
		s.config.waiting.Remove(s)
		s.config.arrange()
	}
	if k := s.config.kept; k != nil && k.id == s.id {
		s.config.lostKept(now, s.begun)
	}
	if !s.shown {
		return
	}
	e := Event{Kind: SessionDown, Reason: why.reason, ByPeer: why.byPeer, Result: why.Result, Cause: why.Cause, Disconnects: why.Disconnects}
	switch {
	case e.Reason != "":
	case why.byPeer:
		e.Reason = "closed by peer: " + why.Result.Text(wire.TypeCDN)
	default:
		e.Reason = ours(why.Result, wire.TypeCDN)
	}
	if len(why.Disconnects) > 0 {
		e.Reason += ", " + why.Disconnects[0].String()
	}
	s.emit(e)
}

func (s *session) emit(e Event) {
	s.shown = true
	e.Call, e.Params = s.id, s.params
	if s.conn != nil {
		s.conn.emit(e)
		return
	}
	e.Tunnel, e.Config = s.config.cfg.Name, s.config.cfg.Name
	s.node.emit(e)
}

// Answer tells the LNS that an outgoing call was placed, as SessionPlace asked for.
func (n *Node) Answer(now time.Time, id CallID, m wire.OCCNV2) error {
	n.now = now
	s := n.calls[id]
	if s == nil || s.state != WaitCSAnswer {
		return fmt.Errorf("l2tpv2: call %d is none that is being placed", id)
	}
	if err := fits(m.LCPWant, m.LCPAllow); err != nil {
		return err
	}
	s.connected.ConnectedV2 = m.ConnectedV2
	s.params.take(&m.ConnectedV2)
	s.do(now, bearerAnswer, ending{})
	return nil
}

// Hangup ends a call: it was not placed, its line dropped, PPP ended, or somebody
// wants it to end. What is in why but its SessionID is told to the peer.
func (n *Node) Hangup(now time.Time, id CallID, why wire.CDNV2) error {
	n.now = now
	s := n.calls[id]
	if s == nil {
		return fmt.Errorf("l2tpv2: no call %d", id)
	}
	e := localClose
	if s.state == WaitCSAnswer {
		e = bearerFailure
	}
	s.do(now, e, ending{CDNV2: why})
	return nil
}

// SetLink tells the LAC what PPP agreed upon: the ACCM, and the options of the last
// LCP CONFREQs. RFC 2661 section 6.14 and RFC 3437 section 2.3.
func (n *Node) SetLink(now time.Time, id CallID, m wire.SLIV2) error {
	n.now = now
	s := n.calls[id]
	if s == nil || s.state != Established || s.params.LAC {
		return fmt.Errorf("l2tpv2: call %d is none that is established, with us as its LNS", id)
	}
	if err := fits(m.LastSent, m.LastReceived); err != nil {
		return err
	}
	s.conn.send(now, s.params.PeerSessionID, &m)
	s.conn.arrange(now)
	return nil
}

// Report tells the LNS of errors on the line of a call: "not more than once every 60
// seconds", RFC 2661 section 6.13, which is up to the caller.
func (n *Node) Report(now time.Time, id CallID, errors wire.CallErrors) error {
	n.now = now
	s := n.calls[id]
	if s == nil || s.state != Established || !s.params.LAC {
		return fmt.Errorf("l2tpv2: call %d is none that is established, with us as its LAC", id)
	}
	s.conn.send(now, s.params.PeerSessionID, &wire.WENV2{Errors: errors})
	s.conn.arrange(now)
	return nil
}

// named gives a session the peer's ID.
func (s *session) named(peerID uint16) {
	s.params.PeerSessionID = peerID
	s.conn.byPeerID[peerID] = s
}

// take takes what an ICCN or OCCN says.
func (p *Params) take(m *wire.ConnectedV2) {
	p.TxSpeed, p.RxSpeed, p.Framing, p.Sequence, p.LCPWant, p.LCPAllow = m.TxSpeed, m.RxSpeed, m.Framing, m.Sequence, m.LCPWant, m.LCPAllow
}

// find returns the session that a message is about: by our ID, which the header has,
// or where the peer did not know it or mangled it by its own.
func (c *conn) find(h wire.ControlHeaderV2, peerID uint16) *session {
	if s := c.byID[h.SessionID]; s != nil {
		return s
	}
	if peerID == 0 {
		return nil
	}
	return c.byPeerID[peerID]
}

// sessionMessage acts on a message of a session.
func (c *conn) sessionMessage(now time.Time, h wire.ControlHeaderV2, p *wire.Parsed) {
	switch m := p.Message.(type) {
	case *wire.ICRQV2:
		c.called(now, h, p.Type, m.SessionID, lnsIncoming, Params{
			SerialNumber: m.SerialNumber, Bearer: m.Bearer, PhysicalChannelID: m.PhysicalChannelID,
			CalledNumber: m.CalledNumber, CallingNumber: m.CallingNumber, SubAddress: m.SubAddress, DiffServ: m.DiffServ,
		})
	case *wire.OCRQV2:
		c.called(now, h, p.Type, m.SessionID, lacOutgoing, Params{
			LAC: true, Outgoing: true, SerialNumber: m.SerialNumber, Bearer: wire.Some(m.Bearer), Framing: m.Framing,
			MinimumBPS: m.MinimumBPS, MaximumBPS: m.MaximumBPS, CalledNumber: m.CalledNumber, SubAddress: m.SubAddress, DiffServ: m.DiffServ,
		})
	case *wire.ICRPV2:
		c.replied(now, h, p.Type, m.SessionID, m.DiffServ, wire.Optional[uint32]{})
	case *wire.OCRPV2:
		c.replied(now, h, p.Type, m.SessionID, m.DiffServ, m.PhysicalChannelID)
	case *wire.ICCNV2:
		c.connected(now, h, p.Type, m)
	case *wire.OCCNV2:
		c.connected(now, h, p.Type, &wire.ICCNV2{ConnectedV2: m.ConnectedV2})
	case *wire.CDNV2:
		if s := c.find(h, m.SessionID); s != nil {
			s.do(now, rcvCDN, ending{CDNV2: *m, byPeer: true})
		}
	case *wire.SLIV2:
		if s := c.find(h, 0); s != nil && s.params.LAC {
			s.emit(Event{Kind: SessionLink, Link: *m})
		}
	case *wire.WENV2:
		if s := c.find(h, 0); s != nil && !s.params.LAC {
			s.emit(Event{Kind: SessionErrors, Errors: m.Errors})
		}
	}
}

// malformedSession clears the session of a message that makes no sense.
func (c *conn) malformedSession(now time.Time, h wire.ControlHeaderV2, p *wire.Parsed, r wire.Result) {
	var peerID uint16
	e, why := localClose, ending{CDNV2: wire.CDNV2{Result: r}}
	switch m := p.Message.(type) {
	case *wire.ICRQV2:
		peerID, e = m.SessionID, rcvRequestBad
	case *wire.OCRQV2:
		peerID, e = m.SessionID, rcvRequestBad
	case *wire.ICRPV2:
		peerID, e = m.SessionID, rcvReplyBad
	case *wire.OCRPV2:
		peerID, e = m.SessionID, rcvReplyBad
	case *wire.ICCNV2, *wire.OCCNV2:
		e = rcvConnectedBad
	case *wire.CDNV2:
		peerID, e, why = m.SessionID, rcvCDN, ending{CDNV2: *m, byPeer: true}
	}
	if s := c.find(h, peerID); s != nil {
		if s.params.PeerSessionID == 0 && peerID != 0 && c.byPeerID[peerID] == nil {
			s.named(peerID)
		}
		s.do(now, e, why)
		return
	}
	if peerID != 0 && e != rcvCDN {
		c.refuse(now, h, peerID, why)
	}
}

// refuse sends a CDN for a session that is none of ours. Its Assigned Session ID is
// the one to which the peer spoke, or one that nobody uses.
func (c *conn) refuse(now time.Time, h wire.ControlHeaderV2, peerID uint16, why ending) {
	m := why.CDNV2
	m.SessionID = h.SessionID
	if m.SessionID == 0 {
		m.SessionID, _ = newID(c.node.cfg.Random, c.byID)
	}
	c.send(now, peerID, &m)
}

// called takes an ICRQ or OCRQ.
func (c *conn) called(now time.Time, h wire.ControlHeaderV2, t wire.MessageType, peerID uint16, r role, params Params) {
	if s := c.find(h, peerID); s != nil {
		s.do(now, rcvRequest, because(wire.CDNError, wire.ErrorSessionID, "%v in state %v", t, s.state))
		return
	}
	why := c.judgeCall(t, &params)
	if why.Code == 0 {
		s := c.node.newSession(now, c.config, r)
		s.params = params
		if c.join(s) {
			s.named(peerID)
			s.do(now, rcvRequest, ending{})
			return
		}
		delete(c.node.calls, s.id)
		why = wire.Result{Code: wire.CDNTemporary, Message: "no Session ID is free"}
	}
	c.emit(Event{Kind: Noted, Reason: fmt.Sprintf("%v refused: %s", t, why.Text(wire.TypeCDN))})
	c.refuse(now, h, peerID, ending{CDNV2: wire.CDNV2{Result: why}})
}

// judgeCall reports why a call of the peer's is not acceptable, and settles its
// DiffServ.
func (c *conn) judgeCall(t wire.MessageType, p *Params) wire.Result {
	switch {
	case t == wire.TypeICRQ && !c.cfg.Incoming:
		return wire.Result{Code: wire.CDNPermanent, Message: "no incoming calls are accepted here"}
	case t == wire.TypeOCRQ && (!c.cfg.Outgoing || !c.cfg.Bearer.Set):
		return wire.Result{Code: wire.CDNPermanent, Message: "no outgoing calls are placed here"}
	case t == wire.TypeOCRQ && p.Bearer.Value&^c.cfg.Bearer.Value != 0:
		return wire.Result{Code: wire.CDNPermanent, Message: fmt.Sprintf("calls are placed on %v lines here", c.cfg.Bearer.Value)}
	case t == wire.TypeOCRQ && !c.frames(p.Framing):
		return c.unframed(p.Framing)
	case c.all.Count >= c.cfg.SessionLimit:
		return wire.Result{Code: wire.CDNError, Error: wire.ErrorResources, Message: fmt.Sprintf("%d sessions are the limit here", c.cfg.SessionLimit)}
	}
	if p.DiffServ.Set {
		// RFC 3308 section 4: who does not support it sends a reply without it,
		// who would have another value sends that.
		p.DiffServ = c.cfg.CallDiffServ
	}
	if c.cfg.Acceptable != nil {
		return c.cfg.Acceptable(c.peer, *p)
	}
	return wire.Result{}
}

// frames reports whether a kind of framing is one that we advertised.
func (c *conn) frames(t wire.FramingType) bool {
	return t&(wire.SyncFraming|wire.AsyncFraming)&^c.cfg.Framing == 0
}

func (c *conn) unframed(t wire.FramingType) wire.Result {
	return wire.Result{Code: wire.CDNError, Error: wire.ErrorRange, Message: fmt.Sprintf("framing %v, which was not offered", t)}
}

// replied takes an ICRP or OCRP.
func (c *conn) replied(now time.Time, h wire.ControlHeaderV2, t wire.MessageType, peerID uint16, ds wire.Optional[uint16], channel wire.Optional[uint32]) {
	s := c.find(h, peerID)
	switch {
	case s == nil:
		// RFC 2661 section 7.4.2, idle.
		c.refuse(now, h, peerID, because(wire.CDNError, wire.ErrorSessionID, "%v for a session that is not here", t))
		return
	case s.state != WaitReply || (t == wire.TypeICRP) != (s.role == lacIncoming):
		s.do(now, rcvReplyBad, because(wire.CDNError, wire.ErrorSessionID, "%v in state %v", t, s.state))
		return
	case c.byPeerID[peerID] != nil:
		s.do(now, rcvReplyBad, because(wire.CDNError, wire.ErrorSessionID, "the Session ID is another session's"))
		return
	}
	s.named(peerID)
	if s.params.DiffServ.Set && ds.Set && s.params.DiffServ != ds {
		// RFC 3308 section 4: "the session initiator MUST send a CDN message
		// containing the Result Code 12 that indicates SDS AVP value (48) as the
		// reason for sending the CDN."
		s.do(now, rcvReplyBad, because(wire.CDNDiffServ, wire.ErrorCode(wire.AttrSessionDS), ""))
		return
	}
	s.params.DiffServ = ds // not set: the peer does not support it
	if channel.Set {
		s.params.PhysicalChannelID = channel
	}
	s.do(now, rcvReply, ending{})
}

// connected takes an ICCN or OCCN.
func (c *conn) connected(now time.Time, h wire.ControlHeaderV2, t wire.MessageType, m *wire.ICCNV2) {
	s := c.find(h, 0)
	switch {
	case s == nil:
		return
	case s.state != WaitConnect || (t == wire.TypeICCN) != (s.role == lnsIncoming):
		s.do(now, rcvConnectedBad, because(wire.CDNError, wire.ErrorSessionID, "%v in state %v", t, s.state))
		return
	case !c.frames(m.Framing):
		s.do(now, rcvConnectedBad, ending{CDNV2: wire.CDNV2{Result: c.unframed(m.Framing)}})
		return
	}
	s.params.take(&m.ConnectedV2)
	s.params.Proxy, s.params.PrivateGroupID = m.Proxy, m.PrivateGroupID
	s.do(now, rcvConnected, ending{})
}
