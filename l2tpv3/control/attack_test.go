package control

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A tap keeps all messages that the nodes of a network have sent.
type tap struct {
	*network
	kept []packet
}

// take keeps what is in flight.
func (k *tap) take() {
	for _, p := range k.flight {
		if p.b != nil && p.n > k.last() {
			k.kept = append(k.kept, p)
		}
	}
}

func (k *tap) last() int {
	if len(k.kept) == 0 {
		return 0
	}
	return k.kept[len(k.kept)-1].n
}

// couple returns two nodes with a tunnel of one session, which the first asks for.
func couple(n *network, secrets ...*wire.Secret) (a, b *node) {
	a, b = n.node(1, "a"), n.node(2, "b")
	setCouple(a, b, secrets...)
	return a, b
}

func setCouple(a, b *node, secrets ...*wire.Secret) {
	b.tunnel(a, TunnelConfig{Name: "a", Secrets: secrets, Circuits: []CircuitConfig{office(false)}})
	a.tunnel(b, TunnelConfig{Name: "b", Dial: true, Secrets: secrets, Circuits: []CircuitConfig{office(true)}})
}

// silent has a node receive what it must not heed: nothing is sent, and nothing
// moves.
func (k *tap) silent(o *node, from netip.AddrPort, b []byte) {
	k.t.Helper()
	before := snapshot(o.LCCE)
	o.Receive(k.now, Address{Peer: from}, b)
	if answer, to, ok := o.Transmit(nil); ok {
		k.fatalf("%s answers % x from %v by % x to %v", o.cfg.HostName, b, from, answer, to.Peer)
	}
	if after := snapshot(o.LCCE); after != before {
		k.fatalf("% x from %v moves %s from\n%s\nto\n%s", b, from, o.cfg.HostName, before, after)
	}
}

// mutants returns what can be made of a message without its secret: each octet
// changed, and what is left of it after each length, with a Length that says so.
func mutants(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range b {
			c := bytes.Clone(b)
			c[i] ^= byte(1 << (i % 8))
			if !yield(c) {
				return
			}
			if i < wire.ControlHeaderLen {
				continue
			}
			c = bytes.Clone(b[:i])
			if !yield(c) {
				return
			}
			binary.BigEndian.PutUint16(c[2:], uint16(i))
			if !yield(c) {
				return
			}
		}
		long := append(bytes.Clone(b), make([]byte, 2000)...)
		binary.BigEndian.PutUint16(long[2:], uint16(len(long)))
		if !yield(long) {
			return
		}
		long = append(long, make([]byte, 1<<16-1-len(long))...)
		binary.BigEndian.PutUint16(long[2:], uint16(len(long)))
		yield(long)
	}
}

// TestForged sends to both ends of a tunnel with a secret, from their peer's
// address and from elsewhere, at every moment of its life, whatever can be made
// of the messages so far without the secret.
func TestForged(t *testing.T) {
	n := newNetwork(t, 1)
	k := &tap{network: n}
	a, b := couple(n, sharedSecret)
	elsewhere := netip.MustParseAddrPort("198.51.100.1:1701")
	attack := func() {
		k.take()
		for _, p := range k.kept {
			to := a
			if p.to == b.at {
				to = b
			}
			for forged := range mutants(p.b) {
				k.silent(to, p.from, forged)
			}
			for forged := range mutants(p.b[:min(20, len(p.b))]) {
				k.silent(to, elsewhere, forged)
			}
		}
		// What is genuine and has arrived before is answered to the peer alone.
		for _, p := range k.kept {
			to := a
			if !p.at.Before(n.now) {
				continue
			}
			if p.to == b.at {
				to = b
			}
			to.Receive(n.now, Address{Peer: elsewhere}, p.b)
			for _, at, ok := to.Transmit(nil); ok; _, at, ok = to.Transmit(nil) {
				if at.Peer == elsewhere {
					n.fatalf("%s answers %v", to.cfg.HostName, elsewhere)
				}
			}
		}
		sound(n.fatalf, a.LCCE)
		sound(n.fatalf, b.LCCE)
	}
	rounds, step := 20, 5*time.Millisecond
	if raced() {
		rounds, step = 5, 20*time.Millisecond
	}
	for range rounds {
		attack()
		n.after(step)
	}
	n.mirrored(a, "b/office", b, "a/office")
	if err := a.Roll(n.now, "b/office"); err != nil {
		t.Fatal(err)
	}
	n.drain(a)
	for range rounds / 2 {
		attack()
		n.after(2 * step)
	}
	n.mirrored(a, "b/office", b, "a/office")
	if up := a.Status()[0].Ups + b.Status()[0].Ups; up != 2 {
		t.Errorf("up %d times, want once on each side", up)
	}
	a.Close(n.now)
	n.drain(a)
	for range rounds / 2 {
		attack()
		n.after(2 * step)
	}
	n.after(3 * time.Minute)
	if len(a.conns)+len(b.conns)+len(b.requests) != 0 {
		t.Errorf("%d and %d connections are left", len(a.conns), len(b.conns))
	}
}

