package radius

import (
	"container/heap"
	"container/list"
	"time"
)

// A ledger knows what accounting servers have been told and must yet be told. It
// does no I/O and reads no clock: take gives what to tell now, and done takes what
// became of it.
//
// First come the stops of sessions that an earlier run left, then Accounting-On,
// at which servers end whatever of this NAS they still think open, and only when
// that is answered the sessions of this run.
type ledger struct {
	entries map[string]*entry
	ended   list.List // entries of sessions that are over, the oldest first
	lost    queue     // sessions of an earlier run
	live    queue
	on      *entry // Accounting-On; nil: told
	off     *entry // Accounting-Off; nil: not yet

	most    int // deliveries at once
	limit   int // of entries whose session is over
	over    int // as many are
	flight  int // deliveries under way
	failing int // deliveries since one succeeded
	hold    time.Time
}

// An entry is a session, or the NAS as a whole.
type entry struct {
	session *Session // nil: the NAS
	usage   func() Usage
	last    Usage
	lastAt  time.Time

	pending  []record // in their order; the first may be under way
	flight   bool
	stopped  bool
	lost     bool
	failures int       // of the first in pending
	at       time.Time // when there is something to do
	index    int       // in its queue; -1: in none
	end      *list.Element
}

// Limits of what repeats itself.
const (
	leastInterim = time.Minute // "The value MUST NOT be smaller than 60", RFC 2869 section 5.16
	firstBackoff = 5 * time.Second
	mostBackoff  = 5 * time.Minute
	lostTries    = 3 // of a lost stop before Accounting-On goes ahead
)

func newLedger(most, limit int, on bool, now time.Time) *ledger {
	l := &ledger{entries: make(map[string]*entry), most: most, limit: limit}
	if on {
		l.on = &entry{pending: []record{{kind: accountingOn, at: now}}, at: now, index: -1}
	}
	return l
}

// recover takes a session of an earlier run, with the stop that ends it.
func (l *ledger) recover(s *Session, r record, now time.Time) (dropped []*entry) {
	e := &entry{session: s, last: r.usage, lastAt: r.at, pending: []record{r}, stopped: true, lost: true, at: now}
	l.entries[s.ID] = e
	l.over++
	e.end = l.ended.PushBack(e)
	heap.Push(&l.lost, e)
	return l.trim()
}

// start takes a new session, whose ID no other has.
func (l *ledger) start(s *Session, usage func() Usage) *entry {
	e := &entry{session: s, usage: usage, lastAt: s.Started, pending: []record{{kind: start, at: s.Started}}, at: s.Started}
	l.entries[s.ID] = e
	heap.Push(&l.live, e)
	return e
}

// look reads the counters of a session that goes on.
func (e *entry) look(now time.Time) {
	if e.usage != nil && !e.stopped {
		e.last, e.lastAt = e.usage(), now
	}
}

// stop ends a session. It returns the entries that it has no more room for, the
// oldest first, and false if the session is over already.
func (l *ledger) stop(e *entry, cause Cause, now time.Time) (dropped []*entry, ok bool) {
	if e.stopped {
		return nil, false
	}
	e.look(now)
	e.stopped, e.usage = true, nil
	if n := len(e.pending); n > 0 && e.pending[n-1].kind == interim && !(e.flight && n == 1) {
		e.pending = e.pending[:n-1] // the stop says more
	}
	e.pending = append(e.pending, record{stop, now, e.last, cause})
	l.over++
	e.end = l.ended.PushBack(e)
	l.due(e, now)
	return l.trim(), true
}

// update has what a session is told at once, if it was told before.
func (l *ledger) update(e *entry, now time.Time) {
	if len(e.pending) > 0 || e.stopped {
		return // what is yet to be told says it
	}
	e.look(now)
	e.pending = append(e.pending, record{kind: interim, at: now, usage: e.last})
	l.due(e, now)
}

// due has an entry dealt with now, or when what is under way has come to its end.
func (l *ledger) due(e *entry, now time.Time) {
	switch {
	case e.flight:
	case e.index >= 0:
		if e.failures == 0 {
			e.at = now
			heap.Fix(l.queue(e), e.index)
		}
	default:
		e.at = now
		heap.Push(l.queue(e), e)
	}
}

