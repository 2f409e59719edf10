package serial

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// The networks that lines are carried over.
const (
	UDP  = "udp"
	Unix = "unix" // datagram sockets
)

// maxPath is the longest path of a unix socket, unix(7).
const maxPath = 107

// A Config is what a line is carried over: frames are sent from Local to Peer, and
// only what comes from Peer is one. They are addresses with ports, or paths.
type Config struct {
	Network     string
	Local, Peer string
}

// ParseConfig reads "udp:127.0.0.1:10001,127.0.0.1:10002" or "unix:/run/a,/run/b":
// the own end, then the other one.
func ParseConfig(s string) (Config, error) {
	const want = "want udp:LOCAL,PEER or unix:LOCAL,PEER"
	network, ends, ok := strings.Cut(s, ":")
	local, peer, both := strings.Cut(ends, ",")
	switch {
	case !ok:
		return Config{}, fmt.Errorf("serial %q: %s", s, want)
	case network != UDP && network != Unix:
		return Config{}, fmt.Errorf("serial %q: found the network %q, %s", s, network, want)
	case !both:
		return Config{}, fmt.Errorf("serial %q: found one end, %q, %s", s, ends, want)
	}
	c := Config{network, local, peer}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	if network == UDP {
		if a, _ := netip.ParseAddrPort(local); a.Port() == 0 {
			return Config{}, fmt.Errorf("serial %s: local: found %q, want a port other than 0, which the other end must know", c, local)
		}
	}
	return c, nil
}

// String returns what ParseConfig reads.
func (c Config) String() string { return c.Network + ":" + c.Local + "," + c.Peer }

// check returns what is wrong. A local port of 0 is a free one.
func (c Config) check() error {
	ends := []struct{ name, value string }{{"local", c.Local}, {"peer", c.Peer}}
	for _, end := range ends {
		var problem string
		switch c.Network {
		case UDP:
			a, err := netip.ParseAddrPort(end.value)
			switch {
			case err != nil:
				problem = "want an IP address and a port, as 192.0.2.1:10001 or [2001:db8::1]:10001"
			case a.Addr().Is4In6() || a.Addr().IsMulticast():
				problem = "want a unicast IPv4 or IPv6 address"
			case end.name == "peer" && a.Addr().IsUnspecified():
				problem = "want one address"
			case end.name == "peer" && a.Port() == 0:
				problem = "want a port other than 0"
			}
		case Unix:
			switch {
			case !filepath.IsAbs(end.value) || strings.ContainsAny(end.value, ",\x00"):
				problem = "want an absolute path without commas"
			case len(end.value) > maxPath:
				problem = fmt.Sprintf("which has %d octets, want a path of %d at most", len(end.value), maxPath)
			}
		default:
			return fmt.Errorf("serial %s: found the network %q, want udp or unix", c, c.Network)
		}
		if problem != "" {
			return fmt.Errorf("serial %s: %s: found %q, %s", c, end.name, end.value, problem)
		}
	}
	if c.Local == c.Peer {
		return fmt.Errorf("serial %s: found %q at both ends, want two that differ", c, c.Local)
	}
	if c.Network == UDP {
		local, peer := netip.MustParseAddrPort(c.Local), netip.MustParseAddrPort(c.Peer)
		if local.Addr().Is4() != peer.Addr().Is4() {
			return fmt.Errorf("serial %s: found %s at one end and %s at the other, want the same at both", c, version(local), version(peer))
		}
	}
	return nil
}

// version returns the name of the Internet Protocol that an address is of.
func version(a netip.AddrPort) string {
	if a.Addr().Is4() {
		return "IPv4"
	}
	return "IPv6"
}
