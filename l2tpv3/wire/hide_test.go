package wire

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanwire/pseudowire"
)

// hiddenByFormula returns a hidden value as RFC 3931 section 5.3 writes it: S is
// the shared key, RV the Random Vector, A the Attribute Type.
//
//	b_1 = MD5 (A + S + RV)   c_1 = p_1 xor b_1
//	b_i = MD5 (S + c_i-1)    c_i = p_i xor b_i
func hiddenByFormula(a uint16, s, rv, value, padding []byte) (c []byte) {
	p := binary.BigEndian.AppendUint16(nil, uint16(len(value)))
	p = append(append(p, value...), padding...)
	b := md5.Sum(slices.Concat([]byte{byte(a >> 8), byte(a)}, s, rv))
	for chunk := range slices.Chunk(p, 16) {
		var ci []byte
		for j := range chunk {
			ci = append(ci, chunk[j]^b[j])
		}
		c = append(c, ci...)
		b = md5.Sum(slices.Concat(s, ci))
	}
	return c
}

// fives fills with fives, for padding that can be told, and vectors that repeat.
func fives(b []byte) {
	for i := range b {
		b[i] = 5
	}
}

// TestHide hides values of every length.
func TestHide(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	key := secretKey("secret", 1)
	vector := []byte("a vector")
	for n := range longest - 1 {
		value := bytes.Repeat([]byte{0xa5}, n)
		got := secret.hide(AttrRemoteEndID, vector, value, fives)
		padding := len(got) - 2 - n
		if padding < 0 || len(got) > longest || padding > 15 || len(got)%16 != 0 && len(got) != longest {
			t.Fatalf("%d octets hidden in %d", n, len(got))
		}
		if want := hiddenByFormula(66, key, vector, value, bytes.Repeat([]byte{5}, padding)); !bytes.Equal(got, want) {
			t.Errorf("%d octets: %x, want %x", n, got, want)
		}
		before := bytes.Clone(got)
		back, err := secret.unhide(AttrRemoteEndID, vector, got)
		if err != nil || !bytes.Equal(back, value) {
			t.Errorf("%d octets: unhidden %x, %v", n, back, err)
		}
		if !bytes.Equal(got, before) {
			t.Errorf("%d octets: unhide wrote into the message", n)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("1016 octets to hide: no panic")
		}
	}()
	secret.hide(AttrRemoteEndID, vector, make([]byte, longest-1), fives)
}

// TestUnhide reads what others hide: any padding or none, any vector.
func TestUnhide(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	key := secretKey("secret", 1)
	for _, n := range []int{0, 1, 4, 8, 13, 14, 15, 16, 30, 31, 100} {
		value := []byte(strings.Repeat("v", n))
		for _, padding := range []int{0, 1, 12, 15, 16, 184} {
			for _, vector := range [][]byte{nil, {1}, []byte("0123456789abcdef"), make([]byte, 60)} {
				got, err := secret.unhide(AttrAssignedCookie, vector, hiddenByFormula(65, key, vector, value, make([]byte, padding)))
				if err != nil || !bytes.Equal(got, value) {
					t.Errorf("%d octets, padding %d, vector %x: %x, %v", n, padding, vector, got, err)
				}
			}
		}
	}
	for _, n := range []int{0, 1} {
		if _, err := secret.unhide(AttrAssignedCookie, nil, make([]byte, n)); err == nil {
			t.Errorf("hidden in %d octets: no error", n)
		}
	}
	// The length is that of the value alone.
	lie := hiddenByFormula(65, key, nil, nil, nil)
	lie[1] ^= 1
	if got, err := secret.unhide(AttrAssignedCookie, nil, lie); err == nil {
		t.Errorf("hidden length 1 in no octets: %x", got)
	}
}

// hidden returns an AVP that hides a value under the secret "secret".
func hidden(attr Attr, vector string, value string) []byte {
	return appendAVP(nil, mandatoryBit|hiddenBit, 0, uint16(attr), hiddenByFormula(uint16(attr), secretKey("secret", 1), []byte(vector), mustHex(value), make([]byte, 3)))
}

