package control

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
)

// digestsOf returns the types of the digests that a message carries, as they
// stand behind its Message Type.
func digestsOf(m said) (types []wire.DigestType) {
	b := m.raw[wire.ControlHeaderLen+8:]
	for len(b) > 6 && b[4] == 0 && b[5] == byte(wire.AttrMessageDigest) {
		types = append(types, wire.DigestType(b[6]))
		b = b[int(b[0]&3)<<8|int(b[1]):]
	}
	return types
}

// signed begins a dialogue in which both sides have a secret.
func signed(t *testing.T, cfg TunnelConfig, types ...wire.DigestType) *dialogue {
	cfg.Secrets = []*wire.Secret{secret("s")}
	return tell(t, cfg).authenticated(secret("s"), types...)
}

// RFC 3931 section 5.4.1: "Digest Type 0 (HMAC-MD5) MUST be supported, while
// Digest Type 1 (HMAC-SHA-1) SHOULD be supported." And: "If Control Message
// Authentication is enabled, at least one Message Digest AVP MUST be present in
// all messages and MUST be placed immediately after the Message Type AVP." And: "A
// second Message Digest AVP MAY be present in a message and MUST be placed
// directly after the first Message Digest AVP." And: "If two Message Digest AVPs
// are received in a control message, the message MUST be accepted if either
// Message Digest is valid." And: "If Control Message Authentication is enabled,
// this AVP MUST be present in the SCCRQ and SCCRP messages." And section 4.3: "If
// an SCCRQ or SCCRP contains a Control Message Authentication Nonce AVP, the
// receiver of the message MUST respond with a Message Digest AVP in all subsequent
// messages sent."
func TestAuthentication(t *testing.T) {
	md5, sha1 := wire.MD5, wire.SHA1
	for _, v := range []struct {
		configured, peer, want []wire.DigestType // want: what we send in the end
	}{
		{nil, []wire.DigestType{md5}, []wire.DigestType{md5}},
		{nil, []wire.DigestType{sha1}, []wire.DigestType{sha1}},
		{nil, []wire.DigestType{md5, sha1}, []wire.DigestType{md5}},
		{[]wire.DigestType{md5}, []wire.DigestType{sha1}, []wire.DigestType{md5}},
		{[]wire.DigestType{sha1}, []wire.DigestType{md5}, []wire.DigestType{sha1}},
		{[]wire.DigestType{sha1, md5}, []wire.DigestType{md5}, []wire.DigestType{sha1, md5}},
	} {
		for _, dial := range []bool{false, true} {
			name := fmt.Sprint(v, dial)
			check := func(m said) {
				t.Helper()
				if got := digestsOf(m); !slices.Equal(got, v.want) {
					t.Errorf("%s: %s has the digests %v, want %v", name, m.name(), got, v.want)
				}
			}
			cfg := accepts(office(false))
			if dial {
				cfg = dials(office(false))
			}
			cfg.Digests = v.configured
			s := signed(t, cfg, v.peer...)
			if dial {
				m := s.want("SCCRQ", 0, 0)
				want := v.configured
				if want == nil {
					want = []wire.DigestType{sha1}
				}
				if got := digestsOf(m); !slices.Equal(got, want) || len(m.Message.(*wire.SCCRQ).Nonce) != nonceSize {
					t.Errorf("%s: SCCRQ has the digests %v, want %v", name, got, want)
				}
				s.send(&wire.SCCRP{LCCE: s.peer})
				check(s.want("SCCCN", 1, 1))
			} else {
				s.send(s.request())
				m := s.want("SCCRP", 0, 1)
				check(m)
				if len(m.Message.(*wire.SCCRP).Nonce) != nonceSize {
					t.Errorf("%s: no nonce", name)
				}
				s.send(&wire.SCCCN{})
				check(s.next("ACK"))
			}
			s.wantState(Established)
			s.send(icrq(9))
			m := s.next("ICRP")
			s.nr++
			check(m)
			s.send(iccn(9, m.Message.(*wire.ICRP).LocalSessionID))
			check(s.next("ACK"))
			s.event(SessionUp)
			s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: 6}})
			check(s.next("ACK"))
			s.wantState(Idle)
			if got := s.DropCounts(); got != [Drops]uint64{} {
				t.Errorf("%s: dropped %v", name, got)
			}
		}
	}
}

