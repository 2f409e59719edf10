package machine

import (
	"fmt"
	"net/netip"
	"time"
)

// A Budget is how much of something there may still be, at a time.
type Budget struct {
	left float64
	at   time.Time
}

// Take takes one, if there is one left. A budget that was never used is full.
func (b *Budget) Take(now time.Time, rate float64) bool {
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

// Budgets are those of sources.
type Budgets struct {
	all   map[netip.Addr]Budget
	swept time.Time
}

// MaxSources bounds the sources that are told apart.
const MaxSources = 8192

// Len returns how many budgets are kept, that of all other sources among them.
func (s *Budgets) Len() int { return len(s.all) }

// Take takes one from a source's budget, if there is one left.
func (s *Budgets) Take(now time.Time, source netip.Addr, rate float64) bool {
	if s.all == nil {
		s.all = make(map[netip.Addr]Budget)
	}
	if source.Is6() { // of which anybody has many
		if p, err := source.WithZone("").Prefix(64); err == nil {
			source = p.Addr()
		}
	}
	if _, ok := s.all[source]; !ok && len(s.all) >= MaxSources {
		if now.Sub(s.swept) >= time.Second {
			s.sweep(now)
		}
		if len(s.all) >= MaxSources {
			source = netip.Addr{} // all the others share one
		}
	}
	b := s.all[source]
	ok := b.Take(now, rate)
	s.all[source] = b
	return ok
}

// sweep forgets the sources that have been silent for long enough to have all of
// their budget again.
func (s *Budgets) sweep(now time.Time) {
	s.swept = now
	for source, b := range s.all {
		if now.Sub(b.at) >= time.Second {
			delete(s.all, source)
		}
	}
}

// Notes bound the events that strangers can cause.
type Notes struct {
	budget  Budget
	leftOut int // since the last
}

// notesRate is how many notes there may be a second, and at once.
const notesRate = 20

// Take reports whether there may be one more note, and what it is to say at its end
// of those that were left out.
func (n *Notes) Take(now time.Time) (end string, ok bool) {
	if !n.budget.Take(now, notesRate) {
		n.leftOut++
		return "", false
	}
	if n.leftOut > 0 {
		end = fmt.Sprintf(" (%d notes before it were left out)", n.leftOut)
		n.leftOut = 0
	}
	return end, true
}

// A Dropped tells of a message that was not acted upon.
type Dropped struct {
	Time time.Time
	From netip.AddrPort // the port is 0 over IP
}
