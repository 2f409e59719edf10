package control

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A network carries messages between nodes in memory, by a clock of its own, and
// loses, duplicates, delays and reorders them as its seed says.
type network struct {
	t         testing.TB
	seed      uint64
	rand      *rand.Rand
	now       time.Time
	nodes     []*node
	flight    flight
	loss      float64
	duplicate float64
	delay     time.Duration // most
	least     time.Duration // 0: a tenth of the most
	count     int
	referee   *referee // nil: nobody looks at what is sent
	log       []line   // of the last messages

	// Of data frames, each node sends one by each active session every interval.
	frames     time.Duration // 0: no frames
	nextFrames time.Time
	strict     bool // a frame that finds no session is a failure
	sentFrames int
	lostFrames int
}

type packet struct {
	at   time.Time
	n    int // which came first, of those at one time
	from netip.AddrPort
	to   netip.AddrPort
	b    []byte
	data *dataFrame
}

// A dataFrame is what of a frame of data matters here.
type dataFrame struct {
	sessionID uint32
	cookie    cookie.Cookie
}

// A flight is what is on its way, the next to arrive first.
type flight []packet

func (f flight) Len() int { return len(f) }
func (f flight) Less(i, j int) bool {
	if c := f[i].at.Compare(f[j].at); c != 0 {
		return c < 0
	}
	return f[i].n < f[j].n
}
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flight) Push(x any)   { *f = append(*f, x.(packet)) }
func (f *flight) Pop() any {
	last := len(*f) - 1
	p := (*f)[last]
	(*f)[last] = packet{}
	*f = (*f)[:last]
	return p
}

// A line is a message or a remark in the log.
type line struct {
	at     time.Time
	from   netip.AddrPort
	to     netip.AddrPort
	b      []byte
	copies int
	remark string
}

func (l line) String() string {
	at := l.at.Sub(epoch)
	if l.b == nil {
		return fmt.Sprintf("%v %s", at, l.remark)
	}
	h, _, _ := wire.ParseControl(l.b)
	name := "ZLB"
	if t, ok := wire.TypeOf(l.b); ok {
		name = t.String()
	}
	p, _ := wire.Parse(l.b, &wire.Decoding{Lenient: true})
	what := ""
	if p.Message != nil && name != "ACK" && name != "HELLO" {
		what = fmt.Sprintf(" %+v", p.Message)
	}
	return fmt.Sprintf("%v %v > %v %s id %d ns %d nr %d, %d copies%s", at, l.from, l.to, name, h.ConnectionID, h.Ns, h.Nr, l.copies, what)
}

// epoch is when all networks begin.
var epoch = time.Unix(1e9, 0)

// A node is an LCCE at an address.
type node struct {
	*LCCE
	net    *network
	at     netip.AddrPort
	events []Event
	open   map[string]map[uint32]Params // sessions that may receive, by name
	active map[string]uint32            // the one to send by
	cfg    Config
	byID   map[uint32]cookie.Cookie // the cookies of those that may receive
	tell   func(Event)              // what else is done with an event; nil: nothing
}

func newNetwork(t testing.TB, seed uint64) *network {
	return &network{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), now: epoch, delay: 20 * time.Millisecond}
}

func (n *network) random(b []byte) {
	for i := 0; i < len(b); i += 8 {
		v := n.rand.Uint64()
		for j := i; j < min(i+8, len(b)); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
}

// node adds a node at 192.0.2.LAST.
func (n *network) node(last byte, name string) *node {
	o := &node{net: n, at: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), 1701)}
	o.cfg = Config{
		HostName: name, RouterID: uint32(last), VendorName: "test", Active: true,
		Capabilities: types, Random: n.random,
	}
	o.start()
	n.nodes = append(n.nodes, o)
	return o
}

