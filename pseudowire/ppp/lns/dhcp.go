package lns

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
)

// DHCPv6, RFC 8415: as much of a server as delegates the prefix that a user has anyway.
// It remembers nothing, for the link does: whoever asks on it is its user.

// dhcpMessage is a message type, section 7.3.
type dhcpMessage byte

const (
	dhcpSolicit     dhcpMessage = 1
	dhcpAdvertise   dhcpMessage = 2
	dhcpRequest     dhcpMessage = 3
	dhcpRenew       dhcpMessage = 5
	dhcpRebind      dhcpMessage = 6
	dhcpReply       dhcpMessage = 7
	dhcpRelease     dhcpMessage = 8
	dhcpDecline     dhcpMessage = 9
	dhcpInformation dhcpMessage = 11
)

// Options, section 21 and RFC 3646.
const (
	dhcpClientID    = 1
	dhcpServerID    = 2
	dhcpIANA        = 3
	dhcpIAAddress   = 5
	dhcpStatus      = 13
	dhcpRapidCommit = 14
	dhcpDNS         = 23
	dhcpIAPD        = 25
	dhcpIAPrefix    = 26
)

// Status codes, section 21.13.
const (
	statusSuccess       = 0
	statusNoAddrsAvail  = 2
	statusNoBinding     = 3
	statusNoPrefixAvail = 6
)

const (
	dhcpClientPort = 546
	dhcpServerPort = 547

	mostAssociations = 8   // that one message may have
	mostDUID         = 130 // section 11.1: 128 octets and the type
)

// A dhcpQuestion is what a client wants.
type dhcpQuestion struct {
	kind         dhcpMessage
	transaction  [3]byte
	client       []byte
	server       []byte // nil: any
	rapid        bool
	associations []association
}

// An association is an identity association, for prefixes or for addresses.
type association struct {
	kind     uint16 // dhcpIAPD or dhcpIANA
	id       uint32
	prefixes []netip.Prefix // that the client names
}

// isDHCP6 reports whether a packet is for a server of DHCPv6.
func isDHCP6(b []byte) bool {
	return len(b) >= ipv6Len+8 && b[6] == protocolUDP && binary.BigEndian.Uint16(b[ipv6Len+2:]) == dhcpServerPort
}

// parseDHCP6 reads what a client asks in a packet for a server.
func parseDHCP6(packet []byte) (q dhcpQuestion, ok bool) {
	if !isDHCP6(packet) {
		return q, false
	}
	n := int(binary.BigEndian.Uint16(packet[4:]))
	if n < 8+4 || ipv6Len+n > len(packet) {
		return q, false
	}
	packet = packet[:ipv6Len+n]
	udp := packet[ipv6Len:]
	if int(binary.BigEndian.Uint16(udp[4:])) != n || checksum(pseudo6(packet, protocolUDP), udp) != 0 {
		return q, false
	}
	m := udp[8:]
	q.kind, q.transaction = dhcpMessage(m[0]), [3]byte(m[1:])
	ok = dhcpOptions(m[4:], func(code uint16, b []byte) bool {
		switch code {
		case dhcpClientID, dhcpServerID:
			if len(b) < 3 || len(b) > mostDUID {
				return false
			}
			if code == dhcpClientID {
				q.client = bytes.Clone(b)
			} else {
				q.server = bytes.Clone(b)
			}
		case dhcpRapidCommit:
			q.rapid = true
		case dhcpIAPD, dhcpIANA:
			if len(b) < 12 {
				return false
			}
			if len(q.associations) >= mostAssociations {
				return true
			}
			a := association{kind: code, id: binary.BigEndian.Uint32(b)}
			good := dhcpOptions(b[12:], func(inner uint16, b []byte) bool {
				if code == dhcpIAPD && inner == dhcpIAPrefix {
					if len(b) < 25 || b[8] > 128 {
						return false
					}
					if p := netip.PrefixFrom(netip.AddrFrom16([16]byte(b[9:])), int(b[8])); len(a.prefixes) < mostAssociations {
						a.prefixes = append(a.prefixes, p.Masked())
					}
				}
				return true
			})
			if !good {
				return false
			}
			q.associations = append(q.associations, a)
		}
		return true
	})
	return q, ok
}

// dhcpOptions calls do for each option, until it returns false, and reports whether all
// were well formed and good.
func dhcpOptions(b []byte, do func(code uint16, b []byte) bool) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		code, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if 4+n > len(b) || !do(code, b[4:4+n]) {
			return false
		}
		b = b[4+n:]
	}
	return true
}

// A delegation is what the server gives.
type delegation struct {
	server []byte       // its DUID
	prefix netip.Prefix // invalid: none
	dns    []netip.Addr
}

