package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/netlab"
	"spanwire/testbed/relay"
)

// The two hosts.
var names = [2]string{"left", "right"}

// What the cable between the hosts carries at first and at last, what the addresses
// on a VLAN do always, and what a TAP has at least: all of what is said fits, in the
// end, and IPv6 stays.
const (
	wanMTU    = 1500
	vlanMTU   = 1300
	lowestMTU = 1320
	vlan      = 100
)

// A lab is two hosts on one cable, and a third on another that two of the tunnels'
// datagrams pass.
type lab struct {
	*netlab.Lab
	dir      string
	binary   string
	hosts    [2]*netlab.Namespace
	middle   *netlab.Namespace
	daemons  [2]*exec.Cmd
	sessions []*session

	mu    sync.Mutex
	relay *relay.Relay
}

// A session joins a bridge on each host, on which are addresses, a VLAN with others,
// and a port for frames of any kind.
type session struct {
	name   string
	index  int
	tunnel string
	static bool
	rough  bool // by way of the relay
	flows  int  // TCP connections at a time
	toml   func(end int) string
}

func (x *session) bridge() string { return "br-" + x.name }
func (x *session) tap() string    { return "tap-" + x.name }
func (x *session) vlan() string   { return "v-" + x.name }
func (x *session) port() string   { return "p-" + x.name } // for frames

// address returns one of a host's, on the VLAN or not.
func (x *session) address(end int, tagged, v6 bool) netip.Addr {
	kind := byte(1)
	if tagged {
		kind = 2
	}
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("fd00:%d:%d::%d", kind, x.index, end+1))
	}
	return netip.AddrFrom4([4]byte{10, kind, byte(x.index), byte(end + 1)})
}

// tunnels are what carries the sessions.
var tunnels = []struct {
	name, toml string
	local      [2]string
}{
	{"dialled", "secret = \"correct horse battery staple\"\nhello = \"2s\"\nredial_max = \"1s\"\n", [2]string{"192.0.2.1:1701", "192.0.2.2:1701"}},
	{"six", "", [2]string{"[2001:db8::1]:1701", "[2001:db8::2]:1701"}},
	{"ip", "encap = \"ip\"\n", [2]string{"192.0.2.1", "192.0.2.2"}},
	{"rough", "", [2]string{"198.51.100.1:1702", "198.51.100.2:1702"}},
}

// The relay's addresses: what each host takes for the other's.
var relayed = [2]string{"198.51.100.11:1702", "198.51.100.12:1702"}

func newSessions() (all []*session) {
	ids := 0
	static := func(cookie int, more string) func(int) string {
		ids += 2
		id := ids
		cookies := [2]string{"a1b2c3d4e5f60718"[:2*cookie], "18f7e6d5c4b3a291"[:2*cookie]}
		return func(end int) string {
			return fmt.Sprintf("session_id = %d\npeer_session_id = %d\nreceive_cookie = %q\nsend_cookie = %q\n%s",
				id+end, id+1-end, cookies[end], cookies[1-end], more)
		}
	}
	dialled := func(more string) func(int) string {
		return func(int) string { return "cookie_overlap = \"1s\"\n" + more }
	}
	all = []*session{
		{name: "fast", tunnel: "dialled", flows: 4, toml: dialled("cookie_size = 8\n")},
		{name: "seq", tunnel: "dialled", flows: 4, toml: dialled("cookie_size = 4\nsublayer = \"default\"\nsequencing = \"all\"\nreorder_timeout = \"10ms\"\n")},
		{name: "six", tunnel: "six", static: true, flows: 4, toml: static(0, "")},
		{name: "sixseq", tunnel: "six", static: true, flows: 2, toml: static(8, "sublayer = \"default\"\nsequencing = \"all\"\n")},
		{name: "ip", tunnel: "ip", static: true, flows: 2, toml: static(4, "")},
		{name: "rough", tunnel: "rough", static: true, rough: true, flows: 3, toml: static(8, "sublayer = \"default\"\nsequencing = \"all\"\nreorder_timeout = \"20ms\"\n")},
	}
	for i, x := range all {
		x.index = i
	}
	return all
}

