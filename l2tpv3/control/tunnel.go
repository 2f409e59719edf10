package control

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
)

// A Binding says where a tunnel's peer is, as far as its owner knows it now.
type Binding struct {
	// At is where to dial; an invalid Peer: nowhere yet.
	At Address
	// Others are dialled in turn where At does not answer, and then At again.
	Others []Address
	// Vias are the sockets through which an SCCRQ may come; none: At's.
	Vias []int
	// Peers are where an SCCRQ may come from.
	Peers []netip.Prefix
}

// A tunnel is a peer that is configured, a template for many, or an instance of
// one.
type tunnel struct {
	lcce     *LCCE
	cfg      TunnelConfig
	template string // of an instance
	order    int    // among the tunnels, as they were added
	timer    machine.Timer
	binding  Binding

	conn     *conn // established, or being dialled
	incoming int   // connections that the peer has begun and not completed
	circuits []*circuit
	byEnd    map[string]*circuit

	instances map[instanceKey]*tunnel // of a template

	down     bool // by command
	fallen   bool // back to L2TPv2
	since    time.Time
	redialAt time.Time
	yielded  bool // to an attempt of the peer's
	backoff  time.Duration
	attempts int
	ups      int
	// lastError is why there is no connection.
	lastError string
}

// An instanceKey is who a template's peer is. RFC 3931 section 3.3: "LCCEs are
// identified during control connection establishment either by the Host Name AVP,
// the Router ID AVP, or a combination of the two".
type instanceKey struct {
	hostName string
	routerID uint32
}

// Add adds a tunnel, which dials as soon as Bind says where.
func (l *LCCE) Add(now time.Time, cfg TunnelConfig) error {
	if l.tunnels[cfg.Name] != nil {
		return fmt.Errorf("control: tunnel %s is there already", cfg.Name)
	}
	l.add(now, cfg, "")
	return nil
}

func (l *LCCE) add(now time.Time, cfg TunnelConfig, template string) *tunnel {
	cfg.Circuits = slices.Clone(cfg.Circuits)
	cfg.complete(&l.cfg)
	l.order++
	t := &tunnel{lcce: l, cfg: cfg, template: template, order: l.order, since: now, byEnd: make(map[string]*circuit)}
	t.timer.What = t
	if cfg.Many {
		t.instances = make(map[instanceKey]*tunnel)
	} else {
		for i := range t.cfg.Circuits {
			if k := &t.cfg.Circuits[i]; !k.AnyEndID {
				t.addCircuit(now, k, k.Name, k.RemoteEndID)
			}
		}
	}
	l.tunnels[cfg.Name] = t
	return t
}

func (t *tunnel) addCircuit(now time.Time, cfg *CircuitConfig, name string, endID []byte) *circuit {
	k := &circuit{tunnel: t, cfg: cfg, name: t.cfg.Name + "/" + name, endID: endID, since: now}
	if t.lcce.cfg.Active {
		k.status = wire.CircuitActive
	}
	k.timer.What = k
	t.circuits = append(t.circuits, k)
	t.byEnd[string(endID)] = k
	if len(cfg.OtherEndID) > 0 && !cfg.AnyEndID {
		t.byEnd[string(cfg.OtherEndID)] = k
	}
	t.lcce.circuits[k.name] = k
	return k
}

// called returns what a peer calls by a Remote End ID: a circuit, or the template
// of which one can be made; neither: there is nothing.
func (t *tunnel) called(endID []byte) (*circuit, *CircuitConfig) {
	if k := t.byEnd[string(endID)]; k != nil {
		return k, k.cfg
	}
	for i := range t.cfg.Circuits {
		if cfg := &t.cfg.Circuits[i]; cfg.AnyEndID {
			return nil, cfg
		}
	}
	return nil, nil
}

// make makes a circuit of a template, nil if there is no name for it.
func (t *tunnel) make(now time.Time, cfg *CircuitConfig, endID []byte) *circuit {
	name := cfg.Name + ":" + plain(endID)
	if t.lcce.circuits[t.cfg.Name+"/"+name] != nil { // another of this name
		h := fnv.New64a()
		h.Write(endID)
		name += fmt.Sprintf("~%016x", h.Sum64())
	}
	if t.lcce.circuits[t.cfg.Name+"/"+name] != nil {
		return nil
	}
	k := t.addCircuit(now, cfg, name, slices.Clone(endID))
	k.emit(Event{Kind: SessionAdded})
	return k
}

