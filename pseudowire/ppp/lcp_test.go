package ppp

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// TestHeader wants the four forms of a header, RFC 1661 sections 6.5 and 6.6.
func TestHeader(t *testing.T) {
	for _, v := range []struct {
		frame string
		p     Protocol
		n     int
	}{
		{"ff 03 00 21 45", IPv4, 4},
		{"ff 03 21 45", IPv4, 3},
		{"00 21 45", IPv4, 2},
		{"21 45", IPv4, 1},
		{"57", IPv6, 1},
		{"c0 21 01", LCP, 2},
		{"ff 03 c0 21", LCP, 4},
		{"00 fd 90 00", Compressed, 2},
		{"00 20 01", 0x0020, 2}, // no protocol has such a number: it is unknown
		{"", 0, 0}, {"ff 03", 0, 0}, {"c0", 0, 0}, {"ff 03 c0", 0, 0},
		{"ff", 0xff, 1},
	} {
		if p, n := header(unhex(t, v.frame)); p != v.p || n != v.n {
			t.Errorf("%s: %v, %d octets; want %v, %d", v.frame, p, n, v.p, v.n)
		}
	}
}

// TestFirstRequest is what a Link says first: MRU, authentication and magic number.
func TestFirstRequest(t *testing.T) {
	d := talk(t, Config{MRU: 1400, Verify: []Method{ByCHAP}})
	magic := d.link.lcp.ours.magic
	d.wantFrame(fmt.Sprintf("ff03 c021 01 01 0013 01 04 0578 03 05 c223 05 05 06 %08x", magic))
	d.wantSilence()
}

// TestMaxConfigure: the Restart timer, and its end.
func TestMaxConfigure(t *testing.T) {
	d := talk(t, Config{Restart: 2 * time.Second, FirstRestart: 300 * time.Millisecond, MaxConfigure: 5})
	var at []time.Duration
	begin := d.now
	id := uint8(0)
	for range 5 {
		p := d.wantSaid(LCP, configureRequest)
		if id != 0 && p.id != id {
			t.Errorf("identifier %d of a retransmission, want %d", p.id, id)
		}
		id = p.id
		at = append(at, d.now.Sub(begin))
		d.wantSilence()
		d.after(d.link.Deadline().Sub(d.now))
	}
	if got, want := fmt.Sprint(at), "[0s 300ms 900ms 2.1s 4.1s]"; got != want {
		t.Errorf("requests at %s, want %s", got, want)
	}
	d.wantClosed(NoAnswer)
}

// TestJudge wants each option of a peer's answered as it should be.
func TestJudge(t *testing.T) {
	cfg := Config{Password: "secret", Prove: []Method{ByMSCHAP2, ByCHAP}}
	for _, v := range []struct {
		options string
		code    uint8
		reply   string // "": the options
	}{
		{"", configureAck, ""},
		{"01 04 05dc", configureAck, ""},
		{"01 04 0400 02 06 000a0000 05 06 01020304 07 02 08 02", configureAck, ""},
		{"01 04 0040", configureNak, "01 04 0080"},
		{"01 03 05", configureNak, "01 04 05dc"},
		{"02 02", configureNak, "02 06 ffffffff"},
		{"03 05 c223 05", configureAck, ""},
		{"03 05 c223 81", configureAck, ""},
		{"03 04 c023", configureNak, "03 05 c223 81"},
		{"03 04 c227", configureNak, "03 05 c223 81"},
		{"03 05 c223 80", configureNak, "03 05 c223 81"},
		{"03 02", configureNak, "03 05 c223 81"},
		{"07 03 00", configureNak, "07 02"},
		{"04 08 c025 00000064", configureReject, ""},
		{"0d 03 06", configureReject, ""},
		// "The use of Configure-Nak versus Configure-Reject": what cannot be is said first.
		{"01 04 0010 11 04 05dc 13 09 03 0011223344 55 03 04 c023", configureReject, "11 04 05dc 13 09 03 0011223344 55"},
		{"01 04 05dc 01 04 0400", configureReject, "01 04 0400"},
	} {
		d := talk(t, cfg)
		d.wantSaid(LCP, configureRequest)
		d.hearPacket(LCP, packet{code: configureRequest, id: 9, data: unhex(t, v.options)})
		want := v.reply
		if want == "" {
			want = v.options
		}
		if p := d.wantSaid(LCP, v.code); p.id != 9 || !bytes.Equal(p.data, unhex(t, want)) {
			t.Errorf("%s: identifier %d, % x, want %s", v.options, p.id, p.data, want)
		}
	}
	// A magic number of zero, or of a wrong length, is not one.
	for _, options := range []string{"05 06 00000000", "05 03 01"} {
		d := talk(t, cfg)
		d.wantSaid(LCP, configureRequest)
		d.hearPacket(LCP, packet{code: configureRequest, id: 9, data: unhex(t, options)})
		if p := d.wantSaid(LCP, configureNak); len(p.data) != 6 || bytes.Equal(p.data[2:], make([]byte, 4)) {
			t.Errorf("%s: % x", options, p.data)
		}
	}
	// Without a password there is nothing to be proved.
	d := talk(t, Config{})
	d.wantSaid(LCP, configureRequest)
	d.hearPacket(LCP, packet{code: configureRequest, id: 9, data: unhex(t, "03 05 c223 05")})
	d.wantSaid(LCP, configureReject)
}

