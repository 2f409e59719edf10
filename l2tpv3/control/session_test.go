package control

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// outgoing is a circuit for which the LCCE sends OCRQ.
func outgoing() CircuitConfig {
	k := office(true)
	k.Outgoing = true
	return k
}

// TestIncomingCall has both sides agree on a session's parameters.
func TestIncomingCall(t *testing.T) {
	k := office(false)
	k.Sublayer, k.Sequencing, k.TxSpeed, k.RxSpeed, k.PhysicalChannelID = pseudowire.DefaultSublayer, pseudowire.AllSequencing, 10, 20, 30
	s := tell(t, accepts(k)).establish()
	q := icrq(9)
	q.Cookie, _ = cookie.FromBytes([]byte{1, 2, 3, 4})
	q.TxSpeed, q.PhysicalChannelID = 1000, 5
	s.send(q)
	p := get[*wire.ICRP](s)
	if p.RemoteSessionID != 9 || p.Cookie.Len() != 8 || p.Sublayer != k.Sublayer || p.Sequencing != k.Sequencing ||
		p.TxSpeed != 10 || p.RxSpeed != 20 || p.PhysicalChannelID != 30 || p.Status != wire.CircuitActive|wire.CircuitNew {
		t.Errorf("%+v", p)
	}
	open := s.event(SessionOpen)
	n := iccn(9, p.LocalSessionID)
	n.Sublayer, n.Sequencing, n.RxSpeed = wire.Some(pseudowire.DefaultSublayer), wire.Some(pseudowire.NonIPSequencing), 2000
	s.send(n)
	up := s.event(SessionUp)
	want := Params{
		SessionID: p.LocalSessionID, PeerSessionID: 9, ReceiveCookie: p.Cookie, SendCookie: q.Cookie, Pseudowire: pseudowire.Ethernet,
		Sublayer: k.Sublayer, PeerSublayer: pseudowire.DefaultSublayer, Sequencing: k.Sequencing, PeerSequencing: pseudowire.NonIPSequencing,
		TxSpeed: 1000, RxSpeed: 2000, PhysicalChannel: 5,
	}
	if up.Params != want || up.Status != wire.CircuitActive || up.Former != 0 || up.Session != "there/office" || up.Circuit.Name != "office" {
		t.Errorf("%+v, want %+v", up.Params, want)
	}
	want.PeerSublayer, want.PeerSequencing, want.RxSpeed = 0, 0, 0
	if open.Params != want {
		t.Errorf("open: %+v, want %+v", open.Params, want)
	}
}

// RFC 3931 section 5.4.4: "When a session-level control message must be sent to
// the peer before the Local Session ID AVP has been received, the value of the
// Remote Session ID AVP MUST be set to zero." And: "Additionally, the Local
// Session ID AVP (sent in a previous control message for this session) MUST be
// included in the control message." And of the Local Session ID: "Additionally,
// for all session-oriented control messages sent after this AVP is received (e.g.,
// ICRP, ICCN, CDN, SLI, etc.), the remote LCCE MUST echo this value in the Remote
// Session ID AVP." And section 5.4.5: "The Circuit Status MUST be advertised by
// this AVP in ICRQ, ICRP, OCRQ, and OCRP messages."
func TestSessionIDs(t *testing.T) {
	s := tell(t, dials(office(true))).answer()
	q := get[*wire.ICRQ](s)
	if q.RemoteSessionID != 0 || q.LocalSessionID == 0 || q.Status != wire.CircuitActive|wire.CircuitNew {
		t.Errorf("%+v", q)
	}
	if err := s.Down(s.now, "there/office"); err != nil {
		t.Fatal(err)
	}
	s.ack()
	c := get[*wire.CDN](s)
	if c.RemoteSessionID != 0 || c.LocalSessionID != q.LocalSessionID {
		t.Errorf("%+v", c)
	}
	if err := s.Up(s.now, "there/office"); err != nil {
		t.Fatal(err)
	}
	s.ack()
	q = get[*wire.ICRQ](s)
	if q.Status != wire.CircuitActive {
		t.Errorf("%v, want New the first time alone", q.Status)
	}
	s.send(icrp(9, q))
	if n := get[*wire.ICCN](s); n.LocalSessionID != q.LocalSessionID || n.RemoteSessionID != 9 {
		t.Errorf("%+v", n)
	}
	s.ack()
	s.SetCircuit(s.now, "there/office", 0)
	s.drain()
	if i := get[*wire.SLI](s); i.LocalSessionID != q.LocalSessionID || i.RemoteSessionID != 9 {
		t.Errorf("%+v", i)
	}
	s.ack()
	s.Report(s.now, "there/office", wire.CircuitErrors{BufferOverruns: 3})
	s.drain()
	if w := get[*wire.WEN](s); w.LocalSessionID != q.LocalSessionID || w.RemoteSessionID != 9 || w.Errors.BufferOverruns != 3 {
		t.Errorf("%+v", w)
	}
	s.Report(s.now, "there/nothing", wire.CircuitErrors{})
	s.SetCircuit(s.now, "there/nothing", 0)
	s.drain()
	s.quiet()

	s = tell(t, dials(outgoing())).answer()
	o := get[*wire.OCRQ](s)
	if o.RemoteSessionID != 0 || o.Status != wire.CircuitActive|wire.CircuitNew {
		t.Errorf("%+v", o)
	}
	s = tell(t, accepts(office(false))).establish()
	s.send(&wire.OCRQ{CallRequest: call(9)})
	if p := get[*wire.OCRP](s); p.RemoteSessionID != 9 || p.Status != wire.CircuitActive|wire.CircuitNew {
		t.Errorf("%+v", p)
	}
	if n := get[*wire.OCCN](s); n.RemoteSessionID != 9 {
		t.Errorf("%+v", n)
	}
}

