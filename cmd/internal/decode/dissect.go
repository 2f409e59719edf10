package decode

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket/layers"

	"spanwire/l2tpv3/wire"
)

// A datagram is an L2TP datagram of a capture.
type datagram struct {
	at       time.Time
	from, to netip.AddrPort // the port is 0 over IP
	encap    wire.Encap
	octets   []byte
	partial  string // why octets are not all of it; empty: they are
}

// Why a capture has no more of a datagram.
const (
	cut      = "captured only in part"
	fragment = "sent in fragments"
)

// The EtherTypes under which there may be IP.
const (
	typeVLAN        = 0x8100 // IEEE 802.1Q
	typeServiceVLAN = 0x88a8 // IEEE 802.1ad
	typeOldVLAN     = 0x9100 // its forerunner
	typeIPv4        = 0x0800
	typeIPv6        = 0x86dd
	typePPPoE       = 0x8864 // a PPPoE session, RFC 2516
)

// The link types by which systems write raw IP, beside layers.LinkTypeRaw: their
// own numbers for it.
const (
	linkRawBSD  = 12
	linkRawOpen = 14
)

// headers finds what follows the headers of a link: an EtherType and its payload,
// or 0 and what should be IP. Of a link type that is not known, known is false.
func headers(link layers.LinkType, b []byte) (kind uint16, rest []byte, known bool) {
	skip, at := 0, -1 // the octets of the header, and where it has an EtherType
	switch link {
	case layers.LinkTypeEthernet:
		skip, at = 14, 12
	case layers.LinkTypeLinuxSLL:
		skip, at = 16, 14
	case layers.LinkTypeLinuxSLL2:
		skip, at = 20, 0
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		skip = 4 // a number of IPv4 or IPv6 that differs from system to system
	case layers.LinkTypeRaw, linkRawBSD, linkRawOpen, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
	default:
		return 0, nil, false
	}
	if len(b) < skip {
		return 0, nil, true
	}
	if at >= 0 {
		kind = binary.BigEndian.Uint16(b[at:])
	}
	return kind, b[skip:], true
}

// dissect finds L2TP in a packet. Of a link type that is not known, known is
// false.
func dissect(link layers.LinkType, b []byte) (g datagram, found, known bool) {
	kind, b, known := headers(link, b)
	for kind == typeVLAN || kind == typeServiceVLAN || kind == typeOldVLAN {
		if len(b) < 4 {
			return g, false, known
		}
		kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	if kind == typePPPoE {
		const header, pppIPv4, pppIPv6 = 8, 0x0021, 0x0057
		if len(b) < header {
			return g, false, known
		}
		kind = 0xffff // none
		if p := binary.BigEndian.Uint16(b[header-2:]); p == pppIPv4 || p == pppIPv6 {
			kind = 0
		}
		b = b[header:]
	}
	if len(b) == 0 || kind != 0 && kind != typeIPv4 && kind != typeIPv6 {
		return g, false, known
	}
	switch b[0] >> 4 {
	case 4:
		found = g.ipv4(b)
	case 6:
		found = g.ipv6(b)
	}
	return g, found, known
}

// take cuts b to the length that a header tells, or notes that there is less.
func (g *datagram) take(b []byte, length int) []byte {
	if length <= len(b) {
		return b[:length]
	}
	if g.partial == "" {
		g.partial = cut
	}
	return b
}

// ipv4 reads an IPv4 packet, RFC 791.
func (g *datagram) ipv4(b []byte) bool {
	const least, more, offset = 20, 0x2000, 0x1fff
	if len(b) < least {
		return false
	}
	header := int(b[0]&0x0f) * 4
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length == 0 { // the network device was to fill it in
		length = len(b)
	}
	if header < least || length < header || len(b) < header {
		return false
	}
	where := binary.BigEndian.Uint16(b[6:])
	switch {
	case where&offset != 0: // what it is the first fragment tells alone
		return false
	case where&more != 0:
		g.partial = fragment
	}
	from, to := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	return g.payload(from, to, b[9], g.take(b, length)[header:])
}

// ipv6 reads an IPv6 packet with its extension headers, RFC 8200.
func (g *datagram) ipv6(b []byte) bool {
	const header = 40
	const hopByHop, routing, fragmentation, authentication, destination = 0, 43, 44, 51, 60
	if len(b) < header {
		return false
	}
	from, to := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	next, length := b[6], int(binary.BigEndian.Uint16(b[4:]))
	b = b[header:]
	if length == 0 {
		length = len(b)
	}
	b = g.take(b, length)
	for {
		var size int
		switch next {
		case hopByHop, routing, destination:
			size = 8
			if len(b) > 1 {
				size += int(b[1]) * 8
			}
		case authentication: // RFC 4302
			size = 8
			if len(b) > 1 {
				size += int(b[1]) * 4
			}
		case fragmentation:
			size = 8
		default:
			return g.payload(from, to, next, b)
		}
		if len(b) < size {
			return false
		}
		if next == fragmentation {
			const more, offset = 0x0001, 0xfff8
			where := binary.BigEndian.Uint16(b[2:])
			switch {
			case where&offset != 0:
				return false
			case where&more != 0:
				g.partial = fragment
			}
		}
		next, b = b[0], b[size:]
	}
}

// payload reads what an IP packet carries.
func (g *datagram) payload(from, to netip.Addr, protocol uint8, b []byte) bool {
	const udp, udpHeader = 17, 8
	switch {
	case protocol == wire.Protocol:
		g.encap = wire.IP
		g.from, g.to, g.octets = netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, 0), b
		return true
	case protocol != udp || len(b) < udpHeader:
		return false
	}
	source, destination, length := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), int(binary.BigEndian.Uint16(b[4:]))
	if source != wire.Port && destination != wire.Port {
		return false
	}
	if length == 0 {
		length = len(b)
	}
	if length < udpHeader {
		return false
	}
	g.from, g.to = netip.AddrPortFrom(from, source), netip.AddrPortFrom(to, destination)
	g.octets = g.take(b, length)[udpHeader:]
	return true
}
