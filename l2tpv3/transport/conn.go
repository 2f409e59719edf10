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

// A Conn is one socket, shared by all tunnels of one Config. It is safe for
// concurrent use; each goroutine has a Reader or Writer of its own.
type Conn struct {
	cfg     Config
	v6      bool
	socket  packetConn
	raw     syscall.RawConn
	receive int
	send    int
	gro     bool
	segment atomic.Bool // the kernel takes UDP_SEGMENT
}

type packetConn interface {
	net.PacketConn
	syscall.Conn
}

// Listen opens the socket that cfg describes. Its address is valid.
func Listen(cfg Config) (*Conn, error) {
	c := &Conn{cfg: cfg, v6: cfg.Local.Addr().Is6()}
	network, address := c.network(), cfg.Local.String()
	if cfg.Encap == wire.IP {
		address = cfg.Local.Addr().String()
	}
	var refused error
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		err := raw.Control(func(fd uintptr) { refused = c.configure(int(fd)) })
		return errors.Join(err, refused)
	}}
	socket, err := lc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("transport: %s %s: %w", cfg.Encap, cfg.Local, cause(err))
	}
	c.socket = socket.(packetConn)
	if c.raw, err = c.socket.SyscallConn(); err != nil {
		socket.Close()
		return nil, fmt.Errorf("transport: %s %s: %w", cfg.Encap, cfg.Local, err)
	}
	return c, nil
}

// cause returns what the kernel said, without the words that net puts around it.
func cause(err error) error {
	if call := new(os.SyscallError); errors.As(err, &call) {
		return call.Err
	}
	return err
}

func (c *Conn) network() string {
	family := "4"
	if c.v6 {
		family = "6"
	}
	if c.cfg.Encap == wire.IP {
		return "ip" + family + ":" + strconv.Itoa(wire.Protocol)
	}
	return "udp" + family
}

// configure sets the options of a socket before it is bound.
func (c *Conn) configure(fd int) error {
	c.receive = sizeBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, c.cfg.ReceiveBufferSize())
	c.send = sizeBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, c.cfg.SendBufferSize())
	if c.cfg.Encap == wire.UDP {
		c.gro = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
		_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
		// Linux refuses to segment what it may not checksum.
		unsummed := c.cfg.NoUDPChecksum && !c.v6 || c.cfg.UDP6ZeroChecksumTx && c.v6
		c.segment.Store(err == nil && !unsummed)
	}
	for _, o := range c.options() {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("socket option %s: %w", o.title, err)
		}
	}
	return nil
}

type option struct {
	title              string
	level, name, value int
}

func (c *Conn) options() []option {
	var o []option
	discover := unix.IP_PMTUDISC_DO
	if c.cfg.Fragment {
		discover = unix.IP_PMTUDISC_DONT
	}
	if !c.v6 {
		o = append(o,
			option{"IP_PKTINFO", unix.SOL_IP, unix.IP_PKTINFO, 1},
			option{"IP_MTU_DISCOVER", unix.SOL_IP, unix.IP_MTU_DISCOVER, discover})
		if c.cfg.Encap == wire.UDP && c.cfg.NoUDPChecksum {
			o = append(o, option{"SO_NO_CHECK", unix.SOL_SOCKET, unix.SO_NO_CHECK, 1})
		}
		return o
	}
	o = append(o,
		option{"IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1},
		option{"IPV6_MTU_DISCOVER", unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, discover})
	if !c.cfg.Fragment {
		o = append(o, option{"IPV6_DONTFRAG", unix.SOL_IPV6, unix.IPV6_DONTFRAG, 1})
	}
	if c.cfg.Encap == wire.UDP {
		if c.cfg.UDP6ZeroChecksumTx {
			o = append(o, option{"UDP_NO_CHECK6_TX", unix.SOL_UDP, unix.UDP_NO_CHECK6_TX, 1})
		}
		if c.cfg.UDP6ZeroChecksumRx {
			o = append(o, option{"UDP_NO_CHECK6_RX", unix.SOL_UDP, unix.UDP_NO_CHECK6_RX, 1})
		}
	}
	return o
}

// sizeBuffer asks for size octets, past the system's limit where we may, and
// returns what there is. The kernel doubles what it is asked for and says so.
func sizeBuffer(fd, force, plain, size int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size) // the answer below tells
	}
	have, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, plain)
	if err != nil {
		return 0
	}
	return have / 2
}

// Config returns what the socket was opened with.
func (c *Conn) Config() Config { return c.cfg }

// LocalAddr returns the address that the socket is bound to.
func (c *Conn) LocalAddr() netip.AddrPort {
	if a, ok := c.socket.LocalAddr().(*net.UDPAddr); ok {
		bound := a.AddrPort()
		return netip.AddrPortFrom(c.cfg.Local.Addr(), bound.Port())
	}
	return c.cfg.Local
}

// Buffers returns the octets that the kernel granted, as Config counts them.
func (c *Conn) Buffers() (receive, send int) { return c.receive, c.send }

// Close closes the socket. Readers return net.ErrClosed.
func (c *Conn) Close() error { return c.socket.Close() }
