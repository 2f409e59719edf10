package ethernet

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// MaxVID is the last VLAN identifier: 4095 is reserved, and 0 says of a tag that it
// has a priority alone. IEEE 802.1Q.
const MaxVID = 4094

// MaxTags is how many tags a Circuit knows of on each side.
const MaxTags = 2

// A Tag is a VLAN tag as a Circuit expects or makes it. The zero value is any tag,
// which stays as it is.
type Tag struct {
	TPID uint16 // CTag or STag; 0: either
	VID  uint16 // 1 to MaxVID; 0: whichever
}

// ParseVLAN reads which VLAN of a segment is meant: "42", or "42.7" for the
// customer's VLAN 7 in the provider's 42. It returns the tags of its frames,
// outermost first, with any TPID.
func ParseVLAN(s string) ([]Tag, error) {
	outer, inner, two := strings.Cut(s, ".")
	list := []string{outer}
	if two {
		list = append(list, inner)
	}
	tags := make([]Tag, len(list))
	for i, word := range list {
		vid, ok := parseVID(word)
		if !ok || vid == 0 {
			return nil, fmt.Errorf("vlan: found %q, want 1 to %d, or two such as 42.7", s, MaxVID)
		}
		tags[i].VID = vid
	}
	return tags, nil
}

// parseVID reads 0 to MaxVID, without signs, spaces and leading zeros.
func parseVID(s string) (vid uint16, ok bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n <= MaxVID && strconv.FormatUint(n, 10) == s
}

// VLANs is a set of VLAN identifiers. In it 0 stands for the frames of no VLAN: those
// without a tag, and those whose tag has a priority alone.
type VLANs struct {
	bits [4096 / 64]uint64
}

// ParseVLANs reads a list such as "10,20-29".
func ParseVLANs(s string) (*VLANs, error) {
	v := new(VLANs)
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		from, to, isRange := strings.Cut(item, "-")
		first, ok := parseVID(from)
		last := first
		if ok && isRange {
			last, ok = parseVID(to)
		}
		if !ok || last < first {
			return nil, fmt.Errorf("vlans: found %q, want 0 to %d or a range such as 20-29", item, MaxVID)
		}
		for vid := int(first); vid <= int(last); vid++ {
			v.bits[vid/64] |= 1 << (vid % 64)
		}
	}
	return v, nil
}

// Has reports whether vid is in the set.
func (v *VLANs) Has(vid uint16) bool {
	return vid <= MaxVID && v.bits[vid/64]>>(vid%64)&1 != 0
}

// Len returns how many there are in the set.
func (v *VLANs) Len() (n int) {
	for _, b := range v.bits {
		n += bits.OnesCount64(b)
	}
	return n
}

// String returns the set as ParseVLANs reads it.
func (v *VLANs) String() string {
	var list []string
	for vid := uint16(0); vid <= MaxVID; vid++ {
		first := vid
		for v.Has(vid) {
			vid++
		}
		switch {
		case vid == first:
		case vid == first+1:
			list = append(list, strconv.Itoa(int(first)))
		default:
			list = append(list, fmt.Sprintf("%d-%d", first, vid-1))
		}
	}
	return strings.Join(list, ",")
}

// hasTag reports whether b, what stands behind the addresses or a tag, begins with
// a tag that is there in whole, a type behind it.
func hasTag(b []byte) bool {
	if len(b) < TagLen+2 {
		return false
	}
	t := binary.BigEndian.Uint16(b)
	return t == CTag || t == STag
}

// VID returns the VLAN identifier of a frame's outermost tag, 0 if it has none.
func VID(frame []byte) uint16 {
	if len(frame) < addressesLen || !hasTag(frame[addressesLen:]) {
		return 0
	}
	return binary.BigEndian.Uint16(frame[addressesLen+2:]) & 0x0fff
}
