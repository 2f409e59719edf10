package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/netlab"
)

// The addresses of every row: under the tunnel and in it.
const (
	underA, underB = "192.0.2.1", "192.0.2.2"
	overA, overB   = "198.51.100.1", "198.51.100.2"
)

// A row is one way of carrying frames between two hosts, over one kind of
// underlay, while it stands.
type row struct {
	*figures
	a, b  *netlab.Namespace
	procs []*exec.Cmd // what carries, at both ends; none where the kernel does
	log   *os.File    // of what they say
}

// A kind is a way of carrying frames.
type kind struct {
	name    string
	program string // that must be there; empty: none
	plain   bool   // it is measured over the plain underlay alone
	setUp   func(context.Context, *netlab.Lab, *row, site) error
}

// A site is what rows are built with.
type site struct {
	dir      string // for files, gone after the run
	spanwire string // the binary
}

// end returns what is at an end of the row, 0 or 1: its namespace, its addresses
// under the tunnel and in it, and the far end's under it.
func (r *row) end(i int) (n *netlab.Namespace, under, over, far string) {
	if i == 0 {
		return r.a, underA, overA, underB
	}
	return r.b, underB, overB, underA
}

// The names of the rows.
const (
	rawRow      = "raw"
	vxlanRow    = "vxlan"
	udpRow      = "udp"
	ipRow       = "ip"
	wireguardGo = "wireguard-go"
	openvpnRow  = "openvpn"
	tincRow     = "tinc"

	// Spanwire over UDP with other segments than a TAP.
	interfaceRow = "interface" // taken at both ends
	taggedRow    = "tagged"    // the same, with frames of a VLAN
	vlanRow      = "vlan"      // of another at each end
	hubRow       = "hub"       // of four ports at one end, two of them sessions that nobody is at

	pppRow = "ppp" // a link of PPP over L2TPv2, between two TUNs
)

var kinds = []kind{
	{name: rawRow, setUp: func(_ context.Context, _ *netlab.Lab, r *row, _ site) error { return r.addresses("u0") }},
	{name: vxlanRow, setUp: vxlan},
	{name: udpRow, setUp: both(segment{keys: tapKeys})},
	{name: ipRow, setUp: both(segment{encap: "ip", keys: tapKeys})},
	{name: interfaceRow, plain: true, setUp: both(segment{keys: `interface = "seg"`})},
	{name: taggedRow, plain: true, setUp: both(segment{keys: `interface = "seg"`, tags: [2]uint16{10, 10}})},
	{name: vlanRow, plain: true, setUp: both(segment{keys: "pseudowire = \"vlan\"\ninterface = \"seg\"\nvlan = TAG", tags: [2]uint16{10, 20}})},
	{name: hubRow, plain: true, setUp: both(segment{keys: tapKeys, hub: true})},
	{name: pppRow, setUp: dialIn},
	{name: wireguardGo, program: "wireguard-go", setUp: wireguard},
	{name: openvpnRow, program: "openvpn", setUp: openvpn},
	{name: tincRow, program: "tincd", setUp: tinc},
}

// build makes a row and waits until it carries something.
func (k kind) build(ctx context.Context, lab *netlab.Lab, f *figures, s site) (r *row, err error) {
	r = &row{figures: f}
	if r.log, err = os.CreateTemp(s.dir, k.name+"-*.log"); err != nil {
		return r, err
	}
	if r.a, err = lab.Namespace(k.name + " a"); err != nil {
		return r, err
	}
	if r.b, err = lab.Namespace(k.name + " b"); err != nil {
		return r, err
	}
	if err := lab.Veth(r.a, "u0", r.b, "u0", 1500); err != nil {
		return r, err
	}
	if err := errors.Join(r.a.Addr("u0", netip.MustParsePrefix(underA+"/24")), r.b.Addr("u0", netip.MustParsePrefix(underB+"/24"))); err != nil {
		return r, err
	}
	if f.Underlay == wireLike {
		if err := errors.Join(r.a.Features("u0", wireFeatures), r.b.Features("u0", wireFeatures)); err != nil {
			return r, err
		}
	}
	if err := k.setUp(ctx, lab, r, s); err != nil {
		return r, fmt.Errorf("%w\n%s", err, r.said())
	}
	if _, err = ping(ctx, r, pings{interval: 20 * time.Millisecond, patience: 15 * time.Second}); err != nil {
		return r, fmt.Errorf("it carries nothing: %w\n%s", err, r.said())
	}
	return r, nil
}

// said returns the last of what the row's processes said.
func (r *row) said() string {
	const most = 1000
	text, err := os.ReadFile(r.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// addresses gives the tunnel's ends their addresses.
func (r *row) addresses(device string) error {
	return errors.Join(r.a.Addr(device, netip.MustParsePrefix(overA+"/24")), r.b.Addr(device, netip.MustParsePrefix(overB+"/24")))
}

// start starts a process that carries the row's frames.
func (r *row) start(ctx context.Context, n *netlab.Namespace, name string, args ...string) error {
	p := command(ctx, name, args...)
	p.Stdout, p.Stderr = r.log, r.log
	if err := n.Start(p); err != nil {
		return err
	}
	r.procs = append(r.procs, p)
	return nil
}

// command returns a process that is asked to end when ctx is done, and killed if
// it does not.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	p := exec.CommandContext(ctx, name, args...)
	p.Cancel = func() error { return p.Process.Signal(syscall.SIGTERM) }
	p.WaitDelay = 3 * time.Second
	return p
}

func (r *row) pids() (pids []int) {
	for _, p := range r.procs {
		pids = append(pids, p.Process.Pid)
	}
	return pids
}

// close ends the row's processes.
func (r *row) close() {
	for _, p := range r.procs {
		p.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range r.procs {
		late := time.AfterFunc(3*time.Second, func() { p.Process.Kill() })
		p.Wait()
		late.Stop()
	}
	r.procs = nil
	r.log.Close()
}

func vxlan(_ context.Context, _ *netlab.Lab, r *row, _ site) error {
	for i := range 2 {
		n, under, _, far := r.end(i)
		err := n.Do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.MTU = "o0", 1450
			l := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 7, Port: 4789,
				SrcAddr: netip.MustParseAddr(under).AsSlice(), Group: netip.MustParseAddr(far).AsSlice()}
			return errors.Join(netlink.LinkAdd(l), netlink.LinkSetUp(l))
		})
		if err != nil {
			return err
		}
	}
	return r.addresses("o0")
}

