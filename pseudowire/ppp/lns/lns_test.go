package lns

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns/address"
	"spanwire/pseudowire/ppp/lns/users"
)

// killedEnv is the environment variable by which a test starts itself as the process
// that it kills.
const killedEnv = "SPANWIRE_TEST_LNS"

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if v := strings.Fields(os.Getenv(killedEnv)); len(v) == 3 {
		killed(v[0], v[1], v[2])
	}
	os.Exit(m.Run())
}

// A cableEnd is one end of a cable between two ports: what is sent at one comes at the
// other, in order, but for what is lost.
type cableEnd struct {
	other   *cableEnd
	deliver atomic.Pointer[func([]pseudowire.Frame) int]
	mu      sync.Mutex
	lose    func(frame []byte) bool // nil: nothing
	queue   [][]byte
	busy    bool
}

// cable returns both ends.
func cable() (a, b *cableEnd) {
	a, b = &cableEnd{}, &cableEnd{}
	a.other, b.other = b, a
	return a, b
}

// A loser loses frames at random, but of each kind no more than so many in all: what is
// retransmitted more often than that gets through, whatever else there is of chance.
type loser struct {
	random *rand.Rand
	left   map[[3]byte]int // by protocol and code
}

// losses is how many frames of a kind are lost in one direction. Of echoes it is one: a
// request that is lost and a reply that is are two that the peer misses, and at three
// it would rightly be given up.
const losses, lostEchoes = 2, 1

func newLoser(seed, direction uint64) *loser {
	return &loser{random: rand.New(rand.NewPCG(seed, direction)), left: make(map[[3]byte]int)}
}

func (l *loser) lose(frame []byte) bool {
	kind := [3]byte(frame[2:])
	if p := ppp.Protocol(kind[0])<<8 | ppp.Protocol(kind[1]); p == ppp.IPv4 || p == ppp.IPv6 {
		kind[2] = 0
	}
	if _, known := l.left[kind]; !known {
		l.left[kind] = losses
		if echo := kind[2] == 9 || kind[2] == 10; echo && kind[0] == 0xc0 {
			l.left[kind] = lostEchoes
		}
	}
	if l.left[kind] == 0 || l.random.IntN(2) == 0 {
		return false
	}
	l.left[kind]--
	return true
}

func (w *cableEnd) Attach(deliver func([]pseudowire.Frame) int) {
	w.deliver.Store(&deliver)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kick()
}

// kick has what waits be delivered, if there is somebody who takes it. mu is held.
func (w *cableEnd) kick() {
	if !w.busy && len(w.queue) > 0 && w.deliver.Load() != nil {
		w.busy = true
		go w.run()
	}
}

func (w *cableEnd) Send(frames []pseudowire.Frame) int {
	o := w.other
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range frames {
		if w.lose == nil || !w.lose(f.Bytes()) {
			o.queue = append(o.queue, padded(f))
		}
	}
	o.kick()
	return len(frames)
}

func (w *cableEnd) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		var frames []pseudowire.Frame
		for _, b := range w.queue {
			frames = append(frames, pseudowire.NewFrame(b, pseudowire.Headroom))
		}
		w.queue = nil
		w.mu.Unlock()
		(*w.deliver.Load())(frames)
		w.mu.Lock()
	}
	w.busy = false
}

// A tun is a device of which the test is the kernel.
type tun struct {
	deliver atomic.Pointer[func([]pseudowire.Frame) int]
	mu      sync.Mutex
	came    [][]byte
	done    chan struct{}
}

func newTUN() *tun { return &tun{done: make(chan struct{})} }

func (d *tun) Name() string { return "ppp-test" }
func (d *tun) Attach(deliver func([]pseudowire.Frame) int) {
	d.deliver.Store(&deliver)
}
func (d *tun) Run() error   { <-d.done; return nil }
func (d *tun) Close() error { close(d.done); return nil }

func (d *tun) Send(frames []pseudowire.Frame) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range frames {
		d.came = append(d.came, append([]byte(nil), f.Bytes()...))
	}
	return len(frames)
}

