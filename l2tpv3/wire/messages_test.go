package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanwire/cookie"
	"spanwire/pseudowire"
)

// A vector is a control message in both forms: hexadecimal with the header a word
// a line, as RFC 3931 draws it, and then an AVP a line: bits and Length, Vendor
// ID, Attribute Type, value.
type vector struct {
	name    string
	header  ControlHeader
	message Message
	hex     string
}

func someCookie(text string) cookie.Cookie {
	c, err := cookie.Parse(text)
	if err != nil {
		panic(err)
	}
	return c
}

// vectors has every message with the least that it must hold, and with all that
// it may hold. The AVPs are in the order in which we send them.
var vectors = []vector{
	{"ZLB", ControlHeader{3, 0xdeadbeef, 7, 0xffff}, nil, `
		c803 000c
		deadbeef
		0007 ffff`},
	{"SCCRQ, least", ControlHeader{3, 0, 0, 0}, &SCCRQ{LCCE: LCCE{
		HostName: "a", ConnectionID: 1, Capabilities: []pseudowire.Type{pseudowire.Ethernet},
	}}, `
		c803 0037
		00000000
		0000 0000
		8008 0000 0000 0001
		8007 0000 0007 61
		800a 0000 003c 00000000
		800a 0000 003d 00000001
		8008 0000 003e 0005`},
	// The tie breaker of zero, the lowest, wins every tie: it is not none.
	{"SCCRQ, tie breaker zero", ControlHeader{3, 0, 0, 0}, &SCCRQ{LCCE: LCCE{
		HostName: "a", ConnectionID: 1, Capabilities: []pseudowire.Type{pseudowire.Ethernet},
	}, TieBreaker: Some(uint64(0))}, `
		c803 0045
		00000000
		0000 0000
		8008 0000 0000 0001
		8007 0000 0007 61
		800a 0000 003c 00000000
		800a 0000 003d 00000001
		8008 0000 003e 0005
		800e 0000 0005 0000000000000000`},
	{"SCCRQ, all", ControlHeader{3, 0, 0, 0}, &SCCRQ{LCCE: LCCE{
		HostName: "lyon.example", RouterID: 0xfffffffe, ConnectionID: 0xf0000001,
		Capabilities:  []pseudowire.Type{pseudowire.EthernetVLAN, pseudowire.Ethernet, 0xffff},
		Nonce:         []byte("0123456789abcdef"),
		ReceiveWindow: 16, VendorName: "Spanwire", Language: "en",
	}, TieBreaker: Some(uint64(0x0102030405060708))}, `
		c803 0088
		00000000
		0000 0000
		8008 0000 0000 0001
		8016 0000 0049 30313233343536373839616263646566
		8012 0000 0007 6c796f6e2e6578616d706c65
		800a 0000 003c fffffffe
		800a 0000 003d f0000001
		800c 0000 003e 0004 0005 ffff
		8008 0000 000a 0010
		000e 0000 0008 5370616e77697265
		0008 0000 0048 656e
		800e 0000 0005 0102030405060708`},
	{"SCCRP, least", ControlHeader{3, 1, 0, 1}, &SCCRP{LCCE{
		HostName: "b", RouterID: 1, ConnectionID: 2, Capabilities: []pseudowire.Type{pseudowire.Ethernet},
	}}, `
		c803 0037
		00000001
		0000 0001
		8008 0000 0000 0002
		8007 0000 0007 62
		800a 0000 003c 00000001
		800a 0000 003d 00000002
		8008 0000 003e 0005`},
	{"SCCRP, all", ControlHeader{3, 0xf0000001, 0, 1}, &SCCRP{LCCE{
		HostName: "lund.example", RouterID: 0xc0000201, ConnectionID: 0xf0000002,
		Capabilities:  []pseudowire.Type{pseudowire.Ethernet},
		Nonce:         []byte("fedcba9876543210"),
		ReceiveWindow: 1, VendorName: "YAMAHA Corporation", Language: "sv",
	}}, `
		c803 0080
		f0000001
		0000 0001
		8008 0000 0000 0002
		8016 0000 0049 66656463626139383736353433323130
		8012 0000 0007 6c756e642e6578616d706c65
		800a 0000 003c c0000201
		800a 0000 003d f0000002
		8008 0000 003e 0005
		8008 0000 000a 0001
		0018 0000 0008 59414d41484120436f72706f726174696f6e
		0008 0000 0048 7376`},
	{"SCCCN", ControlHeader{3, 2, 1, 1}, &SCCCN{}, `
		c803 0014
		00000002
		0001 0001
		8008 0000 0000 0003`},
	{"StopCCN, least", ControlHeader{3, 2, 9, 8}, &StopCCN{Result: Result{Code: StopShutdown}}, `
		c803 001c
		00000002
		0009 0008
		8008 0000 0000 0004
		8008 0000 0001 0006`},
	{"StopCCN, all", ControlHeader{3, 0, 1, 0}, &StopCCN{ConnectionID: 1, Result: Result{StopError, ErrorUnknownAVP, "attribute 99 ✓"}}, `
		c803 0038
		00000000
		0001 0000
		8008 0000 0000 0004
		801a 0000 0001 0002 0008 617474726962757465203939 20e29c93
		800a 0000 003d 00000001`},
	{"HELLO", ControlHeader{3, 2, 0x1234, 0x4321}, &HELLO{}, `
		c803 0014
		00000002
		1234 4321
		8008 0000 0000 0006`},
	{"OCRQ, least", ControlHeader{3, 2, 2, 1}, &OCRQ{CallRequest{LocalSessionID: 1, PseudowireType: pseudowire.PPP}}, `
		c803 0048
		00000002
		0002 0001
		8008 0000 0000 0007
		800a 0000 003f 00000001
		800a 0000 0040 00000000
		000a 0000 000f 00000000
		8008 0000 0044 0007
		8006 0000 0042
		8008 0000 0047 0000`},
	{"OCRQ, all", ControlHeader{3, 2, 2, 1}, &OCRQ{CallRequest{
		LocalSessionID: 0x1001, RemoteSessionID: 0x2002, SerialNumber: 5, PseudowireType: pseudowire.Ethernet,
		RemoteEndID: []byte{0, 0, 0, 100}, Status: CircuitActive, Cookie: someCookie("0102030405060708"),
		TieBreaker: Some(uint64(9)), Sublayer: pseudowire.DefaultSublayer, Sequencing: pseudowire.AllSequencing,
		TxSpeed: 1e10, RxSpeed: 1e9,
	}}, `
		c803 0094
		00000002
		0002 0001
		8008 0000 0000 0007
		800a 0000 003f 00001001
		800a 0000 0040 00002002
		000a 0000 000f 00000005
		8008 0000 0044 0005
		800a 0000 0042 00000064
		8008 0000 0047 0001
		800e 0000 0041 0102030405060708
		800e 0000 0005 0000000000000009
		8008 0000 0045 0001
		8008 0000 0046 0002
		000e 0000 004a 00000002540be400
		000e 0000 004b 000000003b9aca00`},
	{"OCRP, least", ControlHeader{3, 1, 1, 3}, &OCRP{CallReply{LocalSessionID: 2, RemoteSessionID: 1}}, `
		c803 0030
		00000001
		0001 0003
		8008 0000 0000 0008
		800a 0000 003f 00000002
		800a 0000 0040 00000001
		8008 0000 0047 0000`},
	{"OCRP, all", ControlHeader{3, 1, 1, 3}, &OCRP{CallReply{
		LocalSessionID: 2, RemoteSessionID: 1, Status: CircuitActive | CircuitNew, Cookie: someCookie("a1a2a3a4"),
		Sublayer: pseudowire.DefaultSublayer, Sequencing: pseudowire.NonIPSequencing,
		TxSpeed: 1, RxSpeed: 2, PhysicalChannelID: 3,
	}}, `
		c803 0070
		00000001
		0001 0003
		8008 0000 0000 0008
		800a 0000 003f 00000002
		800a 0000 0040 00000001
		8008 0000 0047 0003
		800a 0000 0041 a1a2a3a4
		8008 0000 0045 0001
		8008 0000 0046 0001
		000e 0000 004a 0000000000000001
		000e 0000 004b 0000000000000002
		000a 0000 0019 00000003`},
	{"OCCN, least", ControlHeader{3, 1, 2, 3}, &OCCN{CallConnected{LocalSessionID: 2, RemoteSessionID: 1}}, `
		c803 0028
		00000001
		0002 0003
		8008 0000 0000 0009
		800a 0000 003f 00000002
		800a 0000 0040 00000001`},
	{"OCCN, all", ControlHeader{3, 1, 2, 3}, &OCCN{CallConnected{
		LocalSessionID: 2, RemoteSessionID: 1, Sublayer: Some(pseudowire.DefaultSublayer), Sequencing: Some(pseudowire.AllSequencing),
		TxSpeed: 1, RxSpeed: 2, Status: Some(CircuitActive),
	}}, `
		c803 005c
		00000001
		0002 0003
		8008 0000 0000 0009
		800a 0000 003f 00000002
		800a 0000 0040 00000001
		8008 0000 0045 0001
		8008 0000 0046 0002
		000e 0000 004a 0000000000000001
		000e 0000 004b 0000000000000002
		8008 0000 0047 0001`},
	{"ICRQ, least", ControlHeader{3, 2, 2, 1}, &ICRQ{CallRequest: CallRequest{LocalSessionID: 1, PseudowireType: pseudowire.Ethernet}}, `
		c803 0048
		00000002
		0002 0001
		8008 0000 0000 000a
		800a 0000 003f 00000001
		800a 0000 0040 00000000
		000a 0000 000f 00000000
		8008 0000 0044 0005
		8006 0000 0042
		8008 0000 0047 0000`},
	{"ICRQ, tie breaker zero", ControlHeader{3, 2, 2, 1}, &ICRQ{CallRequest: CallRequest{
		LocalSessionID: 1, PseudowireType: pseudowire.Ethernet, RemoteEndID: []byte("x"), TieBreaker: Some(uint64(0))}}, `
		c803 0057
		00000002
		0002 0001
		8008 0000 0000 000a
		800a 0000 003f 00000001
		800a 0000 0040 00000000
		000a 0000 000f 00000000
		8008 0000 0044 0005
		8007 0000 0042 78
		8008 0000 0047 0000
		800e 0000 0005 0000000000000000`},
	{"ICRQ, all", ControlHeader{3, 0xf0000002, 2, 1}, &ICRQ{CallRequest{
		LocalSessionID: 0xf0e02002, RemoteSessionID: 0, SerialNumber: 0xffffffff, PseudowireType: pseudowire.EthernetVLAN,
		RemoteEndID: []byte("voice"), Status: CircuitActive | CircuitNew, Cookie: someCookie("a1a2a3a4a5a6a7a8"),
		TieBreaker: Some(uint64(0xfffffffffffffffe)), Sublayer: pseudowire.DefaultSublayer, Sequencing: pseudowire.NonIPSequencing,
		TxSpeed: 1e9, RxSpeed: 1e8,
	}, 77}, `
		c803 009f
		f0000002
		0002 0001
		8008 0000 0000 000a
		800a 0000 003f f0e02002
		800a 0000 0040 00000000
		000a 0000 000f ffffffff
		8008 0000 0044 0004
		800b 0000 0042 766f696365
		8008 0000 0047 0003
		800e 0000 0041 a1a2a3a4a5a6a7a8
		800e 0000 0005 fffffffffffffffe
		8008 0000 0045 0001
		8008 0000 0046 0001
		000e 0000 004a 000000003b9aca00
		000e 0000 004b 0000000005f5e100
		000a 0000 0019 0000004d`},
	{"ICRQ, Frame Relay", ControlHeader{3, 2, 2, 1}, &ICRQ{CallRequest{
		LocalSessionID: 1, PseudowireType: pseudowire.FrameRelay, RemoteEndID: []byte{0, 0, 0, 7},
		Status: CircuitActive | CircuitNew, FrameRelayHeaderLen: Some(uint16(4)),
	}, 5}, `
		c803 005e
		00000002
		0002 0001
		8008 0000 0000 000a
		800a 0000 003f 00000001
		800a 0000 0040 00000000
		000a 0000 000f 00000000
		8008 0000 0044 0001
		800a 0000 0042 00000007
		8008 0000 0047 0003
		0008 0000 0055 0004
		000a 0000 0019 00000005`},
	// A length of none is not a length that was not told.
	{"ICRP, Frame Relay, no header", ControlHeader{3, 1, 1, 3}, &ICRP{CallReply{
		LocalSessionID: 2, RemoteSessionID: 1, FrameRelayHeaderLen: Some(uint16(0)),
	}}, `
		c803 0038
		00000001
		0001 0003
		8008 0000 0000 000b
		800a 0000 003f 00000002
		800a 0000 0040 00000001
		8008 0000 0047 0000
		0008 0000 0055 0000`},
	{"OCRQ, Frame Relay", ControlHeader{3, 2, 2, 1}, &OCRQ{CallRequest{
		LocalSessionID: 1, PseudowireType: pseudowire.FrameRelay, FrameRelayHeaderLen: Some(uint16(2)),
	}}, `
		c803 0050
		00000002
		0002 0001
		8008 0000 0000 0007
		800a 0000 003f 00000001
		800a 0000 0040 00000000
		000a 0000 000f 00000000
		8008 0000 0044 0001
		8006 0000 0042
		8008 0000 0047 0000
		0008 0000 0055 0002`},
	{"OCRP, Frame Relay", ControlHeader{3, 1, 1, 3}, &OCRP{CallReply{
		LocalSessionID: 2, RemoteSessionID: 1, PhysicalChannelID: 3, FrameRelayHeaderLen: Some(uint16(4)),
	}}, `
		c803 0042
		00000001
		0001 0003
		8008 0000 0000 0008
		800a 0000 003f 00000002
		800a 0000 0040 00000001
		8008 0000 0047 0000
		000a 0000 0019 00000003
		0008 0000 0055 0004`},
	{"CDN, Frame Relay", ControlHeader{3, 2, 4, 2}, &CDN{LocalSessionID: 1, RemoteSessionID: 2, Result: Result{Code: CDNHeaderLength, Message: "4"}}, `
		c803 0033
		00000002
		0004 0002
		8008 0000 0000 000e
		800b 0000 0001 0013 0000 34
		800a 0000 003f 00000001
		800a 0000 0040 00000002`},
	{"ICRP, least", ControlHeader{3, 1, 1, 3}, &ICRP{CallReply{LocalSessionID: 2, RemoteSessionID: 1}}, `
		c803 0030
		00000001
		0001 0003
		8008 0000 0000 000b
		800a 0000 003f 00000002
		800a 0000 0040 00000001
		8008 0000 0047 0000`},
	{"ICRP, all", ControlHeader{3, 1, 1, 3}, &ICRP{CallReply{
		LocalSessionID: 0x00001001, RemoteSessionID: 0xf0e02002, Status: CircuitActive | CircuitStandby, Cookie: someCookie("0102030405060708"),
		Sublayer: pseudowire.DefaultSublayer, Sequencing: pseudowire.AllSequencing,
		TxSpeed: 1e9, RxSpeed: 1, PhysicalChannelID: 0xffffffff,
	}}, `
		c803 0074
		00000001
		0001 0003
		8008 0000 0000 000b
		800a 0000 003f 00001001
		800a 0000 0040 f0e02002
		8008 0000 0047 0041
		800e 0000 0041 0102030405060708
		8008 0000 0045 0001
		8008 0000 0046 0002
		000e 0000 004a 000000003b9aca00
		000e 0000 004b 0000000000000001
		000a 0000 0019 ffffffff`},
	{"ICCN, least", ControlHeader{3, 2, 3, 2}, &ICCN{CallConnected{LocalSessionID: 1, RemoteSessionID: 2}}, `
		c803 0028
		00000002
		0003 0002
		8008 0000 0000 000c
		800a 0000 003f 00000001
		800a 0000 0040 00000002`},
	// What an ICCN takes back is not what it leaves as it was.
	{"ICCN, zeros", ControlHeader{3, 2, 3, 2}, &ICCN{CallConnected{LocalSessionID: 1, RemoteSessionID: 2,
		Sublayer: Some(pseudowire.NoSublayer), Sequencing: Some(pseudowire.NoSequencing), Status: Some(CircuitStatus(0))}}, `
		c803 0040
		00000002
		0003 0002
		8008 0000 0000 000c
		800a 0000 003f 00000001
		800a 0000 0040 00000002
		8008 0000 0045 0000
		8008 0000 0046 0000
		8008 0000 0047 0000`},
	{"ICCN, all", ControlHeader{3, 2, 3, 2}, &ICCN{CallConnected{
		LocalSessionID: 1, RemoteSessionID: 2, Sublayer: Some(pseudowire.DefaultSublayer), Sequencing: Some(pseudowire.NonIPSequencing),
		TxSpeed: 1e9, RxSpeed: 1e9, Status: Some(CircuitActive),
	}}, `
		c803 005c
		00000002
		0003 0002
		8008 0000 0000 000c
		800a 0000 003f 00000001
		800a 0000 0040 00000002
		8008 0000 0045 0001
		8008 0000 0046 0001
		000e 0000 004a 000000003b9aca00
		000e 0000 004b 000000003b9aca00
		8008 0000 0047 0001`},
	{"CDN, least", ControlHeader{3, 2, 4, 2}, &CDN{LocalSessionID: 1, RemoteSessionID: 2, Result: Result{Code: CDNAdministrative}}, `
		c803 0030
		00000002
		0004 0002
		8008 0000 0000 000e
		8008 0000 0001 0003
		800a 0000 003f 00000001
		800a 0000 0040 00000002`},
	// Who refuses a session has none to name.
	{"CDN, all", ControlHeader{3, 2, 4, 2}, &CDN{LocalSessionID: 0, RemoteSessionID: 2, Result: Result{CDNError, ErrorNone, "no such circuit"}}, `
		c803 0041
		00000002
		0004 0002
		8008 0000 0000 000e
		8019 0000 0001 0002 0000 6e6f20737563682063697263756974
		800a 0000 003f 00000000
		800a 0000 0040 00000002`},
	{"WEN", ControlHeader{3, 2, 4, 2}, &WEN{LocalSessionID: 1, RemoteSessionID: 2, Errors: CircuitErrors{1, 2, 3, 0xffffffff}}, `
		c803 0048
		00000002
		0004 0002
		8008 0000 0000 000f
		800a 0000 003f 00000001
		800a 0000 0040 00000002
		0020 0000 0022 0000 00000000 00000000 00000001 00000002 00000003 ffffffff`},
	{"SLI, least", ControlHeader{3, 2, 4, 2}, &SLI{LocalSessionID: 1, RemoteSessionID: 2}, `
		c803 0028
		00000002
		0004 0002
		8008 0000 0000 0010
		800a 0000 003f 00000001
		800a 0000 0040 00000002`},
	{"SLI, inactive", ControlHeader{3, 2, 4, 2}, &SLI{LocalSessionID: 1, RemoteSessionID: 2, Status: Some(CircuitStatus(0))}, `
		c803 0030
		00000002
		0004 0002
		8008 0000 0000 0010
		800a 0000 003f 00000001
		800a 0000 0040 00000002
		8008 0000 0047 0000`},
	{"SLI, all", ControlHeader{3, 2, 4, 2}, &SLI{LocalSessionID: 1, RemoteSessionID: 2, Status: Some(CircuitReceiveFault | CircuitEgressFault)}, `
		c803 0030
		00000002
		0004 0002
		8008 0000 0000 0010
		800a 0000 003f 00000001
		800a 0000 0040 00000002
		8008 0000 0047 0024`},
	{"ACK", ControlHeader{3, 2, 5, 9}, &ACK{}, `
		c803 0014
		00000002
		0005 0009
		8008 0000 0000 0014`},
}

