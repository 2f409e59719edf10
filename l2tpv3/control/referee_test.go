package control

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"spanwire/l2tpv3/wire"
)

// A referee reads what the nodes of a network send, and knows by what each has
// sent and received before whether RFC 3931 allows it.
type referee struct {
	net     *network
	ledgers map[*conn]*ledger
	counts  map[wire.MessageType]int // of messages sent for the first time
}

func newReferee(n *network) *referee {
	return &referee{n, make(map[*conn]*ledger), make(map[wire.MessageType]int)}
}

// A ledger is what a node has sent and received by one control connection.
type ledger struct {
	peerID uint32
	window uint16 // the peer's
	over   bool   // the peer has sent StopCCN
	got    map[wire.MessageType]bool
	said   map[wire.MessageType]bool

	next, acked uint16
	bodies      map[uint16][]byte // of what is not acknowledged
	nr          uint16
	held        map[uint16][]byte

	calls    map[uint32]*entry // by our Session ID
	requests map[uint32]*entry // of the peer, by its Session ID, not answered
}

// An entry is a session in a ledger.
type entry struct {
	kind        wire.MessageType // ICRQ or OCRQ
	mine        bool             // we asked for it
	peerID      uint32
	replied     bool // ICRP or OCRP, sent or received
	established bool
	over        bool
	until       uint16 // messages from this Ns on were queued when it was over
}

func (r *referee) ledger(c *conn) *ledger {
	g := r.ledgers[c]
	if g == nil {
		g = &ledger{
			window: 4, got: make(map[wire.MessageType]bool), said: make(map[wire.MessageType]bool),
			bodies: make(map[uint16][]byte), held: make(map[uint16][]byte),
			calls: make(map[uint32]*entry), requests: make(map[uint32]*entry),
		}
		r.ledgers[c] = g
	}
	return g
}

// receive has a node receive, and enters what it accepts.
func (r *referee) receive(o *node, from netip.AddrPort, b []byte) {
	h, message, err := wire.ParseControl(b)
	var c *conn
	if err == nil {
		c = o.conns[h.ConnectionID]
	}
	before := o.DropCounts()
	o.Receive(o.net.now, Address{Peer: from}, b)
	after := o.DropCounts()
	early := before[DropQueue] != after[DropQueue] // its acknowledgment alone is taken
	before[DropHalfOpen], before[DropQueue] = after[DropHalfOpen], after[DropQueue]
	if err != nil || before != after {
		return
	}
	if h.ConnectionID == 0 {
		p, _ := wire.Parse(message, &wire.Decoding{Lenient: true})
		switch m := p.Message.(type) {
		case *wire.SCCRQ:
			c = o.requests[requestKey{Address{Peer: from}, m.ConnectionID}]
		case *wire.StopCCN:
			c = o.requests[requestKey{Address{Peer: from}, m.ConnectionID}]
		}
	}
	if c != nil {
		if early {
			message = message[:wire.ControlHeaderLen]
		}
		r.enter(o, c, h, message)
	}
}

// enter writes a message that was accepted into the ledger.
func (r *referee) enter(o *node, c *conn, h wire.ControlHeader, message []byte) {
	g := r.ledger(c)
	if n := h.Nr - g.acked; n > 0 && n < 1<<15 {
		if n > g.next-g.acked {
			return // invalid
		}
		for ; n > 0; n-- {
			delete(g.bodies, g.acked)
			g.acked++
		}
	}
	if t, ok := wire.TypeOf(message); !ok || t == wire.TypeACK {
		return
	}
	switch ahead := h.Ns - g.nr; {
	case ahead == 0:
		g.deliver(c, message)
		for held := g.held[g.nr]; held != nil; held = g.held[g.nr] {
			delete(g.held, g.nr)
			g.deliver(c, held)
		}
	case ahead < 1<<15 && int(ahead) < c.cfg.ReceiveWindow && g.held[h.Ns] == nil:
		g.held[h.Ns] = bytes.Clone(message)
	}
}

