package l2tpv3

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
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
	state    State               // Resolving or Binding; "": the connection's
	err      error               // why, or what became of the last message
	bound    *transport.Conn
	at       control.Address // of the peer
	path     *transport.Path // nil: there is no connection
	mtu      int
	heard    time.Time // data of any of its sessions
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
	c.tunnels[cfg.Name] = d
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
	delete(c.paths, d.at)
	d.path, d.mtu, d.at = nil, 0, control.Address{}
	for _, s := range d.sessions {
		s.setPath(nil, nil)
	}
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
			next = retryEvery
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
		return []netip.Addr{peer.Addr}, nil
	case peer.Name != "":
		return lookup(ctx, peer.Name, d.cfg.Socket.Local.Addr())
	}
	return nil, nil
}

// bind opens the sockets and tells the machines where the peer is.
func (d *Dynamic) bind(e *Endpoint, addrs []netip.Addr) error {
	var b control.Binding
	families := make(map[bool]bool) // by whether it is IPv4
	for _, a := range addrs {
		b.Peers = append(b.Peers, netip.PrefixFrom(a.WithZone(""), a.BitLen()))
		families[a.Is4()] = true
	}
	for _, p := range d.cfg.From {
		b.Peers = append(b.Peers, p)
		families[p.Addr().Is4()] = true
	}
	if d.cfg.Control.Dial {
		families = map[bool]bool{addrs[0].Is4(): true}
	}
	var conn *transport.Conn
	for v4 := range families {
		if local := d.cfg.Socket.Local.Addr(); local.IsValid() && local.Is4() != v4 {
			continue
		}
		var err error
		if conn, err = e.socket(towards(d.cfg.Socket, v4)); err != nil {
			return err
		}
		b.Vias = append(b.Vias, e.channel.via(conn))
	}
	if len(b.Vias) == 0 {
		return fmt.Errorf("no peer of the family of %v", d.cfg.Socket.Local.Addr())
	}
	slices.Sort(b.Vias)
	b.At = control.Address{Via: b.Vias[0]}
	if d.cfg.Control.Dial {
		b.At.Peer = netip.AddrPortFrom(addrs[0], d.cfg.Peer.Port)
	}
	return e.channel.do(func(now time.Time, l *control.LCCE) error {
		d.bound = conn
		if b.At.Peer.IsValid() {
			if _, err := e.channel.path(b.At, &d.cfg.TunnelConfig); err != nil {
				return err
			}
		}
		l.Bind(now, d.cfg.Name, b)
		return nil
	})
}

// enter notes how far the tunnel has come without a connection.
func (d *Dynamic) enter(e *Endpoint, state State, err error) {
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	if state != "" && text(err) != text(d.err) {
		e.log.Warn("tunnel not up, trying again", "tunnel", d.cfg.Name, "state", string(state), "err", why(err))
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
