package daemon

import (
	"errors"
	"fmt"
	"io/fs"

	"spanwire/bridge/link"
	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A segment is the local end of a session.
type segment interface {
	// join joins it with the session, once. tell is told whether the segment is up,
	// now and whenever that changes; nil: nobody wants to know.
	join(session *l2tpv3.Session, tell func(up bool))

	// carry is told whether the peer's end is there.
	carry(active bool)

	// show tells what the session does not know, and drops is what the segment dropped.
	show() api.Joined
	drops() [pseudowire.Drops]uint64

	close()
}

// FirstMTU returns the MTU that a session's TAP has at first: the configured one
// or, where the path is to decide, what fits the usual path of 1500 octets until
// more is known.
func FirstMTU(t *config.Tunnel, s *config.Session) int {
	if s.MTU != 0 {
		return s.MTU
	}
	v6, known := t.V6()
	p := s.Assumed()
	return l2tpv3.InterfaceMTU(1500, &p, t.Encap(), v6 || !known) - growth(&s.Attachment)
}

// newSegment returns the segment of a session, nil if it joins nothing.
func (d *daemon) newSegment(t *config.Tunnel, s *config.Session, name string) (segment, error) {
	switch s.Kind {
	case config.Nothing:
		return nil, nil
	case config.Serial:
		return d.newSerial(s, name)
	case config.InHub:
		return d.newMember(t, s, name)
	}
	g, err := d.newDevice(&s.Attachment, name, FirstMTU(t, s))
	if err != nil {
		return nil, err
	}
	g.fragment = t.Socket.Fragment
	g.follow = s.Circuit != nil && s.Carrier == "follow"
	g.carrier = !g.follow
	return g, nil
}

// keepDevice has the kernel's news of a device come to it.
func (d *daemon) keepDevice(g *device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.devices[g.cfg.Name] = append(d.devices[g.cfg.Name], g)
}

// openDevice opens a device when the daemon starts. An interface that is not there
// yet is waited for, as an address is.
func (d *daemon) openDevice(g *device) error {
	d.keepDevice(g)
	if g.kind == config.Interface {
		if _, err := link.Read(g.cfg.Name); errors.Is(err, fs.ErrNotExist) {
			return nil // run tells, and tries again
		}
	}
	return g.open()
}

// openSegment opens what a session of the file joins.
func (d *daemon) openSegment(t *config.Tunnel, c *config.Session) (segment, error) {
	s, err := d.newSegment(t, c, c.Params.Name)
	if err == nil && s != nil {
		d.mu.Lock()
		d.segments[c.Params.Name] = s
		d.mu.Unlock()
		if g, is := s.(*device); is {
			err = d.openDevice(g)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("tunnel %s: session %s: %w", t.Name, c.Name, err)
	}
	return s, nil
}

// join joins a session with its segment. One that joins nothing is a circuit that
// is always active.
func (d *daemon) join(s segment, port *l2tpv3.Session) {
	var tell func(up bool)
	if port.Circuit() != nil {
		tell = func(up bool) {
			var status wire.CircuitStatus
			if up {
				status = wire.CircuitActive
			}
			d.endpoint.SetCircuit(port, status)
		}
	}
	switch {
	case s != nil:
		s.join(port, tell)
	case tell != nil:
		tell(true)
	}
}

// segment returns the segment of a session, nil if it has none.
func (d *daemon) segment(session string) segment {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.segments[session]
}
