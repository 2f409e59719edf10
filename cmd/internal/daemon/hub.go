package daemon

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"spanwire/bridge"
	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
)

// A hub is a Hub with its ports.
type hub struct {
	*bridge.Hub
	daemon *daemon
	cfg    *config.Hub
	log    *slog.Logger

	mu      sync.Mutex
	names   map[*bridge.Member]string
	fits    map[*member]int // the MTUs that the paths of sessions carry
	devices []*device
}

// openHubs opens the hubs with the ports that are no sessions.
func (d *daemon) openHubs() error {
	for i := range d.file.Hubs {
		c := &d.file.Hubs[i]
		h := &hub{Hub: bridge.NewHub(c.HubConfig), daemon: d, cfg: c, log: d.log.With("hub", c.Name),
			names: make(map[*bridge.Member]string), fits: make(map[*member]int)}
		d.hubs[c.Name] = h
		for j := range c.Ports {
			if err := h.openPort(&c.Ports[j]); err != nil {
				return fmt.Errorf("hub %s: port %s: %w", c.Name, c.Ports[j].Name, err)
			}
		}
		d.work.Go(h.run)
	}
	return nil
}

// openPort opens a port that is no session.
func (h *hub) openPort(c *config.HubPort) error {
	if err := h.daemon.openBridge(&c.Attachment); err != nil {
		return err
	}
	const usual = 1500
	mtu := c.MTU
	if mtu == 0 {
		mtu = usual
	}
	g, err := h.daemon.newDevice(&c.Attachment, h.cfg.Name+"/"+c.Name, mtu)
	if err != nil {
		return err
	}
	g.log = h.log.With("port", c.Name)
	g.connect = func(p bridge.Port) func() {
		m, err := h.enter(p, &c.Attachment, c.Name)
		if err != nil {
			g.log.Error("no port of the hub", "err", err)
			return func() {}
		}
		return func() { h.leave(m) }
	}
	h.devices = append(h.devices, g)
	if err := h.daemon.openDevice(g); err != nil {
		return err
	}
	h.daemon.work.Go(g.run)
	return nil
}

// enter makes a port one of the hub's.
func (h *hub) enter(p bridge.Port, a *config.Attachment, name string) (*bridge.Member, error) {
	m, err := h.Join(p, a.Port)
	if err != nil {
		return nil, err
	}
	for _, s := range a.Stations {
		if err := h.SetStatic(m, s.VID, s.MAC); err != nil {
			h.Leave(m)
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names[m] = name
	return m, nil
}

func (h *hub) leave(m *bridge.Member) {
	h.Leave(m)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.names, m)
}

// nameOf returns the name of a port.
func (h *hub) nameOf(m *bridge.Member) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.names[m]
}

// fit has the hub's TAPs carry no more than every session's path does.
func (h *hub) fit(m *member, mtu int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if mtu == 0 {
		delete(h.fits, m)
	} else {
		h.fits[m] = mtu
	}
	least := 0
	for _, fits := range h.fits {
		if least == 0 || fits < least {
			least = fits
		}
	}
	if least == 0 {
		return
	}
	for _, g := range h.devices {
		g.pathFits(least)
	}
}

// run has the hub know how time goes on, and tells what happens there.
func (h *hub) run() {
	tick := time.NewTicker(bridge.Tick)
	defer tick.Stop()
	var told [bridge.Disabled + 1]struct {
		pace
		count int
		last  bridge.Event
	}
	looks := 0
	for {
		select {
		case <-h.daemon.ctx.Done():
			return
		case now := <-tick.C:
			h.Advance(now)
		}
		for e, ok := h.Event(); ok; e, ok = h.Event() {
			told[e.Kind].count++
			told[e.Kind].last = e
		}
		if looks++; looks%int(lookEvery/bridge.Tick) != 0 {
			continue
		}
		for kind := range told {
			t := &told[kind]
			if t.due(t.count > 0) {
				h.tell(t.last, t.count)
				t.count = 0
			}
		}
	}
}

