package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/kernelvm"
	"spanwire/testbed/netlab"
)

// TestVLANs runs the tests of VLANs on this kernel if it has bridges that filter, else
// in a guest that is given this test's own binary.
func TestVLANs(t *testing.T) {
	const guest = "SPANWIRE_TEST_GUEST"
	supported := false
	in(t, func() error {
		on := true
		_, err := plain(&netlink.Bridge{VlanFiltering: &on}, "br0")
		supported = err == nil
		return nil
	})
	switch {
	case supported:
		t.Run("frames", testFrames)
		t.Run("set", testSetVLANs)
		t.Run("bridge", testVLANBridge)
	case os.Getenv(guest) != "":
		t.Fatal("the guest's kernel has no bridges that filter by VLAN")
	default:
		inGuest(t, "export "+guest+"=1\n")
	}
}

// inGuest runs the test in a guest, and this test fails if it does.
func inGuest(t *testing.T, script string) {
	t.Helper()
	share := t.TempDir()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(share, "link.test"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); errors.Join(err, to.Close()) != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var output strings.Builder
	status, err := kernelvm.Run(ctx, kernelvm.Config{
		Share:  share,
		Script: script + fmt.Sprintf("exec /share/link.test -test.v -test.run '^%s$'\n", t.Name()),
		Output: &output,
	})
	if err != nil || status != 0 || !strings.Contains(output.String(), "--- PASS: "+t.Name()+" ") {
		t.Fatalf("in the guest: %v, exit status %d:\n%s", err, status, &output)
	}
	t.Logf("in a guest, because this kernel has no bridges that filter by VLAN:\n%s", &output)
}

// A host is a station at a port of the bridge.
type host struct {
	name    string
	vlans   VLANs
	capture *netlab.Capture
}

