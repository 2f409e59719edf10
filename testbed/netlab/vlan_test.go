package netlab

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// TestVLAN looks at what a device of a VLAN says on the cable between two bridges, and
// at what of the cable comes to the other.
func TestVLAN(t *testing.T) {
	l, a, b := testLab(t)
	for _, n := range []*Namespace{a, b} {
		if err := l.Bridge(n, "br0", "eth0"); err != nil {
			t.Fatal(err)
		}
		if err := l.VLAN(n, "br0", "vlan", 100, 1400); err != nil {
			t.Fatal(err)
		}
	}
	from, past := capture(t, a, "vlan"), capture(t, a, "eth0")
	cable, to := capture(t, b, "eth0"), capture(t, b, "vlan")
	frame := func(tag, text string) []byte {
		return []byte("\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a" + tag + "\x88\xb5" + text)
	}
	heard := func(c *Capture, within time.Duration) []byte { // of these frames alone
		for end := time.Now().Add(within); ; {
			got, _, err := c.Next(end)
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				return nil
			}
			if bytes.HasPrefix(got, frame("", "")[:12]) {
				return bytes.Clone(got)
			}
		}
	}
	send := func(c *Capture, b []byte) {
		if err := c.Send(b); err != nil {
			t.Fatal(err)
		}
	}
	send(from, frame("", "one"))
	if got, want := heard(cable, 10*time.Second), frame("\x81\x00\x00\x64", "one"); !bytes.Equal(got, want) {
		t.Errorf("on the cable: %x, want %x", got, want)
	}
	if got, want := heard(to, 10*time.Second), frame("", "one"); !bytes.Equal(got, want) {
		t.Errorf("at the device: %x, want %x", got, want)
	}
	send(past, frame("", "plain"))
	send(past, frame("\x81\x00\x00\x65", "of another VLAN"))
	send(past, frame("\x81\x00\xa0\x64", "two"))
	if got, want := heard(to, 10*time.Second), frame("", "two"); !bytes.Equal(got, want) {
		t.Errorf("at the device: %x, want %x", got, want)
	}
	if got := heard(to, 100*time.Millisecond); got != nil {
		t.Errorf("%x came too", got)
	}
	if err := l.VLAN(a, "none0", "vlan2", 100, 1400); err == nil {
		t.Error("a VLAN on a bridge that is not there")
	}
	if err := a.Tag("none0", 100); err == nil {
		t.Error("a tag on a device that is not there")
	}
}

// TestTag has a host whose device is of a VLAN find one behind a bridge.
func TestTag(t *testing.T) {
	l, a, b := testLab(t)
	if err := l.Bridge(b, "br0", "eth0"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Tag("eth0", 7), l.VLAN(b, "br0", "vlan", 7, 1500)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Addr("eth0", netip.MustParsePrefix("192.0.2.1/24")), b.Addr("vlan", netip.MustParsePrefix("192.0.2.2/24"))); err != nil {
		t.Fatal(err)
	}
	var server net.Listener
	if err := b.Do(func() (err error) {
		server, err = net.Listen("tcp", "192.0.2.2:7")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := a.Do(func() error {
		c, err := net.DialTimeout("tcp", server.Addr().String(), 10*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

func TestChecksums(t *testing.T) {
	_, a, _ := testLab(t)
	for _, on := range []bool{false, true} {
		if err := a.Do(func() error { return Checksums("eth0", on) }); err != nil {
			t.Error(err)
		}
	}
	if err := a.Do(func() error { return Checksums("none0", true) }); err == nil || !strings.Contains(err.Error(), "none0") {
		t.Errorf("%v, want an error that names none0", err)
	}
}
