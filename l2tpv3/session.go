package l2tpv3

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A Session is one pseudowire of a tunnel, and by its methods a port. A static one
// has a Link for good. A dynamic one has none while it is not established, and two
// for a moment when one session takes over from another.
type Session struct {
	name    string
	circuit *Circuit // of a dynamic one
	endID   []byte   // its Remote End ID

	told repeated // what was logged of it; the channel's

	sending  atomic.Pointer[dataplane.Link] // nil: nothing is sent now
	paused   atomic.Bool                    // the peer's circuit is not active
	noPeer   atomic.Uint64                  // frames dropped meanwhile
	inactive atomic.Uint64

	mu      sync.Mutex
	links   []dataplane.Link // open ones
	active  dataplane.Link   // the one of them to send by; nil: none
	params  dataplane.Params // of the newest
	past    dataplane.Stats  // of the closed ones
	deliver func([]pseudowire.Frame) int
	mtu     int
	notify  func(mtu int)
	conn    *transport.Conn
	path    *transport.Path
}

// static returns a session that has its Link for good.
func static(l dataplane.Link, p dataplane.Params) *Session {
	s := &Session{name: p.Name}
	s.add(l, p)
	s.use(l, false)
	return s
}

// Name returns the session's name, "paris/office".
func (s *Session) Name() string { return s.name }

// Circuit returns what a dynamic session is bound to, nil for a static one.
func (s *Session) Circuit() *Circuit { return s.circuit }

// EndID returns the Remote End ID of a dynamic session.
func (s *Session) EndID() []byte { return s.endID }

// Send sends frames to the peer, see dataplane.Link.
func (s *Session) Send(frames []pseudowire.Frame) int {
	if l := s.sending.Load(); l != nil {
		return (*l).Send(frames)
	}
	s.refuse(len(frames))
	return 0
}

// refuse counts frames that cannot be sent now.
func (s *Session) refuse(n int) {
	if s.paused.Load() {
		s.inactive.Add(uint64(n))
	} else {
		s.noPeer.Add(uint64(n))
	}
}

// Attach says where frames from the peer go, see dataplane.Link.
func (s *Session) Attach(deliver func([]pseudowire.Frame) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver = deliver
	for _, l := range s.links {
		l.Attach(deliver)
	}
}

// NotifyMTU has notify called with the largest MTU of an Ethernet interface whose
// frames the path carries whole, each with one 802.1Q tag: now if it is known,
// and whenever it changes. It must not hold its caller up.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	mtu := InterfaceMTU(path, &s.params, e, v6)
	if mtu == s.mtu || len(s.links) == 0 {
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

// add takes a Link that may receive from now on.
func (s *Session) add(l dataplane.Link, p dataplane.Params) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.Attach(s.deliver)
	if s.path != nil {
		l.SetPath(s.conn, s.path)
	}
	s.links, s.params = append(s.links, l), p
}

// use makes a Link the one that frames are sent by.
func (s *Session) use(l dataplane.Link, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = l
	s.pause(paused)
}

// pause stops sending while the peer's circuit is not active.
func (s *Session) pause(paused bool) {
	s.paused.Store(paused)
	if s.active != nil && !paused {
		l := s.active
		s.sending.Store(&l)
	} else {
		s.sending.Store(nil)
	}
}

// setPaused is pause for whoever holds no lock.
func (s *Session) setPaused(paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pause(paused)
}

// drop closes a Link. Without one the session sends and receives nothing.
func (s *Session) drop(l dataplane.Link) {
	s.mu.Lock()
	if s.active == l {
		s.active = nil
		s.pause(false)
	}
	s.mu.Unlock()
	l.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.links, l); i >= 0 {
		s.links = slices.Delete(s.links, i, i+1)
		stats := l.Stats()
		s.past.Add(&stats)
	}
}

// setPath says how the peer is reached.
func (s *Session) setPath(conn *transport.Conn, path *transport.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.path = conn, path
	for _, l := range s.links {
		l.SetPath(conn, path)
	}
}

// stats returns the counters of all Links that the session had.
func (s *Session) stats() dataplane.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum()
}

// lastReceived returns when a frame last came by any of the Links.
func (s *Session) lastReceived() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.past.LastReceived
	for _, l := range s.links {
		if at := l.LastReceived(); at.After(last) {
			last = at
		}
	}
	return last
}

// Drops returns what was dropped of all that came or was to go, and the ID of the
// newest session that is or was established: a dynamic one has another each time.
func (s *Session) Drops() (drops [pseudowire.Drops]uint64, sessionID uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum().Drops, s.params.SessionID
}

func (s *Session) sum() dataplane.Stats {
	stats := s.past
	for _, l := range s.links {
		one := l.Stats()
		stats.Add(&one)
	}
	stats.Drops[pseudowire.DropNoPeer] += s.noPeer.Load()
	stats.Drops[pseudowire.DropInactive] += s.inactive.Load()
	return stats
}

// Up reports whether there is a Link to send by.
func (s *Session) Up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active != nil
}

// close closes all Links.
func (s *Session) close() {
	s.mu.Lock()
	links := slices.Clone(s.links)
	s.mu.Unlock()
	for _, l := range links {
		s.drop(l)
	}
}
