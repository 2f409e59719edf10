package l2tpv3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/l2tpv2"
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
// control messages and the time to the machines of packages control and l2tpv2, sends
// what they have to send, and does to sessions and calls what they say.
type channel struct {
	endpoint *Endpoint
	log      *slog.Logger
	wake     chan struct{}

	// What has come and waits. Peers are not to wait behind a flood of strangers.
	peers     queue
	strangers queue
	spare     sync.Pool // of messages
	knownMu   sync.RWMutex
	known     map[source]int // those of peers, and of how many

	mu      sync.Mutex
	lcce    *control.LCCE
	vias    []via
	ways    map[control.Address]*way            // to peers
	paths   map[control.Address]*transport.Path // to whoever else is answered
	tunnels map[string]*Dynamic
	all     []*Dynamic      // the tunnels, as they are looked after in turn
	looked  int             // of them in this turn
	ports   []*Session      // of all tunnels, for Glance; nil: to be gathered anew
	static  int             // how many static tunnels they are of
	links   map[uint32]link // open ones, by our Session ID
	tell    func(Event)
	told    []Event // to be told when mu is free

	node      *l2tpv2.Node
	configsV2 map[string]*configV2
	tunnelsV2 map[uint16]*tunnelV2 // established ones, by our Tunnel ID
	allV2     []*tunnelV2          // the same, as they are looked after
	calls     map[l2tpv2.CallID]*Call
	tellV2    func(Version2Event)
	toldV2    []Version2Event

	out     []byte // what is to be sent, one after the other
	flights []flight
	packets []transport.Packet
	closed  bool
}

// A via is a socket, to which control.Address refers by its place.
type via struct {
	conn   *transport.Conn
	encap  wire.Encap
	writer *transport.Writer
	head   []byte // before each control message
	full   bool   // there was no room in it just now
}

// A source is where a message comes from.
type source struct {
	via  int
	peer netip.AddrPort
}

// A way is the path to a peer and how many tunnels use it.
type way struct {
	path  *transport.Path
	users int
	err   error // of the last message that was sent by it
}

// A link is an open session's Link.
type link struct {
	dataplane.Link
	session *Session
	params  dataplane.Params
	used    bool // frames were sent by it
}

// A queue is of messages that wait.
type queue struct {
	messages chan *message
	octets   atomic.Int64
}

// A message is a control message as it came.
type message struct {
	at    control.Address
	octet []byte
	queue *queue
}

// A flight is a message in channel.out.
type flight struct {
	to         control.Address
	start, end int
}

// What a queue holds at most: what comes beyond is lost, and sent again.
const (
	maxQueue  = 8192 // messages
	maxOctets = 8 << 20
	maxSpare  = 4096 // octets of a message's buffer that is kept
)

func newChannel(e *Endpoint, cfg control.Config) *channel {
	c := &channel{
		endpoint:  e,
		log:       e.log,
		wake:      make(chan struct{}, 1),
		peers:     queue{messages: make(chan *message, maxQueue)},
		strangers: queue{messages: make(chan *message, maxQueue)},
		known:     make(map[source]int),
		ways:      make(map[control.Address]*way),
		paths:     make(map[control.Address]*transport.Path),
		tunnels:   make(map[string]*Dynamic),
		links:     make(map[uint32]link),
		configsV2: make(map[string]*configV2),
		tunnelsV2: make(map[uint16]*tunnelV2),
		calls:     make(map[l2tpv2.CallID]*Call),
	}
	c.spare.New = func() any { return new(message) }
	v2 := l2tpv2.Config{HostName: cfg.HostName, VendorName: cfg.VendorName, HalfOpen: cfg.HalfOpen, RequestRate: cfg.RequestRate, Random: cfg.Random}
	if e.log.Enabled(context.Background(), slog.LevelDebug) {
		cfg.Trace = c.trace
		v2.Trace = c.traceV2
	}
	c.lcce, c.node = control.New(cfg), l2tpv2.New(v2)
	return c
}

