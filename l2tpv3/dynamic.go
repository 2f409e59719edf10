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
	"spanwire/l2tpv3/wire"
)

// A Dynamic is a tunnel with a control connection, a template for many, or an
// instance of one.
type Dynamic struct {
	cfg      DynamicConfig
	template string
	circuits map[string]*Circuit // by their names in the configuration

	// Guarded by channel.mu.
	sessions map[string]*Session // by name
	order    []*Session          // those that are configured
	place    int                 // in channel.all
	state    State               // Resolving or Binding; "": the connection's
	err      error               // why
	bound    *transport.Conn     // nil: not yet
	dialled  []control.Address   // where the peer may be, whose ways are held
	at       control.Address     // of the peer
	path     *transport.Path     // nil: there is no connection
	mtu      int
	heard    time.Time // data of any of its sessions

	down, noted repeated // what was logged of it
}

// AddDynamic opens a tunnel with a control connection and keeps it open, as
// AddTunnel does.
func (e *Endpoint) AddDynamic(cfg DynamicConfig) (*Dynamic, error) {
	d := newDynamic(cfg)
	c := e.channel
	control := cfg.Control
	control.Name, control.Circuits = cfg.Name, nil
	for i := range cfg.Circuits {
		control.Circuits = append(control.Circuits, cfg.Circuits[i].CircuitConfig)
	}
	d.state = Resolving
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil, fmt.Errorf("tunnel %s: %w", cfg.Name, net.ErrClosed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.lcce.Add(time.Now(), control); err != nil {
		return nil, err
	}
	if !cfg.Control.Many {
		for i := range cfg.Circuits {
			if k := &cfg.Circuits[i]; !k.AnyEndID {
				d.order = append(d.order, d.add(cfg.Name+"/"+k.Name, k.Name, k.RemoteEndID))
			}
		}
	}
	c.add(d)
	e.dynamic.Store(true)
	e.work.Go(func() { d.run(e.ctx, e) })
	return d, nil
}

func newDynamic(cfg DynamicConfig) *Dynamic {
	d := &Dynamic{cfg: cfg, sessions: make(map[string]*Session), circuits: make(map[string]*Circuit)}
	for i := range cfg.Circuits {
		d.circuits[cfg.Circuits[i].Name] = &cfg.Circuits[i]
	}
	return d
}

// instance returns a tunnel for one peer of a template.
func (d *Dynamic) instance(name string) *Dynamic {
	cfg := d.cfg
	cfg.Name = name
	i := newDynamic(cfg)
	i.template = d.cfg.Name
	i.bound = d.bound
	return i
}

// add adds a session that is bound to a circuit of the configuration.
func (d *Dynamic) add(name, circuit string, endID []byte) *Session {
	s := &Session{name: name, circuit: d.circuits[circuit], endID: endID}
	d.sessions[name] = s
	return s
}

// forget forgets where the peer was.
func (d *Dynamic) forget(c *channel) {
	if d.path != nil {
		c.release(d.at)
	}
	d.path, d.mtu, d.at = nil, 0, control.Address{}
	for _, s := range d.sessions {
		s.setPath(nil, nil)
	}
}

// hadUp has what is down from now on be logged as new.
func (d *Dynamic) hadUp() {
	if d != nil {
		d.down = repeated{}
	}
}

func (d *Dynamic) pathMTU() int {
	if d == nil {
		return 0
	}
	return d.mtu
}

// Sessions returns the sessions that are configured, in their order; those that
// are made for a peer come with events.
func (d *Dynamic) Sessions() []*Session { return d.order }

// run finds the peer, by name as often as there is no connection, and has a socket
// to reach it.
func (d *Dynamic) run(ctx context.Context, e *Endpoint) {
	wait := resolveFirst
	for {
		addrs, err := d.resolve(ctx)
		state := Resolving
		if err == nil {
			state = Binding
			err = d.bind(e, addrs)
		}
		if ctx.Err() != nil {
			return
		}
		next := resolveMost
		switch {
		case err == nil:
			d.enter(e, "", nil)
			if d.cfg.Peer.Name == "" {
				return
			}
			wait = resolveFirst
		case state == Binding:
			d.enter(e, state, err)
			if d.bound == nil { // else it can do with what it has for a while
				next = retryEvery
			}
		default:
			d.enter(e, state, err)
			next, wait = wait, min(2*wait, resolveMost)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		for e.channel.established(d) && ctx.Err() == nil {
			select { // a peer that is there needs no look-up
			case <-ctx.Done():
			case <-time.After(checkEvery):
			}
		}
	}
}

func (c *channel) established(d *Dynamic) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return d.path != nil
}

// resolve returns the peer's addresses, none where any may come.
func (d *Dynamic) resolve(ctx context.Context) ([]netip.Addr, error) {
	switch peer := d.cfg.Peer; {
	case peer.Addr.IsValid():
		return []netip.Addr{named(peer.Addr)}, nil
	case peer.Name != "":
		return lookup(ctx, peer.Name, d.cfg.Socket.Local.Addr())
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
func (d *Dynamic) bind(e *Endpoint, addrs []netip.Addr) error {
	var b control.Binding
	s := sockets{e: e, cfg: d.cfg.Socket}
	for _, a := range addrs {
		b.Peers = append(b.Peers, netip.PrefixFrom(a.WithZone(""), a.BitLen()))
		if via, ok := s.open(a.Is4()); ok && d.cfg.Control.Dial {
			b.Others = append(b.Others, control.Address{Via: via, Peer: netip.AddrPortFrom(a, d.cfg.Peer.Port)})
		}
	}
	for _, p := range d.cfg.From {
		b.Peers = append(b.Peers, p)
		s.open(p.Addr().Is4())
	}
	if len(s.vias) == 0 && s.err == nil {
		return fmt.Errorf("no peer of the family of %v", d.cfg.Socket.Local.Addr())
	} else if len(s.vias) == 0 {
		return s.err
	}
	b.Vias = s.vias
	b.At = control.Address{Via: b.Vias[0]}
	if len(b.Others) > 0 {
		b.At, b.Others = b.Others[0], b.Others[1:]
	}
	err := e.channel.do(func(now time.Time, l *control.LCCE) error {
		if err := d.holdWays(e.channel, b); err != nil {
			return err
		}
		d.bound = s.conn
		l.Bind(now, d.cfg.Name, b)
		return nil
	})
	return errors.Join(err, s.err)
}

// holdWays holds the ways to where a tunnel dials, in place of the former ones.
func (d *Dynamic) holdWays(c *channel, b control.Binding) error {
	former := d.dialled
	d.dialled = nil
	defer func() {
		for _, at := range former {
			c.release(at)
		}
	}()
	if !b.At.Peer.IsValid() {
		return nil
	}
	for _, at := range append([]control.Address{b.At}, b.Others...) {
		if _, err := c.hold(at, &d.cfg.TunnelConfig); err != nil {
			return err
		}
		d.dialled = append(d.dialled, at)
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
func (d *Dynamic) enter(e *Endpoint, state State, err error) {
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	if err != nil && text(err) != text(d.err) {
		e.log.Warn("tunnel not up, trying again", "tunnel", d.cfg.Name, "state", string(state), "err", why(err))
	}
	if d.bound != nil || d.path != nil {
		state = ""
	}
	d.state, d.err = state, err
}

// Up opens a tunnel or session that is down, or has it try at once; Down closes
// it; Roll has another session take over from it. Names are "TUNNEL" and
// "TUNNEL/SESSION".
func (e *Endpoint) Up(name string) error {
	return e.channel.do(func(now time.Time, l *control.LCCE) error { return l.Up(now, name) })
}

// Down closes a tunnel or a session until Up.
func (e *Endpoint) Down(name string) error {
	return e.channel.do(func(now time.Time, l *control.LCCE) error { return l.Down(now, name) })
}

// Roll has another session take over from an established one, with new IDs and
// cookies.
func (e *Endpoint) Roll(name string) error {
	return e.channel.do(func(now time.Time, l *control.LCCE) error { return l.Roll(now, name) })
}

// SetCircuit takes the status of the local segment of a dynamic session, and tells
// the peer.
func (e *Endpoint) SetCircuit(s *Session, status wire.CircuitStatus) {
	e.channel.do(func(now time.Time, l *control.LCCE) error {
		l.SetCircuit(now, s.name, status)
		return nil
	})
}

// CloseCircuit clears a dynamic session whose circuit is not there any more, until
// SetCircuit says that it is active.
func (e *Endpoint) CloseCircuit(s *Session, why control.Absence) {
	e.channel.do(func(now time.Time, l *control.LCCE) error {
		l.CloseCircuit(now, s.name, why)
		return nil
	})
}

// Report tells the peer of a dynamic session, by its name, of errors on the local
// segment. RFC 3931 section 6.13 wants it no more than once every 60 seconds.
func (e *Endpoint) Report(session string, errors wire.CircuitErrors) {
	e.channel.do(func(now time.Time, l *control.LCCE) error {
		l.Report(now, session, errors)
		return nil
	})
}

// Notify has tell called with all that happens from now on, in its order and by
// one goroutine, which it must not hold up.
func (e *Endpoint) Notify(tell func(Event)) {
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	e.channel.tell = tell
}

// farewell is how long a peer has to acknowledge that we close.
const farewell = 2 * time.Second

// close closes all connections, and waits a moment for what is to be
// acknowledged.
func (c *channel) close() {
	quiet := false
	for end := time.Now().Add(farewell); !quiet && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		c.do(func(now time.Time, l *control.LCCE) error {
			if !c.closed {
				c.closed = true
				l.Close(now)
				return nil
			}
			quiet = l.Quiet()
			return nil
		})
	}
}
