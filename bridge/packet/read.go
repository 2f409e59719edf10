package packet

import (
	"encoding/binary"
	"math"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"spanwire/bridge/vnet"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
)

const (
	// batch is how many frames are read, or written, at once.
	batch = 32

	// maxFrame is the longest super-frame, tags included but that which the
	// kernel keeps beside it.
	maxFrame = 65535 + 18

	// A frame is read behind its headroom and the room for a tag. The step from
	// one to the next is 128 octets off a multiple of a page, so that the fronts
	// do not all fall into the same set of the processor's cache.
	front      = pseudowire.Headroom + ethernet.TagLen
	bufferSize = front + maxFrame
	bufferStep = 17*4096 + 128

	// hopeless is how many errors one after the other are taken for those of
	// frames, and not for one of ours.
	hopeless = 1000
)

// control is the memory for the one control message of a frame, aligned as the kernel
// wants it.
type control [8]uint64

// A reader reads a socket in batches. It holds some 2 MiB, of which only what frames
// fill is ever touched.
type reader struct {
	memory   []byte
	messages [batch]unix.Mmsghdr
	vectors  [batch]unix.Iovec
	controls [batch]control
	try      func(fd uintptr) bool // receive, made once
	n        int                   // how many came
	errno    syscall.Errno

	// What came.
	frames []pseudowire.Frame
	octets int
	errors int // what cannot be understood
}

func newReader() *reader {
	r := &reader{memory: make([]byte, batch*bufferStep), frames: make([]pseudowire.Frame, 0, batch)}
	for i := range r.messages {
		r.vectors[i].Base = &r.buffer(i)[front-vnet.HeaderLen]
		r.vectors[i].SetLen(vnet.HeaderLen + maxFrame)
		h := &r.messages[i].Hdr
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.controls[i]))
	}
	r.try = r.receive
	return r
}

// buffer returns the memory of message i.
func (r *reader) buffer(i int) []byte { return r.memory[i*bufferStep:][:bufferSize] }

// read waits for frames and takes those that are there. It may return some with an
// error.
func (r *reader) read(raw syscall.RawConn) error {
	r.frames, r.octets, r.errors, r.n, r.errno = r.frames[:0], 0, 0, 0, 0
	err := raw.Read(r.try)
	for i := range r.n {
		r.unpack(i)
	}
	if err == nil && r.errno != 0 {
		return r.errno
	}
	return err
}

// receive fills the messages with what is there, and reports whether it is done.
func (r *reader) receive(fd uintptr) bool {
	for i := range r.messages { // the kernel overwrote these
		r.messages[i].Hdr.SetControllen(int(unsafe.Sizeof(r.controls[i])))
	}
	for {
		// It never waits, and so need not tell the scheduler that it might.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&r.messages[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case unix.EAGAIN:
			return r.errors > 0
		case unix.EINTR:
		case unix.EINVAL:
			// A super-frame of a kind that the kernel cannot describe: it is gone.
			if r.errors++; r.errors < hopeless {
				continue
			}
			fallthrough
		default:
			r.errno = errno
			return true
		}
	}
}

// unpack appends the frame of message i.
func (r *reader) unpack(i int) {
	m, b := &r.messages[i], r.buffer(i)
	end := front - vnet.HeaderLen + int(m.Len)
	if m.Hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || end < front+ethernet.HeaderLen {
		r.errors++
		return
	}
	g, ok := vnet.Describe((*[vnet.HeaderLen]byte)(b[front-vnet.HeaderLen:]))
	if !ok {
		r.errors++
		return
	}
	start := front
	if aux := r.aux(i); aux != nil && aux.Status&unix.TP_STATUS_VLAN_VALID != 0 {
		start -= ethernet.TagLen
		restore(b[start:end], aux)
		// The kernel counts from where the frame begins without its tag.
		if g.ChecksumStart != 0 {
			if g.ChecksumStart > math.MaxUint16-ethernet.TagLen {
				r.errors++
				return
			}
			g.ChecksumStart += ethernet.TagLen
		}
		if g.HeaderLen != 0 {
			g.HeaderLen = min(g.HeaderLen, math.MaxUint16-ethernet.TagLen) + ethernet.TagLen
		}
	}
	f := pseudowire.NewFrame(b[:end], start)
	f.GSO = g
	r.frames = append(r.frames, f)
	r.octets += f.Len()
}

// aux returns what the kernel says beside message i, nil if it says nothing.
func (r *reader) aux(i int) *unix.TpacketAuxdata {
	c := &r.controls[i]
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	const dataAt = unix.SizeofCmsghdr
	if uint64(r.messages[i].Hdr.Controllen) < uint64(dataAt+unsafe.Sizeof(unix.TpacketAuxdata{})) ||
		h.Level != unix.SOL_PACKET || h.Type != unix.PACKET_AUXDATA {
		return nil
	}
	return (*unix.TpacketAuxdata)(unsafe.Add(unsafe.Pointer(c), dataAt))
}

// restore puts the tag that the kernel has taken off the frame in b[TagLen:] where it
// was.
func restore(b []byte, aux *unix.TpacketAuxdata) {
	const addresses = 12
	kind := uint16(ethernet.CTag)
	if aux.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		kind = aux.Vlan_tpid
	}
	copy(b, b[ethernet.TagLen:][:addresses])
	binary.BigEndian.PutUint16(b[addresses:], kind)
	binary.BigEndian.PutUint16(b[addresses+2:], aux.Vlan_tci)
}
