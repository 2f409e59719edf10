package user

import (
	"time"

	"spanwire/pseudowire"
)

const (
	// heldFrames bounds what waits for an earlier frame.
	heldFrames = 64

	// resyncAfter is how many old frames in a row, each the successor of the
	// one before, show that the peer has begun to count anew. Linux takes five.
	resyncAfter = 5

	// resyncSilence is a silence after which one will do: longer than networks
	// delay a frame, shorter than a peer takes to start again.
	resyncSilence = 100 * time.Millisecond
)

// A verdict is what the sequence number of a frame means for it.
type verdict uint8

const (
	inOrder verdict = iota // or early where nothing waits: deliver it
	early                  // hold it
	old                    // drop it
)

// A sequence is the receiver's half of RFC 3931 appendix C. Of the numbers of L2TPv2 RFC
// 2661 says only what they are for: "to detect lost packets and/or restore the original
// sequence of packets".
type sequence struct {
	mask     uint32 // has the bits of a number
	expected uint32
	begun    bool
	oldNext  uint32 // successor of the last old number
	oldRun   int    // how many old numbers came in a row, each the next
}

// judge says what becomes of a frame with the number n, how many numbers before
// it never came, and whether it was out of its place. A static session has no
// beginning that both sides see, so the first number is taken as it is.
func (s *sequence) judge(n uint32, hold bool) (v verdict, lost uint32, oos bool) {
	ahead := s.ahead(n)
	switch {
	case ahead == 0 || !s.begun:
		s.accept(n)
		return inOrder, 0, false
	case hold && ahead < heldFrames:
		return early, 0, true
	case s.isNew(ahead):
		s.accept(n)
		return inOrder, ahead, true
	}
	if s.oldRun == 0 || n != s.oldNext {
		s.oldRun = 0
	}
	s.oldRun++
	s.oldNext = (n + 1) & s.mask
	if s.oldRun >= resyncAfter {
		s.accept(n)
		return inOrder, 0, true
	}
	return old, 0, true
}

// ahead returns how far n is ahead of the expected number.
func (s *sequence) ahead(n uint32) uint32 { return (n - s.expected) & s.mask }

// isNew reports whether a number that is so far ahead is a new one. RFC 3931 section
// 4.6: "considered less than or equal to the last received number if its value lies in
// the range of the last received number and the preceding (2^23-1) values, inclusive."
// RFC 2661 section 5.8 has the same words of control messages and 32767 values.
func (s *sequence) isNew(ahead uint32) bool { return ahead <= s.mask>>1 }

// beyond reports whether n is new, but too far ahead to be held.
func (s *sequence) beyond(n uint32) bool {
	ahead := s.ahead(n)
	return ahead >= heldFrames && s.isNew(ahead)
}

func (s *sequence) accept(n uint32) {
	s.begun = true
	s.expected = (n + 1) & s.mask
	s.oldRun = 0
}

// A shelf holds copies of frames that came early, by number modulo its size.
type shelf struct {
	slots [heldFrames]held
	count int
	until time.Time // when the frame that has waited longest has waited enough
}

type held struct {
	buf  []byte // Headroom and the frame; kept for the next one
	n    uint32
	full bool
	dscp pseudowire.DSCP // received
}

var headroom [pseudowire.Headroom]byte

// put copies the frame with the number n onto the shelf, and reports false if it
// is there already.
func (h *shelf) put(n uint32, f pseudowire.Frame) bool {
	s := &h.slots[n%heldFrames]
	if s.full {
		return false
	}
	s.buf = append(append(s.buf[:0], headroom[:]...), f.Bytes()...)
	s.n, s.full, s.dscp = n, true, f.ReceivedDSCP
	h.count++
	return true
}

// take takes the frame with the number n from the shelf, if it is there. The
// frame is good until the next put.
func (h *shelf) take(n uint32) (pseudowire.Frame, bool) {
	s := &h.slots[n%heldFrames]
	if !s.full || s.n != n {
		return pseudowire.Frame{}, false
	}
	s.full = false
	h.count--
	f := pseudowire.NewFrame(s.buf, pseudowire.Headroom)
	f.ReceivedDSCP = s.dscp
	return f, true
}

// gap returns how many numbers from the expected one of q on are missing before the
// first held frame. It forgets those frames that are not ahead any more.
func (h *shelf) gap(q *sequence) int {
	least := heldFrames
	for i := range h.slots {
		s := &h.slots[i]
		if !s.full {
			continue
		}
		ahead := q.ahead(s.n)
		if ahead >= heldFrames {
			s.full = false
			h.count--
			continue
		}
		least = min(least, int(ahead))
	}
	return least
}
