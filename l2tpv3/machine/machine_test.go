package machine

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var epoch = time.Unix(1e9, 0)

// An alarm notes when it is rung.
type alarm struct {
	timer Timer
	rung  []time.Time
}

func (a *alarm) Advance(now time.Time) { a.rung = append(a.rung, now) }

// TestTimers sets timers at random, and has each ring in its time and not again.
func TestTimers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var all Timers
		alarms := make([]alarm, 1+random.IntN(20))
		for i := range alarms {
			alarms[i].timer.What = &alarms[i]
		}
		for range 100 {
			var at time.Time
			if random.IntN(4) > 0 {
				at = epoch.Add(time.Duration(random.IntN(50)) * time.Second)
			}
			all.Set(&alarms[random.IntN(len(alarms))].timer, at)
		}
		var want time.Time
		due := make([]bool, len(alarms))
		now := epoch.Add(25 * time.Second)
		for i := range alarms {
			at := alarms[i].timer.At
			want = Earliest(want, at)
			due[i] = !at.IsZero() && !at.After(now)
		}
		if got := all.Deadline(); got != want {
			t.Fatalf("%v, want %v", got, want)
		}
		all.Advance(now)
		all.Advance(now)
		for i, a := range alarms {
			if rung := len(a.rung); due[i] && (rung != 1 || !a.timer.At.IsZero()) || !due[i] && rung != 0 {
				t.Fatalf("an alarm that was due: %v, rang %d times and rings at %v", due[i], rung, a.timer.At)
			}
		}
		if d := all.Deadline(); !d.IsZero() && !d.After(now) {
			t.Fatalf("%v, which is past", d)
		}
	}
	if d := (Timers{}).Deadline(); !d.IsZero() {
		t.Errorf("%v of no timers", d)
	}
}

// A bead is in lists of two kinds.
type bead struct {
	n     int
	links [2]Links[bead]
}

func (b *bead) Links(kind int) *Links[bead] { return &b.links[kind] }

// TestList compares lists with slices.
func TestList(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var beads [8]bead
	var lists [2]List[bead, *bead]
	var want [2][]int
	lists[1].Kind = 1
	for i := range beads {
		beads[i].n = i
	}
	for range 10000 {
		kind, b := random.IntN(2), &beads[random.IntN(len(beads))]
		l, w := &lists[kind], &want[kind]
		i := slices.Index(*w, b.n)
		switch {
		case i >= 0:
			l.Remove(b)
			*w = slices.Delete(*w, i, i+1)
		case random.IntN(2) == 0:
			l.Remove(b) // which is not there
		default:
			l.Add(b)
			*w = append(*w, b.n)
		}
		for kind := range lists {
			l, w := &lists[kind], want[kind]
			var got []int
			for b := range l.Each {
				got = append(got, b.n)
			}
			if !slices.Equal(got, w) || l.Count != len(w) || len(w) > 0 && (l.First.n != w[0] || l.Last.n != w[len(w)-1]) || len(w) == 0 && (l.First != nil || l.Last != nil) {
				t.Fatalf("%v, %d from %v to %v, want %v", got, l.Count, l.First, l.Last, w)
			}
		}
	}
	for b := range lists[0].Each { // the yielded one may go
		lists[0].Remove(b)
		if lists[0].Count == 1 {
			break
		}
	}
	if lists[0].Count > 1 || lists[1].Count != len(want[1]) {
		t.Errorf("%d and %d are left", lists[0].Count, lists[1].Count)
	}
}

// TestBudgets tells sources apart, IPv6's by their networks, and forgets them.
func TestBudgets(t *testing.T) {
	var all Budgets
	now := epoch
	allow := func(source string, want bool) {
		t.Helper()
		if got := all.Take(now, netip.MustParseAddr(source), 2); got != want {
			t.Errorf("%s: %v, want %v", source, got, want)
		}
	}
	allow("192.0.2.1", true)
	allow("192.0.2.1", true)
	allow("192.0.2.1", false)
	allow("192.0.2.2", true)
	allow("2001:db8::1", true)
	allow("2001:db8::2", true)
	allow("2001:db8::3", false)
	allow("2001:db8:0:1::1", true)
	now = now.Add(500 * time.Millisecond)
	allow("192.0.2.1", true)
	allow("192.0.2.1", false)
	for i := range MaxSources + 100 {
		all.Take(now, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 2)
	}
	if all.Len() > MaxSources+1 {
		t.Errorf("%d sources", all.Len())
	}
	allow("203.0.113.1", false) // no room for more, and what they share is spent
	now = now.Add(time.Minute)
	allow("203.0.113.1", true)
	if all.Len() > 2 {
		t.Errorf("%d sources after a minute", all.Len())
	}
	allow("203.0.113.1", true)
	now = now.Add(-time.Hour)
	allow("203.0.113.1", false) // a clock that goes back gives nothing
}

// TestNotes has more to note than there is room for.
func TestNotes(t *testing.T) {
	var n Notes
	for range notesRate {
		if end, ok := n.Take(epoch); !ok || end != "" {
			t.Fatalf("%q, %v", end, ok)
		}
	}
	for range 3 {
		if _, ok := n.Take(epoch); ok {
			t.Error("one note more")
		}
	}
	if end, ok := n.Take(epoch.Add(time.Second)); !ok || end != " (3 notes before it were left out)" {
		t.Errorf("%q, %v", end, ok)
	}
	if end, ok := n.Take(epoch.Add(time.Second)); !ok || end != "" {
		t.Errorf("%q, %v", end, ok)
	}
}

