package lns

import (
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/ppp"
)

// Proxy returns what an LAC told of a call as a Link goes on with it, nil if it told
// nothing of LCP. Types of authentication that no Link has, a textual exchange and
// version 1 of MS-CHAP, are not proof of anything: the peer is asked again. RFC 2661
// section 4.4.5.
func Proxy(p wire.Proxy) *ppp.Proxy {
	if len(p.LastSent) == 0 && len(p.LastReceived) == 0 {
		return nil
	}
	to := &ppp.Proxy{InitialReceived: p.InitialReceived, LastSent: p.LastSent, LastReceived: p.LastReceived}
	switch p.AuthenType {
	case wire.AuthenNone:
		to.Type = ppp.ProxyNone
	case wire.AuthenCHAP, wire.AuthenPAP:
		to.Type, to.Name, to.Challenge, to.ID, to.Response = ppp.ProxyType(p.AuthenType), p.Name, p.Challenge, p.ID, p.Response
	}
	return to
}