// RFC 3931 section 5.4.1: "When receiving a control message, the contents of the
// Message Digest AVP MUST be compared against the expected digest value based on
// local calculation." And: "This message authenticity and integrity checking MUST
// be performed before utilizing any information contained within the control
// message." And: "If the calculation fails, the message MUST be dropped."
func TestNotAuthentic(t *testing.T) {
	// What is wrong with the message, of a peer that is right otherwise.
	forge := map[string]func(s *dialogue, m wire.Message, ns uint16) []byte{
		"another secret": func(s *dialogue, m wire.Message, ns uint16) []byte {
			o := *s
			return o.authenticated(secret("other"), wire.SHA1).write(ns, m)
		},
		"unsigned": func(s *dialogue, m wire.Message, ns uint16) []byte {
			o := *s
			o.digests = nil
			return o.write(ns, m)
		},
		"changed": func(s *dialogue, m wire.Message, ns uint16) []byte {
			b := s.write(ns, m)
			b[len(b)-1] ^= 1
			return b
		},
		"another Nr": func(s *dialogue, m wire.Message, ns uint16) []byte {
			b := s.write(ns, m)
			b[11]++
			return b
		},
		"integrity alone": func(s *dialogue, m wire.Message, ns uint16) []byte {
			o := *s
			return o.authenticated(integrity, wire.SHA1).write(ns, m)
		},
		"other nonces": func(s *dialogue, m wire.Message, ns uint16) []byte {
			if m.Type() == wire.TypeSCCRQ {
				return nil
			}
			o := *s
			o.remote = []byte("another nonce...")
			return o.write(ns, m)
		},
		"no nonce": func(s *dialogue, m wire.Message, ns uint16) []byte {
			o := *s
			switch m.(type) {
			case *wire.SCCRQ:
				o.peer.Nonce = nil
				return o.write(ns, o.request())
			case *wire.SCCRP:
				o.peer.Nonce = nil
				return o.write(ns, &wire.SCCRP{LCCE: o.peer})
			}
			return nil
		},
		"a digest that is not behind the Message Type": func(s *dialogue, m wire.Message, ns uint16) []byte {
			o := *s
			o.digests = nil
			b := o.write(ns, m)
			b = append(b, avp(mandatory, 0, 59, make([]byte, 21)...)...)
			b[2], b[3] = byte(len(b)>>8), byte(len(b))
			return b
		},
	}
	for name, write := range forge {
		silent := func(s *dialogue, m wire.Message) {
			t.Helper()
			b := write(s, m, s.ns)
			if b == nil {
				return
			}
			s.told = nil
			before := s.DropCounts()
			s.receive(b)
			s.wantSilence()
			s.wantEvents("")
			d := s.DropCounts()
			if d[DropDigest]+d[DropUnsigned] != before[DropDigest]+before[DropUnsigned]+1 {
				t.Errorf("%s: dropped %v", name, d)
			}
		}
		s := signed(t, accepts(office(false)), wire.SHA1)
		silent(s, s.request())
		s.send(s.request())
		get[*wire.SCCRP](s)
		silent(s, &wire.SCCCN{})
		silent(s, &wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: 1}})
		s.send(&wire.SCCCN{})
		s.wantACK()
		for _, m := range []wire.Message{icrq(9), &wire.HELLO{}, &wire.StopCCN{Result: wire.Result{Code: 1}}, &wire.SCCCN{}, &wire.ACK{}} {
			silent(s, m)
		}
		s.wantState(Established)
		heard := s.status().Heard
		s.after(time.Second)
		silent(s, &wire.HELLO{})
		if got := s.status().Heard; got != heard {
			t.Errorf("%s: the peer was heard", name)
		}
		s.send(&wire.HELLO{})
		s.wantACK()

		s = signed(t, dials(), wire.SHA1)
		s.want("SCCRQ", 0, 0)
		silent(s, &wire.SCCRP{LCCE: s.peer})
		silent(s, &wire.StopCCN{Result: wire.Result{Code: 1}})
		s.wantState(WaitCtlReply)
		s.send(&wire.SCCRP{LCCE: s.peer})
		get[*wire.SCCCN](s)
	}

	// A ZLB is not signed, RFC 3931 section 6.15.
	s := signed(t, accepts(), wire.SHA1).establish()
	s.quiet()
	s.send(nil)
	s.wantSilence()
	s.dropped(DropUnsigned, 1)
}