// TestDisconnect has the peer end a session as peers do: by our ID, by its own
// alone, and by either with its octets in the other order.
func TestDisconnect(t *testing.T) {
	for _, dialect := range []Dialect{Auto, IETF} {
		for i, ids := range []func(ours uint32) (local, remote uint32){
			func(ours uint32) (uint32, uint32) { return 9, ours },
			func(ours uint32) (uint32, uint32) { return 4242, ours },
			func(ours uint32) (uint32, uint32) { return 9, 0 },
			func(ours uint32) (uint32, uint32) { return 9, 4242 },
			func(ours uint32) (uint32, uint32) { return swapped(9), swapped(ours) },
			func(ours uint32) (uint32, uint32) { return swapped(9), 0 },
			func(ours uint32) (uint32, uint32) { return 4242, 4343 },
		} {
			cfg := accepts(office(false))
			cfg.Dialect = dialect
			s := tell(t, cfg).establish()
			local, remote := ids(s.called(9))
			s.send(&wire.CDN{LocalSessionID: local, RemoteSessionID: remote, Result: wire.Result{Code: wire.CDNAdministrative, Message: "bye"}})
			s.quiet()
			want := "session down"
			if i == 6 || i >= 4 && dialect == IETF {
				want = ""
			} else if e := s.told[0]; !strings.Contains(e.Reason, `closed by peer: result 3 (administrative reasons): "bye"`) {
				t.Errorf("%q", e.Reason)
			}
			s.wantEvents(want)
		}
	}
}

// RFC 3931 section 5.2: "If the control message containing the unrecognized AVP is
// associated with a session (e.g., an ICRQ, ICRP, ICCN, SLI, etc.), then the
// session MUST be issued a CDN with a Result Code of 2 and Error Code of 8 (as
// defined in Section 5.4.2) and shut down."
func TestUnknownMandatoryAVPOfSession(t *testing.T) {
	unknown := avp(mandatory, 0, 999)
	check := func(s *dialogue, remote uint32) {
		t.Helper()
		m := get[*wire.CDN](s)
		s.wantResult(m.Result, wire.CDNError, wire.ErrorUnknownAVP, "999")
		if m.RemoteSessionID != remote || m.LocalSessionID == 0 {
			t.Errorf("%+v", m)
		}
		s.quiet()
		s.wantState(Established)
		s.wantSession(Idle)
		if len(s.sessions) != 0 {
			t.Error("the session is left")
		}
	}
	accepting := func() *dialogue { return tell(t, accepts(office(false))).establish() }
	s := accepting()
	s.send(icrq(9), unknown)
	check(s, 9)
	s.send(&wire.OCRQ{CallRequest: call(9)}, unknown)
	check(s, 9)

	s = accepting()
	s.send(icrq(9))
	s.send(iccn(9, get[*wire.ICRP](s).LocalSessionID), unknown)
	check(s, 9)

	for _, m := range []func(ours uint32) wire.Message{
		func(ours uint32) wire.Message { return &wire.SLI{LocalSessionID: 9, RemoteSessionID: ours} },
		func(ours uint32) wire.Message { return &wire.WEN{LocalSessionID: 9, RemoteSessionID: ours} },
	} {
		s = accepting()
		s.send(m(s.called(9)), unknown)
		check(s, 9)
	}

	s = tell(t, dials(office(true))).answer()
	s.send(icrp(9, get[*wire.ICRQ](s)), unknown)
	check(s, 9)

	// A CDN is a CDN.
	s = accepting()
	ours := s.called(9)
	s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: ours, Result: wire.Result{Code: 3}}, unknown)
	s.quiet()
	s.wantSession(Idle)
	s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: ours, Result: wire.Result{Code: 3}}, unknown)
	s.quiet()
}

