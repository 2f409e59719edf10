package config

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"spanwire/cookie"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/wire"
)

// The types of values, as TOML calls them.
const (
	textType     = "string"
	integerType  = "integer"
	booleanType  = "boolean"
	arrayType    = "array"
	textOrNumber = "string or integer"
	textOrArray  = "string or array"
)

// typeOf returns what TOML calls the type of a value.
func typeOf(v any) string {
	switch v.(type) {
	case string:
		return textType
	case int64:
		return integerType
	case bool:
		return booleanType
	case float64:
		return "float"
	case time.Time:
		return "date or time"
	case map[string]any:
		return "table"
	}
	return arrayType
}

// found shows a value. Arrays and tables are but named.
func found(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case int64, bool, float64:
		return fmt.Sprint(v)
	}
	return typeOf(v)
}

// A setter takes a value of the type that its key wants. If it cannot, it tells
// what is wanted and leaves alone what it sets.
type setter func(v any) (complaint string)

func text(to *string, valid func(string) (complaint string)) setter {
	return func(v any) string {
		if complaint := valid(v.(string)); complaint != "" {
			return complaint
		}
		*to = v.(string)
		return ""
	}
}

func flag(to *bool) setter {
	return func(v any) string {
		*to = v.(bool)
		return ""
	}
}

// not sets the opposite of what the file says.
func not(to *bool) setter {
	return func(v any) string {
		*to = !v.(bool)
		return ""
	}
}

func number[T ~int | ~uint8 | ~uint16 | ~uint32 | ~uint64](to *T, least, most int64) setter {
	return func(v any) string {
		n := v.(int64)
		if n < least || n > most {
			return fmt.Sprintf("want integer from %d to %d", least, most)
		}
		*to = T(n)
		return ""
	}
}

// choice takes the name of one of some values.
func choice[T any](to *T, name func(T) string, values []T) setter {
	return func(v any) string {
		var names []string
		for _, value := range values {
			if name(value) == v {
				*to = value
				return ""
			}
			names = append(names, strconv.Quote(name(value)))
		}
		return "want " + strings.Join(names, " or ")
	}
}

// itself is the name of a value that is a name.
func itself(s string) string { return s }

// octets takes a number or a text such as "4MiB".
func octets(to *int) setter {
	units := []string{"KiB", "MiB", "GiB"}
	return func(v any) string {
		n, ok := v.(int64)
		if s, is := v.(string); is {
			shift := 0
			for i, unit := range units {
				if rest, has := strings.CutSuffix(s, unit); has {
					s, shift = strings.TrimSpace(rest), 10*(i+1)
				}
			}
			digits, err := strconv.ParseUint(s, 10, 31)
			n, ok = int64(digits)<<shift, err == nil
		}
		if !ok || n < 4096 || n > 1<<30 {
			return `want octets from 4096 to 1 GiB, as integer or as string such as "4MiB"`
		}
		*to = int(n)
		return ""
	}
}

const wantCookie = "want 0, 8 or 16 hexadecimal digits in quotes"

func cookieValue(to *cookie.Cookie) setter {
	return func(v any) string {
		c, err := cookie.Parse(v.(string))
		if err != nil {
			return wantCookie
		}
		*to = c
		return ""
	}
}

func duration(to *time.Duration, least, most time.Duration) setter {
	return func(v any) string {
		d, err := time.ParseDuration(v.(string))
		if err != nil || d < least || d > most {
			return fmt.Sprintf(`want a duration from "%v" to "%v"`, least, most)
		}
		*to = d
		return ""
	}
}

// lifetime takes how long cookies are used: for ever, or not so short that they
// are exchanged all the time.
func lifetime(to *time.Duration) setter {
	const least, most = 10 * time.Second, 365 * 24 * time.Hour
	return func(v any) string {
		d, err := time.ParseDuration(v.(string))
		if err != nil || d != 0 && d < least || d > most {
			return fmt.Sprintf(`want "0s", for ever, or a duration from "%v" to "%v"`, least, most)
		}
		*to = d
		return ""
	}
}

func oneOf(to *int, values ...int) setter {
	return func(v any) string {
		var names []string
		for _, value := range values {
			if v == int64(value) {
				*to = value
				return ""
			}
			names = append(names, strconv.Itoa(value))
		}
		return "want " + strings.Join(names, " or ")
	}
}

// speed takes bits a second, as a number or a text such as "100Mbit".
func speed(to *uint64) setter {
	units := []string{"kbit", "Mbit", "Gbit", "Tbit"}
	return func(v any) string {
		n, ok := v.(int64)
		if s, is := v.(string); is {
			unit := int64(1)
			for i, name := range units {
				if rest, has := strings.CutSuffix(s, name); has {
					s = strings.TrimSpace(rest)
					for range i + 1 {
						unit *= 1000
					}
				}
			}
			digits, err := strconv.ParseUint(s, 10, 63)
			n, ok = int64(digits), err == nil && int64(digits) <= math.MaxInt64/unit
			n *= unit
		}
		if !ok || n < 1 {
			return `want bits a second, 1 or more, as integer or as string such as "100Mbit"`
		}
		*to = uint64(n)
		return ""
	}
}

