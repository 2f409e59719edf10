package serial

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"spanwire/bridge"
	"spanwire/pseudowire"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// A station is the other end of a line, as an emulator has it.
type station struct {
	t      testing.TB
	socket net.PacketConn
	peer   net.Addr
}

// networks are what lines are carried over.
var networks = []struct{ name, address string }{{"IPv4", "127.0.0.1:0"}, {"IPv6", "[::1]:0"}, {"unix", ""}}

// open returns a line and its other end.
func open(t testing.TB, address string) (*Line, *station) {
	t.Helper()
	s := &station{t: t}
	var cfg Config
	var err error
	if address == "" {
		dir := t.TempDir()
		cfg = Config{Unix, filepath.Join(dir, "line"), filepath.Join(dir, "station")}
		s.socket, err = net.ListenPacket("unixgram", cfg.Peer)
	} else if s.socket, err = net.ListenPacket("udp", address); err == nil {
		cfg = Config{UDP, address, s.socket.LocalAddr().String()}
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if address == "" {
		s.peer, err = net.ResolveUnixAddr("unixgram", l.LocalAddr())
	} else {
		s.peer, err = net.ResolveUDPAddr("udp", l.LocalAddr())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.socket.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, s
}

// send sends a frame over the line.
func (s *station) send(frame []byte) {
	s.t.Helper()
	if _, err := s.socket.WriteTo(frame, s.peer); err != nil {
		s.t.Fatal(err)
	}
}

// receive returns the next frame.
func (s *station) receive() []byte {
	s.t.Helper()
	b := make([]byte, maxFrame)
	s.socket.SetReadDeadline(time.Now().Add(patience))
	n, _, err := s.socket.ReadFrom(b)
	if err != nil {
		s.t.Fatal(err)
	}
	return b[:n]
}

func addrPort(t testing.TB, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run runs a line until the test ends.
func run(t testing.TB, l *Line) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- l.Run() }()
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), <-done); err != nil {
			t.Errorf("Run after Close: %v", err)
		}
	})
}

// await waits until something is so.
func await(t testing.TB, is func() bool, instead func() string) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(instead())
		}
	}
}

// frame returns a frame with headroom.
func frame(b []byte) pseudowire.Frame {
	return pseudowire.NewFrame(append(make([]byte, pseudowire.Headroom), b...), pseudowire.Headroom)
}

// frames are those that must pass a line unchanged, whatever they are.
var frames = map[string][]byte{
	"one octet":           {0x42},
	"Cisco HDLC":          {0x0f, 0x00, 0x08, 0x00, 0x45, 0, 0, 20},
	"Cisco HDLC, SLARP":   {0x8f, 0x00, 0x80, 0x35, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff},
	"PPP, LCP":            {0xff, 0x03, 0xc0, 0x21, 1, 1, 0, 4},
	"PPP, compressed":     {0x21, 0x45, 0, 0, 20},
	"LAPB, SABM":          {0x01, 0x3f},
	"Frame Relay, IP":     {0x18, 0x41, 0x03, 0xcc, 0x45, 0, 0, 20},
	"Frame Relay, LMI":    {0xfc, 0xf1, 0x03, 0x09, 0x00, 0x75, 1, 1, 0, 3, 2, 1, 0},
	"as IOS has it":       bytes.Repeat([]byte{0x7e, 0x7d}, 750),
	"larger than any MTU": bytes.Repeat([]byte{0xaa}, 18000),
}

