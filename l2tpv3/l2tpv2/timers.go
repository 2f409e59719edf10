package l2tpv2

import (
	"container/heap"
	"time"
)

// A timer is something that has a time to be looked at.
type timer struct {
	at    time.Time // zero: never
	index int       // in timers, counted from 1; 0: it is not there
	what  interface{ advance(now time.Time) }
}

// timers are ordered by their times.
type timers []*timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i+1, j+1
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	*t = append(*t, x.(*timer))
	x.(*timer).index = len(*t)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	x.index = 0
	return x
}

// set has a timer looked at when the time has come; the zero time: never.
func (t *timers) set(x *timer, at time.Time) {
	switch {
	case at.Equal(x.at) && (x.index != 0) == !at.IsZero():
	case at.IsZero():
		if x.index != 0 {
			heap.Remove(t, x.index-1)
		}
		x.at = at
	case x.index != 0:
		x.at = at
		heap.Fix(t, x.index-1)
	default:
		x.at = at
		heap.Push(t, x)
	}
}

// earliest returns the earlier of two times, of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
