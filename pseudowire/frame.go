// Package pseudowire holds what every pseudowire is made of: the frame that
// walks through it, its type, the sublayer and the sequencing it asks for, and
// the reasons for which a frame is dropped.
package pseudowire

// Headroom is how many octets a reader leaves free in front of each frame: room
// for the deepest header, an L2TPv3 over UDP header with cookie and sublayer
// (20), and for what a device wants in front of a frame.
const Headroom = 64

// A Frame is one layer-2 frame in a buffer that belongs to whoever read it, or,
// where GSO says so, one frame that stands for several. It is passed by value
// and may be used only until the call that handed it over returns. Its zero
// value has no octets.
type Frame struct {
	buf   []byte // up to the end of the frame
	start int    // where the frame begins; what stands before it is headroom
	GSO   GSO

	ReceivedDSCP DSCP // of the outer IP header that it came in; none: not known
	SendDSCP     DSCP // of the one that it is to be sent in; none: the tunnel's own
}

// NewFrame returns the frame that occupies buf[start:]. Whoever sends it may
// overwrite buf[:start].
func NewFrame(buf []byte, start int) Frame { return Frame{buf: buf, start: start} }

// Bytes returns the frame's octets.
func (f Frame) Bytes() []byte { return f.buf[f.start:] }

// Len returns the number of the frame's octets.
func (f Frame) Len() int { return len(f.buf) - f.start }

// Headroom returns how many octets Prepend can put in front of the frame.
func (f Frame) Headroom() int { return f.start }

// Prepend returns the frame with n octets of its headroom in front of it, to be
// filled by the caller; n is at most Headroom.
func (f Frame) Prepend(n int) []byte { return f.buf[f.start-n:] }

// Grow returns the frame with n octets of its headroom in front of it, which the
// caller has filled; n is at most Headroom.
func (f Frame) Grow(n int) Frame {
	_ = f.buf[f.start-n:] // more than Headroom is the caller's mistake: it shows here
	f.start -= n
	return f
}

// Skip returns the frame without its first n octets, which become headroom; n is
// at most Len.
func (f Frame) Skip(n int) Frame {
	f.start += n
	_ = f.buf[f.start:] // more than Len is the caller's mistake: it shows here
	return f
}

// GSO describes how a frame is to be cut into several, in the terms of Linux's
// virtio_net_hdr. The zero value is a frame that is whole and has its checksums.
type GSO struct {
	Kind           GSOKind
	HeaderLen      uint16 // a hint how many octets at the front each piece repeats
	Size           uint16 // octets of payload a piece, the last may have fewer
	ChecksumStart  uint16 // where the checksum to be completed begins to count
	ChecksumOffset uint16 // where it is stored, from ChecksumStart; both 0: complete
}

// A GSOKind is the protocol whose segments a frame stands for.
type GSOKind uint8

// The kinds of segmentation.
const (
	GSONone GSOKind = iota
	GSOTCPv4
	GSOTCPv6
	GSOUDP
)
