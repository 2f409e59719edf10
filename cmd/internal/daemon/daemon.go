// Package daemon opens what a configuration names, keeps it open, and leaves all
// as it was found.
package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"spanwire/bridge/link"
	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/dataplane/user"
)

// lookEvery is how often the daemon looks at what changed by itself. It is also
// how often a reason for dropping frames is logged.
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

	mu       sync.Mutex // for status, which may be asked while we open
	bridges  []*link.Bridge
	segments []*segment
}

// Run opens bridges, TAPs and tunnels and keeps them until ctx ends. Then, or if
// one of them cannot be opened, it closes all and removes what it made.
func Run(ctx context.Context, file *config.File, log *slog.Logger) error {
	d := &daemon{
		file:     file,
		log:      log,
		started:  time.Now(),
		endpoint: l2tpv3.New(user.New(), log),
	}
	d.ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))

	// The socket is first: of two daemons with one configuration the second is
	// refused here, before it touches what is the first one's. So it is the last
	// to go, too.
	server, err := api.Listen(file.Node.Control, d.status)
	if err != nil {
		return err
	}
	defer server.Close()
	defer d.close()
	log.Info("control socket open", "path", file.Node.Control, "version", Version())
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()

	if err := d.open(); err != nil {
		return err
	}
	log.Info("ready", "tunnels", len(file.Tunnels), "sessions", len(d.segments))
	d.notify(sd.SdNotifyReady)
	defer d.notify(sd.SdNotifyStopping)
	return d.keep(ctx, served)
}

// open opens all tunnels with what stands behind them.
func (d *daemon) open() error {
	for i := range d.file.Tunnels {
		if err := d.openTunnel(&d.file.Tunnels[i]); err != nil {
			return err
		}
	}
	return nil
}

// openTunnel opens bridges and TAPs before the tunnel that delivers to them.
func (d *daemon) openTunnel(t *config.Tunnel) error {
	var segments []*segment
	var sessions []l2tpv3.SessionConfig
	for i := range t.Sessions {
		c := &t.Sessions[i]
		if err := d.openBridge(c.Bridge); err != nil {
			return fmt.Errorf("tunnel %s: session %s: %w", t.Name, c.Name, err)
		}
		s := d.newSegment(t, c)
		if err := s.open(); err != nil {
			return fmt.Errorf("tunnel %s: session %s: %w", t.Name, c.Name, err)
		}
		d.mu.Lock()
		d.segments = append(d.segments, s)
		d.mu.Unlock()
		segments = append(segments, s)
		sessions = append(sessions, c.SessionConfig)
	}
	tunnel, err := d.endpoint.AddTunnel(t.TunnelConfig, sessions)
	if err != nil {
		return err
	}
	for i, session := range tunnel.Sessions() {
		segments[i].join(session)
		d.work.Go(func() { segments[i].run(d.ctx) })
	}
	return nil
}

// openBridge opens a bridge unless an earlier session has.
func (d *daemon) openBridge(name string) error {
	if name == "" || slices.ContainsFunc(d.bridges, func(b *link.Bridge) bool { return b.Name() == name }) {
		return nil
	}
	b, err := link.OpenBridge(name, d.file.Node.Hostname)
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
	drops := dropLog{log: d.log}
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
		case <-look.C:
			s := d.endpoint.Status()
			drops.look(&s)
			if summary := summary(&s); summary != told {
				d.notify("STATUS=" + summary)
				told = summary
			}
		}
	}
}

// summary is what systemctl status shows.
func summary(s *l2tpv3.Status) string {
	up := 0
	for _, t := range s.Tunnels {
		if t.State == l2tpv3.Up {
			up++
		}
	}
	return fmt.Sprintf("%d of %d tunnels up", up, len(s.Tunnels))
}

// notify tells systemd, if that has started us.
func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd not notified", "state", state, "err", err)
	}
}

// close closes in the reverse order of opening.
func (d *daemon) close() {
	d.stop()
	d.endpoint.Close()
	for _, s := range slices.Backward(d.segments) {
		s.close()
	}
	d.work.Wait()
	for _, b := range slices.Backward(d.bridges) {
		if err := b.Close(); err != nil {
			d.log.Warn("bridge not left as found", "bridge", b.Name(), "err", err)
		}
	}
	d.log.Info("closed")
}
