package lns

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// A table says which link a packet goes to, by the longest prefix that its
// destination is in. Lookups take no lock and write nothing; a change copies one
// shard of 256, which with 10,000 links has 40 entries.
type table struct {
	mu     sync.Mutex // of those who change it
	v4, v6 atomic.Pointer[[]*length]
}

// A length has all prefixes of one length. The lists above have the longest first.
type length struct {
	bits   int
	mask   key
	count  int
	shards [256]atomic.Pointer[map[key]*Link]
}

// A key is an address: of IPv4 in hi, in its upper 32 bits.
type key struct{ hi, lo uint64 }

func key4(b []byte) key { return key{hi: uint64(binary.BigEndian.Uint32(b)) << 32} }

func key6(b []byte) key {
	return key{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func keyOf(a netip.Addr) key {
	if a.Is4() {
		b := a.As4()
		return key4(b[:])
	}
	b := a.As16()
	return key6(b[:])
}

func (k key) and(m key) key { return key{k.hi & m.hi, k.lo & m.lo} }

// shard spreads addresses that count up, and prefixes that do.
func (k key) shard() byte {
	const odd = 0x9e3779b97f4a7c15
	return byte((k.hi*odd ^ k.lo*odd) >> 56)
}

func mask(bits int) key {
	if bits > 64 {
		return key{^uint64(0), ^uint64(0) << (128 - bits)}
	}
	return key{^uint64(0) << (64 - bits), 0}
}

func (t *table) family(a netip.Addr) *atomic.Pointer[[]*length] {
	if a.Is4() {
		return &t.v4
	}
	return &t.v6
}

// add has packets to a prefix go to a link, whoever they went to.
func (t *table) add(p netip.Prefix, l *Link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	family := t.family(p.Addr())
	var all []*length
	if was := family.Load(); was != nil {
		all = *was
	}
	i := slices.IndexFunc(all, func(n *length) bool { return n.bits == p.Bits() })
	if i < 0 {
		n := &length{bits: p.Bits(), mask: mask(p.Bits())}
		all = append(slices.Clone(all), n)
		slices.SortFunc(all, func(a, b *length) int { return b.bits - a.bits })
		family.Store(&all)
		i = slices.Index(all, n)
	}
	k := keyOf(p.Addr())
	shard := &all[i].shards[k.shard()]
	changed := map[key]*Link{}
	if was := shard.Load(); was != nil {
		changed = maps.Clone(*was)
	}
	if changed[k] == nil {
		all[i].count++
	}
	changed[k] = l
	shard.Store(&changed)
}

// remove has packets to a prefix go to a link no longer, and reports whether they
// did.
func (t *table) remove(p netip.Prefix, l *Link) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	family := t.family(p.Addr())
	all := family.Load()
	if all == nil {
		return false
	}
	i := slices.IndexFunc(*all, func(n *length) bool { return n.bits == p.Bits() })
	if i < 0 {
		return false
	}
	n, k := (*all)[i], keyOf(p.Addr())
	shard := &n.shards[k.shard()]
	was := shard.Load()
	if was == nil || (*was)[k] != l {
		return false
	}
	changed := maps.Clone(*was)
	delete(changed, k)
	shard.Store(&changed)
	if n.count--; n.count == 0 {
		rest := slices.Delete(slices.Clone(*all), i, i+1)
		family.Store(&rest)
	}
	return true
}

// lookup4 and lookup6 return the link of a destination, nil if there is none.
func (t *table) lookup4(k key) *Link { return find(t.v4.Load(), k) }
func (t *table) lookup6(k key) *Link { return find(t.v6.Load(), k) }

func find(all *[]*length, k key) *Link {
	if all == nil {
		return nil
	}
	for _, n := range *all {
		masked := k.and(n.mask)
		if m := n.shards[masked.shard()].Load(); m != nil {
			if l := (*m)[masked]; l != nil {
				return l
			}
		}
	}
	return nil
}
