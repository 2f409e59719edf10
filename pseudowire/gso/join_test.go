package gso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"spanwire/pseudowire"
)

// stream returns n consecutive segments.
func stream(n, size int) (all []shape) {
	s := base()
	s.payload = pattern(n * size)
	return s.segments(size)
}

// each applies one change to all.
func each(change func(*shape)) func([]shape) []shape {
	return func(all []shape) []shape {
		for i := range all {
			change(&all[i])
		}
		return all
	}
}

// third applies a change to the last of three.
func third(change func(*shape)) func([]shape) []shape {
	return func(all []shape) []shape {
		change(&all[2])
		return all
	}
}

// second applies a change to the one in the middle.
func second(change func(*shape)) func([]shape) []shape {
	return func(all []shape) []shape {
		change(&all[1])
		return all
	}
}

// octet returns a change of one octet of the finished frame.
func octet(at int) func(*shape) {
	return func(s *shape) {
		s.after = func(b []byte) []byte {
			b[at] ^= 0x10
			return b
		}
	}
}

func udp(s *shape)  { s.udp = true }
func ipv6(s *shape) { s.v6 = true }

// both makes one change of several.
func both(changes ...func(*shape)) func(*shape) {
	return func(s *shape) {
		for _, change := range changes {
			change(s)
		}
	}
}

// zeroChecksum gives the payload two octets with which the checksum that stands
// at an offset of the frame becomes zero, in the form given.
func zeroChecksum(t rapid.TB, at int, form uint16) func(*shape) {
	return func(s *shape) {
		s.payload = bytes.Clone(s.payload)
		clear(s.payload[:2])
		copy(s.payload, s.build(t)[at:at+2])
		s.after = func(b []byte) []byte {
			binary.BigEndian.PutUint16(b[at:], form)
			return b
		}
	}
}

// A batch is a change of three segments of 1000 octets, and what becomes of them:
// how many frames each Super stands for, with a v where a frame is handed on as
// it came and verified.
type batch struct {
	name   string
	change func([]shape) []shape
	want   string
}

