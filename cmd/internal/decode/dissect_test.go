package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"spanwire/l2tpv3/wire"
)

// ethernet puts an Ethernet header before a payload.
func ethernet(kind uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, kind), payload...)
}

// A wrapping is a packet behind the headers of a link.
type wrapping struct {
	name   string
	link   layers.LinkType
	octets []byte
}

// wrapped returns an IPv4 packet as captures on all links have it.
func wrapped(ip []byte) []wrapping {
	tag := func(inner uint16, rest []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{0x20, 7}, inner), rest...)
	}
	join := func(head string, rest []byte) []byte { return append([]byte(head), rest...) }
	return []wrapping{
		{"Ethernet", layers.LinkTypeEthernet, ethernet(0x0800, ip)},
		{"Ethernet, padded", layers.LinkTypeEthernet, ethernet(0x0800, append(bytes.Clone(ip), make([]byte, 30)...))},
		{"VLAN", layers.LinkTypeEthernet, ethernet(0x8100, tag(0x0800, ip))},
		{"QinQ", layers.LinkTypeEthernet, ethernet(0x88a8, tag(0x8100, tag(0x0800, ip)))},
		{"old QinQ", layers.LinkTypeEthernet, ethernet(0x9100, tag(0x8100, tag(0x0800, ip)))},
		{"PPPoE", layers.LinkTypeEthernet, ethernet(0x8864, join("\x11\x00\x00\x07\x00\x99\x00\x21", ip))},
		{"PPPoE in a VLAN", layers.LinkTypeEthernet, ethernet(0x8100, tag(0x8864, join("\x11\x00\x00\x07\x00\x99\x00\x21", ip)))},
		{"raw", layers.LinkTypeRaw, ip},
		{"raw, BSD", 12, ip},
		{"raw, OpenBSD", 14, ip},
		{"raw IPv4", layers.LinkTypeIPv4, ip},
		{"loopback", layers.LinkTypeNull, join("\x02\x00\x00\x00", ip)},
		{"OpenBSD's loopback", layers.LinkTypeLoop, join("\x00\x00\x00\x02", ip)},
		{"Linux cooked", layers.LinkTypeLinuxSLL, join("\x00\x04\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x08\x00", ip)},
		{"Linux cooked, VLAN", layers.LinkTypeLinuxSLL, join("\x00\x04\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x81\x00", tag(0x0800, ip))},
		{"Linux cooked, version 2", layers.LinkTypeLinuxSLL2, join("\x08\x00\x00\x00\x00\x00\x00\x03\x00\x01\x04\x06\x02\x00\x00\x00\x00\x01\x00\x00", ip)},
	}
}

func TestLinks(t *testing.T) {
	for _, e := range []wire.Encap{wire.UDP, wire.IP} {
		for _, v := range wrapped(ip(t, e, signed(old).opening(lyon, paris)[0])) {
			out, n := print(t, file(t, v.link, frame{octets: v.octets}), old)
			if want := (Count{Packets: 1, Messages: 1, Right: 1}); n != want {
				t.Errorf("%s over %v: %v, want %v:\n%s", v.name, e, n, want, out)
			}
			// Less of it is never misread.
			for i := range v.octets {
				_, n := print(t, file(t, v.link, frame{v.octets[:i], len(v.octets)}), old)
				whole := v.name == "Ethernet, padded" && i >= len(v.octets)-30
				if n.Malformed+n.Wrong+n.Foreign > 0 || !whole && n.Right > 0 || n.Packets != 1 {
					t.Errorf("%s over %v, %d octets of %d: %v", v.name, e, i, len(v.octets), n)
				}
			}
		}
	}
	for _, v := range []wrapping{
		{"ARP", layers.LinkTypeEthernet, ethernet(0x0806, make([]byte, 28))},
		{"a VLAN without end", layers.LinkTypeEthernet, ethernet(0x8100, bytes.Repeat([]byte{0x81, 0}, 700))},
		{"PPPoE's LCP", layers.LinkTypeEthernet, ethernet(0x8864, []byte("\x11\x00\x00\x07\x00\x99\xc0\x21\x45\x00"))},
		{"neither IPv4 nor IPv6", layers.LinkTypeRaw, []byte{0x50, 0, 0, 0}},
	} {
		if out, n := print(t, file(t, v.link, frame{octets: v.octets})); out != "" || n != (Count{Packets: 1}) {
			t.Errorf("%s: %v, want nothing in one packet:\n%s", v.name, n, out)
		}
	}
}

