package ppp

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"time"

	"spanwire/pseudowire"
)

// both is a pair of open Links.
func both(t testing.TB, m Method, e Encryption) *wire {
	lns, client := pair(m, e)
	w := join(t, 1, lns, client, noTrouble)
	w.run(20 * time.Second)
	w.wantOpen()
	return w
}

// TestDataPath wants a packet to go through without a copy, in all forms of a header.
func TestDataPath(t *testing.T) {
	w := both(t, ByCHAP, CCPRejected)
	buf := append(make([]byte, 8), "\x45 packet"...)
	f, ok := w.ends[0].Prepend(pseudowire.NewFrame(buf, 8), IPv4)
	if !ok || !bytes.Equal(f.Bytes(), append([]byte{0xff, 3, 0, 0x21}, "\x45 packet"...)) || &f.Bytes()[4] != &buf[8] {
		t.Fatalf("% x, %v", f.Bytes(), ok)
	}
	for _, frame := range []string{"ff03 0021 4501", "ff03 21 4501", "0021 4501", "21 4501"} {
		b := unhex(t, frame)
		p, packet, ok := w.ends[1].Decap(pseudowire.NewFrame(b, 0))
		if !ok || p != IPv4 || !bytes.Equal(packet.Bytes(), []byte{0x45, 1}) || &packet.Bytes()[0] != &b[len(b)-2] {
			t.Errorf("%s: %v % x, %v", frame, p, packet.Bytes(), ok)
		}
	}
	for _, frame := range []string{"", "ff03", "ff03 c021 09 01 0008 00000000", "ff03 00fd 9000 1234", "8021 01 01 0004"} {
		b := unhex(t, frame)
		if _, f, ok := w.ends[1].Decap(pseudowire.NewFrame(b, 0)); ok || !bytes.Equal(f.Bytes(), b) {
			t.Errorf("%s is data", frame)
		}
	}
	if _, ok := w.ends[0].Prepend(pseudowire.NewFrame(buf, 8), LCP); ok {
		t.Error("LCP is data")
	}
	w.ends[0].Close(w.now)
	if _, ok := w.ends[0].Prepend(pseudowire.NewFrame(buf, 8), IPv4); ok {
		t.Error("data when closing")
	}
	if _, _, ok := w.ends[0].Decap(pseudowire.NewFrame(unhex(t, "21 4501"), 0)); ok {
		t.Error("data taken when closing")
	}
}

// TestEncryptedDataPath wants nothing in the clear once there is encryption.
func TestEncryptedDataPath(t *testing.T) {
	w := both(t, ByMSCHAP2, MPPERequired)
	buf := append(make([]byte, MaxHeaderLen), "\x45 a packet that nobody reads"...)
	f, ok := w.ends[0].Prepend(pseudowire.NewFrame(buf, MaxHeaderLen), IPv4)
	if !ok || f.Headroom() != 0 || bytes.Contains(f.Bytes(), []byte("packet")) || !bytes.HasPrefix(f.Bytes(), []byte{0xff, 3, 0, 0xfd}) {
		t.Fatalf("%q, headroom %d, %v", f.Bytes(), f.Headroom(), ok)
	}
	if p, g, ok := w.ends[1].Decap(f); !ok || p != IPv4 || string(g.Bytes()) != "\x45 a packet that nobody reads" {
		t.Errorf("%v %q, %v", p, g.Bytes(), ok)
	}
	clear := unhex(t, "ff03 0021 4501")
	if _, _, ok := w.ends[1].Decap(pseudowire.NewFrame(clear, 0)); ok {
		t.Error("a packet in the clear is taken")
	}
	w.ends[1].Receive(w.now, clear)
	// The ends are out of step for good.
	w.ends[1].mppe.Load().broken.Store(tooBroken)
	w.ends[1].Receive(w.now, unhex(t, "ff03 00fd 1234 5678"))
	w.drain(1)
	w.run(10 * time.Second)
	if s := w.ends[1].Status(); s.Phase != Dead || s.Reason != NoEncryption {
		t.Errorf("phase %v, reason %q", s.Phase, s.Reason)
	}
}

