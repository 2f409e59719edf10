package lns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/bridge/tap"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/radius"
)

// A ClientConfig says how to dial in. The zero value of all but the name and the user
// is good.
type ClientConfig struct {
	Name string // of the TUN
	MTU  int    // of the link and the TUN at most; 0: DefaultMTU

	// User and Password are what we prove who we are with, by one of Prove, the best
	// first; nil: MS-CHAPv2 and CHAP.
	User, Password string
	Prove          []ppp.Method

	NoIPv4, NoIPv6 bool
	Address        netip.Addr // of IPv4 that we ask for; invalid: any

	// Routes lead to the link while it is up. One of everything leaves the default
	// route as it is, and leads past it.
	Routes []netip.Prefix

	// DNSFile gets the servers that the peer names, as resolv.conf has them, and is as
	// it was when the link is down. Resolvectl is the path of that program, which is
	// told the same; empty: neither.
	DNSFile, Resolvectl string

	KeepMSS      bool // does not have TCP segments fit the link
	Encryption   ppp.Encryption
	EchoInterval time.Duration // as ppp.Config has it
	EchoFailures int

	UpScript, DownScript Hook // when the link carries packets, and when it does not any more

	Event func(ClientEvent)
	Log   *slog.Logger // nil: slog.Default()
}

// A ClientEvent is what happened to a client's link.
type ClientEvent struct {
	Kind   EventKind // Up, Changed or Down
	Status Status    // as it was then
	Closed Closed    // of Down
}

// A Client is the PPP end of one who dials in: a TUN, and one link after the other.
type Client struct {
	cfg    ClientConfig
	device device
	host   *host
	clock  *clock
	drops  drops
	hooks  *hooks
	log    *slog.Logger
	ran    chan error
	link   atomic.Pointer[ClientLink] // that packets go to; nil: none

	mu      sync.Mutex
	current *ClientLink // that is not over
	closed  bool

	dns dnsHandover
}

// NewClient opens the TUN. It has no addresses until there is a link.
func NewClient(cfg ClientConfig) (*Client, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	t, err := tap.Open(tap.Config{Name: cfg.Name, TUN: true, MTU: c.cfg.MTU})
	if err != nil {
		return nil, err
	}
	if c.host, err = newHost(cfg.Name, c.log); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	c.start(t)
	return c, nil
}

func newClient(cfg ClientConfig) (*Client, error) {
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.MTU < ppp.MinMRU || cfg.MTU > 65535 {
		return nil, fmt.Errorf("lns: MTU %d, want %d to 65535", cfg.MTU, ppp.MinMRU)
	}
	c := &Client{cfg: cfg, clock: newClock(), log: cfg.Log, ran: make(chan error, 1)}
	c.hooks = newHooks(c.log)
	c.dns = dnsHandover{file: cfg.DNSFile, resolvectl: cfg.Resolvectl, device: cfg.Name}
	if _, err := ppp.New(c.pppConfig()); err != nil {
		return nil, fmt.Errorf("lns: %w", err)
	}
	return c, nil
}

func (c *Client) pppConfig() ppp.Config {
	return ppp.Config{
		MRU: c.cfg.MTU, Name: c.cfg.User, Password: c.cfg.Password, Prove: c.cfg.Prove,
		IPv4:       ppp.IPv4Config{Off: c.cfg.NoIPv4, Local: c.cfg.Address, AskDNS: true},
		IPv6:       ppp.IPv6Config{Off: c.cfg.NoIPv6},
		Encryption: c.cfg.Encryption, EchoInterval: c.cfg.EchoInterval, EchoFailures: c.cfg.EchoFailures,
		FirstRestart: time.Second,
	}
}

// start begins to carry packets from and to a device.
func (c *Client) start(d device) {
	c.device = d
	w := newForwarder(&c.drops, d.Send, !c.cfg.KeepMSS)
	d.Attach(func(packets []pseudowire.Frame) int {
		l := c.link.Load()
		if l == nil {
			c.drops.noLink.Add(uint64(len(packets)))
			return 0
		}
		for _, p := range packets {
			w.add(&l.end, p)
		}
		w.send(&l.end)
		return len(packets)
	})
	go c.clock.run()
	go func() { c.ran <- d.Run() }()
}

// Name returns the TUN's name.
func (c *Client) Name() string { return c.device.Name() }

// Failed returns a channel that tells why the TUN carries nothing any more, if it does
// not while the Client is not closed.
func (c *Client) Failed() <-chan error { return c.ran }

