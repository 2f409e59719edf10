package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/wire"
	"spanwire/testbed/netlab"
)

// numbered returns n packets of a size, which begin with a number and go on with
// octets of it, in a head and a body.
func numbered(first, n, size int) (packets []Packet) {
	for i := range n {
		b := bytes.Repeat([]byte{byte(first + i)}, size)
		binary.BigEndian.PutUint32(b, uint32(first+i))
		packets = append(packets, Packet{Head: b[:4], Body: b[4:]})
	}
	return packets
}

// A gatherer reads numbered packets.
type gatherer struct{ came map[uint32]int }

// take compares a datagram with what its number says.
func (g *gatherer) take(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("datagram of %d octets", len(b))
	}
	n := binary.BigEndian.Uint32(b)
	if rest := b[4:]; !bytes.Equal(rest, bytes.Repeat([]byte{byte(n)}, len(rest))) {
		return fmt.Errorf("datagram %d of %d octets has others than it should", n, len(b))
	}
	g.came[n]++
	return nil
}

// gather reads until all that was sent is there, or nothing more comes after stop is
// closed.
func gather(t *testing.T, r *Reader, stop <-chan struct{}) *gatherer {
	t.Helper()
	g := &gatherer{came: map[uint32]int{}}
	for {
		d, err := r.Read(time.Now().Add(500 * time.Millisecond))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			select {
			case <-stop:
				return g
			default:
				continue
			}
		}
		if err != nil {
			t.Error(err)
			return g
		}
		for i := range d {
			if err := g.take(d[i].Frame.Bytes()); err != nil {
				t.Error(err)
			}
		}
	}
}

// checksums has veth0 make the checksums of what is sent, or not.
func (h *host) checksums(t *testing.T, on bool) {
	t.Helper()
	h.do(t, func() {
		if err := netlab.Checksums("veth0", on); err != nil {
			t.Error(err)
		}
	})
}

// set sets an option of the socket.
func (c *Conn) set(t *testing.T, level, option, value int) {
	t.Helper()
	var err error
	if err := errors.Join(c.raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) }), err); err != nil {
		t.Fatal(err)
	}
}

// meet has a find its neighbour b, for which the kernel holds back only so much.
func meet(t *testing.T, a, b *Conn) {
	t.Helper()
	w, p, r := a.NewWriter(), path(t, a, b.LocalAddr()), b.NewReader()
	if s := w.Write(p, []Packet{{Body: []byte("hello")}}); s.Packets != 1 {
		t.Fatalf("%+v", s)
	}
	read(t, r, 1)
}

