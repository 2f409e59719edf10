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
func OpenBridge(name, owner string) (*Bridge, error) {
	l, err := netlink.LinkByName(name)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		return makeBridge(name, owner)
	case err != nil:
		return nil, fmt.Errorf("bridge %s: %w", name, err)
	case l.Type() != "bridge":
		return nil, fmt.Errorf("bridge %s: an interface of this name exists (type %s), want a bridge or a free name", name, l.Type())
	}
	return &Bridge{name: name, link: l, ours: l.Attrs().Alias == mark}, nil
}

func makeBridge(name, owner string) (*Bridge, error) {
	sum := sha256.Sum256([]byte(owner + "\x00bridge\x00" + name))
	sum[0] = sum[0]&^1 | 2
	mask := uint16(forwardGroups)
	l := &netlink.Bridge{
		LinkAttrs:    netlink.NewLinkAttrs(),
		GroupFwdMask: &mask,
	}
	l.Name, l.HardwareAddr, l.Flags = name, net.HardwareAddr(sum[:6]), net.FlagUp
	if err := netlink.LinkAdd(l); errors.Is(err, unix.EEXIST) {
		return OpenBridge(name, owner) // another Spanwire was quicker
	} else if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", name, err)
	}
	if err := netlink.LinkSetAlias(l, mark); err != nil {
		return nil, errors.Join(fmt.Errorf("bridge %s: %w", name, err), netlink.LinkDel(l))
	}
	return &Bridge{name: name, link: l, ours: true}, nil
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
	links, err := netlink.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // something came or went meanwhile
		links, err = netlink.LinkList()
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", b.name, err)
	}
	ours := false
	for _, l := range links {
		switch a := l.Attrs(); b.link.Attrs().Index {
		case a.MasterIndex:
			return nil
		case a.Index:
			ours = a.Alias == mark
		}
	}
	if !ours {
		return nil
	}
	if err := netlink.LinkDel(b.link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("bridge %s: %w", b.name, err)
	}
	return nil
}