// plain makes a name of a Remote End ID that can stand in a path and in a log.
func plain(endID []byte) string {
	text := wire.EndID(endID)
	name := []rune(text)
	if len(name) > 2 && name[0] == '"' {
		name = name[1 : len(name)-1]
	}
	for i, r := range name {
		if r == '/' || r <= ' ' || r == '"' || r == '\\' {
			name[i] = '_'
		}
	}
	return string(name[:min(len(name), 64)])
}

// forget removes a circuit that was made for a peer's request.
func (t *tunnel) forget(k *circuit) {
	l := t.lcce
	if l.circuits[k.name] != k {
		return
	}
	l.timers.Set(&k.timer, time.Time{})
	delete(l.circuits, k.name)
	delete(t.byEnd, string(k.endID))
	if i := slices.Index(t.circuits, k); i >= 0 {
		last := len(t.circuits) - 1
		t.circuits[i] = t.circuits[last]
		t.circuits[last] = nil
		t.circuits = t.circuits[:last]
	}
	k.emit(Event{Kind: SessionRemoved})
}

// Bind says where a tunnel's peer is. It may be said again whenever that changes:
// an address that is among the new ones too is dialled on.
func (l *LCCE) Bind(now time.Time, name string, b Binding) {
	t := l.tunnels[name]
	if t == nil {
		return
	}
	l.sources.Remove(t)
	former := t.binding.At
	t.binding = b
	if former.Peer.IsValid() && slices.Contains(b.Others, former) {
		for t.binding.At != former {
			t.binding.turn()
		}
	}
	b.At = t.binding.At
	l.sources.Add(t)
	if !t.cfg.Dial || t.down || b.At == former || !b.At.Peer.IsValid() {
		return
	}
	if t.conn == nil {
		t.redialAt = now
		t.arrange()
	} else if t.conn.state == WaitCtlReply && t.conn.at != b.At {
		t.conn.close(now, wire.Result{Code: wire.StopGeneral, Message: "another address is tried"})
		t.redialAt, t.backoff = now, 0
		t.arrange()
	}
}

// turn has the next address be dialled.
func (b *Binding) turn() {
	if len(b.Others) > 0 {
		b.At, b.Others = b.Others[0], append(b.Others[1:len(b.Others):len(b.Others)], b.At)
	}
}

// Prefixes implements machine.Source.
func (t *tunnel) Prefixes() []netip.Prefix { return t.binding.Peers }

// Order implements machine.Source.
func (t *tunnel) Order() int { return t.order }

// via reports whether the tunnel's SCCRQs may come through a socket.
func (t *tunnel) via(via int) bool {
	if len(t.binding.Vias) == 0 {
		return t.binding.At.Via == via
	}
	return slices.Contains(t.binding.Vias, via)
}

// Advance dials, when the time has come.
func (t *tunnel) Advance(now time.Time) {
	if !t.redialAt.IsZero() && !now.Before(t.redialAt) {
		t.redialAt = time.Time{}
		switch {
		case t.down || t.conn != nil || !t.binding.At.Peer.IsValid():
		case t.incoming > 0 && !t.yielded:
			// The peer's own attempt may do; once, or whoever begins
			// connections and completes none could hold ours up.
			t.yielded = true
			t.redialAt = now.Add(t.lcce.jitter.Around(t.cfg.RedialMin))
		default:
			t.yielded, t.fallen = false, false
			t.attempts++
			t.since = now
			t.conn = t.lcce.dial(now, t)
		}
	}
	t.arrange()
}

func (t *tunnel) arrange() { t.lcce.timers.Set(&t.timer, t.redialAt) }

// redial sets the time of the next attempt.
func (t *tunnel) redial(now time.Time) {
	if !t.cfg.Dial || t.down || t.fallen || t.lcce.closing || t.cfg.RedialLimit > 0 && t.attempts >= t.cfg.RedialLimit {
		return
	}
	t.backoff = min(max(2*t.backoff, t.cfg.RedialMin), t.cfg.RedialMax)
	t.redialAt = now.Add(t.lcce.jitter.Around(t.backoff))
	t.arrange()
}

