package wire

import (
	"encoding/binary"
	"errors"

	"spanwire/cookie"
	"spanwire/pseudowire"
)

// versionWord is the first word of a data message over UDP: T bit 0, Ver 3, all
// reserved bits 0. RFC 3931 section 4.1.2.1.
const versionWord = 0x00030000

// MaxDataHeaderLen is the length of the longest data header.
const MaxDataHeaderLen = 4 + 4 + cookie.MaxSize + 4

// TransportLen returns the octets between the IP header and the L2TP header.
func (e Encap) TransportLen() int {
	if e == UDP {
		return 8
	}
	return 0
}

// sessionOffset returns where the Session ID stands.
func (e Encap) sessionOffset() int {
	if e == UDP {
		return 4
	}
	return 0
}

// DataHeaderLen returns the length of a data header, sublayer included.
func DataHeaderLen(e Encap, cookieLen int, s pseudowire.Sublayer) int {
	return e.sessionOffset() + 4 + cookieLen + s.Len()
}

// AppendDataHeader appends the header of a data message up to the frame. A
// Default sublayer is appended with its S bit clear.
func AppendDataHeader(b []byte, e Encap, sessionID uint32, c cookie.Cookie, s pseudowire.Sublayer) []byte {
	if e == UDP {
		b = binary.BigEndian.AppendUint32(b, versionWord)
	}
	b = binary.BigEndian.AppendUint32(b, sessionID)
	b = c.Append(b)
	if s == pseudowire.DefaultSublayer {
		b = binary.BigEndian.AppendUint32(b, 0)
	}
	return b
}

// A Kind is what a datagram is, told from its first octets alone.
type Kind uint8

// The kinds of datagram.
const (
	Short       Kind = iota // too short to tell
	Data                    // of an L2TPv3 session
	Control                 // of L2TPv3's control protocol
	Version2                // L2TPv2, RFC 2661; over UDP only
	UnknownKind             // any other version
)

// Classify tells what the datagram b is. For Data it returns the Session ID and
// the rest of b, which begins with the cookie; for Control the rest begins with
// the control message header.
//
// RFC 3931 section 4.1.2.1: "for UDP mode on a system that supports both
// versions of L2TP, it is important that the Ver field be inspected first to
// determine the Version of the header before acting upon any of these bits."
func Classify(e Encap, b []byte) (k Kind, sessionID uint32, rest []byte) {
	if e == IP {
		if len(b) < 4 {
			return Short, 0, nil
		}
		if id := binary.BigEndian.Uint32(b); id != 0 {
			return Data, id, b[4:]
		}
		return Control, 0, b[4:]
	}
	if len(b) < 2 {
		return Short, 0, nil
	}
	switch b[1] & 0x0f {
	case 2:
		return Version2, 0, b
	case 3:
	default:
		return UnknownKind, 0, nil
	}
	if b[0]&0x80 != 0 {
		return Control, 0, b
	}
	if len(b) < 8 {
		return Short, 0, nil
	}
	return Data, binary.BigEndian.Uint32(b[4:]), b[8:]
}

// The Default L2-Specific Sublayer, RFC 3931 section 4.6.
const (
	sequenceBit  = 0x40000000
	SequenceMask = 0x00ffffff // 24 bits
)

// PutSequence makes b, the four octets of a Default sublayer, carry the number n
// modulo 2^24.
func PutSequence(b []byte, n uint32) {
	binary.BigEndian.PutUint32(b, sequenceBit|n&SequenceMask)
}

// ClearSequence makes b, the four octets of a Default sublayer, carry no number.
func ClearSequence(b []byte) { binary.BigEndian.PutUint32(b, 0) }

// ErrShort says that a datagram ends before its headers do.
var ErrShort = errors.New("wire: datagram ends within its headers")

// Sequence reads a Default sublayer from the front of b: its number, and whether
// it carries one. "If the S bit is set to zero, the Sequence Number contents are
// undefined and MUST be ignored by the receiver."
func Sequence(b []byte) (n uint32, sequenced bool, err error) {
	if len(b) < 4 {
		return 0, false, ErrShort
	}
	w := binary.BigEndian.Uint32(b)
	return w & SequenceMask, w&sequenceBit != 0, nil
}
