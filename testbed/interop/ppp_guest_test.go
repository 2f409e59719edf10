package interop

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"spanwire/testbed/interop/station"
	"spanwire/testbed/netlab"
)

// pppGuestVerb has the test's own program be what serves it in the guest.
const pppGuestVerb = "ppp-guest"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == pppGuestVerb {
		if err := servePPPGuest(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, pppGuestVerb+":", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// servePPPGuest serves one caller until it hangs up.
func servePPPGuest(address string) error {
	registerTalks()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	lab, err := netlab.New()
	if err != nil {
		return err
	}
	s := rpc.NewServer()
	if err := s.RegisterName("Guest", &PPPGuest{lab: lab, hosts: make(map[string]*guestHost)}); err != nil {
		return err
	}
	s.ServeConn(conn)
	return nil
}

func registerTalks() {
	gob.Register(station.Flow{})
	gob.Register(station.Burst{})
}

// A PPPGuest is the guest as net/rpc serves it: hosts in namespaces of their own, all
// on the wire.
type PPPGuest struct {
	lab   *netlab.Lab
	mu    sync.Mutex
	hosts map[string]*guestHost
}

type guestHost struct {
	*netlab.Namespace
	came func() error // what was listened for last
}

// A GuestCall has the arguments of all of a PPPGuest's methods.
type GuestCall struct {
	Host   string
	Device string
	Prefix netip.Prefix
	Script string
	Within time.Duration
	Talk   station.Talk
	At     netip.AddrPort
	Links  int
	Global bool // each has an address of IPv6 beside its link-local one
}

func (g *PPPGuest) host(name string) *guestHost {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hosts[name]
}

// Join makes a host, and puts it on the cable of a device of the guest's.
func (g *PPPGuest) Join(c GuestCall, _ *struct{}) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, err := g.lab.Namespace(c.Host)
	if err != nil {
		return err
	}
	g.hosts[c.Host] = &guestHost{Namespace: n}
	cable, err := netlink.LinkByName(c.Device)
	if err != nil {
		return err
	}
	var there netns.NsHandle
	if err := n.Do(func() (err error) {
		there, err = netns.Get()
		return err
	}); err != nil {
		return err
	}
	defer there.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.Namespace = "wire", cable.Attrs().Index, netlink.NsFd(there)
	if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
		return fmt.Errorf("macvlan on %s: %w", c.Device, err)
	}
	if err := n.Do(func() error {
		wire, err := netlink.LinkByName("wire")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(wire)
	}); err != nil {
		return err
	}
	return n.Addr("wire", c.Prefix)
}

// Run runs a shell script on a host and returns what it printed.
func (g *PPPGuest) Run(c GuestCall, out *string) (err error) {
	*out, err = g.host(c.Host).Run("/bin/sh", "-ec", c.Script)
	return err
}

// Start starts a shell script on a host and does not wait for it.
func (g *PPPGuest) Start(c GuestCall, _ *struct{}) error {
	cmd := exec.Command("/bin/sh", "-ec", c.Script)
	if err := g.host(c.Host).Start(cmd); err != nil {
		return err
	}
	go cmd.Wait()
	return nil
}

// Listen is Talk.Listen on a host; how it came is asked by Came.
func (g *PPPGuest) Listen(c GuestCall, _ *struct{}) error {
	h := g.host(c.Host)
	return h.Do(func() (err error) {
		h.came, err = c.Talk.Listen(c.At, c.Within)
		return err
	})
}

// Came is what Talk.Listen returned.
func (g *PPPGuest) Came(c GuestCall, _ *struct{}) error { return g.host(c.Host).came() }

// Dial is Talk.Dial.
func (g *PPPGuest) Dial(c GuestCall, _ *struct{}) error {
	return g.host(c.Host).Do(func() error { return c.Talk.Dial(c.At, c.Within) })
}

// A PPPLink is a network device of pppd's.
type PPPLink struct {
	Device    string
	MTU       int
	Ours      netip.Addr // and the peer's
	Peer      netip.Addr
	LinkLocal netip.Addr   // that of IPV6CP
	Global    []netip.Addr // what router advertisements gave
}

// Up waits until so many links of a host carry IPv4 and IPv6, and there is no other.
func (g *PPPGuest) Up(c GuestCall, links *[]PPPLink) error {
	for end := time.Now().Add(c.Within); ; time.Sleep(200 * time.Millisecond) {
		var all []PPPLink
		err := g.host(c.Host).Do(func() (err error) {
			all, err = pppLinks()
			return err
		})
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // one came or went
		} else if err != nil {
			return err
		}
		*links = slices.DeleteFunc(slices.Clone(all), func(l PPPLink) bool {
			return !l.Peer.IsValid() || !l.LinkLocal.IsValid() || c.Global && len(l.Global) == 0
		})
		if len(*links) == c.Links && len(all) == c.Links {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %d links up after %v, want %d: %+v", c.Host, len(*links), c.Within, c.Links, all)
		}
	}
}

// pppLinks returns the links of the calling thread's namespace.
func pppLinks() (all []PPPLink, err error) {
	devices, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if !strings.HasPrefix(d.Attrs().Name, "ppp") {
			continue
		}
		l := PPPLink{Device: d.Attrs().Name, MTU: d.Attrs().MTU}
		addresses, err := netlink.AddrList(d, netlink.FAMILY_ALL)
		if errors.Is(err, unix.ENODEV) {
			continue // it went meanwhile
		} else if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			ours, _ := netip.AddrFromSlice(a.IP)
			switch ours = ours.Unmap(); {
			case ours.Is4() && a.Peer != nil:
				peer, _ := netip.AddrFromSlice(a.Peer.IP)
				l.Ours, l.Peer = ours, peer.Unmap()
			case ours.IsLinkLocalUnicast():
				l.LinkLocal = ours
			case ours.Is6():
				l.Global = append(l.Global, ours)
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// A pppGuest is a PPPGuest seen from here.
type pppGuest struct{ client *rpc.Client }

func (g *pppGuest) call(method string, c GuestCall) error {
	return g.client.Call("Guest."+method, c, new(struct{}))
}

// A pppHost is one of its hosts.
type pppHost struct {
	guest *pppGuest
	name  string
}

func (h pppHost) run(script string) (out string, err error) {
	err = h.guest.client.Call("Guest.Run", GuestCall{Host: h.name, Script: script}, &out)
	return out, err
}

// links waits until there are so many links; global: with an address of IPv6 that a
// router advertised.
func (h pppHost) links(n int, global bool) (links []PPPLink, err error) {
	err = h.guest.client.Call("Guest.Up", GuestCall{Host: h.name, Links: n, Global: global, Within: pppPatience}, &links)
	return links, err
}

func (h pppHost) listen(what station.Talk, at netip.AddrPort, within time.Duration) (came func() error, err error) {
	return func() error { return h.guest.call("Came", GuestCall{Host: h.name}) },
		h.guest.call("Listen", GuestCall{Host: h.name, Talk: what, At: at, Within: within})
}

func (h pppHost) dial(what station.Talk, to netip.AddrPort, within time.Duration) error {
	return h.guest.call("Dial", GuestCall{Host: h.name, Talk: what, At: to, Within: within})
}

// copyItself puts the test's program where the guest finds it.
func copyItself(share string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(share, pppGuestVerb), b, 0o755)
}
