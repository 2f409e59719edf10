package tap

import (
	"golang.org/x/sys/unix"

	"spanwire/bridge/vnet"
	"spanwire/pseudowire"
	"spanwire/pseudowire/gso"
	"spanwire/pseudowire/pool"
)

// A writer joins the frames of one Send into super-frames and writes them.
type writer struct {
	joiner *gso.Joiner
	tap    *TAP
	header [vnet.HeaderLen]byte
	pieces []unix.Iovec
	sent   int // frames
	octets int
}

// spares are writers that no one uses now, for whichever TAP sends.
var spares pool.Pool[writer]

func takeWriter() *writer {
	if w := spares.Get(); w != nil {
		return w
	}
	w := &writer{pieces: make([]unix.Iovec, 0, 80)}
	w.joiner = gso.NewJoiner(w.write)
	return w
}

// sendJoined writes frames, and returns how many the device took and their octets.
func (t *TAP) sendJoined(frames []pseudowire.Frame) (sent, octets int) {
	w := takeWriter()
	w.tap, w.sent, w.octets, w.joiner.NoUDP = t, 0, 0, !t.uso
	w.joiner.IP = t.cfg.TUN
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
	spares.Put(w)
	return sent, octets
}

// write writes a frame or super-frame.
func (w *writer) write(s gso.Super) {
	vnet.Put(&w.header, s.GSO, s.Valid)
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
