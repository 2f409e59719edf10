package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spanwire/cmd/internal/api"
	"spanwire/cookie"
	"spanwire/pseudowire"
)

// TestMain lets the tests run this very binary as spanwire, in other namespaces.
func TestMain(m *testing.M) {
	if os.Getenv(asSpanwire) != "" {
		main()
	}
	os.Exit(m.Run())
}

// asSpanwire is what in the environment makes the test binary be spanwire.
const asSpanwire = "SPANWIRE_TEST_RUNS_MAIN"

const goodFile = `
[node]
hostname  = "lyon"
router_id = "192.0.2.1"
control   = "CONTROL"

[tunnel.paris]
mode  = "static"
encap = "udp"
local = "192.0.2.1:1701"
peer  = "192.0.2.2:1701"

[tunnel.paris.session.office]
pseudowire      = "ethernet"
session_id      = 1001
peer_session_id = 2001
receive_cookie  = "a1b2c3d4e5f60718"
send_cookie     = "18f7e6d5c4b3a291"
tap             = "office0"
bridge          = "br-lan"
`

// write writes a configuration and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	good := write(t, strings.Replace(goodFile, "CONTROL", none, 1))
	bad := write(t, strings.NewReplacer("a1b2c3d4e5f60718", "a1b2", "br-lan\"", "br-lan\"\ncolour = 1", "CONTROL", none).Replace(goodFile))
	open := write(t, strings.Replace(goodFile, "CONTROL", none, 1))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args           []string
		code           int
		stdout, stderr []string // what is in it; nil: it is empty
	}{
		{[]string{}, 0, []string{"Exit codes:", "spanwire run -c"}, nil},
		{[]string{"--help"}, 0, []string{"Exit codes:"}, nil},
		{[]string{"run", "--help"}, 0, []string{"SIGTERM", "--log-format", "Examples:"}, nil},
		{[]string{"check", "--help"}, 0, []string{"Examples:"}, nil},
		{[]string{"status", "--help"}, 0, []string{"--control SOCKET", "Examples:"}, nil},
		{[]string{"cookie", "--help"}, 0, []string{"--size", "Examples:"}, nil},
		{[]string{"completion", "bash"}, 0, []string{"spanwire"}, nil},
		{[]string{"version"}, 0, []string{"spanwire ", "revision ", "go1."}, nil},
		{[]string{"bogus"}, 2, nil, []string{"bogus", "spanwire --help"}},
		{[]string{"--bogus"}, 2, nil, []string{"--bogus"}},
		{[]string{"version", "extra"}, 2, nil, []string{"extra"}},

		{[]string{"check"}, 2, nil, []string{"want -c FILE", "spanwire check --help"}},
		{[]string{"check", "-c", good}, 0, []string{good + ": ok, 1 tunnel, 1 session\n", "overhead 44 over IPv4", "mtu 1438"}, nil},
		{[]string{"check", "-c", bad}, 2, nil, []string{bad + ":17: ", "receive_cookie", bad + ":21: ", "colour"}},
		{[]string{"check", "-c", open}, 0, []string{"ok, 1 tunnel"}, []string{open, "mode 0644", "want 0600", "warning"}},
		{[]string{"check", "-c", none}, 2, nil, []string{none}},

		{[]string{"run"}, 2, nil, []string{"want -c FILE"}},
		{[]string{"run", "-c", bad}, 2, nil, []string{bad + ":17: "}},
		{[]string{"run", "-c", good, "--log-format", "xml"}, 2, nil, []string{`"xml", want text or json`}},
		{[]string{"run", "-c", good, "--log-level", "loud"}, 2, nil, []string{"loud"}},

		{[]string{"status", "--control", none}, 3, nil, []string{none, "no daemon answers"}},
		{[]string{"status", "-c", good}, 3, nil, []string{none}},
		{[]string{"status", "-c", bad}, 2, nil, []string{bad + ":17: "}},
		{[]string{"status", "-c", good, "--control", none}, 2, nil, []string{"want one of them"}},

		{[]string{"cookie", "--size", "3"}, 2, nil, []string{"--size", "want 0, 4 or 8"}},
		{[]string{"cookie", "--size", "x"}, 2, nil, []string{"--size"}},
	} {
		name := strings.Join(test.args, " ")
		code, stdout, stderr := run(test.args...)
		if code != test.code {
			t.Errorf("spanwire %s: exit code %d, want %d; stderr: %s", name, code, test.code, stderr)
		}
		wantIn(t, "spanwire "+name+": stdout", stdout, test.stdout)
		wantIn(t, "spanwire "+name+": stderr", stderr, test.stderr)
	}
}

