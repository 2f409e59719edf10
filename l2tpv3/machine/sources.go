package machine

import (
	"iter"
	"net/netip"
	"slices"
)

// A Source is somebody whose messages come from some addresses.
type Source interface {
	comparable
	Prefixes() []netip.Prefix
	Order() int // among all, as they were added
}

// Sources know whose messages may come from an address.
type Sources[T Source] struct {
	Hosts map[netip.Addr][]T
	Nets  []T // those of whole networks
}

// Add notes where x's messages may come from, which is not to change until Remove.
func (s *Sources[T]) Add(x T) {
	if s.Hosts == nil {
		s.Hosts = make(map[netip.Addr][]T)
	}
	for _, p := range x.Prefixes() {
		if p.IsSingleIP() {
			s.Hosts[p.Addr()] = insert(s.Hosts[p.Addr()], x)
		} else if !slices.Contains(s.Nets, x) {
			s.Nets = insert(s.Nets, x)
		}
	}
}

// insert keeps sources in the order in which they were added.
func insert[T Source](all []T, x T) []T {
	i, found := slices.BinarySearchFunc(all, x.Order(), func(o T, order int) int { return o.Order() - order })
	if found {
		return all
	}
	return slices.Insert(all, i, x)
}

// Remove forgets it.
func (s *Sources[T]) Remove(x T) {
	same := func(o T) bool { return o == x }
	for _, p := range x.Prefixes() {
		if rest := slices.DeleteFunc(s.Hosts[p.Addr()], same); len(rest) > 0 {
			s.Hosts[p.Addr()] = rest
		} else {
			delete(s.Hosts, p.Addr())
		}
	}
	s.Nets = slices.DeleteFunc(s.Nets, same)
}

// Of yields those to whom an address may belong: its own before those of its networks.
// It has no zone, as prefixes have none.
func (s *Sources[T]) Of(from netip.Addr) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, x := range s.Hosts[from] {
			if !yield(x) {
				return
			}
		}
		for _, x := range s.Nets {
			within := slices.ContainsFunc(x.Prefixes(), func(p netip.Prefix) bool { return p.Contains(from) })
			if within && !yield(x) {
				return
			}
		}
	}
}
