package tap

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/pseudowire"
	"spanwire/pseudowire/gso"
)

// A wire is a pseudowire that carries only frames as a wire would: super-frames
// are cut, checksums completed.
type wire struct {
	t     *testing.T
	to    *TAP
	most  atomic.Int64 // octets of the longest that came
	carry atomic.Int64
}

func (w *wire) send(frames []pseudowire.Frame) int {
	var out []pseudowire.Frame
	add := func(b []byte) {
		out = append(out, pseudowire.NewFrame(append(make([]byte, pseudowire.Headroom), b...), pseudowire.Headroom))
		w.carry.Add(1)
	}
	for _, f := range frames {
		w.most.Store(max(w.most.Load(), int64(f.Len())))
		if f.GSO.Kind == pseudowire.GSONone {
			whole, err := gso.Complete(f)
			if err != nil {
				w.t.Errorf("complete: %v", err)
				continue
			}
			add(whole.Bytes())
			continue
		}
		var c gso.Cutter
		if err := c.Init(f); err != nil {
			w.t.Errorf("cut: %v", err)
			continue
		}
		for c.Count() > 0 {
			h, payload, _ := c.Next(nil)
			add(append(h, payload...))
		}
	}
	return w.to.Send(out)
}

// TestSuperFrames has TCP and UDP of two hosts go over two TAPs and a wire between
// them, with super-frames at both ends, at one and at none: what comes is what was
// sent.
func TestSuperFrames(t *testing.T) {
	for _, found := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
		t.Run(fmt.Sprintf("plain %v", found), func(t *testing.T) {
			var taps [2]*TAP
			var hosts [2]func(func() error)
			for i := range taps {
				n := lab(t)
				hosts[i] = func(f func() error) { in(t, n, f) }
				hosts[i](func() (err error) {
					if found[i] { // what the user has made is opened plainly
						device := &netlink.Tuntap{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.TUNTAP_MODE_TAP}
						device.Name = "t0"
						if err := netlink.LinkAdd(device); err != nil {
							return err
						}
					}
					taps[i], err = Open(Config{Name: "t0", MTU: 1400, Addresses: []netip.Prefix{
						netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}), 24),
						netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", i+1)),
					}})
					return err
				})
				if taps[i].offload == found[i] {
					t.Errorf("TAP %d: offload %v", i, taps[i].offload)
				}
			}
			wires := [2]*wire{{t: t, to: taps[1]}, {t: t, to: taps[0]}}
			done := make(chan error, 2)
			for i, tap := range taps {
				tap.Attach(wires[i].send)
				go func() { done <- tap.Run() }()
			}
			defer func() {
				for i, tap := range taps {
					hosts[i](tap.Close)
				}
				for range taps {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			}()
			for _, network := range []string{"tcp4", "tcp6"} {
				transfer(t, network, hosts)
			}
			datagrams(t, hosts)
			if most := wires[0].most.Load(); !found[0] && most <= 1414 {
				t.Errorf("the longest frame has %d octets: no super-frame", most)
			}
			if s := taps[1].Stats(); !found[1] && s.OutFrames == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// transfer sends random octets from the first host to the second.
func transfer(t *testing.T, network string, hosts [2]func(func() error)) {
	t.Helper()
	at := map[string]string{"tcp4": "10.9.0.2:7009", "tcp6": "[fd00::2]:7009"}[network]
	const octets = 8 << 20
	var l net.Listener
	var err error
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // IPv6 looks for duplicates first
		hosts[1](func() error {
			l, err = net.Listen(network, at)
			return nil
		})
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer l.Close()
	sums := make(chan hash.Hash, 1)
	go func() {
		h := sha256.New()
		if c, err := l.Accept(); err == nil {
			c.SetDeadline(time.Now().Add(30 * time.Second))
			io.Copy(h, c)
			c.Close()
		}
		sums <- h
	}()
	var c net.Conn
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		hosts[0](func() error {
			c, err = net.DialTimeout(network, at, 5*time.Second)
			return nil
		})
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	want := sha256.New()
	random := rand.NewChaCha8([32]byte{1})
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.CopyN(io.MultiWriter(c, want), random, octets); err != nil {
		t.Fatalf("%s: %v", network, err)
	}
	c.Close()
	if got := (<-sums).Sum(nil); !bytes.Equal(got, want.Sum(nil)) {
		t.Errorf("%s: what came is not what was sent", network)
	}
}

// datagrams sends UDP of all sizes and wants each back as it was.
func datagrams(t *testing.T, hosts [2]func(func() error)) {
	t.Helper()
	var echo, ask net.PacketConn
	hosts[1](func() (err error) {
		echo, err = net.ListenPacket("udp4", "10.9.0.2:7010")
		return err
	})
	defer echo.Close()
	hosts[0](func() (err error) {
		ask, err = net.ListenPacket("udp4", "10.9.0.1:7010")
		return err
	})
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
	for n := 1; n <= 3000; n += 97 { // beyond the MTU in fragments
		sent := bytes.Repeat([]byte{byte(n)}, n)
		if _, err := ask.WriteTo(sent, echo.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		ask.SetReadDeadline(time.Now().Add(5 * time.Second))
		got, _, err := ask.ReadFrom(b)
		if err != nil || !bytes.Equal(b[:got], sent) {
			t.Fatalf("datagram of %d octets: %d came, %v", n, got, err)
		}
	}
}
