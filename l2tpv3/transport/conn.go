package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
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
	socket        net.PacketConn
	raw           syscall.RawConn
	local         netip.AddrPort
	v6            bool
	receive, send int // octets of buffer that the kernel granted

	gro     bool        // the kernel may join datagrams that come, UDP_GRO
	segment atomic.Bool // the kernel cuts what is sent, UDP_SEGMENT
}

// Listen opens the socket that cfg describes.
func Listen(cfg Config) (*Conn, error) {
	c := &Conn{cfg: cfg, v6: cfg.Local.Addr().Is6()}
	name, address := cfg.Local.String(), cfg.Local.String()
	if cfg.Encap == wire.IP {
		name, address = cfg.Local.Addr().String(), cfg.Local.Addr().String()
	}
	if a := cfg.Local.Addr(); !a.IsValid() || a.Is4In6() || a.IsMulticast() {
		return nil, fmt.Errorf("transport: %v %s: want a unicast or unspecified IPv4 or IPv6 address", cfg.Encap, name)
	}
	listen := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = c.configure(int(fd)) }), err)
	}}
	socket, err := listen.ListenPacket(context.Background(), c.network(), address)
	if err != nil {
		return nil, fmt.Errorf("transport: %v %s: %w", cfg.Encap, name, cause(err))
	}
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("transport: %v %s: %w", cfg.Encap, name, err)
	}
	c.socket, c.raw, c.local = socket, raw, cfg.Local
	if a, ok := socket.LocalAddr().(*net.UDPAddr); ok {
		c.local = netip.AddrPortFrom(cfg.Local.Addr(), uint16(a.Port))
	}
	return c, nil
}

// network returns what package net calls the socket's protocol.
func (c *Conn) network() string {
	family := "4"
	if c.v6 {
		family = "6"
	}
	if c.cfg.Encap == wire.UDP {
		return "udp" + family
	}
	return "ip" + family + ":" + strconv.Itoa(wire.Protocol)
}

// cause takes off err what package net puts around it, which tells again what
// Listen tells.
func cause(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	if call := (*os.SyscallError)(nil); errors.As(err, &call) {
		err = call.Err
	}
	return err
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

// Close closes the socket. A Read that waits returns net.ErrClosed.
func (c *Conn) Close() error { return c.socket.Close() }
