package l2tpv2

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
)

// One seed is played again by -run 'Sim/SCENARIO' -seed N -v, which then prints the
// last messages of a failure in full; -seeds M plays the seeds below M.
var (
	oneSeed   = flag.Int64("seed", -1, "the one seed that TestSim plays")
	manySeeds = flag.Uint64("seeds", 0, "how many seeds TestSim plays in each scenario; 0: a few")
)

// raced reports whether the race detector is on, by which all takes longer.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A network carries messages between an LNS and its LACs in memory, by a clock of its
// own, and loses, duplicates, delays and reorders them as its seed says.
type network struct {
	t         testing.TB
	seed      uint64
	rand      *rand.Rand
	now       time.Time
	hosts     []*host
	flight    flight
	loss      float64
	duplicate float64
	delay     time.Duration // most
	count     int
	log       []string
	types     map[wire.MessageType]int
	calm      bool // no call ends but by the network
}

// A happening is a packet that arrives, or something that is done then.
type happening struct {
	at   time.Time
	n    int // which came first, of those at one time
	from netip.AddrPort
	to   netip.AddrPort
	b    []byte
	do   func()
}

// A flight is what is to happen, the next first.
type flight []happening

func (f flight) Len() int { return len(f) }
func (f flight) Less(i, j int) bool {
	if c := f[i].at.Compare(f[j].at); c != 0 {
		return c < 0
	}
	return f[i].n < f[j].n
}
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flight) Push(x any)   { *f = append(*f, x.(happening)) }
func (f *flight) Pop() any {
	last := len(*f) - 1
	p := (*f)[last]
	(*f)[last] = happening{}
	*f = (*f)[:last]
	return p
}

// A host is a node at an address with an owner who keeps so many calls up.
type host struct {
	*Node
	net  *network
	name string
	at   netip.AddrPort
	cfg  TunnelConfig
	life int // how often it was started

	calls  int               // that it wants, of its own
	up     map[CallID]Params // established
	open   map[CallID]Params // that may receive
	placed map[CallID]bool   // of our own, up or not
}

const lnsAddress = "192.0.2.1:1701"

func (n *network) chance(of int) bool { return n.rand.IntN(of) == 0 }

// upTo returns a time of up to d, and more than none.
func (n *network) upTo(d time.Duration) time.Duration {
	return 1 + time.Duration(n.rand.Int64N(int64(d)))
}

func pick[T any](n *network, all ...T) T { return all[n.rand.IntN(len(all))] }

func (n *network) random(b []byte) {
	for i := range b {
		b[i] = byte(n.rand.Uint32())
	}
}

var simSecret = wire.NewSecretV2([]byte("shared"))

// host adds a host with a configuration at random.
func (n *network) host(name string, at string, dial bool) *host {
	h := &host{net: n, name: name, at: netip.MustParseAddrPort(at), calls: 1 + n.rand.IntN(4)}
	h.cfg = TunnelConfig{
		Name: "t", Dial: dial, Incoming: true, Outgoing: true, Bearer: wire.Some(wire.BearerType(3)),
		Hello:         pick(n, 0, n.upTo(60*time.Second)+time.Second),
		Timeout:       pick(n, 0, 0, n.upTo(2*time.Second)+200*time.Millisecond),
		Retries:       pick(n, 0, 0, 5+n.rand.IntN(10)),
		DialRetries:   pick(n, 0, 0, 1+n.rand.IntN(6)),
		ReceiveWindow: pick(n, 0, 1, 2, 4, 1+n.rand.IntN(128)),
		RedialMax:     pick(n, 0, n.upTo(20*time.Second)+time.Second),
		Strict:        n.chance(3),
		NoChallenge:   n.chance(4),
	}
	n.hosts = append(n.hosts, h)
	return h
}