var joins = []batch{
	{"TCP over IPv4", nil, "3"},
	{"TCP over IPv6", each(ipv6), "3"},
	{"UDP over IPv4", each(udp), "3"},
	{"UDP over IPv6", each(both(ipv6, udp)), "3"},
	{"one tag", each(func(s *shape) { s.tags = []layers.EthernetType{0x8100} }), "3"},
	{"two tags, IPv6", each(func(s *shape) { s.v6, s.tags = true, []layers.EthernetType{0x88a8, 0x8100} }), "3"},
	{"three tags", each(func(s *shape) { s.tags = []layers.EthernetType{0x88a8, 0x8100, 0x8100} }), "1 1 1"},
	{"no DF", each(func(s *shape) { s.flags = 0 }), "3"},
	{"no options", each(func(s *shape) { s.options = nil }), "3"},
	{"ECN and DSCP", each(func(s *shape) { s.tos = 0xb9 }), "3"},
	{"all of a full slot", func([]shape) []shape { return stream(65, 1000) }, "64 1v"},
	{"as long as may be", func([]shape) []shape { return stream(8, 9000) }, "7 1v"},
	{"long to the last octet", func([]shape) []shape { return stream(3, (65535-66)/3) }, "3"},
	{"too long by an octet", func([]shape) []shape { return stream(2, (65536-66)/2) }, "1v 1v"},
	{"a lone frame", func(all []shape) []shape { return all[:1] }, "1v"},

	{"last shorter", third(func(s *shape) { s.payload = s.payload[:1] }), "3"},
	{"second shorter", func(all []shape) []shape {
		all[1].payload = all[1].payload[:999]
		all[2].seq--
		return all
	}, "2 1v"},
	{"first shorter", func(all []shape) []shape {
		all[0].payload = all[0].payload[1:]
		all[0].seq++
		return all
	}, "1v 2"},
	{"PSH on the last", third(func(s *shape) { s.tcp |= flagPSH }), "3"},
	{"PSH on the second", second(func(s *shape) { s.tcp |= flagPSH }), "2 1v"},
	{"PSH on all", each(func(s *shape) { s.tcp |= flagPSH }), "1v 1v 1v"},

	{"a loss", func(all []shape) []shape { return slices.Delete(all, 1, 2) }, "1v 1v"},
	{"a duplicate", func(all []shape) []shape { return slices.Insert(all, 2, all[1]) }, "2 2"},
	{"out of order", func(all []shape) []shape { all[0], all[1] = all[1], all[0]; return all }, "1v 1v 1v"},
	{"no payload", third(func(s *shape) { s.payload = nil }), "2 1"},
	{"no payload of UDP", each(func(s *shape) { s.udp, s.payload = true, nil }), "1 1 1"},
	{"nothing but ACKs", each(func(s *shape) { s.payload = nil }), "1 1 1"},

	{"FIN", third(func(s *shape) { s.tcp |= flagFIN }), "2 1"},
	{"RST", third(func(s *shape) { s.tcp |= 0x04 }), "2 1"},
	{"URG", third(func(s *shape) { s.tcp |= 0x20 }), "2 1"},
	{"ECE", third(func(s *shape) { s.tcp |= 0x40 }), "2 1"},
	{"CWR", third(func(s *shape) { s.tcp |= flagCWR }), "2 1"},
	{"CWR on the first", func(all []shape) []shape { all[0].tcp |= flagCWR; return all }, "1 2"},
	{"SYN with data", func(all []shape) []shape { all[0].tcp = 2; return all }, "1 2"},
	{"no ACK", third(func(s *shape) { s.tcp = 0 }), "2 1"},
	{"another acknowledgment", third(func(s *shape) { s.ack++ }), "2 1v"},
	{"another window", third(func(s *shape) { s.window++ }), "2 1v"},
	{"another urgent pointer", third(func(s *shape) { s.urgent++ }), "2 1v"},
	{"other timestamps", third(func(s *shape) {
		s.options = slices.Clone(s.options)
		s.options[2].OptionData = []byte{1, 2, 3, 4, 5, 6, 7, 9}
	}), "2 1v"},
	{"other options", third(func(s *shape) { s.options = nil }), "2 1v"},

	{"another TOS", third(func(s *shape) { s.tos++ }), "2 1v"},
	{"another TTL", third(func(s *shape) { s.ttl++ }), "2 1v"},
	{"another DF", third(func(s *shape) { s.flags = 0 }), "2 1v"},
	{"the same ID", each(func(s *shape) { s.id = 0 }), "1v 1v 1v"},
	{"an ID left out", third(func(s *shape) { s.id++ }), "2 1v"},
	{"an ID left out with UDP", func(all []shape) []shape { return third(func(s *shape) { s.id++ })(each(udp)(all)) }, "2 1v"},
	{"another traffic class", func(all []shape) []shape { return third(func(s *shape) { s.tos++ })(each(ipv6)(all)) }, "2 1v"},
	{"another flow label", func(all []shape) []shape { return third(func(s *shape) { s.label++ })(each(ipv6)(all)) }, "2 1v"},
	{"another hop limit", func(all []shape) []shape { return third(func(s *shape) { s.ttl++ })(each(ipv6)(all)) }, "2 1v"},
	{"another MAC address", third(octet(3)), "2 1v"},
	{"another VLAN", func(all []shape) []shape {
		return third(func(s *shape) { s.vlan++ })(each(func(s *shape) { s.tags = []layers.EthernetType{0x8100} })(all))
	}, "2 1v"},
	{"another priority", func(all []shape) []shape {
		return third(func(s *shape) { s.priority++ })(each(func(s *shape) { s.tags = []layers.EthernetType{0x8100} })(all))
	}, "2 1v"},
	{"into a VLAN", third(func(s *shape) { s.tags = []layers.EthernetType{0x8100} }), "2 1v"},

	{"a wrong checksum", third(octet(14 + 20 + 16)), "2 1"},
	{"a wrong checksum first", func(all []shape) []shape { octet(14 + 20 + 16)(&all[0]); return all }, "1 2"},
	{"a wrong payload", third(octet(500)), "2 1"},
	{"a wrong payload of UDP", func(all []shape) []shape { return third(octet(500))(each(udp)(all)) }, "2 1"},
	{"a wrong IPv4 checksum", third(octet(14 + 10)), "2 1"},
	{"UDP without checksum", each(func(s *shape) {
		s.udp, s.after = true, func(b []byte) []byte { clear(b[40:42]); return b }
	}), "1 1 1"},
	{"padding", third(func(s *shape) { s.after = func(b []byte) []byte { return append(b, 0) } }), "2 1"},
	{"cut off", third(func(s *shape) { s.after = func(b []byte) []byte { return b[:len(b)-1] } }), "2 1"},
	{"UDP length", func(all []shape) []shape {
		return third(func(s *shape) { s.after = func(b []byte) []byte { b[39]--; return b } })(each(udp)(all))
	}, "2 1"},

	{"a fragment", third(func(s *shape) { s.fragment = 100 }), "2 1"},
	{"a first fragment", third(func(s *shape) { s.flags = layers.IPv4MoreFragments }), "2 1"},
	{"a fragment between", second(func(s *shape) { s.fragment = 100 }), "1v 1 1v"},
	{"ICMP between", second(func(s *shape) { s.protocol = layers.IPProtocolICMPv4 }), "1v 1 1v"},
	{"IPv4 options", each(func(s *shape) {
		s.ipOptions = []layers.IPv4Option{{OptionType: 1, OptionLength: 1}, {OptionType: 1, OptionLength: 1}, {OptionType: 1, OptionLength: 1}, {OptionType: 0, OptionLength: 1}}
	}), "1 1 1"},
	{"IPv6 options", each(func(s *shape) { s.v6, s.extension = true, true }), "1 1 1"},
	{"SCTP", each(func(s *shape) { s.protocol = layers.IPProtocolSCTP }), "1 1 1"},
}