// TestFramesPass has two lines joined as a pseudowire of type HDLC joins them: RFC
// 4349 section 4.1: "all packets are passed in a largely transparent manner".
func TestFramesPass(t *testing.T) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			a, near := open(t, n.address)
			b, far := open(t, n.address)
			bridge.Patch(a, b)
			run(t, a)
			run(t, b)
			octets := uint64(0)
			for name, want := range frames {
				near.send(want)
				if got := far.receive(); !bytes.Equal(got, want) {
					t.Errorf("%s: %x, want %x", name, got, want)
				}
				far.send(want)
				if got := near.receive(); !bytes.Equal(got, want) {
					t.Errorf("%s, the other way: %x, want %x", name, got, want)
				}
				octets += uint64(len(want))
			}
			count := uint64(len(frames))
			want := Stats{InFrames: count, InOctets: octets, OutFrames: count, OutOctets: octets}
			await(t, func() bool { return a.Stats() == want }, func() string { return fmt.Sprintf("%+v, want %+v", a.Stats(), want) })
		})
	}
}

// TestBatches sends more at once than there is room for in one system call.
func TestBatches(t *testing.T) {
	a, near := open(t, networks[0].address)
	var got [][]byte
	var mu sync.Mutex
	a.Attach(func(f []pseudowire.Frame) int {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range f {
			if f.Headroom() < pseudowire.Headroom {
				t.Errorf("headroom of %d octets, want %d", f.Headroom(), pseudowire.Headroom)
			}
			got = append(got, bytes.Clone(f.Bytes()))
		}
		return len(f)
	})
	const many = 2*batch + batch/2
	var out []pseudowire.Frame
	for i := range many {
		out = append(out, frame(fmt.Append(nil, "frame ", i)))
		near.send(fmt.Append(nil, "frame ", i)) // before anybody reads
	}
	run(t, a)
	if sent := a.Send(out); sent != many {
		t.Errorf("%d sent, want %d", sent, many)
	}
	for i := range many {
		if got, want := string(near.receive()), fmt.Sprint("frame ", i); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	await(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(got) >= many }, func() string { return fmt.Sprintf("%+v", a.Stats()) })
	mu.Lock()
	defer mu.Unlock()
	for i := range many {
		if i >= len(got) || string(got[i]) != fmt.Sprint("frame ", i) {
			t.Fatalf("%d frames: %q, want %d in their order", len(got), got, many)
		}
	}
}

