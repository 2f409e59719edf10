package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
	"testing"
)

// secretKey is what RFC 3931 derives from a shared secret: HMAC_MD5
// (shared_secret, 1) for hiding, section 5.3, and HMAC_MD5 (shared_secret, 2) for
// digests, section 5.4.1.
func secretKey(secret string, octet byte) []byte { return mac(md5.New, []byte(secret), []byte{octet}) }

func mac(h func() hash.Hash, key []byte, data ...[]byte) []byte {
	m := hmac.New(h, key)
	m.Write(bytes.Join(data, nil))
	return m.Sum(nil)
}

// The messages below have these nonces: ours and the peer's.
var ours, theirs = []byte("0123456789abcdef"), []byte("a nonce may have any length at all")

// hello returns a HELLO with digests of these types, which are zero.
func hello(digests ...DigestType) []byte {
	b := mustHex("8008 0000 0000 0006")
	for _, d := range digests {
		switch d {
		case MD5:
			b = append(b, mustHex("8017 0000 003b 00"+strings.Repeat("00", 16))...)
		case SHA1:
			b = append(b, mustHex("801b 0000 003b 01"+strings.Repeat("00", 20))...)
		}
	}
	b = append(b, mustHex("0008 0000 0043 0001")...) // so that something follows
	return AppendControl(nil, ControlHeader{3, 0x01020304, 5, 6}, b)
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

const firstDigest = 12 + 8 + 6 + 1 // the offset of its octets

// TestDigest seals messages and compares with the formula of RFC 3931
// section 5.4.1: Message Digest = HMAC_Hash (shared_key, local_nonce +
// remote_nonce + control_message).
func TestDigest(t *testing.T) {
	key := secretKey("secret", 2)
	secret := NewSecret([]byte("secret"))
	for _, v := range []struct {
		// RFC 3931 section 5.4.1: "Digest Type 0 (HMAC-MD5) MUST be supported, while
		// Digest Type 1 (HMAC-SHA-1) SHOULD be supported."
		//
		// "For Digest Type 0 (HMAC-MD5), the length of the digest MUST be 16 bytes."
		//
		// "For Digest Type 1 (HMAC-SHA-1) the length of the digest MUST be 20 bytes."
		kind   DigestType
		hash   func() hash.Hash
		length int
	}{{MD5, md5.New, 16}, {SHA1, sha1.New, 20}} {
		// RFC 3931 section 5.4.1: "When calculating the Message Digest, the Message
		// Digest AVP MUST be present within the control message with the Digest Type
		// set to its proper value, but the Message Digest itself set to zeros."
		zeros := hello(v.kind)
		want := mac(v.hash, key, ours, theirs, zeros)
		if len(want) != v.length || v.kind.Size() != v.length {
			t.Fatalf("%s: %d octets", v.kind, len(want))
		}
		b := bytes.Clone(zeros)
		signatures := []Signature{{v.kind, secret}}
		Seal(b, signatures, ours, theirs)
		if got := b[firstDigest:][:v.length]; !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", v.kind, got, want)
		}
		if !bytes.Equal(b[:firstDigest], zeros[:firstDigest]) || !bytes.Equal(b[firstDigest+v.length:], zeros[firstDigest+v.length:]) {
			t.Errorf("%s: Seal changed more than the digest: %x", v.kind, b)
		}
		// Retransmissions are sealed again, with another Nr.
		Seal(b, signatures, ours, theirs)
		if got := b[firstDigest:][:v.length]; !bytes.Equal(got, want) {
			t.Errorf("%s: sealed again: %x, want %x", v.kind, got, want)
		}

		// RFC 3931 section 5.4.1: "When receiving a control message, the contents of
		// the Message Digest AVP MUST be compared against the expected digest value
		// based on local calculation." The receiver's local nonce is the sender's
		// remote one.
		s, ok := Verify(b, []*Secret{secret}, ours, theirs)
		if !ok || s != signatures[0] {
			t.Errorf("%s: verified as %+v, %v", v.kind, s, ok)
		}
		// RFC 3931 section 5.4.1: "If the calculation fails, the message MUST be
		// dropped." Verify says so.
		for name, fails := range map[string]func() (Signature, bool){
			"nonces swapped":    func() (Signature, bool) { return Verify(b, []*Secret{secret}, theirs, ours) },
			"no nonces":         func() (Signature, bool) { return Verify(b, []*Secret{secret}, nil, nil) },
			"another secret":    func() (Signature, bool) { return Verify(b, []*Secret{NewSecret([]byte("Secret"))}, ours, theirs) },
			"the empty secret":  func() (Signature, bool) { return Verify(b, []*Secret{NewSecret(nil)}, ours, theirs) },
			"no secret":         func() (Signature, bool) { return Verify(b, nil, ours, theirs) },
			"digest still zero": func() (Signature, bool) { return Verify(zeros, []*Secret{secret}, ours, theirs) },
		} {
			if s, ok := fails(); ok || s != (Signature{}) {
				t.Errorf("%s: %s: verified", v.kind, name)
			}
		}
		for bit := range 8 * len(b) {
			flipped := bytes.Clone(b)
			flipped[bit/8] ^= 1 << (bit % 8)
			if _, ok := Verify(flipped, []*Secret{secret}, ours, theirs); ok {
				t.Errorf("%s: bit %d of octet %d inverted: verified", v.kind, bit%8, bit/8)
			}
		}
		for n := range b {
			if _, ok := Verify(b[:n], []*Secret{secret}, ours, theirs); ok {
				t.Errorf("%s: %d of %d octets: verified", v.kind, n, len(b))
			}
		}
	}
	if got := DigestType(2).String(); got != "digest type 2" || DigestType(2).Size() != 0 || MD5.String() != "md5" || SHA1.String() != "sha1" {
		t.Errorf("%s, %s, %s", MD5, SHA1, got)
	}
}

