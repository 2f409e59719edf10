package control

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// One seed is played again by -run 'Sim/SCENARIO' -seed N -v, which then prints
// the last messages of a failure in full; -seeds M plays the seeds below M.
var (
	oneSeed   = flag.Int64("seed", -1, "the one seed that TestSim plays")
	manySeeds = flag.Uint64("seeds", 0, "how many seeds TestSim plays in each scenario; 0: a few")
)

// raced reports whether the race detector is on, by which all takes longer.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// A scenario is what happens to two nodes.
type scenario struct {
	name string
	play func(*sim)
}

var scenarios = []scenario{
	{"loss", func(s *sim) {
		s.build()
		s.loss = s.rand.Float64() * 0.4
		s.trouble()
		s.agree()
	}},
	{"duplication", func(s *sim) {
		s.build()
		s.duplicate = s.rand.Float64()
		s.trouble()
		s.agree()
	}},
	{"reordering", func(s *sim) {
		s.build()
		s.delay, s.least = s.upTo(3*time.Second), time.Nanosecond
		s.trouble()
		s.agree()
	}},
	{"restarts", func(s *sim) {
		s.build()
		s.trouble(s.restart)
		s.agree()
	}},
	{"all", func(s *sim) {
		s.build()
		s.weather()
		s.trouble(s.restart)
		s.agree()
	}},
	{"both", func(s *sim) { // dial at once
		s.both = true
		if s.chance(2) {
			s.repeat = 8 * (1 + s.rand.IntN(12))
		}
		s.build()
		if s.chance(2) {
			s.weather()
		}
		if s.chance(2) {
			s.trouble()
		} else {
			s.trouble(s.restart)
		}
		s.agree()
	}},
	{"template", (*sim).template},
	{"secrets", (*sim).changeSecrets},
	{"rollover", (*sim).rollover},
	{"status", func(s *sim) {
		s.inactive = true
		s.build()
		s.weather()
		s.trouble(s.flap, s.flap, s.flap, s.restart)
		s.heal()
		for range s.rand.IntN(20) {
			s.flap()
			s.after(s.upTo(300 * time.Millisecond))
		}
		for _, side := range s.sides {
			for i := range side.cfg.Circuits { // for no call is placed by what is inactive
				s.status(side, i, wire.CircuitActive|wire.CircuitStatus(s.rand.IntN(0x20)<<2))
			}
		}
		s.agree()
	}},
	{"calls", func(s *sim) { // incoming and outgoing, many circuits
		s.circuits, s.outgoing = 1+s.rand.IntN(12), true
		s.build()
		if s.chance(2) {
			s.weather()
		}
		s.trouble(s.restart, s.command, s.command)
		s.agree()
	}},
	{"commands", func(s *sim) {
		s.build()
		s.weather()
		s.trouble(s.command, s.command, s.command, s.command, s.command, s.restart, s.leave)
		s.agree()
	}},
	{"circuits", func(s *sim) { // that come and go, and may not fit each other
		s.circuits, s.headers, s.outgoing = 1+s.rand.IntN(6), true, s.chance(2)
		s.build()
		if s.chance(2) {
			s.weather()
		}
		s.trouble(s.comeAndGo, s.comeAndGo, s.comeAndGo, s.restart)
		s.agree()
	}},
	{"moves", func(s *sim) {
		s.build()
		if s.chance(2) {
			s.weather()
		}
		s.trouble(s.move, s.move, s.restart)
		s.agree()
	}},
}

// A sim is a run of a scenario: two nodes, each with one tunnel to the other.
type sim struct {
	*network
	sides [2]*side

	// What the scenario wants of the configurations.
	both     bool // dial, and open all circuits
	circuits int  // 0: a few
	outgoing bool // as many OCRQs as ICRQs
	inactive bool // until SetCircuit
	lifetime bool // of cookies
	headers  bool // of Frame Relay, whose lengths the two sides may not agree on
	repeat   int  // octets for which both have the same "random" ones
	adjust   func(*TunnelConfig)

	statuses map[string]wire.CircuitStatus // of local segments, by node and name
	seen     map[string]wire.CircuitStatus // as the peers know them
	moved    byte
}

