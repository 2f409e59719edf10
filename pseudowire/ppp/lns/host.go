package lns

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A host is the kernel's idea of where packets go: its routes. It is that of the
// network namespace in which it was made. What it is told later it is told in order.
type host struct {
	handle *netlink.Handle
	index  int // of the TUN

	protected *netlink.Route // to the LNS, that we made; nil: none
	crew      *crew
	log       *slog.Logger
}

func newHost(device string, log *slog.Logger) (*host, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("lns: netlink: %w", err)
	}
	l, err := h.LinkByName(device)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("lns: %s: %w", device, err)
	}
	return &host{handle: h, index: l.Attrs().Index, crew: newCrew(1, 0), log: log}, nil
}

// close waits until all is done.
func (h *host) close() {
	h.crew.wait()
	h.handle.Close()
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// toTUN returns the route of a prefix to the TUN. src is whom the host's own packets
// are from; invalid: as the kernel chooses.
func (h *host) toTUN(p netip.Prefix, src netip.Addr) *netlink.Route {
	r := &netlink.Route{LinkIndex: h.index, Dst: ipNet(p)}
	if src.IsValid() && src.Is4() == p.Addr().Is4() {
		r.Src = src.AsSlice()
	}
	if p.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

// route lays the way to a prefix into the TUN.
func (h *host) route(p netip.Prefix, src netip.Addr) error {
	return h.handle.RouteReplace(h.toTUN(p, src))
}

// unroute takes it away. Where there is none, or no TUN any more, that is no error.
func (h *host) unroute(p netip.Prefix) error {
	err := h.handle.RouteDel(h.toTUN(p, netip.Addr{}))
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// hostRoute has the kernel know a user's prefix, or forget it, if it does not lead to
// the TUN anyway.
func (s *Server) hostRoute(p netip.Prefix, there bool) {
	if s.host == nil {
		return
	}
	for _, r := range s.cfg.Routes {
		if r.Bits() <= p.Bits() && r.Contains(p.Addr()) {
			return
		}
	}
	s.host.crew.do(func() {
		var err error
		if there {
			err = s.host.route(p, s.cfg.Address)
		} else {
			err = s.host.unroute(p)
		}
		if err != nil {
			s.log.Warn("route", "prefix", p, "error", err)
		}
	})
}

// setMTU sets the TUN's MTU.
func (h *host) setMTU(mtu int) error {
	l, err := h.handle.LinkByIndex(h.index)
	if err != nil || l.Attrs().MTU == mtu {
		return err
	}
	return h.handle.LinkSetMTU(l, mtu)
}

func (h *host) device() netlink.Link {
	return &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Index: h.index}}
}

func clientAddress(local, peer netip.Addr) *netlink.Addr {
	bits := local.BitLen()
	if local.Is6() {
		bits = 64
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: local.AsSlice(), Mask: net.CIDRMask(bits, local.BitLen())}}
	if peer.IsValid() && peer != local {
		a.Peer = ipNet(single(peer))
	}
	return a
}

// addAddress gives the TUN an address of IPv4, and the peer's for its other end.
func (h *host) addAddress(local, peer netip.Addr) error {
	return h.handle.AddrReplace(h.device(), clientAddress(local, peer))
}

// addAddress6 gives the TUN an address of IPv6, for a time; 0: for ever. Nobody else on
// the link has it.
func (h *host) addAddress6(a netip.Addr, valid, preferred time.Duration) error {
	to := clientAddress(a, netip.Addr{})
	to.Flags = unix.IFA_F_NODAD
	to.ValidLft, to.PreferedLft = lifetime(valid), lifetime(preferred)
	return h.handle.AddrReplace(h.device(), to)
}

// lifetime returns seconds as the kernel takes them, which counts no further.
func lifetime(d time.Duration) int { return int(min(int64(d/time.Second), 1<<31-1)) }

// removeAddress takes an address away, if it is there.
func (h *host) removeAddress(local, peer netip.Addr) error {
	err := h.handle.AddrDel(h.device(), clientAddress(local, peer))
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// protect leaves the way to the LNS what it is, if one of the routes to come would have
// it lead through the TUN: the tunnel itself goes that way.
func (h *host) protect(outer netip.Addr, routes []netip.Prefix) error {
	if h.protected != nil || !outer.IsValid() {
		return nil
	}
	outer = outer.Unmap().WithZone("")
	leads := false
	for _, p := range routes {
		leads = leads || p.Contains(outer)
	}
	if !leads {
		return nil
	}
	ways, err := h.handle.RouteGet(outer.AsSlice())
	if err != nil {
		return err
	}
	if len(ways) == 0 || ways[0].LinkIndex == h.index || ways[0].Type == unix.RTN_LOCAL {
		return nil
	}
	r := &netlink.Route{LinkIndex: ways[0].LinkIndex, Dst: ipNet(single(outer)), Gw: ways[0].Gw, Src: ways[0].Src}
	if outer.Is4() && r.Gw == nil {
		r.Scope = netlink.SCOPE_LINK
	}
	if err := h.handle.RouteAdd(r); err != nil {
		if errors.Is(err, unix.EEXIST) { // somebody else has, and may have it
			return nil
		}
		return err
	}
	h.protected = r
	return nil
}

// unprotect takes away what protect did.
func (h *host) unprotect() error {
	r := h.protected
	if r == nil {
		return nil
	}
	h.protected = nil
	err := h.handle.RouteDel(r)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
