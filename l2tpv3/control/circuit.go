package control

import (
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
)

// A circuit is what sessions are bound to, one after the other: it has one that
// is in use or being set up, and for a moment two, when one takes over from
// another.
type circuit struct {
	tunnel *tunnel
	cfg    *CircuitConfig
	name   string // "TUNNEL/CIRCUIT"
	endID  []byte
	timer  machine.Timer

	active *session // in use or, if there is none in use, being set up
	next   *session // being set up to take over
	former *session // it receives what is still on its way

	status     wire.CircuitStatus // of the local segment
	peerStatus wire.CircuitStatus
	announced  bool // a session was asked for before
	down       bool // by command
	absent     Absence

	since       time.Time // of the last change
	retryAt     time.Time
	backoff     time.Duration
	attempts    int // since a session was last up
	rollAt      time.Time
	formerUntil time.Time
	// awaited is how many messages of the connection must be acknowledged until
	// the peer sends by the former session no more; 0: none.
	awaited   uint64
	lastError string
}

// pending returns the session that we asked for and that has no reply yet.
func (k *circuit) pending() *session {
	for _, s := range [...]*session{k.next, k.active} {
		if s != nil && s.state == WaitReply {
			return s
		}
	}
	return nil
}

// newBit returns the New bit for the first session. RFC 3931 section 5.4.5: "the
// New bit SHOULD still be set the first time the L2TP session is established
// after provisioning."
func (k *circuit) newBit() wire.CircuitStatus {
	if k.announced {
		return 0
	}
	k.announced = true
	return wire.CircuitNew
}

// begin takes a session that is being set up.
func (k *circuit) begin(s *session) {
	if k.active == nil {
		k.active = s
	} else {
		k.next = s
	}
}

// open asks the peer for a session, if there is a connection.
func (k *circuit) open(now time.Time) {
	c := k.tunnel.conn
	k.retryAt = time.Time{}
	if k.active != nil || k.down || k.absent != 0 || c == nil || c.state != Established {
		k.arrange()
		return
	}
	k.attempts++
	if !contains(c.peer.Capabilities, k.cfg.Pseudowire) {
		// RFC 3931 section 5.4.4: "A peer MUST NOT request an incoming or
		// outgoing call with a PW Type AVP specifying a value not advertised".
		k.fail(now, "the peer does not offer "+k.cfg.Pseudowire.String())
		return
	}
	if c.all.Count >= k.tunnel.cfg.SessionLimit {
		k.fail(now, "the limit of sessions is reached")
		return
	}
	r := icrqSender
	if k.cfg.Outgoing {
		r = ocrqSender
	}
	k.begin(c.open(now, k, r))
	k.arrange()
}

// fail notes why there is no session, and tries again later if that is up to us.
func (k *circuit) fail(now time.Time, reason string) {
	k.lastError, k.since = reason, now
	k.again(now)
	k.emit(Event{Kind: SessionDown, Reason: reason, Next: k.retryAt})
	k.arrange()
}

// again sets the time of the next attempt, if there is to be one. RFC 4591 section
// 3.1, and RFC 4349 section 3.1 likewise: "LCCE A SHOULD then exhibit a periodic
// retry mechanism. If so, the period and maximum number of retries MUST be
// configurable."
func (k *circuit) again(now time.Time) {
	c, cfg := k.tunnel.conn, &k.tunnel.cfg
	if !k.cfg.Initiate || k.down || k.absent != 0 || c == nil || c.state != Established || cfg.RedialLimit > 0 && k.attempts >= cfg.RedialLimit {
		return
	}
	k.backoff = min(max(2*k.backoff, cfg.RedialMin), cfg.RedialMax)
	k.retryAt = now.Add(k.tunnel.lcce.jitter.Around(k.backoff))
}

// retry sets the time of the next attempt.
func (k *circuit) retry(at time.Time) {
	k.retryAt = at
	k.arrange()
}