// required are the AVPs that "MUST be present", RFC 3931 sections 6.1 to 6.14.
var required = map[MessageType][]Attr{
	TypeSCCRQ:   {AttrHostName, AttrRouterID, AttrAssignedConnectionID, AttrCapabilities},
	TypeSCCRP:   {AttrHostName, AttrRouterID, AttrAssignedConnectionID, AttrCapabilities},
	TypeStopCCN: {AttrResultCode},
	TypeICRQ:    {AttrLocalSessionID, AttrRemoteSessionID, AttrSerialNumber, AttrPseudowireType, AttrRemoteEndID, AttrCircuitStatus},
	TypeICRP:    {AttrLocalSessionID, AttrRemoteSessionID, AttrCircuitStatus},
	TypeICCN:    {AttrLocalSessionID, AttrRemoteSessionID},
	TypeOCRQ:    {AttrLocalSessionID, AttrRemoteSessionID, AttrSerialNumber, AttrPseudowireType, AttrRemoteEndID, AttrCircuitStatus},
	TypeOCRP:    {AttrLocalSessionID, AttrRemoteSessionID, AttrCircuitStatus},
	TypeOCCN:    {AttrLocalSessionID, AttrRemoteSessionID},
	TypeCDN:     {AttrResultCode, AttrLocalSessionID, AttrRemoteSessionID},
	TypeWEN:     {AttrLocalSessionID, AttrRemoteSessionID, AttrCircuitErrors},
	TypeSLI:     {AttrLocalSessionID, AttrRemoteSessionID},
}

