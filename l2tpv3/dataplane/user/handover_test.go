package user

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/pseudowire"
)

// A lane is a session between two planes, of which the sending one has a socket
// without a reader.
type lane struct{ from, to *Link }

// An opener opens the i-th session from a to b.
type opener func(t *testing.T, a, b *Plane, i int) lane

func openV3(t *testing.T, a, b *Plane, i int) lane {
	t.Helper()
	p := params(t)
	p.SessionID, p.PeerSessionID = uint32(100+i), uint32(200+i)
	from, err := a.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	to, err := b.Open(mirror(p))
	if err != nil {
		t.Fatal(err)
	}
	return lane{from.(*Link), to.(*Link)}
}

func openV2(t *testing.T, a, b *Plane, i int) lane {
	t.Helper()
	p := lns
	p.SessionID, p.PeerSessionID = uint16(100+i), uint16(200+i)
	from, err := a.OpenV2(p)
	if err != nil {
		t.Fatal(err)
	}
	to, err := b.OpenV2(mirrorV2(p))
	if err != nil {
		t.Fatal(err)
	}
	from.Number(i%2 == 1)
	return lane{&from.(*LinkV2).Link, &to.(*LinkV2).Link}
}

// eachVersion runs a test with sessions of either version.
func eachVersion(t *testing.T, run func(t *testing.T, open opener)) {
	t.Run("L2TPv3", func(t *testing.T) { run(t, openV3) })
	t.Run("L2TPv2", func(t *testing.T) { run(t, openV2) })
}

// lanes opens sessions from one end to another, and reads the other's socket until
// the test ends.
func lanes(t *testing.T, open opener, n int) (_ []lane, reach func(lane)) {
	t.Helper()
	a, b := New(), New()
	var conns [2]*transport.Conn
	for i, local := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
		c, err := transport.Listen(transport.Config{Local: netip.MustParseAddrPort(local)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c
	}
	path := func(from, to *transport.Conn) *transport.Path {
		p, err := from.NewPath(transport.PathConfig{Peer: to.LocalAddr()})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	there, back := path(conns[0], conns[1]), path(conns[1], conns[0])
	reach = func(l lane) {
		l.from.SetPath(conns[0], there)
		l.to.SetPath(conns[1], back)
	}
	var all []lane
	for i := range n {
		l := open(t, a, b, i)
		reach(l)
		all = append(all, l)
	}
	e := &end{t: t, plane: b, reader: conns[1].NewReader(), receiver: b.NewReceiver(conns[1]).(*Receiver)}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			d, err := e.reader.Read(time.Time{})
			if err != nil {
				return
			}
			for i := range d {
				e.put(d[i])
			}
			e.receiver.Flush(time.Now())
		}
	})
	t.Cleanup(func() { conns[1].Close(); work.Wait() })
	return all, reach
}

// A station is a port: it marks the numbered frames that reach it, from whichever
// Link, and sends through the one that it is turned to.
type station struct {
	times    []atomic.Int32
	arrived  atomic.Int64
	outgoing atomic.Pointer[func([]pseudowire.Frame) int]
}

func (s *station) Send(frames []pseudowire.Frame) int {
	for _, f := range frames {
		s.times[binary.BigEndian.Uint32(f.Bytes()[14:])].Add(1)
		s.arrived.Add(1)
	}
	return len(frames)
}

func (s *station) Attach(deliver func([]pseudowire.Frame) int) { s.outgoing.Store(&deliver) }

func numbered(n int) []pseudowire.Frame {
	b := make([]byte, pseudowire.Headroom+60)
	binary.BigEndian.PutUint32(b[pseudowire.Headroom+14:], uint32(n))
	return []pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)}
}

// await waits until n frames have arrived in all.
func (s *station) await(t *testing.T, n int) {
	t.Helper()
	for range 5000 {
		if s.arrived.Load() >= int64(n) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d frames arrived, want %d", s.arrived.Load(), n)
}

// TestTakeover has a new session take over from an old one at both ends while
// frames flow through both, and paths and ports are set again and again: every
// frame arrives once, and none through the old session once it is closed.
func TestTakeover(t *testing.T) { eachVersion(t, takeover) }

func takeover(t *testing.T, open opener) {
	const each, window = 1000, 100
	all, reach := lanes(t, open, 2)
	former, next := all[0], all[1]
	sender, receiver := new(station), &station{times: make([]atomic.Int32, 3*each)}
	var closed atomic.Bool
	attach := func() {
		former.to.Attach(func(f []pseudowire.Frame) int {
			if closed.Load() {
				t.Error("delivered by the old session after Close")
			}
			return receiver.Send(f)
		})
		next.to.Attach(receiver.Send)
	}
	attach()

	sent := 0
	send := func(deliver func([]pseudowire.Frame) int) {
		t.Helper()
		if deliver(numbered(sent)) != 1 {
			t.Fatalf("frame %d not sent", sent)
		}
		if sent++; sent%window == 0 {
			receiver.await(t, sent)
		}
	}
	var work sync.WaitGroup
	stop := make(chan struct{})
	work.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				reach(former)
				reach(next)
				attach()
			}
		}
	})
	for i := range each {
		send(all[i%2].from.Send)
	}
	// The sending port turns around while it sends.
	sender.Attach(former.from.Send)
	for i := range each {
		if i == each/2 {
			sender.Attach(next.from.Send)
			former.from.Close()
		}
		send(*sender.outgoing.Load())
	}
	receiver.await(t, sent)
	close(stop)
	work.Wait()

	former.to.Close()
	closed.Store(true)
	attach()      // does nothing to a Link that is closed,
	reach(former) // nor does this
	for range each {
		if former.from.Send(numbered(0)) != 0 {
			t.Fatal("sent through a closed session")
		}
		send(next.from.Send)
	}
	receiver.await(t, sent)
	for i := range receiver.times {
		if n := receiver.times[i].Load(); n != 1 {
			t.Errorf("frame %d arrived %d times, want once", i, n)
		}
	}
	if d := former.from.Stats().Drops[pseudowire.DropNoPeer]; d != each {
		t.Errorf("%d frames dropped by the closed session, want %d", d, each)
	}
}

