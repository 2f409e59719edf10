package interop

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/interop/station"
)

// A crossing is how a VLAN device of the kernel, on its l2tp_eth device, meets what we
// have.
type crossing struct {
	name   string
	kernel string // makes the device vlan on the device %s
	keys   string // of our session; DEV stands for the device
	tag    uint16 // of the frames on our segment, 0: they have none
	less   int    // octets that the second tag takes from the MTU
}

var crossings = []crossing{
	{"rewritten", "ip link add link %s name vlan type vlan id 30", "interface = \"DEV\"\nvlan = 10\npeer_vlan = 30", 10, 0},
	{"rewritten, VLAN pseudowire", "ip link add link %s name vlan type vlan id 30", "pseudowire = \"vlan\"\ninterface = \"DEV\"\nvlan = 10\npeer_vlan = 30", 10, 0},
	{"a port here", "ip link add link %s name vlan type vlan id 30", "interface = \"DEV\"\npeer_vlan = 30", 0, 0},
	{"as it is", "ip link add link %s name vlan type vlan id 30", "interface = \"DEV\"\nvlans = \"30\"", 30, 0},
	{"QinQ there", "ip link add link %s name outer type vlan proto 802.1ad id 30; ip link set outer up; ip link add link outer name vlan type vlan id 7",
		"interface = \"DEV\"\nvlan = 10\npeer_vlan = \"30.7\"", 10, 4},
}

// vlans has hosts here, on a device that Spanwire takes, and VLAN devices of the
// kernel talk both ways in sizes up to the MTU. RFC 4719.
func (b *bench) vlans(t *testing.T) {
	b.stop(t)
	defer func() {
		b.configure(t, row.toml)
		if err := b.start(); err != nil {
			t.Fatal(err)
		}
		b.waitUp(t)
	}()
	us, them := netip.MustParsePrefix("10.116.0.1/24"), netip.MustParsePrefix("10.116.0.2/24")
	for _, r := range b.rows {
		if r.cookie != 8 || r.sublayer || r.v6 {
			continue
		}
		for _, c := range crossings {
			t.Run(r.String()+", "+c.name, func(t *testing.T) { b.vlan(t, r, c, us, them) })
		}
	}
}

func (b *bench) vlan(t *testing.T, r row, c crossing, us, them netip.Prefix) {
	mtu := r.mtu() - c.less
	if err := b.lab.Veth(b.host, "seg", b.host, "ce", mtu); err != nil {
		t.Fatal(err)
	}
	defer b.host.Do(func() error {
		seg, err := netlink.LinkByName("seg")
		if err != nil {
			t.Error(err)
			return nil
		}
		return netlink.LinkDel(seg)
	})
	if c.tag != 0 {
		if err := b.host.Tag("ce", c.tag); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.host.Addr("ce", us); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("modprobe 8021q; "+c.kernel+"; ip link set vlan mtu %d up; ip addr add %s dev vlan", r.device(), mtu, them)
	if out, err := b.remote.Run(script); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() {
		if out, err := b.remote.Run("ip link del vlan; ip link del outer 2>/dev/null || true"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	b.configure(t, func(other row) string {
		if other == r {
			return r.joining(replaced(c.keys, "seg"))
		}
		return other.toml()
	})
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	defer b.stop(t)
	b.waitUp(t)
	for _, what := range []station.Talk{
		station.Flow{Seed: 1, Octets: 256 << 10}, // the neighbour is found
		station.Burst{Seed: 2, Count: 200, Largest: mtu - 28},
	} {
		if err := b.talkTo(them.Addr(), what); err != nil {
			t.Errorf("to the kernel, %+v: %v", what, err)
		}
		if err := b.talkFrom(us.Addr(), what); err != nil {
			t.Errorf("from the kernel, %+v: %v", what, err)
		}
	}
}
