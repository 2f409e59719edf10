package transport

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// kinds are the four transports, over loopback. UDP ports are the kernel's choice.
var kinds = []struct {
	name string
	a, b Config
}{
	{"udp4", at(wire.UDP, "127.0.0.1:0"), at(wire.UDP, "127.0.0.2:0")},
	{"udp6", at(wire.UDP, "[::1]:0"), at(wire.UDP, "[::1]:0")},
	{"ip4", at(wire.IP, "127.0.0.1:0"), at(wire.IP, "127.0.0.2:0")},
	{"ip6", at(wire.IP, "[::1]:0"), at(wire.IP, "[::1]:0")},
}

func at(e wire.Encap, local string) Config {
	return Config{Encap: e, Local: netip.MustParseAddrPort(local)}
}

func listen(t testing.TB, cfg Config) *Conn {
	t.Helper()
	c, err := Listen(cfg)
	if err != nil {
		t.Fatalf("%v (raw sockets need root)", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func path(t testing.TB, from *Conn, to netip.AddrPort) *Path {
	t.Helper()
	p, err := from.NewPath(PathConfig{Peer: to})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// read returns the next n datagrams, or fails after some seconds.
func read(t testing.TB, r *Reader, n int) (got [][]byte, first Datagram) {
	t.Helper()
	for len(got) < n {
		d, err := r.Read(time.Now().Add(5 * time.Second))
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(got), n, err)
		}
		for i := range d {
			if len(got) == 0 {
				first = d[i]
			}
			got = append(got, bytes.Clone(d[i].Frame.Bytes()))
		}
	}
	return got, first
}

// TestBatches sends runs of equal sizes, which go segmented over UDP, and mixed
// ones, in two pieces, and wants all of it back in order.
func TestBatches(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			a, b := listen(t, k.a), listen(t, k.b)
			if k.name == "ip6" {
				b = a // raw sockets on one address all receive everything
			}
			r, w, p := b.NewReader(), a.NewWriter(), path(t, a, b.LocalAddr())
			var packets []Packet
			var want [][]byte
			for i := range 300 {
				size := 1400
				if i > 100 {
					size = 60 + random.IntN(1400)
				}
				body := make([]byte, size)
				for j := range body {
					body[j] = byte(random.Uint32())
				}
				cut := random.IntN(20)
				packets = append(packets, Packet{Head: body[:cut], Body: body[cut:]})
				want = append(want, body)
			}
			octets := 0
			for i := 0; i < len(packets); i += 100 {
				s := w.Write(p, packets[i:i+100])
				if s.Packets != 100 || s.Err != nil {
					t.Fatalf("Write: %+v", s)
				}
				octets += s.Octets
				got, first := read(t, r, 100)
				for j := range got {
					if !bytes.Equal(got[j], want[i+j]) {
						t.Fatalf("datagram %d: %d octets, want %d, or others", i+j, len(got[j]), len(want[i+j]))
					}
				}
				if first.From != a.LocalAddr() || first.To != b.LocalAddr().Addr() {
					t.Errorf("from %s to %s, want from %s to %s", first.From, first.To, a.LocalAddr(), b.LocalAddr().Addr())
				}
			}
			sum := 0
			for _, b := range want {
				sum += len(b)
			}
			if octets != sum {
				t.Errorf("Sent.Octets %d in all, want %d", octets, sum)
			}
		})
	}
}

// TestAnswersFromTheAddressAddressed has a socket bound to no address, and wants
// what it sends to leave from the address given.
func TestAnswersFromTheAddressAddressed(t *testing.T) {
	server := listen(t, at(wire.UDP, "0.0.0.0:0"))
	client := listen(t, at(wire.UDP, "127.0.0.1:0"))
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.77"), server.LocalAddr().Port())
	client.NewWriter().Write(path(t, client, to), []Packet{{Body: []byte("question")}})
	_, d := read(t, server.NewReader(), 1)
	if d.To != to.Addr() {
		t.Fatalf("addressed %s, want %s", d.To, to.Addr())
	}
	answer, err := server.NewPath(PathConfig{Peer: d.From, Local: d.To})
	if err != nil {
		t.Fatal(err)
	}
	server.NewWriter().Write(answer, []Packet{{Body: []byte("answer")}})
	if _, d := read(t, client.NewReader(), 1); d.From != to {
		t.Errorf("answer from %s, want %s", d.From, to)
	}
}