// receive takes a control message from the goroutine that reads a socket.
func (c *channel) receive(via int, wildcard bool, d *transport.Datagram, b []byte) bool {
	q := &c.strangers
	c.knownMu.RLock()
	if c.known[source{via, d.From}] > 0 {
		q = &c.peers
	}
	c.knownMu.RUnlock()
	if q.octets.Add(int64(len(b))) > maxOctets {
		q.octets.Add(-int64(len(b)))
		return false
	}
	m := c.spare.Get().(*message)
	m.at = control.Address{Via: via, Peer: d.From}
	if wildcard {
		m.at.Local = d.To
	}
	m.octet, m.queue = append(m.octet[:0], b...), q
	select {
	case q.messages <- m:
		return true
	default:
		c.put(m)
		return false
	}
}

// put keeps a message's memory for the next.
func (c *channel) put(m *message) {
	m.queue.octets.Add(-int64(len(m.octet)))
	if cap(m.octet) > maxSpare {
		m.octet = nil
	}
	c.spare.Put(m)
}

// run drives the machines until ctx ends.
func (c *channel) run(ctx context.Context) {
	timer, look := time.NewTimer(time.Hour), time.NewTimer(checkEvery)
	defer timer.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-c.peers.messages:
			c.mu.Lock()
			c.take(m)
		case m := <-c.strangers.messages:
			c.mu.Lock()
			c.take(m)
		case <-c.wake:
			c.mu.Lock()
		case <-timer.C:
			c.mu.Lock()
		case <-look.C:
			c.mu.Lock()
			look.Reset(c.look())
		}
		now := time.Now()
		c.lcce.Advance(now)
		c.node.Advance(now)
		c.drain()
		wait := time.Hour
		for _, at := range []time.Time{c.lcce.Deadline(), c.node.Deadline()} {
			if !at.IsZero() {
				wait = min(wait, at.Sub(now))
			}
		}
		told, tell, toldV2, tellV2 := c.told, c.tell, c.toldV2, c.tellV2
		c.told, c.toldV2 = nil, nil
		c.mu.Unlock()
		timer.Reset(max(wait, 0))
		if tellV2 != nil {
			for i := range toldV2 {
				tellV2(toldV2[i])
			}
		}
		if tell != nil {
			for i := range told {
				tell(told[i])
			}
		}
	}
}

// take hands a message to the machines, and those that wait behind it, peers'
// first.
func (c *channel) take(m *message) {
	const most = 256
	for n := 0; ; n++ {
		c.hand(time.Now(), m)
		c.put(m)
		if n == most {
			return
		}
		select {
		case m = <-c.peers.messages:
			continue
		default:
		}
		select {
		case m = <-c.peers.messages:
		case m = <-c.strangers.messages:
		default:
			return
		}
	}
}

// hand hands a message to the machine of its version. An SCCRQ for both is L2TPv3's
// where that has a tunnel to such a peer, and else L2TPv2's.
func (c *channel) hand(now time.Time, m *message) {
	if len(c.configsV2) > 0 {
		kind, _, _ := wire.Classify(c.vias[m.at.Via].encap, m.octet)
		if kind == wire.Version2 && !c.lcce.Takes(m.at, m.octet) {
			c.node.Receive(now, toV2(m.at), m.octet)
			return
		}
	}
	c.lcce.Receive(now, m.at, m.octet)
}

