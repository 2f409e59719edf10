package ethernet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"spanwire/pseudowire"
)

// A Config says which frames of a segment are a Circuit's, and which tags they have
// on either side. The zero value is a whole port: all frames, as they are.
//
// Of the tags that both sides have, the innermost belong together: they are
// rewritten. What one side has beyond them is taken off in one direction and put on
// in the other.
//
//	            Segment          Wire
//	port        none             none
//	VLAN        {VID: 10}        {}          the tag travels, the egress rewrites it
//	VLAN        {VID: 10}        none        a port is at the other end
//	port        none             {VID: 10}   a VLAN is at the other end
//	QinQ        {VID: 42} {}     {}          the customer's tags travel
//
// On a segment or pseudowire whose tags are put on, only such tags are the circuit's
// as would be put on there: of TPID CTag, or STag around another tag, where the TPID
// is 0.
type Config struct {
	// Segment are the tags of the circuit's frames on the segment, outermost
	// first, and Wire those on the pseudowire.
	Segment, Wire []Tag

	// VLANs are those that may pass where Segment has no tags, by the outermost
	// tag on the segment; nil: all.
	VLANs *VLANs

	// Priority is that of a tag put on a frame that had none.
	Priority uint8

	// DSCP is between the priority of the outermost tag that a frame has on the
	// segment and the DSCP of the IP header around it beyond the pseudowire's end:
	// a frame that leaves the segment asks for one by its priority, or by that of
	// the tag it gets if it had none there; one that goes to the segment with a tag
	// gets its priority by the DSCP that it came with, if that is known. A frame
	// without a tag goes as the tunnel's own DSCP is. nil: neither.
	//
	// PeerDSCP is the same for the tags on Wire. It is for a Circuit that stands the
	// other way round, whose Segment are the tags on the pseudowire.
	DSCP, PeerDSCP *DSCPMap
}

// A Circuit is what RFC 4719 section 1.4 calls the NSP, Native Service Processing:
// it "includes packet processing needed to translate the Ethernet frames that arrive
// at the CE-LCCE interface to/from the Ethernet frames that are applied to the PW
// termination point. Such functions may include stripping, overwriting, or adding
// VLAN tags." It does not change, and is safe for concurrent use.
type Circuit struct {
	segment, wire stack
	vlans         *VLANs
	priority      uint16 // as it stands in a tag
}

// A stack is the tags of one side, outermost first.
type stack struct {
	tags [MaxTags]Tag
	n    int
	dscp *DSCPMap // between their priority and the outer header; nil: none
}

// New returns the Circuit that cfg describes.
func New(cfg Config) (*Circuit, error) {
	c := &Circuit{vlans: cfg.VLANs, priority: uint16(cfg.Priority) << 13}
	if err := errors.Join(c.segment.init("segment", cfg.Segment), c.wire.init("pseudowire", cfg.Wire)); err != nil {
		return nil, err
	}
	switch {
	case cfg.Priority >= Priorities:
		return nil, fmt.Errorf("priority: found %d, want 0 to %d", cfg.Priority, Priorities-1)
	case cfg.VLANs != nil && len(cfg.Segment) > 0:
		return nil, errors.New("vlans: the circuit is one VLAN, want a list only for a whole port")
	}
	if err := errors.Join(c.segment.mark("segment", cfg.DSCP), c.wire.mark("pseudowire", cfg.PeerDSCP)); err != nil {
		return nil, err
	}
	if err := c.segment.make("segment", c.wire.n); err != nil {
		return nil, err
	}
	return c, c.wire.make("pseudowire", c.segment.n)
}

func (s *stack) init(side string, tags []Tag) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("%s: %d tags, want %d at most", side, len(tags), MaxTags)
	}
	for _, t := range tags {
		switch {
		case t.VID > MaxVID:
			return fmt.Errorf("%s: VLAN %d, want 1 to %d", side, t.VID, MaxVID)
		case t.TPID != 0 && t.TPID != CTag && t.TPID != STag:
			return fmt.Errorf("%s: tags of type %#04x, want %#04x or %#04x", side, t.TPID, CTag, STag)
		}
	}
	s.n = copy(s.tags[:], tags)
	return nil
}

// mark has the priority of the tags be mapped, by a copy of m.
func (s *stack) mark(side string, m *DSCPMap) error {
	if m == nil {
		return nil
	}
	if err := m.check(); err != nil {
		return fmt.Errorf("%s: %w", side, err)
	}
	s.dscp = new(DSCPMap)
	*s.dscp = *m
	return nil
}