// deliver enters a message in its turn.
func (g *ledger) deliver(c *conn, message []byte) {
	g.nr++
	p, _ := wire.Parse(message, &wire.Decoding{Secret: c.auth.agreed, Lenient: true})
	g.got[p.Type] = true
	switch m := p.Message.(type) {
	case *wire.SCCRQ:
		g.meet(&m.LCCE)
	case *wire.SCCRP:
		g.meet(&m.LCCE)
	case *wire.StopCCN:
		if !g.said[wire.TypeStopCCN] { // ours is repeated until it is acknowledged
			g.over = true
			g.acked = g.next
			clear(g.bodies)
		}
	case *wire.ICRQ:
		g.requests[m.LocalSessionID] = &entry{kind: p.Type}
	case *wire.OCRQ:
		g.requests[m.LocalSessionID] = &entry{kind: p.Type}
	case *wire.ICRP:
		g.reply(m.RemoteSessionID, m.LocalSessionID, wire.TypeICRQ)
	case *wire.OCRP:
		g.reply(m.RemoteSessionID, m.LocalSessionID, wire.TypeOCRQ)
	case *wire.ICCN:
		g.connected(m.RemoteSessionID)
	case *wire.OCCN:
		g.connected(m.RemoteSessionID)
	case *wire.CDN:
		for _, k := range [...]*entry{g.calls[m.RemoteSessionID], g.requests[m.LocalSessionID]} {
			if k != nil && !k.over {
				k.over, k.until = true, g.next+uint16(c.reliable.Stats().Queued)
			}
		}
	}
}

func (g *ledger) meet(l *wire.LCCE) {
	g.peerID = l.ConnectionID
	if l.ReceiveWindow != 0 {
		g.window = l.ReceiveWindow
	}
}

func (g *ledger) reply(id, peerID uint32, request wire.MessageType) {
	if k := g.calls[id]; k != nil && k.mine && k.kind == request && !k.replied {
		k.replied, k.peerID = true, peerID
	}
}

func (g *ledger) connected(id uint32) {
	if k := g.calls[id]; k != nil && k.replied {
		k.established = true
	}
}

// plainly returns a message without what may differ when it is sent again: Nr and
// the digests.
func plainly(message []byte) []byte {
	b := bytes.Clone(message)
	b[10], b[11] = 0, 0
	for at := wire.ControlHeaderLen + 8; at+7 <= len(b) && binary.BigEndian.Uint16(b[at+4:]) == uint16(wire.AttrMessageDigest); {
		n := int(binary.BigEndian.Uint16(b[at:]) & 0x3ff)
		clear(b[at+7 : at+n])
		at += n
	}
	return b
}

// sent judges a message that a node sends by a connection, nil for what is
// answered without one.
func (r *referee) sent(o *node, c *conn, b []byte) {
	foul := func(format string, args ...any) {
		r.net.write(line{at: r.net.now, from: o.at, b: b})
		r.net.fatalf(o.cfg.HostName+": "+format, args...)
	}
	// RFC 3931 section 3.2.1: T, L and S are 1, what is reserved is 0, Ver is 3.
	if word := binary.BigEndian.Uint16(b); word != 0xc803 || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		foul("header %#x, length %d", word, len(b))
	}
	h, _, _ := wire.ParseControl(b)
	var secret *wire.Secret
	if c != nil && c.auth.enabled {
		secret = c.auth.agreed
	}
	t, has := wire.TypeOf(b)
	p, err := wire.Parse(b, &wire.Decoding{Secret: secret})
	if err != nil {
		foul("%v: %v", t, err)
	}
	if c == nil {
		switch m, ok := p.Message.(*wire.StopCCN); {
		case !ok:
			foul("%v without a connection", t)
		case h.ConnectionID == 0 && (h.Ns != 1 || m.ConnectionID == 0), h.ConnectionID != 0 && (h.Ns != 0 || h.Nr != 1):
			foul("StopCCN without a connection: %+v %+v", h, m)
		}
		return
	}
	g := r.ledger(c)
	if h.ConnectionID != g.peerID {
		foul("%v to %d, the peer is %d", t, h.ConnectionID, g.peerID)
	}
	if h.Nr != g.nr {
		foul("%v with Nr %d, want %d", t, h.Nr, g.nr)
	}
	if secret != nil && !wire.HasDigest(b) {
		foul("%v without a digest", t)
	}
	if !has || t == wire.TypeACK {
		switch {
		case h.Ns != g.next:
			foul("an acknowledgment of Ns %d, want %d", h.Ns, g.next)
		case has != c.auth.enabled:
			foul("an explicit ACK %v, authentication %v", has, c.auth.enabled)
		case g.peerID == 0:
			foul("an acknowledgment to nobody")
		}
		return
	}
	if g.over {
		foul("%v after the peer's StopCCN", t)
	}
	body := plainly(b)
	if h.Ns != g.next {
		if former := g.bodies[h.Ns]; !bytes.Equal(former, body) {
			foul("%v again as Ns %d, want % x", t, h.Ns, former)
		}
		return
	}
	if g.said[wire.TypeStopCCN] {
		foul("%v after StopCCN", t)
	}
	g.bodies[h.Ns] = body
	g.next++
	if g.next-g.acked > g.window {
		foul("%d messages outstanding, the window is %d", g.next-g.acked, g.window)
	}
	if !r.allows(c, g, &p, h.Ns) {
		foul("%v: not now: got %v, said %v", t, g.got, g.said)
	}
	g.said[t] = true
	r.counts[t]++
}

