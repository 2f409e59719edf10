package hdlc

import (
	"encoding/hex"
	"strings"
	"testing"
)

var frames = []struct {
	name string
	hex  string
	want bool
}{
	{"IPv4, Cisco's", "0f00 0800 4500", true},
	{"IPv6, Cisco's", "0f00 86dd 6000", true},
	{"IPv4 to all, Cisco's", "8f00 0800 4500", true},
	{"keepalive, Cisco's", "8f00 8035 00000002", false},
	{"CDP, Cisco's", "8f00 2000 02b4", false},
	{"Cisco's with another control", "0f03 0800 4500", false},
	{"IPv4 in PPP", "ff03 0021 4500", true},
	{"IPv6 in PPP, its protocol compressed", "ff03 57 6000", true},
	{"LCP", "ff03 c021 0101", false},
	{"IPv4 in Frame Relay", "1841 03 cc 4500", true},
	{"IPv6 in Frame Relay, SNAP", "1841 03 00 80 000000 86dd 6000", true},
	{"LMI", "0001 03 08 00 75", false},
	{"X.25, data", "0100 1001 00 4500", false},
	{"PPP without address and control", "0021 4500 0014", false},
	{"cut off, Cisco's", "0f00 08", false},
	{"cut off, PPP", "ff03 00", false},
	{"nothing", "", false},
}

func TestIsIP(t *testing.T) {
	for _, v := range frames {
		if got := IsIP(octets(t, v.hex)); got != v.want {
			t.Errorf("%s: %v, want %v", v.name, got, v.want)
		}
	}
}

func FuzzIsIP(f *testing.F) {
	for _, v := range frames {
		f.Add(octets(f, v.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if IsIP(b) && len(b) < ciscoHeaderLen {
			t.Errorf("%x: IP in %d octets", b, len(b))
		}
	})
}

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}