// A side is a node with what it is configured with.
type side struct {
	*node
	peer *side
	cfg  TunnelConfig
	down map[string]bool // by command, or its circuit is not there
	stop bool            // the whole tunnel
}

func (s *sim) chance(of int) bool { return s.rand.IntN(of) == 0 }

// upTo returns a time of up to d, and more than none.
func (s *sim) upTo(d time.Duration) time.Duration { return 1 + time.Duration(s.rand.Int64N(int64(d))) }

func pick[T any](s *sim, all ...T) T { return all[s.rand.IntN(len(all))] }

// build makes the nodes and their configurations.
func (s *sim) build() {
	s.delay = s.upTo(200 * time.Millisecond)
	s.statuses, s.seen = make(map[string]wire.CircuitStatus), make(map[string]wire.CircuitStatus)
	for i := range s.sides {
		s.sides[i] = &side{node: s.node(byte(1+i), string(rune('a'+i))), down: make(map[string]bool)}
	}
	a, b := s.sides[0], s.sides[1]
	a.peer, b.peer = b, a
	a.cfg, b.cfg = s.tunnels("b", "a")
	a.cfg.Dial, b.cfg.Dial = true, s.both || s.chance(3)
	n := s.circuits
	if n == 0 {
		n = 1 + s.rand.IntN(3)
	}
	for i := range n {
		x, y := s.pair(i)
		a.cfg.Circuits, b.cfg.Circuits = append(a.cfg.Circuits, x), append(b.cfg.Circuits, y)
	}
	for _, side := range s.sides {
		side.node.cfg.Active = !s.inactive
		side.node.tell = func(e Event) { s.told(side, e) }
		if s.repeat > 0 {
			side.node.cfg.Random = s.repeating()
		}
		side.start()
		if s.chance(4) {
			side.cfg.PeerHostName = side.peer.node.cfg.HostName
			side.cfg.PeerRouterID = side.peer.node.cfg.RouterID
		}
	}
	if s.chance(2) {
		s.setup(b)
		s.setup(a)
		return
	}
	s.setup(a)
	s.after(s.upTo(3 * time.Second))
	s.setup(b)
}

// repeating returns a source of random octets that begins as those of all nodes.
func (s *sim) repeating() func([]byte) {
	same := rand.New(rand.NewPCG(s.seed, 2))
	left := s.repeat + 32 // New takes a seed
	return func(b []byte) {
		if left -= len(b); left < 0 || len(b) == 32 { // which is a seed
			s.random(b)
			return
		}
		for i := range b {
			b[i] = byte(same.Uint32())
		}
	}
}

// tunnels returns the configurations of a tunnel's two ends, without circuits.
func (s *sim) tunnels(x, y string) (a, b TunnelConfig) {
	var secrets []*wire.Secret
	if s.chance(2) {
		secrets = []*wire.Secret{sharedSecret}
	}
	ends := [2]TunnelConfig{{Name: x}, {Name: y}}
	for i := range ends {
		c := &ends[i]
		c.Secrets = secrets
		c.Digests = pick(s, nil, nil, []wire.DigestType{wire.MD5}, []wire.DigestType{wire.SHA1}, []wire.DigestType{wire.SHA1, wire.MD5})
		c.Integrity = s.chance(4)
		c.Hide = secrets != nil && s.chance(2)
		c.Hello = pick(s, 0, s.upTo(60*time.Second)+time.Second)
		c.Timeout = pick(s, 0, 0, s.upTo(2*time.Second)+200*time.Millisecond)
		c.Retries = pick(s, 0, 0, 5+s.rand.IntN(10))
		c.DialRetries = pick(s, 0, 0, 1+s.rand.IntN(6))
		c.ReceiveWindow = pick(s, 0, 1, 2, 4, 1+s.rand.IntN(128))
		c.SetupTimeout = pick(s, 0, 0, s.upTo(time.Minute)+5*time.Second)
		c.RedialMin = pick(s, 0, s.upTo(3*time.Second)+100*time.Millisecond)
		c.RedialMax = pick(s, 0, s.upTo(20*time.Second)+5*time.Second)
		c.Dialect = pick(s, Auto, Auto, IETF, Cisco)
		c.Language = pick(s, "", "de")
		if s.adjust != nil {
			s.adjust(c)
		}
	}
	if s.chance(4) {
		ends[s.rand.IntN(2)].NoTieBreaker = true
	}
	return ends[0], ends[1]
}