// A segment is what Spanwire's session joins at both ends.
type segment struct {
	encap string    // empty: udp
	keys  string    // ADDRESS and TAG stand for those of an end
	tags  [2]uint16 // of the hosts' frames; 0: they have none
	hub   bool      // at the first end it is a port of a hub
}

const tapKeys = "tap = \"o0\"\naddresses = [\"ADDRESS\"]"

// segmentMTU is what a path of 1500 octets carries.
const segmentMTU = 1438

// both returns what runs the binary at both ends.
func both(g segment) func(context.Context, *netlab.Lab, *row, site) error {
	return func(ctx context.Context, lab *netlab.Lab, r *row, s site) error {
		for i := range 2 {
			if err := g.join(lab, r, i); err != nil {
				return err
			}
			if err := r.spanwire(ctx, s, g, i); err != nil {
				return err
			}
		}
		return nil
	}
}

// join makes the device that a session takes at an end, if it takes one, with a host
// behind it.
func (g segment) join(lab *netlab.Lab, r *row, i int) error {
	if !strings.Contains(g.keys, "interface") {
		return nil
	}
	n, _, over, _ := r.end(i)
	if err := lab.Veth(n, "seg", n, "o0", segmentMTU); err != nil {
		return err
	}
	if g.tags[i] != 0 {
		if err := n.Tag("o0", g.tags[i]); err != nil {
			return err
		}
	}
	return n.Addr("o0", netip.MustParsePrefix(over+"/24"))
}

// spanwire runs the binary at an end.
func (r *row) spanwire(ctx context.Context, s site, g segment, i int) error {
	encap, port := cmp.Or(g.encap, "udp"), ""
	if encap == "udp" {
		port = ":1701"
	}
	cookies := [2]string{"a1b2c3d4e5f60718", "18f7e6d5c4b3a291"}
	n, under, over, far := r.end(i)
	file, err := os.CreateTemp(s.dir, encap+"-*.toml")
	if err != nil {
		return err
	}
	keys := strings.NewReplacer("ADDRESS", over+"/24", "TAG", fmt.Sprint(g.tags[i])).Replace(g.keys)
	text := fmt.Sprintf("[node]\nhostname = %q\ncontrol = %q\n", filepath.Base(file.Name()), file.Name()+".sock")
	session := func(tunnel, peer string, id, peerID int) string {
		return fmt.Sprintf(`[tunnel.%[1]s]
encap = %[2]q
local = %[3]q
peer = %[4]q
[tunnel.%[1]s.session.s]
session_id = %[5]d
peer_session_id = %[6]d
receive_cookie = %[7]q
send_cookie = %[8]q
`, tunnel, encap, under+port, peer+port, id, peerID, cookies[i], cookies[1-i])
	}
	if g.hub && i == 0 {
		text += "[hub.h]\n[hub.h.port.lan]\nmtu = " + fmt.Sprint(segmentMTU) + "\n" + keys + "\n"
		keys = "hub = \"h\"\n"
		text += session("x", "192.0.2.8", 8, 8) + keys + session("y", "192.0.2.9", 9, 9) + keys
	}
	text += session("t", far, i+1, 2-i) + keys + "\n"
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return r.start(ctx, n, s.spanwire, "run", "-c", file.Name(), "--log-level", "error")
}

// dialIn runs the binary as an LNS and as its client.
func dialIn(ctx context.Context, _ *netlab.Lab, r *row, s site) error {
	dir, err := os.MkdirTemp(s.dir, "ppp-")
	if err != nil {
		return err
	}
	for _, i := range []int{1, 0} {
		n, under, over, far := r.end(i)
		name := filepath.Join(dir, fmt.Sprint(i))
		users := fmt.Sprintf("[user.%s]\npassword = %q\naddress = %q\n", caller, setUpSecret, overA)
		text := fmt.Sprintf(`[node]
hostname = "ppp%d"
control = %q
[tunnel.t]
version = 2
mode = %q
local = "%s:1701"
peer = %q
ppp = "p"
[ppp.p]
mode = %q
tun = "o0"
`, i, name+".sock", [2]string{"dial", "accept"}[i], under, far, [2]string{"client", "lns"}[i])
		if i == 0 {
			text += fmt.Sprintf("user = %q\npassword = %q\nroutes = [\"%s/32\"]\n", caller, setUpSecret, overB)
		} else {
			text += fmt.Sprintf("address = %q\npool = \"198.51.100.128/25\"\nusers_file = %q\n", over, name+"-users.toml")
		}
		if err := errors.Join(os.WriteFile(name+"-users.toml", []byte(users), 0o600), os.WriteFile(name+".toml", []byte(text), 0o600)); err != nil {
			return err
		}
		if err := r.start(ctx, n, s.spanwire, "run", "-c", name+".toml", "--log-level", "error"); err != nil {
			return err
		}
	}
	return nil
}