// RFC 3931 section 5.4.4: "The LCCE with the lower value "wins" and MUST send a
// CDN with result code set to 13 (as defined in Section 5.4.2) in response to the
// losing ICRQ or OCRQ." And: "In the case in which a tie is detected, tie breakers
// are sent by both sides, and the tie breaker values are equal, both sides MUST
// discard their sessions and restart session negotiation with new random tie
// breaker values." And: "If neither side issues a tie breaker, then both sides
// MUST tear down the session."
func TestSessionTie(t *testing.T) {
	for _, v := range []struct {
		name   string
		ours   CircuitConfig
		theirs func(c wire.CallRequest) wire.Message
	}{
		{"ICRQ and ICRQ", office(true), func(c wire.CallRequest) wire.Message { return &wire.ICRQ{CallRequest: c} }},
		{"OCRQ and OCRQ", outgoing(), func(c wire.CallRequest) wire.Message { return &wire.OCRQ{CallRequest: c} }},
	} {
		t.Run(v.name, func(t *testing.T) {
			type ask struct {
				*wire.CallRequest
			}
			request := func(s *dialogue) ask {
				s.t.Helper()
				if v.ours.Outgoing {
					return ask{&get[*wire.OCRQ](s).CallRequest}
				}
				return ask{&get[*wire.ICRQ](s).CallRequest}
			}
			begin := func(none bool) (*dialogue, ask) {
				k := v.ours
				k.NoTieBreaker = none
				s := tell(t, dials(k)).answer()
				q := request(s)
				if q.TieBreaker.Set == none {
					t.Errorf("tie breaker %v", q.TieBreaker)
				}
				s.told = nil
				return s, q
			}
			theirs := func(tie ...uint64) wire.Message {
				c := call(9)
				if len(tie) > 0 {
					c.TieBreaker = wire.Some(tie[0])
				}
				return v.theirs(c)
			}
			won := func(s *dialogue) {
				t.Helper()
				m := get[*wire.CDN](s)
				s.wantResult(m.Result, wire.CDNTieBreaker, 0, "")
				if m.RemoteSessionID != 9 {
					t.Errorf("%+v", m)
				}
				s.quiet()
				s.wantSession(WaitReply)
			}
			lost := func(s *dialogue, q ask) {
				t.Helper()
				if v.ours.Outgoing {
					p := get[*wire.OCRP](s)
					get[*wire.OCCN](s)
					if p.LocalSessionID == q.LocalSessionID {
						t.Error("the ID of the session that gave way")
					}
				} else {
					p := get[*wire.ICRP](s)
					s.send(iccn(9, p.LocalSessionID))
				}
				s.quiet()
				s.wantEvents("session open, session up")
				if len(s.sessions) != 1 {
					t.Errorf("%d sessions", len(s.sessions))
				}
				// The peer rejects ours, which is gone already.
				s.send(&wire.CDN{LocalSessionID: 8, RemoteSessionID: q.LocalSessionID, Result: wire.Result{Code: wire.CDNTieBreaker}})
				s.quiet()
				s.wantSession(Established)
				s.ack()
				s.after(50 * time.Second)
				s.quiet()
			}
			s, q := begin(false)
			s.send(theirs(q.TieBreaker.Value + 1))
			won(s)
			s, q = begin(false)
			s.send(theirs(q.TieBreaker.Value - 1))
			lost(s, q)
			s, _ = begin(false)
			s.send(theirs())
			won(s)
			s, q = begin(true)
			s.send(theirs(1<<64 - 1))
			lost(s, q)

			s, q = begin(false)
			s.send(theirs(q.TieBreaker.Value))
			s.quiet()
			s.wantSession(Idle)
			s.after(200 * time.Millisecond)
			if again := request(s); again.TieBreaker == q.TieBreaker || !again.TieBreaker.Set || again.LocalSessionID == q.LocalSessionID {
				t.Errorf("%+v, again", again)
			}

			s, q = begin(true)
			s.send(theirs())
			m := get[*wire.CDN](s)
			if m.LocalSessionID != q.LocalSessionID || m.RemoteSessionID != 0 {
				t.Errorf("%+v", m)
			}
			s.ack()
			if m = get[*wire.CDN](s); m.RemoteSessionID != 9 {
				t.Errorf("%+v", m)
			}
			s.ack()
			s.wantSession(Idle)
		})
	}
}

// TestNotAcceptable refuses what cannot be, each with its result. RFC 3931 section
// 5.4.4: "Attempts to do so MUST result in the call being rejected via a CDN with
// the Result Code set to 14 (see Section 5.4.2)." And: "If sequencing is requested
// without requesting a L2-Specific Sublayer AVP, the session MUST be disconnected
// with a Result Code of 15 (see Section 5.4.2)."
func TestNotAcceptable(t *testing.T) {
	k := office(false)
	k.PeerCookieSize = 4
	other := CircuitConfig{Name: "vlan", RemoteEndID: []byte("vlan"), Pseudowire: pseudowire.EthernetVLAN}
	four, _ := cookie.FromBytes([]byte{1, 2, 3, 4})
	for _, v := range []struct {
		name   string
		change func(m *wire.ICRQ)
		code   wire.ResultCode
		err    wire.ErrorCode
		text   string
	}{
		{"a type that was not offered", func(m *wire.ICRQ) { m.PseudowireType = pseudowire.HDLC }, 14, 0, "hdlc"},
		{"a type of another circuit", func(m *wire.ICRQ) { m.PseudowireType = pseudowire.EthernetVLAN }, 14, 0, "ethernet"},
		{"sequencing, no sublayer", func(m *wire.ICRQ) { m.Sequencing = pseudowire.AllSequencing }, 15, 0, ""},
		{"an unknown level", func(m *wire.ICRQ) { m.Sequencing, m.Sublayer = 3, 1 }, 2, wire.ErrorRange, "Sequencing"},
		{"no such end", func(m *wire.ICRQ) { m.RemoteEndID = []byte("nowhere") }, 5, 0, `"nowhere"`},
		{"no cookie", func(m *wire.ICRQ) { m.Cookie = cookie.Cookie{} }, 5, 0, "cookie"},
		{"an unknown sublayer", func(m *wire.ICRQ) { m.Sublayer = 7 }, 5, 0, "ublayer"},
	} {
		s := tell(t, accepts(k, other)).establish()
		m := icrq(9)
		m.Cookie = four
		v.change(m)
		s.send(m)
		c := get[*wire.CDN](s)
		if c.RemoteSessionID != 9 || c.LocalSessionID == 0 {
			t.Errorf("%s: %+v", v.name, c)
		}
		s.wantResult(c.Result, v.code, v.err, v.text)
		s.wantState(Established)
		if len(s.sessions) != 0 {
			t.Errorf("%s: a session is left", v.name)
		}
	}

	// The same in an ICRP, and in an ICCN.
	k.Initiate = true
	for _, v := range []struct {
		change func(m *wire.ICRP)
		code   wire.ResultCode
	}{
		{func(m *wire.ICRP) { m.Sequencing = pseudowire.AllSequencing }, 15},
		{func(m *wire.ICRP) { m.Cookie = cookie.Cookie{} }, 5},
		{func(m *wire.ICRP) { m.Sublayer = 7 }, 5},
	} {
		s := tell(t, dials(k)).answer()
		p := icrp(9, get[*wire.ICRQ](s))
		p.Cookie = four
		v.change(p)
		s.send(p)
		c := get[*wire.CDN](s)
		s.wantResult(c.Result, v.code, 0, "")
		if c.RemoteSessionID != 9 {
			t.Errorf("%+v", c)
		}
		if e := s.event(SessionDown); e.Next.IsZero() || !strings.Contains(e.Reason, fmt.Sprintf("result %d", v.code)) {
			t.Errorf("%+v", e)
		}
	}
	s := tell(t, accepts(office(false))).establish()
	s.send(icrq(9))
	n := iccn(9, get[*wire.ICRP](s).LocalSessionID)
	n.Sequencing = wire.Some(pseudowire.AllSequencing)
	s.send(n)
	s.wantResult(get[*wire.CDN](s).Result, 15, 0, "")
}