// allows reports whether a message may be sent, by the tables of RFC 3931
// section 7.
func (r *referee) allows(c *conn, g *ledger, p *wire.Parsed, ns uint16) bool {
	established := g.said[wire.TypeSCCCN] || g.got[wire.TypeSCCCN]
	if p.Type.Session() && !established {
		return false
	}
	switch m := p.Message.(type) {
	case *wire.SCCRQ:
		return c.dialled && ns == 0
	case *wire.SCCRP:
		return g.got[wire.TypeSCCRQ] && ns == 0
	case *wire.SCCCN:
		return g.got[wire.TypeSCCRP] && ns == 1
	case *wire.StopCCN:
		return m.ConnectionID == c.id
	case *wire.HELLO:
		return established
	case *wire.ICRQ:
		return g.ask(m.LocalSessionID, m.RemoteSessionID, p.Type)
	case *wire.OCRQ:
		return g.ask(m.LocalSessionID, m.RemoteSessionID, p.Type)
	case *wire.ICRP:
		return g.answer(m.LocalSessionID, m.RemoteSessionID, wire.TypeICRQ, ns)
	case *wire.OCRP:
		return g.answer(m.LocalSessionID, m.RemoteSessionID, wire.TypeOCRQ, ns)
	case *wire.ICCN:
		return g.complete(m.LocalSessionID, m.RemoteSessionID, true, ns)
	case *wire.OCCN:
		return g.complete(m.LocalSessionID, m.RemoteSessionID, false, ns)
	case *wire.CDN:
		k := g.calls[m.LocalSessionID]
		if k == nil { // a request that was never taken, or an answer to what came too late
			delete(g.requests, m.RemoteSessionID)
			return m.RemoteSessionID != 0
		}
		former := *k
		k.over, k.until = true, ns+1
		known := m.RemoteSessionID == k.peerID || k.mine && m.RemoteSessionID == 0 // queued before the reply
		return known && former.open(ns)
	case *wire.SLI:
		return g.established(m.LocalSessionID, m.RemoteSessionID, ns)
	case *wire.WEN:
		return g.established(m.LocalSessionID, m.RemoteSessionID, ns)
	}
	return false
}

func (g *ledger) ask(id, peerID uint32, t wire.MessageType) bool {
	if g.calls[id] != nil || peerID != 0 || id == 0 {
		return false
	}
	g.calls[id] = &entry{kind: t, mine: true}
	return true
}

func (g *ledger) answer(id, peerID uint32, request wire.MessageType, ns uint16) bool {
	k := g.requests[peerID]
	if k == nil || k.kind != request || g.calls[id] != nil || id == 0 || !k.open(ns) {
		return false
	}
	delete(g.requests, peerID)
	k.peerID, k.replied = peerID, true
	g.calls[id] = k
	return true
}

// complete takes an ICCN of who sent the ICRQ, or an OCCN of who received the
// OCRQ.
func (g *ledger) complete(id, peerID uint32, mine bool, ns uint16) bool {
	k := g.calls[id]
	if k == nil || !k.replied || k.established || k.mine != mine || k.peerID != peerID || !k.open(ns) {
		return false
	}
	k.established = true
	return true
}

func (g *ledger) established(id, peerID uint32, ns uint16) bool {
	k := g.calls[id]
	return k != nil && k.established && k.peerID == peerID && k.open(ns)
}

// open reports whether a message of the session may have been queued while there
// was one.
func (k *entry) open(ns uint16) bool { return !k.over || ns-k.until > 1<<15 }
