package tap

import (
	"encoding/binary"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"spanwire/pseudowire"
	"spanwire/pseudowire/gso"
)

// headerLen is the length of a virtio_net_hdr, linux/virtio_net.h:
//
//	flags(1) gso_type(1) hdr_len(2) gso_size(2) csum_start(2) csum_offset(2)
//
// in the machine's order of octets.
const headerLen = 10

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

// describe reads the header in front of a frame; ok is false for a kind of
// super-frame that is none of those that were asked for.
func describe(h []byte) (g pseudowire.GSO, ok bool) {
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

// header writes what describes a frame or super-frame.
func header(h *[headerLen]byte, g pseudowire.GSO, valid bool) {
	*h = [headerLen]byte{}
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

// A writer joins the frames of one Send into super-frames and writes them.
type writer struct {
	joiner *gso.Joiner
	tap    *TAP
	header [headerLen]byte
	pieces []unix.Iovec
	sent   int // frames
	octets int
}

// spares are writers that no one uses now, for whichever TAP sends: one for each
// goroutine that is likely to send at the same time.
var spares [8]atomic.Pointer[writer]

func takeWriter() *writer {
	for i := range spares {
		if w := spares[i].Swap(nil); w != nil {
			return w
		}
	}
	w := &writer{pieces: make([]unix.Iovec, 0, 80)}
	w.joiner = gso.NewJoiner(w.write)
	return w
}

func giveWriter(w *writer) {
	for i := range spares {
		if spares[i].CompareAndSwap(nil, w) {
			return
		}
	}
}

// sendJoined writes frames, and returns how many the device took and their octets.
func (t *TAP) sendJoined(frames []pseudowire.Frame) (sent, octets int) {
	w := takeWriter()
	w.tap, w.sent, w.octets, w.joiner.NoUDP = t, 0, 0, !t.uso
	for i := range frames {
		if f := &frames[i]; f.GSO != (pseudowire.GSO{}) {
			w.joiner.Flush() // in their order
			w.write(gso.Super{Head: f.Bytes(), GSO: f.GSO, Frames: 1})
			continue
		}
		w.joiner.Add(frames[i].Bytes())
	}
	w.joiner.Flush()
	sent, octets = w.sent, w.octets
	w.tap = nil
	giveWriter(w)
	return sent, octets
}

// write writes a frame or super-frame.
func (w *writer) write(s gso.Super) {
	header(&w.header, s.GSO, s.Valid)
	octets := len(s.Head)
	w.pieces = w.pieces[:0]
	w.piece(w.header[:])
	w.piece(s.Head)
	for _, b := range s.Body {
		w.piece(b)
		octets += len(b)
	}
	if writev(w.tap.fd, w.pieces) == nil {
		w.sent += s.Frames
		w.octets += octets
	}
	clear(w.pieces)
}

func (w *writer) piece(b []byte) {
	if len(b) == 0 {
		return
	}
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	w.pieces = append(w.pieces, v)
}