var (
	sharedSecret = wire.NewSecret([]byte("shared"))
	newSecret    = wire.NewSecret([]byte("new"))
)

// pair returns the two ends of a circuit.
func (s *sim) pair(i int) (a, b CircuitConfig) {
	var ends [2]CircuitConfig
	kind, header := pick(s, types...), pick(s, 0, 2, 4)
	who := s.rand.IntN(3) // initiates: a, b, or both
	if s.both {
		who = 2
	}
	for j := range ends {
		c := &ends[j]
		c.Name = fmt.Sprintf("c%d", i)
		c.RemoteEndID = []byte(c.Name)
		c.Pseudowire, c.FrameRelayHeaderLen = kind, header
		c.CookieSize = pick(s, 0, 4, 8)
		c.Sublayer = pick(s, pseudowire.NoSublayer, pseudowire.DefaultSublayer)
		if c.Sublayer != pseudowire.NoSublayer {
			c.Sequencing = pick(s, pseudowire.NoSequencing, pseudowire.NonIPSequencing, pseudowire.AllSequencing)
		}
		c.Initiate = who == 2 || who == j
		c.Outgoing = s.chance(4) || s.outgoing && s.chance(2)
		c.TxSpeed, c.RxSpeed = pick(s, 0, s.rand.Uint64()), pick(s, 0, s.rand.Uint64())
		c.PhysicalChannelID = pick(s, 0, s.rand.Uint32())
		if s.lifetime {
			c.CookieLifetime = pick(s, 0, s.upTo(10*time.Second)+200*time.Millisecond)
			c.Overlap = pick(s, 0, s.upTo(5*time.Second)+time.Second)
		}
	}
	if s.headers && s.chance(2) {
		ends[0].Pseudowire, ends[1].Pseudowire = pseudowire.FrameRelay, pseudowire.FrameRelay
		ends[0].FrameRelayHeaderLen, ends[1].FrameRelayHeaderLen = pick(s, 0, 2, 4), pick(s, 0, 2, 4)
	}
	if s.chance(4) {
		ends[0].PeerCookieSize, ends[1].PeerCookieSize = ends[1].CookieSize, ends[0].CookieSize
	}
	if s.chance(6) {
		ends[s.rand.IntN(2)].NoTieBreaker = true
	}
	return ends[0], ends[1]
}

// everywhere is where nodes may be.
var everywhere = netip.MustParsePrefix("192.0.2.0/24")

// setup gives a node its tunnel.
func (s *sim) setup(x *side) {
	clear(x.down)
	x.stop = false
	if err := x.Add(s.now, x.cfg); err != nil {
		s.t.Fatal(err)
	}
	s.bind(x)
	if s.inactive {
		for i := range x.cfg.Circuits {
			s.status(x, i, wire.CircuitActive)
		}
	}
}

func (s *sim) bind(x *side) {
	b := Binding{Peers: []netip.Prefix{everywhere}}
	if x.cfg.Dial {
		b.At = Address{Peer: x.peer.at}
	}
	x.Bind(s.now, x.cfg.Name, b)
	s.drain(x.node)
}

// status sets the status of a circuit's local segment.
func (s *sim) status(x *side, i int, status wire.CircuitStatus) {
	name := x.cfg.Name + "/" + x.cfg.Circuits[i].Name
	s.statuses[x.node.cfg.HostName+name] = status
	x.SetCircuit(s.now, name, status)
	s.drain(x.node)
}

// flap sets the status of some circuit to some value.
func (s *sim) flap() {
	x := pick(s, s.sides[0], s.sides[1])
	i := s.rand.IntN(len(x.cfg.Circuits))
	s.status(x, i, wire.CircuitStatus(s.rand.IntN(0x80))&^wire.CircuitNew)
}

