package machine

// A Place is where something stands in a list of no order: one that anything can be
// picked of at random, and taken out of at once.
type Place[T any] struct {
	List  *[]*T // nil: in none
	Index int
}

// Placed is what knows its place, in one list at the most.
type Placed[T any] interface {
	*T
	Place() *Place[T]
}

// Enter puts x on a list.
func Enter[T any, P Placed[T]](list *[]*T, x P) {
	*x.Place() = Place[T]{list, len(*list)}
	*list = append(*list, x)
}

// Leave takes x off its list, if it is on one.
func Leave[T any, P Placed[T]](x P) {
	p := x.Place()
	if p.List == nil {
		return
	}
	all := *p.List
	last := len(all) - 1
	all[p.Index] = all[last]
	P(all[p.Index]).Place().Index = p.Index
	all[last] = nil
	*p.List = all[:last]
	p.List = nil
}
