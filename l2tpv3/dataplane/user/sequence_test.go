package user

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// newWindow is how many numbers are new ones, the expected one included.
const newWindow = 1 << 23

// TestJudge takes numbers in the order in which they come and says what becomes
// of each. RFC 3931 section 4.6 and appendix C.
func TestJudge(t *testing.T) {
	const last = wire.SequenceMask
	for _, v := range []struct {
		name string
		hold bool
		come []uint32
		want []verdict
	}{
		{"in order", false, []uint32{0, 1, 2}, []verdict{inOrder, inOrder, inOrder}},
		{"begun before we listened", false, []uint32{70000, 70001}, []verdict{inOrder, inOrder}},
		{"duplicate", false, []uint32{0, 1, 1, 2}, []verdict{inOrder, inOrder, old, inOrder}},
		{"early is taken, late is not", false, []uint32{0, 2, 1, 3}, []verdict{inOrder, inOrder, old, inOrder}},
		{"early is held", true, []uint32{0, 2, 1}, []verdict{inOrder, early, inOrder}},
		{"too early to hold", true, []uint32{0, 1 + heldFrames}, []verdict{inOrder, inOrder}},
		{"wraps at 2^24", false, []uint32{last - 1, last, 0, 1}, []verdict{inOrder, inOrder, inOrder, inOrder}},
		{"the newest that is new", false, []uint32{0, 1 + newWindow - 1}, []verdict{inOrder, inOrder}},
		{"the oldest that is old", false, []uint32{0, 1 + newWindow}, []verdict{inOrder, old}},
		{"the last received is old", false, []uint32{5, 5}, []verdict{inOrder, old}},
		{"peer counts anew", false, []uint32{1000, 0, 1, 2, 3, 4, 5},
			[]verdict{inOrder, old, old, old, old, inOrder, inOrder}},
		{"old ones without order stay old", false, []uint32{1000, 0, 2, 4, 6, 8, 10, 12},
			[]verdict{inOrder, old, old, old, old, old, old, old}},
	} {
		s := sequence{mask: wire.SequenceMask}
		var got []verdict
		for _, n := range v.come {
			v, _, _ := s.judge(n, v.hold)
			got = append(got, v)
		}
		if !slices.Equal(got, v.want) {
			t.Errorf("%s: numbers %v: verdicts %v, want %v", v.name, v.come, got, v.want)
		}
	}
}

// TestJudgeNeverGoesBack is the property behind the table: whatever comes, what
// is delivered only goes forward, but for a peer that counts anew.
func TestJudgeNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Uint32Range(0, wire.SequenceMask).Draw(t, "start")
		offsets := rapid.SliceOf(rapid.IntRange(-200, 200)).Draw(t, "offsets")
		s := sequence{mask: wire.SequenceMask}
		s.judge(start, false)
		last, run := start, 0
		for _, o := range offsets {
			n := (start + uint32(o)) & wire.SequenceMask
			v, lost, _ := s.judge(n, false)
			ahead := (n - last) & wire.SequenceMask
			isNew := ahead != 0 && ahead <= newWindow
			switch {
			case isNew && v != inOrder:
				t.Fatalf("%d after %d: verdict %d, want it delivered", n, last, v)
			case isNew && lost != ahead-1:
				t.Fatalf("%d after %d: %d lost, want %d", n, last, lost, ahead-1)
			case !isNew:
				run++
				if v == inOrder && run < resyncAfter {
					t.Fatalf("%d after %d: delivered, want it dropped", n, last)
				}
			}
			if v == inOrder {
				last, run = n, 0
			}
		}
	})
}

func TestShelf(t *testing.T) {
	var h shelf
	frame := pseudowire.NewFrame(bytes.Repeat([]byte{0xab}, 100), 0)
	if !h.put(7, frame) || h.put(7, frame) {
		t.Error("put 7 twice: want true, then false for the duplicate")
	}
	if got := h.gap(&sequence{mask: wire.SequenceMask, expected: 5}); got != 2 {
		t.Errorf("gap from 5 to 7: %d, want 2", got)
	}
	if _, ok := h.take(7 + heldFrames); ok {
		t.Error("take of a number that shares the slot: want none")
	}
	f, ok := h.take(7)
	if !ok || !bytes.Equal(f.Bytes(), frame.Bytes()) || f.Headroom() == 0 {
		t.Errorf("take 7: %v, %d octets, headroom %d", ok, f.Len(), f.Headroom())
	}
	h.put(3, frame)
	if got := h.gap(&sequence{mask: wire.SequenceMask, expected: 5}); got != heldFrames || h.count != 0 {
		t.Errorf("a held frame behind the expected one: gap %d, %d held; want it forgotten", got, h.count)
	}
}
