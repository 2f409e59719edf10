package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/cmd/internal/api"
	"spanwire/testbed/relay"
)

// dialFile is lyon's end of a tunnel with a control connection, which is quick to
// notice and to come again.
const dialFile = `
[node]
hostname  = "lyon"
router_id = "192.0.2.1"
control   = "CONTROL"

[tunnel.paris]
mode   = "dial"
local  = "192.0.2.1:1701"
peer   = "PEER"
secret = "correct horse battery staple"
hello  = "1s"
retransmit_limit = 3
retransmit_timeout = "200ms"
retransmit_cap = "400ms"
redial_min = "200ms"
redial_max = "1s"

[tunnel.paris.session.office]
tap    = "office0"
addresses = ["10.9.0.1/24"]
`

// acceptFile is paris's end.
const acceptFile = `
[node]
hostname  = "paris"
router_id = "192.0.2.2"
control   = "CONTROL"

[tunnel.lyon]
mode   = "accept"
local  = "192.0.2.2:1701"
peer   = "PEER"
peer_hostname = "lyon"
secret = "correct horse battery staple"
hello  = "1s"
retransmit_limit = 3
retransmit_timeout = "200ms"
retransmit_cap = "400ms"

[tunnel.lyon.session.office]
tap    = "office0"
addresses = ["10.9.0.2/24"]
`

// sessions waits until a process has so many sessions established.
func (p *process) sessions(t *testing.T, want int) api.Status {
	t.Helper()
	var s api.Status
	eventually(t, fmt.Sprintf("%d sessions established", want), func() (err error) {
		if s, err = api.Dial(p.socket).Status(context.Background()); err != nil {
			return err
		}
		up := 0
		why := ""
		for _, tunnel := range s.Tunnels {
			for _, session := range tunnel.Sessions {
				if session.Call != nil && session.Call.State == "established" {
					up++
				} else if session.Call != nil {
					why = fmt.Sprintf("%s is %s: %s; tunnel %s: %s", session.Name, session.Call.State, session.Call.LastError, tunnel.State, tunnel.LastError)
				}
			}
		}
		if up != want {
			return fmt.Errorf("%d are; %s", up, why)
		}
		return nil
	})
	return s
}

func carrier(s *site, t *testing.T, name string) bool {
	t.Helper()
	return s.link(t, name).Attrs().RawFlags&unix.IFF_LOWER_UP != 0
}

// dialled returns two sites whose daemons have found each other.
func dialled(t *testing.T) (lyon, paris *site, l, p *process, k *talk) {
	t.Helper()
	lyon, paris = twoSites(t)
	l = lyon.start(t, strings.Replace(dialFile, "PEER", "192.0.2.2:1701", 1))
	p = paris.start(t, strings.Replace(acceptFile, "PEER", "192.0.2.1", 1))
	l.sessions(t, 1)
	p.sessions(t, 1)
	k = newTalk(t, lyon, "10.9.0.1", paris, "10.9.0.2")
	eventually(t, "an echo", func() error { return k.once(100) })
	return lyon, paris, l, p, k
}