// crossings are batches in which frames pass those of other flows.
var crossings = []batch{
	{"ICMP of others between", second(func(s *shape) { s.protocol, s.source = layers.IPProtocolICMPv4, 9 }), "1 1v 1v"},
	{"ARP between", func(all []shape) []shape {
		arp := base()
		arp.after = func(b []byte) []byte { binary.BigEndian.PutUint16(b[12:], 0x0806); return b }
		return slices.Insert(all, 1, arp)
	}, "1 3"},
	{"another port between", func(all []shape) []shape {
		other := base()
		other.port++
		other.payload = pattern(10)
		return slices.Insert(all, 1, other)
	}, "3 1v"},
	{"UDP of the same ports between", func(all []shape) []shape {
		other := base()
		other.udp, other.payload = true, pattern(10)
		return slices.Insert(all, 1, other)
	}, "3 1v"},
	{"as many flows as there may be", func(all []shape) []shape { return interleaved(all, flows) }, strings.TrimSpace(strings.Repeat("3 ", flows))},
	{"one flow more", func(all []shape) []shape { return interleaved(all, flows+1) }, strings.TrimSpace(strings.Repeat("1v ", 3*(flows+1)))},
}

// interleaved returns the segments of n flows, one of each in turn.
func interleaved(all []shape, n int) (mixed []shape) {
	for _, s := range all {
		for range n {
			s.port++
			mixed = append(mixed, s)
		}
	}
	return mixed
}

func TestJoin(t *testing.T) {
	for i, v := range slices.Concat(joins, crossings) {
		all := stream(3, 1000)
		if v.change != nil {
			all = v.change(all)
		}
		in := build(t, all)
		got, out := join(t, in, NewJoiner)
		if i >= len(joins) {
			slices.SortFunc(in, bytes.Compare)
			slices.SortFunc(out, bytes.Compare)
		}
		if got != v.want || !equal(in, out) {
			t.Errorf("%s: %q, want %q; the same frames: %v", v.name, got, v.want, equal(in, out))
		}
	}
}

// TestJoinZeros joins checksums that are zero where GSO writes the same form of
// zero, and only there.
func TestJoinZeros(t *testing.T) {
	const tcp, udpAt = 14 + 20 + 16, 14 + 20 + 6
	for _, v := range []struct {
		name   string
		change func(*shape)
		want   string
	}{
		{"TCP", zeroChecksum(t, tcp, 0), "3"},
		{"TCP as all ones", zeroChecksum(t, tcp, 0xffff), "2 1"},
		{"UDP", both(udp, zeroChecksum(t, udpAt, 0xffff)), "3"},
		{"UDP as none", both(udp, zeroChecksum(t, udpAt, 0)), "2 1"},
	} {
		all := stream(3, 1000)
		if strings.HasPrefix(v.name, "UDP") {
			each(udp)(all)
		}
		v.change(&all[2])
		in := build(t, all)
		if got, out := join(t, in, NewJoiner); got != v.want || !equal(in, out) {
			t.Errorf("%s: %q, want %q; the same frames: %v", v.name, got, v.want, equal(in, out))
		}
	}
	// An IPv4 header whose checksum is zero.
	all := stream(3, 1000)
	sums := slowSum(all[2].build(t)[24:26])
	for i := range all {
		all[i].id += uint16(sums)
	}
	for _, v := range []struct {
		form uint16
		want string
	}{{0, "3"}, {0xffff, "2 1"}} {
		all[2].after = func(b []byte) []byte {
			if b[24] != 0 || b[25] != 0 {
				t.Fatalf("IPv4 checksum % x, want zero", b[24:26])
			}
			binary.BigEndian.PutUint16(b[24:], v.form)
			return b
		}
		in := build(t, all)
		if got, out := join(t, in, NewJoiner); got != v.want || !equal(in, out) {
			t.Errorf("IPv4 checksum as %#04x: %q, want %q; the same frames: %v", v.form, got, v.want, equal(in, out))
		}
	}
}

