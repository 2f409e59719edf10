package l2tpv2

// Sequencing is whether the data of a session has sequence numbers, and which, RFC
// 2661 section 5.4. It is one goroutine's, or locked by its owner.
type Sequencing struct {
	lac      bool
	required bool
	on       bool
	ns       uint16 // of the next message that is sent with one
	expected uint16 // in what comes
	begun    bool   // something has come with a number
}

// NewSequencing returns the sequencing of a session. Where it is not required the
// LNS begins without, until Switch.
func NewSequencing(p *Params) Sequencing {
	return Sequencing{lac: p.LAC, required: p.Sequence, on: p.Sequence}
}

// Next returns the number of the next message to send, if it is to have one.
func (s *Sequencing) Next() (ns uint16, sequenced bool) {
	if !s.on {
		return 0, false
	}
	ns = s.ns
	s.ns++
	return ns, true
}

// Switch has an LNS send with numbers, or without, and the LAC follow it. It does
// nothing where numbers are required, and at a LAC. "If the LNS enables sequencing
// after disabling it earlier in the session, the sequence number state picks up
// where it left off before."
func (s *Sequencing) Switch(on bool) {
	if !s.lac && !s.required {
		s.on = on
	}
}

// On reports whether what is sent has numbers.
func (s *Sequencing) On() bool { return s.on }

// An Arrival is what becomes of a data message.
type Arrival uint8

// The arrivals. What is Late came after a message that was sent after it.
const (
	InOrder     Arrival = iota
	Late                // or twice
	Unsequenced         // without a number, where numbers are required
)

// Receive judges a data message by its number, and returns how many messages before
// it are missing. "If the LAC receives a data message without sequence numbers
// present, it MUST stop sending sequence numbers in future data messages. If the LAC
// receives a data message with sequence numbers present, it MUST begin sending
// sequence numbers in future outgoing data messages."
func (s *Sequencing) Receive(ns uint16, sequenced bool) (a Arrival, missing int) {
	if s.lac && !s.required {
		s.on = sequenced
	}
	switch {
	case !sequenced && s.required:
		return Unsequenced, 0
	case !sequenced:
		return InOrder, 0
	}
	ahead := ns - s.expected
	if ahead >= 1<<15 {
		if s.begun {
			return Late, 0
		}
		ahead = 0 // where the peer begins is its own affair
	}
	s.begun = true
	s.expected = ns + 1
	return InOrder, int(ahead)
}