// TestIP has L2TP in all sorts of IP packets.
func TestIP(t *testing.T) {
	six := func(p party, addr string) party {
		p.at = netip.AddrPortFrom(netip.MustParseAddr(addr), p.at.Port())
		return p
	}
	elsewhere := func(p party) party {
		p.at = netip.AddrPortFrom(p.at.Addr(), 40000)
		return p
	}
	s := signed(old)
	lyon6, paris6 := six(lyon, "2001:db8::1"), six(paris, "2001:db8::2")
	v4, v6 := ip(t, wire.UDP, s.opening(lyon, paris)[0]), ip(t, wire.UDP, s.opening(lyon6, paris6)[0])
	v4ip, v6ip := ip(t, wire.IP, s.opening(lyon, paris)[0]), ip(t, wire.IP, s.opening(lyon6, paris6)[0])

	options := append(append(bytes.Clone(v4[:20]), 0x94, 4, 0, 0, 1, 1, 1, 0), v4[20:]...) // Router Alert
	options[0] = 0x47
	binary.BigEndian.PutUint16(options[2:], uint16(len(options)))
	// extended puts extension headers before the payload, the last of which is to
	// name it; kinds are their numbers.
	extended := func(b []byte, kinds []byte, headers ...string) []byte {
		next := b[6]
		all := bytes.Clone(b[:40])
		all[6] = kinds[0]
		for i, h := range headers {
			h := []byte(h)
			h[0] = next
			if i+1 < len(kinds) {
				h[0] = kinds[i+1]
			}
			all = append(all, h...)
		}
		all = append(all, b[40:]...)
		binary.BigEndian.PutUint16(all[4:], uint16(len(all)-40))
		return all
	}
	const hop, routing, authentication, fragmentation, destination = 0, 43, 51, 44, 60
	unfilled := bytes.Clone(v4) // as a device is to fill it in
	binary.BigEndian.PutUint16(unfilled[2:], 0)
	more := bytes.Clone(v4ip)
	more[6] |= 0x20
	later := bytes.Clone(v4)
	later[7] = 9
	short := bytes.Clone(v4)
	short[0] = 0x44
	tcp := bytes.Clone(v4)
	tcp[9] = 6
	first := "SCCRQ sent in fragments, 40 octets of %d: not decoded"
	l2tp := len(v4) - 28

	for _, v := range []struct {
		name   string
		octets []byte
		want   string
	}{
		{"IPv4", v4, "SCCRQ digest right (sha1)"},
		{"IPv4 options", options, "SCCRQ digest right (sha1)"},
		{"IPv4 without a length", unfilled, "SCCRQ digest right (sha1)"},
		{"port 1701 at the source alone", ip(t, wire.UDP, s.opening(lyon, elsewhere(paris))[0]), "SCCRQ digest right (sha1)"},
		{"port 1701 at the destination alone", ip(t, wire.UDP, s.opening(elsewhere(lyon), paris)[0]), "SCCRQ digest right (sha1)"},
		{"port 1701 at neither", ip(t, wire.UDP, s.opening(elsewhere(lyon), elsewhere(paris))[0]), ""},
		{"TCP", tcp, ""},
		{"a header that is too short", short, ""},
		{"IPv6", v6, "SCCRQ digest right (sha1)"},
		{"IP 115 over IPv6", v6ip, "SCCRQ digest right (sha1)"},
		{"IPv6 with options", extended(v6, []byte{hop, destination, routing}, "\x00\x00\x05\x02\x00\x00\x01\x00", "\x00\x01\x01\x0c............", "\x00\x00\x04\x00\x00\x00\x00\x00"),
			"SCCRQ digest right (sha1)"},
		{"IPv6 with authentication", extended(v6ip, []byte{authentication}, "\x00\x04\x00\x00....----............"), "SCCRQ digest right (sha1)"},
		{"IPv6 in one fragment", extended(v6, []byte{fragmentation}, "\x00\x00\x00\x00\x00\x00\x00\x07"), "SCCRQ digest right (sha1)"},
		{"IPv6's extension header without end", extended(v6, []byte{destination}, "\x00\xff\x01\x04\x00\x00\x00\x00"), ""},

		{"IPv4's first fragment", fragmentOf(v4, 20+8+40), fmt.Sprintf(first, l2tp)},
		{"IP 115's first fragment", fragmentOf(v4ip, 20+4+40), fmt.Sprintf(first, l2tp)},
		{"a later one", later, ""},
		{"IPv6's first fragment", extended(v6[:40+8+40], []byte{fragmentation}, "\x00\x00\x00\x01\x00\x00\x00\x07"), fmt.Sprintf(first, l2tp)},
		{"a later one of IPv6", extended(v6, []byte{fragmentation}, "\x00\x00\x00\x09\x00\x00\x00\x07"), ""},
		{"a first fragment that has all of the message", more, "SCCRQ digest right (sha1)"},
	} {
		out, n := print(t, file(t, layers.LinkTypeRaw, frame{octets: v.octets}), old)
		var want []string
		if v.want != "" {
			want = []string{v.want}
		}
		if d := cmp.Diff(want, verdicts(out)); d != "" || n.Malformed != 0 || n.Partial != strings.Count(v.want, "fragments") {
			t.Errorf("%s: %v (-want +got):\n%s", v.name, n, d)
		}
	}
}

// fragmentOf cuts an IPv4 packet down to its first fragment.
func fragmentOf(b []byte, n int) []byte {
	b = bytes.Clone(b[:n])
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	b[6] |= 0x20
	return b
}

func TestCut(t *testing.T) {
	whole := ip(t, wire.UDP, signed(old).opening(lyon, paris)[0])
	out, n := print(t, file(t, layers.LinkTypeRaw, frame{whole[:20+8+40], len(whole)}), old)
	if want := fmt.Sprintf("SCCRQ captured only in part, 40 octets of %d: not decoded", len(whole)-28); !cmp.Equal(verdicts(out), []string{want}) || n.Partial != 1 {
		t.Errorf("%v, %q, want %q", n, verdicts(out), want)
	}
	out, n = print(t, file(t, layers.LinkTypeRaw, frame{whole[:20+8+10], len(whole)}), old)
	if !strings.Contains(out, "a control message, captured only in part: not decoded") || n.Partial != 1 {
		t.Errorf("%v:\n%s", n, out)
	}
}
