package machine

// A Queue holds things until they are taken, in the order in which they came.
type Queue[T any] struct {
	all   []T
	taken int
}

// kept is for how many things there is room in an empty queue.
const kept = 32

// Len returns how many there are.
func (q *Queue[T]) Len() int { return len(q.all) - q.taken }

// Put adds one.
func (q *Queue[T]) Put(x T) { q.all = append(q.all, x) }

// Take takes the first, if there is one.
func (q *Queue[T]) Take() (x T, ok bool) {
	var none T
	if q.taken == len(q.all) {
		if q.all = q.all[:0]; cap(q.all) > kept {
			q.all = nil
		}
		q.taken = 0
		return none, false
	}
	x = q.all[q.taken]
	q.all[q.taken] = none
	q.taken++
	return x, true
}
