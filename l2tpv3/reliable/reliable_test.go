package reliable

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// A packet is on its way, and arrives at its time.
type packet struct {
	to     int
	at     time.Time
	ns, nr uint16
	body   []byte
}

// A pair is two channels and a network that loses, repeats and reorders.
type pair struct {
	t        rapid.TB
	now      time.Time
	ends     [2]*Channel
	windows  [2]int // receive window of each
	sent     [2]int // messages given to each
	got      [2]int // messages each was delivered
	way      []packet
	loss     float64
	repeat   float64
	slowest  time.Duration
	fortunes *rand.Rand
}

func (p *pair) send(end int) {
	p.ends[end].Send(p.now, binary.BigEndian.AppendUint32(nil, uint32(p.sent[end])))
	p.sent[end]++
	p.drain(end)
}

// drain sends what an end has to send, and holds it to its promises.
func (p *pair) drain(end int) {
	c, peer := p.ends[end], 1-end
	for ns, nr, body, ok := c.Transmit(); ok; ns, nr, body, ok = c.Transmit() {
		for n := 1; n > 0; n-- {
			if p.fortunes.Float64() < p.repeat {
				n++
			}
			if p.fortunes.Float64() >= p.loss {
				late := time.Duration(p.fortunes.Int64N(int64(p.slowest))) + 1
				p.way = append(p.way, packet{peer, p.now.Add(late), ns, nr, body})
			}
		}
	}
	s := c.Stats()
	if s.Outstanding > p.windows[peer] || s.CongestionWindow > s.Window || s.Window != p.windows[peer] {
		p.t.Fatalf("end %d, window of the peer %d: %+v", end, p.windows[peer], s)
	}
	if held := len(c.held); held >= p.windows[end] {
		p.t.Fatalf("end %d holds %d messages, its window is %d", end, held, p.windows[end])
	}
	if d := c.Deadline(); !d.IsZero() && d.Before(p.now) {
		p.t.Fatalf("end %d: deadline %v in the past", end, p.now.Sub(d))
	}
	if s.Outstanding > 0 && c.Deadline().IsZero() {
		p.t.Fatalf("end %d: %d outstanding and no deadline", end, s.Outstanding)
	}
	if s.Outstanding == 0 && s.Queued > 0 {
		p.t.Fatalf("end %d: silent with %d queued", end, s.Queued)
	}
}

func (p *pair) deliver(end int, body []byte) {
	if n := binary.BigEndian.Uint32(body); int(n) != p.got[end] {
		p.t.Fatalf("end %d is delivered message %d, want %d", end, n, p.got[end])
	}
	p.got[end]++
}

func (p *pair) receive(m packet) {
	c := p.ends[m.to]
	v := c.Receive(p.now, m.ns, m.nr, m.body == nil, m.body)
	switch {
	case v == Invalid:
		p.t.Fatalf("end %d: Nr %d is invalid", m.to, m.nr)
	case v == Dropped && !c.Failed():
		p.t.Fatalf("end %d: Ns %d is beyond the window", m.to, m.ns)
	case v == Deliver:
		p.deliver(m.to, m.body)
		for body, ok := c.Next(); ok; body, ok = c.Next() {
			p.deliver(m.to, body)
		}
	}
	p.drain(m.to)
}

// step goes on to what happens next, and reports whether anything does.
func (p *pair) step() bool {
	at, first := time.Time{}, -1
	for i, m := range p.way {
		if first < 0 || m.at.Before(at) {
			at, first = m.at, i
		}
	}
	end := -1
	for i, c := range p.ends {
		if d := c.Deadline(); !d.IsZero() && (at.IsZero() || d.Before(at)) {
			at, end = d, i
		}
	}
	if at.IsZero() {
		return false
	}
	p.now = at
	if end >= 0 {
		p.ends[end].Advance(p.now)
		if d := p.ends[end].Deadline(); !d.IsZero() && !d.After(p.now) {
			p.t.Fatalf("end %d: deadline %v in the past after Advance", end, p.now.Sub(d))
		}
		p.drain(end)
		return true
	}
	m := p.way[first]
	p.way[first] = p.way[len(p.way)-1]
	p.way = p.way[:len(p.way)-1]
	p.receive(m)
	return true
}

// TestPair wants two channels over a bad network to deliver everything once and in
// order, unless one fails; and without loss none to fail.
func TestPair(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		windows := [2]int{rapid.IntRange(1, 9).Draw(rt, "window of A"), rapid.IntRange(1, 9).Draw(rt, "window of B")}
		p := &pair{
			t: rt, now: time.Unix(1e9, 0), windows: windows,
			loss:     rapid.SampledFrom([]float64{0, 0.05, 0.3, 0.6, 0.9}).Draw(rt, "loss"),
			repeat:   rapid.SampledFrom([]float64{0, 0.1, 0.4}).Draw(rt, "repeat"),
			slowest:  rapid.SampledFrom([]time.Duration{1, 20 * time.Millisecond, 900 * time.Millisecond, 5 * time.Second}).Draw(rt, "slowest"),
			fortunes: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)),
		}
		for i := range p.ends {
			p.ends[i] = New(Config{ReceiveWindow: windows[i], SendWindow: windows[1-i]})
			p.ends[i].ns = rapid.SampledFrom([]uint16{0, 65530}).Draw(rt, "first number")
		}
		p.ends[0].nr, p.ends[1].nr = p.ends[1].ns, p.ends[0].ns
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 3), 1, 80).Draw(rt, "story") {
			if n < 2 {
				p.send(n)
			} else {
				p.step()
			}
		}
		for p.step() {
		}
		failed := p.ends[0].Failed() || p.ends[1].Failed()
		for i, c := range p.ends {
			if c.Stats().Received != uint64(p.got[i]) || p.got[i] > p.sent[1-i] {
				rt.Fatalf("end %d was delivered %d of %d: %+v", i, p.got[i], p.sent[1-i], c.Stats())
			}
			if failed {
				continue
			}
			if p.got[i] != p.sent[1-i] || !c.Idle() || c.queue != nil || c.held != nil {
				rt.Fatalf("end %d was delivered %d of %d: %+v", i, p.got[i], p.sent[1-i], c.Stats())
			}
		}
		if failed && p.loss == 0 {
			rt.Fatal("failed without loss")
		}
	})
}

