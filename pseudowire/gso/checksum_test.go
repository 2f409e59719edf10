package gso

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "octets")
		if rapid.Bool().Draw(t, "carries") {
			b = append(bytes.Repeat([]byte{0xff}, rapid.IntRange(0, 300).Draw(t, "ones")), b...)
		}
		b = b[rapid.IntRange(0, min(9, len(b))).Draw(t, "from"):]
		if got, want := sum(b), uint64(slowFold(slowSum(b))); got != want {
			t.Fatalf("sum of % x: %#04x, want %#04x", b, got, want)
		}
	})
}

// TestSumCarry has a carry into a sum of ones alone: it must not be lost.
func TestSumCarry(t *testing.T) {
	for n := range 200 {
		b := bytes.Repeat([]byte{0xff}, n)
		for i := range b {
			b[i] = 1
			if got, want := sum(b), uint64(slowFold(slowSum(b))); got != want {
				t.Fatalf("%d octets of ff, 01 at %d: sum %#04x, want %#04x", n, i, got, want)
			}
			b[i] = 0xff
		}
	}
}

func TestFold(t *testing.T) {
	for _, v := range []struct {
		s    uint64
		want uint16
	}{
		{0, 0}, {1, 1}, {0xffff, 0xffff}, {0x10000, 1}, {0x1fffe, 0xffff}, {1 << 32, 1},
		{0xffffffff, 0xffff}, {0xffffffffffffffff, 0xffff}, {0xfffffffffffffffe, 0xfffe}, {0xffffffff00000001, 1}, {0x0001fffeffffffff, 0xffff},
	} {
		if got := fold(v.s); got != v.want {
			t.Errorf("fold(%#x) is %#04x, want %#04x", v.s, got, v.want)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	p := pattern(1448)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		sum(p)
	}
}
