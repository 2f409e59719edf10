package ppp

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"spanwire/pseudowire"
)

// ipcpOnly is a Link in the Network phase that has spoken of IPv4 alone.
func ipcpOnly(t *testing.T, cfg IPv4Config) *dialogue {
	t.Helper()
	return networked(t, Config{IPv4: cfg, IPv6: IPv6Config{Off: true}})
}

// TestIPCPJudge wants each option of a peer's answered as it should be.
func TestIPCPJudge(t *testing.T) {
	given := lnsIPv4
	given.NBNS[0] = netip.MustParseAddr("192.0.2.60")
	for _, v := range []struct {
		cfg     IPv4Config
		options string
		code    uint8
		reply   string // "": the options
	}{
		{given, "03 06 c000024d", configureAck, ""},
		{given, "03 06 00000000", configureNak, "03 06 c000024d"},
		{given, "03 06 c0000205", configureNak, "03 06 c000024d"},
		{given, "03 04 0000", configureNak, "03 06 c000024d"},
		{given, "", configureNak, "03 06 c000024d"},
		{given, "81 06 00000000 82 06 00000000 83 06 00000000", configureNak, "81 06 c0000235 82 06 c000023c 83 06 c0000236 03 06 c000024d"},
		{given, "03 06 c000024d 81 06 c0000235 83 06 c0000236", configureAck, ""},
		{given, "03 06 00000000 84 06 00000000", configureReject, "84 06 00000000"},
		{given, "03 06 00000000 02 06 002d0f01", configureReject, "02 06 002d0f01"},
		{given, "01 0a c000024d c0000201", configureReject, ""},
		{given, "04 06 00000000", configureReject, ""},
		// Without an address to give, the peer's own is taken, if it is one.
		{IPv4Config{Local: given.Local}, "03 06 cb007101", configureAck, ""},
		{IPv4Config{Local: given.Local}, "03 06 00000000", configureReject, ""},
		{IPv4Config{Local: given.Local}, "03 06 c0000201", configureReject, ""}, // it is ours
		{IPv4Config{Local: given.Local}, "03 06 e0000001", configureReject, ""},
		{IPv4Config{Local: given.Local}, "03 06 7f000001", configureReject, ""},
		{IPv4Config{Local: given.Local}, "03 06 ffffffff", configureReject, ""},
		{IPv4Config{Local: given.Local}, "", configureAck, ""},
		{IPv4Config{}, "81 06 00000000", configureReject, ""},
	} {
		d := ipcpOnly(t, v.cfg)
		d.wantSaid(IPCP, configureRequest)
		d.hearPacket(IPCP, packet{code: configureRequest, id: 9, data: unhex(t, v.options)})
		want := v.reply
		if want == "" {
			want = v.options
		}
		if p := d.wantSaid(IPCP, v.code); p.id != 9 || !bytes.Equal(p.data, unhex(t, want)) {
			t.Errorf("%s: identifier %d, % x, want %s", v.options, p.id, p.data, want)
		}
	}
}

// TestStubbornPeer: "Any further Configure-Nak packets for peer requested options are
// converted to Configure-Reject packets, and locally desired options are no longer
// appended."
func TestStubbornPeer(t *testing.T) {
	d := ipcpOnly(t, ours)
	r := d.wantSaid(IPCP, configureRequest)
	d.hearPacket(IPCP, packet{configureAck, r.id, r.data})
	ask := packet{code: configureRequest, data: unhex(t, "03 06 c0000205")}
	for range 5 {
		ask.id++
		for range 3 { // a retransmission is not a refusal
			d.hearPacket(IPCP, ask)
			d.wantSaid(IPCP, configureNak)
		}
	}
	ask.id++
	d.hearPacket(IPCP, ask)
	d.wantSaid(IPCP, configureReject)
	d.hearPacket(IPCP, packet{configureRequest, 99, nil})
	d.wantSaid(IPCP, configureAck)
	if e := d.wantEvent(IPv4Up); e.Peer != ours.Peer {
		t.Errorf("peer %v, want %v: it is given it all the same", e.Peer, ours.Peer)
	}
}