// trim forgets the oldest of too many sessions that are over, but for those that
// are being told.
func (l *ledger) trim() (dropped []*entry) {
	for at := l.ended.Front(); at != nil && l.over > l.limit; {
		e := at.Value.(*entry)
		at = at.Next()
		if !e.flight {
			dropped = append(dropped, e)
			l.forget(e)
		}
	}
	return dropped
}

// forget lets go of a session that is over.
func (l *ledger) forget(e *entry) {
	delete(l.entries, e.session.ID)
	l.ended.Remove(e.end)
	l.over--
	if e.index >= 0 {
		heap.Remove(l.queue(e), e.index)
	}
}

func (l *ledger) queue(e *entry) *queue {
	if e.lost {
		return &l.lost
	}
	return &l.live
}

// shut has Accounting-Off told when all else is.
func (l *ledger) shut(now time.Time) {
	l.off = &entry{pending: []record{{kind: accountingOff, at: now}}, at: now, index: -1}
}

// settled reports whether there is nothing more to tell of what is over.
func (l *ledger) settled() bool {
	return l.over == 0 && l.on == nil && l.off == nil && l.flight == 0
}

// next returns the entry to deal with next, nil if there is none yet.
func (l *ledger) next() *entry {
	switch {
	case l.flight >= l.most, l.failing > 0 && l.flight > 0:
		return nil
	case len(l.lost) > 0:
		return l.lost[0]
	case l.on != nil:
		if l.flight > 0 { // as long as a lost session is told, nothing else is
			return nil
		}
		return l.on
	case l.over == 0 && l.off != nil:
		if l.flight > 0 {
			return nil
		}
		return l.off
	case len(l.live) > 0:
		return l.live[0]
	}
	return nil
}

// deadline returns when to call take; zero: after another call.
func (l *ledger) deadline() time.Time {
	e := l.next()
	if e == nil {
		return time.Time{}
	}
	if l.failing > 0 && l.hold.After(e.at) {
		return l.hold
	}
	return e.at
}

// take returns what to tell now, with its session.
func (l *ledger) take(now time.Time) (e *entry, r record, ok bool) {
	if e = l.next(); e == nil || l.deadline().After(now) {
		return nil, record{}, false
	}
	if len(e.pending) == 0 {
		e.look(now)
		e.pending = append(e.pending, record{kind: interim, at: now, usage: e.last})
	}
	if e.index >= 0 {
		heap.Remove(l.queue(e), e.index)
	}
	e.flight = true
	l.flight++
	return e, e.pending[0], true
}

// done takes what became of a record, and reports whether its session needs no
// more.
func (l *ledger) done(e *entry, delivered bool, now time.Time) (finished bool) {
	e.flight = false
	l.flight--
	told := e.pending[0]
	if delivered {
		l.failing = 0
		e.failures = 0
		e.pending = e.pending[1:]
	} else {
		l.failing++
		e.failures++
		l.hold = now.Add(backoff(l.failing, time.Second, 30*time.Second))
		if told.kind == interim {
			e.pending = e.pending[1:] // a later one says more
		}
	}
	switch {
	case e.session == nil && !delivered:
		e.at = now.Add(backoff(e.failures, firstBackoff, mostBackoff))
		return false
	case e == l.on:
		l.on = nil
		return false
	case e == l.off:
		l.off = nil
		return false
	case delivered && told.kind == stop:
		l.forget(e)
		return true
	case !delivered && told.kind != interim:
		e.at = now.Add(backoff(e.failures, firstBackoff, mostBackoff))
		if e.lost && e.failures >= lostTries {
			e.lost = false // it does not hold up the others any longer
		}
	case len(e.pending) > 0:
		e.at = now
	case e.session.Interim > 0:
		e.at = now.Add(max(e.session.Interim, leastInterim))
	default:
		return false // until it stops
	}
	heap.Push(l.queue(e), e)
	return false
}

// backoff returns how long to wait after failures.
func backoff(failures int, first, most time.Duration) time.Duration {
	return min(first<<min(failures-1, 16), most)
}

// A queue is a heap of entries, the one that is due first on top.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.index = -1
	return e
}
