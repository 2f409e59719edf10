// Package tap is the local segment: a TAP device as a bridge.Port, or a TUN as the
// same of packets.
package tap

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/bridge/link"
	"spanwire/bridge/vnet"
	"spanwire/pseudowire"
)

const (
	// batch is how many frames are read before they are handed on.
	batch = 256

	// maxFrame is the longest that a TAP of the largest MTU gives, and the longest
	// super-frame.
	maxFrame = 65535 + 18

	// arena is the room of all frames that are read before they are handed on: of
	// many small ones, or of a few super-frames.
	arena = 256 << 10
)

// A Config says how a TAP is to be.
type Config struct {
	Name      string
	TUN       bool // a TUN, whose frames are packets of IP; it says nothing by itself
	MAC       net.HardwareAddr
	MTU       int        // of the frames' payload, octets
	Bridge    string     // a Linux bridge that is there; empty: none
	VLANs     link.VLANs // in the bridge; zero: as the bridge has it
	Addresses []netip.Prefix
	Alias     string // for people who look at the device; empty: none
}

// A TAP is a device of this process, which vanishes with it, unless the user had
// made it before: then it is as it was after Close.
type TAP struct {
	cfg     Config
	device  device
	offload bool // super-frames both ways, by a virtio_net_hdr
	uso     bool // of UDP too
	raw     syscall.RawConn
	link    netlink.Link
	found   *found // nil: the device is ours
	deliver atomic.Pointer[func([]pseudowire.Frame) int]
	fd      int          // for Send, as long as the TAP is not closed
	writers atomic.Int32 // in Send: the number fd means this file until they are out
	closed  atomic.Bool
	stats   counters
}

// Stats are a TAP's counters since it was opened.
type Stats struct {
	InFrames, InOctets   uint64 // from the segment
	InErrors             uint64 // empty, or a super-frame of a kind that was not asked for
	OutFrames, OutOctets uint64 // to the segment
	OutErrors            uint64 // refused by the device
}

type counters struct {
	inFrames, inOctets, inErrors, outFrames, outOctets, outErrors atomic.Uint64
}

// MAC returns the address of a session's TAP: the same after each start, locally
// administered, of one station. It begins with fe, so that a bridge whose address
// is that of its lowest port does not take it.
func MAC(node, session string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(node + "\x00" + session))
	sum[0] = 0xfe
	return net.HardwareAddr(sum[:6])
}

// Open makes a TAP, or takes one that the user has left for it, and puts it where
// cfg says, up.
func Open(cfg Config) (*TAP, error) {
	t := &TAP{cfg: cfg}
	if err := t.open(); err != nil {
		return nil, fmt.Errorf("tap %s: %w", cfg.Name, err)
	}
	if err := t.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("tap %s: %w", cfg.Name, err), t.Close())
	}
	return t, nil
}

// open makes or takes the device.
func (t *TAP) open() (err error) {
	if t.found, err = find(t.cfg.Name, t.cfg.kind()); err != nil {
		return err
	}
	if err := t.attach(); err != nil {
		return err
	}
	if t.link, err = netlink.LinkByName(t.cfg.Name); err != nil {
		return errors.Join(err, t.device.Close())
	}
	return nil
}

// attach opens the device's file. Programs that we start must not hold the device,
// so none is started until the file is marked.
func (t *TAP) attach() (err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	// A device that the user has made stays as the user has made it.
	if t.found == nil {
		if t.device, t.uso, err = openOffload(t.cfg.Name, t.cfg.kind()); err == nil {
			t.offload = true
		}
	}
	if !t.offload {
		if t.device, err = openPlain(t.cfg.Name, t.cfg.kind(), t.found != nil); err != nil {
			return why(err)
		}
	}
	if t.raw, err = t.device.SyscallConn(); err == nil {
		err = t.raw.Control(func(fd uintptr) { t.fd = int(fd); unix.CloseOnExec(t.fd) })
	}
	if err != nil {
		return errors.Join(err, t.device.Close())
	}
	return nil
}

