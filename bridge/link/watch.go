package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A State is what the kernel says of a device.
type State struct {
	Index int
	Name  string
	MTU   int

	// Up is the administrator's will: ip link set up or down.
	Up bool

	// Carrier is what the device finds on its cable; it is false while the
	// device is down. A TAP's carrier is its owner's to set. The kernel waits
	// up to a second before it tells a Watch.
	Carrier bool

	// Running is both, with what a driver or a supplicant adds: RFC 2863's
	// ifOperStatus is up, or the device does not tell. It follows Carrier
	// after the same time.
	Running bool
}

func newState(index int, name string, mtu int, flags uint32) State {
	return State{
		Index: index, Name: name, MTU: mtu,
		Up:      flags&unix.IFF_UP != 0,
		Carrier: flags&unix.IFF_LOWER_UP != 0,
		Running: flags&unix.IFF_RUNNING != 0,
	}
}

// Read returns the present state of the device of that name. Where there is none,
// its error is an fs.ErrNotExist.
func Read(name string) (State, error) {
	l, err := byName(name)
	if err != nil {
		return State{}, fmt.Errorf("interface %s: %w", name, err)
	}
	return StateOf(l), nil
}

// byName returns the device of that name, or fs.ErrNotExist.
func byName(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, fs.ErrNotExist
	}
	return l, err
}

// StateOf returns the state that the kernel told with a device.
func StateOf(l netlink.Link) State {
	a := l.Attrs()
	return newState(a.Index, a.Name, a.MTU, a.RawFlags)
}

// A Change is the state that a device has come to, or, where it is deleted or has
// left the namespace, the last that it had.
type Change struct {
	State
	Deleted bool
}

// Watch tells of the devices of the network namespace that it is called in: at first
// of each that is there, then of each that becomes different in what a State says.
// A rename is a difference; a device whose name another has now is told to be
// deleted before, and appears again if it is there under another name. Watch calls
// tell from the goroutine that it was called in, and returns nil when ctx has ended.
//
// When the kernel tells more than there is room for, as while tell does not return,
// Watch lists all devices anew: states between may be missed, the last one is not.
// One Watch will do for a process.
func Watch(ctx context.Context, tell func(Change)) error {
	return new(watch).run(ctx, tell)
}

// watchBuffer is for the news of some hundred devices at once.
const watchBuffer = 1 << 20

// A watch has one socket, to which the kernel sends both its news and the list that
// it is asked for: what comes later is what was later.
type watch struct {
	tell  func(Change)
	known map[int]State
	names map[string]int // the indices of what is known
	seen  map[int]bool   // told of since a list was asked for, true: by news; nil: no list is coming
	stale bool           // there is more than is known: a list is needed
	gap   bool           // the list that is coming was disturbed

	overruns, lists atomic.Int64 // for tests: news lost, lists complete
}

