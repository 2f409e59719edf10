package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"spanwire/bridge"
	"spanwire/bridge/tap"
	"spanwire/config"
	"spanwire/l2tpv3"
)

// How long a TAP that is lost stays so at least, which doubles up to the second
// while it cannot be opened.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// FirstMTU returns the MTU that a session's TAP has at first: the configured one
// or, where the path is to decide, what fits the usual path of 1500 octets until
// more is known.
func FirstMTU(t *config.Tunnel, s *config.Session) int {
	if s.MTU != 0 {
		return s.MTU
	}
	v6, known := t.V6()
	p := s.Assumed()
	return l2tpv3.InterfaceMTU(1500, &p, t.Encap(), v6 || !known)
}

// A segment is the local end of a session: a TAP, which is opened again when it
// is lost.
type segment struct {
	name     string // the session's
	log      *slog.Logger
	auto     bool // the path decides on the MTU
	fragment bool // what does not fit the path goes in pieces
	follow   bool // the TAP has carrier only while the peer's end of the session has
	session  *l2tpv3.Session

	telling sync.Mutex // what is told last is what is
	tell    func(up bool)
	up      bool // as an administrator has it

	ctx  context.Context // ends with the segment
	stop context.CancelFunc

	mu      sync.Mutex
	cfg     tap.Config // with the MTU that it has, or shall have when it is back
	tap     *tap.TAP   // nil: lost
	carrier bool
	closed  bool
}

// newSegment returns the segment of a session, whose TAP has this name.
func (d *daemon) newSegment(t *config.Tunnel, s *config.Session, name, tapName string) *segment {
	mac := s.MAC
	if mac == nil {
		mac = tap.MAC(d.file.Node.Hostname, name)
	}
	g := &segment{
		name:     name,
		log:      d.log.With("session", name, "tap", tapName),
		auto:     s.MTU == 0,
		fragment: t.Socket.Fragment,
		follow:   s.Circuit != nil && s.Carrier == "follow",
		cfg: tap.Config{
			Name:      tapName,
			MAC:       mac,
			MTU:       FirstMTU(t, s),
			Bridge:    s.Bridge,
			Addresses: s.Addresses,
			Alias:     "spanwire " + name,
		},
	}
	g.carrier = !g.follow
	g.ctx, g.stop = context.WithCancel(d.ctx)
	return g
}

// open opens the TAP, unless the segment is closed.
func (s *segment) open() error {
	err := s.openTAP()
	if err == nil {
		s.administrate(true) // as tap.Open leaves it
	}
	return err
}

func (s *segment) openTAP() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	t, err := tap.Open(s.cfg)
	if err != nil {
		return err
	}
	s.tap = t
	s.applyCarrier()
	s.log.Info("TAP open", "bridge", s.cfg.Bridge, "mtu", s.cfg.MTU, "mac", s.cfg.MAC.String())
	return nil
}

// join joins the segment with the session. tell is told whether an administrator
// has the TAP up, now and whenever that changes; nil: nobody wants to know.
func (s *segment) join(session *l2tpv3.Session, tell func(up bool)) {
	s.session = session
	bridge.Patch(s.tap, session)
	session.NotifyMTU(s.pathFits)
	if tell == nil {
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.tell = tell
	tell(s.up)
}

// carry gives the TAP carrier, or takes it away.
func (s *segment) carry(carrier bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.follow || carrier == s.carrier {
		return
	}
	s.carrier = carrier
	s.applyCarrier()
}

// applyCarrier has the TAP show what the peer's end of the session has.
func (s *segment) applyCarrier() {
	if s.tap == nil || !s.follow {
		return
	}
	if err := s.tap.SetCarrier(s.carrier); err != nil {
		s.log.Warn("carrier not set", "carrier", s.carrier, "err", err)
	}
}

// administrate takes whether an administrator has the TAP up: that is the circuit
// whose status the peer is told.
func (s *segment) administrate(up bool) {
	s.telling.Lock()
	defer s.telling.Unlock()
	if up == s.up {
		return
	}
	s.up = up
	if s.tell != nil {
		s.tell(up)
	}
}

// pathFits takes the largest MTU whose frames the path carries whole.
func (s *segment) pathFits(mtu int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.auto && mtu < s.cfg.MTU && !s.fragment:
		s.log.Warn("the configured MTU is more than the path carries: larger frames are dropped", "mtu", s.cfg.MTU, "path_carries", mtu)
		return
	case !s.auto || mtu == s.cfg.MTU:
		return
	}
	s.log.Info("MTU follows the path", "was", s.cfg.MTU, "mtu", mtu)
	s.cfg.MTU = mtu
	if s.tap == nil {
		return
	}
	if err := s.tap.SetMTU(mtu); err != nil {
		s.log.Warn("MTU not set", "mtu", mtu, "err", err)
	}
}

// run reads the TAP until the segment is closed, and opens it again when somebody
// took it away.
func (s *segment) run() {
	ctx, wait := s.ctx, retryFirst
	for {
		began := time.Now()
		err := s.tap.Run()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > retryMost {
			wait = retryFirst
		}
		s.log.Warn("TAP lost, opening it again", "err", err, "in", wait.String())
		s.lose()
		s.administrate(false)
		for pause(ctx, wait) {
			wait = min(2*wait, retryMost)
			if err = s.open(); err == nil {
				break
			}
			s.log.Warn("TAP not opened, trying again", "err", err, "in", wait.String())
		}
		if ctx.Err() != nil {
			return
		}
		bridge.Patch(s.tap, s.session)
	}
}

// lose gives up a TAP that does not work any more.
func (s *segment) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tap != nil {
		s.tap.Close() // its error: the device is gone, which is why we are here
		s.tap = nil
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// mtu returns the TAP's MTU.
func (s *segment) mtu() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.MTU
}

// close removes the TAP for good.
func (s *segment) close() {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.tap == nil {
		return
	}
	if err := s.tap.Close(); err != nil {
		s.log.Warn("closing the TAP", "err", err)
	}
}
