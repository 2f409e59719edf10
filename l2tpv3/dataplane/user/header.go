package user

import (
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/framerelay"
	"spanwire/pseudowire/hdlc"
	"spanwire/pseudowire/ppp"
)

// A numbering is the kind of number that a header ends with.
type numbering uint8

const (
	noNumber numbering = iota
	number             // of L2TPv3, unless isIP says otherwise
	numberV2           // of L2TPv2
)

// newForm makes a form: where a header begins and ends among the octets that a Link has for
// it, and its number. It is one word, so that a header and its number change at once.
func newForm(from, to int, n numbering) uint32 { return uint32(from) | uint32(to)<<8 | uint32(n)<<16 }

// A before is what one call of Send puts before its frames.
type before struct {
	header []byte
	number numbering
}

// before returns what stands before the Link's frames on a route.
func (o *outbound) before(r *route) before {
	f := o.form.Load()
	return before{o.header[uint8(f)+r.skip : uint8(f>>8)], numbering(f >> 16)}
}

// putNumber puts the next sequence number where a header has it.
func (o *outbound) putNumber(b before, at []byte) {
	n := o.next.Add(1) - 1
	if b.number == numberV2 {
		wire.PutNsV2(at, n)
		return
	}
	wire.PutSequence(at, n)
}

// sequenced reports whether the frame carries a number. RFC 3931 section 5.4.4:
// "if an implementation is unable to perform such classification within L2
// frames, all packets MUST be provided with sequence numbers".
func (l *Link) sequenced(b before, f pseudowire.Frame) bool {
	return b.number != noNumber && (l.isIP == nil || !l.isIP(f.Bytes()))
}

// isIP returns what tells the IP packets among the frames of a type, nil for a type
// whose frames cannot be classified.
func isIP(t pseudowire.Type) func(frame []byte) bool {
	switch t {
	case pseudowire.Ethernet, pseudowire.EthernetVLAN:
		return ethernet.IsIP
	case pseudowire.FrameRelay:
		return framerelay.IsIP
	case pseudowire.HDLC:
		return hdlc.IsIP
	case pseudowire.PPP:
		return ppp.IsIP
	}
	return nil
}