// wantIn checks that text has all parts, or is empty where there are none.
func wantIn(t *testing.T, what, text string, parts []string) {
	t.Helper()
	if parts == nil && text != "" {
		t.Errorf("%s: %q, want nothing", what, text)
	}
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s: %q is not in\n%s", what, p, text)
		}
	}
}

func TestLogFormat(t *testing.T) {
	for _, test := range []struct{ format, level, want string }{
		{"text", "warn", "level=WARN msg=b"},
		{"json", "warn", `"level":"WARN","msg":"b"`},
		{"text", "info", "level=INFO msg=a"},
	} {
		var b bytes.Buffer
		log, err := newLog(&b, test.format, test.level)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("a")
		log.Warn("b")
		if got := b.String(); !strings.Contains(got, test.want) || strings.Contains(got, "=a") != (test.level == "info") {
			t.Errorf("format %s, level %s: %s, want %s", test.format, test.level, got, test.want)
		}
	}
}

func TestCookiePairsMirror(t *testing.T) {
	line := regexp.MustCompile(`(?m)^(receive_cookie|send_cookie) += "([0-9a-f]*)"$`)
	for size, args := range map[int][]string{8: {"cookie"}, 4: {"cookie", "--size", "4"}, 0: {"cookie", "--size", "0"}} {
		code, stdout, stderr := run(args...)
		if code != 0 {
			t.Fatalf("cookie of %d octets: exit code %d: %s", size, code, stderr)
		}
		got := line.FindAllStringSubmatch(stdout, -1)
		if len(got) != 4 {
			t.Fatalf("cookie of %d octets: %d lines, want 4, in\n%s", size, len(got), stdout)
		}
		here, there := got[:2], got[2:]
		if here[0][2] != there[1][2] || here[1][2] != there[0][2] {
			t.Errorf("cookie of %d octets: one side's receive_cookie is not the other's send_cookie:\n%s", size, stdout)
		}
		if size > 0 && here[0][2] == here[1][2] {
			t.Errorf("cookie of %d octets: the same for both directions", size)
		}
		for _, l := range here {
			if c, err := cookie.Parse(l[2]); err != nil || c.Len() != size {
				t.Errorf("cookie of %d octets: %q: %v", size, l[2], err)
			}
		}
	}
}

// fakeStatus is of a daemon with static tunnels, one of which is up and one not.
func fakeStatus(now time.Time) api.Status {
	return api.Status{
		Node:  api.Node{Hostname: "lyon", RouterID: "192.0.2.1", Version: "v1.2", PID: 7, Started: now.Add(-time.Hour)},
		Drops: api.Counters{"rx_unknown_session": 3, "rx_version": 0},
		Tunnels: []api.Tunnel{{
			Name: "paris", Mode: "static", Encap: "udp", State: "up", Since: now.Add(-time.Minute),
			Local: "192.0.2.1:1701", Peer: "192.0.2.2:1701", PathMTU: 1500, LastReceived: now.Add(-2 * time.Second),
			Sessions: []api.Session{{
				Name: "paris/office", SessionID: 1001, PeerSessionID: 2001, ReceiveCookieOctets: 8, SendCookieOctets: 4,
				Sublayer: "none", Sequencing: "none", Joined: api.Joined{TAP: "office0", Offload: "none", Bridge: "br-lan", MTU: 1438},
				Hint:     "every frame has another cookie",
				Counters: api.Counters{"tx_packets": 10, "tx_bytes": 1000, "rx_packets": 9, "rx_bytes": 900, "rx_cookie_discards": 5, "tx_errors": 0},
			}},
		}, {
			Name: "rome", Mode: "static", Encap: "ip", State: "resolving", Since: now.Add(-time.Minute),
			PeerName: "rome.example", LastError: "lookup rome.example: no such host", Sessions: []api.Session{},
		}},
	}
}

