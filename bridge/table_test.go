package bridge

import (
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestKey(t *testing.T) {
	mac := MAC{0x02, 0x34, 0x56, 0x78, 0x9a, 0xbc}
	k := newKey(4094, mac)
	if k.vid() != 4094 || k.mac() != mac || mac.String() != "02:34:56:78:9a:bc" || mac.group() {
		t.Errorf("VLAN %d, %s", k.vid(), k.mac())
	}
	if newKey(0, MAC{}) == noKey || newKey(0, MAC{5: 1}) == gone {
		t.Error("a key that is none")
	}
	e := newEntry(65535, 1<<31-1, staticEntry)
	if e.port() != 65535 || e.heard() != 1<<31-1 || !e.static() || e.generation() != 0 {
		t.Errorf("%#x", e)
	}
	if e := newEntry(7, 3, 0).at(9); e != newEntry(7, 9, 0) {
		t.Errorf("%#x", e)
	}
}

// TestTableAgainstAMap has keys come, move and go, in a table where some meet.
func TestTableAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table table
		table.init(rapid.IntRange(1, 200).Draw(t, "most"))
		if rapid.Bool().Draw(t, "all in one place") {
			table.seeds[1] = 0
		}
		model := map[key]entry{}
		keys := rapid.Custom(func(t *rapid.T) key {
			return newKey(rapid.Uint16Range(0, 1).Draw(t, "VID"), MAC{2, 5: rapid.Byte().Draw(t, "MAC")})
		})
		entries := rapid.Custom(func(t *rapid.T) entry {
			return newEntry(rapid.Uint16().Draw(t, "port"), rapid.Uint32Range(0, 1000).Draw(t, "heard"), 0)
		})
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				k, e := keys.Draw(t, "key"), entries.Draw(t, "entry")
				s, _ := table.find(k)
				if s != nil {
					s.set(e)
					model[k] = e
					return
				}
				before := len(model)
				if table.insert(k, e) {
					model[k] = e
				} else if before < table.most && before < probes {
					t.Fatalf("no room for more than %d of %d", before, table.most)
				}
			},
			"refresh": func(t *rapid.T) {
				k, heard := keys.Draw(t, "key"), rapid.Uint32Range(0, 1000).Draw(t, "heard")
				if s, e := table.find(k); s != nil {
					s.refresh(e, heard)
					model[k] = model[k].at(heard)
				}
			},
			"remove": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				if s, _ := table.find(k); s != nil {
					table.remove(s)
				}
				delete(model, k)
			},
			"remove half": func(t *rapid.T) {
				table.all(func(s *slot, k key, _ entry) bool {
					if k&1 == 0 {
						table.remove(s)
						delete(model, k)
					}
					return true
				})
			},
			"": func(t *rapid.T) {
				if table.live != len(model) {
					t.Fatalf("%d entries, want %d", table.live, len(model))
				}
				const value = generationOne - 1
				found := 0
				table.all(func(_ *slot, k key, e entry) bool {
					if want, ok := model[k]; !ok || e&value != want {
						t.Fatalf("%#x: %#x, want %#x, %v", k, e, want, ok)
					}
					found++
					return true
				})
				if found != len(model) {
					t.Fatalf("%d entries among all, want %d", found, len(model))
				}
				for k, want := range model {
					if s, e := table.find(k); s == nil || e&value != want {
						t.Fatalf("%#x: %#x, want %#x", k, e, want)
					}
				}
			},
		})
	})
}

// TestTableWhileWritten looks for keys while others take their slots: who finds one
// finds what belongs to it.
func TestTableWhileWritten(t *testing.T) {
	var table table
	table.init(64)
	table.seeds[1] = 0 // all in one place
	station := func(i int) (key, entry) {
		return newKey(0, MAC{2, 4: byte(i >> 8), 5: byte(i)}), newEntry(uint16(i), 0, 0)
	}
	var done atomic.Bool
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for i := 0; !done.Load(); i = (i + 1) % 256 {
				k, _ := station(i)
				s, e := table.find(k)
				if s == nil {
					continue
				}
				if int(e.port()) != i {
					t.Errorf("of %d the table says %d", i, e.port())
				}
				s.refresh(e, e.heard()+1)
			}
		})
	}
	var present [256]bool
	for round := range 20000 {
		i := round * 167 % 256
		k, e := station(i)
		if s, _ := table.find(k); s != nil {
			table.remove(s)
			present[i] = false
		} else if table.insert(k, e) {
			present[i] = true
		}
	}
	done.Store(true)
	work.Wait()
	for i := range present {
		k, _ := station(i)
		if s, _ := table.find(k); (s != nil) != present[i] {
			t.Errorf("%d: found %v, want %v", i, s != nil, present[i])
		}
	}
}

// TestSlotChangesHands has two keys take turns in one slot: whoever finds one there
// does not take the other's entry for its own.
func TestSlotChangesHands(t *testing.T) {
	var table table
	table.init(2)
	table.seeds[1] = 0
	keys := [2]key{newKey(0, MAC{2}), newKey(0, MAC{4})}
	var done atomic.Bool
	var work sync.WaitGroup
	work.Go(func() {
		for !done.Load() {
			for i, k := range keys {
				if s, e := table.find(k); s != nil && int(e.port()) != i {
					t.Errorf("of %d the table says %d", i, e.port())
					return
				}
			}
		}
	})
	for round := range 300_000 {
		i := round % 2
		table.insert(keys[i], newEntry(uint16(i), 0, 0))
		s, _ := table.find(keys[i])
		table.remove(s)
	}
	done.Store(true)
	work.Wait()
}

// TestManyMACs fills a table and empties it, several times over.
func TestManyMACs(t *testing.T) {
	const many = 100_000
	var table table
	table.init(many)
	station := func(i int) key {
		return newKey(0, MAC{2, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
	}
	for round := range 3 {
		for i := range many {
			if !table.insert(station(round*many+i), newEntry(uint16(i), 0, 0)) {
				t.Fatalf("no room for station %d", i)
			}
		}
		if table.insert(newKey(1, MAC{2}), 0) {
			t.Error("more entries than there may be")
		}
		for i := range many {
			s, e := table.find(station(round*many + i))
			if s == nil || e.port() != uint16(i) {
				t.Fatalf("station %d: %v", i, e.port())
			}
			table.remove(s)
		}
		if n := len(*table.slots.Load()); n > 4*many {
			t.Errorf("%d slots", n)
		}
	}
}

// TestScattered wants addresses that count up, wherever they do, to need no more slots
// in a row than chance has it: with half of them taken 128 are as good as never.
func TestScattered(t *testing.T) {
	for round := range 25 {
		for shift := 0; shift <= 48; shift += 8 {
			var table table
			table.init(1 << 15)
			slots := make([]slot, 1<<13)
			for i := range len(slots) / 2 {
				if k := keyMark | key(i)<<shift; !table.put(slots, k, 0) {
					t.Fatalf("round %d, seeds %#x: station %d counted from bit %d found no place", round, table.seeds, i, shift)
				}
			}
		}
	}
}

// BenchmarkFind looks for stations among 100,000, in no order.
func BenchmarkFind(b *testing.B) {
	const many = 100_000
	var table table
	table.init(many)
	keys := make([]key, many)
	for i := range keys {
		n := i * 40503 % many
		keys[i] = newKey(0, MAC{2, 3: byte(n >> 16), 4: byte(n >> 8), 5: byte(n)})
		table.insert(keys[i], newEntry(uint16(n), 0, 0))
	}
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if s, _ := table.find(keys[i%many]); s == nil {
				b.Fatal("not found")
			}
		}
	})
}