// lines returns the AVPs of a vector behind its header.
func (v vector) lines(t testing.TB) (avps [][]byte) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(v.hex), "\n")[3:] {
		avps = append(avps, octets(t, line))
	}
	return avps
}

// message returns a control message of AVPs, with a header that fits.
func message(avps ...[]byte) []byte {
	return AppendControl(nil, ControlHeader{Version: 3}, bytes.Join(avps, nil))
}

// attrOf returns the Attribute Type of an AVP.
func attrOf(line []byte) Attr { return Attr(binary.BigEndian.Uint16(line[4:])) }

// with returns the AVPs with that at i replaced by others.
func with(avps [][]byte, i int, others ...[]byte) [][]byte {
	return slices.Concat(avps[:i], others, avps[i+1:])
}

// setBits returns an AVP with the bits of its first word set or cleared.
func setBits(line []byte, set, clear uint16) []byte {
	line = bytes.Clone(line)
	binary.BigEndian.PutUint16(line, binary.BigEndian.Uint16(line)&^clear|set)
	return line
}

// resized returns an AVP whose value has n octets, cut or with zeros behind it.
func resized(line []byte, n int) []byte {
	line = append(bytes.Clone(line), make([]byte, n)...)[:avpHeaderLen+n]
	return setBits(line, uint16(len(line)), avpLengthMask)
}