// TestDataAllocations: the data path allocates nothing.
func TestDataAllocations(t *testing.T) {
	w := both(t, ByCHAP, CCPRejected)
	buf := append(make([]byte, pseudowire.Headroom), bytes.Repeat([]byte{0x45}, 1000)...)
	if n := testing.AllocsPerRun(100, func() {
		f, _ := w.ends[0].Prepend(pseudowire.NewFrame(buf, pseudowire.Headroom), IPv4)
		if _, _, ok := w.ends[1].Decap(f); !ok {
			t.Fatal("dropped")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// TestConcurrentData has the data path run while the link comes and goes.
func TestConcurrentData(t *testing.T) {
	w := both(t, ByMSCHAP2, MPPEOffered)
	stop := make(chan struct{})
	var done sync.WaitGroup
	for n := range w.ends {
		l := w.ends[n]
		done.Go(func() {
			for buf := append(make([]byte, pseudowire.Headroom), "\x45 packet"...); ; {
				select {
				case <-stop:
					return
				default:
					f, _ := l.Prepend(pseudowire.NewFrame(buf, pseudowire.Headroom), IPv4)
					l.Decap(f)
				}
			}
		})
	}
	for n := range 21 {
		if n == 20 {
			close(stop)
			done.Wait()
		}
		w.ends[1].Receive(w.now, unhex(t, "c021 01 2a 0004")) // it begins again
		w.drain(1)
		w.run(20 * time.Second)
	}
	w.wantOpen()
}

// TestDataKeepsAlive: a peer that sends is not asked whether it is there.
func TestDataKeepsAlive(t *testing.T) {
	w := both(t, ByCHAP, CCPRejected)
	before := w.ends[1].Status().Stats.EchoRequests
	for range 30 {
		w.wantData()
		w.run(10 * time.Second)
	}
	if got := w.ends[1].Status().Stats.EchoRequests - before; got > 1 {
		t.Errorf("%d Echo-Requests in 5 min of data", got)
	}
}

// TestMemory says what an open Link holds.
func TestMemory(t *testing.T) {
	const links = 500
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	lns, client := pair(ByMSCHAP2, MPPERequired)
	var ends []*Link
	before := heap()
	for range links {
		w := join(t, 1, lns, client, noTrouble)
		w.run(20 * time.Second)
		w.wantOpen()
		ends = append(ends, w.ends[0], w.ends[1])
		for _, l := range w.ends {
			l.cfg.Random = nil // of the test
		}
	}
	each := (heap() - before) / (2 * links)
	t.Logf("%d octets a Link", each)
	if each > 4096 {
		t.Errorf("%d octets a Link, want 4096 at most", each)
	}
	runtime.KeepAlive(ends)
}

// TestNames wants words for all that is shown.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for r := NotClosed; r < reasons; r++ {
		if seen[r.String()] || r.String() == "" {
			t.Errorf("reason %d is %q", r, r)
		}
		seen[r.String()] = true
	}
	for _, v := range []struct{ got, want string }{
		{reasons.String(), "unknown"}, {methods.String(), "unknown"}, {Phase(9).String(), "unknown"}, {Network.String(), "network"},
		{IPV6CP.String(), "IPV6CP"}, {Protocol(0x80fb).String(), "protocol 0x80fb"}, {ByMSCHAP2.String(), "mschapv2"},
		{InterfaceID{1, 2, 3, 4, 5, 6, 7, 8}.String(), "102:304:506:708"},
		{InterfaceID{7: 1}.LinkLocal().String(), "fe80::1"},
		{Event{}.String(), "unknown"},
		{Event{Kind: LinkClosed, Reason: ByPeer, Message: "bye"}.String(), `closed: closed by peer: "bye"`},
		{Event{Kind: IPv4Down}.String(), "IPv4 down"}, {Event{Kind: IPv6Down}.String(), "IPv6 down"}, {Event{Kind: LCPDown}.String(), "LCP down"},
	} {
		if v.got != v.want {
			t.Errorf("%q, want %q", v.got, v.want)
		}
	}
}