// TestInvalidAnswers: "On reception of a Configure-Ack, the Identifier field MUST match
// that of the last transmitted Configure-Request. Additionally, the Configuration
// Options in a Configure-Ack MUST exactly match those of the last transmitted
// Configure-Request. Invalid packets are silently discarded." RFC 1661 section 5.2.
func TestInvalidAnswers(t *testing.T) {
	d := talk(t, Config{MRU: 1400})
	r := d.wantSaid(LCP, configureRequest)
	other := bytes.Clone(r.data)
	other[len(other)-1] ^= 1
	for _, c := range []packet{
		{configureAck, r.id + 1, r.data},
		{configureAck, r.id, other},
		{configureAck, r.id, r.data[:4]},
		{configureAck, r.id, nil},
		{configureNak, r.id + 1, r.data},
		{configureNak, r.id, nil},
		{configureNak, r.id, []byte{1, 4, 5}},
		{configureReject, r.id, nil},
		{configureReject, r.id, other},
		{configureReject, r.id, append(bytes.Clone(r.data[4:]), r.data[:4]...)},
		{configureReject, r.id, []byte{3, 4, 0xc0, 0x23}},
		{configureRequest, 1, []byte{1, 4, 5}},
		{configureRequest, 1, []byte{1, 1, 5, 6}},
		{configureRequest, 1, []byte{1}},
		{codeReject, 1, nil},
	} {
		d.hearPacket(LCP, c)
		d.wantSilence()
		d.wantState(LCP, ReqSent)
	}
	for _, frame := range []string{"c021 01 01 0003", "c021 01 01 0005", "c021 01", "c021"} {
		d.hear(frame)
		d.wantSilence()
	}
	if s := d.link.Status().Stats; s.Unexpected != 8 || s.Malformed != 11 {
		t.Errorf("%+v", s)
	}
	d.hear("ff03 c021 02 01 000e" + fmt.Sprintf("%x", r.data) + "ffff") // padding is ignored
	d.wantState(LCP, AckRcvd)
	d.hearPacket(LCP, packet{configureAck, r.id, r.data}) // once more
	d.wantState(LCP, AckRcvd)
}

