package lns

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/radius"
)

// A Call says where a link comes from.
type Call struct {
	Name  string         // of the tunnel and the session, for people
	Peer  netip.AddrPort // of the tunnel
	Port  radius.Port    // what RADIUS is told
	Proxy *ppp.Proxy     // what an LAC agreed on; nil: nothing

	// Agreed is told what LCP agrees on, each time; nil: nobody is.
	Agreed func(ppp.Agreement)
}

// A Link is a user's link to a Server.
type Link struct {
	end
	server *Server
	call   Call
	closed func(Closed)

	// Of the forwarder alone.
	batched                   bool
	firstOfBatch, lastOfBatch int32

	// What the user's packets may have as their source. Those of who delivers.
	source4 atomic.Uint64 // an address and above it a 1; 0: none
	source6 atomic.Uint64 // the upper half of those of the /64; 0: none
	nets    atomic.Pointer[[]netip.Prefix]
	spoofed atomic.Uint64

	// All below is mu's.
	id       string // Acct-Session-Id
	opened   time.Time
	since    time.Time    // from when it carries packets; zero: it does not yet
	state    radius.State // of the conversation that the next proof goes on with
	grant    *grant       // what he gets; nil: nothing yet
	name     string       // of the user who is in; the Server's mu
	serial   uint32       // of the proof that is being judged; 0: none
	cause    radius.Cause // for which we close it; 0: for none of ours
	method   ppp.Method   // by which the user has to prove who he is
	left     bool         // he is not counted any more; the Server's mu
	up4, up6 bool
	upCalled bool

	holds     []netip.Prefix
	prefixes4 []netip.Prefix // that lead to him
	prefixes6 []netip.Prefix
	account   *radius.Account
	session   radius.Session
	text      string

	sessionEnd time.Time // zero: never
	idle       idle
	adverts    adverts
}

// An idle finds out when nobody has sent anything for so long. Packets are not timed:
// they are counted, and the count is looked at now and then.
type idle struct {
	limit   time.Duration // 0: any
	packets uint64
	since   time.Time // when packets was seen first
	next    time.Time // when to look again
}

func (i *idle) start(now time.Time, limit time.Duration, packets uint64) {
	*i = idle{limit: limit}
	if limit > 0 {
		i.packets, i.since, i.next = packets, now, now.Add(i.step())
	}
}

// step is how often is looked: so much later than it should a link ends at most.
func (i *idle) step() time.Duration { return max(i.limit/16, time.Second) }

// over looks, and reports whether it has been too long.
func (i *idle) over(now time.Time, packets uint64) bool {
	if i.limit == 0 || now.Before(i.next) {
		return false
	}
	if packets != i.packets {
		i.packets, i.since = packets, now
	}
	i.next = now.Add(i.step())
	return now.Sub(i.since) >= i.limit
}

// open begins the link.
func (l *Link) open(port Port) error {
	s := l.server
	now := time.Now()
	l.port, l.clock = port, s.clock
	l.timer.due = l.due
	l.happened, l.deadline = l.take, l.wanted
	l.resize = func() { l.agree(l.agreed) }
	l.agree(s.cfg.MTU)
	l.opened = now
	if l.id = newSessionID(); s.cfg.RADIUS != nil {
		l.id = s.cfg.RADIUS.NewSessionID()
	}
	var g *grant
	if len(s.cfg.Methods) == 0 {
		g = &grant{}
		if text := s.admit(l, g); text != "" {
			s.release(l, nil)
			return &RefusedError{text}
		}
		l.grant = g
	}
	var err error
	if l.ppp, err = ppp.New(s.pppConfig(g)); err != nil {
		s.release(l, g)
		return err
	}
	l.tell(func(now time.Time) {
		if l.call.Proxy != nil {
			l.ppp.OpenProxy(now, *l.call.Proxy)
			l.call.Proxy = nil
			return
		}
		l.ppp.Open(now)
	})
	port.Attach(l.deliver) // now that the machine takes what has come already
	return nil
}

// A RefusedError is that a link cannot be, since there is nothing to give it.
type RefusedError struct{ Text string }