// RFC 3931 section 4.3: "At least one shared secret (password) MUST exist between
// communicating L2TP nodes to enable Control Message Authentication."
func TestPeerWantsSecret(t *testing.T) {
	s := tell(t, accepts()).authenticated(secret("s"), wire.SHA1)
	s.send(s.request())
	s.wantSilence()
	s.dropped(DropWantsSecret, 1)
	s = tell(t, dials()).authenticated(secret("s"), wire.SHA1)
	m := s.next("SCCRQ")
	if len(m.Message.(*wire.SCCRQ).Nonce) != 0 || len(digestsOf(m)) != 0 {
		t.Error("a nonce or a digest without a secret")
	}
	s.id = m.Message.(*wire.SCCRQ).ConnectionID
	s.send(&wire.SCCRP{LCCE: s.peer})
	s.wantSilence()
	s.dropped(DropWantsSecret, 1)
}

// TestIntegrity has digests without a secret, of which a wrong one tells that the
// message was corrupted. RFC 3931 section 4.3.
func TestIntegrity(t *testing.T) {
	check := func(s *dialogue, m said, want ...wire.DigestType) {
		t.Helper()
		if got := digestsOf(m); !slices.Equal(got, want) {
			t.Errorf("%s: digests %v, want %v", m.name(), got, want)
		}
		if _, ok := wire.Verify(m.raw, []*wire.Secret{integrity}, nil, nil); ok != (len(want) > 0) {
			t.Errorf("%s: digest right: %v", m.name(), ok)
		}
		if len(wire.Nonce(m.raw)) > 0 {
			t.Errorf("%s: a nonce", m.name())
		}
	}
	cfg := dials()
	cfg.Integrity = true
	s := tell(t, cfg)
	check(s, s.want("SCCRQ", 0, 0), wire.SHA1)
	s.send(&wire.SCCRP{LCCE: s.peer}) // the peer does without
	check(s, s.want("SCCCN", 1, 1), wire.SHA1)

	// Who sends them is answered with them.
	s = tell(t, accepts())
	s.digests = []wire.Signature{{Type: wire.MD5, Secret: integrity}}
	s.send(s.request())
	check(s, s.want("SCCRP", 0, 1), wire.MD5)
	b := s.write(1, &wire.SCCCN{})
	b[len(b)-1] ^= 1
	s.receive(b)
	s.wantSilence()
	s.dropped(DropIntegrity, 1)
	s.send(&wire.SCCCN{})
	s.wantState(Established)
	s.next("ZLB")
	s.send(&wire.HELLO{})
	s.next("ZLB") // for Control Message Authentication is not enabled
	s.send(&wire.ACK{})
	s.send(nil)
	s.wantSilence()

	s = tell(t, accepts())
	s.digests = []wire.Signature{{Type: wire.MD5, Secret: secret("s")}}
	s.send(s.request())
	s.wantSilence()
	s.dropped(DropIntegrity, 1)
}

