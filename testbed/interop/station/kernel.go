package station

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// CookieDiscards returns how many packets the kernel's L2TP dropped on the
// session of this interface because of their cookie. linux/l2tp.h.
func CookieDiscards(device string) (uint64, error) {
	const (
		commandSessionGet = 8
		attrIfname        = 8
		attrStats         = 30
		statsCookies      = 10 // L2TP_ATTR_RX_COOKIE_DISCARDS
		nested            = unix.NLA_F_NESTED
	)
	family, err := netlink.GenlFamilyGet("l2tp")
	if err != nil {
		return 0, fmt.Errorf("generic netlink family l2tp: %w", err)
	}
	request := nl.NewNetlinkRequest(int(family.ID), 0)
	request.AddData(&nl.Genlmsg{Command: commandSessionGet, Version: 1})
	request.AddData(nl.NewRtAttr(attrIfname, nl.ZeroTerminated(device)))
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(answers) != 1 {
		return 0, fmt.Errorf("l2tp session of %s: %d answers, want 1: %w", device, len(answers), err)
	}
	attrs, err := nl.ParseRouteAttr(answers[0][nl.SizeofGenlmsg:])
	if err != nil {
		return 0, err
	}
	for _, a := range attrs {
		if a.Attr.Type&^nested != attrStats {
			continue
		}
		stats, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return 0, err
		}
		for _, s := range stats {
			if s.Attr.Type == statsCookies {
				return binary.NativeEndian.Uint64(s.Value), nil
			}
		}
	}
	return 0, fmt.Errorf("l2tp session of %s: no counter of cookie discards", device)
}
