package packet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/bridge/link"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/testbed/netlab"
)

// A lan is a device of ours, eth1, and a host at the other end of its cable, eth0.
type lan struct {
	t         testing.TB
	ours, far *netlab.Namespace
	host      *netlab.Capture
}

func newLAN(t testing.TB, mtu int) *lan {
	t.Helper()
	l, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	s := &lan{t: t}
	for _, n := range []struct {
		name string
		to   **netlab.Namespace
	}{{"ours", &s.ours}, {"far", &s.far}} {
		if *n.to, err = l.Namespace(n.name); err != nil {
			t.Fatal(err)
		}
		// The devices are to say nothing of their own.
		in(t, *n.to, func() error { return setting("net/ipv6/conf/default/disable_ipv6", "1") })
	}
	if err := l.Veth(s.ours, "eth1", s.far, "eth0", mtu); err != nil {
		t.Fatal(err)
	}
	if s.host, err = s.far.Capture("eth0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.host.Close)
	return s
}

// open opens eth1, or one VLAN of it, and returns where what comes in shows.
func (s *lan) open(vlan ...ethernet.Tag) (*Port, chan []byte) {
	s.t.Helper()
	var p *Port
	in(s.t, s.ours, func() (err error) {
		p, err = Open(Config{Interface: "eth1", VLAN: vlan})
		return err
	})
	got := make(chan []byte, 1000)
	p.Attach(func(frames []pseudowire.Frame) int {
		for _, f := range frames {
			if f.Headroom() < pseudowire.Headroom || f.GSO != (pseudowire.GSO{}) {
				s.t.Errorf("headroom %d, want %d; %+v", f.Headroom(), pseudowire.Headroom, f.GSO)
			}
			got <- bytes.Clone(f.Bytes())
		}
		return len(frames)
	})
	done := make(chan error, 1)
	go func() { done <- p.Run() }()
	s.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			s.t.Error(err)
		}
		if err := <-done; err != nil {
			s.t.Errorf("Run after Close: %v", err)
		}
	})
	return p, got
}

// want waits for the next frame that comes in.
func want(t testing.TB, what string, got chan []byte, want []byte) {
	t.Helper()
	select {
	case b := <-got:
		if !bytes.Equal(b, want) {
			t.Errorf("%s: %x, want %x", what, b[:min(len(b), 40)], want[:min(len(want), 40)])
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing came", what)
	}
}

// in runs f in a namespace, on the test's behalf.
func in(t testing.TB, n *netlab.Namespace, f func() error) {
	t.Helper()
	if err := n.Do(f); err != nil {
		t.Fatal(err)
	}
}

// frame returns a frame of some octets from its type on, filled up.
func frame(dst byte, length int, rest ...byte) []byte {
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(i)
	}
	copy(b, []byte{dst, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1})
	if dst == 0xff {
		copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}
	copy(b[12:], rest)
	return b
}

// group returns a frame to a group of IEEE's.
func group(last byte, rest ...byte) []byte {
	b := frame(2, 60, rest...)
	copy(b, []byte{1, 0x80, 0xc2, 0, 0, last})
	return b
}

// frames are those that must pass unchanged, whatever they are.
var frames = map[string][]byte{
	"least":             frame(2, 60, 0x88, 0xb5),
	"shorter":           frame(2, 14, 0x88, 0xb5),
	"broadcast":         frame(0xff, 60, 0x08, 0x06),
	"tagged":            frame(2, 1518, 0x81, 0, 0, 100, 0x88, 0xb5),
	"tagged, least":     frame(2, 60, 0x81, 0, 0xe0, 100, 0x88, 0xb5),
	"drop eligible":     frame(2, 60, 0x81, 0, 0xf0, 100, 0x88, 0xb5),
	"S-tag":             frame(2, 1514, 0x88, 0xa8, 0, 7, 0x88, 0xb5),
	"priority":          frame(2, 100, 0x81, 0, 0xa0, 0, 0x88, 0xb5),
	"no priority":       frame(2, 100, 0x81, 0, 0, 0, 0x88, 0xb5),
	"two tags":          frame(2, 300, 0x88, 0xa8, 0, 7, 0x81, 0, 0, 100, 0x88, 0xb5),
	"two C-tags":        frame(2, 300, 0x81, 0, 0, 7, 0x81, 0, 0, 100, 0x88, 0xb5),
	"three tags":        frame(2, 300, 0x88, 0xa8, 0, 7, 0x88, 0xa8, 0, 8, 0x81, 0, 0, 100, 0x88, 0xb5),
	"jumbo":             frame(2, 9014, 0x88, 0xb5),
	"jumbo, tagged":     frame(2, 9018, 0x81, 0, 0, 100, 0x88, 0xb5),
	"LLDP":              group(0x0e, 0x88, 0xcc),
	"STP":               group(0, 0, 46),
	"LACP":              group(2, 0x88, 9),
	"IPv4 that is none": frame(2, 60, 0x08, 0),
}