// up takes a session that is established: it is the one to send by, and the one
// before it goes on to receive for a while.
func (k *circuit) up(now time.Time, s *session) {
	e := Event{Kind: SessionUp, Status: k.peerStatus}
	if f := k.active; f != nil && f != s && f.state != Established {
		f.do(now, localClose, takenOver) // for nothing was ever sent by it
	}
	if f := k.active; f != nil && f != s {
		e.Former = f.params.SessionID
		if k.former != nil {
			k.former.do(now, localClose, takenOver)
		}
		k.former, k.awaited = f, 0
		if s.role == icrqRecipient || s.role == ocrqRecipient {
			// Who began ends it; this is for one that forgets.
			k.formerUntil = now.Add(6 * k.cfg.Overlap)
		} else {
			// Until our ICCN has arrived the peer sends by the former.
			k.awaited = s.conn.reliable.Stats().Sent + uint64(s.conn.reliable.Stats().Queued)
			k.formerUntil = now.Add(k.cfg.Overlap / 2)
		}
	}
	k.active = s
	if k.next == s {
		k.next = nil
	}
	k.since, k.retryAt, k.attempts, k.lastError = now, time.Time{}, 0, ""
	k.rollAt = time.Time{}
	if k.cfg.CookieLifetime > 0 {
		k.rollAt = now.Add(k.tunnel.lcce.jitter.Around(k.cfg.CookieLifetime))
	}
	s.emit(e)
	k.arrange()
}

// takenOver is the result of a session whose cookies were exchanged for new ones.
var takenOver = wire.Result{Code: wire.CDNAdministrative, Message: "another session has taken over"}

// roll has another session take over, with new IDs and cookies.
func (k *circuit) roll(now time.Time) bool {
	c := k.tunnel.conn
	if c == nil || c.state != Established || k.active == nil || k.active.state != Established || k.next != nil || k.former != nil {
		return false
	}
	k.rollAt = time.Time{}
	// A call that was placed needs no placing: by an ICRQ the peer sends by the
	// new session only when we know its end of it.
	k.next = c.open(now, k, icrqSender)
	k.arrange()
	return true
}

// lost forgets a session that is gone.
func (k *circuit) lost(now time.Time, s *session, reason string) {
	switch s {
	case k.former:
		k.former, k.formerUntil = nil, time.Time{}
		s.emit(Event{Kind: SessionDown, Reason: reason})
	case k.next:
		k.next = nil
		if s.opened {
			s.emit(Event{Kind: SessionDown, Reason: reason})
		}
		if s.gave {
			break // to one that takes over itself
		}
		k.emit(Event{Kind: Noted, Reason: "no other session takes over: " + reason})
		if k.cfg.CookieLifetime > 0 && k.rollAt.IsZero() {
			k.rollAt = now.Add(k.tunnel.lcce.jitter.Around(max(k.cfg.CookieLifetime, leastRoll)))
		}
	case k.active:
		k.lostActive(now, s, reason)
	default:
		if s.opened {
			s.emit(Event{Kind: SessionDown, Reason: reason})
		}
	}
	if k.instance() && k.active == nil && k.next == nil && k.former == nil {
		k.tunnel.forget(k)
		return
	}
	k.arrange()
}

// leastRoll is how long a rollover that failed is not tried again at least.
const leastRoll = time.Minute

func (k *circuit) lostActive(now time.Time, s *session, reason string) {
	if !s.lasted.IsZero() && now.Sub(s.lasted) > k.tunnel.cfg.RedialMax {
		k.backoff = 0
	}
	k.active, k.rollAt = k.next, time.Time{}
	k.next = nil
	if s.gave {
		return // to one that is about to begin
	}
	k.lastError, k.since = reason, now
	if k.active == nil {
		k.again(now)
	}
	s.emit(Event{Kind: SessionDown, Reason: reason, Next: k.retryAt})
}

// hears takes the status of the peer's circuit.
func (k *circuit) hears(s *session, status wire.CircuitStatus) {
	former := k.peerStatus
	k.peerStatus = status
	if s == k.active && s.state == Established && status&^wire.CircuitNew != former&^wire.CircuitNew {
		s.emit(Event{Kind: SessionCircuit, Status: status})
	}
}

