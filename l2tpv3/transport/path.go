package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/wire"
)

// A PathConfig says where packets go and how they look outside.
type PathConfig struct {
	Peer  netip.AddrPort // the port is 0 for wire.IP
	Local netip.Addr     // the source; the zero Addr: the kernel chooses
	DSCP  uint8          // 6 bits, RFC 2474; a Packet may ask for another
	TTL   uint8          // or hop limit; 0: the system's default
}

// A Path is the way to one peer, prepared for Write. It does not change, and
// many Writers may use it.
type Path struct {
	cfg        PathConfig
	address    unix.RawSockaddrInet6 // or a RawSockaddrInet4 at its front
	addressLen uint32
	source     uint32 // index of the interface that the source's zone names, or 0

	// The control messages of a packet: what is true of all, then the octet that
	// the DSCP is in, then the segment size. One that is as the path says takes
	// those up to plain, which may end before or behind the DSCP; one that asks for
	// a DSCP those up to marked; a segmented one all.
	control       []byte
	plain, marked int
	dscp, size    int // where the values stand
}

// maxControl is the octets of the longest control of a Path.
var maxControl = unix.CmsgSpace(unix.SizeofInet6Pktinfo) + 2*unix.CmsgSpace(4) + unix.CmsgSpace(2)

// NewPath prepares the path that cfg describes. Whether the peer can be reached
// shows when something is sent.
func (c *Conn) NewPath(cfg PathConfig) (*Path, error) {
	p := &Path{cfg: cfg}
	if err := c.check(&cfg); err != nil {
		return nil, fmt.Errorf("transport: path to %v: %w", cfg.Peer, err)
	}
	scope, err := interfaceIndex(cfg.Peer.Addr().Zone())
	if err != nil {
		return nil, fmt.Errorf("transport: path to %v: %w", cfg.Peer, err)
	}
	p.source, err = interfaceIndex(cfg.Local.Zone())
	if err != nil {
		return nil, fmt.Errorf("transport: path to %v: from %v: %w", cfg.Peer, cfg.Local, err)
	}
	port := cfg.Peer.Port()
	if c.cfg.Encap == wire.IP {
		port = 0 // a raw socket takes it for a protocol
	}
	p.setAddress(port, scope)
	var level, class int32 = unix.IPPROTO_IP, unix.IP_TOS
	if c.v6 {
		level, class = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		p.control = p.control6()
	} else {
		p.control = p.control4()
	}
	p.plain = len(p.control)
	p.dscp = len(p.control) + unix.CmsgLen(0)
	p.control = appendControl(p.control, level, class, number(cfg.DSCP<<2))
	p.marked = len(p.control)
	if cfg.DSCP != 0 {
		p.plain = p.marked
	}
	p.size = len(p.control) + unix.CmsgLen(0)
	p.control = appendControl(p.control, unix.SOL_UDP, unix.UDP_SEGMENT, make([]byte, 2))
	return p, nil
}

// check reports what is wrong with a PathConfig itself.
func (c *Conn) check(cfg *PathConfig) error {
	peer := cfg.Peer.Addr()
	switch {
	case !peer.IsValid() || peer.Is4In6() || peer.Is6() != c.v6:
		return fmt.Errorf("want an address of the same family as the socket's, %v", c.local.Addr())
	case peer.IsUnspecified():
		return fmt.Errorf("want a peer's address")
	case c.cfg.Encap == wire.UDP && cfg.Peer.Port() == 0:
		return fmt.Errorf("port 0, want 1 to 65535")
	case cfg.Local.IsValid() && (cfg.Local.Is4In6() || cfg.Local.Is6() != c.v6 || cfg.Local.IsUnspecified()):
		return fmt.Errorf("from %v: want an address of the peer's family", cfg.Local)
	case cfg.DSCP > 63:
		return fmt.Errorf("DSCP %d, want 0 to 63", cfg.DSCP)
	}
	return nil
}

// interfaceIndex returns the index of the interface that an IPv6 zone names.
func interfaceIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 31); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		if op := (*net.OpError)(nil); errors.As(err, &op) {
			err = op.Err // without "route ip+net"
		}
		return 0, fmt.Errorf("interface %s: %w", zone, err)
	}
	return uint32(i.Index), nil
}