// RFC 3931 section 5.4.4: "A peer MUST NOT request an incoming or outgoing call
// with a PW Type AVP specifying a value not advertised in the PW Capabilities List
// AVP it received during control connection establishment."
func TestNotOffered(t *testing.T) {
	s := tell(t, dials(office(true)))
	s.peer.Capabilities = []pseudowire.Type{pseudowire.PPP}
	s.answer()
	s.ack()
	s.quiet()
	if e := s.event(SessionDown); !strings.Contains(e.Reason, "does not offer ethernet") {
		t.Errorf("%q", e.Reason)
	}
}

// RFC 3931 section 5.4.4: "By default, the LAC-LAC cross-connect application (see
// Section 2(b)) of L2TP over an IP network MUST utilize the Router ID AVP and
// Remote End ID AVP to associate a circuit to an L2TP session."
func TestRemoteEndID(t *testing.T) {
	a, b := office(false), office(false)
	b.Name, b.RemoteEndID, b.OtherEndID = "lab", []byte("7"), []byte{0, 0, 0, 7}
	cfg := accepts(a, b)
	cfg.PeerRouterID = 2
	s := tell(t, cfg).establish()
	for i, v := range []struct{ end, session string }{{"office", "there/office"}, {"7", "there/lab"}, {"\x00\x00\x00\x07", "there/lab"}} {
		m := icrq(uint32(9 + i))
		m.RemoteEndID = []byte(v.end)
		s.send(m)
		p := get[*wire.ICRP](s)
		s.send(iccn(uint32(9+i), p.LocalSessionID))
		if e := s.event(SessionUp); e.Session != v.session || !slices.Contains([]string{"office", "7"}, string(e.EndID)) {
			t.Errorf("%q is %s", v.end, e.Session)
		}
		s.quiet()
	}
}

// TestSessionTemplate has the peer name circuits that nobody configured.
func TestSessionTemplate(t *testing.T) {
	k := office(false)
	k.Name, k.RemoteEndID, k.AnyEndID = "any", nil, true
	s := tell(t, accepts(k)).establish()
	ask := func(id uint32, end string) *wire.ICRQ {
		m := icrq(id)
		m.RemoteEndID = []byte(end)
		return m
	}
	s.told = nil
	s.send(ask(9, "a/b"))
	p := get[*wire.ICRP](s)
	if e := s.event(SessionAdded); e.Session != "there/any:a_b" || string(e.EndID) != "a/b" || e.Circuit.Name != "any" {
		t.Errorf("%+v", e)
	}
	s.send(iccn(9, p.LocalSessionID))
	s.event(SessionUp)
	s.quiet()
	// Another one whose name would be the same.
	s.send(ask(10, "a b"))
	p2 := get[*wire.ICRP](s)
	e := s.event(SessionAdded)
	if e.Session == "there/any:a_b" || !strings.HasPrefix(e.Session, "there/any:a_b") {
		t.Errorf("%+v", e)
	}
	s.send(iccn(10, p2.LocalSessionID))
	s.event(SessionUp)
	s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: p.LocalSessionID, Result: wire.Result{Code: 3}})
	s.wantEvents("session down, session removed")
	s.send(&wire.CDN{LocalSessionID: 10, RemoteSessionID: p2.LocalSessionID, Result: wire.Result{Code: 3}})
	s.wantEvents("session down, session removed")
	s.quiet()
	// What is refused leaves nothing.
	for i := range 50 {
		m := ask(uint32(100+i), fmt.Sprint("end", i))
		m.PseudowireType = pseudowire.EthernetVLAN
		s.send(m)
		get[*wire.CDN](s)
	}
	if n := len(s.circuits) + len(s.tunnels["there"].circuits) + len(s.tunnels["there"].byEnd); n != 0 {
		t.Errorf("%d circuits left", n)
	}
	// Both sides' rollovers meet, and ours loses with the session it was for.
	s.send(ask(20, "x"))
	p = get[*wire.ICRP](s)
	s.send(iccn(20, p.LocalSessionID))
	s.quiet()
	if err := s.Roll(s.now, "there/any:x"); err != nil {
		t.Fatal(err)
	}
	s.drain()
	q := get[*wire.ICRQ](s)
	s.send(&wire.CDN{LocalSessionID: 20, RemoteSessionID: p.LocalSessionID, Result: wire.Result{Code: 3}})
	m := ask(21, "x")
	m.TieBreaker = wire.Some(q.TieBreaker.Value - 1)
	s.send(m)
	p = get[*wire.ICRP](s)
	s.send(iccn(21, p.LocalSessionID))
	s.event(SessionUp)
	if err := s.Roll(s.now, "there/any:x"); err != nil {
		t.Errorf("the circuit is forgotten while it has a session: %v", err)
	}
}