// Link returns the link that there is; nil: none.
func (c *Client) Link() *ClientLink {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Drops returns the packets that went nowhere.
func (c *Client) Drops() Drops { return c.drops.read() }

// Open begins a link over a port, when there is none. call.Peer is where the tunnel
// goes: the way there stays what it is, whatever the routes. closed is called, once,
// when the link is closed by itself, for the owner to close the port.
func (c *Client) Open(port Port, call Call, closed func(Closed)) (*ClientLink, error) {
	l := &ClientLink{client: c, call: call, closed: closed}
	l.port, l.clock = port, c.clock
	l.timer.due = l.due
	l.happened = l.take
	l.deadline = func() time.Time { return l.solicit }
	l.resize = func() {
		l.agree(l.agreed)
		l.setMTU()
	}
	l.agree(c.cfg.MTU)
	l.opened = time.Now()
	l.id = newSessionID()
	var err error
	if l.ppp, err = ppp.New(c.pppConfig()); err != nil {
		return nil, fmt.Errorf("lns: %w", err)
	}
	c.mu.Lock()
	if c.current != nil || c.closed {
		c.mu.Unlock()
		return nil, ErrFull
	}
	c.current = l
	c.mu.Unlock()
	l.tell(func(now time.Time) { l.ppp.Open(now) })
	port.Attach(l.deliver) // now that the machine takes what has come already
	return l, nil
}

// Close ends the link that there may be and removes the TUN. The peer has until ctx
// ends to say that it has heard.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	l := c.current
	c.mu.Unlock()
	if l != nil {
		l.Disconnect()
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for c.busy() {
		select {
		case <-ctx.Done():
			l.Close()
		case <-tick.C:
		}
	}
	c.clock.stop()
	if c.host != nil {
		c.host.close()
	}
	c.hooks.wait()
	return c.device.Close()
}

func (c *Client) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current != nil
}

// later does something to the host, after all that was to be done before.
func (c *Client) later(what string, do func() error) {
	if c.host == nil {
		return
	}
	c.host.crew.do(func() {
		if err := do(); err != nil {
			c.log.Warn(what, "interface", c.cfg.Name, "error", err)
		}
	})
}

// A ClientLink is a Client's link.
type ClientLink struct {
	end
	client *Client
	call   Call
	closed func(Closed)

	// All below is mu's.
	id         string
	opened     time.Time
	since      time.Time
	method     ppp.Method
	text       string
	up4, up6   bool
	local      netip.Addr
	peer       netip.Addr
	linkLocal  netip.Addr
	prefix     netip.Prefix // of which the peer has us make an address
	dns4, dns6 []netip.Addr

	solicit time.Time     // when to ask for a router again; zero: never
	asking  time.Duration // until then
}

// deliver takes the frames of the peer.
func (l *ClientLink) deliver(frames []pseudowire.Frame) int {
	c := l.client
	return l.carry(frames, l.passes, !c.cfg.KeepMSS, c.device, &c.drops)
}

// passes reports whether a packet may go to the TUN. What routers say is taken here.
func (l *ClientLink) passes(p ppp.Protocol, b []byte) bool {
	if p != ppp.IPv6 || len(b) <= ipv6Len || b[6] != protocolICMPv6 || b[ipv6Len] != routerAdvertisement {
		return true
	}
	if a, ok := parseAdvertisement(b); ok {
		l.tell(func(time.Time) { l.advertised(a) })
	}
	return false
}

// due does what is to be done at this time.
func (l *ClientLink) due(now time.Time) {
	l.mu.Lock()
	if !l.over {
		if !l.solicit.IsZero() && !now.Before(l.solicit) {
			l.ask(now)
		}
		l.ppp.Advance(now)
		l.drain(now)
	}
	l.unlock()
}

// ask asks for a router, RFC 4861 section 6.3.7, again and again until there is one: who
// gives up when three questions were lost is without a prefix until the router speaks by
// itself. RFC 7559 section 2.
func (l *ClientLink) ask(now time.Time) {
	const first, most = 4 * time.Second, time.Hour
	if l.asking = min(2*l.asking, most); l.asking == 0 {
		l.asking = first
	}
	l.solicit = now.Add(l.asking)
	l.sendPacket(appendSolicitation(make([]byte, pseudowire.Headroom, frameRoom), l.linkLocal), ppp.IPv6)
}

// Disconnect ends the link: the peer is told, and when it has answered, or has not for
// some seconds, the owner.
func (l *ClientLink) Disconnect() { l.tell(func(now time.Time) { l.ppp.Close(now) }) }

// Fit has the link send packets of mtu octets at most, which is what the path carries.
func (l *ClientLink) Fit(mtu int) {
	l.tell(func(time.Time) {
		l.fits = mtu
		l.resize()
	})
}

// setMTU has the TUN take no packet that the link does not, as far as the kernel leaves
// it IPv6.
func (l *ClientLink) setMTU() {
	c, mtu := l.client, max(int(l.mtu.Load()), MinMTU)
	c.later("MTU", func() error { return c.host.setMTU(mtu) })
}