// TestOuterHeader reads TTL and DSCP back by control messages of a plain socket.
func TestOuterHeader(t *testing.T) {
	for _, v := range []struct {
		local                string
		level, ttl, tos      int
		wantTTLType, wantTOS int
	}{
		{"127.0.0.1:0", unix.SOL_IP, unix.IP_RECVTTL, unix.IP_RECVTOS, unix.IP_TTL, unix.IP_TOS},
		{"[::1]:0", unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS, unix.IPV6_HOPLIMIT, unix.IPV6_TCLASS},
	} {
		sink, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(v.local)))
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		raw, _ := sink.SyscallConn()
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), v.level, v.ttl, 1)
			unix.SetsockoptInt(int(fd), v.level, v.tos, 1)
		})
		c := listen(t, at(wire.UDP, v.local))
		p, err := c.NewPath(PathConfig{Peer: sink.LocalAddr().(*net.UDPAddr).AddrPort(), DSCP: 46, TTL: 7})
		if err != nil {
			t.Fatal(err)
		}
		// Two of a size: the control messages also stand beside UDP_SEGMENT.
		if s := c.NewWriter().Write(p, []Packet{{Body: []byte("x")}, {Body: []byte("y")}}); s.Packets != 2 {
			t.Fatalf("%s: %+v", v.local, s)
		}
		sink.SetReadDeadline(time.Now().Add(5 * time.Second))
		for range 2 {
			oob := make([]byte, 256)
			_, n, _, _, err := sink.ReadMsgUDPAddrPort(make([]byte, 10), oob)
			if err != nil {
				t.Fatalf("%s: %v", v.local, err)
			}
			messages, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil {
				t.Fatal(err)
			}
			got := map[int]byte{}
			for _, m := range messages {
				got[int(m.Header.Type)] = m.Data[0]
			}
			if got[v.wantTTLType] != 7 || got[v.wantTOS] != 46<<2 {
				t.Errorf("%s: TTL %d, TOS %#x; want 7, %#x", v.local, got[v.wantTTLType], got[v.wantTOS], 46<<2)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	c := listen(t, at(wire.UDP, "127.0.0.1:0"))
	w := c.NewWriter()
	big := Packet{Body: make([]byte, 65530)}
	small := Packet{Body: []byte("small")}
	p := path(t, c, c.LocalAddr())
	// One refused packet does not stop those after it.
	if s := w.Write(p, []Packet{small, big, small}); s.Packets != 2 || s.TooBig != 1 || !errors.Is(s.Err, unix.EMSGSIZE) {
		t.Errorf("a packet larger than IP's: %+v, want 2 sent and 1 too big", s)
	}
	strange, err := c.NewPath(PathConfig{Peer: c.LocalAddr(), Local: netip.MustParseAddr("192.0.2.77")})
	if err != nil {
		t.Fatal(err)
	}
	if s := w.Write(strange, []Packet{small, small}); s.Packets != 0 || s.Unreachable != 2 {
		t.Errorf("from an address that is not ours: %+v, want 2 unreachable", s)
	}
	if _, err := Listen(c.withPort(c.LocalAddr().Port())); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the same port twice: %v, want %v", err, unix.EADDRINUSE)
	}
	_, err = Listen(at(wire.UDP, "192.0.2.77:0"))
	if want := "transport: udp 192.0.2.77:0: cannot assign requested address"; !errors.Is(err, unix.EADDRNOTAVAIL) || err.Error() != want {
		t.Errorf("an address that is not ours: %q, want %q", err, want)
	}
	if _, err := c.NewPath(PathConfig{Peer: netip.MustParseAddrPort("[::1]:1")}); err == nil {
		t.Error("IPv6 peer over an IPv4 socket: no error")
	}
}

func (c *Conn) withPort(port uint16) Config {
	cfg := c.cfg
	cfg.Local = netip.AddrPortFrom(cfg.Local.Addr(), port)
	return cfg
}