// TestTakeover has the peer ask for another session while one is established: it
// takes over, and the former goes on to receive for a while.
func TestTakeover(t *testing.T) {
	s := tell(t, accepts(office(false))).establish()
	first := s.called(9)
	s.told = nil
	s.send(icrq(10))
	p := get[*wire.ICRP](s)
	s.wantEvents("session open")
	if !s.session().TakingOver {
		t.Error("not taking over")
	}
	// A third is one too many.
	s.send(icrq(11))
	s.wantResult(get[*wire.CDN](s).Result, wire.CDNTemporary, 0, "another")
	s.told = nil
	s.send(iccn(10, p.LocalSessionID))
	if e := s.event(SessionUp); e.Former != first || e.Params.SessionID != p.LocalSessionID {
		t.Errorf("%+v", e)
	}
	s.quiet()
	// The peer ends it, or we do in the end.
	s.after(30*time.Second - 1)
	s.quiet()
	s.after(1)
	c := get[*wire.CDN](s)
	if c.LocalSessionID != first || c.RemoteSessionID != 9 {
		t.Errorf("%+v", c)
	}
	s.wantResult(c.Result, wire.CDNAdministrative, 0, "taken over")
	if e := s.event(SessionDown); e.Params.SessionID != first {
		t.Errorf("%+v", e)
	}
	s.ack()
	// One that fails changes nothing.
	s.send(icrq(12))
	p = get[*wire.ICRP](s)
	s.send(&wire.CDN{LocalSessionID: 12, RemoteSessionID: p.LocalSessionID, Result: wire.Result{Code: 3}})
	s.quiet()
	s.wantSession(Established)
	if got := s.session().Params.PeerSessionID; got != 10 {
		t.Errorf("session %d, want 10", got)
	}
}

// TestUnfinishedIsNotTakenOver has the peer complete the second of two requests
// before the first: the first was never in use, and is closed.
func TestUnfinishedIsNotTakenOver(t *testing.T) {
	s := tell(t, accepts(office(false))).establish()
	s.send(icrq(9))
	p := get[*wire.ICRP](s)
	s.send(icrq(10))
	p2 := get[*wire.ICRP](s)
	s.told = nil
	s.send(iccn(10, p2.LocalSessionID))
	if c := get[*wire.CDN](s); c.LocalSessionID != p.LocalSessionID || c.RemoteSessionID != 9 {
		t.Errorf("%+v", c)
	}
	s.wantEvents("session down, session up")
	s.send(iccn(9, p.LocalSessionID))
	s.quiet()
	s.wantEvents("")
	if got := s.session(); got.State != Established || got.Params.PeerSessionID != 10 || len(s.sessions) != 1 {
		t.Errorf("%+v", got)
	}
	s.after(time.Minute)
	s.wantSession(Established)
}

// TestRoll has the LCCE take over, with new IDs and cookies.
func TestRoll(t *testing.T) {
	k := office(true)
	k.CookieLifetime, k.Overlap = time.Hour, 2*time.Second
	s := tell(t, dials(k)).answer()
	s.cfg.Hello = 0
	q := get[*wire.ICRQ](s)
	if err := s.Roll(s.now, "there/office"); err == nil {
		t.Error("a session that is not there yet is taken over")
	}
	s.send(icrp(9, q))
	get[*wire.ICCN](s)
	s.ack()
	up := s.event(SessionUp)
	// Live for an hour or so.
	for s.now.Sub(start) < 44*time.Minute {
		s.Heard("there", s.now)
		s.after(50 * time.Second)
	}
	s.quiet()
	for len(s.sent) == 0 && s.now.Sub(start) < 80*time.Minute {
		s.Heard("there", s.now)
		s.after(50 * time.Second)
	}
	s.sent = s.sent[:1]
	q2 := get[*wire.ICRQ](s)
	if q2.LocalSessionID == q.LocalSessionID || q2.Cookie == q.Cookie || string(q2.RemoteEndID) != "office" {
		t.Errorf("%+v", q2)
	}
	if err := s.Roll(s.now, "there/office"); err == nil {
		t.Error("two take over at once")
	}
	s.send(icrp(10, q2))
	get[*wire.ICCN](s)
	s.ack()
	if e := s.event(SessionUp); e.Former != up.Params.SessionID {
		t.Errorf("%+v", e)
	}
	s.after(2*time.Second - 1)
	s.quiet()
	s.after(1)
	if c := get[*wire.CDN](s); c.RemoteSessionID != 9 {
		t.Errorf("%+v", c)
	}
	s.ack()
	// One that the peer refuses leaves the session as it is.
	if err := s.Roll(s.now, "there/office"); err != nil {
		t.Fatal(err)
	}
	s.drain()
	q = get[*wire.ICRQ](s)
	s.send(&wire.CDN{LocalSessionID: 3, RemoteSessionID: q.LocalSessionID, Result: wire.Result{Code: wire.CDNTemporary}})
	s.quiet()
	s.wantSession(Established)
	if got := s.session(); got.Params.PeerSessionID != 10 || got.Rollover.IsZero() {
		t.Errorf("%+v", got)
	}
	if err := s.Roll(s.now, "there/nothing"); err == nil {
		t.Error("rolled nothing")
	}
}