// RFC 3931 section 5.4.1: "If two shared secrets are configured, each (separately)
// MUST be used for calculating a digest to be compared to the Message Digest(s)
// received." TestSecretChange goes through all orders in which both sides can
// come from an old secret to a new one.
func TestSecretChange(t *testing.T) {
	old, next := secret("old"), secret("next")
	alone, both, after := []*wire.Secret{old}, []*wire.Secret{next, old}, []*wire.Secret{next}
	for _, v := range []struct {
		dialler, acceptor []*wire.Secret
		ok                bool
	}{
		{alone, alone, true}, {both, alone, true}, {alone, both, true}, {both, both, true}, {both, after, true},
		{after, both, true}, {after, after, true}, {alone, after, false}, {after, alone, false},
		{[]*wire.Secret{old, next}, both, true},
	} {
		for _, types := range [][]wire.DigestType{nil, {wire.MD5}, {wire.MD5, wire.SHA1}} {
			a, b := New(here()), New(here())
			at := map[*LCCE]Address{a: from("192.0.2.1:1701"), b: from("192.0.2.2:1701")}
			k := office(true)
			if err := a.Add(start, TunnelConfig{Name: "b", Dial: true, Secrets: v.dialler, Digests: types, Circuits: []CircuitConfig{k}}); err != nil {
				t.Fatal(err)
			}
			k.Initiate = false
			if err := b.Add(start, TunnelConfig{Name: "a", Secrets: v.acceptor, Circuits: []CircuitConfig{k}}); err != nil {
				t.Fatal(err)
			}
			a.Bind(start, "b", Binding{At: at[b]})
			b.Bind(start, "a", Binding{Peers: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}})
			a.Advance(start)
			for range 20 {
				for from, to := range map[*LCCE]*LCCE{a: b, b: a} {
					for {
						m, _, ok := from.Transmit(nil)
						if !ok {
							break
						}
						to.Receive(start, at[from], m)
					}
				}
			}
			sa, sb := a.Status()[0], b.Status()[0]
			if up := sa.State == Established && sb.State == Established && sa.Sessions[0].State == Established && sb.Sessions[0].State == Established; up != v.ok {
				t.Errorf("%d secrets and %d, digests %v: %v and %v, want up %v", len(v.dialler), len(v.acceptor), types, sa.State, sb.State, v.ok)
			}
			if got := a.DropCounts(); got != [Drops]uint64{} {
				t.Errorf("dropped %v", got)
			}
		}
	}
}

// TestRetransmissionIsSignedAgain has a message repeated after another has come:
// its Nr is another, and its digest is right again, which dialogue.verify wants of
// every message.
func TestRetransmissionIsSignedAgain(t *testing.T) {
	s := signed(t, accepts(office(false)), wire.SHA1).establish()
	s.quiet()
	s.send(icrq(9))
	a := s.want("ICRP", 1, 3)
	s.nr--
	s.send(&wire.HELLO{})
	s.want("ACK", 2, 4)
	s.after(time.Second)
	b := s.want("ICRP", 1, 4)
	if bytes.Equal(a.raw[26:40], b.raw[26:40]) {
		t.Error("the same digest for another header")
	}
}

