package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// types are those that sessions may be of.
var types = []pseudowire.Type{pseudowire.FrameRelay, pseudowire.EthernetVLAN, pseudowire.Ethernet, pseudowire.HDLC, pseudowire.PPP}

// able begins a dialogue of two sides that are able to carry every type.
func able(t testing.TB, cfg TunnelConfig) *dialogue {
	t.Helper()
	n := here()
	n.Capabilities = types
	s := tellNode(t, n, cfg)
	s.peer.Capabilities = types
	return s
}

// circuitOf is the circuit "office" of a type.
func circuitOf(t pseudowire.Type, initiate bool) CircuitConfig {
	k := office(initiate)
	k.Pseudowire = t
	return k
}

// TestTypes sets sessions of every type up, from both sides and by both kinds of
// call, and tells of their circuits. RFC 4591, RFC 4719 and RFC 4349 sections 2 and 3.
func TestTypes(t *testing.T) {
	for _, kind := range types {
		s := able(t, accepts(circuitOf(kind, false)))
		s.send(s.request())
		// "MUST include the Frame Relay Data Link Connection Identifier (DLCI) PW
		// Type of 0x0001", and so on.
		if m := get[*wire.SCCRP](s); !slices.Equal(m.Capabilities, types) {
			t.Errorf("%v: SCCRP offers %v, want %v", kind, m.Capabilities, types)
		}
		s.send(&wire.SCCCN{})
		for _, other := range types {
			q := icrq(9)
			q.PseudowireType = other
			s.send(q)
			if other != kind {
				c := get[*wire.CDN](s)
				s.wantResult(c.Result, wire.CDNPseudowireType, 0, kind.String())
				o := &wire.OCRQ{CallRequest: call(9)}
				o.PseudowireType = other
				s.send(o)
				s.wantResult(get[*wire.CDN](s).Result, wire.CDNPseudowireType, 0, kind.String())
				continue
			}
			p := get[*wire.ICRP](s)
			if p.Status != wire.CircuitActive|wire.CircuitNew {
				t.Errorf("%v: status %v in the ICRP", kind, p.Status)
			}
			s.send(iccn(9, p.LocalSessionID))
			if e := s.event(SessionUp); e.Params.Pseudowire != kind {
				t.Errorf("%v: up as %v", kind, e.Params.Pseudowire)
			}
			s.quiet()
			s.SetCircuit(s.now, "there/office", 0)
			s.drain()
			if i := get[*wire.SLI](s); i.Status != wire.Some(wire.CircuitStatus(0)) {
				t.Errorf("%v: SLI with %+v", kind, i.Status)
			}
			s.send(&wire.SLI{LocalSessionID: 9, RemoteSessionID: p.LocalSessionID, Status: wire.Some(wire.CircuitReceiveFault)})
			if e := s.event(SessionCircuit); e.Status != wire.CircuitReceiveFault {
				t.Errorf("%v: told %v of the peer's circuit", kind, e.Status)
			}
			s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: p.LocalSessionID, Result: wire.Result{Code: wire.CDNAdministrative}})
			s.quiet()
			s.SetCircuit(s.now, "there/office", wire.CircuitActive)
		}

		s = able(t, dials(circuitOf(kind, true)))
		m := s.want("SCCRQ", 0, 0).Message.(*wire.SCCRQ)
		if !slices.Equal(m.Capabilities, types) {
			t.Errorf("%v: SCCRQ offers %v, want %v", kind, m.Capabilities, types)
		}
		s.send(&wire.SCCRP{LCCE: s.peer})
		get[*wire.SCCCN](s)
		q := get[*wire.ICRQ](s)
		if q.PseudowireType != kind || q.Status != wire.CircuitActive|wire.CircuitNew || q.FrameRelayHeaderLen.Set {
			t.Errorf("%v: %+v", kind, q)
		}
		s.send(icrp(9, q))
		get[*wire.ICCN](s)
		if e := s.event(SessionUp); e.Params.Pseudowire != kind {
			t.Errorf("%v: up as %v", kind, e.Params.Pseudowire)
		}

		k := circuitOf(kind, true)
		k.Outgoing = true
		if o := get[*wire.OCRQ](able(t, dials(k)).answer()); o.PseudowireType != kind {
			t.Errorf("%v: %+v", kind, o)
		}
	}
}

