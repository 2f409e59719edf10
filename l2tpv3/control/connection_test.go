package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// RFC 3931 section 5.4.3: "Once the Assigned Control Connection ID AVP has been
// received by an LCCE, the Control Connection ID specified in the AVP MUST be
// included in the Control Connection ID field of all control packets sent to the
// peer for the lifetime of the control connection." And: "Before the Assigned
// Control Connection ID AVP is received from a peer, all control messages MUST be
// sent to that peer with a Control Connection ID value of 0 in the header."
func TestControlConnectionID(t *testing.T) {
	s := tell(t, dials(office(true)))
	s.after(40 * time.Second)
	for i := range 5 {
		if m := s.want("SCCRQ", 0, 0); m.ConnectionID != 0 {
			t.Errorf("SCCRQ %d for connection %d", i, m.ConnectionID)
		}
	}
	s.wantSilence()

	s = tell(t, dials(office(true)))
	s.want("SCCRQ", 0, 0)
	s.send(&wire.SCCRP{LCCE: s.peer})
	get[*wire.SCCCN](s)
	q := get[*wire.ICRQ](s)
	s.send(icrp(9, q))
	get[*wire.ICCN](s) // get wants the peer's ID in the header of each
	s.send(&wire.HELLO{})
	if m := s.next("ZLB"); m.ConnectionID != peerConnection {
		t.Errorf("ZLB for connection %d", m.ConnectionID)
	}
	s.Close(s.now)
	s.drain()
	get[*wire.StopCCN](s)
}

// RFC 3931 section 5.4.3: "In this case, the Assigned Control Connection ID AVP
// that had been sent to the peer earlier (i.e., in the SCCRQ) MUST be sent as the
// Assigned Control Connection ID AVP in the StopCCN." And section 7.2: "In the
// event of a local termination, the originator MUST send a StopCCN and clean up
// the control connection."
func TestStopBeforeTheReply(t *testing.T) {
	s := tell(t, dials())
	q := s.want("SCCRQ", 0, 0).Message.(*wire.SCCRQ)
	if err := s.Down(s.now, "there"); err != nil {
		t.Fatal(err)
	}
	s.drain()
	m := s.want("StopCCN", 1, 0)
	stop := m.Message.(*wire.StopCCN)
	if m.ControlHeader.ConnectionID != 0 || stop.ConnectionID != q.ConnectionID {
		t.Errorf("StopCCN for connection %d names %d, want 0 and %d", m.ControlHeader.ConnectionID, stop.ConnectionID, q.ConnectionID)
	}
	s.wantEvents("tunnel dialing, tunnel down")
	s.after(time.Hour)
	s.wantSilence()
	if len(s.conns) != 0 {
		t.Errorf("%d connections left", len(s.conns))
	}
}

// TestReverseLookup has the peer end a connection of which it knows no ID: its
// StopCCN names its own, RFC 3931 section 5.4.3.
func TestReverseLookup(t *testing.T) {
	for _, secrets := range [][]*wire.Secret{nil, {secret("s")}} {
		cfg := accepts()
		cfg.Secrets = secrets
		s := tell(t, cfg)
		if secrets != nil {
			s.authenticated(secrets[0], wire.SHA1)
		}
		s.send(s.request())
		s.next("SCCRP")
		// The SCCRP has not come yet.
		nonce := s.remote
		s.id, s.remote = 0, nil
		other := s.write(1, &wire.StopCCN{ConnectionID: 78, Result: wire.Result{Code: wire.StopGeneral}})
		stop := s.write(1, &wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopGeneral}})
		s.remote, s.ns = nonce, 2
		s.receive(other)
		s.wantSilence()
		s.receive(stop)
		if len(s.halfOpen) != 0 {
			t.Errorf("secrets %v: the half-open connection is still there: %v", secrets != nil, s.DropCounts())
			continue
		}
		if m := s.sent[0]; m.Nr != 2 || m.ControlHeader.ConnectionID != peerConnection {
			t.Errorf("acknowledged by %+v", m)
		}
	}
}

// RFC 3931 section 3.3.2: "As part of the reliable control message delivery
// mechanism, the recipient of a StopCCN MUST send an ACK message to acknowledge
// receipt of the message and maintain enough control connection state to properly
// accept StopCCN retransmissions over at least a full retransmission cycle (in
// case the ACK message is lost)." And section 7.2: "If the originator receives a
// StopCCN, it MUST also clean up the control connection."
func TestStopCCN(t *testing.T) {
	s := tell(t, accepts(office(false))).establish()
	s.called(9)
	s.quiet()
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopShutdown, Message: "bye"}})
	s.wantACK()
	if e := s.event(SessionDown); !strings.Contains(e.Reason, "closed") {
		t.Errorf("%q", e.Reason)
	}
	if e := s.event(TunnelDown); !strings.Contains(e.Reason, `closed by peer: result 6 (requester is being shut down): "bye"`) {
		t.Errorf("%q", e.Reason)
	}
	for _, after := range []time.Duration{1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 7} { // 70 s in all
		s.after(after * time.Second)
		s.again()
		s.wantACK()
	}
	s.after(2 * time.Second)
	s.again()
	s.wantSilence()
	s.dropped(DropConnection, 1)
	if len(s.conns)+len(s.requests)+len(s.sessions)+len(s.timers) != 0 {
		t.Error("something is left of the connection")
	}
}

// TestLeastLinger wants 31 seconds also of who repeats its own messages for less.
func TestLeastLinger(t *testing.T) {
	cfg := accepts()
	cfg.Retries = 1
	s := tell(t, cfg).establish()
	s.quiet()
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopGeneral}})
	s.wantACK()
	s.after(31*time.Second - 1)
	s.again()
	s.wantACK()
}

// RFC 3931 section 4.2: "When a control connection is being shut down for reasons
// other than loss of connectivity, the state and reliable delivery mechanisms MUST
// be maintained and operated for the full retransmission interval after the final
// message StopCCN message has been sent (e.g., 1 + 2 + 4 + 8 + 8... seconds), or
// until the StopCCN message itself has been acknowledged."
func TestStopCCNIsRepeated(t *testing.T) {
	s := tell(t, accepts()).establish()
	s.quiet()
	s.Close(s.now)
	s.drain()
	s.want("StopCCN", 1, 2)
	for _, after := range []time.Duration{1, 2, 4, 8, 8, 8, 8, 8, 8, 8} {
		s.after(after*time.Second - 1)
		s.wantSilence()
		s.after(1)
		s.want("StopCCN", 1, 2)
	}
	s.send(&wire.HELLO{}) // what comes now moves nothing, and is acknowledged
	s.want("ZLB", 2, 3)
	s.after(8 * time.Second)
	s.wantSilence()
	if len(s.conns) != 0 {
		t.Error("the connection is left")
	}
}

// TestStopCCNsCross wants each side's StopCCN to be acknowledged though it has
// sent one itself, and for as long as the peer may repeat it.
func TestStopCCNsCross(t *testing.T) {
	s := tell(t, accepts()).establish()
	s.quiet()
	s.Close(s.now)
	s.drain()
	s.next("StopCCN") // and it crosses with
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopShutdown}})
	s.wantACK()
	s.nr++
	s.ack() // of ours, while ours of theirs was lost
	s.after(time.Second)
	s.ns--
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopShutdown}})
	s.wantACK()
	s.wantEvents("tunnel down")
	s.after(72 * time.Second)
	if len(s.conns) != 0 {
		t.Error("the connection is left")
	}
}