// Error returns why.
func (e *RefusedError) Error() string { return "lns: " + e.Text }

// deliver takes the frames of the peer. Packets go to the TUN, if they come from whom
// they say.
func (l *Link) deliver(frames []pseudowire.Frame) int {
	s := l.server
	return l.carry(frames, l.allows, !s.cfg.KeepMSS, s.device, &s.drops)
}

// allows reports whether a packet may go to the TUN: one from an address that is the
// user's. What is for ourselves is taken here.
func (l *Link) allows(p ppp.Protocol, b []byte) bool {
	if p == ppp.IPv4 {
		if len(b) < ipv4Len || b[0]>>4 != 4 {
			l.server.drops.malformed.Add(1)
			return false
		}
		if uint64(binary.BigEndian.Uint32(b[12:]))|1<<32 == l.source4.Load() {
			return true
		}
		return l.allowsNet(netip.AddrFrom4([4]byte(b[12:16])))
	}
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		l.server.drops.malformed.Add(1)
		return false
	}
	upper := binary.BigEndian.Uint64(b[8:])
	if mine := l.source6.Load(); mine != 0 && upper == mine && !toRouter(b) {
		return true
	}
	from := netip.AddrFrom16([16]byte(b[8:24]))
	if from.IsLinkLocalUnicast() || from.IsUnspecified() || toRouter(b) {
		l.takeLocal(b)
		return false
	}
	return l.allowsNet(from)
}

func (l *Link) allowsNet(from netip.Addr) bool {
	if nets := l.nets.Load(); nets != nil {
		for _, p := range *nets {
			if p.Contains(from) {
				return true
			}
		}
	}
	l.spoofed.Add(1)
	l.server.drops.spoofed.Add(1)
	return false
}

// due does what is to be done at this time.
func (l *Link) due(now time.Time) {
	l.mu.Lock()
	if !l.over {
		switch {
		case !l.sessionEnd.IsZero() && !now.Before(l.sessionEnd):
			l.sessionEnd = time.Time{}
			l.terminate(now, radius.SessionTimeout, "session timeout")
		case l.idle.over(now, l.use.packets()):
			l.idle.limit, l.idle.next = 0, time.Time{}
			l.terminate(now, radius.IdleTimeout, "idle timeout")
		}
		if l.adverts.due(now) {
			l.advertise(now, allNodes)
		}
		l.ppp.Advance(now)
		l.drain(now)
	}
	l.unlock()
}

// wanted returns when there is something to be done beside the machine's.
func (l *Link) wanted() time.Time {
	at := l.sessionEnd
	for _, other := range []time.Time{l.idle.next, l.adverts.next} {
		if at.IsZero() || !other.IsZero() && other.Before(at) {
			at = other
		}
	}
	return at
}

// terminate begins to end the link for a reason of ours.
func (l *Link) terminate(now time.Time, cause radius.Cause, text string) {
	if l.cause == 0 {
		l.cause, l.text = cause, text
	}
	l.ppp.Close(now)
}

// Disconnect ends the link: the peer is told, and when it has answered, or has not for
// some seconds, the owner.
func (l *Link) Disconnect(cause radius.Cause) {
	l.tell(func(now time.Time) { l.terminate(now, cause, "") })
}

// Fit has the link send packets of mtu octets at most, which is what the path carries.
func (l *Link) Fit(mtu int) {
	l.tell(func(time.Time) {
		l.fits = mtu
		l.resize()
	})
}

// Close ends the link at once, without a word to the peer: its port is gone. The owner
// is not told. The cause is that of a link that had not begun to end.
func (l *Link) Close(cause radius.Cause) {
	l.tell(func(now time.Time) {
		if r := l.ppp.Status().Reason; r != ppp.NotClosed {
			l.finish(now, l.why(r, ""))
			return
		}
		l.finish(now, Closed{Cause: cause, Text: "session closed"})
	})
}

