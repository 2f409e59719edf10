package interop

import (
	"bytes"
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
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/interop/station"
	"spanwire/testbed/netlab"
)

// A site is a host on which Spanwire runs.
type site struct {
	*netlab.Namespace
	name string
	dir  string
	file string // its configuration
	run  *exec.Cmd
	log  bytes.Buffer // after the end
}

// start runs Spanwire until the test ends.
func (s *site) start(t *testing.T, binary, text string) {
	t.Helper()
	s.file = filepath.Join(s.dir, s.name+".toml")
	text = fmt.Sprintf("[node]\nhostname = %q\ncontrol = %q\n", s.name, s.socket()) + text
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.log.Reset()
	s.run = exec.Command(binary, "run", "-c", s.file, "--log-level", "warn")
	s.run.Stderr = &s.log
	if err := s.Start(s.run); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop(t)
		if t.Failed() && s.log.Len() > 0 {
			t.Logf("%s says:\n%s", s.name, &s.log)
		}
	})
}

// stop ends Spanwire, unless it has ended.
func (s *site) stop(t *testing.T) {
	t.Helper()
	if s.run.ProcessState != nil {
		return
	}
	s.run.Process.Signal(syscall.SIGTERM)
	if err := s.run.Wait(); err != nil {
		t.Errorf("%s: %v", s.name, err)
	}
}

// connected returns sites on one switch: 192.0.2.1 and 2001:db8::1, and so on.
func connected(t *testing.T, n int) (*netlab.Lab, []*site) {
	t.Helper()
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Close)
	middle, err := lab.Namespace("switch")
	if err != nil {
		t.Fatal(err)
	}
	var sites []*site
	var ports []string
	for i := range n {
		n, err := lab.Namespace(fmt.Sprintf("site %d", i))
		if err != nil {
			t.Fatal(err)
		}
		sites = append(sites, &site{Namespace: n, name: fmt.Sprintf("site%d", i), dir: t.TempDir()})
		ports = append(ports, fmt.Sprintf("port%d", i))
		if err := lab.Veth(n, "wan", middle, ports[i], 1500); err != nil {
			t.Fatal(err)
		}
		if err := n.Addr("wan", netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/64", i+1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Bridge(middle, "br0", ports...); err != nil {
		t.Fatal(err)
	}
	return lab, sites
}

// makeTAP makes a TAP as a user would, so that Spanwire takes it as it is, without
// super-frames.
func (s *site) makeTAP(t *testing.T, name string) {
	t.Helper()
	if err := s.Do(func() error {
		device := &netlink.Tuntap{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.TUNTAP_MODE_TAP}
		device.Name = name
		return netlink.LinkAdd(device)
	}); err != nil {
		t.Fatal(err)
	}
}

func (s *site) socket() string { return filepath.Join(s.dir, s.name+".sock") }

// status asks until so many sessions are up.
func (s *site) status(t *testing.T, binary string, sessions int) (all siteStatus) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command(binary, "status", "--json", "--control", s.socket()).Output()
		if err == nil {
			all = siteStatus{}
			if err = json.Unmarshal(out, &all); err != nil {
				t.Fatal(err)
			}
			up := 0
			for _, tunnel := range all.Tunnels {
				if tunnel.State == "up" {
					up += len(tunnel.Sessions)
				}
			}
			if up == sessions {
				return all
			}
			err = fmt.Errorf("%d sessions up", up)
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v, want %d", s.name, err, sessions)
		}
	}
}

type siteStatus struct {
	Tunnels []struct {
		Name, State string
		Sessions    []struct {
			TAP      string
			Counters map[string]uint64
		}
	}
}

// counters returns those of the sessions by their TAPs.
func (s siteStatus) counters() map[string]map[string]uint64 {
	all := map[string]map[string]uint64{}
	for _, tunnel := range s.Tunnels {
		for _, session := range tunnel.Sessions {
			all[session.TAP] = session.Counters
		}
	}
	return all
}

// devices returns the statistics that the kernel keeps of the host's devices.
func (s *site) devices(t *testing.T) map[string]netlink.LinkStatistics {
	t.Helper()
	all := map[string]netlink.LinkStatistics{}
	if err := s.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			all[l.Attrs().Name] = *l.Attrs().Statistics
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// talk has one host say something to an address of another, which compares it.
func talk(from, to *netlab.Namespace, at netip.AddrPort, what station.Talk) error {
	const within = 6 * patience
	var came func() error
	if err := to.Do(func() (err error) {
		came, err = what.Listen(at, within)
		return err
	}); err != nil {
		return err
	}
	if err := from.Do(func() error { return what.Dial(at, within) }); err != nil {
		return fmt.Errorf("to %s: %w", at, err)
	}
	if err := came(); err != nil {
		return fmt.Errorf("at %s: %w", at, err)
	}
	return nil
}

// A fastSession is a session of TestFastPath: a row, with one of two peers.
type fastSession struct {
	row
	peer int // 1 or 2
}

func fastSessions() (all []fastSession) {
	for _, r := range rows() {
		if r.sublayer == r.sequence {
			all = append(all, fastSession{r, 1}, fastSession{r, 2})
		}
	}
	return all
}

// tunnel is what all sessions with a peer over one socket share.
func (s fastSession) tunnel() string {
	return fmt.Sprintf("%s-%d", strings.SplitN(s.row.String(), "-", 2)[0], s.peer)
}

// tap is the name of the session's device at both ends.
func (s fastSession) tap() string { return fmt.Sprintf("pw%d-%d", s.peer, s.index) }

// inner returns the addresses at the hub, end 0, or at the peer.
func (s fastSession) inner(end int) (v4, v6 netip.Prefix) {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(s.peer), byte(s.index), byte(end + 1)}), 24),
		netip.MustParsePrefix(fmt.Sprintf("fd00:%d:%d::%d/64", s.peer, s.index, end+1))
}