// tell logs the last of some events of a kind.
func (h *hub) tell(e bridge.Event, count int) {
	args := []any{"port", h.nameOf(e.Port), "events", count}
	if e.Kind == bridge.Moved && e.From != nil {
		args = append(args, "from", h.nameOf(e.From))
	}
	if e.Kind != bridge.Disabled {
		args = append(args, "mac", e.MAC.String(), "vlan", e.VID)
	}
	h.log.Warn("hub: "+e.Kind.String(), args...)
}

// show tells how the hub stands.
func (h *hub) show() api.Hub {
	a := api.Hub{Name: h.cfg.Name, VLANAware: h.cfg.VLANAware, Stations: h.Len(), Ports: []api.HubPort{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	for m, name := range h.names {
		n := m.Stats()
		c := api.Counters{"in_frames": n.InFrames, "in_octets": n.InOctets, "out_frames": n.OutFrames, "out_octets": n.OutOctets,
			"flooded": n.Flooded, "moves": n.Moves, "unlearned": n.Unlearned}
		for v := range bridge.Verdicts {
			c["drop_"+v.String()] = n.Drops[v]
		}
		a.Ports = append(a.Ports, api.HubPort{Name: name, Group: m.Config().Group, Spoke: m.Config().Spoke, Stations: n.MACs, Disabled: n.Disabled, Counters: c})
	}
	sortBy(a.Ports, func(p api.HubPort) string { return p.Name })
	return a
}

// stations tells where the stations of a hub are.
func (d *daemon) stations(name string) ([]api.Station, error) {
	h := d.hubs[name]
	if h == nil {
		return nil, fmt.Errorf("%s: no such hub", name)
	}
	all := []api.Station{}
	for e := range h.Entries() {
		all = append(all, api.Station{MAC: e.MAC.String(), VLAN: e.VID, Port: h.nameOf(e.Port), Static: e.Static, Silent: int(e.Silent.Seconds())})
	}
	sortBy(all, func(s api.Station) string { return fmt.Sprintf("%04d %s", s.VLAN, s.MAC) })
	return all, nil
}

// A member is the segment of a session that is a port of a hub.
type member struct {
	hub   *hub
	cfg   *config.Attachment
	name  string
	grows int
	log   *slog.Logger

	mu     sync.Mutex
	nsp    *bridge.NSP
	port   *bridge.Member
	closed bool
}

func (d *daemon) newMember(s *config.Session, name string) (segment, error) {
	return &member{hub: d.hubs[s.Hub], cfg: &s.Attachment, name: name, grows: len(s.Ethernet.Wire) - len(s.Ethernet.Segment),
		log: d.log.With("session", name)}, nil
}

func (m *member) join(session *l2tpv3.Session, tell func(up bool)) {
	if err := m.enter(session); err != nil {
		m.log.Error("no port of the hub", "hub", m.cfg.Hub, "err", err)
		return
	}
	session.NotifyMTU(func(mtu int) { m.hub.fit(m, mtu-ethernet.TagLen*max(0, m.grows)) })
	if tell != nil {
		tell(true)
	}
}

// enter has the session be a port of the hub.
func (m *member) enter(session *l2tpv3.Session) error {
	circuit, err := ethernet.New(m.cfg.NSP())
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.nsp = bridge.NewNSP(session, circuit)
	m.port, err = m.hub.enter(m.nsp, m.cfg, m.name)
	return err
}

// carry has the hub forget where stations were when the way to them is gone. A port
// that was disabled is another when it comes back.
func (m *member) carry(active bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.port == nil:
	case active:
		m.port.Enable()
	default:
		m.hub.Flush(m.port)
	}
}

func (m *member) show(a *api.Session) {
	a.Hub = m.cfg.Hub
	showTags(a, m.cfg)
	a.Segment = api.Counters{}
	drops := m.drops()
	addDrops(a.Segment, &drops)
}

func (m *member) drops() (drops [pseudowire.Drops]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nsp != nil {
		drops = m.nsp.Drops()
	}
	return drops
}

func (m *member) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.port != nil {
		m.hub.leave(m.port)
		m.port = nil
	}
	m.hub.fit(m, 0)
}
