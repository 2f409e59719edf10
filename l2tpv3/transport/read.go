package transport

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A message is read into a buffer that takes the longest datagram behind its
// headroom. The step from one to the next is 128 octets off a multiple of a
// page, so that the headers at their fronts do not all fall into the same set
// of the processor's cache.
const (
	maxDatagram = 65535
	bufferSize  = pseudowire.Headroom + maxDatagram + 1
	bufferStep  = bufferSize + 64

	joinedMessages = 16 // a batch where one message may be many datagrams: 1 MiB
	plainMessages  = 32 // a batch where each is one; few touch more than a page

	// What is read at once shall still be in the processor's cache when it is
	// written: with long messages a batch is of fewer.
	cacheful = 256 << 10

	joinedDatagrams = 64 // the most datagrams that the kernel joins into one, as a rule
)

// maxReceivedControl is the octets of the control messages that can come with
// one message: in6_pktinfo or in_pktinfo, UDP_GRO's size, and the octet that the
// DSCP is in. It has some to spare.
const maxReceivedControl = 128

// A Reader reads a Conn in batches, with recvmmsg and UDP_GRO. All Readers of a
// Conn share the deadline of its socket: let one goroutine do the reading.
type Reader struct {
	conn      *Conn
	memory    []byte
	messages  []unix.Mmsghdr
	vectors   []unix.Iovec
	names     []unix.RawSockaddrInet6
	controls  [][maxReceivedControl]byte
	datagrams []Datagram
	deadline  time.Time

	// only is the one address that datagrams may be for, if it is valid. A raw socket
	// gets those for every address between the moment that it is there and that of its
	// bind: datagrams of other sockets' peers, who would seem to have moved.
	only netip.Addr

	zones map[uint32]string // the names of interfaces by index

	receive func(uintptr) bool // what is there, made once
	try     func(fd uintptr)   // receiveBatch, made once
	ask     int                // how many messages the next batch may have
	n       int                // how many came
	errno   syscall.Errno
}

// NewReader returns a Reader. It holds some 1 MiB of buffers where the kernel
// joins datagrams, and else twice as much, of which only what datagrams fill is
// ever touched.
func (c *Conn) NewReader() *Reader {
	n, datagrams := plainMessages, plainMessages
	if c.gro {
		n, datagrams = joinedMessages, joinedMessages*joinedDatagrams
	}
	r := &Reader{
		conn:      c,
		memory:    make([]byte, n*bufferStep),
		messages:  make([]unix.Mmsghdr, n),
		vectors:   make([]unix.Iovec, n),
		names:     make([]unix.RawSockaddrInet6, n),
		controls:  make([][maxReceivedControl]byte, n),
		datagrams: make([]Datagram, 0, datagrams),
		ask:       n,
		zones:     make(map[uint32]string),
	}
	if a := c.cfg.Local.Addr(); c.cfg.Encap == wire.IP && !a.IsUnspecified() {
		r.only = a.WithZone("")
	}
	for i := range r.messages {
		r.vectors[i].Base = &r.buffer(i)[pseudowire.Headroom]
		r.vectors[i].SetLen(maxDatagram)
		h := &r.messages[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i][0]
	}
	r.try = r.receiveBatch
	r.receive = func(uintptr) bool {
		if err := r.conn.raw.Control(r.try); err != nil {
			return false // it is closed: then waiting ends, too
		}
		return r.errno != unix.EAGAIN
	}
	return r
}

// buffer returns the memory of message i, headroom included.
func (r *Reader) buffer(i int) []byte { return r.memory[i*bufferStep:][:bufferSize] }

// Read waits for datagrams and returns those that are there. They may be used
// until the next Read. At the deadline it returns os.ErrDeadlineExceeded, and
// once the Conn is closed net.ErrClosed; the zero deadline is none. What the
// network tells of packets that were sent does not end reading.
func (r *Reader) Read(deadline time.Time) ([]Datagram, error) {
	if !deadline.Equal(r.deadline) {
		if err := r.conn.arrivals.SetReadDeadline(deadline); err != nil {
			return nil, r.conn.readError(err)
		}
		r.deadline = deadline
	}
	for {
		if err := r.conn.arrived.Read(r.receive); err != nil {
			return nil, r.conn.readError(err)
		}
		if r.errno != 0 {
			return nil, os.NewSyscallError("transport: recvmmsg", r.errno)
		}
		r.datagrams = r.datagrams[:0]
		octets := 1
		for i := range r.n {
			octets += int(r.messages[i].Len)
			r.unpack(i)
		}
		r.ask = min(max(1, cacheful*r.n/octets), len(r.messages))
		if len(r.datagrams) > 0 {
			return r.datagrams, nil
		}
	}
}

// readError returns what callers ask for instead of what package os makes of it.
func (c *Conn) readError(err error) error {
	switch {
	case c.closed.Load():
		return net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	}
	return err
}

