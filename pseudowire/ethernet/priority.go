package ethernet

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Priorities is how many priorities a tag may have: 0 to 7, IEEE 802.1Q.
const Priorities = 8

// Priority returns the priority of a frame's outermost tag; ok is false if it has
// none.
func Priority(frame []byte) (priority uint8, ok bool) {
	if len(frame) < addressesLen || !hasTag(frame[addressesLen:]) {
		return 0, false
	}
	return frame[addressesLen+2] >> 5, true
}

// SetPriority gives the frame's outermost tag a priority, in place, and reports
// whether it has one.
func SetPriority(frame []byte, priority uint8) bool {
	if len(frame) < addressesLen || !hasTag(frame[addressesLen:]) {
		return false
	}
	at := frame[addressesLen+2:]
	binary.BigEndian.PutUint16(at, binary.BigEndian.Uint16(at)&0x1fff|uint16(priority%Priorities)<<13)
	return true
}

// A DSCPMap says which DSCP the outer IP header of a frame of a priority gets, and
// which priority the tag of a frame from the pseudowire gets by the DSCP that came
// around it. RFC 4719 section 4 leaves the mapping to us.
type DSCPMap struct {
	DSCP     [Priorities]uint8 // by priority, 0 to 63
	Priority [64]uint8         // by DSCP
}

// check reports what in a DSCPMap is none.
func (m *DSCPMap) check() error {
	for p, dscp := range m.DSCP {
		if dscp > 63 {
			return fmt.Errorf("priority %d: DSCP %d, want 0 to 63", p, dscp)
		}
	}
	for dscp, p := range m.Priority {
		if p >= Priorities {
			return fmt.Errorf("DSCP %d: priority %d, want 0 to %d", dscp, p, Priorities-1)
		}
	}
	return nil
}

// ClassSelectors returns the mapping that knows the order of priorities alone: RFC
// 2474 section 4.2.2.2's class selectors, and back the class that a DSCP is in.
func ClassSelectors() (m DSCPMap) {
	for p := range m.DSCP {
		m.DSCP[p] = uint8(p) << 3
	}
	for dscp := range m.Priority {
		m.Priority[dscp] = uint8(dscp >> 3)
	}
	return m
}

// ParseDSCPMap reads what is to be otherwise than by class selectors: "5=46" gives
// frames of priority 5 the DSCP 46, and back. Items are separated by commas.
func ParseDSCPMap(s string) (DSCPMap, error) {
	m := ClassSelectors()
	if s == "" {
		return m, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		left, right, _ := strings.Cut(item, "=")
		p, err := strconv.ParseUint(left, 10, 3)
		dscp, err2 := strconv.ParseUint(right, 10, 6)
		if err != nil || err2 != nil {
			return DSCPMap{}, fmt.Errorf("priority: found %q, want a priority of 0 to 7 and a DSCP of 0 to 63, such as 5=46", item)
		}
		m.DSCP[p], m.Priority[dscp] = uint8(dscp), uint8(p)
	}
	return m, nil
}
