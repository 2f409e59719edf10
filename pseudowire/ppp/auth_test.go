package ppp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// askedBy is a Link whose peer has to prove itself.
func askedBy(t *testing.T, m Method, attempts int) *dialogue {
	t.Helper()
	return opened(t, Config{Name: "lns", Verify: []Method{m}, Attempts: attempts, IPv4: ours, IPv6: IPv6Config{Off: true}, EchoInterval: -1})
}

// papOf is an Authenticate-Request.
func papOf(id uint8, name, password string) packet {
	data := append([]byte{byte(len(name))}, name...)
	return packet{papRequest, id, append(append(data, byte(len(password))), password...)}
}

// TestPAP is RFC 1334: "the authenticator MUST allow repeated Authenticate-Request
// packets after completing the Authentication phase. Protocol phase MUST return the same
// reply Code returned when the preceding Authentication phase completed".
func TestPAP(t *testing.T) {
	d := askedBy(t, ByPAP, 0)
	d.wantSilence()
	for _, frame := range []string{
		"c023 01 05 0004", "c023 01 05 0005 04", "c023 01 05 000a 05 7573657200", "c023 01 05 000b 04 75736572 02 61",
		"c023 02 05 0005 00", "c023 03 05 0005 00", "c223 02 05 0004", "c227 02 05 0005 01",
	} {
		d.hear(frame)
		d.wantSilence()
		d.wantNoEvent()
	}
	d.hearPacket(PAP, papOf(5, "user", "secret"))
	p := d.wantEvent(PeerProof).Proof
	if p.Method != ByPAP || p.Name != "user" || string(p.Password) != "secret" || p.ID != 5 {
		t.Fatalf("%+v", p)
	}
	d.hearPacket(PAP, papOf(6, "user", "guess")) // while the owner thinks
	d.wantNoEvent()
	d.hear("8021 01 01 0004") // "All other packets received during this phase MUST be silently discarded."
	d.wantSilence()
	d.link.Authenticated(d.now, p.Serial-1, Verdict{OK: true})
	d.link.Authenticated(d.now, p.Serial+1, Verdict{OK: true})
	d.wantSilence()
	d.link.Authenticated(d.now, p.Serial, Verdict{OK: true, Message: "hello"})
	d.wantFrame("ff03 c023 02 05 000a 05 68656c6c6f")
	d.wantEvent(AllAuthenticated)
	d.wantSaid(IPCP, configureRequest)
	d.hearPacket(PAP, papOf(9, "user", "secret"))
	d.wantFrame("ff03 c023 02 09 000a 05 68656c6c6f")
	d.wantNoEvent()
	d.link.Authenticated(d.now, p.Serial, Verdict{})
	d.wantSilence()
	if s := d.link.Status(); s.User != "user" || s.Method != ByPAP || s.Phase != Network {
		t.Errorf("%+v", s)
	}
}

// TestPAPAttempts bounds how often a peer may guess, for the whole life of a Link.
func TestPAPAttempts(t *testing.T) {
	d := askedBy(t, ByPAP, 3)
	guess := func() {
		d.hearPacket(PAP, papOf(1, "user", "guess"))
		d.link.Authenticated(d.now, d.wantEvent(PeerProof).Proof.Serial, Verdict{Message: "no"})
		d.wantFrame("ff03 c023 03 01 0007 02 6e6f")
	}
	guess()
	guess()
	d.hear("c021 01 2a 0004") // it begins again: that changes nothing
	d.wantEvent(LCPDown)
	d.agreeAgain()
	d.wantEvent(LCPUp)
	guess()
	d.wantSaid(LCP, terminateRequest)
	d.wantEvent(LCPDown)
	d.hear("c021 06 01 0004")
	d.wantClosed(AuthFailed)
}

// agreeAgain answers the Configure-Request that follows one of the peer's.
func (d *dialogue) agreeAgain() {
	d.t.Helper()
	r := d.wantSaid(LCP, configureRequest)
	d.wantSaid(LCP, configureAck)
	d.hearPacket(LCP, packet{code: configureAck, id: r.id, data: r.data})
	d.wantState(LCP, Opened)
}

// TestLateVerdict has the owner answer what was asked before the peer began again.
func TestLateVerdict(t *testing.T) {
	d := askedBy(t, ByPAP, 0)
	d.hearPacket(PAP, papOf(1, "user", "secret"))
	p := d.wantEvent(PeerProof).Proof
	d.hear("c021 01 2a 0004")
	d.wantEvent(LCPDown)
	d.link.Authenticated(d.now, p.Serial, Verdict{OK: true})
	d.agreeAgain()
	d.wantEvent(LCPUp)
	d.link.Authenticated(d.now, p.Serial, Verdict{OK: true})
	d.wantSilence()
	d.wantNoEvent()
	if d.link.phase != Authenticate {
		t.Errorf("phase %v, want authenticate", d.link.phase)
	}
}

