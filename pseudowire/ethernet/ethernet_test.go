package ethernet

import (
	"encoding/hex"
	"testing"
)

// frames are the fronts of frames, laid out as addresses, tags, type, payload.
var frames = []struct {
	name      string
	hex       string
	ip        bool
	plausible bool
}{
	{"IPv4", "0200000000aa 0200000000bb 0800 4500", true, true},
	{"IPv6", "3333000000fb 0200000000bb 86dd 6000", true, true},
	{"ARP", "ffffffffffff 0200000000bb 0806 0001", false, true},
	{"IPv4 in a VLAN", "0200000000aa 0200000000bb 8100 0064 0800 4500", true, true},
	{"IPv4 in two VLANs", "0200000000aa 0200000000bb 88a8 0007 8100 0064 0800 4500", true, true},
	{"IPv6 in three VLANs", "0200000000aa 0200000000bb 88a8 0007 8100 0064 8100 0001 86dd 6000", false, true},
	{"STP", "0180c2000000 0200000000bb 0003 424203", false, true},
	{"LLDP", "0180c200000e 0200000000bb 88cc 0207", false, true},
	{"length beyond the frame", "0200000000aa 0200000000bb 0100 4242", false, false},
	{"sent by a group", "0200000000aa 0300000000bb 0800 4500", true, false},
	{"IPv4 that is none", "0200000000aa 0200000000bb 0800 6500", true, false},
	{"four octets late", "00000000aabb 0200000000bb 0806", false, true},
	{"read four octets early", "000000000200 000000aa0200 0000 00bb0800450000", false, false},
	{"short", "0200000000aa 0200000000bb 08", false, false},
	{"tag cut off", "0200000000aa 0200000000bb 8100 00", false, false},
	{"nothing", "", false, false},
}

func TestFrames(t *testing.T) {
	for _, f := range frames {
		b := decode(t, f.hex)
		if got := IsIP(b); got != f.ip {
			t.Errorf("%s: IsIP %v, want %v", f.name, got, f.ip)
		}
		if got := Plausible(b); got != f.plausible {
			t.Errorf("%s: Plausible %v, want %v", f.name, got, f.plausible)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, v := range frames {
		f.Add(decode(f, v.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if Plausible(b) && len(b) < HeaderLen {
			t.Errorf("Plausible with %d octets", len(b))
		}
		if IsIP(b) && len(b) < HeaderLen {
			t.Errorf("IsIP with %d octets", len(b))
		}
	})
}

func decode(t testing.TB, s string) []byte {
	t.Helper()
	var digits []byte
	for _, c := range []byte(s) {
		if c != ' ' {
			digits = append(digits, c)
		}
	}
	b, err := hex.DecodeString(string(digits))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}