func TestJoinNoUDP(t *testing.T) {
	all := stream(4, 1000)
	udp(&all[1])
	udp(&all[3])
	all[2].seq, all[2].id = all[1].seq, all[1].id
	got, _ := join(t, build(t, all), func(write func(Super)) *Joiner {
		j := NewJoiner(write)
		j.NoUDP = true
		return j
	})
	if want := "1 1 2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestJoinInPlace wants the payload where it arrived, and what arrived untouched.
func TestJoinInPlace(t *testing.T) {
	in := build(t, stream(3, 1000))
	before := slices.Clone(in)
	for i := range before {
		before[i] = bytes.Clone(in[i])
	}
	j := NewJoiner(func(s Super) {
		for i, b := range s.Body {
			if &b[0] != &in[i][66] {
				t.Errorf("payload of frame %d is elsewhere", i)
			}
		}
	})
	for range 2 {
		for _, b := range in {
			j.Add(b)
		}
		j.Flush()
	}
	if !equal(in, before) {
		t.Error("the frames are not what they were")
	}
}

// TestCutThenJoin gets every super-frame back, but for what the description has
// for a hint.
func TestCutThenJoin(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := base()
		s.udp, s.v6 = rapid.Bool().Draw(r, "udp"), rapid.Bool().Draw(r, "v6")
		s.tags = rapid.SampledFrom([][]layers.EthernetType{nil, {0x8100}, {0x88a8, 0x8100}}).Draw(r, "tags")
		s.seq, s.id = rapid.Uint32().Draw(r, "seq"), rapid.Uint16().Draw(r, "id")
		s.tcp |= rapid.SampledFrom([]byte{0, flagPSH}).Draw(r, "PSH")
		s.options = rapid.SampledFrom([][]layers.TCPOption{nil, timestamps}).Draw(r, "options")
		size := rapid.IntRange(1, 1448).Draw(r, "size")
		s.payload = pattern(rapid.IntRange(size+1, min(framesMax*size, 65000)).Draw(r, "octets"))
		f := s.super(r, size)
		_, l4 := s.offsets()
		f.GSO.HeaderLen = uint16(f.Len() - len(s.payload))
		var got []pseudowire.Frame
		j := NewJoiner(func(s Super) { got = append(got, flat(s)) })
		for _, frame := range cut(r, f) {
			j.Add(frame)
		}
		j.Flush()
		if len(got) != 1 {
			r.Fatalf("%d super-frames, want 1", len(got))
		}
		if got[0].GSO != f.GSO || !bytes.Equal(got[0].Bytes(), f.Bytes()) {
			r.Fatalf("%+v, want %+v; TCP or UDP at %d: %s", got[0].GSO, f.GSO, l4, differ(got[0].Bytes(), f.Bytes()))
		}
	})
}

