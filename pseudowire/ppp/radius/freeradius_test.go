package radius

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"layeh.com/radius/rfc2759"
)

const freeSecret = "xyzzy5461"

// A freeRADIUS is a server of that make, with its files in a folder of its own.
type freeRADIUS struct {
	dir        string
	auth, acct netip.AddrPort
}

// freePort returns a port of UDP that was free just now.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

const freeConfig = `
prefix = /usr
libdir = /usr/lib/freeradius
logdir = DIR
raddbdir = DIR
radacctdir = DIR
run_dir = DIR
pidfile = DIR/pid
max_request_time = 10
cleanup_delay = 2
max_requests = 4096
hostname_lookups = no
proxy_requests = no
log {
	destination = files
	file = DIR/log
	auth = yes
}
security {
	max_attributes = 200
	reject_delay = 0
	status_server = no
	allow_vulnerable_openssl = yes
}
thread pool {
	start_servers = 2
	max_servers = 4
	min_spare_servers = 1
	max_spare_servers = 2
	max_requests_per_server = 0
}
client nas {
	ipaddr = 127.0.0.1
	secret = "SECRET"
	require_message_authenticator = yes
}
modules {
	pap {
	}
	chap {
	}
	mschap {
		use_mppe = yes
	}
	eap {
		default_eap_type = md5
		timer_expire = 60
		max_sessions = 4096
		md5 {
		}
		mschapv2 {
		}
	}
	files {
		usersfile = DIR/users
	}
	detail {
		filename = DIR/detail
	}
}
server default {
	listen {
		type = auth
		ipaddr = 127.0.0.1
		port = AUTH
	}
	listen {
		type = acct
		ipaddr = 127.0.0.1
		port = ACCT
	}
	authorize {
		chap
		mschap
		eap {
			ok = return
		}
		files
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
		Auth-Type CHAP {
			chap
		}
		Auth-Type MS-CHAP {
			mschap
		}
		eap
	}
	post-auth {
		update reply {
			Message-Authenticator = 0x00
		}
		Post-Auth-Type REJECT {
			update reply {
				Message-Authenticator = 0x00
			}
		}
	}
	preacct {
	}
	accounting {
		detail
	}
}
`

const freeUsers = `
alice	Cleartext-Password := "wonderland"
	Service-Type = Framed-User,
	Framed-Protocol = PPP,
	Framed-IP-Address = 203.0.113.7,
	Framed-IP-Netmask = 255.255.255.255,
	Framed-Route = "192.0.2.0/25 0.0.0.0 1",
	Framed-Route += "198.51.100.0/24",
	Framed-IPv6-Prefix = 2001:db8:7::/64,
	Delegated-IPv6-Prefix = 2001:db8:700::/56,
	Framed-IPv6-Route = "2001:db8:77::/48 :: 1",
	Framed-Interface-Id = 0:0:0:7,
	MS-Primary-DNS-Server = 192.0.2.53,
	MS-Secondary-DNS-Server = 192.0.2.54,
	Session-Timeout = 3600,
	Idle-Timeout = 600,
	Acct-Interim-Interval = 300,
	Class = "gold",
	Class += "silver",
	Filter-Id = "web",
	Framed-MTU = 1400,
	Reply-Message = "Welcome, Alice"

bob	Cleartext-Password := "builder"
	Framed-IP-Address = 255.255.255.254,
	Framed-Pool = "homes",
	Framed-IPv6-Pool = "links",
	Delegated-IPv6-Prefix-Pool = "sites"

carol	Cleartext-Password := "login"
	Service-Type = Login-User

DEFAULT	Auth-Type := Reject
	Reply-Message = "Who are you?"
`

func startFreeRADIUS(t *testing.T) *freeRADIUS {
	t.Helper()
	program, err := exec.LookPath("freeradius")
	if err != nil {
		t.Fatalf("freeradius is missing (make test-packages installs it): %v", err)
	}
	f := &freeRADIUS{dir: t.TempDir()}
	f.auth, f.acct = freePort(t), freePort(t)
	f.write(t, "radiusd.conf", strings.NewReplacer("DIR", f.dir, "SECRET", freeSecret,
		"AUTH", fmt.Sprint(f.auth.Port()), "ACCT", fmt.Sprint(f.acct.Port())).Replace(freeConfig))
	f.write(t, "users", freeUsers)
	f.write(t, "dictionary", "$INCLUDE /usr/share/freeradius/dictionary\n")
	cmd := exec.Command(program, "-f", "-d", f.dir, "-D", f.dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the server's log:\n%s", f.read("log"))
		}
	})
	for !strings.Contains(f.read("log"), "Ready to process requests") {
		select {
		case <-ended:
			t.Fatal("freeradius ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return f
}

func (f *freeRADIUS) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *freeRADIUS) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(f.dir, name))
	return string(text)
}