// RFC 3931 section 5.4.4: "A peer MUST NOT request an incoming or outgoing call
// with a PW Type AVP specifying a value not advertised in the PW Capabilities List
// AVP it received during control connection establishment. Attempts to do so MUST
// result in the call being rejected via a CDN with the Result Code set to 14 (see
// Section 5.4.2)."
func TestTypesNotOffered(t *testing.T) {
	for _, kind := range types {
		others := slices.DeleteFunc(slices.Clone(types), func(o pseudowire.Type) bool { return o == kind })
		for _, outgoing := range []bool{false, true} {
			k := circuitOf(kind, true)
			k.Outgoing = outgoing
			s := able(t, dials(k))
			s.peer.Capabilities = others
			s.answer()
			s.ack()
			s.quiet()
			want := "the peer does not offer " + kind.String()
			if e := s.event(SessionDown); e.Reason != want || s.session().LastError != want {
				t.Errorf("%v: %q, %q; want %q", kind, e.Reason, s.session().LastError, want)
			}
		}
		n := here()
		n.Capabilities = others
		s := tellNode(t, n, accepts(circuitOf(kind, false))).establish()
		q := icrq(9)
		q.PseudowireType = kind
		s.send(q)
		s.wantResult(get[*wire.CDN](s).Result, wire.CDNPseudowireType, 0, kind.String()+" was not offered")
	}
}

// RFC 4591 section 3.5: "The two peer LCCEs MUST agree on the length of the Frame
// Relay header." And: "If the other LCCE supports a different Frame Relay header
// length, the associated L2TP session MUST be torn down via CDN message with result
// code 19". And: "If the Frame Relay Header Length AVP is not signalled, it MUST be
// assumed that the peer uses a 2-byte Frame Relay header."
func TestFrameRelayHeaderLen(t *testing.T) {
	told := func(n uint16) wire.Optional[uint16] { return wire.Some(n) }
	none := wire.Optional[uint16]{}
	for _, v := range []struct {
		ours   int
		tells  wire.Optional[uint16] // what we tell
		theirs wire.Optional[uint16]
		agree  bool
	}{
		{0, none, none, true},
		{0, none, told(2), true},
		{0, none, told(4), false},
		{0, none, told(3), false},
		{0, none, told(0), false},
		{0, none, told(0xffff), false},
		{2, none, none, true},
		{2, none, told(2), true},
		{2, none, told(4), false},
		{4, told(4), none, false},
		{4, told(4), told(2), false},
		{4, told(4), told(3), false},
		{4, told(4), told(4), true},
	} {
		name := fmt.Sprintf("ours %d, theirs %v", v.ours, v.theirs)
		text := fmt.Sprintf("%d here", max(v.ours, 2))
		check := func(s *dialogue, want wire.MessageType, tells func() wire.Optional[uint16]) {
			t.Helper()
			if !v.agree {
				c := get[*wire.CDN](s)
				s.wantResult(c.Result, wire.CDNHeaderLength, 0, text)
				if c.RemoteSessionID != 9 || len(s.sessions) != 0 {
					t.Errorf("%s: %+v, %d sessions left", name, c, len(s.sessions))
				}
				s.wantState(Established)
				return
			}
			if got := tells(); got != v.tells {
				t.Errorf("%s: told %v in the %v, want %v", name, got, want, v.tells)
			}
		}
		k := circuitOf(pseudowire.FrameRelay, false)
		k.FrameRelayHeaderLen = v.ours
		request := call(9)
		request.PseudowireType, request.FrameRelayHeaderLen = pseudowire.FrameRelay, v.theirs

		s := able(t, accepts(k)).establish()
		s.send(&wire.ICRQ{CallRequest: request})
		check(s, wire.TypeICRP, func() wire.Optional[uint16] { return get[*wire.ICRP](s).FrameRelayHeaderLen })
		s = able(t, accepts(k)).establish()
		s.send(&wire.OCRQ{CallRequest: request})
		check(s, wire.TypeOCRP, func() wire.Optional[uint16] { return get[*wire.OCRP](s).FrameRelayHeaderLen })

		k.Initiate = true
		s = able(t, dials(k)).answer()
		q := get[*wire.ICRQ](s)
		p := icrp(9, q)
		p.FrameRelayHeaderLen = v.theirs
		s.send(p)
		check(s, wire.TypeICRQ, func() wire.Optional[uint16] { get[*wire.ICCN](s); return q.FrameRelayHeaderLen })
		if q.FrameRelayHeaderLen != v.tells {
			t.Errorf("%s: told %v in the ICRQ, want %v", name, q.FrameRelayHeaderLen, v.tells)
		}
		k.Outgoing = true
		s = able(t, dials(k)).answer()
		o := get[*wire.OCRQ](s)
		s.send(&wire.OCRP{CallReply: wire.CallReply{LocalSessionID: 9, RemoteSessionID: o.LocalSessionID, FrameRelayHeaderLen: v.theirs}})
		check(s, wire.TypeOCRQ, func() wire.Optional[uint16] { s.quiet(); return o.FrameRelayHeaderLen })
	}

	// To the other types it is nothing.
	for _, kind := range types[1:] {
		k := circuitOf(kind, false)
		k.FrameRelayHeaderLen = 4
		s := able(t, accepts(k)).establish()
		q := icrq(9)
		q.PseudowireType, q.FrameRelayHeaderLen = kind, told(2)
		s.send(q)
		if p := get[*wire.ICRP](s); p.FrameRelayHeaderLen.Set {
			t.Errorf("%v: told %v", kind, p.FrameRelayHeaderLen)
		}
	}

	// A length that is none, where the M bit does not ask for more, was not told.
	k := circuitOf(pseudowire.FrameRelay, false)
	for _, value := range [][]byte{{}, {4}, {0, 0, 4}, {0, 0, 0, 4}} {
		q := icrq(9)
		q.PseudowireType = pseudowire.FrameRelay
		s := able(t, accepts(k)).establish()
		s.send(q, avp(0, 0, 85, value...))
		get[*wire.ICRP](s)
		s = able(t, accepts(k)).establish()
		s.send(q, avp(mandatory, 0, 85, value...))
		s.wantResult(get[*wire.CDN](s).Result, wire.CDNError, wire.ErrorLength, "Frame Relay Header Length")
	}
}