// send has the host send packets.
func (d *tun) send(packets ...[]byte) {
	var frames []pseudowire.Frame
	for _, p := range packets {
		frames = append(frames, pseudowire.NewFrame(padded(pseudowire.NewFrame(p, 0)), pseudowire.Headroom))
	}
	(*d.deliver.Load())(frames)
}

// take returns what came to the host.
func (d *tun) take() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	came := d.came
	d.came = nil
	return came
}

// A world has a Server and Clients that are joined by cables, and devices instead of
// TUNs.
type world struct {
	t      *testing.T
	server *Server
	tun    *tun
	mu     sync.Mutex
	events []string
	downs  []Closed
}

var local = netip.MustParseAddr("10.0.0.1")

// newPool returns a pool.
func newPool(t testing.TB, bits int, ranges ...string) *address.Pool {
	t.Helper()
	var all []address.Range
	for _, r := range ranges {
		parsed, err := address.ParseRange(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parsed)
	}
	p, err := address.New(bits, all...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func usual(t *testing.T) Config {
	set, err := users.New([]users.User{
		{Name: "alice", Secret: users.Password("wonderland"), Address: netip.MustParseAddr("203.0.113.7"),
			Routes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25")}},
		{Name: "bob", Secret: users.Password("builder"), Links: 1},
		{Name: "carol", Secret: users.Password("sings"), SessionTimeout: time.Minute},
		{Name: "dave", Secret: users.Password("idles"), IdleTimeout: time.Minute},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Name: "lns0", Address: local, HostName: "lns", Methods: []ppp.Method{ppp.ByMSCHAP2, ppp.ByCHAP, ppp.ByPAP}, Users: set,
		Pools: map[string]*address.Pool{
			"v4": newPool(t, 32, "10.0.0.0/29"), "v6": newPool(t, 64, "2001:db8:1::/60"), "pd": newPool(t, 56, "2001:db8:8000::/40"),
		},
		Pool: "v4", IPv6Pool: "v6", DelegatedPool: "pd",
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")},
	}
}

// begin starts a Server. It is to be ended by end, for all that goes on in a bubble is
// to end there.
func begin(t *testing.T, cfg Config) *world {
	t.Helper()
	w := &world{t: t, tun: newTUN()}
	cfg.Event = func(e Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, fmt.Sprintf("%v %s", e.Kind, e.Status.User))
		if e.Kind == Down {
			w.downs = append(w.downs, e.Closed)
		}
	}
	s, err := newServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.start(w.tun)
	w.server = s
	return w
}

func (w *world) end() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.server.Close(ctx); err != nil {
		w.t.Error(err)
	}
	for name, p := range w.server.Pools() {
		if w.server.cfg.Pools[name].Contains(single(local)) {
			p.Used--
		}
		if p.Used != 0 {
			w.t.Errorf("pool %s: %d are given out when all are gone", name, p.Used)
		}
	}
	if n := len(w.server.held); n != 0 {
		w.t.Errorf("%d prefixes are held when all are gone", n)
	}
}

// happened returns what the Server told since it was asked last.
func (w *world) happened() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := fmt.Sprint(w.events)
	w.events = nil
	return s
}

func (w *world) lastDown() Closed {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.downs) == 0 {
		return Closed{}
	}
	return w.downs[len(w.downs)-1]
}

// A caller is a Client, its link and its device.
type caller struct {
	*Client
	tun    *tun
	link   *ClientLink
	far    *Link
	closed atomic.Pointer[Closed] // of the Client's side
}

// dial has a Client dial in.
func (w *world) dial(cfg ClientConfig) *caller {
	w.t.Helper()
	a, b := cable()
	return w.dialOver(a, b, cfg)
}

