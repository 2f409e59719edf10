package serial

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"spanwire/pseudowire"
)

const (
	batch = 32 // datagrams in one system call

	// maxFrame is the longest datagram of UDP. Only what frames fill of their
	// buffers is ever touched. The step from one to the next is 128 octets off a
	// multiple of a page, so that headers do not all fall into the same set of the
	// processor's cache.
	maxFrame   = 65535
	bufferSize = pseudowire.Headroom + maxFrame + 1
	bufferStep = bufferSize + 64
)

// An address is the peer's, as the kernel writes it: a sockaddr_in, sockaddr_in6 or
// sockaddr_un.
type address struct {
	raw  [unix.SizeofSockaddrUnix]byte
	len  uint32
	zone bool // it means something on one link only
}

// family returns the number at the front of a sockaddr, 0 if it has none.
func family(sockaddr []byte) uint16 {
	if len(sockaddr) < 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(sockaddr)
}

func (a *address) setFamily(f uint16) { binary.NativeEndian.PutUint16(a.raw[:], f) }

func (a *address) setPath(path string) {
	a.setFamily(unix.AF_UNIX)
	a.len = uint32(2 + copy(a.raw[2:], path) + 1) // with the NUL, as it is when it comes
}

func (a *address) setUDP(peer netip.AddrPort) error {
	port := peer.Port()
	a.raw[2], a.raw[3] = byte(port>>8), byte(port)
	if peer.Addr().Is4() {
		a.setFamily(unix.AF_INET)
		a.len = unix.SizeofSockaddrInet4
		ip := peer.Addr().As4()
		copy(a.raw[4:], ip[:])
		return nil
	}
	a.setFamily(unix.AF_INET6)
	a.len = unix.SizeofSockaddrInet6
	ip := peer.Addr().As16()
	copy(a.raw[8:], ip[:])
	if zone := peer.Addr().Zone(); zone != "" {
		index, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			i, err := net.InterfaceByName(zone)
			if err != nil {
				return err
			}
			index = uint64(i.Index)
		}
		a.zone = true
		binary.NativeEndian.PutUint32(a.raw[24:], uint32(index))
	}
	return nil
}

// is reports whether a sockaddr from the kernel is the address. Of one of IPv6 the
// flow label is nobody's address, nor is the link where there is but one.
func (a *address) is(sockaddr []byte) bool {
	if family(sockaddr) != family(a.raw[:]) {
		return false
	}
	switch family(sockaddr) {
	case unix.AF_INET:
		return len(sockaddr) >= 8 && bytes.Equal(sockaddr[2:8], a.raw[2:8])
	case unix.AF_INET6:
		return len(sockaddr) >= 28 && bytes.Equal(sockaddr[2:4], a.raw[2:4]) && bytes.Equal(sockaddr[8:24], a.raw[8:24]) &&
			(!a.zone || bytes.Equal(sockaddr[24:28], a.raw[24:28]))
	}
	path, _, _ := bytes.Cut(sockaddr[2:], []byte{0})
	return bytes.Equal(path, a.raw[2:a.len-1])
}

// A verdict is what becomes of a datagram.
type verdict uint8

const (
	good verdict = iota
	foreign
	bad
)

// A reader has the memory of a batch that comes.
type reader struct {
	memory   []byte
	messages [batch]unix.Mmsghdr
	vectors  [batch]unix.Iovec
	names    [batch][unix.SizeofSockaddrUnix]byte
	frames   [batch]pseudowire.Frame

	try   func(fd uintptr) bool // made once
	n     int
	errno syscall.Errno
}

func newReader() *reader {
	r := &reader{memory: make([]byte, batch*bufferStep)}
	for i := range r.messages {
		r.vectors[i].Base = &r.buffer(i)[pseudowire.Headroom]
		r.vectors[i].SetLen(maxFrame)
		h := &r.messages[i].Hdr
		h.Name = &r.names[i][0]
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
	}
	r.try = r.receive
	return r
}

// buffer returns the memory of datagram i, headroom included.
func (r *reader) buffer(i int) []byte { return r.memory[i*bufferStep:][:bufferSize] }

// read waits for datagrams and returns how many there are.
func (r *reader) read(raw syscall.RawConn) (int, error) {
	r.n, r.errno = 0, 0
	if err := raw.Read(r.try); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, r.errno
	}
	return r.n, nil
}

// receive takes what is there, and reports whether there was something.
func (r *reader) receive(fd uintptr) bool {
	for i := range r.messages {
		r.messages[i].Hdr.Namelen = unix.SizeofSockaddrUnix // the kernel overwrote it
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case unix.EAGAIN:
			return false
		case unix.EINTR, unix.ECONNREFUSED: // told once, of what was sent
		default:
			r.errno = errno
			return true
		}
	}
}

// frame returns the frame in datagram i if it comes from the peer.
func (r *reader) frame(i int, peer *address) (f pseudowire.Frame, _ verdict) {
	m := &r.messages[i]
	switch {
	case !peer.is(r.names[i][:min(m.Hdr.Namelen, unix.SizeofSockaddrUnix)]):
		return f, foreign
	case m.Hdr.Flags&unix.MSG_TRUNC != 0, m.Len == 0:
		return f, bad
	}
	return pseudowire.NewFrame(r.buffer(i)[:pseudowire.Headroom+int(m.Len)], pseudowire.Headroom), good
}

// A writer has the memory of a batch that goes.
type writer struct {
	messages [batch]unix.Mmsghdr
	vectors  [batch]unix.Iovec

	try   func(fd uintptr) // made once
	queue int
	n     int
	errno syscall.Errno
}

func (w *writer) init(peer *address) {
	for i := range w.messages {
		h := &w.messages[i].Hdr
		h.Name = &peer.raw[0]
		h.Namelen = peer.len
		h.Iov = &w.vectors[i]
		h.SetIovlen(1)
	}
	w.try = w.send
}

// write sends some of the frames, the first ones, and returns how many. An error is
// that of the one after them.
func (w *writer) write(raw syscall.RawConn, frames []pseudowire.Frame) (n int, err error) {
	w.queue = min(len(frames), batch)
	for i := range w.queue {
		b := frames[i].Bytes()
		w.vectors[i].Base = unsafe.SliceData(b)
		w.vectors[i].SetLen(len(b))
	}
	err = raw.Control(w.try)
	clear(w.vectors[:w.queue]) // the frames are not ours any more
	switch {
	case err != nil:
		return 0, err
	case w.errno != 0:
		return 0, w.errno
	}
	return w.n, nil
}

func (w *writer) send(fd uintptr) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.messages[0])), uintptr(w.queue), unix.MSG_DONTWAIT, 0, 0)
		w.n, w.errno = int(n), errno
		if errno != unix.EINTR {
			return
		}
	}
}
