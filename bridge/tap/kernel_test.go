package tap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/pseudowire"
	"spanwire/pseudowire/gso"
	"spanwire/testbed/netlab"
)

// An ear is a TAP of which the kernel is asked for nothing: what it hands over it
// has cut and summed itself.
type ear struct{ fd int }

func openEar(t *testing.T, name, bridge string) (e *ear) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	if err := port(name, bridge); err != nil {
		t.Fatal(err)
	}
	return &ear{fd}
}

const addrGenModeNone = 1 // no addresses, and nothing to be said of them

// port makes a device a port of a bridge, with a queue for all that a test sends.
// The bridge learns nothing of it, so that what is for somebody behind it goes out
// of all other ports too.
func port(name, bridge string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetTxQLen(l, 10000), netlink.LinkSetMTU(l, 9000), netlink.LinkSetMaster(l, br),
		netlink.LinkSetLearning(l, false), netlink.LinkSetIP6AddrGenMode(l, addrGenModeNone), netlink.LinkSetUp(l))
}

// newBridge makes a bridge that speaks of its own accord to nobody.
func newBridge(name string) error {
	snooping := false
	br := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs(), MulticastSnooping: &snooping}
	br.Name, br.MTU = name, 9000
	return errors.Join(netlink.LinkAdd(br), netlink.LinkSetIP6AddrGenMode(br, addrGenModeNone), netlink.LinkSetUp(br))
}

// hear returns the frames that the ear has heard of those that are wanted, until one
// of them is the last.
func (e *ear) hear(t *testing.T, wanted, last func([]byte) bool) (frames [][]byte) {
	t.Helper()
	b := make([]byte, 1<<16)
	for end := time.Now().Add(10 * time.Second); ; {
		n, err := unix.Read(e.fd, b)
		switch {
		case err == unix.EAGAIN && time.Now().Before(end):
			unix.Poll([]unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}, 100)
		case err != nil:
			t.Fatalf("after %d frames: %v", len(frames), err)
		case last(b[:n]):
			return frames
		case wanted(b[:n]):
			frames = append(frames, bytes.Clone(b[:n]))
		}
	}
}

// A kernel cuts what a TAP writes: it forwards between the two, and the second takes
// no super-frames.
type kernel struct {
	tap  *TAP
	ear  *ear
	host *netlab.Namespace
}

func newKernel(t *testing.T) *kernel {
	t.Helper()
	k := &kernel{host: lab(t)}
	in(t, k.host, func() (err error) {
		if err := newBridge("br0"); err != nil {
			return err
		}
		if k.tap, err = Open(Config{Name: "t0", MTU: 9000, Bridge: "br0"}); err != nil {
			return err
		}
		k.ear = openEar(t, "ear0", "br0")
		return nil
	})
	if !k.tap.offload {
		t.Fatal("the TAP takes no super-frames")
	}
	t.Cleanup(func() { in(t, k.host, k.tap.Close) })
	return k
}

var lastFrame = append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 46)...)

// cut has the kernel cut what Send makes of frames, and returns what came out and
// as how many frames and super-frames it was written.
func (k *kernel) cut(t *testing.T, frames []pseudowire.Frame) (out [][]byte, written uint64) {
	t.Helper()
	before := k.written(t)
	const most = 64
	for rest := frames; len(rest) > 0; rest = rest[min(most, len(rest)):] {
		now := rest[:min(most, len(rest))]
		if n := k.tap.Send(now); n != len(now) {
			t.Fatalf("%d of %d frames sent", n, len(now))
		}
	}
	written = k.written(t) - before
	if n := k.tap.Send([]pseudowire.Frame{pseudowire.NewFrame(bytes.Clone(lastFrame), 0)}); n != 1 {
		t.Fatal("the last frame was not sent")
	}
	out = k.ear.hear(t, func([]byte) bool { return true }, func(b []byte) bool { return bytes.Equal(b, lastFrame) })
	return out, written
}

