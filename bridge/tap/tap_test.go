package tap

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/bridge/link"
	"spanwire/pseudowire"
	"spanwire/testbed/netlab"
)

func lab(t *testing.T) *netlab.Namespace {
	t.Helper()
	l, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	n, err := l.Namespace(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// in runs f in a namespace of its own, on the test's behalf.
func in(t *testing.T, n *netlab.Namespace, f func() error) {
	t.Helper()
	if err := n.Do(f); err != nil {
		t.Fatal(err)
	}
}

// frames are those that must pass unchanged, whatever they are.
func frames() map[string][]byte {
	fill := func(head []byte, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i)
		}
		copy(b, head)
		return b
	}
	src := []byte{2, 0, 0, 0, 0, 1}
	to := func(dst [6]byte, rest ...byte) []byte { return append(append(dst[:], src...), rest...) }
	all := [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	one := [6]byte{2, 0, 0, 0, 0, 2}
	return map[string][]byte{
		"least":     fill(to(one, 0x88, 0xb5), 60),
		"broadcast": fill(to(all, 0x08, 0x06), 60),
		"tagged":    fill(to(one, 0x81, 0, 0, 100, 0x88, 0xb5), 1518),
		"two tags":  fill(to(one, 0x88, 0xa8, 0, 7, 0x81, 0, 0, 100, 0x88, 0xb5), 300),
		"jumbo":     fill(to(one, 0x88, 0xb5), 9014),
		"LLDP":      fill(to([6]byte{1, 0x80, 0xc2, 0, 0, 0xe}, 0x88, 0xcc), 60),
		"STP":       fill(to([6]byte{1, 0x80, 0xc2, 0, 0, 0}, 0, 46), 60),
		"LACP":      fill(to([6]byte{1, 0x80, 0xc2, 0, 0, 2}, 0x88, 9), 60),
	}
}

func TestFramesPass(t *testing.T) {
	n := lab(t)
	var tap *TAP
	in(t, n, func() (err error) {
		tap, err = Open(Config{Name: "t0", MTU: 9000, MAC: MAC("node", "session")})
		return err
	})
	got := make(chan []byte, 100)
	tap.Attach(func(f []pseudowire.Frame) int {
		for _, f := range f {
			if f.Headroom() < pseudowire.Headroom {
				t.Errorf("headroom %d, want %d", f.Headroom(), pseudowire.Headroom)
			}
			got <- bytes.Clone(f.Bytes())
		}
		return len(f)
	})
	done := make(chan error)
	go func() { done <- tap.Run() }()
	segment, err := n.Capture("t0")
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	for name, want := range frames() {
		if err := segment.Send(want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for frame := range got { // the kernel says things of its own
			if bytes.Equal(frame, want) {
				break
			}
		}
		b := append(make([]byte, pseudowire.Headroom), want...)
		if sent := tap.Send([]pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)}); sent != 1 {
			t.Fatalf("%s: %d sent", name, sent)
		}
		for {
			frame, err := segment.Receive(time.Now().Add(5 * time.Second))
			if err != nil {
				t.Fatalf("%s: to the segment: %v", name, err)
			}
			if bytes.Equal(frame, want) {
				break
			}
		}
	}
	if s := tap.Stats(); s.OutFrames != uint64(len(frames())) || s.InFrames < s.OutFrames || s.OutErrors != 0 {
		t.Errorf("%+v, want %d frames out and no error", s, len(frames()))
	}
	if sent := tap.Send([]pseudowire.Frame{pseudowire.NewFrame([]byte{1, 2, 3}, 0)}); sent != 0 || tap.Stats().OutErrors != 1 {
		t.Errorf("a frame of 3 octets: %d sent, %+v", sent, tap.Stats())
	}
	in(t, n, tap.Close)
	if err := <-done; err != nil {
		t.Errorf("Run after Close: %v", err)
	}
	in(t, n, func() error {
		if _, err := netlink.LinkByName("t0"); !errors.As(err, new(netlink.LinkNotFoundError)) {
			t.Errorf("after Close: %v, want no device", err)
		}
		return nil
	})
}