// TestMRU has a peer want a smaller one, a greater one and none.
func TestMRU(t *testing.T) {
	d := talk(t, Config{MRU: 1400})
	r := d.wantSaid(LCP, configureRequest)
	d.hearPacket(LCP, packet{configureNak, r.id, unhex(t, "01 04 0500")})
	r = d.wantSaid(LCP, configureRequest)
	if got := optionOf(t, r.data, optionMRU); !bytes.Equal(got, []byte{5, 0}) {
		t.Errorf("MRU % x, want 05 00", got)
	}
	d.hearPacket(LCP, packet{configureNak, r.id, unhex(t, "01 04 0600")})
	r2 := d.wantSaid(LCP, configureRequest)
	if r2.id == r.id {
		t.Error("the same identifier after a valid reply")
	}
	if got := optionOf(t, r2.data, optionMRU); !bytes.Equal(got, []byte{5, 0}) {
		t.Errorf("MRU % x, want 05 00", got)
	}
	d.hearPacket(LCP, packet{configureReject, r2.id, unhex(t, "01 04 0500")})
	if got := optionOf(t, d.wantSaid(LCP, configureRequest).data, optionMRU); got != nil {
		t.Errorf("MRU % x after it was rejected", got)
	}
}

// TestNoDowngrade has a peer refuse every method that it may choose from: it gets no
// further than the last.
func TestNoDowngrade(t *testing.T) {
	auth := func(d *dialogue) string {
		return fmt.Sprintf("%x", optionOf(t, d.wantSaid(LCP, configureRequest).data, optionAuth))
	}
	for _, v := range []struct {
		liked string // option
		next  string
	}{
		{"03 04 c023", "c22381"},   // PAP is not allowed: the next
		{"03 05 c22305", "c22305"}, // one that is allowed
		{"03 05 c22377", "c22381"}, // nobody knows it
	} {
		d := talk(t, Config{Verify: []Method{ByEAP, ByMSCHAP2, ByCHAP}})
		if got := auth(d); got != "c227" {
			t.Fatalf("asks for %s, want EAP", got)
		}
		d.hearPacket(LCP, packet{configureNak, d.link.lcp.sentID, unhex(t, v.liked)})
		if got := auth(d); got != v.next {
			t.Errorf("after a Nak with %s asks for %s, want %s", v.liked, got, v.next)
		}
	}
	d := talk(t, Config{Verify: []Method{ByEAP, ByMSCHAP2, ByCHAP}})
	for _, want := range []string{"c227", "c22381", "c22305"} {
		if got := auth(d); got != want {
			t.Fatalf("asks for %s, want %s", got, want)
		}
		d.hearPacket(LCP, packet{configureNak, d.link.lcp.sentID, unhex(t, "03 04 c023")})
	}
	d.wantSaid(LCP, terminateRequest)
	d.after(10 * time.Second)
	d.wantClosed(AuthRefused)

	d = talk(t, Config{Verify: []Method{ByPAP}})
	d.wantSaid(LCP, configureRequest)
	d.hearPacket(LCP, packet{configureReject, d.link.lcp.sentID, unhex(t, "03 04 c023")})
	d.wantSaid(LCP, terminateRequest)
	d.hearPacket(LCP, packet{terminateAck, 1, nil})
	d.wantClosed(AuthRefused)
}

// TestLoop joins a Link to itself.
func TestLoop(t *testing.T) {
	for _, failures := range []int{0, 1, 2, 3, 10} {
		d := talk(t, Config{MaxFailure: failures, Verify: []Method{ByCHAP}, Password: "x"})
		for n := 0; ; n++ {
			b, ok := d.link.Transmit(nil)
			if !ok {
				break
			}
			if n > 100 {
				t.Fatal("there is no end to it")
			}
			d.link.Receive(d.now, b)
		}
		d.after(10 * time.Second)
		d.wantClosed(LoopedBack)
	}
}

// opened is a Link whose LCP is opened, and which is as far as it gets.
func opened(t *testing.T, cfg Config) *dialogue {
	t.Helper()
	d := talk(t, cfg)
	d.agree(LCP, "05 06 0a0b0c0d")
	d.wantEvent(LCPUp)
	return d
}

// networked is a Link in the Network phase.
func networked(t *testing.T, cfg Config) *dialogue {
	t.Helper()
	d := opened(t, cfg)
	d.wantEvent(AllAuthenticated)
	return d
}

var ours = IPv4Config{Local: lnsIPv4.Local, Peer: lnsIPv4.Peer}

