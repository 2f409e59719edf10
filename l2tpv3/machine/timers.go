// Package machine holds what the machines of L2TPv3 and L2TPv2 are both built with:
// timers, lists, budgets and queues. Like them it does no I/O and reads no clock.
package machine

import (
	"container/heap"
	"time"
)

// A Timer is something that has a time to be looked at.
type Timer struct {
	At    time.Time // zero: never; Timers.Set sets it
	What  interface{ Advance(now time.Time) }
	Index int // in Timers, counted from 1; 0: it is not there
}

// Timers are ordered by their times.
type Timers []*Timer

// Len implements heap.Interface.
func (t Timers) Len() int { return len(t) }

// Less implements heap.Interface.
func (t Timers) Less(i, j int) bool { return t[i].At.Before(t[j].At) }

// Swap implements heap.Interface.
func (t Timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].Index, t[j].Index = i+1, j+1
}

// Push implements heap.Interface.
func (t *Timers) Push(x any) {
	*t = append(*t, x.(*Timer))
	x.(*Timer).Index = len(*t)
}

// Pop implements heap.Interface.
func (t *Timers) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	x.Index = 0
	return x
}

// Set has a timer looked at when the time has come; the zero time: never.
func (t *Timers) Set(x *Timer, at time.Time) {
	switch {
	case at.Equal(x.At) && (x.Index != 0) == !at.IsZero():
	case at.IsZero():
		if x.Index != 0 {
			heap.Remove(t, x.Index-1)
		}
		x.At = at
	case x.Index != 0:
		x.At = at
		heap.Fix(t, x.Index-1)
	default:
		x.At = at
		heap.Push(t, x)
	}
}

// Advance has what is due do what it waited for.
func (t *Timers) Advance(now time.Time) {
	for len(*t) > 0 && !(*t)[0].At.After(now) {
		x := (*t)[0]
		t.Set(x, time.Time{})
		x.What.Advance(now)
	}
}

// Deadline returns when to call Advance; the zero time: never.
func (t Timers) Deadline() time.Time {
	if len(t) == 0 {
		return time.Time{}
	}
	return t[0].At
}

// Earliest returns the earlier of two times, of which zero is never.
func Earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