// RFC 4591 section 3.2: "In the event that a PVC is deleted (unprovisioned) at either
// LCCE, the associated L2TP session MUST be torn down via the CDN message". RFC 4349
// section 3.2 says so of an HDLC link. RFC 4719 has no results of its own.
func TestCloseCircuit(t *testing.T) {
	for _, v := range []struct {
		kind          pseudowire.Type
		why           Absence
		code, refused wire.ResultCode
		text          string
	}{
		{pseudowire.FrameRelay, Deleted, 17, 17, ""},
		{pseudowire.FrameRelay, Inactive, 18, 18, ""},
		{pseudowire.HDLC, Deleted, 20, 20, ""},
		{pseudowire.HDLC, Inactive, 21, 21, ""},
		{pseudowire.Ethernet, Deleted, wire.CDNCarrier, wire.CDNPermanent, "the circuit was deleted"},
		{pseudowire.Ethernet, Inactive, wire.CDNCarrier, wire.CDNTemporary, "the circuit has been inactive"},
		{pseudowire.EthernetVLAN, Deleted, wire.CDNCarrier, wire.CDNPermanent, "the circuit was deleted"},
		{pseudowire.EthernetVLAN, Inactive, wire.CDNCarrier, wire.CDNTemporary, "the circuit has been inactive"},
		{pseudowire.PPP, Deleted, wire.CDNCarrier, wire.CDNPermanent, "the circuit was deleted"},
		{pseudowire.PPP, Inactive, wire.CDNCarrier, wire.CDNTemporary, "the circuit has been inactive"},
	} {
		status := wire.CircuitActive
		if v.why == Deleted { // what comes in its place is new
			status |= wire.CircuitNew
		}
		closed := func(s *dialogue, remote uint32) {
			t.Helper()
			c := get[*wire.CDN](s)
			s.wantResult(c.Result, v.code, 0, v.text)
			if c.RemoteSessionID != remote || c.LocalSessionID == 0 {
				t.Errorf("%v %v: %+v", v.kind, v.why, c)
			}
			s.quiet()
			s.ack()
			want := c.Result.Text(wire.TypeCDN)
			if e := s.event(SessionDown); e.Reason != want || !e.Next.IsZero() {
				t.Errorf("%v %v: %+v, want %q and no other attempt", v.kind, v.why, e, want)
			}
			if got := s.session(); got.Absent != v.why || got.LastError != want || got.Status != 0 || got.State != Idle || !got.Next.IsZero() {
				t.Errorf("%v %v: %+v", v.kind, v.why, got)
			}
		}
		shut := func(s *dialogue) {
			s.CloseCircuit(s.now, "there/office", v.why)
			if len(s.sessions) > 0 {
				t.Errorf("%v %v: %d sessions left", v.kind, v.why, len(s.sessions))
			}
			s.ack()
		}

		// Who waits for the peer refuses it, until the circuit is there again.
		s := able(t, accepts(circuitOf(v.kind, false))).establish()
		q := icrq(9)
		q.PseudowireType = v.kind
		s.send(q)
		s.send(iccn(9, get[*wire.ICRP](s).LocalSessionID))
		s.event(SessionUp)
		shut(s)
		closed(s, 9)
		for range 2 {
			s.send(q)
			s.wantResult(get[*wire.CDN](s).Result, v.refused, 0, v.text)
			s.SetCircuit(s.now, "there/office", wire.CircuitTransmitFault) // it is not active
		}
		s.SetCircuit(s.now, "there/office", wire.CircuitActive)
		s.drain()
		s.quiet()
		s.send(q)
		if p := get[*wire.ICRP](s); p.Status != status {
			t.Errorf("%v %v: status %v in the ICRP, want %v", v.kind, v.why, p.Status, status)
		}
		if got := s.session(); got.Absent != 0 {
			t.Errorf("%v %v: %+v", v.kind, v.why, got)
		}

		// Who asks does so no more, whatever happens, until then.
		cfg := dials(circuitOf(v.kind, true))
		cfg.RedialMin, cfg.RedialMax = time.Second, time.Second
		s = able(t, cfg).answer()
		first := get[*wire.ICRQ](s)
		shut(s) // before there is a reply
		closed(s, 0)
		if err := s.Up(s.now, "there/office"); err != nil {
			t.Fatal(err)
		}
		s.after(50 * time.Second)
		s.quiet()
		s.SetCircuit(s.now, "there/office", wire.CircuitActive)
		s.drain()
		again := get[*wire.ICRQ](s)
		if again.Status != status || again.LocalSessionID == first.LocalSessionID {
			t.Errorf("%v %v: status %v in the ICRQ, want %v", v.kind, v.why, again.Status, status)
		}
		s.send(icrp(9, again))
		get[*wire.ICCN](s)
		s.event(SessionUp)
		s.ack()
		shut(s)
		closed(s, 9)
		shut(s)
		s.quiet()

		// Nor by a connection that comes later.
		s = able(t, cfg)
		s.CloseCircuit(s.now, "there/office", v.why)
		s.answer()
		s.ack()
		s.quiet()
		s.SetCircuit(s.now, "there/office", wire.CircuitActive)
		s.drain()
		get[*wire.ICRQ](s)
	}
	s := able(t, accepts(office(false)))
	s.CloseCircuit(s.now, "there/nothing", Deleted)
	s.drain()
	s.wantSilence()
	for a, want := range []string{"the circuit is there", "the circuit was deleted", "the circuit has been inactive for an extended period"} {
		if got := Absence(a).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestClosedByPeer tells what the peer says of its circuit.
func TestClosedByPeer(t *testing.T) {
	for code, want := range map[wire.ResultCode]string{
		17: "closed by peer: result 17 (PVC was deleted permanently)",
		18: "closed by peer: result 18 (PVC has been inactive for an extended period)",
		19: "closed by peer: result 19 (mismatched Frame Relay header length)",
		20: "closed by peer: result 20 (HDLC link was deleted permanently)",
		21: "closed by peer: result 21 (HDLC link has been inactive for an extended period)",
	} {
		s := able(t, dials(circuitOf(pseudowire.FrameRelay, true))).answer()
		q := get[*wire.ICRQ](s)
		s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: q.LocalSessionID, Result: wire.Result{Code: code}})
		if e := s.event(SessionDown); e.Reason != want || e.Next.IsZero() {
			t.Errorf("%+v, want %q and another attempt", e, want)
		}
	}
}