func TestOpen(t *testing.T) {
	n := lab(t)
	in(t, n, func() error {
		mac := MAC("lyon", "paris/office")
		tap, err := Open(Config{Name: "t0", MTU: 1438, MAC: mac, Alias: "lyon/paris/office", Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24")}})
		if err != nil {
			return err
		}
		l, err := netlink.LinkByName("t0")
		if err != nil {
			return err
		}
		if a := l.Attrs(); a.MTU != 1438 || a.HardwareAddr.String() != mac.String() || a.Flags&(net.FlagUp|net.FlagRunning) != net.FlagUp|net.FlagRunning || a.Alias != "lyon/paris/office" {
			t.Errorf("MTU %d, MAC %s, %s, alias %q; want 1438, %s, up and running, lyon/paris/office", a.MTU, a.HardwareAddr, a.Flags, a.Alias, mac)
		}
		if addrs, _ := netlink.AddrList(l, netlink.FAMILY_V4); len(addrs) != 1 || addrs[0].IPNet.String() != "198.51.100.1/24" {
			t.Errorf("addresses %v", addrs)
		}
		_, err = Open(Config{Name: "t0", MTU: 1500})
		if want := "tap t0: a TAP of this name exists and a process holds it, want a free name"; err == nil || err.Error() != want {
			t.Errorf("the name twice: %v, want %s", err, want)
		}
		_, err = Open(Config{Name: "lo", MTU: 1500})
		if want := "tap lo: an interface of this name exists (type device), want a free name"; err == nil || err.Error() != want {
			t.Errorf("lo as a TAP: %v, want %s", err, want)
		}
		_, err = Open(Config{Name: "t1", MTU: 1500, Bridge: "absent"})
		if err == nil || !strings.HasPrefix(err.Error(), "tap t1: bridge absent: ") {
			t.Errorf("a bridge that is not there: %v", err)
		}
		if _, err := netlink.LinkByName("t1"); err == nil {
			t.Error("a TAP that could not be opened whole is still there")
		}
		return tap.Close()
	})
}

// TestBridges makes, shares, finds and leaves bridges.
func TestBridges(t *testing.T) {
	n := lab(t)
	exists := func(name string) bool {
		_, err := netlink.LinkByName(name)
		return err == nil
	}
	in(t, n, func() error {
		first, err := link.OpenBridge("br0", "lyon")
		if err != nil {
			return err
		}
		tap, err := Open(Config{Name: "t0", MTU: 1438, MAC: MAC("a", "b"), Bridge: "br0"})
		if err != nil {
			return err
		}
		// As after a kill -9: another handle knows the bridge by its mark.
		second, err := link.OpenBridge("br0", "lyon")
		if err != nil {
			return err
		}
		if !first.Ours() || !second.Ours() {
			t.Error("a bridge that we made is not ours")
		}
		l, _ := netlink.LinkByName("t0")
		br, _ := netlink.LinkByName("br0")
		if l.Attrs().MasterIndex != br.Attrs().Index || br.Attrs().MTU != 1438 {
			t.Errorf("master %d, want %d; bridge's MTU %d, want 1438", l.Attrs().MasterIndex, br.Attrs().Index, br.Attrs().MTU)
		}
		if addrs, _ := netlink.AddrList(l, netlink.FAMILY_V6); len(addrs) != 0 {
			t.Errorf("a bridge's port has addresses: %v", addrs)
		}
		if err := first.Close(); err != nil || !exists("br0") {
			t.Errorf("Close with a port left: %v, there %v; want it there", err, exists("br0"))
		}
		if err := errors.Join(tap.Close(), second.Close()); err != nil || exists("br0") {
			t.Errorf("the last Close: %v, there %v; want it gone", err, exists("br0"))
		}

		found := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
		found.Name = "br1"
		if err := netlink.LinkAdd(found); err != nil {
			return err
		}
		b, err := link.OpenBridge("br1", "lyon")
		if err != nil {
			return err
		}
		if err := b.Close(); err != nil || b.Ours() || !exists("br1") {
			t.Errorf("a bridge that was found: %v, ours %v, there %v", err, b.Ours(), exists("br1"))
		}
		_, err = link.OpenBridge("lo", "lyon")
		if want := "bridge lo: an interface of this name exists (type device), want a bridge or a free name"; err == nil || err.Error() != want {
			t.Errorf("lo as a bridge: %v, want %s", err, want)
		}
		return nil
	})
}

// TestBridgeForwards puts a TAP and a LAN into a bridge of ours, and wants all
// that port mode promises to pass between them.
func TestBridgeForwards(t *testing.T) {
	n := lab(t)
	var tap *TAP
	in(t, n, func() error {
		b, err := link.OpenBridge("br0", "lyon")
		if err != nil {
			return err
		}
		if tap, err = Open(Config{Name: "t0", MTU: 9000, MAC: MAC("a", "b"), Bridge: b.Name()}); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "lan", 9000
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "host", PeerMTU: 9000}); err != nil {
			return err
		}
		for _, name := range []string{"lan", "host"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
		}
		lan, _ := netlink.LinkByName("lan")
		br, _ := netlink.LinkByName("br0")
		return netlink.LinkSetMaster(lan, br)
	})
	defer n.Do(tap.Close)
	host, err := n.Capture("host")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	for name, want := range frames() {
		if name == "LACP" {
			continue // no Linux bridge forwards it, as the README says
		}
		b := append(make([]byte, pseudowire.Headroom), want...)
		tap.Send([]pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)})
		for {
			frame, err := host.Receive(time.Now().Add(3 * time.Second))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			if bytes.Equal(frame, want) {
				break
			}
		}
	}
}

