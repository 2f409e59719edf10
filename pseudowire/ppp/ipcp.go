package ppp

import "net/netip"

// The options of IPCP, RFC 1332 section 3 and RFC 1877 section 1. IP-Addresses and
// IP-Compression-Protocol are rejected with all others.
const (
	optionIPAddress = 3
	optionDNS1      = 129
	optionNBNS1     = 130
	optionDNS2      = 131
	optionNBNS2     = 132
)

// An ipcp is the IP Control Protocol's part of the automaton.
type ipcp struct {
	automaton
	cfg IPv4Config

	local   netip.Addr // that we ask for; unspecified: that the peer may give
	dns     [2]netip.Addr
	unasked [256 / 64]uint64 // options of ours that the peer rejected
	peer    netip.Addr       // as agreed on
	next    netip.Addr       // as judged last
	hinted  bool             // the peer was told that it should ask for its address
}

// configure takes what is to be negotiated, from now on.
func (c *ipcp) configure(cfg IPv4Config) {
	c.cfg = cfg
	c.reset()
}

func (c *ipcp) reset() {
	unspecified := netip.IPv4Unspecified()
	c.local, c.dns = c.cfg.Local, [2]netip.Addr{unspecified, unspecified}
	if !c.local.IsValid() {
		c.local = unspecified
	}
	c.unasked, c.hinted = [256 / 64]uint64{}, false
}

func (c *ipcp) asks(kind uint8) bool { return c.unasked[kind/64]&(1<<(kind%64)) == 0 }

func (c *ipcp) request(b []byte) []byte {
	if c.asks(optionIPAddress) {
		b = appendOption(b, optionIPAddress, c.local.AsSlice()...)
	}
	for n, kind := range [...]uint8{optionDNS1, optionDNS2} {
		if c.cfg.AskDNS && c.asks(kind) {
			b = appendOption(b, kind, c.dns[n].AsSlice()...)
		}
	}
	return b
}

func (c *ipcp) begin() { c.next = netip.Addr{} }

// server returns the address of a name server that the peer is given.
func (c *ipcp) server(kind uint8) netip.Addr {
	switch kind {
	case optionDNS1:
		return c.cfg.DNS[0]
	case optionDNS2:
		return c.cfg.DNS[1]
	case optionNBNS1:
		return c.cfg.NBNS[0]
	case optionNBNS2:
		return c.cfg.NBNS[1]
	}
	return netip.Addr{}
}

// asked returns the address in an option; one of a wrong length is no address.
func asked(o option) netip.Addr {
	if len(o.data) != 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(o.data))
}

// usable reports whether an address may be an end's.
func usable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (c *ipcp) judge(o option) (answer, []byte) {
	wanted := c.server(o.kind)
	said := asked(o)
	if o.kind == optionIPAddress {
		wanted = c.cfg.Peer
		if !wanted.IsValid() && usable(said) && said != c.local {
			wanted = said
		}
		c.next = wanted
	}
	switch {
	case !wanted.IsValid():
		return reject, nil
	case said != wanted:
		return nak, appendOption(nil, o.kind, wanted.AsSlice()...)
	}
	return ack, nil
}

// missing has a peer that has an address assigned, and does not ask for it, do so. If
// it never does, it has it all the same.
func (c *ipcp) missing(b []byte) []byte {
	if c.cfg.Peer.IsValid() && !c.next.IsValid() && !c.hinted {
		c.hinted = true
		b = appendOption(b, optionIPAddress, c.cfg.Peer.AsSlice()...)
	}
	return b
}

func (c *ipcp) acked() {
	c.peer = c.next
	if !c.peer.IsValid() {
		c.peer = c.cfg.Peer
	}
}

func (c *ipcp) naked(o option) {
	a := asked(o)
	switch {
	case o.kind == optionIPAddress && usable(a) && !c.cfg.Local.IsValid():
		c.local = a
	case o.kind == optionDNS1 && a.IsValid():
		c.dns[0] = a
	case o.kind == optionDNS2 && a.IsValid():
		c.dns[1] = a
	}
}

func (c *ipcp) rejected(o option) { c.unasked[o.kind/64] |= 1 << (o.kind % 64) }

func (c *ipcp) other(packet) (event, bool) { return 0, false }

// learned returns the DNS servers that the peer gave.
func (c *ipcp) learned() (dns [2]netip.Addr) {
	for n, kind := range [...]uint8{optionDNS1, optionDNS2} {
		if c.cfg.AskDNS && c.asks(kind) && usable(c.dns[n]) {
			dns[n] = c.dns[n]
		}
	}
	return dns
}

func (c *ipcp) up() {
	local := c.local
	if !c.asks(optionIPAddress) {
		local = c.cfg.Local
	}
	if !usable(local) && !c.cfg.Local.IsValid() {
		// It opened, and we have no address: there is nothing to do with it.
		c.on(closing)
		return
	}
	c.local = local
	c.link.networkUp(bitIPv4, Event{Kind: IPv4Up, Local: local, Peer: c.peer, DNS: c.learned()})
}

func (c *ipcp) down() {
	c.link.networkDown(bitIPv4, Event{Kind: IPv4Down})
	c.reset()
}

func (c *ipcp) finished(event) { c.link.networkFinished() }
