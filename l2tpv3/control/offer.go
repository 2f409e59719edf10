package control

import "spanwire/l2tpv3/wire"

// Takes reports whether an SCCRQ for L2TPv2 and L2TPv3 is one of a tunnel's peer here,
// which is to be answered in L2TPv3; else it is L2TPv2's affair.
func (l *LCCE) Takes(at Address, datagram []byte) bool {
	_, message, err := wire.ParseControl(datagram)
	if err != nil || !wire.OffersV3(message) {
		return false
	}
	p, _ := wire.Parse(message, &wire.Decoding{Lenient: true})
	m, ok := p.Message.(*wire.SCCRQ)
	if !ok {
		return false
	}
	t, _, _ := l.match(at, m, message)
	return t != nil
}
