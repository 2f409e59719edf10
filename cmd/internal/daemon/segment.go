package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"spanwire/bridge"
	"spanwire/bridge/link"
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
// is lost. What it shall be is noted at once, by whoever says so; that the device
// becomes so is waited for by others, for the kernel may take its time.
type segment struct {
	daemon   *daemon
	name     string // the session's
	log      *slog.Logger
	auto     bool // the path decides on the MTU
	fragment bool // what does not fit the path goes in pieces
	follow   bool // the TAP has carrier only while the peer's end of the session has
	session  *l2tpv3.Session

	// pick chooses a name for the TAP when it is first opened, nil: it has one.
	// former is closed when nothing is left of the session's former segment.
	pick   func() (string, error)
	former <-chan struct{}

	telling sync.Mutex // what is told last is what is
	tell    func(up bool)
	up      bool // as an administrator has it

	ctx  context.Context // ends with the segment
	stop context.CancelFunc
	gone chan struct{} // closed when there is nothing left of it

	mu       sync.Mutex // which nobody holds for long
	cfg      tap.Config // with the MTU that it has, or shall have
	carrier  bool       // that it shall have
	settling bool       // somebody waits for the device
	offload  string     // of the TAP, empty: it was never there

	device sync.Mutex // held while the device is made, changed or closed
	tap    *tap.TAP   // nil: lost
	has    settled
	closed bool
}

// A settled is what a TAP has become.
type settled struct {
	carrier bool
	mtu     int
}

// newSegment returns the segment of a session.
func (d *daemon) newSegment(t *config.Tunnel, s *config.Session, name string) *segment {
	mac := s.MAC
	if mac == nil {
		mac = tap.MAC(d.file.Node.Hostname, name)
	}
	g := &segment{
		daemon:   d,
		name:     name,
		log:      d.log.With("session", name),
		auto:     s.MTU == 0,
		fragment: t.Socket.Fragment,
		follow:   s.Circuit != nil && s.Carrier == "follow",
		gone:     make(chan struct{}),
		cfg: tap.Config{
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
	opened, err := s.openTAP()
	if opened {
		s.administrate(true) // as tap.Open leaves it
	}
	return err
}

func (s *segment) openTAP() (opened bool, _ error) {
	s.daemon.room <- struct{}{}
	defer func() { <-s.daemon.room }()
	s.device.Lock()
	defer s.device.Unlock()
	if s.closed {
		return false, nil
	}
	if s.pick != nil {
		name, err := s.pick()
		if err != nil {
			return false, err
		}
		s.mu.Lock()
		s.cfg.Name = name
		s.mu.Unlock()
		s.pick = nil
	}
	cfg := s.config()
	t, err := tap.Open(cfg)
	if err != nil {
		return false, err
	}
	s.tap, s.has = t, settled{carrier: true, mtu: cfg.MTU}
	s.mu.Lock()
	s.offload = t.Offload()
	s.mu.Unlock()
	s.log.Info("TAP open", "tap", cfg.Name, "bridge", cfg.Bridge, "mtu", cfg.MTU, "mac", cfg.MAC.String())
	s.become()
	return true, nil
}

// config returns how the TAP shall be.
func (s *segment) config() tap.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// superFrames returns the TAP's Offload.
func (s *segment) superFrames() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offload
}

// join joins the segment with the session. tell is told whether an administrator
// has the TAP up, now and whenever that changes; nil: nobody wants to know.
func (s *segment) join(session *l2tpv3.Session, tell func(up bool)) {
	s.session = session
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
	if s.follow && carrier != s.carrier {
		s.carrier = carrier
		s.settle()
	}
}

// administrate takes whether an administrator has the TAP up: that is the circuit
// whose status the peer is told.
func (s *segment) administrate(up bool) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.enter(up)
}

// administrated takes it from the kernel.
func (s *segment) administrated(name string) {
	s.telling.Lock()
	defer s.telling.Unlock()
	state, err := link.Read(name)
	s.enter(err == nil && state.Up)
}

func (s *segment) enter(up bool) {
	if up == s.up || s.ctx.Err() != nil {
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
	case s.auto && mtu != s.cfg.MTU:
		s.log.Info("MTU follows the path", "was", s.cfg.MTU, "mtu", mtu)
		s.cfg.MTU = mtu
		s.settle()
	}
}

// settle has the device become what it shall be, soon, by a goroutine of its own.
func (s *segment) settle() {
	if s.settling || s.ctx.Err() != nil {
		return
	}
	s.settling = true
	s.daemon.work.Go(func() {
		s.daemon.room <- struct{}{}
		defer func() { <-s.daemon.room }()
		s.device.Lock()
		defer s.device.Unlock()
		s.become()
	})
}

// become makes the device what it shall be by the time that it is.
func (s *segment) become() {
	for {
		s.mu.Lock()
		want := settled{s.carrier, s.cfg.MTU}
		if want == s.has || s.tap == nil || s.closed {
			s.settling = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if want.mtu != s.has.mtu {
			if err := s.tap.SetMTU(want.mtu); err != nil {
				s.log.Warn("MTU not set", "mtu", want.mtu, "err", err)
			}
		}
		if want.carrier != s.has.carrier {
			if err := s.tap.SetCarrier(want.carrier); err != nil {
				s.log.Warn("carrier not set", "carrier", want.carrier, "err", err)
			}
		}
		s.has = want
	}
}

// run reads the TAP until the segment is closed, opens it where it is not open yet,
// and again when somebody took it away.
func (s *segment) run() {
	ctx, wait := s.ctx, retryFirst
	if s.former != nil {
		select {
		case <-s.former:
		case <-ctx.Done():
			return
		}
	}
	for {
		for s.tap == nil {
			err := s.open()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.log.Warn("TAP not opened, trying again", "err", err, "in", wait.String())
				if !pause(ctx, wait) {
					return
				}
				wait = min(2*wait, retryMost)
			}
		}
		bridge.Patch(s.tap, s.session)
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
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, retryMost)
	}
}

// lose gives up a TAP that does not work any more.
func (s *segment) lose() {
	s.device.Lock()
	defer s.device.Unlock()
	if s.tap != nil && !s.closed {
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

// close removes the TAP for good.
func (s *segment) close() {
	s.stop()
	s.device.Lock()
	defer s.device.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.tap == nil {
		return
	}
	if err := s.tap.Close(); err != nil {
		s.log.Warn("closing the TAP", "err", err)
	}
}