// start begins the host anew, as after a kill.
func (h *host) start() {
	h.life++
	h.Node = New(Config{HostName: h.name, VendorName: "sim", Random: h.net.random})
	h.up, h.open, h.placed = make(map[CallID]Params), make(map[CallID]Params), make(map[CallID]bool)
	h.net.remark("%s starts", h.name)
	if err := h.Add(h.net.now, h.cfg); err != nil {
		h.net.t.Fatal(err)
	}
	b := Binding{Peers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	if h.cfg.Dial {
		b.At = Address{Peer: netip.MustParseAddrPort(lnsAddress)}
	}
	h.Bind(h.net.now, h.cfg.Name, b)
	h.drain()
}

// later has the owner of this life of the host do something.
func (h *host) later(d time.Duration, do func()) {
	life := h.life
	h.net.at(d, happening{do: func() {
		if h.life == life {
			do()
			h.drain()
		}
	}})
}

func (n *network) at(d time.Duration, p happening) {
	n.count++
	p.n, p.at = n.count, n.now.Add(d)
	heap.Push(&n.flight, p)
}

// drain takes out what a host has to send and to tell.
func (h *host) drain() {
	n := h.net
	for more := true; more; { // an owner that is told may have something sent
		more = false
		for {
			b, to, ok := h.Transmit(nil)
			if !ok {
				break
			}
			n.judge(h, b)
			n.send(h.at, to.Peer, b)
		}
		for {
			e, ok := h.Event()
			if !ok {
				break
			}
			h.take(e)
			more = true
		}
	}
	if d := h.Deadline(); !d.IsZero() && d.Before(n.now) {
		n.fatalf("%s: deadline %v is in the past by %v", h.name, d, n.now.Sub(d))
	}
}

// judge looks at every message that is sent: it is as RFC 2661 wants it.
func (n *network) judge(h *host, b []byte) {
	head, message, err := wire.ParseControlV2(b)
	if err != nil {
		n.fatalf("%s sent %x: %v", h.name, b, err)
	}
	p, bad := wire.ParseV2(message, &wire.DecodingV2{Secret: simSecret})
	switch {
	case bad != nil:
		n.fatalf("%s sent %x: %v", h.name, b, bad)
	case b[0] != 0xc8 || b[1] != 0x02:
		n.fatalf("%s sent %x: reserved bits, or P", h.name, b)
	case head.TunnelID == 0 && p.Type != wire.TypeSCCRQ && p.Type != wire.TypeStopCCN:
		n.fatalf("%s sent %v to Tunnel ID 0", h.name, p.Type)
	case head.SessionID != 0 && !p.Type.Session():
		n.fatalf("%s sent %v to a session", h.name, p.Type)
	case head.SessionID == 0 && p.Type.Session() && p.Type != wire.TypeICRQ && p.Type != wire.TypeOCRQ && p.Type != wire.TypeCDN:
		n.fatalf("%s sent %v to Session ID 0", h.name, p.Type)
	}
	n.types[p.Type]++
}

func (n *network) send(from, to netip.AddrPort, b []byte) {
	copies := 1
	switch r := n.rand.Float64(); {
	case r < n.loss:
		copies = 0
	case r < n.loss+n.duplicate:
		copies = 2
	}
	if testing.Verbose() {
		h, m, _ := wire.ParseControlV2(b)
		p, _ := wire.ParseV2(m, &wire.DecodingV2{Secret: simSecret})
		n.remark("%v > %v %v %d/%d ns %d nr %d, %d copies %+v", from, to, p.Type, h.TunnelID, h.SessionID, h.Ns, h.Nr, copies, p.Message)
	}
	for range copies {
		n.at(n.delay/10+time.Duration(n.rand.Int64N(int64(max(n.delay, 1)))), happening{from: from, to: to, b: b})
	}
}

func (n *network) remark(format string, args ...any) {
	if testing.Verbose() {
		if len(n.log) >= 6000 {
			n.log = append(n.log[:0], n.log[300:]...)
		}
		n.log = append(n.log, fmt.Sprintf("%v ", n.now.Sub(start))+fmt.Sprintf(format, args...))
	}
}

func (n *network) fatalf(format string, args ...any) {
	n.t.Helper()
	for _, l := range n.log {
		n.t.Log(l)
	}
	n.t.Fatalf("seed %d, after %v: %s", n.seed, n.now.Sub(start), fmt.Sprintf(format, args...))
}

// take does what an owner does.
func (h *host) take(e Event) {
	n := h.net
	n.remark("%s: %v %s call %d %d/%d %s", h.name, e.Kind, e.Tunnel, e.Call, e.Params.TunnelID, e.Params.SessionID, e.Reason)
	if !e.Next.IsZero() && e.Next.Before(n.now) {
		n.fatalf("%s: the next attempt is in the past", h.name)
	}
	switch e.Kind {
	case TunnelUp:
		h.later(n.upTo(time.Second), func() { h.want(e.Tunnel) })
	case SessionOpen:
		if _, ok := h.open[e.Call]; ok {
			n.fatalf("%s: call %d opened twice", h.name, e.Call)
		}
		h.open[e.Call] = e.Params
	case SessionPlace:
		if e.Params.CalledNumber == "" {
			n.fatalf("%s: nobody to call", h.name)
		}
		h.later(n.upTo(3*time.Second), func() {
			if !n.calm && n.chance(4) {
				h.Hangup(n.now, e.Call, wire.CDNV2{Result: wire.Result{Code: wire.CDNBusy}})
				return
			}
			h.Answer(n.now, e.Call, wire.OCCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 7, Framing: 1, Sequence: true}})
		})
	case SessionUp:
		if _, ok := h.open[e.Call]; !ok {
			n.fatalf("%s: call %d is up before it was open", h.name, e.Call)
		}
		h.up[e.Call] = e.Params
		if !n.calm && n.chance(3) {
			h.later(n.upTo(time.Minute), func() { h.Hangup(n.now, e.Call, wire.CDNV2{Result: wire.Result{Code: wire.CDNCarrier}}) })
		}
		if e.Params.LAC {
			h.Report(n.now, e.Call, wire.CallErrors{CRC: 1})
		} else {
			h.SetLink(n.now, e.Call, wire.SLIV2{})
		}
	case SessionDown:
		delete(h.up, e.Call)
		delete(h.open, e.Call)
		if h.placed[e.Call] {
			delete(h.placed, e.Call)
			h.later(n.upTo(5*time.Second), func() { h.want(e.Tunnel) })
		}
	}
}

