package ppp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

var codeNames = [...]string{
	configureRequest: "Configure-Request", configureAck: "Configure-Ack", configureNak: "Configure-Nak", configureReject: "Configure-Reject",
	terminateRequest: "Terminate-Request", terminateAck: "Terminate-Ack", codeReject: "Code-Reject", protocolReject: "Protocol-Reject",
	echoRequest: "Echo-Request", echoReply: "Echo-Reply", discardRequest: "Discard-Request", identification: "Identification",
	timeRemaining: "Time-Remaining", resetRequest: "Reset-Request", resetAck: "Reset-Ack",
}

var (
	papNames  = [...]string{papRequest: "Authenticate-Request", papAck: "Authenticate-Ack", papNak: "Authenticate-Nak"}
	chapNames = [...]string{chapChallenge: "Challenge", chapResponse: "Response", chapSuccess: "Success", chapFailure: "Failure"}
	eapNames  = [...]string{eapRequest: "Request", eapResponse: "Response", eapSuccess: "Success", eapFailure: "Failure"}
)

// Describe puts a frame of LCP, of an authentication or of a network control protocol
// into words, for captures and logs; ok is false for one of another protocol. Neither
// passwords nor what is made with them is shown.
func Describe(frame []byte) (line string, ok bool) {
	protocol, n := header(frame)
	if n == 0 {
		return "", false
	}
	var names []string
	var data func(packet) (string, bool)
	switch protocol {
	case LCP, IPCP, IPV6CP, CCP:
		names, data = codeNames[:], func(p packet) (string, bool) { return describeControl(protocol, p) }
	case PAP:
		names, data = papNames[:], describePAP
	case CHAP:
		names, data = chapNames[:], describeCHAP
	case EAP:
		names, data = eapNames[:], func(packet) (string, bool) { return "", true }
	default:
		return "", false
	}
	p, ok := parsePacket(frame[n:])
	if !ok {
		return protocol.String() + " packet, malformed", true
	}
	name := fmt.Sprintf("code %d", p.code)
	if int(p.code) < len(names) && names[p.code] != "" {
		name = names[p.code]
	}
	line = fmt.Sprintf("%v %s id %d", protocol, name, p.id)
	switch more, ok := data(p); {
	case !ok:
		line += ", malformed"
	case more != "":
		line += ": " + more
	}
	return line, true
}

// describeControl tells what LCP and the network control protocols say.
func describeControl(protocol Protocol, p packet) (string, bool) {
	switch p.code {
	case configureRequest, configureAck, configureNak, configureReject:
		if !wellFormed(p.data) {
			return "", false
		}
		var all []string
		for o := range options(p.data) {
			all = append(all, o.describe(protocol))
		}
		return strings.Join(all, ", "), true
	case terminateRequest, terminateAck:
		return quoted(p.data), true
	case codeReject:
		if len(p.data) == 0 {
			return "", false
		}
		return fmt.Sprintf("code %d", p.data[0]), true
	case protocolReject:
		if len(p.data) < 2 {
			return "", false
		}
		return Protocol(binary.BigEndian.Uint16(p.data)).String(), true
	case identification: // behind a magic number, RFC 1570 section 2.1
		if len(p.data) < 4 {
			return "", false
		}
		return quoted(p.data[4:]), true
	}
	return "", true
}

// describe tells what an option says.
func (o option) describe(protocol Protocol) string {
	number := func() string { return fmt.Sprintf("%#x", o.data) }
	name := fmt.Sprintf("option %d", o.kind)
	switch {
	case protocol == LCP && o.kind == optionMRU && len(o.data) == 2:
		return fmt.Sprintf("MRU %d", binary.BigEndian.Uint16(o.data))
	case protocol == LCP && o.kind == optionACCM && len(o.data) == 4:
		return "ACCM " + number()
	case protocol == LCP && o.kind == optionAuth:
		if m := methodOf(o.data); m != NoMethod {
			return "authentication " + m.String()
		}
		return "authentication " + number()
	case protocol == LCP && o.kind == optionMagic && len(o.data) == 4:
		return "magic number " + number()
	case protocol == LCP && o.kind == optionPFC && len(o.data) == 0:
		return "PFC"
	case protocol == LCP && o.kind == optionACFC && len(o.data) == 0:
		return "ACFC"
	case protocol == IPCP && len(o.data) == 4 && ipcpNames[o.kind] != "":
		return ipcpNames[o.kind] + " " + netip.AddrFrom4([4]byte(o.data)).String()
	case protocol == IPV6CP && o.kind == optionInterfaceID && len(o.data) == 8:
		return "interface identifier " + InterfaceID(o.data).String()
	case protocol == CCP && o.kind == optionMPPE && len(o.data) == 4:
		return "MPPE " + number()
	case len(o.data) == 0:
		return name
	}
	return fmt.Sprintf("%s of %d octets", name, len(o.data))
}

var ipcpNames = map[uint8]string{
	optionIPAddress: "address", optionDNS1: "DNS", optionDNS2: "second DNS", optionNBNS1: "NBNS", optionNBNS2: "second NBNS",
}

func describePAP(p packet) (string, bool) {
	if len(p.data) == 0 || int(p.data[0]) > len(p.data)-1 {
		return "", p.code != papRequest && len(p.data) == 0
	}
	text := quoted(p.data[1 : 1+p.data[0]])
	if p.code == papRequest {
		return "peer " + text, true
	}
	return text, true
}

func describeCHAP(p packet) (string, bool) {
	switch p.code {
	case chapChallenge, chapResponse:
		if len(p.data) == 0 || int(p.data[0]) > len(p.data)-1 {
			return "", false
		}
		return "name " + quoted(p.data[1+p.data[0]:]), true
	case chapFailure:
		return quoted(p.data), true
	}
	return "", true
}

// quoted shows text of the peer's, however long it may be.
func quoted(b []byte) string {
	const most = 64
	switch {
	case len(b) == 0:
		return ""
	case len(b) > most:
		return fmt.Sprintf("%q and %d octets more", b[:most], len(b)-most)
	}
	return fmt.Sprintf("%q", b)
}