func mtu(to *int) setter {
	return func(v any) string {
		if n, is := v.(int64); is && n >= leastMTU && n <= mostMTU {
			*to = int(n)
		} else if v != "auto" {
			return fmt.Sprintf(`want "auto" or integer from %d to %d`, leastMTU, mostMTU)
		}
		return ""
	}
}

func mac(to *net.HardwareAddr) setter {
	return func(v any) string {
		a, err := net.ParseMAC(v.(string))
		if err != nil || len(a) != 6 || a[0]&1 != 0 || slices.Max(a) == 0 {
			return `want the address of one station: "02:00:00:00:00:01"`
		}
		*to = a
		return ""
	}
}

func prefixes(to *[]netip.Prefix) setter {
	return func(v any) string {
		const want = `want addresses with their prefix lengths: ["198.51.100.1/24", "2001:db8::1/64"]`
		list, _ := v.([]any) // tables are no addresses either
		if list == nil {
			return want
		}
		var all []netip.Prefix
		for i, v := range list {
			s, _ := v.(string)
			prefix, err := netip.ParsePrefix(s)
			if err != nil || prefix.Addr().Is4In6() || prefix.Addr().IsMulticast() || prefix.Addr().IsUnspecified() {
				return fmt.Sprintf("at place %d %s, %s", i+1, found(v), want)
			}
			all = append(all, prefix)
		}
		*to = all
		return ""
	}
}

func ipv4(to *netip.Addr) setter {
	return func(v any) string {
		a, err := netip.ParseAddr(v.(string))
		if err != nil || !a.Is4() || a.IsUnspecified() {
			return `want an IPv4 address: "192.0.2.1"`
		}
		*to = a
		return ""
	}
}

// routerID takes a Router ID, which need not be an address. RFC 3931 section 5.4.3.
func routerID(to *uint32) setter {
	return func(v any) string {
		n, ok := v.(int64)
		if s, is := v.(string); is {
			var a netip.Addr
			if ipv4(&a)(s) == "" {
				n, ok = int64(toUint32(a)), true
			}
		}
		if !ok || n < 1 || n > 1<<32-1 {
			return `want an IPv4 address, "192.0.2.1", or integer from 1 to 4294967295`
		}
		*to = uint32(n)
		return ""
	}
}

// toUint32 returns an IPv4 address as a number.
func toUint32(a netip.Addr) uint32 {
	octets := a.As4()
	return binary.BigEndian.Uint32(octets[:])
}

// endID takes a Remote End ID: text as its octets, a number as four octets. Peers
// may send such a number as text. RFC 3931 section 5.4.4.
func endID(c *control.CircuitConfig) setter {
	return func(v any) string {
		const want = "want text of 1 to 255 octets, or integer from 0 to 4294967295"
		if n, is := v.(int64); is {
			if n < 0 || n > 1<<32-1 {
				return want
			}
			c.RemoteEndID = binary.BigEndian.AppendUint32(nil, uint32(n))
			c.OtherEndID = strconv.AppendInt(nil, n, 10)
			return ""
		}
		s := v.(string)
		if s == "" || len(s) > mostName {
			return want
		}
		c.RemoteEndID = []byte(s)
		return ""
	}
}

func localAddress(t *Tunnel) setter {
	return func(v any) string {
		host, port, ok := splitPort(v.(string), t.Encap())
		var a netip.Addr
		if ok && (host != "" || t.Encap() == wire.IP) {
			var err error
			a, err = netip.ParseAddr(host)
			ok = err == nil && !a.IsMulticast()
		}
		switch {
		case ok:
			t.Socket.Local = netip.AddrPortFrom(a.Unmap(), port)
			return ""
		case t.Encap() == wire.IP:
			return `want an address, and no port for encap "ip": "192.0.2.1"`
		}
		return `want an address, with a port or without: "192.0.2.1:1701", "[2001:db8::1]:1701", ":1701"`
	}
}

func peerAddress(t *Tunnel) setter {
	return func(v any) string {
		s := v.(string)
		host, port, ok := splitPort(s, t.Encap())
		a, err := netip.ParseAddr(host)
		switch {
		case !ok, t.Encap() == wire.UDP && port == 0:
		case err == nil && !a.IsMulticast() && !a.Unmap().IsUnspecified():
			t.Peer = l2tpv3.Host{Addr: a.Unmap(), Port: port}
			return ""
		case err != nil && isHostName(host) && s != anyPeer:
			t.Peer = l2tpv3.Host{Name: host, Port: port}
			return ""
		}
		return "want " + wantPeer(t.Encap())
	}
}

// anyPeer is the peer that may be anywhere.
const anyPeer = "any"

