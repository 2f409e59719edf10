package bridge

import (
	"sync/atomic"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/pool"
)

// batch is how many frames are handed on at once.
const batch = 256

// spareOctets is the room for frames without room in front: for the longest, or for
// some 80 of usual size.
const spareOctets = 128 << 10

// An NSP is the Native Service Processing of RFC 4719 figure 1: it stands between a
// port of the segment and a pseudowire, or a Hub, as a port whose frames have the
// tags that they have on the pseudowire.
type NSP struct {
	segment Port
	circuit *ethernet.Circuit
	ingress func(pseudowire.Frame, *ethernet.Spare) (pseudowire.Frame, pseudowire.Drop)
	egress  func(pseudowire.Frame, *ethernet.Spare) (pseudowire.Frame, pseudowire.Drop)
	desks   pool.Pool[desk]
	drops   [pseudowire.Drops]atomic.Uint64
}

// A desk is what is needed while some frames are changed and handed on.
type desk struct {
	frames [batch]pseudowire.Frame
	fronts [batch][ethernet.FrontLen]byte // as they were
	spare  *ethernet.Spare                // nil as long as no frame needed it
}

// NewNSP returns the port of a circuit of the segment.
func NewNSP(segment Port, c *ethernet.Circuit) *NSP {
	return &NSP{segment: segment, circuit: c, ingress: c.Ingress, egress: c.Egress}
}

// Send implements Port: it sends frames of the pseudowire to the segment.
func (n *NSP) Send(frames []pseudowire.Frame) (sent int) {
	if n.circuit.Transparent() {
		return n.segment.Send(frames)
	}
	return n.pass(frames, n.egress, n.segment.Send)
}

// Attach implements Port: deliver gets frames of the segment as they enter the
// pseudowire.
func (n *NSP) Attach(deliver func([]pseudowire.Frame) int) {
	if n.circuit.Transparent() {
		n.segment.Attach(deliver)
		return
	}
	n.segment.Attach(func(frames []pseudowire.Frame) int { return n.pass(frames, n.ingress, deliver) })
}

// Drops returns how many frames went no further, by reason: those of the pseudowire
// as a rule by DropEgressVLAN, those of the segment by DropIngressVLAN.
func (n *NSP) Drops() (drops [pseudowire.Drops]uint64) {
	for i := range n.drops {
		drops[i] = n.drops[i].Load()
	}
	return drops
}

// pass changes frames, hands them on, and makes them what they were: they may be
// sent elsewhere too.
func (n *NSP) pass(frames []pseudowire.Frame, change func(pseudowire.Frame, *ethernet.Spare) (pseudowire.Frame, pseudowire.Drop), next func([]pseudowire.Frame) int) (taken int) {
	d := n.desks.Get()
	if d == nil {
		d = new(desk)
	}
	for len(frames) > 0 {
		seen, changed := 0, 0
		for seen < min(len(frames), batch) {
			b := frames[seen].Bytes()
			copy(d.fronts[seen][:], b)
			f, why := change(frames[seen], d.spare)
			if why == pseudowire.DropNoBuffer {
				if d.spare == nil {
					d.spare = ethernet.NewSpare(spareOctets)
				} else if changed > 0 {
					break // the room is free again after these
				}
				f, why = change(frames[seen], d.spare)
			}
			seen++
			if why != pseudowire.NotDropped {
				n.drops[why].Add(1)
				continue
			}
			d.frames[changed] = f
			changed++
		}
		if changed > 0 {
			taken += next(d.frames[:changed])
			clear(d.frames[:changed])
		}
		for i := range seen {
			copy(frames[i].Bytes(), d.fronts[i][:])
		}
		if d.spare != nil {
			d.spare.Reset()
		}
		frames = frames[seen:]
	}
	n.desks.Put(d)
	return taken
}
