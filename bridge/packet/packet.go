// Package packet is an existing device as a bridge.Port, whole or one VLAN of it, as
// a router takes an interface for a cross-connect.
package packet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/bridge/link"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
)

// socketBuffer is the room for what comes in while it is not read, and for what the
// device has not sent yet: what there is too much of is for its queue to drop.
const socketBuffer = 8 << 20

// A Config says which frames are the Port's.
type Config struct {
	Interface string

	// VLAN are the tags of the frames that are taken, outermost first; none: all
	// frames. So several Ports may share a device. It does not concern what is
	// sent: that has its tags, as everything here has.
	VLAN []ethernet.Tag
}

// A Port is a device that belongs to somebody else: it is not changed. As long as the
// Port is open the device is promiscuous. What the machine itself sends through the
// device is not taken, and so neither is what the Port sends. What comes in the
// machine hears too: give the device no addresses.
type Port struct {
	cfg     Config
	file    *os.File
	raw     syscall.RawConn
	fd      int // for Send, as long as the Port is not closed
	state   atomic.Pointer[link.State]
	deliver atomic.Pointer[func([]pseudowire.Frame) int]
	noUDP   atomic.Bool  // the kernel knows no super-frames of UDP: before Linux 6.2
	writers atomic.Int32 // in Send: the number fd means this socket until they are out
	closed  atomic.Bool
	stats   counters

	mu   sync.Mutex
	lost uint64
}

// Stats are a Port's counters since it was opened. Super-frames that come in count as
// one.
type Stats struct {
	InFrames, InOctets   uint64 // from the device
	InErrors             uint64 // super-frames that the kernel cannot describe, see Open
	InLost               uint64 // for which there was no room while they were not read
	OutFrames, OutOctets uint64 // to the device
	OutTooBig            uint64 // longer than its MTU allows, see Open
	OutErrors            uint64 // refused for any reason, that one included
}

type counters struct {
	inFrames, inOctets, inErrors, outFrames, outOctets, outTooBig, outErrors atomic.Uint64
}

// Open takes a device of Ethernet that no bridge or bond has: theirs would take the same
// frames too, and one that went both ways could come back and go round. The device may be
// down, or without a carrier; frames pass once somebody has set it up. No more than that
// need be done to it: ip link set DEVICE up.
//
// By its MTU the kernel sends frames of MTU + 14 octets, and of 4 more if the outermost
// tag is a C-tag (8100). For full frames with an S-tag (88a8) the MTU must be 1504,
// for those with two tags 1508, or 1504 if both are C-tags. What is longer counts as
// OutTooBig. What may come in is the device's own business: most take as much as with a
// C-tag, whichever the tag is.
//
// Before Linux 6.2 the kernel cannot describe a super-frame of UDP, and drops it. A
// device that joins none on receipt gives none: only at a veth, from whose other end
// they come, does it take ethtool -K DEVICE tx-udp-segmentation off there.
func Open(cfg Config) (*Port, error) {
	p := &Port{cfg: cfg}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("interface %s: %w", cfg.Interface, err)
	}
	return p, nil
}

func (p *Port) open() error {
	l, err := netlink.LinkByName(p.cfg.Interface)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return fs.ErrNotExist
	}
	if err != nil {
		return err
	}
	if kind := l.Attrs().EncapType; kind != "ether" {
		return fmt.Errorf("its link is of type %s, want an Ethernet interface", kind)
	}
	if index := l.Attrs().MasterIndex; index != 0 {
		return shared(p.cfg.Interface, index)
	}
	state := link.StateOf(l)
	p.state.Store(&state)
	// With protocol 0 it hears nothing until it is bound, and so of no other device.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: want CAP_NET_RAW", err)
	}
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	p.file, p.fd = os.NewFile(uintptr(fd), "packet socket"), fd
	if err := p.prepare(); err != nil {
		return errors.Join(err, p.file.Close())
	}
	return nil
}

// shared returns what is wrong with a device of which another is the master.
func shared(name string, index int) error {
	master := fmt.Sprintf("the interface of index %d", index)
	if l, err := netlink.LinkByIndex(index); err == nil {
		master = fmt.Sprintf("%s (type %s)", l.Attrs().Name, l.Type())
	}
	return fmt.Errorf("it is a port of %s, which takes its frames too, want one that is in nothing: ip link set %s nomaster", master, name)
}

// prepare makes the socket what it shall be.
func (p *Port) prepare() (err error) {
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return err
	}
	for _, force := range []struct{ force, option int }{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, force.force, socketBuffer) != nil {
			// Only the machine's own root may exceed net.core.rmem_max: less is no error.
			_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, force.option, socketBuffer)
		}
	}
	// Since Linux 4.20 it spares us a look at what goes out; the filter drops it
	// before too.
	_ = unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err := unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return os.NewSyscallError("setsockopt PACKET_VNET_HDR", err)
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return os.NewSyscallError("setsockopt PACKET_AUXDATA", err)
	}
	if err := attachFilter(p.fd, p.cfg.VLAN); err != nil {
		return err
	}
	index := p.state.Load().Index
	if err := unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	promiscuous := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	return os.NewSyscallError("setsockopt PACKET_ADD_MEMBERSHIP", unix.SetsockoptPacketMreq(p.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promiscuous))
}

