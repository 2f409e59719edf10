// Package demo shows what Spanwire does on one machine: two sites in network
// namespaces, each a host and a router that runs Spanwire, and one network between
// the routers.
package demo

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/api"
	"spanwire/testbed/netlab"
)

const needs = `

It touches nothing else and removes all it made. It ends with OK, or with what failed,
the logs and exit code 1. It needs root, or a user namespace in which /dev/net/tun may
be opened.`

// Command returns the command demo with those of its other matters.
func Command() *cobra.Command {
	cmd := command("demo", "Join two LANs on this machine and show it; also VLANs, Frame Relay, and PPP", lanHelp, "two LANs are one", lan)
	cmd.Example = "  spanwire demo\n  spanwire demo vlan\n  spanwire demo frame-relay\n  spanwire demo ppp"
	cmd.AddCommand(
		command("vlan", "Join VLAN 10 of one trunk with VLAN 20 of another", vlanHelp, "VLAN 10 in lyon is VLAN 20 in paris", vlan),
		command("frame-relay", "Join two routers on serial lines by a Frame Relay PVC", frameRelayHelp, "DLCI 100 in lyon is DLCI 200 in paris", frameRelay),
		command("ppp", "Dial in to an LNS as a client of L2TPv2", pppHelp, "a user dials in, is put out, and dials in again", dialIn),
	)
	return cmd
}

// command returns a command that has show do what is its own in a demo.
func command(use, short, long, shown string, show func(context.Context, *demo) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long + needs,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return inUserNamespace(cmd)
			}
			return run(cmd.Context(), cmd.OutOrStdout(), shown, show)
		},
	}
}

// inUserNamespace runs the command again where we are root.
func inUserNamespace(cmd *cobra.Command) error {
	words := strings.Fields(cmd.CommandPath())
	again := exec.CommandContext(cmd.Context(), "/proc/self/exe", words[1:]...)
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
	name, peer   string
	underlay     string // the router's address on the network between
	host4, host6 string // the host's addresses
	mode         string // of its tunnel

	router, host *netlab.Namespace
	file, socket string
	process      *exec.Cmd
	log          syncBuffer
}

// A demo is one run.
type demo struct {
	out   io.Writer
	lab   *netlab.Lab
	dir   string
	sites [2]*site
	seen  []sight // on the network between
}

