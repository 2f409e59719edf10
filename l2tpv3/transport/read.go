package transport

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"spanwire/pseudowire"
)

const (
	// maxDatagram is the largest that IP can carry.
	maxDatagram = 65535

	// messages is how many are taken from the kernel at once. With UDP_GRO each
	// may be dozens of datagrams.
	messagesGRO   = 16
	messagesPlain = 32

	// stride is the room of one message. Were it a multiple of the page size,
	// the fronts of all would compete for the same few lines of the cache.
	stride = (pseudowire.Headroom+maxDatagram+63)&^63 + 3*64

	controlLen = 128 // pktinfo and the size of GRO's segments

	// maxSegments is what UDP_GRO joins at most.
	maxSegments = 64
)

// A Reader takes datagrams from a Conn, for one goroutine.
type Reader struct {
	conn     *Conn
	memory   []byte
	names    [][unix.SizeofSockaddrInet6]byte
	controls [][controlLen]byte
	vectors  []unix.Iovec
	messages []mmsghdr
	out      []Datagram

	deadline time.Time
	receive  func(fd uintptr) bool // made once: a closure costs an allocation
	n        int
	errno    unix.Errno

	scope uint32 // the last zone seen
	zone  string
}

// NewReader returns a Reader of the Conn.
func (c *Conn) NewReader() *Reader {
	n := messagesPlain
	if c.gro {
		n = messagesGRO
	}
	r := &Reader{
		conn:     c,
		memory:   make([]byte, n*stride),
		names:    make([][unix.SizeofSockaddrInet6]byte, n),
		controls: make([][controlLen]byte, n),
		vectors:  make([]unix.Iovec, n),
		messages: make([]mmsghdr, n),
		out:      make([]Datagram, 0, n*maxSegments),
	}
	for i := range r.messages {
		r.vectors[i].Base = &r.memory[i*stride+pseudowire.Headroom]
		r.vectors[i].SetLen(maxDatagram)
		h := &r.messages[i].header
		h.Name = &r.names[i][0]
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i][0]
	}
	r.receive = func(fd uintptr) bool {
		r.n, r.errno = mmsg(unix.SYS_RECVMMSG, fd, r.messages)
		return r.errno != unix.EAGAIN
	}
	return r
}

// Read waits for datagrams and returns all that are there, up to some dozens of
// messages. They are good until the next Read. After the deadline, if there is
// one, the error is os.ErrDeadlineExceeded; after Close it is net.ErrClosed.
func (r *Reader) Read(deadline time.Time) ([]Datagram, error) {
	if !deadline.Equal(r.deadline) {
		if err := r.conn.socket.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
		r.deadline = deadline
	}
	for i := range r.messages {
		h := &r.messages[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlLen)
	}
	if err := r.conn.raw.Read(r.receive); err != nil {
		return nil, closed(err)
	}
	if r.errno != 0 {
		// What came back for something that was sent: no reason not to read on.
		return nil, nil
	}
	r.out = r.out[:0]
	for i := range r.messages[:r.n] {
		r.take(i)
	}
	return r.out, nil
}

// closed names the error of a closed socket, which poll hides in one of its own.
func closed(err error) error {
	if op, ok := err.(*net.OpError); ok {
		return op.Err
	}
	return err
}

// take appends the datagrams of a message to out.
func (r *Reader) take(i int) {
	m := &r.messages[i]
	if m.header.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return
	}
	var d Datagram
	var size int
	d.To, size = r.parseControl(r.controls[i][:m.header.Controllen])
	d.From = r.parseName(&r.names[i])
	start := i*stride + pseudowire.Headroom
	end := start + int(m.length)
	buf := r.memory[i*stride : end : end]
	if r.conn.raw115() && !r.conn.v6 {
		n, ok := headerLen(r.memory[start:end])
		if !ok {
			return
		}
		d.Frame = pseudowire.NewFrame(buf, pseudowire.Headroom+n)
		r.out = append(r.out, d)
		return
	}
	if size <= 0 || size >= int(m.length) {
		d.Frame = pseudowire.NewFrame(buf, pseudowire.Headroom)
		r.out = append(r.out, d)
		return
	}
	for at := start; at < end; at += size {
		// No headroom: before a segment stands the one before it.
		stop := min(at+size, end)
		d.Frame = pseudowire.NewFrame(r.memory[at:stop:stop], 0)
		r.out = append(r.out, d)
	}
}

// headerLen returns the length of the IPv4 header that a raw socket leaves in
// front of a datagram.
func headerLen(b []byte) (n int, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return 0, false
	}
	n = int(b[0]&0x0f) * 4
	return n, n >= 20 && n <= len(b)
}

// parseName returns the sender's address.
func (r *Reader) parseName(name *[unix.SizeofSockaddrInet6]byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(name[2:])
	if r.conn.raw115() {
		port = 0
	}
	if !r.conn.v6 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(name[4:8])), port)
	}
	a := netip.AddrFrom16([16]byte(name[8:24]))
	if scope := binary.NativeEndian.Uint32(name[24:]); scope != 0 {
		a = a.WithZone(r.zoneOf(scope))
	}
	return netip.AddrPortFrom(a, port)
}

// zoneOf returns the name of an interface, as a configuration has it.
func (r *Reader) zoneOf(scope uint32) string {
	if scope != r.scope {
		r.scope, r.zone = scope, strconv.FormatUint(uint64(scope), 10)
		if i, err := net.InterfaceByIndex(int(scope)); err == nil {
			r.zone = i.Name
		}
	}
	return r.zone
}

// parseControl returns the address that a message was sent to, and the size of
// the segments that UDP_GRO joined in it, 0 if it is one datagram.
func (r *Reader) parseControl(b []byte) (to netip.Addr, segment int) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(b) {
			return to, segment
		}
		data := b[unix.CmsgLen(0):n]
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			to = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst: ours, also for a broadcast
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			to = netip.AddrFrom16([16]byte(data[:16]))
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			segment = int(binary.NativeEndian.Uint32(data))
		}
		b = b[min(unix.CmsgSpace(len(data)), len(b)):]
	}
	return to, segment
}
