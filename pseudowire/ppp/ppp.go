// Package ppp is what a pseudowire must know of the PPP frames that it carries.
package ppp

// A frame begins with its address and control fields, RFC 1662 section 3.1, or
// without them: where they were compressed away, and where a peer sends none.
const (
	allStations = 0xff
	unnumbered  = 0x03
)

// The protocols of IP packets as they are, RFC 1332 section 4 and RFC 5072 section 3.
const (
	protocolIPv4 = 0x0021
	protocolIPv6 = 0x0057
)

// IsIP reports whether a frame carries an IPv4 or IPv6 packet, so that a Data
// Sequencing Level of 1 leaves it without a number. RFC 3931 section 5.4.4. What is
// compressed, encrypted or of a bundle is none.
func IsIP(frame []byte) bool {
	if len(frame) >= 2 && frame[0] == allStations && frame[1] == unnumbered {
		frame = frame[2:]
	}
	switch {
	case len(frame) < 2:
		return false
	case frame[0]&1 != 0: // the one octet of a compressed field, RFC 1661 section 6.5
		return frame[0] == protocolIPv4 || frame[0] == protocolIPv6
	}
	return frame[0] == 0 && (frame[1] == protocolIPv4 || frame[1] == protocolIPv6)
}
