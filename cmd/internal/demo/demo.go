// Package demo shows the main job on one machine: two sites in network
// namespaces, each a LAN host and a router that runs Spanwire, and one network
// between the routers.
package demo

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"

	"spanwire/cookie"
	"spanwire/testbed/netlab"
)

const help = `Demo makes two sites in network namespaces of its own, runs Spanwire in each, and
shows that their LANs are one: one dials, the other accepts, and both know a secret;
then ARP, ping over IPv4 and IPv6, the control messages and frames on the wire, the status of both ends and the throughput. It touches nothing else and
removes all it made. It ends with OK, or with what failed and exit code 1.

It needs root, or a user namespace in which /dev/net/tun may be opened.`

// Command returns the command demo.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:     "demo",
		Short:   "Join two LANs on this machine and show it",
		Long:    help,
		Example: "  spanwire demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return inUserNamespace(cmd)
			}
			return run(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

// inUserNamespace runs the demo again where we are root.
func inUserNamespace(cmd *cobra.Command) error {
	again := exec.CommandContext(cmd.Context(), "/proc/self/exe", "demo")
	again.Stdout, again.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		return fmt.Errorf("demo needs root here: %w", err)
	} else {
		tun.Close()
	}
	if err := again.Start(); err != nil {
		return fmt.Errorf("demo needs root here, for a user namespace is refused: %w", err)
	}
	return again.Wait()
}

// A site is one side of the demo.
type site struct {
	name, peer string
	underlay   string // the router's address on the network between
	lan4, lan6 string // the host's addresses on the LAN
	tunnel     string // how it comes to be

	router, host *netlab.Namespace
	file, socket string
	process      *exec.Cmd
	log          *syncBuffer
}

// A demo is one run.
type demo struct {
	out     io.Writer
	lab     *netlab.Lab
	dir     string
	sites   [2]*site
	capture *netlab.Capture
}

