package gso

import (
	"encoding/binary"

	"spanwire/pseudowire"
)

// A Cutter cuts one super-frame at a time into the frames that it stands for. Its
// zero value has none. It refers to the super-frame until the last frame is cut.
type Cutter struct {
	head    []byte // what every frame begins with
	payload []byte // of the frames that are still to come
	size    int
	count   int
	ip, l4  int // where the headers begin
	v6, udp bool

	// The next frame's.
	id    uint16
	seq   uint32
	flags byte

	// The sums of what all frames have in common.
	ipSum, l4Sum uint64
}

// Init makes f the frame to be cut. Where what f's headers and its description
// say does not fit together it is refused, and Next returns nothing.
//
// HeaderLen is not looked at: in what Linux hands over it is a hint how much of
// the frame is in one piece of memory. It may have payload in it, and may lack a
// VLAN tag.
func (c *Cutter) Init(f pseudowire.Frame) error { return c.init(f, tagsCut) }

// InitIP is Init for a packet of IP that has no Ethernet header.
func (c *Cutter) InitIP(f pseudowire.Frame) error { return c.init(f, noEthernet) }

func (c *Cutter) init(f pseudowire.Frame, tags int) error {
	*c = Cutter{}
	var n Cutter
	if err := n.read(f.Bytes(), f.GSO, tags); err != nil {
		return err
	}
	*c = n
	return nil
}

func (c *Cutter) read(b []byte, g pseudowire.GSO, tags int) error {
	var protocol byte
	switch g.Kind {
	case pseudowire.GSOTCPv4, pseudowire.GSOTCPv6:
		protocol = protocolTCP
	case pseudowire.GSOUDP:
		protocol, c.udp = protocolUDP, true
	default:
		return errKind
	}
	if g.Size == 0 {
		return errSize
	}
	t, at, ok := network(b, tags)
	if !ok {
		return errShort
	}
	c.ip, c.l4 = at, int(g.ChecksumStart)
	var plain bool // the pseudo-header has the addresses of the IP header
	var err error
	switch {
	case t == typeIPv4 && g.Kind != pseudowire.GSOTCPv6:
		plain, err = c.readIPv4(b, protocol)
	case t == typeIPv6 && g.Kind != pseudowire.GSOTCPv4:
		plain, err = c.readIPv6(b, protocol)
	default:
		err = errProtocol
	}
	if err != nil {
		return err
	}

	l4 := b[c.l4:]
	var headerLen, checksum int
	if c.udp {
		headerLen, checksum = udpLen, udpChecksum
		if len(l4) < udpLen {
			return errShort
		}
		if int(binary.BigEndian.Uint16(l4[4:])) != len(l4) {
			return errLength
		}
	} else {
		if len(l4) < tcpLen {
			return errShort
		}
		headerLen, checksum = int(l4[12]>>4)*4, tcpChecksum
		if headerLen < tcpLen || headerLen > len(l4) {
			return errShort
		}
	}
	if int(g.ChecksumOffset) != checksum {
		return errChecksum
	}
	if c.l4+headerLen > HeaderMax {
		return errLong
	}

	// What stands in the field is the sum of the pseudo-header, RFC 9293 section
	// 3.1. Where a source route or a routing header names the last destination
	// it is the only place that tells its share of the sum.
	partial := binary.BigEndian.Uint16(l4[checksum:])
	length := uint64(len(l4)) // at most 65,535, as an IP header has said
	if plain && partial%0xffff != fold(c.addressSum(b)+uint64(protocol)+length)%0xffff {
		return errChecksum
	}
	c.l4Sum = uint64(partial) + 0xffff - length + sum(l4[:4])
	if !c.udp {
		c.seq = binary.BigEndian.Uint32(l4[4:])
		c.flags = l4[13]
		c.l4Sum += sum(l4[8:12]) + uint64(l4[12])<<8 + sum(l4[14:16]) + sum(l4[18:headerLen])
	}

	c.head, c.payload = b[:c.l4+headerLen], b[c.l4+headerLen:]
	c.size = int(g.Size)
	c.count = max(1, (len(c.payload)+c.size-1)/c.size)
	return nil
}

