package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A host is a network namespace with one interface, veth0.
type host struct {
	ns   netns.NsHandle
	link *netlink.Handle
}

// hosts makes two hosts on one wire of MTU 1500: 192.0.2.1 and 2001:db8::1,
// 192.0.2.2 and 2001:db8::2. They are gone with the test, which runs beside the
// others that have hosts: it mostly waits for neighbours to be found.
func hosts(t *testing.T) (a, b *host) {
	t.Helper()
	t.Parallel()
	a, b = newHost(t), newHost(t)
	if err := a.link.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: "veth0", MTU: 1500},
		PeerName:      "veth0",
		PeerNamespace: netlink.NsFd(b.ns),
		PeerMTU:       1500,
	}); err != nil {
		t.Fatalf("a veth pair: %v", err)
	}
	for i, h := range []*host{a, b} {
		for _, prefix := range []string{"192.0.2.%d/24", "2001:db8::%d/64"} {
			h.add(t, fmt.Sprintf(prefix, i+1))
		}
		if err := h.link.LinkSetUp(h.veth(t)); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{ns: netns.None()}
	var err error
	onThread(func() { h.ns, err = netns.New() })
	if err != nil {
		t.Fatalf("a network namespace: %v (this test needs root)", err)
	}
	t.Cleanup(func() { h.ns.Close() })
	if h.link, err = netlink.NewHandleAt(h.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.link.Close)
	return h
}