// TestIPCPClient asks for an address and for name servers.
func TestIPCPClient(t *testing.T) {
	d := ipcpOnly(t, clientIPv4)
	r := d.wantSaid(IPCP, configureRequest)
	if want := "03060000000081060000000083060000000 0"; fmt.Sprintf("%x", r.data) != fmt.Sprintf("%x", unhex(t, want)) {
		t.Fatalf("asks % x", r.data)
	}
	d.hearPacket(IPCP, packet{configureReject, r.id, unhex(t, "83 06 00000000")})
	r = d.wantSaid(IPCP, configureRequest)
	d.hearPacket(IPCP, packet{configureNak, r.id, unhex(t, "03 06 c000024d 81 06 c0000235")})
	r = d.wantSaid(IPCP, configureRequest)
	if want := unhex(t, "03 06 c000024d 81 06 c0000235"); !bytes.Equal(r.data, want) {
		t.Fatalf("asks % x, want % x", r.data, want)
	}
	d.hearPacket(IPCP, packet{configureAck, r.id, r.data})
	d.hearPacket(IPCP, packet{configureRequest, 1, unhex(t, "03 06 c0000201")})
	d.wantSaid(IPCP, configureAck)
	e := d.wantEvent(IPv4Up)
	if e.Local != lnsIPv4.Peer || e.Peer != lnsIPv4.Local || e.DNS != [2]netip.Addr{lnsIPv4.DNS[0]} {
		t.Errorf("%+v", e)
	}
	if s := d.link.Status(); s.Local != e.Local || s.Peer != e.Peer || s.DNS != e.DNS {
		t.Errorf("%+v", s)
	}
}

// TestNoAddress has a peer acknowledge that we have none, or refuse to give one: there
// is no IPv4 then, and no link.
func TestNoAddress(t *testing.T) {
	for _, code := range []uint8{configureAck, configureReject} {
		d := ipcpOnly(t, IPv4Config{})
		r := d.wantSaid(IPCP, configureRequest)
		d.hearPacket(IPCP, packet{code, r.id, r.data})
		if code == configureReject {
			r = d.wantSaid(IPCP, configureRequest)
			d.hearPacket(IPCP, packet{configureAck, r.id, r.data})
		}
		d.hearPacket(IPCP, packet{configureRequest, 1, unhex(t, "03 06 c0000201")})
		d.wantSaid(IPCP, configureAck)
		d.wantSaid(IPCP, terminateRequest)
		d.hearPacket(IPCP, packet{terminateAck, 1, nil})
		d.wantSaid(LCP, terminateRequest)
		d.wantEvent(LCPDown)
		d.after(10 * time.Second)
		d.wantClosed(NoNetwork)
	}
}

// TestVerdictNetwork has the verdict say what the peer gets.
func TestVerdictNetwork(t *testing.T) {
	d := askedBy(t, ByPAP, 0)
	d.hearPacket(PAP, papOf(1, "user", "secret"))
	p := d.wantEvent(PeerProof).Proof
	d.link.Authenticated(d.now, p.Serial, Verdict{OK: true, IPv4: &IPv4Config{Off: true}, IPv6: &IPv6Config{Local: InterfaceID{7: 1}}})
	d.wantSaid(PAP, papAck)
	if r := d.wantSaid(IPV6CP, configureRequest); !bytes.Equal(r.data, unhex(t, "01 0a 0000000000000001")) {
		t.Errorf("asks % x", r.data)
	}
	d.hear("8021 01 01 0004")
	d.wantSaid(LCP, protocolReject)
	// Addresses that cannot be are no verdict.
	d = askedBy(t, ByPAP, 0)
	d.hearPacket(PAP, papOf(1, "user", "secret"))
	p = d.wantEvent(PeerProof).Proof
	d.link.Authenticated(d.now, p.Serial, Verdict{OK: true, IPv4: &IPv4Config{Peer: netip.MustParseAddr("2001:db8::1")}})
	d.wantSaid(PAP, papNak)
}

// ipv6cpOnly is a Link in the Network phase that has spoken of IPv6 alone.
func ipv6cpOnly(t *testing.T, cfg IPv6Config) *dialogue {
	t.Helper()
	return networked(t, Config{IPv4: IPv4Config{Off: true}, IPv6: cfg})
}

