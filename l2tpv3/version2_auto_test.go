package l2tpv3

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
)

// autoEnds returns what dials for both versions, and what accepts each.
func autoEnds(here, there netip.AddrPort) (dial3 DynamicConfig, dial2 Version2Config, accept3 DynamicConfig, accept2 Version2Config) {
	dial3, accept3 = dialler(here, there)
	dial2, accept2 = lacAndLNS(here, there)
	dial3.Name, accept3.Name = dial2.Name, accept2.Name
	return dial3, dial2, accept3, accept2
}

// v3Up reports whether a tunnel of L2TPv3 is established, and v2Up one of L2TPv2.
func (e *end) v3Up() bool {
	for _, s := range e.Status().Tunnels {
		if s.Up() {
			return true
		}
	}
	return false
}

func (e *end) v2Up() bool {
	for _, s := range e.Status().Version2 {
		if s.Up() {
			return true
		}
	}
	return false
}

// speaks waits for a version to be spoken, and wants it to be the only one.
func (e *end) speaks(version int) {
	e.t.Helper()
	within(e.t, fmt.Sprintf("version %d", version), func() error {
		if v2, v3 := e.v2Up(), e.v3Up(); v2 != (version == 2) || v3 != (version == 3) {
			return fmt.Errorf("L2TPv2 is up: %v, L2TPv3: %v", v2, v3)
		}
		return nil
	})
}

// TestAuto dials, with what is for both versions, peers that speak L2TPv2, L2TPv3, and
// both; one that speaks L2TPv2 and is found to speak L2TPv3 later; and the other way.
//
// RFC 3931 section 4.7.3: "If the peer implementation is L2TPv3-capable, a control
// message with the Ver field set to 3 and an L2TPv3 header and message format will be
// sent in response to the SCCRQ. Operation may then continue as L2TPv3. If a message is
// received with the Ver field set to 2, it must be assumed that the peer implementation
// is L2TPv2-only, thus enabling fallback to L2TPv2 mode to safely occur."
func TestAuto(t *testing.T) {
	for _, v := range []struct {
		name   string
		v2, v3 bool
		want   int
		then   int // the version that the peer speaks next
	}{{"v2", true, false, 2, 3}, {"v3", false, true, 3, 2}, {"both", true, true, 3, 2}} {
		t.Run(v.name, func(t *testing.T) {
			here, there := free(t, "127.0.0.1"), free(t, "127.0.0.2")
			dial3, dial2, accept3, accept2 := autoEnds(here, there)
			a, b := newEnd(t, "dial"), newEnd(t, "accept")
			answer := func(v2, v3 bool) {
				if v2 {
					b.add(accept2)
				}
				if v3 {
					if _, err := b.AddDynamic(accept3); err != nil {
						t.Fatal(err)
					}
				}
			}
			answer(v.v2, v.v3)
			d, err := a.AddAuto(dial3, dial2)
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Sessions()) != 1 {
				t.Errorf("%d sessions", len(d.Sessions()))
			}
			a.speaks(v.want)
			b.speaks(v.want)
			if v.want == 2 {
				a.carries(a.wait(l2tpv2.SessionUp).Port, b, b.wait(l2tpv2.SessionUp).Port)
				if g := a.Glance(); g.Tunnels != 1 || g.Up != 1 || g.Calls != 1 {
					t.Errorf("%+v", g)
				}
			} else if _, err := a.Indicate("isp", aCall("1")); err == nil || !strings.Contains(err.Error(), "speaks L2TPv3") {
				t.Errorf("a call in a tunnel of L2TPv3: %v", err)
			}
			b.refusedNothing()
			a.channel.mu.Lock()
			if n := a.channel.configsV2["isp"].attempts; n != 0 {
				t.Errorf("%d attempts are counted: the next would not be for both versions", n)
			}
			a.channel.mu.Unlock()
			// The peer begins anew, with the other version.
			b.Close()
			b = newEnd(t, "accept")
			answer(v.then == 2, v.then == 3)
			a.speaks(v.then)
			b.speaks(v.then)
			for range 2 {
				if err := a.Down("isp"); err != nil {
					t.Fatal(err)
				}
				a.speaks(0)
				time.Sleep(100 * time.Millisecond)
				a.speaks(0)
				if err := a.Up("isp"); err != nil {
					t.Fatal(err)
				}
				a.speaks(v.then)
			}
			// At once the one follows the other, and what is up stays as it is.
			for _, do := range []func(string) error{a.Down, a.Up, a.Up} {
				if err := do("isp"); err != nil {
					t.Fatal(err)
				}
			}
			a.speaks(v.then)
			b.speaks(v.then)
			before := b.Status().Refused
			if err := a.Up("isp"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			if after := b.Status().Refused; v.then == 2 && after != before {
				t.Errorf("what speaks L2TPv2 was asked for L2TPv3: %+v", after)
			}
		})
	}
}