// testFrames has stations send frames with and without tags, and looks who hears
// them, and how.
func testFrames(t *testing.T) {
	l, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	box, err := l.Namespace("box")
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Namespace("far")
	if err != nil {
		t.Fatal(err)
	}
	do := func(f func() error) {
		t.Helper()
		if err := box.Do(f); err != nil {
			t.Fatal(err)
		}
	}
	do(func() error { _, err := OpenVLANBridge("br0", "lyon"); return err })
	hosts := map[string]*host{}
	for _, h := range []*host{
		{name: "access", vlans: VLANs{PVID: 10}},
		{name: "trunk", vlans: VLANs{Tagged: []uint16{20, 10}}},
		{name: "hybrid", vlans: VLANs{PVID: 20, Tagged: []uint16{10}}},
		{name: "plain"}, // VLAN 1, untagged
		{name: "full", vlans: VLANs{Tagged: []uint16{1, 10, 20, 30, 30}}},
	} {
		hosts[h.name] = h
		if err := l.Veth(box, h.name, far, h.name, 1500); err != nil {
			t.Fatal(err)
		}
		do(func() error {
			br, err := netlink.LinkByName("br0")
			if err != nil {
				return err
			}
			port, err := netlink.LinkByName(h.name)
			if err != nil {
				return err
			}
			return errors.Join(netlink.LinkSetMaster(port, br), SetVLANs(h.name, h.vlans))
		})
		if h.capture, err = far.Capture(h.name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.capture.Close)
	}
	const kind = "\x88\xb5"
	tag := func(vid byte) string { return "\x81\x00\x00" + string(rune(vid)) }
	const service, sTag = 99, "\x88\xa8\x00\x14"                         // stands for an S-tag of VLAN 20
	const addresses = "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01" // to somebody whom nobody knows
	// What a host of the first name hears of a text that another sends, by VLAN: 0 is
	// without a tag.
	for _, v := range []struct {
		from  string
		vid   byte
		hears map[string]byte
	}{
		{"access", 0, map[string]byte{"trunk": 10, "hybrid": 10, "full": 10}},
		{"access", 10, map[string]byte{"trunk": 10, "hybrid": 10, "full": 10}}, // a tag of its own VLAN does no harm
		{"access", 20, nil},
		{"access", 1, nil},
		{"access", service, map[string]byte{"trunk": 10, "hybrid": 10, "full": 10}}, // as if it had none
		{"trunk", service, nil},
		{"trunk", 10, map[string]byte{"access": 0, "hybrid": 10, "full": 10}},
		{"trunk", 20, map[string]byte{"hybrid": 0, "full": 20}},
		{"trunk", 30, nil},
		{"trunk", 1, nil},
		{"trunk", 0, nil},
		{"hybrid", 0, map[string]byte{"trunk": 20, "full": 20}},
		{"hybrid", 10, map[string]byte{"access": 0, "trunk": 10, "full": 10}},
		{"plain", 0, map[string]byte{"full": 1}},
		{"plain", 10, nil},
		{"full", 1, map[string]byte{"plain": 0}},
		{"full", 30, nil},
		{"full", 0, nil},
	} {
		text := fmt.Sprintf("%s sends %d", v.from, v.vid)
		b := addresses + kind + text
		switch v.vid {
		case 0:
		case service:
			text = sTag + kind + text
			b = addresses + text
		default:
			b = addresses + tag(v.vid) + kind + text
		}
		if err := hosts[v.from].capture.Send([]byte(b)); err != nil {
			t.Fatal(err)
		}
		// And then of what they all hear.
		for _, vid := range []byte{1, 10, 20} {
			if err := hosts["full"].capture.Send([]byte(addresses + tag(vid) + kind + "end of " + text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := hosts["access"].capture.Send([]byte(addresses + kind + "end of " + text)); err != nil {
			t.Fatal(err)
		}
		for _, h := range hosts {
			if h.name == v.from {
				continue
			}
			got, err := hear(h.capture, text)
			if err != nil {
				t.Fatalf("%s: %s: %v", text, h.name, err)
			}
			want := ""
			if vid, ok := v.hears[h.name]; ok {
				tags := tag(vid)
				if vid == 0 {
					tags = ""
				}
				if v.vid != service {
					tags += kind
				}
				want = addresses + tags + text
			}
			if got != want {
				t.Errorf("%s: %s hears %q, want %q", text, h.name, got, want)
			}
		}
	}
}

// hear returns the frame with that text that comes before the text's end; none: "".
func hear(c *netlab.Capture, text string) (frame string, err error) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		b, err := c.Receive(deadline)
		switch {
		case err != nil:
			return "", err
		case strings.HasSuffix(string(b), "end of "+text):
			return frame, nil
		case strings.HasSuffix(string(b), text):
			frame += string(b)
		}
	}
}

// shown returns the VLANs of a port as "bridge vlan" shows them.
func shown(t *testing.T, port string) string {
	t.Helper()
	l, err := netlink.LinkByName(port)
	if err != nil {
		t.Fatal(err)
	}
	has, err := vlansOf(l)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, vid := range slices.Sorted(maps.Keys(has)) {
		s := fmt.Sprint(vid)
		if has[vid].PortVID() {
			s += " PVID"
		}
		if has[vid].EngressUntag() {
			s += " untagged"
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// testSetVLANs takes a port from one set of VLANs to another.
func testSetVLANs(t *testing.T) {
	every := make([]uint16, 0, maxVID)
	for vid := uint16(1); vid <= maxVID; vid++ {
		every = append(every, vid)
	}
	in(t, func() error {
		b, err := OpenVLANBridge("br0", "lyon")
		if err != nil {
			return err
		}
		port, err := plain(&netlink.Veth{PeerName: "peer"}, "port")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, b.link); err != nil {
			return err
		}
		for _, v := range []struct {
			set  VLANs
			want string
		}{
			{VLANs{}, "1 PVID untagged"},
			{VLANs{PVID: 10}, "10 PVID untagged"},
			{VLANs{PVID: 10}, "10 PVID untagged"},
			{VLANs{}, "10 PVID untagged"},
			{VLANs{Tagged: []uint16{12, 10, 11, 10, 30}}, "10, 11, 12, 30"},
			{VLANs{PVID: 11, Tagged: []uint16{10, 12, 4094}}, "10, 11 PVID untagged, 12, 4094"},
			{VLANs{PVID: 12, Tagged: []uint16{11}}, "11, 12 PVID untagged"},
			{VLANs{Tagged: []uint16{1}}, "1"},
			{VLANs{PVID: 1}, "1 PVID untagged"},
			{VLANs{Tagged: every}, strings.Join(strings.Fields(strings.Trim(fmt.Sprint(every), "[]")), ", ")},
			{VLANs{PVID: 1, Tagged: []uint16{2}}, "1 PVID untagged, 2"},
		} {
			if err := SetVLANs("port", v.set); err != nil {
				t.Errorf("%+v: %v", v.set, err)
			}
			if got := shown(t, "port"); got != v.want {
				t.Errorf("%+v: %s, want %s", v.set, got, v.want)
			}
		}
		if got, want := shown(t, "br0"), "1 PVID untagged"; got != want {
			t.Errorf("the bridge itself has %s, want %s", got, want)
		}
		return nil
	})
}

// testVLANBridge opens bridges that are there, and those that are not.
func testVLANBridge(t *testing.T) {
	filtering := func(name string) bool {
		t.Helper()
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return *l.(*netlink.Bridge).VlanFiltering
	}
	in(t, func() error {
		b, err := OpenVLANBridge("br0", "lyon")
		if err != nil {
			return err
		}
		l, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		if br := l.(*netlink.Bridge); !*br.VlanFiltering || *br.VlanDefaultPVID != 1 || *br.GroupFwdMask != forwardGroups || !b.Ours() {
			t.Errorf("made with vlan_filtering %v, vlan_default_pvid %d, ours %v; want true, 1, true", *br.VlanFiltering, *br.VlanDefaultPVID, b.Ours())
		}
		again, err := OpenVLANBridge("br0", "paris")
		if err != nil || again.Close() != nil || exists("br0") {
			t.Errorf("opened again: %v, there %v, want it gone with Close", err, exists("br0"))
		}

		// Of a Spanwire that wanted none.
		if _, err := OpenBridge("br1", "lyon"); err != nil {
			return err
		}
		if _, err := OpenVLANBridge("br1", "lyon"); err != nil || !filtering("br1") {
			t.Errorf("one of ours without ports: %v, vlan_filtering %v, want it turned on", err, filtering("br1"))
		}
		if _, err := OpenBridge("br1", "lyon"); err != nil || !filtering("br1") {
			t.Errorf("opened without VLANs: %v, vlan_filtering %v, want it left on", err, filtering("br1"))
		}
		used, err := OpenBridge("br2", "lyon")
		if err != nil {
			return err
		}
		port, err := plain(&netlink.Veth{PeerName: "peer"}, "port")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, used.link); err != nil {
			return err
		}
		_, err = OpenVLANBridge("br2", "lyon")
		if want := "bridge br2: vlan_filtering is off, want it on: ip link set br2 type bridge vlan_filtering 1"; err == nil || err.Error() != want || filtering("br2") {
			t.Errorf("one of ours with a port: %v, vlan_filtering %v, want %s", err, filtering("br2"), want)
		}

		// The user's.
		on := true
		if _, err := plain(&netlink.Bridge{VlanFiltering: &on}, "br3"); err != nil {
			return err
		}
		if b, err := OpenVLANBridge("br3", "lyon"); err != nil || b.Ours() || b.Close() != nil || !exists("br3") {
			t.Errorf("the user's: %v, there %v, want it opened and left", err, exists("br3"))
		}
		return nil
	})
}

// TestNoVLANs wants to be told why a device cannot have VLANs.
func TestNoVLANs(t *testing.T) {
	in(t, func() error {
		br, err := plain(&netlink.Bridge{}, "br0")
		if err != nil {
			return err
		}
		for _, name := range []string{"alone", "port"} {
			if _, err := plain(&netlink.Veth{PeerName: name + "-peer"}, name); err != nil {
				return err
			}
		}
		port, err := netlink.LinkByName("port")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, br); err != nil {
			return err
		}
		const off = "bridge br0: vlan_filtering is off, want it on: ip link set br0 type bridge vlan_filtering 1"
		for _, v := range []struct {
			device string
			vlans  VLANs
			want   string
		}{
			{"absent", VLANs{PVID: 1}, "interface absent: file does not exist"},
			{"alone", VLANs{PVID: 1}, "interface alone: it is in no bridge, want a port of a bridge to give it VLANs"},
			{"port", VLANs{PVID: 1}, "interface port: " + off},
			{"port", VLANs{PVID: 4095}, "interface port: VLAN 4095, want 1 to 4094"},
			{"port", VLANs{Tagged: []uint16{10, 0}}, "interface port: VLAN 0, want 1 to 4094"},
			{"port", VLANs{PVID: 7, Tagged: []uint16{6, 8, 7}}, "interface port: VLAN 7 is both untagged and tagged, want one of them"},
		} {
			if err := SetVLANs(v.device, v.vlans); err == nil || err.Error() != v.want {
				t.Errorf("%s: %+v: %v, want %s", v.device, v.vlans, err, v.want)
			}
		}
		if err := SetVLANs("port", VLANs{}); err != nil {
			t.Errorf("none: %v, want nothing done", err)
		}
		if _, err := OpenVLANBridge("br0", "lyon"); err == nil || err.Error() != off || !exists("br0") {
			t.Errorf("OpenVLANBridge: %v, want %s", err, off)
		}
		return nil
	})
}