// TestWhatIsNoFrame counts what comes and is none.
func TestWhatIsNoFrame(t *testing.T) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			l, s := open(t, n.address)
			var got []string
			done := make(chan struct{})
			l.Attach(func(f []pseudowire.Frame) int {
				for _, f := range f {
					if got = append(got, string(f.Bytes())); string(f.Bytes()) == "last" {
						close(done)
					}
				}
				return len(f)
			})
			address := n.address
			if address == "" {
				address = filepath.Join(t.TempDir(), "stranger")
			}
			network := s.peer.Network()
			stranger, err := net.ListenPacket(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			for range 3 {
				if _, err := stranger.WriteTo([]byte("foreign"), s.peer); err != nil {
					t.Fatal(err)
				}
			}
			foreign := uint64(3)
			if network == "unixgram" { // of which nobody knows who it is
				c, err := net.Dial(network, l.LocalAddr())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write([]byte("nameless")); err != nil {
					t.Fatal(err)
				}
				foreign++
			}
			s.send([]byte("first"))
			s.send(nil)
			s.send([]byte("last"))
			run(t, l)
			select {
			case <-done:
			case <-time.After(patience):
				t.Fatal("the last frame did not come")
			}
			if strings.Join(got, " ") != "first last" {
				t.Errorf("%q, want first and last", got)
			}
			if got, want := l.Stats(), (Stats{InFrames: 2, InOctets: 9, InForeign: foreign, InErrors: 1}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestRefused counts what cannot be sent.
func TestRefused(t *testing.T) {
	t.Run("nobody at the path", func(t *testing.T) {
		l, s := open(t, "")
		s.socket.Close()
		os.Remove(l.Config().Peer)
		if sent := l.Send([]pseudowire.Frame{frame([]byte("a")), frame([]byte("b"))}); sent != 0 || l.Stats() != (Stats{OutErrors: 2}) {
			t.Errorf("%d sent, %+v, want 2 errors", sent, l.Stats())
		}
	})
	t.Run("nobody reads", func(t *testing.T) {
		l, _ := open(t, "")
		out := make([]pseudowire.Frame, 64)
		for i := range out {
			out[i] = frame(make([]byte, 10000))
		}
		sent := 0
		for range 100 {
			sent += l.Send(out)
		}
		if got := l.Stats(); sent == 6400 || got.OutFrames != uint64(sent) || got.OutErrors != uint64(6400-sent) {
			t.Errorf("%d of 6400 sent, %+v", sent, got)
		}
	})
	t.Run("too long", func(t *testing.T) {
		l, s := open(t, networks[0].address)
		// No datagram of IPv4 is longer than 65507 octets.
		if sent := l.Send([]pseudowire.Frame{frame([]byte("a")), frame(make([]byte, 65508)), frame([]byte("b"))}); sent != 2 || l.Stats() != (Stats{OutFrames: 2, OutOctets: 2, OutErrors: 1}) {
			t.Errorf("%d sent, %+v, want 2 and an error", sent, l.Stats())
		}
		if got := string(s.receive()) + string(s.receive()); got != "ab" {
			t.Errorf("received %q, want ab", got)
		}
	})
	t.Run("closed", func(t *testing.T) {
		l, _ := open(t, networks[0].address)
		l.Close()
		if sent := l.Send([]pseudowire.Frame{frame([]byte("a"))}); sent != 0 || l.Stats() != (Stats{OutErrors: 1}) {
			t.Errorf("%d sent, %+v, want an error", sent, l.Stats())
		}
	})
}

// TestPaths is about who has a unix socket's path.
func TestPaths(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "line"), filepath.Join(dir, "other")
	cfg := Config{Unix, path, other}
	first, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil || err.Error() != "serial "+cfg.String()+": address already in use" {
		t.Errorf("a path that another line has: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v, want no file", err)
	}

	// What somebody left that was killed.
	left, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	left.Close()
	second, err := Open(cfg)
	if err != nil {
		t.Errorf("a path that nobody has: %v", err)
	}
	// Another file takes its place.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); string(b) != "mine" {
		t.Errorf("a file of another's after Close: %q, %v", b, err)
	}
	if _, err := Open(cfg); err == nil {
		t.Error("a path that is a file: no error")
	}
	if b, err := os.ReadFile(path); string(b) != "mine" {
		t.Errorf("a file of another's after Open: %q, %v", b, err)
	}
	if _, err := Open(Config{Unix, filepath.Join(dir, "none", "line"), other}); err == nil {
		t.Error("a path in no folder: no error")
	}
}

func TestOpenErrors(t *testing.T) {
	l, _ := open(t, networks[0].address)
	taken := Config{UDP, l.LocalAddr(), "127.0.0.1:9"}
	if _, err := Open(taken); err == nil || err.Error() != "serial "+taken.String()+": address already in use" {
		t.Errorf("a port that another line has: %v", err)
	}
	if _, err := Open(Config{UDP, "[::]:0", "[fe80::1%none]:9"}); err == nil {
		t.Error("a link that is not there: no error")
	}
	if l, err := Open(Config{UDP, "[::]:0", "[fe80::1%lo]:9"}); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
}

