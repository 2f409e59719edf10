package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/cmd/internal/api"
	"spanwire/pseudowire/ppp/radius/freeradius"
)

// lnsFile is lyon's, whose users dial in.
const lnsFile = `
[node]
hostname = "lyon"
control  = "CONTROL"
metrics  = "127.0.0.1:9170"

[tunnel.phones]
version = 2
mode    = "accept"
local   = "192.0.2.1:1701"
peer    = "any"
secret  = "correct horse battery staple"
hello   = "1s"
retransmit_limit   = 3
retransmit_timeout = "200ms"
retransmit_cap     = "400ms"
ppp     = "phones"

[ppp.phones]
tun        = "phones0"
address    = "10.20.0.1"
addresses  = ["2001:db8:20::1/64"]
pool       = "10.20.0.16-10.20.0.31"
ipv6_pool  = "2001:db8:21::/48"
users_file = "USERS"
dns        = ["10.20.0.1"]
echo_interval = "1s"
echo_failures = 3
`

const usersFile = `
[user.alice]
password = "in wonderland"
[user.bob]
password = "the builder"
`

// clientFile is paris's, who dials in.
const clientFile = `
[node]
hostname = "paris"
control  = "CONTROL"

[tunnel.lyon]
version = 2
mode    = "dial"
local   = "192.0.2.2:1701"
peer    = "192.0.2.1"
secret  = "correct horse battery staple"
hello   = "1s"
retransmit_limit   = 3
retransmit_timeout = "200ms"
retransmit_cap     = "400ms"
redial_min = "200ms"
redial_max = "1s"
ppp     = "lyon"

[ppp.lyon]
mode     = "client"
tun      = "lyon0"
user     = "alice"
password = "in wonderland"
routes   = ["10.20.0.0/24", "2001:db8:20::/64"]
echo_interval = "1s"
echo_failures = 3
`

