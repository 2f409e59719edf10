package daemon

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"spanwire/bridge/link"
	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/wire"
)

// A queue is what was told and nobody has acted upon yet.
type queue[T any] struct {
	mu    sync.Mutex
	more  sync.Cond
	all   []T
	ended bool
}

// init makes q ready, until ctx ends.
func (q *queue[T]) init(ctx context.Context) {
	q.more.L = &q.mu
	context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.ended = true
		q.more.Broadcast()
	})
}

// put takes what was told by who must not be held up.
func (q *queue[T]) put(v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = append(q.all, v)
	q.more.Signal()
}

// take waits for what was told; none: it is the end.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.all) == 0 && !q.ended {
		q.more.Wait()
	}
	taken := q.all
	q.all = nil
	if q.ended {
		return nil
	}
	return taken
}

// events are shown to those who watch.
type events struct {
	mu       sync.Mutex
	number   uint64
	watchers map[chan api.Event]bool
}

// tell shows an event, as show makes it if anybody watches.
func (e *events) tell(show func() api.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.number++
	if len(e.watchers) == 0 {
		return
	}
	shown := show()
	shown.Number = e.number
	for w := range e.watchers {
		select {
		case w <- shown:
		default: // the gap shows in the numbers
		}
	}
}

// watchBuffer is how many events one who watches may be behind.
const watchBuffer = 1024

// watch returns the events from now on, until ctx ends.
func (e *events) watch(ctx context.Context) <-chan api.Event {
	w := make(chan api.Event, watchBuffer)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.watchers == nil {
		e.watchers = make(map[chan api.Event]bool)
	}
	e.watchers[w] = true
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watchers, w)
		close(w)
	})
	return w
}

// show tells an event as the control socket does.
func show(e *l2tpv3.Event) api.Event {
	a := api.Event{
		Time:    e.Time,
		Event:   e.Kind.String(),
		Tunnel:  e.Tunnel,
		Session: e.Session,
		Host:    e.Peer.HostName,
		ID:      e.Params.SessionID,
		PeerID:  e.Params.PeerSessionID,
		Reason:  e.Reason,
		Next:    e.Next,
	}
	if e.Address.Peer.IsValid() {
		a.Peer = e.Address.Peer.String()
	}
	if e.Kind == control.SessionUp || e.Kind == control.SessionCircuit {
		a.Circuit = e.Status.String()
	}
	if e.Kind == control.SessionErrors {
		a.Errors = &api.Errors{HardwareOverruns: e.Errors.HardwareOverruns, BufferOverruns: e.Errors.BufferOverruns,
			TimeoutErrors: e.Errors.TimeoutErrors, AlignmentErrors: e.Errors.AlignmentErrors}
	}
	return a
}

// happened takes an event from the endpoint.
func (d *daemon) happened(e l2tpv3.Event) {
	d.events.tell(func() api.Event { return show(&e) })
	d.sessions.put(e)
}

// follow does to segments what happened to their sessions.
func (d *daemon) follow() {
	for all := d.sessions.take(); all != nil; all = d.sessions.take() {
		for i := range all {
			d.act(&all[i])
		}
	}
}

func (d *daemon) act(e *l2tpv3.Event) {
	switch e.Kind {
	case control.SessionAdded:
		d.adopt(e)
	case control.SessionRemoved:
		d.dismiss(e.Session)
	case control.SessionUp, control.SessionCircuit:
		if s := d.segment(e.Session); s != nil {
			s.carry(e.Status&wire.CircuitActive != 0)
		}
	case control.SessionDown:
		if s := d.segment(e.Session); s != nil && e.Port != nil && !e.Port.Up() {
			s.carry(false)
		}
	}
}

// adopt opens the segment of a session that was made for a peer.
func (d *daemon) adopt(e *l2tpv3.Event) {
	name := e.Tunnel
	if e.Template != "" {
		name = e.Template
	}
	t, c := d.configured(name, e.Circuit.Name)
	if c == nil || e.Port == nil {
		return
	}
	s, err := d.newSegment(t, c, e.Session)
	if err != nil {
		d.log.Error("the session joins nothing", "session", e.Session, "err", err)
		return // its circuit is not active
	}
	if s == nil {
		d.join(nil, e.Port)
		return
	}
	g, is := s.(*device)
	if is {
		g.pick = func() (string, error) { return d.pickTAP(g, c.TAP, e.Peer.HostName, e.EndID) }
	}
	d.mu.Lock()
	d.segments[e.Session] = s
	if former := d.closing[e.Session]; former != nil && is {
		g.former = former.gone
	}
	d.mu.Unlock()
	d.join(s, e.Port)
}

// pickTAP chooses the name of the TAP of a session that was made for a peer, and
// keeps it for the segment.
func (d *daemon) pickTAP(s *device, pattern, peer string, endID []byte) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, err := config.ExpandTAP(pattern, peer, wire.EndID(endID), func(name string) bool {
		if d.devices[name] != nil {
			return true
		}
		_, err := link.Read(name)
		return !errors.Is(err, fs.ErrNotExist)
	})
	if err == nil {
		d.devices[name] = []*device{s}
	}
	return name, err
}

// configured returns a tunnel and a session of it as the file has them.
func (d *daemon) configured(tunnel, session string) (*config.Tunnel, *config.Session) {
	for i := range d.file.Tunnels {
		t := &d.file.Tunnels[i]
		if t.Name != tunnel {
			continue
		}
		for j := range t.Sessions {
			if t.Sessions[j].Name == session {
				return t, &t.Sessions[j]
			}
		}
	}
	return nil, nil
}

// dismiss closes the segment of a session whose peer is gone.
func (d *daemon) dismiss(session string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.segments[session]
	if s == nil {
		return
	}
	delete(d.segments, session)
	gone, is := s.(*device)
	if !is {
		d.work.Go(s.close)
		return
	}
	former := d.closing[session]
	d.closing[session] = gone
	gone.stop()
	d.work.Go(func() {
		if former != nil {
			<-former.gone // for whose name it waits, and whoever waits for this one
		}
		d.room <- struct{}{}
		gone.close()
		<-d.room
		name := gone.config().Name
		defer close(gone.gone)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.closing[session] == gone {
			delete(d.closing, session)
		}
		if slices.Contains(d.devices[name], gone) {
			delete(d.devices, name)
			gone.log.Info("TAP closed, its session is gone", "tap", name)
		}
	})
}

// watchLinks takes from the kernel what becomes of devices, until the daemon closes.
func (d *daemon) watchLinks() {
	for d.ctx.Err() == nil {
		err := link.Watch(d.ctx, func(c link.Change) {
			d.mu.Lock()
			found := d.devices[c.Name]
			d.mu.Unlock()
			for _, g := range found {
				g.changed(c)
			}
		})
		if err != nil {
			d.log.Warn("devices are not watched, trying again", "err", err)
			pause(d.ctx, time.Second)
		}
	}
}

// do carries out a command.
func (d *daemon) do(command, name string) error {
	d.log.Info("command", "command", command, "name", name)
	switch command {
	case "up":
		return d.endpoint.Up(name)
	case "down":
		parted := d.part(name)
		err := d.endpoint.Down(name)
		if parted && strings.Contains(name, "/") {
			return nil // a call ends with its link
		}
		return err
	case "disconnect":
		return d.disconnect(name)
	}
	return d.endpoint.Roll(name)
}