// unpollable is a file of which the poller says that it cannot be waited for.
type unpollable struct{ syscall.RawConn }

func (unpollable) Read(func(uintptr) bool) error { return errors.New("not pollable") }

// TestDeletedSeenByPoller is the rarer way to learn of it: in the kernel it is a
// race which is first.
func TestDeletedSeenByPoller(t *testing.T) {
	tap := &TAP{cfg: Config{Name: "t0"}, raw: unpollable{}}
	if err := tap.Run(); err == nil || err.Error() != "tap t0: the device was deleted" {
		t.Errorf("Run: %v", err)
	}
}

// TestDeletedUnderOurFeet has Run say so, and Send survive it.
func TestDeletedUnderOurFeet(t *testing.T) {
	n := lab(t)
	for range 5 {
		var tap *TAP
		in(t, n, func() (err error) {
			tap, err = Open(Config{Name: "t0", MTU: 1500})
			return err
		})
		done := make(chan error)
		go func() { done <- tap.Run() }()
		time.Sleep(5 * time.Millisecond) // most of the times Run waits by now
		in(t, n, func() error { return netlink.LinkDel(tap.link) })
		if err := <-done; err == nil || err.Error() != "tap t0: the device was deleted" {
			t.Errorf("Run: %v", err)
		}
		if sent := tap.Send([]pseudowire.Frame{pseudowire.NewFrame(make([]byte, 60), 0)}); sent != 0 || tap.Stats().OutErrors != 1 {
			t.Errorf("%d sent to a device that is gone, %+v", sent, tap.Stats())
		}
		in(t, n, tap.Close)
	}
}

// TestSuccessor closes a TAP that was deleted and has a successor of its name.
func TestSuccessor(t *testing.T) {
	n := lab(t)
	in(t, n, func() error {
		tap, err := Open(Config{Name: "t0", MTU: 1500})
		if err != nil {
			return err
		}
		if err := netlink.LinkDel(tap.link); err != nil {
			return err
		}
		successor, err := Open(Config{Name: "t0", MTU: 1500})
		if err != nil {
			return err
		}
		return errors.Join(tap.Close(), tap.Close(), successor.Close())
	})
}

