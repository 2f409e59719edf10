package transport

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// A PathConfig says where datagrams go and how.
type PathConfig struct {
	Peer  netip.AddrPort
	Local netip.Addr // which of our addresses they leave from; not valid: the kernel chooses
	DSCP  uint8      // 0 to 63
	TTL   uint8      // or hop limit; 0: the kernel's default
}

// A Path is where datagrams go, in the form in which the kernel wants it. It does
// not change, and is safe for concurrent use.
type Path struct {
	cfg     PathConfig
	conn    *Conn
	name    [unix.SizeofSockaddrInet6]byte // struct sockaddr_in or sockaddr_in6
	nameLen uint32
	control []byte // control messages: source address, DSCP, TTL
}

// NewPath returns a path over the Conn, whose address family is the peer's.
func (c *Conn) NewPath(cfg PathConfig) (*Path, error) {
	peer := cfg.Peer.Addr()
	if peer.Is6() != c.v6 || cfg.Local.IsValid() && cfg.Local.Is6() != c.v6 {
		return nil, fmt.Errorf("transport: path from %s to %s over %s: another address family", cfg.Local, peer, c.network())
	}
	p := &Path{cfg: cfg, conn: c}
	if !c.v6 {
		p.nameLen = unix.SizeofSockaddrInet4
		binary.NativeEndian.PutUint16(p.name[0:], unix.AF_INET)
		binary.BigEndian.PutUint16(p.name[2:], cfg.Peer.Port())
		copy(p.name[4:], peer.AsSlice())
	} else {
		scope, err := scopeOf(peer.Zone())
		if err != nil {
			return nil, err
		}
		p.nameLen = unix.SizeofSockaddrInet6
		binary.NativeEndian.PutUint16(p.name[0:], unix.AF_INET6)
		if !c.raw115() {
			binary.BigEndian.PutUint16(p.name[2:], cfg.Peer.Port())
		}
		copy(p.name[8:], peer.AsSlice())
		binary.NativeEndian.PutUint32(p.name[24:], scope)
	}
	p.control = p.controlMessages()
	return p, nil
}

// scopeOf returns the index of the interface that a zone names.
func scopeOf(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("transport: interface %s: %w", zone, unix.EADDRNOTAVAIL)
	}
	return uint32(i.Index), nil
}

// controlMessages returns what stands beside each datagram of the path.
func (p *Path) controlMessages() (b []byte) {
	if !p.conn.v6 {
		if p.cfg.Local.IsValid() {
			b = (&ipv4.ControlMessage{Src: p.cfg.Local.AsSlice()}).Marshal()
		}
		if p.cfg.DSCP != 0 {
			b = appendControl(b, unix.SOL_IP, unix.IP_TOS, int32(p.cfg.DSCP)<<2)
		}
		if p.cfg.TTL != 0 {
			b = appendControl(b, unix.SOL_IP, unix.IP_TTL, int32(p.cfg.TTL))
		}
		return b
	}
	m := ipv6.ControlMessage{TrafficClass: int(p.cfg.DSCP) << 2, HopLimit: int(p.cfg.TTL)}
	if p.cfg.Local.IsValid() {
		m.Src = p.cfg.Local.AsSlice()
	}
	return m.Marshal()
}

// appendControl appends a control message of one int.
func appendControl(b []byte, level, kind int, value int32) []byte {
	at := len(b)
	b = append(b, make([]byte, unix.CmsgSpace(4))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(b[at+unix.CmsgLen(0):], uint32(value))
	return b
}

// Peer returns where the path goes.
func (p *Path) Peer() netip.AddrPort { return p.cfg.Peer }

// Local returns the address that datagrams leave from; not valid: the kernel's
// choice.
func (p *Path) Local() netip.Addr { return p.cfg.Local }

// From returns the same path from another of our addresses.
func (p *Path) From(local netip.Addr) (*Path, error) {
	cfg := p.cfg
	cfg.Local = local
	return p.conn.NewPath(cfg)
}

// PathMTU returns the MTU that the kernel knows of the path at present, in octets
// of an IP packet. Its error tells also that there is no route.
func (c *Conn) PathMTU(p *Path) (int, error) {
	family, level, discover, mtu := unix.AF_INET, unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU
	if c.v6 {
		family, level, discover, mtu = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU
	}
	n, err := func() (int, error) {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, level, discover, unix.IP_PMTUDISC_DO); err != nil {
			return 0, err
		}
		local := p.cfg.Local
		if !local.IsValid() {
			local = c.cfg.Local.Addr()
		}
		if !local.IsUnspecified() {
			if err := unix.Bind(fd, sockaddr(local, 0)); err != nil {
				return 0, err
			}
		}
		const discardPort = 9 // nothing is sent
		if err := unix.Connect(fd, sockaddr(p.cfg.Peer.Addr(), discardPort)); err != nil {
			return 0, err
		}
		return unix.GetsockoptInt(fd, level, mtu)
	}()
	if err != nil {
		return 0, fmt.Errorf("transport: path to %s: %w", p.cfg.Peer.Addr(), err)
	}
	return n, nil
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	scope, _ := scopeOf(a.Zone()) // an interface that is gone: the kernel refuses the address
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port, ZoneId: scope}
}
