package l2tpv2

import (
	"net/netip"
	"time"
)

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
	n.lastDropped[why] = Dropped{n.now, at.Peer}
}

// DropCounts returns how many messages were not acted upon, by reason.
func (n *Node) DropCounts() [Drops]uint64 { return n.drops }

// A Dropped tells of a message that was not acted upon.
type Dropped struct {
	Time time.Time
	From netip.AddrPort
}

// LastDropped returns the last message of each reason; the zero value: there was
// none.
func (n *Node) LastDropped() [Drops]Dropped { return n.lastDropped }

// A budget is how much of something there may still be, at a time.
type budget struct {
	left float64
	at   time.Time
}

// take takes one, if there is one left. A budget that was never used is full.
func (b *budget) take(now time.Time, rate float64) bool {
	if b.at.IsZero() {
		b.left, b.at = rate, now
	}
	if d := now.Sub(b.at); d > 0 {
		b.left = min(b.left+d.Seconds()*rate, rate)
		b.at = now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// maxBudgets bounds the sources that are told apart.
const maxBudgets = 8192

// allow takes an SCCRQ from its source's budget.
func (n *Node) allow(now time.Time, source netip.Addr) bool {
	if source.Is6() { // of which anybody has many
		if p, err := source.WithZone("").Prefix(64); err == nil {
			source = p.Addr()
		}
	}
	if _, ok := n.budgets[source]; !ok && len(n.budgets) >= maxBudgets {
		if now.Sub(n.swept) >= time.Second {
			n.sweep(now)
		}
		if len(n.budgets) >= maxBudgets {
			source = netip.Addr{} // all the others share one
		}
	}
	b := n.budgets[source]
	ok := b.take(now, float64(n.cfg.RequestRate))
	n.budgets[source] = b
	return ok
}

// sweep forgets the sources that have been silent for long enough to have all of
// their budget again.
func (n *Node) sweep(now time.Time) {
	n.swept = now
	for source, b := range n.budgets {
		if now.Sub(b.at) >= time.Second {
			delete(n.budgets, source)
		}
	}
}