// TestSpoofed sends to both ends of a tunnel without a secret, from elsewhere,
// the very messages of its life.
func TestSpoofed(t *testing.T) {
	n := newNetwork(t, 1)
	k := &tap{network: n}
	a, b := couple(n)
	elsewhere := netip.MustParseAddrPort("198.51.100.1:1701")
	rounds, step := 40, 5*time.Millisecond
	if raced() {
		rounds, step = 8, 25*time.Millisecond
	}
	for range rounds {
		k.take()
		for _, p := range k.kept {
			for _, o := range n.nodes {
				k.silent(o, elsewhere, p.b)
				for forged := range mutants(p.b) {
					k.silent(o, elsewhere, forged)
				}
			}
		}
		n.after(step)
	}
	n.mirrored(a, "b/office", b, "a/office")
}

// TestReplayed has messages of a former connection, and of this one, come again
// from their senders' addresses, in any order and at any time: the tunnel stays.
func TestReplayed(t *testing.T) {
	for _, secrets := range [][]*wire.Secret{{sharedSecret}, nil} {
		for seed := range uint64(20) {
			n := newNetwork(t, seed)
			k := &tap{network: n}
			a, b := couple(n, secrets...)
			life := func() {
				for range 40 {
					k.take()
					n.after(5 * time.Millisecond)
				}
				a.Roll(n.now, "b/office")
				n.drain(a)
				for range 40 {
					k.take()
					n.after(5 * time.Millisecond)
				}
			}
			life()
			a.Down(n.now, "b/office")
			n.drain(a)
			k.take()
			a.Down(n.now, "b")
			n.drain(a)
			k.take()
			n.after(time.Duration(n.rand.IntN(100)) * time.Second)
			a.Up(n.now, "b/office")
			a.Up(n.now, "b")
			n.drain(a)
			life()
			n.mirrored(a, "b/office", b, "a/office")
			n.after(time.Duration(n.rand.IntN(20)) * time.Second)
			ids := [2]uint32{a.Status()[0].ConnectionID, b.Status()[0].ConnectionID}
			sessions := [2]uint32{a.active["b/office"], b.active["a/office"]}
			for range 2000 {
				p := k.kept[n.rand.IntN(len(k.kept))]
				for _, o := range n.nodes {
					if o.at == p.to {
						o.Receive(n.now, Address{Peer: p.from}, p.b)
						n.drain(o)
					}
				}
				n.after(time.Duration(n.rand.IntN(100)) * time.Millisecond)
			}
			n.after(2 * time.Minute)
			n.mirrored(a, "b/office", b, "a/office")
			if got := [2]uint32{a.Status()[0].ConnectionID, b.Status()[0].ConnectionID}; got != ids {
				n.fatalf("connections %d, want %d", got, ids)
			}
			if got := [2]uint32{a.active["b/office"], b.active["a/office"]}; got != sessions {
				n.fatalf("sessions %d, want %d", got, sessions)
			}
			sound(n.fatalf, a.LCCE)
			sound(n.fatalf, b.LCCE)
			if len(a.conns) != 1 || len(b.conns) != 1 || len(b.requests) > 1 {
				n.fatalf("%d and %d connections, %d requests", len(a.conns), len(b.conns), len(b.requests))
			}
		}
	}
}

