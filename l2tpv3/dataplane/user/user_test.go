package user

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// An end is one side of a session over loopback: a plane, a socket, and what has
// been delivered.
type end struct {
	t        testing.TB
	plane    *Plane
	conn     *transport.Conn
	reader   *transport.Reader
	receiver *Receiver
	link     *Link
	got      [][]byte
}

func newEnd(t testing.TB, local string, p dataplane.Params) *end {
	t.Helper()
	e := bareEnd(t, local)
	link, err := e.plane.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	e.attach(link.(*Link))
	return e
}

// bareEnd returns an end without a session.
func bareEnd(t testing.TB, local string) *end {
	t.Helper()
	conn, err := transport.Listen(transport.Config{Local: netip.MustParseAddrPort(local)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	e := &end{t: t, plane: New(), conn: conn, reader: conn.NewReader()}
	e.receiver = e.plane.NewReceiver(conn).(*Receiver)
	return e
}

func (e *end) attach(l *Link) {
	e.link = l
	l.Attach(func(frames []pseudowire.Frame) int {
		for _, f := range frames {
			e.got = append(e.got, bytes.Clone(f.Bytes()))
		}
		return len(frames)
	})
}

func (e *end) reach(peer netip.AddrPort) {
	e.t.Helper()
	path, err := e.conn.NewPath(transport.PathConfig{Peer: peer})
	if err != nil {
		e.t.Fatal(err)
	}
	e.link.SetPath(e.conn, path)
}

// take reads until n datagrams have come.
func (e *end) take(n int) {
	e.t.Helper()
	for n > 0 {
		d, err := e.reader.Read(time.Now().Add(5 * time.Second))
		if err != nil {
			e.t.Fatalf("%d datagrams are missing: %v", n, err)
		}
		for i := range d {
			e.put(d[i])
		}
		e.receiver.Flush(time.Now())
		n -= len(d)
	}
}

// put gives the plane a datagram as the endpoint does.
func (e *end) put(d transport.Datagram) {
	kind, id, rest := wire.Classify(wire.UDP, d.Frame.Bytes())
	switch {
	case kind == wire.Data:
		d.Frame = d.Frame.Skip(d.Frame.Len() - len(rest))
		e.receiver.Receive(&d, id)
	case kind == wire.Version2 && !wire.ControlV2(rest):
		e.receiver.ReceiveV2(&d)
	default:
		e.t.Fatalf("kind %d, want a data message", kind)
	}
}

// from makes a datagram as if it had come from a peer.
func from(peer netip.AddrPort, b []byte) transport.Datagram {
	return transport.Datagram{From: peer, Frame: pseudowire.NewFrame(b, 0)}
}

// message makes a data message as p requires it, with the number n.
func message(p *dataplane.Params, n uint32) []byte {
	b := wire.AppendDataHeader(nil, wire.UDP, p.SessionID, p.ReceiveCookie, p.Sublayer)
	if p.Sequencing != pseudowire.NoSequencing {
		wire.PutSequence(b[len(b)-4:], n)
	}
	return append(b, make([]byte, 60)...)
}

func mirror(p dataplane.Params) dataplane.Params {
	p.SessionID, p.PeerSessionID = p.PeerSessionID, p.SessionID
	p.ReceiveCookie, p.SendCookie = p.SendCookie, p.ReceiveCookie
	p.Sublayer, p.PeerSublayer = p.PeerSublayer, p.Sublayer
	p.Sequencing, p.PeerSequencing = p.PeerSequencing, p.Sequencing
	return p
}

func newCookie(t testing.TB, size int) cookie.Cookie {
	t.Helper()
	c, err := cookie.New(size)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func params(t testing.TB) dataplane.Params {
	return dataplane.Params{
		Name: "paris/office", SessionID: 1001, PeerSessionID: 2001, Pseudowire: pseudowire.Ethernet,
		ReceiveCookie: newCookie(t, 8), SendCookie: newCookie(t, 8),
	}
}

// frames returns n frames of random sizes, headroom in front.
func frames(n int) (f []pseudowire.Frame, octets [][]byte) {
	random := rand.New(rand.NewPCG(3, 4))
	for range n {
		b := make([]byte, pseudowire.Headroom+60+random.IntN(1400))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		f = append(f, pseudowire.NewFrame(b, pseudowire.Headroom))
		octets = append(octets, bytes.Clone(b[pseudowire.Headroom:]))
	}
	return f, octets
}

// A shape is what one side requires of what it receives.
type shape struct {
	cookie     int
	sublayer   pseudowire.Sublayer
	sequencing pseudowire.Sequencing
}

// TestThereAndBack sends frames both ways, each for every shape of header: what a
// side sends is what the other requires, RFC 3931 section 5.4.4.
func TestThereAndBack(t *testing.T) {
	var shapes []shape
	for _, size := range []int{0, 4, 8} {
		shapes = append(shapes,
			shape{size, pseudowire.NoSublayer, pseudowire.NoSequencing},
			shape{size, pseudowire.DefaultSublayer, pseudowire.NoSequencing},
			shape{size, pseudowire.DefaultSublayer, pseudowire.NonIPSequencing},
			shape{size, pseudowire.DefaultSublayer, pseudowire.AllSequencing})
	}
	for _, ours := range shapes {
		for _, theirs := range shapes {
			t.Run(fmt.Sprintf("to us %v, to the peer %v", ours, theirs), func(t *testing.T) {
				p := params(t)
				p.ReceiveCookie, p.Sublayer, p.Sequencing = newCookie(t, ours.cookie), ours.sublayer, ours.sequencing
				p.SendCookie, p.PeerSublayer, p.PeerSequencing = newCookie(t, theirs.cookie), theirs.sublayer, theirs.sequencing
				a, b := newEnd(t, "127.0.0.1:0", p), newEnd(t, "127.0.0.2:0", mirror(p))
				a.reach(b.conn.LocalAddr())
				b.reach(a.conn.LocalAddr())
				for _, way := range [][2]*end{{a, b}, {b, a}} {
					send, want := frames(150)
					if n := way[0].link.Send(send); n != len(send) {
						t.Fatalf("Send took %d of %d", n, len(send))
					}
					way[1].take(len(send))
					if !slices.EqualFunc(way[1].got, want, bytes.Equal) {
						t.Fatal("what came differs from what went")
					}
					octets := uint64(0)
					for _, f := range want {
						octets += uint64(len(f))
					}
					tx, rx := way[0].link.Stats(), way[1].link.Stats()
					if tx.TxPackets != 150 || tx.TxBytes != octets || rx.RxPackets != 150 || rx.RxBytes != octets {
						t.Errorf("counted %d frames of %d octets out, %d of %d in; want 150 of %d", tx.TxPackets, tx.TxBytes, rx.RxPackets, rx.RxBytes, octets)
					}
					if rx.Drops != [pseudowire.Drops]uint64{} || rx.LastReceived.IsZero() {
						t.Errorf("drops %v, last received %v", rx.Drops, rx.LastReceived)
					}
				}
			})
		}
	}
}

// TestNoHeadroom sends frames that leave no room for a header, as those do that
// came out of the middle of a larger datagram.
func TestNoHeadroom(t *testing.T) {
	p := params(t)
	a, b := newEnd(t, "127.0.0.1:0", p), newEnd(t, "127.0.0.2:0", mirror(p))
	a.reach(b.conn.LocalAddr())
	b.reach(a.conn.LocalAddr())
	frame := bytes.Repeat([]byte{0x5a}, 90)
	a.link.Send([]pseudowire.Frame{pseudowire.NewFrame(frame, 0), pseudowire.NewFrame(frame, 0)})
	b.take(2)
	if len(b.got) != 2 || !bytes.Equal(b.got[1], bytes.Repeat([]byte{0x5a}, 90)) {
		t.Errorf("got %x", b.got)
	}
}

// TestDrops has one datagram for every reason, in the order of the checks.
//
// RFC 3931 section 4.5: "Any received data packets that contain invalid Session
// IDs or associated Cookie values MUST be dropped."
func TestDrops(t *testing.T) {
	p := params(t)
	p.Sublayer, p.Sequencing = pseudowire.DefaultSublayer, pseudowire.AllSequencing
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	good := func() []byte {
		b := wire.AppendDataHeader(nil, wire.UDP, p.SessionID, p.ReceiveCookie, p.Sublayer)
		wire.PutSequence(b[len(b)-4:], 0)
		return append(b, make([]byte, 60)...)
	}
	edit := func(f func(b []byte) []byte) []byte { return f(good()) }
	for _, v := range []struct {
		name string
		from netip.AddrPort
		b    []byte
		want pseudowire.Drop
	}{
		{"good", peer, good(), pseudowire.NotDropped},
		{"unknown session", peer, edit(func(b []byte) []byte { b[7]++; return b }), pseudowire.DropSession},
		{"cookie cut off", peer, good()[:12], pseudowire.DropShort},
		{"sublayer cut off", peer, good()[:18], pseudowire.DropShort},
		{"first octet of the cookie", peer, edit(func(b []byte) []byte { b[8]++; return b }), pseudowire.DropCookie},
		{"last octet of the cookie", peer, edit(func(b []byte) []byte { b[15]++; return b }), pseudowire.DropCookie},
		{"wrong cookie from elsewhere", netip.MustParseAddrPort("127.0.0.10:1701"), edit(func(b []byte) []byte { b[8]++; return b }), pseudowire.DropCookie},
		{"right cookie from elsewhere", netip.MustParseAddrPort("127.0.0.10:1701"), good(), pseudowire.DropSource},
		{"right cookie from another port", netip.MustParseAddrPort("127.0.0.9:1702"), good(), pseudowire.DropSource},
		{"no number where all have one", peer, edit(func(b []byte) []byte { wire.ClearSequence(b[16:]); return b }), pseudowire.DropSequence},
		{"a cookie of four octets", peer, append(good()[:12], good()[16:]...), pseudowire.DropCookie},
		{"empty frame", peer, good()[:20], pseudowire.DropRunt},
		{"a frame shorter than its header", peer, good()[:20+13], pseudowire.DropRunt},
	} {
		t.Run(v.name, func(t *testing.T) {
			e := newEnd(t, "127.0.0.1:0", p)
			e.reach(peer)
			e.put(from(v.from, v.b))
			e.receiver.Flush(time.Now())
			want := [pseudowire.Drops]uint64{}
			delivered := 0
			if v.want == pseudowire.NotDropped {
				delivered = 1
			} else {
				want[v.want] = 1
			}
			got := e.link.Stats().Drops
			for i, n := range e.plane.Drops() {
				got[i] += n
			}
			if got != want || len(e.got) != delivered {
				t.Errorf("%d delivered, drops %v; want %d, %v", len(e.got), got, delivered, want)
			}
		})
	}
}

func TestDropsBeforeTheNetwork(t *testing.T) {
	e := newEnd(t, "127.0.0.1:0", params(t))
	f, _ := frames(3)
	if n := e.link.Send(f); n != 0 || e.link.Stats().Drops[pseudowire.DropNoPeer] != 3 {
		t.Errorf("without a path: %d sent, %v", n, e.link.Stats().Drops)
	}
	e.reach(netip.MustParseAddrPort("127.0.0.2:9"))
	big := pseudowire.NewFrame(make([]byte, pseudowire.Headroom+65530), pseudowire.Headroom)
	if n := e.link.Send([]pseudowire.Frame{big}); n != 0 || e.link.Stats().Drops[pseudowire.DropTooBig] != 1 {
		t.Errorf("too big: %d sent, %v", n, e.link.Stats().Drops)
	}
	if got := e.link.Stats(); got.TxPackets != 0 || got.TxBytes != 0 {
		t.Errorf("counted %d frames, %d octets sent; want none", got.TxPackets, got.TxBytes)
	}
}

// TestReorder brings frames out of order within one batch and across batches.
func TestReorder(t *testing.T) {
	p := params(t)
	p.Sublayer, p.Sequencing, p.ReorderTimeout = pseudowire.DefaultSublayer, pseudowire.AllSequencing, 20*time.Millisecond
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	e := newEnd(t, "127.0.0.1:0", p)
	e.reach(peer)
	put := func(numbers ...uint32) {
		for _, n := range numbers {
			b := wire.AppendDataHeader(nil, wire.UDP, p.SessionID, p.ReceiveCookie, p.Sublayer)
			wire.PutSequence(b[len(b)-4:], n)
			frame := make([]byte, 60)
			frame[59] = byte(n)
			e.put(from(peer, append(b, frame...)))
		}
	}
	want := func(now time.Time, numbers ...byte) {
		t.Helper()
		e.receiver.Flush(now)
		var got []byte
		for _, f := range e.got {
			got = append(got, f[59])
		}
		if !bytes.Equal(got, numbers) {
			t.Fatalf("delivered %v, want %v", got, numbers)
		}
		e.got = nil
	}
	now := time.Now()
	put(0, 2, 1, 3)
	want(now, 0, 1, 2, 3)
	put(5, 6, 5)
	want(now)
	put(4)
	want(now, 4, 5, 6)
	put(8, 10)
	want(now)
	if next := e.receiver.Flush(now); next.IsZero() || next.After(time.Now().Add(p.ReorderTimeout)) {
		t.Fatalf("with frames held, Flush asks to be called at %v", next)
	}
	later := now.Add(time.Second)
	want(later, 8)
	want(later.Add(time.Second), 10)
	if next := e.receiver.Flush(later); !next.IsZero() {
		t.Fatalf("with nothing held, Flush asks to be called at %v", next)
	}
	put(12, 11+heldFrames, 12+heldFrames) // beyond what can wait: gives up 11
	want(later, 12, 11+heldFrames, 12+heldFrames)
	s := e.link.Stats()
	if s.Drops[pseudowire.DropSequence] != 1 || s.RxReordered == 0 || s.RxLost != 3+heldFrames-2 {
		t.Errorf("drops %v, %d reordered, %d lost; want one duplicate, some, %d", s.Drops, s.RxReordered, s.RxLost, 3+heldFrames-2)
	}
}

// TestPeerStartsAgain has a peer that counts from 0 again: after a silence it is
// taken at its first word.
func TestPeerStartsAgain(t *testing.T) {
	p := params(t)
	p.Sublayer, p.Sequencing = pseudowire.DefaultSublayer, pseudowire.AllSequencing
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	e := newEnd(t, "127.0.0.1:0", p)
	e.reach(peer)
	put := func(n uint32) {
		b := wire.AppendDataHeader(nil, wire.UDP, p.SessionID, p.ReceiveCookie, p.Sublayer)
		wire.PutSequence(b[len(b)-4:], n)
		e.put(from(peer, append(b, make([]byte, 60)...)))
		e.receiver.Flush(time.Now())
	}
	put(1000)
	put(0) // late, for all one can tell
	if n := len(e.got); n != 1 {
		t.Fatalf("%d delivered, want 1", n)
	}
	time.Sleep(resyncSilence + 10*time.Millisecond)
	put(0)
	put(1)
	if n := len(e.got); n != 3 {
		t.Errorf("%d delivered after a silence, want 3", n)
	}
}

// TestDuplicateAfterASilence has the first frame after a silence come twice in one
// batch: the second is no peer that starts again.
func TestDuplicateAfterASilence(t *testing.T) {
	p := params(t)
	p.Sublayer, p.Sequencing = pseudowire.DefaultSublayer, pseudowire.AllSequencing
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	e := newEnd(t, "127.0.0.1:0", p)
	e.reach(peer)
	for range 2 { // nothing was ever received: it has been silent for long
		b := wire.AppendDataHeader(nil, wire.UDP, p.SessionID, p.ReceiveCookie, p.Sublayer)
		wire.PutSequence(b[len(b)-4:], 1000)
		e.put(from(peer, append(b, make([]byte, 60)...)))
	}
	e.receiver.Flush(time.Now())
	if n := len(e.got); n != 1 {
		t.Errorf("%d delivered, want 1", n)
	}
}

// TestHintOfASublayerMismatch reads frames four octets off.
func TestHintOfASublayerMismatch(t *testing.T) {
	ours, theirs := params(t), params(t)
	theirs.ReceiveCookie, theirs.SendCookie = ours.ReceiveCookie, ours.SendCookie
	theirs.Sublayer = pseudowire.DefaultSublayer
	for _, p := range [][2]dataplane.Params{{ours, theirs}, {theirs, ours}} {
		peer := netip.MustParseAddrPort("127.0.0.9:1701")
		e := newEnd(t, "127.0.0.1:0", p[0])
		e.reach(peer)
		for range misreadFrames {
			b := wire.AppendDataHeader(nil, wire.UDP, p[0].SessionID, p[0].ReceiveCookie, p[1].Sublayer)
			b = append(b, 2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 0xbb, 8, 0, 0x45, 0)
			e.put(from(peer, append(b, make([]byte, 60)...)))
			e.receiver.Flush(time.Now())
		}
		if !e.link.Stats().Misread {
			t.Errorf("sublayer %s here, %s there: not noticed", p[0].Sublayer, p[1].Sublayer)
		}
	}
}

func TestTable(t *testing.T) {
	p := New()
	random := rand.New(rand.NewPCG(5, 6))
	want := map[uint32]dataplane.Link{}
	for range 20000 {
		id := random.Uint32N(5000) + 1
		if l, ok := want[id]; ok {
			if _, err := p.Open(dataplane.Params{SessionID: id, PeerSessionID: 1}); err == nil {
				t.Fatalf("session %d opened twice", id)
			}
			l.Close()
			delete(want, id)
			continue
		}
		l, err := p.Open(dataplane.Params{SessionID: id, PeerSessionID: 1})
		if err != nil {
			t.Fatal(err)
		}
		want[id] = l
	}
	for id := range uint32(5002) {
		l := p.table.lookup(id)
		if w, ok := want[id]; ok != (l != nil) || ok && dataplane.Link(l) != w {
			t.Fatalf("session %d: got %v, want %v", id, l, w)
		}
	}
	if n := len(*p.table.slots.Load()); n > 65536 {
		t.Errorf("%d slots for %d sessions", n, len(want))
	}
}

func TestNothingIsAllocated(t *testing.T) {
	for _, level := range []pseudowire.Sequencing{pseudowire.NonIPSequencing, pseudowire.AllSequencing} {
		for _, kind := range []pseudowire.Type{pseudowire.Ethernet, pseudowire.FrameRelay, pseudowire.HDLC, pseudowire.PPP} {
			nothingIsAllocated(t, kind, level)
		}
	}
}

func nothingIsAllocated(t *testing.T, kind pseudowire.Type, level pseudowire.Sequencing) {
	p := params(t)
	p.Pseudowire, p.PeerSublayer, p.PeerSequencing = kind, pseudowire.DefaultSublayer, level
	a, b := newEnd(t, "127.0.0.1:0", p), newEnd(t, "127.0.0.2:0", mirror(p))
	a.reach(b.conn.LocalAddr())
	b.reach(a.conn.LocalAddr())
	b.link.Attach(func(f []pseudowire.Frame) int { return len(f) })
	send, _ := frames(64)
	n := testing.AllocsPerRun(100, func() {
		a.link.Send(send)
		b.take(len(send))
	})
	if n != 0 {
		t.Errorf("%v, sequencing %v: %v allocations for 64 frames sent and received, want 0", kind, level, n)
	}
}

// TestNothingIsAllocatedForManyLinks gives one Receiver frames for more Links than
// it has pending at a time, early ones among them.
func TestNothingIsAllocatedForManyLinks(t *testing.T) {
	p := params(t)
	p.Sublayer, p.Sequencing, p.ReorderTimeout = pseudowire.DefaultSublayer, pseudowire.AllSequencing, time.Millisecond
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	e := newEnd(t, "127.0.0.1:0", p)
	const links, early = 2*manyLinks + 1, spareShelves
	open := make([]*Link, links)
	delivered := 0
	for i := range open {
		p.SessionID = uint32(i + 1)
		if p.SessionID == e.link.params.SessionID {
			t.Fatal("the end's own session is among those of the test")
		}
		l, err := e.plane.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		open[i] = l.(*Link)
		l.Attach(func(f []pseudowire.Frame) int { delivered += len(f); return len(f) })
		path, err := e.conn.NewPath(transport.PathConfig{Peer: peer})
		if err != nil {
			t.Fatal(err)
		}
		l.SetPath(e.conn, path)
	}
	b := message(&p, 0)[8:] // without version and Session ID
	number := b[p.ReceiveCookie.Len():]
	next, now := uint32(0), time.Now()
	batches := 0
	round := func() {
		for i := range open {
			order := [2]uint32{next, next + 1}
			if i < early && next > 0 {
				order = [2]uint32{next + 1, next}
			}
			for _, n := range order {
				wire.PutSequence(number, n)
				d := from(peer, b)
				e.receiver.Receive(&d, uint32(i+1))
			}
		}
		next += 2
		batches++
		e.receiver.Flush(now)
	}
	for range heldFrames { // each place of a shelf gets its memory when it is first used
		round()
	}
	if n := testing.AllocsPerRun(20, round); n != 0 {
		t.Errorf("%v allocations a batch, want 0", n)
	}
	if want := 2 * links * batches; delivered != want {
		t.Errorf("%d frames delivered, want %d", delivered, want)
	}
	if n := len(e.receiver.slabs); n > manyLinks {
		t.Errorf("%d slabs, want at most %d", n, manyLinks)
	}
	if got := open[0].Stats(); got.RxReordered == 0 || got.RxLost != 0 {
		t.Errorf("%d reordered, %d lost; want some and none", got.RxReordered, got.RxLost)
	}
}

// FuzzReceive gives the plane whatever may come after a Session ID.
func FuzzReceive(f *testing.F) {
	p := params(f)
	p.Sublayer, p.Sequencing, p.ReorderTimeout = pseudowire.DefaultSublayer, pseudowire.AllSequencing, time.Millisecond
	e := newEnd(f, "127.0.0.1:0", p)
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	e.reach(peer)
	f.Add(append(wire.AppendDataHeader(nil, wire.UDP, 1, p.ReceiveCookie, p.Sublayer), make([]byte, 60)...))
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) {
		d := from(peer, append(p.ReceiveCookie.Append(nil), b...))
		e.receiver.Receive(&d, p.SessionID)
		d = from(peer, b)
		e.receiver.Receive(&d, p.SessionID)
		e.receiver.Flush(time.Now())
		e.got = nil
	})
}