// dynamicStatus is of a daemon with control connections in all sorts of states.
func dynamicStatus(now time.Time) api.Status {
	ago, then := now.Add(-time.Minute), now.Add(7*time.Second)
	session := func(name, tap string, c api.Call) api.Session {
		s := api.Session{Name: name, SessionID: 5, PeerSessionID: 6, ReceiveCookieOctets: 8, SendCookieOctets: 8,
			Sublayer: "none", Sequencing: "none", Joined: api.Joined{TAP: tap, MTU: 1438}, Call: &c}
		c.Since = ago
		s.Counters = api.Counters{"tx_packets": 0, "tx_bytes": 0, "rx_packets": 0, "rx_bytes": 0}
		if c.Circuit = "active"; c.State == "" {
			c.State, c.PeerCircuit = "established", "active"
		}
		return s
	}
	up := func(id uint32) *api.Control {
		return &api.Control{ConnectionID: id, PeerConnectionID: id + 1, PeerHostName: "paris", PeerRouterID: "192.0.2.2", PeerVendor: "Spanwire",
			Authenticated: true, Digest: "sha1", Window: 128, Sent: 7, Retransmitted: 1, RTT: 0.51}
	}
	integrity := up(31)
	integrity.Authenticated = false
	instance := up(21)
	instance.Template = "branches"
	return api.Status{
		Node: api.Node{Hostname: "lyon", Version: "v1.2", PID: 7, Started: now.Add(-time.Hour)},
		Refusals: []api.Refusal{{Reason: "wrong_digest", Count: 12, Last: now.Add(-3 * time.Second), From: "192.0.2.9:1701", Meaning: "the secrets differ"},
			{Reason: "no_tunnel", Count: 1, Last: ago, From: "2001:db8::1", Meaning: "no tunnel is configured"}},
		Tunnels: []api.Tunnel{{
			Name: "paris", Mode: "dial", Encap: "udp", State: "established", Since: ago, Local: "192.0.2.1:1701", Peer: "192.0.2.2:1701", PeerName: "paris.example",
			PathMTU: 1500, LastReceived: now, Control: up(11), Sessions: []api.Session{
				session("paris/office", "office0", api.Call{}),
				session("paris/lab", "lab0", api.Call{State: "established", PeerCircuit: "inactive, standby"}),
				session("paris/voice", "voice0", api.Call{State: "idle", LastError: "closed by peer: result 4", NextAttempt: then}),
				session("paris/shut", "shut0", api.Call{State: "down", LastError: "result 3: down by command"}),
			},
		}, {
			Name: "rome", Mode: "dial", Encap: "ip", State: "wait-ctl-reply", Since: ago, Local: "192.0.2.1", Peer: "192.0.2.3", LastError: "the peer does not answer",
			Control: &api.Control{ConnectionID: 41, Digest: "sha1", Sent: 1, Retransmitted: 3},
		}, {
			Name: "oslo", Mode: "dial", Encap: "ip", State: "idle", Since: ago, Local: "192.0.2.1", Peer: "192.0.2.4", LastError: "the peer does not answer",
			Control: &api.Control{NextAttempt: then},
		}, {
			Name: "bonn", Mode: "accept", Encap: "udp", State: "idle", Since: ago, Local: "192.0.2.1:1701", PeerName: "192.0.2.5", Control: &api.Control{},
		}, {
			Name: "branches", Mode: "accept", Encap: "udp", State: "template", Since: ago, Local: "192.0.2.1:1701", PeerName: "any", Control: &api.Control{},
		}, {
			Name: "branches:paris", Mode: "accept", Encap: "udp", State: "established", Since: ago, Local: "192.0.2.1:1701", Peer: "[2001:db8::2]:40000",
			PathMTU: 1500, LastReceived: now, Control: instance, Sessions: []api.Session{session("branches:paris/any:office", "paris-office", api.Call{})},
		}, {
			Name: "graz", Mode: "accept", Encap: "udp", State: "established", Since: ago, Local: "192.0.2.1:1701", Peer: "192.0.2.6:1701", PathMTU: 1500, LastReceived: now,
			Control: integrity,
		}},
	}
}