// told notes what a node learns of its peer's circuits.
func (s *sim) told(x *side, e Event) {
	if e.Kind == SessionUp || e.Kind == SessionCircuit {
		s.seen[x.node.cfg.HostName+e.Session] = e.Status
	}
}

// weather makes the network a bad one.
func (s *sim) weather() {
	s.loss, s.duplicate = s.rand.Float64()*0.4, s.rand.Float64()*0.3
	s.delay = s.upTo(2 * time.Second)
}

// heal makes the network a good one.
func (s *sim) heal() {
	s.loss, s.duplicate, s.delay, s.least = 0, 0, 50*time.Millisecond, 0
}

// trouble lets some of these things happen over some minutes.
func (s *sim) trouble(things ...func()) {
	for range 1 + s.rand.IntN(8) {
		s.after(s.upTo(pick(s, 100*time.Millisecond, 2*time.Second, 10*time.Second, 40*time.Second)))
		sound(s.fatalf, s.sides[0].LCCE)
		sound(s.fatalf, s.sides[1].LCCE)
		if len(things) > 0 {
			pick(s, things...)()
		}
	}
}

// restart kills a node, and has it begin anew.
func (s *sim) restart() {
	x := pick(s, s.sides[0], s.sides[1])
	x.start()
	s.after(s.upTo(pick(s, time.Nanosecond, 3*time.Second)))
	s.setup(x)
}

// leave closes a node, which comes again later.
func (s *sim) leave() {
	x := pick(s, s.sides[0], s.sides[1])
	x.Close(s.now)
	s.drain(x.node)
	s.after(s.upTo(pick(s, time.Nanosecond, 3*time.Second, 30*time.Second)))
	x.start()
	s.setup(x)
}

// command gives a node a command.
func (s *sim) command() {
	x := pick(s, s.sides[0], s.sides[1])
	k := x.cfg.Circuits[s.rand.IntN(len(x.cfg.Circuits))].Name
	name := x.cfg.Name + "/" + k
	switch s.rand.IntN(8) {
	case 0:
		x.down[k] = true
		x.Down(s.now, name)
	case 1, 2:
		x.down[k] = false
		x.Up(s.now, name)
	case 3:
		x.stop = true
		x.Down(s.now, x.cfg.Name)
	case 4, 5:
		x.stop = false
		x.Up(s.now, x.cfg.Name)
	case 6:
		x.Roll(s.now, name)
	case 7:
		x.Remove(s.now, x.cfg.Name)
		s.drain(x.node)
		s.setup(x)
	}
	s.drain(x.node)
}

// comeAndGo has some circuit go, or come again.
func (s *sim) comeAndGo() {
	x := pick(s, s.sides[0], s.sides[1])
	k := x.cfg.Circuits[s.rand.IntN(len(x.cfg.Circuits))].Name
	name := x.cfg.Name + "/" + k
	if x.down[k] = s.chance(2); x.down[k] {
		x.CloseCircuit(s.now, name, pick(s, Deleted, Inactive))
	} else {
		x.SetCircuit(s.now, name, wire.CircuitActive)
	}
	s.drain(x.node)
}

// move has the first node come from another address, as behind a NAT.
func (s *sim) move() {
	s.moved++
	x := s.sides[0]
	x.at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 10 + s.moved}), 1701)
	if y := x.peer; y.cfg.Dial {
		s.bind(y)
	}
}

