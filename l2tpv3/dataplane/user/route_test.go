package user

import (
	"net/netip"
	"testing"

	"spanwire/l2tpv3/transport"
)

// TestLinksShareRoutes wants one route for all Links of a path, and one for all that
// turn to the same address, until the last is gone.
func TestLinksShareRoutes(t *testing.T) {
	conn, err := transport.Listen(transport.Config{Local: netip.MustParseAddrPort("0.0.0.0:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	path, err := conn.NewPath(transport.PathConfig{Peer: netip.MustParseAddrPort("127.0.0.9:1701")})
	if err != nil {
		t.Fatal(err)
	}
	plane := New()
	open := func(id uint32) *Link {
		p := params(t)
		p.SessionID = id
		l, err := plane.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		l.SetPath(conn, path)
		return l.(*Link)
	}
	a, b := open(1), open(2)
	straight := a.out.route.Load()
	if !straight.follow || b.out.route.Load() != straight {
		t.Fatal("two Links of one path have a route each")
	}
	turn := func(l *Link, local string) *route {
		l.answerFrom(l.out.route.Load(), netip.MustParseAddr(local))
		r := l.out.route.Load()
		if r != l.in.route.Load() || r.path.Local().String() != local || r.peer != path.Peer() {
			t.Fatalf("turned to %s: the route is from %v to %v", local, r.path.Local(), r.peer)
		}
		return r
	}
	first := turn(a, "127.0.0.1")
	if turn(b, "127.0.0.1") != first {
		t.Error("two Links that turned to one address have a route each")
	}
	c := open(3) // after the others have left the straight one
	if c.out.route.Load() != straight || turn(c, "127.0.0.1") != first {
		t.Error("a later Link has routes of its own")
	}
	for range 3 {
		turn(b, "127.0.0.2")
		turn(b, "127.0.0.1")
	}
	if n := len(plane.routes.ways); n != 3 { // the path's, first, and b's
		t.Errorf("%d routes are kept for three Links, want 3", n)
	}
	if turn(a, "127.0.0.2"); c.out.route.Load() != first {
		t.Error("a Link that did not turn lost its route")
	}
	for _, l := range []*Link{a, b, c} {
		l.Close()
	}
	if r := &plane.routes; len(r.ways) != 0 || len(r.conns) != 0 {
		t.Errorf("%d routes of %d sockets are kept for no Link", len(r.ways), len(r.conns))
	}
}
