package control

import (
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// An Absence is why a circuit has no session for now.
type Absence uint8

// The absences, RFC 4591 and RFC 4349 sections 3.2. The zero value is none.
const (
	Deleted  Absence = iota + 1 // the circuit is no longer provisioned
	Inactive                    // it has been inactive for an extended period
)

// String tells of the circuit in words.
func (a Absence) String() string {
	switch a {
	case Deleted:
		return "the circuit was deleted"
	case Inactive:
		return "the circuit has been inactive for an extended period"
	}
	return "the circuit is there"
}

// result returns what a CDN says of an absence: in the terms of the RFC of the
// circuit's type or, where that has none, as RFC 4719, by another code.
func (a Absence) result(t pseudowire.Type, other wire.ResultCode) wire.Result {
	switch {
	case t == pseudowire.FrameRelay && a == Deleted:
		return wire.Result{Code: wire.CDNPVCDeleted}
	case t == pseudowire.FrameRelay:
		return wire.Result{Code: wire.CDNPVCInactive}
	case t == pseudowire.HDLC && a == Deleted:
		return wire.Result{Code: wire.CDNLinkDeleted}
	case t == pseudowire.HDLC:
		return wire.Result{Code: wire.CDNLinkInactive}
	}
	return wire.Result{Code: other, Message: a.String()}
}

// refusal is the result of a request for a session of a circuit that is absent.
func (k *circuit) refusal() *wire.Result {
	other := wire.CDNPermanent
	if k.absent == Inactive {
		other = wire.CDNTemporary
	}
	r := k.absent.result(k.cfg.Pseudowire, other)
	return &r
}