// Name returns the device's name, as it was when the Port was opened.
func (p *Port) Name() string { return p.cfg.Interface }

// State returns what was last known of the device.
func (p *Port) State() link.State { return *p.state.Load() }

// Follow takes what a link.Watch tells of the device, of whose index the state is. By
// its MTU the Port knows what fits.
func (p *Port) Follow(s link.State) { p.state.Store(&s) }

// Attach implements bridge.Port.
func (p *Port) Attach(deliver func([]pseudowire.Frame) int) { p.deliver.Store(&deliver) }

// downFor is how often Run looks whether a device that is down is still there: of
// that the kernel tells a socket nothing.
const downFor = 250 * time.Millisecond

// Run hands on the frames that come in through the device, until the Port is closed:
// then it returns nil. It waits while the device is down. Any other end is an error,
// as when somebody deleted the device.
func (p *Port) Run() error {
	r := newReader()
	for {
		err := r.read(p.raw)
		if p.closed.Load() {
			return nil
		}
		p.stats.inFrames.Add(uint64(len(r.frames)))
		p.stats.inOctets.Add(uint64(r.octets))
		p.stats.inErrors.Add(uint64(r.errors))
		if deliver := p.deliver.Load(); deliver != nil && len(r.frames) > 0 {
			(*deliver)(r.frames)
		}
		switch {
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, os.ErrDeadlineExceeded):
			if err := p.await(); err != nil {
				return fmt.Errorf("interface %s: %w", p.cfg.Interface, err)
			}
		case err != nil:
			return fmt.Errorf("interface %s: read: %w", p.cfg.Interface, err)
		}
	}
}

// await has the next read end soon if the device is down, so that it is looked at
// again.
func (p *Port) await() error {
	up, err := p.up()
	if p.closed.Load() {
		return nil
	}
	if err != nil {
		return err
	}
	var deadline time.Time
	if !up {
		deadline = time.Now().Add(downFor)
	}
	err = p.file.SetReadDeadline(deadline)
	if p.closed.Load() {
		return nil
	}
	return err
}

// up reports whether the device is up. It asks by its index and through the socket:
// so another name or another namespace does not matter.
func (p *Port) up() (up bool, err error) {
	closed := p.raw.Control(func(fd uintptr) {
		var r *unix.Ifreq
		if r, err = unix.NewIfreq(""); err != nil {
			return
		}
		r.SetUint32(uint32(p.state.Load().Index))
		if err = unix.IoctlIfreq(int(fd), unix.SIOCGIFNAME, r); err != nil {
			return
		}
		if r, err = unix.NewIfreq(r.Name()); err != nil {
			return
		}
		err = unix.IoctlIfreq(int(fd), unix.SIOCGIFFLAGS, r)
		up = r.Uint16()&unix.IFF_UP != 0
	})
	if closed != nil {
		return false, closed
	}
	if errors.Is(err, unix.ENODEV) {
		return false, errors.New("the device was deleted")
	}
	return up, err
}

// Send implements bridge.Port.
func (p *Port) Send(frames []pseudowire.Frame) (sent int) {
	p.writers.Add(1)
	if !p.closed.Load() {
		var octets, tooBig int
		sent, octets, tooBig = p.write(frames)
		p.stats.outOctets.Add(uint64(octets))
		p.stats.outTooBig.Add(uint64(tooBig))
	}
	p.writers.Add(-1)
	p.stats.outFrames.Add(uint64(sent))
	p.stats.outErrors.Add(uint64(len(frames) - sent))
	return sent
}

// Stats returns the counters.
func (p *Port) Stats() Stats {
	c := &p.stats
	return Stats{
		InFrames: c.inFrames.Load(), InOctets: c.inOctets.Load(), InErrors: c.inErrors.Load(), InLost: p.inLost(),
		OutFrames: c.outFrames.Load(), OutOctets: c.outOctets.Load(), OutTooBig: c.outTooBig.Load(), OutErrors: c.outErrors.Load(),
	}
}

// inLost adds what the kernel has counted since it was last asked.
func (p *Port) inLost() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.raw.Control(func(fd uintptr) { // closed: there are no more
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			p.lost += uint64(s.Drops)
		}
	})
	return p.lost
}

// Close leaves the device as it was.
func (p *Port) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	for p.writers.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := p.file.Close(); err != nil {
		return fmt.Errorf("interface %s: %w", p.cfg.Interface, err)
	}
	return nil
}