// TestAutoYields has the peer ask for a tunnel of L2TPv3 while there is one of L2TPv2,
// which makes room; and for one of L2TPv2 while there is one of L2TPv3, which stays.
func TestAutoYields(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.2")
	dial3, dial2, _, accept2 := autoEnds(here, there)
	dial2.Control.Listen, dial2.Control.Incoming = true, true
	a, b := newEnd(t, "dial"), newEnd(t, "accept")
	b.add(accept2)
	if _, err := a.AddAuto(dial3, dial2); err != nil {
		t.Fatal(err)
	}
	a.wait(l2tpv2.SessionUp)
	their3, their2, _, _ := autoEnds(there, here)
	their3.Name, their2.Name = "back", "back2"
	if _, err := b.AddDynamic(their3); err != nil {
		t.Fatal(err)
	}
	if down := a.wait(l2tpv2.TunnelDown); !strings.Contains(down.Reason, "L2TPv3 is spoken") {
		t.Errorf("%+v", down)
	}
	a.speaks(3)
	b.add(their2)
	a.wait(l2tpv2.TunnelUp)
	if down := a.wait(l2tpv2.TunnelDown); !strings.Contains(down.Reason, "L2TPv3 is spoken") {
		t.Errorf("%+v", down)
	}
	if !a.v3Up() {
		t.Error("L2TPv3 is not spoken any more")
	}
}

// TestAutoUnanswered dials a peer of each version through somebody who drops what is
// for both, as some do with what they do not know.
func TestAutoUnanswered(t *testing.T) {
	for _, version := range []int{2, 3} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			here, there, middle := free(t, "127.0.0.1"), free(t, "127.0.0.2"), free(t, "127.0.0.1")
			drop := newSieve(t, middle, there)
			dial3, dial2, accept3, accept2 := autoEnds(here, there)
			dial3.Peer.Addr, dial3.Peer.Port = middle.Addr(), middle.Port()
			a, b := newEnd(t, "dial"), newEnd(t, "accept")
			if version == 2 {
				b.add(accept2)
			} else if _, err := b.AddDynamic(accept3); err != nil {
				t.Fatal(err)
			}
			if _, err := a.AddAuto(dial3, dial2); err != nil {
				t.Fatal(err)
			}
			a.speaks(version)
			b.speaks(version)
			if drop.count() == 0 {
				t.Error("no SCCRQ for both versions was sent")
			}
		})
	}
}

// A sieve carries datagrams between a peer and whoever speaks to it, but for SCCRQs
// that are for both versions.
type sieve struct {
	in, out net.PacketConn
	dropped chan struct{}
}

func newSieve(t *testing.T, at, peer netip.AddrPort) *sieve {
	t.Helper()
	listen := func(at netip.AddrPort) net.PacketConn {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	s := &sieve{listen(at), listen(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 0)), make(chan struct{}, 1000)}
	client := make(chan net.Addr, 1)
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := s.in.ReadFrom(b)
			if err != nil {
				return
			}
			if wire.OffersV3(b[:n]) && b[1]&0xf == 2 {
				s.dropped <- struct{}{}
				continue
			}
			select {
			case client <- from:
			default:
			}
			s.out.WriteTo(b[:n], net.UDPAddrFromAddrPort(peer))
		}
	}()
	go func() {
		b := make([]byte, 65536)
		for {
			n, _, err := s.out.ReadFrom(b)
			if err != nil {
				return
			}
			to := <-client
			client <- to
			s.in.WriteTo(b[:n], to)
		}
	}()
	return s
}