// TestAddresses compares what the kernel says with what is wanted.
func TestAddresses(t *testing.T) {
	v4 := []byte{2, 0, 0x27, 0x11, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	v6 := append(append([]byte{10, 0, 0x27, 0x11, 1, 2, 3, 4}, net.ParseIP("fe80::1")...), 1, 0, 0, 0)
	path := []byte("\x01\x00/run/a\x00")
	peer := func(cfg Config) (a address) {
		if cfg.Network == Unix {
			a.setPath(cfg.Peer)
		} else if err := a.setUDP(addrPort(t, cfg.Peer)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, v := range []struct {
		cfg      Config
		sockaddr []byte
		want     bool
	}{
		{Config{Network: UDP, Peer: "127.0.0.1:10001"}, v4, true},
		{Config{Network: UDP, Peer: "127.0.0.1:10002"}, v4, false},
		{Config{Network: UDP, Peer: "127.0.0.2:10001"}, v4, false},
		{Config{Network: UDP, Peer: "127.0.0.1:10001"}, v4[:7], false},
		{Config{Network: UDP, Peer: "127.0.0.1:10001"}, nil, false},
		{Config{Network: UDP, Peer: "127.0.0.1:10001"}, v6, false},
		{Config{Network: UDP, Peer: "[fe80::1]:10001"}, v6, true},
		{Config{Network: UDP, Peer: "[fe80::1%1]:10001"}, v6, true},
		{Config{Network: UDP, Peer: "[fe80::1%2]:10001"}, v6, false},
		{Config{Network: UDP, Peer: "[fe80::2]:10001"}, v6, false},
		{Config{Network: UDP, Peer: "[fe80::1]:10002"}, v6, false},
		{Config{Network: UDP, Peer: "[fe80::1]:10001"}, v6[:27], false},
		{Config{Network: Unix, Peer: "/run/a"}, path, true},
		{Config{Network: Unix, Peer: "/run/a"}, path[:len(path)-1], true},
		{Config{Network: Unix, Peer: "/run/ab"}, path, false},
		{Config{Network: Unix, Peer: "/run"}, path, false},
		{Config{Network: Unix, Peer: "/run/a"}, path[:2], false},
		{Config{Network: Unix, Peer: "/run/a"}, path[:1], false},
		{Config{Network: Unix, Peer: "/" + strings.Repeat("a", maxPath-1)}, []byte("\x01\x00/" + strings.Repeat("a", maxPath-1)), true},
	} {
		if a := peer(v.cfg); a.is(v.sockaddr) != v.want {
			t.Errorf("%x is %s: %v, want %v", v.sockaddr, v.cfg.Peer, !v.want, v.want)
		}
	}
}

// TestNothingIsAllocated counts for whole batches, both ways.
func TestNothingIsAllocated(t *testing.T) {
	l, s := open(t, networks[0].address)
	out := make([]pseudowire.Frame, 8)
	for i := range out {
		out[i] = frame([]byte("frame"))
	}
	b := make([]byte, 100)
	drain := func() {
		for range out {
			if _, err := s.socket.(*net.UDPConn).Read(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if l.Send(out) != len(out) {
			t.Error("not all sent")
		}
		drain()
	}); n != 0 {
		t.Errorf("Send: %v allocations, want none", n)
	}
	r := newReader()
	to := addrPort(t, l.LocalAddr())
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.socket.(*net.UDPConn).WriteToUDPAddrPort(b, to); err != nil {
			t.Fatal(err)
		}
		n, err := r.read(l.raw)
		if err != nil || n != 1 {
			t.Fatalf("%d read, %v", n, err)
		}
		if _, why := r.frame(0, &l.peer); why != good {
			t.Fatalf("verdict %v", why)
		}
	}); n != 0 {
		t.Errorf("reading: %v allocations, want none", n)
	}
}

// TestCloseWhileBusy closes a line in which everybody is.
func TestCloseWhileBusy(t *testing.T) {
	for _, n := range networks {
		l, s := open(t, n.address)
		l.Attach(l.Send) // a loop
		var work sync.WaitGroup
		work.Go(func() {
			if err := l.Run(); err != nil {
				t.Error(err)
			}
		})
		for range 3 {
			work.Go(func() {
				for range 50 {
					s.socket.WriteTo([]byte("frame"), s.peer)
					l.Send([]pseudowire.Frame{frame([]byte("frame"))})
					l.Stats()
				}
			})
		}
		s.receive()
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		work.Wait()
	}
}
