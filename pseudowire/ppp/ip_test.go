package ppp

import (
	"encoding/hex"
	"strings"
	"testing"
)

// frames are laid out as address and control, protocol, information.
var frames = []struct {
	name string
	hex  string
	want bool
}{
	{"IPv4", "ff03 0021 4500", true},
	{"IPv6", "ff03 0057 6000", true},
	{"IPv4 without address and control", "0021 4500", true},
	{"IPv6 without address and control", "0057 6000", true},
	{"IPv4 with a compressed protocol", "ff03 21 4500", true},
	{"IPv4 with all compressed, which reads as protocol 0x2145", "2145 0000", true},
	{"IPv6 with all compressed", "57 6000", true},
	{"LCP", "ff03 c021 0101", false},
	{"IPCP", "ff03 8021 0101", false},
	{"IPV6CP", "8057 0101", false},
	{"CHAP", "ff03 c223 0101", false},
	{"TCP in IP with a compressed header", "ff03 002d 0000", false},
	{"compressed", "00fd 9000", false},
	{"encrypted", "fd 9000", false},
	{"a fragment of a bundle", "ff03 003d c000 0021", false},
	{"protocol cut off", "ff03 00", false},
	{"protocol alone, compressed", "21", false},
	{"address and control alone", "ff03", false},
	{"another control", "ff13 0021 4500", false},
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
		if IsIP(b) && len(b) < 2 {
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