func TestDeadlineAndClose(t *testing.T) {
	c := listen(t, at(wire.UDP, "127.0.0.1:0"))
	r := c.NewReader()
	if _, err := r.Read(time.Now().Add(10 * time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read beyond its deadline: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := r.Read(time.Time{})
		done <- err
	}()
	time.Sleep(10 * time.Millisecond)
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read of a closed Conn: %v", err)
	}
	if s := c.NewWriter().Write(path(t, c, c.LocalAddr()), []Packet{{Body: []byte("x")}}); s.Failed != 1 {
		t.Errorf("Write to a closed Conn: %+v, want 1 failed", s)
	}
}

func TestZeroChecksums(t *testing.T) {
	for _, cfg := range []Config{
		{Local: netip.MustParseAddrPort("127.0.0.1:0"), NoUDPChecksum: true},
		{Local: netip.MustParseAddrPort("[::1]:0"), UDP6ZeroChecksumTx: true, UDP6ZeroChecksumRx: true},
	} {
		c := listen(t, cfg)
		packets := []Packet{{Body: []byte("one")}, {Body: []byte("two")}}
		if s := c.NewWriter().Write(path(t, c, c.LocalAddr()), packets); s.Packets != 2 {
			t.Errorf("%s: %+v", cfg.Local, s)
		}
		read(t, c.NewReader(), 2)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	for _, k := range kinds {
		c := listen(t, k.a)
		if err := c.ReceiveDSCP(); err != nil {
			t.Fatal(err)
		}
		r, w, p := c.NewReader(), c.NewWriter(), path(t, c, c.LocalAddr())
		body := make([]byte, 200)
		var packets []Packet
		for i := range 32 {
			packets = append(packets, Packet{Head: body[:16], Body: body[16:]})
			if i >= 16 {
				packets[i].DSCP = pseudowire.DSCPOf(uint8(i / 4))
			}
		}
		n := testing.AllocsPerRun(50, func() {
			if s := w.Write(p, packets); s.Packets != len(packets) {
				t.Fatalf("%s: %+v", k.name, s)
			}
			for got := 0; got < len(packets); {
				d, err := r.Read(time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				got += len(d)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for 32 datagrams there and back, want 0", k.name, n)
		}
	}
}

func TestRun(t *testing.T) {
	for _, v := range []struct {
		sizes []int
		want  int
	}{
		{[]int{100}, 1},
		{[]int{100, 100, 100}, 3},
		{[]int{100, 100, 50, 100}, 3},
		{[]int{100, 101}, 1},
		{[]int{100, 0}, 1},
		{[]int{30000, 30000, 30000}, 2},
	} {
		var packets []Packet
		for _, n := range v.sizes {
			packets = append(packets, Packet{Head: make([]byte, n/2), Body: make([]byte, n-n/2)})
		}
		if got := run(packets); got != v.want {
			t.Errorf("sizes %v: %d in a run, want %d", v.sizes, got, v.want)
		}
	}
}

func FuzzStripIPv4(f *testing.F) {
	f.Add([]byte{0x45, 3: 20, 19: 0})
	f.Add([]byte{0x4f, 3: 60, 19: 0})
	f.Add([]byte{0x65})
	f.Fuzz(func(t *testing.T, b []byte) {
		if payload, length, ok := stripIPv4(b); ok && (payload < 20 || length < payload || length > len(b)) {
			t.Errorf("%x: payload from %d to %d in %d octets", b, payload, length, len(b))
		}
	})
}

func FuzzParseControl(f *testing.F) {
	p := &Path{cfg: PathConfig{Local: netip.MustParseAddr("192.0.2.1"), TTL: 1}}
	f.Add(appendControl(p.control4(), unix.IPPROTO_IP, unix.IP_TOS, []byte{46 << 2}))
	p = &Path{cfg: PathConfig{Local: netip.MustParseAddr("2001:db8::1"), TTL: 1}}
	f.Add(appendControl(p.control6(), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, number(46<<2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := make([]byte, len(b)) // aligned as the kernel's are
		copy(c, b)
		(&Reader{zones: map[uint32]string{}}).parseControl(c, new(Datagram))
	})
}

func ExampleConfig() {
	c := Config{Local: netip.MustParseAddrPort("[::]:1701")}
	fmt.Println(c.Encap, c.Local, c.ReceiveBufferSize())
	// Output: udp [::]:1701 4194304
}