// TestDownAndUp takes the device down: Send counts, Run waits, and both go on.
func TestDownAndUp(t *testing.T) {
	n := lab(t)
	var tap *TAP
	in(t, n, func() (err error) {
		if tap, err = Open(Config{Name: "t0", MTU: 1500}); err != nil {
			return err
		}
		return netlink.LinkSetDown(tap.link)
	})
	want := frames()["least"]
	got := make(chan struct{}, 1)
	tap.Attach(func(f []pseudowire.Frame) int {
		for _, f := range f {
			if bytes.Equal(f.Bytes(), want) {
				got <- struct{}{}
			}
		}
		return len(f)
	})
	done := make(chan error)
	go func() { done <- tap.Run() }()
	f := []pseudowire.Frame{pseudowire.NewFrame(bytes.Clone(want), 0)}
	if sent := tap.Send(f); sent != 0 || tap.Stats().OutErrors != 1 {
		t.Errorf("%d sent to a device that is down, %+v", sent, tap.Stats())
	}
	in(t, n, func() error { return netlink.LinkSetUp(tap.link) })
	if sent := tap.Send(f); sent != 1 {
		t.Errorf("%d sent to a device that is up again, %+v", sent, tap.Stats())
	}
	segment, err := n.Capture("t0")
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	if err := segment.Send(want); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case err := <-done:
		t.Fatalf("Run: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("nothing read from a device that is up again")
	}
	in(t, n, tap.Close)
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestCloseWhileSending is for the race detector, and for descriptors that are
// used again.
func TestCloseWhileSending(t *testing.T) {
	n := lab(t)
	for range 5 {
		var tap *TAP
		in(t, n, func() (err error) {
			tap, err = Open(Config{Name: "t0", MTU: 1500})
			return err
		})
		var work sync.WaitGroup
		stop := make(chan struct{})
		work.Go(func() { tap.Run() })
		for range 3 {
			work.Go(func() {
				f := []pseudowire.Frame{pseudowire.NewFrame(make([]byte, 60), 0)}
				for {
					select {
					case <-stop:
						return
					default:
						tap.Send(f)
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		in(t, n, tap.Close)
		close(stop)
		work.Wait()
	}
}

// TestNotInherited starts a program, which must not keep the device.
func TestNotInherited(t *testing.T) {
	n := lab(t)
	in(t, n, func() error {
		tap, err := Open(Config{Name: "t0", MTU: 1500})
		if err != nil {
			return err
		}
		child := exec.Command("sleep", "60")
		if err := child.Start(); err != nil {
			return err
		}
		defer child.Wait()
		defer child.Process.Kill()
		return tap.Close()
	})
}

func TestSendAllocatesNothing(t *testing.T) {
	n := lab(t)
	var tap *TAP
	in(t, n, func() (err error) {
		tap, err = Open(Config{Name: "t0", MTU: 1500})
		return err
	})
	defer n.Do(tap.Close)
	f := []pseudowire.Frame{pseudowire.NewFrame(make([]byte, 60), 0)}
	if got := testing.AllocsPerRun(100, func() { tap.Send(f) }); got != 0 {
		t.Errorf("%v allocations a Send, want 0", got)
	}
}

// TestRunAllocatesNothing has frames come in through a bridge from another TAP,
// because its Send allocates nothing.
func TestRunAllocatesNothing(t *testing.T) {
	n := lab(t)
	taps := make([]*TAP, 2)
	in(t, n, func() error {
		b, err := link.OpenBridge("br0", "lyon")
		if err != nil {
			return err
		}
		for i, name := range []string{"t0", "t1"} {
			if taps[i], err = Open(Config{Name: name, MTU: 1500, Bridge: b.Name()}); err != nil {
				return err
			}
		}
		return nil
	})
	b := frames()["least"]
	got := make(chan struct{}, batch)
	taps[1].Attach(func(f []pseudowire.Frame) int {
		for i := range f {
			if bytes.Equal(f[i].Bytes(), b) {
				got <- struct{}{}
			}
		}
		return len(f)
	})
	done := make(chan error)
	go func() { done <- taps[1].Run() }()
	f := []pseudowire.Frame{pseudowire.NewFrame(bytes.Clone(b), 0)}
	if allocs := testing.AllocsPerRun(200, func() { taps[0].Send(f); <-got }); allocs != 0 {
		t.Errorf("%v allocations a frame, want 0", allocs)
	}
	in(t, n, func() error { return errors.Join(taps[0].Close(), taps[1].Close()) })
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestPortStaysSilent raises a port's MTU over that from which on it has IPv6.
func TestPortStaysSilent(t *testing.T) {
	n := lab(t)
	in(t, n, func() error {
		if _, err := link.OpenBridge("br0", "lyon"); err != nil {
			return err
		}
		tap, err := Open(Config{Name: "t0", MTU: 1000, Bridge: "br0"})
		if err != nil {
			return err
		}
		for _, mtu := range []int{1400, 1279, 1280} {
			if err := tap.SetMTU(mtu); err != nil {
				return err
			}
			l, err := netlink.LinkByName("t0")
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
			if a := l.Attrs(); err != nil || len(addrs) != 0 || a.MTU != mtu || a.Flags&net.FlagUp == 0 {
				t.Errorf("MTU %d, want %d; %s, want up; addresses %v, want none; %v", a.MTU, mtu, a.Flags, addrs, err)
			}
		}
		return tap.Close()
	})
}

func TestMAC(t *testing.T) {
	a, b := MAC("lyon", "paris/office"), MAC("lyon", "paris/lab")
	if a.String() != MAC("lyon", "paris/office").String() || a.String() == b.String() || a[0]&1 != 0 || a[0]&2 == 0 {
		t.Errorf("%s and %s: want them stable, different, local, of one station", a, b)
	}
}