// make says what kind the tags are that will be made, because the other side has but
// other tags: a provider's around another, else a customer's.
func (s *stack) make(side string, other int) error {
	for i := range max(0, s.n-other) {
		t := &s.tags[i]
		switch {
		case t.VID == 0:
			return fmt.Errorf("%s: no VLAN for a tag that the other side has not, want 1 to %d", side, MaxVID)
		case t.TPID == 0 && i < s.n-1:
			t.TPID = STag
		case t.TPID == 0:
			t.TPID = CTag
		}
	}
	return nil
}

// Transparent reports whether all frames pass as they are.
func (c *Circuit) Transparent() bool {
	return c.segment.n+c.wire.n == 0 && c.vlans == nil && c.segment.dscp == nil && c.wire.dscp == nil
}

// A Spare is memory for frames that need room in front and have none, because they
// stand close behind one another where they were read. Its zero value has no room.
type Spare struct {
	memory []byte
	used   int
}

// NewSpare returns a Spare with room for some octets, headrooms included.
func NewSpare(octets int) *Spare { return &Spare{memory: make([]byte, octets)} }

// Reset makes all of the room free again: the frames in it are done with.
func (s *Spare) Reset() { s.used = 0 }

// move returns a copy of the frame, with headroom.
func (s *Spare) move(f pseudowire.Frame) (_ pseudowire.Frame, ok bool) {
	n := pseudowire.Headroom + f.Len()
	if s == nil || len(s.memory)-s.used < n {
		return f, false
	}
	b := s.memory[s.used:][:n:n]
	s.used += n
	copy(b[pseudowire.Headroom:], f.Bytes())
	moved := pseudowire.NewFrame(b, pseudowire.Headroom)
	moved.GSO, moved.ReceivedDSCP, moved.SendDSCP = f.GSO, f.ReceivedDSCP, f.SendDSCP
	return moved, true
}

// FrontLen is how many octets at the front of a frame Ingress and Egress may change,
// beside its headroom: the addresses, the tags, and the priority of one behind them,
// which is the outermost when they are off.
const FrontLen = addressesLen + (MaxTags+1)*TagLen

// Ingress returns a frame of the segment as it enters the pseudowire, changed in
// place, or the reason for which it does not. A frame without room in front for the
// tags that it gets moves to the spare; if there is no room either, or spare is nil,
// the reason is DropNoBuffer.
func (c *Circuit) Ingress(f pseudowire.Frame, spare *Spare) (pseudowire.Frame, pseudowire.Drop) {
	switch {
	case c.Transparent():
		return f, pseudowire.NotDropped
	case f.Len() < HeaderLen:
		return f, pseudowire.DropMalformed
	case !c.allows(f):
		return f, pseudowire.DropIngressVLAN
	}
	f, found := c.pass(f, &c.segment, &c.wire, spare)
	switch found {
	case translated:
		return f, pseudowire.NotDropped
	case otherTags:
		return f, pseudowire.DropIngressVLAN
	case noRoom:
		return f, pseudowire.DropNoBuffer
	}
	return f, pseudowire.DropMalformed
}

// Egress returns a frame of the pseudowire as it goes to the segment, see Ingress.
// RFC 4719 section 3.1: "For Ethernet VLAN-to-VLAN mode, the remote LCCE MAY rewrite
// the VLAN tag."
func (c *Circuit) Egress(f pseudowire.Frame, spare *Spare) (pseudowire.Frame, pseudowire.Drop) {
	switch {
	case c.Transparent():
		return f, pseudowire.NotDropped
	case f.Len() < HeaderLen:
		return f, pseudowire.DropRunt
	}
	f, found := c.pass(f, &c.wire, &c.segment, spare)
	switch {
	case found == noRoom:
		return f, pseudowire.DropNoBuffer
	case found == malformed:
		return f, pseudowire.DropMalformed
	case found == otherTags || !c.allows(f):
		return f, pseudowire.DropEgressVLAN
	}
	return f, pseudowire.NotDropped
}

// allows reports whether a frame as it is on the segment is of a VLAN that may pass.
func (c *Circuit) allows(f pseudowire.Frame) bool {
	return c.vlans == nil || c.vlans.Has(VID(f.Bytes()))
}

// What became of a translation.
type translation uint8

const (
	translated translation = iota
	otherTags              // the frame's are not those of the side that it comes from
	noRoom                 // in front, nor in the spare
	malformed              // its description does not fit it
)