// TestJoinThenCut lets flows, interleaved, with losses, duplicates, other orders
// and whatever else befalls frames, through a Joiner, and wants each flow's frames
// as they were and in their order.
func TestJoinThenCut(t *testing.T) {
	var joined, all int
	rapid.Check(t, func(r *rapid.T) {
		states := make([]shape, rapid.IntRange(1, flows+4).Draw(r, "flows"))
		sizes := make([]int, len(states))
		for i := range states {
			s := base()
			s.udp, s.v6, s.extension = rapid.Bool().Draw(r, "udp"), rapid.Bool().Draw(r, "v6"), rapid.IntRange(0, 9).Draw(r, "extension") == 0
			s.tags = rapid.SampledFrom([][]layers.EthernetType{nil, nil, {0x8100}, {0x88a8, 0x8100}}).Draw(r, "tags")
			s.port += uint16(i)
			s.source = byte(1 + rapid.IntRange(0, 3).Draw(r, "source"))
			s.flags = rapid.SampledFrom([]layers.IPv4Flag{0, layers.IPv4DontFragment}).Draw(r, "DF")
			s.options = rapid.SampledFrom([][]layers.TCPOption{nil, timestamps}).Draw(r, "options")
			states[i], sizes[i] = s, rapid.IntRange(1, 1448).Draw(r, "size")
		}
		var in [][]byte
		flow := map[string]int{}
		f := 0
		for range rapid.IntRange(0, 150).Draw(r, "frames") {
			if rapid.IntRange(0, 2).Draw(r, "turn") == 0 {
				f = rapid.IntRange(0, len(states)-1).Draw(r, "flow")
			}
			s := &states[f]
			now := *s
			now.payload = pattern(sizes[f])
			switch befalls := rapid.IntRange(0, 60).Draw(r, "befalls"); befalls {
			case 0:
				s.seq += uint32(rapid.IntRange(0, 3).Draw(r, "lost"))
			case 1:
				now.payload = now.payload[:rapid.IntRange(0, len(now.payload)).Draw(r, "shorter")]
			case 2:
				now.tcp |= flagPSH
			case 3:
				now.tcp = rapid.Byte().Draw(r, "flags")
			case 4:
				s.ack++
			case 5:
				s.tos ^= 3
			case 6:
				s.id++
			case 7:
				now.fragment = uint16(rapid.IntRange(0, 9).Draw(r, "offset"))
			case 8:
				_, l4 := s.offsets()
				now.after = func(b []byte) []byte {
					at := rapid.IntRange(l4+4, len(b)-1).Draw(r, "at")
					b[at] ^= rapid.Byte().Draw(r, "with")
					return b
				}
			case 9:
				now.after = func(b []byte) []byte { return append(b, 0, 0) }
			case 10:
				sizes[f] = rapid.IntRange(1, 1448).Draw(r, "size")
			}
			b := now.build(r)
			s.seq += uint32(len(now.payload))
			s.id++
			if rapid.IntRange(0, 60).Draw(r, "lost") == 0 {
				continue
			}
			flow[string(b)] = f
			in = append(in, b)
			if rapid.IntRange(0, 60).Draw(r, "twice") == 0 {
				in = append(in, b)
			}
			if n := len(in); n > 1 && rapid.IntRange(0, 60).Draw(r, "overtakes") == 0 {
				in[n-1], in[n-2] = in[n-2], in[n-1]
			}
		}
		var out [][]byte
		j := NewJoiner(func(s Super) {
			if s.Frames > 1 {
				joined += s.Frames
			}
			out = append(out, apart(r, s)...)
		})
		for _, b := range in {
			j.Add(b)
			if rapid.IntRange(0, 30).Draw(r, "flush") == 0 {
				j.Flush()
			}
		}
		j.Flush()
		all += len(in)
		if len(in) != len(out) {
			r.Fatalf("%d frames, want %d", len(out), len(in))
		}
		of := func(frames [][]byte) [][][]byte {
			flows := make([][][]byte, len(states))
			for _, b := range frames {
				f, known := flow[string(b)]
				if !known {
					r.Fatalf("a frame that was never sent: % x", b[:min(len(b), 80)])
				}
				flows[f] = append(flows[f], b)
			}
			return flows
		}
		want := of(in)
		for f, got := range of(out) {
			if !equal(got, want[f]) {
				r.Fatalf("flow %d: %d frames, want %d, or in another order", f, len(got), len(want[f]))
			}
		}
	})
	t.Logf("%d of %d frames joined", joined, all)
	if joined < all/4 {
		t.Errorf("%d of %d frames joined: this tests little", joined, all)
	}
}

func TestJoinAllocations(t *testing.T) {
	in := build(t, interleaved(stream(9, 1000), flows+2))
	in = append(in, build(t, interleaved(stream(9, 1000), flows-2))...)
	var frames int
	j := NewJoiner(func(s Super) { frames += s.Frames })
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range in {
			j.Add(b)
		}
		j.Flush()
	}); n != 0 || frames != 101*len(in) {
		t.Errorf("%v allocations, want 0; %d frames, want %d", n, frames, 101*len(in))
	}
}

