package ppp

import (
	"encoding/binary"
	"iter"
)

// The codes of LCP, of which the first seven are those of every control protocol, RFC
// 1661 section 5, RFC 1570 section 2, RFC 1962 section 3.
const (
	configureRequest = 1
	configureAck     = 2
	configureNak     = 3
	configureReject  = 4
	terminateRequest = 5
	terminateAck     = 6
	codeReject       = 7
	protocolReject   = 8
	echoRequest      = 9
	echoReply        = 10
	discardRequest   = 11
	identification   = 12
	timeRemaining    = 13
	resetRequest     = 14
	resetAck         = 15
)

// packetHeaderLen is Code, Identifier and Length.
const packetHeaderLen = 4

// A packet is what the control and the authentication protocols say, RFC 1661 section
// 5:
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Code      |  Identifier   |            Length             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    Data ...
type packet struct {
	code, id uint8
	data     []byte
}

// parsePacket reads a packet. "Octets outside the range of the Length field are
// treated as padding and are ignored on reception. When a packet is received with an
// invalid Length field, the packet is silently discarded." RFC 1661 section 5.
func parsePacket(b []byte) (p packet, ok bool) {
	if len(b) < packetHeaderLen {
		return p, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < packetHeaderLen || n > len(b) {
		return p, false
	}
	return packet{code: b[0], id: b[1], data: b[packetHeaderLen:n]}, true
}

// append adds the packet to b.
func (p packet) append(b []byte) []byte {
	b = append(b, p.code, p.id)
	b = binary.BigEndian.AppendUint16(b, uint16(packetHeaderLen+len(p.data)))
	return append(b, p.data...)
}

// An option is a Configuration Option, RFC 1661 section 6.
type option struct {
	kind uint8
	data []byte
	raw  []byte // with its kind and length
}

// wellFormed reports whether b is nothing but whole options.
func wellFormed(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		b = b[b[1]:]
	}
	return true
}

// options goes through options that are well formed.
func options(b []byte) iter.Seq[option] {
	return func(yield func(option) bool) {
		for len(b) > 0 {
			n := b[1]
			if !yield(option{kind: b[0], data: b[2:n:n], raw: b[:n:n]}) {
				return
			}
			b = b[n:]
		}
	}
}

// appendOption adds an option to b; it has at most 253 octets of data.
func appendOption(b []byte, kind uint8, data ...byte) []byte {
	return append(append(b, kind, uint8(2+len(data))), data...)
}