func (c *Cutter) readIPv4(b []byte, protocol byte) (plain bool, err error) {
	ip := b[c.ip:]
	if len(ip) < ipv4Len {
		return false, errShort
	}
	headerLen := int(ip[0]&15) * 4
	switch {
	case ip[0]>>4 != 4 || headerLen < ipv4Len || ip[9] != protocol:
		return false, errProtocol
	case c.l4 != c.ip+headerLen:
		return false, errChecksum
	case len(ip) < headerLen:
		return false, errShort
	case int(binary.BigEndian.Uint16(ip[2:])) != len(ip):
		return false, errLength
	case binary.BigEndian.Uint16(ip[6:])&^dontFragment != 0:
		return false, errFragment
	}
	c.id = binary.BigEndian.Uint16(ip[4:])
	c.ipSum = sum(ip[:2]) + sum(ip[6:10]) + sum(ip[12:headerLen])
	return headerLen == ipv4Len, nil
}

// readIPv6 follows the extension headers that do not forbid it to be cut. RFC
// 8200 section 4.
func (c *Cutter) readIPv6(b []byte, protocol byte) (plain bool, err error) {
	c.v6 = true
	ip := b[c.ip:]
	switch {
	case len(ip) < ipv6Len:
		return false, errShort
	case ip[0]>>4 != 6:
		return false, errProtocol
	case int(binary.BigEndian.Uint16(ip[4:])) != len(ip)-ipv6Len:
		return false, errLength
	}
	next, at := ip[6], ipv6Len
	for next == protocolHopByHop || next == protocolRouting || next == protocolDestination {
		if len(ip) < at+8 {
			return false, errShort
		}
		next, at = ip[at], at+8*(1+int(ip[at+1]))
		if at > HeaderMax {
			return false, errLong
		}
	}
	switch {
	case next != protocol:
		return false, errProtocol
	case c.l4 != c.ip+at:
		return false, errChecksum
	case len(ip) < at:
		return false, errShort
	}
	return at == ipv6Len, nil
}

func (c *Cutter) addressSum(b []byte) uint64 {
	if c.v6 {
		return sum(b[c.ip+8 : c.ip+ipv6Len])
	}
	return sum(b[c.ip+12 : c.ip+ipv4Len])
}

// Count returns how many frames are still to come, 65,527 at most.
func (c *Cutter) Count() int { return c.count }

// Next appends the headers of the next frame, HeaderMax octets at most, and
// returns its payload where it stands in the super-frame. After the last frame it
// appends nothing, and ok is false.
//
// The frames differ as those that Linux cuts do: in lengths and checksums, in the
// sequence number, in IPv4's Identification, which counts on from that of the
// super-frame whether DF is set or not, in FIN and PSH, which only the last keeps,
// and in CWR, which only the first does (RFC 3168 section 6.1.2).
func (c *Cutter) Next(head []byte) (_, payload []byte, ok bool) {
	if c.count == 0 {
		return head, nil, false
	}
	c.count--
	payload = c.payload[:min(c.size, len(c.payload))]
	c.payload = c.payload[len(payload):]
	start := len(head)
	head = append(head, c.head...)
	h := head[start:]

	ip, l4 := h[c.ip:], h[c.l4:]
	if c.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Len+len(payload)))
	} else {
		length := uint16(len(ip) + len(payload))
		binary.BigEndian.PutUint16(ip[2:], length)
		binary.BigEndian.PutUint16(ip[4:], c.id)
		binary.BigEndian.PutUint16(ip[10:], ^fold(c.ipSum+uint64(length)+uint64(c.id)))
		c.id++
	}

	length := uint64(len(l4) + len(payload))
	s := c.l4Sum + length + sum(payload)
	if c.udp {
		binary.BigEndian.PutUint16(l4[4:], uint16(length))
		putChecksum(l4[udpChecksum:], s+length, true)
		return head, payload, true
	}
	flags := c.flags
	if c.count > 0 {
		flags &^= flagFIN | flagPSH
	}
	binary.BigEndian.PutUint32(l4[4:], c.seq)
	l4[13] = flags
	putChecksum(l4[tcpChecksum:], s+uint64(c.seq>>16)+uint64(c.seq&0xffff)+uint64(flags), false)
	c.seq += uint32(len(payload))
	c.flags &^= flagCWR
	return head, payload, true
}