// do has the machines do something, and what follows from it done soon.
func (c *channel) do(f func(now time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f(time.Now())
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return err
}

// drain sends what is to be sent and does what is to be done. What a session may
// receive is opened before the message leaves by which the peer learns of it.
func (c *channel) drain() {
	for i := range c.vias {
		c.vias[i].full = false
	}
	for {
		c.collect()
		for {
			e, ok := c.lcce.Event()
			if !ok {
				break
			}
			c.apply(&e)
		}
		for {
			e, ok := c.node.Event()
			if !ok {
				break
			}
			c.applyV2(&e)
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
			var at l2tpv2.Address
			if b, at, ok = c.node.Transmit(c.out); !ok {
				return
			}
			to = fromV2(at)
		}
		c.out = b
		c.flights = append(c.flights, flight{to, start, len(b)})
	}
}

// flush sends what was gathered, neighbours for one peer at once. A socket that has
// no room is waited for once: what it does not take then is as good as lost on the
// way.
func (c *channel) flush() {
	for i := 0; i < len(c.flights); {
		to := c.flights[i].to
		c.packets = c.packets[:0]
		for ; i < len(c.flights) && c.flights[i].to == to; i++ {
			f := c.flights[i]
			c.packets = append(c.packets, transport.Packet{Head: c.vias[to.Via].head, Body: c.out[f.start:f.end]})
		}
		v := &c.vias[to.Via]
		if v.full {
			continue
		}
		w := c.ways[to]
		path, err := c.path(to)
		if err == nil {
			err = v.writer.Write(path, c.packets).Err
		}
		v.full = errors.Is(err, unix.EAGAIN)
		if w != nil {
			w.err = err
		}
	}
}

// maxPaths bounds the paths to those who are no tunnel's peer.
const maxPaths = 4096

// path returns the path to a peer, or to whoever else is answered.
func (c *channel) path(to control.Address) (*transport.Path, error) {
	if w := c.ways[to]; w != nil {
		return w.path, nil
	}
	if p := c.paths[to]; p != nil {
		return p, nil
	}
	p, err := c.vias[to.Via].conn.NewPath(transport.PathConfig{Peer: to.Peer, Local: to.Local})
	if err != nil {
		return nil, err
	}
	if len(c.paths) >= maxPaths {
		clear(c.paths)
	}
	c.paths[to] = p
	return p, nil
}

// hold returns the path to a tunnel's peer, and keeps it until release.
func (c *channel) hold(to control.Address, cfg *TunnelConfig) (*transport.Path, error) {
	p, err := cfg.path(c.vias[to.Via].conn, to.Peer, to.Local)
	if err != nil {
		return nil, err
	}
	w := c.ways[to]
	if w == nil {
		w = new(way)
		c.ways[to] = w
		delete(c.paths, to)
	}
	w.path = p
	w.users++
	c.knownMu.Lock()
	defer c.knownMu.Unlock()
	c.known[source{to.Via, to.Peer}]++
	return p, nil
}

// release gives up a path.
func (c *channel) release(to control.Address) {
	w := c.ways[to]
	if w == nil {
		return
	}
	if w.users--; w.users == 0 {
		delete(c.ways, to)
	}
	from := source{to.Via, to.Peer}
	c.knownMu.Lock()
	defer c.knownMu.Unlock()
	if c.known[from]--; c.known[from] == 0 {
		delete(c.known, from)
	}
}

// pathError returns why what was last sent to a peer could not be sent.
func (c *channel) pathError(to control.Address) error {
	if w := c.ways[to]; w != nil {
		return w.err
	}
	return nil
}

// via returns the number of a socket.
func (c *channel) via(conn *transport.Conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.vias, func(v via) bool { return v.conn == conn }); i >= 0 {
		return i
	}
	v := via{conn: conn, encap: conn.Config().Encap, writer: conn.NewWriter()}
	if v.encap == wire.IP {
		v.head = make([]byte, 4) // a Session ID of 0, RFC 3931 section 4.1.1.2
	}
	c.vias = append(c.vias, v)
	return len(c.vias) - 1
}

// look looks after the next tunnels, so many at a time that nothing else waits for
// long, and returns when to go on: each has its turn every checkEvery.
func (c *channel) look() time.Duration {
	const most = 128
	all := len(c.all) + len(c.allV2)
	if c.looked >= all {
		c.looked = 0
	}
	for end := min(c.looked+most, all); c.looked < end; c.looked++ {
		if i := c.looked - len(c.all); i >= 0 {
			c.attendV2(c.allV2[i])
		} else if d := c.all[c.looked]; d.path != nil {
			c.attend(d)
		}
	}
	return checkEvery / time.Duration(max((all+most-1)/most, 1))
}

