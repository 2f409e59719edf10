package ppp

// IsIP reports whether a frame carries an IPv4 or IPv6 packet, so that a Data
// Sequencing Level of 1 leaves it without a number. RFC 3931 section 5.4.4. What is
// compressed, encrypted or of a bundle is none.
func IsIP(frame []byte) bool {
	p, n := header(frame)
	return n != 0 && len(frame) > n && (p == IPv4 || p == IPv6)
}