// receiveBatch fills the messages with what is there.
func (r *Reader) receiveBatch(fd uintptr) {
	for i := range r.messages[:r.ask] { // the kernel overwrote these
		h := &r.messages[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(maxReceivedControl)
	}
	for {
		// Neither this call nor sendmmsg waits, so the scheduler need not be told that
		// it might: it would take the P of this thread away after a few tens of
		// microseconds and have another thread go on with it, which costs more than it
		// gains while this one is busy in the kernel.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&r.messages[0])), uintptr(r.ask), unix.MSG_DONTWAIT, 0, 0)
		r.n, r.errno = int(n), errno
		switch errno {
		case 0, unix.EAGAIN:
			return
		case unix.EBADF, unix.EFAULT, unix.EINVAL, unix.ENOTSOCK:
			return // our mistake, and would come again for ever
		}
		// What an ICMP message told of some packet, and is told only once.
	}
}

// unpack appends the datagrams of message i.
func (r *Reader) unpack(i int) {
	m := &r.messages[i]
	if m.Hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return
	}
	d := Datagram{From: r.from(i)}
	size, dscp := r.parseControl(r.controls[i][:m.Hdr.Controllen], &d)
	if r.only.IsValid() && d.To.WithZone("") != r.only {
		return
	}
	start, end := pseudowire.Headroom, pseudowire.Headroom+int(m.Len)
	buf := r.buffer(i)
	if r.conn.cfg.Encap == wire.IP && !r.conn.v6 {
		payload, length, ok := stripIPv4(buf[start:end])
		if !ok {
			return
		}
		dscp = pseudowire.DSCPOf(buf[start+1] >> 2)
		start, end = start+payload, start+length
	}
	if size <= 0 || size >= end-start {
		d.Frame = pseudowire.NewFrame(buf[:end], start)
		d.Frame.ReceivedDSCP = dscp
		r.datagrams = append(r.datagrams, d)
		return
	}
	d.Frame = pseudowire.NewFrame(buf[:start+size], start)
	d.Frame.ReceivedDSCP = dscp // of all: the kernel joins those of one IP header
	r.datagrams = append(r.datagrams, d)
	for at := start + size; at < end; at += size {
		// What stands in front is the datagram before this one, which must
		// not be overwritten: the buffer of this frame begins with it.
		d.Frame = pseudowire.NewFrame(buf[at:min(at+size, end)], 0)
		d.Frame.ReceivedDSCP = dscp
		r.datagrams = append(r.datagrams, d)
	}
}

// from returns the source of message i.
func (r *Reader) from(i int) netip.AddrPort {
	name := &r.names[i]
	if !r.conn.v6 {
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), r.sourcePort(&a.Port))
	}
	return netip.AddrPortFrom(r.addr6(name.Addr, name.Scope_id), r.sourcePort(&name.Port))
}

func (r *Reader) sourcePort(p *uint16) uint16 {
	if r.conn.cfg.Encap == wire.IP {
		return 0
	}
	return port(p)
}

// addr6 returns an IPv6 address, with its zone if it means something on one
// link only.
func (r *Reader) addr6(b [16]byte, index uint32) netip.Addr {
	a := netip.AddrFrom16(b)
	if index == 0 || !a.IsLinkLocalUnicast() {
		return a
	}
	zone, ok := r.zones[index]
	if !ok {
		zone = strconv.Itoa(int(index))
		if i, err := net.InterfaceByIndex(int(index)); err == nil {
			zone = i.Name
		}
		r.zones[index] = zone
	}
	return a.WithZone(zone)
}

// parseControl reads the control messages b into d and returns the size of the
// datagrams that were joined, 0 if none were, and the DSCP that they came with, if
// it is told.
func (r *Reader) parseControl(b []byte, d *Datagram) (size int, dscp pseudowire.DSCP) {
	for len(b) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return size, dscp
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// Spec_dst is an address of ours even where Addr, to which
			// the packet was sent, is a broadcast address.
			d.To = netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Spec_dst)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			d.To = r.addr6(info.Addr, info.Ifindex)
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			size = int(int32(binary.NativeEndian.Uint32(data)))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			dscp = pseudowire.DSCPOf(data[0] >> 2)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			dscp = pseudowire.DSCPOf(uint8(binary.NativeEndian.Uint32(data)) >> 2)
		}
		b = rest
	}
	return size, dscp
}

// stripIPv4 returns where in b, an IPv4 packet as a raw socket gives it, the
// payload begins and the packet ends. RFC 791 section 3.1.
func stripIPv4(b []byte) (payload, length int, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return 0, 0, false
	}
	payload = int(b[0]&0x0f) * 4
	length = int(binary.BigEndian.Uint16(b[2:]))
	if payload < 20 || length < payload || length > len(b) {
		return 0, 0, false
	}
	return payload, length, true
}