func TestFramesPass(t *testing.T) {
	s := newLAN(t, 9000)
	p, got := s.open()
	for name, b := range frames {
		if err := s.host.Send(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want(t, name, got, b)
		f := pseudowire.NewFrame(append(make([]byte, pseudowire.Headroom), b...), pseudowire.Headroom)
		if sent := p.Send([]pseudowire.Frame{f}); sent != 1 {
			t.Fatalf("%s: %d sent", name, sent)
		}
		back, err := s.host.Receive(time.Now().Add(10 * time.Second))
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("%s: to the segment: %v, %x, want %x", name, err, back[:min(len(back), 40)], b[:min(len(b), 40)])
		}
		if !bytes.Equal(f.Bytes(), b) {
			t.Errorf("%s: changed by Send", name)
		}
	}
	octets := 0
	for _, b := range frames {
		octets += len(b)
	}
	n := uint64(len(frames))
	if got, want := p.Stats(), (Stats{InFrames: n, InOctets: uint64(octets), OutFrames: n, OutOctets: uint64(octets)}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if p.Name() != "eth1" {
		t.Errorf("name %s", p.Name())
	}
	if sent := p.Send([]pseudowire.Frame{pseudowire.NewFrame([]byte{1, 2, 3}, 0), pseudowire.NewFrame(nil, 0)}); sent != 0 || p.Stats().OutErrors != 2 {
		t.Errorf("no frames: %d sent, %+v", sent, p.Stats())
	}
}

// TestBatches sends more than is written at once, some of it too long.
func TestBatches(t *testing.T) {
	s := newLAN(t, 1500)
	p, got := s.open()
	var batch []pseudowire.Frame
	var sent [][]byte
	for i := range 200 {
		b := frame(2, 60+i, 0x88, 0xb5, byte(i))
		switch i % 7 {
		case 3:
			b = frame(2, 1515, 0x88, 0xb5)
		case 5:
			b = frame(2, 1519, 0x81, 0, 0, 1)
		case 6:
			b = frame(2, 1518, 0x81, 0, 0, 1)
		}
		batch = append(batch, pseudowire.NewFrame(b, 0))
		if i%7 != 3 && i%7 != 5 {
			sent = append(sent, b)
		}
	}
	if n := p.Send(batch); n != len(sent) || p.Stats().OutTooBig != uint64(200-n) || p.Stats().OutErrors != uint64(200-n) {
		t.Errorf("%d sent, want %d; %+v", n, len(sent), p.Stats())
	}
	for i, b := range sent {
		back, err := s.host.Receive(time.Now().Add(10 * time.Second))
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("frame %d: %v, %x", i, err, back[:min(len(back), 40)])
		}
	}
	for _, b := range sent {
		if err := s.host.Send(b); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range sent {
		want(t, "back", got, b)
	}
}

// TestOneVLAN has several ports share a device.
func TestOneVLAN(t *testing.T) {
	s := newLAN(t, 1500)
	type tags = []ethernet.Tag
	const c, st = ethernet.CTag, ethernet.STag
	ports := []struct {
		vlan tags
		want string // the frames that it takes, by their last octet
	}{
		{nil, "abcdefghijk"},
		{tags{{VID: 42}}, "cdghij"},
		{tags{{TPID: c, VID: 42}}, "cij"},
		{tags{{TPID: st, VID: 42}}, "dgh"},
		{tags{{VID: 42}, {VID: 7}}, "gi"},
		{tags{{TPID: st, VID: 42}, {TPID: c, VID: 7}}, "g"},
		{tags{{}, {VID: 7}}, "gik"},
		{tags{{}}, "bcdefghijk"},
		{tags{{VID: 42}, {TPID: st}}, "h"},
		{tags{{VID: 9}}, ""},
	}
	frames := [][]byte{
		frame(2, 60, 0x88, 0xb5),                                   // a
		frame(2, 60, 0x81, 0, 0x20, 0, 0x88, 0xb5),                 // b
		frame(2, 60, 0x81, 0, 0xf0, 42, 0x88, 0xb5),                // c
		frame(2, 60, 0x88, 0xa8, 0, 42, 0x88, 0xb5),                // d
		frame(2, 60, 0x81, 0, 0, 43, 0x88, 0xb5),                   // e
		frame(2, 60, 0x81, 0, 1, 42, 0x88, 0xb5),                   // f
		frame(2, 60, 0x88, 0xa8, 0, 42, 0x81, 0, 0xe0, 7, 8, 6),    // g
		frame(2, 60, 0x88, 0xa8, 0, 42, 0x88, 0xa8, 0, 8, 8, 6),    // h
		frame(2, 60, 0x81, 0, 0, 42, 0x81, 0, 0, 7, 0x88, 0xb5),    // i
		frame(2, 60, 0x81, 0, 0, 42, 0x81, 0, 0, 8, 0x88, 0xb5),    // j
		frame(2, 60, 0x88, 0xa8, 0, 43, 0x81, 0, 0, 7, 0x88, 0xb5), // k
	}
	var open []*Port
	var got []chan []byte
	for _, v := range ports {
		p, c := s.open(v.vlan...)
		open, got = append(open, p), append(got, c)
	}
	for i, b := range frames {
		b[59] = byte('a' + i)
		// What one port sends is none of the others' business, nor its own.
		loud := frame(0xff, 60, 0x81, 0, 0, 42, 0x81, 0, 0, 7, 0x88, 0xb5)
		if open[i%len(open)].Send([]pseudowire.Frame{pseudowire.NewFrame(loud, 0)}) != 1 {
			t.Error("not sent")
		}
		if err := s.host.Send(b); err != nil {
			t.Fatal(err)
		}
	}
	for i, v := range ports {
		for _, name := range v.want {
			want(t, fmt.Sprintf("%v: %c", v.vlan, name), got[i], frames[name-'a'])
		}
	}
	for i, v := range ports {
		if n := open[i].Stats().InFrames; n != uint64(len(v.want)) {
			t.Errorf("%v: %d frames, want %d", v.vlan, n, len(v.want))
		}
	}
}

func TestOpen(t *testing.T) {
	s := newLAN(t, 1500)
	in(t, s.ours, func() error {
		_, err := Open(Config{Interface: "absent"})
		if want := "interface absent: file does not exist"; !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		_, err = Open(Config{Interface: "lo"})
		if want := "interface lo: its link is of type loopback, want an Ethernet interface"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		before, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		p, err := Open(Config{Interface: "eth1"})
		if err != nil {
			return err
		}
		if during, err := netlink.LinkByName("eth1"); err != nil || during.Attrs().Promisc != 1 {
			t.Errorf("%v; promiscuous %d while open, want 1", err, during.Attrs().Promisc)
		}
		state, err := link.Read("eth1")
		if err != nil || p.State() != state || state.MTU != 1500 || !state.Carrier {
			t.Errorf("state %+v, want %+v; %v", p.State(), state, err)
		}
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			return err
		}
		after, err := netlink.LinkByName("eth1")
		a, b := before.Attrs(), after.Attrs()
		if err != nil || b.Promisc != 0 || a.Flags != b.Flags || a.RawFlags != b.RawFlags || a.MTU != b.MTU || !bytes.Equal(a.HardwareAddr, b.HardwareAddr) {
			t.Errorf("%v; %+v was\n%+v", err, b, a)
		}
		if sent := p.Send([]pseudowire.Frame{pseudowire.NewFrame(frames["least"], 0)}); sent != 0 || p.Stats().OutErrors != 1 {
			t.Errorf("%d sent after Close", sent)
		}
		return nil
	})
}