// Close ends the link at once, without a word to the peer: its port is gone. The owner
// is not told.
func (l *ClientLink) Close() {
	l.tell(func(time.Time) { l.finish(Closed{Cause: radius.LostCarrier, Text: "session closed"}) })
}

// take takes an event of the machine. mu is held.
func (l *ClientLink) take(now time.Time, e ppp.Event) {
	switch e.Kind {
	case ppp.LCPUp:
		s := l.ppp.Status()
		l.method = s.Proof
		l.agree(min(s.PeerMRU, l.client.cfg.MTU))
		l.setMTU()
	case ppp.IPv4Up:
		l.ipv4Up(now, e)
	case ppp.IPv4Down:
		l.ipv4Down()
		l.changed()
	case ppp.IPv6Up:
		l.ipv6Up(now, e)
	case ppp.IPv6Down:
		l.ipv6Down()
		l.changed()
	case ppp.LinkClosed:
		c := Closed{Cause: causeOf(e.Reason), Reason: e.Reason, Message: e.Message, Text: l.text}
		c.Disconnect = disconnect(e.Reason, c.Cause, l.method)
		l.finish(c)
		l.after = append(l.after, func() {
			if l.closed != nil {
				l.closed(c)
			}
		})
	}
}

// routes returns those of the configuration that are of a family; what is everything is
// its two halves, which are preferred to a default route and leave it as it is.
func (c *Client) routes(v6 bool) (all []netip.Prefix) {
	for _, p := range c.cfg.Routes {
		if p.Addr().Is6() != v6 {
			continue
		}
		if p.Bits() > 0 {
			all = append(all, p)
			continue
		}
		half := netip.MustParseAddr("128.0.0.0")
		if v6 {
			half = netip.MustParseAddr("8000::")
		}
		all = append(all, netip.PrefixFrom(p.Addr(), 1), netip.PrefixFrom(half, 1))
	}
	return all
}

func (l *ClientLink) ipv4Up(now time.Time, e ppp.Event) {
	c := l.client
	if !e.Local.IsValid() {
		l.text = "the peer gave no address"
		l.ppp.Close(now)
		return
	}
	l.up4, l.local, l.peer, l.dns4 = true, e.Local, e.Peer, nil
	for _, a := range e.DNS {
		if a.IsValid() && !slices.Contains(l.dns4, a) {
			l.dns4 = append(l.dns4, a)
		}
	}
	local, peer, outer := e.Local, e.Peer, l.call.Peer.Addr()
	c.later("address", func() error { return c.host.addAddress(local, peer) })
	c.later("route to the LNS", func() error { return c.host.protect(outer, c.routes(false)) })
	for _, p := range c.routes(false) {
		c.later("route", func() error { return c.host.route(p, local) })
	}
	l.carries(now)
}

func (l *ClientLink) ipv4Down() {
	if !l.up4 {
		return
	}
	l.up4 = false
	c := l.client
	local, peer := l.local, l.peer
	for _, p := range c.routes(false) {
		c.later("route", func() error { return c.host.unroute(p) })
	}
	outer := l.call.Peer.Addr()
	if outer.Is4() {
		c.later("route to the LNS", c.host.unprotect)
	}
	c.later("address", func() error { return c.host.removeAddress(local, peer) })
	l.dns4 = nil
}

func (l *ClientLink) ipv6Up(now time.Time, e ppp.Event) {
	c := l.client
	l.up6, l.linkLocal = true, e.LocalID.LinkLocal()
	linkLocal, outer := l.linkLocal, l.call.Peer.Addr()
	c.later("address", func() error { return c.host.addAddress6(linkLocal, 0, 0) })
	c.later("route to the LNS", func() error { return c.host.protect(outer, c.routes(true)) })
	for _, p := range c.routes(true) {
		c.later("route", func() error { return c.host.route(p, netip.Addr{}) })
	}
	l.asking = 0
	l.ask(now)
	l.carries(now)
}

func (l *ClientLink) ipv6Down() {
	if !l.up6 {
		return
	}
	l.up6, l.solicit = false, time.Time{}
	c := l.client
	for _, p := range c.routes(true) {
		c.later("route", func() error { return c.host.unroute(p) })
	}
	if outer := l.call.Peer.Addr(); outer.Is6() {
		c.later("route to the LNS", c.host.unprotect)
	}
	linkLocal, prefix := l.linkLocal, l.prefix
	if prefix.IsValid() {
		own := made(prefix, linkLocal)
		c.later("address", func() error { return c.host.removeAddress(own, netip.Addr{}) })
	}
	c.later("address", func() error { return c.host.removeAddress(linkLocal, netip.Addr{}) })
	l.prefix, l.dns6 = netip.Prefix{}, nil
}

// made returns the address that a prefix of 64 bits and an interface identifier make,
// RFC 4862 section 5.5.3.
func made(p netip.Prefix, linkLocal netip.Addr) netip.Addr {
	a, b := p.Addr().As16(), linkLocal.As16()
	copy(a[8:], b[8:])
	return netip.AddrFrom16(a)
}

