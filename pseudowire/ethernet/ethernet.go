// Package ethernet is what a pseudowire must know of the Ethernet frames that it
// carries, RFC 4719: what they are, and the VLAN tags that a Circuit takes off,
// puts on and rewrites where the pseudowire joins a segment.
package ethernet

import "encoding/binary"

// HeaderLen is the length of an Ethernet header without tags; a shorter frame is
// none.
const HeaderLen = 14

// TagLen is the length of one 802.1Q tag.
const TagLen = 4

// addressesLen is the length of a frame's destination and source.
const addressesLen = 12

// What a tag begins with, IEEE 802.1Q: its tag protocol identifier.
const (
	CTag = 0x8100 // a customer's VLAN
	STag = 0x88a8 // a provider's, which may hold customers' (QinQ)
)

// minFrame is the shortest frame on a wire, without its FCS.
const minFrame = 60

const (
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
	minEtherType  = 0x0600 // below it stands a length, IEEE 802.3
)

// etherType returns the type or length behind up to two VLAN tags, and where
// what it describes begins.
func etherType(frame []byte) (t uint16, payload int, ok bool) {
	at := addressesLen
	for range 3 {
		if len(frame) < at+2 {
			return 0, 0, false
		}
		t = binary.BigEndian.Uint16(frame[at:])
		if t != CTag && t != STag {
			return t, at + 2, true
		}
		at += TagLen
	}
	return t, at, true
}

// IsIP reports whether the frame carries an IPv4 or IPv6 packet, so that a Data
// Sequencing Level of 1 leaves it without a number. RFC 3931 section 5.4.4.
func IsIP(frame []byte) bool {
	t, _, ok := etherType(frame)
	return ok && (t == etherTypeIPv4 || t == etherTypeIPv6)
}

// Plausible reports whether b looks like the front of an Ethernet frame: it is
// sent by one station, and its type is one or its length fits. Frames that are
// read at a wrong offset, because one side has a sublayer and the other has
// none, seldom do.
func Plausible(b []byte) bool {
	t, payload, ok := etherType(b)
	if !ok || b[6]&1 != 0 || [6]byte(b[6:12]) == ([6]byte{}) || [6]byte(b[:6]) == ([6]byte{}) {
		return false
	}
	switch {
	case t == etherTypeIPv4:
		return len(b) > payload && b[payload]>>4 == 4
	case t == etherTypeIPv6:
		return len(b) > payload && b[payload]>>4 == 6
	case t < minEtherType:
		// IEEE 802.3: the length of an LLC frame, 3 at least; only a frame of
		// minimum size is padded.
		rest := len(b) - payload
		return t >= 3 && (int(t) == rest || int(t) < rest && len(b) <= minFrame+2*TagLen)
	}
	return true
}
