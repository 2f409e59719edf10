package user

import (
	"net/netip"
	"sync"

	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A route is how a peer is reached, the same for all Links of a tunnel: with
// thousands of them it is still in the processor's cache. What it says does not
// change.
type route struct {
	conn   *transport.Conn
	path   *transport.Path
	peer   netip.AddrPort
	follow bool  // the socket is bound to no address: answer from the one addressed
	skip   uint8 // octets at the front of a Link's header that it does without
	spares *spares

	// Under the lock of routes.
	users  int    // Links, and routes that were turned from it
	origin *route // that this one was turned from; nil: it is the path's
	turned *route // the last one turned from this one, which may be gone
}

// A way is what tells routes apart.
type way struct {
	conn *transport.Conn
	path *transport.Path
}

// routes has each route, and the spares of each Conn, as long as a Link uses them.
type routes struct {
	mu    sync.Mutex
	ways  map[way]*route
	conns map[*transport.Conn]*spares
}

// acquire returns the route by a path.
func (s *routes) acquire(conn *transport.Conn, path *transport.Path) *route {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(conn, path)
}

func (s *routes) get(conn *transport.Conn, path *transport.Path) *route {
	w := way{conn, path}
	r := s.ways[w]
	if r == nil {
		if s.ways == nil {
			s.ways, s.conns = make(map[way]*route), make(map[*transport.Conn]*spares)
		}
		c := conn.Config()
		r = &route{conn: conn, path: path, peer: path.Peer(), follow: c.Local.Addr().IsUnspecified(), skip: omitted(c.Encap), spares: s.conns[conn]}
		if r.spares == nil {
			r.spares = new(spares)
			s.conns[conn] = r.spares
		}
		r.spares.routes++
		s.ways[w] = r
	}
	r.users++
	return r
}

// omitted returns how many octets a data header over UDP has at its front that one
// over e has not. RFC 3931 sections 4.1.1.1 and 4.1.2.1: from the Session ID on both are
// the same.
func omitted(e wire.Encap) uint8 {
	const none = pseudowire.NoSublayer
	return uint8(wire.DataHeaderLen(wire.UDP, 0, none) - wire.DataHeaderLen(e, 0, none))
}

// turn returns the route to the same peer from another address of ours. It keeps
// the one that the path was given for, so that the next Link that turns gets the
// same.
func (s *routes) turn(r *route, local netip.Addr) (*route, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.origin != nil {
		r = r.origin
	}
	if t := r.turned; t != nil && t.users > 0 && t.path.Local() == local {
		t.users++
		return t, nil
	}
	cfg := r.path.Config()
	cfg.Local = local
	path, err := r.conn.NewPath(cfg)
	if err != nil {
		return nil, err
	}
	t := s.get(r.conn, path)
	t.origin, r.turned = r, t
	r.users++
	return t, nil
}

// release is for who uses a route no more.
func (s *routes) release(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; r != nil; r = r.origin { // which goes with the last that was turned from it
		if r.users--; r.users > 0 {
			return
		}
		delete(s.ways, way{r.conn, r.path})
		if r.spares.routes--; r.spares.routes == 0 {
			delete(s.conns, r.conn)
		}
	}
}
