package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"spanwire/testbed/netlab"
)

// TestJudge wants the same fate for the same seed, and shares about as asked.
func TestJudge(t *testing.T) {
	i := Impairment{Seed: 7, Loss: 0.3, Duplicate: 0.1, Reorder: 0.2, Hold: time.Second, Delay: time.Millisecond, Jitter: time.Millisecond}
	a, b := NewJudge(i, 1), NewJudge(i, 1)
	for n := range 10000 {
		x, y := a.Next(nil), b.Next(nil)
		if len(x) != len(y) || len(x) > 0 && x[0] != y[0] {
			t.Fatalf("datagram %d: %v and %v for the same seed", n, x, y)
		}
	}
	near := func(name string, n int, of int, want float64) {
		if share := float64(n) / float64(of); share < want-0.02 || share > want+0.02 {
			t.Errorf("%s: share %.3f, want about %.2f", name, share, want)
		}
	}
	c := a.counts
	near("lost", c.Lost, 10000, 0.3)
	near("duplicated", c.Duplicated, c.Carried, 0.1)
	near("held", c.Held, c.Carried, 0.2)
}

// TestJudgeBounds wants for any network that the counts add up, that every delay
// is within its bounds, and that the same datagrams are lost however the rest of
// the network behaves.
func TestJudgeBounds(t *testing.T) {
	duration := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "duration"))
	})
	share := rapid.Float64Range(0, 1)
	rapid.Check(t, func(t *rapid.T) {
		i := Impairment{
			Seed: rapid.Uint64().Draw(t, "seed"), Loss: share.Draw(t, "loss"), Duplicate: share.Draw(t, "duplicate"), Reorder: share.Draw(t, "reorder"),
			Hold: duration.Draw(t, "hold"), Delay: duration.Draw(t, "delay"), Jitter: duration.Draw(t, "jitter"),
		}
		j, plain := NewJudge(i, 1), NewJudge(Impairment{Seed: i.Seed, Loss: i.Loss}, 1)
		arrived := 0
		for n := range 100 {
			copies := j.Next(nil)
			arrived += len(copies)
			for _, d := range copies {
				if d < i.Delay || d > i.Delay+i.Jitter+i.Hold || i.Reorder == 0 && d > i.Delay+i.Jitter {
					t.Fatalf("datagram %d: after %v, by %+v", n, d, i)
				}
			}
			if p := plain.Next(nil); (len(p) == 0) != (len(copies) == 0) {
				t.Fatalf("datagram %d: %d copies, but %d when all others arrive at once", n, len(copies), len(p))
			}
		}
		if c := j.counts; c.Carried+c.Lost != 100 || arrived != c.Carried+c.Duplicated || c.Held > c.Carried {
			t.Fatalf("%d arrived of %+v", arrived, c)
		}
	})
}

func TestPerfectNetwork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := NewJudge(Impairment{Seed: rapid.Uint64().Draw(t, "seed")}, 1)
		for range 100 {
			if c := j.Next(nil); len(c) != 1 || c[0] != 0 {
				t.Fatalf("copies %v, want one at once", c)
			}
		}
	})
}

func listen(t *testing.T, network, address string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends numbers from a to ATo, which b must receive from BTo as the
// relay's counts say, and an answer back; it returns how many came late.
func exchange(t *testing.T, r *Relay, a, b net.PacketConn, aTo, bTo net.Addr) (late int) {
	t.Helper()
	const sent = 200
	for n := range sent {
		if _, err := a.WriteTo([]byte{byte(n)}, aTo); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Microsecond)
	}
	receive := func(c net.PacketConn, want net.Addr) byte {
		buf := make([]byte, 64) // with room for the IPv4 header that net takes off
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, from, err := c.ReadFrom(buf)
		if err != nil || n != 1 || from.String() != want.String() {
			t.Fatalf("%d octets from %v, %v; want 1 from %s; %+v", n, from, err, want, counts(r))
		}
		return buf[0]
	}
	last, got := -1, 0
	for c := counts(r)[0]; c.Carried+c.Lost < sent || got < c.Carried+c.Duplicated; c = counts(r)[0] {
		n := int(receive(b, bTo))
		if n < last {
			late++
		}
		last = n
		got++
	}
	b.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _, err := b.ReadFrom(make([]byte, 10)); err == nil {
		t.Errorf("another %d octets after all of %+v", n, counts(r))
	}
	for range 20 { // the way back is as bad
		if _, err := b.WriteTo([]byte{0xff}, bTo); err != nil {
			t.Fatal(err)
		}
	}
	if n := receive(a, aTo); n != 0xff {
		t.Errorf("answer %#x, want 0xff", n)
	}
	return late
}

func counts(r *Relay) [2]Counts {
	a, b := r.Counts()
	return [2]Counts{a, b}
}

// bad is a network on which everything happens, so slow in what it holds back
// that all of it is late on any machine.
var bad = Impairment{Seed: 1, Loss: 0.2, Duplicate: 0.2, Reorder: 0.2, Hold: 200 * time.Millisecond}

func TestRelay(t *testing.T) {
	for _, v := range []struct{ a, b, free string }{
		{"127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"},
		{"[::1]:0", "[::1]:0", "[::1]:0"},
	} {
		a, b := listen(t, "udp", v.a), listen(t, "udp", v.b)
		addr := func(c net.PacketConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }
		free := netip.MustParseAddrPort(v.free)
		r, err := New(free, free, addr(a), addr(b), bad)
		if err != nil {
			t.Fatal(err)
		}
		late := exchange(t, r, a, b, net.UDPAddrFromAddrPort(r.ATo()), net.UDPAddrFromAddrPort(r.BTo()))
		if c, _ := r.Counts(); late == 0 || c.Lost == 0 || c.Duplicated == 0 || c.Held == 0 {
			t.Errorf("%s: %d late of %+v, want some of each", v.a, late, c)
		}
		r.Close()
	}
}

// TestRelayIP does the same with IP protocol 115, in a namespace where no other
// socket hears of it.
func TestRelayIP(t *testing.T) {
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	host, err := lab.Namespace("host")
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Addr("lo", netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("2001:db8::2/128"), netip.MustParsePrefix("2001:db8::3/128"), netip.MustParsePrefix("2001:db8::4/128")); err != nil {
		t.Fatal(err)
	}
	for _, v := range [][4]string{
		{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"},
		{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"},
	} {
		var a, b net.PacketConn
		var r *Relay
		var at [4]netip.Addr
		for i := range v {
			at[i] = netip.MustParseAddr(v[i])
		}
		err = host.Do(func() (err error) {
			a, b = listen(t, "ip:115", v[0]), listen(t, "ip:115", v[1])
			r, err = NewIP(at[2], at[3], at[0], at[1], bad)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		late := exchange(t, r, a, b, &net.IPAddr{IP: at[2].AsSlice()}, &net.IPAddr{IP: at[3].AsSlice()})
		if c, _ := r.Counts(); late == 0 || c.Lost == 0 || c.Duplicated == 0 || c.Held == 0 {
			t.Errorf("%s: %d late of %+v, want some of each", v[0], late, c)
		}
		r.Close()
	}
}
