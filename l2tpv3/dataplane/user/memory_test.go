package user

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// TestIdleLinksAreSmall opens many Links and has each send and receive a frame, the
// second one early: what they hold afterwards is what they hold while idle.
func TestIdleLinksAreSmall(t *testing.T) {
	const links, most = 4000, 1024
	conn, err := transport.Listen(transport.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Nothing else is to be counted: what is sent goes to a socket that no one reads.
	sink, err := transport.Listen(transport.Config{Local: netip.MustParseAddrPort("127.0.0.2:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	path, err := conn.NewPath(transport.PathConfig{Peer: sink.LocalAddr()})
	if err != nil {
		t.Fatal(err)
	}
	for _, reorder := range []time.Duration{0, time.Millisecond} {
		plane := New()
		receiver := plane.NewReceiver(conn)
		deliver := func(f []pseudowire.Frame) int { return len(f) }
		p := params(t)
		p.Sublayer, p.Sequencing, p.ReorderTimeout = pseudowire.DefaultSublayer, pseudowire.AllSequencing, reorder
		open := make([]dataplane.Link, 0, links)
		out, _ := frames(1)
		message := wire.AppendDataHeader(nil, wire.IP, 0, p.ReceiveCookie, p.Sublayer)[4:]
		at := len(message) - 4
		message = append(message, make([]byte, 60)...)
		before := heap()
		for i := range links {
			p.SessionID = uint32(i + 1)
			l, err := plane.Open(p)
			if err != nil {
				t.Fatal(err)
			}
			l.Attach(deliver)
			l.SetPath(conn, path)
			open = append(open, l)
		}
		opened := heap()
		now := time.Now()
		for i, l := range open {
			l.Send(out)
			for _, n := range []uint32{0, 2} {
				wire.PutSequence(message[at:], n)
				d := from(sink.LocalAddr(), message)
				receiver.Receive(&d, uint32(i+1))
			}
			now = now.Add(time.Hour)
			receiver.Flush(now)
		}
		used := heap()
		runtime.KeepAlive(open)
		name := fmt.Sprintf("reorder_timeout %v", reorder)
		t.Logf("%s: %d octets a Link when opened, %d after frames", name, (opened-before)/links, (used-before)/links)
		if got := (used - before) / links; got > most {
			t.Errorf("%s: %d octets a Link, want at most %d", name, got, most)
		}
		if s := open[links-1].Stats(); s.TxPackets != 1 || s.RxPackets != 2 {
			t.Errorf("%s: %d out, %d in; want 1 and 2", name, s.TxPackets, s.RxPackets)
		}
	}
}

// TestIdleLinksOfL2TPv2AreSmall opens many Links of L2TPv2. Those that have had a number
// know what is the next one besides.
func TestIdleLinksOfL2TPv2AreSmall(t *testing.T) {
	const links = 4000
	for _, v := range []struct {
		on   bool
		most uint64
	}{{false, 600}, {true, 660}} {
		e := bareEnd(t, "127.0.0.1:0")
		sink := bareEnd(t, "127.0.0.2:0")
		path, err := e.conn.NewPath(transport.PathConfig{Peer: sink.conn.LocalAddr()})
		if err != nil {
			t.Fatal(err)
		}
		deliver := func(f []pseudowire.Frame) int { return len(f) }
		open := make([]dataplane.LinkV2, 0, links)
		out, _ := frames(1)
		before := heap()
		p := lns
		for i := range links {
			p.TunnelID, p.SessionID = uint16(i/100+1), uint16(i%100+1)
			l, err := e.plane.OpenV2(p)
			if err != nil {
				t.Fatal(err)
			}
			l.Attach(deliver)
			l.SetPath(e.conn, path)
			l.Number(v.on)
			open = append(open, l)
		}
		opened := heap()
		for i, l := range open {
			l.Send(out)
			p.TunnelID, p.SessionID = uint16(i/100+1), uint16(i%100+1)
			d := from(sink.conn.LocalAddr(), messageV2(&p, wire.DataHeaderV2{Sequenced: v.on}, out[0].Bytes()))
			e.receiver.ReceiveV2(&d)
			e.receiver.Flush(time.Now())
		}
		used := heap()
		runtime.KeepAlive(open)
		runtime.KeepAlive(e)
		runtime.KeepAlive(sink)
		t.Logf("numbers %v: %d octets a Link when opened, %d after frames", v.on, (opened-before)/links, (used-before)/links)
		if got := (used - before) / links; got > v.most {
			t.Errorf("numbers %v: %d octets a Link, want at most %d", v.on, got, v.most)
		}
		if s := open[links-1].Stats(); s.TxPackets != 1 || s.RxPackets != 1 {
			t.Errorf("numbers %v: %d out, %d in; want 1 and 1", v.on, s.TxPackets, s.RxPackets)
		}
	}
}

// heap returns the octets in use after all that is not has been collected.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestLinesOfTheCache wants what frames touch of a Link to be a line of the
// processor's cache each way, wherever Links come to lie.
func TestLinesOfTheCache(t *testing.T) {
	plane := New()
	for id := range uint32(100) {
		opened, err := plane.Open(dataplane.Params{SessionID: id + 1, PeerSessionID: 1})
		if err != nil {
			t.Fatal(err)
		}
		second, err := plane.OpenV2(dataplane.ParamsV2{TunnelID: 1, SessionID: uint16(id + 1), PeerTunnelID: 1, PeerSessionID: 1})
		if err != nil {
			t.Fatal(err)
		}
		if l := second.(*LinkV2); unsafe.Sizeof(*l) != 2*cacheLine || uintptr(unsafe.Pointer(l))%cacheLine != 0 {
			t.Fatalf("a LinkV2 of %d octets, %d off a line", unsafe.Sizeof(*l), uintptr(unsafe.Pointer(l))%cacheLine)
		}
		l := opened.(*Link)
		size, start, in := unsafe.Sizeof(*l), uintptr(unsafe.Pointer(l)), unsafe.Offsetof(l.in)
		if size != 2*cacheLine || start%cacheLine != 0 || in != cacheLine {
			t.Fatalf("a Link of %d octets, %d off a line, what is for receiving at %d; want %d, 0 and %d", size, start%cacheLine, in, 2*cacheLine, cacheLine)
		}
	}
}