// users writes a file of users and returns its path.
func users(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// link waits until a process's profile has a link that carries both families.
func (p *process) link(t *testing.T, profile string) api.Link {
	t.Helper()
	var link api.Link
	eventually(t, "a link of "+profile, func() error {
		s, err := api.Dial(p.socket).Status(context.Background())
		if err != nil {
			return err
		}
		for _, q := range s.PPP {
			for _, l := range q.Links {
				if link = l; q.Name == profile && l.IPCP == "Opened" && l.IPV6CP == "Opened" && l.Prefix != "" {
					return nil
				}
			}
		}
		why := ""
		for _, tunnel := range s.Tunnels {
			why += fmt.Sprintf(" tunnel %s is %s: %s;", tunnel.Name, tunnel.State, tunnel.LastError)
		}
		return fmt.Errorf("none yet, the last was %+v;%s", link, why)
	})
	return link
}

// dialledIn returns two sites, and daemons of an LNS and a client between which PPP is up.
func dialledIn(t *testing.T) (lyon, paris *site, l, p *process, users string) {
	t.Helper()
	lyon, paris = twoSites(t)
	users = usersOf(t)
	l = lyon.start(t, strings.Replace(lnsFile, "USERS", users, 1))
	p = paris.start(t, clientFile)
	l.link(t, "phones")
	p.link(t, "lyon")
	return lyon, paris, l, p, users
}

func usersOf(t *testing.T) string { return users(t, usersFile) }

// ports are for talks that may go on at once.
const port4, port6 = 7007, 7008

// talks returns conversations of a client with its LNS, of both families.
func talks(t *testing.T, lyon, paris *site, client api.Link) (four, six *talk) {
	t.Helper()
	listen := func(s *site, address string) (c net.PacketConn) {
		eventually(t, "the address", func() (err error) { // the kernel is told while the link is up already
			s.in(t, func() { c, err = net.ListenPacket("udp", address) })
			return err
		})
		t.Cleanup(func() { c.Close() })
		return c
	}
	listen(paris, client.Address+":0")
	four = newTalk(t, paris, client.Address, lyon, "10.20.0.1", port4)
	six = &talk{}
	six.ask, six.echo = listen(paris, fmt.Sprintf("[::]:%d", port6)), listen(lyon, fmt.Sprintf("[2001:db8:20::1]:%d", port6))
	go func() {
		var b [2048]byte
		for {
			n, from, err := six.echo.ReadFrom(b[:])
			if err != nil {
				return
			}
			six.echo.WriteTo(b[:n], from)
		}
	}()
	return four, six
}

// TestDialIn has a client dial in, and wants packets of both families to pass, and all
// to be shown.
func TestDialIn(t *testing.T) {
	t.Parallel()
	lyon, paris, l, p, _ := dialledIn(t)
	user, client := l.link(t, "phones"), p.link(t, "lyon")
	if user.User != "alice" || user.Method != "mschapv2" || !strings.HasPrefix(user.Address, "10.20.0.") || user.Address != client.Address ||
		user.Prefix != client.Prefix || !strings.HasPrefix(user.Prefix, "2001:db8:21:") || user.LCP != "Opened" || user.Since.IsZero() || user.Encryption != "none" {
		t.Errorf("the LNS has %+v,\nthe client %+v", user, client)
	}
	four, six := talks(t, lyon, paris, client)
	for _, n := range []int{100, user.MTU - 28} {
		eventually(t, fmt.Sprintf("an echo of %d octets over IPv4", n), func() error { return four.once(n) })
	}
	for _, n := range []int{100, user.MTU - 48} {
		eventually(t, fmt.Sprintf("an echo of %d octets over IPv6", n), func() error { return six.once(n) })
	}

	s, err := api.Dial(l.socket).Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var calls []api.PPPCall
	for _, tunnel := range s.Tunnels {
		if calls = append(calls, tunnel.Calls...); tunnel.Version != 2 {
			t.Errorf("tunnel %+v, want one of L2TPv2", tunnel)
		}
	}
	if len(calls) != 1 || calls[0].Name != user.Name || calls[0].Role != "lns" || calls[0].Counters["rx_packets"] == 0 {
		t.Errorf("calls %+v, want that of link %s", calls, user.Name)
	}
	q := s.PPP[0]
	if q.Counters["links_up"] != 1 || q.Counters["in_octets"] == 0 || q.Counters["out_octets"] == 0 || len(q.Pools) != 2 || q.Pools[0].Used != 1+1 && q.Pools[0].Used != 1 {
		t.Errorf("profile %+v", q)
	}
	var page string
	lyon.in(t, func() { page = fetch(t, "http://127.0.0.1:9170/metrics") })
	wantIn(t, "metrics", page, []string{`spanwire_ppp_links{ppp="phones",state="up"} 1`, `spanwire_ppp_links_up_total{ppp="phones"} 1`,
		`spanwire_ppp_pool_used{pool="ipv6",ppp="phones"} 1`, `spanwire_calls_up{tunnel="phones",version="2"} 1`})
	if strings.Contains(page, "alice") {
		t.Error("a user is named in the metrics")
	}
	code, stdout, stderr := run("status", "--control", l.socket)
	if code != 0 {
		t.Errorf("status: %s", stderr)
	}
	wantIn(t, "status", stdout, []string{"phones", "L2TPv2", "alice", user.Address, user.Prefix, "mschapv2", "Opened", "ipv4 ", "/16"})

	// Both say goodbye, and leave nothing behind.
	p.Process.Signal(syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("the client ends with %d", code)
	}
	eventually(t, "no link", func() error {
		if s, err := api.Dial(l.socket).Status(context.Background()); err != nil || len(s.PPP[0].Links) > 0 {
			return fmt.Errorf("%+v %v", s.PPP, err)
		}
		return nil
	})
	wantIn(t, "log of the LNS", l.logged(), []string{"PPP link down", "closed by peer", "tunnel down"})
	l.Process.Signal(syscall.SIGTERM)
	if code := l.ends(t); code != 0 {
		t.Errorf("the LNS ends with %d", code)
	}
	for _, site := range []*site{lyon, paris} {
		for _, name := range []string{"phones0", "lyon0"} {
			if _, err := site.links.LinkByName(name); err == nil {
				t.Errorf("%s is still there", name)
			}
		}
	}
}

// fetch returns a page of the present namespace.
func fetch(t *testing.T, url string) string {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:9170")
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
	answer, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// TestDisconnect ends a link by command, and wants it to come again; and not when the
// user is no more.
func TestDisconnect(t *testing.T) {
	t.Parallel()
	_, _, l, p, file := dialledIn(t)
	former := l.link(t, "phones")
	for _, name := range []string{"alice", former.Address, "LINK"} {
		before := l.link(t, "phones")
		p.link(t, "lyon")
		if name == "LINK" {
			name = before.Name
		}
		if code, _, stderr := run("disconnect", name, "--control", l.socket); code != 0 {
			t.Fatalf("disconnect %s: %s", name, stderr)
		}
		eventually(t, "another link", func() error {
			if now := l.link(t, "phones"); now.ID == before.ID {
				return errors.New("it is the same")
			}
			return nil
		})
	}
	if code, _, stderr := run("disconnect", "nobody", "--control", l.socket); code != 1 || !strings.Contains(stderr, "no link") {
		t.Errorf("disconnect nobody: %d %s", code, stderr)
	}

	if err := os.WriteFile(file, []byte("[user.bob]\npassword = \"the builder\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := l.link(t, "phones")
	code, stdout, stderr := run("reload", "--control", l.socket)
	if code != 0 || stdout != "ppp phones: users read again\n" {
		t.Errorf("reload: %d %s %s", code, stdout, stderr)
	}
	if now := l.link(t, "phones"); now.ID != before.ID {
		t.Error("the link did not survive that its user is no more")
	}
	run("disconnect", "alice", "--control", l.socket)
	eventually(t, "alice is refused", func() error {
		if !strings.Contains(l.logged(), `msg="PPP link refused"`) {
			return errors.New("not yet")
		}
		return nil
	})
}

// TestReloadTellsTheRest wants what cannot be changed while all runs to be told.
func TestReloadTellsTheRest(t *testing.T) {
	t.Parallel()
	lyon, _ := twoSites(t)
	p := &process{socket: filepath.Join(t.TempDir(), "control.sock")}
	text := strings.NewReplacer("CONTROL", p.socket, "USERS", usersOf(t)).Replace(lnsFile)
	file := write(t, text)
	lyon.startFile(t, p, file)
	eventually(t, "a daemon", func() error {
		_, err := api.Dial(p.socket).Status(context.Background())
		return err
	})
	for _, v := range []struct {
		old, new string
		code     int
		stdout   string
		stderr   string
	}{
		{"echo_failures = 3", "echo_failures = 4", 0, "ppp phones: users read again\nppp phones: echo_failures: not changed while running, want a restart\n", ""},
		{"echo_failures = 3", "", 0, "ppp phones: users read again\nppp phones: echo_failures: not changed while running, want a restart\n", ""},
		{"[ppp.phones]", "[serial.x]\nline = \"udp:127.0.0.1:10001,127.0.0.1:10002\"\n[ppp.phones]", 0, "ppp phones: users read again\nserial: not changed while running, want a restart\n", ""},
		{"echo_failures = 3", "echo_failure = 3", 1, "", "unknown key"},
		{"", "", 0, "ppp phones: users read again\n", ""},
	} {
		if err := os.WriteFile(file, []byte(strings.Replace(text, v.old, v.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := run("reload", "--control", p.socket)
		if code != v.code || stdout != v.stdout || !strings.Contains(stderr, v.stderr) {
			t.Errorf("%s: %d %q %q, want %d %q %q", v.new, code, stdout, stderr, v.code, v.stdout, v.stderr)
		}
	}
}

// TestBadPassword wants both sides to say clearly why there is no link.
func TestBadPassword(t *testing.T) {
	t.Parallel()
	lyon, paris := twoSites(t)
	l := lyon.start(t, strings.Replace(lnsFile, "USERS", usersOf(t), 1))
	p := paris.start(t, strings.Replace(clientFile, "in wonderland", "through the looking glass", 1))
	for _, v := range []struct {
		p    *process
		want []string
	}{
		{l, []string{`msg="PPP link refused"`, "user=alice", `msg="PPP link down"`, "peer failed to authenticate"}},
		{p, []string{`msg="PPP link down"`, "our authentication refused by peer", "user=alice"}},
	} {
		eventually(t, "a refusal is logged", func() error {
			for _, want := range v.want {
				if !strings.Contains(v.p.logged(), want) {
					return fmt.Errorf("%q is not", want)
				}
			}
			return nil
		})
		if log := v.p.logged(); strings.Contains(log, "wonderland") || strings.Contains(log, "looking glass") {
			t.Error("a password is logged")
		}
	}
	s, err := api.Dial(l.socket).Status(context.Background())
	if err != nil || s.PPP[0].Counters["links_refused"] == 0 || s.PPP[0].Counters["links_up"] != 0 {
		t.Errorf("%+v %v", s.PPP, err)
	}
	for p, want := range map[*process]string{l: "peer failed to authenticate", p: "our authentication refused by peer"} {
		if _, stdout, _ := run("status", "--control", p.socket); !strings.Contains(stdout, "user alice: "+want) {
			t.Errorf("the status does not say %s:\n%s", want, stdout)
		}
	}
}

// TestPPPKilled kills the daemon of either side, and wants the link to come back.
func TestPPPKilled(t *testing.T) {
	for _, who := range []string{"client", "LNS"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			lyon, paris, l, p, file := dialledIn(t)
			former := l.link(t, "phones")
			if who == "client" {
				p.Process.Kill()
				p.ends(t)
				p = paris.start(t, clientFile)
			} else {
				l.Process.Kill()
				l.ends(t)
				l = lyon.start(t, strings.Replace(lnsFile, "USERS", file, 1))
			}
			eventually(t, "another link", func() error {
				if now := l.link(t, "phones"); now.ID == former.ID {
					return errors.New("it is the same")
				}
				return nil
			})
			four, six := talks(t, lyon, paris, p.link(t, "lyon"))
			eventually(t, "an echo over IPv4", func() error { return four.once(100) })
			eventually(t, "an echo over IPv6", func() error { return six.once(100) })
			eventually(t, "the former link is gone", func() error {
				s, err := api.Dial(l.socket).Status(context.Background())
				if err != nil || len(s.PPP[0].Links) != 1 {
					return fmt.Errorf("%d links, %v", len(s.PPP[0].Links), err)
				}
				return nil
			})
		})
	}
}

// TestTUNLost deletes the TUN of either side, and wants it to be made again and the link
// to come back.
func TestTUNLost(t *testing.T) {
	t.Parallel()
	lyon, paris, l, p, _ := dialledIn(t)
	for _, v := range []struct {
		site *site
		name string
		p    *process
	}{{lyon, "phones0", l}, {paris, "lyon0", p}} {
		former := l.link(t, "phones")
		if err := v.site.links.LinkDel(v.site.link(t, v.name)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another link", func() error {
			if now := l.link(t, "phones"); now.ID == former.ID {
				return errors.New("it is the same")
			}
			return nil
		})
		wantIn(t, "log", v.p.logged(), []string{"TUN lost, its links are closed, opening it again"})
	}
	four, six := talks(t, lyon, paris, p.link(t, "lyon"))
	eventually(t, "an echo over IPv4", func() error { return four.once(100) })
	eventually(t, "an echo over IPv6", func() error { return six.once(100) })
}

// TestLinkFollowsPath narrows the path, and wants the link's MTU to follow.
func TestLinkFollowsPath(t *testing.T) {
	t.Parallel()
	lyon, paris, l, p, _ := dialledIn(t)
	before := l.link(t, "phones").MTU
	for _, site := range []*site{lyon, paris} {
		if err := site.links.LinkSetMTU(site.link(t, "wan"), 1400); err != nil {
			t.Fatal(err)
		}
	}
	for name, d := range map[string]*process{"phones": l, "lyon": p} {
		eventually(t, "an MTU that is 100 less", func() error {
			if now := d.link(t, name).MTU; now != before-100 {
				return fmt.Errorf("%s: it is %d, and was %d", name, now, before)
			}
			return nil
		})
	}
}

// TestWatchLinks wants what happens to calls and links to be told.
func TestWatchLinks(t *testing.T) {
	t.Parallel()
	_, _, l, _, _ := dialledIn(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	seen := make(map[string]api.Event)
	go func() {
		time.Sleep(500 * time.Millisecond)
		run("disconnect", "alice", "--control", l.socket)
	}()
	err := api.Dial(l.socket).Watch(ctx, func(e api.Event) error {
		if seen[e.Event] = e; seen["link up"].Link != "" {
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		t.Fatalf("%v, saw %+v", err, seen)
	}
	down, up := seen["link down"], seen["link up"]
	if down.User != "alice" || down.Profile != "phones" || down.Reason == "" || seen["session down"].Version != 2 || seen["session up"].Session != up.Link ||
		up.Method != "mschapv2" || up.Address == "" && up.Prefix == "" {
		t.Errorf("saw %+v", seen)
	}
}

var errDone = errors.New("done")

// TestBothVersions has one who dials for both versions meet those who know either, or
// both, and wants what they have in common; and again when the peer is another one.
func TestBothVersions(t *testing.T) {
	t.Parallel()
	session := func(name string) string {
		return "[tunnel." + name + ".session.office]\ntap = \"office0\"\n"
	}
	auto := func(text string) string { return strings.Replace(text, "version = 2", "version = \"auto\"", 1) }
	lyon, paris := twoSites(t)
	client := auto(clientFile) + session("lyon")
	accept := strings.Replace(lnsFile, "USERS", usersOf(t), 1)
	three := strings.NewReplacer("version = 2\n", "", "ppp     = \"phones\"\n", "", `peer    = "any"`, "peer = \"192.0.2.2\"").Replace(accept) + session("phones")
	p := paris.start(t, client)
	for _, v := range []struct {
		name, file string
		version    int
	}{
		{"L2TPv2 alone", accept, 2},
		{"L2TPv3 alone", three, 3},
		{"both", strings.Replace(auto(accept), `peer    = "any"`, "peer = \"192.0.2.2\"", 1) + session("phones"), 3},
		{"L2TPv2 alone, again", accept, 2},
	} {
		l := lyon.start(t, v.file)
		if v.version == 2 {
			l.link(t, "phones")
			p.link(t, "lyon")
			p.sessions(t, 0)
		} else {
			l.sessions(t, 1)
			p.sessions(t, 1)
			s, err := api.Dial(p.socket).Status(context.Background())
			if err != nil || len(s.PPP[0].Links) > 0 {
				t.Errorf("%s: links %+v, want none beside a session of L2TPv3: %v", v.name, s.PPP, err)
			}
		}
		l.Process.Signal(syscall.SIGTERM)
		l.ends(t)
	}
}

// TestUpDown closes and opens a tunnel of L2TPv2 by command, on both sides, and a call.
func TestUpDown(t *testing.T) {
	t.Parallel()
	_, _, l, p, _ := dialledIn(t)
	do := func(p *process, command, name string) {
		t.Helper()
		if code, _, stderr := run(command, name, "--control", p.socket); code != 0 {
			t.Fatalf("%s %s: %s", command, name, stderr)
		}
	}
	noLink := func() {
		t.Helper()
		for _, p := range []*process{l, p} {
			eventually(t, "no link", func() error {
				if s, err := api.Dial(p.socket).Status(context.Background()); err != nil || len(s.PPP[0].Links) > 0 {
					return fmt.Errorf("%+v %v", s.PPP, err)
				}
				return nil
			})
		}
	}
	for _, v := range []struct {
		p    *process
		name string
	}{{p, "lyon"}, {l, "phones"}} {
		do(v.p, "down", v.name)
		noLink()
		if s, err := api.Dial(v.p.socket).Status(context.Background()); err != nil || s.Tunnels[0].State != "down" {
			t.Errorf("%s is %+v, want it down: %v", v.name, s.Tunnels, err)
		}
		do(v.p, "up", v.name)
		l.link(t, "phones")
		p.link(t, "lyon")
	}
	for _, what := range []string{"call", "tunnel"} {
		former := l.link(t, "phones")
		name := former.Name
		if what == "tunnel" {
			name, _, _ = strings.Cut(name, "/")
		}
		do(l, "down", name)
		eventually(t, "another link", func() error {
			if now := l.link(t, "phones"); now.Name == former.Name {
				return errors.New("it is the same")
			}
			return nil
		})
	}
}

// TestTransports dials in over IPv6, with sequence numbers and encryption.
func TestTransports(t *testing.T) {
	t.Parallel()
	lyon, paris := twoSites(t)
	lyon.address(t, "wan", "2001:db8::1/64")
	paris.address(t, "wan", "2001:db8::2/64")
	over := strings.NewReplacer("192.0.2.1:1701", "[2001:db8::1]:1701", "192.0.2.2:1701", "[2001:db8::2]:1701", "192.0.2.1", "2001:db8::1",
		"echo_failures = 3", "echo_failures = 3\nmppe = \"required\"", `ppp     = "phones"`, "ppp = \"phones\"\nsequence = true")
	l := lyon.start(t, strings.Replace(over.Replace(lnsFile), "USERS", usersOf(t), 1))
	p := paris.start(t, over.Replace(clientFile))
	user, client := l.link(t, "phones"), p.link(t, "lyon")
	if user.Encryption != "mppe" || client.Encryption != "mppe" || !strings.HasPrefix(user.Peer, "[2001:db8::2]:") {
		t.Errorf("the LNS has %+v,\nthe client %+v, want both encrypted", user, client)
	}
	four, six := talks(t, lyon, paris, client)
	for _, n := range []int{100, user.MTU - 48} {
		eventually(t, fmt.Sprintf("an echo of %d octets over IPv4", n), func() error { return four.once(n) })
		eventually(t, fmt.Sprintf("an echo of %d octets over IPv6", n), func() error { return six.once(n) })
	}
	s, err := api.Dial(p.socket).Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Tunnels[0].Calls[0].Counters; c["rx_lost"] != 0 || c["rx_packets"] == 0 {
		t.Errorf("%+v", c)
	}
}

// TestRADIUS has FreeRADIUS say who the users are and what they get, be told of them, and
// end a link; and wants it to hear at the end that the NAS is off.
func TestRADIUS(t *testing.T) {
	t.Parallel()
	lyon, paris := twoSites(t)
	var server *freeradius.Server
	lyon.in(t, func() {
		server = freeradius.Start(t, "alice\tCleartext-Password := \"in wonderland\"\n\tFramed-Pool = \"homes\",\n\tClass = \"gold\"\n")
	})
	orders := netip.MustParseAddrPort("127.0.0.1:3799")
	text := strings.NewReplacer(`users_file = "USERS"`, `radius = "hq"`).Replace(lnsFile) + fmt.Sprintf(`
[ppp.phones.pools.homes]
ranges = "10.30.0.7-10.30.0.7"

[radius.hq]
servers         = [%q, "127.0.0.1:1"]
accounting      = [%q]
secret          = %q
timeout         = "1s"
dynamic         = %q
dynamic_clients = ["127.0.0.1"]
`, server.Authentication, server.Accounting, freeradius.Secret, orders)
	l := lyon.start(t, text)
	p := paris.start(t, clientFile)
	user := l.link(t, "phones")
	p.link(t, "lyon")
	if user.Address != "10.30.0.7" || user.User != "alice" {
		t.Errorf("%+v, want the address of the pool that the server says", user)
	}
	records := func(kind string) (all []freeradius.Record) {
		for _, r := range server.Records() {
			if r.Get("Acct-Status-Type") == kind {
				all = append(all, r)
			}
		}
		return all
	}
	wantRecord := func(kind, cause string, n int, attributes map[string]string) {
		t.Helper()
		eventually(t, kind+" "+cause, func() error {
			if got := len(records(kind)); got < n {
				return fmt.Errorf("%d records, want %d", got, n)
			}
			return nil
		})
		r := records(kind)[n-1]
		if attributes == nil {
			attributes = make(map[string]string)
		}
		if cause != "" {
			attributes["Acct-Terminate-Cause"] = cause
		}
		r.Want(t, attributes)
	}
	wantRecord("Start", "", 1, map[string]string{"User-Name": "alice", "Acct-Session-Id": user.ID, "Tunnel-Client-Endpoint:0": "192.0.2.2", "Tunnel-Client-Auth-Id:0": "paris",
		"Tunnel-Server-Auth-Id:0": "lyon", "NAS-Port-Id": user.Name})

	s, err := api.Dial(l.socket).Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if r := s.RADIUS; len(r) != 1 || len(r[0].Servers) != 3 || r[0].Servers[0].State != "alive" || r[0].Servers[0].Counters["answers"] != 1 ||
		r[0].Accounting == nil || r[0].Accounting.Open != 1 || !r[0].Accounting.On {
		t.Errorf("%+v", r)
	}

	// The server ends the link, then a command, then the other side.
	var said string
	lyon.in(t, func() { said = freeradius.Radclient(t, orders, "disconnect", freeradius.Secret, "User-Name = alice\n") })
	if !strings.Contains(said, "Disconnect-ACK") {
		t.Errorf("radclient: %s", said)
	}
	wantRecord("Stop", "Admin-Reset", 1, nil)
	wantRecord("Start", "", 2, nil)
	l.link(t, "phones")
	run("disconnect", "alice", "--control", l.socket)
	wantRecord("Stop", "Admin-Reset", 2, nil)
	wantRecord("Start", "", 3, nil)
	l.link(t, "phones")
	run("down", "lyon", "--control", p.socket)
	wantRecord("Stop", "User-Request", 3, nil)
	run("up", "lyon", "--control", p.socket)
	wantRecord("Start", "", 4, nil)
	l.link(t, "phones")

	// The end, of a link whose other side does not answer.
	p.Process.Signal(syscall.SIGSTOP)
	defer p.Process.Signal(syscall.SIGCONT)
	began := time.Now()
	l.Process.Signal(syscall.SIGTERM)
	if code := l.ends(t); code != 0 || time.Since(began) > 12*time.Second {
		t.Errorf("it ends with %d after %v", code, time.Since(began))
	}
	wantRecord("Stop", "NAS-Reboot", 4, nil)
	wantRecord("Accounting-Off", "", 1, nil)
}

// TestDefaultRouteAndScripts has a client send all by its link, but for what goes to the
// LNS, and programs be told; and wants the host's own default route as it was, after.
func TestDefaultRouteAndScripts(t *testing.T) {
	t.Parallel()
	lyon, paris := twoSites(t)
	wan, err := paris.links.LinkByName("wan")
	if err != nil {
		t.Fatal(err)
	}
	own := &netlink.Route{LinkIndex: wan.Attrs().Index, Gw: net.ParseIP("192.0.2.254")}
	if err := paris.links.RouteAdd(own); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	told, script := filepath.Join(dir, "told"), filepath.Join(dir, "script")
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nenv | grep ^SPANWIRE_ | sort | tr '\\n' ' ' >>%s\necho >>%[1]s\n", told), 0o700); err != nil {
		t.Fatal(err)
	}
	scripts := fmt.Sprintf("up_script = %q\ndown_script = %[1]q\n", script)
	l := lyon.start(t, strings.Replace(lnsFile, "USERS", usersOf(t), 1)+scripts)
	p := paris.start(t, strings.Replace(clientFile, `["10.20.0.0/24", "2001:db8:20::/64"]`, `["default"]`, 1))
	client := p.link(t, "lyon")
	leads := func(to, want string) error {
		ways, err := paris.links.RouteGet(net.ParseIP(to))
		if err != nil || len(ways) != 1 {
			return fmt.Errorf("route to %s: %v, %v", to, ways, err)
		}
		device, err := paris.links.LinkByIndex(ways[0].LinkIndex)
		if err != nil || device.Attrs().Name != want {
			return fmt.Errorf("%s is reached by %+v, want %s; %v", to, device, want, err)
		}
		return nil
	}
	eventually(t, "the way by the link", func() error { return leads("203.0.113.9", "lyon0") })
	if err := leads("192.0.2.1", "wan"); err != nil {
		t.Error(err)
	}
	four, _ := talks(t, lyon, paris, client)
	eventually(t, "an echo", func() error { return four.once(500) })

	p.Process.Signal(syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("the client ends with %d", code)
	}
	if err := leads("203.0.113.9", "wan"); err != nil {
		t.Error(err)
	}
	all, err := paris.links.RouteList(wan, netlink.FAMILY_V4)
	if err != nil || len(all) != 2 { // the network, and the default route
		t.Errorf("%v, %v", all, err)
	}
	var lines []string
	eventually(t, "two calls of the script", func() error {
		text, err := os.ReadFile(told)
		if lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"); len(lines) != 2 {
			return fmt.Errorf("%q, %v", text, err)
		}
		return nil
	})
	wantIn(t, "what the script is told of up", lines[0], []string{"SPANWIRE_EVENT=up ", "SPANWIRE_USER=alice ", "SPANWIRE_INTERFACE=phones0 ", "SPANWIRE_PEER=192.0.2.2:1701 "})
	wantIn(t, "what the script is told of down", lines[1], []string{"SPANWIRE_EVENT=down ", "SPANWIRE_USER=alice ", "SPANWIRE_ADDRESS=" + client.Address + " ", "SPANWIRE_CAUSE="})
	l.Process.Signal(syscall.SIGTERM)
	if code := l.ends(t); code != 0 {
		t.Errorf("the LNS ends with %d", code)
	}
}
