// Package vnet reads and writes what Linux puts in front of frames and super-frames
// at TAPs and packet sockets: a virtio_net_hdr.
package vnet

import (
	"encoding/binary"

	"spanwire/pseudowire"
)

// HeaderLen is the length of a virtio_net_hdr, linux/virtio_net.h:
//
//	flags(1) gso_type(1) hdr_len(2) gso_size(2) csum_start(2) csum_offset(2)
//
// in the machine's order of octets.
const HeaderLen = 10

// The values of a virtio_net_hdr.
const (
	needsChecksum = 1
	dataValid     = 2

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDP   = 5 // VIRTIO_NET_HDR_GSO_UDP_L4
	gsoECN   = 0x80
)

// Describe reads the header h in front of a frame; ok is false for a kind of
// super-frame that is none of pseudowire's.
func Describe(h *[HeaderLen]byte) (g pseudowire.GSO, ok bool) {
	if h[0]&needsChecksum != 0 {
		g.ChecksumStart = binary.NativeEndian.Uint16(h[6:])
		g.ChecksumOffset = binary.NativeEndian.Uint16(h[8:])
	}
	switch h[1] &^ gsoECN {
	case gsoNone:
		return g, true
	case gsoTCPv4:
		g.Kind = pseudowire.GSOTCPv4
	case gsoTCPv6:
		g.Kind = pseudowire.GSOTCPv6
	case gsoUDP:
		g.Kind = pseudowire.GSOUDP
	default:
		return g, false
	}
	g.HeaderLen = binary.NativeEndian.Uint16(h[2:])
	g.Size = binary.NativeEndian.Uint16(h[4:])
	return g, true
}

// Put writes into h what describes a frame or super-frame; valid says of one that
// has all its checksums that they were verified.
func Put(h *[HeaderLen]byte, g pseudowire.GSO, valid bool) {
	*h = [HeaderLen]byte{}
	if g.ChecksumStart != 0 {
		h[0] = needsChecksum
	} else if valid {
		h[0] = dataValid
	}
	switch g.Kind {
	case pseudowire.GSOTCPv4:
		h[1] = gsoTCPv4
	case pseudowire.GSOTCPv6:
		h[1] = gsoTCPv6
	case pseudowire.GSOUDP:
		h[1] = gsoUDP
	}
	binary.NativeEndian.PutUint16(h[2:], g.HeaderLen)
	binary.NativeEndian.PutUint16(h[4:], g.Size)
	binary.NativeEndian.PutUint16(h[6:], g.ChecksumStart)
	binary.NativeEndian.PutUint16(h[8:], g.ChecksumOffset)
}