// TestCHAP is RFC 1994: "The Challenge Value MUST be changed each time a Challenge is
// sent", "The Identifier field MUST be changed each time a Challenge is sent."
func TestCHAP(t *testing.T) {
	d := askedBy(t, ByCHAP, 5)
	first := d.wantSaid(CHAP, chapChallenge)
	d.after(3 * time.Second)
	c := d.wantSaid(CHAP, chapChallenge)
	if c.id == first.id || bytes.Equal(c.data, first.data) || c.data[0] != 16 || string(c.data[17:]) != "lns" {
		t.Fatalf("challenges %d % x, %d % x", first.id, first.data, c.id, c.data)
	}
	challenge := c.data[1:17]
	response := func(id uint8, password, name string) packet {
		return packet{chapResponse, id, append(append([]byte{16}, chapMD5(id, password, challenge)...), name...)}
	}
	for _, r := range []packet{
		response(first.id, "secret", "user"),
		{chapResponse, c.id, nil},
		{chapResponse, c.id, []byte{16, 1, 2}},
		{chapResponse, c.id, append([]byte{15}, make([]byte, 20)...)},
		{chapResponse, c.id, append([]byte{49}, make([]byte, 49)...)},
		response(c.id, "secret", strings.Repeat("u", 256)),
		{chapSuccess, c.id, nil}, {chapFailure, c.id, nil}, {chapChallenge, c.id, c.data},
	} {
		d.hearPacket(CHAP, r)
		d.wantSilence()
		d.wantNoEvent()
	}
	d.hearPacket(CHAP, response(c.id, "secret", "user"))
	p := d.wantEvent(PeerProof).Proof
	if p.Name != "user" || p.ID != c.id || !bytes.Equal(p.Challenge, challenge) || !p.Verify("secret").OK {
		t.Fatalf("%+v", p)
	}
	d.after(time.Minute) // the owner takes its time
	d.wantSilence()
	d.link.Authenticated(d.now, p.Serial, Verdict{OK: true})
	d.wantFrame(fmt.Sprintf("ff03 c223 03 %02x 0004", c.id))
	d.wantEvent(AllAuthenticated)
	d.wantSaid(IPCP, configureRequest)
	// "the authenticator MUST allow repeated Response packets"; "MUST return the same reply Code".
	d.hearPacket(CHAP, response(c.id, "another", "user"))
	d.wantFrame(fmt.Sprintf("ff03 c223 03 %02x 0004", c.id))
	d.wantNoEvent()
}

// TestCHAPFailure: "If the Value received in a Response is not equal to the expected
// value, then the implementation MUST transmit a CHAP packet with the Code field set to 4
// (Failure), and SHOULD take action to terminate the link."
func TestCHAPFailure(t *testing.T) {
	d := askedBy(t, ByCHAP, 5)
	c := d.wantSaid(CHAP, chapChallenge)
	d.hearPacket(CHAP, packet{chapResponse, c.id, append([]byte{16}, make([]byte, 16)...)}) // no name
	p := d.wantEvent(PeerProof).Proof
	d.link.Authenticated(d.now, p.Serial, p.Verify("secret"))
	d.wantFrame(fmt.Sprintf("ff03 c223 04 %02x 0004", c.id))
	d.wantSaid(LCP, terminateRequest)
}

// TestNoProof has a peer never prove itself.
func TestNoProof(t *testing.T) {
	for _, m := range []Method{ByPAP, ByCHAP, ByMSCHAP2, ByEAP} {
		d := askedBy(t, m, 0)
		d.after(31 * time.Second)
		frames, _ := drain(d.link)
		if m != ByPAP && len(frames) != 10+1 {
			t.Errorf("%v: %d frames, want 10 and a Terminate-Request", m, len(frames))
		}
		d.hear("c021 06 01 0004")
		if s := d.link.Status(); s.Phase != Dead || s.Reason != AuthTimeout {
			t.Errorf("%v: %v, %v", m, s.Phase, s.Reason)
		}
	}
}

