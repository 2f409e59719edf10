package l2tpv3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// How often a tunnel looks after itself.
const (
	checkEvery   = 5 * time.Second        // path MTU and silence, when all is well
	retryEvery   = 500 * time.Millisecond // local addresses and routes, when not
	silentAfter  = 30 * time.Second       // then a peer's name is resolved again
	resolveFirst = time.Second            // wait after a name did not resolve,
	resolveMost  = 30 * time.Second       // which doubles up to this
	resolveLimit = 5 * time.Second        // one lookup's
)

// A State is how far a static tunnel has come.
type State string

// The states of a static tunnel.
const (
	Resolving   State = "resolving"   // the peer's name has no address yet
	Binding     State = "binding"     // the local address is not there yet
	Unreachable State = "unreachable" // there is no route to the peer
	Up          State = "up"          // frames can be sent
)

// A Tunnel is a static tunnel: what RFC 3931 section 4.1 needs on both sides,
// without a control connection.
type Tunnel struct {
	endpoint *Endpoint
	cfg      TunnelConfig
	log      *slog.Logger
	sessions []*Session

	// Touched by run alone.
	peer        netip.Addr
	resolved    time.Time
	resolveWait time.Duration
	resolveNext time.Time
	conn        *transport.Conn
	path        *transport.Path
	unreachable uint64 // frames that found no route, when last looked at

	mu    sync.Mutex // what status shows
	state State
	since time.Time
	err   error
	mtu   int
	bound *transport.Conn // nil: not yet
	shown *transport.Path
}

// A Session is one pseudowire of a tunnel, and by its methods a port.
type Session struct {
	link   dataplane.Link
	params dataplane.Params

	mu     sync.Mutex
	mtu    int
	notify func(mtu int)
}

// Name returns the session's name, "paris/office".
func (s *Session) Name() string { return s.params.Name }

// Send sends frames to the peer, see dataplane.Link.
func (s *Session) Send(frames []pseudowire.Frame) int { return s.link.Send(frames) }

// Attach says where frames from the peer go, see dataplane.Link.
func (s *Session) Attach(deliver func([]pseudowire.Frame) int) { s.link.Attach(deliver) }

