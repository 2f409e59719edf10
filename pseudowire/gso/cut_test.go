package gso

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"spanwire/pseudowire"
)

// shapes are super-frames of all kinds, for the tests and as seeds.
var shapes = []struct {
	name    string
	size    int
	octets  int // of payload
	frames  int
	changed func(*shape)
}{
	{"TCP over IPv4", 1448, 5000, 4, func(*shape) {}},
	{"full last segment", 1000, 4000, 4, func(*shape) {}},
	{"all that there may be", 1448, 65535 - 20 - 32, 46, func(*shape) {}},
	{"odd sizes", 333, 1000, 4, func(*shape) {}},
	{"one segment", 1448, 1448, 1, func(*shape) {}},
	{"less than one segment", 1448, 1, 1, func(*shape) {}},
	{"no payload", 1448, 0, 1, func(*shape) {}},
	{"single octets", 1, 5, 5, func(*shape) {}},
	{"no options", 1460, 5000, 4, func(s *shape) { s.options = nil }},
	{"FIN, PSH, CWR", 1448, 5000, 4, func(s *shape) { s.tcp |= flagFIN | flagPSH | flagCWR }},
	{"FIN, PSH, CWR in one segment", 1448, 500, 1, func(s *shape) { s.tcp |= flagFIN | flagPSH | flagCWR }},
	{"ECE, URG", 1448, 5000, 4, func(s *shape) { s.tcp |= 0x60; s.urgent = 9 }},
	{"no DF, TOS", 1448, 5000, 4, func(s *shape) { s.flags, s.tos = 0, 0x2e }},
	{"one tag", 1448, 5000, 4, func(s *shape) { s.tags = []layers.EthernetType{0x8100} }},
	{"four tags", 1448, 5000, 4, func(s *shape) { s.tags = []layers.EthernetType{0x88a8, 0x88a8, 0x8100, 0x8100} }},
	{"two tags", 1448, 5000, 4, func(s *shape) { s.tags = []layers.EthernetType{0x88a8, 0x8100} }},
	{"IPv4 options", 1440, 5000, 4, func(s *shape) {
		s.ipOptions = []layers.IPv4Option{{OptionType: 68, OptionLength: 8, OptionData: []byte{5, 0, 0, 0, 0, 0}}}
	}},
	{"TCP over IPv6", 1428, 5000, 4, func(s *shape) { s.v6, s.label, s.tos = true, 0xabcde, 0x2e }},
	{"TCP over IPv6, two tags, all flags", 1428, 5000, 4, func(s *shape) {
		s.v6, s.tags, s.tcp = true, []layers.EthernetType{0x88a8, 0x8100}, 0xff
	}},
	{"IPv6 options", 1420, 5000, 4, func(s *shape) { s.v6, s.extension = true, true }},
	{"UDP over IPv4", 1200, 5000, 5, func(s *shape) { s.udp = true }},
	{"UDP over IPv6", 1200, 5000, 5, func(s *shape) { s.udp, s.v6 = true, true }},
	{"UDP over IPv6, options, tag", 1200, 5000, 5, func(s *shape) {
		s.udp, s.v6, s.extension, s.tags = true, true, true, []layers.EthernetType{0x8100}
	}},
	{"all that there may be of UDP over IPv6", 1200, 65535 - 8, 55, func(s *shape) { s.udp, s.v6 = true, true }},
}

// TestCut lets gopacket build each frame by itself, and wants the same.
func TestCut(t *testing.T) {
	for _, v := range shapes {
		s := base()
		v.changed(&s)
		s.payload = pattern(v.octets)
		wantCut(t, v.name, s, v.size, v.frames)
	}
}

func wantCut(t rapid.TB, name string, s shape, size, count int) {
	t.Helper()
	frames, want := cut(t, s.super(t, size)), s.segments(size)
	if len(frames) != count || len(want) != count {
		t.Fatalf("%s: %d frames, want %d", name, len(frames), count)
	}
	for i, p := range want {
		if w := p.build(t); !bytes.Equal(frames[i], w) {
			t.Fatalf("%s: frame %d: %s", name, i, differ(frames[i], w))
		}
	}
}

// TestCutSizes cuts payloads and segments of any size.
func TestCutSizes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := base()
		rapid.SampledFrom(shapes).Draw(r, "shape").changed(&s)
		s.tcp = rapid.Byte().Draw(r, "flags")
		s.seq, s.id = rapid.Uint32().Draw(r, "seq"), rapid.Uint16().Draw(r, "id")
		s.payload = rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(r, "payload")
		size := rapid.IntRange(1, 700).Draw(r, "size")
		if len(s.payload)/size > 20 {
			size = 100
		}
		wantCut(r, "drawn", s, size, max(1, (len(s.payload)+size-1)/size))
	})
}