// start begins the node anew, as after a kill.
func (o *node) start() {
	o.LCCE = New(o.cfg)
	o.open, o.active = make(map[string]map[uint32]Params), make(map[string]uint32)
	o.byID = make(map[uint32]cookie.Cookie)
	o.net.remark("%s starts", o.cfg.HostName)
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
		replies := len(o.out.Replies)
		b, to, ok := o.Transmit(nil)
		if !ok {
			break
		}
		if n.referee != nil {
			var c *conn
			if replies == 0 {
				c = o.out.Ready[0]
			}
			n.referee.sent(o, c, b)
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
	n := o.net
	if e.Kind != TunnelDialing {
		n.remark("%s: %v %s%s %d %s", o.cfg.HostName, e.Kind, e.Tunnel, e.Session, e.Params.SessionID, e.Reason)
	}
	if !e.Next.IsZero() && e.Next.Before(n.now) {
		n.fatalf("%s: %v: the next attempt is at %v, in the past", o.cfg.HostName, e.Kind, e.Next)
	}
	switch e.Kind {
	case SessionOpen:
		if o.open[e.Session] == nil {
			o.open[e.Session] = make(map[uint32]Params)
		}
		if _, ok := o.open[e.Session][e.Params.SessionID]; ok {
			n.fatalf("%s: %s opened twice", o.cfg.HostName, e.Session)
		}
		o.open[e.Session][e.Params.SessionID] = e.Params
		o.byID[e.Params.SessionID] = e.Params.ReceiveCookie
	case SessionUp:
		if _, ok := o.open[e.Session][e.Params.SessionID]; !ok {
			n.fatalf("%s: %s up before it was open", o.cfg.HostName, e.Session)
		}
		if former := o.active[e.Session]; former != e.Former && e.Former != 0 && former != 0 {
			n.fatalf("%s: %s takes over from %d, which is not %d", o.cfg.HostName, e.Session, e.Former, former)
		}
		o.open[e.Session][e.Params.SessionID] = e.Params
		o.active[e.Session] = e.Params.SessionID
	case SessionDown:
		if o.active[e.Session] == e.Params.SessionID {
			delete(o.active, e.Session)
		}
		delete(o.byID, e.Params.SessionID)
		if delete(o.open[e.Session], e.Params.SessionID); len(o.open[e.Session]) == 0 {
			delete(o.open, e.Session)
		}
	case SessionRemoved:
		if len(o.open[e.Session]) > 0 {
			n.fatalf("%s: %s is removed while it is open", o.cfg.HostName, e.Session)
		}
	}
	if o.tell != nil {
		o.tell(e)
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
	if t, ok := wire.TypeOf(b); ok && t != wire.TypeACK && t != wire.TypeHELLO {
		n.write(line{at: n.now, from: from, to: to, b: b, copies: copies})
	}
	for range copies {
		n.carry(packet{from: from, to: to, b: b})
	}
}

// carry has a packet arrive after a delay.
func (n *network) carry(p packet) {
	least := n.least
	if least == 0 {
		least = n.delay / 10
	}
	n.count++
	p.n = n.count
	p.at = n.now.Add(least + time.Duration(n.rand.Int64N(int64(max(n.delay-least, 1)))))
	heap.Push(&n.flight, p)
}

func (n *network) write(l line) {
	if len(n.log) >= 400 {
		n.log = append(n.log[:0], n.log[200:]...)
	}
	n.log = append(n.log, l)
}

func (n *network) remark(format string, args ...any) {
	if testing.Verbose() {
		n.write(line{at: n.now, remark: fmt.Sprintf(format, args...)})
	}
}

func (n *network) fatalf(format string, args ...any) {
	n.t.Helper()
	for _, l := range n.log {
		n.t.Log(l)
	}
	n.t.Fatalf("seed %d, after %v: %s", n.seed, n.now.Sub(epoch), fmt.Sprintf(format, args...))
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
		frames := n.frames > 0 && n.nextFrames.Before(next)
		if frames {
			next = n.nextFrames
		}
		if len(n.flight) > 0 && n.flight[0].at.Before(next) {
			n.arrive()
			continue
		}
		if !next.Before(until) {
			n.now = until
			return
		}
		if next.After(n.now) {
			n.now = next
		}
		if frames {
			n.sendFrames()
			continue
		}
		for _, o := range n.nodes {
			o.Advance(n.now)
			n.drain(o)
		}
	}
}

// arrive delivers what arrives next.
func (n *network) arrive() {
	p := heap.Pop(&n.flight).(packet)
	n.now = p.at
	for _, o := range n.nodes {
		if o.at != p.to {
			continue
		}
		if p.data != nil {
			o.receiveFrame(p.data)
			continue
		}
		if n.referee != nil {
			n.referee.receive(o, p.from, p.b)
		} else {
			o.Receive(n.now, Address{Peer: p.from}, p.b)
		}
		n.drain(o)
	}
}

// sendFrames has each node send a frame by each of its active sessions.
func (n *network) sendFrames() {
	n.nextFrames = n.now.Add(n.frames)
	for _, o := range n.nodes {
		for name, id := range o.active {
			params := o.open[name][id]
			for _, peer := range n.nodes {
				if peer != o {
					n.sentFrames++
					n.carry(packet{from: o.at, to: peer.at, data: &dataFrame{params.PeerSessionID, params.SendCookie}})
				}
			}
		}
	}
}

// receiveFrame takes a frame as a data plane does: by session ID and cookie.
func (o *node) receiveFrame(f *dataFrame) {
	if c, ok := o.byID[f.sessionID]; ok && c == f.cookie {
		return
	}
	o.net.lostFrames++
	if o.net.strict {
		o.net.fatalf("%s: a frame for session %d, which is not open or has another cookie", o.cfg.HostName, f.sessionID)
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
		n.referee = newReferee(n)
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
		sound(n.fatalf, a.LCCE)
		sound(n.fatalf, b.LCCE)
	}
}
