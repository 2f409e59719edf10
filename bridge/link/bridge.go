// Package link is what Spanwire does to Linux's own devices: bridges that are
// made if they are missing, and left as they were found.
package link

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mark is the alias of a bridge that a Spanwire has made, by which the next one
// knows it, also after a kill -9.
const mark = "spanwire"

// forwardGroups is a bridge's group_fwd_mask that lets the frames to all of
// 01:80:c2:00:00:03 to 0f pass, LLDP's (0e) and 802.1X's (03) among them. STP frames
// (00) pass without, as long as the bridge's own STP is off. The kernel refuses the
// bits of pause and LACP frames (01, 02) here. A port's own mask takes that of LACP,
// but would have to be set on the LAN's ports too, which are not ours.
const forwardGroups = 0xfff8

// A Bridge is a handle to a Linux bridge. There may be several to one bridge, in
// this process and in others; each is closed after the TAPs that it was opened for.
type Bridge struct {
	name string
	link netlink.Link
	ours bool
}

// OpenBridge returns the bridge of that name, and makes it if it is missing: up,
// without STP, forwarding LLDP and its like, its address derived from owner and name so that it
// is the same after each start.
func OpenBridge(name, owner string) (*Bridge, error) { return open(fresh(name, owner)) }

// OpenVLANBridge is OpenBridge for ports that have VLANs of their own, see SetVLANs: it
// makes a bridge that filters by VLAN (vlan_filtering 1, and vlan_default_pvid 1 as
// the kernel has it), and one that is there must do so. Only where a Spanwire had made it
// and it has no ports is that turned on: else it would not be the same to others any
// more.
func OpenVLANBridge(name, owner string) (*Bridge, error) {
	l, on := fresh(name, owner), true
	l.VlanFiltering = &on
	return open(l)
}

// fresh returns a bridge as it is to be made.
func fresh(name, owner string) *netlink.Bridge {
	sum := sha256.Sum256([]byte(owner + "\x00bridge\x00" + name))
	sum[0] = sum[0]&^1 | 2
	mask := uint16(forwardGroups)
	l := &netlink.Bridge{
		LinkAttrs:    netlink.NewLinkAttrs(),
		GroupFwdMask: &mask,
	}
	l.Name, l.HardwareAddr, l.Flags = name, net.HardwareAddr(sum[:6]), net.FlagUp
	return l
}

// open opens the bridge that is there, or makes it as it is wanted.
func open(wanted *netlink.Bridge) (*Bridge, error) {
	l, err := netlink.LinkByName(wanted.Name)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		return makeBridge(wanted)
	case err != nil:
		return nil, fmt.Errorf("bridge %s: %w", wanted.Name, err)
	case l.Type() != "bridge":
		return nil, fmt.Errorf("bridge %s: an interface of this name exists (type %s), want a bridge or a free name", wanted.Name, l.Type())
	}
	b := &Bridge{name: wanted.Name, link: l, ours: l.Attrs().Alias == mark}
	if wanted.VlanFiltering != nil {
		if err := b.filter(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func makeBridge(l *netlink.Bridge) (*Bridge, error) {
	err := netlink.LinkAdd(l)
	switch {
	case errors.Is(err, unix.EEXIST):
		return open(l) // another Spanwire was quicker
	case errors.Is(err, unix.EOPNOTSUPP) && l.VlanFiltering != nil:
		return nil, fmt.Errorf("bridge %s: vlan_filtering: %w: want a kernel with CONFIG_BRIDGE_VLAN_FILTERING", l.Name, err)
	case err != nil:
		return nil, fmt.Errorf("bridge %s: %w", l.Name, err)
	}
	if err := netlink.LinkSetAlias(l, mark); err != nil {
		return nil, errors.Join(fmt.Errorf("bridge %s: %w", l.Name, err), netlink.LinkDel(l))
	}
	return &Bridge{name: l.Name, link: l, ours: true}, nil
}

// filter wants the bridge to filter by VLAN.
func (b *Bridge) filter() error {
	err := filters(b.link)
	if err == nil || !b.ours {
		return err
	}
	if _, used, bad := b.look(); used || bad != nil {
		return errors.Join(err, bad)
	}
	on := true
	only := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs(), VlanFiltering: &on} // the rest as it is
	only.Name = b.name                                                             // and no index: with it older kernels would rename, which a device that is up refuses
	if err := netlink.LinkModify(only); err != nil {
		return fmt.Errorf("bridge %s: vlan_filtering: %w", b.name, err)
	}
	return nil
}

// Name returns the bridge's name.
func (b *Bridge) Name() string { return b.name }

// Ours reports whether a Spanwire had made the bridge when it was opened.
func (b *Bridge) Ours() bool { return b.ours }

// Close leaves a bridge that was found as it is. One that a Spanwire made it
// removes, unless it still has ports: then another needs it, and if that is a
// Spanwire, it goes with that. The mark decides as it is now: another Spanwire may
// have set it since, or the user taken it off to keep the bridge.
func (b *Bridge) Close() error {
	ours, used, err := b.look()
	if err != nil || used || !ours {
		return err
	}
	if err := netlink.LinkDel(b.link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("bridge %s: %w", b.name, err)
	}
	return nil
}

// look reports how the bridge is now: marked as a Spanwire's, and whether it has
// ports.
func (b *Bridge) look() (ours, used bool, _ error) {
	links, err := netlink.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // something came or went meanwhile
		links, err = netlink.LinkList()
	}
	if err != nil {
		return false, false, fmt.Errorf("bridge %s: %w", b.name, err)
	}
	for _, l := range links {
		switch a := l.Attrs(); b.link.Attrs().Index {
		case a.MasterIndex:
			used = true
		case a.Index:
			ours = a.Alias == mark
		}
	}
	return ours, used, nil
}
