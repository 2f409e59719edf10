package machine

// Links place something in a List.
type Links[T any] struct{ prev, next *T }

// A Member is what a List can hold: it has the links for it.
type Member[T any] interface {
	*T
	// Links returns those of a kind, for what is in lists of several kinds.
	Links(kind int) *Links[T]
}

// A List holds things in the order in which they came. Taking one out costs the same
// wherever it is, and so do long lists.
type List[T any, P Member[T]] struct {
	First, Last P
	Count       int
	Kind        int // which of their links
}

// Add puts x at the end.
func (l *List[T, P]) Add(x P) {
	k := x.Links(l.Kind)
	k.prev, k.next = l.Last, nil
	if l.Last != nil {
		l.Last.Links(l.Kind).next = x
	} else {
		l.First = x
	}
	l.Last = x
	l.Count++
}

// Remove takes x out, if it is there.
func (l *List[T, P]) Remove(x P) {
	k := x.Links(l.Kind)
	if k.prev == nil && l.First != x {
		return
	}
	if k.prev != nil {
		P(k.prev).Links(l.Kind).next = k.next
	} else {
		l.First = k.next
	}
	if k.next != nil {
		P(k.next).Links(l.Kind).prev = k.prev
	} else {
		l.Last = k.prev
	}
	k.prev, k.next = nil, nil
	l.Count--
}

// Each yields all; the one that it yielded may be removed.
func (l *List[T, P]) Each(yield func(P) bool) {
	for x := l.First; x != nil; {
		next := x.Links(l.Kind).next
		if !yield(x) {
			return
		}
		x = next
	}
}