// run makes the sites, has show do what is its own with them, and tells how that went.
func run(ctx context.Context, out io.Writer, shown string, show func(context.Context, *demo) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	d := &demo{out: out, sites: [2]*site{
		{name: "lyon", peer: "paris", underlay: "192.0.2.1", host4: "198.51.100.1/24", host6: "2001:db8::1/64", mode: "dial"},
		{name: "paris", peer: "lyon", underlay: "192.0.2.2", host4: "198.51.100.2/24", host6: "2001:db8::2/64", mode: "accept"},
	}}
	if d.dir, err = os.MkdirTemp("", "spanwire-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.dir)
	if d.lab, err = netlab.New(); err != nil {
		return err
	}
	defer d.lab.Close()
	defer d.stop()
	err = d.build()
	if err == nil {
		err = show(ctx, d)
	}
	if err != nil {
		d.tell("\nFAILED: %v\n", err)
		for _, s := range d.sites {
			if s.process != nil {
				d.tell("\nlog of %s:\n%s", s.name, &s.log)
			}
		}
		return errors.New("the demo failed")
	}
	d.tell("\nOK: %s, shown in %.1f s\n", shown, time.Since(began).Seconds())
	return nil
}

func (d *demo) tell(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

// build makes the namespaces of both sites, and the network between.
func (d *demo) build() (err error) {
	for _, s := range d.sites {
		if s.router, err = d.lab.Namespace(s.name + "-router"); err != nil {
			return err
		}
		if s.host, err = d.lab.Namespace(s.name + "-host"); err != nil {
			return err
		}
		s.file = filepath.Join(d.dir, s.name+".toml")
		s.socket = filepath.Join(d.dir, s.name+".sock")
	}
	// The hosts have frames of 1500 octets, and these must fit with all that stands
	// in front of them.
	if err := d.lab.Veth(d.sites[0].router, "wan", d.sites[1].router, "wan", 1600); err != nil {
		return err
	}
	for _, s := range d.sites {
		if err := s.router.Addr("wan", netip.MustParsePrefix(s.underlay+"/24")); err != nil {
			return err
		}
	}
	return d.segment(false)
}

// segment has the network between be handed what a router sends at once as one, or cut
// before it is captured.
func (d *demo) segment(late bool) error {
	var all error
	for _, s := range d.sites {
		all = errors.Join(all, s.router.Features("wan", map[string]bool{"tx-udp-segmentation": late}))
	}
	return all
}

// addresses gives the host of a site its addresses.
func (s *site) addresses(device string) error {
	return s.host.Addr(device, netip.MustParsePrefix(s.host4), netip.MustParsePrefix(s.host6))
}

// configure writes the configuration of both routers, of which session returns what
// follows the tunnel's keys.
func (d *demo) configure(session func(i int, s *site) string) error {
	secret := rand.Text()
	for i, s := range d.sites {
		text := fmt.Sprintf(`[node]
hostname  = %q
router_id = %q
control   = %q

[tunnel.%s]
mode   = %q
local  = "%s:1701"
peer   = "%s"
secret = %q

`, s.name, s.underlay, s.socket, s.peer, s.mode, s.underlay, d.sites[1-i].underlay, secret) + session(i, s)
		if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
			return err
		}
		d.tell("\n--- %s.toml\n%s", s.name, text)
	}
	return nil
}

// start runs Spanwire in both routers, first in the one that is dialled, so that the
// other one is answered at once.
func (d *demo) start(ctx context.Context) error {
	for _, s := range []*site{d.sites[1], d.sites[0]} {
		s.process = exec.Command("/proc/self/exe", "run", "-c", s.file)
		s.process.Stderr = &s.log
		if err := s.router.Start(s.process); err != nil {
			return err
		}
		if err := s.await(ctx, "an answer to spanwire status", func(*api.Status) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// established waits until both ends have their session.
func (d *demo) established(ctx context.Context) error {
	for _, s := range d.sites {
		if err := s.await(ctx, "its session", func(status *api.Status) bool {
			for _, t := range status.Tunnels {
				for _, p := range t.Sessions {
					if p.Call == nil || p.Call.State != "established" {
						return false
					}
				}
			}
			return len(status.Tunnels) > 0
		}); err != nil {
			return err
		}
	}
	return nil
}

// await waits until a site's status is as wanted.
func (s *site) await(ctx context.Context, what string, wanted func(*api.Status) bool) error {
	const limit = 10 * time.Second
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		status, err := api.Dial(s.socket).Status(ctx)
		if err == nil && wanted(&status) {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return errors.Join(fmt.Errorf("%s: no sight of %s within %v", s.name, what, limit), err)
		}
	}
}

// stop ends both processes as an administrator would.
func (d *demo) stop() {
	for _, s := range d.sites {
		if s.process != nil && s.process.Process != nil {
			s.process.Process.Signal(syscall.SIGTERM)
			s.process.Wait()
		}
	}
}

// reach pings the host of the second site from that of the first.
func (d *demo) reach() error {
	a, b := d.sites[0], d.sites[1]
	d.tell("\n--- from the host in %s to the host in %s\n", a.name, b.name)
	for _, prefix := range []string{b.host4, b.host6} {
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
	return nil
}

// A sight is a frame that was seen somewhere.
type sight struct {
	at    time.Time
	place string
	line  string // what it was
}

// drain returns what a capture has heard until now of what decode knows.
func drain(c *netlab.Capture, place string, decode func([]byte) (string, bool)) (all []sight) {
	for end := time.Now().Add(200 * time.Millisecond); ; {
		frame, at, err := c.Next(end)
		if err != nil {
			return all
		}
		if line, ok := decode(frame); ok {
			all = append(all, sight{at, place, line})
		}
	}
}

// list prints what was seen, in its order.
func (d *demo) list(all []sight) {
	slices.SortStableFunc(all, func(a, b sight) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	width := 0
	for _, s := range all {
		width = max(width, len(s.place))
	}
	for _, s := range all {
		place := ""
		if width > 0 {
			place = fmt.Sprintf("%-*s  ", width, s.place)
		}
		d.tell("%s %s%s\n", s.at.Format("15:04:05.000000"), place, s.line)
	}
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
