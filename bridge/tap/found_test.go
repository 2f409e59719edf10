package tap

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"spanwire/bridge/link"
)

// look describes all of a device that we may change.
func look(name string) (string, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return "", err
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return "", err
	}
	genMode, err := os.ReadFile(genModeOf(name))
	if err != nil {
		return "", err
	}
	a, persist := l.Attrs(), !l.(*netlink.Tuntap).NonPersist
	return fmt.Sprintf("index %d, %s, mtu %d, %s, master %d, alias %q, addresses %v, addrgenmode %s, persistent %v",
		a.Index, a.HardwareAddr, a.MTU, a.Flags, a.MasterIndex, a.Alias, addrs, genMode, persist), nil
}

// TestFound opens TAPs that the user has made, and wants them as they were after
// Close, and after an Open that came to nothing.
func TestFound(t *testing.T) {
	address := netip.MustParsePrefix("198.51.100.1/24")
	tests := map[string]struct {
		up       bool
		master   bool
		existing []netip.Prefix
		cfg      Config
		fails    bool
	}{
		"down":           {cfg: Config{MTU: 1438, Bridge: "br0", Alias: "lyon/paris/office"}},
		"up":             {up: true, cfg: Config{MTU: 1438, Addresses: []netip.Prefix{address}}},
		"in a bridge":    {up: true, master: true, cfg: Config{MTU: 1438, Bridge: "br0"}},
		"with addresses": {up: true, existing: []netip.Prefix{address}, cfg: Config{MTU: 1438, Addresses: []netip.Prefix{address, netip.MustParsePrefix("203.0.113.1/24")}}},
		"in vain":        {cfg: Config{MTU: 1438, Bridge: "absent"}, fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := lab(t)
			in(t, n, func() error {
				if _, err := link.OpenBridge("br0", "lyon"); err != nil {
					return err
				}
				user := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
				user.Name = "user"
				device := &netlink.Tuntap{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.TUNTAP_MODE_TAP}
				device.Name = "t0"
				for _, l := range []netlink.Link{user, device} {
					if err := netlink.LinkAdd(l); err != nil {
						return err
					}
				}
				if test.master {
					if err := netlink.LinkSetMaster(device, user); err != nil {
						return err
					}
				}
				if test.up {
					if err := netlink.LinkSetUp(device); err != nil {
						return err
					}
				}
				for _, p := range test.existing {
					a, err := netlink.ParseAddr(p.String())
					if err != nil {
						return err
					}
					if err := netlink.AddrAdd(device, a); err != nil {
						return err
					}
				}
				want, err := look("t0")
				if err != nil {
					return err
				}
				test.cfg.Name, test.cfg.MAC = "t0", MAC("lyon", "paris/office")
				tap, err := Open(test.cfg)
				if (err != nil) != test.fails {
					t.Fatalf("Open: %v, want an error %v", err, test.fails)
				}
				if err == nil {
					if during, err := look("t0"); err != nil || during == want {
						t.Errorf("opened: %s, want it changed; %v", during, err)
					}
					if err := tap.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				}
				if got, err := look("t0"); err != nil || got != want {
					t.Errorf("after Close:\n got %s, %v\nwant %s", got, err, want)
				}
				return nil
			})
		})
	}
}

// TestFoundUnfit leaves devices alone that cannot be taken, and no file open.
func TestFoundUnfit(t *testing.T) {
	n := lab(t)
	in(t, n, func() error {
		add := func(name string, mode netlink.TuntapMode, flags netlink.TuntapFlag, queues int) error {
			l := &netlink.Tuntap{LinkAttrs: netlink.NewLinkAttrs(), Mode: mode, Flags: flags, Queues: queues}
			l.Name = name
			if err := netlink.LinkAdd(l); err != nil {
				return err
			}
			if name != "held" {
				for _, f := range l.Fds {
					f.Close()
				}
			} else {
				t.Cleanup(func() { l.Fds[0].Close() })
			}
			return nil
		}
		for _, err := range []error{
			add("tun", netlink.TUNTAP_MODE_TUN, 0, 0),
			add("queues", netlink.TUNTAP_MODE_TAP, netlink.TUNTAP_MULTI_QUEUE_DEFAULTS, 1),
			add("held", netlink.TUNTAP_MODE_TAP, netlink.TUNTAP_ONE_QUEUE|netlink.TUNTAP_NO_PI, 1),
		} {
			if err != nil {
				return err
			}
		}
		files := func() int {
			list, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		before := files()
		for name, want := range map[string]string{
			"tun":    "tap tun: an interface of this name exists (type tuntap), want a free name",
			"queues": "tap queues: a TAP of this name exists and has multi_queue, want a free name or a TAP without",
			"held":   "tap held: a TAP of this name exists and a process holds it, want a free name",
		} {
			if _, err := Open(Config{Name: name, MTU: 1500}); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
		if after := files(); after != before {
			t.Errorf("%d files open, were %d", after, before)
		}
		return nil
	})
}
