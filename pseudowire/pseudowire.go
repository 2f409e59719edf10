package pseudowire

import "fmt"

// A Type is an IANA pseudowire type, as the Pseudowire Type AVP carries it.
// RFC 3931 section 5.4.4, RFC 4446 section 3.2.
type Type uint16

// The pseudowire types.
const (
	FrameRelay   Type = 0x0001 // one DLCI, RFC 4591
	EthernetVLAN Type = 0x0004 // RFC 4719
	Ethernet     Type = 0x0005 // a whole port, RFC 4719
	HDLC         Type = 0x0006 // RFC 4349
	PPP          Type = 0x0007
)

var typeNames = map[Type]string{
	FrameRelay:   "frame-relay",
	EthernetVLAN: "vlan",
	Ethernet:     "ethernet",
	HDLC:         "hdlc",
	PPP:          "ppp",
}

func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type %#04x", uint16(t))
}

// A Sublayer is what stands between the session header and the frame: an
// L2-Specific Sublayer Type, RFC 3931 section 5.4.4.
type Sublayer uint16

// The sublayers.
const (
	NoSublayer      Sublayer = 0
	DefaultSublayer Sublayer = 1 // RFC 3931 section 4.6
)

// Len returns the sublayer's size in octets.
func (s Sublayer) Len() int {
	if s == DefaultSublayer {
		return 4
	}
	return 0
}

func (s Sublayer) String() string {
	switch s {
	case NoSublayer:
		return "none"
	case DefaultSublayer:
		return "default"
	}
	return fmt.Sprintf("sublayer %d", uint16(s))
}

// Sequencing says which frames carry a sequence number: a Data Sequencing
// Level, RFC 3931 section 5.4.4.
type Sequencing uint16

// The levels of sequencing.
const (
	NoSequencing    Sequencing = 0
	NonIPSequencing Sequencing = 1
	AllSequencing   Sequencing = 2
)

func (s Sequencing) String() string {
	switch s {
	case NoSequencing:
		return "none"
	case NonIPSequencing:
		return "non-ip"
	case AllSequencing:
		return "all"
	}
	return fmt.Sprintf("level %d", uint16(s))
}
