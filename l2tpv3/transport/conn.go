package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/wire"
)

// A Conn is a socket that receives from every peer and sends to any. Its
// methods are safe for concurrent use; its Readers and Writers are for one
// goroutine each.
type Conn struct {
	cfg           Config
	local         netip.AddrPort
	v6            bool
	receive, send int // octets of buffer that the kernel granted

	// The socket is not in the runtime's poller, which would have the kernel wake a
	// thread for each datagram that leaves the send buffer. What wakes a Reader is
	// an epoll of the socket alone, which is told of datagrams that come.
	socket   *os.File
	raw      syscall.RawConn
	arrivals *os.File
	arrived  syscall.RawConn
	closed   atomic.Bool

	gro     bool        // the kernel may join datagrams that come, UDP_GRO
	segment atomic.Bool // the kernel cuts what is sent, UDP_SEGMENT
}

// Listen opens the socket that cfg describes.
func Listen(cfg Config) (*Conn, error) {
	c := &Conn{cfg: cfg, v6: cfg.Local.Addr().Is6()}
	name := cfg.Local.String()
	if cfg.Encap == wire.IP {
		name = cfg.Local.Addr().String()
	}
	if a := cfg.Local.Addr(); !a.IsValid() || a.Is4In6() || a.IsMulticast() {
		return nil, fmt.Errorf("transport: %v %s: want a unicast or unspecified IPv4 or IPv6 address", cfg.Encap, name)
	}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("transport: %v %s: %w", cfg.Encap, name, err)
	}
	return c, nil
}

// open makes the socket, binds it, and makes what tells of arrivals.
func (c *Conn) open() error {
	family, kind, protocol := unix.AF_INET, unix.SOCK_DGRAM, 0
	if c.v6 {
		family = unix.AF_INET6
	}
	if c.cfg.Encap == wire.IP {
		kind, protocol = unix.SOCK_RAW, wire.Protocol
	}
	address, err := c.socketAddress()
	if err != nil {
		return err
	}
	// Each call says itself that it is not to wait.
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	c.socket = os.NewFile(uintptr(fd), "socket")
	if err := c.bind(fd, address); err != nil {
		return errors.Join(err, c.socket.Close())
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return errors.Join(err, c.socket.Close())
	}
	err = errors.Join(unix.SetNonblock(epoll, true),
		unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
	c.arrivals = os.NewFile(uintptr(epoll), "epoll") // for the runtime's poller
	if err == nil {
		c.raw, err = c.socket.SyscallConn()
	}
	if err == nil {
		c.arrived, err = c.arrivals.SyscallConn()
	}
	if err != nil {
		return errors.Join(err, c.Close())
	}
	return nil
}

// socketAddress returns the address to bind to.
func (c *Conn) socketAddress() (unix.Sockaddr, error) {
	a, port := c.cfg.Local.Addr(), int(c.cfg.Local.Port())
	if c.cfg.Encap == wire.IP {
		port = 0
	}
	if !c.v6 {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}, nil
	}
	zone, err := interfaceIndex(a.Zone())
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port, ZoneId: zone}, err
}

// bind makes the socket what its Config says.
func (c *Conn) bind(fd int, address unix.Sockaddr) error {
	if err := c.configure(fd); err != nil {
		return err
	}
	if err := unix.Bind(fd, address); err != nil {
		return err
	}
	c.local = c.cfg.Local
	if c.cfg.Encap == wire.IP {
		return nil
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		c.local = netip.AddrPortFrom(c.cfg.Local.Addr(), uint16(a.Port))
	case *unix.SockaddrInet6:
		c.local = netip.AddrPortFrom(c.cfg.Local.Addr(), uint16(a.Port))
	}
	return nil
}

// An option is a socket option and the value that it is given.
type option struct {
	name       string
	level, opt int
	value      int
}

