package ppp

import (
	"encoding/binary"

	"spanwire/pseudowire"
)

// Decap returns the packet of IPv4 or IPv6 in a frame, and which it is. A frame that
// has none, or one whose control protocol is not opened, is Receive's. The packet has
// the same buffer; if it was encrypted it is not any more.
func (l *Link) Decap(f pseudowire.Frame) (p Protocol, packet pseudowire.Frame, ok bool) {
	p, n := header(f.Bytes())
	open := l.open.Load()
	switch {
	case p == IPv4 && open&(bitIPv4|bitEncrypted) == bitIPv4, p == IPv6 && open&(bitIPv6|bitEncrypted) == bitIPv6:
		packet = f.Skip(n)
	case p == Compressed && open&bitEncrypted != 0:
		m := l.mppe.Load()
		if m == nil {
			return p, f, false
		}
		// What is looked at once is not looked at again: it would not be the same.
		if p, packet, ok = m.decrypt(f.Skip(n)); !ok || !carries(open, p) {
			return p, f, false
		}
	default:
		return p, f, false
	}
	if !l.heard.Load() {
		l.heard.Store(true)
	}
	return p, packet, true
}

// carries reports whether a network protocol is open.
func carries(open uint32, p Protocol) bool {
	return p == IPv4 && open&bitIPv4 != 0 || p == IPv6 && open&bitIPv6 != 0
}

// MaxHeaderLen is how many octets Prepend takes of the headroom at most: with
// encryption there are two headers.
const MaxHeaderLen = HeaderLen + mppeHeaderLen + 2

// Prepend puts a header in front of a packet of IPv4 or IPv6, in its headroom, and
// encrypts it if the link is encrypted. It reports whether the control protocol is
// opened. The packet is one, not one that stands for several.
func (l *Link) Prepend(packet pseudowire.Frame, p Protocol) (pseudowire.Frame, bool) {
	open := l.open.Load()
	if !carries(open, p) {
		return packet, false
	}
	if open&bitEncrypted != 0 {
		m := l.mppe.Load()
		if m == nil {
			return packet, false
		}
		packet, p = m.encrypt(packet, p), Compressed
	}
	b := packet.Prepend(HeaderLen)
	b[0], b[1] = address, control
	binary.BigEndian.PutUint16(b[2:], uint16(p))
	return packet.Grow(HeaderLen), true
}