// TestSegmentRefused sends runs of which the kernel cuts none: it does not for a socket
// that makes no checksums, and before Linux 6.11 not for a device that makes none. All
// goes one by one, in order, and not only from the second time on.
func TestSegmentRefused(t *testing.T) {
	hostA, hostB := hosts(t)
	for name, refuse := range map[string]func(*Conn){
		"socket without checksums": func(c *Conn) {
			if c.v6 {
				c.set(t, unix.SOL_UDP, unix.UDP_NO_CHECK6_TX, 1)
			} else {
				c.set(t, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
			}
		},
		"device without checksums": func(*Conn) { hostA.checksums(t, false) },
	} {
		for _, k := range wired[:2] {
			hostA.checksums(t, true)
			to := k.b
			to.UDP6ZeroChecksumRx = true
			a, b := hostA.listen(t, k.a), hostB.listen(t, to)
			if segment, _ := a.Offload(); !segment {
				t.Fatalf("%s, %s: the kernel does not know UDP_SEGMENT", k.name, name)
			}
			refuse(a)
			meet(t, a, b)
			w, p, r := a.NewWriter(), path(t, a, b.LocalAddr()), b.NewReader()
			for round := range 2 {
				if s := w.Write(p, numbered(100*round, 100, 1000)); s.Packets != 100 || s.Err != nil || s.Octets != 100*1000 {
					t.Errorf("%s, %s, round %d: %+v, want 100 sent", k.name, name, round, s)
				}
				got, _ := read(t, r, 100)
				for i := range got {
					if n := binary.BigEndian.Uint32(got[i]); n != uint32(100*round+i) {
						t.Fatalf("%s, %s, round %d: datagram %d came as %d", k.name, name, round, n, i)
					}
				}
			}
		}
	}
	hostA.checksums(t, true)
}

// TestWithoutGRO has only one side joined or cut by its kernel, or neither: what
// comes is the same.
func TestWithoutGRO(t *testing.T) {
	hostA, hostB := hosts(t)
	for _, k := range wired[:2] {
		for _, segment := range []bool{true, false} {
			for _, gro := range []bool{true, false} {
				a, b := hostA.listen(t, k.a), hostB.listen(t, k.b)
				a.segment.Store(segment)
				if !gro { // as a kernel that does not know the option
					b.set(t, unix.SOL_UDP, unix.UDP_GRO, 0)
					b.gro = false
				}
				if s, g := b.Offload(); !s || g != gro {
					t.Errorf("%s: Offload %v, %v; want GRO %v", k.name, s, g, gro)
				}
				meet(t, a, b)
				w, p, r := a.NewWriter(), path(t, a, b.LocalAddr()), b.NewReader()
				for first, size := range []int{1000, 1400, 60, 1, 1453} {
					packets := numbered(first*150, 150, max(size, 4))
					if s := w.Write(p, packets); s.Packets+s.TooBig != len(packets) {
						t.Errorf("%s: %+v", k.name, s)
					} else if got, _ := read(t, r, s.Packets); len(got) != s.Packets {
						t.Errorf("%s: %d came, want %d", k.name, len(got), s.Packets)
					} else {
						for i := range got {
							if want := append(packets[i].Head, packets[i].Body...); !bytes.Equal(got[i], want) {
								t.Fatalf("%s, cut %v, joined %v: datagram %d of %d octets is another", k.name, segment, gro, i, len(want))
							}
						}
					}
				}
			}
		}
	}
}

// slow gives veth0 a queue of so many octets, from which they go at a rate.
func (h *host) slow(t *testing.T, rate, limit int) {
	t.Helper()
	l := h.veth(t)
	if err := h.link.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       uint64(rate), // octets a second
		Buffer:     uint32(netlink.Xmittime(uint64(rate), 5000)),
		Limit:      uint32(limit),
	}); err != nil {
		t.Fatal(err)
	}
}

