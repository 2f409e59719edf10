package l2tpv3

import (
	"strings"
	"testing"

	"spanwire/pseudowire"
)

// TestEarlyFrames has frames come before somebody is attached to a call: the first few
// are handed over then, and no more is kept than so many.
func TestEarlyFrames(t *testing.T) {
	frames := func(texts ...string) (all []pseudowire.Frame) {
		for _, s := range texts {
			all = append(all, pseudowire.NewFrame([]byte(s), 0))
		}
		return all
	}
	p := &Call{holding: true}
	first := frames("a", strings.Repeat("x", earlyOctets+1), "b")
	if n := p.hold(first); n != 2 {
		t.Errorf("%d frames taken, want 2: one is too long", n)
	}
	copy(first[0].Bytes(), "?") // its memory is its owner's again
	if n := p.hold(frames("c", "d", "e")); n != 2 {
		t.Errorf("%d frames taken, want 2: there is room for %d", n, mostEarly)
	}
	var got []string
	deliver := func(all []pseudowire.Frame) int {
		for _, f := range all {
			if f.Headroom() < pseudowire.Headroom && len(got) <= mostEarly {
				t.Errorf("%q has %d octets of headroom", f.Bytes(), f.Headroom())
			}
			got = append(got, string(f.Bytes()))
			if len(got) == 1 { // the answer to the first comes at once, and overtakes nothing
				p.hold(frames("f"))
			}
		}
		return len(all)
	}
	p.Attach(deliver)
	if n := p.hold(frames("g")); n != 1 {
		t.Errorf("%d frames taken of one that has come while somebody was attached", n)
	}
	if s := strings.Join(got, ""); s != "abcdfg" {
		t.Errorf("%q, want abcdfg", s)
	}
	p.Attach(deliver)
	if len(got) != 6 {
		t.Errorf("%q: something came twice", got)
	}
	q := &Call{holding: true}
	q.hold(frames("a"))
	q.stop()
	q.Attach(func([]pseudowire.Frame) int { t.Error("what came to a call that has ended is delivered"); return 0 })
}
