package user

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// A table maps Session IDs to Links. It is read without a lock, by any number of
// goroutines, while one at a time changes it: open addressing over slots that
// are swapped whole, linear probing, at most half of them in use.
type table struct {
	slots atomic.Pointer[[]slot]

	mu   sync.Mutex // for writers
	live int
	used int // live and deleted
}

// A slot has the Session ID beside the Link, so that passing over it touches
// nothing else. Its ID is written once, before the Link.
type slot struct {
	link atomic.Pointer[Link]
	id   uint32
}

// deleted stands in a slot whose Link is gone, so that probing goes on past it.
var deleted = new(Link)

// slotOf spreads IDs over 2^k slots. Users count them 1, 2, 3 and peers choose
// them, so the low bits alone would not do: Fibonacci hashing.
func slotOf(id uint32, slots int) int {
	return int(id * 2654435769 >> (32 - bits.TrailingZeros(uint(slots))))
}

func (t *table) lookup(id uint32) *Link {
	s := t.slots.Load()
	if s == nil {
		return nil
	}
	slots := *s
	for i := slotOf(id, len(slots)); ; i = (i + 1) & (len(slots) - 1) {
		l := slots[i].link.Load()
		if l == nil {
			return nil
		}
		if slots[i].id == id && l != deleted {
			return l
		}
	}
}

// insert puts a Link into the table, unless the ID is another's, which it returns.
func (t *table) insert(l *Link) (other *Link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.lookup(l.params.SessionID); other != nil {
		return other
	}
	if s := t.slots.Load(); s == nil || 2*(t.used+1) > len(*s) {
		t.resize()
	}
	put(*t.slots.Load(), l)
	t.live++
	t.used++
	return nil
}

func (t *table) remove(l *Link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := *t.slots.Load()
	for i := slotOf(l.params.SessionID, len(slots)); ; i = (i + 1) & (len(slots) - 1) {
		switch slots[i].link.Load() {
		case nil:
			return
		case l:
			slots[i].link.Store(deleted)
			t.live--
			return
		}
	}
}

// resize puts the live Links into new slots, of which they fill a third to a
// sixth. Readers stay in the old ones, which do not change any more.
func (t *table) resize() {
	n := 16
	for n < 3*(t.live+1) {
		n *= 2
	}
	slots := make([]slot, n)
	if old := t.slots.Load(); old != nil {
		for i := range *old {
			if l := (*old)[i].link.Load(); l != nil && l != deleted {
				put(slots, l)
			}
		}
	}
	t.used = t.live
	t.slots.Store(&slots)
}

func put(slots []slot, l *Link) {
	i := slotOf(l.params.SessionID, len(slots))
	for slots[i].link.Load() != nil {
		i = (i + 1) & (len(slots) - 1)
	}
	slots[i].id = l.params.SessionID
	slots[i].link.Store(l)
}
