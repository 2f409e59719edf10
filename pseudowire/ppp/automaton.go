package ppp

import (
	"bytes"
	"time"
)

// A State is a state of the option negotiation automaton, RFC 1661 section 4.2. Its
// number is the one it has there.
type State uint8

// The states.
const (
	Initial State = iota
	Starting
	Closed
	Stopped
	Closing
	Stopping
	ReqSent
	AckRcvd
	AckSent
	Opened
	states
)

var stateNames = [states]string{
	"Initial", "Starting", "Closed", "Stopped", "Closing", "Stopping", "Req-Sent", "Ack-Rcvd", "Ack-Sent", "Opened",
}

// String returns the name that RFC 1661 gives the state.
func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return "unknown"
}

// "The states in which the Restart timer is running are identifiable by the presence
// of TO events."
func (s State) timed() bool { return s >= Closing && s <= AckSent }

// An event is what moves an automaton, RFC 1661 section 4.3.
type event uint8

const (
	up event = iota
	down
	open
	closing // Close
	toPlus
	toMinus
	rcrPlus
	rcrMinus
	rca
	rcn
	rtr
	rta
	ruc
	rxjPlus
	rxjMinus
	rxr
	events
)

// A step is what an event does in a state: the actions of RFC 1661 section 4.4, which
// are taken in the order in which they stand here, and the next state. The zero value
// is the dash: an illegal transition. Two orders matter. Our new Configure-Request
// goes out before the Configure-Ack to the peer's: who has the Ack first would be
// Opened and then have to begin again with the Request, for ever. And a layer above
// hears last that it is up, or it would speak before the Ack is sent.
type step uint32

const (
	tld step = 1 << (iota + 4) // This-Layer-Down
	tls                        // This-Layer-Started
	irc                        // Initialize-Restart-Count
	zrc                        // Zero-Restart-Count
	scr                        // Send-Configure-Request
	str                        // Send-Terminate-Request
	sca                        // Send-Configure-Ack
	scn                        // Send-Configure-Nak, or Reject
	sta                        // Send-Terminate-Ack
	scj                        // Send-Code-Reject
	ser                        // Send-Echo-Reply
	tlu                        // This-Layer-Up
	tlf                        // This-Layer-Finished

	legal
)

const (
	dash step = 0

	s0, s1, s2, s3, s4 = legal | step(Initial), legal | step(Starting), legal | step(Closed), legal | step(Stopped), legal | step(Closing)
	s5, s6, s7, s8, s9 = legal | step(Stopping), legal | step(ReqSent), legal | step(AckRcvd), legal | step(AckSent), legal | step(Opened)
)

func (s step) next() State { return State(s & 15) }

