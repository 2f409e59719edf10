package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"spanwire/bridge"
	"spanwire/bridge/link"
	"spanwire/bridge/packet"
	"spanwire/bridge/tap"
	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
)

// How long a device that is lost stays so at least, which doubles up to the second
// while it cannot be opened.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// A port is a device that frames go in and out through.
type port interface {
	bridge.Port
	Run() error // until it is closed or lost
	Close() error
}

// A device is a segment of its own: a TAP or an interface, which is opened again when
// it is lost. What it shall be is noted at once, by whoever says so; that it becomes
// so is waited for by others, for the kernel may take its time.
type device struct {
	daemon   *daemon
	name     string // the session's, or that of the hub's port
	log      *slog.Logger
	kind     config.Kind // TAP or Interface
	circuit  *ethernet.Circuit
	joined   *config.Attachment
	grows    int  // octets by which frames grow, by tags put on
	auto     bool // the path decides on the MTU
	fragment bool // what does not fit the path goes in pieces
	follow   bool // the TAP has carrier only while the peer's end of the session has

	// connect joins the device, once it is open, with what is beyond it. What it
	// returns parts them when the device is lost.
	connect func(bridge.Port) (part func())

	// pick chooses a name for the TAP when it is first opened, nil: it has one.
	// former is closed when nothing is left of the session's former segment.
	pick   func() (string, error)
	former <-chan struct{}

	telling sync.Mutex // what is told last is what is
	tell    func(up bool)
	logged  bool // that it is not up

	ctx  context.Context // ends with the segment
	stop context.CancelFunc
	gone chan struct{} // closed when there is nothing left of it
	news chan struct{} // of an interface, for who waits for it

	mu       sync.Mutex // which nobody holds for long
	up       bool       // as an administrator has it, and of an interface that it has carrier
	cfg      tap.Config // with the MTU that it has, or shall have; of an interface the name and the MTU
	fits     int        // the MTU that the path carries, 0: not known
	warned   [2]int     // of which MTU of the device, that of which path is less
	carrier  bool       // that it shall have
	settling bool       // somebody waits for the device
	offload  string     // of the TAP, empty: it was never there
	counting port       // the open port, and what stands before it
	nsp      *bridge.NSP
	past     api.Counters // of former ports

	handling sync.Mutex // held while the device is made, changed or closed
	port     port       // nil: lost
	part     func()     // from what is beyond it
	has      settled
	closed   bool
}

// A settled is what a TAP has become.
type settled struct {
	carrier bool
	mtu     int
}

// newDevice returns a segment that is a device. name is the session's, or that of the
// hub's port.
func (d *daemon) newDevice(a *config.Attachment, name string, mtu int) (*device, error) {
	circuit, err := ethernet.New(a.NSP())
	if err != nil {
		return nil, err
	}
	mac := a.MAC
	if mac == nil {
		mac = tap.MAC(d.file.Node.Hostname, name)
	}
	g := &device{
		daemon:  d,
		name:    name,
		log:     d.log.With("session", name),
		kind:    a.Kind,
		joined:  a,
		circuit: circuit,
		grows:   growth(a),
		auto:    a.MTU == 0,
		gone:    make(chan struct{}),
		news:    make(chan struct{}, 1),
		carrier: true,
		cfg: tap.Config{
			Name:      a.TAP,
			MAC:       mac,
			MTU:       mtu,
			Bridge:    a.Bridge,
			VLANs:     a.VLANs(),
			Addresses: a.Addresses,
			Alias:     "spanwire " + name,
		},
	}
	if a.Kind == config.Interface {
		g.cfg.Name, g.cfg.MTU = a.Interface, 0 // which is its owner's business
	}
	g.ctx, g.stop = context.WithCancel(d.ctx)
	return g, nil
}

// growth returns by how many octets frames of a segment, or of a hub, grow on the
// pseudowire, or those of a hub's own port in the hub.
func growth(a *config.Attachment) int {
	return ethernet.TagLen * max(0, len(a.Ethernet.Wire)-len(a.Ethernet.Segment))
}

// open opens the device, unless the segment is closed.
func (s *device) open() error {
	if err := s.openPort(); err != nil {
		return err
	}
	if s.kind == config.Interface {
		s.look() // it may have changed before we could be told
	} else {
		s.administrate(true) // as tap.Open leaves it
	}
	return nil
}

func (s *device) openPort() error {
	s.daemon.room <- struct{}{}
	defer func() { <-s.daemon.room }()
	s.handling.Lock()
	defer s.handling.Unlock()
	if s.closed {
		return nil
	}
	if s.pick != nil {
		name, err := s.pick()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.cfg.Name = name
		s.mu.Unlock()
		s.pick = nil
	}
	if s.kind == config.Interface {
		return s.openInterface()
	}
	return s.openTAP()
}

