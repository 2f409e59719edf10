// Package daemon opens what a configuration names, keeps it open, and leaves all
// as it was found.
package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"spanwire/bridge/link"
	"spanwire/cmd/internal/api"
	"spanwire/cmd/internal/metrics"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/dataplane/user"
)

// lookEvery is how often the daemon looks at what changed by itself. It is also
// how often a reason for dropping frames is logged, and one for refusing control
// messages.
const lookEvery = time.Second

// A daemon is what Run has opened.
type daemon struct {
	file     *config.File
	log      *slog.Logger
	started  time.Time
	endpoint *l2tpv3.Endpoint

	ctx  context.Context // ends when nothing is to be opened any more
	stop context.CancelFunc
	work sync.WaitGroup // the segments

	events   events              // for those who watch
	sessions queue[l2tpv3.Event] // what the endpoint tells of L2TPv3
	calls    queue[l2tpv3.Version2Event]
	hangups  crew // of calls

	// room is for how many devices may be made, changed and closed at a time: the
	// kernel takes a moment for each, of which it spends most in waiting.
	room chan struct{}

	bridges []*link.Bridge

	reloading sync.Mutex

	mu       sync.Mutex
	profiles map[string]*profile    // of PPP, by name; they are there before the tunnels, and stay
	nases    map[string]*nas        // by the name of their RADIUS; too
	hubs     map[string]*hub        // by name; they are there before the tunnels, and stay
	serials  map[string]*serialPort // too
	segments map[string]segment     // by session
	closing  map[string]*device     // those of sessions that are gone
	devices  map[string][]*device   // by the device's name; of an interface several may have a VLAN each
}

// maxRoom is how many devices are worked at, at a time.
const maxRoom = 64

// Run opens bridges, TAPs and tunnels and keeps them until ctx ends. Then, or if
// one of them cannot be opened, it closes all and removes what it made.
func Run(ctx context.Context, file *config.File, log *slog.Logger) error {
	d := newDaemon(ctx, file, log)

	// The socket is first: of two daemons with one configuration the second is
	// refused here, before it touches what is the first one's. So it is the last
	// to go, too.
	server, err := api.Listen(file.Node.Control, api.Daemon{Status: d.status, Do: d.do, Reload: d.reload, Watch: d.events.watch, Stations: d.stations})
	if err != nil {
		return err
	}
	defer server.Close()
	defer d.close()
	log.Info("control socket open", "path", file.Node.Control, "version", Version())
	served := make(chan error, 2)
	go func() { served <- server.Serve() }()
	if at := file.Node.Metrics; at.IsValid() {
		m, err := metrics.Listen(at, d.status)
		if err != nil {
			return err
		}
		defer m.Close()
		log.Info("metrics open", "at", m.Addr().String())
		go func() { served <- m.Serve() }()
	}

	if err := d.open(); err != nil {
		return err
	}
	log.Info("ready", "tunnels", len(file.Tunnels), "sessions", len(d.endpoint.Glance().Sessions))
	d.notify(sd.SdNotifyReady)
	defer d.notify(sd.SdNotifyStopping)
	return d.keep(ctx, served)
}

// newDaemon returns a daemon that has opened nothing yet. Its end is close, not ctx's.
func newDaemon(ctx context.Context, file *config.File, log *slog.Logger) *daemon {
	d := &daemon{
		file:     file,
		log:      log,
		started:  time.Now(),
		endpoint: l2tpv3.New(user.New(), log, file.Control()),
		room:     make(chan struct{}, maxRoom),
		profiles: make(map[string]*profile),
		nases:    make(map[string]*nas),
		hubs:     make(map[string]*hub),
		serials:  make(map[string]*serialPort),
		segments: make(map[string]segment),
		closing:  make(map[string]*device),
		devices:  make(map[string][]*device),
	}
	d.ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	return d
}

// open opens all tunnels with what stands behind them.
func (d *daemon) open() error {
	d.sessions.init(d.ctx)
	d.endpoint.Notify(d.happened)
	d.work.Go(d.follow)
	d.calls.init(d.ctx)
	d.endpoint.NotifyVersion2(d.called)
	d.work.Go(d.answer)
	if err := d.openSerials(); err != nil {
		return err
	}
	if err := d.openHubs(); err != nil {
		return err
	}
	if err := d.openPPP(); err != nil {
		return err
	}
	for i := range d.file.Tunnels {
		if err := d.openTunnel(&d.file.Tunnels[i]); err != nil {
			return err
		}
	}
	d.work.Go(d.watchLinks)
	return nil
}

