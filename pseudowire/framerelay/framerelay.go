// Package framerelay is what a pseudowire must know of Frame Relay: the Q.922
// header with its DLCI, what becomes of a frame where it leaves for a PVC (RFC
// 4591), and the Local Management Interface of a port.
//
// A frame walks through a pseudowire as it is, header included, without flags and
// FCS; only its DLCI is rewritten, in place, at the far end.
package framerelay

import "fmt"

// The lengths of the headers that RFC 4591 carries, in octets. Section 4.1: "The
// encapsulation of Frame Relay frames with the three-octet FR Header is outside the
// scope of this document."
const (
	ShortHeader = 2 // a DLCI of 10 bits
	LongHeader  = 4 // a DLCI of 23 bits
)

// CiscoDLCI is that of Cisco's management messages. Those of Annex A and Annex D
// have DLCI 0.
const CiscoDLCI = 1023

// Management reports whether frames of a DLCI are the LMI's and no PVC's.
func Management(dlci uint32, headerLen int) bool {
	return dlci == 0 || dlci == CiscoDLCI && headerLen == ShortHeader
}

// CheckDLCI returns what keeps a DLCI from being a PVC's: with two octets it is 16
// to 1007, with four 16 to 8388606. The numbers beneath and above are reserved.
// Q.922 reserves more of the long ones, and networks use them all the same.
func CheckDLCI(dlci uint32, headerLen int) error {
	most := uint32(1007)
	if headerLen == LongHeader {
		most = 1<<23 - 2
	}
	if dlci < 16 || dlci > most {
		return fmt.Errorf("DLCI %d, want 16 to %d with a header of %d octets", dlci, most, headerLen)
	}
	return nil
}

// A Drop is the reason for which a port lets a frame go no further. It allocates
// nothing and indexes a counter.
type Drop uint8

// The reasons. The zero value means that the frame was not dropped.
const (
	NotDropped   Drop = iota
	DropShort         // ends with its header or before
	DropAddress       // its header is of another form than RFC 4591 carries
	DropLength        // its header is not as long as those of the port
	DropDLCI          // no PVC has its DLCI
	DropDetached      // its PVC has nothing attached yet

	Drops // how many there are
)

var dropNames = [Drops]string{
	NotDropped:   "not_dropped",
	DropShort:    "fr_short",
	DropAddress:  "fr_address",
	DropLength:   "fr_header_length",
	DropDLCI:     "fr_unknown_dlci",
	DropDetached: "fr_detached",
}

// String returns the name of the reason's counter.
func (d Drop) String() string {
	if d < Drops {
		return dropNames[d]
	}
	return "unknown"
}
