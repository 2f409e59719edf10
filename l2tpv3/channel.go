package l2tpv3

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// An Event is something that happened to a tunnel or a session.
type Event struct {
	control.Event
	Port *Session // of a session's event
}

// A channel is the control channel of the endpoint: one goroutine that hands
// control messages and the time to the machines of package control, sends what
// they have to send, and does to sessions what they say.
type channel struct {
	endpoint *Endpoint
	log      *slog.Logger
	in       chan *message
	wake     chan struct{}
	spare    sync.Pool // of messages

	mu      sync.Mutex
	lcce    *control.LCCE
	vias    []via
	paths   map[control.Address]*transport.Path
	tunnels map[string]*Dynamic
	links   map[uint32]link // open ones, by our Session ID
	tell    func(Event)
	told    []Event // to be told when mu is free
	out     []byte  // what is to be sent, one after the other
	flights []flight
	packets []transport.Packet
	noted   time.Time // when odd things were last logged
	closed  bool
}

// A via is a socket, to which control.Address refers by its place.
type via struct {
	conn   *transport.Conn
	writer *transport.Writer
	head   []byte // before each control message
}

// A link is an open session's Link.
type link struct {
	dataplane.Link
	session *Session
	params  control.Params
}

// A message is a control message as it came.
type message struct {
	at    control.Address
	octet []byte
}

// A flight is a message in channel.out.
type flight struct {
	to         control.Address
	start, end int
}

// maxQueue is how many control messages may wait: what comes beyond is lost, and
// sent again.
const maxQueue = 8192

func newChannel(e *Endpoint, cfg control.Config) *channel {
	c := &channel{
		endpoint: e,
		log:      e.log,
		in:       make(chan *message, maxQueue),
		wake:     make(chan struct{}, 1),
		paths:    make(map[control.Address]*transport.Path),
		tunnels:  make(map[string]*Dynamic),
		links:    make(map[uint32]link),
	}
	c.spare.New = func() any { return new(message) }
	if e.log.Enabled(context.Background(), slog.LevelDebug) {
		cfg.Trace = c.trace
	}
	c.lcce = control.New(cfg)
	return c
}

// receive takes a control message from the goroutine that reads a socket.
func (c *channel) receive(via int, wildcard bool, d *transport.Datagram, b []byte) bool {
	m := c.spare.Get().(*message)
	m.at = control.Address{Via: via, Peer: d.From}
	if wildcard {
		m.at.Local = d.To
	}
	m.octet = append(m.octet[:0], b...)
	select {
	case c.in <- m:
		return true
	default:
		c.spare.Put(m)
		return false
	}
}

// run drives the machines until ctx ends.
func (c *channel) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	look := time.NewTicker(checkEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-c.in:
			c.mu.Lock()
			c.take(m)
		case <-c.wake:
			c.mu.Lock()
		case <-timer.C:
			c.mu.Lock()
		case <-look.C:
			c.mu.Lock()
			c.look()
		}
		now := time.Now()
		c.lcce.Advance(now)
		c.drain()
		wait := time.Hour
		if at := c.lcce.Deadline(); !at.IsZero() {
			wait = at.Sub(now)
		}
		told, tell := c.told, c.tell
		c.told = nil
		c.mu.Unlock()
		timer.Reset(max(wait, 0))
		if tell != nil {
			for i := range told {
				tell(told[i])
			}
		}
	}
}

// take hands a message to the machines, and those that wait behind it.
func (c *channel) take(m *message) {
	const most = 256
	for n := 0; ; n++ {
		c.lcce.Receive(time.Now(), m.at, m.octet)
		c.spare.Put(m)
		if n == most {
			return
		}
		select {
		case m = <-c.in:
		default:
			return
		}
	}
}

// do has the machines do something, and what follows from it done soon.
func (c *channel) do(f func(now time.Time, l *control.LCCE) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f(time.Now(), c.lcce)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return err
}

// drain sends what is to be sent and does what is to be done. What a session may
// receive is opened before the message leaves by which the peer learns of it.
func (c *channel) drain() {
	for {
		c.collect()
		for {
			e, ok := c.lcce.Event()
			if !ok {
				break
			}
			c.apply(&e)
		}
		if len(c.flights) == 0 {
			return
		}
		c.flush()
	}
}

// collect gathers what the machines have to send.
func (c *channel) collect() {
	const most = 512
	c.out, c.flights = c.out[:0], c.flights[:0]
	for len(c.flights) < most {
		start := len(c.out)
		b, to, ok := c.lcce.Transmit(c.out)
		if !ok {
			return
		}
		c.out = b
		c.flights = append(c.flights, flight{to, start, len(b)})
	}
}

// flush sends what was gathered, neighbours for one peer at once.
func (c *channel) flush() {
	for i := 0; i < len(c.flights); {
		to := c.flights[i].to
		c.packets = c.packets[:0]
		for ; i < len(c.flights) && c.flights[i].to == to; i++ {
			f := c.flights[i]
			c.packets = append(c.packets, transport.Packet{Head: c.vias[to.Via].head, Body: c.out[f.start:f.end]})
		}
		path, err := c.path(to, nil)
		if err == nil {
			err = c.vias[to.Via].writer.Write(path, c.packets).Err
		}
		if err != nil {
			c.failed(to, err)
		}
	}
}