// advertised takes what the router says: we make one address, of the first prefix that
// is for it.
func (l *ClientLink) advertised(a advertisement) {
	if !l.up6 {
		return
	}
	l.solicit = time.Time{}
	c := l.client
	changed := false
	for _, p := range a.prefixes {
		if !p.autonomous || p.prefix.Bits() != 64 || p.valid == 0 || p.preferred > p.valid || l.prefix.IsValid() && l.prefix != p.prefix {
			continue
		}
		changed = changed || l.prefix != p.prefix
		l.prefix = p.prefix
		own := made(p.prefix, l.linkLocal)
		c.later("address", func() error { return c.host.addAddress6(own, p.valid, p.preferred) })
		break
	}
	if len(a.dns) > 0 && !slices.Equal(a.dns, l.dns6) {
		l.dns6, changed = a.dns, true
	}
	if changed {
		l.changed()
	}
}

// carries tells that the link carries packets, now or of another protocol too.
func (l *ClientLink) carries(now time.Time) {
	c := l.client
	if !l.since.IsZero() {
		l.changed()
		return
	}
	l.since = now
	c.link.Store(l)
	l.handOverDNS()
	l.event(ClientEvent{Kind: Up})
	l.script(&c.cfg.UpScript, nil)
}

// changed tells that what the link has is other than it was.
func (l *ClientLink) changed() {
	if l.over || l.since.IsZero() || l.ppp.Status().Phase != ppp.Network {
		return
	}
	l.handOverDNS()
	l.event(ClientEvent{Kind: Changed})
}

func (l *ClientLink) handOverDNS() {
	c := l.client
	servers := slices.Concat(l.dns4, l.dns6)
	c.later("DNS", func() error { return c.dns.set(servers) })
}

// finish ends what the link was. mu is held.
func (l *ClientLink) finish(closed Closed) {
	if l.over {
		return
	}
	c := l.client
	status := l.status()
	l.over = true
	l.clock.drop(&l.timer)
	c.link.CompareAndSwap(l, nil)
	if !l.since.IsZero() {
		l.script(&c.cfg.DownScript, &closed)
		c.later("DNS", c.dns.revert)
	}
	l.ipv4Down()
	l.ipv6Down()
	l.after = append(l.after, func() {
		l.port.Attach(func([]pseudowire.Frame) int { return 0 })
		c.mu.Lock()
		c.current = nil
		c.mu.Unlock()
	})
	if c.cfg.Event != nil {
		l.after = append(l.after, func() { c.cfg.Event(ClientEvent{Kind: Down, Status: status, Closed: closed}) })
	}
}

func (l *ClientLink) event(e ClientEvent) {
	tell := l.client.cfg.Event
	if tell == nil {
		return
	}
	e.Status = l.status()
	l.after = append(l.after, func() { tell(e) })
}

// Status returns what can be shown. Address is our own, and Prefix the one that it is
// made of.
func (l *ClientLink) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status()
}

func (l *ClientLink) status() Status {
	return Status{
		Call: l.call, ID: l.id, User: l.client.cfg.User, Method: l.method, Opened: l.opened, Since: l.since,
		Address: l.local, Prefix: l.prefix, MTU: int(l.mtu.Load()),
		InPackets: l.use.inPackets.Load(), InOctets: l.use.inOctets.Load(),
		OutPackets: l.use.outPackets.Load(), OutOctets: l.use.outOctets.Load(), PPP: l.ppp.Status(),
	}
}

// script calls a hook. closed is why the link is down; nil: it is up.
func (l *ClientLink) script(h *Hook, closed *Closed) {
	if h.Path == "" {
		return
	}
	c, st := l.client, l.status()
	pairs := []any{
		"EVENT", "up", "INTERFACE", c.device.Name(), "LINK", l.call.Name, "SESSION_ID", st.ID, "USER", st.User,
		"PEER", l.call.Peer, "ADDRESS", l.local, "PEER_ADDRESS", l.peer, "PREFIX", l.prefix,
		"ROUTES", c.cfg.Routes, "DNS", slices.Concat(l.dns4, l.dns6), "MTU", st.MTU,
	}
	if closed != nil {
		pairs[1] = "down"
		pairs = append(pairs, "IN_OCTETS", st.InOctets, "OUT_OCTETS", st.OutOctets,
			"SECONDS", int(time.Since(l.since)/time.Second), "CAUSE", closed.String())
	}
	all := environment(pairs...)
	if c.host == nil {
		c.hooks.do(c, l.call.Name, h, all)
		return
	}
	// When it is called the addresses and the routes are there.
	c.host.crew.do(func() { c.hooks.do(c, l.call.Name, h, all) })
}
