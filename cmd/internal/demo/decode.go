package demo

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"spanwire/l2tpv3/wire"
)

// decode tells in a line what an Ethernet frame on the underlay is, if it is a
// control message over IPv4 and UDP, or a data message with a cookie of the given
// size that carries ARP or an echo.
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
	where := fmt.Sprintf("%s > %s udp %d: L2TPv3", netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])),
		binary.BigEndian.Uint16(ip[headerLen+2:]))
	switch {
	case kind == wire.Control:
		h, message, err := wire.ParseControl(rest)
		if err != nil {
			return "", false
		}
		name, digest := "ZLB", ""
		if t, has := wire.TypeOf(message); has {
			name = t.String()
		}
		if wire.HasDigest(message) {
			digest = ", with digest"
		}
		return fmt.Sprintf("%s %-5s Ns %d Nr %d%s", where, name, h.Ns, h.Nr, digest), true
	case kind == wire.Data && len(rest) >= cookieLen:
		inner, ok := decodeInner(rest[cookieLen:])
		return fmt.Sprintf("%s session %d, cookie %x | %s", where, session, rest[:cookieLen], inner), ok
	}
	return "", false
}

// decodeInner tells what a frame in the tunnel is, if it is what the demo sends:
// ARP and echoes.
func decodeInner(b []byte) (line string, ok bool) {
	if len(b) < 14 {
		return "", false
	}
	to, from, payload := net.HardwareAddr(b[:6]), net.HardwareAddr(b[6:12]), b[14:]
	var what string
	switch binary.BigEndian.Uint16(b[12:]) {
	case 0x0806:
		if len(payload) < 28 {
			return "", false
		}
		what = fmt.Sprintf("ARP who has %s", netip.AddrFrom4([4]byte(payload[24:28])))
		if payload[7] == 2 {
			what = fmt.Sprintf("ARP %s is at %s", netip.AddrFrom4([4]byte(payload[14:18])), net.HardwareAddr(payload[8:14]))
		}
	case 0x0800:
		if len(payload) < 21 || payload[9] != 1 || payload[20] != 8 && payload[20] != 0 {
			return "", false
		}
		what = fmt.Sprintf("%s > %s %s", netip.AddrFrom4([4]byte(payload[12:16])), netip.AddrFrom4([4]byte(payload[16:20])), echo(payload[20] == 8))
	case 0x86dd:
		if len(payload) < 41 || payload[6] != 58 || payload[40] != 128 && payload[40] != 129 {
			return "", false
		}
		what = fmt.Sprintf("%s > %s %s", netip.AddrFrom16([16]byte(payload[8:24])), netip.AddrFrom16([16]byte(payload[24:40])), echo(payload[40] == 128))
	default:
		return "", false
	}
	return fmt.Sprintf("%s > %s %s, %d octets", from, to, what, len(b)), true
}

func echo(request bool) string {
	if request {
		return "echo request"
	}
	return "echo reply"
}