// TestMSCHAPRetry is RFC 2759 section 9.1.4: "Successful authentication after retry".
func TestMSCHAPRetry(t *testing.T) {
	d := askedBy(t, ByMSCHAP2, 2)
	c := d.wantSaid(CHAP, chapChallenge)
	challenge := c.data[1:17]
	peer := unhex(t, peerChallenge)
	respond := func(id uint8, password string) *Proof {
		m := proveMSCHAP2(NTPasswordHash(password), challenge, peer, "user")
		value := m.value()
		d.hearPacket(CHAP, packet{chapResponse, id, append(append([]byte{byte(len(value))}, value...), "user"...)})
		return d.wantEvent(PeerProof).Proof
	}
	p := respond(c.id, "wrong")
	d.link.Authenticated(d.now, p.Serial, p.Verify("secret"))
	f := d.wantSaid(CHAP, chapFailure)
	var next []byte
	if n, err := fmt.Sscanf(string(f.data), "E=691 R=1 C=%X V=3 M=", &next); n != 1 || len(next) != 16 || f.id != c.id {
		t.Fatalf("failure %q: %v", f.data, err)
	}
	d.after(50 * time.Second) // "disable short timeout"
	d.wantSilence()
	challenge = next
	p = respond(c.id+1, "secret")
	v := p.Verify("secret")
	d.link.Authenticated(d.now, p.Serial, v)
	if s := d.wantSaid(CHAP, chapSuccess); s.id != c.id+1 || string(s.data) != v.Message || len(v.Message) != 42 {
		t.Errorf("success %d %q, want %d %q", s.id, s.data, c.id+1, v.Message)
	}
	d.wantEvent(AllAuthenticated)

	for _, message := range []string{"", "E=691 R=0 C=00 V=3 M=", "E=649 R=1"} {
		d = askedBy(t, ByMSCHAP2, 2)
		c = d.wantSaid(CHAP, chapChallenge)
		challenge = c.data[1:17]
		id := c.id
		if message == "" {
			d.link.Authenticated(d.now, respond(id, "wrong").Serial, Verdict{})
			next = nil
			fmt.Sscanf(string(d.wantSaid(CHAP, chapFailure).data), "E=691 R=1 C=%X", &next)
			challenge, id = next, id+1
		}
		d.link.Authenticated(d.now, respond(id, "wrong").Serial, Verdict{Message: message})
		if f := d.wantSaid(CHAP, chapFailure); !strings.Contains(string(f.data), " R=0 ") {
			t.Errorf("failure %q, want R=0", f.data)
		}
		d.wantSaid(LCP, terminateRequest)
	}
}

// TestEAP passes packets between the peer and an owner that has a RADIUS server.
func TestEAP(t *testing.T) {
	d := askedBy(t, ByEAP, 3)
	r := d.wantSaid(EAP, eapRequest)
	if !bytes.Equal(r.data, []byte{eapIdentity}) {
		t.Fatalf("request % x, want Identity", r.data)
	}
	d.after(3 * time.Second)
	if again := d.wantSaid(EAP, eapRequest); again.id != r.id {
		t.Errorf("identifier %d of a retransmission, want %d", again.id, r.id)
	}
	d.hearPacket(EAP, packet{eapResponse, r.id + 1, []byte("\x01user")})
	d.hearPacket(EAP, packet{eapResponse, r.id, nil})
	d.hearPacket(EAP, packet{eapRequest, r.id, []byte("\x01user")})
	d.hearPacket(EAP, packet{eapResponse, r.id, append([]byte{1}, make([]byte, 256)...)})
	d.wantNoEvent()
	d.hearPacket(EAP, packet{eapResponse, r.id, []byte("\x01user")})
	p := d.wantEvent(PeerEAP).Proof
	if p.Name != "user" || !bytes.Equal(p.EAP, packet{eapResponse, r.id, []byte("\x01user")}.append(nil)) {
		t.Fatalf("%+v", p)
	}
	d.hearPacket(EAP, packet{eapResponse, r.id, []byte("\x01other")}) // while the owner thinks
	d.wantNoEvent()
	request := packet{eapRequest, 99, []byte{4, 16, 1, 2}}.append(nil)
	for what, bad := range map[string][]byte{
		"nothing": nil, "a Success": {3, 99, 0, 4}, "no type": {1, 99, 0, 4}, "too long": packet{1, 1, make([]byte, 1500)}.append(nil),
	} {
		if d.link.EAP(d.now, p.Serial, bad) {
			t.Errorf("%s is a request", what)
		}
	}
	if d.link.EAP(d.now, p.Serial-1, request) || !d.link.EAP(d.now, p.Serial, request) || d.link.EAP(d.now, p.Serial, request) {
		t.Error("a request of another serial number, or twice")
	}
	d.wantFrame("ff03 c227" + fmt.Sprintf("%x", request))
	d.after(3 * time.Second)
	d.wantFrame("ff03 c227" + fmt.Sprintf("%x", request))
	d.hearPacket(EAP, packet{eapResponse, 99, []byte{3, 25}}) // Nak, PEAP please
	p = d.wantEvent(PeerEAP).Proof
	if p.Name != "user" {
		t.Errorf("name %q", p.Name)
	}
	d.link.Authenticated(d.now, p.Serial, Verdict{OK: true, EAP: []byte{3, 99, 0, 4}, SendKey: make([]byte, 16), ReceiveKey: make([]byte, 16)})
	d.wantFrame("ff03 c227 03 63 0004")
	d.wantEvent(AllAuthenticated)
	d.wantSaid(IPCP, configureRequest)
	d.hearPacket(EAP, packet{eapResponse, 99, []byte{3, 25}}) // the Success was lost
	d.wantFrame("ff03 c227 03 63 0004")

	d = askedBy(t, ByEAP, 3)
	r = d.wantSaid(EAP, eapRequest)
	d.hearPacket(EAP, packet{eapResponse, r.id, []byte("\x01user")})
	d.link.Authenticated(d.now, d.wantEvent(PeerEAP).Proof.Serial, Verdict{})
	d.wantFrame(fmt.Sprintf("ff03 c227 04 %02x 0004", r.id))
	d.wantSaid(LCP, terminateRequest)
}