// NotifyMTU has notify called with the largest MTU of an Ethernet interface whose
// frames the path carries whole, each with one 802.1Q tag: now if it is known,
// and whenever it changes.
func (s *Session) NotifyMTU(notify func(mtu int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify = notify
	if s.mtu != 0 {
		notify(s.mtu)
	}
}

// setMTU takes the MTU of the session's frames from the path's.
func (s *Session) setMTU(path int, e wire.Encap, v6 bool) {
	mtu := InterfaceMTU(path, &s.params, e, v6)
	s.mu.Lock()
	defer s.mu.Unlock()
	if mtu == s.mtu {
		return
	}
	s.mtu = mtu
	if s.notify != nil {
		s.notify(mtu)
	}
}

// InterfaceMTU returns the MTU of an Ethernet interface whose frames, each with
// one 802.1Q tag, fit a path: what is left of the path's after the outer headers,
// the session's and the frame's own.
func InterfaceMTU(path int, p *dataplane.Params, e wire.Encap, v6 bool) int {
	const frameHeader, least, most = 14 + 4, 68, 65521
	return min(max(min(path, 65535)-p.Overhead(e, v6)-frameHeader, least), most)
}

// Sessions returns the tunnel's sessions in the order in which they were added.
func (t *Tunnel) Sessions() []*Session { return t.sessions }

func (t *Tunnel) closeLinks() {
	for _, s := range t.sessions {
		s.link.Close()
	}
}

// run keeps the tunnel up until ctx ends.
func (t *Tunnel) run(ctx context.Context) {
	for {
		state, err := t.check(ctx)
		if ctx.Err() != nil {
			return
		}
		t.enter(state, err)
		wait := retryEvery
		if state == Up {
			wait = checkEvery
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// check does what brings the tunnel up or keeps it so, and says how far it came.
func (t *Tunnel) check(ctx context.Context) (State, error) {
	now := time.Now()
	if err := t.resolve(ctx, now); err != nil {
		if !t.peer.IsValid() {
			return Resolving, err
		}
		t.log.Warn("the peer is silent, and its name does not resolve", "name", t.cfg.Peer.Name, "err", err)
	}
	if err := t.open(); err != nil {
		return Binding, err
	}
	mtu, err := t.conn.PathMTU(t.path)
	if err != nil {
		return Unreachable, err
	}
	t.setMTU(mtu)
	return Up, nil
}

// resolve finds the peer's address: at first, and again when the peer is silent.
func (t *Tunnel) resolve(ctx context.Context, now time.Time) error {
	host := t.cfg.Peer
	if host.Addr.IsValid() {
		t.peer = host.Addr
		return nil
	}
	if t.peer.IsValid() && now.Sub(t.resolved) < silentAfter || now.Before(t.resolveNext) {
		return t.lastError()
	}
	if last := t.lastReceived(); t.peer.IsValid() && now.Sub(last) < silentAfter {
		return nil
	}
	network := "ip"
	if local := t.cfg.Socket.Local.Addr(); local.Is4() {
		network = "ip4"
	} else if local.Is6() {
		network = "ip6"
	}
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host.Name)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("lookup %s: no address", host.Name)
	}
	if err != nil {
		t.resolveWait = min(max(2*t.resolveWait, resolveFirst), resolveMost)
		t.resolveNext = now.Add(t.resolveWait)
		return err
	}
	t.resolved, t.resolveWait = now, 0
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	if !slices.Contains(addrs, t.peer) {
		t.peer = addrs[0]
		t.log.Info("peer resolved", "name", host.Name, "addr", t.peer.String())
	}
	return nil
}

// lastError returns the error of a lookup that is not to be repeated yet.
func (t *Tunnel) lastError() error {
	if t.peer.IsValid() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *Tunnel) lastReceived() (last time.Time) {
	for _, s := range t.sessions {
		if at := s.link.Stats().LastReceived; at.After(last) {
			last = at
		}
	}
	return last
}

// open has a socket and a path to the peer's present address, and gives them to
// the sessions. It makes the path anew where frames found no route, for the
// address that they left from may be gone.
func (t *Tunnel) open() error {
	cfg := t.cfg.Socket
	if !cfg.Local.Addr().IsValid() {
		any := netip.IPv6Unspecified()
		if t.peer.Is4() {
			any = netip.IPv4Unspecified()
		}
		cfg.Local = netip.AddrPortFrom(any, cfg.Local.Port())
	}
	conn, err := t.endpoint.socket(cfg)
	if err != nil {
		return err
	}
	var unreachable uint64
	for _, s := range t.sessions {
		unreachable += s.link.Stats().Drops[pseudowire.DropUnreachable]
	}
	peer := netip.AddrPortFrom(t.peer, t.cfg.Peer.Port)
	if conn == t.conn && t.path.Peer() == peer && unreachable == t.unreachable {
		return nil
	}
	path, err := conn.NewPath(transport.PathConfig{Peer: peer, DSCP: t.cfg.DSCP, TTL: t.cfg.TTL})
	if err != nil {
		return err
	}
	for _, s := range t.sessions {
		s.link.SetPath(conn, path)
	}
	t.conn, t.path, t.unreachable = conn, path, unreachable
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound, t.shown = conn, path
	return nil
}

// setMTU tells the sessions what the path carries.
func (t *Tunnel) setMTU(path int) {
	t.mu.Lock()
	changed := path != t.mtu
	t.mtu = path
	t.mu.Unlock()
	if !changed {
		return
	}
	for _, s := range t.sessions {
		s.setMTU(path, t.cfg.Encap(), t.peer.Is6())
	}
}

// enter notes the tunnel's state, and logs it if it is another or its reason is.
func (t *Tunnel) enter(state State, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	same := state == t.state && text(err) == text(t.err)
	if state != t.state {
		t.since = time.Now()
	}
	first := t.state == ""
	t.state, t.err = state, err
	switch {
	case same || first:
	case state == Up:
		t.log.Info("tunnel up", "local", t.bound.LocalAddr().String(), "peer", t.shown.Peer().String(), "path_mtu", t.mtu)
	default:
		t.log.Warn("tunnel not up, trying again", "state", string(state), "err", why(err))
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// why puts an error into words for whoever must mend its cause.
func why(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return err.Error() + " (the address is not on this machine yet)"
	case errors.Is(err, unix.EADDRINUSE):
		return err.Error() + " (another program holds the port)"
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return err.Error() + " (no route to the peer)"
	}
	return err.Error()
}