// written is how many frames the kernel counts as having come from the TAP's file,
// a super-frame as one.
func (k *kernel) written(t *testing.T) (n uint64) {
	t.Helper()
	in(t, k.host, func() error {
		l, err := netlink.LinkByName("t0")
		if err == nil {
			n = l.Attrs().Statistics.RxPackets
		}
		return err
	})
	return n
}

// apart cuts frames as the data path does.
func apart(t *testing.T, frames ...pseudowire.Frame) (out [][]byte) {
	t.Helper()
	for _, f := range frames {
		if f.GSO.Kind == pseudowire.GSONone {
			whole, err := gso.Complete(f)
			if err != nil {
				t.Fatalf("%+v: %v", f.GSO, err)
			}
			out = append(out, whole.Bytes())
			continue
		}
		var c gso.Cutter
		if err := c.Init(f); err != nil {
			t.Fatalf("%+v of %d octets: %v", f.GSO, f.Len(), err)
		}
		for c.Count() > 0 {
			h, payload, _ := c.Next(nil)
			out = append(out, append(h, payload...))
		}
	}
	return out
}

func same(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			n := min(100, len(got[i]), len(want[i]))
			t.Errorf("%s: frame %d of %d has %d octets, want %d:\n% x, want\n% x", what, i, len(want), len(got[i]), len(want[i]), got[i][:n], want[i][:n])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d frames, want %d", what, len(got), len(want))
	}
}

// A made super-frame is built by gopacket, with one checksum left to be completed.
type made struct {
	tags    []layers.EthernetType
	v6, udp bool
	tcp     layers.TCP
	ip      layers.IPv4
	label   uint32
	class   uint8
	payload int
	size    int
	joins   bool // the frames that it stands for become it again
}

func (m made) frame(t *testing.T) pseudowire.Frame {
	t.Helper()
	ethernet := &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}}
	stack := []gopacket.SerializableLayer{ethernet}
	next, start := &ethernet.EthernetType, 14
	for i, tag := range m.tags {
		*next = tag
		q := &layers.Dot1Q{VLANIdentifier: 100 + uint16(i), Priority: 5}
		stack, next = append(stack, q), &q.Type
		start += 4
	}
	protocol := layers.IPProtocolTCP
	g := pseudowire.GSO{Kind: pseudowire.GSOTCPv4, Size: uint16(m.size), ChecksumOffset: 16}
	if m.udp {
		protocol = layers.IPProtocolUDP
		g.Kind, g.ChecksumOffset = pseudowire.GSOUDP, 6
	}
	var network gopacket.NetworkLayer
	if m.v6 {
		if !m.udp {
			g.Kind = pseudowire.GSOTCPv6
		}
		*next = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, TrafficClass: m.class, FlowLabel: m.label, NextHeader: protocol,
			SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
		network, stack = ip, append(stack, ip)
		start += 40
	} else {
		*next = layers.EthernetTypeIPv4
		ip := m.ip
		ip.Version, ip.TTL, ip.Protocol, ip.SrcIP, ip.DstIP = 4, 64, protocol, []byte{192, 0, 2, 1}, []byte{192, 0, 2, 2}
		network, stack = &ip, append(stack, &ip)
		start += 20
		for _, o := range ip.Options {
			start += int(o.OptionLength)
		}
	}
	if m.udp {
		u := &layers.UDP{SrcPort: 4433, DstPort: 4434}
		u.SetNetworkLayerForChecksum(network)
		stack = append(stack, u)
		g.HeaderLen = uint16(start + 8)
	} else {
		h := m.tcp
		h.SrcPort, h.DstPort, h.Seq, h.Ack, h.ACK, h.Window = 4433, 4434, 0xffffff00, 9, true, 501
		h.SetNetworkLayerForChecksum(network)
		stack = append(stack, &h)
		g.HeaderLen = uint16(start + 20)
		for _, o := range h.Options {
			g.HeaderLen += uint16(max(1, o.OptionLength))
		}
	}
	payload := make([]byte, m.payload)
	for i := range payload {
		payload[i] = byte(i*7 + i>>8)
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(stack, gopacket.Payload(payload))...); err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(buffer.Bytes())
	g.ChecksumStart = uint16(start)
	addresses := b[start-8 : start]
	if m.v6 {
		addresses = b[start-32 : start]
	} else if len(m.ip.Options) > 0 {
		addresses = b[start-8-int(m.ip.Options[0].OptionLength):][:8]
	}
	sum := uint32(protocol) + uint32(len(b)-start)
	for i := 0; i < len(addresses); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(addresses[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[start+int(g.ChecksumOffset):], uint16(sum))
	f := pseudowire.NewFrame(b, 0)
	f.GSO = g
	return f
}

