package packet

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"spanwire/bridge/vnet"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/gso"
	"spanwire/pseudowire/pool"
)

const (
	// maxVectors bounds the pieces of what is written at once.
	maxVectors = 1024

	// maxHead is the longest head of a super-frame that a Joiner makes.
	maxHead = 14 + 2*4 + 40 + 60
)

// A writer joins the frames of one Send into super-frames and writes them in batches.
type writer struct {
	joiner *gso.Joiner
	port   *Port

	messages [batch]unix.Mmsghdr
	headers  [batch][vnet.HeaderLen]byte
	heads    [batch][maxHead]byte // of what was joined: the Joiner makes the next in the same place
	frames   [batch]int           // that a message stands for
	octets   [batch]int
	udp      [batch]bool // joined of UDP
	n        int         // messages that wait
	vectors  [maxVectors]unix.Iovec
	pieces   int // of all messages

	sent, sentOctets, tooBig int
}

// spares are writers that no one uses now, for whichever Port sends.
var spares pool.Pool[writer]

func takeWriter() *writer {
	if w := spares.Get(); w != nil {
		return w
	}
	w := new(writer)
	w.joiner = gso.NewJoiner(w.add)
	for i := range w.messages {
		w.messages[i].Hdr.Iov = &w.vectors[0]
	}
	return w
}

// write writes frames. It returns how many the device took and their octets, and how
// many of the others were longer than its MTU.
func (p *Port) write(frames []pseudowire.Frame) (sent, octets, tooBig int) {
	w := takeWriter()
	w.port, w.sent, w.sentOctets, w.tooBig = p, 0, 0, 0
	w.joiner.NoUDP = p.noUDP.Load()
	mtu := p.state.Load().MTU
	for i := range frames {
		f := &frames[i]
		switch {
		case f.GSO == (pseudowire.GSO{}) && fits(f.Bytes(), f.Len(), mtu):
			w.joiner.Add(f.Bytes())
			continue
		case f.GSO.Kind != pseudowire.GSONone && !fits(f.Bytes(), segment(f), mtu):
			// The kernel would leave it to the device, which may do anything.
			w.tooBig++
			continue
		}
		w.joiner.Flush() // in their order
		w.add(gso.Super{Head: f.Bytes(), GSO: f.GSO, Frames: 1})
	}
	w.joiner.Flush()
	w.flush()
	sent, octets, tooBig = w.sent, w.sentOctets, w.tooBig
	w.port = nil
	spares.Put(w)
	return sent, octets, tooBig
}

// fits reports whether the device takes a frame of that length which begins as b: the
// kernel allows for one tag beyond the MTU, and that must be a customer's.
func fits(b []byte, length, mtu int) bool {
	most := mtu + ethernet.HeaderLen
	if len(b) >= ethernet.HeaderLen && binary.BigEndian.Uint16(b[12:]) == ethernet.CTag {
		most += ethernet.TagLen
	}
	return length <= most
}

// segment returns the length of the frames that a super-frame stands for.
func segment(f *pseudowire.Frame) int {
	const tcpOffset, udpLen = 12, 8
	b, start := f.Bytes(), int(f.GSO.ChecksumStart)
	header := udpLen
	if f.GSO.Kind != pseudowire.GSOUDP {
		if start+tcpOffset >= len(b) {
			return f.Len()
		}
		header = int(b[start+tcpOffset]>>4) * 4
	}
	return min(f.Len(), start+header+int(f.GSO.Size))
}

// add puts a frame or super-frame among those that wait.
func (w *writer) add(s gso.Super) {
	if w.n == batch || w.pieces+2+len(s.Body) > maxVectors {
		w.flush()
	}
	i := w.n
	w.n++
	first := w.pieces
	vnet.Put(&w.headers[i], s.GSO, s.Valid)
	head := s.Head
	if len(s.Body) > 0 {
		head = w.heads[i][:copy(w.heads[i][:], head)]
	}
	octets := len(head)
	w.piece(w.headers[i][:])
	w.piece(head)
	for _, b := range s.Body {
		w.piece(b)
		octets += len(b)
	}
	w.frames[i], w.octets[i] = s.Frames, octets
	w.udp[i] = s.Frames > 1 && s.GSO.Kind == pseudowire.GSOUDP
	h := &w.messages[i].Hdr
	h.Iov = &w.vectors[first]
	h.SetIovlen(w.pieces - first)
}

func (w *writer) piece(b []byte) {
	if len(b) == 0 {
		return
	}
	v := &w.vectors[w.pieces]
	v.Base = &b[0]
	v.SetLen(len(b))
	w.pieces++
}

// flush writes what waits. What is refused does not hold up what is behind it. Nor does
// the kernel wait: so the scheduler need not be told that it might.
func (w *writer) flush() {
	for i := 0; i < w.n; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(w.port.fd),
			uintptr(unsafe.Pointer(&w.messages[i])), uintptr(w.n-i), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno == 0 {
			for range n {
				w.sent += w.frames[i]
				w.sentOctets += w.octets[i]
				i++
			}
			continue
		}
		switch {
		case errno == unix.EMSGSIZE:
			w.tooBig += w.frames[i]
		case errno == unix.EINVAL && w.udp[i]:
			// Nothing is wrong with it, so it is not known: from now on they go
			// as they came.
			w.port.noUDP.Store(true)
		}
		i++
	}
	clear(w.vectors[:w.pieces])
	w.n, w.pieces = 0, 0
}
