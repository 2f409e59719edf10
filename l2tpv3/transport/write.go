package transport

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxMessages = 64 // in one sendmmsg
	maxVectors  = 1024

	// What one segmented message may hold: the kernel's UDP_MAX_SEGMENTS, and
	// somewhat less than the octets of the longest IP packet.
	maxSegments  = 64
	maxSegmented = 65000
)

// patience is how long one Write waits for room in the socket's buffer.
const patience = 100 * time.Millisecond

// A Writer writes to a Conn in batches, with sendmmsg and UDP_SEGMENT.
type Writer struct {
	conn     *Conn
	messages [maxMessages]unix.Mmsghdr
	packets  [maxMessages]int // how many packets each message is
	vectors  [maxVectors]unix.Iovec
	controls [maxMessages][]byte
	deadline time.Time // for waiting in this Write; zero: it has not waited

	try   func(fd uintptr) // sendBatch, made once
	wait  func(fd uintptr) // the same once there is room
	queue []unix.Mmsghdr   // what sendBatch is to send
	n     int              // how many messages of it went
	errno syscall.Errno
}

// NewWriter returns a Writer.
func (c *Conn) NewWriter() *Writer {
	w := &Writer{conn: c}
	memory := make([]byte, maxMessages*maxControl)
	for i := range w.controls {
		w.controls[i] = memory[i*maxControl:][:maxControl]
	}
	w.try = w.sendBatch
	w.wait = func(fd uintptr) {
		room := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		unix.Poll(room[:], int(time.Until(w.deadline).Milliseconds())+1)
		w.sendBatch(fd)
	}
	return w
}

// Write sends packets to p in their order, and tells what became of them. A
// packet that is refused does not hold up those after it. It uses the packets'
// octets, and does not change them, until it returns.
func (w *Writer) Write(p *Path, packets []Packet) (sent Sent) {
	w.deadline = time.Time{}
	single := 0 // so many at the front go one by one; a batch has room for them all
	for len(packets) > 0 {
		messages := w.pack(p, packets, single)
		var done int
		done, single = w.send(&sent, messages)
		packets = packets[done:]
	}
	return sent
}

// pack makes messages of packets, as many as there is room for, and returns how
// many messages there are. Neighbours of equal length and DSCP become one message,
// except for the first few, singly.
func (w *Writer) pack(p *Path, packets []Packet, single int) (messages int) {
	vectors := w.vectors[:0]
	for messages < maxMessages && len(vectors) <= maxVectors-2*maxSegments && len(packets) > 0 {
		n := 1
		if single <= 0 && w.conn.segment.Load() {
			n = run(packets)
		}
		first := len(vectors)
		for i := range packets[:n] {
			packet := &packets[i] // a copy of each would be felt
			vectors = appendVector(vectors, packet.Head)
			vectors = appendVector(vectors, packet.Body)
		}
		h := &w.messages[messages].Hdr
		h.Name = (*byte)(unsafe.Pointer(&p.address))
		h.Namelen = p.addressLen
		h.Iov = &w.vectors[first]
		h.SetIovlen(len(vectors) - first)
		control := p.controlOf(&packets[0], n, w.controls[messages])
		h.Control = unsafe.SliceData(control)
		h.SetControllen(len(control))
		w.packets[messages] = n
		messages++
		packets = packets[n:]
		single -= n
	}
	return messages
}

// run returns how many of the packets, of which there is one, the kernel can cut
// from one message: all as long as the first, but the last may be shorter, and all
// with one IP header, so of one DSCP.
func run(packets []Packet) int {
	size := packets[0].len()
	total := size
	for i := range packets[1:] {
		packet := &packets[i+1]
		n := packet.len()
		total += n
		if n == 0 || n > size || total > maxSegmented || i+1 == maxSegments || packet.DSCP != packets[0].DSCP {
			return i + 1
		}
		if n < size {
			return i + 2
		}
	}
	return len(packets)
}

func (p *Packet) len() int { return len(p.Head) + len(p.Body) }

// appendVector appends b, if it has octets, as a part of a message.
func appendVector(vectors []unix.Iovec, b []byte) []unix.Iovec {
	if len(b) == 0 {
		return vectors
	}
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return append(vectors, v)
}

// send sends the messages and counts in sent. It returns the number of packets
// that are done with, sent or refused. If the kernel does not cut a message, it
// ends before that one and returns as how many packets it must go, one by one.
func (w *Writer) send(sent *Sent, messages int) (done, refused int) {
	for next := 0; next < messages; {
		n, err := w.sendSome(w.messages[next:messages])
		for range n {
			sent.Packets += w.packets[next]
			sent.Octets += int(w.messages[next].Len)
			done += w.packets[next]
			next++
		}
		if err == nil {
			continue
		}
		packets := w.packets[next]
		if packets > 1 && w.cannotCut(err) {
			return done, packets
		}
		sent.refuse(packets, err)
		done += packets
		next++
	}
	return done, 0
}

// sendSome sends messages up to the first that is refused, and returns how many
// went. Err is nil if any did: why the next was refused shows when it is tried
// again.
func (w *Writer) sendSome(messages []unix.Mmsghdr) (n int, err error) {
	w.queue = messages
	if err := w.conn.raw.Control(w.try); err != nil {
		return 0, err
	}
	for w.errno == unix.EAGAIN && w.patient() {
		if err := w.conn.raw.Control(w.wait); err != nil {
			return 0, err
		}
	}
	if w.errno != 0 {
		return 0, w.errno
	}
	return w.n, nil
}

// patient reports whether this Write may wait for room.
func (w *Writer) patient() bool {
	now := time.Now()
	if w.deadline.IsZero() {
		w.deadline = now.Add(patience)
	}
	return now.Before(w.deadline)
}

// sendBatch sends what is in the queue.
func (w *Writer) sendBatch(fd uintptr) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd,
			uintptr(unsafe.Pointer(&w.queue[0])), uintptr(len(w.queue)), unix.MSG_DONTWAIT, 0, 0)
		w.n, w.errno = int(n), errno
		if errno != unix.EINTR {
			return
		}
	}
}

// cannotCut reports whether a segmented message was refused because it is one,
// so that its packets may still go one by one. A device that cannot do it at all
// is not asked again.
func (w *Writer) cannotCut(err error) bool {
	switch err {
	case unix.EIO, unix.EOPNOTSUPP:
		w.conn.segment.Store(false)
		return true
	case unix.EINVAL, unix.EMSGSIZE: // a segment is larger than the path MTU, or the source is gone
		return true
	}
	return false
}

// refuse counts n packets that were not sent.
func (s *Sent) refuse(n int, err error) {
	s.Err = err
	switch err {
	case unix.EMSGSIZE:
		s.TooBig += n
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EADDRNOTAVAIL, unix.ENETDOWN,
		unix.EINVAL: // how the kernel says that the source is no address of ours
		s.Unreachable += n
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		s.NoBuffer += n
	default:
		s.Failed += n
	}
}
