package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/netlab"
)

const lanHelp = `Demo makes two sites in network namespaces of its own, runs Spanwire in each, and
shows that their LANs are one: one dials, the other accepts, and both know a secret;
then ARP, ping over IPv4 and IPv6, the control messages and frames on the wire, the
status of both ends and the throughput.`

// lan shows that the LANs of two sites are one.
func lan(ctx context.Context, d *demo) error {
	d.tell("Two sites: host -- router with Spanwire == network == router with Spanwire -- host\n")
	for _, s := range d.sites {
		if err := d.lab.Veth(s.host, "eth0", s.router, "lan", 1500); err != nil {
			return err
		}
		if err := d.lab.Bridge(s.router, "br-lan", "lan"); err != nil {
			return err
		}
		if err := s.addresses("eth0"); err != nil {
			return err
		}
	}
	if err := d.configure(func(_ int, s *site) string {
		return fmt.Sprintf(`[tunnel.%s.session.office]
tap    = "office0"
bridge = "br-lan"
`, s.peer)
	}); err != nil {
		return err
	}
	capture, err := d.sites[0].router.Capture("wan")
	if err != nil {
		return err
	}
	defer capture.Close()
	for _, step := range []func() error{
		func() error { return d.start(ctx) },
		func() error { return d.established(ctx) },
		d.reach,
		d.neighbour,
		func() error { return d.wire(capture) },
		func() error { return d.status(ctx) },
		d.throughput,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// neighbour looks at what ARP found.
func (d *demo) neighbour() error {
	a, b := d.sites[0], d.sites[1]
	return a.host.Do(func() error {
		want := netip.MustParsePrefix(b.host4).Addr()
		neighbours, err := netlink.NeighList(0, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, n := range neighbours {
			if n.IP.Equal(want.AsSlice()) && n.HardwareAddr != nil {
				d.tell("ARP  %-16s is at %s, in the other site\n", want, n.HardwareAddr)
				return nil
			}
		}
		return fmt.Errorf("ARP: %s has no neighbour entry for %s", a.name, want)
	})
}

// wire shows what crossed the network between.
func (d *demo) wire(capture *netlab.Capture) error {
	d.tell("\n--- on the network between\n")
	all := drain(capture, "", func(frame []byte) (string, bool) { return decode(frame, decodeEthernet) })
	if len(all) == 0 {
		return errors.New("no L2TPv3 frame was seen on the network")
	}
	d.list(all[:min(len(all), 16)])
	return nil
}

// throughput fills one TCP connection from host to host for two seconds.
func (d *demo) throughput() error {
	a, b := d.sites[0], d.sites[1]
	if err := d.segment(true); err != nil {
		return err
	}
	to := net.JoinHostPort(netip.MustParsePrefix(b.host4).Addr().String(), "5001")
	var l net.Listener
	err := b.host.Do(func() (err error) {
		l, err = net.Listen("tcp4", to)
		return err
	})
	if err != nil {
		return err
	}
	defer l.Close()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	sent := make(chan error, 1)
	go func() {
		sent <- a.host.Do(func() error { return transmit(to, 2*time.Second) })
	}()
	rate, err := receive(l)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if rate == 0 {
		return errors.New("throughput: nothing came through")
	}
	d.tell("\n--- throughput, host to host, one TCP connection for 2 s: %.2f Gbit/s\n", rate*8/1e9)
	return nil
}
