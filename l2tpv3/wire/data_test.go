package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"spanwire/cookie"
	"spanwire/pseudowire"
)

// headers are data headers laid out as RFC 3931 draws them, a word a line.
var headers = []struct {
	name      string
	encap     Encap
	session   uint32
	cookie    string
	sublayer  pseudowire.Sublayer
	number    uint32
	sequenced bool
	hex       string
}{
	{"UDP, bare", UDP, 0x1001, "", pseudowire.NoSublayer, 0, false, `
		00030000
		00001001`},
	{"UDP, cookie of 4 octets", UDP, 0xf0e02002, "01020304", pseudowire.NoSublayer, 0, false, `
		00030000
		f0e02002
		01020304`},
	{"UDP, all there is", UDP, 1, "0102030405060708", pseudowire.DefaultSublayer, 0xfffffe, true, `
		00030000
		00000001
		01020304
		05060708
		40fffffe`},
	{"UDP, sublayer without a number", UDP, 1, "", pseudowire.DefaultSublayer, 0, false, `
		00030000
		00000001
		00000000`},
	{"IP, bare", IP, 0xffffffff, "", pseudowire.NoSublayer, 0, false, `
		ffffffff`},
	{"IP, all there is", IP, 0x1001, "a1a2a3a4a5a6a7a8", pseudowire.DefaultSublayer, 0, true, `
		00001001
		a1a2a3a4
		a5a6a7a8
		40000000`},
}

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDataHeader(t *testing.T) {
	for _, v := range headers {
		want := octets(t, v.hex)
		c, err := cookie.Parse(v.cookie)
		if err != nil {
			t.Fatal(err)
		}
		// RFC 3931 section 4.1.2.1: "The T bit MUST be set to 0, indicating that this
		// is a data message."
		//
		// "All reserved values MUST be set to 0 on outgoing messages and ignored on
		// incoming messages."
		//
		// "The Ver field MUST be set to 3, indicating an L2TPv3 message."
		got := AppendDataHeader(nil, v.encap, v.session, c, v.sublayer)
		// RFC 3931 section 4.6: "If the number in this field is valid, the S bit MUST
		// be set to 1."
		if v.sequenced {
			PutSequence(got[len(got)-4:], v.number|1<<24) // more than 24 bits do not show
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", v.name, got, want)
		}
		if n := DataHeaderLen(v.encap, c.Len(), v.sublayer); n != len(want) || n > MaxDataHeaderLen {
			t.Errorf("%s: length %d, want %d", v.name, n, len(want))
		}
		kind, id, rest := Classify(v.encap, want)
		if kind != Data || id != v.session || !c.Match(rest) {
			t.Errorf("%s: kind %d, session %#x, rest %x", v.name, kind, id, rest)
		}
		if v.sublayer == pseudowire.DefaultSublayer {
			n, sequenced, err := Sequence(rest[c.Len():])
			if err != nil || sequenced != v.sequenced || n != v.number {
				t.Errorf("%s: number %d, %v, %v", v.name, n, sequenced, err)
			}
		}
		// Cut at every octet: before the cookie it is too short, after it the rest
		// says so.
		for n := range want {
			kind, _, rest := Classify(v.encap, want[:n])
			switch {
			case n < v.encap.sessionOffset()+4 && kind != Short:
				t.Errorf("%s: %d octets: kind %d, want %d", v.name, n, kind, Short)
			case n >= v.encap.sessionOffset()+4 && (kind != Data || len(rest) != n-v.encap.sessionOffset()-4):
				t.Errorf("%s: %d octets: kind %d, %d left", v.name, n, kind, len(rest))
			}
		}
	}
}

