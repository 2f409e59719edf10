package pseudowire

import (
	"fmt"
	"reflect"
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
	h := f.Grow(4)
	if string(h.Bytes()) != "roomframe" || h.Headroom() != 4 || f.Headroom() != 8 {
		t.Errorf("with 4 octets more: %q, headroom %d; before: %d", h.Bytes(), h.Headroom(), f.Headroom())
	}
	for what, f := range map[string]func(){
		"Skip beyond the end":      func() { f.Skip(6) },
		"Grow beyond the headroom": func() { f.Grow(9) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", what)
				}
			}()
			f()
		}()
	}
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
		// Linux's own, linux/l2tp.h.
		{DropCookie.String(), "rx_cookie_discards"},
		{DropSequence.String(), "rx_seq_discards"},
		{DropShort.String(), "rx_invalid"},
		{DropPortWrite.String(), "rx_errors"},
		{DropSend.String(), "tx_errors"},
	} {
		if v.got != v.want {
			t.Errorf("%q, want %q", v.got, v.want)
		}
	}
}

// TestNumbers wants the numbers that IANA and RFC 3931 section 5.4.4 give, and the
// configuration's words for them.
func TestNumbers(t *testing.T) {
	for _, v := range []struct {
		got    fmt.Stringer
		number int
		want   string
	}{
		{FrameRelay, 1, "frame-relay"},
		{EthernetVLAN, 4, "vlan"},
		{Ethernet, 5, "ethernet"},
		{HDLC, 6, "hdlc"},
		{PPP, 7, "ppp"},
		{Type(0x99), 0x99, "type 0x0099"},
		{NoSublayer, 0, "none"},
		{DefaultSublayer, 1, "default"},
		{Sublayer(2), 2, "sublayer 2"},
		{NoSequencing, 0, "none"},
		{NonIPSequencing, 1, "non-ip"},
		{AllSequencing, 2, "all"},
		{Sequencing(3), 3, "level 3"},
	} {
		if number := int(reflect.ValueOf(v.got).Uint()); number != v.number || v.got.String() != v.want {
			t.Errorf("%T %d is %q, want %d %q", v.got, number, v.got, v.number, v.want)
		}
	}
	if NoSublayer.Len() != 0 || DefaultSublayer.Len() != 4 {
		t.Errorf("sublayers of %d and %d octets, want 0 and 4", NoSublayer.Len(), DefaultSublayer.Len())
	}
	const deepest = 4 + 4 + 8 + 4 // version word, Session ID, cookie, Default sublayer
	const virtio = 12             // virtio_net_hdr_v1
	if Headroom < deepest+virtio {
		t.Errorf("headroom of %d octets, want %d at least", Headroom, deepest+virtio)
	}
}
