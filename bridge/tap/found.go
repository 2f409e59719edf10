package tap

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A found device is a persistent TAP that the user has made, as it was then.
type found struct {
	was     *netlink.LinkAttrs
	genMode []byte          // how it gives itself IPv6 addresses; nil: it does not
	added   []*netlink.Addr // what it did not have
}

var errHeld = errors.New("a TAP of this name exists and a process holds it, want a free name")

// find looks for a device that has the name of a TAP to be opened. It returns nil
// if there is none, and an error if it is not one that we can take.
func find(name string, kind uint16) (*found, error) {
	l, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mode := netlink.TUNTAP_MODE_TAP
	if kind == unix.IFF_TUN {
		mode = netlink.TUNTAP_MODE_TUN
	}
	device, ok := l.(*netlink.Tuntap)
	switch {
	case !ok || device.Mode != netlink.TuntapMode(mode):
		return nil, fmt.Errorf("an interface of this name exists (type %s), want a free name", l.Type())
	case device.Flags&netlink.TUNTAP_MULTI_QUEUE != 0:
		return nil, errors.New("a TAP of this name exists and has multi_queue, want a free name or a TAP without")
	case device.NonPersist:
		return nil, errHeld
	}
	// water keeps the file open when it cannot attach, so it is not to try in vain.
	if err := attachable(name, kind); err != nil {
		return nil, why(err)
	}
	genMode, err := os.ReadFile(genModeOf(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &found{was: l.Attrs(), genMode: genMode}, nil
}

// attachable attaches to a TAP and lets go of it.
func attachable(name string, kind uint16) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(kind | unix.IFF_NO_PI)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
}

func genModeOf(name string) string { return "/proc/sys/net/ipv6/conf/" + name + "/addr_gen_mode" }

// restore makes the device what it was, unless somebody has deleted it.
func (f *found) restore(l netlink.Link) (err error) {
	if _, err := netlink.LinkByIndex(f.was.Index); errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	for _, a := range f.added {
		err = errors.Join(err, netlink.AddrDel(l, a))
	}
	if f.was.Flags&net.FlagUp == 0 {
		err = errors.Join(err, netlink.LinkSetDown(l))
	}
	err = errors.Join(err,
		netlink.LinkSetMasterByIndex(l, f.was.MasterIndex), // 0: none
		netlink.LinkSetMTU(l, f.was.MTU),
		netlink.LinkSetHardwareAddr(l, f.was.HardwareAddr),
		netlink.LinkSetAlias(l, f.was.Alias),
	)
	if f.genMode != nil {
		err = errors.Join(err, os.WriteFile(genModeOf(f.was.Name), f.genMode, 0))
	}
	return err
}
