// Package pool keeps memory that is costly to make for whoever needs some next.
package pool

import "sync/atomic"

// size is how many goroutines are likely to need one at the same time: as many as the
// processors of most machines.
const size = 32

// A Pool keeps a few values that nobody uses now. Unlike those of a sync.Pool they
// stay when garbage is collected. Its zero value has none.
type Pool[T any] struct{ slots [size]atomic.Pointer[T] }

// Get takes a value, nil if there is none.
func (p *Pool[T]) Get() *T {
	for i := range p.slots {
		if p.slots[i].Load() == nil {
			continue
		}
		if v := p.slots[i].Swap(nil); v != nil {
			return v
		}
	}
	return nil
}

// Put gives a value back. It is forgotten where there are enough.
func (p *Pool[T]) Put(v *T) {
	for i := range p.slots {
		if p.slots[i].Load() == nil && p.slots[i].CompareAndSwap(nil, v) {
			return
		}
	}
}
