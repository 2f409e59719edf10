package transport

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxWrite is how many messages one sendmmsg takes.
	maxWrite = 64

	// Linux cuts a message into at most 64 segments (UDP_MAX_SEGMENTS of the
	// older kernels), and the whole must fit an IP packet.
	segmentedOctets = 65000

	pathControlLen = 128
)

// A Writer gives packets to a Conn, for one goroutine at a time.
type Writer struct {
	conn     *Conn
	vectors  [2 * maxWrite]unix.Iovec
	messages [maxWrite]mmsghdr
	first    [maxWrite + 1]int              // which packet a message begins with
	controls [maxWrite][pathControlLen]byte // of segmented messages
	send     func(fd uintptr) bool          // made once: a closure costs an allocation
	queue    []mmsghdr
	n        int
	errno    unix.Errno
}

// NewWriter returns a Writer to the Conn.
func (c *Conn) NewWriter() *Writer {
	w := &Writer{conn: c}
	w.send = func(fd uintptr) bool {
		w.n, w.errno = mmsg(unix.SYS_SENDMMSG, fd, w.queue)
		return w.errno != unix.EAGAIN
	}
	return w
}

// Write sends packets along a path, and waits while the socket is full: what
// comes meanwhile queues in the device it comes from, which drops by its rules.
// Runs of packets of one size go to the kernel as one message that it cuts
// (UDP_SEGMENT). It keeps nothing of the packets.
func (w *Writer) Write(p *Path, packets []Packet) (s Sent) {
	for len(packets) > 0 {
		n := min(len(packets), maxWrite)
		w.write(p, packets[:n], w.conn.segment.Load(), &s)
		packets = packets[n:]
	}
	return s
}

func (p *Packet) len() int { return len(p.Head) + len(p.Body) }

// write sends at most maxWrite packets.
func (w *Writer) write(p *Path, packets []Packet, segment bool, s *Sent) {
	count := w.gather(p, packets, segment)
	for at := 0; at < count; {
		w.queue = w.messages[at:count]
		if err := w.conn.raw.Write(w.send); err != nil {
			w.refuse(packets[w.first[at]:], unix.EBADF, s)
			return
		}
		switch {
		case w.errno == 0:
			sent := packets[w.first[at]:w.first[at+w.n]]
			s.Packets += len(sent)
			for i := range sent {
				s.Octets += sent[i].len()
			}
			at += w.n
		case w.errno == unix.EINTR:
		case w.first[at+1]-w.first[at] == 1:
			w.refuse(packets[w.first[at]:w.first[at+1]], w.errno, s)
			at++
		default:
			next := w.first[at+1]
			w.oneByOne(p, packets[w.first[at]:next], s)
			packets = packets[next:]
			count, at = w.gather(p, packets, w.conn.segment.Load()), 0
		}
	}
}

// oneByOne sends packets that the kernel refused as one segmented message, so that
// each is judged for itself.
func (w *Writer) oneByOne(p *Path, packets []Packet, s *Sent) {
	if w.errno == unix.EIO || w.errno == unix.EOPNOTSUPP {
		w.conn.segment.Store(false) // the device cannot checksum: never again
	}
	w.write(p, packets, false, s)
}

// refuse counts packets that the kernel did not take.
func (w *Writer) refuse(packets []Packet, errno unix.Errno, s *Sent) {
	s.Err = errno
	n := len(packets)
	switch errno {
	case unix.EMSGSIZE:
		s.TooBig += n
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EADDRNOTAVAIL, unix.ENETDOWN, unix.ENODEV, unix.EINVAL:
		s.Unreachable += n // EINVAL: the address in pktinfo is not ours any more
	case unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN:
		s.NoBuffer += n
	default:
		s.Failed += n
	}
}

// gather lays packets out as messages and returns how many they are.
func (w *Writer) gather(p *Path, packets []Packet, segment bool) (count int) {
	vector := 0
	for i := 0; i < len(packets); count++ {
		run := 1
		if segment {
			run = runLen(packets[i:])
		}
		h := &w.messages[count].header
		h.Name, h.Namelen = &p.name[0], p.nameLen
		h.Iov = &w.vectors[vector]
		begin := vector
		for k := range packets[i : i+run] {
			for _, b := range [2][]byte{packets[i+k].Head, packets[i+k].Body} {
				if len(b) > 0 {
					w.vectors[vector].Base = unsafe.SliceData(b)
					w.vectors[vector].SetLen(len(b))
					vector++
				}
			}
		}
		h.SetIovlen(vector - begin)
		w.control(count, p, packets[i].len(), run)
		w.first[count] = i
		i += run
	}
	w.first[count] = len(packets)
	return count
}

// runLen returns how many packets from the first on can be one segmented message:
// all as long as the first, but for a last that may be shorter.
func runLen(packets []Packet) int {
	size := packets[0].len()
	total := size
	for i := 1; i < len(packets); i++ {
		n := packets[i].len()
		if total += n; n > size || n == 0 || total > segmentedOctets {
			return i
		}
		if n < size {
			return i + 1
		}
	}
	return len(packets)
}

// control sets the control messages of message i: the path's and, for more than
// one packet, the size at which to cut.
func (w *Writer) control(i int, p *Path, size, run int) {
	h := &w.messages[i].header
	if run == 1 {
		h.Control = unsafe.SliceData(p.control)
		h.SetControllen(len(p.control))
		return
	}
	b := w.controls[i][:]
	n := copy(b, p.control)
	c := (*unix.Cmsghdr)(unsafe.Pointer(&b[n]))
	c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	c.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[n+unix.CmsgLen(0):], uint16(size))
	h.Control = &b[0]
	h.SetControllen(n + unix.CmsgSpace(2))
}