// TestIPV6CPJudge is RFC 5072 section 4.1.
func TestIPV6CPJudge(t *testing.T) {
	cfg := IPv6Config{Local: InterfaceID{7: 1}, Peer: InterfaceID{7: 2}}
	for _, v := range []struct {
		options string
		code    uint8
		reply   string
	}{
		// "If the two interface identifiers are different and the received interface
		// identifier is not zero, the interface identifier MUST be acknowledged"
		{"01 0a 0000000000000005", configureAck, ""},
		// "If the two interface identifiers are different but the received interface
		// identifier is zero, a Configure-Nak is sent with a non-zero interface-identifier"
		{"01 0a 0000000000000000", configureNak, "01 0a 0000000000000002"},
		// "If the two interface identifiers are equal and are not zero, Configure-Nak MUST
		// be sent specifying a different non-zero interface-identifier value"
		{"01 0a 0000000000000001", configureNak, "01 0a 0000000000000002"},
		{"01 04 0001", configureNak, "01 0a 0000000000000002"},
		{"", configureNak, "01 0a 0000000000000002"},
		{"02 04 004f", configureReject, ""},
	} {
		d := ipv6cpOnly(t, cfg)
		if r := d.wantSaid(IPV6CP, configureRequest); !bytes.Equal(r.data, unhex(t, "01 0a 0000000000000001")) {
			t.Fatalf("asks % x", r.data)
		}
		d.hearPacket(IPV6CP, packet{code: configureRequest, id: 9, data: unhex(t, v.options)})
		want := v.reply
		if want == "" {
			want = v.options
		}
		if p := d.wantSaid(IPV6CP, v.code); !bytes.Equal(p.data, unhex(t, want)) {
			t.Errorf("%s: % x, want %s", v.options, p.data, want)
		}
	}
}

// TestIPV6CPNak: "a new Configure-Request MUST be sent with the identifier value
// suggested in the last Configure-Nak from the peer. But if the received interface
// identifier is equal to the one sent in the last Configure-Nak, a new interface
// identifier MUST be chosen."
func TestIPV6CPNak(t *testing.T) {
	d := ipv6cpOnly(t, IPv6Config{})
	r := d.wantSaid(IPV6CP, configureRequest)
	own := InterfaceID(r.data[2:])
	if own == (InterfaceID{}) || own[0]&2 != 0 {
		t.Errorf("identifier %v: zero, or universal", own)
	}
	d.hearPacket(IPV6CP, packet{configureNak, r.id, unhex(t, "01 0a 0000000000000009")})
	r = d.wantSaid(IPV6CP, configureRequest)
	if !bytes.Equal(r.data, unhex(t, "01 0a 0000000000000009")) {
		t.Errorf("asks % x, want what was suggested", r.data)
	}
	d.hearPacket(IPV6CP, packet{configureRequest, 1, r.data})
	suggested := d.wantSaid(IPV6CP, configureNak).data
	d.hearPacket(IPV6CP, packet{configureNak, r.id, suggested})
	r = d.wantSaid(IPV6CP, configureRequest)
	if bytes.Equal(r.data, suggested) {
		t.Error("both ends have the same identifier now")
	}
	d.hearPacket(IPV6CP, packet{configureNak, r.id, unhex(t, "01 0a 0000000000000000")})
	r = d.wantSaid(IPV6CP, configureRequest)
	if bytes.Equal(r.data[2:], make([]byte, 8)) {
		t.Error("asks for the identifier zero")
	}
	d.hearPacket(IPV6CP, packet{configureReject, r.id, r.data})
	if r = d.wantSaid(IPV6CP, configureRequest); len(r.data) != 0 {
		t.Errorf("asks % x after it was rejected", r.data) // "MUST NOT contain the interface-identifier option"
	}
}

// TestSameIdentifier has both ends begin with the same one.
func TestSameIdentifier(t *testing.T) {
	lns, client := pair(NoMethod, CCPRejected)
	lns.IPv6.Local, client.IPv6.Local = InterfaceID{7: 1}, InterfaceID{7: 1}
	w := join(t, 1, lns, client, noTrouble)
	w.run(20 * time.Second)
	w.wantOpen()
}