// TestCircuitStatus tells the peer of the circuit's changes, and the owner of the
// peer's. RFC 3931 section 6.14.
func TestCircuitStatus(t *testing.T) {
	n := here()
	n.Active = false
	s := tellNode(t, n, accepts(office(false))).establish()
	s.send(icrq(9))
	p := get[*wire.ICRP](s)
	if p.Status != wire.CircuitNew {
		t.Errorf("%v", p.Status)
	}
	s.SetCircuit(s.now, "there/office", wire.CircuitActive) // before the session is there
	s.drain()
	s.quiet()
	s.send(iccn(9, p.LocalSessionID))
	if i := get[*wire.SLI](s); i.Status != wire.Some(wire.CircuitActive) {
		t.Errorf("%+v", i)
	}
	s.ack()
	s.SetCircuit(s.now, "there/office", wire.CircuitActive) // nothing new
	s.drain()
	s.quiet()
	s.SetCircuit(s.now, "there/office", wire.CircuitReceiveFault|wire.CircuitEgressFault)
	s.drain()
	if i := get[*wire.SLI](s); i.Status.Value != wire.CircuitReceiveFault|wire.CircuitEgressFault {
		t.Errorf("%+v", i)
	}
	s.told = nil
	sli := func(status wire.CircuitStatus) *wire.SLI {
		return &wire.SLI{LocalSessionID: 9, RemoteSessionID: p.LocalSessionID, Status: wire.Some(status)}
	}
	s.send(sli(wire.CircuitStandby))
	if e := s.event(SessionCircuit); e.Status != wire.CircuitStandby {
		t.Errorf("%+v", e)
	}
	s.send(sli(wire.CircuitStandby))
	s.send(sli(wire.CircuitStandby | wire.CircuitNew))
	s.send(&wire.SLI{LocalSessionID: 9, RemoteSessionID: p.LocalSessionID})
	s.send(&wire.SLI{LocalSessionID: 4242, RemoteSessionID: 4343, Status: wire.Some(wire.CircuitActive)})
	s.wantEvents("")
	s.send(&wire.WEN{LocalSessionID: 9, RemoteSessionID: p.LocalSessionID, Errors: wire.CircuitErrors{TimeoutErrors: 8}})
	if e := s.event(SessionErrors); e.Errors.TimeoutErrors != 8 {
		t.Errorf("%+v", e)
	}
	s.quiet()
	if got := s.session(); got.PeerStatus&wire.CircuitStandby == 0 || got.Status != wire.CircuitReceiveFault|wire.CircuitEgressFault {
		t.Errorf("%+v", got)
	}
	// What changed since the ICRQ is in the ICCN.
	s = tellNode(t, n, dials(office(true))).answer()
	q := get[*wire.ICRQ](s)
	s.SetCircuit(s.now, "there/office", wire.CircuitActive)
	s.send(icrp(9, q))
	if m := get[*wire.ICCN](s); m.Status != wire.Some(wire.CircuitActive) {
		t.Errorf("%+v", m)
	}
}

// RFC 3931 section 7.4: "The LAC MUST respond to the OCRQ with an OCRP once it
// determines that the proper facilities exist to place the call and that the call
// is administratively authorized." And section 7.4.2: "If the LAC receives a CDN
// from the peer, the call MUST be released via appropriate mechanisms, and the
// session cleaned up." And: "If the call is disconnected because the circuit
// transitions to a "disconnected" or "down" state, the LAC MUST send a CDN to the
// peer and return to idle state."
func TestOutgoingCall(t *testing.T) {
	n := here()
	n.Active = false
	ocrq := &wire.OCRQ{CallRequest: call(9)}
	s := tellNode(t, n, accepts(office(false))).establish()
	s.send(ocrq)
	p := get[*wire.OCRP](s)
	s.quiet()
	s.wantSession(WaitCSAnswer)
	s.ack()
	s.after(10 * time.Second)
	s.quiet()
	s.SetCircuit(s.now, "there/office", wire.CircuitActive)
	s.drain()
	if m := get[*wire.OCCN](s); m.RemoteSessionID != 9 || m.LocalSessionID != p.LocalSessionID || m.Status != wire.Some(wire.CircuitActive) {
		t.Errorf("%+v", m)
	}
	s.event(SessionUp)
	s.ack()
	s.SetCircuit(s.now, "there/office", 0)
	s.drain()
	m := get[*wire.CDN](s)
	s.wantResult(m.Result, wire.CDNCarrier, 0, "")
	if m.RemoteSessionID != 9 {
		t.Errorf("%+v", m)
	}
	s.ack()
	s.quiet()
	s.wantSession(Idle)

	// The peer's CDN.
	s.SetCircuit(s.now, "there/office", wire.CircuitActive)
	s.send(ocrq)
	p = get[*wire.OCRP](s)
	get[*wire.OCCN](s)
	s.told = nil
	s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: p.LocalSessionID, Result: wire.Result{Code: 3}})
	s.quiet()
	s.wantEvents("session down")
	s.wantSession(Idle)

	// A call that cannot be placed.
	s = tellNode(t, n, accepts(office(false))).establish()
	s.send(ocrq)
	get[*wire.OCRP](s)
	s.ack()
	s.after(30*time.Second - 1)
	s.quiet()
	s.after(1)
	s.wantResult(get[*wire.CDN](s).Result, wire.CDNStateMachine, 0, "wait-cs-answer")
	s.wantSession(Idle)

	// As the one who asks.
	s = tell(t, dials(outgoing())).answer()
	q := get[*wire.OCRQ](s)
	s.told = nil
	s.send(&wire.OCRP{CallReply: icrp(9, &wire.ICRQ{CallRequest: q.CallRequest}).CallReply})
	s.quiet()
	s.wantEvents("session open")
	s.wantSession(WaitConnect)
	s.send(&wire.OCCN{CallConnected: iccn(9, q.LocalSessionID).CallConnected})
	s.quiet()
	s.wantEvents("session up")
}

