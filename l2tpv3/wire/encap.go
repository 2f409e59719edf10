// Package wire is the bytes of L2TP: the headers of data messages over UDP and
// over IP with the sublayer, and the control messages with their AVPs, digests and
// hidden values. It does no I/O. RFC 3931 sections 3.2, 4.1, 5 and 6.
package wire

import "fmt"

// An Encap is what carries L2TPv3, RFC 3931 section 4.1.
type Encap uint8

// The encapsulations.
const (
	UDP Encap = iota // RFC 3931 section 4.1.2
	IP               // IP protocol 115, RFC 3931 section 4.1.1
)

// Protocol is L2TP's number as an IP protocol.
const Protocol = 115

// Port is L2TP's UDP port.
const Port = 1701

func (e Encap) String() string {
	switch e {
	case UDP:
		return "udp"
	case IP:
		return "ip"
	}
	return fmt.Sprintf("encap %d", uint8(e))
}