// established takes a connection that is complete.
func (l *LCCE) established(now time.Time, c *conn) {
	t := c.tunnel
	if t.cfg.Many {
		if t = l.instance(now, t, c); t == nil {
			c.do(now, localClose, wire.Result{Code: wire.StopError, Error: wire.ErrorResources, Message: "too many peers"})
			return
		}
		c.tunnel, c.cfg = t, &t.cfg
	}
	if old := t.conn; old != nil && old != c {
		// A peer that begins anew has lost the connection that it had, or lost
		// a tie: there is one connection to a peer.
		const reason = "a newer control connection has taken its place"
		up := old.state == Established
		t.conn = nil
		old.close(now, wire.Result{Code: wire.StopExists, Message: reason})
		if up {
			old.emit(Event{Kind: TunnelDown, Template: t.template, Reason: reason})
		}
	}
	t.conn = c
	t.redialAt, t.backoff, t.attempts, t.lastError = time.Time{}, 0, 0, ""
	t.fallen = false
	t.since = now
	t.ups++
	t.arrange()
	c.emit(Event{Kind: TunnelUp, Template: t.template})
	for _, k := range slices.Clone(t.circuits) {
		k.backoff, k.attempts = 0, 0
		if k.cfg.Initiate {
			k.open(now)
		}
	}
}

// instance returns the instance of a template for the peer of a connection.
func (l *LCCE) instance(now time.Time, t *tunnel, c *conn) *tunnel {
	key := instanceKey{c.peer.HostName, c.peer.RouterID}
	if i := t.instances[key]; i != nil {
		return i
	}
	if len(t.instances) >= t.cfg.Limit {
		l.drop(DropLimit, c.at)
		return nil
	}
	cfg := t.cfg
	cfg.Many = false
	cfg.Name = t.cfg.Name + ":" + plain([]byte(c.peer.HostName))
	if l.tunnels[cfg.Name] != nil { // another peer of this name
		a := c.peer.RouterID
		cfg.Name += "@" + netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}).String()
	}
	if l.tunnels[cfg.Name] != nil {
		return nil
	}
	i := l.add(now, cfg, t.cfg.Name)
	i.binding = Binding{At: Address{Via: t.binding.At.Via}}
	t.instances[key] = i
	l.emit(Event{Kind: TunnelAdded, Tunnel: cfg.Name, Template: t.cfg.Name, Address: c.at, Peer: c.peer})
	for _, k := range i.circuits {
		k.emit(Event{Kind: SessionAdded, Address: c.at, Peer: c.peer}) // the instance has no connection yet
	}
	return i
}

// closed takes a connection that is no more.
func (l *LCCE) closed(now time.Time, c *conn, former State) {
	t := c.tunnel
	if t.conn != c {
		if former == WaitCtlConn {
			c.emit(Event{Kind: Noted, Reason: "a connection was not completed: " + c.reason})
		}
		return
	}
	t.conn = nil
	t.since = now
	t.lastError = c.reason
	if c.byPeer {
		t.lastError = "closed by peer: " + c.reason
	}
	if t.lastError == "" || t.lastError == (wire.Result{}).Text(wire.TypeStopCCN) {
		t.lastError = "gave way to the peer's own request"
	}
	if former == WaitCtlReply && (c.byPeer || c.reliable.Failed()) {
		t.binding.turn()
	}
	t.redial(now)
	c.emit(Event{Kind: TunnelDown, Template: t.template, Reason: t.lastError, Next: t.redialAt})
	if t.template != "" {
		t.remove()
	}
}

// remove forgets an instance, whose connection is no more.
func (t *tunnel) remove() {
	l := t.lcce
	for _, k := range slices.Clone(t.circuits) {
		l.timers.Set(&k.timer, time.Time{})
		delete(l.circuits, k.name)
		k.emit(Event{Kind: SessionRemoved})
	}
	t.circuits = nil
	l.timers.Set(&t.timer, time.Time{})
	l.sources.Remove(t)
	delete(l.tunnels, t.cfg.Name)
	if p := l.tunnels[t.template]; p != nil {
		for key, i := range p.instances {
			if i == t {
				delete(p.instances, key)
			}
		}
	}
	l.emit(Event{Kind: TunnelRemoved, Tunnel: t.cfg.Name, Template: t.template})
}

// Remove closes a tunnel and forgets it.
func (l *LCCE) Remove(now time.Time, name string) {
	t := l.tunnels[name]
	if t == nil {
		return
	}
	l.shut(now, t, wire.Result{Code: wire.StopGeneral, Message: "removed from the configuration"})
	t.remove()
}

// shut closes a tunnel and, of a template, its instances.
func (l *LCCE) shut(now time.Time, t *tunnel, r wire.Result) {
	for _, i := range t.instances {
		l.shut(now, i, r)
	}
	t.redialAt = time.Time{}
	t.arrange()
	for _, c := range slices.Clone(t.lcce.halfOpen) {
		if c.tunnel == t {
			c.close(now, r)
		}
	}
	if t.conn != nil {
		t.conn.close(now, r)
	}
}

