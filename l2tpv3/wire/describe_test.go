package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// texts returns what Describe says, an AVP a line: "Name=Value", with a star
// before what is mandatory and a hash before what is hidden.
func texts(all []Described) string {
	var lines []string
	for _, d := range all {
		mark := ""
		if d.Mandatory {
			mark += "*"
		}
		if d.Hidden {
			mark += "#"
		}
		lines = append(lines, mark+d.Name+"="+d.Value)
	}
	return strings.Join(lines, "\n")
}

// TestDescribe puts messages into words.
func TestDescribe(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	icrq := "8008 0000 0000 000a"
	for _, v := range []struct {
		name   string
		avps   string
		secret *Secret
		want   string
	}{
		{"ZLB", "", nil, ""},
		{"the opening of a connection", `
			8008 0000 0000 0001
			8017 0000 003b 00 000102030405060708090a0b0c0d0e0f
			8016 0000 0049 30313233343536373839616263646566
			8012 0000 0007 6c796f6e2e6578616d706c65
			800a 0000 003c c0000201
			800a 0000 003d f0000001
			800c 0000 003e 0004 0005 ffff
			8008 0000 000a 0010
			000e 0000 0008 5370616e77697265
			0008 0000 0048 656e
			800e 0000 0005 0102030405060708`, nil, `
			*Message Type=SCCRQ
			*Message Digest=md5 000102030405060708090a0b0c0d0e0f
			*Control Message Authentication Nonce=30313233343536373839616263646566
			*Host Name="lyon.example"
			*Router ID=192.0.2.1
			*Assigned Control Connection ID=4026531841
			*Pseudowire Capabilities List=vlan ethernet type 0xffff
			*Receive Window Size=16
			Vendor Name="Spanwire"
			Preferred Language="en"
			*Tie Breaker=0102030405060708`},
		{"a session", `
			8008 0000 0000 000a
			800a 0000 003f f0e02002
			800a 0000 0040 00000000
			000a 0000 000f ffffffff
			8008 0000 0044 0004
			800b 0000 0042 766f696365
			8008 0000 0047 0003
			800e 0000 0041 a1a2a3a4a5a6a7a8
			8008 0000 0045 0001
			8008 0000 0046 0001
			000e 0000 004a 000000003b9aca00
			000a 0000 0019 0000004d`, nil, `
			*Message Type=ICRQ
			*Local Session ID=4041220098
			*Remote Session ID=0
			Serial Number=4294967295
			*Pseudowire Type=vlan
			*Remote End ID="voice"
			*Circuit Status=active, new
			*Assigned Cookie=8 octets
			*L2-Specific Sublayer=default
			*Data Sequencing=non-ip
			Tx Connect Speed=1000000000
			Physical Channel ID=77`},
		{"a PVC", `
			8008 0000 0000 000a
			8008 0000 0044 0001
			0008 0000 0055 0004`, nil, `
			*Message Type=ICRQ
			*Pseudowire Type=frame-relay
			Frame Relay Header Length=4`},
		{"a PVC that makes no sense", "8008 0000 0000 000b 0007 0000 0055 04 8009 0000 0055 000004 8006 0000 0055", nil, `
			*Message Type=ICRP
			Frame Relay Header Length=04
			*Frame Relay Header Length=000004
			*Frame Relay Header Length=`},
		{"the end of a PVC", "8008 0000 0000 000e 8008 0000 0001 0011", nil, `
			*Message Type=CDN
			*Result Code=result 17 (PVC was deleted permanently)`},
		{"the end of an HDLC link", "8008 0000 0000 000e 8008 0000 0001 0015", nil, `
			*Message Type=CDN
			*Result Code=result 21 (HDLC link has been inactive for an extended period)`},
		{"an end", "8008 0000 0000 000e 8019 0000 0001 0002 0000 6e6f20737563682063697263756974", nil, `
			*Message Type=CDN
			*Result Code=result 2 (general error): "no such circuit"`},
		{"the end of a connection", "8008 0000 0000 0004 8008 0000 0001 0006", nil, `
			*Message Type=StopCCN
			*Result Code=result 6 (requester is being shut down)`},
		{"errors", "8008 0000 0000 000f 0020 0000 0022 0000 00000000 00000000 00000001 00000002 00000003 ffffffff", nil, `
			*Message Type=WEN
			Circuit Errors=hardware overruns 1, buffer overruns 2, timeouts 3, alignment errors 4294967295`},
		{"unknown ones", icrq + "0006 0000 0043 8008 0137 0001 abcd 000e 0000 003a 0001 0009 0001 0006", nil, `
			*Message Type=ICRQ
			attribute 67=
			*vendor 311 attribute 1=abcd
			vendor 65545 attribute 1=0006`},
		{"Cisco's", icrq + "800e 0009 0005 a1a2a3a4a5a6a7a8 8008 0009 000a 0001 0010 0000 003a 00000009 0006 61626364", nil, `
			*Message Type=ICRQ
			*Cisco Assigned Cookie=8 octets
			*vendor 9 attribute 10=0001
			Cisco Remote End ID="abcd"`},
		// A password of PPP's PAP is in some of those.
		{"L2TPv2's", icrq + "800c 0000 0021 736563726574 8008 0000 0009 0001", nil, `
			*Message Type=ICRQ
			*Proxy Authen Response=6 octets
			*Assigned Tunnel ID=2 octets`},
		// What has no good length is shown as it is, but never a cookie.
		{"malformed", icrq + "8007 0000 003f 01 800f 0000 0041 a1a2a3a4a5a6a7a8a9 800b 0000 0041 a1a2a3a4a5 8007 0000 0001 00 8009 0000 003e 000500 8007 0000 003b 00", nil, `
			*Message Type=ICRQ
			*Local Session ID=01
			*Assigned Cookie=9 octets
			*Assigned Cookie=5 octets
			*Result Code=00
			*Pseudowire Capabilities List=000500
			*Message Digest=00`},
		{"long", icrq + "8056 0000 0049" + strings.Repeat("ab", 80), nil, `
			*Message Type=ICRQ
			*Control Message Authentication Nonce=` + strings.Repeat("ab", 32) + `... (80 octets)`},
		{"hidden, without a secret", icrq + fmt.Sprintf("%x", append(randomVector("vector"), hidden(AttrAssignedCookie, "vector", "a1a2a3a4")...)), nil, `
			*Message Type=ICRQ
			*Random Vector=766563746f72
			*#Assigned Cookie=9 octets`},
		{"hidden", icrq + fmt.Sprintf("%x", bytes.Join([][]byte{randomVector("vector"), hidden(AttrAssignedCookie, "vector", "a1a2a3a4"), hidden(AttrRemoteEndID, "vector", "61626364")}, nil)), secret, `
			*Message Type=ICRQ
			*Random Vector=766563746f72
			*#Assigned Cookie=4 octets
			*#Remote End ID="abcd"`},
		{"hidden without a Random Vector", icrq + fmt.Sprintf("%x", hidden(AttrRemoteEndID, "", "61626364")), secret, `
			*Message Type=ICRQ
			*#Remote End ID=9 octets`},
		{"hidden for a vendor", icrq + fmt.Sprintf("%x", append(randomVector("vector"), appendAVP(nil, hiddenBit, 0, 58, hiddenByFormula(58, secretKey("secret", 1), []byte("vector"), mustHex("0001 0009 0001 0006"), nil))...)), secret, `
			*Message Type=ICRQ
			*Random Vector=766563746f72
			#vendor 65545 attribute 1=0006`},
		{"a hidden Message Type", "c008 0000 0000 0004 8008 0000 0001 0003", nil, `
			*#Message Type=2 octets
			*Result Code=result 3`},
	} {
		all, err := Describe(message(octets(t, v.avps)), v.secret)
		var want []string
		for line := range strings.Lines(strings.TrimSpace(v.want)) {
			want = append(want, strings.TrimSpace(line))
		}
		if got, want := texts(all), strings.Join(want, "\n"); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", v.name, err, got, want)
		}
	}
	if _, err := Describe(make([]byte, ControlHeaderLen-1), nil); !errors.Is(err, ErrShort) {
		t.Errorf("eleven octets: %v", err)
	}
	// What comes before the end of sense is there.
	all, err := Describe(message(octets(t, icrq+"8003 0000 0041 a1a2a3a4")), nil)
	if got := texts(all); got != "*Message Type=ICRQ" || err == nil || err.Error() != "wire: Assigned Cookie: length 3 with 10 octets left" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestCookiesAreNotShown looks for cookies in whatever is said of a message.