// FuzzJoiner takes frames behind two octets of length, of which the highest bit has
// the checksums repaired, and wants all of them back.
func FuzzJoiner(f *testing.F) {
	fragment := func(s *shape) { s.fragment = 2 }
	tagged := func(s *shape) { s.tags = []layers.EthernetType{0x88a8, 0x8100} }
	for _, change := range []func([]shape) []shape{
		each(func(*shape) {}), each(ipv6), each(udp), each(both(ipv6, udp)), each(tagged), second(fragment), second(udp),
		third(octet(50)), third(func(s *shape) { s.payload = s.payload[1:] }),
	} {
		var seed []byte
		for _, b := range build(f, change(stream(3, 20))) {
			seed = append(binary.BigEndian.AppendUint16(seed, 0x8000|uint16(len(b))), b...)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var in [][]byte
		for len(b) >= 2 {
			n := int(binary.BigEndian.Uint16(b) & 0x7fff)
			frame := bytes.Clone(b[2:min(2+n, len(b))])
			if b[0]&0x80 != 0 {
				repair(frame)
			}
			in, b = append(in, frame), b[min(2+n, len(b)):]
		}
		_, out := join(t, in, NewJoiner)
		if len(in) != len(out) {
			t.Fatalf("%d frames, want %d", len(out), len(in))
		}
		slices.SortFunc(in, bytes.Compare)
		slices.SortFunc(out, bytes.Compare)
		for i := range in {
			if !bytes.Equal(in[i], out[i]) {
				t.Fatal(differ(out[i], in[i]))
			}
		}
	})
}

// repair gives a frame of TCP or UDP right checksums.
func repair(b []byte) {
	_, at, ok := network(b, tagsJoined)
	if !ok || len(b) < at+20 {
		return
	}
	ip, l4, pseudo := b[at:], 20, uint32(0)
	protocol := ip[9]
	if ip[0]>>4 == 6 {
		if len(ip) < 40 {
			return
		}
		l4, protocol, pseudo = 40, ip[6], slowSum(ip[8:40])
	} else {
		clear(ip[10:12])
		binary.BigEndian.PutUint16(ip[10:], ^slowFold(slowSum(ip[:20])))
		pseudo = slowSum(ip[12:20])
	}
	field := l4 + 16
	if protocol == 17 {
		field = l4 + 6
	}
	if len(ip) < field+2 {
		return
	}
	clear(ip[field : field+2])
	c := ^slowFold(pseudo + uint32(protocol) + uint32(len(ip)-l4) + slowSum(ip[l4:]))
	if c == 0 && protocol == 17 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(ip[field:], c)
}

func build(t rapid.TB, all []shape) (frames [][]byte) {
	t.Helper()
	for _, s := range all {
		frames = append(frames, s.build(t))
	}
	return frames
}

// join gives a new Joiner one batch, and returns what it made of it, in words, and
// the frames when all is cut again.
func join(t rapid.TB, in [][]byte, begin func(func(Super)) *Joiner) (words string, out [][]byte) {
	t.Helper()
	var all []string
	j := begin(func(s Super) {
		word := fmt.Sprint(s.Frames)
		if s.Valid {
			word += "v"
		}
		all = append(all, word)
		out = append(out, apart(t, s)...)
	})
	for _, b := range in {
		j.Add(b)
	}
	j.Flush()
	return strings.Join(all, " "), out
}

// equal reports whether the same frames stand in the same order.
func equal(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func BenchmarkJoin(b *testing.B) {
	for _, v := range []struct {
		name  string
		flows int
		size  int
		udp   bool
	}{{"TCP", 1, 1448, false}, {"UDP", 1, 1448, true}, {"TCP of 8 flows", 8, 1448, false}, {"TCP of 536", 1, 536, false}, {"lone frames of 32 flows", 32, 1448, false}} {
		b.Run(v.name, func(b *testing.B) {
			all := stream(65000/v.size, v.size)
			if v.udp {
				each(udp)(all)
			}
			in := build(b, interleaved(all, v.flows))
			var octets int64
			for _, frame := range in {
				octets += int64(len(frame))
			}
			b.SetBytes(octets)
			j := NewJoiner(func(Super) {})
			for b.Loop() {
				for _, frame := range in {
					j.Add(frame)
				}
				j.Flush()
			}
		})
	}
}
