package pool

import (
	"sync"
	"testing"
)

func TestPool(t *testing.T) {
	var p Pool[int]
	if v := p.Get(); v != nil {
		t.Errorf("an empty pool gave %d", *v)
	}
	values := make([]int, size+1)
	for i := range values {
		p.Put(&values[i])
	}
	seen := map[*int]bool{}
	for v := p.Get(); v != nil; v = p.Get() {
		if seen[v] {
			t.Error("a value twice")
		}
		seen[v] = true
	}
	if len(seen) != size || seen[&values[size]] {
		t.Errorf("%d values kept, want the first %d", len(seen), size)
	}
}

// TestNoneIsShared has goroutines use what they got alone.
func TestNoneIsShared(t *testing.T) {
	var p Pool[int]
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 1000 {
				v := p.Get()
				if v == nil {
					v = new(int)
				}
				*v++
				p.Put(v)
			}
		})
	}
	work.Wait()
}