func randomVector(vector string) []byte {
	return appendAVP(nil, mandatoryBit, 0, uint16(AttrRandomVector), []byte(vector))
}

// TestHiddenSent appends every message with hiding.
func TestHiddenSent(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	calls := byte(0)
	random := func(b []byte) {
		calls++
		for i := range b {
			b[i] = calls
		}
	}
	for _, v := range vectors {
		if v.message == nil {
			continue
		}
		for _, cisco := range []bool{false, true} {
			body := AppendBody(nil, v.message, &Encoding{Hide: secret, Random: random, Cisco: cisco})
			p, err := Parse(message(body), &Decoding{Secret: secret})
			if d := cmp.Diff(v.message, p.Message, sameCookie); err != nil || d != "" {
				t.Errorf("%s: %v\n%s", v.name, err, d)
			}
			vectors, hidden := 0, 0
			for rest := body; len(rest) > 0; {
				a, next, err := nextAVP(rest)
				if err != nil {
					t.Fatal(err)
				}
				rest = next
				// RFC 3931 section 5.4.1, and so on for nine others: "This AVP MUST NOT
				// be hidden (the H bit MUST be 0)."
				if a.vendor == 0 && rfc[a.attr].open && a.hidden {
					t.Errorf("%s: %s is hidden", v.name, a.attr)
				}
				if a.vendor == 0 && a.attr == AttrRandomVector {
					vectors++
				}
				if !a.hidden {
					if a.attr == AttrAssignedCookie || a.attr == AttrRemoteEndID || a.vendor == vendorCisco && (a.attr == 5 || a.attr == 6) {
						t.Errorf("%s: %s is not hidden", v.name, a.name())
					}
					continue
				}
				hidden++
				// RFC 3931 section 5.3: "If the H bit is set in any AVP(s) in a given
				// control message, at least one Random Vector AVP must also be present
				// in the message and MUST precede the first AVP having an H bit of 1."
				//
				// RFC 3931 section 5.4.1: "As such, at least one Random Vector AVP MUST
				// precede the first AVP with the H bit set."
				if vectors != 1 {
					t.Errorf("%s: %s hidden behind %d Random Vectors", v.name, a.name(), vectors)
				}
			}
			if vectors == 1 != (hidden > 0) {
				t.Errorf("%s: %d Random Vectors for %d hidden AVPs", v.name, vectors, hidden)
			}
		}
	}
	// Every message has a vector of its own.
	icrq := &ICRQ{}
	a, b := AppendBody(nil, icrq, &Encoding{Hide: secret, Random: random}), AppendBody(nil, icrq, &Encoding{Hide: secret, Random: random})
	if bytes.Equal(a, b) {
		t.Errorf("twice the same: %x", a)
	}
}