// RFC 3931 section 5.3: "The H bit MUST only be set if (1) a shared secret exists
// between the LCCEs and (2) Control Message Authentication is enabled (see Section
// 4.3)." And: "If the H bit is set in any AVP(s) in a given control message, at
// least one Random Vector AVP must also be present in the message and MUST precede
// the first AVP having an H bit of 1." And section 5.4.1: "As such, at least one
// Random Vector AVP MUST precede the first AVP with the H bit set."
func TestHiding(t *testing.T) {
	attributes := func(m said) (random, hiddenAt []int) {
		i := 0
		for b := m.raw[wire.ControlHeaderLen:]; len(b) >= 6; i++ {
			if b[4] == 0 && b[5] == byte(wire.AttrRandomVector) {
				random = append(random, i)
			}
			if b[0]&0x40 != 0 {
				hiddenAt = append(hiddenAt, int(b[5]))
				if len(random) == 0 {
					t.Error("hidden before a Random Vector")
				}
			}
			b = b[int(b[0]&3)<<8|int(b[1]):]
		}
		return random, hiddenAt
	}
	cfg := dials(office(true))
	cfg.Hide = true
	s := signed(t, cfg, wire.MD5).answer()
	s.ack()
	m := s.next("ICRQ")
	s.nr++
	if random, hid := attributes(m); len(random) != 1 || !slices.Equal(hid, []int{65, 66}) && !slices.Equal(hid, []int{66, 65}) {
		t.Errorf("%d Random Vectors, hidden %v", len(random), hid)
	}
	q := m.Message.(*wire.ICRQ) // as the peer unhides it
	if string(q.RemoteEndID) != "office" || q.Cookie.Len() != 8 {
		t.Errorf("%+v", q)
	}
	s.hide = secret("s")
	p := icrp(9, q)
	p.Cookie, _ = cookie.FromBytes([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	s.send(p)
	get[*wire.ICCN](s)
	if e := s.event(SessionUp); e.Params.SendCookie != p.Cookie || e.Params.ReceiveCookie != q.Cookie {
		t.Errorf("%+v", e.Params)
	}

	// Without a secret nothing is hidden, and what is hidden cannot be read.
	cfg = accepts(office(false))
	cfg.Hide = true
	s = tell(t, cfg).establish()
	s.send(icrq(9))
	for _, m := range s.sent {
		if random, hid := attributes(m); len(random)+len(hid) != 0 {
			t.Errorf("hidden %v", hid)
		}
	}
	get[*wire.ICRP](s)
	s.hide = secret("s")
	s.send(icrq(10))
	s.wantResult(get[*wire.CDN](s).Result, wire.CDNError, wire.ErrorRange, "hidden")

	// Hidden with another secret it makes no sense.
	s = signed(t, accepts(office(false)), wire.SHA1).establish()
	s.hide = secret("other")
	s.send(icrq(9))
	m = s.next("ACK")
	if len(s.sent) == 0 {
		t.Fatal("no answer to what cannot be read")
	}
	get[*wire.CDN](s)
}

// hide hides a short value as RFC 3931 section 5.3 has it.
func hide(secret string, attr uint16, vector []byte, value ...byte) []byte {
	mac := hmac.New(md5.New, []byte(secret))
	mac.Write([]byte{1})
	block := md5.Sum(slices.Concat([]byte{byte(attr >> 8), byte(attr)}, mac.Sum(nil), vector))
	plain := append([]byte{0, byte(len(value))}, value...)
	for i := range block {
		if i < len(plain) {
			block[i] ^= plain[i]
		}
	}
	return block[:]
}

// TestHiddenConnectionID has an SCCRQ hide its Assigned Control Connection ID,
// which RFC 3931 section 5.4.3 allows.
func TestHiddenConnectionID(t *testing.T) {
	for _, right := range []bool{true, false} {
		s := signed(t, accepts(), wire.SHA1)
		key := "s"
		if !right {
			key = "other"
		}
		vector := []byte("0123456789abcdef")
		b := wire.AppendControl(nil, wire.ControlHeader{Version: 3}, slices.Concat(
			avp(mandatory, 0, 0, 0, 1), avp(mandatory, 0, 59, append([]byte{1}, make([]byte, 20)...)...),
			avp(mandatory, 0, 73, s.peer.Nonce...), avp(mandatory, 0, 7, []byte("there")...), avp(mandatory, 0, 60, 0, 0, 0, 2),
			avp(mandatory, 0, 36, vector...), avp(mandatory|hidden, 0, 61, hide(key, 61, vector, 0, 0, 0, peerConnection)...),
			avp(mandatory, 0, 62, 0, 5), avp(mandatory, 0, 10, 0, 100)))
		wire.Seal(b, s.digests, nil, nil)
		s.receive(b)
		s.ns = 1
		if !right {
			s.wantSilence()
			s.dropped(DropRequest, 1)
			continue
		}
		m := s.want("SCCRP", 0, 1)
		if m.ControlHeader.ConnectionID != peerConnection {
			t.Errorf("for %d", m.ControlHeader.ConnectionID)
		}
		s.again()
		s.want("ACK", 1, 1)
		if len(s.conns) != 1 {
			t.Errorf("%d connections", len(s.conns))
		}
		s.send(&wire.SCCCN{})
		s.wantState(Established)
	}
}

// RFC 3931 section 5.4.1: "The Control Message Authentication Nonce AVP, Attribute
// Type 73, MUST contain a cryptographically random value [RFC1750]." And: "The
// Random Vector AVP, Attribute Type 36, MUST contain a cryptographically random
// value [RFC1750]." Both, as IDs, cookies and tie breakers, are what Config.Random
// gives, and never twice the same.
func TestRandomness(t *testing.T) {
	n := here()
	var given []byte
	n.Random = func(b []byte) {
		here().Random(b)
		for i := range b {
			b[i] ^= byte(len(given)) * 31
		}
		given = append(given, b...)
	}
	seen := make(map[string]bool)
	want := func(what string, b []byte) {
		t.Helper()
		if len(b) == 0 || !bytes.Contains(given, b) || seen[string(b)] {
			t.Errorf("%s %x: %d octets, given %v, seen before %v", what, b, len(b), bytes.Contains(given, b), seen[string(b)])
		}
		seen[string(b)] = true
	}
	cfg := dials(office(true))
	cfg.Hide, cfg.Secrets = true, []*wire.Secret{secret("s")}
	for range 3 {
		s := tellNode(t, n, cfg).authenticated(secret("s"), wire.SHA1)
		m := s.next("SCCRQ")
		s.nr++
		q := m.Message.(*wire.SCCRQ)
		want("nonce", q.Nonce)
		want("tie breaker", binary.BigEndian.AppendUint64(nil, q.TieBreaker.Value))
		want("connection ID", binary.BigEndian.AppendUint32(nil, q.ConnectionID))
		s.send(&wire.SCCRP{LCCE: s.peer})
		get[*wire.SCCCN](s)
		m = s.next("ICRQ")
		k := m.Message.(*wire.ICRQ)
		want("cookie", k.Cookie.Append(nil))
		want("tie breaker", binary.BigEndian.AppendUint64(nil, k.TieBreaker.Value))
		want("session ID", binary.BigEndian.AppendUint32(nil, k.LocalSessionID))
		at := bytes.Index(m.raw, []byte{0x80, 22, 0, 0, 0, byte(wire.AttrRandomVector)})
		want("Random Vector", m.raw[at+6:at+22])
	}
}

// TestRejectionIsSigned wants a StopCCN for an SCCRQ to be one that its sender can
// verify.
func TestRejectionIsSigned(t *testing.T) {
	s := signed(t, dials(), wire.MD5)
	tie := s.next("SCCRQ").Message.(*wire.SCCRQ).TieBreaker.Value
	s.id, s.remote = 0, nil
	s.send(&wire.SCCRQ{LCCE: s.peer, TieBreaker: wire.Some(tie + 1)})
	s.next("StopCCN") // drain has verified it
	s.ns, s.peer.ConnectionID = 0, 78
	s.send(s.request(), avp(mandatory, 0, 999))
	s.next("StopCCN")

	s = tell(t, accepts())
	s.digests = []wire.Signature{{Type: wire.MD5, Secret: integrity}}
	s.send(s.request(), avp(mandatory, 0, 999))
	m := s.next("StopCCN")
	if _, ok := wire.Verify(m.raw, []*wire.Secret{integrity}, nil, nil); !ok {
		t.Error("the digest is wrong")
	}

	// And what refuses our SCCRQ is believed if it is signed.
	s = signed(t, dials(), wire.SHA1)
	s.want("SCCRQ", 0, 0)
	nonce := s.peer.Nonce
	s.peer.Nonce = nil
	s.nr = 1
	s.send(&wire.StopCCN{Result: wire.Result{Code: wire.StopExists}})
	s.peer.Nonce = nonce
	s.wantState(Idle)
	if len(s.conns) != 0 {
		t.Error("the connection is left")
	}
}