// want places calls until there are as many as are wanted on a tunnel.
func (h *host) want(tunnel string) {
	if h.names[tunnel] == nil { // it is down: it will be up
		return
	}
	have := 0
	for id := range h.placed {
		if s := h.Node.calls[id]; s != nil && s.conn != nil && s.conn.name == tunnel {
			have++
		}
	}
	for ; have < h.calls; have++ {
		var id CallID
		var err error
		if h.cfg.Dial && h.net.seed%2 == 0 || !h.cfg.Dial && h.net.seed%2 == 1 {
			id, err = h.Indicate(h.net.now, tunnel, IncomingCall{
				Request:   wire.ICRQV2{CalledNumber: "1", CallingNumber: h.name, Bearer: wire.Some(wire.BearerType(1))},
				Connected: wire.ICCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 64000, Framing: 1}, Proxy: wire.Proxy{AuthenType: wire.AuthenPAP, Name: "alice", Response: []byte("secret")}},
			})
		} else {
			id, err = h.Request(h.net.now, tunnel, wire.OCRQV2{CalledNumber: "555", Bearer: 1, Framing: 1})
		}
		if err != nil {
			h.net.fatalf("%s: %v", h.name, err)
		}
		h.placed[id] = true
	}
}

// after lets a time go by.
func (n *network) after(d time.Duration) {
	until := n.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 1e6 {
			n.fatalf("no end of it")
		}
		next := until
		for _, h := range n.hosts {
			if d := h.Deadline(); !d.IsZero() && d.Before(next) {
				next = d
			}
		}
		if len(n.flight) > 0 && !n.flight[0].at.After(next) && n.flight[0].at.Before(until) {
			n.happen()
			continue
		}
		if !next.Before(until) {
			n.now = until
			return
		}
		if next.After(n.now) {
			n.now = next
		}
		for _, h := range n.hosts {
			h.Advance(n.now)
			h.drain()
		}
	}
}