func TestDial(t *testing.T) {
	t.Parallel()
	lyon, paris, l, p, k := dialled(t)
	s := l.sessions(t, 1).Tunnels[0]
	if c := s.Control; s.State != "established" || s.Mode != "dial" || c.PeerHostName != "paris" || c.PeerRouterID != "192.0.2.2" ||
		c.PeerVendor != "Spanwire" || c.Digest != "sha1" || !c.Authenticated || c.Window == 0 {
		t.Errorf("%+v %+v", s, c)
	}
	if session := s.Sessions[0]; session.ReceiveCookieOctets != 8 || session.SendCookieOctets != 8 || session.Call.RemoteEndID != `"office"` || session.Call.PeerCircuit == "" {
		t.Errorf("%+v %+v", session, session.Call)
	}

	// The circuit of one end shows on the other's.
	if !carrier(lyon, t, "office0") {
		t.Error("the session is up, and its TAP has no carrier")
	}
	if err := paris.links.LinkSetDown(paris.link(t, "office0")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no carrier while the other end is down", func() error {
		if carrier(lyon, t, "office0") {
			return errors.New("it has carrier")
		}
		return nil
	})
	paris.up(t, "office0")
	eventually(t, "an echo when the other end is up again", func() error { return k.once(101) })

	// Commands, and what is told of them.
	var out, problems bytes.Buffer
	watched := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	lines := make(chan api.Event, 100)
	go func() {
		watched <- api.Dial(l.socket).Watch(ctx, func(e api.Event) error {
			lines <- e
			return nil
		})
	}()
	await := func(event string) api.Event {
		t.Helper()
		for timeout := time.After(patience); ; {
			select {
			case e := <-lines:
				if e.Event == event {
					return e
				}
			case <-timeout:
				t.Fatalf("no event %q", event)
			}
		}
	}
	time.Sleep(100 * time.Millisecond) // until the watch has begun
	for _, v := range []struct {
		args  []string
		event string
	}{
		{[]string{"roll", "paris/office"}, "session up"},
		{[]string{"down", "paris/office"}, "session down"},
		{[]string{"up", "paris/office"}, "session up"},
		{[]string{"down", "paris"}, "tunnel down"},
		{[]string{"up", "paris"}, "tunnel up"},
	} {
		if code := Main(append(v.args, "--control", l.socket), &out, &problems); code != 0 {
			t.Fatalf("%v: exit code %d: %s", v.args, code, &problems)
		}
		e := await(v.event)
		if v.event == "tunnel down" && !strings.Contains(e.Reason, "down by command") {
			t.Errorf("%v: reason %q", v.args, e.Reason)
		}
	}
	if code := Main([]string{"down", "nobody", "--control", l.socket}, &out, &problems); code != exitFailure || !strings.Contains(problems.String(), "nobody: no such tunnel or session") {
		t.Errorf("down nobody: exit code %d: %s", code, &problems)
	}
	eventually(t, "an echo after it all", func() error { return k.once(102) })

	out.Reset()
	if code := Main([]string{"status", "--control", l.socket}, &out, &problems); code != 0 {
		t.Fatalf("status: %d", code)
	}
	for _, want := range []string{"established", "CONNECTION", "paris", "Spanwire", "sha1", "office0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("status lacks %q:\n%s", want, &out)
		}
	}

	p.Process.Signal(syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if e := await("tunnel down"); !strings.Contains(e.Reason, "requester is being shut down") {
		t.Errorf("reason %q", e.Reason)
	}
	for _, process := range []*process{l, p} {
		if strings.Contains(process.logged(), "correct horse") {
			t.Error("the log has the secret")
		}
	}
}