// TestCutZero wants all ones where the checksum of UDP is zero, and a zero from
// TCP. RFC 768.
func TestCutZero(t *testing.T) {
	for _, udp := range []bool{true, false} {
		s := base()
		s.udp = udp
		s.payload = make([]byte, 20)
		_, l4 := s.offsets()
		at, want := l4+16, uint16(0)
		if udp {
			at, want = l4+6, 0xffff
		}
		first := s.segments(10)[0]
		copy(s.payload, first.build(t)[at:at+2]) // added to the sum it makes it all ones
		frames := cut(t, s.super(t, 10))
		if got := binary.BigEndian.Uint16(frames[0][at:]); got != want {
			t.Errorf("UDP %v: checksum %#04x, want %#04x", udp, got, want)
		}
	}
}

// TestCutSourceRoute has the last destination in the pseudo-header alone, as RFC
// 9293 section 3.1 and RFC 8200 section 8.1 want it.
func TestCutSourceRoute(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		s := base()
		s.payload = pattern(3000)
		if v6 {
			s.v6, s.extension = true, true
		} else {
			s.ipOptions = []layers.IPv4Option{{OptionType: 131, OptionLength: 8, OptionData: []byte{4, 203, 0, 113, 9, 0}}}
		}
		_, l4 := s.offsets()
		f := s.super(t, 1400)
		const other = 0x1234 // by how much the sum of the last destination differs
		field := f.Bytes()[l4+16:]
		binary.BigEndian.PutUint16(field, slowFold(uint32(binary.BigEndian.Uint16(field))+other))
		for i, b := range cut(t, f) {
			ip, _ := s.offsets()
			if got := slowFold(s.pseudo(b[ip:], len(b)-l4) + other + slowSum(b[l4:])); got != 0xffff {
				t.Errorf("IPv6 %v: frame %d: sum %#04x, want ffff", v6, i, got)
			}
		}
	}
}

// TestCutInPlace wants the payload where it stands, and the super-frame untouched.
func TestCutInPlace(t *testing.T) {
	s := base()
	s.payload = pattern(3000)
	f := s.super(t, 1448)
	before := bytes.Clone(f.Bytes())
	var c Cutter
	must(t, c.Init(f))
	at := f.Len() - 3000
	for range 3 {
		_, payload, _ := c.Next(nil)
		if &payload[0] != &f.Bytes()[at] {
			t.Fatalf("payload that should stand at %d does not", at)
		}
		at += len(payload)
	}
	if !bytes.Equal(before, f.Bytes()) {
		t.Error("the super-frame is not what it was")
	}
}

func TestCutRefuses(t *testing.T) {
	put := func(at int, v uint16) func([]byte, *pseudowire.GSO) {
		return func(b []byte, _ *pseudowire.GSO) { binary.BigEndian.PutUint16(b[at:], v) }
	}
	v4, v6, udp := base(), base(), base()
	v6.v6, v6.extension, udp.udp = true, true, true
	for _, v := range []struct {
		name   string
		of     shape
		change func(b []byte, g *pseudowire.GSO)
		want   error
	}{
		{"whole frame", v4, func(_ []byte, g *pseudowire.GSO) { g.Kind = pseudowire.GSONone }, errKind},
		{"unknown kind", v4, func(_ []byte, g *pseudowire.GSO) { g.Kind = 9 }, errKind},
		{"no size", v4, func(_ []byte, g *pseudowire.GSO) { g.Size = 0 }, errSize},
		{"IPv4 as IPv6", v4, func(_ []byte, g *pseudowire.GSO) { g.Kind = pseudowire.GSOTCPv6 }, errProtocol},
		{"IPv6 as IPv4", v6, func(_ []byte, g *pseudowire.GSO) { g.Kind = pseudowire.GSOTCPv4 }, errProtocol},
		{"TCP as UDP", v4, func(_ []byte, g *pseudowire.GSO) { g.Kind = pseudowire.GSOUDP }, errProtocol},
		{"UDP as TCP", udp, func(_ []byte, g *pseudowire.GSO) { g.Kind = pseudowire.GSOTCPv4 }, errProtocol},
		{"ARP", v4, put(12, 0x0806), errProtocol},
		{"a tag that is none", v4, put(12, 0x8100), errProtocol},
		{"version 6 in IPv4", v4, put(14, 0x6500), errProtocol},
		{"version 4 in IPv6", v6, put(14, 0x4000), errProtocol},
		{"IPv4 header of 16", v4, put(14, 0x4400), errProtocol},
		{"IPv4 header of 24", v4, put(14, 0x4600), errChecksum},
		{"IPv4 length", v4, put(16, 2999), errLength},
		{"IPv4 without length", v4, put(16, 0), errLength},
		{"IPv6 length", v6, put(18, 2999), errLength},
		{"IPv6 without length", v6, put(18, 0), errLength},
		{"more fragments", v4, put(20, 0x2000), errFragment},
		{"a fragment", v4, put(20, 0x0001), errFragment},
		{"evil bit", v4, put(20, 0x8000), errFragment},
		{"IPv6 fragment header", v6, put(20, 44<<8), errProtocol},
		{"IPv6 options of ICMP", v6, put(54, 58<<8), errProtocol},
		{"IPv6 options longer", v6, put(54, 6<<8|1), errChecksum},
		{"IPv6 options much longer", v6, put(54, 0xff), errLong},
		{"checksum from elsewhere", v4, func(_ []byte, g *pseudowire.GSO) { g.ChecksumStart-- }, errChecksum},
		{"no checksum", v4, func(_ []byte, g *pseudowire.GSO) { g.ChecksumStart, g.ChecksumOffset = 0, 0 }, errChecksum},
		{"checksum stored elsewhere", v4, func(_ []byte, g *pseudowire.GSO) { g.ChecksumOffset = 6 }, errChecksum},
		{"TCP checksum in UDP", udp, func(_ []byte, g *pseudowire.GSO) { g.ChecksumOffset = 16 }, errChecksum},
		{"TCP header of 16", v4, put(14+20+12, 0x4010), errShort},
		{"UDP length", udp, put(14+20+4, 2999), errLength},
		{"partial checksum", v4, put(14+20+16, 0x4242), errChecksum},
		{"whole checksum", v4, func(b []byte, _ *pseudowire.GSO) { copy(b, v4.build(t)) }, errChecksum},
	} {
		v.of.payload = pattern(3000)
		v4.payload = v.of.payload
		f := v.of.super(t, 1400)
		v.change(f.Bytes(), &f.GSO)
		var c Cutter
		if err := c.Init(f); err != v.want {
			t.Errorf("%s: %v, want %v", v.name, err, v.want)
		}
		if h, payload, ok := c.Next([]byte{1}); ok || len(h) != 1 || payload != nil || c.Count() != 0 {
			t.Errorf("%s: refused, and yet Next gives % x, % x, %v, Count %d", v.name, h, payload, ok, c.Count())
		}
	}
}

