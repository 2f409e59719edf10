// Package gso cuts super-frames into the frames that they stand for, and joins
// frames into super-frames, in the terms of Linux's virtio_net_hdr: TCP over
// IPv4 and IPv6, and UDP over both (which Linux calls USO), in Ethernet with VLAN
// tags, or without Ethernet as a TUN has it.
//
// What one end joins and the other cuts is what was there before, to the last
// octet of every header: a Joiner joins nothing else, and a Cutter cuts as Linux
// does. Payload is read for its checksum and never copied.
package gso

import (
	"encoding/binary"
	"errors"

	"spanwire/pseudowire"
)

// HeaderMax is the most that a Cutter appends for one frame: Ethernet with four
// tags (30), IPv6 (40) and TCP with options (60), and 126 for extension headers.
const HeaderMax = 256

// VLAN tags that frames may have. What is cut may have more than what is joined: on
// its way somebody may have put tags around those of a host or a bridge.
const (
	tagsCut    = 4
	tagsJoined = 2
	noEthernet = -1 // the frame is a packet of IP
)

const (
	ethernetLen = 14
	tagLen      = 4
	ipv4Len     = 20
	ipv6Len     = 40
	udpLen      = 8
	tcpLen      = 20
)

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeVLAN = 0x8100
	typeQinQ = 0x88a8
)

// IP protocols, and IPv6's next headers.
const (
	protocolHopByHop    = 0
	protocolTCP         = 6
	protocolUDP         = 17
	protocolRouting     = 43
	protocolDestination = 60
)

// TCP's flags, RFC 9293 section 3.1.
const (
	flagFIN = 0x01
	flagPSH = 0x08
	flagACK = 0x10
	flagCWR = 0x80
)

// Where the checksum stands in a TCP or UDP header.
const (
	tcpChecksum = 16
	udpChecksum = 6
)

const dontFragment = 0x4000 // in IPv4's flags and fragment offset

// What may be wrong with the description of a frame.
var (
	errKind     = errors.New("gso: not a super-frame")
	errShort    = errors.New("gso: ends within its headers")
	errLong     = errors.New("gso: headers too long")
	errProtocol = errors.New("gso: not of the protocol that it is said to be")
	errFragment = errors.New("gso: a fragment")
	errLength   = errors.New("gso: lengths that do not fit each other")
	errSize     = errors.New("gso: segments without size")
	errChecksum = errors.New("gso: partial checksum where there is none")
)

// network returns the EtherType behind some VLAN tags, at most so many, and where
// what it describes begins.
func network(frame []byte, tags int) (t uint16, at int, ok bool) {
	if tags == noEthernet {
		switch {
		case len(frame) == 0:
			return 0, 0, false
		case frame[0]>>4 == 6:
			return typeIPv6, 0, true
		}
		return typeIPv4, 0, true
	}
	for at = ethernetLen; at <= ethernetLen+tags*tagLen; at += tagLen {
		if len(frame) < at {
			return 0, 0, false
		}
		t = binary.BigEndian.Uint16(frame[at-2:])
		if t != typeVLAN && t != typeQinQ {
			return t, at, true
		}
	}
	return 0, 0, false
}

// Complete finishes the checksum of a frame that is not to be segmented, in
// place, and returns the frame without a description. A frame that has all its
// checksums comes back as it is.
func Complete(f pseudowire.Frame) (pseudowire.Frame, error) {
	b, start := f.Bytes(), int(f.GSO.ChecksumStart)
	at := start + int(f.GSO.ChecksumOffset)
	switch {
	case f.GSO.Kind != pseudowire.GSONone:
		return f, errKind
	case at == 0:
		return f, nil
	case start < ethernetLen || f.GSO.ChecksumOffset&1 != 0:
		return f, errChecksum
	case len(b) < at+2:
		return f, errShort
	}
	// What stands in the field is the pseudo-header's part of the sum.
	putChecksum(b[at:], uint64(fold(sum(b[start:]))), f.GSO.ChecksumOffset == udpChecksum)
	f.GSO = pseudowire.GSO{}
	return f, nil
}

// putChecksum writes the checksum of what sums up to s. "If the computed
// checksum is zero, it is transmitted as all ones": RFC 768, and of the protocols
// here only UDP.
func putChecksum(b []byte, s uint64, udp bool) {
	c := ^fold(s)
	if c == 0 && udp {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b, c)
}