// TestInABridge has the device be a port of a bridge: before Open, and, to see why that is
// refused, after.
func TestInABridge(t *testing.T) {
	s := newLAN(t, 1500)
	var l netlab.Lab
	if err := errors.Join(l.Veth(s.ours, "eth2", s.far, "other", 1500), l.Bridge(s.ours, "br0", "eth2")); err != nil {
		t.Fatal(err)
	}
	other, err := s.far.Capture("other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	join := func(l netlink.Link) error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(l, br)
	}
	s.link(join)
	in(t, s.ours, func() error {
		_, err := Open(Config{Interface: "eth1"})
		if want := "interface eth1: it is a port of br0 (type bridge), which takes its frames too, want one that is in nothing: ip link set eth1 nomaster"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		return nil
	})
	s.link(netlink.LinkSetNoMaster)
	_, got := s.open()
	s.link(join)
	b := frames["tagged"]
	if err := s.host.Send(b); err != nil {
		t.Fatal(err)
	}
	want(t, "the Port's", got, b)
	if back, err := other.Receive(time.Now().Add(10 * time.Second)); err != nil || !bytes.Equal(back, b) {
		t.Errorf("the bridge's: %v, %x, want it too", err, back[:min(len(back), 40)])
	}
}

// TestTooBig sends frames and super-frames with all kinds of tags, as long as the kernel
// lets them be by the device's MTU, and longer.
func TestTooBig(t *testing.T) {
	s := newLAN(t, 9000)
	p, _ := s.open()
	for _, mtu := range []int{1500, 1504, 1508} {
		s.link(func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
		state := p.State()
		state.MTU = mtu
		p.Follow(state)
		for _, v := range []struct {
			name string
			tags []byte
			most int
		}{
			{"no tag", nil, mtu + 14},
			{"C-tag", []byte{0x81, 0, 0, 1}, mtu + 18},
			{"S-tag", []byte{0x88, 0xa8, 0, 1}, mtu + 14},
			{"C-tag, C-tag", []byte{0x81, 0, 0, 1, 0x81, 0, 0, 2}, mtu + 18},
			{"S-tag, C-tag", []byte{0x88, 0xa8, 0, 1, 0x81, 0, 0, 2}, mtu + 14},
		} {
			for _, length := range []int{v.most, v.most + 1, v.most + 4} {
				plain := pseudowire.NewFrame(frame(2, length, append(v.tags, 0x88, 0xb5)...), 0)
				head := 54 + len(v.tags)
				for kind, f := range map[string]pseudowire.Frame{"frame": plain, "super-frame": tagged(t, v.tags, 3*(length-head), length-head)} {
					before := p.Stats()
					sent, n := p.Send([]pseudowire.Frame{f}), p.Stats()
					fits := length <= v.most
					if sent == 1 != fits || n.OutTooBig-before.OutTooBig != uint64(1-sent) || n.OutErrors-before.OutErrors != uint64(1-sent) {
						t.Errorf("MTU %d: %s: %s of %d octets: %d sent, %+v, want it sent: %v", mtu, v.name, kind, length, sent, n, fits)
					}
				}
			}
		}
	}
}

// TestFollow has the device's MTU change, and the Port learn of it.
func TestFollow(t *testing.T) {
	s := newLAN(t, 1500)
	p, _ := s.open()
	// Six segments in one, of 1514 octets each.
	super := tcp(t, 6*1460, 1460)
	send := func() int { return p.Send([]pseudowire.Frame{super}) }
	if n := send(); n != 1 {
		t.Errorf("%d sent, %+v", n, p.Stats())
	}
	state := p.State()
	state.MTU = 1499
	p.Follow(state)
	if n := send(); n != 0 || p.Stats().OutTooBig != 1 || p.Stats().OutErrors != 1 {
		t.Errorf("%d sent with segments that are too long, %+v", n, p.Stats())
	}
	if p.State() != state {
		t.Errorf("%+v, want %+v", p.State(), state)
	}
}

// run runs a port of eth1 and returns what it is and where it ends.
func (s *lan) run() (*Port, chan error, chan []byte) {
	s.t.Helper()
	var p *Port
	in(s.t, s.ours, func() (err error) {
		p, err = Open(Config{Interface: "eth1"})
		return err
	})
	got := make(chan []byte, 100)
	p.Attach(func(frames []pseudowire.Frame) int {
		for _, f := range frames {
			got <- bytes.Clone(f.Bytes())
		}
		return len(frames)
	})
	done := make(chan error, 1)
	go func() { done <- p.Run() }()
	return p, done, got
}

func (s *lan) link(f func(netlink.Link) error) {
	s.t.Helper()
	in(s.t, s.ours, func() error {
		l, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		return f(l)
	})
}

// TestGone has the device deleted or taken away: while it is up, after it was down for
// a while, and before Run.
func TestGone(t *testing.T) {
	elsewhere := func(s *lan) func(netlink.Link) error {
		return func(l netlink.Link) error {
			var fd int
			if err := s.far.Do(func() (err error) { fd, err = namespace(); return err }); err != nil {
				return err
			}
			return netlink.LinkSetNsFd(l, fd)
		}
	}
	for name, gone := range map[string]func(*lan){
		"deleted": func(s *lan) { s.link(netlink.LinkDel) },
		"deleted while down": func(s *lan) {
			s.link(netlink.LinkSetDown)
			time.Sleep(50 * time.Millisecond)
			s.link(netlink.LinkDel)
		},
		"renamed and deleted": func(s *lan) {
			s.link(func(l netlink.Link) error {
				return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetName(l, "eth2"), netlink.LinkSetUp(l), netlink.LinkDel(l))
			})
		},
		"elsewhere": func(s *lan) { s.link(elsewhere(s)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newLAN(t, 1500)
			p, done, _ := s.run()
			time.Sleep(5 * time.Millisecond) // most of the times Run waits by now
			gone(s)
			if err := <-done; err == nil || err.Error() != "interface eth1: the device was deleted" {
				t.Errorf("Run: %v", err)
			}
			if sent := p.Send([]pseudowire.Frame{pseudowire.NewFrame(frames["least"], 0)}); sent != 0 || p.Stats().OutErrors != 1 {
				t.Errorf("%d sent to a device that is gone, %+v", sent, p.Stats())
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDownAndUp opens a device that is down, and has it go up, down and up again.
func TestDownAndUp(t *testing.T) {
	s := newLAN(t, 1500)
	s.link(netlink.LinkSetDown)
	p, done, got := s.run()
	if p.State().Up {
		t.Error("a device that is down is up")
	}
	b := frames["tagged"]
	f := []pseudowire.Frame{pseudowire.NewFrame(b, 0)}
	for range 2 {
		if sent := p.Send(f); sent != 0 {
			t.Errorf("%d sent to a device that is down", sent)
		}
		time.Sleep(20 * time.Millisecond)
		s.link(netlink.LinkSetUp)
		s.passes(b, got)
		if sent := p.Send(f); sent != 1 {
			t.Errorf("%d sent to a device that is up again, %+v", sent, p.Stats())
		}
		time.Sleep(2 * downFor) // so that a look at it finds it up
		s.passes(b, got)
		s.link(netlink.LinkSetDown)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// passes sends a frame from the host until it comes.
func (s *lan) passes(b []byte, got chan []byte) {
	s.t.Helper()
	for range 500 {
		s.host.Send(b) // an error as long as there is no carrier
		select {
		case frame := <-got:
			if !bytes.Equal(frame, b) {
				s.t.Errorf("%x, want %x", frame[:20], b[:20])
			}
			for len(got) > 0 {
				<-got
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.t.Fatal("nothing comes")
}

// TestCarrier unplugs the cable, of which a Watch tells.
func TestCarrier(t *testing.T) {
	s := newLAN(t, 1500)
	p, _ := s.open()
	news := make(chan link.Change, 100)
	ctx, stop := testContext(t)
	defer stop()
	in(t, s.ours, func() error {
		go func() {
			s.ours.Do(func() error { return link.Watch(ctx, func(c link.Change) { news <- c }) })
		}()
		return nil
	})
	await := func(carrier bool) {
		t.Helper()
		for {
			select {
			case c := <-news:
				if c.Index != p.State().Index {
					continue
				}
				if p.Follow(c.State); p.State().Carrier == carrier && p.State().Up {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("no news of carrier %v", carrier)
			}
		}
	}
	await(true)
	plug := func(do func(netlink.Link) error) {
		in(t, s.far, func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return do(l)
		})
	}
	plug(netlink.LinkSetDown)
	await(false)
	plug(netlink.LinkSetUp)
	await(true)
}

// TestCloseWhileSending is for the race detector, and for descriptors that are used
// again.
func TestCloseWhileSending(t *testing.T) {
	s := newLAN(t, 1500)
	for range 5 {
		p, done, _ := s.run()
		var work sync.WaitGroup
		stop := make(chan struct{})
		for range 3 {
			work.Go(func() {
				f := []pseudowire.Frame{pseudowire.NewFrame(frames["least"], 0), pseudowire.NewFrame(frames["tagged"], 0)}
				for {
					select {
					case <-stop:
						return
					default:
						p.Send(f)
						p.Stats()
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		close(stop)
		work.Wait()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// TestLost does not read until there is no room any more.
func TestLost(t *testing.T) {
	s := newLAN(t, 1500)
	var p *Port
	in(t, s.ours, func() (err error) {
		p, err = Open(Config{Interface: "eth1"})
		return err
	})
	defer p.Close()
	b := frame(2, 1514, 0x88, 0xb5)
	for range 100_000 {
		if err := s.host.Send(b); err != nil {
			t.Fatal(err)
		}
		if p.Stats().InLost > 10 {
			break
		}
	}
	first := p.Stats().InLost
	if err := s.host.Send(b); err != nil || first <= 10 || p.Stats().InLost <= first {
		t.Errorf("%d lost, then %d; %v", first, p.Stats().InLost, err)
	}
}

func TestSendAllocatesNothing(t *testing.T) {
	s := newLAN(t, 1500)
	p, _, _ := s.run()
	defer p.Close()
	f := []pseudowire.Frame{pseudowire.NewFrame(frames["least"], 0), pseudowire.NewFrame(frames["tagged"], 0)}
	if got := testing.AllocsPerRun(100, func() { p.Send(f) }); got != 0 {
		t.Errorf("%v allocations a Send, want 0", got)
	}
}

// TestRunAllocatesNothing has frames come from a Port at the other end, because its
// Send allocates nothing.
func TestRunAllocatesNothing(t *testing.T) {
	s := newLAN(t, 1500)
	var far *Port
	in(t, s.far, func() (err error) {
		far, err = Open(Config{Interface: "eth0"})
		return err
	})
	defer far.Close()
	var near *Port
	in(t, s.ours, func() (err error) {
		near, err = Open(Config{Interface: "eth1"})
		return err
	})
	got := make(chan struct{}, 100)
	near.Attach(func(f []pseudowire.Frame) int {
		for range f {
			got <- struct{}{}
		}
		return len(f)
	})
	done := make(chan error)
	go func() { done <- near.Run() }()
	f := []pseudowire.Frame{pseudowire.NewFrame(slices.Clone(frames["tagged, least"]), 0)}
	if allocs := testing.AllocsPerRun(200, func() { far.Send(f); <-got }); allocs != 0 {
		t.Errorf("%v allocations a frame, want 0", allocs)
	}
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestUnprivileged wants to be told what is missing.
func TestUnprivileged(t *testing.T) {
	s := newLAN(t, 1500)
	err := s.ours.Do(func() error {
		if err := giveUp(); err != nil { // of this thread, which ends with it
			return err
		}
		_, err := Open(Config{Interface: "eth1"})
		return err
	})
	if err == nil || !strings.HasPrefix(err.Error(), "interface eth1: ") || !strings.HasSuffix(err.Error(), "want CAP_NET_RAW") {
		t.Errorf("%v, want CAP_NET_RAW", err)
	}
	if _, err := net.InterfaceByName("eth1"); err == nil {
		t.Error("the test runs in the wrong namespace")
	}
}
