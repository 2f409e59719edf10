package framerelay

import "encoding/binary"

// What stands behind the control field, RFC 2427 sections 3 and 4.1; the NLPID of
// IPv6 is RFC 2590's.
const (
	pad       = 0x00
	nlpidSNAP = 0x80
	nlpidIPv6 = 0x8e
	nlpidIPv4 = 0xcc

	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
)

// IsIP reports whether a frame carries an IPv4 or IPv6 packet, so that a Data
// Sequencing Level of 1 leaves it without a number. RFC 3931 section 5.4.4. It knows
// RFC 2427's routed frames and those of Cisco's own encapsulation, which have an
// Ethertype right behind the Q.922 header. It does not look into what is bridged,
// compressed or fragmented.
func IsIP(frame []byte) bool {
	_, n, why := Parse(frame)
	if why != NotDropped {
		return false
	}
	b := frame[n:]
	if b[0] != unnumbered {
		// With RFC 2427 its octets would be a control field, of other frames than
		// those that carry packets: only with a version do they speak of one.
		return len(b) > 2 && (etherTypeIs(b, etherTypeIPv4) && b[2]>>4 == 4 || etherTypeIs(b, etherTypeIPv6) && b[2]>>4 == 6)
	}
	if b = b[1:]; len(b) > 0 && b[0] == pad {
		b = b[1:]
	}
	switch {
	case len(b) == 0:
		return false
	case b[0] == nlpidIPv4 || b[0] == nlpidIPv6:
		return true
	}
	// "OUI 0x00-00-00 specifies that the following PID is an Ethertype."
	return b[0] == nlpidSNAP && len(b) >= 6 && b[1]|b[2]|b[3] == 0 &&
		(etherTypeIs(b[4:], etherTypeIPv4) || etherTypeIs(b[4:], etherTypeIPv6))
}

func etherTypeIs(b []byte, t uint16) bool { return binary.BigEndian.Uint16(b) == t }
