// Package address gives users addresses and prefixes out of pools, and the same
// again when they come back, as long as nobody else needed them.
package address

import (
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
)

// A Range is all addresses from First to Last.
type Range struct{ First, Last netip.Addr }

// ParseRange reads a range: "192.0.2.10-192.0.2.99" or a prefix. Of a prefix of
// IPv4 shorter than /31 the first and the last address are left out, for there are
// hosts that will not have them.
func ParseRange(text string) (Range, error) {
	first, last, two := strings.Cut(text, "-")
	if !two {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return Range{}, fmt.Errorf("address: %.60q: want a prefix or FIRST-LAST", text)
		}
		if p != p.Masked() {
			return Range{}, fmt.Errorf("address: %v: bits are set behind the prefix, want %v", p, p.Masked())
		}
		return Of(p), nil
	}
	var r Range
	for _, end := range []struct {
		text string
		to   *netip.Addr
	}{{first, &r.First}, {last, &r.Last}} {
		a, err := netip.ParseAddr(strings.TrimSpace(end.text))
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return Range{}, fmt.Errorf("address: %.60q: want an address", end.text)
		}
		*end.to = a
	}
	if r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First) {
		return Range{}, fmt.Errorf("address: %v-%v: want the first before the last", r.First, r.Last)
	}
	return r, nil
}

// Of returns the range of a prefix, without what ParseRange leaves out.
func Of(p netip.Prefix) Range {
	r := Range{p.Masked().Addr(), last(p)}
	if r.First.Is4() && p.Bits() < 31 {
		r.First, r.Last = r.First.Next(), r.Last.Prev()
	}
	return r
}

// last returns the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	return wide(p.Addr()).or(host(p.Addr().BitLen() - p.Bits())).addr(p.Addr().Is4())
}

// String returns the range as ParseRange reads it.
func (r Range) String() string { return fmt.Sprintf("%v-%v", r.First, r.Last) }

// A Pool gives out prefixes of one length: /32 are addresses of IPv4. What it costs
// is for those that it gave out and remembers, not for those that it has. The zero
// value is empty.
type Pool struct {
	ipv4   bool
	length int // of the prefixes
	spans  []span
	size   uint64

	used   map[uint64]string        // who has what; a unit is a number from 0 to size-1
	fresh  uint64                   // all below were given out once, or are in used or free
	free   map[uint64]*list.Element // of left
	left   list.List                // *returned, that for longest first
	byUser map[string]*list.List    // *returned, that last last
}

// A span is the units of one range.
type span struct {
	first uint128 // the first unit
	count uint64
}

// A returned unit was given back.
type returned struct {
	unit uint64
	user string
	mine *list.Element // of the user's list; nil: he has no name
}

// mostUnits bounds the units of a pool, mostLeft those that it remembers to have
// been given back while there are some that were never given.
const (
	mostUnits = 1 << 62
	mostLeft  = 1 << 17
)

// New returns a pool of the prefixes of a length, which are whole in one of the
// ranges.
func New(length int, ranges ...Range) (*Pool, error) {
	p := &Pool{length: length, used: make(map[uint64]string), free: make(map[uint64]*list.Element), byUser: make(map[string]*list.List)}
	if len(ranges) == 0 {
		return nil, errors.New("address: no range")
	}
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b Range) int { return a.First.Compare(b.First) })
	for i, r := range ranges {
		if !r.First.IsValid() || r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First) || r.First.Is4In6() || r.First.Zone() != "" || r.Last.Zone() != "" {
			return nil, fmt.Errorf("address: %v: no range", r)
		}
		if i == 0 {
			p.ipv4 = r.First.Is4()
		}
		if p.ipv4 != r.First.Is4() {
			return nil, errors.New("address: ranges of IPv4 and of IPv6, want one of them")
		}
		if i > 0 && !ranges[i-1].Last.Less(r.First) {
			return nil, fmt.Errorf("address: %v and %v have addresses in common", ranges[i-1], r)
		}
		if length < 1 || length > r.First.BitLen() {
			return nil, fmt.Errorf("address: prefixes of %d bits, want 1 to %d", length, r.First.BitLen())
		}
		shift := r.First.BitLen() - length
		// The first unit that begins in the range, and the last that ends in it.
		first, over := wide(r.First).add(host(shift))
		end, under := wide(r.Last).shift(shift), false
		if wide(r.Last).and(host(shift)) != host(shift) {
			end, under = end.sub(uint128{0, 1}), end == uint128{}
		}
		first = first.shift(shift)
		if over || under || end.less(first) {
			return nil, fmt.Errorf("address: %v has no whole prefix of %d bits", r, length)
		}
		n, over := end.sub(first).add(uint128{0, 1})
		if over || n.hi != 0 || n.lo > mostUnits || p.size+n.lo > mostUnits {
			return nil, fmt.Errorf("address: %v has too many prefixes of %d bits", r, length)
		}
		p.spans = append(p.spans, span{first, n.lo})
		p.size += n.lo
	}
	return p, nil
}

// Size returns how many prefixes the pool has.
func (p *Pool) Size() uint64 { return p.size }

// Used returns how many are given out.
func (p *Pool) Used() uint64 { return uint64(len(p.used)) }