func (s *sieve) count() int { return len(s.dropped) }

// TestAutoRefused dials a peer that refuses in L2TPv2, and wants it asked later and
// later, not at once.
func TestAutoRefused(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.2")
	dial3, dial2, _, accept2 := autoEnds(here, there)
	dial2.Control.Secret = wire.NewSecretV2([]byte("s3cret")) // and the peer has none
	dial3.Control.RedialMin, dial3.Control.RedialMax = 400*time.Millisecond, time.Hour
	dial3.Control.Timeout, dial3.Control.MaxTimeout = 50*time.Millisecond, 50*time.Millisecond
	a, b := newEnd(t, "dial"), newEnd(t, "accept")
	b.add(accept2)
	if _, err := a.AddAuto(dial3, dial2); err != nil {
		t.Fatal(err)
	}
	first := a.wait(l2tpv2.TunnelDown)
	if !strings.Contains(first.Reason, "no secret here") {
		t.Errorf("%+v", first)
	}
	time.Sleep(250 * time.Millisecond)
	b.mu.Lock()
	if n := len(b.events); n > 2 {
		t.Errorf("the peer was asked %d times in one attempt", n)
	}
	b.mu.Unlock()
	second, third := a.wait(l2tpv2.TunnelDown), a.wait(l2tpv2.TunnelDown)
	if x, y := second.Time.Sub(first.Time), third.Time.Sub(second.Time); x < 300*time.Millisecond || y < 600*time.Millisecond {
		t.Errorf("asked again after %v and %v", x, y)
	}
}

// TestVersionsShareAPort has tunnels of both versions between two endpoints at once, by
// one port of each, and both carry frames.
func TestVersionsShareAPort(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.2")
	dial3, accept3 := dialler(here, there)
	dial2, accept2 := lacAndLNS(here, there)
	a, b := newEnd(t, "dial"), newEnd(t, "accept")
	b.add(accept2)
	if _, err := b.AddDynamic(accept3); err != nil {
		t.Fatal(err)
	}
	a.add(dial2)
	d, err := a.AddDynamic(dial3)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "L2TPv3", func() error { return a.isUp("paris") })
	within(t, "L2TPv3", func() error { return b.isUp("lyon") })
	pa, pb := a.wait(l2tpv2.SessionUp).Port, b.wait(l2tpv2.SessionUp).Port
	a.carries(pa, b, pb)
	b.carries(pb, a, pa)
	within(t, "frames of L2TPv3", func() error {
		d.Sessions()[0].Send(frameOf(60))
		if n := b.Status().Tunnels[0].Sessions[0].Stats.RxPackets; n == 0 {
			return fmt.Errorf("none came")
		}
		return nil
	})
	if n := len(b.sockets) + len(a.sockets); n != 2 {
		t.Errorf("%d sockets", n)
	}
	if g := b.Glance(); g.Tunnels != 2 || g.Up != 2 || g.Calls != 1 {
		t.Errorf("%+v", g)
	}
	a.refusedNothing()
	b.refusedNothing()
}

// refusedNothing wants every message to have been acted upon, but for requests that came
// before anybody was told who may ask.
func (e *end) refusedNothing() {
	e.t.Helper()
	s := e.Status()
	for why, r := range s.Refused {
		if r.Count > 0 && control.Drop(why) != control.DropNoTunnel {
			e.t.Errorf("%d messages were refused: %v", r.Count, control.Drop(why))
		}
	}
	for why, r := range s.RefusedV2 {
		if r.Count > 0 && l2tpv2.Drop(why) != l2tpv2.DropNoTunnel {
			e.t.Errorf("%d messages of L2TPv2 were refused: %v", r.Count, l2tpv2.Drop(why))
		}
	}
}
