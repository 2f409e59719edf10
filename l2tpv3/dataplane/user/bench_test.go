package user

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

const (
	benchBatch = 64 // frames that come or go at once
	benchFrame = 60 // octets of each
)

// benchLinks are how many Links there are. Of many each has left the processor's cache
// when its next turn comes.
var benchLinks = []int{1, 10000}

// A benchKind is a kind of session.
type benchKind struct {
	name string
	// open opens one by a number, from 1 on, and begin makes the header of a message
	// that comes for it; number puts the next sequence number into that, if it has any.
	open   func(p *Plane, id int) (*Link, error)
	begin  func(id int) []byte
	number func(header []byte, n uint32)
}

// receive does with a message what an Endpoint does.
func receive(r *Receiver, d *transport.Datagram) {
	kind, id, rest := wire.Classify(wire.UDP, d.Frame.Bytes())
	if kind == wire.Version2 {
		r.ReceiveV2(d)
		return
	}
	d.Frame = d.Frame.Skip(d.Frame.Len() - len(rest))
	r.Receive(d, id)
}

func benchKindsV3(b *testing.B) (kinds []benchKind) {
	plain := params(b)
	numbered := plain
	numbered.Sublayer, numbered.Sequencing = pseudowire.DefaultSublayer, pseudowire.AllSequencing
	numbered.PeerSublayer, numbered.PeerSequencing = numbered.Sublayer, numbered.Sequencing
	for _, v := range []struct {
		name string
		p    dataplane.Params
	}{{"v3", plain}, {"v3-numbered", numbered}} {
		k := benchKind{name: v.name}
		k.open = func(plane *Plane, id int) (*Link, error) {
			p := v.p
			p.SessionID = uint32(id)
			l, err := plane.Open(p)
			if err != nil {
				return nil, err
			}
			return l.(*Link), nil
		}
		k.begin = func(id int) []byte {
			return wire.AppendDataHeader(nil, wire.UDP, uint32(id), v.p.ReceiveCookie, v.p.Sublayer)
		}
		k.number = func([]byte, uint32) {}
		if v.p.Sublayer != pseudowire.NoSublayer {
			k.number = func(header []byte, n uint32) { wire.PutSequence(header[len(header)-4:], n) }
		}
		kinds = append(kinds, k)
	}
	return kinds
}

func benchKindsV2() (kinds []benchKind) {
	for _, h := range []wire.DataHeaderV2{{}, {Sequenced: true}} {
		k := benchKind{name: "v2"}
		// Sessions are of tunnels with a thousand each.
		ids := func(id int) dataplane.ParamsV2 {
			return dataplane.ParamsV2{TunnelID: uint16(id/1000 + 1), SessionID: uint16(id%1000 + 1), PeerTunnelID: 1, PeerSessionID: 1, Sequence: h.Sequenced}
		}
		k.open = func(plane *Plane, id int) (*Link, error) {
			l, err := plane.OpenV2(ids(id))
			if err != nil {
				return nil, err
			}
			return &l.(*LinkV2).Link, nil
		}
		k.begin = func(id int) []byte {
			p := ids(id)
			return messageV2(&p, h, nil)
		}
		k.number = func([]byte, uint32) {}
		if h.Sequenced {
			k.name = "v2-numbered"
			k.number = func(header []byte, n uint32) { wire.PutNsV2(header[len(header)-4:], n) }
		}
		kinds = append(kinds, k)
	}
	return kinds
}

func bench(b *testing.B, kinds []benchKind, run func(b *testing.B, k benchKind, links int)) {
	for _, links := range benchLinks {
		for _, k := range kinds {
			b.Run(fmt.Sprintf("%s/links=%d", k.name, links), func(b *testing.B) { run(b, k, links) })
		}
	}
}

// benchOpen opens Links over one socket, whose peer is another one that no one reads.
func benchOpen(b *testing.B, k benchKind, links int) (open []*Link, r *Receiver, peer netip.AddrPort) {
	var conns [2]*transport.Conn
	for i, local := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
		c, err := transport.Listen(transport.Config{Local: netip.MustParseAddrPort(local), ReceiveBuffer: 4096})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		conns[i] = c
	}
	path, err := conns[0].NewPath(transport.PathConfig{Peer: conns[1].LocalAddr()})
	if err != nil {
		b.Fatal(err)
	}
	plane := New()
	for i := range links {
		l, err := k.open(plane, i+1)
		if err != nil {
			b.Fatal(err)
		}
		l.Attach(func(f []pseudowire.Frame) int { return len(f) })
		l.SetPath(conns[0], path)
		open = append(open, l)
	}
	return open, plane.NewReceiver(conns[0]).(*Receiver), conns[1].LocalAddr()
}

// step is from one Link to the next that has its turn: no memory follows the last one's.
const step = 7919

func benchReceive(b *testing.B, k benchKind, links int) {
	open, r, peer := benchOpen(b, k, links)
	messages := make([][]byte, links)
	for i := range messages {
		h := k.begin(i + 1)
		messages[i] = append(h, make([]byte, benchFrame)...)[:len(h)]
	}
	b.ReportAllocs()
	b.ResetTimer()
	at, now := 0, time.Now()
	for i := range b.N {
		m := messages[at]
		k.number(m, uint32(i/links))
		d := transport.Datagram{From: peer, Frame: pseudowire.NewFrame(m[:len(m)+benchFrame], 0)}
		receive(r, &d)
		at = (at + step) % links
		if i%benchBatch == benchBatch-1 {
			r.Flush(now)
		}
	}
	r.Flush(now)
	b.StopTimer()
	var n uint64
	for _, l := range open {
		n += l.Stats().RxPackets
	}
	if n != uint64(b.N) {
		b.Fatalf("%d frames delivered, want %d", n, b.N)
	}
}

// benchSend sends batches of one Link after another, the kernel's part included.
func benchSend(b *testing.B, k benchKind, links int) {
	open, _, _ := benchOpen(b, k, links)
	var frames []pseudowire.Frame
	for range benchBatch {
		frames = append(frames, pseudowire.NewFrame(make([]byte, pseudowire.Headroom+benchFrame), pseudowire.Headroom))
	}
	b.ReportAllocs()
	b.ResetTimer()
	at := 0
	for left := b.N; left > 0; {
		n := min(left, benchBatch)
		left -= n
		open[at].Send(frames[:n])
		at = (at + step) % links
	}
}

func BenchmarkReceive(b *testing.B) {
	bench(b, append(benchKindsV3(b), benchKindsV2()...), benchReceive)
}
func BenchmarkSend(b *testing.B) { bench(b, append(benchKindsV3(b), benchKindsV2()...), benchSend) }