// Take gives a user a prefix: one that he gave back, the last of them first, else
// one that nobody had yet, else that which was given back for longest. It reports
// whether there was any. A user without a name gets no preference.
func (p *Pool) Take(user string) (_ netip.Prefix, ok bool) {
	if mine := p.byUser[user]; mine != nil && user != "" {
		return p.give(mine.Back().Value.(*returned).unit, user), true
	}
	for ; p.fresh < p.size && p.known(p.fresh); p.fresh++ {
	}
	switch {
	case p.fresh < p.size && p.left.Len() < mostLeft:
		p.fresh++
		return p.give(p.fresh-1, user), true
	case p.left.Len() > 0:
		return p.give(p.left.Front().Value.(*returned).unit, user), true
	}
	return netip.Prefix{}, false
}

// Claim gives a user a certain prefix, and reports whether the pool has it and
// nobody else does.
func (p *Pool) Claim(user string, prefix netip.Prefix) bool {
	unit, ok := p.unit(prefix)
	if _, taken := p.used[unit]; !ok || taken {
		return false
	}
	p.give(unit, user)
	return true
}

// Free takes a prefix back, and reports whether it was given out.
func (p *Pool) Free(prefix netip.Prefix) bool {
	unit, ok := p.unit(prefix)
	user, taken := p.used[unit]
	if !ok || !taken {
		return false
	}
	delete(p.used, unit)
	r := &returned{unit: unit, user: user}
	p.free[unit] = p.left.PushBack(r)
	if user != "" {
		mine := p.byUser[user]
		if mine == nil {
			mine = list.New()
			p.byUser[user] = mine
		}
		r.mine = mine.PushBack(r)
	}
	return true
}

// Contains reports whether a prefix is one of the pool's.
func (p *Pool) Contains(prefix netip.Prefix) bool {
	_, ok := p.unit(prefix)
	return ok
}

// Owner returns who has a prefix, and whether somebody has.
func (p *Pool) Owner(prefix netip.Prefix) (user string, ok bool) {
	unit, ok := p.unit(prefix)
	if !ok {
		return "", false
	}
	user, ok = p.used[unit]
	return user, ok
}

// known reports whether a unit was given out before.
func (p *Pool) known(unit uint64) bool {
	_, used := p.used[unit]
	_, free := p.free[unit]
	return used || free
}

// give notes that a user has a unit that nobody has.
func (p *Pool) give(unit uint64, user string) netip.Prefix {
	if e := p.free[unit]; e != nil {
		r := p.left.Remove(e).(*returned)
		delete(p.free, unit)
		if r.mine != nil {
			mine := p.byUser[r.user]
			mine.Remove(r.mine)
			if mine.Len() == 0 {
				delete(p.byUser, r.user)
			}
		}
	}
	p.used[unit] = user
	return p.prefix(unit)
}

// prefix returns the prefix of a unit.
func (p *Pool) prefix(unit uint64) netip.Prefix {
	for _, s := range p.spans {
		if unit < s.count {
			n, _ := s.first.add(uint128{0, unit})
			a := n.unshift(p.bits() - p.length).addr(p.ipv4)
			return netip.PrefixFrom(a, p.length)
		}
		unit -= s.count
	}
	return netip.Prefix{}
}

// unit returns the unit of a prefix, and whether the pool has it.
func (p *Pool) unit(prefix netip.Prefix) (unit uint64, ok bool) {
	if !prefix.IsValid() || prefix.Bits() != p.length || prefix.Addr().Is4() != p.ipv4 || prefix != prefix.Masked() {
		return 0, false
	}
	n := wide(prefix.Addr()).shift(p.bits() - p.length)
	for _, s := range p.spans {
		if at := n.sub(s.first); !n.less(s.first) && at.hi == 0 && at.lo < s.count {
			return unit + at.lo, true
		}
		unit += s.count
	}
	return 0, false
}

func (p *Pool) bits() int {
	if p.ipv4 {
		return 32
	}
	return 128
}

// A uint128 is the number that an address is.
type uint128 struct{ hi, lo uint64 }

func wide(a netip.Addr) uint128 {
	if a.Is4() {
		b := a.As4()
		return uint128{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n uint128) addr(ipv4 bool) netip.Addr {
	if ipv4 {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n.lo))))
	}
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n.hi), n.lo)))
}

// host returns a number of n ones.
func host(n int) uint128 {
	if n >= 64 {
		return uint128{1<<(n-64) - 1, 1<<64 - 1}
	}
	return uint128{0, 1<<n - 1}
}

func (n uint128) add(m uint128) (sum uint128, carry bool) {
	lo, c := bits.Add64(n.lo, m.lo, 0)
	hi, c := bits.Add64(n.hi, m.hi, c)
	return uint128{hi, lo}, c != 0
}

func (n uint128) sub(m uint128) uint128 {
	lo, b := bits.Sub64(n.lo, m.lo, 0)
	hi, _ := bits.Sub64(n.hi, m.hi, b)
	return uint128{hi, lo}
}

func (n uint128) and(m uint128) uint128 { return uint128{n.hi & m.hi, n.lo & m.lo} }
func (n uint128) or(m uint128) uint128  { return uint128{n.hi | m.hi, n.lo | m.lo} }
func (n uint128) less(m uint128) bool   { return n.hi < m.hi || n.hi == m.hi && n.lo < m.lo }

// shift divides by a power of two.
func (n uint128) shift(by int) uint128 {
	if by >= 64 {
		return uint128{0, n.hi >> (by - 64)}
	}
	return uint128{n.hi >> by, n.lo>>by | n.hi<<(64-by)}
}

// unshift multiplies by a power of two.
func (n uint128) unshift(by int) uint128 {
	if by >= 64 {
		return uint128{n.lo << (by - 64), 0}
	}
	return uint128{n.hi<<by | n.lo>>(64-by), n.lo << by}
}