// setAddress writes the peer's address as the kernel takes it.
func (p *Path) setAddress(port uint16, scope uint32) {
	peer := p.cfg.Peer.Addr()
	if peer.Is4() {
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(&p.address))
		a.Family = unix.AF_INET
		a.Addr = peer.As4()
		setPort(&a.Port, port)
		p.addressLen = unix.SizeofSockaddrInet4
		return
	}
	p.address.Family = unix.AF_INET6
	p.address.Addr = peer.As16()
	p.address.Scope_id = scope
	setPort(&p.address.Port, port)
	p.addressLen = unix.SizeofSockaddrInet6
}

// setPort stores a port in network order, as a sockaddr has it, and port reads
// it again.
func setPort(p *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], port)
}

func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

// control4 returns the control messages of every IPv4 packet: ip(7).
func (p *Path) control4() (b []byte) {
	if p.cfg.Local.IsValid() {
		info := unix.Inet4Pktinfo{Spec_dst: p.cfg.Local.As4()}
		b = appendControl(b, unix.IPPROTO_IP, unix.IP_PKTINFO, octets(&info))
	}
	if p.cfg.TTL != 0 {
		b = appendControl(b, unix.IPPROTO_IP, unix.IP_TTL, number(p.cfg.TTL))
	}
	return b
}

// control6 returns the control messages of every IPv6 packet: RFC 3542 section 6.
func (p *Path) control6() (b []byte) {
	if p.cfg.Local.IsValid() {
		info := unix.Inet6Pktinfo{Addr: p.cfg.Local.As16(), Ifindex: p.source}
		b = appendControl(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, octets(&info))
	}
	if p.cfg.TTL != 0 {
		b = appendControl(b, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, number(p.cfg.TTL))
	}
	return b
}

// octets returns the memory of v.
func octets[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// number returns n as a C int.
func number(n uint8) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// appendControl appends a control message to b: cmsg(3).
func appendControl(b []byte, level, kind int32, data []byte) []byte {
	header := unix.Cmsghdr{Level: level, Type: kind}
	header.SetLen(unix.CmsgLen(len(data)))
	end := len(b) + unix.CmsgSpace(len(data))
	b = append(b, octets(&header)...)
	b = append(b, data...)
	return append(b, make([]byte, end-len(b))...)
}

// controlOf returns the control messages of a message of n packets that are as first
// is. They are the path's own, or are made in memory, of maxControl octets.
func (p *Path) controlOf(first *Packet, n int, memory []byte) []byte {
	dscp, asked := first.DSCP.Value()
	if n == 1 && !asked {
		return p.control[:p.plain]
	}
	b := memory[:copy(memory, p.control)]
	if asked {
		binary.NativeEndian.PutUint32(b[p.dscp:], uint32(dscp)<<2)
	}
	if n == 1 {
		return b[:p.marked]
	}
	binary.NativeEndian.PutUint16(b[p.size:], uint16(first.len()))
	return b
}

// Config returns what the path was made from.
func (p *Path) Config() PathConfig { return p.cfg }

// Peer returns where the path leads.
func (p *Path) Peer() netip.AddrPort { return p.cfg.Peer }

// Local returns the source that the path was given, the zero Addr if none.
func (p *Path) Local() netip.Addr { return p.cfg.Local }

// PathMTU returns what the kernel now takes for the path MTU to the peer, the
// octets of an IP packet.
func (c *Conn) PathMTU(p *Path) (int, error) {
	mtu, err := c.pathMTU(p)
	if err != nil {
		return 0, fmt.Errorf("transport: path MTU to %v: %w", p.cfg.Peer, err)
	}
	return mtu, nil
}

// pathMTU asks a connected socket, because the kernel knows the path of no
// other.
func (c *Conn) pathMTU(p *Path) (int, error) {
	family, level, discover, mtu := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU
	if c.v6 {
		family, level, discover, mtu = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, level, discover, unix.IP_PMTUDISC_DO); err != nil {
		return 0, err
	}
	local := p.cfg.Local
	source := p.source
	if !local.IsValid() {
		local = c.local.Addr()
		if source, err = interfaceIndex(local.Zone()); err != nil {
			return 0, err
		}
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0), source)); err != nil {
		return 0, err
	}
	// Any port will do to be connected, and port 0 is none.
	peer := netip.AddrPortFrom(p.cfg.Peer.Addr(), max(p.cfg.Peer.Port(), 1))
	if err := unix.Connect(fd, sockaddr(peer, p.address.Scope_id)); err != nil {
		return 0, err
	}
	return unix.GetsockoptInt(fd, level, mtu)
}

// sockaddr returns a as package unix takes it.
func sockaddr(a netip.AddrPort, scope uint32) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port()), ZoneId: scope}
}
