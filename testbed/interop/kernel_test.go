package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"spanwire/testbed/interop/station"
	"spanwire/testbed/kernelvm"
	"spanwire/testbed/netlab"
)

// patience is how long a frame or an answer may take on a busy machine whose
// guest is emulated.
const patience = 10 * time.Second

// The agent's port on the wire. Captures leave TCP out.
const agentPort = 7000

// A bench is one wire with Spanwire at one end and the kernel at the other.
type bench struct {
	rows   []row
	dir    string
	lab    *netlab.Lab
	host   *netlab.Namespace // Spanwire's
	mac    net.HardwareAddr  // ours on the wire
	remote *station.Remote   // the kernel's

	spanwire *exec.Cmd
}

// TestKernelMatrix is Spanwire against the Linux kernel's own L2TPv3.
func TestKernelMatrix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root, for network namespaces and TAPs")
	}
	for program, debian := range map[string]string{"tshark": "tshark", "ping": "iputils-ping", "ip": "iproute2", "iperf3": "iperf3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v; please install (Debian name): %s", err, debian)
		}
	}
	dir, err := os.MkdirTemp("", "spanwire-interop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and captures of what failed are in %s", dir)
		} else {
			os.RemoveAll(dir)
		}
	})
	b := &bench{rows: rows(), dir: dir}
	b.lay(t)
	ended := b.boot(t)
	b.run(t)
	t.Cleanup(func() {
		b.spanwire.Process.Kill() // already ended if all went well
		b.spanwire.Wait()
	})
	b.dial(t, ended)

	results := make([]result, len(b.rows))
	judged := make(chan struct{})
	judge := make(chan int, len(b.rows))
	go func() {
		defer close(judged)
		for i := range judge {
			results[i].set("tshark", b.judge(b.rows[i]))
		}
	}()
	for i, r := range b.rows {
		results[i] = b.test(r)
		if results[i].failed() == nil {
			judge <- i
		}
	}
	close(judge)
	t.Run("restart", b.restart)
	t.Run("kernel restart", b.kernelRestart)
	<-judged
	t.Log("\n" + matrix(b.rows, results))
	for i, r := range b.rows {
		if failed := results[i].failed(); failed == nil {
			os.Remove(b.pcap(r))
		} else {
			t.Errorf("%s:\n%s\nsee %s", r, strings.Join(failed, "\n"), b.pcap(r))
		}
	}
	t.Run("plain", b.plain)
	t.Run("iperf3", b.iperf3)
	t.Run("VLANs", b.vlans)
	t.Run("exit", b.exit)

	b.remote.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// lay lays the wire.
func (b *bench) lay(t *testing.T) {
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Close)
	b.lab = lab
	if b.host, err = lab.Namespace("spanwire"); err != nil {
		t.Fatal(err)
	}
	err = b.host.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "wire0"
		tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI}
		if err := netlink.LinkAdd(tap); err != nil {
			return err
		}
		link, err := netlink.LinkByName("wire0")
		if err != nil {
			return err
		}
		b.mac = link.Attrs().HardwareAddr
		return errors.Join(netlink.LinkSetMTU(link, wireMTU), netlink.LinkSetUp(link))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.host.Addr("wire0", netip.PrefixFrom(ours4, 24), netip.PrefixFrom(ours6, 64)); err != nil {
		t.Fatal(err)
	}
}

// boot boots the kernel with all sessions in it, and tells when and how it ended.
func (b *bench) boot(t *testing.T) <-chan error {
	share := filepath.Join(b.dir, "share")
	if err := os.Mkdir(share, 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, filepath.Join(share, "agent"), "spanwire/testbed/interop/agent")
	build(t, filepath.Join(share, "spanwire"), "spanwire/cmd/spanwire")
	var batch strings.Builder
	for _, r := range b.rows {
		batch.WriteString(r.iproute2())
	}
	if err := os.WriteFile(filepath.Join(share, "sessions"), []byte(batch.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(b.dir, "guest.log"))
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`set -e
modprobe -a l2tp_eth l2tp_ip l2tp_ip6
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
ip link set eth0 mtu %d up
ip addr add %s/24 dev eth0
ip addr add %s/64 dev eth0 nodad
ip -batch /share/sessions
exec /share/agent %s:%d
`, wireMTU, theirs4, theirs6, theirs4, agentPort)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer log.Close()
		status, err := kernelvm.Run(ctx, kernelvm.Config{
			TAPs: []string{"wire0"}, Share: share, Script: script, Output: log, Start: b.host.Start,
		})
		if err == nil && status != 0 {
			err = fmt.Errorf("exit status %d", status)
		}
		if err != nil {
			err = fmt.Errorf("guest: %w: see %s", err, log.Name())
		}
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return ended
}

