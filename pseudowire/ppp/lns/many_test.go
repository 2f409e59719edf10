package lns

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns/address"
	"spanwire/pseudowire/ppp/lns/users"
	"spanwire/pseudowire/ppp/radius"
)

// A socket is what a Server's link stands on, and calls a dialler at the other end. All
// is done by whoever brings a frame.
type socket struct {
	deliver atomic.Pointer[func([]pseudowire.Frame) int]
	far     atomic.Pointer[dialler] // nil: it is gone
	early   [][]byte                // what was sent before there is somebody to take an answer
}

func (s *socket) Attach(deliver func([]pseudowire.Frame) int) {
	s.deliver.Store(&deliver)
	early := s.early
	s.early = nil
	for _, b := range early {
		s.far.Load().take(b)
	}
}

func (s *socket) Send(frames []pseudowire.Frame) int {
	for _, f := range frames {
		b := append([]byte(nil), f.Bytes()...)
		if s.deliver.Load() == nil {
			s.early = append(s.early, b)
		} else if d := s.far.Load(); d != nil {
			d.take(b)
		}
	}
	return len(frames)
}

// A dialler is a peer that is nothing but the machine.
type dialler struct {
	socket *socket
	up     func()

	mu   sync.Mutex
	link *ppp.Link
	came [][]byte
	busy bool
}

// take takes a frame, unless it is taken in by somebody already.
func (d *dialler) take(frame []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.came = append(d.came, frame); d.busy {
		return
	}
	d.busy = true
	for len(d.came) > 0 {
		frame := d.came[0]
		d.came = d.came[1:]
		if _, _, ok := d.link.Decap(pseudowire.NewFrame(frame, 0)); !ok {
			d.link.Receive(time.Now(), frame)
		}
		d.drain()
	}
	d.busy = false
}

// drain sends what the machine says. mu is held, but for when it is sent.
func (d *dialler) drain() {
	for {
		b, ok := d.link.Transmit(make([]byte, pseudowire.Headroom))
		if !ok {
			break
		}
		d.mu.Unlock()
		(*d.socket.deliver.Load())([]pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)})
		d.mu.Lock()
	}
	for {
		e, ok := d.link.Event()
		if !ok {
			return
		}
		if e.Kind == ppp.IPv4Up || e.Kind == ppp.IPv6Up {
			d.up()
		}
	}
}

// A crowd is many links to one Server.
type crowd struct {
	server  *Server
	tun     *tun
	sockets []*socket
	ups     atomic.Int64 // protocols that are up
}

// crowdConfig is that of a Server which has many users.
func crowdConfig(t testing.TB, n int, m ppp.Method) Config {
	t.Helper()
	all := make([]users.User, n)
	for i := range all {
		all[i] = users.User{Name: fmt.Sprintf("user%d", i), Secret: users.Password("secret")}
	}
	set, err := users.New(all)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Name: "lns0", Address: local, HostName: "lns", Methods: []ppp.Method{m}, Users: set, MaxLinks: n,
		Pools: map[string]*address.Pool{"v4": newPool(t, 32, "10.0.0.0/8"), "v6": newPool(t, 64, "2001:db8::/32")},
		Pool:  "v4", IPv6Pool: "v6", DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
	}
}

func newCrowd(t testing.TB, cfg Config) *crowd {
	t.Helper()
	s, err := newServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{server: s, tun: newTUN()}
	s.start(c.tun)
	return c
}

// dial has one more user dial in, and come up in his time.
func (c *crowd) dial(t testing.TB) {
	s := &socket{}
	d := &dialler{socket: s, up: func() { c.ups.Add(1) }}
	var err error
	d.link, err = ppp.New(ppp.Config{
		Name: fmt.Sprintf("user%d", len(c.sockets)), Password: "secret", Prove: []ppp.Method{ppp.ByMSCHAP2, ppp.ByCHAP, ppp.ByPAP},
		IPv4: ppp.IPv4Config{AskDNS: true}, FirstRestart: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.far.Store(d)
	c.sockets = append(c.sockets, s)
	d.link.Open(time.Now())
	if _, err := c.server.Open(s, Call{Name: "crowd"}, nil); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.drain()
	d.mu.Unlock()
}

func held() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestManyLinks has 10,000 links up at once. They cost memory alone, and no more than
// they are to.
func TestManyLinks(t *testing.T) {
	const n, most = 10000, 5000
	c := newCrowd(t, crowdConfig(t, n, ppp.ByCHAP))
	before, goroutines := held(), runtime.NumGoroutine()
	for range n {
		c.dial(t)
	}
	until(t, "all are up", func() bool { return c.ups.Load() >= 2*n })
	until(t, "nobody has anything to do", func() bool { return runtime.NumGoroutine() <= goroutines })
	has := make(map[netip.Addr]bool)
	for _, st := range c.server.Links() {
		if has[st.Address] || !st.Prefix.IsValid() {
			t.Fatalf("%s: %v, %v, want an address that nobody else has, and a prefix", st.User, st.Address, st.Prefix)
		}
		has[st.Address] = true
	}
	want(t, "links with an address", len(has), n)
	for _, s := range c.sockets {
		s.far.Store(nil) // what the other ends hold is not ours
	}
	c.tun.take()
	if each := (held() - before) / n; each > most {
		t.Errorf("%d octets a link, want %d at most", each, most)
	}
	for _, l := range c.server.all() {
		l.Close(radius.LostCarrier)
	}
	for name, p := range c.server.Pools() {
		if p.Used -= min(p.Used, map[string]uint64{"v4": 1}[name]); p.Used != 0 { // one is ours
			t.Errorf("pool %s: %d are given out when all are gone", name, p.Used)
		}
	}
	if err := c.server.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// BenchmarkLinks has as many links come up in one Server as it makes rounds, and tells
// how many do in a second and what one holds. It is to be run with -benchtime 10000x.
func BenchmarkLinks(b *testing.B) {
	for _, m := range []ppp.Method{ppp.ByPAP, ppp.ByCHAP, ppp.ByMSCHAP2} {
		b.Run(m.String(), func(b *testing.B) {
			c := newCrowd(b, crowdConfig(b, b.N, m))
			before := held()
			b.ResetTimer()
			for range b.N {
				c.dial(b)
			}
			until(b, "all are up", func() bool { return c.ups.Load() >= int64(2*b.N) })
			b.StopTimer()
			if up := c.server.Counts().Up; up != uint64(b.N) {
				b.Errorf("%d links are up, want %d", up, b.N)
			}
			for _, s := range c.sockets {
				s.far.Store(nil)
			}
			c.tun.take()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "links/s")
			b.ReportMetric(float64(held()-before)/float64(b.N), "B/link")
			for _, l := range c.server.all() {
				l.Close(radius.LostCarrier)
			}
		})
	}
}