// why puts what the kernel says of /dev/net/tun into words.
func why(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: want /dev/net/tun: modprobe tun", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: want CAP_NET_ADMIN", err)
	case errors.Is(err, unix.EBUSY):
		return errHeld
	}
	return err
}

// prepare does to the device what cfg says.
func (t *TAP) prepare() error {
	if t.cfg.MAC != nil {
		if err := netlink.LinkSetHardwareAddr(t.link, t.cfg.MAC); err != nil {
			return fmt.Errorf("mac %s: %w", t.cfg.MAC, err)
		}
	}
	if err := t.SetMTU(t.cfg.MTU); err != nil {
		return err
	}
	if t.cfg.TUN {
		if err := t.silence(); err != nil {
			return err
		}
	}
	if t.cfg.Bridge != "" {
		if err := t.enslave(); err != nil {
			return fmt.Errorf("bridge %s: %w", t.cfg.Bridge, err)
		}
	}
	if t.cfg.Alias != "" {
		if err := netlink.LinkSetAlias(t.link, t.cfg.Alias); err != nil {
			return fmt.Errorf("alias %q: %w", t.cfg.Alias, err)
		}
	}
	if err := netlink.LinkSetUp(t.link); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	for _, a := range t.cfg.Addresses {
		address, err := netlink.ParseAddr(a.String())
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(t.link, address); t.found != nil && errors.Is(err, unix.EEXIST) {
			continue
		} else if err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
		if t.found != nil {
			t.found.added = append(t.found.added, address)
		}
	}
	return nil
}

// enslave makes the device a port of the bridge.
func (t *TAP) enslave() error {
	if err := t.silence(); err != nil {
		return err
	}
	bridge, err := netlink.LinkByName(t.cfg.Bridge)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(t.link, bridge); err != nil {
		return err
	}
	return link.SetVLANs(t.cfg.Name, t.cfg.VLANs) // before it is up
}

// silence keeps the device from giving itself an IPv6 address, and so from
// speaking to the other site by itself. It is for a bridge's port that is not up.
func (t *TAP) silence() error {
	const addrGenModeNone = 1
	err := netlink.LinkSetIP6AddrGenMode(t.link, addrGenModeNone)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // without IPv6 there is nothing to say
	}
	return err
}

// Name returns the device's name.
func (t *TAP) Name() string { return t.cfg.Name }

// Offload returns which super-frames the device gives and takes: "tcp+udp", "tcp",
// or "none", where each frame goes by itself.
func (t *TAP) Offload() string {
	switch {
	case t.uso:
		return "tcp+udp"
	case t.offload:
		return "tcp"
	}
	return "none"
}

// SetMTU sets the device's MTU.
func (t *TAP) SetMTU(mtu int) error {
	if err := t.setMTU(mtu); err != nil {
		return fmt.Errorf("mtu %d: %w", mtu, err)
	}
	return nil
}

func (t *TAP) setMTU(mtu int) error {
	l, err := netlink.LinkByIndex(t.link.Attrs().Index)
	if err != nil {
		return err
	}
	// Below 1280 octets a device has no IPv6. When it has it again, it has forgotten
	// that it is to be silent, and would speak at once if it were up.
	const leastIPv6 = 1280
	was := l.Attrs()
	if t.cfg.Bridge == "" && !t.cfg.TUN || was.Flags&net.FlagUp == 0 || was.MTU >= leastIPv6 || mtu < leastIPv6 {
		return netlink.LinkSetMTU(t.link, mtu)
	}
	if err := netlink.LinkSetDown(t.link); err != nil {
		return err
	}
	err = netlink.LinkSetMTU(t.link, mtu)
	if err == nil {
		err = t.silence()
	}
	return errors.Join(err, netlink.LinkSetUp(t.link))
}

// Attach implements bridge.Port.
func (t *TAP) Attach(deliver func([]pseudowire.Frame) int) { t.deliver.Store(&deliver) }