var sameCookie = cmp.Comparer(func(a, b cookie.Cookie) bool { return a == b })

// different returns how two results of Parse differ.
func different(a, b Parsed) string { return cmp.Diff(a, b, sameCookie) }

// good returns what Parse makes of a message, which must be without an error.
func good(t testing.TB, message []byte) Parsed {
	t.Helper()
	p, err := Parse(message, &Decoding{})
	if err != nil {
		t.Fatalf("%x: %v", message, err)
	}
	return p
}

// TestMessages reads and writes every message.
func TestMessages(t *testing.T) {
	seen := map[MessageType]int{}
	for _, v := range vectors {
		want := octets(t, v.hex)
		h, got, err := ParseControl(want)
		if err != nil || h != v.header || !bytes.Equal(got, want) {
			t.Errorf("%s: header %+v, %x, %v; want %+v", v.name, h, got, err, v.header)
		}
		wanted := Parsed{Message: v.message}
		var body []byte
		if v.message != nil {
			wanted.Type = v.message.Type()
			seen[wanted.Type]++
			body = AppendBody(nil, v.message, &Encoding{})
		}
		p, problem := Parse(want, &Decoding{})
		if d := different(wanted, p); problem != nil || d != "" {
			t.Errorf("%s: %v\n%s", v.name, problem, d)
		}
		// RFC 3931 section 5.1: "Reserved bits MUST be set to 0 when sent and
		// ignored upon receipt."
		if got := AppendControl(nil, v.header, body); !bytes.Equal(got, want) {
			t.Errorf("%s: appended\n%x, want\n%x", v.name, got, want)
		}
		// What stands before the message stays as it is.
		if got := AppendControl([]byte("before"), v.header, body); string(got[:6]) != "before" || !bytes.Equal(got[6:], want) {
			t.Errorf("%s: appended to others: %x", v.name, got)
		}
		if typ, ok := TypeOf(want); ok != (v.message != nil) || typ != wanted.Type {
			t.Errorf("%s: type %s, %v", v.name, typ, ok)
		}
	}
	for typ, name := range messageNames {
		if seen[typ] == 0 || typ.String() != name {
			t.Errorf("%s: %s: no vector", typ, name)
		}
	}
	if got := MessageType(13).String(); got != "message type 13" {
		t.Errorf("%q", got)
	}
}

