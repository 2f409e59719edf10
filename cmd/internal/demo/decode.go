package demo

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/framerelay"
	"spanwire/pseudowire/ppp"
)

// decode tells in a line what an Ethernet frame on the network between is, if it is a
// control message over IPv4 and UDP, or a data message of which inner knows what it
// carries.
func decode(frame []byte, inner func([]byte) (string, bool)) (line string, ok bool) {
	const ethernet, udp, cookieLen = 14, 8, cookie.DefaultSize
	if len(frame) < ethernet+20 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 {
		return "", false
	}
	ip := frame[ethernet:]
	headerLen := int(ip[0]&0x0f) * 4
	if ip[9] != 17 || len(ip) < headerLen+udp {
		return "", false
	}
	kind, session, rest := wire.Classify(wire.UDP, ip[headerLen+udp:])
	between := fmt.Sprintf("%s > %s udp %d: ", netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])),
		binary.BigEndian.Uint16(ip[headerLen+2:]))
	where := between + "L2TPv3"
	switch {
	case kind == wire.Version2:
		line, ok := decodeVersion2(rest)
		return between + line, ok
	case kind == wire.Control:
		h, message, err := wire.ParseControl(rest)
		if err != nil {
			return "", false
		}
		name, digest := "ZLB", ""
		t, has := wire.TypeOf(message)
		if has {
			name = t.String()
		}
		if wire.HasDigest(message) {
			digest = ", with digest"
		}
		return fmt.Sprintf("%s %-5s Ns %d Nr %d%s%s", where, name, h.Ns, h.Nr, digest, circuit(t, message)), true
	case kind == wire.Data && len(rest) >= cookieLen:
		what, ok := inner(rest[cookieLen:])
		return fmt.Sprintf("%s session %d, cookie %x | %s", where, session, rest[:cookieLen], what), ok
	}
	return "", false
}

// decodeVersion2 tells what a message of L2TPv2 is, control or data.
func decodeVersion2(b []byte) (line string, ok bool) {
	if wire.ControlV2(b) {
		h, message, err := wire.ParseControlV2(b)
		if err != nil {
			return "", false
		}
		name := "ZLB"
		if t, has := wire.TypeOf(message); has {
			name = t.String()
		}
		return fmt.Sprintf("L2TPv2 %-5s tunnel %d, session %d, Ns %d Nr %d", name, h.TunnelID, h.SessionID, h.Ns, h.Nr), true
	}
	h, frame, err := wire.ParseDataV2(b)
	if err != nil {
		return "", false
	}
	what, ok := ppp.Describe(frame)
	const header = 4 // Address, Control and Protocol, as Spanwire sends them
	if !ok && len(frame) > header {
		kind := map[ppp.Protocol]uint16{ppp.IPv4: etherTypeIPv4, ppp.IPv6: etherTypeIPv6}[ppp.Protocol(binary.BigEndian.Uint16(frame[2:]))]
		what, ok = decodePacket(kind, frame[header:])
		what = map[uint16]string{etherTypeIPv4: "IPv4 ", etherTypeIPv6: "IPv6 "}[kind] + what
	}
	return fmt.Sprintf("L2TPv2 data  tunnel %d, session %d | %s", h.TunnelID, h.SessionID, what), ok
}

// circuit tells what an SLI says of the circuit.
func circuit(t wire.MessageType, message []byte) string {
	if t != wire.TypeSLI {
		return ""
	}
	avps, _ := wire.Describe(message, nil)
	for _, a := range avps {
		if a.Name == "Circuit Status" {
			return ": the circuit is " + a.Value
		}
	}
	return ""
}

// decodeEthernet tells what an Ethernet frame is, if it is what the demo sends: ARP
// and echoes, with a VLAN's tag or without.
func decodeEthernet(b []byte) (line string, ok bool) {
	if len(b) < 18 {
		return "", false
	}
	to, from, kind, payload := net.HardwareAddr(b[:6]), net.HardwareAddr(b[6:12]), binary.BigEndian.Uint16(b[12:]), b[14:]
	tag := ""
	if kind == etherTypeVLAN {
		tag = fmt.Sprintf("VLAN %d ", binary.BigEndian.Uint16(b[14:])&vlanBits)
		kind, payload = binary.BigEndian.Uint16(b[16:]), b[18:]
	}
	what, ok := decodePacket(kind, payload)
	return fmt.Sprintf("%s%s > %s %s, %d octets", tag, from, to, what, len(b)), ok
}

