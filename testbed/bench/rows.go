package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
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
	setUp   func(context.Context, *row, site) error
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
)

var kinds = []kind{
	{rawRow, "", func(_ context.Context, r *row, _ site) error { return r.addresses("u0") }},
	{vxlanRow, "", vxlan},
	{udpRow, "", func(ctx context.Context, r *row, s site) error { return r.spanwire(ctx, s, "udp") }},
	{ipRow, "", func(ctx context.Context, r *row, s site) error { return r.spanwire(ctx, s, "ip") }},
	{wireguardGo, "wireguard-go", wireguard},
	{openvpnRow, "openvpn", openvpn},
	{tincRow, "tincd", tinc},
}

// titles are what the rows are called where there is room.
var titles = map[string]string{
	rawRow:      "bare veth",
	vxlanRow:    "kernel vxlan",
	udpRow:      "Spanwire, UDP",
	ipRow:       "Spanwire, IP 115",
	wireguardGo: "wireguard-go",
	openvpnRow:  "openvpn tap, no cipher",
	tincRow:     "tinc switch, no cipher",
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
		if err := errors.Join(setFeatures(r.a, "u0", wireFeatures), setFeatures(r.b, "u0", wireFeatures)); err != nil {
			return r, err
		}
	}
	if err := k.setUp(ctx, r, s); err != nil {
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

func vxlan(_ context.Context, r *row, _ site) error {
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

// spanwire runs the binary at both ends.
func (r *row) spanwire(ctx context.Context, s site, encap string) error {
	port := ""
	if encap == "udp" {
		port = ":1701"
	}
	cookies := [2]string{"a1b2c3d4e5f60718", "18f7e6d5c4b3a291"}
	for i := range 2 {
		n, under, over, far := r.end(i)
		file, err := os.CreateTemp(s.dir, encap+"-*.toml")
		if err != nil {
			return err
		}
		text := fmt.Sprintf(`[node]
hostname = %q
control = %q
[tunnel.t]
encap = %q
local = %q
peer = %q
[tunnel.t.session.s]
session_id = %d
peer_session_id = %d
receive_cookie = %q
send_cookie = %q
tap = "o0"
addresses = [%q]
`, filepath.Base(file.Name()), file.Name()+".sock", encap, under+port, far+port, i+1, 2-i, cookies[i], cookies[1-i], over+"/24")
		_, err = file.WriteString(text)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		if err := r.start(ctx, n, s.spanwire, "run", "-c", file.Name(), "--log-level", "error"); err != nil {
			return err
		}
	}
	return nil
}