// TestParseKeepsNothing overwrites what was parsed.
func TestParseKeepsNothing(t *testing.T) {
	for _, v := range vectors {
		b := octets(t, v.hex)
		p := good(t, b)
		for i := range b {
			b[i] = 0xff
		}
		if d := cmp.Diff(v.message, p.Message, sameCookie); d != "" {
			t.Errorf("%s: changed with its octets:\n%s", v.name, d)
		}
	}
}

// TestSessionMessages tells the messages of a session from those of a control
// connection, RFC 3931 section 3.1.
func TestSessionMessages(t *testing.T) {
	for typ := range messageNames {
		_, session := required[typ]
		session = session && slices.Contains(required[typ], AttrRemoteSessionID)
		if typ.Session() != session {
			t.Errorf("%s: %v, want %v", typ, typ.Session(), session)
		}
		// RFC 3931 section 5.4.4: "The Remote Session ID AVP MUST be present in all
		// session-level control messages."
		body := AppendBody(nil, newMessage(typ), &Encoding{})
		if got := bytes.Contains(body, octets(t, "800a 0000 0040 00000000")); got != session {
			t.Errorf("%s: Remote Session ID there: %v, want %v", typ, got, session)
		}
	}
}

// TestFirstAVP looks at the octets behind the header of every message we send.
func TestFirstAVP(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	encodings := []*Encoding{
		{},
		{Cisco: true},
		{Signatures: []Signature{{MD5, secret}, {SHA1, secret}}, Hide: secret, Random: func([]byte) {}},
	}
	for typ := range messageNames {
		for _, e := range encodings {
			// RFC 3931 section 5.4.1: "The Message Type AVP MUST be the first AVP
			// in a message, immediately following the control message header
			// (defined in Section 3.2.1)."
			//
			// "The M bit MUST be set to 1 for all message types defined in this
			// document."
			body := AppendBody(nil, newMessage(typ), e)
			if want := octets(t, fmt.Sprintf("8008 0000 0000 %04x", uint16(typ))); !bytes.HasPrefix(body, want) {
				t.Errorf("%s: begins %x, want %x", typ, body[:8], want)
			}
		}
	}
}

