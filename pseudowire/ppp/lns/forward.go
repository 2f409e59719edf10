package lns

import (
	"net/netip"
	"sync/atomic"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/gso"
	"spanwire/pseudowire/ppp"
)

// arenaLen is the memory for the frames that super-frames are cut into, before they
// are sent: more than one super-frame makes.
const arenaLen = 256 << 10

// drops counts packets that went nowhere.
type drops struct {
	noLink    atomic.Uint64 // from the TUN, to nobody's address
	malformed atomic.Uint64 // either way
	tooBig    atomic.Uint64 // from the TUN, too long for the link
	closed    atomic.Uint64 // from the TUN, while the link does not carry the protocol
	spoofed   atomic.Uint64 // from a link, with a source that is not the user's
	refused   atomic.Uint64 // by the port or the TUN
}

// Drops are the packets that went nowhere, by the reason.
type Drops struct {
	NoLink    uint64 // from the TUN, to nobody's address
	Malformed uint64 // either way
	TooBig    uint64 // from the TUN, too long for the link; the sender is told
	Closed    uint64 // from the TUN, while the link does not carry the protocol
	Spoofed   uint64 // from a link, with a source that is not the user's
	Refused   uint64 // by the session or the TUN
}

func (d *drops) read() Drops {
	return Drops{
		NoLink: d.noLink.Load(), Malformed: d.malformed.Load(), TooBig: d.tooBig.Load(),
		Closed: d.closed.Load(), Spoofed: d.spoofed.Load(), Refused: d.refused.Load(),
	}
}

// A forwarder is the way of packets from a TUN to links. It is of one goroutine.
type forwarder struct {
	drops  *drops
	back   func([]pseudowire.Frame) int // to the TUN
	clamp  bool
	from4  netip.Addr // of whom the sender of what is too long is told by
	from6  netip.Addr
	errors time.Time // when the next sender may be told

	arena  []byte
	used   int
	frames []pseudowire.Frame
	octets uint64
	cutter gso.Cutter
	head   []byte

	// Of a batch: the links that have packets in it, and for each packet the next one
	// of its link.
	batch []*Link
	next  []int32
}

// newForwarder returns a forwarder that tells senders what is too long by back.
func newForwarder(d *drops, back func([]pseudowire.Frame) int, clamp bool) *forwarder {
	return &forwarder{drops: d, back: back, clamp: clamp, arena: make([]byte, arenaLen), head: make([]byte, 0, gso.HeaderMax)}
}

// spread sends the packets of a batch to the links that they are for, those of one link
// at once.
func (w *forwarder) spread(t *table, packets []pseudowire.Frame) int {
	w.batch = w.batch[:0]
	if len(w.next) < len(packets) {
		w.next = make([]int32, len(packets))
	}
	var last *Link // most packets are for the link that the one before was for
	var lastKey key
	for i := range packets {
		b := packets[i].Bytes()
		var l *Link
		switch {
		case len(b) >= ipv4Len && b[0]>>4 == 4:
			k := key4(b[16:])
			if l = last; l == nil || k != lastKey {
				l = t.lookup4(k)
			}
			lastKey = k
		case len(b) >= ipv6Len && b[0]>>4 == 6:
			k := key6(b[24:])
			if l = last; l == nil || k != lastKey {
				l = t.lookup6(k)
			}
			lastKey = k
		default:
			w.drops.malformed.Add(1)
			last = nil
			continue
		}
		if last = l; l == nil {
			w.drops.noLink.Add(1)
			continue
		}
		w.next[i] = -1
		if l.batched {
			w.next[l.lastOfBatch] = int32(i)
		} else {
			l.batched, l.firstOfBatch = true, int32(i)
			w.batch = append(w.batch, l)
		}
		l.lastOfBatch = int32(i)
	}
	for _, l := range w.batch {
		l.batched = false
		for i := l.firstOfBatch; i >= 0; i = w.next[i] {
			w.add(&l.end, packets[i])
		}
		w.send(&l.end)
	}
	return len(packets)
}