// datagrams are those that are no good data message, and what may surprise in one.
var datagrams = []struct {
	name  string
	encap Encap
	hex   string
	want  Kind
	rest  string
}{
	{"nothing", UDP, "", Short, ""},
	{"one octet", UDP, "00", Short, ""},
	{"no Session ID", UDP, "0003 0000 000000", Short, ""},
	{"version 0", UDP, "0000 0000 00000001", UnknownKind, ""},
	{"version 1, L2F", UDP, "0001 0000 00000001", UnknownKind, ""},
	{"version 2 data", UDP, "0002 0000 00000001", Version2, "0002 0000 00000001"},
	{"version 2 control", UDP, "c802 000c 00000000 00000000", Version2, "c802 000c 00000000 00000000"},
	{"version 3 control", UDP, "c803 000c 00000000 00000000", Control, "c803 000c 00000000 00000000"},
	{"version 4", UDP, "0004 0000 00000001", UnknownKind, ""},
	{"version first", UDP, "8004 0000 00000001", UnknownKind, ""},
	// "All reserved values MUST be set to 0 on outgoing messages and ignored on
	// incoming messages."
	{"reserved bits", UDP, "7ff3 ffff 00000001 42", Data, "42"},
	// Over IP four octets of zero say that what follows is a control message.
	{"IP control", IP, "00000000 c803000c", Control, "c803000c"},
	{"IP, three octets", IP, "000000", Short, ""},
}

func TestClassify(t *testing.T) {
	// RFC 3931 section 3.2.2: "The Session Header MUST provide (1) a method of
	// distinguishing traffic among multiple L2TP data sessions and (2) a method of
	// distinguishing data messages from control messages."
	for _, id := range []uint32{1, 2, 0xffffffff} {
		for _, e := range []Encap{UDP, IP} {
			b := AppendDataHeader(nil, e, id, cookie.Cookie{}, pseudowire.NoSublayer)
			if kind, got, _ := Classify(e, b); kind != Data || got != id {
				t.Errorf("session %d over %s: kind %d, session %d", id, e, kind, got)
			}
		}
	}
	for _, v := range datagrams {
		kind, _, rest := Classify(v.encap, octets(t, v.hex))
		if kind != v.want || !bytes.Equal(rest, octets(t, v.rest)) {
			t.Errorf("%s: kind %d, rest %x; want %d, %s", v.name, kind, rest, v.want, v.rest)
		}
	}
}

func TestClearSequence(t *testing.T) {
	b := octets(t, "40000007")
	if ClearSequence(b); !bytes.Equal(b, make([]byte, 4)) {
		t.Errorf("%x, want zeros", b)
	}
}

// TestEncaps wants IANA's numbers, and what stands below L2TP in a packet.
func TestEncaps(t *testing.T) {
	if Protocol != 115 || Port != 1701 {
		t.Errorf("protocol %d, port %d; want 115, 1701", Protocol, Port)
	}
	for _, v := range []struct {
		encap  Encap
		name   string
		length int
	}{{UDP, "udp", 8}, {IP, "ip", 0}, {2, "encap 2", 0}} {
		if v.encap.String() != v.name || v.encap.TransportLen() != v.length {
			t.Errorf("%s, %d octets; want %s, %d", v.encap, v.encap.TransportLen(), v.name, v.length)
		}
	}
}

func TestSequenceIgnoresReservedBits(t *testing.T) {
	if n, sequenced, err := Sequence(octets(t, "ff000007")); n != 7 || !sequenced || err != nil {
		t.Errorf("number %d, %v, %v; want 7", n, sequenced, err)
	}
	// RFC 3931 section 4.6: "If the S bit is set to zero, the Sequence Number
	// contents are undefined and MUST be ignored by the receiver."
	if _, sequenced, _ := Sequence(octets(t, "bf000007")); sequenced {
		t.Error("S bit clear, and a number all the same")
	}
	for n := range 4 {
		if _, _, err := Sequence(make([]byte, n)); err != ErrShort {
			t.Errorf("%d octets: %v, want %v", n, err, ErrShort)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, v := range headers {
		f.Add(octets(f, v.hex), v.encap == IP)
	}
	for _, v := range datagrams {
		f.Add(octets(f, v.hex), v.encap == IP)
	}
	f.Fuzz(func(t *testing.T, b []byte, ip bool) {
		e := UDP
		if ip {
			e = IP
		}
		kind, id, rest := Classify(e, b)
		if len(rest) > len(b) || kind == Data && (id == 0 && e == IP || len(b)-len(rest) != e.sessionOffset()+4) {
			t.Errorf("%x: kind %d, session %d, %d left", b, kind, id, len(rest))
		}
		Sequence(rest)
	})
}
