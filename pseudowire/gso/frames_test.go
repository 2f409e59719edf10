package gso

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"spanwire/pseudowire"
)

// A shape is what gopacket, the judge of lengths and checksums, builds frames of:
// it knows nothing of segmentation.
type shape struct {
	tags      []layers.EthernetType // the VLAN tags' own types, outermost first
	vlan      uint16
	priority  uint8
	source    byte // last octet of the source address, and of the MAC address
	udp, v6   bool
	tos, ttl  uint8
	label     uint32
	id        uint16
	flags     layers.IPv4Flag
	fragment  uint16
	protocol  layers.IPProtocol // of neither TCP nor UDP, if set
	ipOptions []layers.IPv4Option
	extension bool // IPv6 hop-by-hop options
	port      uint16
	seq, ack  uint32
	window    uint16
	urgent    uint16
	tcp       byte // flags
	options   []layers.TCPOption
	payload   []byte
	after     func(frame []byte) []byte // changes the finished frame
}

func (s shape) build(t rapid.TB) []byte {
	t.Helper()
	ethernet := &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 1, s.source}, DstMAC: []byte{2, 0, 0, 0, 2, 1}}
	stack := []gopacket.SerializableLayer{ethernet}
	next := &ethernet.EthernetType
	for i, tag := range s.tags {
		*next = tag
		q := &layers.Dot1Q{VLANIdentifier: s.vlan + uint16(i), Priority: s.priority}
		stack = append(stack, q)
		next = &q.Type
	}
	protocol := s.protocol
	if protocol == 0 {
		protocol = layers.IPProtocolTCP
		if s.udp {
			protocol = layers.IPProtocolUDP
		}
	}
	var network gopacket.NetworkLayer
	if s.v6 {
		*next = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, TrafficClass: s.tos, FlowLabel: s.label, HopLimit: s.ttl, NextHeader: protocol,
			SrcIP: []byte{0x20, 1, 0xd, 0xb8, 15: s.source}, DstIP: []byte{0x20, 1, 0xd, 0xb8, 14: 1, 15: 1}}
		network = ip
		stack = append(stack, ip)
		if s.extension {
			ip.NextHeader = layers.IPProtocolIPv6HopByHop
			h := &layers.IPv6HopByHop{Options: []*layers.IPv6HopByHopOption{{OptionType: 5, OptionData: []byte{0, 0, 0, 0}}}}
			h.NextHeader = protocol
			stack = append(stack, h)
		}
	} else {
		*next = layers.EthernetTypeIPv4
		ip := &layers.IPv4{Version: 4, TOS: s.tos, TTL: s.ttl, Id: s.id, Flags: s.flags, FragOffset: s.fragment, Protocol: protocol,
			Options: s.ipOptions, SrcIP: []byte{192, 0, 2, s.source}, DstIP: []byte{198, 51, 100, 1}}
		network = ip
		stack = append(stack, ip)
	}
	switch {
	case s.protocol != 0:
	case s.udp:
		u := &layers.UDP{SrcPort: layers.UDPPort(s.port), DstPort: 4433}
		must(t, u.SetNetworkLayerForChecksum(network))
		stack = append(stack, u)
	default:
		h := &layers.TCP{SrcPort: layers.TCPPort(s.port), DstPort: 443, Seq: s.seq, Ack: s.ack, Window: s.window, Urgent: s.urgent, Options: s.options,
			FIN: s.tcp&1 != 0, SYN: s.tcp&2 != 0, RST: s.tcp&4 != 0, PSH: s.tcp&8 != 0, ACK: s.tcp&16 != 0, URG: s.tcp&32 != 0, ECE: s.tcp&64 != 0, CWR: s.tcp&128 != 0}
		must(t, h.SetNetworkLayerForChecksum(network))
		stack = append(stack, h)
	}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(stack, gopacket.Payload(s.payload))...))
	// gopacket pads short frames to what a wire wants.
	frame := bytes.Clone(b.Bytes())
	if at, _ := s.offsets(); s.v6 {
		frame = frame[:at+40+int(binary.BigEndian.Uint16(frame[at+4:]))]
	} else {
		frame = frame[:at+int(binary.BigEndian.Uint16(frame[at+2:]))]
	}
	if s.after != nil {
		frame = s.after(frame)
	}
	return frame
}

// super builds the frame with all payload, and its checksum as Linux leaves it.
func (s shape) super(t rapid.TB, size int) pseudowire.Frame {
	t.Helper()
	b := s.build(t)
	ip, l4 := s.offsets()
	g := pseudowire.GSO{HeaderLen: uint16(len(b)), Size: uint16(size), ChecksumStart: uint16(l4)}
	switch {
	case s.udp:
		g.Kind, g.ChecksumOffset = pseudowire.GSOUDP, 6
	case s.v6:
		g.Kind, g.ChecksumOffset = pseudowire.GSOTCPv6, 16
	default:
		g.Kind, g.ChecksumOffset = pseudowire.GSOTCPv4, 16
	}
	binary.BigEndian.PutUint16(b[l4+int(g.ChecksumOffset):], slowFold(s.pseudo(b[ip:], len(b)-l4)))
	f := pseudowire.NewFrame(b, 0)
	f.GSO = g
	return f
}

