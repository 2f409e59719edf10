package l2tpv3

import (
	"fmt"
	"net"
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
	*reach
	sessions map[string]*Session // by name
	order    []*Session          // those that are configured
	place    int                 // in channel.all
	at       control.Address     // of the peer
	path     *transport.Path     // nil: there is no connection
	mtu      int
	heard    time.Time // data of any of its sessions
	other    *configV2 // what is spoken where the peer has no L2TPv3; nil: nothing

	down, noted repeated // what was logged of it
}

// AddDynamic opens a tunnel with a control connection and keeps it open, as
// AddTunnel does.
func (e *Endpoint) AddDynamic(cfg DynamicConfig) (*Dynamic, error) {
	d := newDynamic(cfg)
	d.tell = func(now time.Time, b control.Binding) { e.channel.lcce.Bind(now, cfg.Name, b) }
	if err := e.open(d.reach, func(now time.Time) error { return e.channel.addDynamic(now, d) }); err != nil {
		return nil, err
	}
	return d, nil
}

// open adds a tunnel with a control connection, and looks for its peers from then on.
func (e *Endpoint) open(r *reach, add func(now time.Time) error) error {
	r.state = Resolving
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return fmt.Errorf("tunnel %s: %w", r.cfg.Name, net.ErrClosed)
	}
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	if err := add(time.Now()); err != nil {
		return err
	}
	e.dynamic.Store(true)
	e.work.Go(func() { r.run(e.ctx, e) })
	return nil
}

// addDynamic adds a tunnel with those of its sessions that are known.
func (c *channel) addDynamic(now time.Time, d *Dynamic) error {
	cfg := d.cfg.Control
	cfg.Name, cfg.Circuits = d.cfg.Name, nil
	for i := range d.cfg.Circuits {
		cfg.Circuits = append(cfg.Circuits, d.cfg.Circuits[i].CircuitConfig)
	}
	if err := c.lcce.Add(now, cfg); err != nil {
		return err
	}
	if !cfg.Many {
		for i := range d.cfg.Circuits {
			if k := &d.cfg.Circuits[i]; !k.AnyEndID {
				d.order = append(d.order, d.add(d.cfg.Name+"/"+k.Name, k.Name, k.RemoteEndID))
			}
		}
	}
	c.add(d)
	return nil
}

func newDynamic(cfg DynamicConfig) *Dynamic {
	d := &Dynamic{cfg: cfg, sessions: make(map[string]*Session), circuits: make(map[string]*Circuit)}
	d.reach = &reach{cfg: &d.cfg.TunnelConfig, from: d.cfg.From, dial: d.cfg.Control.Dial, up: func() bool { return d.path != nil }}
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

// Up opens a tunnel or session that is down, or has it try at once; Down closes
// it; Roll has another session take over from it. Names are "TUNNEL" and
// "TUNNEL/SESSION".
func (e *Endpoint) Up(name string) error {
	c := e.channel
	return c.do(func(now time.Time) error {
		if c.configsV2[name] == nil {
			return c.lcce.Up(now, name)
		}
		return c.upV2(now, name)
	})
}

// Down closes a tunnel or a session until Up. A tunnel of L2TPv2 that a peer asked for
// it closes.
func (e *Endpoint) Down(name string) error {
	c := e.channel
	return c.do(func(now time.Time) error {
		if !c.knowsV2(name) {
			return c.lcce.Down(now, name)
		}
		return c.downV2(now, name)
	})
}

// Roll has another session take over from an established one, with new IDs and
// cookies.
func (e *Endpoint) Roll(name string) error {
	return e.channel.do(func(now time.Time) error { return e.channel.lcce.Roll(now, name) })
}

// SetCircuit takes the status of the local segment of a dynamic session, and tells
// the peer.
func (e *Endpoint) SetCircuit(s *Session, status wire.CircuitStatus) {
	e.channel.do(func(now time.Time) error {
		e.channel.lcce.SetCircuit(now, s.name, status)
		return nil
	})
}

// CloseCircuit clears a dynamic session whose circuit is not there any more, until
// SetCircuit says that it is active.
func (e *Endpoint) CloseCircuit(s *Session, why control.Absence) {
	e.channel.do(func(now time.Time) error {
		e.channel.lcce.CloseCircuit(now, s.name, why)
		return nil
	})
}

// Report tells the peer of a dynamic session, by its name, of errors on the local
// segment. RFC 3931 section 6.13 wants it no more than once every 60 seconds.
func (e *Endpoint) Report(session string, errors wire.CircuitErrors) {
	e.channel.do(func(now time.Time) error {
		e.channel.lcce.Report(now, session, errors)
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
		c.do(func(now time.Time) error {
			if !c.closed {
				c.closed = true
				c.lcce.Close(now)
				c.node.Close(now)
				return nil
			}
			quiet = c.lcce.Quiet() && c.node.Quiet()
			return nil
		})
	}
}
