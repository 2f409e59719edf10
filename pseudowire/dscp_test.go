package pseudowire

import (
	"testing"
	"unsafe"
)

func TestDSCP(t *testing.T) {
	var none DSCP
	if v, ok := none.Value(); ok || v != 0 {
		t.Errorf("none is %d, %v", v, ok)
	}
	for n := range uint8(64) {
		for _, d := range []DSCP{DSCPOf(n), DSCPOf(n | 0x40), DSCPOf(n | 0x80)} {
			if v, ok := d.Value(); v != n || !ok || d == none {
				t.Errorf("codepoint %d: %d, %v", n, v, ok)
			}
		}
	}
}

// TestFrameSize wants a Frame, which is copied at every turn, to stay within six
// words.
func TestFrameSize(t *testing.T) {
	if got, most := unsafe.Sizeof(Frame{}), 6*unsafe.Sizeof(uintptr(0)); got > most {
		t.Errorf("%d octets, want %d at most", got, most)
	}
}
