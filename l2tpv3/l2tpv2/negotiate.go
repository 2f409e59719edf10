package l2tpv2

import (
	"fmt"
	"time"

	"spanwire/l2tpv3/wire"
)

// A Version is a version of L2TP.
type Version uint8

// The versions.
const (
	NoVersion Version = 0
	Version2  Version = 2
	Version3  Version = 3
)

// Choose says which version answers an SCCRQ that came over UDP, on a node that
// speaks some: "If the peer implementation is L2TPv3-capable, a control message with
// the Ver field set to 3 and an L2TPv3 header and message format will be sent in
// response to the SCCRQ." RFC 3931 section 4.7.3.
func Choose(request []byte, speaks ...Version) Version {
	h, message, err := wire.ParseControl(request)
	if err != nil {
		return NoVersion
	}
	var two, three bool
	for _, v := range speaks {
		two, three = two || v == Version2, three || v == Version3
	}
	switch {
	case three && (h.Version == 3 || wire.OffersV3(message)):
		return Version3
	case two && h.Version == 2 && wire.OffersV2(message):
		return Version2
	}
	return NoVersion
}

// Offer returns what an SCCRQ for both versions says for L2TPv2, for
// wire.AppendOffer: who has an L2TPv3 connection asked for sends it, and repeats it.
// "If a message is received with the Ver field set to 2, it must be assumed that the
// peer implementation is L2TPv2-only, thus enabling fallback to L2TPv2 mode to
// safely occur": an SCCRP to it, handed to Receive, is answered as if the SCCRQ had
// been this node's, and TunnelUp follows. Until then nothing happens here; Withdraw
// forgets it.
func (n *Node) Offer(now time.Time, name string) (*wire.SCCRQV2, error) {
	n.now = now
	p := n.peers[name]
	switch {
	case p == nil:
		return nil, fmt.Errorf("l2tpv2: %s: no such tunnel", name)
	case p.conn != nil && !p.conn.offered:
		return nil, fmt.Errorf("l2tpv2: %s: it is being dialled already", name)
	}
	n.Withdraw(now, name)
	id, ok := n.newTunnelID()
	if !ok {
		return nil, fmt.Errorf("l2tpv2: %s: no Tunnel ID is free", name)
	}
	c := n.newConn(p, id, p.binding.At, now)
	c.dialled, c.offered = true, true
	c.prepare(c.cfg.DialRetries)
	p.conn = c
	p.redialAt = time.Time{}
	p.arrange()
	return c.request(), nil
}

// Withdraw forgets an Offer that was not answered.
func (n *Node) Withdraw(now time.Time, name string) {
	n.now = now
	if p := n.peers[name]; p != nil && p.conn != nil && p.conn.offered {
		c := p.conn
		p.conn = nil
		delete(p.all, c)
		n.remove(c)
	}
}

// Dial has one that is Offered dial once, for L2TPv2 alone, and forgets an Offer that
// was not answered.
func (n *Node) Dial(now time.Time, name string) {
	n.Withdraw(now, name)
	if p := n.peers[name]; p != nil && p.mayDial() {
		p.redialAt = now
		p.arrange()
	}
}

// Yield closes the tunnel of one that dials, and forgets its Offer: its peer speaks
// L2TPv3.
func (n *Node) Yield(now time.Time, name string) {
	n.now = now
	if p := n.peers[name]; p != nil {
		p.shut(now, wire.Result{Code: wire.StopGeneral, Message: yielded})
	}
}

const yielded = "L2TPv3 is spoken"

// answered takes the SCCRQ of an Offer to be sent by us.
func (c *conn) answered(now time.Time) {
	c.offered = false
	c.state = WaitCtlReply
	c.send(now, 0, c.request())
	c.reliable.Transmit()
	c.node.dialling(c, true)
	c.emit(Event{Kind: TunnelDialing})
}
