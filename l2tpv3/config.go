// Package l2tpv3 is the endpoint: it holds the sockets, tells control from data,
// and keeps tunnels and their sessions going whatever happens to addresses,
// routes and names. RFC 3931, and RFC 2661 where a peer speaks L2TPv2.
package l2tpv3

import (
	"net/netip"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
)

// A TunnelConfig is a tunnel: two LCCEs and what carries L2TP between them.
type TunnelConfig struct {
	Name   string
	Socket transport.Config // tunnels with equal ones share a socket
	Peer   Host
	DSCP   uint8 // of the outer header, 0 to 63
	TTL    uint8 // or hop limit of the outer header; 0: the kernel's default

	// ReceiveDSCP has frames from the peer know the DSCP that they came with.
	ReceiveDSCP bool
}

// A Host is a peer as the user names it: by address, or by a name that is
// resolved again when the peer is silent.
type Host struct {
	Addr netip.Addr // valid: Name is not looked up
	Name string
	Port uint16 // UDP only
}

// A SessionConfig is one pseudowire of a tunnel.
type SessionConfig struct {
	Name string
	dataplane.Params
}

// A DynamicConfig is a tunnel with a control connection, or a template for many.
type DynamicConfig struct {
	// TunnelConfig's Peer is where to dial or, where we wait for the peer,
	// from where it comes; there it may be the zero Host: see From.
	TunnelConfig
	// From are networks from which peers may come.
	From []netip.Prefix
	// Control is how the peer is spoken to, but for Name and Circuits.
	Control  control.TunnelConfig
	Circuits []Circuit
}

// A Circuit is what a session of a dynamic tunnel is bound to.
type Circuit struct {
	control.CircuitConfig
	ReorderTimeout time.Duration // as in dataplane.Params
}

// V6 reports whether the tunnel is known to run over IPv6 before its peer's name
// is resolved: by the peer's address, else by the local one.
func (c *TunnelConfig) V6() (v6, known bool) {
	switch {
	case c.Peer.Addr.IsValid():
		return c.Peer.Addr.Is6(), true
	case c.Socket.Local.Addr().IsValid():
		return c.Socket.Local.Addr().Is6(), true
	}
	return false, false
}

// Encap returns what carries the tunnel.
func (c *TunnelConfig) Encap() wire.Encap { return c.Socket.Encap }

// path returns the path over a socket to a peer, from a local address if that is valid.
func (c *TunnelConfig) path(conn *transport.Conn, peer netip.AddrPort, local netip.Addr) (*transport.Path, error) {
	if c.ReceiveDSCP {
		if err := conn.ReceiveDSCP(); err != nil {
			return nil, err
		}
	}
	return conn.NewPath(transport.PathConfig{Peer: peer, Local: local, DSCP: c.DSCP, TTL: c.TTL})
}