func (s *device) openTAP() error {
	cfg := s.config()
	t, err := tap.Open(cfg)
	if err != nil {
		return err
	}
	s.has = settled{carrier: true, mtu: cfg.MTU}
	s.opened(t, t.Offload())
	s.log.Info("TAP open", "tap", cfg.Name, "bridge", cfg.Bridge, "mtu", cfg.MTU, "mac", cfg.MAC.String())
	s.become()
	return nil
}

func (s *device) openInterface() error {
	name := s.config().Name
	p, err := packet.Open(packet.Config{Interface: name, VLAN: s.joined.Ethernet.Segment})
	if err != nil {
		return err
	}
	state := p.State()
	s.opened(p, "")
	s.log.Info("interface taken", "interface", name, "vlan", config.VLAN(s.joined.Ethernet.Segment), "mtu", state.MTU, "carrier", state.Running)
	if addresses(name) {
		// The frames with our own tunnel's packets may be among those that it takes.
		s.log.Warn("the interface has addresses, and what is for this machine is taken too", "interface", name, "want", "ip addr flush dev "+name)
	}
	return nil
}

// addresses reports whether the machine is spoken to at an interface, other than by
// its neighbours.
func addresses(name string) bool {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return false
	}
	all, err := i.Addrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		n, is := a.(*net.IPNet)
		return is && !n.IP.IsLinkLocalUnicast()
	})
}

// opened takes a port that was opened.
func (s *device) opened(p port, offload string) {
	s.port = p
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offload, s.counting = offload, p
	s.nsp = bridge.NewNSP(p, s.circuit)
	if p, is := p.(*packet.Port); is {
		s.cfg.MTU = p.State().MTU
		s.warn()
	}
}

// config returns how the device shall be.
func (s *device) config() tap.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

func (s *device) show() api.Joined {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := api.Joined{MTU: s.cfg.MTU, State: api.Down, Segment: s.count()}
	if s.kind == config.Interface {
		a.Interface = s.cfg.Name
	} else {
		a.TAP, a.Bridge, a.Offload = s.cfg.Name, s.cfg.Bridge, s.offload
	}
	switch {
	case s.counting == nil:
		a.State = api.Missing
	case s.up:
		a.State = api.Up
	}
	showTags(&a, s.joined)
	return a
}

// showTags tells which tags frames have on both sides.
func showTags(a *api.Joined, joined *config.Attachment) {
	a.VLAN, a.PeerVLAN = config.VLAN(joined.Ethernet.Segment), config.VLAN(joined.Ethernet.Wire)
}

// count returns what the device's ports have counted. The caller holds s.mu.
func (s *device) count() api.Counters {
	sum := api.Counters{}
	sum.Add(s.past)
	if s.nsp == nil {
		return sum
	}
	drops := s.nsp.Drops()
	addDrops(sum, &drops)
	switch p := s.counting.(type) {
	case *tap.TAP:
		n := p.Stats()
		sum.Add(api.Counters{"in_frames": n.InFrames, "in_octets": n.InOctets, "in_errors": n.InErrors,
			"out_frames": n.OutFrames, "out_octets": n.OutOctets, "out_errors": n.OutErrors})
	case *packet.Port:
		n := p.Stats()
		sum.Add(api.Counters{"in_frames": n.InFrames, "in_octets": n.InOctets, "in_errors": n.InErrors, "in_lost": n.InLost,
			"out_frames": n.OutFrames, "out_octets": n.OutOctets, "out_too_big": n.OutTooBig, "out_errors": n.OutErrors})
	}
	return sum
}

// drops returns those of frames that were of no VLAN that is ours, or that the device
// gave and nobody could cut.
func (s *device) drops() (drops [pseudowire.Drops]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nsp != nil {
		drops = s.nsp.Drops()
	}
	return drops
}

// join joins the segment with the session. tell is told whether the segment is up,
// now and whenever that changes; nil: nobody wants to know.
func (s *device) join(session *l2tpv3.Session, tell func(up bool)) {
	s.connect = func(p bridge.Port) func() {
		bridge.Patch(p, session)
		return func() {}
	}
	session.NotifyMTU(s.pathFits)
	s.telling.Lock()
	if s.tell = tell; tell != nil {
		tell(s.isUp())
	}
	s.telling.Unlock()
	s.daemon.work.Go(s.run)
}

// carry gives the TAP carrier, or takes it away.
func (s *device) carry(carrier bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.follow && carrier != s.carrier {
		s.carrier = carrier
		s.settle()
	}
}

// administrate takes whether the device is up: that is the circuit whose status the
// peer is told.
func (s *device) administrate(up bool) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.note(up)
}

// changed takes what the kernel tells of the device.
func (s *device) changed(c link.Change) {
	if s.kind == config.TAP && c.Up && !c.Deleted {
		s.administrate(true)
		return
	}
	s.look()
}

// look takes how the device is at this moment. What was told of it may be older: one
// that was just made was down before it was up.
func (s *device) look() {
	s.telling.Lock()
	defer s.telling.Unlock()
	state, err := link.Read(s.config().Name)
	up := err == nil && state.Up
	if s.kind == config.Interface {
		up = err == nil && s.follows(state)
	}
	s.note(up)
}

