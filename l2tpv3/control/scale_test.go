package control

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A pair is two LCCEs back to back, the first of which dials the second.
type pair struct {
	ends   [2]*LCCE
	at     [2]Address
	now    time.Time
	spent  [2]time.Duration // by each of them
	up     [2]int           // sessions
	timing bool
}

func newPair(sessions int, secrets ...*wire.Secret) *pair {
	p := &pair{now: epoch}
	for i, name := range []string{"a", "b"} {
		r := rand.NewChaCha8([32]byte{byte(i)})
		p.ends[i] = New(Config{
			HostName: name, RouterID: uint32(i), Active: true, Capabilities: []pseudowire.Type{pseudowire.Ethernet},
			Random: func(b []byte) { r.Read(b) },
		})
		p.at[i] = from(fmt.Sprintf("192.0.2.%d:1701", 1+i))
	}
	any := office(false)
	any.AnyEndID, any.RemoteEndID = true, nil
	cfg := TunnelConfig{Name: "a", Secrets: secrets, Circuits: []CircuitConfig{any}}
	if err := p.ends[1].Add(p.now, cfg); err != nil {
		panic(err)
	}
	p.ends[1].Bind(p.now, "a", Binding{Peers: []netip.Prefix{everywhere}})
	cfg = TunnelConfig{Name: "b", Dial: true, Secrets: secrets, Circuits: make([]CircuitConfig, sessions)}
	for i := range cfg.Circuits {
		k := office(true)
		k.Name = fmt.Sprintf("k%d", i)
		k.RemoteEndID = []byte(k.Name)
		cfg.Circuits[i] = k
	}
	if err := p.ends[0].Add(p.now, cfg); err != nil {
		panic(err)
	}
	p.ends[0].Bind(p.now, "b", Binding{At: p.at[1], Peers: []netip.Prefix{everywhere}})
	return p
}

// run carries messages until there are none, and what is due now is done.
func (p *pair) run() {
	buffer := make([]byte, 0, 1500)
	for busy := true; busy; {
		busy = false
		for i, l := range p.ends {
			peer := p.ends[1-i]
			begin := p.clock()
			if d := l.Deadline(); !d.IsZero() && !d.After(p.now) {
				l.Advance(p.now)
				busy = true
			}
			p.spent[i] += p.clock() - begin
			for {
				begin := p.clock()
				b, _, ok := l.Transmit(buffer[:0])
				middle := p.clock()
				p.spent[i] += middle - begin
				if !ok {
					break
				}
				busy = true
				peer.Receive(p.now, p.at[i], b)
				p.spent[1-i] += p.clock() - middle
			}
			for {
				begin := p.clock()
				e, ok := l.Event()
				p.spent[i] += p.clock() - begin
				if !ok {
					break
				}
				switch e.Kind {
				case SessionUp:
					p.up[i]++
				case SessionDown:
					p.up[i]--
				}
			}
		}
	}
}

func (p *pair) clock() time.Duration {
	if !p.timing {
		return 0
	}
	return time.Since(began)
}

var began = time.Now()

// TestManySessions has one connection carry 10,000 sessions, and says how much
// memory a session takes that does nothing.
func TestManySessions(t *testing.T) {
	const sessions = 10_000
	for _, secrets := range [][]*wire.Secret{nil, {sharedSecret}} {
		none := heapInUse()
		p := newPair(sessions, secrets...)
		empty := heapInUse()
		p.run()
		if p.up != [2]int{sessions, sessions} {
			t.Fatalf("%d sessions up, want %d", p.up, sessions)
		}
		sound(t.Fatalf, p.ends[0])
		sound(t.Fatalf, p.ends[1])
		both := heapInUse()
		keep := p.ends[0]
		p.ends[1] = nil
		one := heapInUse()
		mine, theirs := int64(one)-int64(empty), int64(both)-int64(one)
		mine += int64(empty) - int64(none) // its circuits, and their configuration
		t.Logf("%d octets a session with who asked, %d with who was asked", mine/sessions, theirs/sessions)
		if mine > 2048*sessions || theirs > 2048*sessions {
			t.Errorf("want 2048 at most")
		}
		p.ends[0] = keep
	}
}

// TestManyTunnels has 10,000 tunnels dialled at once over a network that loses
// some messages: all come up, soon, and none is asked for twice.
func TestManyTunnels(t *testing.T) {
	tunnels := 10_000
	if raced() {
		tunnels /= 10
	}
	n := newNetwork(t, 1)
	n.loss = 0.01
	hub, o := n.node(1, "hub"), n.node(2, "spokes")
	cfg := anywhere(sharedSecret)
	cfg.Limit = tunnels
	if err := hub.Add(n.now, cfg); err != nil {
		t.Fatal(err)
	}
	hub.Bind(n.now, "any", Binding{Peers: []netip.Prefix{everywhere}})
	empty := heapInUse()
	for i := range tunnels {
		o.tunnel(hub, TunnelConfig{
			Name: fmt.Sprintf("t%d", i), HostName: fmt.Sprintf("spoke%d", i), Dial: true,
			Secrets: []*wire.Secret{sharedSecret}, Circuits: []CircuitConfig{office(true)},
		})
	}
	for len(hub.active) < tunnels || len(o.active) < tunnels {
		n.after(100 * time.Millisecond)
		if n.now.Sub(epoch) > time.Minute {
			t.Fatalf("%d and %d sessions up after a minute, want %d", len(hub.active), len(o.active), tunnels)
		}
	}
	took := n.now.Sub(epoch)
	n.after(time.Minute)
	n.log, hub.events, o.events = nil, nil, nil
	hub.open, o.open, hub.active, o.active, hub.byID, o.byID = nil, nil, nil, nil, nil, nil
	t.Logf("%d tunnels with a session each up in %v by the network's clock, %d messages in all, %d octets for both ends of each",
		tunnels, took, n.count, (int64(heapInUse())-int64(empty))/int64(tunnels))
	sound(t.Fatalf, hub.LCCE)
	sound(t.Fatalf, o.LCCE)
	for _, s := range append(hub.Status()[1:], o.Status()...) {
		if s.Ups != 1 || s.Attempts != 0 || s.State != Established || s.Sessions[0].State != Established {
			t.Fatalf("%+v", s)
		}
	}
	if len(o.conns) != tunnels || len(hub.conns) != tunnels {
		t.Errorf("%d and %d connections, want %d", len(o.conns), len(hub.conns), tunnels)
	}
}

// BenchmarkSessions sets up sessions, a thousand on a connection, between two
// LCCEs without a network between them.
func BenchmarkSessions(b *testing.B) {
	for _, v := range []struct {
		name    string
		secrets []*wire.Secret
	}{{"open", nil}, {"secret", []*wire.Secret{sharedSecret}}} {
		b.Run(v.name, func(b *testing.B) {
			const sessions = 1000
			p := newPair(sessions, v.secrets...)
			p.timing = true
			b.ReportAllocs()
			count := 0
			for b.Loop() {
				p.run()
				if p.up != [2]int{sessions, sessions} {
					b.Fatalf("%d sessions up, want %d", p.up, sessions)
				}
				count += sessions
				p.ends[0].Down(p.now, "b")
				p.run()
				p.now = p.now.Add(time.Hour)
				p.run()
				p.ends[0].Up(p.now, "b")
			}
			b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "sessions/s")
			b.ReportMetric(float64(p.spent[0].Nanoseconds())/float64(count), "ns/initiator")
			b.ReportMetric(float64(p.spent[1].Nanoseconds())/float64(count), "ns/responder")
		})
	}
}