// TestEcho: "Upon reception of an Echo-Request in the LCP Opened state, an Echo-Reply
// MUST be transmitted." RFC 1661 section 5.8. It has our magic number.
func TestEcho(t *testing.T) {
	d := networked(t, Config{IPv4: ours, IPv6: IPv6Config{Off: true}})
	d.wantSaid(IPCP, configureRequest)
	magic := d.link.lcp.ours.magic
	d.hear("ff03 c021 09 2a 000a 0a0b0c0d 6869")
	d.wantFrame(fmt.Sprintf("ff03 c021 0a 2a 000a %08x 6869", magic))
	d.hear("c021 09 2a 0008 00000000") // SoftEther's
	d.wantSaid(LCP, echoReply)
	for _, frame := range []string{
		"c021 09 2a 0007 0a0b0c",                  // too short
		"c021 0a 2a 0008 0a0b0c0d",                // a reply
		"c021 0b 2a 000a 0a0b0c0d 6869",           // Discard-Request
		"c021 0c 2a 000a 0a0b0c0d 6869",           // Identification
		"c021 0d 2a 000c 0a0b0c0d 00001000",       // Time-Remaining
		"c021 08 2a 0004", "c021 08 2a 0006 80fb", // Protocol-Reject
	} {
		d.hear(frame)
		d.wantSilence()
		d.wantState(LCP, Opened)
	}
}

// TestEchoBeforeOpened: "Echo-Request and Echo-Reply packets received in any state
// other than the LCP Opened state SHOULD be silently discarded."
func TestEchoBeforeOpened(t *testing.T) {
	d := talk(t, Config{})
	d.wantSaid(LCP, configureRequest)
	d.hear("c021 09 2a 0008 00000000")
	d.hear("c021 08 2a 0006 c021") // a Protocol-Reject too
	d.wantSilence()
	d.wantState(LCP, ReqSent)
}

// TestUnknownCode: "Code-Reject packet MUST be transmitted", of no more than the peer's
// MRU.
func TestUnknownCode(t *testing.T) {
	d := talk(t, Config{Verify: []Method{ByCHAP}})
	d.agree(LCP, "01 04 0080")
	d.wantSaid(CHAP, chapChallenge)
	d.hearPacket(LCP, packet{code: 77, id: 3, data: make([]byte, 300)})
	p := d.wantSaid(LCP, codeReject)
	if len(p.data) != 0x80-packetHeaderLen || !bytes.Equal(p.data[:4], []byte{77, 3, 1, 0x30}) {
		t.Errorf("%d octets, % x", len(p.data), p.data[:4])
	}
}

// TestCodesRejected has a peer reject what LCP cannot do without, and what it can.
func TestCodesRejected(t *testing.T) {
	d := networked(t, Config{IPv4: ours, EchoInterval: time.Second})
	drain(d.link)
	d.hearPacket(LCP, packet{codeReject, 1, []byte{echoRequest, 1, 0, 4}})
	d.wantState(LCP, Opened)
	for range 3 {
		d.after(time.Second)
		frames, _ := drain(d.link)
		for _, f := range frames {
			if p, n := header(f); p == LCP && f[n] == echoRequest {
				t.Fatal("an Echo-Request after it was rejected")
			}
		}
	}
	d.hearPacket(LCP, packet{codeReject, 1, []byte{configureRequest, 1, 0, 4}})
	d.wantState(LCP, Stopping)
	d.after(10 * time.Second)
	d.wantClosed(CodesRejected)
	d = talk(t, Config{})
	d.hearPacket(LCP, packet{codeReject, 1, []byte{configureRequest, 1, 0, 4}})
	d.wantClosed(CodesRejected)
}