// toml is the configuration of one host.
func (l *lab) toml(end int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[node]\nhostname = %q\ncontrol = %q\n", names[end], l.socket(end))
	for _, t := range tunnels {
		peer := t.local[1-end]
		if t.name == "rough" {
			peer = relayed[end]
		}
		mode := "static"
		if t.name == "dialled" {
			if mode = "dial"; end == 1 {
				mode, peer = "accept", "192.0.2.1"
			}
		}
		fmt.Fprintf(&b, "\n[tunnel.%s]\nmode = %q\nlocal = %q\npeer = %q\n%s", t.name, mode, t.local[end], peer, t.toml)
		for _, x := range l.sessions {
			if x.tunnel == t.name {
				fmt.Fprintf(&b, "[tunnel.%s.session.%s]\ntap = %q\nbridge = %q\n%s", t.name, x.name, x.tap(), x.bridge(), x.toml(end))
			}
		}
	}
	return b.String()
}

func (l *lab) socket(end int) string { return filepath.Join(l.dir, names[end]+".sock") }
func (l *lab) log(end int) string    { return filepath.Join(l.dir, names[end]+".log") }

func newLab(dir, binary string) (*lab, error) {
	n, err := netlab.New()
	if err != nil {
		return nil, err
	}
	l := &lab{Lab: n, dir: dir, binary: binary, sessions: newSessions()}
	if err := l.lay(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// lay makes all that is in the lab.
func (l *lab) lay() (err error) {
	for i, name := range names {
		if l.hosts[i], err = l.Namespace(name); err != nil {
			return err
		}
		if err := l.hosts[i].Do(keepAddresses); err != nil {
			return err
		}
	}
	if l.middle, err = l.Namespace("middle"); err != nil {
		return err
	}
	if err := l.Veth(l.hosts[0], "wan", l.hosts[1], "wan", wanMTU); err != nil {
		return err
	}
	for i, host := range l.hosts {
		side := "to-" + names[i]
		if err := errors.Join(
			l.Veth(host, "rough", l.middle, side, wanMTU),
			host.Addr("wan", netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/64", i+1))),
			host.Addr("rough", netip.MustParsePrefix(fmt.Sprintf("198.51.100.%d/24", i+1))),
			l.middle.Addr(side, netip.MustParsePrefix(fmt.Sprintf("198.51.100.%d/32", 11+i))),
			l.middle.Do(func() error {
				dev, err := netlink.LinkByName(side)
				if err != nil {
					return err
				}
				to := netip.MustParsePrefix(fmt.Sprintf("198.51.100.%d/32", i+1))
				return netlink.RouteAdd(&netlink.Route{LinkIndex: dev.Attrs().Index, Dst: netlink.NewIPNet(to.Addr().AsSlice()), Scope: netlink.SCOPE_LINK})
			}),
		); err != nil {
			return err
		}
	}
	if err := l.impair(relay.Impairment{}); err != nil {
		return err
	}
	for i, host := range l.hosts {
		for _, x := range l.sessions {
			if err := errors.Join(l.Bridge(host, x.bridge()), l.VLAN(host, x.bridge(), x.vlan(), vlan, 9000), l.Veth(host, x.port(), host, x.port()+"-br", 9000)); err != nil {
				return err
			}
			if err := l.with(i, x.vlan(), func(d netlink.Link) error { return netlink.LinkSetMTU(d, vlanMTU) }); err != nil {
				return err
			}
			if err := l.with(i, x.port()+"-br", func(d netlink.Link) error {
				br, err := netlink.LinkByName(x.bridge())
				if err != nil {
					return err
				}
				return netlink.LinkSetMaster(d, br)
			}); err != nil {
				return err
			}
			for tagged, device := range map[bool]string{false: x.bridge(), true: x.vlan()} {
				if err := host.Addr(device, netip.PrefixFrom(x.address(i, tagged, false), 24), netip.PrefixFrom(x.address(i, tagged, true), 64)); err != nil {
					return err
				}
			}
		}
		if err := l.run(i); err != nil {
			return err
		}
	}
	return nil
}

// with does something to a device of a host.
func (l *lab) with(end int, device string, do func(netlink.Link) error) error {
	return l.hosts[end].Do(func() error {
		d, err := netlink.LinkByName(device)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", names[end], device, err)
		}
		if err := do(d); err != nil {
			return fmt.Errorf("%s: %s: %w", names[end], device, err)
		}
		return nil
	})
}

// run starts a host's Spanwire.
func (l *lab) run(end int) error {
	file := filepath.Join(l.dir, names[end]+".toml")
	if err := os.WriteFile(file, []byte(l.toml(end)), 0o600); err != nil {
		return err
	}
	log, err := os.Create(l.log(end))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(l.binary, "run", "-c", file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := l.hosts[end].Start(cmd); err != nil {
		return err
	}
	l.daemons[end] = cmd
	return nil
}

// impair puts another relay in the place of the one that is there.
func (l *lab) impair(i relay.Impairment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.relay != nil {
		l.relay.Close()
	}
	return l.middle.Do(func() (err error) {
		l.relay, err = relay.New(netip.MustParseAddrPort(relayed[0]), netip.MustParseAddrPort(relayed[1]),
			netip.MustParseAddrPort(tunnels[3].local[0]), netip.MustParseAddrPort(tunnels[3].local[1]), i)
		return err
	})
}

// A status is what is looked at of `spanwire status --json`.
type status struct {
	Drops   map[string]uint64
	Tunnels []struct {
		Name, State string
		Sessions    []struct {
			Name, State string
			Counters    map[string]uint64
		}
	}
}

func (l *lab) status(end int) (s status, err error) {
	out, err := exec.Command(l.binary, "status", "--json", "--control", l.socket(end)).Output()
	if err != nil {
		return s, fmt.Errorf("status of %s: %w", names[end], err)
	}
	return s, json.Unmarshal(out, &s)
}

// counters adds up those of all sessions.
func (l *lab) counters() (sums [2]map[string]uint64) {
	for end := range sums {
		sums[end] = map[string]uint64{}
		s, _ := l.status(end) // what is wrong shows elsewhere
		for name, n := range s.Drops {
			sums[end][name] += n
		}
		for _, t := range s.Tunnels {
			for _, x := range t.Sessions {
				for name, n := range x.Counters {
					sums[end][name] += n
				}
			}
		}
	}
	return sums
}

// holds says what memory and how many files a daemon has.
func (l *lab) holds(end int) string {
	pid := l.daemons[end].Process.Pid
	memory := "?"
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			memory = strings.TrimSpace(rest)
		}
	}
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return fmt.Sprintf("%s, %d files", memory, len(files))
}

// end ends both daemons, and returns what they should not have done.
func (l *lab) end() (wrong []error) {
	for end, d := range l.daemons {
		d.Process.Signal(syscall.SIGTERM)
		killer := time.AfterFunc(30*time.Second, func() { d.Process.Kill() })
		if err := d.Wait(); err != nil {
			wrong = append(wrong, fmt.Errorf("%s ended with: %w", names[end], err))
		}
		killer.Stop()
		text, err := os.ReadFile(l.log(end))
		if err != nil {
			wrong = append(wrong, err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "level=ERROR") || strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic") || strings.HasPrefix(line, "fatal") {
				wrong = append(wrong, fmt.Errorf("%s says: %s", names[end], strings.TrimSpace(line)))
			}
		}
		l.daemons[end] = nil
	}
	return wrong
}

// close ends what is left.
func (l *lab) close() {
	for _, d := range l.daemons {
		if d != nil {
			d.Process.Kill()
			d.Wait()
		}
	}
	if l.relay != nil {
		l.relay.Close()
	}
	l.Lab.Close()
}
