package framerelay

import (
	"encoding/hex"
	"strings"
	"testing"
)

// routed are frames laid out as Q.922 header, control, pad, NLPID, SNAP header,
// packet. RFC 2427 sections 4.1 and 4.2.
var routed = []struct {
	name string
	hex  string
	want bool
}{
	{"IPv4", "1841 03 cc 4500", true},
	{"IPv4 behind a long header", "1840 0241 03 cc 4500", true},
	{"IPv6", "1841 03 8e 6000", true},
	{"IPv4 in SNAP", "1841 03 00 80 000000 0800 4500", true},
	{"IPv6 in SNAP", "1841 03 00 80 000000 86dd 6000", true},
	{"IPv4 in SNAP without a pad", "1841 03 80 000000 0800 4500", true},
	{"IPv4, congested", "1a4f 03 cc 4500", true},
	{"ARP in SNAP", "1841 03 00 80 000000 0806 0001", false},
	{"a bridged Ethernet frame", "1841 03 00 80 0080c2 0007 0200000000aa 0200000000bb 0800 4500", false},
	{"CLNP", "1841 03 81 00", false},
	{"a fragment", "1841 03 b1 c000 03cc4500", false},
	{"LMI", "0001 03 08 00 75", false},
	{"LMI, Cisco's", "fcf1 03 09 00 75", false},
	{"XID", "1841 af cc 4500", false},
	{"IPv4, Cisco's", "1841 0800 45", true},
	{"IPv6, Cisco's", "1841 86dd 60", true},
	{"IPv4 that is none, Cisco's", "1841 0800 60", false},
	{"IPv6 that is none, Cisco's", "1841 86dd 45", false},
	{"IPv4 cut off, Cisco's", "1841 0800", false},
	{"CDP, Cisco's", "1841 2000 01b4", false},
	{"a header of three octets", "1840 03 03 cc 4500", false},
	{"SNAP cut off", "1841 03 00 80 000000 08", false},
	{"NLPID cut off", "1841 03", false},
	{"all but the pad cut off", "1841 03 00", false},
	{"two pads", "1841 03 0000 cc 4500", false},
	{"header alone", "1841", false},
	{"nothing", "", false},
}

func TestIsIP(t *testing.T) {
	for _, v := range routed {
		if got := IsIP(words(t, v.hex)); got != v.want {
			t.Errorf("%s: %v, want %v", v.name, got, v.want)
		}
	}
}

func FuzzIsIP(f *testing.F) {
	for _, v := range routed {
		f.Add(words(f, v.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, why := Parse(b); IsIP(b) && why != NotDropped {
			t.Errorf("%x: IP in what is no frame: %v", b, why)
		}
	})
}

func words(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}
