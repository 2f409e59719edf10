package machine

import (
	"math/rand/v2"
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
