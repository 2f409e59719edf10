package daemon

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"sync"
	"sync/atomic"
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

	mu    sync.Mutex
	names map[*bridge.Member]string
	fits  map[*member]int // the MTUs that the paths of sessions carry
	ports []*hubPort
}

func newHub(d *daemon, c *config.Hub) *hub {
	return &hub{Hub: bridge.NewHub(c.HubConfig), daemon: d, cfg: c, log: d.log.With("hub", c.Name),
		names: make(map[*bridge.Member]string), fits: make(map[*member]int)}
}

// openHubs opens the hubs with the ports that are no sessions.
func (d *daemon) openHubs() error {
	for i := range d.file.Hubs {
		c := &d.file.Hubs[i]
		h := newHub(d, c)
		d.mu.Lock()
		d.hubs[c.Name] = h
		d.mu.Unlock()
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
	p, err := h.newPort(c)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.ports = append(h.ports, p)
	h.mu.Unlock()
	if err := h.daemon.openDevice(p.device); err != nil {
		return err
	}
	h.daemon.work.Go(p.run)
	return nil
}

// A hubPort is a device that is a port of a hub.
type hubPort struct {
	*device
	hub    *hub
	wanted *config.HubPort

	member atomic.Pointer[bridge.Member] // nil: the device is not there
}

func (h *hub) newPort(c *config.HubPort) (*hubPort, error) {
	const usual = 1500
	g, err := h.daemon.newDevice(&c.Attachment, h.cfg.Name+"/"+c.Name, cmp.Or(c.MTU, usual))
	if err != nil {
		return nil, err
	}
	p := &hubPort{device: g, hub: h, wanted: c}
	g.log = h.log.With("port", c.Name)
	g.connect = p.enter
	g.tell = func(up bool) { h.carry(p.member.Load(), up) }
	return p, nil
}

// enter has the device be a port of the hub, until it is lost.
func (p *hubPort) enter(port bridge.Port) (leave func()) {
	m, err := p.hub.enter(port, &p.wanted.Attachment, p.wanted.Name)
	if err != nil {
		p.log.Error("no port of the hub", "err", err)
		return func() {}
	}
	p.member.Store(m)
	return func() {
		p.member.Store(nil)
		p.hub.leave(m)
	}
}

// carry has the hub forget where stations were when the way to them is gone. A port
// that was disabled is another when it comes back.
func (h *hub) carry(m *bridge.Member, active bool) {
	switch {
	case m == nil:
	case active:
		m.Enable()
	default:
		h.Flush(m)
	}
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

// fit has the hub's TAPs carry no more than every session's path does, of which mtu is
// one, or none any more. What is larger is dropped where a path has no pieces.
func (h *hub) fit(m *member, mtu int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if mtu == 0 {
		delete(h.fits, m)
	} else {
		h.fits[m] = mtu
	}
	const none = math.MaxInt
	all, whole := none, none
	for m, fits := range h.fits {
		all = min(all, fits)
		if !m.fragment {
			whole = min(whole, fits)
		}
	}
	for _, p := range h.ports {
		least := whole
		if p.adapts() {
			least = all
		}
		if least != none {
			p.pathFits(least)
		}
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
	ports := maps.Clone(h.names)
	for _, p := range h.ports {
		m := p.member.Load()
		delete(ports, m)
		joins := p.show()
		port := showPort(p.wanted.Name, p.wanted.Port, m)
		port.Joins = &joins
		a.Ports = append(a.Ports, port)
	}
	for m, name := range ports {
		a.Ports = append(a.Ports, showPort(name, m.Config(), m))
	}
	sortBy(a.Ports, func(p api.HubPort) string { return p.Name })
	return a
}

// showPort tells how a port stands; m is nil if its device is not there.
func showPort(name string, c bridge.PortConfig, m *bridge.Member) api.HubPort {
	var n bridge.MemberStats
	if m != nil {
		n = m.Stats()
	}
	counters := api.Counters{"in_frames": n.InFrames, "in_octets": n.InOctets, "out_frames": n.OutFrames, "out_octets": n.OutOctets,
		"flooded": n.Flooded, "moves": n.Moves, "unlearned": n.Unlearned}
	for v := range bridge.Verdicts {
		counters["drop_"+v.String()] = n.Drops[v]
	}
	return api.HubPort{Name: name, Group: c.Group, Spoke: c.Spoke, Stations: n.MACs, Disabled: n.Disabled, Counters: counters}
}

// stations tells where the stations of a hub are.
func (d *daemon) stations(name string) ([]api.Station, error) {
	d.mu.Lock()
	h := d.hubs[name]
	d.mu.Unlock()
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
	hub      *hub
	cfg      *config.Attachment
	name     string
	fragment bool // what does not fit the path goes in pieces
	log      *slog.Logger

	mu     sync.Mutex
	nsp    *bridge.NSP
	port   *bridge.Member
	closed bool
}

func (d *daemon) newMember(t *config.Tunnel, s *config.Session, name string) (segment, error) {
	return &member{hub: d.hubs[s.Hub], cfg: &s.Attachment, name: name, fragment: t.Socket.Fragment, log: d.log.With("session", name)}, nil
}

func (m *member) join(session *l2tpv3.Session, tell func(up bool)) {
	if err := m.enter(session); err != nil {
		m.log.Error("no port of the hub", "hub", m.cfg.Hub, "err", err)
		return
	}
	session.NotifyMTU(func(mtu int) { m.hub.fit(m, mtu-growth(m.cfg)) })
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

func (m *member) carry(active bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hub.carry(m.port, active)
}

func (m *member) show() api.Joined {
	a := api.Joined{Hub: m.cfg.Hub, Segment: api.Counters{}}
	showTags(&a, m.cfg)
	drops := m.all()
	addDrops(a.Segment, &drops)
	return a
}

// drops leaves out what the hub flooded and is of another VLAN than the session's: a
// hub that is aware of VLANs has such all the time.
func (m *member) drops() [pseudowire.Drops]uint64 {
	drops := m.all()
	drops[pseudowire.DropIngressVLAN] = 0
	return drops
}

// all returns what was dropped. What the NSP has from its segment is from the network
// here, so the two directions are the other way round.
func (m *member) all() (drops [pseudowire.Drops]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nsp != nil {
		drops = m.nsp.Drops()
	}
	in, out := &drops[pseudowire.DropIngressVLAN], &drops[pseudowire.DropEgressVLAN]
	*in, *out = *out, *in
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
