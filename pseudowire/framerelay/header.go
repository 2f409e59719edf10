package framerelay

// The bits of a header's octets, as RFC 4591 section 4.1 draws them.
const (
	extended = 0x01 // EA, in each octet: the last one
	command  = 0x02 // C/R, in the first octet
	forward  = 0x08 // FECN, in the second octet
	backward = 0x04 // BECN
	eligible = 0x02 // DE
	core     = 0x02 // D/C, in the last of four octets: its six bits are not of a DLCI
)

// A Header is a frame's Q.922 address field.
type Header struct {
	DLCI uint32
	CR   bool // command or response
	FECN bool // congested on the way here
	BECN bool // congested on the way back
	DE   bool // to be discarded first
}

// Parse reads the header of a frame and returns its length, ShortHeader or
// LongHeader. RFC 2427 section 3 asks for an octet at least behind it.
func Parse(frame []byte) (h Header, n int, why Drop) {
	switch {
	case len(frame) < ShortHeader:
		return h, 0, DropShort
	case frame[0]&extended != 0:
		return h, 0, DropAddress
	case frame[1]&extended != 0:
		n = ShortHeader
		h.DLCI = uint32(frame[0]>>2)<<4 | uint32(frame[1]>>4)
	case len(frame) == 2 || len(frame) == 3 && frame[2]&extended == 0:
		return h, 0, DropShort
	case frame[2]&extended != 0, frame[3]&extended == 0, frame[3]&core != 0:
		return h, 0, DropAddress
	default:
		n = LongHeader
		h.DLCI = uint32(frame[0]>>2)<<17 | uint32(frame[1]>>4)<<13 | uint32(frame[2]>>1)<<6 | uint32(frame[3]>>2)
	}
	if len(frame) == n {
		return Header{}, 0, DropShort
	}
	h.CR = frame[0]&command != 0
	h.FECN = frame[1]&forward != 0
	h.BECN = frame[1]&backward != 0
	h.DE = frame[1]&eligible != 0
	return h, n, NotDropped
}

// Append appends the header in n octets, ShortHeader or LongHeader.
func (h Header) Append(b []byte, n int) []byte {
	at := len(b)
	if n == LongHeader {
		b = append(b, 0, 0, 0, extended)
	} else {
		b = append(b, 0, extended)
	}
	header := b[at:]
	PutDLCI(header, n, h.DLCI)
	if h.CR {
		header[0] |= command
	}
	if h.FECN {
		header[1] |= forward
	}
	if h.BECN {
		header[1] |= backward
	}
	if h.DE {
		header[1] |= eligible
	}
	return b
}

// PutDLCI writes a DLCI over the one in a frame's header of n octets and leaves all
// other bits as they are. RFC 4591 section 4.1: of C/R, "Its value MUST NOT be
// changed by the LCCE", and of FECN, BECN and DE, "must never be cleared".
func PutDLCI(frame []byte, n int, dlci uint32) {
	if n == LongHeader {
		_ = frame[3]
		frame[0] = frame[0]&0x03 | byte(dlci>>17)<<2
		frame[1] = frame[1]&0x0f | byte(dlci>>13)<<4
		frame[2] = frame[2]&0x01 | byte(dlci>>6)<<1
		frame[3] = frame[3]&0x03 | byte(dlci)<<2
		return
	}
	_ = frame[1]
	frame[0] = frame[0]&0x03 | byte(dlci>>4)<<2
	frame[1] = frame[1]&0x0f | byte(dlci)<<4
}

// A Circuit is a PVC as frames see it that leave for it: its DLCI and the length of
// its port's headers.
type Circuit struct {
	DLCI      uint32
	HeaderLen int
}

// Egress makes a frame from the pseudowire one of the PVC. RFC 4591 section 5: "The
// egress LCCE re-writes the DLCI and regenerates the FCS." It changes octets of the
// frame only if it returns NotDropped.
func (c Circuit) Egress(frame []byte) Drop {
	_, n, why := Parse(frame)
	switch {
	case why != NotDropped:
		return why
	case n != c.HeaderLen:
		return DropLength
	}
	PutDLCI(frame, n, c.DLCI)
	return NotDropped
}
