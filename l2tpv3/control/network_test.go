package control

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A network carries messages between nodes in memory, by a clock of its own, and
// loses, duplicates, delays and reorders them as its seed says.
type network struct {
	t         testing.TB
	rand      *rand.Rand
	now       time.Time
	nodes     []*node
	flight    []packet
	loss      float64
	duplicate float64
	delay     time.Duration // most; the least is a tenth of it
	count     int
	log       []string // of the last messages
}

type packet struct {
	at   time.Time
	n    int // which came first, of those at one time
	from netip.AddrPort
	to   netip.AddrPort
	b    []byte
}

// A node is an LCCE at an address.
type node struct {
	*LCCE
	net    *network
	at     netip.AddrPort
	events []Event
	open   map[string]map[uint32]Params // sessions that may receive, by name
	active map[string]uint32            // the one to send by
	cfg    Config
}

func newNetwork(t testing.TB, seed uint64) *network {
	return &network{t: t, rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1e9, 0), delay: 20 * time.Millisecond}
}

func (n *network) random(b []byte) {
	for i := range b {
		b[i] = byte(n.rand.Uint32())
	}
}

// node adds a node at 192.0.2.LAST.
func (n *network) node(last byte, name string) *node {
	o := &node{net: n, at: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), 1701)}
	o.cfg = Config{
		HostName: name, RouterID: uint32(last), VendorName: "test", Active: true,
		Capabilities: []pseudowire.Type{pseudowire.Ethernet}, Random: n.random,
	}
	o.start()
	n.nodes = append(n.nodes, o)
	return o
}

// start begins the node anew, as after a kill.
func (o *node) start() {
	o.LCCE = New(o.cfg)
	o.open, o.active = make(map[string]map[uint32]Params), make(map[string]uint32)
}

// tunnel adds a tunnel to a peer.
func (o *node) tunnel(peer *node, cfg TunnelConfig) {
	if err := o.Add(o.net.now, cfg); err != nil {
		o.net.t.Fatal(err)
	}
	b := Binding{Peers: []netip.Prefix{netip.PrefixFrom(peer.at.Addr(), 32)}}
	if cfg.Dial {
		b.At = Address{Peer: peer.at}
	}
	o.Bind(o.net.now, cfg.Name, b)
	o.net.drain(o)
}

// drain takes out what a node has to send and to tell.
func (n *network) drain(o *node) {
	for {
		b, to, ok := o.Transmit(nil)
		if !ok {
			break
		}
		n.send(o.at, to.Peer, b)
	}
	for {
		e, ok := o.Event()
		if !ok {
			break
		}
		o.events = append(o.events, e)
		o.take(e)
	}
	if d := o.Deadline(); !d.IsZero() && d.Before(n.now) {
		n.fatalf("%s: deadline %v is in the past by %v", o.cfg.HostName, d, n.now.Sub(d))
	}
}

// take keeps what a driver would keep: which sessions may receive, and by which
// one is sent.
func (o *node) take(e Event) {
	switch e.Kind {
	case SessionOpen:
		if o.open[e.Session] == nil {
			o.open[e.Session] = make(map[uint32]Params)
		}
		o.open[e.Session][e.Params.SessionID] = e.Params
	case SessionUp:
		if _, ok := o.open[e.Session][e.Params.SessionID]; !ok {
			o.net.fatalf("%s: %s up before it was open", o.cfg.HostName, e.Session)
		}
		o.open[e.Session][e.Params.SessionID] = e.Params
		o.active[e.Session] = e.Params.SessionID
	case SessionDown:
		delete(o.open[e.Session], e.Params.SessionID)
		if o.active[e.Session] == e.Params.SessionID {
			delete(o.active, e.Session)
		}
	}
}

func (n *network) send(from, to netip.AddrPort, b []byte) {
	copies := 1
	switch r := n.rand.Float64(); {
	case r < n.loss:
		copies = 0
	case r < n.loss+n.duplicate:
		copies = 2
	}
	t, _ := wire.TypeOf(b)
	h, _, _ := wire.ParseControl(b)
	n.note("%v > %v %v id %d ns %d nr %d, %d copies", from, to, t, h.ConnectionID, h.Ns, h.Nr, copies)
	for range copies {
		n.count++
		d := n.delay/10 + time.Duration(n.rand.Int64N(int64(n.delay)))
		n.flight = append(n.flight, packet{n.now.Add(d), n.count, from, to, b})
	}
}

func (n *network) note(format string, args ...any) {
	n.log = append(n.log, fmt.Sprintf("%v ", n.now.Sub(time.Unix(1e9, 0)))+fmt.Sprintf(format, args...))
	if len(n.log) > 2000 {
		n.log = slices.Delete(n.log, 0, 1000)
	}
}

func (n *network) fatalf(format string, args ...any) {
	n.t.Helper()
	for _, line := range n.log[max(0, len(n.log)-60):] {
		n.t.Log(line)
	}
	n.t.Fatalf(format, args...)
}

// run lets time go on until an instant.
func (n *network) run(until time.Time) {
	for steps := 0; ; steps++ {
		if steps > 1e6 {
			n.fatalf("no end of it")
		}
		next := until
		for _, o := range n.nodes {
			if d := o.Deadline(); !d.IsZero() && d.Before(next) {
				next = d
			}
		}
		slices.SortFunc(n.flight, func(a, b packet) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.n, b.n)) })
		if len(n.flight) > 0 && n.flight[0].at.Before(next) {
			p := n.flight[0]
			n.flight = n.flight[1:]
			n.now = p.at
			for _, o := range n.nodes {
				if o.at == p.to {
					o.Receive(n.now, Address{Peer: p.from}, p.b)
					n.drain(o)
				}
			}
			continue
		}
		if !next.Before(until) {
			n.now = until
			return
		}
		if next.After(n.now) {
			n.now = next
		}
		for _, o := range n.nodes {
			o.Advance(n.now)
			n.drain(o)
		}
	}
}

