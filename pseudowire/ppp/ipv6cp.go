package ppp

// optionInterfaceID is the Interface-Identifier, RFC 5072 section 4.1. All others are
// rejected.
const optionInterfaceID = 1

// An ipv6cp is the IPv6 Control Protocol's part of the automaton.
type ipv6cp struct {
	automaton
	cfg IPv6Config

	local    InterfaceID // that we ask for
	lastNak  InterfaceID // that we suggested last
	peer     InterfaceID // as agreed on
	next     InterfaceID // as judged last
	asked    bool        // the peer's Configure-Request has one
	hinted   bool        // the peer was told that it should have one
	rejects  bool        // the peer rejected ours
	suggests InterfaceID // that we suggest
}

func (c *ipv6cp) configure(cfg IPv6Config) {
	c.cfg, c.suggests = cfg, cfg.Peer
	c.reset()
}

// reset begins anew, but with the identifier that we had before if we chose it: it is
// best "consistently reproducible across initializations".
func (c *ipv6cp) reset() {
	if c.cfg.Local != (InterfaceID{}) {
		c.local = c.cfg.Local
	}
	if c.local == (InterfaceID{}) {
		c.local = c.random()
	}
	c.hinted, c.rejects, c.lastNak = false, false, InterfaceID{}
}

// random returns an identifier that is not zero. "In this case, the "u" bit of the
// interface identifier MUST be set to zero (0)", RFC 5072 section 4.1.
func (c *ipv6cp) random() (id InterfaceID) {
	c.link.cfg.Random(id[:])
	id[0] &^= 2
	if id == (InterfaceID{}) {
		id[7] = 1
	}
	return id
}

// suggestion returns an identifier for the peer, "different from the interface
// identifier of the last Configure-Request sent to the peer".
func (c *ipv6cp) suggestion() InterfaceID {
	if c.suggests == (InterfaceID{}) || c.suggests == c.local {
		c.suggests = c.random()
	}
	c.lastNak = c.suggests
	return c.suggests
}

func (c *ipv6cp) request(b []byte) []byte {
	if c.rejects {
		return b // "MUST NOT contain the interface-identifier option"
	}
	return appendOption(b, optionInterfaceID, c.local[:]...)
}

func (c *ipv6cp) begin() { c.next, c.asked = InterfaceID{}, false }

func (c *ipv6cp) judge(o option) (answer, []byte) {
	if o.kind != optionInterfaceID {
		return reject, nil
	}
	c.asked = true
	var id InterfaceID
	if len(o.data) == len(id) {
		id = InterfaceID(o.data)
	}
	// "If the two interface identifiers are different and the received interface
	// identifier is not zero, the interface identifier MUST be acknowledged".
	if id != (InterfaceID{}) && id != c.local {
		c.next = id
		return ack, nil
	}
	id = c.suggestion()
	return nak, appendOption(nil, o.kind, id[:]...)
}

func (c *ipv6cp) missing(b []byte) []byte {
	if !c.asked && !c.hinted {
		c.hinted = true
		id := c.suggestion()
		b = appendOption(b, optionInterfaceID, id[:]...)
	}
	return b
}

func (c *ipv6cp) acked() { c.peer = c.next }

// naked takes the identifier that the peer suggests. "But if the received interface
// identifier is equal to the one sent in the last Configure-Nak, a new interface
// identifier MUST be chosen."
func (c *ipv6cp) naked(o option) {
	if o.kind != optionInterfaceID || len(o.data) != len(c.local) {
		return
	}
	id := InterfaceID(o.data)
	if id == (InterfaceID{}) || id == c.lastNak {
		id = c.random()
	}
	c.local = id
}

func (c *ipv6cp) rejected(option) { c.rejects = true }

func (c *ipv6cp) other(packet) (event, bool) { return 0, false }

func (c *ipv6cp) up() {
	if c.rejects || c.local == c.peer {
		c.on(closing) // there is no address that would be ours
		return
	}
	c.link.networkUp(bitIPv6, Event{Kind: IPv6Up, LocalID: c.local, PeerID: c.peer})
}

func (c *ipv6cp) down() {
	c.link.networkDown(bitIPv6, Event{Kind: IPv6Down})
	c.reset()
}

func (c *ipv6cp) finished(event) { c.link.networkFinished() }
