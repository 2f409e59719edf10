package packet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/bridge"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/gso"
	"spanwire/testbed/netlab"
)

func setting(name, value string) error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) }

func testContext(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// namespace opens the network namespace of the thread.
func namespace() (int, error) {
	return unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// giveUp takes all capabilities from the thread.
func giveUp() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&h, &none[0])
}

// tcp returns a super-frame of TCP over IPv4 with some octets of payload.
func tcp(t testing.TB, payload, size int) pseudowire.Frame {
	t.Helper()
	const ip, l4 = 14, 34
	b := frame(2, l4+20+payload, 8, 0)
	clear(b[ip : l4+20])
	b[ip], b[ip+8], b[ip+9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(b[ip+2:], uint16(len(b)-ip))
	copy(b[ip+12:], []byte{10, 9, 0, 1, 10, 9, 0, 2})
	b[l4+12], b[l4+13] = 5<<4, 0x10
	f := pseudowire.NewFrame(append(make([]byte, 64), b...), 64)
	f.GSO = pseudowire.GSO{Kind: pseudowire.GSOTCPv4, HeaderLen: l4 + 20, Size: uint16(size), ChecksumStart: l4, ChecksumOffset: 16}
	return f
}

// tagged returns a super-frame of TCP with tags.
func tagged(t testing.TB, tags []byte, payload, size int) pseudowire.Frame {
	t.Helper()
	const addresses = 12
	f := tcp(t, payload, size)
	b := append(append(bytes.Clone(f.Bytes()[:addresses]), tags...), f.Bytes()[addresses:]...)
	g := pseudowire.NewFrame(b, 0)
	g.GSO = f.GSO
	g.GSO.HeaderLen += uint16(len(tags))
	g.GSO.ChecksumStart += uint16(len(tags))
	return g
}

// A look sees how long the longest frame is that comes in through a port.
type look struct {
	bridge.Port
	longest atomic.Int64
}

func (l *look) Attach(deliver func([]pseudowire.Frame) int) {
	l.Port.Attach(func(frames []pseudowire.Frame) int {
		for i := range frames {
			l.longest.Store(max(l.longest.Load(), int64(frames[i].Len())))
		}
		return deliver(frames)
	})
}

// TestSuperFrames has TCP and UDP of two hosts go over
//
//	host - port, patch, port - trunk - port, patch, port - host
//
// where the frames have none, one or two tags on the trunk: what comes is what was
// sent, and it went in super-frames all the way.
func TestSuperFrames(t *testing.T) {
	for name, tags := range map[string][]ethernet.Tag{
		"untagged":  nil,
		"one tag":   {{VID: 42}},
		"one S-tag": {{TPID: ethernet.STag, VID: 42}},
		"two tags":  {{VID: 42}, {VID: 7}},
	} {
		t.Run(name, func(t *testing.T) { superFrames(t, tags) })
	}
}

func superFrames(t *testing.T, tags []ethernet.Tag) {
	l, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	var spaces [4]*netlab.Namespace // host, box, box, host
	for i := range spaces {
		if spaces[i], err = l.Namespace(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, box := range spaces[1:3] {
		in(t, box, func() error { return setting("net/ipv6/conf/default/disable_ipv6", "1") })
	}
	const mtu, trunk = 1500, 1508
	for _, v := range []struct {
		a, b   int
		an, bn string
		mtu    int
	}{{0, 1, "eth0", "port", mtu}, {1, 2, "trunk", "trunk", trunk}, {2, 3, "port", "eth0", mtu}} {
		if err := l.Veth(spaces[v.a], v.an, spaces[v.b], v.bn, v.mtu); err != nil {
			t.Fatal(err)
		}
	}
	circuit, err := ethernet.New(ethernet.Config{Segment: tags})
	if err != nil {
		t.Fatal(err)
	}
	var looks []*look
	for _, box := range spaces[1:3] {
		var ends [2]*look
		for i, cfg := range []Config{{Interface: "port"}, {Interface: "trunk", VLAN: tags}} {
			in(t, box, func() error {
				p, err := Open(cfg)
				if err != nil {
					return err
				}
				done := make(chan error, 1)
				t.Cleanup(func() {
					if s := p.Stats(); s.InErrors+s.InLost != 0 {
						t.Errorf("%s: %+v", cfg.Interface, s)
					}
					p.Close()
					if err := <-done; err != nil {
						t.Error(err)
					}
				})
				ends[i] = &look{Port: p}
				go func() { done <- p.Run() }()
				return nil
			})
		}
		bridge.Patch(ends[0], bridge.NewNSP(ends[1], circuit))
		looks = append(looks, ends[:]...)
	}
	var hosts [2]func(func() error)
	for i, n := range []*netlab.Namespace{spaces[0], spaces[3]} {
		hosts[i] = func(f func() error) { t.Helper(); in(t, n, f) }
		if err := n.Addr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}), 24), netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", i+1))); err != nil {
			t.Fatal(err)
		}
	}
	transfer(t, "10.9.0.2:7009", hosts)
	transfer(t, "[fd00::2]:7009", hosts)
	datagrams(t, hosts)
	// The other two see acknowledgments alone.
	for name, l := range map[string]*look{"the first port": looks[0], "the end of the trunk": looks[3]} {
		if n := l.longest.Load(); n <= trunk+14 {
			t.Errorf("%s: the longest frame has %d octets: no super-frame", name, n)
		}
	}
}