func (n *network) happen() {
	p := heap.Pop(&n.flight).(happening)
	n.now = p.at
	if p.do != nil {
		p.do()
		return
	}
	for _, h := range n.hosts {
		if h.at == p.to {
			h.Receive(n.now, Address{Peer: p.from}, p.b)
			h.drain()
		}
	}
}

// A scenario is what happens to an LNS and its LACs, which are behind one NAT.
type scenario struct {
	name string
	play func(*network)
}

var scenarios = []scenario{
	{"loss", func(n *network) { n.build(); n.loss = n.rand.Float64() * 0.3; n.trouble(); n.agree() }},
	{"duplication", func(n *network) { n.build(); n.duplicate = n.rand.Float64(); n.trouble(); n.agree() }},
	{"reordering", func(n *network) { n.build(); n.delay = n.upTo(2 * time.Second); n.trouble(); n.agree() }},
	{"restarts", func(n *network) { n.build(); n.trouble(n.restart); n.agree() }},
	{"moves", func(n *network) { n.build(); n.trouble(n.move, n.move, n.restart); n.agree() }},
	{"commands", func(n *network) { n.build(); n.weather(); n.trouble(n.command, n.command, n.restart); n.agree() }},
	{"all", func(n *network) { n.build(); n.weather(); n.trouble(n.restart, n.move, n.command); n.agree() }},
	{"tie", (*network).tie},
}

// build makes an LNS and its LACs.
func (n *network) build() {
	n.delay = n.upTo(200 * time.Millisecond)
	lns := n.host("lns", lnsAddress, false)
	if n.chance(2) {
		lns.cfg.Secret, lns.cfg.Hide = simSecret, n.chance(2)
	}
	lns.start()
	for i := range 1 + n.rand.IntN(5) {
		h := n.host(pick(n, "guest", fmt.Sprintf("lac%d", i)), fmt.Sprintf("192.0.2.7:%d", 2000+i), true)
		h.cfg.Secret, h.cfg.Hide = lns.cfg.Secret, lns.cfg.Hide && n.chance(2)
		h.start()
	}
}

func (n *network) weather() {
	n.loss, n.duplicate = n.rand.Float64()*0.3, n.rand.Float64()*0.3
	n.delay = n.upTo(time.Second)
}

// trouble lets some of these things happen over some minutes.
func (n *network) trouble(things ...func()) {
	for range 1 + n.rand.IntN(8) {
		n.after(n.upTo(pick(n, 100*time.Millisecond, 2*time.Second, 10*time.Second, 40*time.Second)))
		for _, h := range n.hosts {
			n.sound(h)
		}
		if len(things) > 0 {
			pick(n, things...)()
		}
	}
}

func (n *network) restart() {
	h := pick(n, n.hosts...)
	if n.chance(3) {
		h.Close(n.now)
		h.drain()
	}
	h.start()
}

// move has a NAT give a LAC another port.
func (n *network) move() {
	if h := pick(n, n.hosts...); h.cfg.Dial {
		n.count++
		h.at = netip.AddrPortFrom(h.at.Addr(), uint16(10000+n.count%50000))
		n.remark("%s moves to %v", h.name, h.at)
	}
}

func (n *network) command() {
	h := pick(n, n.hosts...)
	switch n.rand.IntN(4) {
	case 0:
		h.Down(n.now, h.cfg.Name)
		h.drain()
		n.after(n.upTo(pick(n, time.Nanosecond, 5*time.Second)))
		h.Up(n.now, h.cfg.Name)
	case 1:
		h.Remove(n.now, h.cfg.Name)
		h.drain()
		h.start()
	case 2:
		for id := range h.up {
			h.Hangup(n.now, id, wire.CDNV2{Result: wire.Result{Code: wire.CDNAdministrative}})
			break
		}
	case 3:
		for name := range h.names {
			h.Down(n.now, name)
			if name == h.cfg.Name {
				h.Up(n.now, name)
			}
			break
		}
	}
	h.drain()
}