// TestCCP is what becomes of it without encryption.
func TestCCP(t *testing.T) {
	d := networked(t, Config{IPv4: ours, IPv6: IPv6Config{Off: true}, Encryption: CCPEmpty})
	r := d.wantSaid(CCP, configureRequest)
	if len(r.data) != 0 {
		t.Errorf("asks % x", r.data)
	}
	d.wantSaid(IPCP, configureRequest)
	d.hearPacket(CCP, packet{configureRequest, 1, unhex(t, "12 06 01000040 1a 04 7800")})
	if p := d.wantSaid(CCP, configureReject); len(p.data) != 10 {
		t.Errorf("rejects % x", p.data)
	}
	for _, e := range []Encryption{CCPRejected, MPPEOffered} { // without keys there is nothing to offer
		d = networked(t, Config{IPv4: ours, IPv6: IPv6Config{Off: true}, Encryption: e})
		d.wantSaid(IPCP, configureRequest)
		d.hearPacket(CCP, packet{configureRequest, 1, unhex(t, "12 06 01000040")})
		d.wantSaid(LCP, protocolReject)
	}
}

// TestSlowPeer gives a peer that has answered LCP the usual time for its next answer.
func TestSlowPeer(t *testing.T) {
	d := networked(t, Config{IPv4: ours, IPv6: IPv6Config{Off: true}, Restart: 3 * time.Second, FirstRestart: time.Second})
	d.wantSaid(IPCP, configureRequest)
	d.after(2900 * time.Millisecond)
	d.wantSilence()
	d.after(100 * time.Millisecond)
	d.wantSaid(IPCP, configureRequest)
}

// encrypting is a Link that has keys, in the Network phase.
func encrypting(t *testing.T, e Encryption) *dialogue {
	t.Helper()
	d := opened(t, Config{Verify: []Method{ByPAP}, IPv4: ours, IPv6: IPv6Config{Off: true}, Encryption: e})
	d.hearPacket(PAP, papOf(1, "user", "secret"))
	d.link.Authenticated(d.now, d.wantEvent(PeerProof).Proof.Serial, Verdict{OK: true, SendKey: make([]byte, 16), ReceiveKey: make([]byte, 16)})
	d.wantSaid(PAP, papAck)
	d.wantEvent(AllAuthenticated)
	if r := d.wantSaid(CCP, configureRequest); !bytes.Equal(r.data, unhex(t, "12 06 01000040")) {
		t.Fatalf("asks % x", r.data)
	}
	return d
}

// TestMPPENegotiation: "The responder SHOULD NAK with a single encryption option".
func TestMPPENegotiation(t *testing.T) {
	for _, v := range []struct {
		e       Encryption
		options string
		code    uint8
		reply   string
	}{
		{MPPEOffered, "12 06 01000040", configureAck, "12 06 01000040"},
		{MPPEOffered, "12 06 010000e0", configureNak, "12 06 01000040"},
		{MPPEOffered, "12 06 00000040", configureNak, "12 06 01000040"},
		{MPPEOffered, "12 06 010000e1 11 05 000104", configureReject, "11 05 000104"},
		{MPPEOffered, "", configureAck, ""},
		{MPPERequired, "", configureNak, "12 06 01000040"},
	} {
		d := encrypting(t, v.e)
		if v.e == MPPEOffered {
			d.wantSaid(IPCP, configureRequest)
		}
		d.wantSilence()
		d.hearPacket(CCP, packet{configureRequest, 1, unhex(t, v.options)})
		if p := d.wantSaid(CCP, v.code); !bytes.Equal(p.data, unhex(t, v.reply)) {
			t.Errorf("%s: % x, want %s", v.options, p.data, v.reply)
		}
	}
}