// TestRefused has the peer refuse the LCCE's SCCRQ, with an ID of its own or with
// none.
func TestRefused(t *testing.T) {
	s := tell(t, dials())
	s.want("SCCRQ", 0, 0)
	s.nr = 1
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopNotAuthorized}})
	if m := s.want("ZLB", 1, 1); m.ConnectionID != peerConnection {
		t.Errorf("for %d", m.ConnectionID)
	}
	s.after(time.Second)
	s.again()
	s.want("ZLB", 1, 1)
	if e := s.event(TunnelDown); !strings.Contains(e.Reason, "not authorized") || e.Next.IsZero() {
		t.Errorf("%+v", e)
	}
	s = tell(t, dials())
	s.want("SCCRQ", 0, 0)
	s.nr = 1
	s.send(&wire.StopCCN{Result: wire.Result{Code: wire.StopNotAuthorized}})
	s.wantSilence()
	s.event(TunnelDown)
	if len(s.conns) != 0 {
		t.Error("the connection is left")
	}
}

// RFC 3931 section 4.4: "Periodic keepalive for the control connection MUST be
// implemented by sending a Hello if a period of time (a recommended default is 60
// seconds, but MUST be configurable) has passed without receiving any message
// (data or control) from the peer."
func TestHello(t *testing.T) {
	for _, period := range []time.Duration{0, 10 * time.Second} {
		cfg := accepts()
		cfg.Hello = period
		if period == 0 {
			period = time.Minute
		}
		least := period - period/10
		s := tell(t, cfg).establish()
		s.quiet()
		s.after(least - 1)
		s.wantSilence()
		s.after(period - least + 1)
		s.sent = s.sent[:1] // and not its repetitions
		s.want("HELLO", 1, 2)
		s.ack()
		s.after(least - 1)
		s.wantSilence()
		s.send(&wire.HELLO{}) // a message of the peer puts it off,
		s.wantACK()
		s.after(least - 1)
		s.wantSilence()
		s.ack()
		s.after(least - 1)
		s.wantSilence()
		s.Heard("there", s.now) // and so do data
		s.after(least - 1)
		s.wantSilence()
		s.Heard("nowhere", s.now)
		s.after(period - least + 1)
		s.sent = s.sent[:1]
		s.want("HELLO", 2, 3)
	}
}

// RFC 3931 section 4.4: "An LCCE sending Hello messages across multiple control
// connections between the same LCCE endpoints MUST employ a jittered timer
// mechanism to prevent grouping of Hello messages."
func TestHelloIsJittered(t *testing.T) {
	cfg := TunnelConfig{Name: "any", Many: true}
	s := tell(t, cfg)
	for i := range 50 {
		s.id, s.ns, s.nr = 0, 0, 0
		s.peer.HostName, s.peer.ConnectionID = fmt.Sprint("peer", i), uint32(1000+i)
		s.send(s.request())
		s.next("SCCRP")
		s.nr++
		s.send(&wire.SCCCN{})
		s.event(TunnelUp)
		s.quiet()
	}
	times, seen := make(map[time.Time]int), make(map[uint32]bool)
	for s.now.Sub(start) < time.Minute {
		s.after(s.Deadline().Sub(s.now))
		for _, m := range s.sent {
			if m.name() == "HELLO" && !seen[m.ControlHeader.ConnectionID] {
				seen[m.ControlHeader.ConnectionID] = true
				times[s.now]++
			}
		}
		s.sent = nil
	}
	for at, n := range times {
		if n > 2 {
			t.Errorf("%d at %v", n, at.Sub(start))
		}
	}
	if len(times) < 40 {
		t.Errorf("%d instants for 50 connections", len(times))
	}
}

// RFC 3931 section 4.2: "If no peer response is detected after several
// retransmissions (a recommended default is 10, but MUST be configurable), the
// control connection and all associated sessions MUST be cleared."
func TestDeadPeer(t *testing.T) {
	for _, retries := range []int{0, 3} {
		cfg := accepts(office(false))
		cfg.Retries = retries
		s := tell(t, cfg).establish()
		s.called(9)
		s.after(time.Minute)
		s.next("HELLO")
		s.told = nil
		want := retries
		if want == 0 {
			want = 10
		}
		for s.status().State == Established {
			s.after(s.Deadline().Sub(s.now))
		}
		for range want {
			s.next("HELLO")
		}
		s.wantSilence()
		s.wantEvents("session down, tunnel down")
		if len(s.conns)+len(s.sessions)+len(s.requests) != 0 {
			t.Error("something is left")
		}
	}
}

// RFC 3931 section 5.2: "If the M bit is set on an AVP that is unrecognized by its
// recipient, the session or control connection associated with the control message
// containing the AVP MUST be shut down." And: "If the control message containing
// the unrecognized AVP is associated with establishment or maintenance of a
// Control Connection (e.g., SCCRQ, SCCRP, SCCCN, Hello), then the associated
// Control Connection MUST be issued a StopCCN with Result Code of 2 and Error Code
// of 8 (as defined in Section 5.4.2) and shut down."
func TestUnknownMandatoryAVP(t *testing.T) {
	unknown, optional := avp(mandatory, 0, 999, 1), avp(0, 0, 999, 1)
	check := func(s *dialogue) {
		t.Helper()
		s.wantResult(get[*wire.StopCCN](s).Result, wire.StopError, wire.ErrorUnknownAVP, "999")
		s.quiet()
		s.wantState(Idle)
	}
	s := tell(t, accepts())
	s.send(s.request(), unknown)
	s.wantResult(s.want("StopCCN", 0, 1).Message.(*wire.StopCCN).Result, wire.StopError, wire.ErrorUnknownAVP, "999")
	s.wantSilence()
	s.after(time.Minute)
	s.wantSilence()
	if len(s.conns) != 0 {
		t.Error("something is kept of an SCCRQ that is not acceptable")
	}

	s = tell(t, accepts())
	s.send(s.request(), optional)
	get[*wire.SCCRP](s)
	s.send(&wire.SCCCN{}, unknown)
	check(s)

	s = tell(t, dials())
	s.want("SCCRQ", 0, 0)
	s.nr = 1
	s.send(&wire.SCCRP{LCCE: s.peer}, unknown)
	s.nr = 1
	check(s)

	s = tell(t, accepts()).establish()
	s.send(&wire.HELLO{}, optional)
	s.quiet()
	s.send(&wire.HELLO{}, unknown)
	check(s)
	if e := s.event(TunnelDown); !strings.Contains(e.Reason, "999") {
		t.Errorf("%q", e.Reason)
	}

	// A StopCCN ends it in any case, and is not answered by one.
	s = tell(t, accepts()).establish()
	s.quiet()
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopGeneral}}, unknown)
	s.wantACK()
	s.wantState(Idle)
}

// RFC 3931 section 5.4.1: "If the M bit is set within the Message Type AVP and the
// Message Type is unknown to the implementation, the control connection MUST be
// cleared."
func TestUnknownMessageType(t *testing.T) {
	for _, number := range []byte{0, 5, 13, 17, 99} {
		for _, established := range []bool{false, true} {
			s := tell(t, accepts())
			if established {
				s.establish()
			} else {
				s.send(s.request())
				get[*wire.SCCRP](s)
			}
			s.send(nil, avp(0, 0, 0, 0, number)) // without the M bit it is ignored
			s.ns++
			s.quiet()
			if s.send(&wire.HELLO{}); established {
				s.wantState(Established)
			}
			s.quiet()
			s.send(nil, avp(mandatory, 0, 0, 0, number))
			s.wantResult(get[*wire.StopCCN](s).Result, wire.StopError, wire.ErrorUnknownAVP, fmt.Sprint(number))
			s.wantState(Idle)
		}
	}
	s := tell(t, accepts()).establish()
	s.send(nil, avp(mandatory, 4242, 0, 0, 1)) // of a vendor
	get[*wire.StopCCN](s)
	s = tell(t, accepts()).establish()
	s.send(nil, avp(mandatory, 0, 7, 'x'), avp(mandatory, 0, 0, 0, 6)) // a HELLO whose type comes second
	get[*wire.StopCCN](s)
}