// options returns the options without which the socket would not do what its
// Config says.
func (c *Conn) options() []option {
	discover, dontFragment := unix.IP_PMTUDISC_DO, 1
	if c.cfg.Fragment {
		discover, dontFragment = unix.IP_PMTUDISC_DONT, 0
	}
	if !c.v6 {
		options := []option{
			{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1},
			{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover},
		}
		if c.zeroChecksum() {
			options = append(options, option{"SO_NO_CHECK", unix.SOL_SOCKET, unix.SO_NO_CHECK, 1})
		}
		return options
	}
	options := []option{
		{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, discover}, // numbered as for IPv4
		{"IPV6_DONTFRAG", unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, dontFragment},
	}
	if c.cfg.Encap == wire.UDP { // a raw socket is of IPv6 alone, and refuses to be told
		options = append(options, option{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	if c.zeroChecksum() {
		options = append(options, option{"UDP_NO_CHECK6_TX", unix.SOL_UDP, unix.UDP_NO_CHECK6_TX, 1})
	}
	if c.cfg.Encap == wire.UDP && c.cfg.UDP6ZeroChecksumRx {
		options = append(options, option{"UDP_NO_CHECK6_RX", unix.SOL_UDP, unix.UDP_NO_CHECK6_RX, 1})
	}
	return options
}

// zeroChecksum reports whether what is sent has no UDP checksum.
func (c *Conn) zeroChecksum() bool {
	if c.v6 {
		return c.cfg.Encap == wire.UDP && c.cfg.UDP6ZeroChecksumTx
	}
	return c.cfg.Encap == wire.UDP && c.cfg.NoUDPChecksum
}

// configure sets the socket's options before it is bound.
func (c *Conn) configure(fd int) error {
	for _, o := range c.options() {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
	}
	c.receive = growBuffer(fd, c.cfg.ReceiveBufferSize(), unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	c.send = growBuffer(fd, c.cfg.SendBufferSize(), unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	if c.cfg.Encap == wire.UDP {
		c.gro = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
		// The kernel cuts nothing for which it must not make a checksum.
		cuts := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0) == nil
		c.segment.Store(cuts && !c.zeroChecksum())
	}
	return nil
}

// growBuffer asks for size octets of buffer: beyond the system's limit, or, if
// that is not allowed, up to it. It returns what was granted.
func growBuffer(fd, size, force, plain int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		// Too much is no error here: the kernel gives what it may.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
	granted, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, plain)
	if err != nil {
		return 0
	}
	return granted / 2 // the kernel doubles it, for its own bookkeeping: socket(7)
}

// Config returns what the Conn was opened with.
func (c *Conn) Config() Config { return c.cfg }

// LocalAddr returns the address that the socket is bound to.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Buffers returns the octets of buffer that the kernel granted, to be compared
// with those that Config asks for.
func (c *Conn) Buffers() (receive, send int) { return c.receive, c.send }

// Offload reports whether the kernel cuts what is sent, UDP_SEGMENT, and may join
// what comes, UDP_GRO. A device that refuses ends the first.
func (c *Conn) Offload() (segment, gro bool) { return c.segment.Load(), c.gro }

// ReceiveDSCP has the datagrams that come from now on know the DSCP of their IP
// header, at the price of one control message more with each that the kernel gives.
// It may be called again.
func (c *Conn) ReceiveDSCP() error {
	level, option, name := unix.IPPROTO_IP, unix.IP_RECVTOS, "IP_RECVTOS"
	switch {
	case c.v6:
		level, option, name = unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, "IPV6_RECVTCLASS"
	case c.cfg.Encap == wire.IP:
		return nil // its Reader has the header
	}
	var refused error
	if err := c.raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), level, option, 1)
	}); err != nil {
		return c.readError(err)
	}
	if refused != nil {
		return fmt.Errorf("transport: %s: %w", name, refused)
	}
	return nil
}

// Close closes the socket. A Read that waits returns net.ErrClosed.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	return errors.Join(c.arrivals.Close(), c.socket.Close())
}