// TestCutShort cuts every kind of super-frame off at every octet of its headers,
// with IP lengths that say so and with such that do not.
func TestCutShort(t *testing.T) {
	for _, v := range shapes {
		s := base()
		v.changed(&s)
		ip, l4 := s.offsets()
		whole := s.super(t, 1000)
		for n := range whole.Len() {
			for _, agreed := range []bool{false, true} {
				b := bytes.Clone(whole.Bytes()[:n])
				switch {
				case !agreed:
				case s.v6 && n >= ip+40:
					binary.BigEndian.PutUint16(b[ip+4:], uint16(n-ip-40))
				case !s.v6 && n >= ip+20:
					binary.BigEndian.PutUint16(b[ip+2:], uint16(n-ip))
				}
				if s.udp && agreed && n >= l4+6 {
					binary.BigEndian.PutUint16(b[l4+4:], uint16(n-l4))
				}
				f := pseudowire.NewFrame(b, 0)
				f.GSO = whole.GSO
				var c Cutter
				if err := c.Init(f); err == nil {
					t.Errorf("%s: %d octets of %d: no error", v.name, n, whole.Len())
				}
			}
		}
	}
}

func TestComplete(t *testing.T) {
	for _, v := range shapes {
		s := base()
		v.changed(&s)
		s.payload = pattern(v.octets)
		f := s.super(t, 1)
		f.GSO.Kind, f.GSO.Size = pseudowire.GSONone, 0
		got, err := Complete(f)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		if want := s.build(t); !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: %s", v.name, differ(got.Bytes(), want))
		}
		if got.GSO != (pseudowire.GSO{}) || &got.Bytes()[0] != &f.Bytes()[0] {
			t.Errorf("%s: described as %+v, or elsewhere", v.name, got.GSO)
		}
		again, err := Complete(got)
		if want := s.build(t); err != nil || !bytes.Equal(again.Bytes(), want) {
			t.Errorf("%s: completed twice: %v", v.name, err)
		}
	}
}

