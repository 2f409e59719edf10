package lns

import "sync"

// A crew calls functions, so many at once at most, and the others wait for their turn.
// It has no goroutine while there is nothing to do.
type crew struct {
	most int
	room int // of those that wait; 0: any number

	mu      sync.Mutex
	idle    sync.Cond
	waiting []func()
	at      int // how many are being called
}

func newCrew(most, room int) *crew {
	c := &crew{most: max(most, 1), room: room}
	c.idle.L = &c.mu
	return c
}

// do has f be called, and returns false if there is no room for one more that waits.
func (c *crew) do(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room > 0 && len(c.waiting) >= c.room {
		return false
	}
	c.waiting = append(c.waiting, f)
	if c.at < c.most {
		c.at++
		go c.work()
	}
	return true
}

func (c *crew) work() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) > 0 {
		f := c.waiting[0]
		c.waiting[0] = nil
		if c.waiting = c.waiting[1:]; len(c.waiting) == 0 {
			c.waiting = nil
		}
		c.mu.Unlock()
		f()
		c.mu.Lock()
	}
	c.at--
	c.idle.Broadcast()
}

// wait returns when there is nothing to do.
func (c *crew) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.at > 0 {
		c.idle.Wait()
	}
}
