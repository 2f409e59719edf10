package pseudowire

import (
	"testing"
)

func TestFrame(t *testing.T) {
	buf := []byte("headroomframe")
	f := NewFrame(buf, 8)
	if string(f.Bytes()) != "frame" || f.Len() != 5 || f.Headroom() != 8 {
		t.Errorf("%q of %d octets, headroom %d", f.Bytes(), f.Len(), f.Headroom())
	}
	if got := string(f.Prepend(4)); got != "roomframe" {
		t.Errorf("with 4 octets in front: %q", got)
	}
	g := f.Skip(2)
	if string(g.Bytes()) != "ame" || g.Headroom() != 10 || string(f.Bytes()) != "frame" {
		t.Errorf("without 2 octets: %q, headroom %d; before: %q", g.Bytes(), g.Headroom(), f.Bytes())
	}
	defer func() {
		if recover() == nil {
			t.Error("Skip beyond the end: no panic")
		}
	}()
	f.Skip(6)
}

// TestNames wants a name of its own for every reason, and the direction in it.
func TestNames(t *testing.T) {
	seen := map[string]Drop{}
	for d := NotDropped; d < Drops; d++ {
		name := d.String()
		if other, twice := seen[name]; twice || name == "" {
			t.Errorf("reason %d: name %q, as reason %d", d, name, other)
		}
		seen[name] = d
		if d != NotDropped && d.Incoming() != (name[:3] == "rx_") {
			t.Errorf("%s: Incoming %v", name, d.Incoming())
		}
	}
	for _, v := range []struct{ got, want string }{
		{Drops.String(), "unknown"},
		{Ethernet.String(), "ethernet"},
		{Type(0x99).String(), "type 0x0099"},
		{DefaultSublayer.String(), "default"},
		{NonIPSequencing.String(), "non-ip"},
	} {
		if v.got != v.want {
			t.Errorf("%q, want %q", v.got, v.want)
		}
	}
}