// onThread runs f on a thread that ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// do runs f in the host's namespace.
func (h *host) do(t *testing.T, f func()) {
	t.Helper()
	var err error
	onThread(func() {
		if err = netns.Set(h.ns); err == nil {
			f()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (h *host) veth(t *testing.T) netlink.Link {
	t.Helper()
	l, err := h.link.LinkByName("veth0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// address returns an address of veth0 that is usable at once.
func address(t *testing.T, prefix string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	return a
}

func (h *host) add(t *testing.T, prefix string) {
	t.Helper()
	if err := h.link.AddrAdd(h.veth(t), address(t, prefix)); err != nil {
		t.Fatalf("address %s: %v", prefix, err)
	}
}

func (h *host) listen(t *testing.T, cfg Config) (c *Conn) {
	t.Helper()
	var err error
	h.do(t, func() { c, err = Listen(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (h *host) pathMTU(t *testing.T, c *Conn, p *Path) (mtu int, err error) {
	t.Helper()
	h.do(t, func() { mtu, err = c.PathMTU(p) })
	return mtu, err
}

// wired are the four transports between two hosts, with what stands in front of a
// datagram.
var wired = []struct {
	name     string
	a, b     Config
	overhead int
}{
	{"udp4", at(wire.UDP, "192.0.2.1:0"), at(wire.UDP, "192.0.2.2:0"), 28},
	{"udp6", at(wire.UDP, "[2001:db8::1]:0"), at(wire.UDP, "[2001:db8::2]:0"), 48},
	{"ip4", at(wire.IP, "192.0.2.1:0"), at(wire.IP, "192.0.2.2:0"), 20},
	{"ip6", at(wire.IP, "[2001:db8::1]:0"), at(wire.IP, "[2001:db8::2]:0"), 40},
}

// TestMTU sends packets that just fit the path among others that do not: alone,
// and in runs that the kernel is asked to cut.
func TestMTU(t *testing.T) {
	hostA, hostB := hosts(t)
	for _, k := range wired {
		for _, fragment := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/fragment=%v", k.name, fragment), func(t *testing.T) {
				cfg := k.a
				cfg.Fragment = fragment
				a, b := hostA.listen(t, cfg), hostB.listen(t, k.b)
				fits := 1500 - k.overhead
				var packets []Packet
				var want [][]byte
				for i, size := range []int{fits, fits + 1, fits, 3000, 3000, 3000, 100, 100, fits, fits} {
					body := bytes.Repeat([]byte{byte(i + 1)}, size)
					packets = append(packets, Packet{Body: body})
					if fragment || size <= fits {
						want = append(want, body)
					}
				}
				s := a.NewWriter().Write(path(t, a, b.LocalAddr()), packets)
				tooBig := len(packets) - len(want)
				if s.Packets != len(want) || s.TooBig != tooBig {
					t.Fatalf("%+v, want %d packets sent and %d too big", s, len(want), tooBig)
				}
				if tooBig > 0 && !errors.Is(s.Err, unix.EMSGSIZE) {
					t.Errorf("error %v, want %v", s.Err, unix.EMSGSIZE)
				}
				got, _ := read(t, b.NewReader(), len(want))
				for i := range want {
					// Fragments may be overtaken by what is whole.
					if !contains(got, want[i]) {
						t.Errorf("datagram %d of %d octets did not come", i, len(want[i]))
					}
				}
			})
		}
	}
}

func contains(all [][]byte, b []byte) bool {
	for _, a := range all {
		if bytes.Equal(a, b) {
			return true
		}
	}
	return false
}

func TestPathMTU(t *testing.T) {
	hostA, _ := hosts(t)
	_, far, _ := net.ParseCIDR("198.51.100.0/24")
	if err := hostA.link.RouteAdd(&netlink.Route{
		LinkIndex: hostA.veth(t).Attrs().Index, Dst: far, Gw: net.IPv4(192, 0, 2, 2), MTU: 1280,
	}); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		encap       wire.Encap
		local, peer string
		from        string
		mtu         int
		err         error
	}{
		{wire.UDP, "192.0.2.1:0", "192.0.2.2:1701", "", 1500, nil},
		{wire.UDP, "0.0.0.0:0", "192.0.2.2:1701", "192.0.2.1", 1500, nil},
		{wire.IP, "0.0.0.0:0", "192.0.2.2:0", "", 1500, nil},
		{wire.UDP, "0.0.0.0:0", "198.51.100.1:1701", "", 1280, nil},
		{wire.UDP, "[2001:db8::1]:0", "[2001:db8::2]:1701", "", 1500, nil},
		{wire.IP, "[::]:0", "[2001:db8::2]:0", "", 1500, nil},
		{wire.UDP, "0.0.0.0:0", "203.0.113.1:1701", "", 0, unix.ENETUNREACH},
		{wire.UDP, "[::]:0", "[2001:db8:1::1]:1701", "", 0, unix.ENETUNREACH},
		{wire.UDP, "0.0.0.0:0", "192.0.2.2:1701", "192.0.2.9", 0, unix.EADDRNOTAVAIL},
	} {
		c := hostA.listen(t, at(v.encap, v.local))
		cfg := PathConfig{Peer: netip.MustParseAddrPort(v.peer)}
		if v.from != "" {
			cfg.Local = netip.MustParseAddr(v.from)
		}
		p, err := c.NewPath(cfg)
		if err != nil {
			t.Fatal(err)
		}
		mtu, err := hostA.pathMTU(t, c, p)
		if mtu != v.mtu || !errors.Is(err, v.err) {
			t.Errorf("%v from %s (%s) to %s: %d, %v; want %d, %v", v.encap, v.local, v.from, v.peer, mtu, err, v.mtu, v.err)
		}
	}
}

// TestUnreachable sends where no route leads, and from an address that goes away
// under an open socket, by both ways of having chosen it.
func TestUnreachable(t *testing.T) {
	hostA, _ := hosts(t)
	packets := []Packet{{Body: []byte("one")}, {Body: []byte("two")}, {Body: []byte("three")}}
	for _, v := range []struct {
		encap         wire.Encap
		any, own      string
		peer, nowhere string
		prefix        string
	}{
		{wire.UDP, "0.0.0.0:0", "192.0.2.7", "192.0.2.2:1701", "203.0.113.1:1701", "192.0.2.7/24"},
		{wire.UDP, "[::]:0", "2001:db8::7", "[2001:db8::2]:1701", "[2001:db8:1::1]:1701", "2001:db8::7/64"},
		{wire.IP, "0.0.0.0:0", "192.0.2.7", "192.0.2.2:0", "203.0.113.1:0", "192.0.2.7/24"},
		{wire.IP, "[::]:0", "2001:db8::7", "[2001:db8::2]:0", "[2001:db8:1::1]:0", "2001:db8::7/64"},
	} {
		hostA.add(t, v.prefix)
		c := hostA.listen(t, at(v.encap, v.any))
		w := c.NewWriter()
		if s := w.Write(path(t, c, netip.MustParseAddrPort(v.nowhere)), packets); s.Unreachable != 3 || s.Packets != 0 {
			t.Errorf("%v to %s: %+v, want 3 unreachable", v.encap, v.nowhere, s)
		}
		p, err := c.NewPath(PathConfig{Peer: netip.MustParseAddrPort(v.peer), Local: netip.MustParseAddr(v.own)})
		if err != nil {
			t.Fatal(err)
		}
		if s := w.Write(p, packets); s.Packets != 3 {
			t.Errorf("%v from %s: %+v, want 3 sent", v.encap, v.own, s)
		}
		if err := hostA.link.AddrDel(hostA.veth(t), address(t, v.prefix)); err != nil {
			t.Fatal(err)
		}
		if s := w.Write(p, packets); s.Unreachable != 3 || s.Packets != 0 {
			t.Errorf("%v from %s, which is gone: %+v, want 3 unreachable", v.encap, v.own, s)
		}
	}
}

// TestNoRoom fills a small socket buffer with packets to a neighbour that does
// not answer, and wants the rest refused after a while, but not for good.
func TestNoRoom(t *testing.T) {
	hostA, _ := hosts(t)
	cfg := at(wire.UDP, "192.0.2.1:0")
	cfg.SendBuffer = 4096
	c := hostA.listen(t, cfg)
	packets := make([]Packet, 20)
	for i := range packets {
		packets[i].Body = make([]byte, 1000+i) // growing: not to be joined
	}
	w := c.NewWriter()
	began := time.Now()
	s := w.Write(path(t, c, netip.MustParseAddrPort("192.0.2.99:1701")), packets)
	took := time.Since(began)
	if s.Packets == 0 || s.NoBuffer == 0 || s.Packets+s.NoBuffer != 20 || !errors.Is(s.Err, unix.EAGAIN) {
		t.Errorf("%+v, want some sent, and no buffer for the others", s)
	}
	if took < patience || took > 20*patience {
		t.Errorf("it took %v, want %v, and some more on a busy machine", took, patience)
	}
	// The neighbour is given up after about three seconds, which makes room.
	for until := time.Now().Add(20 * time.Second); ; {
		s := w.Write(path(t, c, netip.MustParseAddrPort("192.0.2.2:1701")), packets[:1])
		if s.Packets == 1 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("still no room: %+v", s)
		}
	}
}

// TestChecksum reads UDP headers as they are on the wire.
func TestChecksum(t *testing.T) {
	hostA, hostB := hosts(t)
	for _, v := range []struct {
		cfg  Config
		sink string // as package net calls it
		peer string
		zero bool
	}{
		{at(wire.UDP, "192.0.2.1:0"), "ip4:udp", "192.0.2.2", false},
		{Config{Local: netip.MustParseAddrPort("192.0.2.1:0"), NoUDPChecksum: true}, "ip4:udp", "192.0.2.2", true},
		{at(wire.UDP, "[2001:db8::1]:0"), "ip6:udp", "2001:db8::2", false},
		{Config{Local: netip.MustParseAddrPort("[2001:db8::1]:0"), UDP6ZeroChecksumTx: true}, "ip6:udp", "2001:db8::2", true},
	} {
		var sink net.PacketConn
		var err error
		hostB.do(t, func() { sink, err = net.ListenPacket(v.sink, v.peer) })
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		a := hostA.listen(t, v.cfg)
		peer := netip.AddrPortFrom(netip.MustParseAddr(v.peer), 1701)
		if s := a.NewWriter().Write(path(t, a, peer), []Packet{{Body: []byte("one")}, {Body: []byte("two")}}); s.Packets != 2 {
			t.Fatalf("%s: %+v", v.sink, s)
		}
		sink.SetReadDeadline(time.Now().Add(5 * time.Second))
		header := make([]byte, 100)
		if _, _, err := sink.ReadFrom(header); err != nil { // package net takes the IP header off
			t.Fatalf("%s: %v", v.sink, err)
		}
		if sum := binary.BigEndian.Uint16(header[6:]); (sum == 0) != v.zero {
			t.Errorf("%s: checksum %#04x, want zero: %v", v.sink, sum, v.zero)
		}
	}
}

// TestZeroChecksumOverIPv6 wants a checksum of zero taken only by who agreed to
// it. RFC 6935 section 5.
func TestZeroChecksumOverIPv6(t *testing.T) {
	hostA, hostB := hosts(t)
	a := hostA.listen(t, Config{Local: netip.MustParseAddrPort("[2001:db8::1]:0"), UDP6ZeroChecksumTx: true})
	strict := hostB.listen(t, Config{Local: netip.MustParseAddrPort("[2001:db8::2]:0")})
	lenient := hostB.listen(t, Config{Local: netip.MustParseAddrPort("[2001:db8::2]:0"), UDP6ZeroChecksumRx: true})
	summed := hostA.listen(t, Config{Local: netip.MustParseAddrPort("[2001:db8::1]:0")})
	for _, to := range []*Conn{strict, lenient} {
		a.NewWriter().Write(path(t, a, to.LocalAddr()), []Packet{{Body: []byte("zero")}})
		summed.NewWriter().Write(path(t, summed, to.LocalAddr()), []Packet{{Body: []byte("sum")}})
	}
	if got, _ := read(t, lenient.NewReader(), 2); string(got[0]) != "zero" {
		t.Errorf("lenient: %q came first, want the datagram without a checksum", got[0])
	}
	if got, _ := read(t, strict.NewReader(), 1); string(got[0]) != "sum" {
		t.Errorf("strict: %q came first, want only the datagram with a checksum", got[0])
	}
}

// TestOuterHeaderOverIP reads TTL, DSCP and DF of protocol 115 off the IPv4 header.
func TestOuterHeaderOverIP(t *testing.T) {
	hostA, hostB := hosts(t)
	for _, fragment := range []bool{false, true} {
		cfg := at(wire.IP, "192.0.2.1:0")
		cfg.Fragment = fragment
		a, b := hostA.listen(t, cfg), hostB.listen(t, at(wire.IP, "192.0.2.2:0"))
		p, err := a.NewPath(PathConfig{Peer: b.LocalAddr(), DSCP: 46, TTL: 7})
		if err != nil {
			t.Fatal(err)
		}
		a.NewWriter().Write(p, []Packet{{Body: []byte("x")}})
		_, d := read(t, b.NewReader(), 1)
		h := d.Frame.Prepend(20)[:20] // nothing has been written over it
		if dontFragment := h[6]&0x40 != 0; h[8] != 7 || h[1] != 46<<2 || dontFragment == fragment {
			t.Errorf("TTL %d, TOS %#x, DF %v; want 7, %#x, %v", h[8], h[1], dontFragment, 46<<2, !fragment)
		}
	}
}

// TestLinkLocal wants the zone in both addresses, so that they can be answered.
func TestLinkLocal(t *testing.T) {
	hostA, hostB := hosts(t)
	hostA.add(t, "fe80::a/64")
	hostB.add(t, "fe80::b/64")
	var c, server *Conn
	var p, back *Path
	var err error
	hostA.do(t, func() {
		if c, err = Listen(at(wire.UDP, "[fe80::a%veth0]:0")); err == nil {
			p, err = c.NewPath(PathConfig{Peer: netip.MustParseAddrPort("[fe80::b%veth0]:1701")})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	server = hostB.listen(t, at(wire.UDP, "[::]:1701"))
	if s := c.NewWriter().Write(p, []Packet{{Body: []byte("question")}}); s.Packets != 1 {
		t.Fatalf("%+v", s)
	}
	r := server.NewReader()
	var got []Datagram
	hostB.do(t, func() { got, err = r.Read(time.Now().Add(5 * time.Second)) })
	if err != nil {
		t.Fatal(err)
	}
	d := got[0]
	from := netip.AddrPortFrom(netip.MustParseAddr("fe80::a%veth0"), c.LocalAddr().Port())
	if to := netip.MustParseAddr("fe80::b%veth0"); d.From != from || d.To != to {
		t.Errorf("from %v to %v, want from %v to %v", d.From, d.To, from, to)
	}
	hostB.do(t, func() { back, err = server.NewPath(PathConfig{Peer: d.From, Local: d.To}) })
	if err != nil {
		t.Fatal(err)
	}
	if s := server.NewWriter().Write(back, []Packet{{Body: []byte("answer")}}); s.Packets != 1 {
		t.Fatalf("%+v", s)
	}
	if got, _ := read(t, c.NewReader(), 1); string(got[0]) != "answer" {
		t.Errorf("%q, want the answer", got[0])
	}
}

// TestSegmentedLikePlain sends the same packets with and without UDP_SEGMENT, and
// wants the same datagrams, whose headroom is never the one before.
func TestSegmentedLikePlain(t *testing.T) {
	for _, local := range []string{"127.0.0.1:0", "[::1]:0"} {
		var packets []Packet
		var want [][]byte
		for i, size := range []int{700, 700, 700, 20, 20, 0, 700, 0, 0, 1, 1, 2, 9000, 9000, 8999, 40000, 40000, 30} {
			body := bytes.Repeat([]byte{byte(i + 1)}, size)
			packets = append(packets, Packet{Head: body[:size/3], Body: body[size/3:]})
			want = append(want, body)
		}
		for range 150 { // more than one message holds
			packets = append(packets, Packet{Body: want[0]})
			want = append(want, want[0])
		}
		for _, segment := range []bool{true, false} {
			a, b := listen(t, at(wire.UDP, local)), listen(t, at(wire.UDP, local))
			if !a.segment.CompareAndSwap(true, segment) || !b.gro {
				t.Fatalf("%s: segment %v, GRO %v; want the kernel to know both", local, a.segment.Load(), b.gro)
			}
			if s := a.NewWriter().Write(path(t, a, b.LocalAddr()), packets); s.Packets != len(packets) {
				t.Fatalf("%s: %+v, want %d packets", local, s, len(packets))
			}
			r, n, most := b.NewReader(), 0, 0
			for n < len(want) {
				got, err := r.Read(time.Now().Add(5 * time.Second))
				if err != nil {
					t.Fatalf("%s: after %d of %d: %v", local, n, len(want), err)
				}
				for _, d := range got {
					h := d.Frame.Headroom()
					if h != 0 && h != pseudowire.Headroom {
						t.Errorf("headroom %d, want 0 or %d", h, pseudowire.Headroom)
					}
					clear(d.Frame.Prepend(h)[:h]) // must spoil no other frame
				}
				for _, d := range got {
					if !bytes.Equal(d.Frame.Bytes(), want[n]) {
						t.Fatalf("%s, segment %v: datagram %d has %d octets, want %d, or others", local, segment, n, d.Frame.Len(), len(want[n]))
					}
					n++
				}
				most = max(most, len(got))
			}
			if joined := most > joinedMessages; joined != segment {
				t.Errorf("%s, segment %v: up to %d datagrams came at once", local, segment, most)
			}
		}
	}
}

// TestRunEnds wants no more in a run than the oldest kernels cut from one message.
func TestRunEnds(t *testing.T) {
	packets := make([]Packet, 70)
	for i := range packets {
		packets[i].Body = make([]byte, 100)
	}
	for _, v := range []struct{ packets, want int }{{63, 63}, {64, 64}, {65, 64}, {70, 64}} {
		if got := run(packets[:v.packets]); got != v.want {
			t.Errorf("%d packets: %d in a run, want %d", v.packets, got, v.want)
		}
	}
}

func TestStripIPv4(t *testing.T) {
	for _, v := range []struct {
		name            string
		packet          []byte
		payload, length int
		ok              bool
	}{
		{"empty", nil, 0, 0, false},
		{"short", []byte{0x45, 3: 19, 18: 0}, 0, 0, false},
		{"no payload", []byte{0x45, 3: 20, 19: 0}, 20, 20, true},
		{"payload", []byte{0x45, 3: 24, 23: 0}, 20, 24, true},
		{"options", []byte{0x46, 3: 28, 27: 0}, 24, 28, true},
		{"padding behind", []byte{0x45, 3: 24, 29: 0}, 20, 24, true},
		{"version 6", []byte{0x65, 3: 20, 19: 0}, 0, 0, false},
		{"header of 16", []byte{0x44, 3: 20, 19: 0}, 0, 0, false},
		{"options beyond the end", []byte{0x4f, 3: 24, 23: 0}, 0, 0, false},
		{"length within the header", []byte{0x46, 3: 20, 27: 0}, 0, 0, false},
		{"length beyond the end", []byte{0x45, 3: 25, 23: 0}, 0, 0, false},
	} {
		payload, length, ok := stripIPv4(v.packet)
		if ok != v.ok || ok && (payload != v.payload || length != v.length) {
			t.Errorf("%s: %d, %d, %v; want %d, %d, %v", v.name, payload, length, ok, v.payload, v.length, v.ok)
		}
	}
}

func TestNewPathRefuses(t *testing.T) {
	c := listen(t, at(wire.UDP, "127.0.0.1:0"))
	for _, cfg := range []PathConfig{
		{},
		{Peer: netip.MustParseAddrPort("[::ffff:192.0.2.1]:1701")},
		{Peer: netip.MustParseAddrPort("0.0.0.0:1701")},
		{Peer: netip.MustParseAddrPort("192.0.2.1:0")},
		{Peer: netip.MustParseAddrPort("192.0.2.1:1701"), Local: netip.MustParseAddr("::1")},
		{Peer: netip.MustParseAddrPort("192.0.2.1:1701"), DSCP: 64},
	} {
		if _, err := c.NewPath(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}