// TestSessionSetupTimeout has the peer not complete sessions, each in its own time.
func TestSessionSetupTimeout(t *testing.T) {
	a, b := office(true), office(true)
	b.Name, b.RemoteEndID = "lab", []byte("lab")
	s := tell(t, accepts(office(false))).establish()
	s.send(icrq(9))
	get[*wire.ICRP](s)
	s.ack()
	s.after(30*time.Second - 1)
	s.quiet()
	s.after(1)
	m := get[*wire.CDN](s)
	s.wantResult(m.Result, wire.CDNStateMachine, 0, "wait-connect")
	if m.RemoteSessionID != 9 {
		t.Errorf("%+v", m)
	}

	// One that has come further does not hide one that has not.
	a.Outgoing = true
	cfg := dials(a, b)
	cfg.Retries = 100
	s = tell(t, cfg).answer()
	o := get[*wire.OCRQ](s)
	s.ack()
	get[*wire.ICRQ](s)
	s.ack()
	s.after(20 * time.Second)
	s.send(&wire.OCRP{CallReply: wire.CallReply{LocalSessionID: 9, RemoteSessionID: o.LocalSessionID}})
	s.quiet()
	s.after(10 * time.Second)
	get[*wire.CDN](s)
	s.ack()
	if m := get[*wire.CDN](s); m.RemoteSessionID != 0 {
		t.Errorf("%+v", m)
	}
}

// TestSessionRedial has the LCCE ask again for a session that is refused, ever
// less often.
func TestSessionRedial(t *testing.T) {
	cfg := TunnelConfig{Dial: true, Circuits: []CircuitConfig{office(true)}}
	s := tell(t, cfg).answer()
	for i := range 30 {
		q := get[*wire.ICRQ](s)
		s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: q.LocalSessionID, Result: wire.Result{Code: wire.CDNTemporary}})
		s.quiet()
		e := s.event(SessionDown)
		want := time.Minute
		if i < 6 {
			want = time.Second << i
		}
		if d := e.Next.Sub(s.now); d < want*3/4 || d > want*5/4 {
			t.Fatalf("wait %d: %v, want about %v", i, d, want)
		}
		s.Heard("there", e.Next)
		s.after(e.Next.Sub(s.now))
	}
	// One that lasted begins from the least.
	q := get[*wire.ICRQ](s)
	s.send(icrp(9, q))
	get[*wire.ICCN](s)
	s.ack()
	for range 3 {
		s.Heard("there", s.now)
		s.after(50 * time.Second)
	}
	s.told = nil
	s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: q.LocalSessionID, Result: wire.Result{Code: wire.CDNTemporary}})
	if d := s.event(SessionDown).Next.Sub(s.now); d > 1250*time.Millisecond {
		t.Errorf("wait %v after a session that lasted", d)
	}
}

// TestSessionLimit bounds a connection's sessions, on both sides.
func TestSessionLimit(t *testing.T) {
	k := office(false)
	k.AnyEndID, k.RemoteEndID = true, nil
	cfg := accepts(k)
	cfg.SessionLimit = 3
	s := tell(t, cfg).establish()
	for i := range 5 {
		m := icrq(uint32(9 + i))
		m.RemoteEndID = []byte{'a' + byte(i)}
		s.send(m)
		if i < 3 {
			get[*wire.ICRP](s)
		} else {
			s.wantResult(get[*wire.CDN](s).Result, wire.CDNError, wire.ErrorResources, "3 sessions")
		}
	}
	a, b := office(true), office(true)
	b.Name, b.RemoteEndID = "lab", []byte("lab")
	cfg = dials(a, b)
	cfg.SessionLimit = 1
	s = tell(t, cfg).answer()
	get[*wire.ICRQ](s)
	s.ack()
	s.quiet()
	if e := s.event(SessionDown); e.Session != "there/lab" || !strings.Contains(e.Reason, "limit") {
		t.Errorf("%+v", e)
	}
}

// TestReserve keeps the IDs of static sessions free.
func TestReserve(t *testing.T) {
	n := here()
	calls := 0
	var fixed func([]byte)
	n.Random = func(b []byte) {
		if fixed != nil && len(b) == 8 {
			fixed(b)
			return
		}
		for i := range b {
			b[i] = byte(i + calls)
		}
		calls++
	}
	s := tellNode(t, n, accepts(office(false))).establish()
	s.Reserve(5)
	ids := []byte{0, 5, 5, 6}
	fixed = func(b []byte) {
		if len(ids) == 0 {
			t.Fatal("more IDs drawn")
		}
		copy(b, []byte{0, 0, 0, 0, 0, 0, 0, ids[0]})
		ids = ids[1:]
	}
	s.tunnels["there"].circuits[0].cfg.CookieSize = 0
	s.send(icrq(9))
	if p := get[*wire.ICRP](s); p.LocalSessionID != 6 {
		t.Errorf("session %d, want 6", p.LocalSessionID)
	}
}

