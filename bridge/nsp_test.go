package bridge

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
)

func circuit(t testing.TB, cfg ethernet.Config) *ethernet.Circuit {
	t.Helper()
	c, err := ethernet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A keeper is a port that keeps the octets of all that it is sent.
type keeper struct {
	deliver func([]pseudowire.Frame) int
	got     [][]byte
	calls   int
}

func (k *keeper) Attach(deliver func([]pseudowire.Frame) int) { k.deliver = deliver }
func (k *keeper) Send(frames []pseudowire.Frame) int {
	k.calls++
	for i := range frames {
		k.got = append(k.got, bytes.Clone(frames[i].Bytes()))
	}
	return len(frames)
}

// TestNSP has frames go both ways, and wants their tags as they shall be on each side.
func TestNSP(t *testing.T) {
	var segment, wire keeper
	n := NewNSP(&segment, circuit(t, ethernet.Config{Segment: []ethernet.Tag{{VID: 10}}, Wire: []ethernet.Tag{{}}}))
	Patch(n, &wire)
	ours, theirs := packet(station(1), station(2), vlan(10), "ours"), packet(station(2), station(1), vlan(20), "theirs")
	if taken := segment.deliver([]pseudowire.Frame{frame(ours), frame(theirs), frame(ours)}); taken != 2 || len(wire.got) != 2 || wire.calls != 1 {
		t.Errorf("to the pseudowire: %d taken, %q in %d calls", taken, wire.got, wire.calls)
	}
	if taken := wire.deliver([]pseudowire.Frame{frame(theirs), frame(packet(station(2), station(1), nil, ""))}); taken != 1 || len(segment.got) != 1 {
		t.Errorf("to the segment: %d taken, %q", taken, segment.got)
	}
	for i := range wire.got {
		if !bytes.Equal(wire.got[i], ours) {
			t.Errorf("to the pseudowire: %q, want %q", wire.got[i], ours)
		}
	}
	if want := packet(station(2), station(1), vlan(10), "theirs"); !bytes.Equal(segment.got[0], want) {
		t.Errorf("to the segment: %q, want %q", segment.got[0], want)
	}
	var want [pseudowire.Drops]uint64
	want[pseudowire.DropIngressVLAN], want[pseudowire.DropEgressVLAN] = 1, 1
	if got := n.Drops(); got != want {
		t.Errorf("dropped: %v", got)
	}
}

// TestNSPAndDSCP has priorities go to the outer header and back, both ways round:
// before a segment, and before a session of a Hub, where frames from the session are
// the ingress.
func TestNSPAndDSCP(t *testing.T) {
	m, err := ethernet.ParseDSCPMap("5=46")
	if err != nil {
		t.Fatal(err)
	}
	type tags = []ethernet.Tag
	tagged := func(vid uint16, priority uint8) []byte {
		b := packet(station(1), station(2), vlan(vid), "payload")
		ethernet.SetPriority(b, priority)
		return b
	}
	plain := packet(station(1), station(2), nil, "payload")

	// A VLAN here, a port at the other end: what says the priority there is the
	// outer header alone.
	var segment, session recorder
	Patch(NewNSP(&segment, circuit(t, ethernet.Config{Segment: tags{{VID: 10}}, DSCP: &m})), &session)
	segment.deliver([]pseudowire.Frame{frame(tagged(10, 5)), frame(tagged(10, 1)), frame(tagged(10, 0))})
	session.want(t, "to the session", []recorded{{plain, pseudowire.DSCPOf(46)}, {plain, pseudowire.DSCPOf(8)}, {plain, pseudowire.DSCPOf(0)}})
	var came []pseudowire.Frame
	for _, dscp := range []pseudowire.DSCP{pseudowire.DSCPOf(46), pseudowire.DSCPOf(8), 0} {
		f := frame(plain)
		f.ReceivedDSCP = dscp
		came = append(came, f)
	}
	session.deliver(came)
	segment.want(t, "to the segment", []recorded{{tagged(10, 5), 0}, {tagged(10, 1), 0}, {tagged(10, 0), 0}})

	// The other way round, with a Hub whose frames have the tags.
	var line, hub recorder
	Patch(NewNSP(&line, circuit(t, ethernet.Config{Wire: tags{{VID: 10}}, PeerDSCP: &m})), &hub)
	line.deliver(came)
	hub.want(t, "to the hub", []recorded{{tagged(10, 5), 0}, {tagged(10, 1), 0}, {tagged(10, 0), 0}})
	frames := []pseudowire.Frame{frame(tagged(10, 5)), frame(tagged(10, 7))}
	hub.deliver(frames)
	line.want(t, "to the session", []recorded{{plain, pseudowire.DSCPOf(46)}, {plain, pseudowire.DSCPOf(56)}})
	if frames[0].SendDSCP != 0 || !bytes.Equal(frames[0].Bytes(), tagged(10, 5)) {
		t.Error("the frame is not what it was, though it may be sent elsewhere too")
	}
}

// A recorder is a port that keeps what it is sent, and how that is to be sent on.
type recorder struct {
	deliver func([]pseudowire.Frame) int
	got     []recorded
}

type recorded struct {
	octets []byte
	dscp   pseudowire.DSCP
}

func (r *recorder) Attach(deliver func([]pseudowire.Frame) int) { r.deliver = deliver }
func (r *recorder) Send(frames []pseudowire.Frame) int {
	for _, f := range frames {
		r.got = append(r.got, recorded{bytes.Clone(f.Bytes()), f.SendDSCP})
	}
	return len(frames)
}

func (r *recorder) want(t *testing.T, what string, want []recorded) {
	t.Helper()
	if len(r.got) != len(want) {
		t.Errorf("%s: %d frames, want %d", what, len(r.got), len(want))
		return
	}
	for i, w := range want {
		if got := r.got[i]; !bytes.Equal(got.octets, w.octets) || got.dscp != w.dscp {
			t.Errorf("%s: frame %d is %x, DSCP %#x; want %x, %#x", what, i, got.octets, got.dscp, w.octets, w.dscp)
		}
	}
}

// TestTransparentNSP is not in the way.
func TestTransparentNSP(t *testing.T) {
	var segment, wire keeper
	n := NewNSP(&segment, circuit(t, ethernet.Config{}))
	Patch(n, &wire)
	segment.deliver([]pseudowire.Frame{frame([]byte("short"))})
	wire.deliver([]pseudowire.Frame{frame([]byte("too"))})
	if len(wire.got) != 1 || len(segment.got) != 1 {
		t.Errorf("%q, %q", wire.got, segment.got)
	}
}

// TestNSPLeavesFrames sends the same frames through several NSPs, as a Hub does that
// floods: each sends what it should, and the frames are what they were.
func TestNSPLeavesFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type tags = []ethernet.Tag
		var ports []*NSP
		var segments []*keeper
		m := ethernet.ClassSelectors()
		configs := []ethernet.Config{
			{}, {DSCP: &m}, {Wire: tags{{TPID: ethernet.CTag, VID: 20}, {VID: 9}}, DSCP: &m}, {Segment: tags{{VID: 10}}}, {Segment: tags{{VID: 42}, {VID: 7}}}, {Wire: tags{{VID: 20}}}, {Segment: tags{{VID: 11}}, Wire: tags{{}}},
		}
		for _, cfg := range configs {
			c, err := ethernet.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			segments = append(segments, new(keeper))
			ports = append(ports, NewNSP(segments[len(segments)-1], c))
		}
		three := bytes.Join([][]byte{vlan(20), vlan(9), vlan(8)}, nil)
		received := rapid.SampledFrom([]pseudowire.DSCP{0, pseudowire.DSCPOf(46)}).Draw(t, "received")
		with := func(b []byte, headroom int) pseudowire.Frame {
			f := pseudowire.NewFrame(append(make([]byte, headroom), b...), headroom)
			f.ReceivedDSCP = received
			return f
		}
		var frames []pseudowire.Frame
		var octets [][]byte
		for range rapid.IntRange(1, 100).Draw(t, "frames") {
			b := packet(station(1), station(2), rapid.SampledFrom([][]byte{nil, vlan(20), vlan(30), three}).Draw(t, "tag"), "payload")
			b = append(b, make([]byte, rapid.SampledFrom([]int{0, 0, 0, 30000}).Draw(t, "more"))...)
			headroom := rapid.SampledFrom([]int{0, 3, 4, 8, 64}).Draw(t, "headroom")
			frames = append(frames, with(b, headroom))
			octets = append(octets, b)
		}
		for i, p := range ports {
			taken := p.Send(frames)
			// What should have been sent, one frame at a time and with room.
			c, _ := ethernet.New(configs[i])
			var want [][]byte
			for _, b := range octets {
				if f, why := c.Egress(with(b, 64), nil); why == pseudowire.NotDropped {
					want = append(want, f.Bytes())
				}
			}
			if taken != len(want) || len(segments[i].got) != len(want) {
				t.Fatalf("port %d: %d taken, %d sent, want %d", i, taken, len(segments[i].got), len(want))
			}
			for j := range want {
				if !bytes.Equal(segments[i].got[j], want[j]) {
					t.Fatalf("port %d: %x, want %x", i, segments[i].got[j], want[j])
				}
			}
			for j := range frames {
				if !bytes.Equal(frames[j].Bytes(), octets[j]) {
					t.Fatalf("after port %d a frame is %x, was %x", i, frames[j].Bytes(), octets[j])
				}
			}
		}
	})
}