func run(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	d := &demo{out: out}
	if d.dir, err = os.MkdirTemp("", "spanwire-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.dir)
	if d.lab, err = netlab.New(); err != nil {
		return err
	}
	defer d.lab.Close()
	defer d.stop()
	for _, step := range []func(context.Context) error{d.build, d.start, d.reach, d.wire, d.status, d.throughput} {
		if err := step(ctx); err != nil {
			d.tell("\nFAILED: %v\n", err)
			for _, s := range d.sites {
				if s != nil && s.log != nil {
					d.tell("\nlog of %s:\n%s", s.name, s.log)
				}
			}
			return errors.New("the demo failed")
		}
	}
	d.tell("\nOK: two LANs are one, shown in %.1f s\n", time.Since(began).Seconds())
	return nil
}

func (d *demo) tell(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

// build makes namespaces, cables, and one configuration for each router.
func (d *demo) build(context.Context) error {
	d.sites = [2]*site{
		{name: "lyon", peer: "paris", underlay: "192.0.2.1", lan4: "198.51.100.1/24", lan6: "2001:db8::1/64", tunnel: "dial"},
		{name: "paris", peer: "lyon", underlay: "192.0.2.2", lan4: "198.51.100.2/24", lan6: "2001:db8::2/64", tunnel: "accept"},
	}
	secret := rand.Text()
	var err error
	d.tell("Two sites: host -- router with Spanwire == network == router with Spanwire -- host\n")
	for _, s := range d.sites {
		if s.router, err = d.lab.Namespace(s.name + "-router"); err != nil {
			return err
		}
		if s.host, err = d.lab.Namespace(s.name + "-host"); err != nil {
			return err
		}
		if err := d.lab.Veth(s.host, "eth0", s.router, "lan", 1500); err != nil {
			return err
		}
		if err := d.lab.Bridge(s.router, "br-lan", "lan"); err != nil {
			return err
		}
	}
	// The LANs have frames of 1500 octets, and these must fit with all that stands
	// in front of them.
	if err := d.lab.Veth(d.sites[0].router, "wan", d.sites[1].router, "wan", 1600); err != nil {
		return err
	}
	for i, s := range d.sites {
		if err := s.router.Addr("wan", netip.MustParsePrefix(s.underlay+"/24")); err != nil {
			return err
		}
		if err := s.host.Addr("eth0", netip.MustParsePrefix(s.lan4), netip.MustParsePrefix(s.lan6)); err != nil {
			return err
		}
		s.file = filepath.Join(d.dir, s.name+".toml")
		s.socket = filepath.Join(d.dir, s.name+".sock")
		text := s.configuration(d.sites[1-i], secret)
		if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
			return err
		}
		d.tell("\n--- %s.toml\n%s", s.name, text)
	}
	return nil
}

func (s *site) configuration(other *site, secret string) string {
	return fmt.Sprintf(`[node]
hostname  = %q
router_id = %q
control   = %q

[tunnel.%s]
mode   = %q
local  = "%s:1701"
peer   = "%s"
secret = %q

[tunnel.%s.session.office]
tap    = "office0"
bridge = "br-lan"
`, s.name, s.underlay, s.socket, s.peer, s.tunnel, s.underlay, other.underlay, secret, s.peer)
}

// start runs Spanwire in both routers.
func (d *demo) start(context.Context) error {
	capture, err := d.sites[0].router.Capture("wan")
	if err != nil {
		return err
	}
	d.capture = capture
	for _, s := range d.sites {
		s.log = new(syncBuffer)
		s.process = exec.Command("/proc/self/exe", "run", "-c", s.file)
		s.process.Stderr = s.log
		if err := s.router.Start(s.process); err != nil {
			return err
		}
	}
	return nil
}

// stop ends both processes as an administrator would.
func (d *demo) stop() {
	for _, s := range d.sites {
		if s != nil && s.process != nil && s.process.Process != nil {
			s.process.Process.Signal(syscall.SIGTERM)
			s.process.Wait()
		}
	}
}

// reach pings across and looks at what ARP found.
func (d *demo) reach(context.Context) error {
	a, b := d.sites[0], d.sites[1]
	d.tell("\n--- from the host in %s to the host in %s\n", a.name, b.name)
	for _, prefix := range []string{b.lan4, b.lan6} {
		to := netip.MustParsePrefix(prefix).Addr()
		var rtt time.Duration
		err := a.host.Do(func() (err error) {
			rtt, err = ping(to, 8*time.Second)
			return err
		})
		if err != nil {
			return err
		}
		d.tell("ping %-16s answered in %v\n", to, rtt.Round(10*time.Microsecond))
	}
	return a.host.Do(func() error {
		want := netip.MustParsePrefix(b.lan4).Addr()
		neighbours, err := netlink.NeighList(0, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, n := range neighbours {
			if n.IP.Equal(want.AsSlice()) && n.HardwareAddr != nil {
				d.tell("ARP  %-16s is at %s, in the other site\n", want, n.HardwareAddr)
				return nil
			}
		}
		return fmt.Errorf("ARP: %s has no neighbour entry for %s", a.name, want)
	})
}

// wire shows what crossed the network between.
func (d *demo) wire(context.Context) error {
	defer d.capture.Close()
	d.tell("\n--- on the network between\n")
	shown := 0
	for end := time.Now().Add(2 * time.Second); shown < 16 && time.Now().Before(end); {
		frame, at, err := d.capture.Next(end)
		if err != nil {
			break
		}
		if line, ok := decode(frame, cookie.DefaultSize); ok {
			d.tell("%s %s\n", at.Format("15:04:05.000000"), line)
			shown++
		}
	}
	if shown == 0 {
		return errors.New("no L2TPv3 frame was seen on the network")
	}
	return nil
}

// status asks both ends.
func (d *demo) status(ctx context.Context) error {
	for _, s := range d.sites {
		d.tell("\n--- spanwire status of %s\n", s.name)
		status := exec.CommandContext(ctx, "/proc/self/exe", "status", "--control", s.socket)
		out, err := status.CombinedOutput()
		if err != nil {
			return fmt.Errorf("status of %s: %w: %s", s.name, err, out)
		}
		for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
			d.tell("%s\n", lines.Text())
		}
	}
	return nil
}

// throughput fills one TCP connection from host to host for two seconds.
func (d *demo) throughput(context.Context) error {
	a, b := d.sites[0], d.sites[1]
	to := net.JoinHostPort(netip.MustParsePrefix(b.lan4).Addr().String(), "5001")
	var l net.Listener
	err := b.host.Do(func() (err error) {
		l, err = net.Listen("tcp4", to)
		return err
	})
	if err != nil {
		return err
	}
	defer l.Close()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	sent := make(chan error, 1)
	go func() {
		sent <- a.host.Do(func() error { return transmit(to, 2*time.Second) })
	}()
	rate, err := receive(l)
	if err := errors.Join(err, <-sent); err != nil {
		return err
	}
	if rate == 0 {
		return errors.New("throughput: nothing came through")
	}
	d.tell("\n--- throughput, host to host, one TCP connection for 2 s: %.2f Gbit/s\n", rate*8/1e9)
	return nil
}

// A syncBuffer keeps the log of a process, which we may read while it grows.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
