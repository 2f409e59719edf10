package demo

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/testbed/netlab"
)

// device makes a device of a host that is up until the demo ends, and whose packets
// (kind unix.IFF_TUN) or frames (unix.IFF_TAP) are read from and written to the file.
func device(ctx context.Context, n *netlab.Namespace, name string, kind uint16) (f *os.File, err error) {
	err = n.Do(func() error {
		const path = "/dev/net/tun"
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			ifr.SetUint16(kind | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		f = os.NewFile(uintptr(fd), name)
		context.AfterFunc(ctx, func() { f.Close() })
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return f, nil
}