func build(t *testing.T, program, pkg string) {
	cmd := exec.Command("go", "build", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// run builds Spanwire, configures all sessions and starts it.
func (b *bench) run(t *testing.T) {
	build(t, filepath.Join(b.dir, "spanwire"), "spanwire/cmd/spanwire")
	b.configure(t, row.toml)
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	s := b.waitUp(t)
	got, want := map[string]int{}, map[string]int{}
	for _, r := range b.rows {
		want[r.String()] = r.mtu()
	}
	for _, tunnel := range s.Tunnels {
		got[tunnel.Name] = tunnel.Sessions[0].MTU
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("MTU of the TAPs (-want +got):\n%s", d)
	}
}

// configure writes Spanwire's file, by a text for each row.
func (b *bench) configure(t *testing.T, text func(row) string) {
	t.Helper()
	all := fmt.Sprintf("[node]\nhostname = \"interop\"\ncontrol = %q\n", b.socket())
	for _, r := range b.rows {
		all += text(r)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "spanwire.toml"), []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) socket() string { return filepath.Join(b.dir, "spanwire.sock") }

// start starts Spanwire; its log goes on where it was.
func (b *bench) start() error {
	log, err := os.OpenFile(filepath.Join(b.dir, "spanwire.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	b.spanwire = exec.Command(filepath.Join(b.dir, "spanwire"), "run", "-c", filepath.Join(b.dir, "spanwire.toml"))
	b.spanwire.Stdout, b.spanwire.Stderr = log, log
	return b.host.Start(b.spanwire)
}

// A status is what the tests look at in `spanwire status --json`.
type status struct {
	Drops   map[string]uint64
	Tunnels []tunnelStatus
}

type tunnelStatus struct {
	Name, State string
	Sessions    []struct {
		MTU      int
		Counters map[string]uint64
	}
}

// status asks Spanwire how it stands.
func (b *bench) status() (s status, err error) {
	var complaint bytes.Buffer
	cmd := exec.Command(filepath.Join(b.dir, "spanwire"), "status", "--json", "--control", b.socket())
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return s, fmt.Errorf("spanwire status: %w: %s", err, &complaint)
	}
	return s, json.Unmarshal(out, &s)
}

// waitUp waits until all tunnels are up.
func (b *bench) waitUp(t *testing.T) (s status) {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s, err := b.status()
		up := 0
		for _, tunnel := range s.Tunnels {
			if tunnel.State == "up" {
				up++
			}
		}
		if err == nil && up == len(b.rows) {
			return s
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(b.dir, "spanwire.log"))
			t.Fatalf("%d of %d tunnels up after %v, %v; its log:\n%s", up, len(b.rows), patience, err, log)
		}
	}
}

// dial waits for the guest's agent.
func (b *bench) dial(t *testing.T, ended <-chan error) {
	for {
		var conn net.Conn
		err := b.host.Do(func() (err error) {
			conn, err = net.DialTimeout("tcp", fmt.Sprintf("%s:%d", theirs4, agentPort), time.Second)
			return err
		})
		if err == nil {
			b.remote = station.NewRemote(conn)
			return
		}
		select {
		case err := <-ended:
			log, _ := os.ReadFile(filepath.Join(b.dir, "guest.log"))
			t.Fatalf("the guest ended before its agent could be reached: %v; it said:\n%s", err, log)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// columns are what is tested of each row, in this order.
var columns = []string{"ping out", "ping in", "frames out", "frames in", "TCP out", "TCP in", "UDP out", "UDP in",
	"cookie in", "session in", "cookie out", "session out", "tshark"}

// A result says for each column what went wrong.
type result map[string]error

// errNotApplicable marks what a row does not have.
var errNotApplicable = errors.New("-")

func (r result) set(column string, err error) { r[column] = err }

func (r result) failed() (why []string) {
	for _, c := range columns {
		if err := r[c]; err != nil && err != errNotApplicable {
			why = append(why, fmt.Sprintf("%s: %v", c, err))
		}
	}
	return why
}

func matrix(rows []row, results []result) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "spanwire to Linux\t%s\n", strings.Join(columns, "\t"))
	for i, r := range rows {
		fmt.Fprintf(w, "%s", r)
		for _, c := range columns {
			switch err, done := results[i][c]; {
			case !done:
				fmt.Fprint(w, "\tnot run")
			case err == nil:
				fmt.Fprint(w, "\tok")
			case err == errNotApplicable:
				fmt.Fprint(w, "\t-")
			default:
				fmt.Fprint(w, "\tFAIL")
			}
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return b.String()
}

// An end is one end of a session: a station.Station here, or a
// station.RemoteStation in the guest.
type end interface {
	Send(station.Stream) error
	Expect(station.Stream, time.Duration) error
	Close()
}

// ends opens both ends of a row.
func (b *bench) ends(r row) (ours, theirs end, err error) {
	err = b.host.Do(func() (err error) {
		ours, err = station.Open(r.device())
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if theirs, err = b.remote.Open(r.device()); err != nil {
		ours.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

const (
	chunks    = 10
	perChunk  = 100
	forgeries = 3
)

// test does all that is tested while a row is up.
func (b *bench) test(r row) result {
	ours, theirs, err := b.ends(r)
	if err != nil {
		return result{columns[0]: err}
	}
	defer ours.Close()
	defer theirs.Close()
	stop, err := b.capture(r)
	if err != nil {
		return result{columns[0]: err}
	}
	us, them := r.inner()
	res := result{}
	res.set("ping out", b.host.Do(func() error { return station.Ping(them.Addr()) }))
	res.set("ping in", b.remote.Ping(us.Addr()))
	if res["ping out"] != nil && res["ping in"] != nil {
		stop()
		return res // dead: the rest would wait in vain, 36 times if all are
	}
	res.set("frames out", exchange(r, fromSpanwire, ours, theirs))
	res.set("frames in", exchange(r, fromKernel, theirs, ours))
	if err := stop(); err != nil {
		return result{"tshark": err}
	}
	for name, what := range talks(r) {
		res.set(name+" out", b.talkOut(r, what))
		res.set(name+" in", b.talkIn(r, what))
	}
	for _, f := range []struct {
		forgery
		name string
	}{{wrongCookie, "cookie"}, {wrongSession, "session"}} {
		if f.forgery == wrongCookie && r.cookie == 0 {
			res.set("cookie in", errNotApplicable)
			res.set("cookie out", errNotApplicable)
			continue
		}
		res.set(f.name+" in", b.forgeIn(r, f.forgery, theirs, ours))
		res.set(f.name+" out", b.forgeOut(r, f.forgery, ours, theirs))
	}
	return res
}

// exchange sends a thousand frames, a chunk at a time.
func exchange(r row, d direction, from, to end) error {
	for n := range chunks {
		s := r.chunk(n, perChunk, d)
		if err := from.Send(s); err != nil {
			return err
		}
		if err := to.Expect(s, patience); err != nil {
			return fmt.Errorf("chunk %d: %w", n+1, err)
		}
	}
	return nil
}

// afterForgery is the number of the chunk that is sent after forged datagrams: it
// comes out alone, or they came out before it.
const afterForgery = chunks

// forgeIn sends Spanwire what it must drop and count.
func (b *bench) forgeIn(r row, f forgery, from, to end) error {
	before, err := b.drops(r, f)
	if err != nil {
		return err
	}
	for range forgeries {
		if err := b.remote.Inject(r.forge(fromKernel, f)); err != nil {
			return err
		}
	}
	s := r.chunk(afterForgery, 2, fromKernel)
	if err := from.Send(s); err != nil {
		return err
	}
	if err := to.Expect(s, patience); err != nil {
		return err
	}
	after, err := b.drops(r, f)
	if err == nil && after-before != forgeries {
		err = fmt.Errorf("Spanwire counted %d of %d", after-before, forgeries)
	}
	return err
}

// drops returns Spanwire's counter of such datagrams.
func (b *bench) drops(r row, f forgery) (uint64, error) {
	s, err := b.status()
	if err != nil {
		return 0, err
	}
	counters, name := s.Drops, "rx_unknown_session"
	if f == wrongCookie {
		i := slices.IndexFunc(s.Tunnels, func(t tunnelStatus) bool { return t.Name == r.String() })
		counters, name = s.Tunnels[i].Sessions[0].Counters, "rx_cookie_discards"
	}
	n, there := counters[name]
	if !there {
		return 0, fmt.Errorf("spanwire status: no counter %s", name)
	}
	return n, nil
}

// forgeOut sends the kernel what it must drop. It counts cookies only.
func (b *bench) forgeOut(r row, f forgery, from, to end) error {
	before, err := b.remote.CookieDiscards(r.device())
	if err != nil {
		return err
	}
	for range forgeries {
		if err := b.host.Do(r.forge(fromSpanwire, f).Inject); err != nil {
			return err
		}
	}
	s := r.chunk(afterForgery, 2, fromSpanwire)
	if err := from.Send(s); err != nil {
		return err
	}
	if err := to.Expect(s, patience); err != nil {
		return err
	}
	want := uint64(0)
	if f == wrongCookie {
		want = forgeries
	}
	after, err := b.remote.CookieDiscards(r.device())
	if err == nil && after-before != want {
		err = fmt.Errorf("the kernel counted %d cookies, want %d", after-before, want)
	}
	return err
}

// restart kills Spanwire amid frames and starts it again.
func (b *bench) restart(t *testing.T) {
	before := b.devices(t)
	ours, theirs, err := b.ends(b.rows[0])
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	sent := errors.Join(
		theirs.Send(b.rows[0].chunk(afterForgery+1, perChunk, fromKernel)),
		ours.Send(b.rows[0].chunk(afterForgery+1, perChunk, fromSpanwire)),
	)
	if sent != nil {
		t.Fatal(sent)
	}
	b.spanwire.Process.Kill()
	b.spanwire.Wait()
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := b.status(); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	back := time.Now()
	if err := b.flow(b.rows[0], fromSpanwire, fromKernel); err != nil {
		t.Error(err)
	}
	if d := time.Since(back); d > time.Second {
		t.Errorf("frames flow %v after Spanwire is back, want 1s at most", d)
	} else {
		t.Logf("frames flow both ways %v after Spanwire is back", d)
	}
	b.waitUp(t)
	if d := cmp.Diff(before, b.devices(t)); d != "" {
		t.Errorf("devices before kill -9 and after the restart (-before +after):\n%s", d)
	}
	for _, r := range b.rows {
		ways := []direction{fromKernel, fromSpanwire}
		if r.sequence {
			// The kernel drops what is behind the number that it waits for, until
			// the count is there again: l2tp_seq_check_rx_window in l2tp_core.c.
			ways = ways[:1]
		}
		if err := b.flow(r, ways...); err != nil {
			t.Error(err)
		}
	}
}

// kernelRestart has the kernel forget all sessions and begin anew, sequence
// numbers included.
func (b *bench) kernelRestart(t *testing.T) {
	// A deleted tunnel goes when the kernel finds the time.
	if _, err := b.remote.Run(fmt.Sprintf(`
for i in $(seq %d); do echo l2tp del tunnel tunnel_id $i; done | ip -batch -
while [ -n "$(ip l2tp show tunnel)" ]; do sleep 0.05; done
ip -batch /share/sessions`, len(b.rows))); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.rows {
		if err := b.flow(r, fromKernel, fromSpanwire); err != nil {
			t.Error(err)
		}
	}
}

// flow waits until frames flow in these directions. A receiver of a sequence that
// begins anew drops some frames until it believes it.
func (b *bench) flow(r row, ways ...direction) error {
	const tries, each = 20, 50 * time.Millisecond
	ours, theirs, err := b.ends(r)
	if err != nil {
		return err
	}
	defer ours.Close()
	defer theirs.Close()
	for _, d := range ways {
		from, to := theirs, ours
		if d == fromSpanwire {
			from, to = ours, theirs
		}
		s := r.chunk(afterForgery+2, 1, d)
		var err error
		for range tries {
			if err = from.Send(s); err != nil {
				break
			}
			if err = to.Expect(s, each); err == nil {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("%s, %v: %d frames sent, none came: %w", r, d, tries, err)
		}
	}
	return nil
}

// devices lists the network devices in Spanwire's namespace.
func (b *bench) devices(t *testing.T) (names []string) {
	err := b.host.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// exit ends Spanwire, which must leave nothing.
func (b *bench) exit(t *testing.T) {
	b.spanwire.Process.Signal(syscall.SIGTERM)
	if err := b.spanwire.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit status 0", err)
	}
	if d := cmp.Diff([]string{"lo", "wire0"}, b.devices(t)); d != "" {
		t.Errorf("devices after the exit (-want +got):\n%s", d)
	}
	if _, err := os.Stat(b.socket()); err == nil {
		t.Errorf("the control socket is there after the exit")
	}
}