func TestCompleteRefuses(t *testing.T) {
	b := bytes.Repeat([]byte{0x42}, 60)
	for _, v := range []struct {
		g    pseudowire.GSO
		want error
	}{
		{pseudowire.GSO{Kind: pseudowire.GSOUDP, Size: 9, ChecksumStart: 34, ChecksumOffset: 6}, errKind},
		{pseudowire.GSO{ChecksumStart: 34, ChecksumOffset: 7}, errChecksum},
		{pseudowire.GSO{ChecksumStart: 13, ChecksumOffset: 6}, errChecksum},
		{pseudowire.GSO{ChecksumOffset: 6}, errChecksum},
		{pseudowire.GSO{ChecksumStart: 34, ChecksumOffset: 26}, errShort},
		{pseudowire.GSO{ChecksumStart: 65535, ChecksumOffset: 65534}, errShort},
		{pseudowire.GSO{ChecksumStart: 34, ChecksumOffset: 24}, nil},
		{pseudowire.GSO{}, nil},
	} {
		f := pseudowire.NewFrame(bytes.Clone(b), 0)
		f.GSO = v.g
		got, err := Complete(f)
		if err != v.want {
			t.Errorf("%+v: %v, want %v", v.g, err, v.want)
		}
		if err != nil && !bytes.Equal(got.Bytes(), b) {
			t.Errorf("%+v: refused, and yet changed", v.g)
		}
	}
}

func TestCutAllocations(t *testing.T) {
	s := base()
	s.payload = pattern(60000)
	f := s.super(t, 1448)
	bad := f
	bad.GSO.Size = 0
	one := pseudowire.NewFrame(bytes.Clone(f.Bytes()), 0)
	var c Cutter
	head := make([]byte, 0, HeaderMax)
	if n := testing.AllocsPerRun(100, func() {
		if c.Init(f) != nil || c.Count() != 42 {
			t.Fatal("refused")
		}
		for _, _, ok := c.Next(head); ok; _, _, ok = c.Next(head) {
		}
		if c.Init(bad) == nil {
			t.Fatal("not refused")
		}
		one.GSO = pseudowire.GSO{ChecksumStart: 34, ChecksumOffset: 16}
		if _, err := Complete(one); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzCutter(f *testing.F) {
	for _, v := range shapes {
		s := base()
		v.changed(&s)
		s.payload = pattern(min(v.octets, 300))
		x := s.super(f, 100)
		f.Add(x.Bytes(), uint8(x.GSO.Kind), x.GSO.Size, x.GSO.ChecksumStart, x.GSO.ChecksumOffset)
	}
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, size, start, offset uint16) {
		x := pseudowire.NewFrame(b, 0)
		x.GSO = pseudowire.GSO{Kind: pseudowire.GSOKind(kind), Size: size, ChecksumStart: start, ChecksumOffset: offset}
		before := bytes.Clone(b)
		var c Cutter
		if c.Init(x) != nil {
			if _, _, ok := c.Next(nil); ok || c.Count() != 0 {
				t.Fatal("refused, and yet there are frames")
			}
			x.GSO.Kind = pseudowire.GSONone
			if y, err := Complete(x); err == nil && y.Len() != x.Len() {
				t.Fatalf("completed: %d octets, want %d", y.Len(), x.Len())
			}
			return
		}
		if c.Count() > 65527 {
			t.Fatalf("Count %d", c.Count())
		}
		var octets int
		for i, frame := range cut(t, x) {
			_, ip, _ := network(frame, tagsCut)
			if frame[ip]>>4 == 4 && slowFold(slowSum(frame[ip:start])) != 0xffff {
				t.Fatalf("frame %d: IPv4 header % x", i, frame[ip:start])
			}
			if protocol := frame[ip+6]; int(start) == ip+40 && frame[ip]>>4 == 6 &&
				slowFold(slowSum(frame[ip+8:start])+uint32(protocol)+uint32(len(frame))-uint32(start)+slowSum(frame[start:])) != 0xffff {
				t.Fatalf("frame %d: checksum over IPv6", i)
			}
			if protocol := frame[ip+9]; int(start) == ip+20 && frame[ip]>>4 == 4 &&
				slowFold(slowSum(frame[ip+12:start])+uint32(protocol)+uint32(len(frame))-uint32(start)+slowSum(frame[start:])) != 0xffff {
				t.Fatalf("frame %d: checksum over IPv4", i)
			}
			octets += len(frame) - len(c.head)
		}
		if octets != len(c.payload) || !bytes.Equal(b, before) {
			t.Fatalf("%d octets of payload, want %d; changed: %v", octets, len(c.payload), !bytes.Equal(b, before))
		}
	})
}

func BenchmarkCut(b *testing.B) {
	for _, v := range []struct {
		name string
		udp  bool
		size int
	}{{"TCP", false, 1448}, {"UDP", true, 1448}, {"TCP of 536", false, 536}} {
		b.Run(v.name, func(b *testing.B) {
			s := base()
			s.udp = v.udp
			s.payload = pattern(65000)
			f := s.super(b, v.size)
			var c Cutter
			head := make([]byte, 0, HeaderMax)
			b.SetBytes(int64(f.Len()))
			for b.Loop() {
				if err := c.Init(f); err != nil {
					b.Fatal(err)
				}
				for _, _, ok := c.Next(head); ok; _, _, ok = c.Next(head) {
				}
			}
		})
	}
}