// offsets returns where IP, and TCP or UDP begin.
func (s shape) offsets() (ip, l4 int) {
	ip = 14 + 4*len(s.tags)
	switch {
	case s.v6 && s.extension:
		return ip, ip + 48
	case s.v6:
		return ip, ip + 40
	}
	l4 = ip + 20
	for _, o := range s.ipOptions {
		l4 += int(o.OptionLength)
	}
	return ip, l4
}

func (s shape) pseudo(ip []byte, length int) uint32 {
	protocol := uint32(6)
	if s.udp {
		protocol = 17
	}
	if s.v6 {
		return slowSum(ip[8:40]) + protocol + uint32(length)
	}
	return slowSum(ip[12:20]) + protocol + uint32(length)
}

// segments are the shapes of the frames that a super-frame of s stands for.
func (s shape) segments(size int) (all []shape) {
	rest := s.payload
	for first := true; first || len(rest) > 0; first = false {
		p := s
		p.payload = rest[:min(size, len(rest))]
		rest = rest[len(p.payload):]
		if !first {
			p.tcp &^= flagCWR
		}
		if len(rest) > 0 {
			p.tcp &^= flagFIN | flagPSH
		}
		all = append(all, p)
		s.id++
		s.seq += uint32(len(p.payload))
	}
	return all
}

// slowSum adds b's 16-bit words one by one.
func slowSum(b []byte) (s uint32) {
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i&1))
		s = s>>16 + s&0xffff
	}
	return s
}

func slowFold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

var timestamps = []layers.TCPOption{{OptionType: 1}, {OptionType: 1},
	{OptionType: 8, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 5, 6, 7, 8}}}

// base is a segment in the middle of a TCP connection.
func base() shape {
	return shape{source: 1, ttl: 64, flags: layers.IPv4DontFragment, id: 0xfffe, port: 40000, seq: 0xfffffe00, ack: 77, window: 501,
		tcp: flagACK, options: timestamps, vlan: 100}
}

// pattern returns n octets of payload.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// cut returns the frames of a super-frame, and fails where Count, HeaderMax or
// what was appended to is not respected.
func cut(t rapid.TB, f pseudowire.Frame) (frames [][]byte) {
	t.Helper()
	var c Cutter
	if err := c.Init(f); err != nil {
		t.Fatalf("%+v of %d octets: %v", f.GSO, f.Len(), err)
	}
	count := c.Count()
	for {
		const before = "L2TPv3"
		h, payload, ok := c.Next([]byte(before))
		if !ok {
			break
		}
		if string(h[:len(before)]) != before || len(h) > len(before)+HeaderMax {
			t.Fatalf("appended %d octets, want %d at most, to %q", len(h)-len(before), HeaderMax, h[:len(before)])
		}
		frames = append(frames, append(bytes.Clone(h[len(before):]), payload...))
		if c.Count() != count-len(frames) {
			t.Fatalf("Count %d of %d after %d frames", c.Count(), count, len(frames))
		}
	}
	if len(frames) != count {
		t.Fatalf("%d frames, want Count, %d", len(frames), count)
	}
	return frames
}

// flat returns a Super in one piece.
func flat(s Super) pseudowire.Frame {
	f := pseudowire.NewFrame(append(bytes.Clone(s.Head), bytes.Join(s.Body, nil)...), 0)
	f.GSO = s.GSO
	return f
}

// apart returns the frames that a Super stands for.
func apart(t rapid.TB, s Super) [][]byte {
	t.Helper()
	f := flat(s)
	if f.GSO == (pseudowire.GSO{}) {
		if s.Frames != 1 || s.Body != nil {
			t.Fatalf("a frame as it came: Frames %d, %d pieces", s.Frames, len(s.Body))
		}
		return [][]byte{f.Bytes()}
	}
	frames := cut(t, f)
	if len(frames) != s.Frames || len(s.Body) != s.Frames || s.Frames < 2 || s.Frames > framesMax || f.Len() > lengthMax || s.Valid ||
		len(s.Head) != int(s.GSO.HeaderLen) {
		t.Fatalf("%+v with a head of %d, %d pieces, %d octets in all: cut into %d, said to be %d, valid %v",
			s.GSO, len(s.Head), len(s.Body), f.Len(), len(frames), s.Frames, s.Valid)
	}
	return frames
}

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// differ says where two frames do.
func differ(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("octet %d is %#02x, want %#02x\ngot  % x\nwant % x", i, got[i], want[i], got[:min(len(got), 80)], want[:min(len(want), 80)])
		}
	}
	return fmt.Sprintf("%d octets, want %d", len(got), len(want))
}
