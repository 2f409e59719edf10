package lns

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// segment returns a TCP segment with options in a packet, whose checksum is right.
func segment(v6 bool, flags byte, options ...byte) []byte {
	tcp := make([]byte, tcpLen+len(options))
	tcp[12], tcp[13] = byte(len(tcp)/4)<<4, flags
	copy(tcp[tcpLen:], options)
	b := make([]byte, ipv4Len, 100)
	b[0], b[9] = 0x45, protocolTCP
	copy(b[12:], "\x0a\x00\x00\x01\x0a\x00\x00\x02")
	if v6 {
		b = make([]byte, ipv6Len, 100)
		b[0], b[6], b[23], b[39] = 0x60, protocolTCP, 1, 2
	}
	binary.BigEndian.PutUint16(tcp[16:], ^sumOf(b, tcp))
	return append(b, tcp...)
}

// sumOf returns the ones' complement sum of a segment with its pseudo-header, all ones if
// its checksum is right.
func sumOf(header, tcp []byte) uint16 {
	addresses := header[12:20]
	if header[0]>>4 == 6 {
		addresses = header[8:40]
	}
	all := fmt.Appendf(nil, "%s\x00%c%s%s", addresses, protocolTCP, binary.BigEndian.AppendUint16(nil, uint16(len(tcp))), tcp)
	s := uint32(0)
	for ; len(all) > 1; all = all[2:] {
		s += uint32(binary.BigEndian.Uint16(all))
	}
	if len(all) > 0 {
		s += uint32(all[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// TestClampMSS has segments that begin a connection fit, and leaves all else as it is.
func TestClampMSS(t *testing.T) {
	const syn, ack, mtu = 2, 16, 1400
	fragment := segment(false, syn, 2, 4, 5, 0xb4)
	fragment[7] = 1
	datagram := segment(false, syn, 2, 4, 5, 0xb4)
	datagram[9] = 17
	for _, v := range []struct {
		name   string
		packet []byte
		want   int // the MSS, at this offset in the options; 0: nothing is changed
		at     int
	}{
		{"SYN", segment(false, syn, 2, 4, 5, 0xb4), mtu - 40, 2},
		{"SYN and ACK", segment(false, syn|ack, 2, 4, 5, 0xb4), mtu - 40, 2},
		{"over IPv6", segment(true, syn, 2, 4, 5, 0xa0), mtu - 60, 2},
		{"behind others", segment(false, syn, 1, 1, 4, 2, 2, 4, 0xff, 0xff), mtu - 40, 6},
		{"at an odd place", segment(false, syn, 1, 2, 4, 5, 0xb4, 0, 0, 0), mtu - 40, 3},
		{"small enough", segment(false, syn, 2, 4, 5, 0), 0, 0},
		{"no SYN", segment(false, ack, 2, 4, 5, 0xb4), 0, 0},
		{"none", segment(false, syn), 0, 0},
		{"behind the end", segment(false, syn, 0, 2, 4, 5, 0xb4, 0, 0, 0), 0, 0},
		{"of another length", segment(false, syn, 2, 3, 5, 1), 0, 0},
		{"behind an option without length", segment(false, syn, 9, 0, 2, 4, 5, 0xb4, 0, 0), 0, 0},
		{"behind an option that is too long", segment(false, syn, 9, 99, 2, 4, 5, 0xb4, 0, 0), 0, 0},
		{"a later fragment", fragment, 0, 0},
		{"UDP", datagram, 0, 0},
		{"cut", segment(false, syn, 2, 4, 5, 0xb4)[:ipv4Len+tcpLen+3], 0, 0},
		{"a header", segment(true, syn)[:ipv6Len], 0, 0},
		{"nothing", nil, 0, 0},
	} {
		before := string(v.packet)
		clampMSS(v.packet, mtu)
		if v.want == 0 {
			if string(v.packet) != before {
				t.Errorf("%s: %x, was %x", v.name, v.packet, before)
			}
			continue
		}
		n := ipv4Len
		if v.packet[0]>>4 == 6 {
			n = ipv6Len
		}
		if got := int(binary.BigEndian.Uint16(v.packet[n+tcpLen+v.at:])); got != v.want {
			t.Errorf("%s: MSS %d, want %d", v.name, got, v.want)
		}
		if sum := sumOf(v.packet[:n], v.packet[n:]); sum != 0xffff {
			t.Errorf("%s: the checksum is wrong: %#x", v.name, sum)
		}
	}
}