// agree heals the network and wants both sides to agree in the end, with nothing
// left of what was.
func (s *sim) agree() {
	s.heal()
	s.after(10 * time.Minute)
	a, b := s.sides[0], s.sides[1]
	for range 50 { // while one session takes over from another, the sides may differ
		if !s.rolling() {
			break
		}
		s.after(200 * time.Millisecond)
	}
	up := !a.stop && !b.stop
	for _, x := range s.sides {
		c := x.tunnels[x.cfg.Name].conn
		if (c != nil && c.state == Established) != up || len(x.conns) > 1 || up && len(x.conns) != 1 {
			s.fatalf("%s: %d connections, up is to be %v: %+v", x.node.cfg.HostName, len(x.conns), up, x.Status())
		}
	}
	sessions := 0
	for i, x := range a.cfg.Circuits {
		y := b.cfg.Circuits[i]
		name := "b/" + x.Name
		nameAtPeer := "a/" + y.Name
		apart := x.Pseudowire == pseudowire.FrameRelay && (x.FrameRelayHeaderLen == 4) != (y.FrameRelayHeaderLen == 4)
		if !up || a.down[x.Name] || b.down[y.Name] || apart {
			if len(a.open[name]) != 0 || len(b.open[nameAtPeer]) != 0 {
				s.fatalf("%s is to be down, header lengths differ %v: %v, %v", name, apart, a.open[name], b.open[nameAtPeer])
			}
			continue
		}
		s.mirrored(a.node, name, b.node, nameAtPeer)
		p, q := a.open[name][a.active[name]], b.open[nameAtPeer][b.active[nameAtPeer]]
		if p.TxSpeed != y.TxSpeed || p.RxSpeed != y.RxSpeed || q.TxSpeed != x.TxSpeed || q.RxSpeed != x.RxSpeed {
			s.fatalf("%s: speeds %d %d, %d %d", name, p.TxSpeed, p.RxSpeed, q.TxSpeed, q.RxSpeed)
		}
		if s.inactive {
			s.known("a"+name, "b"+nameAtPeer)
			s.known("b"+nameAtPeer, "a"+name)
		}
		sessions += max(1, len(a.open[name]))
	}
	if len(a.sessions) != len(b.sessions) || len(a.sessions) < sessions || len(a.sessions) > 2*sessions || !s.lifetime && len(a.sessions) != sessions {
		s.fatalf("%d and %d sessions, want %d", len(a.sessions), len(b.sessions), sessions)
	}
	for _, x := range s.sides {
		sound(s.fatalf, x.LCCE)
		if len(x.halfOpen) > 0 || len(x.requests) > 1 || len(x.out.Ready) > 0 || len(x.out.Replies) > 0 || x.LCCE.events.Len() != 0 {
			s.fatalf("%s: %d half-open, %d requests, %d ready, %d replies", x.node.cfg.HostName, len(x.halfOpen), len(x.requests), len(x.out.Ready), len(x.out.Replies))
		}
		if drops := x.DropCounts(); drops[DropIntegrity]+drops[DropHeader]+drops[DropSequence]+drops[DropRequest] > 0 && s.moved == 0 {
			s.fatalf("%s dropped %v", x.node.cfg.HostName, drops)
		}
	}
}

// rolling reports whether a session is being set up.
func (s *sim) rolling() bool {
	for _, x := range s.sides {
		for _, k := range x.circuits {
			if k.next != nil || k.active != nil && k.active.state != Established {
				return true
			}
		}
	}
	return len(s.sides[0].sessions) != len(s.sides[1].sessions)
}

// known wants a side to know the status of the peer's circuit.
func (s *sim) known(ours, theirs string) {
	if got, want := s.seen[ours]&^wire.CircuitNew, s.statuses[theirs]; got != want {
		s.fatalf("%s knows status %#x of %s, want %#x", ours, got, theirs, want)
	}
}

// changeSecrets goes from one secret to another, one side after the other, and
// through a time in which there is none in common.
func (s *sim) changeSecrets() {
	s.build()
	a, b := s.sides[0], s.sides[1]
	one, two, three := []*wire.Secret{sharedSecret}, []*wire.Secret{newSecret, sharedSecret}, []*wire.Secret{newSecret}
	if s.chance(2) {
		s.weather()
	}
	give := func(x *side, secrets []*wire.Secret) {
		x.cfg.Secrets = secrets
		if s.chance(2) {
			x.start()
		} else {
			x.Remove(s.now, x.cfg.Name)
			s.drain(x.node)
		}
		s.setup(x)
	}
	give(a, one)
	give(b, one)
	for _, step := range [...]struct {
		x       *side
		secrets []*wire.Secret
	}{{a, two}, {b, two}, {a, three}, {b, three}} {
		s.trouble(s.restart)
		give(step.x, step.secrets)
		if s.chance(3) {
			s.agreeButDrops()
		}
	}
	if s.chance(2) {
		give(a, one)
		s.heal()
		s.after(10 * time.Minute)
		for _, x := range s.sides {
			if c := x.tunnels[x.cfg.Name].conn; c != nil && c.state == Established || len(x.sessions) > 0 || len(x.open) > 0 {
				s.fatalf("%s is up without a secret in common", x.node.cfg.HostName)
			}
			if len(x.conns) > 1 || len(x.requests) > 0 {
				s.fatalf("%s has %d connections, %d requests", x.node.cfg.HostName, len(x.conns), len(x.requests))
			}
			sound(s.fatalf, x.LCCE)
		}
		give(a, three)
	}
	s.agreeButDrops()
}