func (w *watch) run(ctx context.Context, tell func(Change)) error {
	w.init(tell)
	file, err := subscribe()
	if err != nil {
		return fmt.Errorf("watching interfaces: %w", err)
	}
	defer file.Close()
	defer context.AfterFunc(ctx, func() { file.Close() })()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watching interfaces: %w", err)
	}
	buf := make([]byte, 1<<16) // the kernel's own messages have 32 KiB at most
	for {
		var n int
		var failed error
		err := raw.Read(func(fd uintptr) (done bool) {
			n, done, failed = w.receive(int(fd), buf)
			return done
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Join(err, failed) != nil:
			return fmt.Errorf("watching interfaces: %w", errors.Join(err, failed))
		}
		if err := w.take(buf[:n]); err != nil {
			return fmt.Errorf("watching interfaces: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (w *watch) init(tell func(Change)) {
	w.tell, w.known, w.names, w.stale = tell, make(map[int]State), make(map[string]int), true
}

// subscribe opens a socket that hears of devices.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// Less is no error: it means a list now and then.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// receive reads one datagram into b; done is false where none is there. The kernel,
// once it had no room, says so once and then drops all until everything is read. So
// it is only then that a list is worth asking for.
func (w *watch) receive(fd int, b []byte) (n int, done bool, err error) {
	for {
		n, from, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
		case err == unix.ENOBUFS:
			w.overruns.Add(1)
			w.stale = true
		case err == unix.EAGAIN && w.stale && w.seen == nil:
			if err := w.list(fd); err != nil {
				return 0, true, err
			}
		case err == unix.EAGAIN:
			return 0, false, nil
		case err != nil:
			return 0, true, os.NewSyscallError("recvfrom", err)
		default:
			if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid == 0 { // from the kernel
				return n, true, nil
			}
		}
	}
}

// list asks for all devices.
func (w *watch) list(fd int) error {
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETLINK)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	w.stale, w.gap, w.seen = false, false, make(map[int]bool)
	return nil
}

// cut takes the first item off b, a netlink message or attribute of n octets, and
// the octets that align the next one. It takes none that is not there in whole.
func cut(b []byte, n, header int) (item, rest []byte, ok bool) {
	if n < header || n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[min((n+3)&^3, len(b)):], true
}

var errMessage = errors.New("a message of the kernel's that cannot be read")

// take takes what the kernel says in one datagram.
func (w *watch) take(b []byte) error {
	for len(b) >= unix.SizeofNlMsghdr {
		m, rest, ok := cut(b, int(binary.NativeEndian.Uint32(b)), unix.SizeofNlMsghdr)
		if !ok {
			return errMessage
		}
		b = rest
		kind, flags := binary.NativeEndian.Uint16(m[4:]), binary.NativeEndian.Uint16(m[6:])
		m = m[unix.SizeofNlMsghdr:]
		if flags&unix.NLM_F_DUMP_INTR != 0 {
			w.gap = true
		}
		switch kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(m) >= 4 {
				if e := int32(binary.NativeEndian.Uint32(m)); e < 0 {
					return os.NewSyscallError("list", syscall.Errno(-e))
				}
			}
			w.listed()
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			w.device(kind, flags, m)
		}
	}
	return nil
}

// device takes news of one device, or an entry of a list. News of the family
// AF_BRIDGE is of a port: it is "deleted" when it leaves its bridge.
func (w *watch) device(kind, flags uint16, m []byte) {
	if len(m) < unix.SizeofIfInfomsg || m[0] != unix.AF_UNSPEC {
		return
	}
	index := int(int32(binary.NativeEndian.Uint32(m[4:])))
	switch news := flags&unix.NLM_F_MULTI == 0; {
	case w.seen == nil:
	case !news && w.seen[index]:
		// The kernel makes an entry of the list somewhat before it sends it. If
		// it is newer than the news, there will be more of them.
		return
	default:
		w.seen[index] = news
	}
	if kind == unix.RTM_DELLINK {
		w.delete(index)
		return
	}
	was := w.known[index]
	name, mtu := was.Name, was.MTU
	for b := m[unix.SizeofIfInfomsg:]; len(b) >= unix.SizeofRtAttr; {
		a, rest, ok := cut(b, int(binary.NativeEndian.Uint16(b)), unix.SizeofRtAttr)
		if !ok {
			break
		}
		b = rest
		value := a[unix.SizeofRtAttr:]
		switch kind := binary.NativeEndian.Uint16(a[2:]); {
		case kind == unix.IFLA_IFNAME:
			name = unix.ByteSliceToString(value)
		case kind == unix.IFLA_MTU && len(value) >= 4:
			mtu = int(binary.NativeEndian.Uint32(value))
		}
	}
	s := newState(index, name, mtu, binary.NativeEndian.Uint32(m[8:]))
	if s == was {
		return
	}
	if other, ok := w.names[name]; ok && other != index {
		w.delete(other) // or renamed, of which there will be news
	}
	if name != was.Name {
		delete(w.names, was.Name)
	}
	w.known[index], w.names[name] = s, index
	w.tell(Change{State: s})
}

func (w *watch) delete(index int) {
	if s, ok := w.known[index]; ok {
		delete(w.known, index)
		delete(w.names, s.Name)
		w.tell(Change{State: s, Deleted: true})
	}
}

// listed ends a list: what is not in it is gone, unless it was disturbed.
func (w *watch) listed() {
	seen := w.seen
	w.seen = nil
	if w.gap {
		w.stale = true
		return
	}
	for index := range w.known {
		if _, ok := seen[index]; !ok {
			w.delete(index)
		}
	}
	w.lists.Add(1)
}