// transfer sends random octets from the first host to the second.
func transfer(t *testing.T, at string, hosts [2]func(func() error)) {
	t.Helper()
	const octets = 8 << 20
	var l net.Listener
	hosts[1](func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	})
	defer l.Close()
	sums := make(chan [32]byte, 1)
	go func() {
		h := sha256.New()
		if c, err := l.Accept(); err == nil {
			c.SetDeadline(time.Now().Add(30 * time.Second))
			io.Copy(h, c)
			c.Close()
		}
		sums <- [32]byte(h.Sum(nil))
	}()
	var c net.Conn
	hosts[0](func() (err error) {
		c, err = net.DialTimeout("tcp", at, 10*time.Second)
		return err
	})
	want := sha256.New()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.CopyN(io.MultiWriter(c, want), rand.NewChaCha8([32]byte{1}), octets); err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	c.Close()
	if got := <-sums; got != [32]byte(want.Sum(nil)) {
		t.Errorf("%s: what came is not what was sent", at)
	}
}

// datagrams sends UDP of all sizes, each by itself and some as the kernel cuts them,
// and wants each back as it was.
func datagrams(t *testing.T, hosts [2]func(func() error)) {
	t.Helper()
	var echo, ask *net.UDPConn
	listen := func(c **net.UDPConn, addr string) func() error {
		return func() (err error) {
			*c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
			return err
		}
	}
	hosts[1](listen(&echo, "10.9.0.2:7010"))
	defer echo.Close()
	hosts[0](listen(&ask, "10.9.0.1:7010"))
	defer ask.Close()
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			echo.WriteTo(b[:n], from)
		}
	}()
	b := make([]byte, 4096)
	back := func(what string, want []byte) {
		t.Helper()
		ask.SetReadDeadline(time.Now().Add(10 * time.Second))
		got, _, err := ask.ReadFrom(b)
		if err != nil || !bytes.Equal(b[:got], want) {
			t.Fatalf("%s of %d octets: %d came, %v", what, len(want), got, err)
		}
	}
	for n := 1; n <= 3000; n += 97 { // beyond the MTU in fragments
		sent := bytes.Repeat([]byte{byte(n)}, n)
		if _, err := ask.WriteTo(sent, echo.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		back("datagram", sent)
	}
	if !describesUDP(t) {
		return
	}
	// UDP_SEGMENT: a super-frame from the host on.
	const size, pieces = 1000, 20
	sent := make([]byte, size*pieces)
	for i := range sent {
		sent[i] = byte(i / size)
	}
	control := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(control, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(control[8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(control[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(control[16:], size)
	if _, _, err := ask.WriteMsgUDPAddrPort(sent, control, netip.MustParseAddrPort("10.9.0.2:7010")); err != nil {
		t.Fatal(err)
	}
	for i := range pieces {
		back("segment", sent[i*size:][:size])
	}
}

// describesUDP reports whether the kernel can describe super-frames of UDP.
func describesUDP(t testing.TB) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 2
}

// TestJoinedUDP sends datagrams of one flow, which are joined. A kernel that does not
// know such super-frames refuses the first; from then on there are none.
func TestJoinedUDP(t *testing.T) {
	s := newLAN(t, 1500)
	p, _ := s.open()
	var far *Port
	in(t, s.far, func() (err error) {
		far, err = Open(Config{Interface: "eth0"})
		return err
	})
	defer far.Close()
	got := make(chan []byte, 100)
	far.Attach(func(frames []pseudowire.Frame) int {
		for _, f := range frames {
			var c gso.Cutter
			if f.GSO.Kind == pseudowire.GSONone {
				got <- bytes.Clone(f.Bytes())
			} else if err := c.Init(f); err != nil {
				t.Error(err)
			}
			for c.Count() > 0 {
				head, payload, _ := c.Next(nil)
				got <- append(head, payload...)
			}
		}
		return len(frames)
	})
	go far.Run()
	// Three datagrams as GSO cuts them.
	super := tcp(t, 3*1000-12, 1000)
	b := super.Bytes()
	clear(b[34:54])
	b[14+9] = 17
	binary.BigEndian.PutUint16(b[38:], uint16(len(b)-34))
	binary.BigEndian.PutUint16(b[40:], pseudoSum(b[14:34], len(b)-34))
	super.GSO = pseudowire.GSO{Kind: pseudowire.GSOUDP, Size: 1000, ChecksumStart: 34, ChecksumOffset: 6}
	var c gso.Cutter
	if err := c.Init(super); err != nil {
		t.Fatal(err)
	}
	var datagrams []pseudowire.Frame
	for c.Count() > 0 {
		head, payload, _ := c.Next(nil)
		datagrams = append(datagrams, pseudowire.NewFrame(append(head, payload...), 0))
	}
	first, second := p.Send(datagrams), p.Send(datagrams)
	if known := describesUDP(t); p.noUDP.Load() == known || (first == 3) != known || second != 3 {
		t.Errorf("%d and %d sent of 3, super-frames given up %v", first, second, p.noUDP.Load())
	}
	for i := range first + second {
		want(t, "datagram", got, datagrams[i%3].Bytes())
	}
}

// pseudoSum returns the sum of the pseudo-header of some octets of UDP.
func pseudoSum(ip []byte, length int) uint16 {
	s := 17 + uint32(length)
	for at := 12; at < 20; at += 2 {
		s += uint32(binary.BigEndian.Uint16(ip[at:]))
	}
	return uint16(s>>16 + s&0xffff)
}

// TestSegment wants the length of what a super-frame stands for.
func TestSegment(t *testing.T) {
	f := tcp(t, 5000, 1448)
	if n := segment(&f); n != 14+20+20+1448 {
		t.Errorf("TCP: %d octets", n)
	}
	f.GSO.Size = 6000
	if n := segment(&f); n != f.Len() {
		t.Errorf("longer than it is: %d octets", n)
	}
	f.GSO.Kind, f.GSO.Size = pseudowire.GSOUDP, 1448
	if n := segment(&f); n != 14+20+8+1448 {
		t.Errorf("UDP: %d octets", n)
	}
	f.GSO.Kind, f.GSO.ChecksumStart = pseudowire.GSOTCPv4, uint16(f.Len()-12)
	if n := segment(&f); n != f.Len() {
		t.Errorf("that ends before: %d octets", n)
	}
}