// TestEncryptionRequired has a peer refuse it, stop it, and send without it.
func TestEncryptionRequired(t *testing.T) {
	accept := func(d *dialogue) { // all that is asked now
		drain(d.link)
		d.hearPacket(CCP, packet{configureAck, d.link.ccp.sentID, d.link.ccp.sent})
		d.hearPacket(CCP, packet{configureRequest, 1, unhex(d.t, "12 06 01000040")})
	}
	refuse := map[string]func(d *dialogue){
		"Configure-Reject": func(d *dialogue) {
			d.hearPacket(CCP, packet{configureReject, d.link.ccp.sentID, d.link.ccp.sent})
			accept(d)
		},
		"Configure-Nak": func(d *dialogue) {
			d.hearPacket(CCP, packet{configureNak, d.link.ccp.sentID, unhex(d.t, "12 06 01000020")})
			accept(d)
		},
		"Protocol-Reject": func(d *dialogue) { d.hear("c021 08 01 0010 80fd 01 01 000a 1206 01000040") },
		"Terminate-Request": func(d *dialogue) {
			accept(d)
			d.wantSaid(CCP, configureAck)
			d.wantSaid(IPCP, configureRequest)
			if !d.link.Status().Encrypted {
				d.t.Error("not encrypted")
			}
			d.hearPacket(CCP, packet{terminateRequest, 1, nil})
		},
		"silence": func(d *dialogue) { d.after(31 * time.Second) },
	}
	for name, f := range refuse {
		t.Run(name, func(t *testing.T) {
			d := encrypting(t, MPPERequired)
			f(d)
			d.after(10 * time.Second)
			d.wantClosed(NoEncryption)
		})
	}
}

// TestHeldBack: "Peers MUST NOT transmit user data until the MPPE negotiation is
// complete."
func TestHeldBack(t *testing.T) {
	data := func(d *dialogue) (in, out bool) {
		_, _, in = d.link.Decap(pseudowire.NewFrame(unhex(t, "21 4501"), 0))
		_, out = d.link.Prepend(pseudowire.NewFrame(make([]byte, 100), 50), IPv4)
		return in, out
	}
	d := encrypting(t, MPPEOffered)
	d.agree(IPCP, "03 06 c000024d")
	if in, out := data(d); in || out {
		t.Errorf("data in %v, out %v, before CCP is opened", in, out)
	}
	d.hearPacket(CCP, packet{configureReject, d.link.ccp.sentID, d.link.ccp.sent})
	d.agree(CCP, "")
	if in, out := data(d); !in || !out {
		t.Errorf("data in %v, out %v, after the peer wants no encryption", in, out)
	}
	d.hearPacket(CCP, packet{configureRequest, 2, unhex(t, "12 06 01000040")}) // it begins again
	if in, out := data(d); in || out {
		t.Errorf("data in %v, out %v, while it changes its mind", in, out)
	}
	d.wantSaid(CCP, configureRequest)
	d.wantSaid(CCP, configureAck)
	d.hearPacket(CCP, packet{configureAck, d.link.ccp.sentID, d.link.ccp.sent})
	if in, out := data(d); in || !out || !d.link.Status().Encrypted {
		t.Errorf("data in %v, out %v, encrypted %v", in, out, d.link.Status().Encrypted)
	}
	d.hear("c021 08 01 0010 80fd 01 01 000a 1206 01000040") // and rejects all of it
	d.after(10 * time.Second)
	if in, out := data(d); !in || !out {
		t.Errorf("data in %v, out %v, after there is no CCP", in, out)
	}
	d.hear("c021 01 2a 0004") // LCP begins again
	if d.link.open.Load() != 0 {
		t.Errorf("open: %#x", d.link.open.Load())
	}
}

// TestHalfOpen has all that a peer says of IPCP get lost, but not its data: it thinks
// that it is opened.
func TestHalfOpen(t *testing.T) {
	d := networked(t, Config{IPv4: ours})
	drain(d.link)
	r := d.link.ipv6cp.sent
	d.hearPacket(IPV6CP, packet{configureAck, d.link.ipv6cp.sentID, r})
	d.hearPacket(IPV6CP, packet{configureRequest, 1, unhex(t, "01 0a 0000000000000005")})
	d.wantEvent(IPv6Up)
	d.after(31 * time.Second)
	drain(d.link)
	d.wantState(IPCP, Stopped)
	d.hear("57 60") // not of IPv4
	d.wantState(IPCP, Stopped)
	d.hear("21 45")
	d.agree(IPCP, "03 06 c000024d")
	d.wantEvent(IPv4Up)
}
