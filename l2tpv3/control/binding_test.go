package control

import (
	"net/netip"
	"testing"
	"time"
)

// TestOthersAreDialled has a peer with three addresses, none of which answers: they
// are dialled in turn, with the same waits as one, and whatever the order in which
// they are named again.
func TestOthersAreDialled(t *testing.T) {
	cfg := TunnelConfig{Dial: true, DialRetries: 1, Timeout: time.Millisecond, MaxTimeout: time.Millisecond, RedialMin: 10 * time.Second, RedialMax: 10 * time.Second}
	s := tell(t, cfg)
	s.event(TunnelDialing)
	s.after(time.Second)
	down := s.event(TunnelDown)
	a, b, c := s.tunnels["there"].binding.At, from("192.0.2.22:1701"), from("192.0.2.23:1701")
	s.Bind(s.now, "there", Binding{At: a, Others: []Address{b, c}})
	for i, want := range []Address{a, b, c, a, b} {
		if i == 3 { // another order, of which the first is not its turn
			s.Bind(s.now, "there", Binding{At: c, Others: []Address{a, b}})
		}
		s.after(down.Next.Sub(s.now) - time.Millisecond)
		s.wantEvents("")
		s.after(time.Millisecond)
		if e := s.event(TunnelDialing); e.Address != want {
			t.Errorf("dial %d: %v, want %v", i, e.Address.Peer, want.Peer)
		}
		s.after(time.Second)
		if down = s.event(TunnelDown); down.Next.Sub(down.Time) < 7*time.Second {
			t.Errorf("dial %d: the next after %v", i, down.Next.Sub(down.Time))
		}
	}

	// What is up is dialled again where it was.
	cfg.RedialMin, cfg.RedialMax = 0, 0
	s = tell(t, dials()).answer()
	s.quiet()
	at := s.tunnels["there"].binding.At
	s.Bind(s.now, "there", Binding{At: b, Others: []Address{at}})
	s.tunnels["there"].conn.lost(s.now, "lost")
	if got := s.tunnels["there"].binding.At; got != at {
		t.Errorf("dials %v next, want %v", got.Peer, at.Peer)
	}
}

// TestZones has a peer come from a link-local address, which has a zone.
func TestZones(t *testing.T) {
	l := New(Config{Random: func([]byte) {}})
	l.Add(epoch, TunnelConfig{Name: "host"})
	l.Add(epoch, TunnelConfig{Name: "net"})
	l.Bind(epoch, "host", Binding{Peers: []netip.Prefix{netip.MustParsePrefix("fe80::1/128")}})
	l.Bind(epoch, "net", Binding{Peers: []netip.Prefix{netip.MustParsePrefix("fe80::/64")}})
	var got []string
	l.candidates(from("[fe80::1%eth0]:1701"), func(t *tunnel) bool {
		got = append(got, t.cfg.Name)
		return true
	})
	if len(got) != 2 || got[0] != "host" || got[1] != "net" {
		t.Errorf("candidates %v, want host and net", got)
	}
}
