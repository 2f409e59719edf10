package framerelay

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// headers are laid out as RFC 4591 section 4.1 draws them, each with one octet of a
// frame behind it.
var headers = []struct {
	name   string
	octets []byte
	header Header
	n      int
}{
	{"2 octets", []byte{0b_000110_0_0, 0b_0100_0_0_0_1, 3}, Header{DLCI: 100}, 2},
	{"2 octets, C/R", []byte{0b_001100_1_0, 0b_1000_0_0_0_1, 3}, Header{DLCI: 200, CR: true}, 2},
	{"2 octets, FECN", []byte{0b_001100_0_0, 0b_1000_1_0_0_1, 3}, Header{DLCI: 200, FECN: true}, 2},
	{"2 octets, BECN", []byte{0b_001100_0_0, 0b_1000_0_1_0_1, 3}, Header{DLCI: 200, BECN: true}, 2},
	{"2 octets, DE", []byte{0b_001100_0_0, 0b_1000_0_0_1_1, 3}, Header{DLCI: 200, DE: true}, 2},
	{"2 octets, all", []byte{0b_111111_1_0, 0b_1111_1_1_1_1, 3}, Header{1023, true, true, true, true}, 2},
	{"4 octets", []byte{0b_000000_0_0, 0b_0000_0_0_0_0, 0b_0000001_0, 0b_100100_0_1, 3}, Header{DLCI: 100}, 4},
	{"4 octets, each part of the DLCI", []byte{0b_000001_0_0, 0b_0010_0_0_0_0, 0b_0000011_0, 0b_000100_0_1, 3}, Header{DLCI: 1<<17 | 2<<13 | 3<<6 | 4}, 4},
	{"4 octets, C/R and DE", []byte{0b_000001_1_0, 0b_0000_0_0_1_0, 0b_0000000_0, 0b_000000_0_1, 3}, Header{DLCI: 1 << 17, CR: true, DE: true}, 4},
	{"4 octets, FECN", []byte{0b_000000_0_0, 0b_0000_1_0_0_0, 0b_0000001_0, 0b_100100_0_1, 3}, Header{DLCI: 100, FECN: true}, 4},
	{"4 octets, BECN", []byte{0b_000000_0_0, 0b_0000_0_1_0_0, 0b_0000001_0, 0b_100100_0_1, 3}, Header{DLCI: 100, BECN: true}, 4},
	{"4 octets, all", []byte{0b_111111_1_0, 0b_1111_1_1_1_0, 0b_1111111_0, 0b_111111_0_1, 3}, Header{1<<23 - 1, true, true, true, true}, 4},
}

func TestHeader(t *testing.T) {
	for _, v := range headers {
		t.Run(v.name, func(t *testing.T) {
			h, n, why := Parse(v.octets)
			if h != v.header || n != v.n || why != NotDropped {
				t.Errorf("%08b: %+v of %d octets, %v, want %+v of %d", v.octets, h, n, why, v.header, v.n)
			}
			if got := v.header.Append([]byte("before"), v.n); string(got) != "before"+string(v.octets[:v.n]) {
				t.Errorf("%+v: %08b, want %08b", v.header, got[6:], v.octets[:v.n])
			}
			// RFC 2427 section 3: "The minimum frame size allowed for Frame Relay is
			// five octets between the opening and closing flags assuming a two octet
			// Q.922 address field": with two of FCS one is left behind the header.
			for cut := range v.n + 1 {
				if h, n, why := Parse(v.octets[:cut]); why != DropShort || n != 0 || h != (Header{}) {
					t.Errorf("%d octets of it: %+v of %d octets, %v, want %v", cut, h, n, why, DropShort)
				}
			}
		})
	}
}

// TestOtherHeaders wants those refused of which RFC 4591 says nothing.
func TestOtherHeaders(t *testing.T) {
	for _, v := range []struct {
		name   string
		octets []byte
		want   Drop
	}{
		{"1 octet", []byte{0x19, 0x41, 3, 4, 5}, DropAddress},
		{"3 octets", []byte{0x18, 0x40, 0x01, 4, 5}, DropAddress},
		{"3 octets and no more", []byte{0x18, 0x40, 0x01}, DropAddress},
		{"EA bits that never end", []byte{0x18, 0x40, 0x02, 0x90, 0x02, 0x02, 0x02}, DropAddress},
		{"EA bits that end with a fifth octet", []byte{0x18, 0x40, 0x02, 0x90, 0x01, 3}, DropAddress},
		{"4 octets with a DL-CORE control", []byte{0x18, 0x40, 0x02, 0x93, 3}, DropAddress},
		{"nothing", nil, DropShort},
		{"zeroes", make([]byte, 3), DropShort},
		{"more zeroes", make([]byte, 100), DropAddress},
		{"ones", bytes.Repeat([]byte{0xff}, 100), DropAddress},
	} {
		if h, n, why := Parse(v.octets); why != v.want || n != 0 || h != (Header{}) {
			t.Errorf("%s: %+v of %d octets, %v, want %v", v.name, h, n, why, v.want)
		}
		before := bytes.Clone(v.octets)
		if why := (Circuit{200, 2}).Egress(v.octets); why != v.want || !bytes.Equal(before, v.octets) {
			t.Errorf("%s: at egress %v, octets %x, want %v and %x", v.name, why, v.octets, v.want, before)
		}
	}
}

