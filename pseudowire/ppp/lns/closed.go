package lns

import (
	"fmt"

	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/radius"
)

// A Closed is why a link is closed.
type Closed struct {
	Cause   radius.Cause
	Reason  ppp.Reason // of the link itself; NotClosed: there was another reason
	Text    string     // ours: what else there is to say; may be empty
	Message string     // what the peer said, printable
	// Disconnect is what a CDN can say of it.
	Disconnect Disconnect
}

// String returns a line for a log.
func (c Closed) String() string {
	text := c.Text
	if text == "" {
		text = c.Reason.String()
	}
	if c.Message != "" {
		return fmt.Sprintf("%s: %q", text, c.Message)
	}
	return text
}

// A Disconnect has the fields of the PPP Disconnect Cause Code AVP, RFC 3145 section 2.
type Disconnect struct {
	Code      uint16
	Protocol  ppp.Protocol
	Direction uint8
}

// disconnect returns what RFC 3145 section 3 has for an end of a link. method is the one
// by which somebody has to prove himself.
func disconnect(r ppp.Reason, cause radius.Cause, method ppp.Method) Disconnect {
	auth := ppp.CHAP
	switch method {
	case ppp.ByPAP:
		auth = ppp.PAP
	case ppp.ByEAP:
		auth = ppp.EAP
	}
	switch r {
	case ppp.ByUs:
		if cause == radius.AdminReset || cause == radius.AdminReboot {
			return Disconnect{Code: 1}
		}
		return Disconnect{Code: 3, Direction: 2}
	case ppp.ByPeer:
		return Disconnect{Code: 3, Direction: 1}
	case ppp.NoEncryption:
		return Disconnect{Code: 4, Direction: 1}
	case ppp.Unconverging, ppp.CodesRejected:
		return Disconnect{Code: 5, Protocol: ppp.LCP}
	case ppp.NoAnswer:
		return Disconnect{Code: 6, Protocol: ppp.LCP}
	case ppp.LoopedBack:
		return Disconnect{Code: 7, Protocol: ppp.LCP}
	case ppp.PeerSilent:
		return Disconnect{Code: 8, Protocol: ppp.LCP}
	case ppp.AuthTimeout:
		return Disconnect{Code: 13, Protocol: auth}
	case ppp.AuthRefused:
		return Disconnect{Code: 15, Protocol: auth, Direction: 1}
	case ppp.AuthFailed:
		return Disconnect{Code: 16, Protocol: auth, Direction: 1}
	case ppp.ProofRefused, ppp.ProofWrong:
		return Disconnect{Code: 16, Protocol: auth, Direction: 2}
	case ppp.NoNetwork:
		return Disconnect{Code: 18}
	case ppp.SetupTimeout:
		return Disconnect{Code: 17, Protocol: ppp.IPCP}
	}
	return Disconnect{}
}

// causeOf returns how accounting calls the end of a link. RFC 2866 section 5.10.
func causeOf(r ppp.Reason) radius.Cause {
	switch r {
	case ppp.ByUs:
		return radius.NASRequest
	case ppp.ByPeer:
		return radius.UserRequest
	case ppp.PeerSilent, ppp.NoAnswer:
		return radius.LostCarrier
	case ppp.LoopedBack:
		return radius.PortError
	case ppp.NoNetwork, ppp.NoEncryption, ppp.SetupTimeout:
		return radius.ServiceUnavailable
	case ppp.ProofWrong, ppp.ProofRefused, ppp.AuthFailed, ppp.AuthRefused, ppp.AuthTimeout:
		return radius.UserError
	}
	return radius.NASError
}