// Down closes a tunnel or a session, "TUNNEL" or "TUNNEL/SESSION", until Up.
func (l *LCCE) Down(now time.Time, name string) error {
	if k := l.circuits[name]; k != nil {
		k.down = true
		k.lastError = ByCommand
		k.close(now, wire.Result{Code: wire.CDNAdministrative, Message: ByCommand})
		return nil
	}
	t := l.tunnels[name]
	if t == nil {
		return fmt.Errorf("%s: no such tunnel or session", name)
	}
	t.down = true
	l.shut(now, t, wire.Result{Code: wire.StopGeneral, Message: ByCommand})
	t.lastError = ByCommand
	return nil
}

// Up opens a tunnel or a session that is down, and has one that waits for its
// next attempt try at once.
func (l *LCCE) Up(now time.Time, name string) error {
	if k := l.circuits[name]; k != nil {
		k.down, k.backoff, k.attempts = false, 0, 0
		if k.cfg.Initiate {
			k.open(now)
		}
		return nil
	}
	t := l.tunnels[name]
	if t == nil {
		return fmt.Errorf("%s: no such tunnel or session", name)
	}
	t.down, t.fallen, t.backoff, t.attempts = false, false, 0, 0
	if t.cfg.Dial && t.conn == nil {
		t.redialAt = now
		t.arrange()
	}
	return nil
}

// FallBack gives up dialling a tunnel whose peer has answered in L2TPv2, until Resume,
// Up, or until the peer asks in L2TPv3. It sends nothing. RFC 3931 section 4.7.3.
func (l *LCCE) FallBack(now time.Time, name string) {
	l.now = now
	t := l.tunnels[name]
	if t == nil || t.fallen || t.conn != nil && t.conn.state != WaitCtlReply {
		return
	}
	t.fallen, t.since, t.lastError, t.redialAt = true, now, FellBack, time.Time{}
	t.arrange()
	if t.conn != nil {
		t.conn.lost(now, FellBack)
	}
}

// Resume goes on dialling a tunnel that fell back: what its peer had answered is no
// more. It waits as long as it would have; or, where that had held, as after the first
// attempt.
func (l *LCCE) Resume(now time.Time, name string) {
	l.now = now
	t := l.tunnels[name]
	if t == nil || !t.fallen {
		return
	}
	t.fallen = false
	if now.Sub(t.since) > max(t.cfg.RedialMax, t.cfg.SetupTimeout) {
		t.backoff, t.attempts = 0, 0
	}
	t.redial(now)
}

// Roll has another session take over from an established one, "TUNNEL/SESSION",
// with new IDs and cookies.
func (l *LCCE) Roll(now time.Time, name string) error {
	k := l.circuits[name]
	if k == nil {
		return fmt.Errorf("%s: no such session", name)
	}
	if !k.roll(now) {
		return fmt.Errorf("%s: not established, or another session takes over already", name)
	}
	return nil
}

// SetCircuit takes the status of the local segment of a session,
// "TUNNEL/SESSION", and tells the peer.
func (l *LCCE) SetCircuit(now time.Time, name string, status wire.CircuitStatus) {
	if k := l.circuits[name]; k != nil {
		k.set(now, status)
	}
}

// CloseCircuit clears a session, "TUNNEL/SESSION", whose circuit is not there any
// more: none is asked for or granted to the peer until SetCircuit says that the
// circuit is active.
func (l *LCCE) CloseCircuit(now time.Time, name string, why Absence) {
	if k := l.circuits[name]; k != nil {
		k.leave(now, why)
	}
}

// Report tells the peer of errors on the local segment of a session, RFC 3931
// section 6.13: "not more than once every 60 seconds", which is up to the caller.
func (l *LCCE) Report(now time.Time, name string, errors wire.CircuitErrors) {
	k := l.circuits[name]
	if k == nil || k.active == nil || k.active.state != Established {
		return
	}
	s := k.active
	s.conn.send(now, &wire.WEN{LocalSessionID: s.params.SessionID, RemoteSessionID: s.params.PeerSessionID, Errors: errors})
	s.conn.arrange(now)
}

// Heard says that data of a tunnel's sessions came at a time: a peer that sends
// data lives. RFC 3931 section 4.4.
func (l *LCCE) Heard(tunnel string, at time.Time) {
	if t := l.tunnels[tunnel]; t != nil && t.conn != nil && t.conn.state == Established && at.After(t.conn.heard) {
		t.conn.heard = at
		t.conn.setHello()
		t.conn.arrange(at)
	}
}