// digestConstants are the digests of the messages that hello makes, as Python's
// hmac computes them.
var digestConstants = map[DigestType]string{
	MD5:  "cac3bf725b4a1b9838aaaca8e7453a5b",
	SHA1: "5c370415b786def67a1e15b833d024612fd3a844",
}

// TestDigestConstants has values that another implementation of HMAC computed
// once and for all.
func TestDigestConstants(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	for kind, want := range digestConstants {
		b := hello(kind)
		Seal(b, []Signature{{kind, secret}}, ours, theirs)
		if got := hex.EncodeToString(b[firstDigest:][:kind.Size()]); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

// TestDigestOfSCCRQ has a message that is alone with its nonce: "Message Digest =
// HMAC_Hash (shared_key, control_message)".
func TestDigestOfSCCRQ(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	for kind, h := range map[DigestType]func() hash.Hash{MD5: md5.New, SHA1: sha1.New} {
		e := &Encoding{Signatures: []Signature{{kind, secret}}}
		b := AppendControl(nil, ControlHeader{Version: 3}, AppendBody(nil, &SCCRQ{LCCE: LCCE{HostName: "a", ConnectionID: 1, Nonce: ours}}, e))
		want := mac(h, secretKey("secret", 2), b)
		Seal(b, e.Signatures, nil, nil)
		if got := b[firstDigest:][:kind.Size()]; !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", kind, got, want)
		}
		if _, ok := Verify(b, []*Secret{secret}, nil, nil); !ok {
			t.Errorf("%s: not verified", kind)
		}
		if !bytes.Equal(Nonce(b), ours) {
			t.Errorf("nonce %x, want %x", Nonce(b), ours)
		}
	}
}

// TestIntegrityCheck has the digest of those who share no secret, RFC 3931
// section 4.3: "with an empty zero-length shared secret, local nonce, and remote
// nonce".
func TestIntegrityCheck(t *testing.T) {
	b := hello(MD5)
	want := mac(md5.New, mac(md5.New, nil, []byte{2}), b)
	Seal(b, []Signature{{MD5, NewSecret(nil)}}, nil, nil)
	if got := b[firstDigest:][:16]; !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if _, ok := Verify(b, []*Secret{NewSecret([]byte{})}, nil, nil); !ok {
		t.Error("not verified")
	}
	b[len(b)-1] ^= 1
	if _, ok := Verify(b, []*Secret{NewSecret(nil)}, nil, nil); ok {
		t.Error("changed on its way, and verified")
	}
}

// TestPlaceOfDigests appends every message with digests.
func TestPlaceOfDigests(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	md, sha := Signature{MD5, secret}, Signature{SHA1, secret}
	for typ := range messageNames {
		for _, v := range []struct {
			signatures []Signature
			hex        string
		}{
			{nil, ""},
			{[]Signature{md}, "8017 0000 003b 00" + strings.Repeat("00", 16)},
			{[]Signature{sha}, "801b 0000 003b 01" + strings.Repeat("00", 20)},
			{[]Signature{sha, md}, "801b 0000 003b 01" + strings.Repeat("00", 20) + "8017 0000 003b 00" + strings.Repeat("00", 16)},
		} {
			e := &Encoding{Signatures: v.signatures, Hide: secret, Random: func([]byte) {}}
			b := AppendControl(nil, ControlHeader{Version: 3}, AppendBody(nil, newMessage(typ), e))
			// RFC 3931 section 5.4.1: "If Control Message Authentication is enabled, at
			// least one Message Digest AVP MUST be present in all messages and MUST be
			// placed immediately after the Message Type AVP."
			//
			// "A second Message Digest AVP MAY be present in a message and MUST be
			// placed directly after the first Message Digest AVP."
			if !bytes.HasPrefix(b[20:], octets(t, v.hex)) || HasDigest(b) != (v.signatures != nil) {
				t.Errorf("%s: %x, want %s; digest there: %v", typ, b[20:], v.hex, HasDigest(b))
			}
			Seal(b, v.signatures, ours, theirs)
			if _, ok := Verify(b, []*Secret{secret}, ours, theirs); ok != (v.signatures != nil) {
				t.Errorf("%s: verified: %v", typ, ok)
			}
		}
	}
}

// TestTwoDigests goes over to another secret and another hash.
func TestTwoDigests(t *testing.T) {
	older, newer, other := NewSecret([]byte("older")), NewSecret([]byte("newer")), NewSecret([]byte("other"))
	zeros := hello(MD5, SHA1)
	b := bytes.Clone(zeros)
	signatures := []Signature{{MD5, older}, {SHA1, newer}}
	Seal(b, signatures, ours, theirs)
	// RFC 3931 section 5.4.1: "When calculating a digest for a control message, the
	// Value field for both of the Message Digest AVPs MUST be set to zero."
	first, second := b[firstDigest:][:16], b[firstDigest+16+7:][:20]
	if want := mac(md5.New, secretKey("older", 2), ours, theirs, zeros); !bytes.Equal(first, want) {
		t.Errorf("first: %x, want %x", first, want)
	}
	if want := mac(sha1.New, secretKey("newer", 2), ours, theirs, zeros); !bytes.Equal(second, want) {
		t.Errorf("second: %x, want %x", second, want)
	}
	// RFC 3931 section 5.4.1: "If two Message Digest AVPs are received in a control
	// message, the message MUST be accepted if either Message Digest is valid."
	//
	// "If two shared secrets are configured, each (separately) MUST be used for
	// calculating a digest to be compared to the Message Digest(s) received."
	for _, v := range []struct {
		name    string
		secrets []*Secret
		want    Signature
	}{
		{"the older", []*Secret{older}, signatures[0]},
		{"the newer", []*Secret{newer}, signatures[1]},
		{"both", []*Secret{older, newer}, signatures[0]},
		{"the newer first", []*Secret{newer, older}, signatures[1]},
		{"another first", []*Secret{other, newer}, signatures[1]},
		{"another last", []*Secret{older, other}, signatures[0]},
		{"another", []*Secret{other, other}, Signature{}},
	} {
		if s, ok := Verify(b, v.secrets, ours, theirs); s != v.want || ok != (v.want != Signature{}) {
			t.Errorf("%s: %+v, %v", v.name, s, ok)
		}
	}
	for _, v := range []struct {
		name    string
		broken  []int // octets
		secrets []*Secret
		ok      bool
	}{
		{"first broken", []int{firstDigest}, []*Secret{older, newer}, true},
		{"second broken", []int{firstDigest + 16 + 7}, []*Secret{older, newer}, true},
		{"both broken", []int{firstDigest, firstDigest + 16 + 7}, []*Secret{older, newer}, false},
		{"first broken, the older alone", []int{firstDigest}, []*Secret{older}, false},
		{"the rest broken", []int{len(b) - 1}, []*Secret{older, newer}, false},
	} {
		c := bytes.Clone(b)
		for _, i := range v.broken {
			c[i] ^= 1
		}
		if _, ok := Verify(c, v.secrets, ours, theirs); ok != v.ok {
			t.Errorf("%s: verified: %v", v.name, ok)
		}
	}
}

// TestUnknownDigestType goes over to a hash that we do not have: the other digest
// counts, whichever comes first.
func TestUnknownDigestType(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	unknown := octets(t, "8027 0000 003b 02"+strings.Repeat("5a", 32))
	zeroed := octets(t, "8027 0000 003b 02"+strings.Repeat("00", 32))
	known := octets(t, "8017 0000 003b 00"+strings.Repeat("00", 16))
	typ := octets(t, "8008 0000 0000 0006")
	for _, v := range []struct {
		name         string
		zeros, avps  [][]byte
		digest       int
		has, correct bool
	}{
		{"first", [][]byte{typ, zeroed, known}, [][]byte{typ, unknown, known}, firstDigest + 32 + 7, true, true},
		{"second", [][]byte{typ, known, zeroed}, [][]byte{typ, known, unknown}, firstDigest, true, true},
		{"alone", [][]byte{typ, zeroed}, [][]byte{typ, unknown}, firstDigest, false, false},
	} {
		b := message(v.avps...)
		if v.correct {
			copy(b[v.digest:], mac(md5.New, secretKey("secret", 2), ours, theirs, message(v.zeros...)))
		}
		if _, ok := Verify(b, []*Secret{secret}, ours, theirs); ok != v.correct || HasDigest(b) != v.has {
			t.Errorf("%s: verified %v, digest there %v", v.name, ok, HasDigest(b))
		}
		good(t, b)
	}
}

// TestMisplacedDigest has digests that are none.
func TestMisplacedDigest(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	md := "8017 0000 003b 00" + strings.Repeat("00", 16)
	for _, v := range []struct {
		name string
		hex  string
		has  bool // and Verify refuses it
	}{
		{"not directly after the Message Type", "8008 0000 0000 0006 0008 0000 0043 0001" + md, false},
		{"before the Message Type", md + "8008 0000 0000 0006", false},
		{"a hidden Message Type before it", "c008 0000 0000 0006" + md, false},
		{"hidden", "8008 0000 0000 0006 c017 0000 003b 00" + strings.Repeat("00", 16), false},
		{"of another vendor", "8008 0000 0000 0006 8017 000a 003b 00" + strings.Repeat("00", 16), false},
		{"without a value", "8008 0000 0000 0006 8006 0000 003b", false},
		{"longer than the message", "8008 0000 0000 0006 8018 0000 003b 00" + strings.Repeat("00", 16), false},
		// A hash we know, of a size it does not have, is one that fails.
		{"MD5 of 20 octets", "8008 0000 0000 0006 801b 0000 003b 00" + strings.Repeat("00", 20), true},
		{"SHA-1 of 16 octets", "8008 0000 0000 0006 8017 0000 003b 01" + strings.Repeat("00", 16), true},
		{"MD5 of none", "8008 0000 0000 0006 8007 0000 003b 00", true},
	} {
		b := message(octets(t, v.hex))
		if HasDigest(b) != v.has {
			t.Errorf("%s: digest there: %v", v.name, !v.has)
		}
		c := bytes.Clone(b)
		Seal(b, []Signature{{MD5, secret}}, nil, nil)
		if !bytes.Equal(b, c) {
			t.Errorf("%s: sealed: %x", v.name, b)
		}
		if _, ok := Verify(b, []*Secret{secret}, nil, nil); ok {
			t.Errorf("%s: verified", v.name)
		}
	}
	// A third is an AVP as any other.
	b := hello(MD5, MD5, MD5)
	if all, n := digestFields(b); n != 2 || all[1].end != firstDigest+16+7+16 {
		t.Errorf("three digests: %d, %+v", n, all)
	}
	for n := range ControlHeaderLen {
		if HasDigest(b[:n]) || Nonce(b[:n]) != nil {
			t.Errorf("%d octets: a digest, or a nonce", n)
		}
	}
	// Over what they are not to be put, and by what they are not to be put.
	Seal(b, nil, nil, nil)
	if !bytes.Equal(b, hello(MD5, MD5, MD5)) {
		t.Errorf("sealed by nobody: %x", b)
	}
}

// TestCiscoDigest has the digest of Cisco's drafts.
func TestCiscoDigest(t *testing.T) {
	b := message(octets(t, "8008 0000 0000 0006"), octets(t, "8017 0009 000c 00"+strings.Repeat("00", 16)))
	copy(b[firstDigest:], mac(md5.New, secretKey("secret", 2), ours, theirs, b))
	if _, ok := Verify(b, []*Secret{NewSecret([]byte("secret"))}, ours, theirs); !ok {
		t.Error("not verified")
	}
}

// TestNonce finds nonces where they may be.
func TestNonce(t *testing.T) {
	for _, v := range []struct {
		name, hex, want string
	}{
		{"at the end", "8008 0000 0000 0001 0006 0000 0048 800a 0000 0049 01020304", "01020304"},
		{"the first of two", "8008 0000 0000 0001 8007 0000 0049 01 8007 0000 0049 02", "01"},
		{"Cisco's", "8008 0000 0000 0001 8007 0009 000d 01", "01"},
		{"none", "8008 0000 0000 0001", ""},
		{"an empty one", "8008 0000 0000 0001 8006 0000 0049", ""},
		{"an empty one first", "8008 0000 0000 0001 0006 0000 0049 8007 0000 0049 02", "02"},
		{"another vendor's", "8008 0000 0000 0001 8007 000a 0049 01", ""},
		{"hidden", "8008 0000 0000 0001 4007 0000 0049 01 8007 0000 0049 02", "02"},
		{"behind what cannot be read", "8008 0000 0000 0001 8005 0000 0043 8007 0000 0049 01", ""},
		{"behind a Message Type of a vendor", "8008 0009 0000 0001 8007 0000 0049 01", "01"},
	} {
		b := message(octets(t, v.hex))
		got := Nonce(b)
		if hex.EncodeToString(got) != v.want || (got == nil) != (v.want == "") {
			t.Errorf("%s: %x, want %s", v.name, got, v.want)
		}
		// What the message says is what it is verified with.
		if p, _ := Parse(b, &Decoding{}); p.Message != nil {
			if parsed := p.Message.(*SCCRQ).Nonce; v.name != "behind what cannot be read" && !bytes.Equal(parsed, got) {
				t.Errorf("%s: parsed %x, found %x", v.name, parsed, got)
			}
		}
	}
}

// TestSecretIsKept prints secrets in every way that a log might.
func TestSecretIsKept(t *testing.T) {
	s := NewSecret([]byte("secret"))
	var leaks []string
	for _, key := range [][]byte{secretKey("secret", 1), secretKey("secret", 2), []byte("secret!")} {
		leaks = append(leaks, hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), string(key),
			strings.Trim(fmt.Sprint(key), "[]"), strings.Trim(fmt.Sprintf("%#v", key), "[]byte{}"), fmt.Sprintf("%q", key))
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "% x", "%t"} {
		for _, v := range []any{s, *s, Signature{MD5, s}, &Signature{SHA1, s}, []*Secret{s}, map[string]Secret{"a": *s}, struct{ Secret Secret }{*s}, Encoding{Hide: s}, &Decoding{Secret: s}} {
			got := fmt.Sprintf(verb, v)
			if slices.ContainsFunc(leaks, func(leak string) bool { return strings.Contains(got, leak) }) {
				t.Errorf("%s of %T: %s", verb, v, got)
			}
		}
	}
	if got := fmt.Sprint(s); got != "secret" {
		t.Errorf("%q", got)
	}
}

