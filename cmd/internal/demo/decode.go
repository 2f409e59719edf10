package demo

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"spanwire/l2tpv3/wire"
)

// decode tells in a line what an Ethernet frame on the underlay is, if it is a
// data message over IPv4 and UDP with a cookie of the given size.
func decode(frame []byte, cookieLen int) (line string, ok bool) {
	const ethernet, udp = 14, 8
	if len(frame) < ethernet+20 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 {
		return "", false
	}
	ip := frame[ethernet:]
	headerLen := int(ip[0]&0x0f) * 4
	if ip[9] != 17 || len(ip) < headerLen+udp {
		return "", false
	}
	kind, session, rest := wire.Classify(wire.UDP, ip[headerLen+udp:])
	if kind != wire.Data || len(rest) < cookieLen {
		return "", false
	}
	return fmt.Sprintf("%s > %s udp %d: L2TPv3 session %d, cookie %x | %s",
		netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])),
		binary.BigEndian.Uint16(ip[headerLen+2:]), session, rest[:cookieLen], decodeInner(rest[cookieLen:])), true
}

// decodeInner tells what a frame in the tunnel is.
func decodeInner(b []byte) string {
	if len(b) < 14 {
		return fmt.Sprintf("%d octets", len(b))
	}
	to, from, payload := net.HardwareAddr(b[:6]), net.HardwareAddr(b[6:12]), b[14:]
	what := fmt.Sprintf("type %#04x", binary.BigEndian.Uint16(b[12:]))
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0806:
		if len(payload) >= 28 {
			what = fmt.Sprintf("ARP who has %s", netip.AddrFrom4([4]byte(payload[24:28])))
			if payload[7] == 2 {
				what = fmt.Sprintf("ARP %s is at %s", netip.AddrFrom4([4]byte(payload[14:18])), net.HardwareAddr(payload[8:14]))
			}
		}
	case 0x0800:
		if len(payload) >= 21 && payload[9] == 1 {
			what = fmt.Sprintf("IPv4 %s > %s ICMP %s", netip.AddrFrom4([4]byte(payload[12:16])), netip.AddrFrom4([4]byte(payload[16:20])),
				echo(payload[20], 8, 0))
		}
	case 0x86dd:
		if len(payload) >= 41 && payload[6] == 58 {
			what = fmt.Sprintf("IPv6 %s > %s ICMPv6 %s", netip.AddrFrom16([16]byte(payload[8:24])), netip.AddrFrom16([16]byte(payload[24:40])),
				echo(payload[40], 128, 129))
		}
	}
	return fmt.Sprintf("%s > %s %s, %d octets", from, to, what, len(b))
}

func echo(kind, request, reply byte) string {
	switch kind {
	case request:
		return "echo request"
	case reply:
		return "echo reply"
	}
	return fmt.Sprintf("type %d", kind)
}
