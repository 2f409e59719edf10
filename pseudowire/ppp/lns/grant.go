package lns

import (
	"net/netip"
	"slices"
	"time"

	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns/users"
	"spanwire/pseudowire/ppp/radius"
)

// A grant is what a user gets.
type grant struct {
	user      string // empty: nobody has to say who he is
	authentic radius.Authentic
	links     int // at once; 0: any number

	address    netip.Addr // invalid: none
	ownAddress bool       // it is for him to choose
	prefix     netip.Prefix
	delegated  netip.Prefix
	routes     []netip.Prefix
	id         ppp.InterfaceID // zero: any
	dns, nbns  []netip.Addr

	// From which pools he gets what is not said above.
	pool, ipv6Pool, delegatedPool string

	mtu                                  int // 0: as the link has it
	sessionTimeout, idleTimeout, interim time.Duration
	class                                [][]byte
}

// ofUser returns what one of our own users gets.
func ofUser(u *users.User) *grant {
	return &grant{
		user: u.Name, authentic: radius.ByLocal, links: u.Links,
		address: u.Address, prefix: u.Prefix, delegated: u.Delegated, routes: u.Routes,
		pool: u.Pool, ipv6Pool: u.IPv6Pool, delegatedPool: u.DelegatedPool,
		sessionTimeout: u.SessionTimeout, idleTimeout: u.IdleTimeout,
	}
}

// ofService returns what a user of RADIUS gets. A prefix that is a /64 is one for the
// link; a longer or shorter one can be announced to nobody.
func ofService(name string, s *radius.Service) *grant {
	g := &grant{
		user: name, authentic: radius.ByRADIUS,
		address: s.Address, ownAddress: s.UserAddress, delegated: s.Delegated,
		pool: s.Pool, ipv6Pool: s.IPv6Pool, delegatedPool: s.DelegatedPool,
		nbns: s.NBNS, mtu: int(s.MTU),
		sessionTimeout: s.SessionTimeout, idleTimeout: s.IdleTimeout, interim: s.Interim, class: s.Class,
	}
	if s.User != "" {
		g.user = s.User
	}
	if s.IPv6Prefix.IsValid() && s.IPv6Prefix.Bits() == 64 {
		g.prefix = s.IPv6Prefix
	}
	for i := range 8 {
		g.id[i] = byte(s.InterfaceID >> (56 - 8*i))
	}
	for _, a := range s.DNS {
		if a.IsValid() && !slices.Contains(g.dns, a) {
			g.dns = append(g.dns, a)
		}
	}
	for _, r := range s.Routes {
		g.routes = append(g.routes, r.Prefix)
	}
	// A netmask is a route to what is behind the user. RFC 2865 section 5.9.
	if s.Netmask.IsValid() && s.Netmask.Is4() && s.Address.IsValid() && s.Address.Is4() {
		b := s.Netmask.As4()
		bits := 0
		for bits < 32 && b[bits/8]&(0x80>>(bits%8)) != 0 {
			bits++
		}
		if p := netip.PrefixFrom(s.Address, bits).Masked(); bits > 0 && bits < 32 {
			g.routes = append(g.routes, p)
		}
	}
	return g
}

