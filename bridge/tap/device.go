package tap

import (
	"errors"
	"io"
	"os"
	"syscall"
	"unsafe"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"

	"spanwire/bridge/vnet"
)

// A device is the file of a TAP, however it was opened.
type device interface {
	io.Closer
	syscall.Conn
}

// What TUNSETOFFLOAD takes beyond package unix: linux/if_tun.h.
const (
	offloadUSO4 = 0x20
	offloadUSO6 = 0x40
)

// kind returns what the kernel calls the device: a TAP or a TUN.
func (c *Config) kind() uint16 {
	if c.TUN {
		return unix.IFF_TUN
	}
	return unix.IFF_TAP
}

// openOffload opens the device with super-frames and partial checksums both ways: each
// frame has a virtio_net_hdr before it. uso says that the kernel knows super-frames
// of UDP too, since Linux 6.2. It is an error where the kernel knows none of it.
func openOffload(name string, kind uint16) (d device, uso bool, err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	fail := func(err error) (device, bool, error) { return nil, false, errors.Join(err, unix.Close(fd)) }
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fail(err)
	}
	ifr.SetUint16(kind | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fail(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnet.HeaderLen); err != nil {
		return fail(err)
	}
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	uso = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|offloadUSO4|offloadUSO6) == nil
	if !uso {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp); err != nil {
			return fail(err)
		}
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), uso, nil
}

// openPlain opens the device without any of that, each frame by itself; persist keeps
// one that the user has made.
func openPlain(name string, kind uint16, persist bool) (device, error) {
	mode := water.DeviceType(water.TAP)
	if kind == unix.IFF_TUN {
		mode = water.TUN
	}
	w, err := water.New(water.Config{
		DeviceType:             mode,
		PlatformSpecificParams: water.PlatformSpecificParams{Name: name, Persist: persist}, // water clears what is not asked for
	})
	if err != nil {
		return nil, err
	}
	file, ok := w.ReadWriteCloser.(device)
	if !ok {
		return nil, errors.Join(errors.New("the device is no file"), w.Close())
	}
	return file, nil
}

// The two calls below never wait, for the file is non-blocking, and so need not tell
// the scheduler that they might: it would take their P away after a few tens of
// microseconds and have another thread go on with it, which costs more than it
// gains while this one is busy in the kernel.

// read reads one frame.
func read(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// writev writes the pieces of one frame.
func writev(fd int, pieces []unix.Iovec) error {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(pieces))), uintptr(len(pieces)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
