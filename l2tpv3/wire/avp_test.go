package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanwire/pseudowire"
)

// rfc is what RFC 3931 section 5.4 says of each AVP, and section 5.1 of the one
// for 32-bit vendors: whether the M bit "SHOULD be set to 0", whether the AVP
// "MUST NOT be hidden", and its Length if it has one alone; the last is RFC 4591's,
// section 3.5.
var rfc = map[Attr]struct {
	name     string
	optional bool
	open     bool
	length   int
}{
	AttrMessageType:          {"Message Type", false, true, 8},
	AttrResultCode:           {"Result Code", false, true, 0},
	AttrTieBreaker:           {"Tie Breaker", false, true, 14},
	AttrHostName:             {"Host Name", false, true, 0},
	AttrVendorName:           {"Vendor Name", true, false, 0},
	AttrReceiveWindowSize:    {"Receive Window Size", false, true, 8},
	AttrSerialNumber:         {"Serial Number", true, false, 10},
	AttrPhysicalChannelID:    {"Physical Channel ID", true, false, 10},
	AttrCircuitErrors:        {"Circuit Errors", true, false, 32},
	AttrRandomVector:         {"Random Vector", false, true, 0},
	AttrExtendedVendorID:     {"Extended Vendor ID", true, false, 0},
	AttrMessageDigest:        {"Message Digest", false, true, 0},
	AttrRouterID:             {"Router ID", false, true, 10},
	AttrAssignedConnectionID: {"Assigned Control Connection ID", false, false, 10},
	AttrCapabilities:         {"Pseudowire Capabilities List", false, false, 0},
	AttrLocalSessionID:       {"Local Session ID", false, false, 10},
	AttrRemoteSessionID:      {"Remote Session ID", false, false, 10},
	AttrAssignedCookie:       {"Assigned Cookie", false, false, 0},
	AttrRemoteEndID:          {"Remote End ID", false, false, 0},
	AttrPseudowireType:       {"Pseudowire Type", false, false, 8},
	AttrSublayer:             {"L2-Specific Sublayer", false, false, 8},
	AttrDataSequencing:       {"Data Sequencing", false, false, 8},
	AttrCircuitStatus:        {"Circuit Status", false, false, 8},
	AttrPreferredLanguage:    {"Preferred Language", true, false, 0},
	AttrNonce:                {"Control Message Authentication Nonce", false, true, 0},
	AttrTxConnectSpeed:       {"Tx Connect Speed", true, false, 14},
	AttrRxConnectSpeed:       {"Rx Connect Speed", true, false, 14},
	AttrFrameRelayHeaderLen:  {"Frame Relay Header Length", true, false, 8},
}

// TestAttributes holds the table of AVPs to that of the RFC.
func TestAttributes(t *testing.T) {
	for a, want := range rfc {
		got := attributes[a]
		if a.String() != want.name || got.optional != want.optional || got.hideable == want.open {
			t.Errorf("%d: %+v, want %+v", a, got, want)
		}
		if want.length != 0 && got.most != want.length-avpHeaderLen {
			t.Errorf("%s: %d octets, want %d", a, got.most, want.length-avpHeaderLen)
		}
	}
	if len(attributes) != len(rfc) {
		t.Errorf("%d attributes, want %d", len(attributes), len(rfc))
	}
	for a, want := range map[Attr]string{2: "Protocol Version", 20: "L2TPv2 attribute 20", 57: "L2TPv2 attribute 57", 67: "attribute 67", 0xffff: "attribute 65535"} {
		if a.String() != want {
			t.Errorf("%q, want %q", a, want)
		}
	}
}