// TestKernelCutsTheSame has the kernel cut super-frames with every header that there
// may be, and wants the frames that we cut; then it has the kernel cut what we join
// of those frames, and wants them again.
func TestKernelCutsTheSame(t *testing.T) {
	k := newKernel(t)
	dot1q, ad := layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ
	times := []layers.TCPOption{{OptionType: 1}, {OptionType: 1}, {OptionType: 8, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 5, 6, 7, 8}}}
	df := layers.IPv4{Flags: layers.IPv4DontFragment, Id: 0xfffe}
	for name, m := range map[string]made{
		"TCP over IPv4":          {ip: df, tcp: layers.TCP{Options: times}, payload: 30000, size: 1448, joins: true},
		"without DF, with TOS":   {ip: layers.IPv4{Id: 7, TOS: 0x2e}, payload: 30000, size: 1448, joins: true},
		"all that IPv4 takes":    {ip: df, tcp: layers.TCP{Options: times}, payload: 65535 - 20 - 32, size: 1448},
		"all that is joined":     {ip: df, tcp: layers.TCP{Options: times}, payload: 65535 - 14 - 20 - 32, size: 1448, joins: true},
		"odd sizes":              {ip: df, payload: 1000, size: 333, joins: true},
		"PSH":                    {ip: df, tcp: layers.TCP{PSH: true}, payload: 5000, size: 1448, joins: true},
		"FIN, PSH, CWR":          {ip: df, tcp: layers.TCP{FIN: true, PSH: true, CWR: true}, payload: 5000, size: 1448},
		"ECE, URG":               {ip: df, tcp: layers.TCP{ECE: true, URG: true, Urgent: 9}, payload: 5000, size: 1448},
		"one tag":                {tags: []layers.EthernetType{dot1q}, ip: df, tcp: layers.TCP{Options: times}, payload: 30000, size: 1444, joins: true},
		"two tags":               {tags: []layers.EthernetType{ad, dot1q}, ip: df, payload: 30000, size: 1440, joins: true},
		"IPv4 options":           {ip: layers.IPv4{Options: []layers.IPv4Option{{OptionType: 68, OptionLength: 8, OptionData: []byte{5, 0, 0, 0, 0, 0}}}}, payload: 5000, size: 1400},
		"TCP over IPv6":          {v6: true, label: 0xabcde, class: 0x2e, tcp: layers.TCP{Options: times}, payload: 30000, size: 1428, joins: true},
		"TCP over IPv6, one tag": {v6: true, tags: []layers.EthernetType{dot1q}, payload: 30000, size: 1428, joins: true},
		"UDP over IPv4":          {udp: true, ip: df, payload: 30000, size: 1200, joins: true},
		"UDP over IPv4, one tag": {udp: true, tags: []layers.EthernetType{dot1q}, ip: df, payload: 30000, size: 1200, joins: true},
		"UDP over IPv6":          {udp: true, v6: true, payload: 30000, size: 1200, joins: true},
		"UDP over IPv6, two tags": {udp: true, v6: true, tags: []layers.EthernetType{ad, dot1q}, payload: 30000,
			size: 1200, joins: true},
	} {
		if m.udp && !k.tap.uso {
			continue // the kernel knows no such super-frames
		}
		t.Run(name, func(t *testing.T) {
			f := m.frame(t)
			want := apart(t, f)
			got, written := k.cut(t, []pseudowire.Frame{f})
			same(t, "the super-frame", got, want)
			if written != 1 || len(want) < 3 {
				t.Errorf("%d written, which is %d frames; want one of several", written, len(want))
			}
			var frames []pseudowire.Frame
			for _, b := range want {
				frames = append(frames, pseudowire.NewFrame(bytes.Clone(b), 0))
			}
			got, written = k.cut(t, frames)
			same(t, "joined", got, want)
			if joined := written == 1; joined != m.joins {
				t.Errorf("%d frames were written as %d; want one super-frame: %v", len(want), written, m.joins)
			}
		})
	}
}