// maxPaths bounds the paths that are kept. Most belong to tunnels; those of whoever
// else was answered go when there are too many.
const maxPaths = 1 << 16

// path returns the path to a peer.
func (c *channel) path(to control.Address, cfg *TunnelConfig) (*transport.Path, error) {
	if p := c.paths[to]; p != nil && cfg == nil {
		return p, nil
	}
	pc := transport.PathConfig{Peer: to.Peer, Local: to.Local}
	if cfg != nil {
		pc.DSCP, pc.TTL = cfg.DSCP, cfg.TTL
	}
	p, err := c.vias[to.Via].conn.NewPath(pc)
	if err != nil {
		return nil, err
	}
	if len(c.paths) >= maxPaths {
		clear(c.paths)
	}
	c.paths[to] = p
	return p, nil
}

// failed notes that a control message could not be sent: it will be sent again.
func (c *channel) failed(to control.Address, err error) {
	for _, d := range c.tunnels {
		if d.at == to {
			d.err = err
		}
	}
}

// via returns the number of a socket.
func (c *channel) via(conn *transport.Conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.vias, func(v via) bool { return v.conn == conn }); i >= 0 {
		return i
	}
	v := via{conn: conn, writer: conn.NewWriter()}
	if conn.Config().Encap == wire.IP {
		v.head = make([]byte, 4) // a Session ID of 0, RFC 3931 section 4.1.1.2
	}
	c.vias = append(c.vias, v)
	return len(c.vias) - 1
}

// look tells the machines whose peers have sent data, and the sessions what their
// paths carry.
func (c *channel) look() {
	for _, d := range c.tunnels {
		if d.path == nil {
			continue
		}
		for _, s := range d.sessions {
			if at := s.stats().LastReceived; at.After(d.heard) {
				d.heard = at
			}
		}
		if !d.heard.IsZero() {
			c.lcce.Heard(d.cfg.Name, d.heard)
		}
		c.measure(d)
	}
}

// measure asks for the MTU of a tunnel's path.
func (c *channel) measure(d *Dynamic) {
	conn := c.vias[d.at.Via].conn
	mtu, err := conn.PathMTU(d.path)
	if err != nil {
		d.err = err
		return
	}
	d.err = nil
	d.mtu = mtu
	for _, s := range d.sessions {
		s.setMTU(mtu, d.cfg.Encap(), d.at.Peer.Addr().Is6())
	}
}

// apply does what an event asks for.
func (c *channel) apply(e *control.Event) {
	d := c.tunnels[e.Tunnel]
	log := c.log.With("tunnel", e.Tunnel)
	var s *Session
	if d != nil && e.Session != "" {
		s = d.sessions[e.Session]
		log = c.log.With("session", e.Session)
	}
	switch e.Kind {
	case control.TunnelAdded:
		if t := c.tunnels[e.Template]; t != nil {
			c.tunnels[e.Tunnel] = t.instance(e.Tunnel)
		}
	case control.TunnelRemoved:
		delete(c.tunnels, e.Tunnel)
	case control.TunnelDialing:
		log.Debug("dialling", "peer", e.Address.Peer.String())
	case control.TunnelUp:
		c.reached(d, e)
		log.Info("tunnel up", "peer", e.Address.Peer.String(), "host_name", e.Peer.HostName, "router_id", RouterID(e.Peer.RouterID),
			"vendor", e.Peer.VendorName, "window", e.Peer.ReceiveWindow)
	case control.TunnelMoved:
		c.reached(d, e)
		log.Info("tunnel follows its peer to another address", "peer", e.Address.Peer.String(), "was", strings.TrimPrefix(e.Reason, "from "))
	case control.TunnelDown:
		if d != nil {
			d.forget(c)
		}
		log.Warn("tunnel down", "why", e.Reason, "next_attempt", until(e.Next, e.Time))
	case control.SessionAdded:
		if d != nil {
			s = d.add(e.Session, e.Circuit.Name, e.EndID)
			if d.path != nil {
				s.setPath(c.vias[d.at.Via].conn, d.path)
			}
		}
	case control.SessionRemoved:
		if d != nil {
			delete(d.sessions, e.Session)
		}
	case control.SessionOpen:
		c.open(s, e, log)
	case control.SessionUp:
		c.up(s, e, log)
	case control.SessionDown:
		c.down(s, e, log)
	case control.SessionCircuit:
		if s != nil {
			s.setPaused(e.Status&wire.CircuitActive == 0)
		}
		log.Info("the peer's circuit changed", "status", e.Status.String())
	case control.SessionErrors:
		log.Warn("the peer's circuit has errors", "hardware_overruns", e.Errors.HardwareOverruns, "buffer_overruns", e.Errors.BufferOverruns,
			"timeout_errors", e.Errors.TimeoutErrors, "alignment_errors", e.Errors.AlignmentErrors)
	case control.Noted:
		if e.Time.Sub(c.noted) >= noteEvery {
			c.noted = e.Time
			log.Warn("control protocol", "note", e.Reason, "peer", e.Address.Peer.String())
		}
	}
	if c.tell != nil {
		c.told = append(c.told, Event{*e, s})
	}
}