const wantPeers = `an address or a host name without a port, as a peer's may be any; "any"; or networks, which make a template: "198.51.100.0/24", ["192.0.2.2", "2001:db8::/32"]`

// peers takes from where peers may come: one, from anywhere, or from networks.
func peers(t *Tunnel, d *draft) setter {
	return func(v any) string {
		switch v := v.(type) {
		case string:
			a, err := netip.ParseAddr(v)
			switch from, ok := network(v); {
			case v == anyPeer:
				d.any = true
			case err == nil && ok:
				t.Peer = l2tpv3.Host{Addr: a.Unmap(), Port: defaultPort(t.Encap())}
			case ok:
				d.from = []netip.Prefix{from}
			case isHostName(v):
				t.Peer = l2tpv3.Host{Name: v, Port: defaultPort(t.Encap())}
			default:
				return "want " + wantPeers
			}
			return ""
		case []any:
			var all []netip.Prefix
			for i, v := range v {
				s, _ := v.(string)
				from, ok := network(s)
				if !ok {
					return fmt.Sprintf("at place %d %s, want %s", i+1, found(v), wantPeers)
				}
				all = append(all, from)
			}
			if d.from = all; len(all) > 0 {
				return ""
			}
		}
		return "want " + wantPeers
	}
}

// network takes a prefix, or an address as the prefix of it alone.
func network(s string) (from netip.Prefix, ok bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), !a.IsMulticast() && !a.IsUnspecified()
	}
	from, err := netip.ParsePrefix(s)
	return from, err == nil && !from.Addr().Is4In6() && !from.Addr().IsMulticast() && from == from.Masked()
}

func wantPeer(e wire.Encap) string {
	if e == wire.IP {
		return `an address or a host name, and no port for encap "ip": "192.0.2.2", "paris.example.net"`
	}
	return `an address or a host name, with a port or without: "192.0.2.2:1701", "paris.example.net"`
}

// defaultPort returns the port that an address has without one.
func defaultPort(e wire.Encap) uint16 {
	if e == wire.IP {
		return 0
	}
	return wire.Port
}

// splitPort parts an address from its port. With IP there must be none.
func splitPort(s string, e wire.Encap) (host string, port uint16, ok bool) {
	if _, err := netip.ParseAddr(s); err == nil || !strings.Contains(s, ":") {
		return s, defaultPort(e), s != ""
	}
	host, digits, err := net.SplitHostPort(s)
	n, notNumber := strconv.ParseUint(digits, 10, 16)
	return host, uint16(n), err == nil && notNumber == nil && e != wire.IP
}

// isHostName reports whether s can be one: RFC 1123 section 2.1, and underscores.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if c > unicode.MaxASCII || !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	// What ends in a number is a mistyped address.
	_, err := strconv.ParseUint(labels[len(labels)-1], 10, 64)
	return len(s) <= 253 && err != nil
}

// hostname takes what is fit for a file name too. Linux holds names of 64 octets.
func hostname(s string) string {
	if len(s) > 64 || !plain(s) {
		return "want a name of 1 to 64 octets without / and white space"
	}
	return ""
}

// mostName is the octets of the longest name that is told to peers: with less than
// half of an AVP it fits beside others.
const mostName = 255

// ourName takes a Host Name. RFC 3931 section 5.4.3: "encoded in the US-ASCII
// charset", "MUST be at least 1 octet".
func ourName(s string) string {
	if len(s) > mostName || !plain(s) || !ascii(s) {
		return "want a name of 1 to 255 octets of US-ASCII without / and white space"
	}
	return ""
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// peerName takes whatever a peer may call itself that can stand in a log.
func peerName(s string) string {
	if s == "" || len(s) > mostName || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "want a name of 1 to 255 octets"
	}
	return ""
}

// language takes a language range, RFC 3066 sections 2.1 and 2.5.
func language(s string) string {
	if s == "*" {
		return ""
	}
	for i, tag := range strings.Split(s, "-") {
		if tag == "" || len(tag) > 8 || !ascii(tag) || strings.ContainsFunc(tag, func(r rune) bool {
			return !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r))
		}) {
			return `want a language tag of RFC 3066: "en", "fr-CH"`
		}
	}
	return ""
}

func socketPath(s string) string {
	if !filepath.IsAbs(s) || len(s) > 107 || strings.ContainsRune(s, 0) {
		return "want an absolute path of at most 107 octets"
	}
	return ""
}

// interfaceName takes what Linux takes as the name of a network interface, but
// for %, by which Linux would choose a number.
func interfaceName(s string) string {
	if len(s) > 15 || s == "." || s == ".." || !plain(s) || strings.ContainsAny(s, ":%") {
		return "want an interface name of 1 to 15 octets without / : % and white space"
	}
	return ""
}

// plain reports whether s is a word that can stand in a path and in a log.
func plain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r == ' ' || r == unicode.ReplacementChar || !unicode.IsPrint(r)
	})
}
