package bridge

import (
	"testing"

	"spanwire/pseudowire"
)

// A memory is a port that keeps what it is sent and takes all but the last frame.
type memory struct {
	sent    []string
	deliver func([]pseudowire.Frame) int
}

func (m *memory) Attach(deliver func([]pseudowire.Frame) int) { m.deliver = deliver }

func (m *memory) Send(frames []pseudowire.Frame) int {
	for _, f := range frames {
		m.sent = append(m.sent, string(f.Bytes()))
	}
	return len(frames) - 1
}

func TestPatch(t *testing.T) {
	var a, b memory
	Patch(&a, &b)
	frames := func(octets ...string) (frames []pseudowire.Frame) {
		for _, o := range octets {
			frames = append(frames, pseudowire.NewFrame([]byte(o), 0))
		}
		return frames
	}
	if n := a.deliver(frames("one", "two")); n != 1 {
		t.Errorf("a to b: %d taken, want 1 as b says", n)
	}
	if n := b.deliver(frames("three")); n != 0 {
		t.Errorf("b to a: %d taken, want 0 as a says", n)
	}
	if len(b.sent) != 2 || b.sent[0] != "one" || b.sent[1] != "two" || len(a.sent) != 1 || a.sent[0] != "three" {
		t.Errorf("a sent %q, b sent %q; want three, and one and two", a.sent, b.sent)
	}
}