// agreeButDrops is agree where messages with wrong digests are natural.
func (s *sim) agreeButDrops() {
	for _, x := range s.sides {
		x.drops = [Drops]uint64{}
	}
	s.heal()
	s.after(10 * time.Minute)
	for _, x := range s.sides {
		x.drops = [Drops]uint64{}
	}
	s.agree()
}

// rollover has sessions take over from one another, while frames travel.
func (s *sim) rollover() {
	s.lifetime = true
	mode := s.rand.IntN(3)
	if mode == 1 { // what is lost is to come again before anybody gives up
		s.adjust = func(c *TunnelConfig) { c.Timeout, c.SetupTimeout, c.Retries = 200*time.Millisecond, 0, 0 }
	}
	s.build()
	s.delay, s.least = 250*time.Millisecond, time.Millisecond
	s.after(3 * time.Minute)
	s.frames, s.nextFrames = s.upTo(100*time.Millisecond)+5*time.Millisecond, s.now
	things := []func(){s.roll, s.roll, func() {}}
	switch mode {
	case 0:
		s.strict = true
	case 1:
		s.strict = true
		s.loss = s.rand.Float64() * 0.1
	case 2:
		s.loss = s.rand.Float64() * 0.3
		things = append(things, s.restart, s.command)
	}
	until := s.now.Add(20 * time.Second)
	for s.now.Before(until) {
		pick(s, things...)()
		s.after(s.upTo(pick(s, 100*time.Millisecond, 3*time.Second)))
		sound(s.fatalf, s.sides[0].LCCE)
		sound(s.fatalf, s.sides[1].LCCE)
	}
	if mode < 2 && s.lostFrames > 0 {
		s.fatalf("%d of %d frames found no session", s.lostFrames, s.sentFrames)
	}
	s.frames = 0
	s.agree()
}

// roll has a session take over by command.
func (s *sim) roll() {
	x := pick(s, s.sides[0], s.sides[1])
	x.Roll(s.now, x.cfg.Name+"/"+x.cfg.Circuits[s.rand.IntN(len(x.cfg.Circuits))].Name)
	s.drain(x.node)
}

