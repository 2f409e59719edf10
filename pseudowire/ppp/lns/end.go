package lns

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
)

// A Port is what carries a link: a session of L2TP, by its methods. Its frames are
// those of PPP, with or without Address and Control. It is a bridge.Port, and owns and
// lends frames as one does.
type Port interface {
	Send([]pseudowire.Frame) int
	Attach(deliver func([]pseudowire.Frame) int)
}

// A device is where packets come from and go to: a TUN, or what a test has for one.
type device interface {
	Port
	Name() string
	Run() error
	Close() error
}

// An end is one end of a PPP link over a port: what the links of a Server and of a
// Client have in common. It drives the machine, which others tell what arrived.
type end struct {
	port  Port
	clock *clock
	timer timer
	ppp   *ppp.Link
	mtu   atomic.Int32 // of what is sent
	use   usage

	// happened takes an event of the machine, and told says when more is to be done
	// than the machine knows of. Both have mu held.
	happened func(now time.Time, e ppp.Event)
	deadline func() time.Time
	// resize has the link's packets become as large as they may be. mu is held.
	resize func()

	mu        sync.Mutex
	agreed    int      // with the peer, the MTU
	fits      int      // the MTU that the path carries; 0: not known
	encrypted bool     // packets are
	out       [][]byte // frames to be sent, behind their headroom
	after     []func() // to be called when mu is not held
	flushing  bool     // somebody does
	over      bool     // the link is closed, or its port is
}

// carry takes the frames of the peer: packets that pass go to the TUN, all that is none
// is the machine's.
func (e *end) carry(frames []pseudowire.Frame, passes func(ppp.Protocol, []byte) bool, clamp bool, to device, d *drops) int {
	n, octets, mtu := 0, 0, int(e.mtu.Load())
	for i := range frames {
		p, packet, ok := e.ppp.Decap(frames[i])
		if !ok {
			e.receive(frames[i].Bytes())
			continue
		}
		b := packet.Bytes()
		if !passes(p, b) {
			continue
		}
		if clamp {
			clampMSS(b, mtu)
		}
		octets += len(b)
		frames[n] = packet
		n++
	}
	if n > 0 {
		e.use.inPackets.Add(uint64(n))
		e.use.inOctets.Add(uint64(octets))
		if sent := to.Send(frames[:n]); sent < n {
			d.refused.Add(uint64(n - sent))
		}
	}
	return len(frames)
}

// usage counts the packets of a link, and their octets.
type usage struct {
	inPackets, inOctets, outPackets, outOctets atomic.Uint64
}

func (u *usage) packets() uint64 { return u.inPackets.Load() + u.outPackets.Load() }

// frameRoom is what most control frames fit in.
const frameRoom = pseudowire.Headroom + 64

// drain takes what the machine has to say. mu is held.
func (e *end) drain(now time.Time) {
	for more := true; more; {
		more = false
		for {
			b, ok := e.ppp.Transmit(make([]byte, pseudowire.Headroom, frameRoom))
			if !ok {
				break
			}
			e.out = append(e.out, b)
		}
		for {
			event, ok := e.ppp.Event()
			if !ok {
				break
			}
			more = true // what becomes of it may give the machine more to say
			e.happened(now, event)
		}
	}
	if now := e.ppp.Encrypted(); now != e.encrypted {
		e.encrypted = now
		e.resize()
	}
	if !e.over {
		at := e.ppp.Deadline()
		if other := e.deadline(); at.IsZero() || !other.IsZero() && other.Before(at) {
			at = other
		}
		e.clock.set(&e.timer, at)
	}
}

// unlock gives mu back, and then sends and calls what was left for that moment. What
// is called may come back here: what it leaves is done by whom it came from, so that
// all goes out in its order.
func (e *end) unlock() {
	if e.flushing {
		e.mu.Unlock()
		return
	}
	e.flushing = true
	for len(e.out) > 0 || len(e.after) > 0 {
		out, after := e.out, e.after
		e.out, e.after = nil, nil
		e.mu.Unlock()
		for _, b := range out {
			frame := [1]pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)}
			e.port.Send(frame[:])
		}
		for _, f := range after {
			f()
		}
		e.mu.Lock()
	}
	e.flushing = false
	e.mu.Unlock()
}

// agree has the link send no larger packets than were agreed on, and than the path
// carries. mu is held, or nobody else has the link.
func (e *end) agree(mtu int) {
	e.agreed = mtu
	if e.fits > 0 {
		mtu = min(mtu, e.fits)
	}
	if e.encrypted {
		mtu -= ppp.EncryptionLen
	}
	e.mtu.Store(int32(max(mtu, ppp.MinMRU)))
}

// receive takes a frame that is no packet, or not one that may pass now.
func (e *end) receive(frame []byte) {
	now := time.Now()
	e.mu.Lock()
	if !e.over {
		e.ppp.Receive(now, frame)
		e.drain(now)
	}
	e.unlock()
}

// tell has the machine do something.
func (e *end) tell(do func(now time.Time)) {
	now := time.Now()
	e.mu.Lock()
	if !e.over {
		do(now)
		e.drain(now)
	}
	e.unlock()
}

// packetsWaiting bounds what is to be sent while somebody sends, for whoever asks for
// more than the port takes.
const packetsWaiting = 64

// sendPacket sends a packet that is ours, behind its headroom. mu is held: it goes out
// later.
func (e *end) sendPacket(b []byte, p ppp.Protocol) {
	if len(e.out) >= packetsWaiting {
		return
	}
	f, ok := e.ppp.Prepend(pseudowire.NewFrame(b, pseudowire.Headroom), p)
	if ok {
		e.out = append(e.out, padded(f))
	}
}

// padded returns the memory of a frame with Headroom in front of it.
func padded(f pseudowire.Frame) []byte {
	b := make([]byte, pseudowire.Headroom, pseudowire.Headroom+f.Len())
	return append(b, f.Bytes()...)
}

// newSessionID returns an identifier for a link of which no RADIUS server hears.
func newSessionID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