func (f *freeRADIUS) client(t *testing.T) *Client {
	t.Helper()
	c, err := New(Config{
		Authentication: []Server{{Address: f.auth, Secret: NewSecret([]byte(freeSecret)), Timeout: time.Second}},
		Accounting:     []Server{{Address: f.acct, Secret: NewSecret([]byte(freeSecret)), Timeout: time.Second}},
		NASIdentifier:  "lns.example", NASAddress: netip.MustParseAddr("192.0.2.1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var port = Port{
	Number: 7, ID: "tunnel 3 session 7", CalledStationID: "5551234", CallingStationID: "5556789", ConnectInfo: "100000000", MTU: 1460,
	Tunnel: Tunnel{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), "lac", "lns", "3", "81"},
}

func ask(t *testing.T, c *Client, user string, m Credentials) Answer {
	t.Helper()
	a, err := c.Authenticate(context.Background(), Request{User: user, Credentials: m, SessionID: c.NewSessionID(), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func chap(password string) CHAP {
	m := CHAP{ID: 5, Challenge: make([]byte, 24)}
	rand.Read(m.Challenge)
	m.Response = md5.Sum(append(append([]byte{m.ID}, password...), m.Challenge...))
	return m
}

// mschap returns a response, and the Success that it shall have.
func mschap(user, password string) (m MSCHAPv2, want string) {
	m.ID = 9
	rand.Read(m.Challenge[:])
	rand.Read(m.Response[:16])
	response, err := rfc2759.GenerateNTResponse(m.Challenge[:], m.Response[:16], []byte(user), []byte(password))
	if err != nil {
		panic(err)
	}
	copy(m.Response[24:], response)
	want, err = rfc2759.GenerateAuthenticatorResponse(m.Challenge[:], m.Response[:16], response, []byte(user), []byte(password))
	if err != nil {
		panic(err)
	}
	return m, want
}

var alices = Service{
	Address: netip.MustParseAddr("203.0.113.7"), Netmask: netip.MustParseAddr("255.255.255.255"),
	Routes: []Route{
		{Prefix: netip.MustParsePrefix("192.0.2.0/25"), Metric: 1},
		{Prefix: netip.MustParsePrefix("198.51.100.0/24")},
		{Prefix: netip.MustParsePrefix("2001:db8:77::/48"), Metric: 1},
	},
	IPv6Prefix: netip.MustParsePrefix("2001:db8:7::/64"), Delegated: netip.MustParsePrefix("2001:db8:700::/56"), InterfaceID: 7,
	DNS:            []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")},
	SessionTimeout: time.Hour, IdleTimeout: 10 * time.Minute, Interim: 5 * time.Minute,
	Class: [][]byte{[]byte("gold"), []byte("silver")}, FilterID: []string{"web"}, MTU: 1400,
}

func TestFreeRADIUS(t *testing.T) {
	f := startFreeRADIUS(t)
	c := f.client(t)
	goodMSCHAP, success := mschap("alice", "wonderland")
	badMSCHAP, _ := mschap("alice", "wrong")
	for _, v := range []struct {
		name, user string
		m          Credentials
		want       Result
	}{
		{"PAP", "alice", PAP{[]byte("wonderland")}, Accept},
		{"PAP, wrong", "alice", PAP{[]byte("Wonderland")}, Reject},
		{"PAP, long", "alice", PAP{bytes.Repeat([]byte("x"), 128)}, Reject},
		{"PAP, empty", "alice", PAP{}, Reject},
		{"CHAP", "alice", chap("wonderland"), Accept},
		{"CHAP, wrong", "alice", chap("wrong"), Reject},
		{"MS-CHAPv2", "alice", goodMSCHAP, Accept},
		{"MS-CHAPv2, wrong", "alice", badMSCHAP, Reject},
		{"unknown", "mallory", PAP{[]byte("x")}, Reject},
		{"a login is no PPP", "carol", PAP{[]byte("login")}, Reject},
	} {
		a := ask(t, c, v.user, v.m)
		if a.Result != v.want {
			t.Errorf("%s: %v %q, want %v", v.name, a.Result, a.Problem, v.want)
			continue
		}
		switch _, ms := v.m.(MSCHAPv2); {
		case v.want == Reject && !reflect.DeepEqual(a.Service, Service{}):
			t.Errorf("%s: %+v with a Reject, want nothing", v.name, a.Service)
		case v.want == Reject && ms && !strings.HasPrefix(a.MSCHAPError, "E=691"):
			t.Errorf("%s: error %q, want one that begins with E=691", v.name, a.MSCHAPError)
		case v.want == Reject:
		case !reflect.DeepEqual(a.Service, alices):
			t.Errorf("%s: got\n%+v, want\n%+v", v.name, a.Service, alices)
		case fmt.Sprint(a.Message) != "[Welcome, Alice]":
			t.Errorf("%s: message %q", v.name, a.Message)
		case ms && a.MSCHAP2Success != success:
			t.Errorf("%s: success %q, want %q", v.name, a.MSCHAP2Success, success)
		case ms && (len(a.MPPE.SendKey.Octets()) != 16 || len(a.MPPE.RecvKey.Octets()) != 16 || a.MPPE.Policy == 0):
			t.Errorf("%s: keys of %d and %d octets and policy %d, want 16, 16, and one", v.name, len(a.MPPE.SendKey.Octets()), len(a.MPPE.RecvKey.Octets()), a.MPPE.Policy)
		}
	}
	a := ask(t, c, "bob", chap("builder"))
	if want := (Service{NASAddress: true, Pool: "homes", IPv6Pool: "links", DelegatedPool: "sites"}); a.Result != Accept || !reflect.DeepEqual(a.Service, want) {
		t.Errorf("bob: %v %+v, want %+v", a.Result, a.Service, want)
	}
	if a := ask(t, c, "carol", PAP{[]byte("login")}); !strings.Contains(a.Problem, "Service-Type 1") {
		t.Errorf("carol: problem %q, want one of Service-Type 1", a.Problem)
	}
	for _, s := range c.Servers() {
		if s.Lost+s.Forged+s.Malformed > 0 || !s.DeadUntil.IsZero() {
			t.Errorf("status %+v, want no trouble", s)
		}
	}
	if text := f.read("log"); !strings.Contains(text, "Login OK") {
		t.Error("the server logged no login")
	}
}

// TestFreeRADIUSEAP is a peer of EAP-MD5, RFC 3748 section 5.4.
func TestFreeRADIUSEAP(t *testing.T) {
	c := startFreeRADIUS(t).client(t)
	login := func(password string) Answer {
		r := Request{User: "alice", SessionID: c.NewSessionID(), Port: port}
		r.Credentials = EAP{eap(2, 1, 1, []byte("alice"))}
		a, err := c.Authenticate(context.Background(), r)
		if err != nil || a.Result != Challenge || len(a.EAP) < 22 || a.EAP[4] != 4 {
			t.Fatalf("to the identity: %v, %v %q %x, want a challenge of MD5", err, a.Result, a.Problem, a.EAP)
		}
		sum := md5.Sum(append(append([]byte{a.EAP[1]}, password...), a.EAP[6:6+a.EAP[5]]...))
		r.Credentials, r.State = EAP{eap(2, a.EAP[1], 4, append([]byte{16}, sum[:]...))}, a.State
		a, err = c.Authenticate(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := login("wonderland"); a.Result != Accept || len(a.EAP) != 4 || a.EAP[0] != eapSuccess || a.Service.Address != alices.Address {
		t.Errorf("%v %q %x, want Access-Accept with EAP-Success", a.Result, a.Problem, a.EAP)
	}
	if a := login("wrong"); a.Result != Reject || len(a.EAP) != 4 || a.EAP[0] != eapFailure {
		t.Errorf("%v %q %x, want Access-Reject with EAP-Failure", a.Result, a.Problem, a.EAP)
	}
}

// TestFreeRADIUSEAPMSCHAPv2 is a peer that refuses MD5 and shows MS-CHAPv2 in EAP.
func TestFreeRADIUSEAPMSCHAPv2(t *testing.T) {
	c := startFreeRADIUS(t).client(t)
	r := Request{User: "alice", SessionID: c.NewSessionID(), Port: port}
	var a Answer
	say := func(b []byte, want Result) {
		t.Helper()
		r.Credentials, r.State = EAP{b}, a.State
		var err error
		if a, err = c.Authenticate(context.Background(), r); err != nil || a.Result != want {
			t.Fatalf("%v, %v %q, want %v", err, a.Result, a.Problem, want)
		}
	}
	say(eap(2, 1, 1, []byte("alice")), Challenge)
	say(eap(2, a.EAP[1], 3, []byte{26}), Challenge) // Nak, want EAP-MSCHAPv2
	if len(a.EAP) < 26 || a.EAP[4] != 26 || a.EAP[5] != 1 {
		t.Fatalf("%x, want a challenge of EAP-MSCHAPv2", a.EAP)
	}
	var m [49]byte
	rand.Read(m[:16])
	response, err := rfc2759.GenerateNTResponse(a.EAP[10:26], m[:16], []byte("alice"), []byte("wonderland"))
	if err != nil {
		t.Fatal(err)
	}
	copy(m[24:], response)
	value := append([]byte{2, a.EAP[6], 0, 4 + 1 + 49 + 5, 49}, m[:]...)
	say(eap(2, a.EAP[1], 26, append(value, "alice"...)), Challenge)
	if len(a.EAP) < 6 || a.EAP[5] != 3 {
		t.Fatalf("%x, want a success of EAP-MSCHAPv2", a.EAP)
	}
	say(eap(2, a.EAP[1], 26, []byte{3}), Accept)
	if len(a.MPPE.SendKey.Octets()) == 0 || a.EAP[0] != eapSuccess {
		t.Errorf("%d octets of key with %x, want some with EAP-Success", len(a.MPPE.SendKey.Octets()), a.EAP)
	}
}

func eap(code, id, kind byte, data []byte) []byte {
	return append([]byte{code, id, 0, byte(5 + len(data)), kind}, data...)
}

func TestFreeRADIUSWrongSecret(t *testing.T) {
	f := startFreeRADIUS(t)
	c, err := New(Config{NASIdentifier: "lns", Authentication: []Server{
		{Address: f.auth, Secret: NewSecret([]byte("another")), Timeout: 100 * time.Millisecond, Tries: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Authenticate(context.Background(), Request{User: "alice", Credentials: PAP{[]byte("wonderland")}})
	if err == nil || strings.Contains(err.Error(), "another") || strings.Contains(err.Error(), hex.EncodeToString([]byte("another"))) {
		t.Errorf("error %v, want one, without the secret", err)
	}
}

// radclient sends a request as FreeRADIUS's own client does, and returns what that
// printed.
func radclient(t *testing.T, to netip.AddrPort, kind, secret, attributes string) string {
	t.Helper()
	cmd := exec.Command("radclient", "-x", "-r", "2", "-t", "1", to.String(), kind, secret)
	cmd.Stdin = strings.NewReader(attributes)
	out, err := cmd.CombinedOutput()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatalf("radclient (make test-packages installs it): %v", err)
	}
	return string(out)
}

func TestRadclient(t *testing.T) {
	c, err := New(Config{NASIdentifier: "lns", NASAddress: netip.MustParseAddr("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	sessions := []*Session{
		{ID: "a1", User: "alice", Address: netip.MustParseAddr("203.0.113.7")},
		{ID: "a2", User: "alice", Address: netip.MustParseAddr("203.0.113.8")},
	}
	var mu sync.Mutex
	var last Order
	var met []string
	d, err := c.ListenDynamic(DynamicConfig{
		Listen:  netip.MustParseAddrPort("127.0.0.1:0"),
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Clients: []DynamicClient{{netip.MustParseAddr("127.0.0.1"), NewSecret([]byte(freeSecret))}},
	}, func(_ context.Context, o Order) ErrorCause {
		mu.Lock()
		defer mu.Unlock()
		last, met = o, nil
		for _, s := range sessions {
			if o.Match.Matches(s) {
				met = append(met, s.ID)
			}
		}
		if met == nil {
			return SessionContextNotFound
		}
		return 0
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, v := range []struct{ kind, attributes, want, met string }{
		{"disconnect", `User-Name = "alice"`, "Received Disconnect-ACK", "[a1 a2]"},
		{"disconnect", `Acct-Session-Id = "a2"`, "Acct-Terminate-Cause = Admin-Reset", "[a2]"},
		{"disconnect", `User-Name = "alice", Framed-IP-Address = 203.0.113.7, NAS-IP-Address = 192.0.2.1, NAS-Identifier = "lns"`, "Received Disconnect-ACK", "[a1]"},
		{"disconnect", `User-Name = "alice", Message-Authenticator = 0x00, Proxy-State = 0x0102`, "Proxy-State = 0x0102", "[a1 a2]"},
		{"disconnect", `User-Name = "alice", Event-Timestamp = ` + fmt.Sprint(time.Now().Unix()), "Received Disconnect-ACK", "[a1 a2]"},
		{"disconnect", `User-Name = "bob"`, "Error-Cause = Session-Context-Not-Found", "[]"},
		{"disconnect", `NAS-Identifier = "lns"`, "Error-Cause = Missing-Attribute", ""},
		{"disconnect", `User-Name = "alice", NAS-Identifier = "other"`, "Error-Cause = NAS-Identification-Mismatch", ""},
		{"disconnect", `User-Name = "alice", NAS-IP-Address = 192.0.2.9`, "Error-Cause = NAS-Identification-Mismatch", ""},
		{"disconnect", `User-Name = "alice", Session-Timeout = 5`, "Error-Cause = Unsupported-Attribute", ""},
		{"disconnect", `User-Name = "alice", Service-Type = Authorize-Only`, "Error-Cause = Unsupported-Service", ""},
		{"disconnect", `User-Name = "alice", User-Name = "bob"`, "Error-Cause = Invalid-Attribute-Value", ""},
		{"coa", `Acct-Session-Id = "a1", Session-Timeout = 60, Idle-Timeout = 0, Acct-Interim-Interval = 120, Class = "x", State = 0x07`, "Received CoA-ACK", "[a1]"},
		{"coa", `Acct-Session-Id = "a1", State = 0x07, Idle-Timeout = 5`, "State = 0x07", "[a1]"},
		{"coa", `Acct-Session-Id = "a1"`, "Error-Cause = Missing-Attribute", ""},
		{"coa", `Acct-Session-Id = "a1", Framed-Pool = "x"`, "Error-Cause = Unsupported-Attribute", ""},
		{"coa", `User-Name = "bob", Session-Timeout = 60`, "Received CoA-NAK", "[]"},
	} {
		mu.Lock()
		last, met = Order{}, nil
		mu.Unlock()
		out := radclient(t, d.Address(), v.kind, freeSecret, v.attributes)
		mu.Lock()
		if !strings.Contains(out, v.want) || v.met != "" && fmt.Sprint(met) != v.met || v.met == "" && last.From.IsValid() {
			t.Errorf("%s %s: met %v, want %q %v in\n%s", v.kind, v.attributes, met, v.want, v.met, out)
		}
		if strings.Contains(v.attributes, "Idle-Timeout = 0") {
			if o := last.Change; o == nil || *o.SessionTimeout != time.Minute || *o.IdleTimeout != 0 || *o.Interim != 2*time.Minute || string(o.Class[0]) != "x" {
				t.Errorf("change %+v", o)
			}
		}
		mu.Unlock()
	}
	for _, v := range []struct{ secret, attributes, want string }{
		{"wrong", `User-Name = "alice"`, "No reply"},
		{freeSecret, `User-Name = "alice", Event-Timestamp = ` + fmt.Sprint(time.Now().Unix()-1000), "No reply"},
	} {
		if out := radclient(t, d.Address(), "disconnect", v.secret, v.attributes); !strings.Contains(out, v.want) {
			t.Errorf("%s: got\n%s, want %s", v.attributes, out, v.want)
		}
	}
	got := d.Counts()
	if want := (DynamicCounts{Forged: 2, Stale: 2, ACK: 7, NAK: 10}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}
