package user

import (
	"fmt"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A LinkV2 is one session of L2TPv2: a Link with another header, whose IDs are Tunnel ID
// and Session ID in one.
type LinkV2 struct{ Link }

// A role is what a Link does about sequence numbers, RFC 2661 section 5.4.
type role uint8

const (
	notV2    role = iota
	leads         // the LNS: it switches them
	follows       // the LAC: it does as the LNS does
	requires      // either: they are always there
)

// version2 reports whether the Link is that of a LinkV2.
func (l *Link) version2() bool { return l.in.role != notV2 }

// A LinkV2 has two headers, one behind the other: without a number and with one.
const (
	plainEnd    = 6
	numberV2End = plainEnd + wire.MaxDataHeaderLenV2
)

// formV2 is the form of what a LinkV2 sends.
func formV2(sequenced bool) uint32 {
	if sequenced {
		return newForm(plainEnd, numberV2End, numberV2)
	}
	return newForm(0, plainEnd, noNumber)
}

// bothIDs returns what a LinkV2 is known by.
func bothIDs(tunnel, session uint16) uint32 { return uint32(tunnel)<<16 | uint32(session) }

// OpenV2 implements dataplane.Plane.
func (p *Plane) OpenV2(params dataplane.ParamsV2) (dataplane.LinkV2, error) {
	if err := params.Check(); err != nil {
		return nil, err
	}
	l := &LinkV2{Link{rest: &rest{plane: p, table: &p.tableV2, params: dataplane.Params{
		Name:          params.Name,
		SessionID:     bothIDs(params.TunnelID, params.SessionID),
		PeerSessionID: bothIDs(params.PeerTunnelID, params.PeerSessionID),
		Pseudowire:    pseudowire.PPP,
	}}}}
	h := wire.DataHeaderV2{TunnelID: params.PeerTunnelID, SessionID: params.PeerSessionID}
	header := wire.AppendDataHeaderV2(l.out.header[:0], h, 0)
	h.Sequenced = true
	wire.AppendDataHeaderV2(header, h, 0)
	l.out.form.Store(formV2(params.Sequence))
	switch {
	case params.Sequence:
		l.in.role = requires
	case params.LNS:
		l.in.role = leads
	default:
		l.in.role = follows
	}
	if other := p.tableV2.insert(&l.Link); other != nil {
		return nil, fmt.Errorf("session %s: session ID %d of tunnel ID %d belongs to session %s already", params.Name, params.SessionID, params.TunnelID, other.params.Name)
	}
	return l, nil
}

// Number implements dataplane.LinkV2. RFC 2661 section 5.4: "If the LNS enables
// sequencing after disabling it earlier in the session, the sequence number state picks
// up where it left off before."
func (l *LinkV2) Number(on bool) {
	if l.in.role == leads {
		l.out.form.Store(formV2(on))
	}
}

// Numbering implements dataplane.LinkV2.
func (l *LinkV2) Numbering() bool { return l.out.form.Load() == formV2(true) }

// ReceiveV2 implements dataplane.Receiver.
func (r *Receiver) ReceiveV2(d *transport.Datagram) {
	h, frame, err := wire.ParseDataV2(d.Frame.Bytes())
	switch {
	case err == wire.ErrShort:
		r.plane.Drop(pseudowire.DropShort)
		return
	case err != nil:
		r.plane.Drop(pseudowire.DropVersion)
		return
	}
	l := r.plane.tableV2.lookup(bothIDs(h.TunnelID, h.SessionID))
	if l == nil {
		r.plane.Drop(pseudowire.DropSession)
		return
	}
	if why := r.judgeV2(l, d, &h, len(frame)); why != pseudowire.NotDropped {
		l.drops.add(why, 1)
	}
}

func (r *Receiver) judgeV2(l *Link, d *transport.Datagram, h *wire.DataHeaderV2, length int) pseudowire.Drop {
	if !r.fromPeer(l, d) {
		return pseudowire.DropSource
	}
	switch in := &l.in; {
	case in.role == requires && !h.Sequenced:
		return pseudowire.DropSequence
	case in.role == follows && h.Sequenced != (in.told.Load() != 0):
		l.follow(h.Sequenced)
	}
	f := within(d.Frame, h.Len(), length)
	if h.Sequenced {
		return r.sequence(l, f, uint32(h.Ns))
	}
	return r.pend(l, f)
}

// follow has a LAC send as the LNS does. RFC 2661 section 5.4: "if the LAC receives a
// data message without sequence numbers present, it MUST stop sending sequence numbers
// in future data messages. If the LAC receives a data message with sequence numbers
// present, it MUST begin sending sequence numbers in future outgoing data messages."
func (l *Link) follow(sequenced bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := int32(0)
	if sequenced {
		told = 1
	}
	l.in.told.Store(told)
	l.out.form.Store(formV2(sequenced))
}

// within returns the length octets of f from start on.
func within(f pseudowire.Frame, start, length int) pseudowire.Frame {
	if f.Len() > start+length {
		whole := f.Prepend(f.Headroom())
		cut := pseudowire.NewFrame(whole[:f.Headroom()+start+length], f.Headroom())
		cut.ReceivedDSCP = f.ReceivedDSCP
		f = cut
	}
	return f.Skip(start)
}