// dialOver has a Client dial in over a cable, of which the Server has the first end.
func (w *world) dialOver(a, b *cableEnd, cfg ClientConfig) *caller {
	w.t.Helper()
	far, err := w.server.Open(a, Call{Name: "test/" + cfg.User}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c := w.client(b, cfg)
	c.far = far
	return c
}

// client has a Client begin a link over an end of a cable.
func (w *world) client(b *cableEnd, cfg ClientConfig) *caller {
	w.t.Helper()
	c := &caller{tun: newTUN()}
	var err error
	if cfg.Name = "c0"; cfg.Prove == nil {
		cfg.Prove = []ppp.Method{ppp.ByMSCHAP2, ppp.ByCHAP, ppp.ByPAP}
	}
	if c.Client, err = newClient(cfg); err != nil {
		w.t.Fatal(err)
	}
	c.Client.start(c.tun)
	if c.link, err = c.Client.Open(b, Call{}, func(cause Closed) { c.closed.Store(&cause) }); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (c *caller) end(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Client.Close(ctx); err != nil {
		t.Error(err)
	}
}

// datagram returns a packet of UDP.
func datagram(from, to string, n int) []byte {
	f, d := netip.MustParseAddr(from), netip.MustParseAddr(to)
	if f.Is6() {
		return appendUDP6(nil, netip.AddrPortFrom(f, 1000), netip.AddrPortFrom(d, 2000), make([]byte, n))
	}
	b := make([]byte, 28+n)
	b[0], b[8], b[9] = 0x45, 64, protocolUDP
	b[2], b[3] = byte(len(b)>>8), byte(len(b))
	copy(b[12:], f.AsSlice())
	copy(b[16:], d.AsSlice())
	c := checksum(0, b[:20])
	b[10], b[11] = byte(c>>8), byte(c)
	b[24], b[25] = byte((8+n)>>8), byte(8+n)
	return b
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// settle lets time pass until all has been said.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestLink(t *testing.T) {
	for _, m := range []ppp.Method{ppp.ByPAP, ppp.ByCHAP, ppp.ByMSCHAP2} {
		t.Run(m.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := begin(t, usual(t))
				c := w.dial(ClientConfig{User: "alice", Password: "wonderland", Prove: []ppp.Method{m}})
				settle(20 * time.Second)
				far, near := c.far.Status(), c.link.Status()
				want(t, "user", far.User, "alice")
				want(t, "method", far.Method, m)
				want(t, "address", near.Address, "203.0.113.7")
				want(t, "address at the LNS", far.Address, "203.0.113.7")
				want(t, "prefix", near.Prefix, "2001:db8:1::/64")
				want(t, "prefix at the LNS", far.Prefix, "2001:db8:1::/64")
				want(t, "delegated", far.Delegated, "2001:db8:8000::/56")
				want(t, "routes", far.Routes, "[192.0.2.0/25]")
				want(t, "DNS", near.PPP.DNS[0], "192.0.2.53")
				c.link.mu.Lock()
				want(t, "DNS of IPv6", c.link.dns6, "[2001:db8::53]")
				c.link.mu.Unlock()
				want(t, "events", w.happened(), "[up alice changed alice]")
				want(t, "counts", fmt.Sprintf("%+v", w.server.Counts()), "{Opened:1 Refused:0 Up:1 Closed:0 NoRoom:0 Depleted:0}")

				own := made(near.Prefix, near.PPP.LocalID.LinkLocal()).String()
				for _, v := range []struct{ from, to string }{
					{"203.0.113.7", "10.0.0.1"}, {"192.0.2.99", "198.51.100.1"}, {own, "2001:db8::1"},
					{"2001:db8:1::99", "2001:db8::1"}, {"2001:db8:8000:ff::1", "2001:db8::1"},
				} {
					up, down := datagram(v.from, v.to, 100), datagram(v.to, v.from, 200)
					c.tun.send(up)
					w.tun.send(down)
					synctest.Wait()
					want(t, "up "+v.from, w.tun.take(), [][]byte{up})
					want(t, "down "+v.from, c.tun.take(), [][]byte{down})
				}
				for _, from := range []string{"203.0.113.8", "192.0.2.128", "10.0.0.1", "2001:db8:1:1::1", "2001:db8:8000:100::1", "::1"} {
					to := "198.51.100.1"
					if netip.MustParseAddr(from).Is6() {
						to = "2001:db8::1"
					}
					c.tun.send(datagram(from, to, 10))
				}
				synctest.Wait()
				want(t, "what came of a false source", len(w.tun.take()), 0)
				want(t, "spoofed", c.far.Status().Spoofed, 6)
				want(t, "spoofed in all", w.server.Drops().Spoofed, 6)
				w.tun.send(datagram("10.0.0.1", "10.0.0.5", 10), datagram("2001:db8::1", "2001:db8:2::1", 10))
				want(t, "to nobody", w.server.Drops().NoLink, 2)
				st := c.far.Status()
				want(t, "in", fmt.Sprint(st.InPackets, " ", st.InOctets), fmt.Sprint(5, " ", 2*128+3*148))
				want(t, "out", fmt.Sprint(st.OutPackets, " ", st.OutOctets), fmt.Sprint(5, " ", 2*228+3*248))

				c.end(t)
				settle(time.Second)
				want(t, "events", w.happened(), "[down alice]")
				want(t, "cause", w.lastDown(), "closed by peer")
				want(t, "disconnect", fmt.Sprintf("%+v", w.lastDown().Disconnect), "{Code:3 Protocol:protocol 0x0000 Direction:1}")
				w.end()
			})
		})
	}
}