// TestIdleIsSmall wants a channel at rest, of which there may be tens of
// thousands, to be small and to hold nothing else.
func TestIdleIsSmall(t *testing.T) {
	c := New(Config{ReceiveWindow: 100})
	if size := unsafe.Sizeof(*c); size > 250 {
		t.Errorf("a channel is %d octets, want at most 250", size)
	}
	now := time.Unix(1e9, 0)
	for range 1000 {
		c.Send(now, make([]byte, 100))
	}
	for ns := uint16(99); ns > 0; ns-- {
		c.Receive(now, ns, 0, false, []byte("m"))
	}
	c.Receive(now, 0, 0, false, []byte("m"))
	for _, ok := c.Next(); ok; _, ok = c.Next() {
	}
	for !c.Idle() {
		last := uint16(0)
		for ns, _, _, ok := c.Transmit(); ok; ns, _, _, ok = c.Transmit() {
			last = ns
		}
		released := c.queue
		c.Receive(now, 0, last+1, true, nil)
		if released[0] != nil {
			t.Fatal("an acknowledged message is kept")
		}
	}
	if c.queue != nil || c.held != nil {
		t.Errorf("queue of %d, %d held, want none", cap(c.queue), len(c.held))
	}
}

// FuzzChannel has a hostile peer, a careless owner and a clock that jumps.
func FuzzChannel(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x00\x00\x00\x01\x00"))
	f.Add([]byte("s000t000r000r00\x01a0\xff0t000n000w0\x01\x00"))
	f.Add([]byte("\x00\x01\x00\x00\x03\x00\x00\x00\x01\x00\x00\x01\x02\x00\x01\x01\x04\x7f\x00\x00\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		const window = 5
		c := New(Config{ReceiveWindow: window, Retries: 3})
		now := time.Unix(1e9, 0)
		for ; len(script) >= 4; script = script[4:] {
			a, b := script[1], binary.BigEndian.Uint16(script[2:])
			near := uint16(int8(a)) // a number near the true one, or any
			switch script[0] % 8 {
			case 0:
				c.Send(now, script[1:1+a%4])
			case 1:
				c.Receive(now, c.nr+near, c.ns+b%8, false, script[:2])
			case 2:
				c.Receive(now, uint16(a), b, b%3 == 0, nil)
			case 3:
				c.Transmit()
			case 4:
				now = now.Add(time.Duration(int8(a)) * time.Duration(b) * time.Millisecond)
				c.Advance(now)
				if d := c.Deadline(); !d.IsZero() && !d.After(now) {
					t.Fatalf("deadline %v in the past", now.Sub(d))
				}
			case 5:
				c.Next()
			case 6:
				c.SetSendWindow(int(int16(b)))
			case 7:
				for n := 0; ; n++ {
					if n > 1<<16 {
						t.Fatal("sends without end")
					}
					if _, _, _, ok := c.Transmit(); !ok {
						break
					}
				}
			}
			s := c.Stats()
			if len(c.held) >= window || s.Queued < 0 || s.CongestionWindow < 1 || s.CongestionWindow > s.Window || c.next > c.sent {
				t.Fatalf("%d held, %d to send, %+v", len(c.held), c.next, s)
			}
			if c.Failed() && (c.Idle() || len(c.queue) > 0 || !c.Deadline().IsZero()) {
				t.Fatalf("failed: %+v", s)
			}
		}
	})
}

// TestWithdrawAndAbandon ends a connection from either side: what was never sent
// is taken back, and the numbers go on without a gap.
func TestWithdrawAndAbandon(t *testing.T) {
	now := time.Unix(0, 0)
	c := New(Config{SendWindow: 1})
	for _, body := range []string{"a", "b", "c"} {
		c.Send(now, []byte(body))
	}
	if ns, _, body, _ := c.Transmit(); ns != 0 || string(body) != "a" {
		t.Fatalf("sent %q as %d", body, ns)
	}
	c.Withdraw()
	c.Send(now, []byte("stop"))
	if _, _, body, ok := c.Transmit(); ok {
		t.Fatalf("sent %q beyond the window", body)
	}
	c.Receive(now, 0, 1, true, nil)
	if ns, _, body, _ := c.Transmit(); ns != 1 || string(body) != "stop" {
		t.Fatalf("sent %q as %d, want stop as 1", body, ns)
	}
	c.Receive(now, 0, 1, false, []byte("peer's stop"))
	c.Abandon()
	if ns, nr, body, ok := c.Transmit(); !ok || body != nil || ns != 2 || nr != 1 {
		t.Errorf("ns %d, nr %d, body %q, %v; want an acknowledgment, ns 2, nr 1", ns, nr, body, ok)
	}
	if at := c.Deadline(); !at.IsZero() || !c.Idle() {
		t.Errorf("deadline %v, idle %v; want none, for nothing is sent again", at, c.Idle())
	}
}