// segmentStatus is of a daemon whose devices are not as they should be.
func segmentStatus(now time.Time) api.Status {
	return api.Status{
		Node: api.Node{Hostname: "lyon", Version: "v1.2", PID: 7, Started: now},
		Tunnels: []api.Tunnel{{
			Name: "paris", Mode: "dial", Encap: "udp", State: "established", Since: now, Control: &api.Control{ConnectionID: 11, Authenticated: true},
			Sessions: []api.Session{{
				Name: "paris/office", SessionID: 5, PeerSessionID: 6, Pseudowire: "ethernet",
				Call:     &api.Call{State: "established", Since: now, Circuit: "inactive", PeerCircuit: "active"},
				Joined:   api.Joined{Interface: "eth1", State: api.Down, VLAN: "42", MTU: 1500},
				Counters: api.Counters{"tx_packets": 0, "tx_bytes": 0, "rx_packets": 0, "rx_bytes": 0},
			}},
		}},
		Serials: []api.Serial{{
			Name: "wan", Line: "unix:/a,/b", Carries: "frame-relay", LMI: &api.LMI{Form: "ansi", Role: "dce"},
			Counters: api.Counters{"in_foreign": 5, "in_fr_unknown_dlci": 6},
		}},
		Hubs: []api.Hub{{Name: "lab", Ports: []api.HubPort{
			{Name: "lan", Joins: &api.Joined{Interface: "eth2", State: api.Missing, Segment: api.Counters{pseudowire.DropEgressVLAN.String(): 3, "in_lost": 4}}},
			{Name: "paris/lab", Group: 1, Spoke: true, Counters: api.Counters{"drop_split_horizon": 2}},
		}}},
	}
}

// userStatus is of an LNS with two users, who also dials in to another.
func userStatus(now time.Time) api.Status {
	since := now.Add(-time.Minute)
	return api.Status{
		Node: api.Node{Hostname: "lyon", Version: "v1.2", PID: 7, Started: now},
		Tunnels: []api.Tunnel{
			{Name: "phones", Mode: "accept", Version: 2, Encap: "udp", State: "template", Since: since, Local: "192.0.2.1:1701", PeerName: "any", Control: &api.Control{}},
			{Name: "phones#7", Mode: "accept", Version: 2, Encap: "udp", State: "established", Since: since, Local: "192.0.2.1:1701", Peer: "192.0.2.2:1701",
				PathMTU: 1500, LastReceived: now,
				Control: &api.Control{Template: "phones", ConnectionID: 7, PeerConnectionID: 8, PeerHostName: "paris", PeerVendor: "xelerl", Window: 4, Authenticated: true},
				Calls: []api.PPPCall{
					{Name: "phones#7/1", State: "established", Since: since, Role: "lns", SessionID: 5, PeerSessionID: 6, CalledNumber: "100", CallingNumber: "\x1b[2J", LastReceived: now,
						Counters: api.Counters{"rx_packets": 9, "rx_bytes": 900, "tx_packets": 10, "tx_bytes": 1000, "rx_detached": 2}},
					{Name: "phones#7/2", State: "established", Since: since, Role: "lns", SessionID: 15, PeerSessionID: 16},
				}},
			{Name: "head", Mode: "dial", Version: 2, Encap: "udp", State: "idle", Since: since, Peer: "192.0.2.4:1701", LastError: unanswering,
				Control: &api.Control{NextAttempt: now.Add(7 * time.Second)}},
		},
		PPP: []api.PPP{
			{Name: "phones", Mode: "lns", TUN: "phones0", State: api.Up, MTU: 1456,
				LastError: &api.LinkError{Text: "wrong password", User: "mallory", Peer: "192.0.2.9:1701", Time: now.Add(-3 * time.Second)},
				Pools:     []api.Pool{{Name: "ipv4", Used: 1, Size: 254}, {Name: "ipv6", Used: 1, Size: 65536}},
				Counters:  api.Counters{"links_up": 3, "links_refused": 4, "in_octets": 500, "out_octets": 600, "drop_no_link": 3, "drop_spoofed": 4},
				Links: []api.Link{
					{Name: "phones#7/1", User: "alice", Method: "mschapv2", Encryption: "mppe", Since: now.Add(-59 * time.Second), LCP: "Opened", IPCP: "Opened", IPV6CP: "Opened",
						Address: "10.20.0.16", Prefix: "2001:db8:21::/64", Delegated: "2001:db8:22:100::/56", MTU: 1452,
						Counters: api.Counters{"in_packets": 5, "in_octets": 50, "out_packets": 6, "out_octets": 60}},
					{Name: "phones#7/2", User: "bo\x1b[31mb", Method: "pap", Encryption: "none", LCP: "Ack-Sent", IPCP: "Initial", IPV6CP: "Initial", MTU: 1456},
				}},
			{Name: "head", Mode: "client", TUN: "head0", State: api.Missing, MTU: 1400,
				LastError: &api.LinkError{Text: "no answer to Configure-Request", Peer: "192.0.2.4:1701", Time: now.Add(-4 * time.Second)}},
		},
		RADIUS: []api.RADIUS{{Name: "hq", Accounting: &api.Accounting{Open: 1, Undelivered: 2, On: true}, Servers: []api.RADIUSServer{
			{Address: "192.0.2.10:1812", For: "authentication", State: "alive", Counters: api.Counters{"sent": 7, "answers": 6, "lost": 1}},
			{Address: "192.0.2.10:1813", For: "accounting", State: "dead", DeadUntil: now.Add(50 * time.Second), Counters: api.Counters{"sent": 9, "lost": 9, "forged": 1, "malformed": 1}},
		}}},
	}
}