// admit gives a user what he gets, and returns why not. g is complete after.
func (s *Server) admit(l *Link, g *grant) (problem string) {
	or(&g.pool, s.cfg.Pool)
	or(&g.ipv6Pool, s.cfg.IPv6Pool)
	or(&g.delegatedPool, s.cfg.DelegatedPool)
	or(&g.sessionTimeout, s.cfg.SessionTimeout)
	or(&g.idleTimeout, s.cfg.IdleTimeout)
	or(&g.links, s.cfg.UserLinks)
	if g.dns == nil {
		g.dns = s.cfg.DNS
	}
	if g.nbns == nil {
		g.nbns = s.cfg.NBNS
	}
	g.routes = slices.DeleteFunc(slices.Clone(g.routes), func(p netip.Prefix) bool { return p.Bits() == 0 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "closing"
	}
	// Who comes again to his own address before we know that he was gone has it, and his
	// link before ends.
	for _, p := range []netip.Prefix{single(g.address), g.prefix, g.delegated} {
		if was := s.held[p]; p.IsValid() && was != nil && was != l && g.user != "" && !was.left && was.named(g.user) {
			was.left = true
			s.counts.Leave(g.user)
			l.after = append(l.after, func() { was.replaced() })
		}
	}
	l.left = g.user == ""
	if !l.left && !s.counts.Enter(&users.User{Name: g.user, Links: g.links}) {
		l.left = true
		return "as many links as the user may have"
	}
	if s.cfg.Address.IsValid() && !g.ownAddress {
		g.address = s.give(l, g, single(g.address), g.pool, 32, "address").Addr()
	}
	g.prefix = s.give(l, g, g.prefix, g.ipv6Pool, 64, "prefix")
	g.delegated = s.give(l, g, g.delegated, g.delegatedPool, 0, "delegated prefix")
	if !g.address.IsValid() && !g.ownAddress && !g.prefix.IsValid() && !g.delegated.IsValid() {
		return "no address is free"
	}
	for i := 0; i < len(g.routes); {
		if p := g.routes[i]; s.holdLocked(l, p, g.user) {
			i++
			continue
		}
		s.log.Warn("a route that another user has", "link", l, "user", g.user, "route", g.routes[i])
		g.routes = slices.Delete(g.routes, i, i+1)
	}
	return ""
}

// or sets what is not.
func or[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

func single(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// give gives a user a prefix that is his, or one of a pool.
func (s *Server) give(l *Link, g *grant, his netip.Prefix, pool string, bits int, what string) netip.Prefix {
	if his.IsValid() {
		if s.holdLocked(l, his, g.user) {
			return his
		}
		s.stats.Depleted++
		s.log.Warn("what is the user's is another's", "link", l, "user", g.user, what, his)
		return netip.Prefix{}
	}
	if pool == "" {
		return netip.Prefix{}
	}
	from := s.cfg.Pools[pool]
	if from == nil {
		s.stats.Depleted++
		s.log.Warn("there is no such pool", "link", l, "user", g.user, "pool", pool)
		return netip.Prefix{}
	}
	for range 8 { // what somebody has as his own is none of the pool's to give
		p, ok := from.Take(g.user)
		switch {
		case !ok:
			s.stats.Depleted++
			s.log.Warn("the pool is empty", "link", l, "user", g.user, "pool", pool)
			return netip.Prefix{}
		case bits != 0 && p.Bits() != bits || bits == 32 && !p.Addr().Is4():
			from.Free(p)
			s.log.Warn("a pool of another kind", "link", l, "pool", pool, "want", what)
			return netip.Prefix{}
		case s.held[p] == nil:
			s.held[p] = l
			l.holds = append(l.holds, p)
			return p
		}
	}
	return netip.Prefix{}
}

// hold is holdLocked for who does not have the Server's mu.
func (s *Server) hold(l *Link, p netip.Prefix, user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holdLocked(l, p, user)
}

// holdLocked has a link have a prefix, if nobody else does, or the same user's link
// that is being replaced.
func (s *Server) holdLocked(l *Link, p netip.Prefix, user string) bool {
	switch was := s.held[p]; {
	case was == l:
		return true
	case was != nil && (user == "" || !was.left || !was.named(user)):
		return false
	case was == nil:
		for _, pool := range s.cfg.Pools {
			if pool.Contains(p) && !pool.Claim(user, p) {
				return false
			}
		}
	}
	s.held[p] = l
	l.holds = append(l.holds, p)
	return true
}

// usable reports whether an address is one that a user may choose.
func (s *Server) usable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != s.cfg.Address && a.As4()[0] < 240
}

// release takes back what a link has.
func (s *Server) release(l *Link, g *grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g != nil && !l.left {
		l.left = true
		s.counts.Leave(g.user)
	}
	for _, p := range l.holds {
		if s.held[p] != l {
			continue
		}
		delete(s.held, p)
		for _, pool := range s.cfg.Pools {
			pool.Free(p)
		}
	}
	l.holds = nil
}

// named reports whether a link is a user's. The name is the Server's, as left is.
func (l *Link) named(user string) bool { return l.name == user }

// replaced ends a link whose user has come again.
func (l *Link) replaced() {
	l.tell(func(now time.Time) { l.terminate(now, radius.PortPreempted, "the user came in again") })
}

func (s *Server) count(f func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// pppConfig returns the machine's Config for a link. g is what is known before the user
// has proved who he is; nil: nothing.
func (s *Server) pppConfig(g *grant) ppp.Config {
	c := ppp.Config{
		MRU: s.cfg.MTU, Verify: s.cfg.Methods, Attempts: s.cfg.Attempts, Name: s.cfg.HostName,
		Encryption: s.cfg.Encryption, EchoInterval: s.cfg.EchoInterval, EchoFailures: s.cfg.EchoFailures,
		FirstRestart: time.Second,
	}
	if g == nil {
		c.IPv4.Off, c.IPv6.Off = true, true // until a Verdict says other
		return c
	}
	c.IPv4, c.IPv6 = s.addresses(g)
	return c
}

// addresses returns what IPCP and IPV6CP give a user.
func (s *Server) addresses(g *grant) (v4 ppp.IPv4Config, v6 ppp.IPv6Config) {
	v4.Off = !s.cfg.Address.IsValid() || !g.address.IsValid() && !g.ownAddress
	v4.Local, v4.Peer = s.cfg.Address, g.address
	if v4.Off {
		v4 = ppp.IPv4Config{Off: true}
	}
	four := func(to *[2]netip.Addr, from []netip.Addr) {
		n := 0
		for _, a := range from {
			if a.Is4() && n < 2 {
				to[n] = a
				n++
			}
		}
	}
	four(&v4.DNS, g.dns)
	four(&v4.NBNS, g.nbns)
	v6.Off = !g.prefix.IsValid() && !g.delegated.IsValid()
	v6.Local, v6.Peer = routerID, g.id
	return v4, v6
}

// routerID is our interface identifier on all links: no two of them are one link.
var routerID = ppp.InterfaceID{7: 1}
