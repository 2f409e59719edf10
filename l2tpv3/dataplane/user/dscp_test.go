package user

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"spanwire/bridge"
	"spanwire/l2tpv3/transport"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
)

// A segment is a port that keeps the octets of what it is sent.
type segment struct {
	deliver func([]pseudowire.Frame) int
	got     [][]byte
}

func (s *segment) Attach(deliver func([]pseudowire.Frame) int) { s.deliver = deliver }
func (s *segment) Send(frames []pseudowire.Frame) int {
	for _, f := range frames {
		s.got = append(s.got, bytes.Clone(f.Bytes()))
	}
	return len(frames)
}

// priorityFrame returns a frame of VLAN 100 with a priority.
func priorityFrame(priority uint8) pseudowire.Frame {
	b := make([]byte, pseudowire.Headroom, 200)
	b = append(b, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, priority<<5, 100, 0x88, 0xb5)
	return pseudowire.NewFrame(append(b, make([]byte, 60)...), pseudowire.Headroom)
}

// TestPriorityThroughOuterHeader joins two segments whose VLAN tag does not travel:
// only the outer IP header tells the far end which priority it had. RFC 4719 section
// 4: "the ingress LCCE MAY consider the user priority field (i.e., 802.1p) of the
// VLAN tag for traffic classification and QoS treatments, such as determining the
// Differentiated Services (DS) field [RFC2474] of the encapsulating IP header.
// Similarly, the egress LCCE MAY consider the DS field of the encapsulating IP header
// when rewriting the user priority field of the VLAN tag".
func TestPriorityThroughOuterHeader(t *testing.T) {
	m, err := ethernet.ParseDSCPMap("5=46")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name       string
		send, read bool // whether the ends map, and the far one asks for what comes
		own        uint8
		want       func(priority uint8) uint8
	}{
		{"mapped", true, true, 0, func(p uint8) uint8 { return p }},
		{"mapped, and another DSCP for the tunnel", true, true, 34, func(p uint8) uint8 { return p }}, // 0 is asked for, too
		{"mapped by the far end alone", false, true, 34, func(uint8) uint8 { return 4 }},
		{"not told to the far end", true, false, 0, func(uint8) uint8 { return 2 }}, // what the circuit gives
	} {
		t.Run(v.name, func(t *testing.T) {
			p := params(t)
			a, b := newEnd(t, "127.0.0.1:0", p), newEnd(t, "127.0.0.2:0", mirror(p))
			b.reach(a.conn.LocalAddr())
			path, err := a.conn.NewPath(transport.PathConfig{Peer: b.conn.LocalAddr(), DSCP: v.own})
			if err != nil {
				t.Fatal(err)
			}
			a.link.SetPath(a.conn, path)
			near, far := ethernet.Config{Segment: []ethernet.Tag{{VID: 100}}}, ethernet.Config{Segment: []ethernet.Tag{{VID: 100}}, Priority: 2, DSCP: &m}
			if v.send {
				near.DSCP = &m
			}
			if v.read {
				if err := b.conn.ReceiveDSCP(); err != nil {
					t.Fatal(err)
				}
			}
			var from, to segment
			for _, side := range []struct {
				port *segment
				cfg  ethernet.Config
				link *Link
			}{{&from, near, a.link}, {&to, far, b.link}} {
				c, err := ethernet.New(side.cfg)
				if err != nil {
					t.Fatal(err)
				}
				bridge.Patch(bridge.NewNSP(side.port, c), side.link)
			}

			var frames []pseudowire.Frame
			var want []uint8
			for _, priority := range []uint8{0, 0, 1, 5, 5, 7, 7, 7, 0, 3} {
				frames = append(frames, priorityFrame(priority))
				want = append(want, v.want(priority))
			}
			super := bigFrame(1, 5000, 1000, true)
			ethernet.SetPriority(super.Bytes(), 6)
			frames = append(frames, super, priorityFrame(5))
			want = append(want, slices.Repeat([]uint8{v.want(6)}, 5)...)
			want = append(want, v.want(5))
			if n := from.deliver(frames); n != len(frames) {
				t.Fatalf("%d of %d frames taken", n, len(frames))
			}
			b.take(len(want))
			var got []uint8
			for _, f := range to.got {
				priority, ok := ethernet.Priority(f)
				if !ok || ethernet.VID(f) != 100 {
					t.Errorf("a frame without its tag: %x", f[:18])
				}
				got = append(got, priority)
			}
			if !slices.Equal(got, want) {
				t.Errorf("priorities %d, want %d", got, want)
			}
		})
	}
}

// TestReorderedKeepTheirDSCP has frames wait for one that is late.
func TestReorderedKeepTheirDSCP(t *testing.T) {
	p := params(t)
	p.Sublayer, p.Sequencing, p.ReorderTimeout = pseudowire.DefaultSublayer, pseudowire.AllSequencing, time.Second
	e, peer := newEnd(t, "127.0.0.1:0", p), netip.MustParseAddrPort("127.0.0.9:1701")
	e.reach(peer)
	var got []string
	e.link.Attach(func(frames []pseudowire.Frame) int {
		for _, f := range frames {
			dscp, known := f.ReceivedDSCP.Value()
			got = append(got, fmt.Sprint(dscp, known))
		}
		return len(frames)
	})
	for _, n := range []uint32{0, 3, 2, 1, 65, 4} { // 65 comes with none, where 1 had its place
		d := from(peer, message(&p, n))
		if n < 64 {
			d.Frame.ReceivedDSCP = pseudowire.DSCPOf(uint8(n))
		}
		e.put(d)
	}
	for n := uint32(5); n < 65; n++ {
		e.put(from(peer, message(&p, n)))
	}
	e.receiver.Flush(time.Now())
	want := []string{"0 true", "1 true", "2 true", "3 true", "4 true"}
	want = append(want, slices.Repeat([]string{"0 false"}, 61)...)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