// What stands in front of packets and tags.
const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeVLAN = 0x8100
	etherTypeIPv6 = 0x86dd
	vlanBits      = 0xfff
)

// decodePacket tells what stands behind an Ethertype.
func decodePacket(kind uint16, b []byte) (line string, ok bool) {
	switch {
	case kind == etherTypeARP && len(b) >= 28:
		if b[7] == 2 {
			return fmt.Sprintf("ARP %s is at %s", netip.AddrFrom4([4]byte(b[14:18])), net.HardwareAddr(b[8:14])), true
		}
		return fmt.Sprintf("ARP who has %s", netip.AddrFrom4([4]byte(b[24:28]))), true
	case kind == etherTypeIPv4 && len(b) > 20 && b[9] == 1 && (b[20] == 8 || b[20] == 0):
		return fmt.Sprintf("%s > %s %s", netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), echo(b[20] == 8)), true
	case kind == etherTypeIPv6 && len(b) > 40 && b[6] == 58 && (b[40] == 128 || b[40] == 129):
		return fmt.Sprintf("%s > %s %s", netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), echo(b[40] == 128)), true
	}
	return "", false
}

func echo(request bool) string {
	if request {
		return "echo request"
	}
	return "echo reply"
}

// Network Layer Protocol IDs behind the header of a PVC's frame. RFC 2427 sections
// 3 and 4.1.
const (
	unnumbered = 0x03
	nlpidIPv4  = 0xcc
	nlpidIPv6  = 0x8e
)

// decodeFrameRelay tells what a frame of Frame Relay is, if it is one of the LMI or
// an echo.
func decodeFrameRelay(b []byte) (line string, ok bool) {
	h, n, why := framerelay.Parse(b)
	if why != framerelay.NotDropped || len(b) < n+2 || b[n] != unnumbered {
		return "", false
	}
	what := ""
	switch {
	case framerelay.Management(h.DLCI, n):
		what, ok = decodeLMI(h.DLCI, b[n:])
	case b[n+1] == nlpidIPv4:
		what, ok = decodePacket(etherTypeIPv4, b[n+2:])
	case b[n+1] == nlpidIPv6:
		what, ok = decodePacket(etherTypeIPv6, b[n+2:])
	}
	return fmt.Sprintf("DLCI %d %s, %d octets", h.DLCI, what, len(b)), ok
}

// decodeLMI tells what a message of the Local Management Interface says, from its
// control octet on. The information elements of its forms differ in their
// identifiers' upper bits, and in how they write a DLCI.
func decodeLMI(dlci uint32, b []byte) (line string, ok bool) {
	if len(b) < 5 {
		return "", false
	}
	form := framerelay.AnnexA
	switch {
	case dlci == framerelay.CiscoDLCI:
		form = framerelay.Cisco
	case b[4] == 0x95:
		form = framerelay.AnnexD
	}
	name, ok := map[byte]string{0x75: "STATUS ENQUIRY", 0x7d: "STATUS"}[b[3]]
	line = fmt.Sprintf("LMI %v %s", form, name)
	for b = b[4:]; len(b) > 0; {
		if b[0]&0x80 != 0 { // of one octet
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return "", false
		}
		id, value := b[0]&0x0f, b[2:2+int(b[1])]
		b = b[2+len(value):]
		switch {
		case id == 1 && len(value) == 1 && value[0] == 0:
			line += ", full"
		case id == 3 && len(value) == 2:
			line += fmt.Sprintf(", sequence %d/%d", value[0], value[1])
		case id == 7 && len(value) >= 3:
			pvc := uint32(value[0]&0x3f)<<4 | uint32(value[1]&0x78)>>3
			if form == framerelay.Cisco {
				pvc = uint32(binary.BigEndian.Uint16(value))
			}
			status := "inactive"
			if value[2]&0x02 != 0 {
				status = "active"
			}
			line += fmt.Sprintf(", PVC %d %s", pvc, status)
		}
	}
	return line, ok
}