func TestShow(t *testing.T) {
	now := time.Unix(10000, 0)
	for _, test := range []struct {
		name string
		s    api.Status
		want string
	}{
		{"static", fakeStatus(now), `lyon (192.0.2.1): spanwire v1.2, pid 7, started 1h0m0s ago

TUNNEL  MODE    STATE      SINCE  ENCAP  LOCAL           PEER            PATH MTU  HEARD  LAST ERROR
paris   static  up         1m0s   udp    192.0.2.1:1701  192.0.2.2:1701  1500      2s     -
rome    static  resolving  1m0s   ip     -               rome.example    -         never  lookup rome.example: no such host

SESSION       STATE   SINCE  ID    PEER ID  PSEUDOWIRE  JOINS                       MTU   COOKIES  SUBLAYER  SEQUENCING  FRAMES IN  OCTETS IN  FRAMES OUT  OCTETS OUT
paris/office  static  -      1001  2001     -           tap office0, bridge br-lan  1438  8/4      none      none        9          900        10          1000

DROPPED             OF            FRAMES
rx_unknown_session  no session    3
rx_cookie_discards  paris/office  5

paris/office: TAP office0 takes and gives frame by frame, which is slower: the user made it, or the kernel has no vnet_hdr

hint: paris/office: every frame has another cookie
`},
		{"dynamic", dynamicStatus(now), `lyon: spanwire v1.2, pid 7, started 1h0m0s ago

TUNNEL          MODE    STATE           SINCE  ENCAP  LOCAL           PEER                          PATH MTU  HEARD  LAST ERROR
paris           dial    established     1m0s   udp    192.0.2.1:1701  paris.example 192.0.2.2:1701  1500      0s     -
rome            dial    wait-ctl-reply  1m0s   ip     192.0.2.1       192.0.2.3                     -         never  the peer does not answer
oslo            dial    idle            1m0s   ip     192.0.2.1       192.0.2.4                     -         never  the peer does not answer, again in 7s
bonn            accept  idle            1m0s   udp    192.0.2.1:1701  192.0.2.5                     -         never  -
branches        accept  template        1m0s   udp    192.0.2.1:1701  any                           -         never  -
branches:paris  accept  established     1m0s   udp    192.0.2.1:1701  [2001:db8::2]:40000           1500      0s     -
graz            accept  established     1m0s   udp    192.0.2.1:1701  192.0.2.6:1701                1500      0s     -

CONNECTION      HOST NAME  ROUTER ID  VENDOR    ID  PEER ID  DIGEST            WINDOW  SENT  AGAIN  RTT
paris           paris      192.0.2.2  Spanwire  11  12       sha1              128     7     1      0.5 ms
rome            -          -          -         41  -        sha1              -       1     3      -
branches:paris  paris      192.0.2.2  Spanwire  21  22       sha1              128     7     1      0.5 ms
graz            paris      192.0.2.2  Spanwire  31  32       sha1 (no secret)  128     7     1      0.5 ms

SESSION                    STATE        SINCE  ID  PEER ID  PSEUDOWIRE  JOINS             MTU   COOKIES  SUBLAYER  SEQUENCING  FRAMES IN  OCTETS IN  FRAMES OUT  OCTETS OUT
paris/office               established  1m0s   5   6        -           tap office0       1438  8/8      none      none        0          0          0           0
paris/lab                  established  1m0s   5   6        -           tap lab0          1438  8/8      none      none        0          0          0           0
paris/voice                idle         1m0s   -   -        -           tap voice0        1438  -        none      none        0          0          0           0
paris/shut                 down         1m0s   -   -        -           tap shut0         1438  -        none      none        0          0          0           0
branches:paris/any:office  established  1m0s   5   6        -           tap paris-office  1438  8/8      none      none        0          0          0           0

REFUSED       MESSAGES  LAST  FROM            WHICH MEANS
wrong_digest  12        3s    192.0.2.9:1701  the secrets differ
no_tunnel     1         1m0s  2001:db8::1     no tunnel is configured

paris/lab: the peer's circuit is inactive, standby: nothing is sent

paris/voice: closed by peer: result 4, again in 7s

hint: rome, oslo: the peer is down, cannot be reached, or refuses in silence, as where the secrets differ: its own status tells
`},
		{"segments", segmentStatus(now), `lyon: spanwire v1.2, pid 7, started 0s ago

TUNNEL  MODE  STATE        SINCE  ENCAP  LOCAL  PEER  PATH MTU  HEARD  LAST ERROR
paris   dial  established  0s     udp    -      -     -         never  -

CONNECTION  HOST NAME  ROUTER ID  VENDOR  ID  PEER ID  DIGEST  WINDOW  SENT  AGAIN  RTT
paris       -          -          -       11  -        -       -       0     0      -

SESSION       STATE        SINCE  ID  PEER ID  PSEUDOWIRE  JOINS                           MTU   COOKIES  SUBLAYER  SEQUENCING  FRAMES IN  OCTETS IN  FRAMES OUT  OCTETS OUT
paris/office  established  0s     5   6        ethernet    interface eth1 (down), vlan 42  1500  0/0      -         -           0          0          0           0

SERIAL  LINE        CARRIES      LMI            FRAMES IN  OCTETS IN  FRAMES OUT  OCTETS OUT
wan     unix:/a,/b  frame-relay  ansi dce down  0          0          0           0

HUB  PORT       JOINS                     MTU  GROUP    STATIONS  FRAMES IN  FLOODED  FRAMES OUT  DROPPED
lab  lan        interface eth2 (missing)  -    0        0         0          0        0           0
lab  paris/lab  session                   -    1 spoke  0         0          0        0           2

DROPPED             OF                           FRAMES
rx_other_vlan       hub lab port lan             3
in_lost             segment of hub lab port lan  4
split_horizon       hub lab port paris/lab       2
in_foreign          serial wan                   5
in_fr_unknown_dlci  serial wan                   6

paris/office: our circuit is inactive, interface eth1 (down), vlan 42: the peer sends nothing
`},
		{"users", userStatus(now), `lyon: spanwire v1.2, pid 7, started 0s ago

TUNNEL    MODE    STATE        SINCE  ENCAP       LOCAL           PEER            PATH MTU  HEARD  LAST ERROR
phones    accept  template     1m0s   udp L2TPv2  192.0.2.1:1701  any             -         never  -
phones#7  accept  established  1m0s   udp L2TPv2  192.0.2.1:1701  192.0.2.2:1701  1500      0s     -
head      dial    idle         1m0s   udp L2TPv2  -               192.0.2.4:1701  -         never  the peer does not answer, again in 7s

CONNECTION  HOST NAME  ROUTER ID  VENDOR  ID  PEER ID  DIGEST     WINDOW  SENT  AGAIN  RTT
phones#7    paris      -          xelerl  7   8        challenge  4       -     -      -

CALL        STATE        SINCE  WE ARE  ID  PEER ID  CALLED  CALLING    FRAMES IN  OCTETS IN  FRAMES OUT  OCTETS OUT
phones#7/1  established  1m0s   lns     5   6        100     "\x1b[2J"  9          900        10          1000
phones#7/2  established  1m0s   lns     15  16       -       -          0          0          0           0

PPP     MODE    TUN              MTU   LINKS  WERE UP  REFUSED  OCTETS IN  OCTETS OUT  POOLS
phones  lns     phones0          1456  2      3        4        500        600         ipv4 1/254, ipv6 1/65536
head    client  head0 (missing)  1400  0      0        0        0          0           -

LINK        USER           ADDRESS     PREFIXES                               SINCE  METHOD    ENCRYPTION  LCP       IPCP     IPV6CP   MTU   PACKETS IN  OCTETS IN  PACKETS OUT  OCTETS OUT
phones#7/1  alice          10.20.0.16  2001:db8:21::/64 2001:db8:22:100::/56  59s    mschapv2  mppe        Opened    Opened   Opened   1452  5           50         6            60
phones#7/2  "bo\x1b[31mb"  -           -                                      -      pap       none        Ack-Sent  Initial  Initial  1456  0           0          0            0

RADIUS  SERVER           FOR             STATE               SENT  ANSWERS  LOST  REFUSED
hq      192.0.2.10:1812  authentication  alive               7     6        1     0
hq      192.0.2.10:1813  accounting      dead, again in 50s  9     0        9     2
hq      2 sessions that are over are yet to be told, 1 go on

DROPPED      OF          FRAMES
rx_detached  phones#7/1  2
no_link      ppp phones  3
spoofed      ppp phones  4

phones#7/2: the call is up, and nothing has come by it: its data may be lost on the way, or the peer speaks no PPP

ppp phones: the last link that failed, 3s ago, peer 192.0.2.9:1701, user mallory: wrong password

ppp head: the last link that failed, 4s ago, peer 192.0.2.4:1701, user -: no answer to Configure-Request

hint: head: the peer is down, cannot be reached, or refuses in silence, as where the secrets differ: its own status tells
`},
		{"nothing", api.Status{Node: api.Node{Hostname: "lyon", Version: "v1.2", PID: 7, Started: now}}, `lyon: spanwire v1.2, pid 7, started 0s ago

TUNNEL  MODE  STATE  SINCE  ENCAP  LOCAL  PEER  PATH MTU  HEARD  LAST ERROR
`},
	} {
		var b bytes.Buffer
		if err := show(&b, &test.s, now); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(test.want, b.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
	var many api.Status
	for range 9 {
		many.Tunnels = append(many.Tunnels, api.Tunnel{Name: "t", Mode: "dial", State: "idle", LastError: unanswering})
	}
	var b bytes.Buffer
	if err := show(&b, &many, now); err != nil {
		t.Fatal(err)
	}
	if want := "hint: t, t, t, t, t, 4 more: the peer"; !strings.Contains(b.String(), want) {
		t.Errorf("%q is not in\n%s", want, &b)
	}
}

func TestStatusAsksDaemon(t *testing.T) {
	want := fakeStatus(time.Now().UTC().Truncate(time.Second))
	socket := filepath.Join(t.TempDir(), "lyon.sock")
	server, err := api.Listen(socket, api.Daemon{Status: func() api.Status { return want }})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go server.Serve()

	file := write(t, strings.Replace(goodFile, "CONTROL", socket, 1))
	for _, how := range [][]string{{"--control", socket}, {"-c", file}} {
		code, stdout, stderr := run(append([]string{"status", "--json"}, how...)...)
		if code != 0 || stderr != "" {
			t.Fatalf("status --json %v: exit code %d, stderr %q", how, code, stderr)
		}
		var got api.Status
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("status --json %v (-want +got):\n%s", how, d)
		}
	}
	code, stdout, stderr := run("status", "--control", socket)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "paris/office") {
		t.Errorf("status: exit code %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
}

func TestOnlySocket(t *testing.T) {
	dir := t.TempDir()
	touch := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := onlySocket(dir); err == nil || !strings.Contains(err.Error(), "no control socket in "+dir) {
		t.Errorf("no socket: %v", err)
	}
	lyon := touch("lyon.sock")
	touch("other")
	if got, err := onlySocket(dir); err != nil || got != lyon {
		t.Errorf("one socket: %q, %v, want %q", got, err, lyon)
	}
	rome := touch("rome.sock")
	if _, err := onlySocket(dir); err == nil || !strings.Contains(err.Error(), lyon+", "+rome) {
		t.Errorf("two sockets: %v, want both named", err)
	}
}