// wantAll wants a link of alice's to have all that it gets.
func (c *caller) wantAll(t *testing.T) {
	t.Helper()
	if near := c.link.Status(); near.Address != netip.MustParseAddr("203.0.113.7") || !near.Prefix.IsValid() || c.closed.Load() != nil {
		t.Errorf("%v, %v, closed %v", near.Address, near.Prefix, c.closed.Load())
	}
}

// TestLoss wants links to come up whatever frames are lost, as long as there are fewer
// of a kind than there are tries.
func TestLoss(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := begin(t, usual(t))
				a, b := cable()
				a.lose, b.lose = newLoser(seed, 0).lose, newLoser(seed, 1).lose
				c := w.dialOver(a, b, ClientConfig{User: "alice", Password: "wonderland"})
				settle(2 * time.Minute)
				c.wantAll(t)
				c.end(t)
				settle(time.Minute)
				w.end()
			})
		})
	}
}

// TestLoseOne wants links to come up whichever one frame is lost, of either end.
func TestLoseOne(t *testing.T) {
	for end := range 2 {
		nth, sent := 0, 0
		for ; sent >= nth; nth++ { // until an end has no more to say
			t.Run(fmt.Sprintf("%d/%d", end, nth), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := begin(t, usual(t))
					a, b := cable()
					sent = 0
					[]*cableEnd{a, b}[end].lose = func([]byte) bool { sent++; return sent == nth+1 }
					c := w.dialOver(a, b, ClientConfig{User: "alice", Password: "wonderland"})
					settle(10 * time.Second)
					c.wantAll(t)
					c.end(t)
					settle(time.Minute)
					w.end()
				})
			})
		}
		if nth < 10 {
			t.Errorf("end %d: %d frames in all, want more", end, nth)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, v := range map[string]struct {
		user, password string
		prove          []ppp.Method
	}{
		"wrong by PAP":       {"alice", "x", []ppp.Method{ppp.ByPAP}},
		"wrong by CHAP":      {"alice", "x", []ppp.Method{ppp.ByCHAP}},
		"wrong by MS-CHAPv2": {"alice", "x", []ppp.Method{ppp.ByMSCHAP2}},
		"unknown":            {"mallory", "wonderland", nil},
		"no name":            {"", "wonderland", nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := begin(t, usual(t))
				c := w.dial(ClientConfig{User: v.user, Password: v.password, Prove: v.prove})
				settle(20 * time.Second)
				want(t, "events", w.happened(), fmt.Sprintf("[refused %s down %s]", v.user, v.user))
				want(t, "reason", w.lastDown().Reason, ppp.AuthFailed)
				want(t, "disconnect", w.lastDown().Disconnect.Code, 16)
				if c.closed.Load() == nil {
					t.Error("the client is not told")
				}
				c.end(t)
				w.end()
			})
		})
	}
}