// Run hands on the frames that the segment sends, until the TAP is closed: then
// it returns nil. Any other end is an error, as when somebody deleted the device.
func (t *TAP) Run() error {
	memory := make([]byte, arena)
	frames := make([]pseudowire.Frame, 0, batch)
	octets, at := 0, 0
	before := 0 // octets that stand in front of a frame
	if t.offload {
		before = vnet.HeaderLen
	}
	var failed error
	// Frames are read until there are no more, or enough: what is there is handed
	// on at once, and nothing waits for more.
	take := func(fd uintptr) bool {
		for len(frames) < batch && at+pseudowire.Headroom+maxFrame <= len(memory) {
			b := memory[at:][:pseudowire.Headroom+maxFrame]
			n, err := read(int(fd), b[pseudowire.Headroom-before:])
			switch {
			case err == unix.EAGAIN:
				return len(frames) > 0
			case err == unix.EINTR:
			case err != nil:
				failed = err
				return true
			case n <= before:
				t.stats.inErrors.Add(1)
			default:
				n -= before
				f := pseudowire.NewFrame(b[:pseudowire.Headroom+n], pseudowire.Headroom)
				if t.offload {
					var ok bool
					if f.GSO, ok = vnet.Describe((*[vnet.HeaderLen]byte)(b[pseudowire.Headroom-before:])); !ok {
						t.stats.inErrors.Add(1)
						continue
					}
				}
				octets += n
				at += (pseudowire.Headroom + n + 63) &^ 63
				frames = append(frames, f)
			}
		}
		return true
	}
	for {
		frames, octets, at = frames[:0], 0, 0
		err := t.raw.Read(take)
		t.stats.inFrames.Add(uint64(len(frames)))
		t.stats.inOctets.Add(uint64(octets))
		if deliver := t.deliver.Load(); deliver != nil && len(frames) > 0 {
			(*deliver)(frames)
		}
		switch {
		case t.closed.Load():
			return nil
		case err != nil, failed == unix.EBADFD:
			// Whichever is quicker: polling a TAP fails only when its device is gone.
			return fmt.Errorf("tap %s: the device was deleted", t.cfg.Name)
		case failed != nil:
			return fmt.Errorf("tap %s: read: %w", t.cfg.Name, failed)
		}
	}
}

// Send implements bridge.Port. It writes super-frames where the device takes them,
// else frame by frame.
func (t *TAP) Send(frames []pseudowire.Frame) (sent int) {
	if t.closed.Load() { // so that Close is not held up by those who go on sending
		t.stats.outErrors.Add(uint64(len(frames)))
		return 0
	}
	octets := 0
	t.writers.Add(1)
	switch {
	case t.closed.Load():
	case t.offload:
		sent, octets = t.sendJoined(frames)
	default:
		for i := range frames {
			if _, err := unix.Write(t.fd, frames[i].Bytes()); err == nil {
				sent++
				octets += frames[i].Len()
			}
		}
	}
	t.writers.Add(-1)
	t.stats.outFrames.Add(uint64(sent))
	t.stats.outOctets.Add(uint64(octets))
	t.stats.outErrors.Add(uint64(len(frames) - sent))
	return sent
}

// Stats returns the counters.
func (t *TAP) Stats() Stats {
	c := &t.stats
	return Stats{
		InFrames: c.inFrames.Load(), InOctets: c.inOctets.Load(), InErrors: c.inErrors.Load(),
		OutFrames: c.outFrames.Load(), OutOctets: c.outOctets.Load(), OutErrors: c.outErrors.Load(),
	}
}

// Close removes the device and returns when it is gone. One that the user had made
// it leaves as it was.
func (t *TAP) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	for t.writers.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	var err error
	if t.found != nil {
		err = t.found.restore(t.link) // as long as it is ours
	}
	if err = errors.Join(err, t.device.Close()); err != nil {
		return fmt.Errorf("tap %s: %w", t.cfg.Name, err)
	}
	if t.found != nil {
		return nil
	}
	for range 100 {
		if _, err := netlink.LinkByIndex(t.link.Attrs().Index); errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("tap %s: closed, but the device is still there", t.cfg.Name)
}