// TestReservedBits sets the reserved bits of every AVP and header.
func TestReservedBits(t *testing.T) {
	for _, v := range vectors {
		b := octets(t, v.hex)
		want := good(t, b)
		for at := ControlHeaderLen; at < len(b); {
			n := int(binary.BigEndian.Uint16(b[at:]) & avpLengthMask)
			// RFC 3931 section 5.1: "Reserved bits MUST be set to 0 when sent and
			// ignored upon receipt."
			b[at] |= 0x3c
			at += n
		}
		b[0] |= 0x37
		b[1] |= 0xf0
		// RFC 3931 section 3.2.1: "All reserved bits MUST be set to 0 on outgoing
		// messages and ignored on incoming messages."
		_, got, err := ParseControl(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := different(want, good(t, got)); d != "" {
			t.Errorf("%s: %s", v.name, d)
		}
	}
	// RFC 3931 section 5.4.5: "Reserved bits MUST be set to 0 when sending and
	// ignored upon receipt." Those that RFC 5641 left stay away from String.
	status := CircuitStatus(0xff81)
	if got := status.String(); got != "active" {
		t.Errorf("%#x: %s", uint16(status), got)
	}
	// RFC 3931 section 5.4.5 of Circuit Errors: "Reserved data MUST be zero on
	// sending and ignored upon receipt."
	id := octets(t, "800a 0000 003f 00000001 800a 0000 0040 00000001")
	wen := good(t, message(octets(t, "8008 0000 0000 000f"), id, octets(t, "0020 0000 0022 ffff 00000000 00000000 00000001 00000002 00000003 00000004")))
	if got, want := wen.Message.(*WEN).Errors, (CircuitErrors{1, 2, 3, 4}); got != want {
		t.Errorf("errors %+v, want %+v", got, want)
	}
	if b := AppendBody(nil, wen.Message, &Encoding{}); !bytes.Contains(b, octets(t, "0020 0000 0022 0000")) {
		t.Errorf("%x: reserved data", b)
	}
}

// TestCircuitErrors has the two forms that RFC 3931 can be read as: its drawing of
// four counters, and its Length, which is that of RFC 2661's six.
func TestCircuitErrors(t *testing.T) {
	begin := octets(t, "8008 0000 0000 000f 800a 0000 003f 00000001 800a 0000 0040 00000001")
	want := CircuitErrors{1, 2, 3, 4}
	for _, hex := range []string{
		"0018 0000 0022 0000 00000001 00000002 00000003 00000004",
		"0020 0000 0022 0000 000000aa 000000bb 00000001 00000002 00000003 00000004",
	} {
		if got := good(t, message(begin, octets(t, hex))).Message.(*WEN).Errors; got != want {
			t.Errorf("%s: %+v, want %+v", hex, got, want)
		}
	}
	for n := range 40 {
		line := resized(octets(t, "8006 0000 0022"), n)
		if _, err := Parse(message(begin, line), &Decoding{}); (err == nil) != (n == 18 || n == 26) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

// TestMandatoryBit inverts the M bit of every AVP that is known.
func TestMandatoryBit(t *testing.T) {
	for _, v := range vectors {
		avps := v.lines(t)
		for i, line := range avps {
			// RFC 3931 section 5.1: "The M bit of a given AVP MUST only be inspected
			// and acted upon if the AVP is unrecognized (see Section 5.2)."
			//
			// RFC 3931 section 5.2: "If the AVP is recognized (as all AVPs defined in
			// this document MUST be for a compliant L2TPv3 specification), then by
			// definition, the M bit is of no consequence."
			inverted := setBits(line, ^binary.BigEndian.Uint16(line)&mandatoryBit, mandatoryBit)
			p, err := Parse(message(with(avps, i, inverted)...), &Decoding{})
			if d := cmp.Diff(v.message, p.Message, sameCookie); err != nil || d != "" {
				t.Errorf("%s: %s with M bit inverted: %v\n%s", v.name, attrOf(line), err, d)
			}
		}
	}
}

// TestUnknownAVPs puts AVPs that nobody knows at every place of every message.
func TestUnknownAVPs(t *testing.T) {
	for _, v := range vectors {
		avps := v.lines(t)
		for i := 1; i <= len(avps); i++ {
			for _, unknown := range []struct {
				hex    string
				vendor uint32
				attr   Attr
				name   string
			}{
				{"0006 0000 0043", 0, 67, "attribute 67"},
				{"0008 0000 ffff 0001", 0, 0xffff, "attribute 65535"},
				// Vendors have numbers of their own: 311's 63 is no Local Session ID.
				{"000a 0137 003f 0000ffff", 311, 63, "vendor 311 attribute 63"},
				{"0006 0137 0000", 311, 0, "vendor 311 attribute 0"},
				{"0010 0137 0024 00000000000000000000", 311, 36, "vendor 311 attribute 36"},
				// RFC 3931 section 5.1: "The 16-bit Vendor ID MUST be 0, indicating that
				// this is an IETF-defined AVP, and the Attribute Type MUST be 58,
				// indicating that what follows is a vendor-specific AVP with a 32-bit
				// Vendor ID code."
				{"000e 0000 003a 0001 0009 0001 0006", 0x00010009, 1, "vendor 65545 attribute 1"},
				{"000c 0000 003a ffff ffff 003f", 0xffffffff, 63, "vendor 4294967295 attribute 63"},
				// Hidden ones are judged alike.
				{"4010 0000 0043 00000000000000000000", 0, 67, "attribute 67"},
				{"4010 0137 0001 00000000000000000000", 311, 1, "vendor 311 attribute 1"},
			} {
				line := octets(t, unknown.hex)
				// RFC 3931 section 5.2: "If the M bit is not set on an unrecognized AVP,
				// the AVP MUST be ignored when received, processing the control message
				// as if the AVP were not present."
				if d := cmp.Diff(v.message, good(t, message(slices.Insert(slices.Clone(avps), i, line)...)).Message, sameCookie); d != "" {
					t.Errorf("%s: %s at %d:\n%s", v.name, unknown.name, i, d)
				}
				line = setBits(line, mandatoryBit, 0)
				p, err := Parse(message(slices.Insert(slices.Clone(avps), i, line)...), &Decoding{})
				if err == nil || err.Code != ErrorUnknownAVP || err.Vendor != unknown.vendor || err.Attr != unknown.attr ||
					err.Text != "unknown mandatory AVP: "+unknown.name {
					t.Errorf("%s: %s with M bit at %d: %v", v.name, unknown.name, i, err)
				}
				if d := cmp.Diff(v.message, p.Message, sameCookie); d != "" {
					t.Errorf("%s: %s with M bit at %d: the rest was not read:\n%s", v.name, unknown.name, i, d)
				}
			}
		}
	}
}

// TestExtendedVendorID has AVPs for 32-bit vendors that are no such thing.
func TestExtendedVendorID(t *testing.T) {
	hello := octets(t, "8008 0000 0000 0006")
	secret := NewSecret([]byte("secret"))
	vector := []byte("0123456789abcdef")
	random := appendAVP(nil, mandatoryBit, 0, uint16(AttrRandomVector), vector)
	for _, v := range []struct {
		name string
		avp  []byte
		want ErrorCode
	}{
		{"five octets", octets(t, "800b 0000 003a 0000010001"), ErrorLength},
		{"five octets, M bit clear", octets(t, "000b 0000 003a 0000010001"), ErrorNone},
		// Vendor 0 is no vendor: what is in there is not the IETF's own.
		{"vendor 0", octets(t, "0010 0000 003a 00000000 003f 00000000"), ErrorNone},
		{"a Random Vector in it", octets(t, "0010 0000 003a 00000000 0024 00000000"), ErrorNone},
		// "This AVP MAY be hidden": then its vendor is, too.
		{"hidden", appendAVP(nil, mandatoryBit|hiddenBit, 0, 58, hiddenByFormula(58, secretKey("secret", 1), vector, octets(t, "0001 0009 0001 0006"), nil)), ErrorUnknownAVP},
		{"hidden, M bit clear", appendAVP(nil, hiddenBit, 0, 58, hiddenByFormula(58, secretKey("secret", 1), vector, octets(t, "0001 0009 0001 0006"), nil)), ErrorNone},
		{"hidden badly", octets(t, "c010 0000 003a 00010009000100000000"), ErrorRange},
	} {
		_, err := Parse(message(hello, random, v.avp), &Decoding{Secret: secret})
		if v.want == ErrorNone && err != nil || v.want != ErrorNone && (err == nil || err.Code != v.want) {
			t.Errorf("%s: %v, want error %d", v.name, err, v.want)
		}
		if v.name == "hidden" && err != nil && (err.Vendor != 0x00010009 || err.Attr != 1) {
			t.Errorf("%s: vendor %d, attribute %d", v.name, err.Vendor, err.Attr)
		}
	}
	for _, v := range vectors {
		if v.message == nil {
			continue
		}
		// RFC 3931 section 5.1: "The M bit for this AVP MUST be set to 0." We send
		// none.
		for _, e := range []*Encoding{{}, {Cisco: true}} {
			for rest := AppendBody(nil, v.message, e); len(rest) > 0; {
				a, next, err := nextAVP(rest)
				if err != nil {
					t.Fatal(err)
				}
				if a.vendor == 0 && a.attr == AttrExtendedVendorID && a.mandatory {
					t.Errorf("%s: %s with M bit set", v.name, a.name())
				}
				rest = next
			}
		}
	}
}

// badLengths are lengths of values that the AVP cannot have.
var badLengths = map[Attr][]int{
	AttrResultCode:     {0, 1},
	AttrHostName:       {0},
	AttrCircuitErrors:  {0, 16, 17, 19, 22, 25, 27},
	AttrCapabilities:   {0, 1, 3, 511},
	AttrAssignedCookie: {1, 2, 3, 5, 6, 7, 9, 16},
}

// TestMalformedAVPs gives every AVP every length that it cannot have.
func TestMalformedAVPs(t *testing.T) {
	for _, v := range vectors {
		avps := v.lines(t)
		for i := 1; i < len(avps); i++ {
			attr := attrOf(avps[i])
			bad := slices.Clone(badLengths[attr])
			if n := rfc[attr].length; n != 0 && attr != AttrCircuitErrors {
				bad = append(bad, 0, n-7, n-5, n+2, n+100)
			}
			for _, n := range bad {
				line := resized(avps[i], n)
				_, err := Parse(message(with(avps, i, setBits(line, mandatoryBit, 0))...), &Decoding{})
				if err == nil || err.Code != ErrorLength || err.Attr != attr {
					t.Errorf("%s: %s of %d octets, M bit set: %v", v.name, attr, n, err)
				}
				// RFC 3931 section 7.1: "If the M bit is inspected and is found to be 0,
				// the AVP MUST be ignored (assuming recovery from the AVP malformation
				// is indeed possible)."
				got, gotErr := Parse(message(with(avps, i, setBits(line, 0, mandatoryBit))...), &Decoding{})
				want, wantErr := Parse(message(with(avps, i)...), &Decoding{})
				if d := different(want, got); d != "" || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
					t.Errorf("%s: %s of %d octets, M bit clear: %v, want %v\n%s", v.name, attr, n, gotErr, wantErr, d)
				}
			}
		}
	}
}

// TestRxConnectSpeed is the example of RFC 3931 section 7.1: "if the Rx Connect
// Speed AVP is received with a length of 10 rather than 14".
func TestRxConnectSpeed(t *testing.T) {
	begin := octets(t, "8008 0000 0000 000c 800a 0000 003f 00000001 800a 0000 0040 00000002")
	tx, rx := octets(t, "000e 0000 004a 0000000000000007"), octets(t, "000a 0000 004b 3b9aca00")
	p := good(t, message(begin, rx, tx))
	want := &ICCN{CallConnected{LocalSessionID: 1, RemoteSessionID: 2, TxSpeed: 7}}
	if d := cmp.Diff(Message(want), p.Message); d != "" {
		t.Error(d)
	}
	_, err := Parse(message(begin, setBits(rx, mandatoryBit, 0), tx), &Decoding{})
	if err == nil || err.Error() != "wire: Rx Connect Speed: 4 octets, want 8" {
		t.Errorf("M bit set: %v", err)
	}
}

// TestLengthOfAVP has Lengths that lead out of the message, or nowhere.
func TestLengthOfAVP(t *testing.T) {
	hello := octets(t, "8008 0000 0000 0006")
	for _, hex := range []string{"00", "8006 0000 00", "8000 0000 0043", "8005 0000 0043", "0005 0000 0043", "0007 0000 0043", "03ff 0000 0043", "0008 0000 0043 01"} {
		b := message(hello, octets(t, hex))
		if _, err := Parse(b, &Decoding{Lenient: true}); err == nil || err.Code != ErrorLength {
			t.Errorf("%s: %v", hex, err)
		}
		if _, err := Describe(b, nil); err == nil {
			t.Errorf("%s: described without an error", hex)
		}
	}
	longest := resized(octets(t, "0006 0000 0043"), 1017)
	if _, err := Parse(message(hello, longest, longest), &Decoding{}); err != nil {
		t.Errorf("the longest AVP: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("1018 octets in an AVP: no panic")
		}
	}()
	appendAVP(nil, 0, 0, 67, make([]byte, 1018))
}

// TestOutOfRange has values that RFC 3931 does not allow.
func TestOutOfRange(t *testing.T) {
	for _, v := range []struct {
		vector string
		avp    string
		zero   bool // the AVP is not required
	}{
		{"SCCRQ, all", "800a 0000 003d 00000000", false},
		{"SCCRP, all", "800a 0000 003d 00000000", false},
		{"ICRQ, all", "800a 0000 003f 00000000", false},
		{"ICRP, all", "800a 0000 003f 00000000", false},
		{"OCRQ, all", "800a 0000 003f 00000000", false},
		{"OCRP, all", "800a 0000 003f 00000000", false},
		{"ICRQ, all", "8008 0000 0046 0003", true},
		{"ICRP, all", "8008 0000 0046 ffff", true},
		{"ICCN, all", "8008 0000 0046 0003", true},
		{"OCCN, all", "8008 0000 0046 0100", true},
	} {
		line := octets(t, v.avp)
		i := slices.IndexFunc(vectors, func(c vector) bool { return c.name == v.vector })
		avps := vectors[i].lines(t)
		at := slices.IndexFunc(avps, func(other []byte) bool { return attrOf(other) == attrOf(line) })
		_, err := Parse(message(with(avps, at, line)...), &Decoding{})
		if err == nil || err.Code != ErrorRange || err.Attr != attrOf(line) {
			t.Errorf("%s: %s: %v", v.vector, v.avp, err)
		}
		// With its M bit clear it is as though it were not there.
		got, err := Parse(message(with(avps, at, setBits(line, 0, mandatoryBit))...), &Decoding{})
		want, _ := Parse(message(with(avps, at)...), &Decoding{})
		if v.zero != (err == nil) || v.zero && different(want, got) != "" {
			t.Errorf("%s: %s, M bit clear: %v\n%s", v.vector, v.avp, err, different(want, got))
		}
	}
	// Many know of no other way to say that they have assigned none.
	p := good(t, message(octets(t, "8008 0000 0000 0004 8008 0000 0001 0001 800a 0000 003d 00000000")))
	if got := p.Message.(*StopCCN).ConnectionID; got != 0 {
		t.Errorf("StopCCN: connection %d", got)
	}
}

// TestZeroConnectionID appends messages that have none.
func TestZeroConnectionID(t *testing.T) {
	for _, m := range []Message{&SCCRQ{}, &SCCRP{}, &StopCCN{}} {
		for _, e := range []*Encoding{{}, {Cisco: true}} {
			for rest := AppendBody(nil, m, e); len(rest) > 0; {
				a, next, err := nextAVP(rest)
				if err != nil {
					t.Fatal(err)
				}
				rest = next
				// RFC 3931 section 5.4.3: "Because a Control Connection ID value of 0 is
				// used in this special manner, the zero value MUST NOT be sent as an
				// Assigned Control Connection ID value."
				if a.vendor == 0 && a.attr == AttrAssignedConnectionID || a.vendor == vendorCisco && a.attr == 1 {
					t.Errorf("%s: %s %x", m.Type(), a.name(), a.value)
				}
				// RFC 3931 section 5.4.3: "The Host Name is of arbitrary length, but MUST
				// be at least 1 octet."
				if a.vendor == 0 && a.attr == AttrHostName {
					t.Errorf("%s: %s of %d octets", m.Type(), a.name(), len(a.value))
				}
			}
		}
	}
	sccrq := vectors[1].lines(t)
	if _, err := Parse(message(with(sccrq, 1, octets(t, "8006 0000 0007"))...), &Decoding{}); err == nil || err.Attr != AttrHostName {
		t.Errorf("empty Host Name: %v", err)
	}
}

// TestRouterID has identifiers that are no address of a host.
func TestRouterID(t *testing.T) {
	avps := vectors[1].lines(t)
	for _, id := range []uint32{0, 1, 0x7f000001, 0xe0000001, 0xffffffff} {
		line := binary.BigEndian.AppendUint32(octets(t, "800a 0000 003c"), id)
		// RFC 3931 section 5.4.3: "Implementations MUST NOT assume that Router
		// Identifier is a valid IP address."
		if got := good(t, message(with(avps, 2, line)...)).Message.(*SCCRQ).RouterID; got != id {
			t.Errorf("Router ID %#x, want %#x", got, id)
		}
	}
}

// TestOrder reads the AVPs of every message in the reverse order.
func TestOrder(t *testing.T) {
	for _, v := range vectors {
		avps := v.lines(t)
		if len(avps) > 1 {
			slices.Reverse(avps[1:])
		}
		if d := cmp.Diff(v.message, good(t, message(avps...)).Message, sameCookie); d != "" {
			t.Errorf("%s: %s", v.name, d)
		}
	}
}

// TestTwice has a second AVP of a kind: the first counts.
func TestTwice(t *testing.T) {
	p := good(t, message(octets(t, "8008 0000 0000 0010 800a 0000 003f 00000001 800a 0000 0040 00000002 800a 0000 003f 00000003 8008 0000 0000 0006")))
	if want := (&SLI{LocalSessionID: 1, RemoteSessionID: 2}); cmp.Diff(Message(want), p.Message) != "" {
		t.Errorf("%+v, want %+v", p.Message, want)
	}
}

// TestEmptyCookie has the two ways to ask for none. RFC 3931 section 5.4.4: "A
// missing Assigned Cookie AVP or Assigned Cookie Value of zero length".
func TestEmptyCookie(t *testing.T) {
	avps := vectors[slices.IndexFunc(vectors, func(v vector) bool { return v.name == "ICRP, least" })].lines(t)
	p := good(t, message(append(avps, octets(t, "8006 0000 0041"))...))
	if n := p.Message.(*ICRP).Cookie.Len(); n != 0 {
		t.Errorf("%d octets", n)
	}
}

// both is an SCCRQ for L2TPv2 and L2TPv3 with what RFC 2661 wants in one, M bits
// set.
const both = `
	8008 0000 0000 0001
	8008 0000 0002 0100
	800a 0000 0003 00000003
	800a 0000 0004 00000003
	0008 0000 0006 0690
	8007 0000 0007 61
	8008 0000 0009 0001
	8008 0000 000a 0008
	8016 0000 000b 00112233445566778899aabbccddeeff
	c00e 0000 0021 0011223344556677
	8008 0000 0031 0001
	000a 0000 003c 00000001
	000a 0000 003d 00000002
	0008 0000 003e 0005`

// TestVersion2 reads an SCCRQ that offers both versions.
func TestVersion2(t *testing.T) {
	b := AppendControl(nil, ControlHeader{Version: 2}, octets(t, both))
	h, b, err := ParseControl(b)
	if err != nil || h.Version != 2 {
		t.Fatalf("%+v, %v", h, err)
	}
	// RFC 3931 section 4.7.3: "An L2TPv3-only implementation MUST ignore all L2TPv2
	// AVPs (e.g., those defined in RFC 2661 and not in this document) within an SCCRQ
	// with the Ver field set to 2 (even if the M bit is set on the L2TPv2-specific
	// AVPs)."
	want := &SCCRQ{LCCE: LCCE{HostName: "a", RouterID: 1, ConnectionID: 2, Capabilities: []pseudowire.Type{pseudowire.Ethernet}, ReceiveWindow: 8}}
	if d := cmp.Diff(Message(want), good(t, b).Message); d != "" {
		t.Error(d)
	}
	// With version 3 in the header they are unknown, but to the lenient.
	b[1] = 3
	if _, err := Parse(b, &Decoding{}); err == nil || err.Code != ErrorUnknownAVP || err.Attr != 2 {
		t.Errorf("version 3: %v", err)
	}
	p, problem := Parse(b, &Decoding{Lenient: true})
	if d := cmp.Diff(Message(want), p.Message); problem != nil || d != "" {
		t.Errorf("version 3, lenient: %v\n%s", problem, d)
	}
	// What is neither version's is unknown to all.
	b = append(octets(t, both), octets(t, "8006 0000 0043")...)
	if _, err := Parse(AppendControl(nil, ControlHeader{Version: 2}, b), &Decoding{Lenient: true}); err == nil || err.Attr != 67 {
		t.Errorf("attribute 67: %v", err)
	}
}

// TestCisco reads and writes the dialect of Cisco's drafts.
func TestCisco(t *testing.T) {
	const least = `
		8008 0000 0000 000a
		000a 0000 000f 00000005
		800a 0009 0003 00000011
		800a 0009 0004 00000000
		800e 0009 0005 0102030405060708
		800a 0009 0006 00000064
		8008 0009 0007 0005
		8008 0009 0008 0001
		800e 0009 0009 0000000000000007
		8008 0009 000e 05dc`
	want := &ICRQ{CallRequest: CallRequest{
		LocalSessionID: 0x11, SerialNumber: 5, PseudowireType: pseudowire.Ethernet, RemoteEndID: []byte{0, 0, 0, 100},
		Status: CircuitActive, Cookie: someCookie("0102030405060708"), TieBreaker: Some(uint64(7)),
	}}
	p := good(t, message(octets(t, least)))
	if d := cmp.Diff(Message(want), p.Message, sameCookie); d != "" || !p.Cisco {
		t.Errorf("Cisco: %v\n%s", p.Cisco, d)
	}
	for _, v := range vectors {
		if v.message == nil {
			continue
		}
		if good(t, octets(t, v.hex)).Cisco {
			t.Errorf("%s: Cisco's", v.name)
		}
		body := AppendBody(nil, v.message, &Encoding{Cisco: true})
		p, err := Parse(message(body), &Decoding{})
		if d := cmp.Diff(v.message, p.Message, sameCookie); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", v.name, err, d)
		}
		// Such a peer knows no attribute beyond RFC 2661's of the IETF: the M bit
		// is clear there, and what it needs is there under Cisco's number.
		var known [][]byte
		for rest := body; len(rest) > 0; {
			a, next, err := nextAVP(rest)
			if err != nil {
				t.Fatal(err)
			}
			switch line := rest[:len(rest)-len(next)]; {
			case a.vendor == 9 || a.attr < AttrMessageDigest:
				known = append(known, line)
			case a.mandatory:
				t.Errorf("%s: %s with M bit set", v.name, a.name())
			}
			rest = next
		}
		p, err = Parse(message(known...), &Decoding{})
		if err != nil && err.Attr != AttrRouterID { // Cisco's drafts have none
			t.Errorf("%s: Cisco's alone: %v", v.name, err)
		}
		if want, ok := v.message.(*ICRQ); ok {
			got := p.Message.(*ICRQ)
			if got.TieBreaker != want.TieBreaker || got.Cookie != want.Cookie || got.LocalSessionID != want.LocalSessionID || !p.Cisco {
				t.Errorf("%s: Cisco's alone: %+v, want %+v", v.name, got, want)
			}
		}
		if first := v.message.Type() == TypeSCCRQ || v.message.Type() == TypeSCCRP; bytes.Contains(body, octets(t, "8008 0009 000a 0001")) != first {
			t.Errorf("%s: draft version: %x", v.name, body)
		}
	}
	// Vendor 9's attribute 1 is a Connection ID and no Result Code, and 0 no Message
	// Type.
	stop := octets(t, "8008 0000 0000 0004")
	q, err := Parse(message(stop, octets(t, "800a 0009 0001 00010002")), &Decoding{})
	if err == nil || err.Attr != AttrResultCode || q.Message.(*StopCCN).ConnectionID != 0x10002 {
		t.Errorf("Cisco's 1 in a StopCCN: %+v, %v", q.Message, err)
	}
	// Others of Cisco's are unknown, but to the lenient.
	hello := octets(t, "8008 0000 0000 0006")
	for _, attr := range []int{0, 11, 15, 63, 0xffff} {
		line := octets(t, fmt.Sprintf("8008 0009 %04x ffff", attr))
		if _, err := Parse(message(hello, line), &Decoding{}); err == nil || err.Vendor != 9 || err.Code != ErrorUnknownAVP {
			t.Errorf("Cisco's %d: %v", attr, err)
		}
		if _, err := Parse(message(hello, line), &Decoding{Lenient: true}); err != nil {
			t.Errorf("Cisco's %d, lenient: %v", attr, err)
		}
		line[3] = 10
		if _, err := Parse(message(hello, line), &Decoding{Lenient: true}); err == nil || err.Vendor != 10 {
			t.Errorf("vendor 10's %d, lenient: %v", attr, err)
		}
	}
}

// TestTextsSent appends names that are no ASCII, or longer than we would read.
func TestTextsSent(t *testing.T) {
	m := &SCCRQ{LCCE: LCCE{HostName: "zürich\x1b", ConnectionID: 1, VendorName: "Spanwiré\xff", Language: strings.Repeat("e", 2000)}}
	for rest := AppendBody(nil, m, &Encoding{}); len(rest) > 0; {
		a, next, err := nextAVP(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = next
		want, ok := map[Attr]string{
			AttrHostName: "z?rich?",
			// RFC 3931 section 5.4.3 of the Vendor Name: "Human-readable text for this
			// AVP MUST be provided in the US-ASCII charset [RFC1958, RFC2277]."
			AttrVendorName:        "Spanwir??",
			AttrPreferredLanguage: strings.Repeat("e", maxText),
		}[a.attr]
		if ok && string(a.value) != want {
			t.Errorf("%s: %q, want %q", a.attr, a.value, want)
		}
	}
}

// TestManyAVPs has as many AVPs as fit into a datagram.
func TestManyAVPs(t *testing.T) {
	body := octets(t, "8008 0000 0000 0006")
	for len(body) < 65000 {
		body = append(body, octets(t, "8006 0000 0048")...)
	}
	if _, err := Parse(AppendControl(nil, ControlHeader{Version: 3}, body), &Decoding{}); err != nil {
		t.Error(err)
	}
}
