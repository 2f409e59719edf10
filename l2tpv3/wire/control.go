package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A ControlHeader is the header of a control message, RFC 3931 section 3.2.1,
// without its Length, which Seal writes.
type ControlHeader struct {
	// Version is 3, or 2 for an SCCRQ that offers both versions. RFC 3931
	// section 4.7.3.
	Version uint8
	// ConnectionID is the receiver's; 0 before it has told one.
	ConnectionID uint32
	Ns, Nr       uint16
}

// ControlHeaderLen is the length of a control message's header in octets. A
// message of this length alone is a ZLB, RFC 3931 section 6.15.
const ControlHeaderLen = 12

// The bits of the first word of a control message.
const (
	typeBit     = 0x8000
	lengthBit   = 0x4000
	sequenceS   = 0x0800
	versionMask = 0x000f
	controlBits = typeBit | lengthBit | sequenceS
)

// errHeader is in every error of ParseControl. "A control message with a
// malformed header MUST be discarded." RFC 3931 section 7.1.
var errHeader = errors.New("wire: malformed control message header")

// ErrHeaderV2 says that a datagram is no data message of L2TPv2.
var ErrHeaderV2 = errors.New("wire: no data message of L2TPv2")

// ParseControl reads the header of a control message and returns the message cut
// to its Length: what follows in the datagram is none of it.
func ParseControl(b []byte) (h ControlHeader, message []byte, err error) {
	if len(b) < ControlHeaderLen {
		return h, nil, fmt.Errorf("%w: %d octets, want %d", errHeader, len(b), ControlHeaderLen)
	}
	word, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
	h = ControlHeader{
		Version:      uint8(word & versionMask),
		ConnectionID: binary.BigEndian.Uint32(b[4:]),
		Ns:           binary.BigEndian.Uint16(b[8:]),
		Nr:           binary.BigEndian.Uint16(b[10:]),
	}
	switch {
	case word&controlBits != controlBits:
		return h, nil, fmt.Errorf("%w: first word %#04x, want bits T, L and S", errHeader, word)
	case h.Version != 3 && h.Version != 2:
		return h, nil, fmt.Errorf("%w: version %d, want 3", errHeader, h.Version)
	case length < ControlHeaderLen || length > len(b):
		return h, nil, fmt.Errorf("%w: length %d in a datagram of %d", errHeader, length, len(b))
	}
	return h, b[:length], nil
}

// AppendControl appends a control message: the header and then body, which is
// empty for a ZLB. Its Length is that of both.
func AppendControl(b []byte, h ControlHeader, body []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, controlBits|uint16(h.Version))
	b = binary.BigEndian.AppendUint16(b, uint16(ControlHeaderLen+len(body)))
	b = binary.BigEndian.AppendUint32(b, h.ConnectionID)
	b = binary.BigEndian.AppendUint16(b, h.Ns)
	b = binary.BigEndian.AppendUint16(b, h.Nr)
	return append(b, body...)
}

// A MessageType tells control messages apart, RFC 3931 section 3.1.
type MessageType uint16

// The types of control messages.
const (
	TypeSCCRQ   MessageType = 1
	TypeSCCRP   MessageType = 2
	TypeSCCCN   MessageType = 3
	TypeStopCCN MessageType = 4
	TypeHELLO   MessageType = 6
	TypeOCRQ    MessageType = 7
	TypeOCRP    MessageType = 8
	TypeOCCN    MessageType = 9
	TypeICRQ    MessageType = 10
	TypeICRP    MessageType = 11
	TypeICCN    MessageType = 12
	TypeCDN     MessageType = 14
	TypeWEN     MessageType = 15
	TypeSLI     MessageType = 16
	TypeACK     MessageType = 20
)

var messageNames = map[MessageType]string{
	TypeSCCRQ:   "SCCRQ",
	TypeSCCRP:   "SCCRP",
	TypeSCCCN:   "SCCCN",
	TypeStopCCN: "StopCCN",
	TypeHELLO:   "HELLO",
	TypeOCRQ:    "OCRQ",
	TypeOCRP:    "OCRP",
	TypeOCCN:    "OCCN",
	TypeICRQ:    "ICRQ",
	TypeICRP:    "ICRP",
	TypeICCN:    "ICCN",
	TypeCDN:     "CDN",
	TypeWEN:     "WEN",
	TypeSLI:     "SLI",
	TypeACK:     "ACK",
}

// String returns the name that RFC 3931 gives the type.
func (t MessageType) String() string {
	if name, ok := messageNames[t]; ok {
		return name
	}
	return fmt.Sprintf("message type %d", uint16(t))
}

// Session reports whether messages of this type belong to a session, and not to
// the control connection as a whole.
func (t MessageType) Session() bool { return t >= TypeOCRQ && t <= TypeSLI }

// TypeOf returns the Message Type of a control message without a look at the
// rest: for one that has none, as a ZLB, ok is false.
func TypeOf(message []byte) (t MessageType, ok bool) {
	if len(message) < ControlHeaderLen {
		return 0, false
	}
	a, _, err := nextAVP(message[ControlHeaderLen:])
	if err != nil || a.vendor != 0 || a.attr != AttrMessageType || a.hidden || len(a.value) != 2 {
		return 0, false
	}
	return MessageType(binary.BigEndian.Uint16(a.value)), true
}
