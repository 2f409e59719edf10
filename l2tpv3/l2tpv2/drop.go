package l2tpv2

import "spanwire/l2tpv3/machine"

// A Drop is why a control message was not acted upon, and a counter's index.
// Nothing of what is dropped is answered.
type Drop uint8

// The reasons.
const (
	accepted     Drop = iota
	DropHeader        // a malformed header, RFC 2661 section 7.1
	DropTunnel        // a Tunnel ID that is nobody's
	DropSource        // from elsewhere than the peer
	DropSequence      // an Nr of what was never sent
	DropNoTunnel      // an SCCRQ that matches no tunnel
	DropRate          // an SCCRQ beyond its source's budget
	DropHalfOpen      // a half-open tunnel that made room for another
	DropRequest       // an SCCRQ that makes no sense
	DropTie           // an SCCRQ that lost a tie
	DropLimit         // an SCCRQ beyond a limit
	DropQueue         // from a peer that lets too much wait for its acknowledgment

	Drops // how many there are
)

var dropNames = [Drops]string{
	accepted:     "accepted",
	DropHeader:   "header",
	DropTunnel:   "unknown_tunnel",
	DropSource:   "wrong_source",
	DropSequence: "sequence",
	DropNoTunnel: "no_tunnel",
	DropRate:     "rate",
	DropHalfOpen: "half_open",
	DropRequest:  "malformed_request",
	DropTie:      "tie",
	DropLimit:    "limit",
	DropQueue:    "queue",
}

// String returns the name of the reason's counter.
func (d Drop) String() string {
	if d < Drops {
		return dropNames[d]
	}
	return "unknown"
}

func (n *Node) drop(why Drop, at Address) {
	n.drops[why]++
	n.lastDropped[why] = Dropped{Time: n.now, From: at.Peer}
}

// DropCounts returns how many messages were not acted upon, by reason.
func (n *Node) DropCounts() [Drops]uint64 { return n.drops }

// A Dropped tells of a message that was not acted upon.
type Dropped = machine.Dropped

// LastDropped returns the last message of each reason; the zero value: there was
// none.
func (n *Node) LastDropped() [Drops]Dropped { return n.lastDropped }