// agree heals the network and wants all to agree in the end, with nothing left of
// what was.
func (n *network) agree() {
	n.loss, n.duplicate, n.delay, n.calm = 0, 0, 50*time.Millisecond, true
	n.after(20 * time.Minute)
	lns, lacs := n.hosts[0], n.hosts[1:]
	calls := 0
	for _, h := range lacs {
		if len(h.conns) != 1 || h.names["t"] == nil || h.names["t"].state != Established {
			n.fatalf("%s: %d tunnels: %+v", h.name, len(h.conns), h.Status())
		}
		want := h.calls + lns.calls
		if len(h.up) != want || len(h.open) != want || len(h.Node.calls) != want {
			n.fatalf("%s: %d calls up, %d open, %d at all, want %d", h.name, len(h.up), len(h.open), len(h.Node.calls), want)
		}
		calls += want
		for id := range h.up {
			n.mirrored(h, id, lns)
		}
	}
	if len(lns.conns) != len(lacs) || len(lns.names) != len(lacs) || len(lns.requests) != len(lacs) || len(lns.up) != calls {
		n.fatalf("lns: %d tunnels, %d established, %d requests, %d calls, want %d, %d", len(lns.conns), len(lns.names), len(lns.requests), len(lns.up), len(lacs), calls)
	}
	restarted := slices.ContainsFunc(n.hosts, func(h *host) bool { return h.life > 1 })
	for _, h := range n.hosts {
		n.sound(h)
		if len(h.halfOpen)+len(h.lingering)+len(h.out.Ready)+len(h.out.Replies)+h.Node.events.Len()+len(h.Node.dialled) > 0 {
			n.fatalf("%s: left overs", h.name)
		}
		d := h.DropCounts()
		if restarted { // a new Tunnel ID may be the one of before, which is still spoken to
			d[DropSequence] = 0
		}
		if d[DropHeader]+d[DropSequence]+d[DropRequest]+d[DropRate]+d[DropLimit] > 0 {
			n.fatalf("%s dropped %v", h.name, d)
		}
	}
	for _, h := range lacs {
		h.Close(n.now)
		h.drain()
	}
	n.after(5 * time.Minute)
	if len(lns.conns)+len(lns.requests)+len(lns.Node.calls)+len(lns.timers)+len(lns.up)+len(lns.open) > 0 || lns.peers["t"].accepted != 0 {
		n.fatalf("after all have left the lns has %+v", lns.Status())
	}
}

// mirrored wants a call to be the mirror of one at the other end.
func (n *network) mirrored(h *host, id CallID, other *host) {
	p := h.Node.calls[id].params
	c := other.conns[p.PeerTunnelID]
	if c == nil || c.byID[p.PeerSessionID] == nil {
		n.fatalf("%s has call %d %+v, %s has not", h.name, id, p, other.name)
	}
	q := c.byID[p.PeerSessionID].params
	q.TunnelID, q.PeerTunnelID, q.SessionID, q.PeerSessionID = q.PeerTunnelID, q.TunnelID, q.PeerSessionID, q.SessionID
	if q.LAC == p.LAC {
		n.fatalf("%s and %s are both LAC: %v", h.name, other.name, p.LAC)
	}
	q.LAC = p.LAC
	if !reflect.DeepEqual(p, q) {
		n.fatalf("%s has %+v, %s has %+v", h.name, p, other.name, q)
	}
}