// pass translates a frame, and maps the priorities of the sides that have a DSCPMap.
//
// RFC 4719 section 4: "the ingress LCCE MAY consider the user priority field (i.e.,
// 802.1p) of the VLAN tag for traffic classification and QoS treatments, such as
// determining the Differentiated Services (DS) field [RFC2474] of the encapsulating
// IP header. Similarly, the egress LCCE MAY consider the DS field of the encapsulating
// IP header when rewriting the user priority field of the VLAN tag".
func (c *Circuit) pass(f pseudowire.Frame, from, to *stack, spare *Spare) (pseudowire.Frame, translation) {
	if from.dscp == nil && to.dscp == nil {
		return c.translate(f, from, to, spare)
	}
	priority, tagged := Priority(f.Bytes()) // before the tag is off
	f, found := c.translate(f, from, to, spare)
	if found != translated {
		return f, found
	}
	if from.dscp != nil {
		if !tagged {
			priority, tagged = Priority(f.Bytes()) // of the one that it got
		}
		if tagged {
			f.SendDSCP = pseudowire.DSCPOf(from.dscp.DSCP[priority])
		}
	}
	if dscp, known := f.ReceivedDSCP.Value(); known && to.dscp != nil {
		SetPriority(f.Bytes(), to.dscp.Priority[dscp])
	}
	return f, translated
}

// translate takes the tags of one side off and puts those of the other on.
func (c *Circuit) translate(f pseudowire.Frame, from, to *stack, spare *Spare) (pseudowire.Frame, translation) {
	b := f.Bytes()
	for i := range from.n {
		if !from.tags[i].matches(b[min(len(b), addressesLen+i*TagLen):]) {
			return f, otherTags
		}
	}
	had, inherited := from.n, c.priority
	if to.n > 0 && hasTag(b[addressesLen:]) {
		tci := binary.BigEndian.Uint16(b[addressesLen+2:])
		if had == 0 && tci&0x0fff == 0 && binary.BigEndian.Uint16(b[addressesLen:]) == CTag && to.tags[to.n-1].TPID == CTag {
			// A tag that has a priority alone makes the frame no VLAN's: IEEE
			// 802.1Q gives it to the port's, as one without a tag. The new tag
			// takes its place and its priority.
			had = 1
		}
		inherited = tci & 0xf000 // priority and drop eligibility, of the outermost
	}

	grow := (to.n - had) * TagLen
	if !adjust(&f.GSO, grow) {
		return f, malformed
	}
	if grow > f.Headroom() {
		var ok bool
		if f, ok = spare.move(f); !ok {
			return f, noRoom
		}
		b = f.Bytes()
	}
	kept := min(had, to.n)
	for i := range kept {
		to.tags[to.n-kept+i].rewrite(b[addressesLen+(had-kept+i)*TagLen:])
	}
	if grow < 0 {
		copy(b[-grow:], b[:addressesLen])
		return f.Skip(-grow), translated
	}
	if grow > 0 {
		b = f.Prepend(grow)
		copy(b, b[grow:grow+addressesLen])
		for i := range to.n - kept {
			tag := b[addressesLen+i*TagLen:]
			binary.BigEndian.PutUint16(tag, to.tags[i].TPID)
			binary.BigEndian.PutUint16(tag[2:], inherited|to.tags[i].VID)
		}
		f = f.Grow(grow)
	}
	return f, translated
}

// matches reports whether b begins with such a tag.
func (t Tag) matches(b []byte) bool {
	return hasTag(b) && (t.TPID == 0 || t.TPID == binary.BigEndian.Uint16(b)) &&
		(t.VID == 0 || t.VID == binary.BigEndian.Uint16(b[2:])&0x0fff)
}

// rewrite makes the tag that b begins with such a one, and leaves its priority.
func (t Tag) rewrite(b []byte) {
	if t.TPID != 0 {
		binary.BigEndian.PutUint16(b, t.TPID)
	}
	if t.VID != 0 {
		binary.BigEndian.PutUint16(b[2:], binary.BigEndian.Uint16(b[2:])&0xf000|t.VID)
	}
}

// adjust moves what a description counts from the front of the frame; ok is false if
// it then points nowhere.
func adjust(g *pseudowire.GSO, grow int) (ok bool) {
	if g.ChecksumStart != 0 || g.ChecksumOffset != 0 {
		start := int(g.ChecksumStart) + grow
		if start < HeaderLen || start > math.MaxUint16 {
			return false
		}
		g.ChecksumStart = uint16(start)
	}
	if g.HeaderLen != 0 {
		// A hint: what it is may have been true before a tag was put in.
		g.HeaderLen = uint16(min(max(int(g.HeaderLen)+grow, HeaderLen), math.MaxUint16))
	}
	return true
}