// TestEAPRounds wants an end to a conversation.
func TestEAPRounds(t *testing.T) {
	d := askedBy(t, ByEAP, 0)
	for n := 0; d.link.phase == Authenticate; n++ {
		if n > rounds {
			t.Fatal("no end")
		}
		d.now = d.now.Add(time.Second)
		r := d.wantSaid(EAP, eapRequest)
		d.hearPacket(EAP, packet{eapResponse, r.id, []byte{1}})
		if e, ok := d.link.Event(); ok && e.Kind == PeerEAP {
			d.link.EAP(d.now, e.Proof.Serial, packet{eapRequest, r.id + 1, []byte{4}}.append(nil))
		}
	}
}

// TestMutual has an authenticator that takes any proof: RFC 2759 section 5 has it prove
// itself too.
func TestMutual(t *testing.T) {
	for _, message := range []string{"", "S=", "S=0000000000000000000000000000000000000000 M=Welcome", "right"} {
		d := talk(t, Config{Name: vectorName, Password: vectorPassword, IPv4: ours})
		d.agree(LCP, "03 05 c223 81")
		d.hearPacket(CHAP, packet{chapSuccess, 0, nil}) // nothing was asked yet
		d.wantSilence()
		d.hearPacket(CHAP, packet{chapChallenge, 7, append([]byte{16}, unhex(t, authChallenge)...)})
		r := d.wantSaid(CHAP, chapResponse)
		d.after(3 * time.Second)
		if again := d.wantSaid(CHAP, chapResponse); !bytes.Equal(again.data, r.data) || again.id != 7 {
			t.Errorf("% x is not said again, but % x", r.data, again.data)
		}
		p := Proof{Method: ByMSCHAP2, Name: string(r.data[50:]), Challenge: unhex(t, authChallenge), Response: r.data[1:50]}
		v := p.Verify(vectorPassword)
		if !v.OK {
			t.Fatal("the proof is wrong")
		}
		if message == "right" {
			message = "s=" + strings.ToLower(v.Message[2:]) + " M=Welcome"
		}
		d.hearPacket(CHAP, packet{chapSuccess, 6, []byte(v.Message)}) // of another challenge
		d.hearPacket(CHAP, packet{chapSuccess, 7, []byte(message)})
		if strings.HasPrefix(message, "s=") {
			d.wantEvent(LCPUp)
			d.wantEvent(AllAuthenticated)
			continue
		}
		d.wantSaid(LCP, terminateRequest)
		if r := d.link.Status().Reason; r != ProofWrong {
			t.Errorf("%q: reason %q, want %q", message, r, ProofWrong)
		}
	}
}

// TestReflection has a peer ask us to answer for it what we asked it: it would have the
// answer from us.
func TestReflection(t *testing.T) {
	d := talk(t, Config{Verify: []Method{ByCHAP}, Name: "us", Password: "secret", IPv4: ours})
	d.agree(LCP, "03 05 c223 05")
	c := d.wantSaid(CHAP, chapChallenge)
	d.hearPacket(CHAP, packet{chapChallenge, c.id, c.data})
	d.wantSilence()
	d.hearPacket(CHAP, packet{chapChallenge, 1, append([]byte{16}, make([]byte, 16)...)})
	d.wantSaid(CHAP, chapResponse)
}