func TestCookiesAreNotShown(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	for _, e := range []*Encoding{{}, {Cisco: true}, {Hide: secret, Random: fives}} {
		for _, v := range vectors {
			if v.message == nil {
				continue
			}
			all, err := Describe(message(AppendBody(nil, v.message, e)), secret)
			if err != nil {
				t.Fatal(err)
			}
			got := texts(all) + fmt.Sprintf("%v %+v %#v", v.message, v.message, v.message)
			for _, cookie := range []string{"a1a2a3a4", "161 162", "0xa1, 0xa2", "0102030405060708"} {
				if strings.Contains(got, "Cookie") && strings.Contains(got, cookie) {
					t.Errorf("%s: %s in %s", v.name, cookie, got)
				}
			}
		}
	}
}

// TestEndID shows the names of circuits as both sides of a wire give them.
func TestEndID(t *testing.T) {
	for value, want := range map[string]string{
		"":                           "",
		"voice":                      `"voice"`,
		"100":                        `"100"`,
		"abcd":                       `"abcd"`,
		"\x00\x00\x00\x64":           "100",
		"\xff\xff\xff\xff":           "4294967295",
		"\x00\x64":                   "0064",
		"caf\xe9":                    "1667327721",
		"café":                       `"café"`,
		"a\x1b[31mb":                 "611b5b33316d62",
		`a"b`:                        `"a\"b"`,
		"\ufffd":                     "efbfbd",
		strings.Repeat("a", 300):     `"` + strings.Repeat("a", 255) + `"`,
		strings.Repeat("\x01", 1017): strings.Repeat("01", 32) + "... (1017 octets)",
	} {
		if got := EndID([]byte(value)); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// TestCircuitStatus names the bits of RFC 5641.
func TestCircuitStatus(t *testing.T) {
	for status, want := range map[CircuitStatus]string{
		0:      "inactive",
		1:      "active",
		3:      "active, new",
		0x04:   "inactive, receive fault",
		0x08:   "inactive, transmit fault",
		0x10:   "inactive, PSN receive fault",
		0x20:   "inactive, PSN transmit fault",
		0x41:   "active, standby",
		0xff80: "inactive",
	} {
		if got := status.String(); got != want {
			t.Errorf("%#x: %s, want %s", uint16(status), got, want)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	for _, v := range vectors {
		f.Add(octets(f, v.hex), []byte(nil))
	}
	for _, text := range hostile {
		for attr := range attributes {
			f.Add(message(octets(f, "8008 0000 0000 0004"), randomVector("vector"), appendAVP(nil, 0, 0, uint16(attr), []byte(text))), []byte("secret"))
		}
		f.Add(message(octets(f, "8008 0000 0000 0004"), appendAVP(nil, 0, 0, 1, append([]byte{0, 2, 0, 6}, text...))), []byte("secret"))
	}
	f.Fuzz(func(t *testing.T, b, secret []byte) {
		var s *Secret
		if len(secret) > 0 {
			s = NewSecret(secret)
		}
		all, err := Describe(b, s)
		if err != nil && !harmless(err.Error()) {
			t.Errorf("%x: %q", b, err)
		}
		for _, d := range all {
			if !harmless(d.Name) || !harmless(d.Value) || len(d.Name) > 100 || len(d.Value) > 1<<13 {
				t.Errorf("%x: %q = %q", b, d.Name, d.Value)
			}
		}
	})
}