// TestKernelStreams listens to what TCP and UDP of a kernel send, over two TAPs at
// once: one takes super-frames, for the other the kernel cuts them. What we cut is
// the same; and what we join of it, another kernel cuts into the same.
func TestKernelStreams(t *testing.T) {
	l, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	var hosts [2]*netlab.Namespace
	for i, name := range []string{"sender", "receiver"} {
		if hosts[i], err = l.Namespace(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Veth(hosts[0], "v0", hosts[1], "eth0", 1500); err != nil {
		t.Fatal(err)
	}
	var whole *TAP
	var cut *ear
	in(t, hosts[0], func() (err error) {
		if err := newBridge("br0"); err != nil {
			return err
		}
		if whole, err = Open(Config{Name: "t0", MTU: 1500, Bridge: "br0"}); err != nil {
			return err
		}
		t.Cleanup(func() { in(t, hosts[0], whole.Close) })
		cut = openEar(t, "ear0", "br0")
		return errors.Join(port("t0", "br0"), port("v0", "br0"), netlink.LinkSetMTU(mustLink(t, "br0"), 1500))
	})
	if err := l.Bridge(hosts[1], "br0", "eth0"); err != nil {
		t.Fatal(err)
	}
	for i, host := range hosts {
		if err := l.VLAN(host, "br0", "vlan", 100, 1400); err != nil {
			t.Fatal(err)
		}
		for _, at := range []struct{ device, prefix string }{
			{"br0", "10.9.0.%d/24"}, {"br0", "fd00:9::%d/64"}, {"vlan", "10.9.1.%d/24"}, {"vlan", "fd00:9:1::%d/64"},
		} {
			if err := host.Addr(at.device, netip.MustParsePrefix(fmt.Sprintf(at.prefix, i+1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	var mu sync.Mutex
	var supers []pseudowire.Frame
	whole.Attach(func(frames []pseudowire.Frame) int {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range frames {
			c := pseudowire.NewFrame(bytes.Clone(f.Bytes()), 0)
			c.GSO = f.GSO
			supers = append(supers, c)
		}
		return len(frames)
	})
	go whole.Run()

	k := newKernel(t)
	for i, v := range []struct{ network, address string }{
		{"tcp", "10.9.0.2"}, {"tcp", "fd00:9::2"}, {"tcp", "10.9.1.2"}, {"tcp", "fd00:9:1::2"},
		{"udp", "10.9.0.2"}, {"udp", "fd00:9::2"}, {"udp", "10.9.1.2"}, {"udp", "fd00:9:1::2"},
	} {
		if v.network == "udp" && !whole.uso {
			continue
		}
		t.Run(v.network+" to "+v.address, func(t *testing.T) {
			at := netip.AddrPortFrom(netip.MustParseAddr(v.address), uint16(7001+i))
			mu.Lock()
			supers = supers[:0]
			mu.Unlock()
			if v.network == "tcp" {
				sendTCP(t, hosts, at, 600_000)
			} else {
				sendUDP(t, hosts, at, 600_000)
			}
			// One more datagram is the last that both TAPs get.
			end := netip.AddrPortFrom(at.Addr(), 7000)
			in(t, hosts[0], func() error {
				c, err := net.Dial("udp", end.String())
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write([]byte("end"))
				return err
			})
			stream := func(b []byte) bool { return destinationPort(b) == at.Port() }
			last := func(b []byte) bool { return destinationPort(b) == end.Port() }
			want := cut.hear(t, stream, last)
			var mine []pseudowire.Frame
			for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				mu.Lock()
				all := slices.ContainsFunc(supers, func(f pseudowire.Frame) bool { return last(f.Bytes()) })
				mu.Unlock()
				if all {
					break
				}
				if time.Now().After(until) {
					t.Fatal("the last frame did not come")
				}
			}
			longest := 0
			mu.Lock()
			defer mu.Unlock()
			for _, f := range supers {
				if stream(f.Bytes()) {
					mine = append(mine, f)
					longest = max(longest, f.Len())
				}
			}
			// Two processors may have sent, and each TAP got it in an order of its own.
			cutHere := apart(t, mine...)
			slices.SortFunc(cutHere, bytes.Compare)
			same(t, "cut", cutHere, slices.SortedFunc(slices.Values(want), bytes.Compare))
			if len(mine) > len(want)/2 || longest < 10000 {
				t.Errorf("%d frames of %d octets at most are %d when cut: want many more", len(mine), longest, len(want))
			}

			var frames []pseudowire.Frame
			for _, b := range want {
				frames = append(frames, pseudowire.NewFrame(bytes.Clone(b), 0))
			}
			got, written := k.cut(t, frames)
			same(t, "joined", got, want)
			if written > uint64(len(want)/4) {
				t.Errorf("%d frames were written as %d, want few", len(want), written)
			}
			t.Logf("%d frames: %d super-frames and frames read, %d written", len(want), len(mine), written)
		})
	}
}

func mustLink(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// destinationPort returns that of a TCP or UDP frame with a tag or without, 0 if it
// is another.
func destinationPort(b []byte) uint16 {
	at := 14
	if len(b) > 18 && binary.BigEndian.Uint16(b[12:]) == 0x8100 {
		at = 18
	}
	if len(b) < at+24 {
		return 0
	}
	switch t := binary.BigEndian.Uint16(b[at-2:]); {
	case t == 0x0800 && (b[at+9] == 6 || b[at+9] == 17):
		return binary.BigEndian.Uint16(b[at+22:])
	case t == 0x86dd && len(b) >= at+44 && (b[at+6] == 6 || b[at+6] == 17):
		return binary.BigEndian.Uint16(b[at+42:])
	}
	return 0
}

// sendTCP sends octets in writes of all sizes.
func sendTCP(t *testing.T, hosts [2]*netlab.Namespace, at netip.AddrPort, octets int) {
	t.Helper()
	var l net.Listener
	in(t, hosts[1], func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	})
	defer l.Close()
	came := make(chan int64, 1)
	go func() {
		var n int64
		if c, err := l.Accept(); err == nil {
			c.SetDeadline(time.Now().Add(20 * time.Second))
			n, _ = io.Copy(io.Discard, c)
			c.Close()
		}
		came <- n
	}()
	in(t, hosts[0], func() error {
		c, err := net.DialTimeout("tcp", at.String(), 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		random := rand.New(rand.NewPCG(1, uint64(at.Port())))
		for rest := octets; rest > 0; {
			b := make([]byte, min(rest, 1+random.IntN(100_000)))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			if _, err := c.Write(b); err != nil {
				return err
			}
			rest -= len(b)
		}
		return nil
	})
	if n := <-came; n != int64(octets) {
		t.Fatalf("%d octets came, want %d", n, octets)
	}
}

// sendUDP sends octets in runs of datagrams that the kernel is to cut itself.
func sendUDP(t *testing.T, hosts [2]*netlab.Namespace, at netip.AddrPort, octets int) {
	t.Helper()
	var sink net.PacketConn
	in(t, hosts[1], func() (err error) {
		sink, err = net.ListenPacket("udp", at.String())
		return err
	})
	defer sink.Close()
	in(t, hosts[0], func() error {
		c, err := net.Dial("udp", at.String())
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		random := rand.New(rand.NewPCG(2, uint64(at.Port())))
		for rest := octets; rest > 0; {
			size := 500 + random.IntN(800)
			if control := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
			}); errors.Join(control, err) != nil {
				return errors.Join(control, err)
			}
			b := make([]byte, size*(2+random.IntN(40))+random.IntN(size))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			if _, err := c.Write(b); err != nil {
				return err
			}
			rest -= len(b)
		}
		return nil
	})
}