// TestHiddenReceived reads messages that others hide in.
func TestHiddenReceived(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	begin := octets(t, "8008 0000 0000 000a 800a 0000 003f 00000001 800a 0000 0040 00000000 000a 0000 000f 00000005 8008 0000 0044 0005")
	status := octets(t, "8008 0000 0047 0001")
	end, cookie := hidden(AttrRemoteEndID, "vector one", "766f696365"), hidden(AttrAssignedCookie, "vector one", "0102030405060708")
	want := &ICRQ{CallRequest: CallRequest{LocalSessionID: 1, SerialNumber: 5, PseudowireType: pseudowire.Ethernet, RemoteEndID: []byte("voice"),
		Status: CircuitActive, Cookie: someCookie("0102030405060708")}}
	long := &ICRQ{CallRequest: want.CallRequest}
	long.RemoteEndID = []byte(strings.Repeat("voice", 20))
	for _, v := range []struct {
		name string
		avps [][]byte
		want *ICRQ
	}{
		{"several behind one Random Vector", [][]byte{begin, randomVector("vector one"), end, cookie, status}, want},
		{"another AVP between", [][]byte{begin, randomVector("vector one"), end, status, cookie}, want},
		// RFC 3931 section 5.3: "When a different random vector is used for the hiding
		// of subsequent AVPs, a new Random Vector AVP MUST be placed in the control
		// message before the first AVP to which it applies."
		{"a second Random Vector", [][]byte{begin, randomVector("vector one"), end, status, randomVector("vector two"), hidden(AttrAssignedCookie, "vector two", "0102030405060708")}, want},
		{"a Random Vector for nothing", [][]byte{begin, randomVector("vector two"), randomVector("vector one"), end, cookie, status}, want},
		{"an empty Random Vector", [][]byte{begin, randomVector(""), hidden(AttrRemoteEndID, "", "766f696365"), hidden(AttrAssignedCookie, "", "0102030405060708"), status}, want},
		{"longer than a block", [][]byte{begin, randomVector("vector one"), hidden(AttrRemoteEndID, "vector one", strings.Repeat("766f696365", 20)), cookie, status}, long},
		{"under Cisco's numbers", [][]byte{begin, randomVector("vector one"), status,
			appendAVP(nil, mandatoryBit|hiddenBit, 9, 5, hiddenByFormula(5, secretKey("secret", 1), []byte("vector one"), mustHex("0102030405060708"), nil)),
			appendAVP(nil, mandatoryBit|hiddenBit, 9, 6, hiddenByFormula(6, secretKey("secret", 1), []byte("vector one"), []byte("voice"), nil))}, want},
	} {
		p, err := Parse(message(v.avps...), &Decoding{Secret: secret})
		if d := cmp.Diff(Message(v.want), p.Message, sameCookie); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", v.name, err, d)
		}
	}
	// With two vectors the nearest counts.
	p, err := Parse(message(begin, randomVector("vector one"), randomVector("vector two"), end, cookie, status), &Decoding{Secret: secret})
	if icrq := p.Message.(*ICRQ); err == nil && bytes.Equal(icrq.RemoteEndID, want.RemoteEndID) {
		t.Errorf("unhidden by a Random Vector that is not the nearest: %+v", icrq)
	}

	for _, v := range []struct {
		name   string
		avps   [][]byte
		secret *Secret
		text   string
	}{
		{"no Random Vector", [][]byte{begin, end, cookie, status}, secret, "Remote End ID: hidden without a Random Vector before it"},
		{"the Random Vector behind", [][]byte{begin, end, randomVector("vector one"), status}, secret, "Remote End ID: hidden without a Random Vector before it"},
		{"no secret", [][]byte{begin, randomVector("vector one"), end, cookie, status}, nil, "Remote End ID: hidden, and there is no secret here"},
		{"another secret", [][]byte{begin, randomVector("vector one"), end, cookie, status}, NewSecret([]byte("Secret")),
			fmt.Sprintf("Remote End ID: hidden length %d in 8 octets: hidden with another secret?", wrongLength(end))},
		{"a hidden Random Vector", [][]byte{begin, setBits(randomVector("vector one"), hiddenBit, 0), end, cookie, status}, secret, "Random Vector: it must not be hidden"},
		{"one octet", [][]byte{begin, randomVector("vector one"), resized(end, 1), status}, secret, "Remote End ID: hidden in 1 octets, want 2"},
		// What was hidden must have a good length, too.
		{"a cookie of 5 octets", [][]byte{begin, randomVector("vector one"), end, hidden(AttrAssignedCookie, "vector one", "0102030405"), status}, secret, "Assigned Cookie: 5 octets, want 0, 4 or 8"},
	} {
		_, err := Parse(message(v.avps...), &Decoding{Secret: v.secret})
		if err == nil || err.Text != v.text || err.Code != ErrorRange && err.Code != ErrorLength {
			t.Errorf("%s: %v, want %s", v.name, err, v.text)
		}
		// By its M bit, as any malformed AVP.
		for i, line := range v.avps[1:] {
			v.avps[i+1] = setBits(line, 0, mandatoryBit)
		}
		_, err = Parse(message(v.avps...), &Decoding{Secret: v.secret})
		if missing := "Remote End ID: missing"; err != nil && err.Text != missing {
			t.Errorf("%s: M bit clear: %v, want nothing but %s", v.name, err, missing)
		}
	}
}