// TestLimits has a user come in once too often, and more users than there are
// addresses.
func TestLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := usual(t)
		cfg.IPv6Pool, cfg.DelegatedPool = "", ""
		cfg.Pools["v4"] = newPool(t, 32, "10.0.0.0/30") // of which one is ours
		w := begin(t, cfg)
		first := w.dial(ClientConfig{User: "bob", Password: "builder"})
		settle(20 * time.Second)
		want(t, "first", w.happened(), "[up bob]")
		again := w.dial(ClientConfig{User: "bob", Password: "builder"})
		settle(20 * time.Second)
		want(t, "again", w.happened(), "[refused bob down bob]")
		carol := w.dial(ClientConfig{User: "carol", Password: "sings"})
		settle(20 * time.Second)
		want(t, "no address left", w.happened(), "[refused carol down carol]")
		want(t, "depleted", w.server.Counts().Depleted, 1)
		first.link.Disconnect()
		settle(20 * time.Second)
		want(t, "first ends", w.happened(), "[down bob]")
		other := w.dial(ClientConfig{User: "bob", Password: "builder"})
		settle(20 * time.Second)
		want(t, "when he has left", w.happened(), "[up bob]")
		for _, c := range []*caller{first, again, carol, other} {
			c.end(t)
		}
		w.end()
	})
}

// TestAgain has a user who is thought to be there come in again: his address is his, and
// the link before ends.
func TestAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := usual(t)
		cfg.UserLinks = 1
		w := begin(t, cfg)
		first := w.dial(ClientConfig{User: "alice", Password: "wonderland"})
		settle(20 * time.Second)
		second := w.dial(ClientConfig{User: "alice", Password: "wonderland"})
		settle(20 * time.Second)
		want(t, "address", second.far.Status().Address, "203.0.113.7")
		want(t, "the first", w.lastDown(), "the user came in again")
		down := datagram("198.51.100.1", "203.0.113.7", 10)
		w.tun.send(down)
		synctest.Wait()
		want(t, "to the first", len(first.tun.take()), 0)
		want(t, "to the second", second.tun.take(), [][]byte{down})
		first.end(t)
		second.end(t)
		settle(time.Second)
		w.end()
	})
}

func TestTimeouts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := begin(t, usual(t))
		c := w.dial(ClientConfig{User: "carol", Password: "sings"})
		d := w.dial(ClientConfig{User: "dave", Password: "idles"})
		settle(50 * time.Second)
		c.tun.send(datagram(c.link.Status().Address.String(), "198.51.100.1", 10))
		d.tun.send(datagram(d.link.Status().Address.String(), "198.51.100.1", 10))
		w.happened()
		settle(20 * time.Second)
		want(t, "session", w.happened(), "[down carol]")
		want(t, "session", w.lastDown(), "session timeout")
		settle(time.Minute)
		want(t, "idle", w.happened(), "[down dave]")
		want(t, "idle", w.lastDown(), "idle timeout")
		c.end(t)
		d.end(t)
		w.end()
	})
}

// TestPortGone closes a link without a word to the peer, who finds out by himself.
func TestPortGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := begin(t, usual(t))
		c := w.dial(ClientConfig{User: "alice", Password: "wonderland"})
		settle(20 * time.Second)
		c.far.Close(2)
		c.far.Close(2)
		want(t, "links", len(w.server.Links()), 0)
		settle(5 * time.Minute)
		if closed := c.closed.Load(); closed == nil || closed.Reason != ppp.PeerSilent {
			t.Errorf("the client: %v, want %v", closed, ppp.PeerSilent)
		}
		c.end(t)
		w.end()
	})
}

// TestNobody wants links of whom nobody has to prove who he is to get addresses.
func TestNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := usual(t)
		cfg.Methods, cfg.Users = nil, nil
		w := begin(t, cfg)
		c := w.dial(ClientConfig{})
		settle(20 * time.Second)
		want(t, "address", c.link.Status().Address, "10.0.0.2")
		want(t, "events", w.happened(), "[up  changed ]")
		c.end(t)
		settle(time.Second)
		w.end()
	})
}

func TestFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := usual(t)
		cfg.MaxLinks = 1
		w := begin(t, cfg)
		a, _ := cable()
		if _, err := w.server.Open(a, Call{}, nil); err != nil {
			t.Error(err)
		}
		if _, err := w.server.Open(a, Call{}, nil); err != ErrFull {
			t.Errorf("one too many: %v, want %v", err, ErrFull)
		}
		w.end()
		if _, err := w.server.Open(a, Call{}, nil); err != ErrFull {
			t.Errorf("when closed: %v, want %v", err, ErrFull)
		}
	})
}
