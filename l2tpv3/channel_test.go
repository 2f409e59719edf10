package l2tpv3

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane/user"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// endpoint returns an endpoint that says nothing.
func endpoint(t *testing.T, name string) *Endpoint {
	t.Helper()
	e := New(user.New(), slog.New(slog.NewTextHandler(io.Discard, nil)), control.Config{
		HostName: name, RouterID: 1, Capabilities: []pseudowire.Type{pseudowire.Ethernet}, Active: true,
	})
	t.Cleanup(e.Close)
	return e
}

// free returns an address with a UDP port that nobody holds at this moment.
func free(t testing.TB, address string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func within(t testing.TB, what string, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// isUp reports why a tunnel is not up yet.
func (e *Endpoint) isUp(name string) error {
	for _, t := range e.Status().Tunnels {
		if t.Name != name {
			continue
		}
		if !t.Up() || t.Sessions[0].Control.State != control.Established {
			return fmt.Errorf("tunnel %s is %s: %s; session %s", name, t.State, t.LastError, t.Sessions[0].Control.State)
		}
		return nil
	}
	return fmt.Errorf("no tunnel %s", name)
}

// dialler returns the ends of a tunnel of one session, office. It is quick.
func dialler(here, there netip.AddrPort) (dial, accept DynamicConfig) {
	quick := control.TunnelConfig{Timeout: 20 * time.Millisecond, MaxTimeout: 20 * time.Millisecond, Retries: 20, DialRetries: 3,
		RedialMin: 20 * time.Millisecond, RedialMax: 50 * time.Millisecond}
	circuit := Circuit{CircuitConfig: control.CircuitConfig{Name: "office", RemoteEndID: []byte("office"), Pseudowire: pseudowire.Ethernet, CookieSize: 8}}
	accept = DynamicConfig{
		TunnelConfig: TunnelConfig{Name: "lyon", Socket: transport.Config{Local: there}, Peer: Host{Addr: here.Addr()}},
		Control:      quick, Circuits: []Circuit{circuit},
	}
	quick.Dial, circuit.Initiate = true, true
	dial = DynamicConfig{
		TunnelConfig: TunnelConfig{Name: "paris", Socket: transport.Config{Local: here}, Peer: Host{Addr: there.Addr(), Port: there.Port()}},
		Control:      quick, Circuits: []Circuit{circuit},
	}
	return dial, accept
}

// TestNextAddress has a peer's name stand for two addresses, of which the first is
// dead.
func TestNextAddress(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.32")
	a, b := endpoint(t, "lyon"), endpoint(t, "paris")
	dial, accept := dialler(here, there)
	if _, err := b.AddDynamic(accept); err != nil {
		t.Fatal(err)
	}
	dial.Peer = Host{Name: "no-such-host.invalid", Port: there.Port()}
	d, err := a.AddDynamic(dial)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the name not resolved", func() error {
		if st := a.Status().Tunnels[0]; st.State != Resolving || st.LastError == "" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	// The state is the connection's as soon as there is one, though the last that
	// was heard of the name was an error.
	dead := netip.MustParseAddr("127.0.0.31")
	if err := d.bind(a, []netip.Addr{dead, there.Addr()}); err != nil {
		t.Fatal(err)
	}
	within(t, "the second address", func() error { return a.isUp("paris") })
	d.enter(a, Resolving, fmt.Errorf("lookup: no such host"))
	if err := a.isUp("paris"); err != nil {
		t.Errorf("after a lookup in vain: %v", err)
	}
	// What is up stays so, whatever the order in which a resolver gives addresses.
	if err := d.bind(a, []netip.Addr{there.Addr(), dead}); err != nil {
		t.Fatal(err)
	}
	if err := d.bind(a, []netip.Addr{dead, there.Addr()}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if st := a.Status().Tunnels[0]; !st.Up() || st.Control.Ups != 1 {
		t.Errorf("%+v, want up once", st)
	}
}

// TestWays has the way to a peer be what the tunnel is configured with for each
// message, before and after it was down, and nothing be left of it.
func TestWays(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	a, b := endpoint(t, "lyon"), endpoint(t, "paris")
	dial, accept := dialler(here, there)
	dial.DSCP, accept.DSCP = 46, 46
	if _, err := b.AddDynamic(accept); err != nil {
		t.Fatal(err)
	}
	if _, err := a.AddDynamic(dial); err != nil {
		t.Fatal(err)
	}
	check := func(e *Endpoint, when string, want int) {
		t.Helper()
		c := e.channel
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.ways) != want || len(c.known) != want {
			t.Errorf("%s: ways %v, sources %v, want %d", when, c.ways, c.known, want)
		}
		for at, w := range c.ways {
			if p, err := c.path(at); err != nil || p != w.path || p.Config().DSCP != 46 {
				t.Errorf("%s: %v: %+v, %v", when, at, p.Config(), err)
			}
		}
	}
	for range 3 {
		within(t, "up", func() error { return a.isUp("paris") })
		within(t, "up", func() error { return b.isUp("lyon") })
		check(a, "up, who dials", 1)
		check(b, "up, who accepts", 1)
		if err := a.Down("paris"); err != nil {
			t.Fatal(err)
		}
		within(t, "down", func() error {
			if b.Status().Tunnels[0].Up() {
				return fmt.Errorf("it is up")
			}
			return nil
		})
		check(a, "down, who dials", 1) // where it dials
		check(b, "down, who accepts", 0)
		if err := a.Up("paris"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoRoute wants to be told why nothing can be sent to a peer that is dialled.
func TestNoRoute(t *testing.T) {
	dial, _ := dialler(free(t, "127.0.0.1"), netip.MustParseAddrPort("192.0.2.77:1701")) // not from loopback
	log := new(locked)
	a := New(user.New(), slog.New(slog.NewTextHandler(log, nil)), control.Config{HostName: "lyon"})
	t.Cleanup(a.Close)
	if _, err := a.AddDynamic(dial); err != nil {
		t.Fatal(err)
	}
	within(t, "the reason in status and log", func() error {
		if st := a.Status().Tunnels[0]; st.LastError == "" || !strings.Contains(log.String(), "msg=\"tunnel down\"") || !strings.Contains(log.String(), " err=") {
			return fmt.Errorf("last error %q, log %s", st.LastError, log)
		}
		return nil
	})
}

type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestStrangersHoldUpNoPeer floods the queue of control messages, and wants its
// memory bounded and a peer's message taken first.
func TestStrangersHoldUpNoPeer(t *testing.T) {
	e := &Endpoint{log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	c := newChannel(e, control.Config{Random: func([]byte) {}})
	peer := netip.MustParseAddrPort("192.0.2.1:1701")
	c.known[source{0, peer}] = 1
	from := func(at string) *transport.Datagram { return &transport.Datagram{From: netip.MustParseAddrPort(at)} }
	big, octets := make([]byte, 65000), 0
	for c.receive(0, false, from("203.0.113.1:1701"), big) {
		octets += len(big)
	}
	if octets > maxOctets {
		t.Errorf("%d octets of strangers wait, want no more than %d", octets, maxOctets)
	}
	if c.receive(0, false, from("203.0.113.1:1701"), big) {
		t.Error("taken beyond the bound")
	}
	for range 10 {
		if !c.receive(0, false, &transport.Datagram{From: peer}, make([]byte, 12)) {
			t.Fatal("a peer's message was not taken")
		}
	}
	c.take(<-c.strangers.messages)
	if n := len(c.peers.messages); n != 0 {
		t.Errorf("%d messages of the peer still wait behind strangers", n)
	}
	for len(c.strangers.messages) > 0 {
		c.take(<-c.strangers.messages)
	}
	if a, b := c.peers.octets.Load(), c.strangers.octets.Load(); a != 0 || b != 0 {
		t.Errorf("%d and %d octets are counted, and none wait", a, b)
	}
	for range 100 {
		if m := c.spare.Get().(*message); cap(m.octet) > maxSpare {
			t.Fatalf("a buffer of %d octets is kept", cap(m.octet))
		}
	}
	small := make([]byte, 12)
	n := 0
	for c.receive(0, false, from("203.0.113.1:1701"), small) {
		n++
	}
	if n != maxQueue {
		t.Errorf("%d messages wait, want %d", n, maxQueue)
	}
}

// TestLookTakesTurns has many tunnels looked after, all in a turn and few at once.
func TestLookTakesTurns(t *testing.T) {
	c := newChannel(&Endpoint{log: slog.New(slog.NewTextHandler(io.Discard, nil))}, control.Config{Random: func([]byte) {}})
	if got := c.look(); got != checkEvery {
		t.Errorf("without a tunnel again in %v, want %v", got, checkEvery)
	}
	var all []*Dynamic
	for i := range 1000 {
		d := newDynamic(DynamicConfig{TunnelConfig: TunnelConfig{Name: fmt.Sprint(i)}})
		all = append(all, d)
		c.add(d)
	}
	var turn time.Duration
	seen, n := 0, 0
	for {
		turn += c.look()
		n++
		if c.looked-seen > 128 {
			t.Fatalf("%d tunnels at once", c.looked-seen)
		}
		if seen = c.looked; seen == len(c.all) {
			break
		}
	}
	if turn > checkEvery || turn < checkEvery-10*time.Millisecond || n != 8 {
		t.Errorf("a turn of %d took %v, want 8 and %v", n, turn, checkEvery)
	}
	for i, d := range all {
		if i%3 == 0 {
			c.remove(d)
		}
	}
	for i, d := range c.all {
		if d.place != i || c.tunnels[d.cfg.Name] != d {
			t.Fatalf("tunnel %s has place %d, is at %d", d.cfg.Name, d.place, i)
		}
	}
	if len(c.all) != 666 || len(c.tunnels) != 666 {
		t.Errorf("%d and %d tunnels, want 666", len(c.all), len(c.tunnels))
	}
}

// TestCountersOverRollovers sends frames while one session takes over from another
// again and again, and wants none lost, none counted twice, and no counter ever
// lower than it was.
func TestCountersOverRollovers(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	a, b := endpoint(t, "lyon"), endpoint(t, "paris")
	dial, accept := dialler(here, there)
	dial.Circuits[0].Overlap, accept.Circuits[0].Overlap = 20*time.Millisecond, 20*time.Millisecond
	db, err := b.AddDynamic(accept)
	if err != nil {
		t.Fatal(err)
	}
	da, err := a.AddDynamic(dial)
	if err != nil {
		t.Fatal(err)
	}
	sa, sb := da.Sessions()[0], db.Sessions()[0]
	sb.Attach(func(frames []pseudowire.Frame) int { return len(frames) })
	within(t, "up", func() error { return a.isUp("paris") })
	within(t, "up", func() error { return b.isUp("lyon") })
	stop := make(chan struct{})
	var work sync.WaitGroup
	sent := 0
	work.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
			buf := make([]byte, pseudowire.Headroom+60)
			sent += sa.Send([]pseudowire.Frame{pseudowire.NewFrame(buf, pseudowire.Headroom)})
		}
	})
	for _, s := range []*Session{sa, sb} {
		work.Go(func() {
			former := s.stats()
			for {
				select {
				case <-stop:
					return
				default:
				}
				now := s.stats()
				if now.TxPackets < former.TxPackets || now.RxPackets < former.RxPackets {
					t.Errorf("counters %+v after %+v", now, former)
					return
				}
				former = now
				runtime.Gosched()
			}
		})
	}
	const rollovers = 20
	id := uint32(0)
	for range rollovers {
		within(t, "another session", func() error {
			if _, now := sa.Drops(); now != id {
				id = now
				return nil
			}
			a.Roll("paris/office") // its error: one is taking over
			return fmt.Errorf("session %d", id)
		})
	}
	close(stop)
	work.Wait()
	within(t, "all frames counted on both sides", func() error {
		x, y := sa.stats(), sb.stats()
		if x.TxPackets != uint64(sent) || y.RxPackets != x.TxPackets || y.LastReceived.IsZero() {
			return fmt.Errorf("%d sent, %d counted, %d received", sent, x.TxPackets, y.RxPackets)
		}
		return nil
	})
}

// TestClose closes endpoints twice, from two goroutines, and while all sorts of
// things are done, and wants nothing hung and no goroutine left.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		here, there := free(t, "127.0.0.1"), free(t, "127.0.0.1")
		a, b := endpoint(t, "lyon"), endpoint(t, "paris")
		dial, accept := dialler(here, there)
		b.AddDynamic(accept)
		d, err := a.AddDynamic(dial)
		if err != nil {
			t.Fatal(err)
		}
		s := d.Sessions()[0]
		stop := make(chan struct{})
		var work sync.WaitGroup
		for i, do := range []func(){
			func() { a.Up("paris"); b.Up("lyon") },
			func() { a.Down("paris/office"); a.Up("paris/office") },
			func() { a.Roll("paris/office") },
			func() { a.SetCircuit(s, 0); a.SetCircuit(s, wire.CircuitActive) },
			func() { a.Status(); b.Status(); a.Glance() },
			func() {
				other := dial
				other.Name, other.Peer = fmt.Sprintf("other%d", time.Now().UnixNano()), Host{Name: "no-such-host.invalid", Port: 1701}
				a.AddDynamic(other)
			},
			func() { s.Send([]pseudowire.Frame{pseudowire.NewFrame(make([]byte, 200), 100)}) },
		} {
			work.Go(func() {
				for n := range 10000 {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(i) * 300 * time.Microsecond):
					}
					do()
					_ = n
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		for range 2 {
			work.Go(a.Close)
			work.Go(b.Close)
		}
		a.Close()
		b.Close()
		close(stop)
		work.Wait()
		a.Close()
		if _, err := a.AddDynamic(dial); err == nil {
			t.Error("a tunnel was added after Close")
		}
	}
	within(t, "no goroutine left", func() error {
		if n := runtime.NumGoroutine(); n > before+2 {
			return fmt.Errorf("%d goroutines, %d before", n, before)
		}
		return nil
	})
}

// TestShortMessages sends what is too short for a control message, over IP, where
// the first four octets say that it is one.
func TestShortMessages(t *testing.T) {
	e := endpoint(t, "paris")
	_, accept := dialler(netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("127.0.0.33:0"))
	accept.Socket.Encap = wire.IP
	if _, err := e.AddDynamic(accept); err != nil {
		t.Fatal(err)
	}
	within(t, "bound", func() error {
		if st := e.Status().Tunnels[0]; st.Receive == 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	c, err := net.Dial("ip4:115", "127.0.0.33")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := 1; n <= 20; n++ {
		if _, err := c.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "all counted", func() error {
		s := e.Status()
		if short, header := s.Drops[pseudowire.DropShort], s.Refused[control.DropHeader].Count; short != 3 || header != 17 {
			return fmt.Errorf("%d too short for a Session ID, %d for a control message; want 3 and 17", short, header)
		}
		return nil
	})
}

// TestMTUIsTold has the largest MTU told whenever a session has another: with a
// peer's other cookie, and to who asks when it is up already.
func TestMTUIsTold(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.1")
	a, b := endpoint(t, "lyon"), endpoint(t, "paris")
	dial, accept := dialler(here, there)
	accept.Circuits[0].CookieSize = 0
	db, err := b.AddDynamic(accept)
	if err != nil {
		t.Fatal(err)
	}
	da, err := a.AddDynamic(dial)
	if err != nil {
		t.Fatal(err)
	}
	early, late := make(chan int, 10), make(chan int, 10)
	da.Sessions()[0].NotifyMTU(func(mtu int) { early <- mtu })
	within(t, "up", func() error { return a.isUp("paris") })
	within(t, "up", func() error { return b.isUp("lyon") })
	db.Sessions()[0].NotifyMTU(func(mtu int) { late <- mtu })
	const most = 65535 - 20 - 8 - 8 - 18
	if got := <-early; got != most {
		t.Errorf("without a cookie to send: %d, want %d", got, most)
	}
	if got := <-late; got != most-8 {
		t.Errorf("with one: %d, want %d", got, most-8)
	}
	// While there is no session a path says nothing, and the same one nothing new.
	for _, name := range []string{"paris/office", "paris"} {
		if err := a.Down(name); err != nil {
			t.Fatal(err)
		}
		if err := a.Up(name); err != nil {
			t.Fatal(err)
		}
		within(t, "up again", func() error { return a.isUp("paris") })
	}
	da.Sessions()[0].setMTU(1500, wire.UDP, false)
	da.Sessions()[0].setMTU(1500, wire.UDP, false)
	if got := <-early; got != 1500-20-8-8-18 || len(early) != 0 {
		t.Errorf("another path: %d, and %d more", got, len(early))
	}
}

// TestGlance wants a look at a thousand sessions to cost nothing to speak of.
func TestGlance(t *testing.T) {
	e := endpoint(t, "lyon")
	dial, _ := dialler(free(t, "127.0.0.1"), netip.MustParseAddrPort("127.0.0.1:9"))
	dial.Control.RedialMin, dial.Control.RedialMax = time.Hour, time.Hour
	for i := range 1000 {
		k := dial.Circuits[0]
		k.Name, k.RemoteEndID = fmt.Sprint(i), fmt.Append(nil, i)
		dial.Circuits = append(dial.Circuits, k)
	}
	if _, err := e.AddDynamic(dial); err != nil {
		t.Fatal(err)
	}
	template := dial
	template.Name, template.Control.Many, template.Control.Dial, template.Peer = "any", true, false, Host{Addr: netip.MustParseAddr("127.0.0.2")}
	if _, err := e.AddDynamic(template); err != nil {
		t.Fatal(err)
	}
	g := e.Glance()
	if g.Tunnels != 1 || g.Up != 0 || len(g.Sessions) != 1001 {
		t.Errorf("%d of %d tunnels up, %d sessions; want 0 of 1, 1001", g.Up, g.Tunnels, len(g.Sessions))
	}
	if n := testing.AllocsPerRun(20, func() {
		for _, s := range e.Glance().Sessions {
			s.Drops()
		}
	}); n > 5 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestWhatGoesOnIsLoggedSeldom has a peer refuse a session again and again.
func TestWhatGoesOnIsLoggedSeldom(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	var r repeated
	now := time.Unix(1e9, 0)
	tell := func(reason string) string {
		b.Reset()
		r.log(log, "session down", reason, now, []any{"why", reason})
		_, line, _ := strings.Cut(strings.TrimSpace(b.String()), " ")
		return line
	}
	for i, v := range []struct {
		after        time.Duration
		reason, want string
	}{
		{0, "busy", `level=WARN msg="session down" why=busy`},
		{time.Minute, "busy", ""},
		{time.Minute, "busy", ""},
		{time.Minute, "lost", `level=WARN msg="session down" why=lost`},
		{time.Minute, "lost", ""},
		{remindEvery, "lost", `level=WARN msg="session down" why=lost as_often_before=1`},
		{time.Minute, control.ByCommand, `level=INFO msg="session down" why="down by command"`},
	} {
		now = now.Add(v.after)
		if got := tell(v.reason); got != v.want {
			t.Errorf("%d: %q, want %q", i, got, v.want)
		}
	}
}
