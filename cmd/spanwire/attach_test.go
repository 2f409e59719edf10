package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/cmd/internal/api"
)

// segment makes an interface, eth1, whose cable ends at ce, with a host's address.
func (s *site) segment(t *testing.T, address string) {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "ce"}
	veth.Name = "eth1"
	s.add(t, veth)
	s.up(t, "ce")
	s.address(t, "ce", address)
}

// circuit waits until a session's peer says that its circuit is as wanted.
func (p *process) circuit(t *testing.T, want string) {
	t.Helper()
	eventually(t, "the peer's circuit "+want, func() error {
		s, err := api.Dial(p.socket).Status(context.Background())
		if err != nil {
			return err
		}
		if got := s.Tunnels[0].Sessions[0].Call.PeerCircuit; !strings.HasPrefix(got, want) {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

// TestInterface has hosts talk whose sites' routers take an interface whole: one that
// is there only later, loses its cable, is deleted and made again, and one that has an
// address, of which there is a warning.
func TestInterface(t *testing.T) {
	t.Parallel()
	lyon, paris := twoSites(t)
	with := func(file, peer, keys string) string {
		file, _, _ = strings.Cut(strings.Replace(file, "PEER", peer, 1), "tap ")
		return file + keys + "\n"
	}
	paris.segment(t, "10.9.0.2/24")
	paris.address(t, "eth1", "203.0.113.1/24") // which it should not have
	l := lyon.start(t, with(dialFile, "192.0.2.2:1701", `interface = "eth1"`))
	p := paris.start(t, with(acceptFile, "192.0.2.1", `interface = "eth1"`))
	l.sessions(t, 1)
	p.circuit(t, "inactive")
	lyon.segment(t, "10.9.0.1/24")
	p.circuit(t, "active")
	k := newTalk(t, lyon, "10.9.0.1", paris, "10.9.0.2")
	eventually(t, "an echo", func() error { return k.once(100) })

	status, err := api.Dial(l.socket).Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s := status.Tunnels[0].Sessions[0]
	if s.Interface != "eth1" || s.TAP != "" || s.MTU != 1500 || s.Segment["in_frames"] == 0 || s.Segment["out_frames"] == 0 {
		t.Errorf("session: %+v", s)
	}
	for p, want := range map[*process]bool{l: false, p: true} {
		if warned := strings.Contains(p.logged(), "the interface has addresses"); warned != want {
			t.Errorf("warned of addresses: %v, want %v", warned, want)
		}
	}

	// The host's end goes down: the peer is told.
	if err := lyon.links.LinkSetDown(lyon.link(t, "ce")); err != nil {
		t.Fatal(err)
	}
	p.circuit(t, "inactive")
	var out, problems strings.Builder
	const inactive = "paris/office: our circuit is inactive, interface eth1 (down): the peer sends nothing"
	if code := Main([]string{"status", "--control", l.socket}, &out, &problems); code != 0 || !strings.Contains(out.String(), inactive) {
		t.Errorf("status: exit code %d, want %q in:\n%s", code, inactive, &out)
	}
	lyon.up(t, "ce")
	p.circuit(t, "active")
	eventually(t, "an echo with the cable back", func() error { return k.once(101) })
	for _, want := range []string{"interface down", "interface up"} {
		if !strings.Contains(l.logged(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}

	// It is deleted, and made again with an address of its own.
	if err := lyon.links.LinkDel(lyon.link(t, "eth1")); err != nil {
		t.Fatal(err)
	}
	p.circuit(t, "inactive")
	lyon.segment(t, "10.9.0.1/24")
	p.circuit(t, "active")
	eventually(t, "an echo by another interface of that name", func() error { return k.once(102) })
	if !strings.Contains(l.logged(), "interface lost") {
		t.Error("the log does not tell of the loss")
	}

	// Another interface gets its name.
	for _, name := range []string{"eth1", "ce"} {
		former := lyon.link(t, name)
		if err := errors.Join(lyon.links.LinkSetDown(former), lyon.links.LinkSetName(former, "old"+name)); err != nil {
			t.Fatal(err)
		}
	}
	p.circuit(t, "inactive")
	lyon.segment(t, "10.9.0.1/24")
	p.circuit(t, "active")
	eventually(t, "an echo by the interface that has the name now", func() error { return k.once(103) })

	for _, process := range []*process{l, p} {
		process.Process.Signal(syscall.SIGTERM)
		if code := process.ends(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	for _, s := range []*site{lyon, paris} {
		if a := s.link(t, "eth1").Attrs(); a.Promisc != 0 || a.RawFlags&unix.IFF_UP == 0 {
			t.Errorf("afterwards the interface is %+v, want as it was", a)
		}
	}
}

// TestHubOfBranches has branches dial a centre whose one session is a template in a
// hub: they and the centre's LAN are one, or, as spokes, reach the LAN alone; a BPDU
// disables a branch until its session comes anew.
func TestHubOfBranches(t *testing.T) {
	t.Parallel()
	centre, branches := newSite(t), []*site{newSite(t), newSite(t)}
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = "wan"
	centre.add(t, bridge)
	centre.address(t, "wan", "192.0.2.1/24")
	for i, b := range branches {
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: fmt.Sprintf("wan%d", i), PeerNamespace: netlink.NsFd(centre.ns)}
		veth.Name = "wan"
		b.add(t, veth)
		b.address(t, "wan", fmt.Sprintf("192.0.2.%d/24", i+2))
		port := centre.link(t, veth.PeerName)
		if err := centre.links.LinkSetMaster(port, bridge); err != nil {
			t.Fatal(err)
		}
		centre.up(t, veth.PeerName)
	}
	const hub = `
[node]
hostname = "centre"
control  = "CONTROL"
[hub.lab]
[hub.lab.port.lan]
tap       = "lan0"
addresses = ["10.9.0.1/24"]
[tunnel.branches]
mode   = "accept"
local  = "192.0.2.1:1701"
peer   = "192.0.2.0/24"
secret = "correct horse battery staple"
[tunnel.branches.session.office]
hub   = "lab"
spoke = true
bpdu  = "disable"
`
	c := centre.start(t, hub)
	var all []*process
	for i, b := range branches {
		all = append(all, b.start(t, fmt.Sprintf(`
[node]
hostname = "branch%d"
control  = "CONTROL"
[tunnel.centre]
mode   = "dial"
local  = "192.0.2.%d:1701"
peer   = "192.0.2.1:1701"
secret = "correct horse battery staple"
redial_min = "100ms"
[tunnel.centre.session.office]
tap = "office0"
addresses = ["10.9.0.%[2]d/24"]
`, i, i+2)))
	}
	c.sessions(t, 2)
	var talks []*talk
	for i, b := range branches {
		k := newTalk(t, b, fmt.Sprintf("10.9.0.%d", i+2), centre, "10.9.0.1", 7100+i)
		eventually(t, "an echo from the centre", func() error { return k.once(100 + i) })
		talks = append(talks, k)
	}
	between := newTalk(t, branches[0], "10.9.0.2", branches[1], "10.9.0.3", 7200)
	for range 3 {
		if err := between.once(110); err == nil {
			t.Fatal("one spoke reaches another")
		}
	}

	var out, problems strings.Builder
	if code := Main([]string{"stations", "lab", "--control", c.socket}, &out, &problems); code != 0 {
		t.Fatalf("stations: exit code %d: %s", code, &problems)
	}
	for _, want := range []string{"STATION", "lan", "branches:branch0/office", "branches:branch1/office"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("stations lacks %q:\n%s", want, &out)
		}
	}
	if code := Main([]string{"stations", "lap", "--control", c.socket}, &out, &problems); code != exitFailure || !strings.Contains(problems.String(), "lap: no such hub") {
		t.Errorf("stations lap: exit code %d: %s", code, &problems)
	}

	// A spanning tree of the branch's.
	bpdu := append([]byte{0x01, 0x80, 0xc2, 0, 0, 0, 0x02, 0, 0, 0, 0, 9, 0, 38, 0x42, 0x42, 3}, make([]byte, 43)...)
	fd := packetSocket(t, branches[0])
	if err := unix.Sendto(fd, bpdu, 0, &unix.SockaddrLinklayer{Ifindex: branches[0].link(t, "office0").Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	disabled := func(want bool) {
		t.Helper()
		eventually(t, fmt.Sprintf("a port disabled %v", want), func() error {
			s, err := api.Dial(c.socket).Status(context.Background())
			if err != nil {
				return err
			}
			for _, port := range s.Hubs[0].Ports {
				if port.Name == "branches:branch0/office" && port.Disabled == want {
					return nil
				}
			}
			return errors.New("it is not so")
		})
	}
	disabled(true)
	if err := talks[0].once(120); err == nil {
		t.Error("a disabled port carries frames")
	}
	if err := talks[1].once(121); err != nil {
		t.Errorf("another port: %v", err)
	}
	out.Reset()
	if code := Main([]string{"status", "--control", c.socket}, &out, &problems); code != 0 || !strings.Contains(out.String(), "DISABLED by a BPDU") {
		t.Errorf("status: exit code %d:\n%s", code, &out)
	}
	for _, verb := range []string{"down", "up"} {
		if err := api.Dial(all[0].socket).Do(context.Background(), verb, "centre/office"); err != nil {
			t.Fatal(err)
		}
	}
	disabled(false)
	eventually(t, "an echo from the centre again", func() error { return talks[0].once(122) })

	// The LAN goes down: its stations may be elsewhere.
	if err := centre.links.LinkSetDown(centre.link(t, "lan0")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a LAN without stations", func() error {
		s, err := api.Dial(c.socket).Status(context.Background())
		if err != nil {
			return err
		}
		for _, port := range s.Hubs[0].Ports {
			if port.Name == "lan" && (port.Stations != 0 || port.Joins.State != api.Down) {
				return fmt.Errorf("%d stations, device %s", port.Stations, port.Joins.State)
			}
		}
		return nil
	})
}