// RFC 3931 section 7.1: "If the M bit can be reasonably inspected within the
// malformed AVP and is determined to be set, then as with an unrecognized AVP, the
// associated session or control connection MUST be shut down." And: "If the M bit
// is inspected and is found to be 0, the AVP MUST be ignored (assuming recovery
// from the AVP malformation is indeed possible)."
func TestMalformedAVP(t *testing.T) {
	short := func(bits uint16) []byte { return avp(bits, 0, uint16(wire.AttrTieBreaker), 1, 2, 3, 4) }
	s := tell(t, accepts())
	s.send(s.request(), short(0))
	get[*wire.SCCRP](s)

	s = tell(t, accepts())
	s.send(s.request(), short(mandatory))
	s.wantResult(s.want("StopCCN", 0, 1).Message.(*wire.StopCCN).Result, wire.StopError, wire.ErrorLength, "Tie Breaker")

	speed := func(bits uint16) []byte { return avp(bits, 0, uint16(wire.AttrRxConnectSpeed), 1, 2, 3, 4) }
	s = tell(t, accepts(office(false))).establish()
	s.send(icrq(9), speed(0)) // the RFC's own example
	get[*wire.ICRP](s)
	s = tell(t, accepts(office(false))).establish()
	s.send(icrq(9), speed(mandatory))
	m := get[*wire.CDN](s)
	s.wantResult(m.Result, wire.CDNError, wire.ErrorLength, "Rx Connect Speed")
	if m.RemoteSessionID != 9 || m.LocalSessionID == 0 {
		t.Errorf("%+v", m)
	}
	s.wantState(Established)

	// An AVP whose end cannot be told, and one that is missing.
	for _, bad := range [][]byte{{0x80, 0x20, 0, 0, 0, 9}, {0x80, 5, 0, 0, 0, 9}, {1, 2, 3}} {
		s = tell(t, accepts()).establish()
		s.send(&wire.HELLO{}, bad)
		s.wantResult(get[*wire.StopCCN](s).Result, wire.StopError, wire.ErrorLength, "")
	}
	s = tell(t, accepts())
	s.peer.HostName = "x"
	s.send(nil, avp(mandatory, 0, 0, 0, 1), avp(mandatory, 0, 61, 0, 0, 0, 77))
	s.wantResult(s.want("StopCCN", 0, 1).Message.(*wire.StopCCN).Result, wire.StopError, wire.ErrorRange, "missing")
}

// TestMalformedHeader wants silence. RFC 3931 section 7.1: "A control message with
// a malformed header MUST be discarded."
func TestMalformedHeader(t *testing.T) {
	s := tell(t, accepts()).establish()
	s.quiet()
	b := s.write(s.ns, &wire.HELLO{})
	for i, change := range []func(b []byte){
		func(b []byte) { b[0] &^= 0x80 }, // T
		func(b []byte) { b[0] &^= 0x40 }, // L
		func(b []byte) { b[0] &^= 0x08 }, // S
		func(b []byte) { b[1] = 1 },
		func(b []byte) { b[1] = 2 },
		func(b []byte) { b[2] = 9 }, // Length
		func(b []byte) { b[3] = 11 },
	} {
		c := slices.Clone(b)
		change(c)
		s.receive(c)
		s.wantSilence()
		s.dropped(DropHeader, 1)
		if t.Failed() {
			t.Fatalf("change %d", i)
		}
	}
	s.receive(b)
	s.next("ZLB")
	s.wantState(Established)
}

// RFC 3931 section 5.4.3: "The lower value "wins", and the "loser" MUST discard
// its control connection." And: "In the case in which a tie breaker is present on
// both sides and the value is equal, both sides MUST discard their control
// connections and restart control connection negotiation with a new, random tie
// breaker value."
func TestTie(t *testing.T) {
	begin := func(cfg TunnelConfig) (*dialogue, uint64) {
		s := tell(t, cfg)
		q := s.want("SCCRQ", 0, 0).Message.(*wire.SCCRQ)
		s.id, s.nr = 0, 0
		if q.TieBreaker.Set == cfg.NoTieBreaker {
			t.Errorf("tie breaker %v", q.TieBreaker)
		}
		return s, q.TieBreaker.Value
	}
	with := func(s *dialogue, tie uint64) *wire.SCCRQ {
		return &wire.SCCRQ{LCCE: s.peer, TieBreaker: wire.Some(tie)}
	}
	won := func(s *dialogue) {
		t.Helper()
		s.wantResult(s.want("StopCCN", 0, 1).Message.(*wire.StopCCN).Result, wire.StopExists, 0, "tie")
		s.wantSilence()
		s.wantState(WaitCtlReply)
		s.after(time.Second)
		s.want("SCCRQ", 0, 0)
	}
	lost := func(s *dialogue) {
		t.Helper()
		get[*wire.SCCRP](s)
		s.wantSilence()
		s.send(&wire.SCCCN{})
		s.wantState(Established)
		s.quiet()
		s.after(50 * time.Second)
		s.wantSilence()
		if len(s.conns) != 1 {
			t.Errorf("%d connections", len(s.conns))
		}
	}
	s, tie := begin(dials())
	s.send(with(s, tie+1))
	won(s)
	s, tie = begin(dials())
	s.send(with(s, tie-1))
	lost(s)
	s, _ = begin(dials())
	s.send(s.request()) // one side only
	won(s)
	cfg := dials()
	cfg.NoTieBreaker = true
	s, _ = begin(cfg)
	s.send(with(s, 1<<64-1))
	lost(s)

	s, tie = begin(dials())
	s.send(with(s, tie))
	s.wantSilence()
	s.wantState(Idle)
	s.after(time.Second)
	if q := s.want("SCCRQ", 0, 0).Message.(*wire.SCCRQ); q.TieBreaker.Value == tie || !q.TieBreaker.Set {
		t.Errorf("the tie breaker is %v again", q.TieBreaker)
	}

	// RFC 3931 section 5.4.3: "If neither side issues a tie breaker, then two
	// separate control connections are opened." One of them takes the place of
	// the other, as a tunnel has one.
	s, _ = begin(cfg)
	dialled := s.status().ConnectionID
	s.send(s.request())
	get[*wire.SCCRP](s)
	s.send(&wire.SCCCN{})
	if id := s.status().ConnectionID; id == dialled || s.status().State != Established {
		t.Errorf("%v", s.status().State)
	}
}

// TestLateAfterTie has the peer's SCCRQ, which lost the tie, come when the
// connection that won is established: the peer knows nothing of it any more.
func TestLateAfterTie(t *testing.T) {
	s := tell(t, dials()).answer()
	s.quiet()
	id := s.status().ConnectionID
	q := &wire.SCCRQ{LCCE: s.peer, TieBreaker: wire.Some(uint64(1<<64 - 1))}
	q.ConnectionID = 78
	late := *s
	late.id, late.ns, late.nr = 0, 0, 0
	late.send(q)
	s.after(45 * time.Second) // and never completes it
	if got := s.status(); got.State != Established || got.ConnectionID != id {
		t.Errorf("%v, connection %d, want established, %d", got.State, got.ConnectionID, id)
	}
	if len(s.conns) != 1 || len(s.halfOpen) != 0 || s.tunnels["there"].incoming != 0 {
		t.Errorf("%d connections, %d half-open", len(s.conns), len(s.halfOpen))
	}
}

