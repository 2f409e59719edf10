package l2tpv3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/transport"
)

// A reach is how the peers of tunnels with a control connection are reached: where they
// are, the sockets towards them, and the ways that are held to where one is dialled.
type reach struct {
	cfg  *TunnelConfig
	from []netip.Prefix // networks from which peers may come
	dial bool
	tell func(now time.Time, b control.Binding) // tells the machines
	up   func() bool                            // there is a connection

	// Guarded by channel.mu, under which tell and up are called.
	state   State             // Resolving or Binding; "": the connection's
	err     error             // why
	bound   *transport.Conn   // nil: not yet
	dialled []control.Address // where the peer may be, whose ways are held
}

// run finds the peer, by name as often as there is no connection, and has a socket
// to reach it.
func (r *reach) run(ctx context.Context, e *Endpoint) {
	wait := resolveFirst
	for {
		addrs, err := r.resolve(ctx)
		state := Resolving
		if err == nil {
			state = Binding
			err = r.bind(e, addrs)
		}
		if ctx.Err() != nil {
			return
		}
		next := resolveMost
		switch {
		case err == nil:
			r.enter(e, "", nil)
			if r.cfg.Peer.Name == "" {
				return
			}
			wait = resolveFirst
		case state == Binding:
			r.enter(e, state, err)
			if r.bound == nil { // else it can do with what it has for a while
				next = retryEvery
			}
		default:
			r.enter(e, state, err)
			next, wait = wait, min(2*wait, resolveMost)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		for e.channel.established(r) && ctx.Err() == nil {
			select { // a peer that is there needs no look-up
			case <-ctx.Done():
			case <-time.After(checkEvery):
			}
		}
	}
}

func (c *channel) established(r *reach) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.up()
}

// resolve returns the peer's addresses, none where any may come.
func (r *reach) resolve(ctx context.Context) ([]netip.Addr, error) {
	switch peer := r.cfg.Peer; {
	case peer.Addr.IsValid():
		return []netip.Addr{named(peer.Addr)}, nil
	case peer.Name != "":
		return lookup(ctx, peer.Name, r.cfg.Socket.Local.Addr())
	}
	return nil, nil
}

// named returns an address whose zone is a number with that interface's name, by
// which it comes with what is received.
func named(a netip.Addr) netip.Addr {
	n, err := strconv.Atoi(a.Zone())
	if err != nil {
		return a
	}
	i, err := net.InterfaceByIndex(n)
	if err != nil {
		return a
	}
	return a.WithZone(i.Name)
}

// bind opens the sockets and tells the machines where the peer is. Where the peer
// has addresses of both families and a socket of one cannot be opened, the other
// does.
func (r *reach) bind(e *Endpoint, addrs []netip.Addr) error {
	var b control.Binding
	s := sockets{e: e, cfg: r.cfg.Socket}
	for _, a := range addrs {
		b.Peers = append(b.Peers, netip.PrefixFrom(a.WithZone(""), a.BitLen()))
		if via, ok := s.open(a.Is4()); ok && r.dial {
			b.Others = append(b.Others, control.Address{Via: via, Peer: netip.AddrPortFrom(a, r.cfg.Peer.Port)})
		}
	}
	for _, p := range r.from {
		b.Peers = append(b.Peers, p)
		s.open(p.Addr().Is4())
	}
	if len(s.vias) == 0 && s.err == nil {
		return fmt.Errorf("no peer of the family of %v", r.cfg.Socket.Local.Addr())
	} else if len(s.vias) == 0 {
		return s.err
	}
	b.Vias = s.vias
	b.At = control.Address{Via: b.Vias[0]}
	if len(b.Others) > 0 {
		b.At, b.Others = b.Others[0], b.Others[1:]
	}
	err := e.channel.do(func(now time.Time) error {
		if err := r.holdWays(e.channel, b); err != nil {
			return err
		}
		r.bound = s.conn
		r.tell(now, b)
		return nil
	})
	return errors.Join(err, s.err)
}

// holdWays holds the ways to where a tunnel dials, in place of the former ones.
func (r *reach) holdWays(c *channel, b control.Binding) error {
	former := r.dialled
	r.dialled = nil
	defer func() {
		for _, at := range former {
			c.release(at)
		}
	}()
	if !b.At.Peer.IsValid() {
		return nil
	}
	for _, at := range append([]control.Address{b.At}, b.Others...) {
		if _, err := c.hold(at, r.cfg); err != nil {
			return err
		}
		r.dialled = append(r.dialled, at)
	}
	return nil
}

// sockets are those of a tunnel: one, or one of each family.
type sockets struct {
	e    *Endpoint
	cfg  transport.Config
	seen [2]struct {
		via      int
		ok, done bool
	}
	conn *transport.Conn // the first
	vias []int
	err  error
}

// open returns the socket of a family, if there is to be one and it can be opened.
func (s *sockets) open(v4 bool) (via int, ok bool) {
	f := &s.seen[0]
	if v4 {
		f = &s.seen[1]
	}
	if local := s.cfg.Local.Addr(); f.done || local.IsValid() && local.Is4() != v4 {
		return f.via, f.ok
	}
	f.done = true
	conn, err := s.e.socket(towards(s.cfg, v4))
	if err != nil {
		s.err = errors.Join(s.err, err)
		return 0, false
	}
	f.via, f.ok = s.e.channel.via(conn), true
	if s.conn == nil {
		s.conn = conn
	}
	s.vias = append(s.vias, f.via)
	return f.via, true
}

// enter notes how far the tunnel has come without a connection. One that has been
// bound goes on with what it knows, whatever becomes of its peer's name.
func (r *reach) enter(e *Endpoint, state State, err error) {
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	if err != nil && text(err) != text(r.err) {
		e.log.Warn("tunnel not up, trying again", "tunnel", r.cfg.Name, "state", string(state), "err", why(err))
	}
	if r.bound != nil || r.up() {
		state = ""
	}
	r.state, r.err = state, err
}