// steps is the State Transition Table of RFC 1661 section 4.1, both halves of it. Of
// its options there is none: a link of L2TP is no dedicated circuit that would wait
// passively [p], and who wants to open it again takes a new one [r].
var steps = [events][states]step{
	// 0       1             2             3                    4          5
	// Initial Starting      Closed        Stopped              Closing    Stopping
	// 6             7              8              9
	// Req-Sent      Ack-Rcvd       Ack-Sent       Opened
	up: {s2, irc | scr | s6, dash, dash, dash, dash,
		dash, dash, dash, dash},
	down: {dash, dash, s0, tls | s1, s0, s1,
		s1, s1, s1, tld | s1},
	open: {tls | s1, s1, irc | scr | s6, s3, s5, s5,
		s6, s7, s8, s9},
	closing: {s0, tlf | s0, s2, s2, s4, s4,
		irc | str | s4, irc | str | s4, irc | str | s4, tld | irc | str | s4},

	toPlus: {dash, dash, dash, dash, str | s4, str | s5,
		scr | s6, scr | s6, scr | s8, dash},
	toMinus: {dash, dash, dash, dash, tlf | s2, tlf | s3,
		tlf | s3, tlf | s3, tlf | s3, dash},

	rcrPlus: {dash, dash, sta | s2, irc | scr | sca | s8, s4, s5,
		sca | s8, sca | tlu | s9, sca | s8, tld | scr | sca | s8},
	rcrMinus: {dash, dash, sta | s2, irc | scr | scn | s6, s4, s5,
		scn | s6, scn | s7, scn | s6, tld | scr | scn | s6},
	rca: {dash, dash, sta | s2, sta | s3, s4, s5,
		irc | s7, scr | s6, irc | tlu | s9, tld | scr | s6},
	rcn: {dash, dash, sta | s2, sta | s3, s4, s5,
		irc | scr | s6, scr | s6, irc | scr | s8, tld | scr | s6},

	rtr: {dash, dash, sta | s2, sta | s3, sta | s4, sta | s5,
		sta | s6, sta | s6, sta | s6, tld | zrc | sta | s5},
	rta: {dash, dash, s2, s3, tlf | s2, tlf | s3,
		s6, s6, s8, tld | scr | s6},

	ruc: {dash, dash, scj | s2, scj | s3, scj | s4, scj | s5,
		scj | s6, scj | s7, scj | s8, scj | s9},
	rxjPlus: {dash, dash, s2, s3, s4, s5,
		s6, s6, s8, s9},
	rxjMinus: {dash, dash, tlf | s2, tlf | s3, tlf | s2, tlf | s3,
		tlf | s3, tlf | s3, tlf | s3, tld | irc | str | s5},

	rxr: {dash, dash, s2, s3, s4, s5,
		s6, s7, s8, ser | s9},
}

// An answer is what is said to one option of a peer's Configure-Request.
type answer uint8

const (
	ack answer = iota
	nak
	reject
)

// A layer is what differs from one control protocol to the next.
type layer interface {
	// request appends the options of our next Configure-Request.
	request(b []byte) []byte
	// begin says that a Configure-Request of the peer's comes: that of its options
	// none were seen. judge is then called with each of them, no kind twice, and
	// returns with a nak the option as it is wanted. missing appends options that
	// the peer should have asked for, as they are wanted.
	begin()
	judge(o option) (answer, []byte)
	missing(b []byte) []byte
	// acked says that what was judged last is agreed on.
	acked()
	// naked and rejected take what the peer says to one option of ours.
	naked(o option)
	rejected(o option)
	// other takes a packet whose code is above those that all protocols have, and
	// reports whether the protocol has it.
	other(p packet) (event, bool)
	// tlu, tld and tlf are the actions.
	up()
	down()
	finished(e event)
}

// patience is how many Configure-Naks and Configure-Rejects in a row are taken from a
// peer before it is seen that there is no end to them. RFC 1661 section 4.5:
// "Implementors should keep this in mind and SHOULD implement loop detection
// mechanisms".
const patience = 20

// pause is how long the peer is left alone after its Terminate-Request, so that it has
// the Ack before the link is gone: "an appropriate value", RFC 1661 section 4.4.
const pause = time.Second

// An automaton negotiates the options of one control protocol.
type automaton struct {
	link     *Link
	layer    layer
	protocol Protocol
	state    State

	// Of our last Configure-Request, but for its options.
	sentID  uint8
	waiting bool // for a valid answer to it
	lastID  uint8
	termID  uint8
	nakID   uint8 // of the last Configure-Nak

	moves uint64 // events that were taken

	// The Restart timer and counter, RFC 1661 section 4.6.
	restartAt time.Time // when it expires; zero: it does not run
	period    time.Duration
	restart   int

	naks    int    // Configure-Naks sent since the last Configure-Ack
	refused int    // Configure-Naks and Rejects received since the last Configure-Ack
	sent    []byte // the options of our last Configure-Request
}

func (a *automaton) newID() uint8 {
	a.lastID++
	return a.lastID
}

// on takes an event: it goes to the next state, and takes the actions.
func (a *automaton) on(e event) {
	s := steps[e][a.state]
	if s == dash {
		// "The implementation has an internal error, which should be reported and
		// logged. No transition is taken".
		a.link.stats.Illegal++
		return
	}
	a.state = s.next()
	if !a.state.timed() {
		a.restartAt = time.Time{}
	}
	a.moves++
	move := a.moves
	for action := tld; action < legal; action <<= 1 {
		if s&action != 0 {
			a.take(action, e)
		}
		if a.moves != move {
			return // the action closed the link, which has the last word
		}
	}
}

