package netlab

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testLab returns a lab with two hosts and a cable between them.
func testLab(t *testing.T) (l *Lab, a, b *Namespace) {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if a, err = l.Namespace("a"); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Namespace("b"); err != nil {
		t.Fatal(err)
	}
	if err := l.Veth(a, "eth0", b, "eth0", 1500); err != nil {
		t.Fatal(err)
	}
	return l, a, b
}

func capture(t *testing.T, n *Namespace, device string) *Capture {
	t.Helper()
	c, err := n.Capture(device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// identity returns what tells the network namespace of a thread from others.
func identity(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDo(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here := identity(t)
	_, a, b := testLab(t)
	var inA, inB, again string
	for _, v := range []struct {
		n  *Namespace
		id *string
	}{{a, &inA}, {b, &inB}, {a, &again}} {
		err := v.n.Do(func() (err error) {
			*v.id, err = os.Readlink("/proc/thread-self/ns/net")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if inA == here || inB == here || inA == inB || inA != again {
		t.Errorf("here %s, a %s, b %s, a again %s", here, inA, inB, again)
	}
	if now := identity(t); now != here {
		t.Errorf("after Do in %s, want %s", now, here)
	}
	want := errors.New("as it is")
	if err := a.Do(func() error { return want }); err != want {
		t.Errorf("Do: %v, want f's error", err)
	}
	// A test that fails within Do must end, not hang.
	if err := a.Do(func() error { runtime.Goexit(); return nil }); !errors.Is(err, errEnded) {
		t.Errorf("Do of what ends its goroutine: %v, want %v", err, errEnded)
	}
}

// TestTransfer lays addresses, a bridge and a route from a to b, over which TCP
// must find its way at once: no address is tentative.
func TestTransfer(t *testing.T) {
	l, a, b := testLab(t)
	if err := l.Bridge(b, "br0", "eth0"); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		n      *Namespace
		device string
		to     string
	}{
		{a, "eth0", "192.0.2.1/24"}, {b, "br0", "192.0.2.2/24"}, {b, "lo", "198.51.100.2/32"},
		{a, "eth0", "2001:db8::1/64"}, {b, "br0", "2001:db8::2/64"}, {b, "lo", "2001:db8:1::2/128"},
	} {
		if err := v.n.Addr(v.device, netip.MustParsePrefix(v.to)); err != nil {
			t.Fatal(err)
		}
	}
	err := a.Do(func() error {
		dad, err := os.ReadFile("/proc/sys/net/ipv6/conf/eth0/accept_dad")
		if err == nil && string(dad) != "0\n" {
			t.Errorf("accept_dad %q, want 0: link-local addresses are tentative", dad)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for to, via := range map[string]string{"198.51.100.0/24": "192.0.2.2", "2001:db8:1::/64": "2001:db8::2"} {
		if err := a.Route(netip.MustParsePrefix(to), netip.MustParseAddr(via)); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{"[::1]:0", "192.0.2.2:0", "198.51.100.2:0", "[2001:db8::2]:0", "[2001:db8:1::2]:0"} {
		var server net.Listener
		err := b.Do(func() (err error) {
			server, err = net.Listen("tcp", address)
			return err
		})
		if err != nil {
			t.Errorf("listen at once: %v", err)
			continue
		}
		from := a
		if strings.HasPrefix(address, "[::1]") {
			from = b // loopback is up
		}
		err = from.Do(func() error {
			c, err := net.DialTimeout("tcp", server.Addr().String(), 5*time.Second)
			if err == nil {
				c.Close()
			}
			return err
		})
		server.Close()
		if err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestCapture sends frames through the cable and hears them at both ends, tags
// and all.
func TestCapture(t *testing.T) {
	_, a, b := testLab(t)
	sender, near, far := capture(t, a, "eth0"), capture(t, a, "eth0"), capture(t, b, "eth0")
	addresses := "\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a" // b's is none of its own: promiscuous
	for _, v := range []struct{ name, frame string }{
		{"plain", addresses + "\x88\xb5plain"},
		{"802.1Q", addresses + "\x81\x00\xa0\x64\x88\xb5tagged"},
		{"802.1Q, VLAN 0", addresses + "\x81\x00\x00\x00\x88\xb5priority"},
		{"802.1ad and 802.1Q", addresses + "\x88\xa8\x00\x07\x81\x00\x00\x64\x88\xb5twice"},
	} {
		want := []byte(v.frame)
		before := time.Now()
		if err := sender.Send(want); err != nil {
			t.Fatal(err)
		}
		if got := next(t, near.Next); !bytes.Equal(got, want) {
			t.Errorf("%s, going out: %x, want %x", v.name, got, want)
		}
		var at time.Time
		got := next(t, func(deadline time.Time) ([]byte, time.Time, error) {
			frame, when, err := far.Next(deadline)
			at = when
			return frame, when, err
		})
		if !bytes.Equal(got, want) {
			t.Errorf("%s, coming in: %x, want %x", v.name, got, want)
		}
		if late := at.Sub(before); late < -time.Second || late > 10*time.Second {
			t.Errorf("%s: time %v, want about %v", v.name, at, before)
		}
	}
	// What went out of a device did not come in there.
	if err := sender.Send([]byte(addresses + "\x88\xb5out")); err != nil {
		t.Fatal(err)
	}
	answer := []byte(addresses + "\x88\xb5in")
	if err := far.Send(answer); err != nil {
		t.Fatal(err)
	}
	got := next(t, func(deadline time.Time) ([]byte, time.Time, error) {
		frame, err := near.Receive(deadline)
		return frame, time.Time{}, err
	})
	if !bytes.Equal(got, answer) {
		t.Errorf("received %x, want %x", got, answer)
	}
	if _, _, err := near.Next(time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v, want %v", err, os.ErrDeadlineExceeded)
	}
	// A cable carries all there is to whoever is at its end, other devices only if
	// asked to.
	err := b.Do(func() error {
		l, err := device("eth0")
		if err == nil && l.Attrs().Promisc != 1 {
			t.Errorf("far end promiscuous %d times, want once", l.Attrs().Promisc)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	near.Close()
	near.Close() // may be called again
}

// next skips what IPv6 says of itself on every new device.
func next(t *testing.T, from func(time.Time) ([]byte, time.Time, error)) []byte {
	t.Helper()
	for {
		frame, _, err := from(time.Now().Add(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if len(frame) < 14 || frame[0] != 0x33 {
			return bytes.Clone(frame)
		}
	}
}

// TestStart starts a process in a namespace.
func TestStart(t *testing.T) {
	_, a, _ := testLab(t)
	in := exec.Command("/proc/self/exe", "-test.run=^TestChild$")
	in.Env = append(os.Environ(), "NETLAB_CHILD=devices")
	var out strings.Builder
	in.Stdout = &out
	if err := a.Start(in); err != nil {
		t.Fatal(err)
	}
	if err := in.Wait(); err != nil || !strings.Contains(out.String(), "devices: lo eth0\n") {
		t.Errorf("process in a: %v, %q, want devices lo and eth0", err, out.String())
	}
}

// TestClose wants a host gone with all that was in it, which the other end of its
// cable shows.
func TestClose(t *testing.T) {
	gone, a, _ := testLab(t)
	_, left, _ := testLab(t)
	if err := gone.Veth(a, "cable0", left, "cable0", 1500); err != nil {
		t.Fatal(err)
	}
	gone.Close()
	gone.Close() // may be called again
	if err := a.Do(func() error { return nil }); err == nil {
		t.Error("Do after Close: no error")
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := left.Do(func() error {
			_, err := net.InterfaceByName("cable0")
			return err
		})
		if err != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the cable is still there")
		}
	}
}

// TestInUserNamespace runs the tests above where root is only mapped: no name in
// the file system can be made there, and no limit of the kernel's overridden.
func TestInUserNamespace(t *testing.T) {
	if os.Getenv("NETLAB_CHILD") != "" {
		return
	}
	again := exec.Command("/proc/self/exe", "-test.v", "-test.run=^(TestDo|TestTransfer|TestCapture)$")
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestChild is what TestStart starts.
func TestChild(t *testing.T) {
	if os.Getenv("NETLAB_CHILD") != "devices" {
		return
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("devices:")
	for _, i := range interfaces {
		os.Stdout.WriteString(" " + i.Name)
	}
	os.Stdout.WriteString("\n")
}

func TestErrorsNameTheDevice(t *testing.T) {
	l, a, b := testLab(t)
	_, err := a.Capture("none0")
	for _, err := range []error{
		err,
		a.Addr("none0", netip.MustParsePrefix("192.0.2.1/24")),
		l.Bridge(a, "br0", "none0"),
		l.Veth(a, "none0", b, "eth0", 1500), // exists
	} {
		if err == nil || !strings.Contains(err.Error(), "netlab: ") || !strings.Contains(err.Error(), "none0") {
			t.Errorf("%v, want an error that names none0", err)
		}
	}
}
