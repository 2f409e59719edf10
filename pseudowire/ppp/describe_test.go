package ppp

import (
	"strings"
	"testing"
)

// TestDescribe wants frames in words, whole and broken, and no password.
func TestDescribe(t *testing.T) {
	for _, v := range []struct{ frame, want string }{
		{"\xff\x03\xc0\x21\x01\x01\x00\x1c\x01\x04\x05\x78\x02\x06\x00\x00\x00\x00\x03\x05\xc2\x23\x81\x05\x06\x01\x02\x03\x04\x07\x02\x08\x02",
			"LCP Configure-Request id 1, malformed"}, // its last option ends beyond its Length
		{"\xff\x03\xc0\x21\x01\x01\x00\x1d\x01\x04\x05\x78\x02\x06\x00\x00\x00\x00\x03\x05\xc2\x23\x81\x05\x06\x01\x02\x03\x04\x07\x02\x08\x02",
			"LCP Configure-Request id 1: MRU 1400, ACCM 0x00000000, authentication mschapv2, magic number 0x01020304, PFC, ACFC"},
		{"\xc0\x21\x03\x02\x00\x08\x03\x04\xc0\x27", "LCP Configure-Nak id 2: authentication 0xc027"},
		{"\xc0\x21\x04\x02\x00\x0b\x0d\x03\x06\x17\x04\x00\x00", "LCP Configure-Reject id 2: option 13 of 1 octets, option 23 of 2 octets"},
		{"\xc0\x21\x05\x03\x00\x08done", `LCP Terminate-Request id 3: "done"`},
		{"\xc0\x21\x08\x03\x00\x06\x80\x2b", "LCP Protocol-Reject id 3: protocol 0x802b"},
		{"\xc0\x21\x08\x03\x00\x05\x80", "LCP Protocol-Reject id 3, malformed"},
		{"\xc0\x21\x07\x03\x00\x05\x63", "LCP Code-Reject id 3: code 99"},
		{"\xc0\x21\x09\x03\x00\x08\x01\x02\x03\x04", "LCP Echo-Request id 3"},
		{"\xc0\x21\x0c\x03\x00\x0a\x01\x02\x03\x04me", `LCP Identification id 3: "me"`},
		{"\xc0\x21\x63\x03\x00\x04", "LCP code 99 id 3"},
		{"\xc0\x21\x01\x03\x00", "LCP packet, malformed"},
		{"\xc0\x23\x01\x03\x00\x10\x05alice\x05s3cr3t", `PAP Authenticate-Request id 3: peer "alice"`},
		{"\xc0\x23\x01\x03\x00\x06\x05a", "PAP Authenticate-Request id 3, malformed"},
		{"\xc0\x23\x03\x03\x00\x08\x03bad", `PAP Authenticate-Nak id 3: "bad"`},
		{"\xc0\x23\x02\x03\x00\x04", "PAP Authenticate-Ack id 3"},
		{"\xc2\x23\x01\x03\x00\x08\x02\x01\x02A", `CHAP Challenge id 3: name "A"`},
		{"\xc2\x23\x02\x03\x00\x05\x02", "CHAP Response id 3, malformed"},
		{"\xc2\x23\x03\x03\x00\x08S=s3", "CHAP Success id 3"},
		{"\xc2\x23\x04\x03\x00\x09E=691", `CHAP Failure id 3: "E=691"`},
		{"\xc2\x27\x01\x03\x00\x05\x01", "EAP Request id 3"},
		{"\x80\x21\x02\x03\x00\x10\x03\x06\x0a\x14\x00\x02\x81\x06\x0a\x14\x00\x01", "IPCP Configure-Ack id 3: address 10.20.0.2, DNS 10.20.0.1"},
		{"\x80\x57\x01\x03\x00\x0e\x01\x0a\x00\x00\x00\x00\x00\x00\x00\x01", "IPV6CP Configure-Request id 3: interface identifier 0:0:0:1"},
		{"\x80\xfd\x01\x03\x00\x0a\x12\x06\x01\x00\x00\x40", "CCP Configure-Request id 3: MPPE 0x01000040"},
		{"\xff\x03\x00\x21\x45\x00", ""},
		{"\x21\x45\x00", ""},
		{"\xff\x03", ""},
		{"", ""},
	} {
		line, ok := Describe([]byte(v.frame))
		if line != v.want || ok != (v.want != "") {
			t.Errorf("%q: %q, %v, want %q", v.frame, line, ok, v.want)
		}
	}
	long := strings.Repeat("x", 200)
	if line, _ := Describe([]byte("\xc0\x21\x05\x03\x00\xcc" + long)); len(line) > 150 {
		t.Errorf("%d octets of a line for a long text", len(line))
	}
}

// FuzzDescribe wants no panic and one printable line of whatever there is.
func FuzzDescribe(f *testing.F) {
	f.Add([]byte("\xff\x03\xc0\x21\x01\x01\x00\x1d\x01\x04\x05\x78\x02\x06\x00\x00\x00\x00\x03\x05\xc2\x23\x81"))
	f.Add([]byte("\xc0\x23\x01\x03\x00\x10\x05alice\x05s3cr3t"))
	f.Add([]byte("\x80\x21\x02\x03\x00\x10\x03\x06\x0a\x14\x00\x02\x81\x06\x0a\x14\x00\x01"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		line, ok := Describe(frame)
		if ok == (line == "") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q, %v", line, ok)
		}
	})
}