// TestQueue compares a queue with a slice.
func TestQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var q Queue[int]
	var want []int
	for i := range 10000 {
		if random.IntN(2+i/5000) == 0 {
			q.Put(i)
			want = append(want, i)
		} else if x, ok := q.Take(); ok != (len(want) > 0) || ok && x != want[0] {
			t.Fatalf("%d, %v, want %v", x, ok, want)
		} else if ok {
			want = want[1:]
		}
		if q.Len() != len(want) {
			t.Fatalf("%d, want %d", q.Len(), len(want))
		}
	}
	for range 10 * kept {
		q.Put(1)
	}
	for ok := true; ok; {
		_, ok = q.Take()
	}
	if q.Len() != 0 || cap(q.all) > kept {
		t.Errorf("an empty queue holds %d and keeps room for %d", q.Len(), cap(q.all))
	}
}

func TestJitter(t *testing.T) {
	j := NewJitter(func(b []byte) { b[0] = 7 })
	seen := map[time.Duration]bool{}
	for range 1000 {
		around, before := j.Around(time.Minute), j.Before(time.Minute)
		if around < 45*time.Second || around > 75*time.Second || before < 54*time.Second || before > time.Minute {
			t.Fatalf("%v around, %v before a minute", around, before)
		}
		seen[around] = true
	}
	if len(seen) < 900 {
		t.Errorf("only %d times of 1000", len(seen))
	}
}

// A guest is on one of two lists, or none.
type guest struct{ place Place[guest] }

func (g *guest) Place() *Place[guest] { return &g.place }

// TestPlaces has guests come and go, and know where they are.
func TestPlaces(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	var guests [10]guest
	var lists [2][]*guest
	for range 10000 {
		g := &guests[random.IntN(len(guests))]
		Leave(g)
		if on := random.IntN(3); on < len(lists) {
			Enter(&lists[on], g)
		}
		count := 0
		for i := range guests {
			p := guests[i].place
			if p.List == nil {
				continue
			}
			count++
			if (*p.List)[p.Index] != &guests[i] {
				t.Fatalf("guest %d is not at %d", i, p.Index)
			}
		}
		if count != len(lists[0])+len(lists[1]) {
			t.Fatalf("%d guests on lists of %d and %d", count, len(lists[0]), len(lists[1]))
		}
	}
}

// A talker has so much to say.
type talker struct {
	at    string
	left  int
	rests int
}

func (s *talker) Transmit(b []byte) (_ []byte, at string, ok bool) {
	if s.left == 0 {
		return b, "", false
	}
	s.left--
	return append(b, s.at...), s.at, true
}

func (s *talker) Rest() { s.rests++ }

// TestOutbox has replies be sent before all else, and each talker say all it has.
func TestOutbox(t *testing.T) {
	var o Outbox[string, *talker]
	all := []*talker{{at: "a", left: 2}, {at: "b"}, {at: "c", left: 1}}
	for _, s := range all {
		o.Wake(s)
	}
	o.Reply("x", []byte("no"))
	o.Reply("y", []byte("no"))
	var got []string
	for {
		b, at, ok := o.Transmit([]byte("."))
		if !ok {
			if string(b) != "." || at != "" {
				t.Errorf("nothing is %q at %q", b, at)
			}
			break
		}
		got = append(got, at+string(b))
	}
	if want := []string{"x.no", "y.no", "a.a", "a.a", "c.c"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, s := range all {
		if s.rests != 1 {
			t.Errorf("%s rested %d times, want once", s.at, s.rests)
		}
	}
	if len(o.Replies)+len(o.Ready) != 0 {
		t.Errorf("%d and %d are left", len(o.Replies), len(o.Ready))
	}
}

// A site has its messages come from some addresses.
type site struct {
	order    int
	prefixes []netip.Prefix
}

func (s *site) Prefixes() []netip.Prefix { return s.prefixes }
func (s *site) Order() int               { return s.order }

// TestSources compares sources with a look at all of them, one after the other.
func TestSources(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	var choice []netip.Prefix
	for _, p := range []string{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::1/128", "2001:db8::/32"} {
		choice = append(choice, netip.MustParsePrefix(p))
	}
	var s Sources[*site]
	sites := make([]*site, 6)
	for i := range sites {
		sites[i] = &site{order: i}
	}
	for range 5000 {
		x := sites[random.IntN(len(sites))]
		s.Remove(x)
		x.prefixes = nil
		for range random.IntN(4) {
			x.prefixes = append(x.prefixes, choice[random.IntN(len(choice))])
		}
		s.Add(x)
		for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.9", "198.51.100.1", "2001:db8::1", "2001:db8::9", "2001:db9::1"} {
			from := netip.MustParseAddr(a)
			var hosts, nets, got []int
			for _, x := range sites {
				if slices.Contains(x.prefixes, netip.PrefixFrom(from, from.BitLen())) {
					hosts = append(hosts, x.order)
				}
				// One that is a host too is found as both.
				if slices.ContainsFunc(x.prefixes, func(p netip.Prefix) bool { return !p.IsSingleIP() }) &&
					slices.ContainsFunc(x.prefixes, func(p netip.Prefix) bool { return p.Contains(from) }) {
					nets = append(nets, x.order)
				}
			}
			for x := range s.Of(from) {
				got = append(got, x.order)
			}
			if want := append(hosts, nets...); !slices.Equal(got, want) {
				t.Fatalf("%v: %v, want %v", from, got, want)
			}
		}
	}
	for x := range s.Of(netip.MustParseAddr("192.0.2.1")) {
		_ = x
		break // and no more is yielded
	}
	for _, x := range sites {
		s.Remove(x)
	}
	if len(s.Hosts)+len(s.Nets) != 0 {
		t.Errorf("%d hosts and %d networks are left", len(s.Hosts), len(s.Nets))
	}
}
