package lns

import (
	"encoding/binary"
	"net/netip"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
)

// What ICMPv6 calls its messages, RFC 4861 section 4 and RFC 4443 section 4.
const (
	echoRequest6        = 128
	echoReply6          = 129
	routerSolicitation  = 133
	routerAdvertisement = 134
)

// The options of router advertisements: RFC 4861 section 4.6, RFC 8106 section 5.1.
const (
	optionPrefix = 3
	optionMTU    = 5
	optionRDNSS  = 25
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// When a router speaks: RFC 4861 sections 6.2.1, 6.2.4 and 10.
const (
	advertInterval     = 10 * time.Minute
	initialInterval    = 16 * time.Second
	initialAdverts     = 3
	minAdvertDelay     = 3 * time.Second
	routerLifetime     = 30 * time.Minute
	validLifetime      = 30 * 24 * time.Hour
	preferredLifetime  = 7 * 24 * time.Hour
	delegationLifetime = 24 * time.Hour
	delegationRenew    = 30 * time.Minute
)

// adverts says when a link gets its next router advertisement.
type adverts struct {
	next, last time.Time
	sent       int
}

func (a *adverts) start(now time.Time) { *a = adverts{next: now} }
func (a *adverts) stop()               { *a = adverts{} }

// due reports whether one is to be sent now.
func (a *adverts) due(now time.Time) bool { return !a.next.IsZero() && !now.Before(a.next) }

// wasSent says when the next is to be sent.
func (a *adverts) wasSent(now time.Time) {
	a.last = now
	a.sent++
	if a.sent < initialAdverts {
		a.next = now.Add(initialInterval)
		return
	}
	a.next = now.Add(advertInterval)
}

// solicited has one be sent as soon as may be: "consecutive Router Advertisements sent
// to the all-nodes multicast address MUST be rate limited to no more than one
// advertisement every MIN_DELAY_BETWEEN_RAS seconds." RFC 4861 section 6.2.6.
func (a *adverts) solicited(now time.Time) {
	at := a.last.Add(minAdvertDelay)
	if at.Before(now) {
		at = now
	}
	if a.next.IsZero() || at.Before(a.next) {
		a.next = at
	}
}

// An advertisement is what a router says of itself and of a link, RFC 4861 section 4.2.
type advertisement struct {
	lifetime time.Duration // of the router; 0: it is none
	other    bool          // there is more to be had of DHCPv6
	mtu      int           // 0: not said
	prefixes []advertised
	dns      []netip.Addr
}

// An advertised prefix is one of which hosts make addresses.
type advertised struct {
	prefix           netip.Prefix
	autonomous       bool
	valid, preferred time.Duration
}

// appendSeconds appends a lifetime; more than fits is for ever.
func appendSeconds(b []byte, d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(min(int64(d/time.Second), 1<<32-1)))
}

// append appends the packet.
func (a *advertisement) append(b []byte, from, to netip.Addr) []byte {
	start := len(b)
	b = append(b, make([]byte, ipv6Len)...)
	var flags byte
	if a.other {
		flags = 0x40
	}
	b = append(b, routerAdvertisement, 0, 0, 0, 64, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(a.lifetime/time.Second))
	b = append(b, make([]byte, 8)...) // Reachable Time, Retrans Timer: not said
	for _, p := range a.prefixes {
		const onLink, autonomous = 0x80, 0x40
		flags := byte(onLink)
		if p.autonomous {
			flags |= autonomous
		}
		b = append(b, optionPrefix, 4, byte(p.prefix.Bits()), flags)
		b = appendSeconds(appendSeconds(b, p.valid), p.preferred)
		address := p.prefix.Addr().As16()
		b = append(append(b, 0, 0, 0, 0), address[:]...)
	}
	if a.mtu > 0 {
		b = binary.BigEndian.AppendUint32(append(b, optionMTU, 1, 0, 0), uint32(a.mtu))
	}
	if n := min(len(a.dns), 8); n > 0 {
		b = appendSeconds(append(b, optionRDNSS, byte(1+2*n), 0, 0), 3*advertInterval)
		for _, d := range a.dns[:n] {
			address := d.As16()
			b = append(b, address[:]...)
		}
	}
	packet := b[start:]
	header6(packet, from, to, protocolICMPv6, 255)
	binary.BigEndian.PutUint16(packet[ipv6Len+2:], checksum(pseudo6(packet, protocolICMPv6), packet[ipv6Len:]))
	return b
}

// icmp6 returns the message of a packet that has one, and whose checksum is right.
func icmp6(packet []byte) (message []byte, ok bool) {
	if len(packet) < ipv6Len+8 || packet[0]>>4 != 6 || packet[6] != protocolICMPv6 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(packet[4:]))
	if n < 8 || ipv6Len+n > len(packet) {
		return nil, false
	}
	packet = packet[:ipv6Len+n]
	if checksum(pseudo6(packet, protocolICMPv6), packet[ipv6Len:]) != 0 {
		return nil, false
	}
	return packet[ipv6Len:], true
}

// options calls do for each option of a message, and reports whether they are well
// formed. RFC 4861 section 4.6: "The value 0 is invalid. Nodes MUST silently discard an
// ND packet that contains an option with length zero."
func options(b []byte, do func(kind byte, option []byte)) bool {
	for len(b) > 0 {
		if len(b) < 8 || b[1] == 0 || int(b[1])*8 > len(b) {
			return false
		}
		n := int(b[1]) * 8
		if do != nil {
			do(b[0], b[:n])
		}
		b = b[n:]
	}
	return true
}