// TestMessageTypeElsewhere has the Message Type anywhere but at the front, hidden,
// of another size, or of a vendor.
func TestMessageTypeElsewhere(t *testing.T) {
	vector, hello := octets(t, "800a 0000 0024 01020304"), octets(t, "8008 0000 0000 0006")
	for _, v := range []struct {
		name string
		avps [][]byte
	}{
		{"second", [][]byte{vector, hello}},
		{"hidden", [][]byte{setBits(hello, hiddenBit, 0)}},
		{"absent", [][]byte{vector}},
		{"one octet", [][]byte{resized(hello, 1)}},
		{"three octets", [][]byte{resized(hello, 3)}},
		{"in an AVP for 32-bit vendors", [][]byte{octets(t, "000e 0000 003a 00000000 0000 0006")}},
	} {
		b := message(v.avps...)
		if p, err := Parse(b, &Decoding{}); err == nil || err.Code != ErrorRange || p.Message != nil {
			t.Errorf("%s: %+v, %v", v.name, p, err)
		}
		if typ, ok := TypeOf(b); ok {
			t.Errorf("%s: type %s", v.name, typ)
		}
	}
	// RFC 3931 section 5.4.1 of messages of vendors: "The Message Type AVP MUST
	// still be the first AVP in the control message."
	ours := octets(t, "0008 0009 0000 0006")
	if p, err := Parse(message(ours, vector), &Decoding{}); err != nil || !p.Ignored || p.Message != nil {
		t.Errorf("of a vendor, M bit clear: %+v, %v; want it ignored", p, err)
	}
	if _, err := Parse(message(setBits(ours, mandatoryBit, 0)), &Decoding{}); err == nil || err.Code != ErrorUnknownAVP || err.Vendor != 9 {
		t.Errorf("of a vendor, M bit set: %v", err)
	}
	if p, err := Parse(message(vector, ours), &Decoding{}); err == nil || p.Ignored {
		t.Errorf("of a vendor, second: %+v, %v", p, err)
	}
}

