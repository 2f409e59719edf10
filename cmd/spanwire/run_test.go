package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"spanwire/cmd/internal/api"
)

// patience is for what takes moments, on a machine that has much else to do.
const patience = 20 * time.Second

// A site is a network namespace. It has no name: it is gone with its last user.
type site struct {
	ns    netns.NsHandle
	links *netlink.Handle
}

func newSite(t *testing.T) *site {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("network namespaces and TAPs need root")
	}
	var s site
	var err error
	elsewhere(func() { s.ns, err = netns.New() })
	if err != nil {
		t.Fatalf("network namespace: %v", err)
	}
	t.Cleanup(func() { s.ns.Close() })
	if s.links, err = netlink.NewHandleAt(s.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.links.Close)
	s.up(t, "lo")
	return &s
}

// elsewhere runs do on a thread that ends with it, whatever namespace it is in then.
func elsewhere(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		do()
	}()
	<-done
}

// in runs do in the site's namespace.
func (s *site) in(t *testing.T, do func()) {
	t.Helper()
	var err error
	elsewhere(func() {
		if err = netns.Set(s.ns); err == nil {
			do()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := s.links.LinkByName(name)
	if err != nil {
		t.Fatalf("link %s: %v", name, err)
	}
	return l
}

func (s *site) up(t *testing.T, name string) {
	t.Helper()
	if err := s.links.LinkSetUp(s.link(t, name)); err != nil {
		t.Fatalf("link %s: up: %v", name, err)
	}
}

func (s *site) add(t *testing.T, l netlink.Link) {
	t.Helper()
	if err := s.links.LinkAdd(l); err != nil {
		t.Fatalf("link %s: %v", l.Attrs().Name, err)
	}
	s.up(t, l.Attrs().Name)
}

func (s *site) address(t *testing.T, name, prefix string) {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.links.AddrAdd(s.link(t, name), a); err != nil {
		t.Fatalf("link %s: address %s: %v", name, prefix, err)
	}
}

// interfaces tells of each link what must be as before when a daemon has ended.
func (s *site) interfaces(t *testing.T) (all []string) {
	t.Helper()
	links, err := s.links.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		a := l.Attrs()
		all = append(all, fmt.Sprintf("%s %s mtu %d mac %v alias %q %v", a.Name, l.Type(), a.MTU, a.HardwareAddr, a.Alias, a.Flags&net.FlagUp))
	}
	slices.Sort(all)
	return all
}

// twoSites returns two sites with a wire, wan, between them: 192.0.2.1 and 192.0.2.2.
func twoSites(t *testing.T) (lyon, paris *site) {
	t.Helper()
	lyon, paris = newSite(t), newSite(t)
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "wan", PeerNamespace: netlink.NsFd(paris.ns)}
	veth.Name = "wan"
	lyon.add(t, veth)
	paris.up(t, "wan")
	lyon.address(t, "wan", "192.0.2.1/24")
	paris.address(t, "wan", "192.0.2.2/24")
	return lyon, paris
}

// A process is a spanwire run in a site.
type process struct {
	*exec.Cmd
	socket string

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// start runs spanwire with a configuration, and ends it with the test.
func (s *site) start(t *testing.T, config string, env ...string) *process {
	t.Helper()
	p := &process{socket: filepath.Join(t.TempDir(), "control.sock")}
	file := write(t, strings.Replace(config, "CONTROL", p.socket, 1))
	return s.startFile(t, p, file, env...)
}

func (s *site) startFile(t *testing.T, p *process, file string, env ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.Cmd = exec.Command(self, "run", "-c", file, "--log-level", "debug")
	p.Env = append(os.Environ(), append(env, asSpanwire+"=1")...)
	p.Stderr = p
	s.in(t, func() { err = p.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			p.Process.Kill()
			p.Wait()
		}
		if t.Failed() {
			const enough = 60 // lines: what failed must not be lost above them
			lines := strings.SplitAfter(p.logged(), "\n")
			t.Logf("end of the log of %s:\n%s", file, strings.Join(lines[max(0, len(lines)-enough):], ""))
		}
	})
	return p
}

// ends waits for the process's end and returns its exit code, -1 for a signal.
func (p *process) ends(t *testing.T) int {
	t.Helper()
	timer := time.AfterFunc(patience, func() { p.Process.Kill() })
	defer timer.Stop()
	p.Wait()
	return p.ProcessState.ExitCode()
}

// ready waits until the process's tunnels are up.
func (p *process) ready(t *testing.T) api.Status {
	t.Helper()
	var s api.Status
	eventually(t, "tunnels up", func() (err error) {
		if s, err = api.Dial(p.socket).Status(context.Background()); err != nil {
			return err
		}
		for _, tunnel := range s.Tunnels {
			if tunnel.State != "up" {
				return fmt.Errorf("tunnel %s is %s: %s", tunnel.Name, tunnel.State, tunnel.LastError)
			}
		}
		if len(s.Tunnels) == 0 {
			return errors.New("no tunnel yet")
		}
		return nil
	})
	return s
}

// eventually waits until check has no error.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %v: %v", what, patience, err)
}