// attend tells the machines when a tunnel's peer has last sent data, and its
// sessions what its path carries.
func (c *channel) attend(d *Dynamic) {
	for _, s := range d.sessions {
		if at := s.lastReceived(); at.After(d.heard) {
			d.heard = at
		}
	}
	if !d.heard.IsZero() {
		c.lcce.Heard(d.cfg.Name, d.heard)
	}
	c.measure(d)
}

// add adds a tunnel, and remove removes it.
func (c *channel) add(d *Dynamic) {
	c.tunnels[d.cfg.Name] = d
	d.place = len(c.all)
	c.all = append(c.all, d)
	c.ports = nil
}

func (c *channel) remove(d *Dynamic) {
	delete(c.tunnels, d.cfg.Name)
	last := len(c.all) - 1
	c.all[d.place] = c.all[last]
	c.all[d.place].place = d.place
	c.all[last] = nil
	c.all = c.all[:last]
	c.ports = nil
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
			c.add(t.instance(e.Tunnel))
		}
	case control.TunnelRemoved:
		if d != nil {
			c.remove(d)
		}
	case control.TunnelDialing:
		log.Debug("dialling", "peer", e.Address.Peer.String())
	case control.TunnelUp:
		c.reached(d, e)
		d.hadUp()
		if d != nil && d.other != nil {
			d.other.attempts = 0
			c.node.Yield(e.Time, e.Tunnel)
		}
		log.Info("tunnel up", "peer", e.Address.Peer.String(), "host_name", e.Peer.HostName, "router_id", RouterID(e.Peer.RouterID),
			"vendor", e.Peer.VendorName, "window", e.Peer.ReceiveWindow, "path_mtu", d.pathMTU())
	case control.TunnelMoved:
		c.reached(d, e)
		log.Info("tunnel follows its peer to another address", "peer", e.Address.Peer.String(), "was", strings.TrimPrefix(e.Reason, "from "))
	case control.TunnelDown:
		args := []any{"why", e.Reason, "peer", e.Address.Peer.String(), "next_attempt", until(e.Next, e.Time)}
		if err := c.pathError(e.Address); err != nil {
			args = append(args, "err", why(err))
		}
		var told *repeated
		if d != nil {
			d.forget(c)
			told = &d.down
		}
		told.log(log, "tunnel down", e.Reason, e.Time, args)
	case control.SessionAdded:
		if d != nil {
			s = d.add(e.Session, e.Circuit.Name, e.EndID)
			c.ports = nil
			if d.path != nil {
				s.setPath(c.vias[d.at.Via].conn, d.path)
			}
		}
	case control.SessionRemoved:
		if d != nil {
			delete(d.sessions, e.Session)
			c.ports = nil
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
		var told *repeated
		if d != nil {
			told = &d.noted
		}
		told.log(log, "control protocol", e.Reason, e.Time, []any{"note", e.Reason, "peer", e.Address.Peer.String()})
	}
	if c.tell != nil {
		c.told = append(c.told, Event{*e, s})
	}
}

func until(at, now time.Time) string {
	if at.IsZero() {
		return "none"
	}
	return "in " + at.Sub(now).Round(100*time.Millisecond).String()
}

// A repeated is what was last logged of something that may be tried again and again.
type repeated struct {
	reason string
	at     time.Time
	more   int // that were not logged
}

// remindEvery is how often it is logged that something goes on.
const remindEvery = 10 * time.Minute