// TestNoneAfterClose closes Links into the thick of what comes for them.
func TestNoneAfterClose(t *testing.T) { eachVersion(t, noneAfterClose) }

func noneAfterClose(t *testing.T, open opener) {
	all, _ := lanes(t, open, 20)
	for i, l := range all {
		var closed atomic.Bool
		arrived := make(chan struct{}, 1)
		l.to.Attach(func(f []pseudowire.Frame) int {
			if closed.Load() {
				t.Errorf("session %d: delivered after Close", i)
			}
			select {
			case arrived <- struct{}{}:
			default:
			}
			return len(f)
		})
		var work sync.WaitGroup
		work.Go(func() {
			for n := range 400 {
				l.from.Send(numbered(n))
			}
		})
		<-arrived
		l.to.Close()
		closed.Store(true)
		l.to.Close() // again: nothing
		work.Wait()
	}
}

// TestCloseWaits has Close wait for a deliver that runs.
func TestCloseWaits(t *testing.T) { eachVersion(t, closeWaits) }

func closeWaits(t *testing.T, open opener) {
	all, _ := lanes(t, open, 1)
	begun, end := make(chan struct{}), make(chan struct{})
	var ended atomic.Bool
	all[0].to.Attach(func(f []pseudowire.Frame) int {
		close(begun)
		<-end
		ended.Store(true)
		return len(f)
	})
	all[0].from.Send(numbered(0))
	<-begun
	time.AfterFunc(10*time.Millisecond, func() { close(end) })
	all[0].to.Close()
	if !ended.Load() {
		t.Error("Close returned while deliver ran")
	}
}

// TestHeldIsDropped closes a Link that holds an early frame.
func TestHeldIsDropped(t *testing.T) {
	p := params(t)
	p.Sublayer, p.Sequencing, p.ReorderTimeout = pseudowire.DefaultSublayer, pseudowire.AllSequencing, time.Millisecond
	e := newEnd(t, "127.0.0.1:0", p)
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	e.reach(peer)
	e.put(from(peer, message(&p, 0)))
	e.put(from(peer, message(&p, 2)))
	now := time.Now()
	if next := e.receiver.Flush(now); next.IsZero() || len(e.got) != 1 {
		t.Fatalf("%d delivered, Flush asks for %v; want one, and one held", len(e.got), next)
	}
	e.put(from(peer, message(&p, 1))) // in hand, and with it the one that is held
	e.link.Close()
	if next := e.receiver.Flush(now.Add(time.Hour)); !next.IsZero() {
		t.Errorf("after Close, Flush asks to be called at %v", next)
	}
	e.put(from(peer, message(&p, 3)))
	if next := e.receiver.Flush(now.Add(time.Hour)); !next.IsZero() {
		t.Errorf("after Close, Flush asks to be called at %v", next)
	}
	if n := e.plane.Drops()[pseudowire.DropSession]; n != 1 {
		t.Errorf("%d frames for no session, want the last", n)
	}
	if _, err := e.plane.Open(p); err != nil {
		t.Errorf("Session ID not free after Close: %v", err)
	}
}

// TestDetach attaches nothing.
func TestDetach(t *testing.T) {
	p := params(t)
	e := newEnd(t, "127.0.0.1:0", p)
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	e.reach(peer)
	e.link.Attach(nil)
	e.put(from(peer, message(&p, 0)))
	e.receiver.Flush(time.Now())
	if n := e.link.Stats().Drops[pseudowire.DropDetached]; n != 1 || len(e.got) != 0 {
		t.Errorf("%d dropped, %d delivered; want 1 and none", n, len(e.got))
	}
}

// TestPathsLeaveNothing moves a Link between sockets: what it needed to send
// through one is not kept when it has left it.
func TestPathsLeaveNothing(t *testing.T) {
	p := params(t)
	e := newEnd(t, "127.0.0.1:0", p)
	other := newEnd(t, "127.0.0.1:0", p)
	peer := netip.MustParseAddrPort("127.0.0.9:1701")
	path, err := other.conn.NewPath(transport.PathConfig{Peer: peer})
	if err != nil {
		t.Fatal(err)
	}
	users := func() (n int) {
		for _, r := range e.plane.routes.ways {
			n += r.users
		}
		return n
	}
	for range 3 {
		e.reach(peer)
		e.reach(peer)
		e.link.SetPath(other.conn, path)
		if n, conns := users(), len(e.plane.routes.conns); n != 1 || conns != 1 {
			t.Errorf("one Link counts as %d users of %d sockets, want 1 of 1", n, conns)
		}
	}
	e.link.SetPath(nil, nil)
	e.link.SetPath(nil, nil)
	e.reach(peer)
	var link dataplane.Link = e.link
	link.Close()
	link.Close()
	if n := len(e.plane.routes.conns); n != 0 {
		t.Errorf("senders of %d sockets are kept for no Link", n)
	}
}