// RFC 4591 section 3.1, and RFC 4349 section 3.1: "LCCE A SHOULD then exhibit a
// periodic retry mechanism. If so, the period and maximum number of retries MUST be
// configurable."
func TestSessionRedialLimit(t *testing.T) {
	cfg := dials(office(true))
	cfg.RedialMin, cfg.RedialMax, cfg.RedialLimit = time.Second, time.Second, 3
	s := tell(t, cfg).answer()
	refused := func() {
		t.Helper()
		for i := range 3 {
			q := get[*wire.ICRQ](s)
			s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: q.LocalSessionID, Result: wire.Result{Code: wire.CDNPVCDeleted}})
			e := s.event(SessionDown)
			if e.Next.IsZero() != (i == 2) {
				t.Errorf("attempt %d: %q, next %v", i+1, e.Reason, e.Next)
			}
			if i < 2 {
				s.after(e.Next.Sub(s.now))
			}
		}
		s.Heard("there", s.now)
		s.after(50 * time.Second)
		s.quiet()
	}
	refused()
	if got := s.session(); !strings.Contains(got.LastError, "PVC was deleted") || !got.Next.IsZero() {
		t.Errorf("%+v", got)
	}
	if err := s.Up(s.now, "there/office"); err != nil {
		t.Fatal(err)
	}
	s.drain()
	refused()
	// One that was up begins to count anew.
	if err := s.Up(s.now, "there/office"); err != nil {
		t.Fatal(err)
	}
	s.drain()
	q := get[*wire.ICRQ](s)
	s.send(icrp(9, q))
	get[*wire.ICCN](s)
	s.ack()
	s.told = nil
	s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: q.LocalSessionID, Result: wire.Result{Code: wire.CDNPVCDeleted}})
	s.after(s.event(SessionDown).Next.Sub(s.now))
	refused()
}