func FuzzVerify(f *testing.F) {
	for _, v := range vectors {
		f.Add(octets(f, v.hex), []byte("secret"), ours, theirs)
	}
	for _, d := range [][]DigestType{{MD5}, {SHA1}, {SHA1, MD5}, {MD5, MD5, MD5}} {
		b := hello(d...)
		Seal(b, []Signature{{d[0], NewSecret([]byte("secret"))}}, ours, theirs)
		f.Add(b, []byte("secret"), ours, theirs)
	}
	f.Fuzz(func(t *testing.T, b, secret, local, remote []byte) {
		s := NewSecret(secret)
		before := b
		b = bytes.Clone(b) // what the fuzzer gives is its own
		HasDigest(b)
		Nonce(b)
		Verify(b, []*Secret{s, NewSecret(nil)}, local, remote)
		if !bytes.Equal(b, before) {
			t.Fatalf("changed %x to %x", before, b)
		}
		fields, n := digestFields(b)
		if n == 0 || !fields[0].valid() {
			return
		}
		sealed := []Signature{{fields[0].kind, s}}
		Seal(b, sealed, local, remote)
		if got, ok := Verify(b, []*Secret{NewSecret([]byte("no such secret")), s}, local, remote); !ok || got != sealed[0] {
			t.Fatalf("%x: sealed and not verified", b)
		}
		if n > 1 || len(b) > 300 {
			return // the octets of another digest count for nothing
		}
		for i := range b {
			b[i] ^= 0x10
			if _, ok := Verify(b, []*Secret{s}, local, remote); ok {
				t.Fatalf("%x: octet %d changed, and verified", b, i)
			}
			b[i] ^= 0x10
		}
	})
}

func TestSecretEqual(t *testing.T) {
	a, b := NewSecret([]byte("a")), NewSecret([]byte("b"))
	if !a.Equal(NewSecret([]byte("a"))) || a.Equal(b) || a.Equal(nil) || !(*Secret)(nil).Equal(nil) {
		t.Error("Equal does not tell secrets apart")
	}
}