// TestNSPWithoutRoom has a frame that is longer than any room.
func TestNSPWithoutRoom(t *testing.T) {
	var segment keeper
	n := NewNSP(&segment, circuit(t, ethernet.Config{Segment: []ethernet.Tag{{VID: 10}}}))
	long := packet(station(1), station(2), nil, string(make([]byte, spareOctets)))
	frames := []pseudowire.Frame{frame(packet(station(1), station(2), nil, "a")), pseudowire.NewFrame(long, 0), frame(packet(station(1), station(2), nil, "b"))}
	for i := range 2 {
		if taken := n.Send(frames); taken != 2 {
			t.Errorf("%d taken, want 2", taken)
		}
		if got := n.Drops()[pseudowire.DropNoBuffer]; got != uint64(i+1) {
			t.Errorf("%d dropped, want %d", got, i+1)
		}
	}
}

func TestNSPAllocatesNothing(t *testing.T) {
	var segment, wire sink
	n := NewNSP(&segment, circuit(t, ethernet.Config{Segment: []ethernet.Tag{{VID: 10}}}))
	Patch(n, &wire)
	for _, headroom := range []int{0, 64} {
		var in, out []pseudowire.Frame
		for i := range 100 {
			in = append(in, pseudowire.NewFrame(append(make([]byte, headroom), packet(station(1), station(2), vlan(10), fmt.Sprint(i))...), headroom))
			out = append(out, pseudowire.NewFrame(append(make([]byte, headroom), packet(station(1), station(2), nil, fmt.Sprint(i))...), headroom))
		}
		if got := testing.AllocsPerRun(100, func() { segment.deliver(in); wire.deliver(out) }); got != 0 {
			t.Errorf("headroom %d: %v allocations, want 0", headroom, got)
		}
	}
}

func BenchmarkNSP(b *testing.B) {
	var segment sink
	n := NewNSP(&segment, circuit(b, ethernet.Config{Segment: []ethernet.Tag{{VID: 10}}}))
	var frames []pseudowire.Frame
	for range 64 {
		frames = append(frames, pseudowire.NewFrame(append(make([]byte, 64), packet(station(1), station(2), nil, string(make([]byte, 1486)))...), 64))
	}
	for b.Loop() {
		n.Send(frames)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/frame")
}