// template has several nodes dial one, which knows none of them.
func (s *sim) template() {
	hub := s.node(1, "hub")
	cfg, spoke := s.tunnels("peers", "hub")
	cfg.Many, cfg.NoTieBreaker = true, false
	named, other := s.pair(0)
	named.Initiate, other.Initiate = false, true
	anyEnd, mine := s.pair(1)
	anyEnd.Initiate, mine.Initiate = false, true
	anyEnd.AnyEndID, anyEnd.RemoteEndID = true, nil
	cfg.Circuits = []CircuitConfig{named, anyEnd}
	spoke.Dial = true
	hubUp := func() {
		hub.start()
		if err := hub.Add(s.now, cfg); err != nil {
			s.t.Fatal(err)
		}
		hub.Bind(s.now, cfg.Name, Binding{Peers: []netip.Prefix{everywhere}})
		s.drain(hub)
	}
	var spokes []*node
	ends := make(map[*node]int)
	start := func(o *node) {
		o.start()
		c := spoke
		c.Circuits = []CircuitConfig{other}
		for i := range ends[o] {
			k := mine
			k.Name = fmt.Sprintf("e%d", i)
			k.RemoteEndID = []byte(k.Name)
			c.Circuits = append(c.Circuits, k)
		}
		o.tunnel(hub, c)
	}
	hubUp()
	for i := range 1 + s.rand.IntN(6) {
		name := fmt.Sprintf("spoke%d", i)
		if s.chance(4) {
			name = "spoke" // told apart by Router ID
		}
		o := s.node(byte(10+i), name)
		ends[o] = s.rand.IntN(4)
		spokes = append(spokes, o)
		start(o)
	}
	s.weather()
	for range s.rand.IntN(10) {
		s.after(s.upTo(20 * time.Second))
		o := pick(s, spokes...)
		switch s.rand.IntN(6) {
		case 0:
			hubUp()
		case 1, 2:
			start(o)
		case 3:
			o.Close(s.now)
			s.drain(o)
			s.after(s.upTo(time.Second))
			start(o)
		case 4:
			hub.Down(s.now, cfg.Name)
			s.drain(hub)
			s.after(s.upTo(10 * time.Second))
			hub.Up(s.now, cfg.Name)
		case 5:
			k := fmt.Sprintf("hub/e%d", s.rand.IntN(4))
			o.Down(s.now, k)
			s.drain(o)
			s.after(s.upTo(time.Second))
			o.Up(s.now, k)
			s.drain(o)
		}
		sound(s.fatalf, hub.LCCE)
	}
	s.heal()
	s.after(10 * time.Minute)
	circuits := 0
	for _, o := range spokes {
		circuits += 1 + ends[o]
		sound(s.fatalf, o.LCCE)
		if len(o.conns) != 1 || len(o.sessions) != 1+ends[o] {
			s.fatalf("%s: %d connections, %d sessions, want 1 and %d", o.cfg.HostName, len(o.conns), len(o.sessions), 1+ends[o])
		}
		for name, id := range o.active {
			p := o.open[name][id]
			q := hub.sessions[p.PeerSessionID]
			if q == nil || q.params.PeerSessionID != id || q.params.SendCookie != p.ReceiveCookie || q.params.ReceiveCookie != p.SendCookie {
				s.fatalf("%s: %s %+v is not the hub's", o.cfg.HostName, name, p)
			}
		}
		if len(o.active) != 1+ends[o] {
			s.fatalf("%s: %d sessions up, want %d", o.cfg.HostName, len(o.active), 1+ends[o])
		}
	}
	sound(s.fatalf, hub.LCCE)
	if len(hub.tunnels) != 1+len(spokes) || len(hub.conns) != len(spokes) || len(hub.circuits) != circuits || len(hub.active) != circuits || len(hub.open) != circuits {
		s.fatalf("hub: %d tunnels, %d connections, %d circuits, want %d, %d, %d", len(hub.tunnels), len(hub.conns), len(hub.circuits), 1+len(spokes), len(spokes), circuits)
	}
	for _, o := range spokes {
		o.Close(s.now)
		s.drain(o)
	}
	s.after(5 * time.Minute)
	if len(hub.tunnels) != 1 || len(hub.conns) != 0 || len(hub.circuits) != 0 || len(hub.sessions) != 0 || len(hub.timers) != 0 || len(hub.requests) != 0 {
		s.fatalf("hub, after all have left: %d tunnels, %d connections, %d circuits", len(hub.tunnels), len(hub.conns), len(hub.circuits))
	}
}

// TestSim plays every scenario with many seeds: each run ends with both sides
// agreeing, nothing leaked, and no message sent that RFC 3931 does not allow.
func TestSim(t *testing.T) {
	seeds := *manySeeds
	switch {
	case seeds > 0:
	case testing.Short() || raced():
		seeds = 20
	default:
		seeds = 400
	}
	for _, v := range scenarios {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			counts := make(map[wire.MessageType]int)
			play := func(seed uint64) {
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("seed %d panics", seed)
						panic(r)
					}
				}()
				s := &sim{network: newNetwork(t, seed)}
				s.referee = newReferee(s.network)
				v.play(s)
				for k, n := range s.referee.counts {
					counts[k] += n
				}
			}
			if *oneSeed >= 0 {
				play(uint64(*oneSeed))
			} else {
				for seed := range seeds {
					play(seed)
				}
			}
			t.Logf("%d seeds, messages %v", seeds, counts)
		})
	}
}