// openTunnel opens what sessions join before the tunnel that delivers to it. What a
// template is for is opened when a peer comes, but for its bridges.
func (d *daemon) openTunnel(t *config.Tunnel) error {
	var segments []segment
	var sessions []l2tpv3.SessionConfig
	for i := range t.Sessions {
		c := &t.Sessions[i]
		if err := d.openBridge(&c.Attachment); err != nil {
			return fmt.Errorf("tunnel %s: session %s: %w", t.Name, c.Name, err)
		}
		sessions = append(sessions, c.SessionConfig)
		if t.Dynamic != nil && (t.Dynamic.Control.Many || c.Circuit.AnyEndID) {
			continue
		}
		s, err := d.openSegment(t, c)
		if err != nil {
			return err
		}
		segments = append(segments, s)
	}
	ports, err := d.addTunnel(t, sessions)
	if err != nil {
		return err
	}
	for i, port := range ports {
		d.join(segments[i], port)
	}
	return nil
}

// addTunnel gives a tunnel to the endpoint.
func (d *daemon) addTunnel(t *config.Tunnel, sessions []l2tpv3.SessionConfig) ([]*l2tpv3.Session, error) {
	v, both := t.Version2, t.Version2 != nil && t.Dynamic != nil
	if v != nil && !(both && v.Control.Dial) {
		if err := d.endpoint.AddVersion2(v.Version2Config); err != nil || !both {
			return nil, err
		}
	}
	if t.Dynamic != nil {
		add := d.endpoint.AddDynamic
		if both && v.Control.Dial {
			add = func(cfg l2tpv3.DynamicConfig) (*l2tpv3.Dynamic, error) {
				return d.endpoint.AddAuto(cfg, v.Version2Config)
			}
		}
		tunnel, err := add(*t.Dynamic)
		if err != nil {
			return nil, err
		}
		return tunnel.Sessions(), nil
	}
	tunnel, err := d.endpoint.AddTunnel(t.TunnelConfig, sessions)
	if err != nil {
		return nil, err
	}
	return tunnel.Sessions(), nil
}

// openBridge opens a bridge unless an earlier session has.
func (d *daemon) openBridge(a *config.Attachment) error {
	name := a.Bridge
	if name == "" || slices.ContainsFunc(d.bridges, func(b *link.Bridge) bool { return b.Name() == name }) {
		return nil
	}
	open := link.OpenBridge
	if d.file.Filters(name) {
		open = link.OpenVLANBridge
	}
	b, err := open(name, d.file.Node.Hostname)
	if err != nil {
		return err
	}
	d.bridges = append(d.bridges, b)
	d.log.Info("bridge open", "bridge", name, "ours", b.Ours())
	return nil
}

// keep does what is to be done while all is open.
func (d *daemon) keep(ctx context.Context, served <-chan error) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	alive := make(<-chan time.Time) // when systemd wants to know that we live
	if limit, err := sd.SdWatchdogEnabled(false); err != nil {
		d.log.Warn("watchdog not fed", "err", err)
	} else if limit > 0 {
		ticker := time.NewTicker(limit / 2)
		defer ticker.Stop()
		alive = ticker.C
	}
	watched := newLook(d)
	var told string
	for {
		select {
		case <-ctx.Done():
			d.log.Info("stopping")
			return nil
		case err := <-served:
			return err
		case <-alive:
			d.notify(sd.SdNotifyWatchdog)
		case now := <-look.C:
			if !watched.due() {
				continue
			}
			g := d.endpoint.Glance()
			watched.look(&g, now)
			if summary := fmt.Sprintf("%d of %d tunnels up", g.Up, g.Tunnels); summary != told {
				d.notify("STATUS=" + summary)
				told = summary
			}
		}
	}
}

// notify tells systemd, if that has started us.
func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd not notified", "state", state, "err", err)
	}
}

// closeSegments closes all that sessions and hubs have joined.
func (d *daemon) closeSegments() {
	d.mu.Lock()
	segments := slices.Collect(maps.Values(d.segments))
	d.mu.Unlock()
	for _, h := range d.hubs {
		for _, p := range h.ports {
			segments = append(segments, p)
		}
	}
	var work sync.WaitGroup
	for _, s := range segments {
		d.room <- struct{}{}
		work.Go(func() {
			s.close()
			<-d.room
		})
	}
	work.Wait()
}

// close closes in the reverse order of opening.
func (d *daemon) close() {
	d.closePPP()
	d.endpoint.Close() // which tells the peers, so it comes before what they joined
	d.stop()
	d.closeSegments()
	for _, p := range d.serials {
		if err := p.close(); err != nil {
			p.log.Warn("closing the serial line", "err", err)
		}
	}
	d.work.Wait()
	for _, b := range slices.Backward(d.bridges) {
		if err := b.Close(); err != nil {
			d.log.Warn("bridge not left as found", "bridge", b.Name(), "err", err)
		}
	}
	d.log.Info("closed")
}
