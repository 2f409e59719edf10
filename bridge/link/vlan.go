package link

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// maxVID is the greatest identifier of a VLAN: 0 and 4095 are reserved, IEEE 802.1Q
// section 9.6.
const maxVID = 4094

// VLANs are those of a bridge's port. Their tags are the bridge's vlan_protocol's,
// 802.1Q's unless the user has chosen otherwise: to such a bridge an S-tag is no tag.
type VLANs struct {
	// PVID is the VLAN of the frames that have no tag on the port, whichever way they
	// go; 0: there is none, and such frames are dropped.
	PVID uint16

	// Tagged are the VLANs of the frames that have their tag on the port, in any
	// order. A frame of another VLAN is dropped.
	Tagged []uint16
}

// SetVLANs makes the VLANs of a device those of v, and no others. The device is a port of
// a bridge that filters by VLAN, see OpenVLANBridge: when it became one it got the bridge's
// vlan_default_pvid. The zero value leaves its VLANs as they are.
//
// A port that is down passes no frames: so none goes astray if its VLANs are set before
// it is up.
func SetVLANs(device string, v VLANs) error {
	if err := v.set(device); err != nil {
		return fmt.Errorf("interface %s: %w", device, err)
	}
	return nil
}

func (v VLANs) set(device string) error {
	if v.PVID == 0 && len(v.Tagged) == 0 {
		return nil
	}
	wanted := slices.Compact(slices.Sorted(slices.Values(v.Tagged)))
	if err := v.check(wanted); err != nil {
		return err
	}
	l, err := byName(device)
	if err != nil {
		return err
	}
	if l.Attrs().MasterIndex == 0 {
		return errors.New("it is in no bridge, want a port of a bridge to give it VLANs")
	}
	bridge, err := netlink.LinkByIndex(l.Attrs().MasterIndex)
	if err != nil {
		return err
	}
	if err := filters(bridge); err != nil {
		return err
	}
	has, err := vlansOf(l)
	if err != nil {
		return fmt.Errorf("vlans: %w", err)
	}
	// First those that it is to leave: a frame is better lost than in a wrong VLAN.
	delete(has, v.PVID)
	for _, vid := range wanted {
		delete(has, vid)
	}
	err = runs(slices.Sorted(maps.Keys(has)), func(first, last uint16) error {
		return netlink.BridgeVlanDelRange(l, first, last, false, false, false, false)
	})
	if err != nil {
		return fmt.Errorf("vlans: %w", err)
	}
	if v.PVID != 0 {
		if err := netlink.BridgeVlanAdd(l, v.PVID, true, true, false, false); err != nil {
			return fmt.Errorf("untagged VLAN %d: %w", v.PVID, err)
		}
	}
	return runs(wanted, func(first, last uint16) error {
		if err := netlink.BridgeVlanAddRange(l, first, last, false, false, false, false); err != nil {
			return fmt.Errorf("tagged VLAN %d: %w", first, err)
		}
		return nil
	})
}

// check returns what is wrong with the VLANs, of which tagged are sorted.
func (v VLANs) check(tagged []uint16) error {
	for _, vid := range append([]uint16{max(v.PVID, 1)}, tagged...) {
		if vid < 1 || vid > maxVID {
			return fmt.Errorf("VLAN %d, want 1 to %d", vid, maxVID)
		}
	}
	if _, both := slices.BinarySearch(tagged, v.PVID); both {
		return fmt.Errorf("VLAN %d is both untagged and tagged, want one of them", v.PVID)
	}
	return nil
}

// filters wants a device to be a bridge that filters by VLAN.
func filters(l netlink.Link) error {
	name := l.Attrs().Name
	bridge, ok := l.(*netlink.Bridge)
	switch {
	case !ok:
		return fmt.Errorf("%s is of type %s, want a bridge", name, l.Type())
	case bridge.VlanFiltering == nil || !*bridge.VlanFiltering:
		return fmt.Errorf("bridge %s: vlan_filtering is off, want it on: ip link set %s type bridge vlan_filtering 1", name, name)
	}
	return nil
}

// vlansOf returns the VLANs that a port has.
func vlansOf(port netlink.Link) (map[uint16]*nl.BridgeVlanInfo, error) {
	all, err := netlink.BridgeVlanList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // something came or went meanwhile
		all, err = netlink.BridgeVlanList()
	}
	if err != nil {
		return nil, err
	}
	has := make(map[uint16]*nl.BridgeVlanInfo)
	for _, info := range all[int32(port.Attrs().Index)] {
		has[info.Vid] = info
	}
	return has, nil
}

// runs calls f for each run of sorted VLANs without a gap. Last is 0 if there is but
// the first, as the kernel wants it.
func runs(vids []uint16, f func(first, last uint16) error) error {
	for len(vids) > 0 {
		first, last, n := vids[0], uint16(0), 1
		for ; n < len(vids) && vids[n] == vids[n-1]+1; n++ {
			last = vids[n]
		}
		if err := f(first, last); err != nil {
			return err
		}
		vids = vids[n:]
	}
	return nil
}
