package gso

import (
	"bytes"
	"testing"

	"spanwire/pseudowire"
)

// TestIP cuts and joins what a TUN has: the same as with an Ethernet header, without
// it.
func TestIP(t *testing.T) {
	for _, v := range shapes {
		s := base()
		v.changed(&s)
		if s.tags != nil {
			continue
		}
		s.payload = pattern(v.octets)
		whole := s.super(t, v.size)
		want := cut(t, whole)

		packet := whole.Skip(ethernetLen)
		packet.GSO.ChecksumStart -= ethernetLen
		var c Cutter
		must(t, c.InitIP(packet))
		var got [][]byte
		for {
			head, payload, ok := c.Next(nil)
			if !ok {
				break
			}
			got = append(got, append(head, payload...))
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d packets, want %d", v.name, len(got), len(want))
		}
		for i := range got {
			if w := want[i][ethernetLen:]; !bytes.Equal(got[i], w) {
				t.Errorf("%s: packet %d: %s", v.name, i, differ(got[i], w))
			}
		}

		// What was cut is joined to as much as it is in Ethernet, or more: there is room for
		// 14 octets.
		frames := func(in [][]byte, ip bool) (n []int, all []byte) {
			j := NewJoiner(func(s Super) {
				n = append(n, s.Frames)
				all = append(append(all, s.Head...), bytes.Join(s.Body, nil)...)
			})
			j.IP = ip
			for _, b := range in {
				j.Add(b)
			}
			j.Flush()
			return n, all
		}
		a, _ := frames(want, false)
		b, _ := frames(got, true)
		if len(b) > len(a) {
			t.Errorf("%s: joined to %v, want %v", v.name, b, a)
		}
	}
}

func TestIPRefuses(t *testing.T) {
	for _, b := range [][]byte{nil, {0x45}, {0x60}, {0x00}, bytes.Repeat([]byte{0x45}, 30), bytes.Repeat([]byte{0x60}, 50)} {
		f := pseudowire.NewFrame(b, 0)
		f.GSO = pseudowire.GSO{Kind: pseudowire.GSOTCPv4, Size: 10, ChecksumStart: 20, ChecksumOffset: 16}
		var c Cutter
		if err := c.InitIP(f); err == nil || c.Count() != 0 {
			t.Errorf("% x: %v, %d packets, want an error", b, err, c.Count())
		}
	}
}