// answer returns the message that answers a question, nil if nothing does. RFC 8415
// section 18.3, and what is to be dropped by section 16.
func (d *delegation) answer(q dhcpQuestion) []byte {
	mine := bytes.Equal(q.server, d.server)
	kind := dhcpReply
	switch q.kind {
	case dhcpSolicit:
		if q.client == nil || q.server != nil {
			return nil
		}
		if !q.rapid {
			kind = dhcpAdvertise
		}
	case dhcpRequest, dhcpRenew, dhcpRelease, dhcpDecline:
		if q.client == nil || !mine {
			return nil
		}
	case dhcpRebind:
		if q.client == nil || q.server != nil {
			return nil
		}
	case dhcpInformation:
		if q.server != nil && !mine || len(q.associations) > 0 {
			return nil
		}
	default:
		return nil
	}
	b := []byte{byte(kind), q.transaction[0], q.transaction[1], q.transaction[2]}
	if q.client != nil {
		b = appendOption(b, dhcpClientID, q.client)
	}
	b = appendOption(b, dhcpServerID, d.server)
	switch q.kind {
	case dhcpRelease, dhcpDecline: // the prefix stays the link's as long as it is there
		return appendOption(b, dhcpStatus, []byte{0, statusSuccess})
	case dhcpSolicit:
		if q.rapid {
			b = appendOption(b, dhcpRapidCommit, nil)
		}
	}
	given := false
	for _, a := range q.associations {
		b = d.associate(b, a, &given, q.kind)
	}
	if len(d.dns) > 0 {
		var all []byte
		for _, a := range d.dns {
			address := a.As16()
			all = append(all, address[:]...)
		}
		b = appendOption(b, dhcpDNS, all)
	}
	return b
}

// associate appends what becomes of an association: the first for prefixes gets what
// there is.
func (d *delegation) associate(b []byte, a association, given *bool, kind dhcpMessage) []byte {
	if a.kind == dhcpIANA {
		head := binary.BigEndian.AppendUint32(nil, a.id)
		return appendOption(b, dhcpIANA, appendOption(append(head, make([]byte, 8)...), dhcpStatus, []byte{0, statusNoAddrsAvail}))
	}
	head := binary.BigEndian.AppendUint32(nil, a.id)
	if *given || !d.prefix.IsValid() {
		status := byte(statusNoPrefixAvail)
		if kind == dhcpRenew || kind == dhcpRebind {
			status = statusNoBinding
		}
		return appendOption(b, dhcpIAPD, appendOption(append(head, make([]byte, 8)...), dhcpStatus, []byte{0, status}))
	}
	*given = true
	head = appendSeconds(appendSeconds(head, delegationRenew), delegationRenew*8/5)
	head = appendOption(head, dhcpIAPrefix, prefixOption(d.prefix, delegationLifetime))
	for _, p := range a.prefixes { // what is not his ends: section 18.3.4
		if p != d.prefix && (kind == dhcpRenew || kind == dhcpRebind || kind == dhcpRequest) {
			head = appendOption(head, dhcpIAPrefix, prefixOption(p, 0))
		}
	}
	return appendOption(b, dhcpIAPD, head)
}

func prefixOption(p netip.Prefix, lifetime time.Duration) []byte {
	b := appendSeconds(appendSeconds(nil, lifetime), lifetime)
	address := p.Addr().As16()
	return append(append(b, byte(p.Bits())), address[:]...)
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// appendUDP6 appends a packet of UDP.
func appendUDP6(b []byte, from, to netip.AddrPort, payload []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, ipv6Len+8)...)
	b = append(b, payload...)
	packet := b[start:]
	udp := packet[ipv6Len:]
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	header6(packet, from.Addr(), to.Addr(), protocolUDP, 64)
	sum := checksum(pseudo6(packet, protocolUDP), udp)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return b
}

// serverDUID returns a DUID of type 4, a UUID, section 11.5: the same after each start.
func serverDUID(names ...string) []byte {
	h := sha256.New()
	for _, n := range names {
		h.Write([]byte(n + "\x00"))
	}
	return append([]byte{0, 4}, h.Sum(nil)[:16]...)
}

// answerDHCP6 answers a client on the link. mu is held.
func (l *Link) answerDHCP6(packet []byte) {
	q, ok := parseDHCP6(packet)
	if !ok || l.grant == nil || !l.up6 {
		return
	}
	s := l.server
	d := delegation{server: serverDUID(s.cfg.HostName, s.cfg.Name), prefix: l.grant.delegated, dns: six(l.grant.dns)}
	m := d.answer(q)
	if m == nil {
		return
	}
	from := netip.AddrPortFrom(routerAddress, dhcpServerPort)
	to := netip.AddrPortFrom(netip.AddrFrom16([16]byte(packet[8:24])), binary.BigEndian.Uint16(packet[ipv6Len:]))
	l.sendPacket(appendUDP6(make([]byte, pseudowire.Headroom, pseudowire.Headroom+ipv6Len+8+len(m)), from, to, m), ppp.IPv6)
}