// isSolicitation reports whether a packet is a valid Router Solicitation, RFC 4861
// section 6.1.1.
func isSolicitation(packet []byte) bool {
	m, ok := icmp6(packet)
	return ok && packet[7] == 255 && m[0] == routerSolicitation && m[1] == 0 && options(m[8:], nil)
}

// parseAdvertisement reads a Router Advertisement, RFC 4861 section 6.1.2.
func parseAdvertisement(packet []byte) (a advertisement, ok bool) {
	m, ok := icmp6(packet)
	if !ok || packet[7] != 255 || m[0] != routerAdvertisement || m[1] != 0 || len(m) < 16 ||
		!netip.AddrFrom16([16]byte(packet[8:24])).IsLinkLocalUnicast() {
		return a, false
	}
	const most = 16
	seconds := func(b []byte) time.Duration { return time.Duration(binary.BigEndian.Uint32(b)) * time.Second }
	a.other = m[5]&0x40 != 0
	a.lifetime = time.Duration(binary.BigEndian.Uint16(m[6:])) * time.Second
	ok = options(m[16:], func(kind byte, o []byte) {
		switch {
		case kind == optionPrefix && len(o) == 32 && o[2] <= 128 && len(a.prefixes) < most:
			p := netip.PrefixFrom(netip.AddrFrom16([16]byte(o[16:])), int(o[2])).Masked()
			if p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() || p.Addr().Is4In6() {
				return
			}
			a.prefixes = append(a.prefixes, advertised{p, o[3]&0x40 != 0, seconds(o[4:]), seconds(o[8:])})
		case kind == optionMTU && len(o) == 8:
			a.mtu = int(binary.BigEndian.Uint32(o[4:]))
		case kind == optionRDNSS && len(o) >= 24 && binary.BigEndian.Uint32(o[4:]) > 0:
			for b := o[8:]; len(b) >= 16 && len(a.dns) < most; b = b[16:] {
				a.dns = append(a.dns, netip.AddrFrom16([16]byte(b)))
			}
		}
	})
	return a, ok
}

// appendSolicitation appends a Router Solicitation, RFC 4861 section 4.1.
func appendSolicitation(b []byte, from netip.Addr) []byte {
	start := len(b)
	b = append(b, make([]byte, ipv6Len+8)...)
	packet := b[start:]
	packet[ipv6Len] = routerSolicitation
	header6(packet, from, allRouters, protocolICMPv6, 255)
	binary.BigEndian.PutUint16(packet[ipv6Len+2:], checksum(pseudo6(packet, protocolICMPv6), packet[ipv6Len:]))
	return b
}

// routerAddress is ours on all links.
var routerAddress = routerID.LinkLocal()

// toRouter reports whether a packet of IPv6 is for us, or for all on the link.
func toRouter(b []byte) bool {
	const linkLocalScope = 2
	return b[24] == 0xff && b[25]&0xf <= linkLocalScope || netip.AddrFrom16([16]byte(b[24:40])) == routerAddress
}

// advertise sends a router advertisement. mu is held.
func (l *Link) advertise(now time.Time, to netip.Addr) {
	g := l.grant
	l.adverts.wasSent(now)
	if g == nil || !l.up6 {
		l.adverts.stop()
		return
	}
	a := advertisement{lifetime: routerLifetime, mtu: int(l.mtu.Load())}
	if a.mtu < MinMTU {
		a.mtu = 0
	}
	a.other = true // an empty answer is one too
	if g.prefix.IsValid() {
		a.prefixes = []advertised{{g.prefix, true, validLifetime, preferredLifetime}}
	}
	a.dns = six(g.dns)
	l.sendPacket(a.append(make([]byte, pseudowire.Headroom, pseudowire.Headroom+256), routerAddress, to), ppp.IPv6)
}

func six(all []netip.Addr) (six []netip.Addr) {
	for _, a := range all {
		if a.Is6() && !a.Is4In6() {
			six = append(six, a)
		}
	}
	return six
}

// takeLocal takes a packet of IPv6 that goes no further than to us.
func (l *Link) takeLocal(b []byte) {
	switch {
	case isSolicitation(b):
		l.tell(func(now time.Time) {
			if l.up6 {
				l.adverts.solicited(now)
			}
			if l.adverts.due(now) {
				l.advertise(now, allNodes)
			}
		})
	case isDHCP6(b):
		l.tell(func(time.Time) { l.answerDHCP6(b) })
	default:
		if m, ok := icmp6(b); ok && m[0] == echoRequest6 && b[24] != 0xff && netip.AddrFrom16([16]byte(b[24:40])) == routerAddress {
			l.tell(func(time.Time) { l.echo(b[:ipv6Len+len(m)]) })
		}
	}
}

// echo answers an echo request to our link-local address.
func (l *Link) echo(request []byte) {
	b := append(make([]byte, pseudowire.Headroom, pseudowire.Headroom+len(request)), request...)
	packet := b[pseudowire.Headroom:]
	header6(packet, routerAddress, netip.AddrFrom16([16]byte(request[8:24])), protocolICMPv6, 64)
	m := packet[ipv6Len:]
	m[0], m[2], m[3] = echoReply6, 0, 0
	binary.BigEndian.PutUint16(m[2:], checksum(pseudo6(packet, protocolICMPv6), m))
	l.sendPacket(b, ppp.IPv6)
}