// after lets a time go by.
func (n *network) after(d time.Duration) { n.run(n.now.Add(d)) }

func office(initiate bool) CircuitConfig {
	return CircuitConfig{Name: "office", RemoteEndID: []byte("office"), Pseudowire: pseudowire.Ethernet, CookieSize: 8, Initiate: initiate}
}

// mirrored fails unless both nodes have a session up under these names, each with
// the mirror of the other's parameters.
func (n *network) mirrored(a *node, x string, b *node, y string) {
	n.t.Helper()
	p, q := a.open[x][a.active[x]], b.open[y][b.active[y]]
	if p.SessionID == 0 || q.SessionID == 0 {
		n.fatalf("%s has %s %+v; %s has %s %+v", a.cfg.HostName, x, p, b.cfg.HostName, y, q)
	}
	want := Params{
		SessionID: q.PeerSessionID, PeerSessionID: q.SessionID, ReceiveCookie: q.SendCookie, SendCookie: q.ReceiveCookie,
		Pseudowire: q.Pseudowire, Sublayer: q.PeerSublayer, PeerSublayer: q.Sublayer,
		Sequencing: q.PeerSequencing, PeerSequencing: q.Sequencing,
		TxSpeed: p.TxSpeed, RxSpeed: p.RxSpeed, PhysicalChannel: p.PhysicalChannel,
	}
	if p != want {
		n.fatalf("%s has %+v, the mirror of %s's is %+v", a.cfg.HostName, p, b.cfg.HostName, want)
	}
}

func TestSmoke(t *testing.T) {
	for _, secrets := range [][]*wire.Secret{nil, {wire.NewSecret([]byte("s"))}} {
		n := newNetwork(t, 1)
		a, b := n.node(1, "a"), n.node(2, "b")
		b.tunnel(a, TunnelConfig{Name: "a", Secrets: secrets, Circuits: []CircuitConfig{office(false)}})
		a.tunnel(b, TunnelConfig{Name: "b", Dial: true, Secrets: secrets, Circuits: []CircuitConfig{office(true)}})
		n.after(2 * time.Second)
		n.mirrored(a, "b/office", b, "a/office")
		n.after(10 * time.Minute)
		n.mirrored(a, "b/office", b, "a/office")
		if err := a.Roll(n.now, "b/office"); err != nil {
			t.Fatal(err)
		}
		n.drain(a)
		n.after(time.Second)
		n.mirrored(a, "b/office", b, "a/office")
		if len(a.open["b/office"]) != 2 || len(b.open["a/office"]) != 2 {
			t.Errorf("during the overlap: %v, %v", a.open, b.open)
		}
		n.after(10 * time.Second)
		n.mirrored(a, "b/office", b, "a/office")
		if len(a.open["b/office"]) != 1 || len(b.open["a/office"]) != 1 {
			t.Errorf("after the overlap: %v, %v", a.open, b.open)
		}
		a.Close(n.now)
		n.drain(a)
		n.after(time.Minute)
		if len(a.active)+len(b.active) != 0 || len(a.conns) != 0 || !a.Quiet() {
			n.fatalf("after close: %v %v, %d connections", a.active, b.active, len(a.conns))
		}
		n.after(2 * time.Minute)
		if len(b.conns) != 0 || len(b.requests) != 0 || len(b.sessions) != 0 {
			n.fatalf("leaked: %d %d %d", len(b.conns), len(b.requests), len(b.sessions))
		}
	}
}

func TestSeeds(t *testing.T) {
	secrets := []*wire.Secret{wire.NewSecret([]byte("s"))}
	for seed := range uint64(2000) {
		n := newNetwork(t, seed)
		n.loss, n.duplicate, n.delay = n.rand.Float64()*0.4, n.rand.Float64()*0.2, time.Duration(1+n.rand.IntN(500))*time.Millisecond
		a, b := n.node(1, "a"), n.node(2, "b")
		both := n.rand.IntN(2) == 0
		setA := func() {
			a.tunnel(b, TunnelConfig{Name: "b", Dial: true, Secrets: secrets, Circuits: []CircuitConfig{office(true)}})
		}
		setB := func() {
			b.tunnel(a, TunnelConfig{Name: "a", Dial: both, Secrets: secrets, Circuits: []CircuitConfig{office(both)}})
		}
		setB()
		setA()
		for range n.rand.IntN(4) {
			n.after(time.Duration(n.rand.Int64N(int64(20 * time.Second))))
			if n.rand.IntN(2) == 0 {
				a.start()
				setA()
			} else {
				b.start()
				setB()
			}
		}
		n.after(time.Minute)
		n.loss = 0
		n.after(5 * time.Minute)
		if t.Failed() {
			return
		}
		if len(a.active) != 1 || len(b.active) != 1 {
			n.fatalf("seed %d: %v %v", seed, a.active, b.active)
		}
		n.mirrored(a, "b/office", b, "a/office")
		if len(a.conns) != 1 || len(b.conns) != 1 || len(a.sessions) != 1 || len(b.sessions) != 1 {
			n.fatalf("seed %d: %d %d connections, %d %d sessions", seed, len(a.conns), len(b.conns), len(a.sessions), len(b.sessions))
		}
	}
}
