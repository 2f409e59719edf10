package wire_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/testbed/tshark"
)

// A side is one end of the dialogue that tshark judges.
type side struct {
	address  net.IP
	id       uint32 // its Control Connection ID
	nonce    []byte
	ns, nr   uint16
	peer     *side
	silent   bool // has told no Control Connection ID yet
	encoding *wire.Encoding
}

// A dialogue is what two sides said, as IP packets.
type dialogue struct {
	encap   wire.Encap
	packets [][]byte
}

// say appends a message of s; nil is a ZLB.
func (d *dialogue) say(t *testing.T, s *side, m wire.Message) {
	t.Helper()
	h := wire.ControlHeader{Version: 3, Ns: s.ns, Nr: s.nr}
	if !s.peer.silent {
		h.ConnectionID = s.peer.id
	}
	var body []byte
	if m != nil {
		body = wire.AppendBody(nil, m, s.encoding)
		if m.Type() != wire.TypeACK {
			s.ns++
			s.peer.nr = s.ns
		}
	}
	b := wire.AppendControl(nil, h, body)
	local, remote := s.nonce, s.peer.nonce
	if _, first := m.(*wire.SCCRQ); first {
		local, remote = nil, nil
	}
	wire.Seal(b, s.encoding.Signatures, local, remote)
	s.silent = false
	d.carry(t, s, b)
}

// carry appends a datagram of s.
func (d *dialogue) carry(t *testing.T, s *side, b []byte) {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: s.address, DstIP: s.peer.address}
	udp := &layers.UDP{SrcPort: wire.Port, DstPort: wire.Port}
	all := []gopacket.SerializableLayer{ip, udp, gopacket.Payload(b)}
	if d.encap == wire.IP {
		ip.Protocol = wire.Protocol
		all = []gopacket.SerializableLayer{ip, gopacket.Payload(append(make([]byte, 4), b...))}
	} else if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	packet := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(packet, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	d.packets = append(d.packets, packet.Bytes())
}

// whole returns a dialogue in which every message is said.
func whole(t *testing.T, encap wire.Encap, signatures []wire.Signature, encoding wire.Encoding) *dialogue {
	t.Helper()
	encoding.Signatures = signatures
	encoding.Random = func(b []byte) { copy(b, "sixteen octets..") }
	a := &side{address: net.IPv4(192, 0, 2, 1), id: 0xf0000001, silent: true, encoding: &encoding}
	b := &side{address: net.IPv4(192, 0, 2, 2), id: 0xf0000002, silent: true, encoding: &encoding}
	a.peer, b.peer = b, a
	var acknowledge wire.Message
	if len(signatures) > 0 {
		a.nonce, b.nonce = []byte("0123456789abcdef"), []byte("a nonce of more octets")
		acknowledge = &wire.ACK{}
	}
	eight, err := cookie.Parse("0102030405060708")
	if err != nil {
		t.Fatal(err)
	}
	four, err := cookie.Parse("a1a2a3a4")
	if err != nil {
		t.Fatal(err)
	}
	lcce := func(s *side, name string) wire.LCCE {
		return wire.LCCE{HostName: name, RouterID: s.id, ConnectionID: s.id, Nonce: s.nonce, ReceiveWindow: 8, VendorName: "Spanwire",
			Language: "en", Capabilities: []pseudowire.Type{pseudowire.EthernetVLAN, pseudowire.Ethernet}}
	}
	request := wire.CallRequest{LocalSessionID: 0x1001, SerialNumber: 1, PseudowireType: pseudowire.Ethernet, RemoteEndID: []byte("voice"),
		Status: wire.CircuitActive | wire.CircuitNew, Cookie: eight, TieBreaker: wire.Some(uint64(7)),
		Sublayer: pseudowire.DefaultSublayer, Sequencing: pseudowire.AllSequencing, TxSpeed: 1e9, RxSpeed: 1e9}
	reply := wire.CallReply{LocalSessionID: 0x2002, RemoteSessionID: 0x1001, Status: wire.CircuitActive, Cookie: four,
		Sublayer: pseudowire.DefaultSublayer, Sequencing: pseudowire.NonIPSequencing, TxSpeed: 1e9, RxSpeed: 1e9, PhysicalChannelID: 1}
	connected := wire.CallConnected{LocalSessionID: 0x1001, RemoteSessionID: 0x2002, Sublayer: wire.Some(pseudowire.DefaultSublayer),
		Sequencing: wire.Some(pseudowire.AllSequencing), TxSpeed: 1e9, RxSpeed: 1e9, Status: wire.Some(wire.CircuitActive)}
	d := &dialogue{encap: encap}
	for _, line := range []struct {
		from    *side
		message wire.Message
	}{
		{a, &wire.SCCRQ{LCCE: lcce(a, "a.example"), TieBreaker: wire.Some(uint64(1))}},
		{b, &wire.SCCRP{LCCE: lcce(b, "b.example")}},
		{a, &wire.SCCCN{}},
		{b, acknowledge},
		{a, &wire.ICRQ{CallRequest: request, PhysicalChannelID: 7}},
		{b, &wire.ICRP{CallReply: reply}},
		{a, &wire.ICCN{CallConnected: connected}},
		{b, &wire.HELLO{}},
		{a, acknowledge},
		{b, &wire.SLI{LocalSessionID: 0x2002, RemoteSessionID: 0x1001, Status: wire.Some(wire.CircuitStatus(0))}},
		{a, &wire.WEN{LocalSessionID: 0x1001, RemoteSessionID: 0x2002, Errors: wire.CircuitErrors{HardwareOverruns: 1, AlignmentErrors: 2}}},
		{a, &wire.CDN{LocalSessionID: 0x1001, RemoteSessionID: 0x2002, Result: wire.Result{Code: wire.CDNError, Error: wire.ErrorResources, Message: "no room"}}},
		{a, &wire.OCRQ{CallRequest: request}},
		{b, &wire.OCRP{CallReply: reply}},
		{b, &wire.OCCN{CallConnected: connected}},
		{a, acknowledge},
		{b, &wire.StopCCN{ConnectionID: b.id, Result: wire.Result{Code: wire.StopShutdown}}},
		{a, acknowledge},
	} {
		d.say(t, line.from, line.message)
	}
	return d
}

