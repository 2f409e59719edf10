package bridge

import (
	"sync/atomic"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/gso"
)

// A BPDUPolicy says what becomes of the frames of spanning trees that come in through
// a port.
type BPDUPolicy uint8

// The policies.
const (
	PassBPDU    BPDUPolicy = iota // as any multicast
	DropBPDU                      // they go no further
	DisablePort                   // neither does anything else, until somebody enables the port
)

// A LimitPolicy says what becomes of the frames of a station for which a port has no
// room.
type LimitPolicy uint8

// The policies.
const (
	DropUnlearned LimitPolicy = iota // they go no further
	PassUnlearned                    // they do, and what is sent to the station is flooded
)

// A PortConfig says what holds for one port of a Hub. The zero value is a port to
// which and from which all goes.
type PortConfig struct {
	// Group is a split horizon: ports of one group other than 0 send each other
	// nothing. So the pseudowires of a full mesh make no loop.
	Group int

	// Spoke ports reach only those that are none: hub and spoke.
	Spoke bool

	MACLimit  int // stations that may be learned there; 0: as many as the table has room for
	OverLimit LimitPolicy

	Flood Flood
	BPDU  BPDUPolicy
}

// A Verdict is the reason for which a Hub dropped a frame.
type Verdict uint8

// The reasons.
const (
	Runt         Verdict = iota // shorter than its header
	BadSource                   // sent by a group, or by nobody
	Malformed                   // a partial checksum that cannot be completed
	SameSide                    // to a station behind the port that it came from
	SplitHorizon                // to a station behind a port that this one may not reach
	Alone                       // to all, and there is no other
	MACLimited                  // from a station for which there is no room
	BPDU                        // of a spanning tree
	PortDisabled                // the port that it came from, or that it should go to, is disabled
	BroadcastStorm
	MulticastStorm
	UnknownStorm
	Refused // the port that it should go to did not take it

	Verdicts // how many there are
)

var verdictNames = [Verdicts]string{
	"runt", "bad_source", "malformed", "same_side", "split_horizon", "alone", "mac_limit", "bpdu", "disabled",
	"broadcast_storm", "multicast_storm", "unknown_storm", "refused",
}

// String returns the name of the reason's counter.
func (v Verdict) String() string {
	if v < Verdicts {
		return verdictNames[v]
	}
	return "unknown"
}

// classes of what is flooded
const (
	broadcast = iota
	multicast
	unknown
	classes
)

// A Member is a port of a Hub.
type Member struct {
	hub      *Hub
	port     Port
	cfg      PortConfig
	index    uint16
	disabled atomic.Bool
	flood    [classes]gauge
	macs     atomic.Int32 // learned
	stats    counters

	// Under the Hub's lock.
	left bool
	told bool // that it has as many stations as it may
}

type counters struct {
	inFrames, inOctets, outFrames, outOctets atomic.Uint64
	flooded, moves, unlearned                atomic.Uint64
	drops                                    [Verdicts]atomic.Uint64
}

// MemberStats are a port's counters since it joined. Super-frames count as one.
type MemberStats struct {
	InFrames, InOctets uint64 // from the port
	OutFrames          uint64 // taken by the port
	OutOctets          uint64 // handed to it
	Flooded            uint64 // of those from the port: to all others
	MACs               int    // learned stations behind the port now
	Moves              uint64 // of stations, to this port
	Unlearned          uint64 // frames whose source was not learned, because the port or the table is full
	Disabled           bool
	Drops              [Verdicts]uint64 // of those from the port
}

// Port returns what has joined.
func (m *Member) Port() Port { return m.port }

// Config returns what holds for the port.
func (m *Member) Config() PortConfig { return m.cfg }

// Stats returns the counters.
func (m *Member) Stats() MemberStats {
	c := &m.stats
	s := MemberStats{
		InFrames: c.inFrames.Load(), InOctets: c.inOctets.Load(),
		OutFrames: c.outFrames.Load(), OutOctets: c.outOctets.Load(),
		Flooded: c.flooded.Load(), MACs: int(m.macs.Load()), Moves: c.moves.Load(), Unlearned: c.unlearned.Load(),
		Disabled: m.disabled.Load(),
	}
	for i := range c.drops {
		s.Drops[i] = c.drops[i].Load()
	}
	return s
}

// Enable lets a port that a BPDU has disabled take part again.
func (m *Member) Enable() { m.disabled.Store(false) }

// lose takes a station off those that were learned, under the Hub's lock.
func (m *Member) lose() {
	m.macs.Add(-1)
	m.told = false
}

// plain reports whether nothing has to be known of frames from the port.
func (m *Member) plain() bool {
	for i := range m.flood {
		if m.flood[i].limited() {
			return false
		}
	}
	return m.cfg.MACLimit == 0 && m.cfg.BPDU == PassBPDU
}

// mayReach reports whether what comes in through m may go out through o.
func (m *Member) mayReach(o *Member) bool {
	return m != o && (m.cfg.Group == 0 || m.cfg.Group != o.cfg.Group) && !(m.cfg.Spoke && o.cfg.Spoke)
}

func (m *Member) drop(why Verdict, n int) { m.stats.drops[why].Add(uint64(n)) }