// add makes frames for a link of a packet or a super-frame of packets.
func (w *forwarder) add(e *end, packet pseudowire.Frame) {
	b := packet.Bytes()
	if len(b) < ipv4Len {
		w.drops.malformed.Add(1)
		return
	}
	p := ppp.IPv4
	if b[0]>>4 == 6 {
		p = ppp.IPv6
	}
	mtu := int(e.mtu.Load())
	if packet.GSO.Kind != pseudowire.GSONone {
		w.cut(e, packet, p, mtu)
		return
	}
	packet, err := gso.Complete(packet)
	if err != nil {
		w.drops.malformed.Add(1)
		return
	}
	if len(b) > mtu {
		if p == ppp.IPv4 && fragments(b, mtu, func(f []byte) {
			if memory := w.room(e, len(f)); memory != nil {
				copy(memory[pseudowire.Headroom:], f)
				w.push(e, pseudowire.NewFrame(memory, pseudowire.Headroom), p)
			}
		}) {
			return
		}
		w.tooBig(b, mtu)
		return
	}
	if w.clamp {
		clampMSS(b, mtu)
	}
	w.push(e, packet, p)
}

// cut cuts a super-frame.
func (w *forwarder) cut(e *end, packet pseudowire.Frame, p ppp.Protocol, mtu int) {
	if err := w.cutter.InitIP(packet); err != nil {
		w.drops.malformed.Add(1)
		return
	}
	for {
		head, payload, ok := w.cutter.Next(w.head[:0])
		if !ok {
			return
		}
		n := len(head) + len(payload)
		if n > mtu {
			whole := append(head, payload[:min(len(payload), 1280)]...)
			w.tooBig(whole, mtu)
			w.drops.tooBig.Add(uint64(w.cutter.Count()))
			return
		}
		memory := w.room(e, n)
		copy(memory[pseudowire.Headroom:], head)
		copy(memory[pseudowire.Headroom+len(head):], payload)
		w.push(e, pseudowire.NewFrame(memory, pseudowire.Headroom), p)
	}
}

// room returns memory for a packet of n octets behind its headroom. What was made
// before is sent where there is none left.
func (w *forwarder) room(e *end, n int) []byte {
	n += pseudowire.Headroom
	if w.used+n > len(w.arena) {
		w.send(e)
	}
	b := w.arena[w.used:][:n:n]
	w.used += (n + 63) &^ 63
	return b
}

// push puts the link's header in front of a packet.
func (w *forwarder) push(e *end, packet pseudowire.Frame, p ppp.Protocol) {
	f, ok := e.ppp.Prepend(packet, p)
	if !ok {
		w.drops.closed.Add(1)
		return
	}
	w.octets += uint64(packet.Len())
	w.frames = append(w.frames, f)
}

// send sends what there is for a link.
func (w *forwarder) send(e *end) {
	if n := len(w.frames); n > 0 {
		sent := e.port.Send(w.frames)
		if sent < n {
			w.drops.refused.Add(uint64(n - sent))
		}
		e.use.outPackets.Add(uint64(n))
		e.use.outOctets.Add(w.octets)
	}
	w.frames, w.octets, w.used = w.frames[:0], 0, 0
}

// tooBig drops a packet that is longer than the link's MTU, and tells its sender, now
// and then.
func (w *forwarder) tooBig(packet []byte, mtu int) {
	w.drops.tooBig.Add(1)
	const pause = 5 * time.Millisecond
	now := time.Now()
	if now.Before(w.errors) {
		return
	}
	w.errors = now.Add(pause)
	if b := tooBig(packet, mtu, w.from4, w.from6); b != nil {
		f := [1]pseudowire.Frame{pseudowire.NewFrame(padded(pseudowire.NewFrame(b, 0)), pseudowire.Headroom)}
		w.back(f[:])
	}
}