// log logs a thing that is not as it should be: at once if its reason is another
// than it was, and now and then if not. What somebody wants so is no warning.
func (r *repeated) log(log *slog.Logger, what, reason string, at time.Time, args []any) {
	level := slog.LevelWarn
	switch {
	case reason == control.ShutDown:
		level = slog.LevelDebug // of all at once
	case reason == control.ByCommand, reason == control.FellBack:
		level = slog.LevelInfo
	case r == nil:
	case reason == r.reason && at.Sub(r.at) < remindEvery:
		r.more++
		level = slog.LevelDebug
	default:
		if r.more > 0 && reason == r.reason {
			args = append(args, "as_often_before", r.more)
		}
		*r = repeated{reason: reason, at: at}
	}
	log.Log(context.Background(), level, what, args...)
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
	d.state, d.err, d.heard = "", nil, time.Time{} // whatever became of its name
	path, err := c.hold(e.Address, &d.cfg.TunnelConfig)
	if err != nil {
		d.err = err
		return
	}
	if d.path != nil {
		c.release(d.at)
	}
	d.at, d.path = e.Address, path
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
	params := s.dataplaneParams(&e.Params)
	l, err := c.endpoint.plane.Open(params)
	if err != nil {
		log.Error("session not opened", "err", err)
		return
	}
	s.add(l, params)
	c.links[params.SessionID] = link{Link: l, session: s, params: params}
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
	if l.params != s.dataplaneParams(&e.Params) { // what connects may change what was replied
		c.drop(e.Params.SessionID)
		c.open(s, e, log)
		if l, ok = c.links[e.Params.SessionID]; !ok {
			return
		}
	}
	l.used = true
	c.links[e.Params.SessionID] = l
	s.use(l.Link, e.Status&wire.CircuitActive == 0)
	p := &e.Params
	args := []any{"id", p.SessionID, "peer_id", p.PeerSessionID, "pseudowire", p.Pseudowire.String(),
		"cookies", fmt.Sprintf("%d/%d", p.ReceiveCookie.Len(), p.SendCookie.Len()), "peer_circuit", e.Status.String()}
	if e.Former != 0 {
		log.Info("session has taken over", append(args, "from", e.Former)...)
		return
	}
	s.told = repeated{}
	log.Info("session up", args...)
}

func (c *channel) down(s *Session, e *control.Event, log *slog.Logger) {
	used := c.links[e.Params.SessionID].used
	c.drop(e.Params.SessionID)
	former := s != nil && s.Up()
	args := []any{"why", e.Reason, "next_attempt", until(e.Next, e.Time)}
	switch {
	case e.Reason == control.TunnelClosed: // of which more is told
		log.Debug("session down", args...)
	case former && used:
		log.Info("former session closed", "id", e.Params.SessionID)
	case former: // of which there is a note
		log.Debug("session closed before it took over", "id", e.Params.SessionID, "why", e.Reason)
	case s == nil:
		log.Warn("session down", args...)
	default:
		s.told.log(log, "session down", e.Reason, e.Time, args)
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
	all, err := wire.Describe(t.Message, t.Secret)
	c.logTraced(t.Out, t.Tunnel, t.At, t.Message, all, err)
}

func (c *channel) traceV2(t l2tpv2.Traced) {
	all, err := wire.DescribeV2(t.Message, t.Secret)
	c.logTraced(t.Out, t.Tunnel, fromV2(t.At), t.Message, all, err)
}

func (c *channel) logTraced(out bool, tunnel string, at control.Address, message []byte, all []wire.Described, err error) {
	what := "received"
	if out {
		what = "sent"
	}
	h, _, bad := wire.ParseControl(message)
	if bad != nil {
		return
	}
	kind := "ZLB"
	var avps []string
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
	id := slog.Any("connection_id", h.ConnectionID)
	if h.Version == 2 {
		id = slog.String("ids", fmt.Sprintf("%d/%d", h.ConnectionID>>16, h.ConnectionID&0xffff))
	}
	c.log.Debug(what+" "+kind, "tunnel", tunnel, "peer", at.Peer.String(), id, "ns", h.Ns, "nr", h.Nr, "avps", strings.Join(avps, "; "))
}
