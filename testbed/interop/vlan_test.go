package interop

import (
	"fmt"
	"net/netip"
	"strings"
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
	t.Run("of a bridge", b.bridgeVLANs)
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

// bridgeVLANs has Spanwire in the guest, whose kernel can do it, make a bridge that
// filters VLANs with an access port, a trunk and a port that is as the bridge has it, and
// leave nothing. A bridge of the user's that does not filter stays as it is.
func (b *bench) bridgeVLANs(t *testing.T) {
	const script = `
set -e
modprobe -a tun bridge 8021q
ip netns add vl
cat >/run/vl.toml <<EOF
[node]
hostname = "vl"
control  = "/run/vl.sock"
[tunnel.t]
peer = "203.0.113.9"
EOF
session() { # NUMBER KEYS
	printf '[tunnel.t.session.s%s]\nsession_id = %s\npeer_session_id = %s\nreceive_cookie = ""\nsend_cookie = ""\ntap = "v%s"\nbridge = "brv"\n%b\n' $1 $1 $1 $1 "$2" >>/run/vl.toml
}
session 1 'bridge_vlan = 10'
session 2 'bridge_vlans = "20-22,42"'
session 3 ''
chmod 600 /run/vl.toml
ip netns exec vl /share/spanwire run -c /run/vl.toml >/run/vl.log 2>&1 &
until ip netns exec vl /share/spanwire status --control /run/vl.sock >/dev/null 2>&1; do sleep 0.1; done
until ip -n vl link show v3 2>/dev/null | grep -q master; do sleep 0.1; done
echo filtering $(ip netns exec vl cat /sys/class/net/brv/bridge/vlan_filtering)
bridge -n vl -compressvlans vlan show
kill $!
wait $! || true
echo left $(ip -n vl -o link | grep -vc ' lo:')
ip -n vl link add brv type bridge
if ip netns exec vl /share/spanwire run -c /run/vl.toml 2>/run/vl.log; then echo accepted; fi
grep -o 'bridge brv: vlan_filtering is off.*' /run/vl.log | head -1
echo filtering $(ip netns exec vl cat /sys/class/net/brv/bridge/vlan_filtering)
ip netns del vl
`
	out, err := b.remote.Run(script)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	words := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{"filtering 1 ", " v1 10 PVID Egress Untagged", " v2 20-22 42", " v3 1 PVID Egress Untagged", " left 0 ",
		"bridge brv: vlan_filtering is off, want it on: ip link set brv type bridge vlan_filtering 1", "filtering 0"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(words, "accepted") {
		t.Error("a bridge that does not filter was taken")
	}
}