// A talk is a UDP conversation over the pseudowire.
type talk struct{ ask, echo net.PacketConn }

func newTalk(t *testing.T, from *site, fromAddr string, to *site, toAddr string, ports ...int) *talk {
	t.Helper()
	var k talk
	port := 7007
	if len(ports) > 0 {
		port = ports[0]
	}
	listen := func(s *site, addr string) (c net.PacketConn) {
		var err error
		s.in(t, func() { c, err = net.ListenPacket("udp4", fmt.Sprintf("%s:%d", addr, port)) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	k.ask, k.echo = listen(from, fromAddr), listen(to, toAddr)
	go func() {
		var b [2048]byte
		for {
			n, from, err := k.echo.ReadFrom(b[:])
			if err != nil {
				return
			}
			k.echo.WriteTo(b[:n], from)
		}
	}()
	return &k
}

// once sends n octets over and wants them back.
func (k *talk) once(n int) error {
	sent := bytes.Repeat([]byte{byte(n)}, n)
	if _, err := k.ask.WriteTo(sent, k.echo.LocalAddr()); err != nil {
		return err
	}
	k.ask.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	var b [2048]byte
	for {
		got, _, err := k.ask.ReadFrom(b[:])
		if err != nil {
			return err
		}
		if bytes.Equal(b[:got], sent) {
			return nil
		}
	}
}

// parisFile is the other end of goodFile.
const parisFile = `
[node]
hostname  = "paris"
router_id = "192.0.2.2"
control   = "CONTROL"

[tunnel.lyon]
mode  = "static"
encap = "udp"
local = "192.0.2.2:1701"
peer  = "192.0.2.1:1701"

[tunnel.lyon.session.office]
pseudowire      = "ethernet"
session_id      = 2001
peer_session_id = 1001
receive_cookie  = "18f7e6d5c4b3a291"
send_cookie     = "a1b2c3d4e5f60718"
tap             = "office0"
bridge          = "br-new"
`

// bridged returns two sites whose daemons run: lyon had its bridge before, paris
// had none. Both have an address on their LAN.
func bridged(t *testing.T) (lyon, paris *site, l, p *process, before [2][]string) {
	t.Helper()
	lyon, paris = twoSites(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = "br-lan"
	lyon.add(t, bridge)
	lan := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "host"}
	lan.Name, lan.MasterIndex = "lan", bridge.Index
	lyon.add(t, lan)
	lyon.up(t, "host")
	lyon.address(t, "br-lan", "10.9.0.1/24")
	before = [2][]string{lyon.interfaces(t), paris.interfaces(t)}
	l, p = lyon.start(t, goodFile), paris.start(t, parisFile)
	l.ready(t)
	p.ready(t)
	paris.address(t, "br-new", "10.9.0.2/24")
	return lyon, paris, l, p, before
}

func TestTwoSitesAreOneSegment(t *testing.T) {
	t.Parallel()
	lyon, paris, l, p, before := bridged(t)
	k := newTalk(t, lyon, "10.9.0.1", paris, "10.9.0.2")
	eventually(t, "an echo", func() error { return k.once(100) })
	eventually(t, "an echo of the largest size", func() error { return k.once(1438 - 28) })

	s := l.ready(t)
	if got := s.Tunnels[0]; got.PathMTU != 1500 || got.Local != "192.0.2.1:1701" || got.Peer != "192.0.2.2:1701" || got.Mode != "static" {
		t.Errorf("tunnel: path MTU %d, local %s, peer %s, mode %s; want 1500, 192.0.2.1:1701, 192.0.2.2:1701, static", got.PathMTU, got.Local, got.Peer, got.Mode)
	}
	session := s.Tunnels[0].Sessions[0]
	if session.Name != "paris/office" || session.TAP != "office0" || session.Bridge != "br-lan" || session.MTU != 1438 {
		t.Errorf("session: %s, TAP %s, bridge %s, MTU %d; want paris/office, office0, br-lan, 1438", session.Name, session.TAP, session.Bridge, session.MTU)
	}
	if got := lyon.link(t, "office0").Attrs(); got.MTU != 1438 || got.MasterIndex != lyon.link(t, "br-lan").Attrs().Index {
		t.Errorf("office0: MTU %d, master %d; want 1438 and br-lan's", got.MTU, got.MasterIndex)
	}
	for _, counter := range []string{"tx_packets", "tx_bytes", "rx_packets", "rx_bytes"} {
		if session.Counters[counter] == 0 {
			t.Errorf("%s: 0, want more", counter)
		}
	}

	for _, process := range []*process{l, p} {
		process.Process.Signal(syscall.SIGTERM)
		if code := process.ends(t); code != 0 {
			t.Errorf("exit code after SIGTERM: %d, want 0", code)
		}
		if _, err := os.Lstat(process.socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the control socket is there after SIGTERM: %v", err)
		}
		for _, secret := range []string{"a1b2c3d4e5f60718", "18f7e6d5c4b3a291"} {
			if strings.Contains(process.logged(), secret) {
				t.Error("the log has a cookie")
			}
		}
	}
	if d := cmp.Diff(before, [2][]string{lyon.interfaces(t), paris.interfaces(t)}); d != "" {
		t.Errorf("interfaces before and after (-before +after):\n%s", d)
	}
}

func TestRestartAfterKill(t *testing.T) {
	t.Parallel()
	lyon, paris, l, p, before := bridged(t)
	k := newTalk(t, lyon, "10.9.0.1", paris, "10.9.0.2")
	eventually(t, "an echo", func() error { return k.once(100) })
	mac := lyon.link(t, "office0").Attrs().HardwareAddr.String()

	for _, again := range []struct {
		site *site
		p    **process
	}{{lyon, &l}, {paris, &p}} {
		former := *again.p
		former.Process.Kill()
		former.ends(t)
		next := &process{socket: former.socket}
		*again.p = again.site.startFile(t, next, former.Args[3])
		next.ready(t)
		eventually(t, "an echo after kill -9 and restart", func() error { return k.once(101) })
	}
	if got := lyon.link(t, "office0").Attrs().HardwareAddr.String(); got != mac {
		t.Errorf("office0 has MAC %s after the restart, had %s before", got, mac)
	}
	l.Process.Signal(syscall.SIGINT)
	p.Process.Signal(syscall.SIGINT)
	if codes := [2]int{l.ends(t), p.ends(t)}; codes != [2]int{} {
		t.Errorf("exit codes after SIGINT: %v, want 0", codes)
	}
	if d := cmp.Diff(before, [2][]string{lyon.interfaces(t), paris.interfaces(t)}); d != "" {
		t.Errorf("interfaces before and after (-before +after):\n%s", d)
	}
}

func TestLostTAPComesBack(t *testing.T) {
	t.Parallel()
	lyon, paris, l, _, _ := bridged(t)
	k := newTalk(t, lyon, "10.9.0.1", paris, "10.9.0.2")
	eventually(t, "an echo", func() error { return k.once(100) })
	lost := lyon.link(t, "office0")
	if err := lyon.links.LinkDel(lost); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an echo after the TAP was deleted", func() error { return k.once(102) })
	if got := lyon.link(t, "office0").Attrs(); got.Index == lost.Attrs().Index || got.MTU != 1438 {
		t.Errorf("office0: index %d, MTU %d; want another than %d, and 1438", got.Index, got.MTU, lost.Attrs().Index)
	}
	if !strings.Contains(l.logged(), "TAP lost") {
		t.Error("the log does not tell that the TAP was lost")
	}
}

func TestMTUFollowsPath(t *testing.T) {
	t.Parallel()
	lyon, _, l, _, _ := bridged(t)
	if err := lyon.links.LinkSetMTU(lyon.link(t, "wan"), 1400); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the TAP's MTU", func() error {
		if got := lyon.link(t, "office0").Attrs().MTU; got != 1338 {
			return fmt.Errorf("%d, want 1338", got)
		}
		return nil
	})
	if got := l.ready(t).Tunnels[0].Sessions[0].MTU; got != 1338 {
		t.Errorf("the session's MTU in status: %d, want 1338", got)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	lyon, _, l, _, _ := bridged(t)
	during := lyon.interfaces(t)
	second := lyon.startFile(t, &process{}, l.Args[3])
	if code := second.ends(t); code != 1 {
		t.Errorf("exit code of the second: %d, want 1", code)
	}
	if !strings.Contains(second.logged(), "another daemon answers") {
		t.Errorf("log of the second: %s", second.logged())
	}
	if d := cmp.Diff(during, lyon.interfaces(t)); d != "" {
		t.Errorf("interfaces before and after the second (-before +after):\n%s", d)
	}
	l.ready(t)
}

func TestFailedOpeningLeavesNothing(t *testing.T) {
	t.Parallel()
	lyon := newSite(t)
	// The name of the second session's TAP is taken by something else.
	busy := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	busy.Name = "busy0"
	lyon.add(t, busy)
	before := lyon.interfaces(t)
	p := lyon.start(t, goodFile+`
[tunnel.paris.session.other]
pseudowire      = "ethernet"
session_id      = 1002
peer_session_id = 2002
receive_cookie  = ""
send_cookie     = ""
tap             = "busy0"
bridge          = "br-other"
`)
	if code := p.ends(t); code != 1 {
		t.Errorf("exit code: %d, want 1", code)
	}
	for _, want := range []string{"tunnel paris: session other: ", "busy0"} {
		if !strings.Contains(p.logged(), want) {
			t.Errorf("the log does not say %q:\n%s", want, p.logged())
		}
	}
	if d := cmp.Diff(before, lyon.interfaces(t)); d != "" {
		t.Errorf("interfaces before and after (-before +after):\n%s", d)
	}
}

func TestDropsAreLoggedAndCounted(t *testing.T) {
	t.Parallel()
	lyon, _, _, p, _ := bridged(t)
	var stranger net.Conn
	var err error
	lyon.in(t, func() { stranger, err = net.Dial("udp4", "192.0.2.2:1701") })
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for range 5 {
		stranger.Write([]byte{0, 3, 0, 0, 0, 0, 0, 99, 1, 2, 3, 4, 5, 6, 7, 8}) // session 99
	}
	stranger.Write([]byte{0, 4, 0, 0, 0, 0, 0, 99}) // version 4
	eventually(t, "the drops counted and logged", func() error {
		s, err := api.Dial(p.socket).Status(context.Background())
		switch {
		case err != nil:
			return err
		case s.Drops["rx_unknown_session"] != 5 || s.Drops["rx_version"] != 1:
			return fmt.Errorf("drops: %v", s.Drops)
		case !strings.Contains(p.logged(), "reason=rx_unknown_session") || !strings.Contains(p.logged(), "reason=rx_version count=1"):
			return errors.New("not logged")
		}
		return nil
	})
}

func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	systemd.SetReadDeadline(time.Now().Add(2 * patience))
	wait := func(want string) {
		t.Helper()
		var b [256]byte
		for {
			n, err := systemd.Read(b[:])
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if string(b[:n]) == want {
				return
			}
		}
	}
	lyon, _ := twoSites(t)
	p := lyon.start(t, goodFile, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=400000")
	wait("READY=1")
	wait("STATUS=1 of 1 tunnels up")
	wait("WATCHDOG=1")
	p.Process.Signal(syscall.SIGTERM)
	wait("STOPPING=1")
	if code := p.ends(t); code != 0 {
		t.Errorf("exit code: %d, want 0", code)
	}
}
