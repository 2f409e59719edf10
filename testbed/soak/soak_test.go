package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestSoak soaks for a short while: `make soak` has the patience.
func TestSoak(t *testing.T) {
	var out strings.Builder
	if err := run(config{length: 6 * time.Second, seed: rand.Uint64()}, &out); err != nil {
		t.Error(err)
	}
	t.Log(&out)
}

// TestVerify wants whatever is wrong with a frame or a datagram seen.
func TestVerify(t *testing.T) {
	x := &session{index: 3}
	for n := range uint64(300) {
		f := frame(x, 1, 7, n)
		if ours, err := verify(x, 1, 7, f); !ours || err != nil {
			t.Fatalf("frame %d as it was: ours %v, %v", n, ours, err)
		}
		f[len(f)-1] ^= 1
		if _, err := verify(x, 1, 7, f); err == nil {
			t.Fatalf("frame %d, damaged at its end: no error", n)
		}
		f[len(f)-1] ^= 1
		f[0] ^= 1
		if _, err := verify(x, 1, 7, f); err == nil {
			t.Fatalf("frame %d, to somebody else: no error", n)
		}
		f[0] ^= 1
		if _, err := verify(x, 1, 8, f); err == nil {
			t.Fatalf("frame %d of another sender: no error", n)
		}
		if _, err := verify(x, 1, 7, f[:len(f)-1]); err == nil {
			t.Fatalf("frame %d without its end: no error", n)
		}
	}
	if ours, err := verify(x, 1, 7, make([]byte, 60)); ours || err != nil {
		t.Errorf("a frame of the kernel's: ours %v, %v", ours, err)
	}
}