// TestPeerBeginsAnew has a peer that has lost all it knew ask for a connection,
// with the Control Connection ID that it had before.
func TestPeerBeginsAnew(t *testing.T) {
	s := tell(t, accepts(office(false))).establish()
	s.called(9)
	former := s.status().ConnectionID
	s.after(10 * time.Second)
	s.told = nil
	s.id, s.ns, s.nr = 0, 0, 0
	s.send(s.request())
	get[*wire.SCCRP](s)
	if s.id == former {
		t.Fatal("the same connection")
	}
	s.wantEvents("") // who has not proved that it is there changes nothing
	s.again()
	s.quiet()
	if len(s.conns) != 2 {
		t.Errorf("an SCCRQ come again makes %d connections of 2", len(s.conns))
	}
	id := s.id
	s.send(&wire.SCCCN{})
	s.wantEvents("session down, tunnel down, tunnel up")
	s.sent = nil // the StopCCN of the former connection
	if got := s.status(); got.ConnectionID != id || got.State != Established {
		t.Errorf("connection %d %v, want %d", got.ConnectionID, got.State, id)
	}
	s.send(icrq(9))
	for s.sent[0].name() != "ICRP" {
		s.sent = s.sent[1:]
	}
	p := get[*wire.ICRP](s)
	s.send(iccn(9, p.LocalSessionID))
	s.event(SessionUp)
	s.after(2 * time.Minute)
	if len(s.conns) != 1 {
		t.Errorf("%d connections, want 1", len(s.conns))
	}
}

// TestRequestComesAgain wants one connection of an SCCRQ that is repeated, until
// the SCCRP is seen and for a moment after.
func TestRequestComesAgain(t *testing.T) {
	s := tell(t, accepts())
	s.send(s.request())
	s.want("SCCRP", 0, 1)
	raw := s.raw
	for range 3 {
		s.again()
		s.want("ZLB", 1, 1)
	}
	s.after(time.Second)
	s.want("SCCRP", 0, 1)
	s.nr = 1
	s.send(&wire.SCCCN{})
	s.want("ZLB", 1, 2)
	s.receive(raw)
	s.want("ZLB", 1, 2)
	s.wantState(Established)
	if len(s.conns) != 1 {
		t.Errorf("%d connections", len(s.conns))
	}
}

// TestMessagesOutOfOrder hands over a connection's messages in the wrong order.
func TestMessagesOutOfOrder(t *testing.T) {
	s := tell(t, accepts(office(false)))
	s.send(s.request())
	get[*wire.SCCRP](s)
	s.receive(s.write(2, icrq(9)))
	s.want("ZLB", 1, 1)
	s.receive(s.write(1, &wire.SCCCN{}))
	s.ns = 3
	p := get[*wire.ICRP](s)
	s.receive(s.write(4, &wire.HELLO{}))
	s.quiet()
	s.send(iccn(9, p.LocalSessionID))
	s.event(SessionUp)
	s.ns = 5
	s.next("ZLB")
	s.receive(s.write(1000, &wire.HELLO{})) // beyond the window
	s.next("ZLB")
	nr := s.nr
	s.nr = 1000 // of what was never sent
	s.send(&wire.HELLO{})
	s.nr = nr
	s.wantSilence()
	s.dropped(DropSequence, 1)
}

// TestReceiveWindow wants the window of the peer obeyed, which is 4 if it tells
// none: RFC 3931 section 5.4.3.
func TestReceiveWindow(t *testing.T) {
	for _, v := range []struct {
		window uint16
		want   int
	}{{0, 4}, {1, 1}, {7, 7}, {65535, 32767}} {
		s := tell(t, accepts())
		s.peer.ReceiveWindow = v.window
		s.establish()
		if got := s.status(); got.Reliable.Window != v.want {
			t.Errorf("told %d: window %d, want %d", v.window, got.Reliable.Window, v.want)
		}
	}
	cfg := accepts()
	cfg.ReceiveWindow = 9
	s := tell(t, cfg)
	s.send(s.request())
	if p := get[*wire.SCCRP](s); p.ReceiveWindow != 9 {
		t.Errorf("offers %d, want 9", p.ReceiveWindow)
	}
}

// RFC 3931 section 5.4.3: "The Host Name AVP and/or Router ID AVP MUST be used to
// identify an LCCE as described in Section 3.3."
func TestIdentity(t *testing.T) {
	for _, v := range []struct {
		host   string
		router uint32
		ok     bool
	}{{"there", 2, true}, {"", 2, true}, {"there", 0, true}, {"elsewhere", 0, false}, {"", 3, false}, {"there", 3, false}} {
		cfg := accepts()
		cfg.PeerHostName, cfg.PeerRouterID = v.host, v.router
		s := tell(t, cfg)
		s.send(s.request())
		if v.ok {
			get[*wire.SCCRP](s)
		} else {
			s.wantSilence()
			s.dropped(DropNoTunnel, 1)
		}
		cfg = dials()
		cfg.PeerHostName, cfg.PeerRouterID = v.host, v.router
		s = tell(t, cfg)
		s.want("SCCRQ", 0, 0)
		s.send(&wire.SCCRP{LCCE: s.peer})
		if v.ok {
			get[*wire.SCCCN](s)
			continue
		}
		s.wantResult(get[*wire.StopCCN](s).Result, wire.StopNotAuthorized, 0, "expected")
		s.wantState(Idle)
	}
}

// RFC 3931 section 5.4.3: "For L2TP over IP, this MUST be accomplished via the
// Router ID AVP." Two tunnels to one address are told apart by it.
func TestRouterIDTellsPeersApart(t *testing.T) {
	cfg := accepts()
	cfg.PeerRouterID = 3
	s := tell(t, cfg)
	s.at = from("192.0.2.2:0") // as over IP
	s.tunnel(TunnelConfig{Name: "other", PeerRouterID: 2, Dial: true, RedialMin: time.Hour})
	q := s.want("SCCRQ", 0, 0).Message.(*wire.SCCRQ)
	s.id, s.nr = 0, 0
	request := &wire.SCCRQ{LCCE: s.peer, TieBreaker: wire.Some(q.TieBreaker.Value + 1)}
	request.RouterID = 3
	s.send(request) // no tie, for it is another peer's
	get[*wire.SCCRP](s)
	s.id, s.ns, s.nr = 0, 0, 0
	request.RouterID, request.ConnectionID = 2, 78
	s.send(request)
	s.next("StopCCN")
	if s.tunnels["there"].incoming != 1 {
		t.Error("the other tunnel has no connection")
	}
}

