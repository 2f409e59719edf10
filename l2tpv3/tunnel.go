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

	"spanwire/l2tpv3/transport"
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

// Sessions returns the tunnel's sessions in the order in which they were added.
func (t *Tunnel) Sessions() []*Session { return t.sessions }

func (t *Tunnel) closeLinks() {
	for _, s := range t.sessions {
		s.close()
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
		t.peer = named(host.Addr)
		return nil
	}
	if t.peer.IsValid() && now.Sub(t.resolved) < silentAfter || now.Before(t.resolveNext) {
		return t.lastError()
	}
	if last := t.lastReceived(); t.peer.IsValid() && now.Sub(last) < silentAfter {
		return nil
	}
	addrs, err := lookup(ctx, host.Name, t.cfg.Socket.Local.Addr())
	if err != nil {
		t.resolveWait = min(max(2*t.resolveWait, resolveFirst), resolveMost)
		t.resolveNext = now.Add(t.resolveWait)
		return err
	}
	t.resolved, t.resolveWait = now, 0
	if !slices.Contains(addrs, t.peer) {
		t.peer = addrs[0]
		t.log.Info("peer resolved", "name", host.Name, "addr", t.peer.String())
	}
	return nil
}

// lookup returns the addresses of a name, of the family of a local address where
// there is one.
func lookup(ctx context.Context, name string, local netip.Addr) ([]netip.Addr, error) {
	network := "ip"
	if local.Is4() {
		network = "ip4"
	} else if local.Is6() {
		network = "ip6"
	}
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, name)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("lookup %s: no address", name)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
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
		if at := s.lastReceived(); at.After(last) {
			last = at
		}
	}
	return last
}

// open has a socket and a path to the peer's present address, and gives them to
// the sessions. It makes the path anew where frames found no route, for the
// address that they left from may be gone.
func (t *Tunnel) open() error {
	conn, err := t.endpoint.socket(towards(t.cfg.Socket, t.peer.Is4()))
	if err != nil {
		return err
	}
	var unreachable uint64
	for _, s := range t.sessions {
		unreachable += s.stats().Drops[pseudowire.DropUnreachable]
	}
	peer := netip.AddrPortFrom(t.peer, t.cfg.Peer.Port)
	if conn == t.conn && t.path.Peer() == peer && unreachable == t.unreachable {
		return nil
	}
	path, err := t.cfg.path(conn, peer, netip.Addr{})
	if err != nil {
		return err
	}
	for _, s := range t.sessions {
		s.setPath(conn, path)
	}
	t.conn, t.path, t.unreachable = conn, path, unreachable
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound, t.shown = conn, path
	return nil
}

// towards has a socket that is bound to no address of any family bound to none of
// this one.
func towards(cfg transport.Config, v4 bool) transport.Config {
	if cfg.Local.Addr().IsValid() {
		return cfg
	}
	any := netip.IPv6Unspecified()
	if v4 {
		any = netip.IPv4Unspecified()
	}
	cfg.Local = netip.AddrPortFrom(any, cfg.Local.Port())
	return cfg
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