// TestKeepalive asks a silent peer whether it is there.
func TestKeepalive(t *testing.T) {
	d := networked(t, Config{IPv4: ours, IPv6: IPv6Config{Off: true}, EchoInterval: 10 * time.Second, EchoFailures: 2})
	d.agree(IPCP, "03 06 c000024d")
	d.wantEvent(IPv4Up)
	d.after(10 * time.Second)
	p := d.wantSaid(LCP, echoRequest)
	d.hearPacket(LCP, packet{echoReply, p.id, unhex(t, "0a0b0c0d")})
	d.after(10 * time.Second) // heard of it: not asked
	d.wantSilence()
	d.after(10 * time.Second)
	d.wantSaid(LCP, echoRequest)
	d.hearPacket(LCP, packet{echoReply, 3, p.data}) // our own magic number is no sign of life
	d.after(10 * time.Second)
	d.wantSaid(LCP, echoRequest)
	d.wantNoEvent()
	d.after(10 * time.Second)
	d.wantEvent(IPv4Down)
	d.wantEvent(LCPDown)
	d.wantSaid(LCP, terminateRequest)
	d.after(3 * time.Second)
	d.wantSaid(LCP, terminateRequest)
	d.after(3 * time.Second)
	d.wantClosed(PeerSilent)
	d.wantSilence()
}

// TestTerminate: "Upon reception of a Terminate-Request, a Terminate-Ack MUST be
// transmitted." RFC 1661 section 5.6.
func TestTerminate(t *testing.T) {
	d := networked(t, Config{IPv4: ours})
	drain(d.link)
	d.hear("ff03 c021 05 2a 0009 6279650a80")
	d.wantFrame("ff03 c021 06 2a 0004")
	d.wantState(LCP, Stopping)
	d.hear("ff03 c021 01 2b 0004") // nothing begins again
	d.wantSilence()
	d.after(pause)
	if e := d.wantClosed(ByPeer); e.Message != "bye.." {
		t.Errorf("message %q, want bye..", e.Message)
	}
	d.hear("ff03 c021 01 2b 0004")
	d.wantSilence()
	d.link.Close(d.now)
	d.link.Open(d.now)
	d.wantSilence()
	d.wantNoEvent()
}

// TestCloseBeforeOpen wants an end all the same.
func TestCloseBeforeOpen(t *testing.T) {
	d := &dialogue{t: t, link: newLink(t, Config{}, 1)}
	d.link.Close(d.now)
	d.wantClosed(ByUs)
	d.link.Close(d.now)
	d.link.Open(d.now)
	d.wantNoEvent()
	d.wantSilence()
}

// TestProtocolReject: "Upon reception of a PPP packet with an unknown Protocol field ...
// If the automaton is in the Opened state, then this MUST be reported back to the peer by
// transmitting a Protocol-Reject." RFC 1661 section 5.7.
func TestProtocolReject(t *testing.T) {
	d := talk(t, Config{IPv4: ours, IPv6: IPv6Config{Off: true}})
	d.hear("ff03 80fb 01 01 0004 1234")
	d.wantSaid(LCP, configureRequest)
	d.wantSilence() // not yet
	d = networked(t, Config{IPv4: ours, IPv6: IPv6Config{Off: true}})
	d.wantSaid(IPCP, configureRequest)
	id := uint8(0)
	for _, frame := range []string{"80fb 01 01 0004 1234", "8057 01 01 000e 010a 0102030405060708", "80fd 01 01 000a 12 06 01000040", "003d 1234", "0020 1234"} {
		d.hear("ff03" + frame)
		p := d.wantSaid(LCP, protocolReject)
		if !bytes.Equal(p.data, unhex(t, frame)) {
			t.Errorf("rejected % x, want %s", p.data, frame)
		}
		if p.id == id { // "The Identifier field MUST be changed for each Protocol-Reject sent."
			t.Errorf("identifier %d again", p.id)
		}
		id = p.id
	}
	d.link.lcp.peer.mru = 128
	d.link.Receive(d.now, append([]byte{0x80, 0xfb}, make([]byte, 1000)...))
	if p := d.wantSaid(LCP, protocolReject); len(p.data) != 124 {
		t.Errorf("%d octets of a long packet rejected, want 124", len(p.data))
	}
	// What the peer rejects is not said again, and without a network there is no link.
	d.hear("ff03 c021 08 01 000a 8021 01 01 0004")
	d.wantSaid(LCP, terminateRequest)
	d.after(10 * time.Second)
	d.wantClosed(NoNetwork)
}