// why returns why the link ends.
func (l *Link) why(r ppp.Reason, message string) Closed {
	c := Closed{Cause: causeOf(r), Reason: r, Message: message, Text: l.text}
	if r == ppp.ByUs && l.cause != 0 {
		c.Cause = l.cause
	}
	c.Disconnect = disconnect(r, c.Cause, l.method)
	return c
}

// take takes an event of the machine. mu is held.
func (l *Link) take(now time.Time, e ppp.Event) {
	switch e.Kind {
	case ppp.LCPUp:
		s := l.ppp.Status()
		l.agree(min(s.PeerMRU, l.server.cfg.MTU))
		l.method = s.Method
		if tell := l.call.Agreed; tell != nil {
			a := l.ppp.Agreement()
			l.after = append(l.after, func() { tell(a) })
		}
	case ppp.LCPDown:
		l.serial, l.state = 0, radius.State{}
	case ppp.PeerProof, ppp.PeerEAP:
		l.serial = e.Proof.Serial
		l.server.judge(l, e.Proof, l.state)
		l.state = radius.State{}
	case ppp.AllAuthenticated:
		l.enter(now)
	case ppp.IPv4Up:
		l.ipv4Up(now, e)
	case ppp.IPv4Down:
		l.ipv4Down()
		l.changed()
	case ppp.IPv6Up:
		l.ipv6Up(now)
	case ppp.IPv6Down:
		l.ipv6Down()
		l.changed()
	case ppp.LinkClosed:
		c := l.why(e.Reason, e.Message)
		l.finish(now, c)
		l.after = append(l.after, func() {
			if l.closed != nil {
				l.closed(c)
			}
		})
	}
}

// enter begins the time of a user who is in.
func (l *Link) enter(now time.Time) {
	g := l.grant
	if g == nil {
		return
	}
	if g.mtu > 0 {
		l.agree(min(l.agreed, max(g.mtu, ppp.MinMRU)))
	}
	l.sessionEnd = time.Time{}
	if g.sessionTimeout > 0 {
		l.sessionEnd = now.Add(g.sessionTimeout)
	}
	l.idle.start(now, g.idleTimeout, l.use.packets())
	l.session = radius.Session{
		ID: l.id, User: g.user, Port: l.call.Port, Class: g.class, Authentic: g.authentic, Interim: g.interim, Started: now,
	}
}

// ipv4Up has packets go to the user's address.
func (l *Link) ipv4Up(now time.Time, e ppp.Event) {
	g, s := l.grant, l.server
	switch {
	case g == nil:
		return
	case g.ownAddress: // he has chosen it
		if !e.Peer.IsValid() || !s.usable(e.Peer) || !s.hold(l, netip.PrefixFrom(e.Peer, 32), g.user) {
			l.terminate(now, radius.UserError, "an address that is not free")
			return
		}
	case e.Peer != g.address:
		l.terminate(now, radius.UserError, "another address than was given")
		return
	}
	l.up4 = true
	l.session.Address = e.Peer
	b := e.Peer.As4()
	l.source4.Store(uint64(binary.BigEndian.Uint32(b[:])) | 1<<32)
	l.prefixes4 = append(l.prefixes4[:0], netip.PrefixFrom(e.Peer, 32))
	for _, p := range g.routes {
		if p.Addr().Is4() {
			l.prefixes4 = append(l.prefixes4, p)
		}
	}
	l.lead(l.prefixes4)
	l.carries(now)
}

func (l *Link) ipv4Down() {
	if !l.up4 {
		return
	}
	l.up4 = false
	l.source4.Store(0)
	l.unlead(l.prefixes4)
	l.prefixes4 = nil
	if l.networking() { // else it is what he had to the end
		l.session.Address = netip.Addr{}
	}
}

// networking reports whether the link goes on.
func (l *Link) networking() bool { return !l.over && l.ppp.Status().Phase == ppp.Network }