// set takes the status of the local segment.
func (k *circuit) set(now time.Time, status wire.CircuitStatus) {
	k.status = status
	for _, s := range [...]*session{k.active, k.next} {
		switch {
		case s == nil:
		case s.role == ocrqRecipient && s.state == Established && status&wire.CircuitActive == 0:
			// RFC 3931 section 7.4.2: "If the call is disconnected because the
			// circuit transitions to a "disconnected" or "down" state, the LAC
			// MUST send a CDN to the peer and return to idle state."
			s.do(now, localClose, wire.Result{Code: wire.CDNCarrier})
		default:
			s.tell(now)
		}
	}
	k.place(now)
	if k.absent != 0 && status&wire.CircuitActive != 0 {
		k.absent, k.backoff, k.attempts, k.lastError = 0, 0, 0, ""
		if k.cfg.Initiate {
			k.open(now)
		}
	}
}

// leave clears the sessions of a circuit that is absent from now on. RFC 4591
// section 3.2: "In the event that a PVC is deleted (unprovisioned) at either LCCE, the
// associated L2TP session MUST be torn down via the CDN message".
func (k *circuit) leave(now time.Time, why Absence) {
	k.absent = why
	k.status = 0
	if why == Deleted {
		k.announced = false // what comes in its place is new
	}
	r := why.result(k.cfg.Pseudowire, wire.CDNCarrier)
	k.lastError = r.Text(wire.TypeCDN)
	k.close(now, r)
}

// place ends the placing of a call, RFC 3931 section 7.4.2: a call is placed when
// the circuit is active.
func (k *circuit) place(now time.Time) {
	if k.status&wire.CircuitActive == 0 {
		return
	}
	for _, s := range [...]*session{k.active, k.next} {
		if s != nil && s.state == WaitCSAnswer {
			s.do(now, callPlaced, wire.Result{})
		}
	}
}

// close clears the circuit's sessions by CDN.
func (k *circuit) close(now time.Time, r wire.Result) {
	k.retryAt, k.rollAt = time.Time{}, time.Time{}
	for _, s := range [...]*session{k.former, k.next, k.active} {
		if s != nil {
			s.do(now, localClose, r)
		}
	}
	k.arrange()
}

// instance reports whether the circuit was made for a peer's request.
func (k *circuit) instance() bool { return k.cfg.AnyEndID }

// Advance does what the time asks for.
func (k *circuit) Advance(now time.Time) {
	due := func(at time.Time) bool { return !at.IsZero() && !now.Before(at) }
	if due(k.formerUntil) {
		k.overlap(now)
	}
	if due(k.retryAt) {
		k.open(now)
	}
	if due(k.rollAt) && !k.roll(now) {
		k.rollAt = time.Time{}
		if k.former != nil {
			k.rollAt = k.formerUntil
		}
	}
	k.arrange()
}

// overlap ends the former session, if the peer has not sent by it for long enough.
func (k *circuit) overlap(now time.Time) {
	stats := k.former.conn.reliable.Stats()
	if k.awaited == 0 {
		k.former.do(now, localClose, takenOver)
		return
	}
	if stats.Sent-uint64(stats.Outstanding) >= k.awaited {
		k.awaited = 0
	}
	k.formerUntil = now.Add(k.cfg.Overlap / 2)
}

func (k *circuit) arrange() {
	k.tunnel.lcce.timers.Set(&k.timer, machine.Earliest(machine.Earliest(k.retryAt, k.rollAt), k.formerUntil))
}

func (k *circuit) emit(e Event) {
	t := k.tunnel
	e.Tunnel, e.Template, e.Session, e.Circuit, e.EndID = t.cfg.Name, t.template, k.name, k.cfg, k.endID
	if c := t.conn; c != nil {
		e.Address, e.Peer = c.at, c.peer
	}
	t.lcce.emit(e)
}