// TestTemplate has peers that nobody has named come to a template.
func TestTemplate(t *testing.T) {
	s := tell(t, TunnelConfig{Name: "any", Many: true, Limit: 2, Circuits: []CircuitConfig{office(false)}})
	come := func(host string, router, id uint32) *dialogue {
		c := *s
		c.id, c.ns, c.nr, c.peer.ConnectionID, c.peer.HostName, c.peer.RouterID = 0, 0, 0, id, host, router
		c.send(c.request())
		return &c
	}
	complete := func(c *dialogue) {
		t.Helper()
		c.next("SCCRP")
		c.nr++
		c.send(&wire.SCCCN{})
		c.sent = nil
	}
	a := come("a/b c", 1, 10)
	complete(a)
	if e := a.event(TunnelAdded); e.Tunnel != "any:a_b_c" || e.Template != "any" || e.Peer.HostName != "a/b c" {
		t.Errorf("%+v", e)
	}
	if e := a.event(SessionAdded); e.Session != "any:a_b_c/office" {
		t.Errorf("%+v", e)
	}
	a.event(TunnelUp)
	b := come("a/b c", 0x0a000001, 11)
	complete(b)
	if e := b.event(TunnelAdded); e.Tunnel != "any:a_b_c@10.0.0.1" {
		t.Errorf("%+v", e)
	}
	c := come("c", 3, 12)
	c.wantSilence()
	c.dropped(DropLimit, 1)
	// Who is there may begin anew.
	b = come("a/b c", 0x0a000001, 13)
	complete(b)
	b.event(TunnelUp)
	if got := len(s.Status()); got != 3 {
		t.Errorf("%d tunnels, want 3", got)
	}
	a.send(&wire.StopCCN{ConnectionID: 10, Result: wire.Result{Code: wire.StopGeneral}})
	a.wantEvents("tunnel down, session removed, tunnel removed")
	c = come("c", 3, 14)
	complete(c)
	c.event(TunnelUp)
	s.Remove(s.now, "any")
	if got := len(s.Status()); got != 0 {
		t.Errorf("%d tunnels after removal: %v", got, s.Status())
	}
	s.after(10 * time.Minute)
	if len(s.conns)+len(s.circuits)+len(s.requests)+len(s.timers)+len(s.sources.Hosts) != 0 {
		t.Error("something is left")
	}
}

// TestTemplateLimitAtCompletion wants no more peers than the limit though all of
// them ask before one is there.
func TestTemplateLimitAtCompletion(t *testing.T) {
	s := tell(t, TunnelConfig{Name: "any", Many: true, Limit: 1})
	a, b := *s, *s
	b.peer.HostName, b.peer.ConnectionID = "b", 78
	a.send(a.request())
	b.send(b.request())
	a.next("SCCRP")
	b.next("SCCRP")
	a.nr, b.nr = 1, 1
	a.send(&wire.SCCCN{})
	b.send(&wire.SCCCN{})
	b.sent = slices.DeleteFunc(b.sent, func(m said) bool { return m.name() != "StopCCN" })
	s.wantResult(b.next("StopCCN").Message.(*wire.StopCCN).Result, wire.StopError, wire.ErrorResources, "")
	if got := len(s.Status()); got != 2 {
		t.Errorf("%d tunnels, want the template and one", got)
	}
}

// TestMoves has the peer come from another port, as after a NAT forgot it: with a
// secret it is followed, without it is not.
func TestMoves(t *testing.T) {
	cfg := accepts()
	cfg.Secrets = []*wire.Secret{secret("s")}
	s := tell(t, cfg).authenticated(secret("s"), wire.SHA1).establish()
	s.quiet()
	old := s.raw
	s.at = from("198.51.100.9:4242")
	known := from("192.0.2.2:1701")
	s.receive(old) // a copy of what was said before proves nothing
	if m := s.next("ACK"); m.to.Peer != known.Peer {
		t.Errorf("a replay moves the peer to %v", m.to)
	}
	// At another port of its address it may be the peer's own, whose acknowledgment was
	// lost when the NAT forgot the former one.
	s.at = from("192.0.2.2:4242")
	s.receive(old)
	if m := s.next("ACK"); m.to != s.at {
		t.Errorf("what was repeated from %v is acknowledged to %v", s.at, m.to)
	}
	if at := s.status().Address; at.Peer != known.Peer {
		t.Errorf("a replay moves the peer to %v", at)
	}
	s.at = known
	s.receive(old)
	if m := s.next("ACK"); m.to.Peer != known.Peer {
		t.Errorf("what was repeated from %v is acknowledged to %v", known, m.to)
	}
	s.at = from("198.51.100.9:4242")
	s.told = nil
	s.send(&wire.HELLO{})
	if m := s.next("ACK"); m.to != s.at {
		t.Errorf("answered at %v, want %v", m.to, s.at)
	}
	if e := s.event(TunnelMoved); e.Address != s.at {
		t.Errorf("%+v", e)
	}
	s.at.Local = netip.MustParseAddr("192.0.2.1")
	s.send(&wire.HELLO{})
	if m := s.next("ACK"); m.to != s.at {
		t.Errorf("answered from %v, want %v", m.to, s.at)
	}
	s.event(TunnelMoved)

	s = tell(t, accepts()).establish()
	s.quiet()
	s.at = from("192.0.2.2:4242")
	s.send(&wire.HELLO{})
	s.wantSilence()
	s.dropped(DropSource, 1)

	// But the reply may come from any port, RFC 3931 section 4.1.2.2.
	s = tell(t, dials())
	s.want("SCCRQ", 0, 0)
	s.at = from("192.0.2.2:4242")
	s.send(&wire.SCCRP{LCCE: s.peer})
	if m := s.next("SCCCN"); m.to != s.at {
		t.Errorf("SCCCN to %v, want %v", m.to, s.at)
	}
	s = tell(t, dials())
	s.want("SCCRQ", 0, 0)
	s.at = from("192.0.2.3:1701")
	s.send(&wire.SCCRP{LCCE: s.peer})
	s.wantSilence()
	s.dropped(DropSource, 1)
}

// TestUnanswered wants silence for whom there is nothing here.
func TestUnanswered(t *testing.T) {
	s := tell(t, accepts(office(false)))
	s.at = from("192.0.2.9:1701")
	s.send(s.request())
	s.dropped(DropNoTunnel, 1)
	s.at.Via = 1
	s.at.Peer = netip.MustParseAddrPort("192.0.2.2:1701")
	s.receive(s.raw)
	s.dropped(DropNoTunnel, 1)
	s.at.Via = 0
	s.id, s.ns = 12345, 0
	for _, m := range []wire.Message{s.request(), &wire.SCCRP{LCCE: s.peer}, &wire.SCCCN{}, &wire.HELLO{}, icrq(9), iccn(1, 2), &wire.StopCCN{}, nil} {
		s.send(m)
	}
	s.dropped(DropConnection, 8)
	s.id = 0
	for _, m := range []wire.Message{&wire.SCCRP{LCCE: s.peer}, &wire.SCCCN{}, &wire.HELLO{}, icrq(9), iccn(1, 2), &wire.StopCCN{}, &wire.StopCCN{ConnectionID: 5}, nil} {
		s.send(m)
	}
	s.dropped(DropConnection, 8)
	s.peer.ConnectionID = 0
	s.send(nil, avp(mandatory, 0, 0, 0, 1), avp(mandatory, 0, 7, 'x'))
	s.dropped(DropRequest, 1)
	s.wantSilence()
	s.wantEvents("")
}

// TestSetupTimeout has the peer not complete what it has begun.
func TestSetupTimeout(t *testing.T) {
	s := tell(t, accepts())
	s.send(s.request())
	get[*wire.SCCRP](s)
	s.ack()
	s.after(30*time.Second - 1)
	s.wantSilence()
	if len(s.halfOpen) != 1 {
		t.Error("gone before its time")
	}
	s.after(1)
	s.wantSilence()
	if len(s.halfOpen)+len(s.conns)+len(s.requests) != 0 {
		t.Error("something is left")
	}
	if e := s.event(Noted); !strings.Contains(e.Reason, "in time") {
		t.Errorf("%q", e.Reason)
	}
}

