package wire

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"io"
)

// L2TPv2 has types of its own, whose names end in V2, and RFC 3931's control
// header, AVP format and Message Types. RFC 2661.

// A ControlHeaderV2 is the header of a control message of L2TPv2, RFC 2661
// section 3.1. Its octets are those of a ControlHeader whose ConnectionID is both
// IDs.
type ControlHeaderV2 struct {
	TunnelID, SessionID uint16 // the receiver's; 0 before it has told one
	Ns, Nr              uint16
}

// The bits that L2TPv2 has besides.
const (
	offsetBit   = 0x0200
	priorityBit = 0x0100
)

// ParseControlV2 reads the header of a control message and returns the message
// cut to its Length. RFC 2661 section 7.1: "A control message with a malformed
// header should be discarded."
func ParseControlV2(b []byte) (h ControlHeaderV2, message []byte, err error) {
	both, message, err := ParseControl(b)
	switch {
	case err != nil:
		return h, nil, err
	case both.Version != 2:
		return h, nil, fmt.Errorf("%w: version %d, want 2", errHeader, both.Version)
	case binary.BigEndian.Uint16(b)&offsetBit != 0:
		return h, nil, fmt.Errorf("%w: the O bit is set", errHeader)
	}
	return ControlHeaderV2{uint16(both.ConnectionID >> 16), uint16(both.ConnectionID), both.Ns, both.Nr}, message, nil
}

// AppendControlV2 appends a control message: the header and then body, which is
// empty for a ZLB.
func AppendControlV2(b []byte, h ControlHeaderV2, body []byte) []byte {
	return AppendControl(b, ControlHeader{2, uint32(h.TunnelID)<<16 | uint32(h.SessionID), h.Ns, h.Nr}, body)
}

// ControlV2 reports whether a datagram of L2TPv2 is a control message: the T bit.
func ControlV2(b []byte) bool { return len(b) > 0 && b[0]&0x80 != 0 }

// A DataHeaderV2 is the header of a data message of L2TPv2, RFC 2661 section 3.1.
type DataHeaderV2 struct {
	TunnelID, SessionID uint16
	// Sequenced says that there is an Ns. The Nr beside it means nothing.
	Sequenced bool
	Ns        uint16
	// Priority asks for preferential treatment.
	Priority bool
	// Length says that there is a Length field.
	Length bool
	// Offset is the Offset Size: so many octets of padding stand before the
	// frame.
	Offset Optional[uint16]
}

// Len returns the length of the header in octets, its padding included.
func (h *DataHeaderV2) Len() int {
	n := 6
	if h.Length {
		n += 2
	}
	if h.Sequenced {
		n += 4
	}
	if h.Offset.Set {
		n += 2 + int(h.Offset.Value)
	}
	return n
}

// ParseDataV2 reads the header of a data message and returns the frame behind it,
// cut to the Length if there is one. Of a control message, or of another version,
// it makes ErrHeaderV2; ErrShort if the header does not end.
func ParseDataV2(b []byte) (h DataHeaderV2, frame []byte, err error) {
	if len(b) < 6 {
		return h, nil, ErrShort
	}
	word := binary.BigEndian.Uint16(b)
	if word&versionMask != 2 || word&typeBit != 0 {
		return h, nil, ErrHeaderV2
	}
	h.Priority = word&priorityBit != 0
	at := 2
	if h.Length = word&lengthBit != 0; h.Length {
		n := int(binary.BigEndian.Uint16(b[at:]))
		if n > len(b) {
			return h, nil, ErrShort
		}
		b = b[:n]
		at += 2
	}
	if h.Sequenced = word&sequenceS != 0; len(b) < at+4 || h.Sequenced && len(b) < at+8 {
		return h, nil, ErrShort
	}
	h.TunnelID, h.SessionID = binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	at += 4
	if h.Sequenced {
		h.Ns = binary.BigEndian.Uint16(b[at:])
		at += 4
	}
	if word&offsetBit != 0 {
		if len(b) < at+2 {
			return h, nil, ErrShort
		}
		h.Offset = Some(binary.BigEndian.Uint16(b[at:]))
		at += 2 + int(h.Offset.Value)
	}
	if at > len(b) {
		return h, nil, ErrShort
	}
	return h, b[at:], nil
}

// AppendDataHeaderV2 appends the header of a data message whose frame has so many
// octets.
func AppendDataHeaderV2(b []byte, h DataHeaderV2, frame int) []byte {
	word := uint16(2)
	if h.Length {
		word |= lengthBit
	}
	if h.Sequenced {
		word |= sequenceS
	}
	if h.Offset.Set {
		word |= offsetBit
	}
	if h.Priority {
		word |= priorityBit
	}
	b = binary.BigEndian.AppendUint16(b, word)
	if h.Length {
		b = binary.BigEndian.AppendUint16(b, uint16(h.Len()+frame))
	}
	b = binary.BigEndian.AppendUint16(b, h.TunnelID)
	b = binary.BigEndian.AppendUint16(b, h.SessionID)
	if h.Sequenced {
		b = binary.BigEndian.AppendUint16(b, h.Ns)
		b = binary.BigEndian.AppendUint16(b, 0)
	}
	if h.Offset.Set {
		b = binary.BigEndian.AppendUint16(b, h.Offset.Value)
		for range h.Offset.Value {
			b = append(b, 0)
		}
	}
	return b
}

// A SecretV2 is what the two ends of a tunnel share: for tunnel authentication,
// RFC 2661 section 5.1.1, and for the hiding of AVPs, section 4.3.
type SecretV2 struct{ octets []byte }

// NewSecretV2 returns a secret.
func NewSecretV2(secret []byte) *SecretV2 { return &SecretV2{append([]byte{}, secret...)} }

// String keeps the secret out of whatever prints it.
func (SecretV2) String() string { return "secret" }

// Format keeps the secret out of what %d, %x and %#v print.
func (s SecretV2) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// Equal reports whether two secrets are the same; it takes as long wherever they
// differ.
func (s *SecretV2) Equal(o *SecretV2) bool {
	if s == nil || o == nil {
		return s == o
	}
	return hmac.Equal(s.octets, o.octets)
}

func (s *SecretV2) key() hidingKey {
	if s == nil {
		return nil
	}
	return s.octets
}

// Response answers a Challenge in a message of type t. RFC 2661 section 4.4.3: "For
// purposes of the ID value in the CHAP response calculation, the value of the
// Message Type AVP for this message is used".
func (s *SecretV2) Response(t MessageType, challenge []byte) []byte {
	h := md5.New()
	h.Write([]byte{byte(t)})
	h.Write(s.octets)
	h.Write(challenge)
	return h.Sum(nil)
}

// Verify reports whether a Challenge Response in a message of type t is right.
func (s *SecretV2) Verify(t MessageType, challenge, response []byte) bool {
	return hmac.Equal(s.Response(t, challenge), response)
}