// receive takes what comes in through the port: neighbours that go the same way go
// together. It reports how many were not dropped; what needs not be forwarded, as it
// is on its side already, is not.
func (m *Member) receive(frames []pseudowire.Frame) (taken int) {
	all := m.hub.members.Load()
	if int(m.index) >= len(all.list) || all.list[m.index] != m {
		return 0 // it has left
	}
	m.stats.inFrames.Add(uint64(len(frames)))
	m.stats.inOctets.Add(octets(frames))
	if all.patch {
		for _, o := range all.list {
			if o != nil && o != m {
				return m.send(o, frames)
			}
		}
	}
	var c conversation
	first := 0
	var former way
	for i := range frames {
		w := m.judge(all, &frames[i], &c)
		if w == former {
			continue
		}
		taken += m.forward(all, former, frames[first:i])
		first, former = i, w
	}
	return taken + m.forward(all, former, frames[first:])
}

// A way is where a frame goes.
type way struct {
	to    *Member // nil: nowhere, if not to all
	all   bool
	taken bool // nowhere, and that is right
}

// A conversation is that of which the last frame was: the next is of the same, as a
// rule, and goes the same way.
type conversation struct {
	addresses [12]byte
	vid       uint16
	to        *Member // nil: not known
}

// judge returns where a frame goes, and counts it where it goes nowhere.
func (m *Member) judge(all *members, f *pseudowire.Frame, c *conversation) way {
	b := f.Bytes()
	if len(b) < ethernet.HeaderLen {
		m.drop(Runt, 1)
		return way{}
	}
	if m.disabled.Load() {
		m.drop(PortDisabled, 1)
		return way{}
	}
	var vid uint16
	if m.hub.cfg.VLANAware {
		vid = ethernet.VID(b)
	}
	if c.to != nil && c.vid == vid && c.addresses == [12]byte(b) {
		return way{to: c.to}
	}
	c.to = nil
	dst, src := MAC(b[:6]), MAC(b[6:12])
	if src.group() || src == (MAC{}) {
		m.drop(BadSource, 1)
		return way{}
	}
	if m.cfg.BPDU != PassBPDU && isBPDU(dst) {
		m.bpdu()
		return way{}
	}
	if !m.hub.learn(m, newKey(vid, src)) && m.cfg.OverLimit == DropUnlearned {
		m.drop(MACLimited, 1)
		return way{}
	}
	if dst.group() {
		if dst == (MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
			return m.toAll(f, broadcast, BroadcastStorm)
		}
		return m.toAll(f, multicast, MulticastStorm)
	}
	slot, e := m.hub.table.find(newKey(vid, dst))
	if slot == nil {
		return m.toAll(f, unknown, UnknownStorm)
	}
	to, ok := all.at(e)
	switch {
	case !ok: // it joined or left just now
		return m.toAll(f, unknown, UnknownStorm)
	case to == m:
		m.drop(SameSide, 1)
		return way{taken: true}
	case !m.mayReach(to):
		m.drop(SplitHorizon, 1)
		return way{taken: true}
	case to.disabled.Load():
		m.drop(PortDisabled, 1)
		return way{}
	}
	c.addresses, c.vid, c.to = [12]byte(b), vid, to
	return way{to: to}
}

// toAll judges a frame that has to be flooded. What goes through several ports must
// have its checksums first, see Port.
func (m *Member) toAll(f *pseudowire.Frame, class int, storm Verdict) way {
	if !m.flood[class].pass(f) {
		m.drop(storm, 1)
		return way{}
	}
	if f.GSO.Kind == pseudowire.GSONone && f.GSO.ChecksumStart != 0 {
		whole, err := gso.Complete(*f)
		if err != nil {
			m.drop(Malformed, 1)
			return way{}
		}
		*f = whole
	}
	return way{all: true}
}

// The groups that spanning trees are spoken to: a bridge's, a provider bridge's, and
// that of a tree for each VLAN.
func isBPDU(dst MAC) bool {
	switch dst {
	case MAC{0x01, 0x80, 0xc2, 0, 0, 0}, MAC{0x01, 0x80, 0xc2, 0, 0, 0x08}, MAC{0x01, 0, 0x0c, 0xcc, 0xcc, 0xcd}:
		return true
	}
	return false
}

// bpdu counts a BPDU that must not come, and disables the port if it is to be.
func (m *Member) bpdu() {
	m.drop(BPDU, 1)
	if m.cfg.BPDU != DisablePort || m.disabled.Swap(true) {
		return
	}
	h := m.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.left {
		h.forget(func(e entry) bool { return e.port() == m.index && !e.static() })
		h.tell(Event{Kind: Disabled, Port: m})
	}
}

// forward sends frames of one way on it.
func (m *Member) forward(all *members, w way, frames []pseudowire.Frame) (taken int) {
	switch {
	case len(frames) == 0:
		return 0
	case w.to != nil:
		return m.send(w.to, frames)
	case w.taken:
		return len(frames)
	case !w.all:
		return 0
	}
	reached := false
	for _, o := range all.list {
		if o != nil && m.mayReach(o) && !o.disabled.Load() {
			m.send(o, frames)
			reached = true
		}
	}
	if !reached {
		m.drop(Alone, len(frames))
		return len(frames)
	}
	m.stats.flooded.Add(uint64(len(frames)))
	return len(frames)
}

// send sends frames through another port.
func (m *Member) send(o *Member, frames []pseudowire.Frame) int {
	n := o.port.Send(frames)
	o.stats.outFrames.Add(uint64(n))
	o.stats.outOctets.Add(octets(frames))
	if n < len(frames) {
		m.drop(Refused, len(frames)-n)
	}
	return n
}

func octets(frames []pseudowire.Frame) (n uint64) {
	for i := range frames {
		n += uint64(frames[i].Len())
	}
	return n
}