// TestHalfOpen bounds the connections that peers begin.
func TestHalfOpen(t *testing.T) {
	n := here()
	n.HalfOpen, n.RequestRate = 5, 20
	s := tellNode(t, n, accepts())
	for i := range 30 {
		q := s.request()
		q.ConnectionID = uint32(1000 + i)
		s.ns = 0
		s.send(q)
		s.ns = 0
	}
	if len(s.halfOpen) != 5 || len(s.conns) != 5 || len(s.requests) != 5 || s.tunnels["there"].incoming != 5 {
		t.Errorf("%d half-open, %d connections", len(s.halfOpen), len(s.conns))
	}
	got := s.DropCounts()
	if got[DropRate] != 10 || got[DropHalfOpen] != 15 {
		t.Errorf("%d over the rate, %d made room; want 10 and 15", got[DropRate], got[DropHalfOpen])
	}
	s.now = s.now.Add(time.Second)
	s.at.Peer = netip.AddrPortFrom(s.at.Peer.Addr(), 1702)
	for range 21 {
		s.peer.ConnectionID++
		s.ns = 0
		s.send(s.request())
	}
	if got := s.DropCounts(); got[DropRate] != 11 {
		t.Errorf("%d over the rate, want 11", got[DropRate])
	}
}

// TestNotesAreFew wants whoever can make the LCCE note something not to fill the
// owner's log.
func TestNotesAreFew(t *testing.T) {
	n := here()
	n.HalfOpen = 1
	s := tellNode(t, n, accepts())
	for i := range 900 {
		q := s.request()
		q.ConnectionID = uint32(1000 + i)
		s.ns = 0
		s.send(q)
	}
	if n := len(s.told); n == 0 || n > 100 {
		t.Errorf("%d events", n)
	}
	s.told = nil
	s.now = s.now.Add(time.Minute)
	s.ns, s.peer.ConnectionID = 0, 5000
	s.send(s.request())
	if e := s.event(Noted); !strings.Contains(e.Reason, "left out") {
		t.Errorf("%q", e.Reason)
	}
}

// TestRedial has the LCCE dial for ever, ever less often, and not in step with
// others.
func TestRedial(t *testing.T) {
	cfg := TunnelConfig{Dial: true, DialRetries: 1, Timeout: time.Millisecond, MaxTimeout: time.Millisecond}
	s := tell(t, cfg)
	var waits []time.Duration
	for range 60 {
		s.event(TunnelDialing)
		s.after(2 * time.Millisecond)
		e := s.event(TunnelDown)
		if e.Reason != "the peer does not answer" {
			t.Fatalf("%q", e.Reason)
		}
		waits = append(waits, e.Next.Sub(s.now))
		if got := s.status(); got.Next != e.Next || got.LastError != e.Reason {
			t.Errorf("%+v", got)
		}
		s.after(e.Next.Sub(s.now))
	}
	distinct := make(map[time.Duration]bool)
	for i, w := range waits {
		want := time.Minute
		if i < 6 {
			want = time.Second << i
		}
		if w < want*3/4 || w > want*5/4 {
			t.Errorf("wait %d: %v, want about %v", i, w, want)
		}
		distinct[w] = true
	}
	if len(distinct) < 50 {
		t.Errorf("%d waits that differ", len(distinct))
	}
	if got := s.status().Attempts; got != 61 {
		t.Errorf("%d attempts", got)
	}

	cfg.RedialLimit = 3
	s = tell(t, cfg)
	s.after(time.Hour)
	if got := s.status(); got.Attempts != 3 || !got.Next.IsZero() {
		t.Errorf("%d attempts, next %v", got.Attempts, got.Next)
	}
	s.told = nil
	if err := s.Up(s.now, "there"); err != nil {
		t.Fatal(err)
	}
	s.after(time.Hour)
	if got := s.status().Attempts; got != 3 {
		t.Errorf("%d attempts after up", got)
	}
	s.event(TunnelDialing)
}

// TestRedialAfterLoss dials again when the peer ends the connection.
func TestRedialAfterLoss(t *testing.T) {
	s := tell(t, TunnelConfig{Dial: true}).answer()
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopShutdown}})
	s.quiet()
	e := s.event(TunnelDown)
	if d := e.Next.Sub(s.now); d < 750*time.Millisecond || d > 1250*time.Millisecond {
		t.Errorf("next attempt in %v", d)
	}
	s.after(e.Next.Sub(s.now))
	s.want("SCCRQ", 0, 0)
}

// TestBind says where the peer is, once and again.
func TestBind(t *testing.T) {
	cfg := TunnelConfig{Dial: true, DialRetries: 1, Timeout: time.Millisecond, MaxTimeout: time.Millisecond, RedialMin: 10 * time.Second, RedialMax: 10 * time.Second}
	s := tell(t, cfg)
	s.event(TunnelDialing)
	s.after(time.Second)
	s.event(TunnelDown)
	b := s.tunnels["there"].binding
	s.Bind(s.now, "there", b) // the same again is no reason to dial
	s.after(5 * time.Second)
	s.wantEvents("")
	b.At = from("192.0.2.22:1701")
	s.Bind(s.now, "there", b)
	s.after(0)
	if e := s.event(TunnelDialing); e.Address != b.At {
		t.Errorf("dials %v", e.Address)
	}
	s.sent = nil
	b.At = from("192.0.2.23:1701") // before that one has answered
	s.Bind(s.now, "there", b)
	s.after(0)
	if m := s.next("StopCCN"); m.to != from("192.0.2.22:1701") {
		t.Errorf("StopCCN to %v", m.to)
	}
	if m := s.next("SCCRQ"); m.to != b.At {
		t.Errorf("SCCRQ to %v", m.to)
	}
	s.Bind(s.now, "there", Binding{})
	s.sent, s.told = nil, nil
	s.after(time.Hour)
	s.happened()
	s.sent = nil
	s.Bind(s.now, "there", b)
	s.after(0)
	s.event(TunnelDialing)
	s.Bind(s.now, "nobody", b)

	// An established connection stays where it is.
	s = tell(t, dials()).answer()
	s.quiet()
	b = s.tunnels["there"].binding
	b.At = from("192.0.2.22:1701")
	s.Bind(s.now, "there", b)
	s.after(0)
	s.wantSilence()
	s.wantState(Established)
}

// TestOwnAttemptIsNotHeldUp wants who begins connections and completes none not
// to keep the LCCE from dialling.
func TestOwnAttemptIsNotHeldUp(t *testing.T) {
	cfg := TunnelConfig{Dial: true, DialRetries: 1, Timeout: time.Millisecond, MaxTimeout: time.Millisecond}
	s := tell(t, cfg)
	dialled := 0
	for i := range 60 {
		s.after(time.Second)
		if i%5 == 0 {
			s.id, s.ns, s.nr = 0, 0, 0
			s.peer.ConnectionID = uint32(1000 + i)
			s.send(s.request())
		}
		for _, e := range s.told {
			if e.Kind == TunnelDialing {
				dialled++
			}
		}
		s.told, s.sent = nil, nil
	}
	if dialled < 4 {
		t.Errorf("dialled %d times in a minute", dialled)
	}
}

