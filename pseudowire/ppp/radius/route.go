package radius

import (
	"net/netip"
	"strconv"
	"strings"
)

// A Route is a Framed-Route, RFC 2865 section 5.22, or a Framed-IPv6-Route, RFC
// 3162 section 2.5.
type Route struct {
	Prefix  netip.Prefix
	Gateway netip.Addr // not valid: the user's own address
	Metric  uint32     // the first of them; 0: none
}

// ParseRoute reads a route: a prefix, a gateway, and metrics, of which all but the
// prefix may be missing. A prefix of IPv4 without a length has that of its class.
// Bits behind the length are cleared.
func ParseRoute(text string) (r Route, ok bool) {
	words := strings.Fields(strings.TrimRight(text, "\x00"))
	if len(words) == 0 || len(text) > mostOctets {
		return Route{}, false
	}
	prefix, err := netip.ParsePrefix(words[0])
	if err != nil {
		a, err := netip.ParseAddr(words[0])
		if err != nil || a.Zone() != "" {
			return Route{}, false
		}
		bits := 128
		if a.Is4() {
			if bits = class(a); bits == 0 {
				return Route{}, false
			}
		}
		prefix = netip.PrefixFrom(a, bits)
	}
	if prefix.Addr().Is4In6() {
		return Route{}, false
	}
	r.Prefix = prefix.Masked()
	if len(words) > 1 {
		if r.Gateway, err = netip.ParseAddr(words[1]); err != nil || r.Gateway.Zone() != "" || r.Gateway.Is4() != r.Prefix.Addr().Is4() {
			return Route{}, false
		}
		if r.Gateway.IsUnspecified() {
			r.Gateway = netip.Addr{}
		}
	}
	for i, word := range words[min(len(words), 2):] {
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return Route{}, false
		}
		if i == 0 {
			r.Metric = uint32(n)
		}
	}
	return r, true
}

// class returns the bits that a prefix has by its class: "it defaults to 8 bits for
// class A prefixes, 16 bits for class B prefixes, and 24 bits for class C
// prefixes". 0: it has none.
func class(a netip.Addr) int {
	switch b := a.As4()[0]; {
	case b < 128:
		return 8
	case b < 192:
		return 16
	case b < 224:
		return 24
	}
	return 0
}