// ipv6Up has packets go to the user's prefixes, and tells him of the first.
func (l *Link) ipv6Up(now time.Time) {
	g := l.grant
	if g == nil {
		return
	}
	l.up6 = true
	id := l.ppp.Status().PeerID
	l.session.InterfaceID = binary.BigEndian.Uint64(id[:])
	l.session.IPv6Prefix, l.session.Delegated = g.prefix, g.delegated
	l.prefixes6 = l.prefixes6[:0]
	if g.prefix.IsValid() {
		b := g.prefix.Addr().As16()
		l.source6.Store(binary.BigEndian.Uint64(b[:]))
		l.prefixes6 = append(l.prefixes6, g.prefix)
	}
	if g.delegated.IsValid() {
		l.prefixes6 = append(l.prefixes6, g.delegated)
	}
	for _, p := range g.routes {
		if p.Addr().Is6() {
			l.prefixes6 = append(l.prefixes6, p)
		}
	}
	l.lead(l.prefixes6)
	l.adverts.start(now)
	l.carries(now)
}

func (l *Link) ipv6Down() {
	if !l.up6 {
		return
	}
	l.up6 = false
	l.source6.Store(0)
	l.unlead(l.prefixes6)
	l.prefixes6 = nil
	l.adverts.stop()
	if l.networking() {
		l.session.IPv6Prefix, l.session.Delegated, l.session.InterfaceID = netip.Prefix{}, netip.Prefix{}, 0
	}
}

// lead has packets to prefixes go to the link.
func (l *Link) lead(all []netip.Prefix) {
	s := l.server
	for _, p := range all {
		s.table.add(p, l)
		s.hostRoute(p, true)
	}
	l.setNets()
}

func (l *Link) unlead(all []netip.Prefix) {
	s := l.server
	for _, p := range all {
		if s.table.remove(p, l) {
			s.hostRoute(p, false)
		}
	}
	l.setNets()
}

// setNets has all that leads to the user be what he may send from, beside what is
// looked at first.
func (l *Link) setNets() {
	var nets []netip.Prefix
	for _, p := range slices.Concat(l.prefixes4, l.prefixes6) {
		if p != l.first() && !(p.Addr().Is4() && p.Bits() == 32 && p.Addr() == l.session.Address) {
			nets = append(nets, p)
		}
	}
	if nets == nil || !l.up4 && !l.up6 {
		l.nets.Store(nil)
		return
	}
	l.nets.Store(&nets)
}

// first returns the prefix of the link itself.
func (l *Link) first() netip.Prefix {
	if l.grant == nil {
		return netip.Prefix{}
	}
	return l.grant.prefix
}

// carries tells that the link carries packets, now or of another protocol too.
func (l *Link) carries(now time.Time) {
	s := l.server
	if l.account == nil {
		l.since = now
		l.idle.start(now, l.idle.limit, l.use.packets())
		if s.cfg.Accounting != nil {
			l.account = s.cfg.Accounting.Start(l.session, l.usage)
		}
		s.count(func(c *Counts) { c.Up++ })
		l.event(Event{Kind: Up})
		l.upCalled = true
		l.script(&s.cfg.UpScript, nil)
		if l.account == nil {
			l.account = noAccount
		}
		return
	}
	l.changed()
}

// noAccount is that of a link whose use nobody is told of.
var noAccount = new(radius.Account)

// changed tells that what a link carries is other than it was.
func (l *Link) changed() {
	if l.account == nil || !l.networking() {
		return
	}
	if l.account != noAccount {
		now := l.session
		l.account.Update(func(s *radius.Session) {
			s.Address, s.IPv6Prefix, s.InterfaceID, s.Delegated = now.Address, now.IPv6Prefix, now.InterfaceID, now.Delegated
		})
	}
	l.event(Event{Kind: Changed})
}

func (l *Link) usage() radius.Usage {
	return radius.Usage{
		InputOctets: l.use.inOctets.Load(), OutputOctets: l.use.outOctets.Load(),
		InputPackets: l.use.inPackets.Load(), OutputPackets: l.use.outPackets.Load(),
	}
}

