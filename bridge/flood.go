package bridge

import (
	"sync/atomic"
	"time"

	"spanwire/pseudowire"
)

// A Rate is how much may be flooded in a second; 0: any amount.
type Rate struct {
	Frames uint64 // those that a super-frame stands for, each
	Octets uint64
}

// A Flood limits what comes in through a port and has to go to all others. What is
// more is dropped: it is a storm.
type Flood struct {
	Broadcast Rate
	Multicast Rate
	Unknown   Rate // to stations that the table does not know
}

// A bucket holds tokens for a second, and is filled as time goes on. While it has any,
// something passes, however large: what is too much is owed.
type bucket struct {
	rate   uint64 // tokens a second; 0: no limit
	rest   float64
	tokens atomic.Int64
}

func (b *bucket) init(rate uint64) {
	b.rate = min(rate, 1<<62)
	b.tokens.Store(int64(b.rate))
}

// fill adds the tokens of some time.
func (b *bucket) fill(elapsed time.Duration) {
	if b.rate == 0 {
		return
	}
	more := float64(b.rate)*min(elapsed.Seconds(), 2) + b.rest
	whole := min(int64(more), 1<<62)
	b.rest = more - float64(whole)
	for {
		was := b.tokens.Load()
		if b.tokens.CompareAndSwap(was, min(was+whole, int64(b.rate))) {
			return
		}
	}
}

// A gauge limits one class of what is flooded.
type gauge struct{ frames, octets bucket }

func (g *gauge) init(r Rate) {
	g.frames.init(r.Frames)
	g.octets.init(r.Octets)
}

func (g *gauge) limited() bool { return g.frames.rate+g.octets.rate != 0 }

func (g *gauge) fill(elapsed time.Duration) {
	g.frames.fill(elapsed)
	g.octets.fill(elapsed)
}

// pass takes tokens for a frame, and reports whether there were any.
func (g *gauge) pass(f *pseudowire.Frame) bool {
	if g.frames.rate != 0 && g.frames.tokens.Load() <= 0 || g.octets.rate != 0 && g.octets.tokens.Load() <= 0 {
		return false
	}
	if g.frames.rate != 0 {
		g.frames.tokens.Add(-int64(count(f)))
	}
	if g.octets.rate != 0 {
		g.octets.tokens.Add(-int64(f.Len()))
	}
	return true
}

// count returns how many frames a super-frame stands for, nearly.
func count(f *pseudowire.Frame) int {
	if f.GSO.Kind == pseudowire.GSONone || f.GSO.Size == 0 {
		return 1
	}
	payload := max(1, f.Len()-int(f.GSO.HeaderLen))
	return (payload + int(f.GSO.Size) - 1) / int(f.GSO.Size)
}