// heap returns the octets that are in use, and not garbage.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// anywhere is a tunnel for peers from everywhere.
func anywhere(secrets ...*wire.Secret) TunnelConfig {
	k := office(false)
	return TunnelConfig{Name: "any", Many: true, Secrets: secrets, Circuits: []CircuitConfig{k}}
}

// flood sends SCCRQs from as many sources, whom nobody hears, and after each does
// what else there is to do.
func flood(n *network, o *node, count int, few bool, also func(i int, from netip.AddrPort)) {
	for i := range count {
		at := i % 8000
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n.rand.IntN(256)), byte(at >> 8), byte(at)}), 1701)
		if few { // as many as there are budgets for
			from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(at >> 8), byte(at)}), 1701)
		}
		m := &wire.SCCRQ{LCCE: wire.LCCE{
			HostName: fmt.Sprintf("flood%d", i), RouterID: uint32(i), ConnectionID: uint32(i + 1),
			Capabilities: []pseudowire.Type{pseudowire.Ethernet},
		}}
		e := &wire.Encoding{}
		if i%4 == 3 {
			m.Nonce = []byte("any octets")
			e.Signatures = []wire.Signature{{Type: wire.SHA1, Secret: newSecret}}
		}
		b := wire.AppendControl(nil, wire.ControlHeader{Version: 3}, wire.AppendBody(nil, m, e))
		wire.Seal(b, e.Signatures, nil, nil)
		o.Receive(n.now, Address{Peer: from}, b)
		if also != nil {
			also(i, from)
		}
		if i%64 == 0 {
			n.after(time.Millisecond)
		}
		n.drainAway(o)
	}
}

// drainAway has what a node sends to strangers go nowhere.
func (n *network) drainAway(o *node) {
	for b, to, ok := o.Transmit(nil); ok; b, to, ok = o.Transmit(nil) {
		if everywhere.Contains(to.Peer.Addr()) {
			n.send(o.at, to.Peer, b)
		}
	}
	for e, ok := o.Event(); ok; e, ok = o.Event() {
		o.take(e)
	}
}

