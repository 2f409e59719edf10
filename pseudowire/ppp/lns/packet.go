package lns

import (
	"encoding/binary"
	"net/netip"
)

// Sizes of headers, and IP protocols.
const (
	ipv4Len = 20
	ipv6Len = 40
	tcpLen  = 20

	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58

	dontFragment  = 0x4000
	moreFragments = 0x2000
)

// clampMSS has the TCP segments of a connection fit into packets of mtu octets, if the
// packet begins one: its Maximum Segment Size (RFC 9293 section 3.7.1) becomes what
// fits, if it is more. The packet's checksum is right, and stays so.
func clampMSS(packet []byte, mtu int) {
	if len(packet) < ipv4Len {
		return
	}
	var tcp []byte
	most := 0
	switch packet[0] >> 4 {
	case 4:
		n := int(packet[0]&15) * 4
		if packet[9] != protocolTCP || n < ipv4Len || len(packet) < n || binary.BigEndian.Uint16(packet[6:])&0x1fff != 0 {
			return
		}
		tcp, most = packet[n:], mtu-ipv4Len-tcpLen
	case 6:
		if len(packet) < ipv6Len || packet[6] != protocolTCP {
			return
		}
		tcp, most = packet[ipv6Len:], mtu-ipv6Len-tcpLen
	default:
		return
	}
	const flagSYN = 2
	if len(tcp) < tcpLen || tcp[13]&flagSYN == 0 || most <= 0 {
		return
	}
	const end, noOperation, maximumSegmentSize = 0, 1, 2
	last := min(len(tcp), max(tcpLen, int(tcp[12]>>4)*4))
	for at := tcpLen; at+4 <= last; {
		switch kind, n := tcp[at], int(tcp[at+1]); {
		case kind == end:
			return
		case kind == noOperation:
			at++
		case n < 2 || at+n > last:
			return
		case kind != maximumSegmentSize || n != 4:
			at += n
		default:
			value := tcp[at+2:]
			a, b := binary.BigEndian.Uint16(value), uint16(most)
			if a <= b {
				return
			}
			binary.BigEndian.PutUint16(value, b)
			if at&1 != 0 { // each of the two octets is in another half of a word
				a, b = a<<8|a>>8, b<<8|b>>8
			}
			binary.BigEndian.PutUint16(tcp[16:], replaced(binary.BigEndian.Uint16(tcp[16:]), a, b))
			return
		}
	}
}

// replaced returns the checksum of what had sum, when a word a of it has become b. RFC
// 1624 section 3.
func replaced(sum, a, b uint16) uint16 {
	s := uint32(^sum) + uint32(^a) + uint32(b)
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return ^uint16(s)
}

// checksum returns the checksum of RFC 1071 of octets, to which s was added before.
func checksum(s uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
		s = s>>16 + s&0xffff
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// pseudo6 returns the sum of the pseudo-header of RFC 8200 section 8.1, for a packet
// without extension headers.
func pseudo6(packet []byte, protocol byte) uint32 {
	n := uint32(len(packet) - ipv6Len)
	return uint32(^checksum(n>>16+n&0xffff+uint32(protocol), packet[8:ipv6Len]))
}

// fragments hands to emit the fragments of an IPv4 packet, of which none is longer than
// mtu. RFC 791 section 3.2. It returns false if the
// packet may not be fragmented, or cannot be.
func fragments(packet []byte, mtu int, emit func([]byte)) bool {
	if len(packet) < ipv4Len || packet[0]>>4 != 4 {
		return false
	}
	n := int(packet[0]&15) * 4
	field := binary.BigEndian.Uint16(packet[6:])
	room := (mtu - n) &^ 7
	if n < ipv4Len || len(packet) < n || field&dontFragment != 0 || room < 8 || int(binary.BigEndian.Uint16(packet[2:])) != len(packet) {
		return false
	}
	payload := packet[n:]
	for at := 0; at < len(payload); at += room {
		part := payload[at:min(len(payload), at+room)]
		b := make([]byte, 0, n+len(part))
		b = append(b, packet[:n]...)
		if at > 0 {
			clearOptions(b[ipv4Len:n])
		}
		b = append(b, part...)
		f := field + uint16(at/8)
		if at+len(part) < len(payload) {
			f |= moreFragments
		}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[6:], f)
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], checksum(0, b[:n]))
		emit(b)
	}
	return true
}

// clearOptions makes no-operations of the options that only the first fragment has:
// those without the copied flag, RFC 791 section 3.1.
func clearOptions(options []byte) {
	for len(options) > 0 && options[0] != 0 {
		n := 1
		if options[0] != 1 {
			if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
				return
			}
			n = int(options[1])
			if options[0]&0x80 == 0 {
				for i := range n {
					options[i] = 1
				}
			}
		}
		options = options[n:]
	}
}

// tooBig returns what tells the sender of a packet that it is too long: "fragmentation
// needed and DF set" with the MTU, RFC 1191 section 4, or Packet Too Big, RFC 4443
// section 3.2. nil: nothing may be said of this packet.
func tooBig(packet []byte, mtu int, from4, from6 netip.Addr) []byte {
	switch {
	case len(packet) >= ipv4Len && packet[0]>>4 == 4 && from4.IsValid():
		n := int(packet[0]&15) * 4
		// RFC 1122 section 3.2.2: not of fragments but the first, nor of errors.
		if n < ipv4Len || len(packet) < n+8 || binary.BigEndian.Uint16(packet[6:])&0x1fff != 0 ||
			packet[9] == protocolICMP && packet[n] != 8 && packet[n] != 0 {
			return nil
		}
		quoted := packet[:min(len(packet), 548)]
		b := make([]byte, ipv4Len+8, ipv4Len+8+len(quoted))
		b = append(b, quoted...)
		b[0], b[8], b[9] = 0x45, 64, protocolICMP
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		copy(b[12:], from4.AsSlice())
		copy(b[16:], packet[12:16])
		binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipv4Len]))
		icmp := b[ipv4Len:]
		icmp[0], icmp[1] = 3, 4
		binary.BigEndian.PutUint16(icmp[6:], uint16(mtu))
		binary.BigEndian.PutUint16(icmp[2:], checksum(0, icmp))
		return b
	case len(packet) >= ipv6Len && packet[0]>>4 == 6 && from6.IsValid():
		if packet[6] == protocolICMPv6 && (len(packet) == ipv6Len || packet[ipv6Len] < 128) || packet[8] == 0xff {
			return nil
		}
		quoted := packet[:min(len(packet), 1280-ipv6Len-8)]
		b := make([]byte, ipv6Len+8, ipv6Len+8+len(quoted))
		b = append(b, quoted...)
		icmp := b[ipv6Len:]
		icmp[0] = 2
		binary.BigEndian.PutUint32(icmp[4:], uint32(max(mtu, 1280)))
		header6(b, from6, netip.AddrFrom16([16]byte(packet[8:24])), protocolICMPv6, 64)
		binary.BigEndian.PutUint16(icmp[2:], checksum(pseudo6(b, protocolICMPv6), icmp))
		return b
	}
	return nil
}

// header6 writes the header of a whole packet of IPv6.
func header6(b []byte, from, to netip.Addr, protocol, hops byte) {
	b[0], b[1], b[2], b[3] = 0x60, 0, 0, 0
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Len))
	b[6], b[7] = protocol, hops
	f, t := from.As16(), to.As16()
	copy(b[8:], f[:])
	copy(b[24:], t[:])
}
