// Package netlab makes small networks of namespaces on one machine: hosts, cables
// between them, bridges in them, and ears on the cables. It needs root, or a user
// namespace in which the process is root; it uses no other program.
package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Lab is a set of namespaces. They have no names in the file system, so that
// nothing is left of them when the process ends, however it ends.
type Lab struct {
	namespaces []*Namespace
}

// A Namespace is one host.
type Namespace struct {
	name   string
	handle netns.NsHandle
}

// New returns an empty lab.
func New() (*Lab, error) { return new(Lab), nil }

// Close lets go of all namespaces; they vanish when the last process in them has
// ended.
func (l *Lab) Close() {
	for _, n := range l.namespaces {
		n.handle.Close()
	}
	l.namespaces = nil
}

// Namespace makes a host: loopback up, IPv6 addresses usable at once. The name is
// for errors only.
func (l *Lab) Namespace(name string) (*Namespace, error) {
	n := &Namespace{name: name}
	err := onThread(func() (err error) {
		n.handle, err = netns.New()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netlab: namespace %s: %w (root is needed)", name, err)
	}
	l.namespaces = append(l.namespaces, n)
	return n, n.Do(func() error {
		for _, which := range []string{"all", "default"} {
			// Duplicate address detection takes a second that no lab has.
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/accept_dad", []byte("0"), 0); err != nil {
				return err
			}
		}
		return up("lo")
	})
}

// errEnded stands for the error of a function that never returned.
var errEnded = errors.New("netlab: ended its goroutine, as t.Fatal does")

// onThread runs f on a thread that ends with it, so that what f does to its thread
// stays there.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := errEnded
		defer func() { done <- err }()
		err = f()
	}()
	return <-done
}

// Do runs f in the namespace. Sockets that f opens stay in it.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("netlab: namespace %s: %w", n.name, err)
		}
		return f()
	})
}

// Start starts a process in the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Run runs a process in the namespace and returns what it printed.
func (n *Namespace) Run(name string, args ...string) (string, error) {
	var out []byte
	err := n.Do(func() (err error) {
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		return string(out), fmt.Errorf("netlab: namespace %s: %s %v: %w: %s", n.name, name, args, err, out)
	}
	return string(out), nil
}

// Veth lays a cable between two hosts, up at both ends.
func (l *Lab) Veth(a *Namespace, aName string, b *Namespace, bName string, mtu int) error {
	return a.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = aName, mtu
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(b.handle)}); err != nil {
			return fmt.Errorf("netlab: veth %s to %s: %w", aName, bName, err)
		}
		if err := errors.Join(up(aName), b.Do(func() error { return up(bName) })); err != nil {
			return err
		}
		return errors.Join(carries(aName), b.Do(func() error { return carries(bName) }))
	})
}

// carries waits until a device is operational: the kernel says so a moment after
// the cable's other end is up, and drops what is sent before.
func carries(name string) error {
	for range 200 {
		l, err := device(name)
		if err != nil || l.Attrs().OperState == netlink.OperUp {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("netlab: device %s: no carrier", name)
}

func device(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("netlab: device %s: %w", name, err)
	}
	return l, nil
}

func up(name string) error {
	l, err := device(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// Bridge makes a bridge of devices that are there.
func (l *Lab) Bridge(n *Namespace, name string, ports ...string) error {
	return n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		b := &netlink.Bridge{LinkAttrs: attrs}
		if err := netlink.LinkAdd(b); err != nil {
			return fmt.Errorf("netlab: bridge %s: %w", name, err)
		}
		for _, p := range ports {
			port, err := device(p)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetMaster(port, b); err != nil {
				return fmt.Errorf("netlab: bridge %s: port %s: %w", name, p, err)
			}
		}
		return netlink.LinkSetUp(b)
	})
}

// Addr gives a device addresses.
func (n *Namespace) Addr(name string, prefixes ...netip.Prefix) error {
	return n.Do(func() error {
		l, err := device(name)
		if err != nil {
			return err
		}
		for _, p := range prefixes {
			a, err := netlink.ParseAddr(p.String())
			if err != nil {
				return err
			}
			if p.Addr().Is6() {
				a.Flags = unix.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return fmt.Errorf("netlab: address %s on %s: %w", p, name, err)
			}
		}
		return nil
	})
}

// Route lays the way to a network by way of a host that is reached already.
func (n *Namespace) Route(to netip.Prefix, via netip.Addr) error {
	return n.Do(func() error {
		dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
		if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: via.AsSlice()}); err != nil {
			return fmt.Errorf("netlab: route to %s via %s: %w", to, via, err)
		}
		return nil
	})
}