// TestRecovery does to one peer what happens to peers, and wants both up again
// without help while a neighbour of theirs loses no frame.
func TestRecovery(t *testing.T) {
	t.Parallel()
	lyon, paris, l, p, k := dialled(t)
	again := func(s *site, former *process) *process {
		t.Helper()
		next := &process{socket: former.socket}
		return s.startFile(t, next, former.Args[3])
	}

	l.Process.Kill()
	l.ends(t)
	l = again(lyon, l)
	eventually(t, "an echo after kill -9 of who dials", func() error { return k.once(103) })

	p.Process.Kill()
	p.ends(t)
	p = again(paris, p)
	eventually(t, "an echo after kill -9 of who accepts", func() error { return k.once(104) })

	// Cut off for longer than the peers' patience.
	wan := lyon.link(t, "wan")
	if err := lyon.links.LinkSetDown(wan); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer's absence noticed", func() error {
		s, err := api.Dial(p.socket).Status(context.Background())
		if err == nil && s.Tunnels[0].State == "established" {
			err = errors.New("it is established")
		}
		return err
	})
	if carrier(paris, t, "office0") {
		t.Error("the peer is gone, and the TAP has carrier")
	}
	lyon.up(t, "wan")
	eventually(t, "an echo after the cut", func() error { return k.once(105) })

	// Another address, as after a reboot: who accepts finds the same peer there.
	l.Process.Kill()
	l.ends(t)
	lyon.address(t, "wan", "192.0.2.11/24")
	text, err := os.ReadFile(l.Args[3])
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(string(text), "192.0.2.1:1701", "192.0.2.11:1701", 1)
	if err := os.WriteFile(l.Args[3], []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	former, err := os.ReadFile(p.Args[3])
	if err != nil {
		t.Fatal(err)
	}
	p.Process.Signal(syscall.SIGTERM)
	p.ends(t)
	if err := os.WriteFile(p.Args[3], bytes.Replace(former, []byte(`peer   = "192.0.2.1"`), []byte(`peer   = "any"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	p = again(paris, p)
	l = again(lyon, l)
	eventually(t, "an echo from another address", func() error { return k.once(106) })
	l.Process.Kill()
	l.ends(t)
	if err := os.WriteFile(l.Args[3], text, 0o600); err != nil {
		t.Fatal(err)
	}
	again(lyon, l)
	eventually(t, "an echo from the former address", func() error { return k.once(107) })
}

// A middle is a bad network between two sites: lyon takes 192.0.2.254 for paris,
// and paris 203.0.113.254 for lyon.
func middle(t *testing.T, i relay.Impairment) (lyon, paris *site, r *relay.Relay) {
	t.Helper()
	lyon, paris = newSite(t), newSite(t)
	between := newSite(t)
	for _, v := range []struct {
		s        *site
		name     string
		at, gate string
	}{{lyon, "lyon", "192.0.2.1", "192.0.2.254"}, {paris, "paris", "203.0.113.1", "203.0.113.254"}} {
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: v.name, PeerNamespace: netlink.NsFd(between.ns)}
		veth.Name = "wan"
		v.s.add(t, veth)
		between.up(t, v.name)
		v.s.address(t, "wan", v.at+"/24")
		between.address(t, v.name, v.gate+"/24")
	}
	var err error
	port := func(a string) netip.AddrPort { return netip.MustParseAddrPort(a + ":1701") }
	between.in(t, func() {
		r, err = relay.New(port("192.0.2.254"), port("203.0.113.254"), port("192.0.2.1"), port("203.0.113.1"), i)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return lyon, paris, r
}

// TestManyOverABadNetwork has 100 tunnels of 10 sessions come up over a network
// that loses 30 % of all, carry a frame each way, and go down.
func TestManyOverABadNetwork(t *testing.T) {
	const tunnels, sessions = 100, 10
	lyon, paris, _ := middle(t, relay.Impairment{Seed: 7, Loss: 0.3, Duplicate: 0.1, Reorder: 0.1, Hold: 20 * time.Millisecond})
	var file strings.Builder
	fmt.Fprintf(&file, "[node]\nhostname = \"lyon\"\nrouter_id = \"192.0.2.1\"\ncontrol = \"CONTROL\"\n")
	for i := range tunnels {
		fmt.Fprintf(&file, "[tunnel.t%d]\nmode = \"dial\"\nhostname = \"h%d\"\nlocal = \"192.0.2.1:1701\"\npeer = \"192.0.2.254:1701\"\nsecret = \"s3cret s3cret\"\n"+
			"retransmit_timeout = \"300ms\"\nretransmit_cap = \"1s\"\nretransmit_limit = 30\ndial_retransmit_limit = 30\n", i, i)
		for j := range sessions {
			fmt.Fprintf(&file, "[tunnel.t%d.session.s%d]\ntap = \"h%d-s%d\"\ncarrier = \"always\"\n", i, j, i, j)
		}
	}
	p := paris.start(t, `
[node]
hostname = "paris"
router_id = "203.0.113.1"
control = "CONTROL"
[tunnel.any]
mode = "accept"
local = "203.0.113.1:1701"
peer = "any"
secret = "s3cret s3cret"
retransmit_timeout = "300ms"
retransmit_cap = "1s"
retransmit_limit = 30
[tunnel.any.session.any]
any_end_id = true
tap = "{peer}-{end}"
carrier = "always"
`)
	l := lyon.start(t, file.String())
	long := func(what string, check func() error) {
		t.Helper()
		var err error
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			if err = check(); err == nil {
				return
			}
		}
		t.Fatalf("%s: %v", what, err)
	}
	established := func(p *process, want int) func() error {
		return func() error {
			s, err := api.Dial(p.socket).Status(context.Background())
			if err != nil {
				return err
			}
			up := 0
			for _, tunnel := range s.Tunnels {
				for _, session := range tunnel.Sessions {
					if session.Call.State == "established" && session.TAP != "" {
						up++
					}
				}
			}
			if up != want {
				return fmt.Errorf("%d sessions established, want %d", up, want)
			}
			return nil
		}
	}
	began := time.Now()
	phase := func(what string) { t.Logf("%s after %v", what, time.Since(began).Round(100*time.Millisecond)) }
	long("all sessions of lyon", established(l, tunnels*sessions))
	long("all sessions of paris", established(p, tunnels*sessions))

	phase("all sessions established")

	// A frame says whose it is; it is sent again until it has come, for the
	// network loses data as well.
	for _, way := range []struct{ from, to *site }{{lyon, paris}, {paris, lyon}} {
		ears, mouths := packetSocket(t, way.to), packetSocket(t, way.from)
		index := make(map[int]int) // of the devices at the far end, to which session
		for n := range tunnels * sessions {
			index[way.to.link(t, fmt.Sprintf("h%d-s%d", n/sessions, n%sessions)).Attrs().Index] = n
		}
		outs := make([]int, tunnels*sessions)
		for n := range outs {
			outs[n] = way.from.link(t, fmt.Sprintf("h%d-s%d", n/sessions, n%sessions)).Attrs().Index
		}
		missing := make(map[int]bool)
		for n := range tunnels * sessions {
			missing[n] = true
		}
		long("a frame of each session", func() error {
			for n := range missing {
				frame := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5}, make([]byte, 46)...)
				binary.BigEndian.PutUint32(frame[14:], uint32(n))
				if err := unix.Sendto(mouths, frame, 0, &unix.SockaddrLinklayer{Ifindex: outs[n]}); err != nil {
					return err
				}
			}
			var b [2048]byte
			for end := time.Now().Add(500 * time.Millisecond); len(missing) > 0 && time.Now().Before(end); {
				n, from, err := unix.Recvfrom(ears, b[:], unix.MSG_DONTWAIT)
				if err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				at := from.(*unix.SockaddrLinklayer)
				if n < 18 || binary.BigEndian.Uint16(b[12:]) != 0x88b5 || at.Pkttype == unix.PACKET_OUTGOING {
					continue
				}
				who := int(binary.BigEndian.Uint32(b[14:]))
				if index[at.Ifindex] != who {
					return fmt.Errorf("a frame of session %d came out at session %d", who, index[at.Ifindex])
				}
				delete(missing, who)
			}
			if len(missing) > 0 {
				return fmt.Errorf("%d sessions have carried none yet: %s", len(missing), counters(missing, l, p))
			}
			return nil
		})
	}

	phase("a frame each way of each session")
	l.Process.Signal(syscall.SIGTERM)
	if code := l.ends(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	phase("lyon closed")
	// What the network has lost of the farewells, the acceptor's own HELLOs would
	// find out; most it has heard.
	long("all sessions of paris closed", func() error {
		s, err := api.Dial(p.socket).Status(context.Background())
		if err != nil {
			return err
		}
		if n := len(s.Tunnels) - 1; n > tunnels/4 {
			return fmt.Errorf("%d tunnels are left", n)
		}
		return nil
	})
	phase("paris has no session")
	p.Process.Signal(syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	phase("paris closed")
	for _, s := range []*site{lyon, paris} {
		if left := s.interfaces(t); len(left) != 2 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// counters tells what both ends have counted of one of the sessions.
func counters(missing map[int]bool, ends ...*process) string {
	var words []string
	for n := range missing {
		tap := fmt.Sprintf("h%d-s%d", n/10, n%10)
		for _, p := range ends {
			s, err := api.Dial(p.socket).Status(context.Background())
			if err != nil {
				return err.Error()
			}
			for _, tunnel := range s.Tunnels {
				for _, session := range tunnel.Sessions {
					if session.TAP != tap {
						continue
					}
					words = append(words, fmt.Sprintf("%s %+v", session.Name, *session.Call))
					for name, count := range session.Counters {
						if count > 0 {
							words = append(words, fmt.Sprintf("%s %d", name, count))
						}
					}
				}
			}
		}
		break
	}
	return strings.Join(words, ", ")
}

// packetSocket hears all devices of a site, and sends by any.
func packetSocket(t *testing.T, s *site) (fd int) {
	t.Helper()
	var err error
	s.in(t, func() {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
	return fd
}

// TestBothDial has both ends dial: one control connection and one session are
// left, whoever wins.
func TestBothDial(t *testing.T) {
	t.Parallel()
	lyon, paris := twoSites(t)
	both := strings.Replace(dialFile, "PEER", "192.0.2.2:1701", 1)
	other := strings.NewReplacer(`"lyon"`, `"paris"`, "tunnel.paris", "tunnel.lyon", "192.0.2.1:1701", "192.0.2.2:1701", "192.0.2.2:1701", "192.0.2.1:1701",
		`router_id = "192.0.2.1"`, `router_id = "192.0.2.2"`, "10.9.0.1", "10.9.0.2").Replace(both)
	l, p := lyon.start(t, both), paris.start(t, other)
	k := newTalk2(t, lyon, paris, l, p)
	for range 20 {
		if err := k.once(100); err != nil {
			t.Fatalf("an echo after both were up: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	a, b := l.sessions(t, 1).Tunnels[0], p.sessions(t, 1).Tunnels[0]
	if a.Control.ConnectionID != b.Control.PeerConnectionID || a.Control.Ups != 1 || b.Control.Ups != 1 {
		t.Errorf("%+v\n%+v\nwant one connection that was up once", a.Control, b.Control)
	}
}

func newTalk2(t *testing.T, lyon, paris *site, l, p *process) *talk {
	t.Helper()
	l.sessions(t, 1)
	p.sessions(t, 1)
	k := newTalk(t, lyon, "10.9.0.1", paris, "10.9.0.2")
	eventually(t, "an echo", func() error { return k.once(100) })
	return k
}

// TestNeighbours has a peer killed, started again, cut off and attacked, and wants
// its neighbour, which has a tunnel of its own to the same daemon, to lose no frame
// meanwhile. Both are peers of one template, and their TAPs in one bridge.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	lyon, paris := twoSites(t)
	nice := newSite(t)
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "wan2", PeerNamespace: netlink.NsFd(paris.ns)}
	veth.Name = "wan"
	nice.add(t, veth)
	paris.up(t, "wan2")
	nice.address(t, "wan", "203.0.113.1/24")
	paris.address(t, "wan2", "203.0.113.2/24")
	p := paris.start(t, `
[node]
hostname = "paris"
control  = "CONTROL"
[tunnel.any]
mode   = "accept"
peer   = "any"
local  = ":1701"
secret = "correct horse battery staple"
hello  = "1s"
retransmit_limit = 3
retransmit_timeout = "200ms"
[tunnel.any.session.office]
tap    = "l2-{peer}"
bridge = "br-lan"
`)
	l := lyon.start(t, strings.Replace(dialFile, "PEER", "192.0.2.2:1701", 1))
	n := nice.start(t, strings.NewReplacer(`"lyon"`, `"nice"`, `router_id = "192.0.2.1"`, `router_id = "203.0.113.1"`, "192.0.2.1:1701", "203.0.113.1:1701",
		"PEER", "203.0.113.2:1701", "10.9.0.1", "10.9.0.3").Replace(dialFile))
	l.sessions(t, 1)
	n.sessions(t, 1)
	p.sessions(t, 2)
	paris.address(t, "br-lan", "10.9.0.2/24")

	// Across the bridge the two are one segment.
	k := newTalk(t, lyon, "10.9.0.1", nice, "10.9.0.3")
	eventually(t, "an echo from branch to branch", func() error { return k.once(100) })

	steady := newTalk(t, nice, "10.9.0.3", paris, "10.9.0.2", 7008)
	eventually(t, "an echo of the neighbour", func() error { return steady.once(100) })
	stop, stopped := make(chan struct{}), make(chan error, 1)
	asked := 0
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			case <-time.After(2 * time.Millisecond):
			}
			asked++
			if err := steady.once(200 + asked%500); err != nil {
				stopped <- fmt.Errorf("echo %d of the neighbour: %w", asked, err)
				return
			}
		}
	}()

	again := func(former *process) *process {
		t.Helper()
		next := &process{socket: former.socket}
		return lyon.startFile(t, next, former.Args[3])
	}
	for range 2 {
		l.Process.Kill()
		l.ends(t)
		l = again(l)
		eventually(t, "an echo after kill -9", func() error { return k.once(101) })
	}
	if err := lyon.links.LinkSetDown(lyon.link(t, "wan")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the peer's absence noticed", func() error {
		s, err := api.Dial(p.socket).Status(context.Background())
		if err == nil && len(s.Tunnels) != 2 {
			err = fmt.Errorf("%d tunnels", len(s.Tunnels))
		}
		return err
	})
	lyon.up(t, "wan")
	eventually(t, "an echo after the cut", func() error { return k.once(102) })

	// What looks like control messages, of connections that are there and of none.
	lyon.address(t, "wan", "192.0.2.66/24")
	var flood net.PacketConn
	var err error
	lyon.in(t, func() { flood, err = net.ListenPacket("udp4", "192.0.2.66:1701") })
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	s, err := api.Dial(p.socket).Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20000 {
		b := []byte{0xc8, 3, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 8, 0, 0, 0, 0, 0, byte(i % 21)}
		if at := s.Tunnels[i%len(s.Tunnels)].Control; i%2 == 0 && at != nil {
			binary.BigEndian.PutUint32(b[4:], at.ConnectionID)
		}
		if _, err := flood.WriteTo(b, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 1701}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "an echo after the attack", func() error { return k.once(103) })
	close(stop)
	if err := <-stopped; err != nil || asked < 100 {
		t.Errorf("%d echoes: %v", asked, err)
	}
	flood.SetReadDeadline(time.Now())
	if n, _, err := flood.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("%d octets were answered", n)
	}
	if s, err = api.Dial(p.socket).Status(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, tunnel := range s.Tunnels {
		if tunnel.Name == "any:nice" && tunnel.Control.Ups != 1 {
			t.Errorf("the neighbour's tunnel was up %d times, want once", tunnel.Control.Ups)
		}
	}
}