// TestPutDLCI writes every DLCI over others.
func TestPutDLCI(t *testing.T) {
	for dlci := range uint32(1024) {
		for _, flags := range []Header{{}, {CR: true}, {FECN: true}, {BECN: true}, {DE: true}, {CR: true, FECN: true, BECN: true, DE: true}} {
			flags.DLCI = 1023 - dlci
			b := append(flags.Append(nil, ShortHeader), 3)
			PutDLCI(b, ShortHeader, dlci)
			flags.DLCI = dlci
			if h, n, _ := Parse(b); h != flags || n != ShortHeader {
				t.Fatalf("%+v of %d octets, want %+v", h, n, flags)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		h := Header{
			rapid.Uint32Range(0, 1<<23-1).Draw(t, "DLCI"),
			rapid.Bool().Draw(t, "C/R"), rapid.Bool().Draw(t, "FECN"), rapid.Bool().Draw(t, "BECN"), rapid.Bool().Draw(t, "DE"),
		}
		b := append(h.Append(nil, LongHeader), 3)
		h.DLCI = rapid.Uint32Range(0, 1<<23-1).Draw(t, "new DLCI")
		PutDLCI(b, LongHeader, h.DLCI)
		if got, n, _ := Parse(b); got != h || n != LongHeader {
			t.Fatalf("%+v of %d octets, want %+v", got, n, h)
		}
	})
}

// TestEgress is what becomes of a frame from the pseudowire, whatever its DLCI was.
func TestEgress(t *testing.T) {
	for _, v := range headers {
		frame := append(bytes.Clone(v.octets), "information"...)
		if why := (Circuit{300, v.n}).Egress(frame); why != NotDropped {
			t.Errorf("%s: %v", v.name, why)
		}
		want := v.header
		want.DLCI = 300
		if h, n, _ := Parse(frame); h != want || n != v.n || string(frame[n+1:]) != "information" {
			t.Errorf("%s: %+v %q, want %+v", v.name, h, frame[n:], want)
		}
		other := Circuit{300, ShortHeader + LongHeader - v.n}
		before := bytes.Clone(frame)
		if why := other.Egress(frame); why != DropLength || !bytes.Equal(before, frame) {
			t.Errorf("%s on a port with headers of %d octets: %v, octets %x, want %v and %x", v.name, other.HeaderLen, why, frame, DropLength, before)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	frame := append(Header{DLCI: 100, FECN: true}.Append(nil, LongHeader), 3, 0xcc)
	c := Circuit{200, LongHeader}
	if n := testing.AllocsPerRun(100, func() {
		if h, _, why := Parse(frame); why != NotDropped || !h.FECN {
			t.Errorf("%+v, %v", h, why)
		}
		c.Egress(frame)
	}); n != 0 {
		t.Errorf("%v allocations a frame, want none", n)
	}
}

func TestDLCI(t *testing.T) {
	for _, v := range []struct {
		dlci       uint32
		n          int
		ok, manage bool
	}{
		{0, 2, false, true}, {15, 2, false, false}, {16, 2, true, false}, {1007, 2, true, false}, {1008, 2, false, false}, {1023, 2, false, true}, {1024, 2, false, false},
		{0, 4, false, true}, {15, 4, false, false}, {100, 4, true, false}, {1023, 4, true, false}, {1<<23 - 2, 4, true, false}, {1<<23 - 1, 4, false, false}, {1 << 23, 4, false, false},
	} {
		if err := CheckDLCI(v.dlci, v.n); (err == nil) != v.ok {
			t.Errorf("DLCI %d with %d octets: %v, want it good %v", v.dlci, v.n, err, v.ok)
		}
		if got := Management(v.dlci, v.n); got != v.manage {
			t.Errorf("DLCI %d with %d octets: of the LMI %v, want %v", v.dlci, v.n, got, v.manage)
		}
	}
	if got, want := CheckDLCI(1008, 2).Error(), "DLCI 1008, want 16 to 1007 with a header of 2 octets"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestNames wants a name of its own for whatever is counted or logged.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, group := range [][]fmt.Stringer{
		{NotDropped, DropShort, DropAddress, DropLength, DropDLCI, DropDetached},
		{Auto, AnnexA, AnnexD, Cisco, NoLMI}, {DCE, DTE, NNI}, {Inactive, Active, Deleted},
	} {
		for _, v := range group {
			if name := v.String(); name == "" || name == "unknown" || seen[name] {
				t.Errorf("%T %d: name %q", v, v, name)
			} else {
				seen[name] = true
			}
		}
	}
	for _, v := range []fmt.Stringer{Drops, NoLMI + 1, NNI + 1, Deleted + 1} {
		if v.String() != "unknown" {
			t.Errorf("%T %d: %q, want unknown", v, v, v)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range headers {
		f.Add(v.octets, uint32(200))
	}
	f.Add([]byte{0x18, 0x40, 0x02, 0x90, 0x02}, uint32(16))
	f.Fuzz(func(t *testing.T, frame []byte, dlci uint32) {
		h, n, why := Parse(frame)
		if why != NotDropped {
			if n != 0 || h != (Header{}) {
				t.Fatalf("%x: %v, and %+v of %d octets", frame, why, h, n)
			}
			return
		}
		if n != ShortHeader && n != LongHeader || len(frame) <= n {
			t.Fatalf("%x: header of %d octets", frame, n)
		}
		if got := h.Append(nil, n); !bytes.Equal(got, frame[:n]) {
			t.Fatalf("%x: written again %x", frame[:n], got)
		}
		after := bytes.Clone(frame)
		if n == ShortHeader {
			dlci %= 1 << 10
		} else {
			dlci %= 1 << 23
		}
		if why := (Circuit{dlci, n}).Egress(after); why != NotDropped {
			t.Fatalf("%x: at egress %v", frame, why)
		}
		h.DLCI = dlci
		if got, gotN, _ := Parse(after); got != h || gotN != n || !bytes.Equal(after[n:], frame[n:]) {
			t.Fatalf("%x became %x, want %+v in front and no other change", frame, after, h)
		}
	})
}