// finish ends what the link was. mu is held.
func (l *Link) finish(now time.Time, c Closed) {
	if l.over {
		return
	}
	s := l.server
	status := l.status()
	l.over = true
	l.serial = 0
	l.clock.drop(&l.timer)
	l.close(c)
	s.leave(l)
	l.after = append(l.after, func() { l.port.Attach(func([]pseudowire.Frame) int { return 0 }) })
	if s.cfg.Event != nil {
		l.after = append(l.after, func() { s.cfg.Event(Event{Kind: Down, Link: l, Status: status, Closed: c}) })
	}
}

// close takes back what the user had.
func (l *Link) close(c Closed) {
	s := l.server
	if l.upCalled {
		l.upCalled = false
		l.script(&s.cfg.DownScript, &c)
	}
	l.ipv4Down()
	l.ipv6Down()
	if l.account != nil && l.account != noAccount {
		l.account.Stop(c.Cause)
	}
	l.account = nil
	s.release(l, l.grant)
	l.grant = nil
	l.sessionEnd, l.idle = time.Time{}, idle{}
}

// event tells the owner of the Server.
func (l *Link) event(e Event) {
	tell := l.server.cfg.Event
	if tell == nil {
		return
	}
	e.Link, e.Status = l, l.status()
	l.after = append(l.after, func() { tell(e) })
}

// A Status is what can be shown of a Link.
type Status struct {
	Call    Call
	ID      string // Acct-Session-Id
	User    string // as he called himself, or as accounting calls him
	Method  ppp.Method
	Opened  time.Time
	Since   time.Time // when it began to carry packets; zero: it does not
	Address netip.Addr
	Prefix  netip.Prefix // of the link
	// Delegated and Routes are what is behind the user.
	Delegated netip.Prefix
	Routes    []netip.Prefix
	MTU       int

	InPackets, InOctets   uint64 // of the user
	OutPackets, OutOctets uint64 // to him
	Spoofed               uint64 // of the user, dropped for their source

	SessionEnd  time.Time // zero: never
	IdleTimeout time.Duration

	PPP ppp.Status
}

// Status returns what can be shown.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status()
}

func (l *Link) status() Status {
	p := ppp.Status{}
	if l.ppp != nil {
		p = l.ppp.Status()
	}
	st := Status{
		Call: l.call, ID: l.id, User: p.User, Method: l.method, Opened: l.opened, Since: l.since, MTU: int(l.mtu.Load()),
		InPackets: l.use.inPackets.Load(), InOctets: l.use.inOctets.Load(),
		OutPackets: l.use.outPackets.Load(), OutOctets: l.use.outOctets.Load(),
		Spoofed: l.spoofed.Load(), SessionEnd: l.sessionEnd, IdleTimeout: l.idle.limit, PPP: p,
	}
	if g := l.grant; g != nil {
		if g.user != "" {
			st.User = g.user
		}
		st.Routes = slices.Clone(g.routes)
		st.Address, st.Prefix, st.Delegated = l.session.Address, l.session.IPv6Prefix, l.session.Delegated
	}
	return st
}

// matches reports whether a RADIUS server means this link.
func (l *Link) matches(m radius.Match) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.over && l.session.ID != "" && m.Matches(&l.session)
}

// change gives the link what a RADIUS server says anew.
func (l *Link) change(c radius.Change) {
	l.tell(func(now time.Time) {
		if c.SessionTimeout != nil {
			// "the maximum number of seconds of service to be provided to the user before
			// termination of the session": from its begin, RFC 2865 section 5.27.
			if l.sessionEnd = (time.Time{}); *c.SessionTimeout > 0 {
				l.sessionEnd = l.session.Started.Add(*c.SessionTimeout)
			}
		}
		if c.IdleTimeout != nil {
			l.idle.start(now, *c.IdleTimeout, l.use.packets())
		}
		if c.Interim != nil {
			l.session.Interim = *c.Interim
		}
		if c.Class != nil {
			l.session.Class = c.Class
		}
		if l.account != nil && l.account != noAccount {
			s := l.session
			l.account.Update(func(a *radius.Session) { a.Interim, a.Class = s.Interim, s.Class })
		}
	})
}

// String returns the link's name for a log.
func (l *Link) String() string {
	if name := strings.TrimSpace(l.call.Name); name != "" {
		return name
	}
	return l.id
}
