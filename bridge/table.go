package bridge

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// A MAC is the address of a station or a group.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// group reports whether it is the address of several stations.
func (m MAC) group() bool { return m[0]&1 != 0 }

// A key is a VID and a MAC, by which the table has what it knows of a station.
type key uint64

const (
	noKey   key = 0       // the slot never had one
	gone    key = 1       // the slot had one
	keyMark key = 1 << 63 // of those that are one
)

func newKey(vid uint16, m MAC) key {
	return keyMark | key(vid)<<48 |
		key(m[0])<<40 | key(m[1])<<32 | key(m[2])<<24 | key(m[3])<<16 | key(m[4])<<8 | key(m[5])
}

func (k key) vid() uint16 { return uint16(k>>48) & 0x0fff }

func (k key) mac() MAC {
	return MAC{byte(k >> 40), byte(k >> 32), byte(k >> 24), byte(k >> 16), byte(k >> 8), byte(k)}
}

// An entry is what the table knows of a station, in one word:
//
//	generation(16) port(16) static(1) when it was last heard, in seconds(31)
type entry uint64

const (
	staticEntry   entry = 1 << 31
	heardMask     entry = staticEntry - 1
	generationOne entry = 1 << 48
)

func newEntry(port uint16, heard uint32, static entry) entry {
	return entry(port)<<32 | static | entry(heard)&heardMask
}

func (e entry) port() uint16          { return uint16(e >> 32) }
func (e entry) static() bool          { return e&staticEntry != 0 }
func (e entry) heard() uint32         { return uint32(e & heardMask) }
func (e entry) generation() entry     { return e >> 48 }
func (e entry) at(heard uint32) entry { return e&^heardMask | entry(heard)&heardMask }

// A slot has a key and its entry, and no more than that: so a look touches one line
// of the processor's cache.
type slot struct{ key, entry atomic.Uint64 }

// read returns what the slot has at one moment. A slot that gets another key gets an
// entry of the next generation first: while the generation stands still, key and
// entry belong together.
func (s *slot) read() (key, entry) {
	e := entry(s.entry.Load())
	for {
		k := key(s.key.Load())
		after := entry(s.entry.Load())
		if e.generation() == after.generation() {
			return k, after
		}
		e = after
	}
}

const (
	leastSlots = 1 << 10 // of a table
	probes     = 128     // how many slots may have a key, one after the other
)

// A table has the entries by key, with open addressing. Who looks takes no lock and
// may do so at any time; who inserts, moves or removes holds the Hub's.
type table struct {
	slots atomic.Pointer[[]slot]
	seeds [2]uint64 // so that nobody can choose addresses that meet in one place
	most  int       // entries

	live int // entries
	used int // slots that have a key or had one
}

func (t *table) init(most int) {
	t.most = most
	t.seeds = [2]uint64{rand.Uint64(), rand.Uint64() | 1<<63 | 1}
	slots := make([]slot, leastSlots)
	t.slots.Store(&slots)
}

// place returns where a key's slots begin. One multiplication leaves addresses that
// count up evenly apart, which by bad luck is in few places: the second scatters them.
func (t *table) place(k key) uint64 {
	const other = 0x9e3779b97f4a7c15
	high, low := bits.Mul64(uint64(k)^t.seeds[0], t.seeds[1])
	high, low = bits.Mul64(high^low^other, t.seeds[1])
	return high ^ low
}

// find returns the slot of a key and its entry, nil if there is none.
func (t *table) find(k key) (*slot, entry) {
	slots := *t.slots.Load()
	mask := uint64(len(slots) - 1)
	at := t.place(k)
	for range probes {
		s := &slots[at&mask]
		switch key(s.key.Load()) {
		case k:
			if k2, e := s.read(); k2 == k {
				return s, e
			}
		case noKey:
			return nil, 0
		}
		at++
	}
	return nil, 0
}

// refresh notes when the station was heard again.
func (s *slot) refresh(e entry, heard uint32) {
	// Whoever comes in between has noted the same, or knows better.
	s.entry.CompareAndSwap(uint64(e), uint64(e.at(heard)))
}

// set gives the entry of a slot that has its key another value. The generation stays.
func (s *slot) set(e entry) {
	const mask = 1<<48 - 1
	for {
		was := s.entry.Load()
		if s.entry.CompareAndSwap(was, was&^mask|uint64(e)&mask) {
			return
		}
	}
}

// insert adds an entry whose key is not there, and reports whether there was room.
func (t *table) insert(k key, e entry) bool {
	if t.live == t.most {
		return false
	}
	slots := *t.slots.Load()
	if 2*t.used >= len(slots) {
		slots = t.rebuild(t.live + t.live/2)
	}
	for !t.put(slots, k, e) {
		// So many in one row are bad luck, or full of such as are gone.
		if len(slots) > 16*max(t.most, leastSlots) {
			return false
		}
		slots = t.rebuild(len(slots))
	}
	t.live++
	return true
}

// put puts an entry into the first slot that is free for it, if it is near enough.
func (t *table) put(slots []slot, k key, e entry) bool {
	mask := uint64(len(slots) - 1)
	at := t.place(k)
	for range probes {
		s := &slots[at&mask]
		was := key(s.key.Load())
		if was != noKey && was != gone {
			at++
			continue
		}
		const value = generationOne - 1
		s.entry.Store(uint64(entry(s.entry.Load())&^value + generationOne | e&value))
		s.key.Store(uint64(k))
		if was == noKey {
			t.used++
		}
		return true
	}
	return false
}

// rebuild makes the slots anew, more than twice as many as are asked for, without
// those that had a key. Who looks meanwhile finds what was there before.
func (t *table) rebuild(room int) []slot {
	former := *t.slots.Load()
	n := leastSlots
	for n < 2*room {
		n *= 2
	}
	for ; ; n *= 2 {
		slots := make([]slot, n)
		t.used = 0
		if t.copy(slots, former) {
			t.slots.Store(&slots)
			return slots
		}
	}
}

func (t *table) copy(slots, former []slot) bool {
	for i := range former {
		if k, e := former[i].read(); k&keyMark != 0 && !t.put(slots, k, e) {
			return false
		}
	}
	return true
}

// remove takes out the entry of a slot.
func (t *table) remove(s *slot) {
	s.key.Store(uint64(gone))
	t.live--
}

// all calls f with every slot that has an entry, until it returns false.
func (t *table) all(f func(*slot, key, entry) bool) {
	slots := *t.slots.Load()
	for i := range slots {
		s := &slots[i]
		if key(s.key.Load())&keyMark == 0 {
			continue
		}
		if k, e := s.read(); k&keyMark != 0 && !f(s, k, e) {
			return
		}
	}
}
