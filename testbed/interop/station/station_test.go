package station

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spanwire/testbed/netlab"
)

// pair returns stations at both ends of a cable.
func pair(t *testing.T) (a, b *Station) {
	t.Helper()
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Close)
	var ends [2]*Station
	var hosts [2]*netlab.Namespace
	for i, name := range []string{"a", "b"} {
		if hosts[i], err = lab.Namespace(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Veth(hosts[0], "eth0", hosts[1], "eth0", 1500); err != nil {
		t.Fatal(err)
	}
	for i, h := range hosts {
		err := h.Do(func() (err error) {
			ends[i], err = Open("eth0")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ends[i].Close)
	}
	return ends[0], ends[1]
}

func TestExpect(t *testing.T) {
	a, b := pair(t)
	sent := Stream{Seed: 7, Count: 50, Largest: 1514}
	for name, test := range map[string]struct {
		expected Stream
		want     string // of the error; "": none
	}{
		"same":        {sent, ""},
		"other seed":  {Stream{Seed: 8, Count: 50, Largest: 1514}, "frame 1 of 50 is"},
		"other sizes": {Stream{Seed: 7, Count: 50, Largest: 1513}, "of 50 is"},
		"one missing": {Stream{Seed: 7, Count: 51, Largest: 1514}, "frame 51 of 51"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := a.Send(sent); err != nil {
				t.Fatal(err)
			}
			err := b.Expect(test.expected, 300*time.Millisecond)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("Expect: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("Expect: %v, want %q", err, test.want)
			}
			for err = nil; err == nil; { // what is left
				_, err = b.receive(make([]byte, 1<<16), time.Now().Add(50*time.Millisecond))
			}
			if !errors.Is(err, errSilence) {
				t.Error(err)
			}
		})
	}
}

func TestFramesHaveExtremes(t *testing.T) {
	frames := Stream{Seed: 1, Count: 100, Largest: 999}.Frames()
	if got, want := [2]int{len(frames[0]), len(frames[1])}, [2]int{60, 999}; got != want {
		t.Errorf("the first two are of %v octets, want %v", got, want)
	}
	for i, f := range frames {
		if len(f) < 60 || len(f) > 999 {
			t.Errorf("frame %d is of %d octets, want 60 to 999", i, len(f))
		}
		if !bytes.Equal(f[12:14], []byte{0x88, 0xb5}) {
			t.Errorf("frame %d has Ethertype %x, want 88b5", i, f[12:14])
		}
	}
}

// The kernel takes a datagram only if its checksum is right.
func TestInjectUDP(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		for _, payload := range []string{"even", "odd"} {
			at := netip.MustParseAddr(address)
			conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			from, to := netip.AddrPortFrom(at, 1701), conn.LocalAddr().(*net.UDPAddr).AddrPort()
			if err := (Datagram{from, to, []byte(payload)}).Inject(); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 16)
			conn.SetReadDeadline(time.Now().Add(2 * time.Second))
			n, source, err := conn.ReadFromUDPAddrPort(b)
			if err != nil || string(b[:n]) != payload || source != from {
				t.Errorf("%s: %q from %v, %v, want %q from %v", address, b[:n], source, err, payload, from)
			}
		}
	}
}