// A verdict is what tshark says of one packet.
type verdict struct{ message, digest, warning string }

// judged has tshark read the dialogue.
func (d *dialogue) judged(t *testing.T, secret string) (all []verdict) {
	t.Helper()
	frames, err := tshark.ReadFrames(layers.LinkTypeRaw, d.packets, []string{"l2tp.avp.message_type", "l2tp.avp.message_digest"},
		"-o", "l2tp.shared_secret:"+secret, "-o", "udp.check_checksum:TRUE", "-Y", "l2tp")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		all = append(all, verdict{f["l2tp.avp.message_type"], f["l2tp.avp.message_digest"], f.Complaint()})
	}
	return all
}

// TestWireshark has tshark check the digests of a whole dialogue, and look for what
// is malformed in it.
func TestWireshark(t *testing.T) {
	secret := wire.NewSecret([]byte("secret"))
	for _, v := range []struct {
		name       string
		signatures []wire.Signature
		encoding   wire.Encoding
	}{
		{"plain", nil, wire.Encoding{}},
		{"Cisco's dialect", nil, wire.Encoding{Cisco: true}},
		{"MD5", []wire.Signature{{Type: wire.MD5, Secret: secret}}, wire.Encoding{}},
		{"SHA-1", []wire.Signature{{Type: wire.SHA1, Secret: secret}}, wire.Encoding{}},
		{"SHA-1 and hidden AVPs", []wire.Signature{{Type: wire.SHA1, Secret: secret}}, wire.Encoding{Hide: secret}},
		{"MD5 in Cisco's dialect", []wire.Signature{{Type: wire.MD5, Secret: secret}}, wire.Encoding{Cisco: true}},
	} {
		for _, encap := range []wire.Encap{wire.UDP, wire.IP} {
			t.Run(v.name+" over "+encap.String(), func(t *testing.T) {
				d := whole(t, encap, v.signatures, v.encoding)
				for i, p := range d.judged(t, "secret") {
					digest := ""
					if len(v.signatures) > 0 {
						digest = fmt.Sprintf("%02x", uint8(v.signatures[0].Type))
					}
					if p.warning != "" || !strings.HasPrefix(p.digest, digest) || (p.digest != "") != (digest != "") {
						t.Errorf("packet %d: message %s, digest %q: %q", i+1, p.message, p.digest, p.warning)
					}
				}
				if len(v.signatures) == 0 {
					return
				}
				// It does look at every digest.
				for i, p := range d.judged(t, "Secret") {
					if p.warning != "Incorrect Digest" {
						t.Errorf("another secret: packet %d: message %s, digest %q: %q", i+1, p.message, p.digest, p.warning)
					}
				}
			})
		}
	}
}