// TestSessionDownAndUp closes a session by command and opens it again.
func TestSessionDownAndUp(t *testing.T) {
	s := tell(t, accepts(office(false))).establish()
	s.called(9)
	s.told = nil
	if err := s.Down(s.now, "there/office"); err != nil {
		t.Fatal(err)
	}
	s.drain()
	s.wantResult(get[*wire.CDN](s).Result, wire.CDNAdministrative, 0, "by command")
	s.wantEvents("session down")
	s.send(icrq(10))
	s.wantResult(get[*wire.CDN](s).Result, wire.CDNAdministrative, 0, "by command")
	if !s.session().Down {
		t.Error("not down")
	}
	if err := s.Up(s.now, "there/office"); err != nil {
		t.Fatal(err)
	}
	s.drain()
	s.quiet()
	s.called(11)

	s = tell(t, dials(office(true))).answer()
	get[*wire.ICRQ](s)
	s.ack()
	_ = s.Down(s.now, "there/office")
	s.drain()
	get[*wire.CDN](s)
	s.ack()
	s.after(50 * time.Second)
	s.quiet()
}

// TestSessionsOfOthers wants a connection's messages not to reach another's
// sessions.
func TestSessionsOfOthers(t *testing.T) {
	s := tell(t, accepts(office(false))).establish()
	ours := s.called(9)
	o := *s
	o.at = from("192.0.2.3:1701")
	o.id, o.ns, o.nr = 0, 0, 0
	o.tunnel(TunnelConfig{Name: "other"})
	o.send(o.request())
	get[*wire.SCCRP](&o)
	o.send(&wire.SCCCN{})
	o.event(TunnelUp)
	o.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: ours, Result: wire.Result{Code: 3}})
	o.send(&wire.SLI{LocalSessionID: 9, RemoteSessionID: ours, Status: wire.Some(wire.CircuitStandby)})
	o.send(&wire.WEN{LocalSessionID: 9, RemoteSessionID: ours})
	o.send(iccn(9, ours))
	o.quiet()
	o.wantEvents("")
	o.send(icrp(5, &wire.ICRQ{CallRequest: wire.CallRequest{LocalSessionID: ours}}))
	if c := get[*wire.CDN](&o); c.RemoteSessionID != 5 || c.LocalSessionID == ours {
		t.Errorf("%+v", c)
	}
	s.wantSession(Established)
}

// TestTwoSessionsOfOneID has the peer give an ID that it has given before.
func TestTwoSessionsOfOneID(t *testing.T) {
	b := office(true)
	b.Name, b.RemoteEndID = "lab", []byte("lab")
	s := tell(t, dials(office(true), b)).answer()
	q := get[*wire.ICRQ](s)
	s.ack()
	q2 := get[*wire.ICRQ](s)
	s.send(icrp(9, q))
	get[*wire.ICCN](s)
	s.send(icrp(9, q2))
	s.wantResult(get[*wire.CDN](s).Result, wire.CDNError, wire.ErrorSessionID, "another")
	s.wantSession(Established)
	// The request of an ID that is in use is one in the wrong state.
	s.send(icrq(9))
	s.wantResult(get[*wire.CDN](s).Result, wire.CDNStateMachine, 0, "ICRQ in state established")
	s.wantSession(Idle)
}

// TestCookies wants each session to have its own, of the size that is configured.
func TestCookies(t *testing.T) {
	seen := make(map[string]bool)
	for _, size := range []int{0, 4, 8} {
		k := office(false)
		k.CookieSize = size
		s := tell(t, accepts(k)).establish()
		for i := range 3 {
			s.send(icrq(uint32(9 + i)))
			p := get[*wire.ICRP](s)
			s.send(&wire.CDN{LocalSessionID: uint32(9 + i), RemoteSessionID: p.LocalSessionID, Result: wire.Result{Code: 3}})
			octets := p.Cookie.Append(nil)
			if len(octets) != size || size > 0 && (seen[string(octets)] || bytes.Equal(octets, make([]byte, size))) {
				t.Errorf("%x, want %d octets of its own", octets, size)
			}
			seen[string(octets)] = true
		}
	}
}

// TestSessionAddedTellsThePeer wants the peer in the events by which the sessions of
// a template's instance come to be: their devices are named by it.
func TestSessionAddedTellsThePeer(t *testing.T) {
	n := newNetwork(t, 1)
	a, b := n.node(1, "a"), n.node(2, "b")
	b.tunnel(a, TunnelConfig{Name: "any", Many: true, Circuits: []CircuitConfig{office(false)}})
	a.tunnel(b, TunnelConfig{Name: "b", Dial: true, Circuits: []CircuitConfig{office(true)}})
	n.after(2 * time.Second)
	n.mirrored(a, "b/office", b, "any:a/office")
	for _, e := range b.events {
		if e.Kind == SessionAdded && (e.Peer.HostName != "a" || !e.Address.Peer.IsValid() || e.Template != "any") {
			t.Errorf("%+v", e)
		}
	}
}