// wrongLength is the length that unhiding an AVP of hidden by the secret "Secret"
// yields, with the Random Vector "vector one".
func wrongLength(line []byte) int {
	b := md5.Sum(slices.Concat([]byte{line[4], line[5]}, secretKey("Secret", 1), []byte("vector one")))
	return int(line[6]^b[0])<<8 | int(line[7]^b[1])
}

// TestNotToBeHidden sets the H bit of every AVP that must not have it.
func TestNotToBeHidden(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	for _, v := range vectors {
		avps := v.lines(t)
		for i := 1; i < len(avps); i++ {
			attr := attrOf(avps[i])
			if !rfc[attr].open {
				continue
			}
			// RFC 3931 section 5.4: "This AVP MUST NOT be hidden (the H bit MUST be 0)."
			line := hidden(attr, "vector", fmt.Sprintf("%x", avps[i][6:]))
			_, err := Parse(message(with(avps, i, randomVector("vector"), line)...), &Decoding{Secret: secret})
			if err == nil || err.Code != ErrorRange || err.Attr != attr || !strings.HasSuffix(err.Text, ": it must not be hidden") {
				t.Errorf("%s: %s hidden: %v", v.name, attr, err)
			}
			got, gotErr := Parse(message(with(avps, i, randomVector("vector"), setBits(line, 0, mandatoryBit))...), &Decoding{Secret: secret})
			want, wantErr := Parse(message(with(avps, i)...), &Decoding{})
			if d := different(want, got); d != "" || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Errorf("%s: %s hidden, M bit clear: %v, want %v\n%s", v.name, attr, gotErr, wantErr, d)
			}
		}
	}
}

// TestEveryAVPHidden hides, one by one, every AVP that may be.
func TestEveryAVPHidden(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	for _, v := range vectors {
		avps := v.lines(t)
		for i := 1; i < len(avps); i++ {
			attr := attrOf(avps[i])
			if rfc[attr].open {
				continue
			}
			line := hidden(attr, "vector", fmt.Sprintf("%x", avps[i][6:]))
			p, err := Parse(message(with(avps, i, randomVector("vector"), line)...), &Decoding{Secret: secret})
			if d := cmp.Diff(v.message, p.Message, sameCookie); err != nil || d != "" {
				t.Errorf("%s: %s hidden: %v\n%s", v.name, attr, err, d)
			}
		}
	}
}

func FuzzHidden(f *testing.F) {
	for _, v := range vectors {
		for _, line := range v.lines(f) {
			f.Add([]byte("secret"), []byte("vector"), uint16(attrOf(line)), line[6:], uint8(3))
		}
	}
	f.Add([]byte{}, []byte{}, uint16(66), bytes.Repeat([]byte{7}, longest-2), uint8(255))
	f.Fuzz(func(t *testing.T, secret, vector []byte, attr uint16, value []byte, padding uint8) {
		s, key := NewSecret(secret), secretKey(string(secret), 1)
		// Whatever it is, it can be looked at.
		if got, err := s.unhide(Attr(attr), vector, value); err == nil && len(got) > len(value)-2 {
			t.Errorf("%x: unhidden %x", value, got)
		}
		if len(value) > longest-2 {
			return
		}
		theirs := hiddenByFormula(attr, key, vector, value, make([]byte, padding))
		if got, err := s.unhide(Attr(attr), vector, theirs); err != nil || !bytes.Equal(got, value) {
			t.Errorf("theirs %x: %x, %v; want %x", theirs, got, err, value)
		}
		ours := s.hide(Attr(attr), vector, value, fives)
		if want := hiddenByFormula(attr, key, vector, value, bytes.Repeat([]byte{5}, len(ours)-2-len(value))); !bytes.Equal(ours, want) {
			t.Errorf("ours %x, want %x", ours, want)
		}
	})
}