// TestUnknownMessageType has types that nobody defined.
func TestUnknownMessageType(t *testing.T) {
	for _, typ := range []uint16{0, 5, 13, 17, 19, 21, 0xffff} {
		line := octets(t, fmt.Sprintf("8008 0000 0000 %04x", typ))
		p, err := Parse(message(line), &Decoding{})
		if err == nil || err.Code != ErrorUnknownAVP || p.Message != nil || p.Type != MessageType(typ) || p.Ignored {
			t.Errorf("type %d, M bit set: %+v, %v", typ, p, err)
		}
		// What else it has is not looked at.
		p, err = Parse(message(setBits(line, 0, mandatoryBit), octets(t, "8006 0000 0063")), &Decoding{})
		if err != nil || p.Message != nil || p.Type != MessageType(typ) || !p.Ignored {
			t.Errorf("type %d, M bit clear: %+v, %v", typ, p, err)
		}
	}
}

// TestTruncated cuts every message at every length.
func TestTruncated(t *testing.T) {
	secret := NewSecret(nil)
	for _, v := range vectors {
		whole := octets(t, v.hex)
		boundary := map[int]bool{ControlHeaderLen: true}
		at := ControlHeaderLen
		for _, line := range v.lines(t) {
			at += len(line)
			boundary[at] = true
		}
		for n := range whole {
			if _, _, err := ParseControl(whole[:n]); err == nil {
				t.Errorf("%s: %d of %d octets: no error", v.name, n, len(whole))
			}
			cut := bytes.Clone(whole[:n])
			Describe(cut, secret)
			Nonce(cut)
			Verify(cut, []*Secret{secret}, nil, nil)
			if n < ControlHeaderLen {
				continue
			}
			binary.BigEndian.PutUint16(cut[2:], uint16(n))
			_, b, err := ParseControl(cut)
			if err != nil {
				t.Fatalf("%s: %d octets: %v", v.name, n, err)
			}
			p, problem := Parse(b, &Decoding{})
			switch {
			case n == ControlHeaderLen:
				if problem != nil || p.Message != nil {
					t.Errorf("%s: header alone: %+v, %v; want a ZLB", v.name, p, problem)
				}
			case !boundary[n] && (problem == nil || problem.Code != ErrorLength):
				t.Errorf("%s: %d octets: %v, want error %d", v.name, n, problem, ErrorLength)
			case boundary[n] && problem != nil && !strings.HasSuffix(problem.Text, ": missing"):
				t.Errorf("%s: %d octets: %v, want no error or an AVP missing", v.name, n, problem)
			}
		}
	}
}

// TestMissing leaves out every AVP of every message.
func TestMissing(t *testing.T) {
	for _, v := range vectors {
		avps := v.lines(t)
		for i := 1; i < len(avps); i++ {
			attr := attrOf(avps[i])
			p, err := Parse(message(with(avps, i)...), &Decoding{})
			if !slices.Contains(required[v.message.Type()], attr) {
				if err != nil {
					t.Errorf("%s without %s: %v", v.name, attr, err)
				}
				continue
			}
			if err == nil || err.Code != ErrorRange || err.Attr != attr || err.Error() != "wire: "+attr.String()+": missing" {
				t.Errorf("%s without %s: %v", v.name, attr, err)
			}
			// The rest is there, so that the session can be named.
			if p.Message == nil {
				t.Errorf("%s without %s: no message", v.name, attr)
			}
		}
	}
	p, err := Parse(message(octets(t, "8008 0000 0000 000a"), octets(t, "800a 0000 003f 00000007")), &Decoding{})
	if icrq, ok := p.Message.(*ICRQ); err == nil || !ok || icrq.LocalSessionID != 7 {
		t.Errorf("ICRQ of a Local Session ID alone: %+v, %v", p.Message, err)
	}
}