// TestDownAndUp closes a tunnel by command and opens it again.
func TestDownAndUp(t *testing.T) {
	s := tell(t, TunnelConfig{Dial: true, Circuits: []CircuitConfig{office(true)}}).answer()
	s.settle()
	if err := s.Down(s.now, "there"); err != nil {
		t.Fatal(err)
	}
	s.drain()
	s.wantResult(get[*wire.StopCCN](s).Result, wire.StopGeneral, 0, "by command")
	s.ack()
	if got := s.status(); !got.Down || got.LastError != "down by command" || !got.Next.IsZero() {
		t.Errorf("%+v", got)
	}
	s.after(time.Hour)
	s.wantSilence()
	s.id, s.ns, s.nr = 0, 0, 0
	s.send(s.request())
	s.wantSilence()
	s.dropped(DropNoTunnel, 1)
	if err := s.Up(s.now, "there"); err != nil {
		t.Fatal(err)
	}
	s.after(0)
	s.want("SCCRQ", 0, 0)
	for _, f := range []func(time.Time, string) error{s.Down, s.Up, s.Roll} {
		if err := f(s.now, "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("%v", err)
		}
	}
	if err := s.Add(s.now, TunnelConfig{Name: "there"}); err == nil {
		t.Error("two tunnels of one name")
	}
}

// TestDownWhileHalfOpen wants no connection to come to a tunnel that is down or
// gone.
func TestDownWhileHalfOpen(t *testing.T) {
	for name, end := range map[string]func(s *dialogue){
		"down":   func(s *dialogue) { _ = s.Down(s.now, "there") },
		"remove": func(s *dialogue) { s.Remove(s.now, "there") },
		"close":  func(s *dialogue) { s.Close(s.now) },
	} {
		s := tell(t, accepts())
		s.send(s.request())
		get[*wire.SCCRP](s)
		s.ack()
		end(s)
		s.drain()
		get[*wire.StopCCN](s)
		s.send(&wire.SCCCN{})
		s.quiet()
		for _, e := range s.told {
			if e.Kind == TunnelUp {
				t.Errorf("%s: %v", name, e.Kind)
			}
		}
		s.after(time.Hour)
		if len(s.conns)+len(s.halfOpen) != 0 {
			t.Errorf("%s: something is left", name)
		}
	}
}

// TestNoEndlessQueue has a peer ask ever more and acknowledge nothing.
func TestNoEndlessQueue(t *testing.T) {
	cfg := accepts(office(false))
	cfg.SessionLimit = 100
	s := tell(t, cfg).establish()
	s.quiet()
	for i := range 20000 {
		m := icrq(uint32(100 + i))
		m.RemoteEndID = []byte("no such")
		s.send(m)
	}
	if got := s.status().Reliable; got.Queued > 5000 {
		t.Errorf("%d messages wait for the peer", got.Queued)
	}
}

// TestFallbackHeader has an SCCRQ come with L2TPv2's header. RFC 3931 section
// 4.7.3: "An L2TPv3-only implementation MUST ignore all L2TPv2 AVPs (e.g., those
// defined in RFC 2661 and not in this document) within an SCCRQ with the Ver field
// set to 2 (even if the M bit is set on the L2TPv2-specific AVPs)."
func TestFallbackHeader(t *testing.T) {
	protocolVersion, framing, tunnelID := avp(mandatory, 0, 2, 1, 0), avp(mandatory, 0, 3, 0, 0, 0, 3), avp(mandatory, 0, 9, 0, 5)
	for _, dialect := range []Dialect{Auto, IETF} {
		cfg := accepts()
		cfg.Dialect = dialect
		s := tell(t, cfg)
		s.version = 2
		s.send(s.request(), protocolVersion, framing, tunnelID)
		if m := s.want("SCCRP", 0, 1); m.Version != 3 || m.ControlHeader.ConnectionID != peerConnection {
			t.Errorf("answered in version %d for %d", m.Version, m.ControlHeader.ConnectionID)
		}
		s.version = 3
		s.send(&wire.SCCCN{})
		s.wantState(Established)

		s = tell(t, cfg)
		s.version = 2
		s.send(nil, avp(mandatory, 0, 0, 0, 1), protocolVersion, avp(mandatory, 0, 7, 'x'), framing, tunnelID)
		s.wantSilence()
		s.dropped(DropVersion2, 1)
	}
}

// TestDialects has peers that are not RFC 3931 to the letter.
func TestDialects(t *testing.T) {
	has := func(m said, vendor, attr uint16) bool {
		return strings.Contains(string(m.raw), string([]byte{byte(vendor >> 8), byte(vendor), byte(attr >> 8), byte(attr)}))
	}
	// Cisco's drafts: who speaks so is answered so.
	for _, v := range []struct {
		dialect Dialect
		peer    bool
		want    bool
	}{{Auto, true, true}, {Auto, false, false}, {Cisco, false, true}, {IETF, false, false}} {
		cfg := accepts()
		cfg.Dialect = v.dialect
		s := tell(t, cfg)
		s.cisco = v.peer
		s.send(s.request())
		if m := s.want("SCCRP", 0, 1); has(m, 9, 1) != v.want || has(m, 9, 10) != v.want || !has(m, 0, 61) {
			t.Errorf("%+v: %x", v, m.raw)
		}
		cfg = dials()
		cfg.Dialect = v.dialect
		s = tell(t, cfg)
		if m := s.want("SCCRQ", 0, 0); has(m, 9, 1) != (v.dialect == Cisco) {
			t.Errorf("%+v: %x", v, m.raw)
		}
		s.cisco = v.peer
		s.send(&wire.SCCRP{LCCE: s.peer})
		get[*wire.SCCCN](s)
		if got := s.status().Cisco; got != v.want {
			t.Errorf("%+v: cisco %v", v, got)
		}
	}
	// Yamaha's: no Receive Window Size AVP.
	for _, v := range []struct {
		vendor  string
		dialect Dialect
		window  bool
	}{{"YAMAHA Corporation", Auto, false}, {"YAMAHA Corporation", IETF, true}, {"other", Auto, true}} {
		cfg := accepts()
		cfg.Dialect = v.dialect
		s := tell(t, cfg)
		s.peer.VendorName = v.vendor
		s.send(s.request())
		if m := s.want("SCCRP", 0, 1); has(m, 0, 10) != v.window {
			t.Errorf("%+v: %x", v, m.raw)
		}
	}
	// Mandatory AVPs of L2TPv2 and of Cisco's, where they are tolerated.
	for _, v := range []struct {
		dialect Dialect
		extra   []byte
		ok      bool
	}{
		{Auto, avp(mandatory, 0, 3, 0, 0, 0, 3), true}, {IETF, avp(mandatory, 0, 3, 0, 0, 0, 3), false},
		{Auto, avp(mandatory, 9, 200, 1), true}, {IETF, avp(mandatory, 9, 200, 1), false},
	} {
		cfg := accepts()
		cfg.Dialect = v.dialect
		s := tell(t, cfg)
		s.send(s.request(), v.extra)
		if m := s.sent[0].name(); (m == "SCCRP") != v.ok {
			t.Errorf("%+v: %s", v, m)
		}
	}
}

// TestCapabilities tells the owner what the peer told of itself.
func TestCapabilities(t *testing.T) {
	s := tell(t, accepts())
	s.peer.VendorName, s.peer.Language = "vendor", "nl"
	s.send(s.request())
	p := get[*wire.SCCRP](s)
	if p.HostName != "here" || p.RouterID != 1 || p.VendorName != "test" || len(p.Nonce) != 0 || p.Language != "" {
		t.Errorf("%+v", p)
	}
	s.send(&wire.SCCCN{})
	e := s.event(TunnelUp)
	if e.Peer.HostName != "there" || e.Peer.RouterID != 2 || e.Peer.VendorName != "vendor" || !slices.Equal(e.Peer.Capabilities, []pseudowire.Type{pseudowire.Ethernet, pseudowire.EthernetVLAN}) {
		t.Errorf("%+v", e.Peer)
	}
}