// TestFlood wants no more answers than a peer may ask for.
func TestFlood(t *testing.T) {
	d := networked(t, Config{IPv4: ours})
	drain(d.link)
	answers := 0
	for n := range 10000 {
		d.now = d.now.Add(time.Millisecond)
		d.hear("ff03 c021 09 2a 0008 00000000")
		frames, events := drain(d.link)
		answers += len(frames)
		if len(events) > 0 {
			t.Fatalf("after %d: %v", n, events)
		}
	}
	if most := burst + int(10*time.Second/interval) + 1; answers > most || answers < burst {
		t.Errorf("%d answers in 10 s, want %d at most", answers, most)
	}
	if d.link.Status().Stats.Flooded == 0 {
		t.Error("nothing flooded")
	}
}

// TestUndrained wants a bound where nobody takes what is to be sent.
func TestUndrained(t *testing.T) {
	d := networked(t, Config{IPv4: ours})
	for range 1000 {
		d.now = d.now.Add(interval)
		d.hear("ff03 c021 01 2a 0004") // begins again each time
	}
	frames, events := drain(d.link)
	if len(frames) > undrained || len(events) > undrained+8 {
		t.Errorf("%d frames and %d events wait", len(frames), len(events))
	}
}

// TestOptionLoop has a peer that nothing suits: of LCP, and of IPCP.
func TestOptionLoop(t *testing.T) {
	d := talk(t, Config{Setup: time.Hour})
	for n := 0; d.link.phase == Establish; n++ {
		if n > patience {
			t.Fatalf("still at it after %d", n)
		}
		r := d.wantSaid(LCP, configureRequest)
		d.hearPacket(LCP, packet{configureNak, r.id, unhex(t, "05 06 01020304")})
	}
	d.after(10 * time.Second)
	d.wantClosed(Unconverging)

	d = networked(t, Config{IPv4: ours, IPv6: IPv6Config{Off: true}})
	for n := 0; d.link.ipcp.state == ReqSent; n++ {
		if n > patience {
			t.Fatalf("still at it after %d", n)
		}
		r := d.wantSaid(IPCP, configureRequest)
		d.hearPacket(IPCP, packet{configureNak, r.id, unhex(t, "03 06 c0000263")})
	}
	d.after(15 * time.Second)
	d.wantClosed(NoNetwork)
}

// TestSetup wants an end to a peer that goes on for ever without getting anywhere.
func TestSetup(t *testing.T) {
	d := talk(t, Config{Setup: 30 * time.Second})
	for n := 0; d.link.phase != Dead; n++ {
		if n > 100 {
			t.Fatal("no end")
		}
		frames, _ := drain(d.link)
		for _, f := range frames {
			if p, ok := parsePacket(f[HeaderLen:]); ok && p.code == configureRequest {
				d.hearPacket(LCP, packet{configureAck, p.id, p.data}) // and no request
			}
		}
		d.after(time.Second)
	}
	if r := d.link.Status().Reason; r != SetupTimeout {
		t.Errorf("reason %q, want %q", r, SetupTimeout)
	}
}

// TestRenegotiation has the peer begin again in mid-session: it authenticates anew, and
// is given nothing in the meantime.
func TestRenegotiation(t *testing.T) {
	lns, client := pair(ByCHAP, CCPRejected)
	w := join(t, 3, lns, client, noTrouble)
	w.run(20 * time.Second)
	w.wantOpen()
	w.restart(1)
	w.run(20 * time.Second)
	w.wantOpen()
	var kinds []EventKind
	for _, e := range w.events[0] {
		kinds = append(kinds, e.Kind)
	}
	once := []EventKind{LCPUp, PeerProof, AllAuthenticated, IPv6Up, IPv4Up}
	down := []EventKind{IPv4Down, IPv6Down, LCPDown}
	want := fmt.Sprint(append(append(append([]EventKind{}, once...), down...), once...))
	if got := fmt.Sprint(kinds); got != want {
		t.Errorf("events %s, want %s\n%s", got, want, lines(w.events[0]))
	}
}
