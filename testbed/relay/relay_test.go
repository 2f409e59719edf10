package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
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

// TestRelay sends numbers through a relay that holds some of them back.
func TestRelay(t *testing.T) {
	listen := func(s string) *net.UDPConn {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	a, b := listen("127.0.0.1:0"), listen("127.0.0.2:0")
	addr := func(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }
	free := netip.MustParseAddrPort("127.0.0.3:0")
	r, err := New(free, free, addr(a), addr(b), Impairment{Seed: 1, Loss: 0.2, Duplicate: 0.2, Reorder: 0.2, Hold: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const sent = 200
	for n := range sent {
		if _, err := a.WriteToUDPAddrPort([]byte{byte(n)}, r.ATo()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Microsecond)
	}
	got, late, last := 0, 0, -1
	buf := make([]byte, 10)
	for {
		b.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, from, err := b.ReadFromUDPAddrPort(buf)
		if err != nil {
			break
		}
		if from != r.BTo() {
			t.Fatalf("from %s, want %s", from, r.BTo())
		}
		if int(buf[0]) < last {
			late++
		}
		last = int(buf[0])
		got++
	}
	c, _ := r.Counts()
	if c.Carried+c.Lost != sent || got != c.Carried+c.Duplicated || c.Lost == 0 || c.Duplicated == 0 || late == 0 {
		t.Errorf("%d came, %d late, of %+v", got, late, c)
	}
}