// noteEvery is how often what strangers can cause is logged at most.
const noteEvery = 100 * time.Millisecond

func until(at, now time.Time) string {
	if at.IsZero() {
		return "none"
	}
	return "in " + at.Sub(now).Round(100*time.Millisecond).String()
}

// RouterID shows a Router ID as the address that it mostly is.
func RouterID(id uint32) string {
	return netip.AddrFrom4([4]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}).String()
}

// reached takes where a tunnel's peer is, and has its sessions send there.
func (c *channel) reached(d *Dynamic, e *control.Event) {
	if d == nil {
		return
	}
	path, err := c.path(e.Address, &d.cfg.TunnelConfig)
	if err != nil {
		d.err = err
		return
	}
	d.at, d.path, d.err, d.heard = e.Address, path, nil, time.Time{}
	for _, s := range d.sessions {
		s.setPath(c.vias[d.at.Via].conn, path)
	}
	c.measure(d)
}

// open opens a Link for a session that may receive.
func (c *channel) open(s *Session, e *control.Event, log *slog.Logger) {
	if s == nil {
		return
	}
	l, err := c.endpoint.plane.Open(s.dataplaneParams(&e.Params))
	if err != nil {
		log.Error("session not opened", "err", err)
		return
	}
	s.add(l, s.dataplaneParams(&e.Params))
	c.links[e.Params.SessionID] = link{l, s, e.Params}
	d := c.tunnels[e.Tunnel]
	if d.mtu != 0 {
		s.setMTU(d.mtu, d.cfg.Encap(), d.at.Peer.Addr().Is6())
	}
}

// up makes a session the one to send by.
func (c *channel) up(s *Session, e *control.Event, log *slog.Logger) {
	l, ok := c.links[e.Params.SessionID]
	if !ok || s == nil {
		return
	}
	if l.params != e.Params { // what connects may change what was replied
		c.drop(e.Params.SessionID)
		c.open(s, e, log)
		if l, ok = c.links[e.Params.SessionID]; !ok {
			return
		}
	}
	s.use(l.Link, e.Status&wire.CircuitActive == 0)
	p := &e.Params
	args := []any{"id", p.SessionID, "peer_id", p.PeerSessionID, "pseudowire", p.Pseudowire.String(),
		"cookies", fmt.Sprintf("%d/%d", p.ReceiveCookie.Len(), p.SendCookie.Len()), "peer_circuit", e.Status.String()}
	if e.Former != 0 {
		log.Info("session has taken over", append(args, "from", e.Former)...)
		return
	}
	log.Info("session up", args...)
}

func (c *channel) down(s *Session, e *control.Event, log *slog.Logger) {
	c.drop(e.Params.SessionID)
	former := s != nil && s.Up()
	switch {
	case former:
		log.Info("former session closed", "id", e.Params.SessionID)
	case e.Next.IsZero():
		log.Warn("session down", "why", e.Reason)
	default:
		log.Warn("session down", "why", e.Reason, "next_attempt", until(e.Next, e.Time))
	}
}

func (c *channel) drop(id uint32) {
	if l, ok := c.links[id]; ok {
		delete(c.links, id)
		l.session.drop(l.Link)
	}
}

// dataplaneParams puts a session's parameters as planes take them.
func (s *Session) dataplaneParams(p *control.Params) dataplane.Params {
	q := dataplane.Params{
		Name:           s.name,
		SessionID:      p.SessionID,
		PeerSessionID:  p.PeerSessionID,
		ReceiveCookie:  p.ReceiveCookie,
		SendCookie:     p.SendCookie,
		Pseudowire:     p.Pseudowire,
		Sublayer:       p.Sublayer,
		PeerSublayer:   p.PeerSublayer,
		Sequencing:     p.Sequencing,
		PeerSequencing: p.PeerSequencing,
	}
	if p.Sequencing != pseudowire.NoSequencing {
		q.ReorderTimeout = s.circuit.ReorderTimeout
	}
	return q
}

// trace logs a control message, AVP by AVP.
func (c *channel) trace(t control.Traced) {
	what := "received"
	if t.Out {
		what = "sent"
	}
	h, _, err := wire.ParseControl(t.Message)
	if err != nil {
		return
	}
	kind := "ZLB"
	var avps []string
	all, err := wire.Describe(t.Message, t.Secret)
	for i, a := range all {
		if i == 0 {
			kind = a.Value
			continue
		}
		hidden := ""
		if a.Hidden {
			hidden = " (hidden)"
		}
		avps = append(avps, a.Name+hidden+": "+a.Value)
	}
	if err != nil {
		avps = append(avps, err.Error())
	}
	c.log.Debug(what+" "+kind, "tunnel", t.Tunnel, "peer", t.At.Peer.String(), "connection_id", h.ConnectionID,
		"ns", h.Ns, "nr", h.Nr, "avps", strings.Join(avps, "; "))
}
