// Package hdlc is what a pseudowire must know of the HDLC frames that it carries: all
// that a port receives, address, control and protocol included, without flags and
// FCS. RFC 4349 section 4.1.
package hdlc

import (
	"encoding/binary"

	"spanwire/pseudowire/framerelay"
	"spanwire/pseudowire/ppp"
)

// What a frame begins with tells whose framing it has.
const (
	pppAddress = 0xff // RFC 1662 section 3.1
	pppControl = 0x03

	ciscoUnicast   = 0x0f // of Cisco's HDLC, behind which stands an Ethertype
	ciscoBroadcast = 0x8f
	ciscoControl   = 0x00
	ciscoHeaderLen = 4

	extended = 0x01 // EA of a Q.922 address, clear in the first octet of Frame Relay's
)

const (
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
)

// IsIP reports whether a frame carries an IPv4 or IPv6 packet, so that a Data
// Sequencing Level of 1 leaves it without a number. RFC 3931 section 5.4.4. RFC 4349
// section 4.1: "any protocol that has HDLC-like framing may utilize the HDLCPW mode";
// it knows Cisco's HDLC, Frame Relay, and PPP whose address and control are there.
func IsIP(frame []byte) bool {
	switch {
	case len(frame) < ciscoHeaderLen:
		return false
	case frame[0] == pppAddress && frame[1] == pppControl:
		return ppp.IsIP(frame)
	case (frame[0] == ciscoUnicast || frame[0] == ciscoBroadcast) && frame[1] == ciscoControl:
		t := binary.BigEndian.Uint16(frame[2:])
		return t == etherTypeIPv4 || t == etherTypeIPv6
	case frame[0]&extended == 0:
		return framerelay.IsIP(frame)
	}
	return false
}
