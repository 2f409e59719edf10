package l2tpv3

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
)

// A Version2Config is a peer that is spoken to in L2TPv2, RFC 2661: one to dial, or
// those that may ask for tunnels.
type Version2Config struct {
	// TunnelConfig's Socket is of UDP. Its Peer is where to dial or, where peers are
	// waited for, from where they come; there it may be the zero Host: see From.
	TunnelConfig
	// From are networks from which peers may come.
	From []netip.Prefix
	// Control is how the peer is spoken to, but for Name.
	Control l2tpv2.TunnelConfig
	// Keep is a call that one that dials indicates as soon as there is a tunnel, and
	// again after its end; nil: none.
	Keep *l2tpv2.IncomingCall
	// Number has data have sequence numbers where we are the LNS, which decides.
	Number bool
}

// A Version2Event is something that happened to a tunnel of L2TPv2 or a call in it.
type Version2Event struct {
	l2tpv2.Event
	Port *Call // of a call's event
}

// A configV2 is a Version2Config, and what came of it.
type configV2 struct {
	cfg Version2Config
	*reach

	// Guarded by channel.mu.
	auto     *Dynamic  // with which it dials for both versions; nil: it is by itself
	attempts int       // auto: those in a row
	shut     bool      // by command
	one      *tunnelV2 // of one that dials: its tunnel; nil: it is not up

	down, noted, told repeated // what was logged of it
}

// A tunnelV2 is an established tunnel of L2TPv2.
type tunnelV2 struct {
	name   string
	id     uint16 // ours
	config *configV2
	place  int // in channel.allV2

	// Guarded by channel.mu.
	peer  l2tpv2.Peer
	at    control.Address
	path  *transport.Path           // nil: there is none
	paths map[uint8]*transport.Path // of calls whose DSCP is another
	err   error                     // why
	mtu   int
	heard time.Time // data of any of its calls
	calls []*Call   // those that are open
}

// toV2 and fromV2 put where somebody is as the other machine has it.
func toV2(a control.Address) l2tpv2.Address {
	return l2tpv2.Address{Via: a.Via, Local: a.Local, Peer: a.Peer}
}

func fromV2(a l2tpv2.Address) control.Address {
	return control.Address{Via: a.Via, Local: a.Local, Peer: a.Peer}
}

// AddVersion2 opens a tunnel of L2TPv2 and keeps it open, or accepts those that peers
// ask for. An AddDynamic with an equal Socket shares the port with it: an SCCRQ that is
// for both versions is answered in L2TPv3 where there is a tunnel to such a peer. RFC
// 3931 section 4.7.
func (e *Endpoint) AddVersion2(cfg Version2Config) error {
	c := e.channel
	v := newConfigV2(cfg)
	v.reach = &reach{cfg: &v.cfg.TunnelConfig, from: cfg.From, dial: cfg.Control.Dial, up: func() bool { return v.one != nil }}
	v.tell = func(now time.Time, b control.Binding) { c.node.Bind(now, cfg.Name, bindingV2(b)) }
	return e.open(v.reach, func(now time.Time) error { return c.addV2(now, v) })
}

// offerRetries is how often an SCCRQ for both versions is repeated, until the peer is
// asked in each by itself.
const offerRetries = 2

