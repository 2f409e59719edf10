package link

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/netlab"
)

// in runs f in a namespace of its own.
func in(t *testing.T, f func() error) {
	t.Helper()
	l, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := l.Namespace(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Do(f); err != nil {
		t.Fatal(err)
	}
}

func exists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// plain makes a device as a user would.
func plain(l netlink.Link, name string) (netlink.Link, error) {
	*l.Attrs() = netlink.NewLinkAttrs()
	l.Attrs().Name = name
	return l, netlink.LinkAdd(l)
}

func TestMade(t *testing.T) {
	in(t, func() error {
		var macs []string
		for range 2 {
			b, err := OpenBridge("br0", "lyon")
			if err != nil {
				return err
			}
			l, err := netlink.LinkByName("br0")
			if err != nil {
				return err
			}
			a := l.Attrs()
			if mask := l.(*netlink.Bridge).GroupFwdMask; a.Flags&net.FlagUp == 0 || a.Alias != "spanwire" || mask == nil || *mask != 0xfff8 || !b.Ours() || b.Name() != "br0" {
				t.Errorf("%s, alias %q, mask %v, ours %v; want up, spanwire, 0xfff8, true", a.Flags, a.Alias, mask, b.Ours())
			}
			if a.HardwareAddr[0]&3 != 2 {
				t.Errorf("%s, want a local address of one station", a.HardwareAddr)
			}
			macs = append(macs, a.HardwareAddr.String())
			if err := b.Close(); err != nil || exists("br0") {
				t.Errorf("Close: %v, there %v, want it gone", err, exists("br0"))
			}
			if err := b.Close(); err != nil {
				t.Errorf("Close again: %v", err)
			}
		}
		if macs[0] != macs[1] {
			t.Errorf("addresses %v, want the same after each start", macs)
		}
		return nil
	})
}

// TestAdopted has the state that a kill -9 leaves: our bridge, and no TAP.
func TestAdopted(t *testing.T) {
	in(t, func() error {
		l, err := plain(&netlink.Bridge{}, "br0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetAlias(l, mark); err != nil {
			return err
		}
		b, err := OpenBridge("br0", "lyon")
		if err != nil {
			return err
		}
		if err := b.Close(); err != nil || !b.Ours() || exists("br0") {
			t.Errorf("Close: %v, ours %v, there %v; want it ours and gone", err, b.Ours(), exists("br0"))
		}
		return nil
	})
}

// TestMarkedMeanwhile has the other Spanwire of a race mark the bridge late, and
// then a user keep one.
func TestMarkedMeanwhile(t *testing.T) {
	in(t, func() error {
		l, err := plain(&netlink.Bridge{}, "br0")
		if err != nil {
			return err
		}
		b, err := OpenBridge("br0", "lyon")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetAlias(l, mark); err != nil {
			return err
		}
		if err := b.Close(); err != nil || exists("br0") {
			t.Errorf("marked since: %v, there %v, want it gone", err, exists("br0"))
		}
		if b, err = OpenBridge("br0", "lyon"); err != nil {
			return err
		}
		if err := netlink.LinkSetAlias(b.link, "mine"); err != nil {
			return err
		}
		if err := b.Close(); err != nil || !exists("br0") {
			t.Errorf("no longer marked: %v, there %v, want it there", err, exists("br0"))
		}
		return nil
	})
}

// TestShared has two handles, a port that a user added, and the last Close.
func TestShared(t *testing.T) {
	in(t, func() error {
		first, err := OpenBridge("br0", "lyon")
		if err != nil {
			return err
		}
		second, err := OpenBridge("br0", "paris")
		if err != nil {
			return err
		}
		port, err := plain(&netlink.Veth{PeerName: "peer"}, "port")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(port, first.link); err != nil {
			return err
		}
		if err := first.Close(); err != nil || !exists("br0") {
			t.Errorf("Close with a port: %v, there %v, want it there", err, exists("br0"))
		}
		if err := netlink.LinkSetNoMaster(port); err != nil {
			return err
		}
		if err := second.Close(); err != nil || exists("br0") {
			t.Errorf("Close without a port: %v, there %v, want it gone", err, exists("br0"))
		}
		return nil
	})
}

func TestFound(t *testing.T) {
	in(t, func() error {
		if _, err := plain(&netlink.Bridge{}, "br0"); err != nil {
			return err
		}
		before, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		b, err := OpenBridge("br0", "lyon")
		if err != nil {
			return err
		}
		after, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		x, y := before.Attrs(), after.Attrs()
		if b.Ours() || x.Flags != y.Flags || x.Alias != y.Alias || x.HardwareAddr.String() != y.HardwareAddr.String() ||
			*before.(*netlink.Bridge).GroupFwdMask != *after.(*netlink.Bridge).GroupFwdMask {
			t.Errorf("a bridge that was found is changed:\n got %+v\nwant %+v", after, before)
		}
		if err := b.Close(); err != nil || !exists("br0") {
			t.Errorf("Close: %v, there %v, want it there", err, exists("br0"))
		}
		_, err = OpenBridge("lo", "lyon")
		if want := "bridge lo: an interface of this name exists (type device), want a bridge or a free name"; err == nil || err.Error() != want {
			t.Errorf("lo: %v, want %s", err, want)
		}
		return nil
	})
}
