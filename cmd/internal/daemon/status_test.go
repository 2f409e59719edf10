package daemon

import (
	"net/netip"
	"testing"

	"spanwire/cmd/internal/api"
	"spanwire/cookie"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/dataplane"
	"spanwire/pseudowire"
)

func TestSessionHasEveryCounterAndNoCookie(t *testing.T) {
	secret, err := cookie.Parse("a1b2c3d4e5f60718")
	if err != nil {
		t.Fatal(err)
	}
	s := l2tpv3.SessionStatus{Name: "paris/office", Params: dataplane.Params{ReceiveCookie: secret}}
	for d := range s.Stats.Drops {
		s.Stats.Drops[d] = uint64(100 + d)
	}
	got := session(&s, api.Joined{TAP: "office0", MTU: 1438})
	if got.TAP != "office0" || got.MTU != 1438 || got.ReceiveCookieOctets != 8 || got.SendCookieOctets != 0 {
		t.Errorf("session: %+v, want TAP office0, MTU 1438, cookies of 8 and 0 octets", got)
	}
	for d := pseudowire.NotDropped + 1; d < pseudowire.Drops; d++ {
		if n := got.Counters[d.String()]; n != uint64(100+d) {
			t.Errorf("counter %s: %d, want %d", d, n, 100+d)
		}
	}
	for _, name := range []string{"tx_packets", "tx_bytes", "rx_packets", "rx_bytes", "rx_oos_packets"} {
		if n, ok := got.Counters[name]; !ok || n != 0 {
			t.Errorf("counter %s: %d, there %v, want 0 and there", name, n, ok)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, test := range []struct {
		addr  netip.AddrPort
		encap string
		want  string
	}{
		{netip.MustParseAddrPort("192.0.2.1:1701"), "udp", "192.0.2.1:1701"},
		{netip.MustParseAddrPort("[2001:db8::1]:1701"), "udp", "[2001:db8::1]:1701"},
		{netip.MustParseAddrPort("192.0.2.1:0"), "ip", "192.0.2.1"},
		{netip.AddrPortFrom(netip.Addr{}, 1701), "udp", ""},
	} {
		if got := address(test.addr, test.encap); got != test.want {
			t.Errorf("address %v over %s: %q, want %q", test.addr, test.encap, got, test.want)
		}
	}
}

func TestExpected(t *testing.T) {
	net := func(all ...string) (c l2tpv3.DynamicConfig) {
		for _, p := range all {
			c.From = append(c.From, netip.MustParsePrefix(p))
		}
		return c
	}
	one := l2tpv3.DynamicConfig{TunnelConfig: l2tpv3.TunnelConfig{Peer: l2tpv3.Host{Addr: netip.MustParseAddr("192.0.2.5")}}}
	for _, test := range []struct {
		c    l2tpv3.DynamicConfig
		want string
	}{
		{one, "192.0.2.5"},
		{net("0.0.0.0/0", "::/0"), "any"},
		{net("192.0.2.0/24", "2001:db8::/32"), "192.0.2.0/24 2001:db8::/32"},
	} {
		if got := expected(test.c.Peer, test.c.From); got != test.want {
			t.Errorf("%v: %q, want %q", test.c.From, got, test.want)
		}
	}
}