// TestNetworks has SCCRQs come from networks, and through several sockets.
func TestNetworks(t *testing.T) {
	s := tell(t, TunnelConfig{Name: "any", Many: true})
	s.Bind(s.now, "any", Binding{Vias: []int{1, 3}, Peers: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}})
	for i, v := range []struct {
		peer string
		via  int
		ok   bool
	}{
		{"198.51.100.7:1701", 1, true}, {"198.51.100.8:1701", 3, true}, {"[2001:db8:1::9]:1701", 3, true},
		{"198.51.100.9:1701", 2, false}, {"198.51.101.7:1701", 1, false}, {"192.0.2.2:1701", 1, false},
	} {
		s.at = from(v.peer)
		s.at.Via = v.via
		s.id, s.ns, s.nr, s.peer.ConnectionID = 0, 0, 0, uint32(100+i)
		s.send(s.request())
		if v.ok {
			if m := s.next("SCCRP"); m.to != s.at {
				t.Errorf("answered at %v, want %v", m.to, s.at)
			}
			continue
		}
		s.wantSilence()
		s.dropped(DropNoTunnel, 1)
	}
	s.Bind(s.now, "any", Binding{})
	if len(s.sources.Hosts)+len(s.sources.Nets) != 0 {
		t.Errorf("%v, %v", s.sources.Hosts, s.sources.Nets)
	}
}

// TestSeveralTunnelsToOneAddress takes peers apart by host name, and one that is
// up last.
func TestSeveralTunnelsToOneAddress(t *testing.T) {
	s := tell(t, accepts())
	s.tunnel(TunnelConfig{Name: "second"})
	come := func(host string, id uint32, want string) {
		t.Helper()
		s.id, s.ns, s.nr, s.peer.ConnectionID, s.peer.HostName = 0, 0, 0, id, host
		s.send(s.request())
		s.id = s.next("SCCRP").Message.(*wire.SCCRP).ConnectionID
		s.nr = 1
		s.send(&wire.SCCCN{})
		if e := s.event(TunnelUp); e.Tunnel != want {
			t.Errorf("%s is %s, want %s", host, e.Tunnel, want)
		}
		s.sent = nil
	}
	come("a", 10, "there")
	come("b", 11, "second")
	come("b", 12, "second")
	come("a", 13, "there")
	come("c", 14, "there") // for want of a better one
}

// TestSameIDOfANewPeer has a peer begin anew with the same Control Connection ID
// before its former attempt is complete.
func TestSameIDOfANewPeer(t *testing.T) {
	s := tell(t, accepts())
	s.send(s.request())
	get[*wire.SCCRP](s)
	first := s.id
	s.id, s.ns, s.nr = 0, 0, 0
	s.peer.Language = "fy" // by which its SCCRQ is another
	s.send(s.request())
	get[*wire.SCCRP](s)
	if s.id == first {
		t.Fatal("the same connection")
	}
	s.send(&wire.SCCCN{})
	s.wantState(Established)
	s.quiet()
	s.after(31 * time.Second)
	if len(s.conns) != 1 {
		t.Errorf("%d connections", len(s.conns))
	}
	s.send(&wire.HELLO{})
	s.wantState(Established)
}

// TestTrace shows messages to the owner, those that were sent and those that were
// accepted.
func TestTrace(t *testing.T) {
	n := here()
	var traced []string
	n.Trace = func(m Traced) {
		name := "ZLB"
		if t, ok := wire.TypeOf(m.Message); ok {
			name = t.String()
		}
		direction := "<"
		if m.Out {
			direction = ">"
		}
		traced = append(traced, direction+name)
		if m.Tunnel != "there" || m.At.Peer.Port() != 1701 || m.Secret != nil {
			t.Errorf("%+v", m)
		}
	}
	s := tellNode(t, n, accepts())
	s.at.Peer = netip.MustParseAddrPort("192.0.2.77:1701")
	s.send(s.request()) // nobody's
	s.at.Peer = netip.MustParseAddrPort("192.0.2.2:1701")
	s.ns = 0
	s.establish()
	s.ns, s.nr, s.id, s.peer.ConnectionID = 0, 0, 0, 78
	s.send(s.request(), avp(mandatory, 0, 999))
	if got := strings.Join(traced, " "); got != "<SCCRQ >SCCRP <SCCCN >ZLB <SCCRQ >StopCCN" {
		t.Errorf("%s", got)
	}
}

// TestNamesOfEvents wants words for all that can happen and be dropped.
func TestNamesOfEvents(t *testing.T) {
	for k := TunnelAdded; k <= Noted; k++ {
		if k.String() == "" || k.String() == "event" {
			t.Errorf("event %d has no name", k)
		}
	}
	for d := range Drops {
		if d.String() == "" {
			t.Errorf("drop %d has no name", d)
		}
	}
	for s := range states {
		if s.String() == "" {
			t.Errorf("state %d has no name", s)
		}
	}
	if got := fmt.Sprint(Noted+1, Drops, states); got != "event unknown unknown" {
		t.Errorf("%s", got)
	}
}

// TestEventsAreOrdered wants what belongs to a thing to end before it.
func TestEventsAreOrdered(t *testing.T) {
	s := tell(t, TunnelConfig{Name: "any", Many: true, Circuits: []CircuitConfig{office(false)}})
	s.send(s.request())
	get[*wire.SCCRP](s)
	s.send(&wire.SCCCN{})
	s.send(icrq(9))
	p := get[*wire.ICRP](s)
	s.send(iccn(9, p.LocalSessionID))
	s.wantEvents("tunnel added, session added, tunnel up, session open, session up")
	s.Remove(s.now, "any")
	s.drain()
	s.wantEvents("session down, tunnel down, session removed, tunnel removed, tunnel removed")
	s.Remove(s.now, "any")
	s.wantEvents("")
}

// TestFirstNumbers wants an SCCRQ to be the first message of its connection.
func TestFirstNumbers(t *testing.T) {
	s := tell(t, accepts())
	s.ns = 5
	s.send(s.request())
	s.ns, s.nr = 0, 1
	s.send(s.request())
	s.wantSilence()
	s.dropped(DropSequence, 2)
}

// TestLittleIsHeld bounds what waits for its turn, above all that of peers that
// have not completed the connection.
func TestLittleIsHeld(t *testing.T) {
	long := avp(0, 0, 999, make([]byte, 900)...)
	s := tell(t, accepts(office(false)))
	s.send(s.request())
	get[*wire.SCCRP](s)
	for ns := uint16(2); ns < 100; ns++ {
		s.receive(s.write(ns, &wire.HELLO{}))
	}
	s.receive(s.write(3, &wire.HELLO{}, long, long))
	s.quiet()
	if got := s.conns[s.id].reliable.Stats(); got.OutOfOrder != 4 {
		t.Errorf("%d messages held, want 4", got.OutOfOrder)
	}
	s.send(&wire.SCCCN{})
	s.wantState(Established)
	s.quiet()
	s.receive(s.write(8, &wire.HELLO{}, long, long, long, long, long))
	s.wantSilence()
	s.receive(s.write(9, &wire.HELLO{}, long))
	s.next("ZLB")
	s.receive(s.write(6, &wire.HELLO{}))
	s.receive(s.write(7, &wire.HELLO{}))
	s.receive(s.write(8, &wire.HELLO{}, long, long, long, long, long)) // in its turn
	s.sent = s.sent[len(s.sent)-1:]
	if m := s.next("ZLB"); m.Nr != 10 {
		t.Errorf("acknowledges %d, want 10", m.Nr)
	}
}