// TestFlood has 100,000 strangers ask for a connection while a tunnel is up, with
// and without a secret: the tunnel stays, memory stays bounded, and where there is
// a secret another peer gets in meanwhile.
func TestFlood(t *testing.T) {
	count := 100_000
	if raced() {
		count /= 10
	}
	for _, v := range []struct {
		name    string
		secrets []*wire.Secret
		most    uint64 // octets
		few     bool   // sources
		then    wire.Message
	}{
		{"secret", []*wire.Secret{sharedSecret}, 1 << 20, false, nil},
		{"open", nil, 64 << 20, false, nil},
		{"open, few sources", nil, 64 << 20, true, nil},
		{"open, and closed", nil, 64 << 20, true, &wire.StopCCN{Result: wire.Result{Code: wire.StopGeneral}}},
	} {
		n := newNetwork(t, 1)
		a, b := couple(n, sharedSecret)
		if err := b.Add(n.now, anywhere(v.secrets...)); err != nil {
			t.Fatal(err)
		}
		b.Bind(n.now, "any", Binding{Peers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
		n.after(10 * time.Second)
		n.mirrored(a, "b/office", b, "a/office")
		sessions := len(b.sessions)
		before := heapInUse()
		var late *node
		flood(n, b, count, v.few, func(i int, from netip.AddrPort) {
			if m, ok := v.then.(*wire.StopCCN); ok {
				m.ConnectionID = uint32(i + 1)
				body := wire.AppendBody(nil, m, &wire.Encoding{})
				b.Receive(n.now, Address{Peer: from}, wire.AppendControl(nil, wire.ControlHeader{Version: 3, Ns: 1}, body))
			}
			if i == count/2 && v.secrets != nil {
				late = n.node(3, "late")
				late.tunnel(b, TunnelConfig{Name: "b", Dial: true, Secrets: v.secrets, Circuits: []CircuitConfig{office(true)}})
			}
		})
		after := heapInUse()
		used := int64(after) - int64(before)
		t.Logf("%s: %d SCCRQs, heap before %d, after %d: %d KB, %d connections, drops %v", v.name, count, before, after, used>>10, len(b.conns), b.DropCounts())
		if used > int64(v.most) || len(b.conns) > 2*b.LCCE.cfg.HalfOpen+2 {
			t.Errorf("%s: %d octets, %d connections", v.name, used, len(b.conns))
		}
		sound(n.fatalf, b.LCCE)
		n.mirrored(a, "b/office", b, "a/office")
		if late != nil {
			n.mirrored(late, "b/office", b, "any:late/office")
			sessions++
		}
		if len(b.sessions) != sessions || b.Status()[0].Ups != 1 {
			t.Errorf("%s: %d sessions, want %d; up %d times", v.name, len(b.sessions), sessions, b.Status()[0].Ups)
		}
		n.nodes = n.nodes[:2]
		for range 100 { // the last of the strangers are forgotten
			n.now = n.now.Add(time.Second)
			b.Advance(n.now)
			n.drainAway(b)
		}
		if len(b.conns) > 2 || len(b.requests) > 2 || len(b.halfOpen) > 0 {
			t.Errorf("%s: %d connections, %d requests, %d half-open are left", v.name, len(b.conns), len(b.requests), len(b.halfOpen))
		}
	}
}

// TestRequestRate has one source ask too often: so many are answered a second.
func TestRequestRate(t *testing.T) {
	n := newNetwork(t, 1)
	o := n.node(1, "o")
	o.cfg.RequestRate = 50
	o.start()
	if err := o.Add(n.now, anywhere()); err != nil {
		t.Fatal(err)
	}
	o.Bind(n.now, "any", Binding{Peers: []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0")}})
	id := uint32(0)
	ask := func(from string, count int) (answers int) {
		for i := range count {
			id++
			at := netip.MustParseAddrPort(from)
			if at.Addr().Is6() { // one network, many addresses
				b := at.Addr().As16()
				binary.BigEndian.PutUint32(b[12:], uint32(i))
				at = netip.AddrPortFrom(netip.AddrFrom16(b), 1701)
			}
			m := &wire.SCCRQ{LCCE: wire.LCCE{HostName: "x", ConnectionID: id, Capabilities: []pseudowire.Type{pseudowire.Ethernet}}}
			o.Receive(n.now, Address{Peer: at}, wire.AppendControl(nil, wire.ControlHeader{Version: 3}, wire.AppendBody(nil, m, &wire.Encoding{})))
			for _, _, ok := o.Transmit(nil); ok; _, _, ok = o.Transmit(nil) {
				answers++
			}
		}
		return answers
	}
	for _, v := range []struct {
		from string
		want int
	}{{"198.51.100.1:1701", 50}, {"198.51.100.1:1702", 0}, {"198.51.100.2:1701", 50}, {"[2001:db8::1]:1701", 50}, {"[2001:db8:0:1::1]:1701", 50}} {
		if got := ask(v.from, 200); got != v.want {
			t.Errorf("%s: %d answers, want %d", v.from, got, v.want)
		}
	}
	n.now = n.now.Add(100 * time.Millisecond)
	if got := ask("198.51.100.1:1701", 200); got != 5 {
		t.Errorf("after a tenth of a second: %d answers, want 5", got)
	}
	if got := o.DropCounts()[DropRate]; got != 150+200+150*3+195 {
		t.Errorf("%d dropped", got)
	}
}
