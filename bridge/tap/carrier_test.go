package tap

import (
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/bridge/link"
)

// TestCarrier takes and gives the carrier of a TAP of ours and of one that a user
// has made, through what may happen to a device meanwhile.
func TestCarrier(t *testing.T) {
	for name, made := range map[string]bool{"ours": false, "found": true} {
		t.Run(name, func(t *testing.T) {
			n := lab(t)
			in(t, n, func() error {
				if _, err := link.OpenBridge("br0", "lyon"); err != nil {
					return err
				}
				if made {
					device := &netlink.Tuntap{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.TUNTAP_MODE_TAP}
					device.Name = "t0"
					if err := netlink.LinkAdd(device); err != nil {
						return err
					}
				}
				for range 2 { // the second Open finds no trace of the first
					tap, err := Open(Config{Name: "t0", MTU: 1000, Bridge: "br0"})
					if err != nil {
						return err
					}
					want := func(when string, up, carrier bool) {
						t.Helper()
						s, err := link.Read("t0")
						if err != nil || s.Up != up || s.Carrier != carrier {
							t.Errorf("%s: %+v, %v; want up %v, carrier %v", when, s, err, up, carrier)
						}
					}
					want("opened", true, true)
					for _, step := range []struct {
						when        string
						do          func() error
						up, carrier bool
					}{
						{"taken", func() error { return tap.SetCarrier(false) }, true, false},
						{"taken again", func() error { return tap.SetCarrier(false) }, true, false},
						{"MTU raised, for which it goes down and up", func() error { return tap.SetMTU(1400) }, true, false},
						{"down", func() error { return netlink.LinkSetDown(tap.link) }, false, false},
						{"up", func() error { return netlink.LinkSetUp(tap.link) }, true, false},
						{"given", func() error { return tap.SetCarrier(true) }, true, true},
						{"down with it", func() error { return netlink.LinkSetDown(tap.link) }, false, false},
						{"taken while down", func() error { return tap.SetCarrier(false) }, false, false},
						{"up without it", func() error { return netlink.LinkSetUp(tap.link) }, true, false},
					} {
						if err := step.do(); err != nil {
							t.Errorf("%s: %v", step.when, err)
						}
						want(step.when, step.up, step.carrier)
					}
					if err := tap.Close(); err != nil {
						return err
					}
					if err := tap.SetCarrier(true); err == nil || !strings.HasPrefix(err.Error(), "tap t0: carrier: ") {
						t.Errorf("after Close: %v, want an error", err)
					}
				}
				return nil
			})
		})
	}
}

func TestCarrierOfAGoneDevice(t *testing.T) {
	n := lab(t)
	in(t, n, func() error {
		tap, err := Open(Config{Name: "t0", MTU: 1500})
		if err != nil {
			return err
		}
		if err := netlink.LinkDel(tap.link); err != nil {
			return err
		}
		if err := tap.SetCarrier(false); err == nil {
			t.Error("carrier of a deleted device taken, want an error")
		}
		return tap.Close()
	})
}

func TestCarrierError(t *testing.T) {
	for _, err := range []error{unix.ENOTTY, unix.EINVAL} {
		if got := carrierError(err); !errors.Is(got, err) || !strings.Contains(got.Error(), "Linux 5.0") {
			t.Errorf("%v: %q, want the kernel blamed", err, got)
		}
	}
	if got := carrierError(unix.EBADFD); got != unix.EBADFD {
		t.Errorf("%v, want it as it is", got)
	}
}