// TestStorms has several Writers send at once more than a slow device takes: by a
// small buffer, which makes them wait and give up, and by a small queue of the device,
// which the kernel tells of by ENOBUFS. All is counted, once, and what is counted as
// sent into the buffer comes.
func TestStorms(t *testing.T) {
	for _, test := range []struct {
		name        string
		buffer      int // SO_SNDBUF
		limit       int // octets of the queue
		want        error
		allThatWent bool // comes
	}{
		{"EAGAIN", 8192, 4 << 20, unix.EAGAIN, true},
		{"ENOBUFS", 4 << 20, 20000, unix.ENOBUFS, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			hostA, hostB := hosts(t)
			hostA.slow(t, 4<<20, test.limit)
			for _, k := range wired {
				cfg := k.a
				cfg.SendBuffer = test.buffer
				a, b := hostA.listen(t, cfg), hostB.listen(t, k.b)
				if test.want == unix.ENOBUFS { // else the kernel keeps it to itself
					if a.v6 {
						a.set(t, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
					} else {
						a.set(t, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
					}
				}
				meet(t, a, b)
				const writers, batches, batch, size = 3, 8, 50, 1000
				results := make(chan Sent, writers)
				for i := range writers {
					w, p := a.NewWriter(), path(t, a, b.LocalAddr())
					go func() {
						var all Sent
						for j := range batches {
							s := w.Write(p, numbered((i*batches+j)*batch, batch, size))
							all.Packets += s.Packets
							all.Octets += s.Octets
							all.NoBuffer += s.NoBuffer
							all.Failed += s.Failed + s.TooBig + s.Unreachable
							if s.Err != nil {
								all.Err = s.Err
							}
						}
						results <- all
					}()
				}
				sent, came := make(chan struct{}), make(chan *gatherer, 1)
				go func() { came <- gather(t, b.NewReader(), sent) }()
				var all Sent
				for range writers {
					s := <-results
					all.Packets += s.Packets
					all.Octets += s.Octets
					all.NoBuffer += s.NoBuffer
					all.Failed += s.Failed
					if s.Err != nil {
						all.Err = s.Err
					}
				}
				close(sent)
				g := <-came
				const total = writers * batches * batch
				if all.Packets+all.NoBuffer != total || all.Failed != 0 || all.Octets != all.Packets*size {
					t.Errorf("%s: %+v, want %d in all, sent or without room", k.name, all, total)
				}
				if all.Packets == 0 || all.NoBuffer == 0 && all.Err != nil {
					t.Errorf("%s: %+v, want some sent, and an error with those that were not", k.name, all)
				}
				if k.a.Encap == wire.UDP && all.NoBuffer > 0 && !errors.Is(all.Err, test.want) { // a raw socket has ENOBUFS for both
					t.Errorf("%s: %+v, want %v", k.name, all, test.want)
				}
				if len(g.came) > all.Packets || test.allThatWent && len(g.came) != all.Packets {
					t.Errorf("%s: %d came of %d that went", k.name, len(g.came), all.Packets)
				}
				for n, times := range g.came {
					if times != 1 {
						t.Errorf("%s: %d came %d times", k.name, n, times)
					}
				}
				t.Logf("%s: %+v, %d came", k.name, all, len(g.came))
			}
		})
	}
}

// TestMTUChanges changes the path's MTU all the while, so that what fits no longer
// does in the midst of a run, and again: each packet is sent or too big.
func TestMTUChanges(t *testing.T) {
	hostA, hostB := hosts(t)
	for _, k := range wired {
		a, b := hostA.listen(t, k.a), hostB.listen(t, k.b)
		meet(t, a, b)
		stop, changed := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(changed)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(200 * time.Microsecond):
				}
				l, err := hostA.link.LinkByName("veth0")
				if err == nil {
					err = hostA.link.LinkSetMTU(l, 1500-100*(i%2))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		}()
		came := make(chan *gatherer, 1)
		go func() { came <- gather(t, b.NewReader(), changed) }()
		w, p := a.NewWriter(), path(t, a, b.LocalAddr())
		const rounds, batch = 300, 20
		sent, tooBig := 0, 0
		for i := range rounds {
			size := 1500 - k.overhead - 40*(i%4) // of 1500, of 1460, of 1420: not with an MTU of 1400
			s := w.Write(p, numbered(i*batch, batch, size))
			if s.Packets+s.TooBig != batch || s.Octets != s.Packets*size {
				t.Fatalf("%s: %+v, want %d packets sent or too big", k.name, s, batch)
			}
			sent, tooBig = sent+s.Packets, tooBig+s.TooBig
			if i%10 == 9 {
				time.Sleep(time.Millisecond) // the reader keeps up
			}
		}
		close(stop)
		<-changed
		if g := <-came; len(g.came) != sent {
			t.Errorf("%s: %d came of %d that went", k.name, len(g.came), sent)
		}
		t.Logf("%s: %d sent, %d too big", k.name, sent, tooBig)
		if err := hostA.link.LinkSetMTU(hostA.veth(t), 1500); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLongRuns sends what is one super-frame of 64 KB at its source, and needs more
// than one message: by its octets, and by its number of segments.
func TestLongRuns(t *testing.T) {
	hostA, hostB := hosts(t)
	for _, k := range wired {
		a, b := hostA.listen(t, k.a), hostB.listen(t, k.b)
		meet(t, a, b)
		w, p, r := a.NewWriter(), path(t, a, b.LocalAddr()), b.NewReader()
		first := 0
		for _, v := range []struct{ packets, size int }{{46, 1440}, {47, 1440}, {64, 1015}, {65, 1000}, {130, 500}, {1000, 64}} {
			packets := numbered(first, v.packets, v.size)
			packets[v.packets-1].Body = packets[v.packets-1].Body[:20] // the last is shorter
			if s := w.Write(p, packets); s.Packets != v.packets || s.Err != nil || s.Octets != (v.packets-1)*v.size+24 {
				t.Errorf("%s: %d of %d octets: %+v", k.name, v.packets, v.size, s)
			}
			got, _ := read(t, r, v.packets)
			for i := range packets {
				if want := append(packets[i].Head, packets[i].Body...); !bytes.Equal(got[i], want) {
					t.Fatalf("%s: %d of %d octets: datagram %d is another", k.name, v.packets, v.size, i)
				}
			}
			first += v.packets
		}
	}
}

// TestOthersPacketsBeforeBind opens sockets of one address while packets to another
// come: a raw socket that is not bound yet is given them too, and what it was given
// is no message of its own.
func TestOthersPacketsBeforeBind(t *testing.T) {
	for _, v := range []struct{ name, address, other string }{{"ip4", "127.0.0.3:0", "127.0.0.2:0"}, {"ip6", "[fd00::3]:0", "[fd00::2]:0"}} {
		t.Run(v.name, func(t *testing.T) {
			h := newHost(t)
			lo, err := h.link.LinkByName("lo")
			if err != nil {
				t.Fatal(err)
			}
			if err := h.link.LinkSetUp(lo); err != nil {
				t.Fatal(err)
			}
			for _, prefix := range []string{"fd00::2/128", "fd00::3/128"} {
				a := address(t, prefix)
				a.Flags = unix.IFA_F_NODAD
				if err := h.link.AddrAdd(lo, a); err != nil {
					t.Fatal(err)
				}
			}
			other := h.listen(t, at(wire.IP, v.other))
			p := path(t, other, other.LocalAddr())
			var stop atomic.Bool
			var storm sync.WaitGroup
			storm.Go(func() {
				for w := other.NewWriter(); !stop.Load(); {
					w.Write(p, []Packet{{Body: []byte("of another")}})
				}
			})
			defer storm.Wait()
			defer stop.Store(true)
			for range 300 {
				c := h.listen(t, at(wire.IP, v.address))
				d, err := c.NewReader().Read(time.Now().Add(time.Microsecond))
				if len(d) > 0 {
					t.Fatalf("a socket of %s received %q from %s, addressed %s", v.address, d[0].Frame.Bytes(), d[0].From, d[0].To)
				}
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				c.Close()
			}
			// It is not deaf.
			c := h.listen(t, at(wire.IP, v.address))
			other.NewWriter().Write(path(t, other, c.LocalAddr()), []Packet{{Body: []byte("hello")}})
			if got, _ := read(t, c.NewReader(), 1); string(got[0]) != "hello" {
				t.Errorf("received %q", got[0])
			}
		})
	}
}

// TestCloseInAStorm closes a Conn while others read and write and wait for room, and
// opens sockets at once, which may get its number: nobody sends by them.
func TestCloseInAStorm(t *testing.T) {
	hostA, hostB := hosts(t)
	hostA.slow(t, 1<<20, 4<<20)
	for _, k := range wired {
		for range 3 {
			cfg := k.a
			cfg.SendBuffer = 8192
			a, b := hostA.listen(t, cfg), hostB.listen(t, k.b)
			var work sync.WaitGroup
			var failed atomic.Int64
			work.Go(func() {
				for r := a.NewReader(); ; {
					if _, err := r.Read(time.Time{}); err != nil {
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("%s: Read: %v, want %v", k.name, err, net.ErrClosed)
						}
						return
					}
				}
			})
			for range 3 {
				w, p := a.NewWriter(), path(t, a, b.LocalAddr())
				work.Go(func() {
					for {
						s := w.Write(p, numbered(0, 64, 1000))
						if s.Packets+s.NoBuffer+s.Failed != 64 {
							t.Errorf("%s: %+v, want 64 in all", k.name, s)
						}
						if s.Failed > 0 {
							failed.Add(1)
							return
						}
					}
				})
			}
			time.Sleep(30 * time.Millisecond)
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			var others []*net.UDPConn
			var err error
			hostA.do(t, func() {
				for range 8 {
					var c *net.UDPConn
					if c, err = net.ListenUDP("udp4", nil); err != nil {
						return
					}
					others = append(others, c)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			work.Wait()
			if failed.Load() != 3 {
				t.Errorf("%s: %d writers failed, want 3", k.name, failed.Load())
			}
			for _, c := range others {
				c.Close()
			}
		}
	}
}

// TestOffloadRefused has Listen find that nothing may be cut where no checksum is
// made, and nothing be joined or cut of IP protocol 115.
func TestOffloadRefused(t *testing.T) {
	for _, v := range []struct {
		cfg          Config
		segment, gro bool
	}{
		{at(wire.UDP, "127.0.0.1:0"), true, true},
		{Config{Local: netip.MustParseAddrPort("127.0.0.1:0"), NoUDPChecksum: true}, false, true},
		{Config{Local: netip.MustParseAddrPort("[::1]:0"), UDP6ZeroChecksumTx: true}, false, true},
		{at(wire.IP, "127.0.0.1:0"), false, false},
	} {
		c := listen(t, v.cfg)
		if segment, gro := c.Offload(); segment != v.segment || gro != v.gro {
			t.Errorf("%+v: Offload %v, %v; want %v, %v", v.cfg, segment, gro, v.segment, v.gro)
		}
	}
}