func (a *automaton) take(action step, e event) {
	switch l := a.link; action {
	case tld:
		a.layer.down()
	case irc:
		a.restart = l.cfg.MaxConfigure
		if a.state == Closing || a.state == Stopping {
			a.restart = l.cfg.MaxTerminate
		}
		// A peer that is slow has begun anew when it sees a request for the second time,
		// and pppd closes the link if it is CCP's and encryption is required. That there
		// is a peer at all is known after LCP.
		a.period = l.cfg.Restart
		if a.protocol == LCP {
			a.period = l.cfg.FirstRestart
		}
	case zrc:
		a.restart = 0
		a.restartAt = l.now.Add(min(pause, l.cfg.Restart))
	case scr:
		a.sendRequest()
	case str:
		if a.termID == 0 {
			a.termID = a.newID()
		}
		l.send(a.protocol, packet{code: terminateRequest, id: a.termID})
		a.started()
	case sca:
		a.naks = 0
		a.layer.acked()
		l.send(a.protocol, l.reply)
	case scn:
		// A retransmission, whose Identifier is unchanged, says nothing of whether the
		// peer takes a Nak.
		if l.reply.code == configureNak && (a.naks == 0 || l.reply.id != a.nakID) {
			a.naks++
			a.nakID = l.reply.id
		}
		l.send(a.protocol, l.reply)
	case sta:
		l.send(a.protocol, packet{code: terminateAck, id: l.received.id})
	case scj:
		// "truncated to comply with the peer's established MRU."
		rejected := l.received.append(nil)
		rejected = rejected[:min(len(rejected), l.lcp.peer.mru-packetHeaderLen)]
		l.send(a.protocol, packet{code: codeReject, id: a.newID(), data: rejected})
	case ser:
		if l.received.code == echoRequest {
			l.lcp.echo(l.received)
		}
	case tlu:
		a.refused = 0
		a.layer.up()
	case tlf:
		a.layer.finished(e)
	}
}

// started begins the Restart timer for something that was sent.
func (a *automaton) started() {
	a.restart--
	a.restartAt = a.link.now.Add(a.period)
	a.period = min(2*a.period, a.link.cfg.Restart)
}

// sendRequest sends a Configure-Request. RFC 1661 section 5.1: "The Identifier field
// MUST be changed whenever the contents of the Options field changes, and whenever a
// valid reply has been received for a previous request. For retransmissions, the
// Identifier MAY remain unchanged."
func (a *automaton) sendRequest() {
	var room [64]byte
	options := a.layer.request(room[:0])
	if !a.waiting || !bytes.Equal(options, a.sent) {
		a.sent = append(a.sent[:0], options...)
		a.sentID = a.newID()
	}
	a.waiting = true
	a.link.send(a.protocol, packet{code: configureRequest, id: a.sentID, data: a.sent})
	a.started()
}

// receive takes a packet, makes an event of it and takes that.
func (a *automaton) receive(p packet) {
	if a.state < Closed {
		a.link.stats.Unexpected++
		return
	}
	l := a.link
	l.received = p
	defer func() { l.received, l.reply = packet{}, packet{} }() // they are not ours to keep
	if e, ok := a.event(p); ok {
		a.on(e)
	}
}