// follows has an interface's port know what became of it, and reports whether frames
// may pass.
func (s *device) follows(state link.State) (running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, is := s.counting.(*packet.Port)
	if is && p.State().Index == state.Index {
		p.Follow(state)
		s.cfg.MTU = state.MTU
		s.warn()
		return state.Running
	}
	if is {
		p.Close() // the name is another device's by now, which run opens
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
	return false
}

func (s *device) isUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

// note takes whether the device is up. The caller holds s.telling.
func (s *device) note(up bool) {
	if s.ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	changed, there := up != s.up, s.counting != nil
	s.up = up
	s.mu.Unlock()
	switch {
	case up && s.logged:
		s.log.Info(s.what() + " up")
	case !up && changed && there: // else it is lost, which was said
		s.log.Warn(s.what() + " down")
	}
	s.logged = !up
	if changed && s.tell != nil {
		s.tell(up)
	}
}

// adapts reports whether the device's MTU is what the path carries.
func (s *device) adapts() bool { return s.auto && s.kind == config.TAP }

// pathFits takes the largest MTU whose frames the path carries whole.
func (s *device) pathFits(mtu int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fits = mtu - s.grows
	switch {
	case !s.adapts():
		s.warn()
	case s.fits != s.cfg.MTU:
		s.log.Info("MTU follows the path", "was", s.cfg.MTU, "mtu", s.fits)
		s.cfg.MTU = s.fits
		s.settle()
	}
}

// warn tells, once, that frames of the device are too large for the path. The caller
// holds s.mu.
func (s *device) warn() {
	mtus := [2]int{s.cfg.MTU, s.fits}
	if s.fits == 0 || s.fits >= s.cfg.MTU || s.fragment || mtus == s.warned {
		return
	}
	s.warned = mtus
	s.log.Warn("the device's MTU is more than the path carries: larger frames are dropped", "device", s.cfg.Name, "mtu", s.cfg.MTU, "path_carries", s.fits)
}

// settle has the device become what it shall be, soon, by a goroutine of its own.
func (s *device) settle() {
	if s.settling || s.ctx.Err() != nil {
		return
	}
	s.settling = true
	s.daemon.work.Go(func() {
		s.daemon.room <- struct{}{}
		defer func() { <-s.daemon.room }()
		s.handling.Lock()
		defer s.handling.Unlock()
		s.become()
	})
}

// become makes a TAP what it shall be by the time that it is.
func (s *device) become() {
	t, open := s.port.(*tap.TAP)
	for {
		s.mu.Lock()
		want := settled{s.carrier, s.cfg.MTU}
		if want == s.has || !open || s.closed {
			s.settling = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if want.mtu != s.has.mtu {
			if err := t.SetMTU(want.mtu); err != nil {
				s.log.Warn("MTU not set", "mtu", want.mtu, "err", err)
			}
		}
		if want.carrier != s.has.carrier {
			if err := t.SetCarrier(want.carrier); err != nil {
				s.log.Warn("carrier not set", "carrier", want.carrier, "err", err)
			}
		}
		s.has = want
	}
}

// run hands on what comes in through the device until the segment is closed, opens it
// where it is not open yet, and again when somebody took it away.
func (s *device) run() {
	ctx, wait := s.ctx, retryFirst
	if s.former != nil {
		select {
		case <-s.former:
		case <-ctx.Done():
			return
		}
	}
	for {
		for s.port == nil {
			err := s.open()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.log.Warn("device not opened, trying again", "err", err, "in", wait.String())
				if !s.pause(wait) {
					return
				}
				wait = min(2*wait, retryMost)
			}
		}
		s.part = s.connect(s.nsp)
		began := time.Now()
		err := s.port.Run()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > retryMost {
			wait = retryFirst
		}
		if err == nil { // see follows
			err = errors.New("its name is another device's")
		}
		s.log.Warn(s.what()+" lost, opening it again", "err", err, "in", wait.String())
		s.lose()
		s.administrate(false)
		if !s.pause(wait) {
			return
		}
		wait = min(2*wait, retryMost)
	}
}

func (s *device) what() string {
	if s.kind == config.Interface {
		return "interface"
	}
	return "TAP"
}

// lose gives up a device that does not work any more.
func (s *device) lose() {
	s.handling.Lock()
	defer s.handling.Unlock()
	if s.port == nil || s.closed {
		return
	}
	s.part()
	s.port.Close() // its error: the device is gone, which is why we are here
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = s.count()
	s.port, s.counting, s.nsp = nil, nil, nil
}

// pause waits, for an interface no longer than until there is news of it, and reports
// whether the segment goes on.
func (s *device) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
		return false
	case <-s.news:
	case <-timer.C:
	}
	return true
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

// close gives the device up for good.
func (s *device) close() {
	s.stop()
	s.handling.Lock()
	defer s.handling.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.port == nil {
		return
	}
	if err := s.port.Close(); err != nil {
		s.log.Warn("closing the "+s.what(), "err", err)
	}
}