// outer returns the address of the hub, host 0, or of a peer, host 1 or 2.
func (s fastSession) outer(host int) string {
	address := netip.AddrFrom4([4]byte{192, 0, 2, byte(host + 1)})
	if s.v6 {
		address = netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", host+1))
	}
	if s.udp {
		return netip.AddrPortFrom(address, 1701).String()
	}
	return address.String()
}

// toml returns the head of the session's tunnel and the session, at one end.
func (s fastSession) toml(end int) (tunnel, session string) {
	encap, sublayer, sequencing := "ip", "none", "none"
	if s.udp {
		encap = "udp"
	}
	if s.sublayer {
		sublayer, sequencing = "default", "all"
	}
	hosts := [2]int{0, s.peer}
	id := 1000*s.peer + s.index
	cookies := [2]string{"a1b2c3d4e5f60718"[:2*s.cookie], "18f7e6d5c4b3a291"[:2*s.cookie]}
	v4, v6 := s.inner(end)
	return fmt.Sprintf("[tunnel.%s]\nencap = %q\nlocal = %q\npeer = %q\n", s.tunnel(), encap, s.outer(hosts[end]), s.outer(hosts[1-end])),
		fmt.Sprintf(`[tunnel.%s.session.s%d]
session_id = %d
peer_session_id = %d
receive_cookie = %q
send_cookie = %q
sublayer = %q
sequencing = %q
tap = %q
addresses = [%q, %q]
`, s.tunnel(), s.index, id, id, cookies[end], cookies[1-end], sublayer, sequencing, s.tap(), v4, v6)
}

// tagged says whether the session's TAPs have a VLAN on them, which half of them do.
func (s fastSession) tagged() bool { return (s.index+s.peer)%2 == 0 }

// TestFastPath has TCP go both ways over sessions of all kinds, of which each socket
// of a hub has twelve with two peers, and wants each octet as it was, super-frames
// at both TAPs, and over UDP between the sites too.
func TestFastPath(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "spanwire")
	build(t, binary, "spanwire/cmd/spanwire")
	_, sites := connected(t, 3)
	all := fastSessions()
	for i, s := range sites {
		var text strings.Builder
		heads := map[string]bool{}
		for _, session := range all {
			if i != 0 && i != session.peer {
				continue
			}
			head, body := session.toml(min(i, 1))
			if !heads[head] {
				heads[head] = true
				text.WriteString(head)
			}
			text.WriteString(body)
		}
		s.start(t, binary, text.String())
	}
	sites[0].status(t, binary, len(all))
	for _, s := range all {
		sites[s.peer].status(t, binary, len(all)/2)
		if s.tagged() {
			if err := errors.Join(sites[0].Tag(s.tap(), 100), sites[s.peer].Tag(s.tap(), 100)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const octets = 4 << 20
	for _, kind := range []row{{udp: true}, {udp: true, v6: true}, {}, {v6: true}} {
		name := strings.SplitN(kind.String(), "-", 2)[0]
		t.Run(name, func(t *testing.T) {
			before := make([]map[string]netlink.LinkStatistics, len(sites))
			for i, s := range sites {
				before[i] = s.devices(t)
			}
			var work sync.WaitGroup
			var these []fastSession
			for _, s := range all {
				if s.udp != kind.udp || s.v6 != kind.v6 {
					continue
				}
				these = append(these, s)
				for end := range 2 {
					hosts := [2]*site{sites[0], sites[s.peer]}
					v4, v6 := s.inner(end)
					to := netip.AddrPortFrom(v4.Addr(), 7000)
					if end == 0 {
						to = netip.AddrPortFrom(v6.Addr(), 7000)
					}
					f := station.Flow{Seed: uint64(s.index*10 + s.peer*2 + end), Octets: octets}
					work.Go(func() {
						if err := talk(hosts[1-end].Namespace, hosts[end].Namespace, to, f); err != nil {
							t.Errorf("%s, peer %d, tagged %v: %v", s, s.peer, s.tagged(), err)
						}
					})
				}
			}
			work.Wait()
			// What went out as one super-frame counts many times here and once there.
			frames, packets := uint64(0), uint64(0)
			for i, s := range sites {
				counters, after := s.status(t, binary, len(all)/min(i+1, 2)).counters(), s.devices(t)
				packets += after["wan"].TxPackets - before[i]["wan"].TxPackets
				for _, session := range these {
					if i != 0 && i != session.peer {
						continue
					}
					tap, c := after[session.tap()], counters[session.tap()]
					out, in := c["tx_packets"], c["rx_packets"]
					// How long super-frames get depends on how busy the machine is.
					if 2*out < 3*tap.TxPackets || 2*in < 3*tap.RxPackets || out < 2000 || in < 2000 {
						t.Errorf("%s at %s, peer %d: %d frames out were read as %d, %d frames in were written as %d, want a third fewer at least",
							session, s.name, session.peer, out, tap.TxPackets, in, tap.RxPackets)
					}
					frames += out
				}
			}
			if kind.udp && packets > frames/2 {
				t.Errorf("%d frames went in %d packets, want super-frames of them", frames, packets)
			}
			t.Logf("%d frames in %d packets", frames, packets)
		})
	}
}