// TestRechallenge: "At random intervals, the authenticator sends a new challenge to the
// peer".
func TestRechallenge(t *testing.T) {
	d := talk(t, Config{Name: "us", Password: "secret", IPv4: ours, IPv6: IPv6Config{Off: true}})
	d.agree(LCP, "03 05 c223 05")
	for n := range 3 {
		challenge := append([]byte{20}, bytes.Repeat([]byte{byte(n)}, 20)...)
		d.hearPacket(CHAP, packet{chapChallenge, uint8(n), append(challenge, "lns"...)})
		r := d.wantSaid(CHAP, chapResponse)
		if want := chapMD5(uint8(n), "secret", challenge[1:]); !bytes.Equal(r.data[1:17], want) || string(r.data[17:]) != "us" {
			t.Fatalf("response % x, want % x", r.data, want)
		}
		d.hearPacket(CHAP, packet{chapSuccess, uint8(n), []byte("welcome")})
		if n == 0 {
			d.wantSaid(IPCP, configureRequest)
		}
		d.wantSilence()
	}
}

// TestProofUnanswered wants our proof said MaxConfigure times.
func TestProofUnanswered(t *testing.T) {
	d := talk(t, Config{Name: "us", Password: "secret", Prove: []Method{ByPAP}, IPv4: ours, EchoInterval: -1})
	d.agree(LCP, "03 04 c023")
	d.wantFrame("ff03 c023 01 01 000e 02 7573 06 736563726574")
	d.hear("c023 02 02 0004") // of another request
	d.after(3*9*time.Second + time.Second)
	frames, _ := drain(d.link)
	if len(frames) != 9 || d.link.phase != Authenticate {
		t.Errorf("%d frames more, phase %v", len(frames), d.link.phase)
	}
	d.after(3 * time.Second)
	if r := d.link.Status().Reason; r != ProofRefused {
		t.Errorf("reason %q, want %q", r, ProofRefused)
	}
	d = talk(t, Config{Name: "us", Password: "secret", Prove: []Method{ByPAP}, IPv4: ours, EchoInterval: -1})
	d.agree(LCP, "03 04 c023")
	d.wantSaid(PAP, papRequest)
	d.hear("c023 02 01 0004") // without a message: some do so
	d.wantSaid(IPCP, configureRequest)
}

// TestMethods: names, and what is in an option.
func TestMethods(t *testing.T) {
	for m := ByPAP; m < methods; m++ {
		if got, err := ParseMethod(m.String()); got != m || err != nil {
			t.Errorf("%v: %v, %v", m, got, err)
		}
		if got := methodOf(m.append(nil)); got != m {
			t.Errorf("%v: option of %v", m, got)
		}
	}
	for _, name := range []string{"", "none", "PAP", "mschap"} {
		if _, err := ParseMethod(name); err == nil {
			t.Errorf("%q is a method", name)
		}
	}
}

// TestConfig wants what is wrong refused.
func TestConfig(t *testing.T) {
	for _, v := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{MRU: 127}, "ppp: MRU 127, want 128 to 65535"},
		{Config{Verify: []Method{9}}, "ppp: an authentication that is unknown, want pap, chap, mschapv2 or eap"},
		{Config{Password: "x", Prove: []Method{ByEAP}}, "ppp: an authentication to prove ourselves by that is unknown, want pap, chap or mschapv2"},
		{Config{Name: strings.Repeat("x", 256)}, "ppp: a name of 256 octets and a password of 0, want 255 at most"},
		{Config{Attempts: -1}, "ppp: a count below 1"},
		{Config{Restart: -1}, "ppp: a time below 0"},
		{Config{Encryption: 9}, "ppp: encryption 9 is unknown"},
		{Config{IPv4: IPv4Config{Local: InterfaceID{1}.LinkLocal()}}, "ppp: address fe80::100:0:0:0, want one of IPv4"},
		{Config{IPv4: IPv4Config{Local: ours.Local, Peer: ours.Local}}, "ppp: address 192.0.2.1 for both ends"},
	} {
		got := ""
		if _, err := New(v.cfg); err != nil {
			got = err.Error()
		}
		if got != v.want {
			t.Errorf("%q, want %q", got, v.want)
		}
	}
}