// event returns the event that a packet is, after what it says has been taken note of.
func (a *automaton) event(p packet) (e event, ok bool) {
	malformed := func() (event, bool) {
		a.link.stats.Malformed++
		return 0, false
	}
	stale := func() (event, bool) {
		a.link.stats.Unexpected++
		return 0, false
	}
	switch p.code {
	case configureRequest:
		if !wellFormed(p.data) {
			return malformed()
		}
		if a.state == Closed || a.state == Closing || a.state == Stopping {
			return rcrPlus, true // it is not answered
		}
		return a.judge(p), true

	case configureAck:
		// RFC 1661 section 5.2: "On reception of a Configure-Ack, the Identifier
		// field MUST match that of the last transmitted Configure-Request.
		// Additionally, the Configuration Options in a Configure-Ack MUST exactly
		// match those of the last transmitted Configure-Request. Invalid packets are
		// silently discarded."
		if !a.waiting || p.id != a.sentID || !bytes.Equal(p.data, a.sent) {
			return stale()
		}
		a.waiting, a.refused = false, 0
		return rca, true

	case configureNak, configureReject:
		if !wellFormed(p.data) || len(p.data) == 0 {
			return malformed()
		}
		if !a.waiting || p.id != a.sentID {
			return stale()
		}
		if p.code == configureReject && !a.asked(p.data) {
			return stale()
		}
		a.waiting = false
		if a.refused++; a.refused > patience {
			a.link.unconverging(a)
			return rcn, true
		}
		for o := range options(p.data) {
			if p.code == configureNak {
				a.layer.naked(o)
			} else {
				a.layer.rejected(o)
			}
		}
		return rcn, true

	case terminateRequest:
		return rtr, true
	case terminateAck:
		return rta, true

	case codeReject:
		if len(p.data) < 1 {
			return malformed()
		}
		// "a Code-Reject of an extended code", or "such as a Code-Reject of
		// Configure-Request".
		if c := p.data[0]; c >= configureRequest && c <= codeReject {
			return rxjMinus, true
		}
		if a.protocol == LCP && p.data[0] == echoRequest {
			a.link.lcp.echoes = false // "MUST stop sending the offending packet type"
		}
		return rxjPlus, true
	}
	if p.code >= protocolReject {
		if e, ok := a.layer.other(p); ok {
			return e, e < events
		}
	}
	return ruc, true
}

// asked reports whether rejected options are some of those that were sent, in their
// order. RFC 1661 section 5.4: "Additionally, the Configuration Options in a
// Configure-Reject MUST be a proper subset of those in the last transmitted
// Configure-Request. Invalid packets are silently discarded."
func (a *automaton) asked(rejected []byte) bool {
	left := a.sent
	for o := range options(rejected) {
		for {
			if len(left) == 0 {
				return false
			}
			mine := left[:left[1]]
			left = left[left[1]:]
			if bytes.Equal(mine, o.raw) {
				break
			}
		}
	}
	return true
}

// judge prepares the reply to a Configure-Request, RFC 1661 sections 5.2 to 5.4: to
// reject goes before to nak. "Any further Configure-Nak packets for peer requested
// options are converted to Configure-Reject packets, and locally desired options are
// no longer appended", section 4.6, once there were Max-Failure of them.
func (a *automaton) judge(p packet) event {
	var naks, rejects []byte
	var seen [4]uint64
	failed := a.naks >= a.link.cfg.MaxFailure && p.id != a.nakID
	a.layer.begin()
	for o := range options(p.data) {
		said, wanted := reject, []byte(nil) // "None of the Configuration Options may be listed more than once"
		if seen[o.kind/64]&(1<<(o.kind%64)) == 0 {
			said, wanted = a.layer.judge(o)
		}
		seen[o.kind/64] |= 1 << (o.kind % 64)
		switch {
		case said == reject, said == nak && failed:
			rejects = append(rejects, o.raw...)
		case said == nak:
			naks = append(naks, wanted...)
		}
	}
	if !failed {
		naks = a.layer.missing(naks)
	}
	switch {
	case len(rejects) > 0:
		a.link.reply = packet{code: configureReject, id: p.id, data: rejects}
	case len(naks) > 0:
		a.link.reply = packet{code: configureNak, id: p.id, data: naks}
	default:
		a.link.reply = packet{code: configureAck, id: p.id, data: p.data}
		return rcrPlus
	}
	return rcrMinus
}

// advance takes the end of the Restart timer.
func (a *automaton) advance() {
	if a.restartAt.IsZero() || a.link.now.Before(a.restartAt) {
		return
	}
	a.restartAt = time.Time{}
	if a.restart > 0 {
		a.on(toPlus)
		return
	}
	a.on(toMinus)
}
