package lns

import (
	"container/heap"
	"sync"
	"time"
)

// A clock tells all links when it is time, with one goroutine.
type clock struct {
	mu      sync.Mutex
	pending timers
	wake    chan struct{}
	stopped chan struct{}
}

// A timer calls due, once, when its time has come. at and place are the clock's.
type timer struct {
	due   func(now time.Time)
	at    time.Time
	place int // in the heap, from 1; 0: it is not there
}

func newClock() *clock {
	return &clock{wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// set has the timer's due be called at a time, or somewhat before: one that is to be
// called earlier already stays as it is, for due looks what is to be done and says
// when the next is.
func (c *clock) set(t *timer, at time.Time) {
	if at.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case t.place == 0:
		t.at = at
		heap.Push(&c.pending, t)
	case at.Before(t.at):
		t.at = at
		heap.Fix(&c.pending, t.place-1)
	default:
		return
	}
	if t.place == 1 {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// drop has the timer's due not be called.
func (c *clock) drop(t *timer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.place > 0 {
		heap.Remove(&c.pending, t.place-1)
	}
}

// next takes the first timer that is due, or returns how long it is until one is.
func (c *clock) next(now time.Time) (*timer, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 {
		return nil, time.Hour
	}
	if t := c.pending[0]; now.Before(t.at) {
		return nil, t.at.Sub(now)
	}
	return heap.Pop(&c.pending).(*timer), 0
}

// run calls what is due until the clock is stopped.
func (c *clock) run() {
	sleep := time.NewTimer(time.Hour)
	defer sleep.Stop()
	for {
		now := time.Now()
		t, wait := c.next(now)
		if t != nil {
			t.due(now)
			continue
		}
		sleep.Reset(wait)
		select {
		case <-c.stopped:
			return
		case <-c.wake:
		case <-sleep.C:
		}
	}
}

func (c *clock) stop() { close(c.stopped) }

// timers are a heap, the earliest first.
type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (h *timers) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.place = len(*h)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.place = 0
	return t
}