// tie has two nodes dial one another at once, each wishing for one tunnel.
func (n *network) tie() {
	n.delay = n.upTo(2 * time.Second)
	a, b := n.host("a", lnsAddress, true), n.host("b", "192.0.2.2:1701", true)
	for _, h := range n.hosts {
		h.cfg.Listen, h.cfg.TieBreaker = true, true
	}
	if n.chance(2) {
		n.weather()
	}
	a.start()
	b.start()
	a.Bind(n.now, "t", Binding{At: Address{Peer: b.at}, Peers: []netip.Prefix{netip.PrefixFrom(b.at.Addr(), 32)}})
	if n.chance(2) {
		n.after(n.upTo(2 * time.Second))
	}
	b.Bind(n.now, "t", Binding{At: Address{Peer: a.at}, Peers: []netip.Prefix{netip.PrefixFrom(a.at.Addr(), 32)}})
	n.trouble()
	n.loss, n.duplicate, n.delay, n.calm = 0, 0, 50*time.Millisecond, true
	n.after(20 * time.Minute)
	if len(a.conns) != 1 || len(b.conns) != 1 || a.names["t"] == nil || b.names["t"] == nil {
		n.fatalf("%d and %d tunnels, want one: %+v %+v", len(a.conns), len(b.conns), a.Status(), b.Status())
	}
	if len(a.up) != a.calls+b.calls || len(b.up) != a.calls+b.calls {
		n.fatalf("%d and %d calls, want %d", len(a.up), len(b.up), a.calls+b.calls)
	}
	for id := range a.up {
		n.mirrored(a, id, b)
	}
	n.sound(a)
	n.sound(b)
}

// sound checks that what a node keeps is of one piece.
func (n *network) sound(h *host) {
	sessions := 0
	for id, c := range h.conns {
		if c.id != id || c.removed {
			n.fatalf("%s: tunnel %d is kept as %d, removed %v", h.name, c.id, id, c.removed)
		}
		if c.state != Established && c.all.Count > 0 || len(c.byID) != c.all.Count {
			n.fatalf("%s: tunnel %d in %v has %d sessions, %d by ID", h.name, id, c.state, c.all.Count, len(c.byID))
		}
		if (c.state == Idle) == has(c.config.all, c) {
			n.fatalf("%s: tunnel %d in %v, known to its configuration: %v", h.name, id, c.state, has(c.config.all, c))
		}
		waiting := 0
		for s := range c.all.Each {
			sessions++
			if h.Node.calls[s.id] != s || s.conn != c {
				n.fatalf("%s: call %d is not known", h.name, s.id)
			}
			if s.state != Established {
				waiting++
			}
			if s.params.PeerSessionID != 0 && c.byPeerID[s.params.PeerSessionID] != s {
				n.fatalf("%s: call %d is not known by the peer's ID", h.name, s.id)
			}
		}
		if waiting != c.setup.Count {
			n.fatalf("%s: %d calls wait, %d are listed", h.name, waiting, c.setup.Count)
		}
	}
	for _, p := range h.peers {
		sessions += p.waiting.Count
	}
	if sessions != len(h.Node.calls) {
		n.fatalf("%s: %d calls, %d sessions", h.name, len(h.Node.calls), sessions)
	}
	for name, c := range h.names {
		if c.name != name || c.state != Established {
			n.fatalf("%s: %s is %s, %v", h.name, name, c.name, c.state)
		}
	}
}

func has(all map[*conn]struct{}, c *conn) bool {
	_, ok := all[c]
	return ok
}

// TestSim plays every scenario with many seeds: each run ends with both sides
// agreeing, nothing leaked, and no message sent that RFC 2661 does not allow.
func TestSim(t *testing.T) {
	seeds := *manySeeds
	switch {
	case seeds > 0:
	case testing.Short() || raced():
		seeds = 20
	default:
		seeds = 200
	}
	for _, v := range scenarios {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			types := make(map[wire.MessageType]int)
			play := func(seed uint64) {
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("seed %d panics", seed)
						panic(r)
					}
				}()
				v.play(&network{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), now: start, types: types})
			}
			if *oneSeed >= 0 {
				play(uint64(*oneSeed))
			} else {
				for seed := range seeds {
					play(seed)
				}
			}
			t.Logf("%d seeds, messages %v", seeds, types)
		})
	}
}
