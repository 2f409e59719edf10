package dataplane

import (
	"errors"

	"spanwire/l2tpv3/wire"
)

// ParamsV2 are the parameters of the data messages of a session of L2TPv2, RFC 2661
// sections 3.1 and 5.4. They go over UDP only.
type ParamsV2 struct {
	Name                        string // for logs: "phones#17/4711"
	TunnelID, SessionID         uint16 // ours: what the peer puts in front, never 0
	PeerTunnelID, PeerSessionID uint16 // the peer's: what we put in front, never 0

	// LNS says that we are the LNS, which decides whether data messages have
	// sequence numbers, and else the LAC, which does as the LNS does.
	LNS bool

	// Sequence says that they always have, both ways: the Sequencing Required AVP.
	Sequence bool
}

// Check reports what is wrong with the parameters themselves.
func (p *ParamsV2) Check() error {
	switch {
	case p.TunnelID == 0:
		return errors.New("tunnel ID 0 is that of a tunnel that is yet to be, RFC 2661 section 4.4.3")
	case p.SessionID == 0:
		return errors.New("session ID 0 is that of the tunnel itself, RFC 2661 section 4.4.4")
	case p.PeerTunnelID == 0:
		return errors.New("the peer's tunnel ID 0 is that of a tunnel that is yet to be, RFC 2661 section 4.4.3")
	case p.PeerSessionID == 0:
		return errors.New("the peer's session ID 0 is that of the tunnel itself, RFC 2661 section 4.4.4")
	}
	return nil
}

// Overhead returns how many octets stand between the front of the outer IP packet and
// the front of the frame in what we send. The outer header is IPv6's or IPv4's, by v6,
// without options. Sequence numbers are counted even where there are none now: an LNS
// may have them begin with any message.
func (p *ParamsV2) Overhead(v6 bool) int {
	ip := 20
	if v6 {
		ip = 40
	}
	return ip + wire.UDP.TransportLen() + wire.MaxDataHeaderLenV2
}

// A LinkV2 is one session of L2TPv2 in a plane. Its number of lost frames begins with
// the first frame that has a sequence number.
type LinkV2 interface {
	Link

	// Number has an LNS send with sequence numbers from now on, or without, where they
	// are not required anyway. It does nothing at a LAC.
	Number(on bool)

	// Numbering reports whether what is sent has sequence numbers.
	Numbering() bool
}
