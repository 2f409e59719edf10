package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// What stands in the pattern of a TAP's name for what is known only when a peer
// is there.
const (
	peerPart  = "{peer}" // its host name
	endPart   = "{end}"  // the Remote End ID
	leastFree = "{n}"    // the least number that makes the name a free one
)

// mostTAP is the octets of the longest name of an interface.
const mostTAP = 15

const wantTAP = `want an interface name of 1 to 15 octets without / : % and white space, in a template with {peer}, {end} or {n}: "l2-{peer}"`

// tap takes the name of a TAP or a pattern of names.
func tap(s *Session) setter {
	return func(v any) string {
		name := v.(string)
		pattern := strings.ContainsAny(name, "{}")
		if pattern && !isPattern(name) || !pattern && interfaceName(name) != "" {
			return wantTAP
		}
		s.TAP, s.TAPPattern = name, pattern
		return ""
	}
}

// isPattern reports whether a pattern's parts are all known and leave each other
// an octet at least.
func isPattern(pattern string) bool {
	name := strings.NewReplacer(peerPart, "p", endPart, "e", leastFree, "0").Replace(pattern)
	return !strings.ContainsAny(name, "{}") && interfaceName(name) == ""
}

// ExpandTAP makes the name of a TAP from a session's pattern, for a peer's host
// name and a Remote End ID as text. Of these, letters, digits and - _ . stay, and
// as much as has room. taken says which names are not free, be it by an interface
// that is none of ours: a peer may call itself "eth0".
func ExpandTAP(pattern, peer, end string, taken func(name string) bool) (string, error) {
	peer, end = tame(peer), tame(end)
	const tries = 100000
	for n := range tries {
		number := strconv.Itoa(n)
		name := expand(pattern, peer, end, number)
		if len(name) > mostTAP || interfaceName(name) != "" {
			return "", fmt.Errorf("tap %q: %q is no name of an interface", pattern, name)
		}
		if !taken(name) {
			return name, nil
		}
		if !strings.Contains(pattern, leastFree) {
			return "", fmt.Errorf("tap %q: %s is taken, want %s in the pattern", pattern, name, leastFree)
		}
	}
	return "", fmt.Errorf("tap %q: all of %d names are taken", pattern, tries)
}

// expand puts the parts into a pattern, the longer one of peer and end cut until
// the whole fits.
func expand(pattern, peer, end, number string) string {
	room := mostTAP - len(strings.NewReplacer(peerPart, "", endPart, "", leastFree, number).Replace(pattern))
	peers, ends := strings.Count(pattern, peerPart), strings.Count(pattern, endPart)
	for peers*len(peer)+ends*len(end) > room && peers*len(peer)+ends*len(end) > 0 {
		if ends == 0 || peers > 0 && len(peer) > len(end) {
			peer = peer[:len(peer)-1]
		} else {
			end = end[:len(end)-1]
		}
	}
	return strings.NewReplacer(peerPart, peer, endPart, end, leastFree, number).Replace(pattern)
}

// tame leaves of a name what can stand in any interface's, without the quotes that
// wire.EndID puts around text.
func tame(name string) string {
	if inner, ok := strings.CutPrefix(name, `"`); ok {
		name = strings.TrimSuffix(inner, `"`)
	}
	name = strings.Map(func(r rune) rune {
		if r <= unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), mostTAP)]
}