// AddAuto opens a tunnel to a peer of which it is not known whether it speaks L2TPv3,
// and keeps it open: as the first says if it does, and as the second if it speaks
// L2TPv2 alone. The second's TunnelConfig and From are the first's. RFC 3931
// section 4.7.3 has one SCCRQ be for both; where nobody answers that, somebody on the
// way may drop what is odd, and the next attempt is one for each.
func (e *Endpoint) AddAuto(cfg DynamicConfig, v2 Version2Config) (*Dynamic, error) {
	c := e.channel
	v2.TunnelConfig, v2.From = cfg.TunnelConfig, cfg.From
	v2.Control.Dial, v2.Control.Offered, v2.Control.OnDemand = true, true, false
	v := newConfigV2(v2)
	for _, retries := range []*int{&cfg.Control.DialRetries, &v.cfg.Control.DialRetries} {
		if *retries == 0 {
			*retries = offerRetries
		}
	}
	cfg.Control.Dial, cfg.Control.Many = true, false
	cfg.Control.Offer = func(now time.Time) *wire.SCCRQV2 { return c.offer(now, v) }
	d := newDynamic(cfg)
	v.reach, v.auto, d.other = d.reach, d, v
	d.up = func() bool { return d.path != nil || v.one != nil }
	d.tell = func(now time.Time, b control.Binding) {
		c.node.Bind(now, cfg.Name, bindingV2(b)) // the first, for the other offers it
		c.lcce.Bind(now, cfg.Name, b)
	}
	err := e.open(d.reach, func(now time.Time) error {
		if err := c.addV2(now, v); err != nil {
			return err
		}
		err := c.addDynamic(now, d)
		if err != nil {
			c.node.Remove(now, cfg.Name)
			delete(c.configsV2, cfg.Name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func newConfigV2(cfg Version2Config) *configV2 {
	cfg.Control.Name = cfg.Name
	return &configV2{cfg: cfg}
}

func bindingV2(b control.Binding) l2tpv2.Binding {
	v2 := l2tpv2.Binding{At: toV2(b.At), Vias: b.Vias, Peers: b.Peers}
	for _, at := range b.Others {
		v2.Others = append(v2.Others, toV2(at))
	}
	return v2
}

func (c *channel) addV2(now time.Time, v *configV2) error {
	if v.cfg.Socket.Encap != wire.UDP {
		return fmt.Errorf("tunnel %s: L2TPv2 is spoken over UDP", v.cfg.Name)
	}
	if err := c.node.Add(now, v.cfg.Control); err != nil {
		return err
	}
	if v.cfg.Keep != nil {
		if err := c.node.Keep(now, v.cfg.Name, *v.cfg.Keep); err != nil {
			c.node.Remove(now, v.cfg.Name)
			return err
		}
	}
	c.configsV2[v.cfg.Name] = v
	return nil
}

// offer has L2TPv2's part of the next attempt be made: an SCCRQ for both versions, or
// after one that was in vain one for each.
func (c *channel) offer(now time.Time, v *configV2) *wire.SCCRQV2 {
	v.attempts++
	if v.alone() {
		c.node.Dial(now, v.cfg.Name)
		return nil
	}
	m, err := c.node.Offer(now, v.cfg.Name)
	if err != nil { // it goes on dialling from the attempt before
		return nil
	}
	return m
}

// alone reports whether the last attempt was for each version by itself.
func (v *configV2) alone() bool { return v.attempts%2 == 0 }

// NotifyVersion2 has tell called with all that happens to tunnels and calls of L2TPv2
// from now on, in its order and by one goroutine, which it must not hold up.
func (e *Endpoint) NotifyVersion2(tell func(Version2Event)) {
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	e.channel.tellV2 = tell
}

// knowsV2 reports whether a name is that of a tunnel or a call of L2TPv2.
func (c *channel) knowsV2(name string) bool {
	return c.configOf(name) != nil || c.callNamed(name) != nil
}

// configOf returns what a tunnel is of: one that a peer asked for is named "NAME#ID".
func (c *channel) configOf(tunnel string) *configV2 {
	if v := c.configsV2[tunnel]; v != nil {
		return v
	}
	return c.configsV2[tunnel[:max(strings.LastIndexByte(tunnel, '#'), 0)]]
}

// upV2 opens what is down, in all the versions that it has.
func (c *channel) upV2(now time.Time, name string) error {
	v := c.configsV2[name]
	err := c.node.Up(now, name)
	// A peer that speaks L2TPv2 now is asked for no L2TPv3, too.
	if c.tunnels[name] != nil && (v.auto == nil || v.one == nil || v.shut) {
		err = errors.Join(err, c.lcce.Up(now, name))
	}
	v.shut = false
	return err
}

// downV2 closes a tunnel, in all the versions that it has, or a call.
func (c *channel) downV2(now time.Time, name string) error {
	if p := c.callNamed(name); p != nil {
		return c.node.Hangup(now, p.id, wire.CDNV2{Result: wire.Result{Code: wire.CDNAdministrative, Message: l2tpv2.ByCommand}})
	}
	if v := c.configsV2[name]; v != nil {
		v.shut = true
	}
	err := c.node.Down(now, name)
	if c.tunnels[name] != nil {
		err = errors.Join(err, c.lcce.Down(now, name))
	}
	return err
}

// applyV2 does what an event asks for.
func (c *channel) applyV2(e *l2tpv2.Event) {
	v := c.configsV2[e.Config]
	if v == nil {
		return
	}
	var p *Call
	switch e.Kind {
	case l2tpv2.TunnelDialing, l2tpv2.TunnelUp, l2tpv2.TunnelMoved, l2tpv2.TunnelDown:
		c.applyTunnelV2(v, e)
	case l2tpv2.Noted:
		v.noted.log(c.log.With("tunnel", cmp.Or(e.Tunnel, e.Config)), "control protocol", e.Reason, e.Time, []any{"note", e.Reason, "peer", e.Address.Peer.String()})
	default:
		p = c.applyCall(v, e)
	}
	if c.tellV2 != nil {
		c.toldV2 = append(c.toldV2, Version2Event{*e, p})
	}
}

func (c *channel) applyTunnelV2(v *configV2, e *l2tpv2.Event) {
	t := c.tunnelsV2[e.TunnelID]
	peer := e.Address.Peer.String()
	log := c.log.With("tunnel", e.Tunnel)
	switch e.Kind {
	case l2tpv2.TunnelDialing:
		log.Debug("dialling", "peer", peer, "version", 2)
		if v.auto != nil && !v.alone() { // it is an answer
			c.lcce.FallBack(e.Time, v.cfg.Name)
		}
	case l2tpv2.TunnelUp:
		t = c.addTunnelV2(v, e)
		c.reachedV2(t, e)
		v.down = repeated{}
		log.Info("tunnel up", "version", 2, "peer", peer, "host_name", e.Peer.HostName, "vendor", e.Peer.VendorName,
			"id", e.TunnelID, "peer_id", e.Peer.TunnelID, "window", e.Peer.ReceiveWindow, "path_mtu", t.mtu)
		if v.auto != nil && v.auto.path != nil {
			c.node.Yield(e.Time, v.cfg.Name)
		} else if v.auto != nil {
			v.attempts = 0
			c.lcce.FallBack(e.Time, v.cfg.Name)
		}
	case l2tpv2.TunnelMoved:
		if t != nil {
			c.reachedV2(t, e)
		}
		log.Info("tunnel follows its peer to another address", "peer", peer, "was", strings.TrimPrefix(e.Reason, "from "))
	case l2tpv2.TunnelDown:
		args := []any{"version", 2, "why", e.Reason, "peer", peer, "next_attempt", until(e.Next, e.Time)}
		if err := c.pathError(fromV2(e.Address)); err != nil {
			args = append(args, "err", why(err))
		}
		v.down.log(log, "tunnel down", e.Reason, e.Time, args)
		if t != nil {
			c.removeTunnelV2(t)
		}
		if v.auto != nil && e.Tunnel == v.cfg.Name {
			c.lcce.Resume(e.Time, v.cfg.Name)
		}
	}
}

// addTunnelV2 adds a tunnel that is established.
func (c *channel) addTunnelV2(v *configV2, e *l2tpv2.Event) *tunnelV2 {
	t := &tunnelV2{name: e.Tunnel, id: e.TunnelID, config: v, peer: e.Peer, place: len(c.allV2)}
	c.tunnelsV2[t.id] = t
	c.allV2 = append(c.allV2, t)
	if t.name == v.cfg.Name {
		v.one = t
	}
	return t
}

// removeTunnelV2 forgets a tunnel whose calls are gone.
func (c *channel) removeTunnelV2(t *tunnelV2) {
	if t.path != nil {
		c.release(t.at)
	}
	delete(c.tunnelsV2, t.id)
	last := len(c.allV2) - 1
	c.allV2[t.place] = c.allV2[last]
	c.allV2[t.place].place = t.place
	c.allV2[last] = nil
	c.allV2 = c.allV2[:last]
	if t.config.one == t {
		t.config.one = nil
	}
}

// reachedV2 takes where a tunnel's peer is, and has its calls send there.
func (c *channel) reachedV2(t *tunnelV2, e *l2tpv2.Event) {
	t.config.state, t.config.err = "", nil // whatever became of its name
	at, cfg := fromV2(e.Address), t.config.cfg.TunnelConfig
	if dscp, ok := diffServ(t.peer.DiffServ); ok {
		cfg.DSCP = dscp
	}
	path, err := c.hold(at, &cfg)
	if t.err = err; err != nil {
		return
	}
	if t.path != nil {
		c.release(t.at)
	}
	t.at, t.path, t.paths = at, path, nil
	for _, p := range t.calls {
		c.direct(t, p)
	}
	c.measureV2(t)
}

// diffServ returns the DSCP of a PHB code, which RFC 3140 section 2 has at its front
// where the PHB is a standardized one, or a set of them.
func diffServ(code wire.Optional[uint16]) (dscp uint8, ok bool) {
	const more = 0x03fd // bits 6 to 13, and bit 15, which says that it is another
	return uint8(code.Value >> 10), code.Set && code.Value&more == 0
}

// direct has a call send to its tunnel's peer, by the path of its DSCP. RFC 3308
// section 3: "The PHB code signaled in one AVP SHOULD NOT have any implication on the
// PHB code signaled in the other AVP."
func (c *channel) direct(t *tunnelV2, p *Call) {
	if t.path == nil {
		return
	}
	dscp := t.config.cfg.DSCP
	if code, ok := diffServ(p.params.DiffServ); ok {
		dscp = code
	}
	conn, path := c.vias[t.at.Via].conn, t.path
	if dscp != path.Config().DSCP {
		if path = t.paths[dscp]; path == nil {
			cfg := t.config.cfg.TunnelConfig
			cfg.DSCP = dscp
			var err error
			if path, err = cfg.path(conn, t.at.Peer, t.at.Local); err != nil {
				t.err = err
				return
			}
			if t.paths == nil {
				t.paths = make(map[uint8]*transport.Path)
			}
			t.paths[dscp] = path
		}
	}
	p.setPath(conn, path)
}

// attendV2 tells the machine when a tunnel's peer has last sent data, and its calls
// what its path carries.
func (c *channel) attendV2(t *tunnelV2) {
	recent := time.Now().Add(-checkEvery)
	for _, p := range t.calls {
		if at := p.link.LastReceived(); at.After(t.heard) {
			if t.heard = at; at.After(recent) {
				break
			}
		}
	}
	if !t.heard.IsZero() {
		c.node.Heard(t.id, t.heard)
	}
	c.measureV2(t)
}

// measureV2 asks for the MTU of a tunnel's path.
func (c *channel) measureV2(t *tunnelV2) {
	if t.path == nil {
		return
	}
	mtu, err := c.vias[t.at.Via].conn.PathMTU(t.path)
	if t.err = err; err != nil || mtu == t.mtu {
		return
	}
	t.mtu = mtu
	for _, p := range t.calls {
		p.setMTU(t.packetMTU())
	}
}

// applyCall does what an event of a call asks for.
func (c *channel) applyCall(v *configV2, e *l2tpv2.Event) *Call {
	p := c.callOf(v, e)
	switch e.Kind {
	case l2tpv2.SessionOpen:
		c.openCall(p)
	case l2tpv2.SessionPlace:
		c.log.Debug("call to be placed", "call", p.name, "called", e.Params.CalledNumber)
	case l2tpv2.SessionUp:
		c.callUp(p, v)
	case l2tpv2.SessionDown:
		c.callDown(p, v, e)
	case l2tpv2.SessionErrors:
		c.log.Warn("the peer's line has errors", "call", p.name, "crc", e.Errors.CRC, "framing", e.Errors.Framing,
			"hardware_overruns", e.Errors.HardwareOverruns, "buffer_overruns", e.Errors.BufferOverruns,
			"timeouts", e.Errors.Timeouts, "alignment", e.Errors.Alignment)
	}
	return p
}

// callOf returns the call of an event, which may be its first.
func (c *channel) callOf(v *configV2, e *l2tpv2.Event) *Call {
	p := c.calls[e.Call]
	if p == nil {
		p = c.addCall(e.Call, v, e.Tunnel)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.params = e.Params
	if p.tunnel == nil {
		p.tunnel = c.tunnelsV2[e.TunnelID]
	}
	return p
}

func (c *channel) addCall(id l2tpv2.CallID, v *configV2, tunnel string) *Call {
	p := &Call{channel: c, id: id, config: v.cfg.Name, name: fmt.Sprintf("%s/%d", tunnel, id)}
	c.calls[id] = p
	return p
}

// openCall opens a Link for a call whose data may come.
func (c *channel) openCall(p *Call) {
	l, err := c.endpoint.plane.OpenV2(p.dataplaneParams())
	if err != nil {
		c.log.Error("call not opened", "call", p.name, "err", err)
		c.node.Hangup(time.Now(), p.id, wire.CDNV2{Result: wire.Result{Code: wire.CDNError, Error: wire.ErrorResources}})
		return
	}
	t := p.tunnel
	p.open(l)
	p.place = len(t.calls)
	t.calls = append(t.calls, p)
	c.direct(t, p)
	if t.mtu != 0 {
		p.setMTU(t.packetMTU())
	}
}

// callUp has a call send.
func (c *channel) callUp(p *Call, v *configV2) {
	if p.link != nil && p.sequence != p.params.Sequence { // which the LAC says when it connects
		c.closeLink(p)
		c.openCall(p)
	}
	if p.link == nil {
		return
	}
	if v.cfg.Number && !p.params.LAC {
		p.link.Number(true)
	}
	p.use()
	v.told = repeated{}
	if c.log.Enabled(c.endpoint.ctx, slog.LevelInfo) {
		q := &p.params
		c.log.Info("call up", "call", p.name, "ids", fmt.Sprintf("%d/%d", q.TunnelID, q.SessionID), "peer_ids", fmt.Sprintf("%d/%d", q.PeerTunnelID, q.PeerSessionID),
			"lac", q.LAC, "outgoing", q.Outgoing, "called", q.CalledNumber, "calling", q.CallingNumber)
	}
}

func (c *channel) callDown(p *Call, v *configV2, e *l2tpv2.Event) {
	up := p.Up()
	c.closeLink(p)
	delete(c.calls, p.id)
	switch {
	case e.Reason == l2tpv2.TunnelClosed: // of which more is told
		c.log.Debug("call down", "call", p.name, "why", e.Reason)
	case up:
		c.log.Info("call down", "call", p.name, "why", e.Reason)
	default:
		v.told.log(c.log, "call not established", e.Reason, e.Time, []any{"call", p.name, "why", e.Reason})
	}
}

// closeLink closes a call's Link. It does so without channel.mu: whoever is handed
// frames meanwhile, and is waited for, may end the call, or others.
func (c *channel) closeLink(p *Call) {
	l := p.stop()
	if l == nil {
		return
	}
	t := p.tunnel
	last := len(t.calls) - 1
	t.calls[p.place] = t.calls[last]
	t.calls[p.place].place = p.place
	t.calls[last] = nil
	t.calls = t.calls[:last]
	c.mu.Unlock()
	defer c.mu.Lock()
	l.Close()
}

// callNamed returns a call, nil if there is none of that name.
func (c *channel) callNamed(name string) *Call {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return nil
	}
	var id l2tpv2.CallID
	if _, err := fmt.Sscan(name[i+1:], &id); err != nil {
		return nil
	}
	if p := c.calls[id]; p != nil && p.name == name {
		return p
	}
	return nil
}
