package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/testbed/netlab"
)

const vlanHelp = `Vlan makes two sites in network namespaces of its own, each with a host on a trunk,
and runs Spanwire in each. VLAN 10 of lyon's trunk and VLAN 20 of paris's become one by
a VLAN pseudowire (RFC 4719): ping crosses, and is shown on both trunks and on the
network between, each time with its tag. VLAN 11 has no session and stays where it is.`

// vlan shows that a VLAN of one trunk and another VLAN of another trunk are one.
func vlan(ctx context.Context, d *demo) error {
	vlans := [2]uint16{10, 20}
	const stranger = 11
	d.tell("Two sites: host -- trunk -- router with Spanwire == network == router with Spanwire -- trunk -- host\n")
	for i, s := range d.sites {
		if err := d.lab.Veth(s.host, "eth0", s.router, "trunk", 1500); err != nil {
			return err
		}
		for _, vlan := range []uint16{vlans[i], stranger} {
			if err := tagged(ctx, s.host, "eth0", vlan); err != nil {
				return err
			}
		}
		if err := s.addresses(fmt.Sprintf("eth0.%d", vlans[i])); err != nil {
			return err
		}
		if err := s.host.Addr(fmt.Sprintf("eth0.%d", stranger), strangers[i]); err != nil {
			return err
		}
		d.tell("The host in %-5s is %s on VLAN %d, and %s on VLAN %d.\n", s.name, s.host4, vlans[i], strangers[i], stranger)
	}
	if err := d.configure(func(i int, s *site) string {
		return fmt.Sprintf(`[tunnel.%s.session.staff]
pseudowire = "vlan"
interface  = "trunk"
vlan       = %d
`, s.peer, vlans[i])
	}); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.established(ctx); err != nil {
		return err
	}
	all, closeAll, err := d.trunks()
	if err != nil {
		return err
	}
	defer closeAll()
	if err := d.reach(); err != nil {
		return err
	}
	d.tell("\n--- where each frame was seen, and with which tag\n")
	sights := all()
	d.list(sights)
	for i, s := range d.sites {
		if !slices.ContainsFunc(sights, func(x sight) bool { return x.place == s.trunk() }) {
			return fmt.Errorf("nothing was seen on the trunk in %s", s.name)
		}
		for _, x := range sights {
			if want := fmt.Sprintf("VLAN %d ", vlans[i]); x.place == s.trunk() && !strings.HasPrefix(x.line, want) {
				return fmt.Errorf("on the trunk in %s, want %s: %s", s.name, want, x.line)
			}
		}
	}
	if err := d.stays(all, stranger); err != nil {
		return err
	}
	return d.status(ctx)
}

// strangers are the hosts' addresses on the VLAN that has no session.
var strangers = [2]netip.Prefix{netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("203.0.113.2/24")}

func (s *site) trunk() string { return "trunk in " + s.name }

// trunks captures on both trunks and between. All returns what was seen since it was
// called last.
func (d *demo) trunks() (all func() []sight, closeAll func(), err error) {
	a, b := d.sites[0], d.sites[1]
	var captures []*netlab.Capture
	closeAll = func() {
		for _, c := range captures {
			c.Close()
		}
	}
	for _, ear := range []struct {
		router *netlab.Namespace
		device string
	}{{a.router, "trunk"}, {a.router, "wan"}, {b.router, "trunk"}} {
		c, err := ear.router.Capture(ear.device)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		captures = append(captures, c)
	}
	return func() []sight {
		return slices.Concat(
			drain(captures[0], a.trunk(), decodeEthernet),
			drain(captures[1], "network", func(frame []byte) (string, bool) { return decode(frame, decodeEthernet) }),
			drain(captures[2], b.trunk(), decodeEthernet),
		)
	}, closeAll, nil
}

// stays shows that frames of another VLAN do not pass, although somebody in the other
// site would answer.
func (d *demo) stays(all func() []sight, vlan uint16) error {
	a, to := d.sites[0], strangers[1].Addr()
	d.tell("\n--- VLAN %d has no session\n", vlan)
	limit := time.Second
	err := a.host.Do(func() error {
		_, err := ping(to, limit)
		return err
	})
	if err == nil {
		return fmt.Errorf("ping %s was answered, by way of VLAN %d", to, vlan)
	}
	if !errors.Is(err, errNoAnswer) {
		return err
	}
	d.tell("ping %-16s not answered within %v, as it should be\n", to, limit)
	sights := all()
	d.list(sights)
	if len(sights) == 0 {
		return fmt.Errorf("VLAN %d was not even seen on the trunk in %s", vlan, a.name)
	}
	for _, s := range sights {
		if s.place != a.trunk() {
			return fmt.Errorf("VLAN %d went further: %s%s", vlan, s.place, s.line)
		}
	}
	d.tell("It was seen nowhere else: not on the network between, not on the trunk in %s.\n", d.sites[1].name)
	return nil
}

// tagged makes what is an 802.1Q device elsewhere, "eth0.10", also where the kernel
// has none: a TAP whose frames are on another device with the tag of a VLAN.
func tagged(ctx context.Context, n *netlab.Namespace, on string, vlan uint16) error {
	const addresses, tag = 12, 4
	tap, err := device(ctx, n, fmt.Sprintf("%s.%d", on, vlan), unix.IFF_TAP)
	if err != nil {
		return err
	}
	port, err := n.Capture(on)
	if err != nil {
		return err
	}
	go func() { // until the TAP is closed
		for b := make([]byte, 1<<16); ; {
			n, err := tap.Read(b)
			if err != nil {
				return
			}
			header := binary.BigEndian.AppendUint16(slices.Clone(b[:addresses]), etherTypeVLAN)
			port.Send(append(binary.BigEndian.AppendUint16(header, vlan), b[addresses:n]...))
		}
	}()
	go func() {
		defer port.Close()
		for ctx.Err() == nil {
			b, err := port.Receive(time.Now().Add(100 * time.Millisecond))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
			if err != nil {
				return
			}
			if len(b) >= addresses+tag && binary.BigEndian.Uint16(b[addresses:]) == etherTypeVLAN && binary.BigEndian.Uint16(b[addresses+2:])&vlanBits == vlan {
				tap.Write(append(b[:addresses:addresses], b[addresses+tag:]...))
			}
		}
	}()
	return nil
}
