package radius

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"layeh.com/radius/rfc2759"

	"spanwire/pseudowire/ppp/radius/freeradius"
)

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

func freeClient(t *testing.T, f *freeradius.Server) *Client {
	t.Helper()
	c, err := New(Config{
		Authentication: []Server{{Address: f.Authentication, Secret: NewSecret([]byte(freeradius.Secret)), Timeout: time.Second}},
		Accounting:     []Server{{Address: f.Accounting, Secret: NewSecret([]byte(freeradius.Secret)), Timeout: time.Second}},
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
	f := freeradius.Start(t, freeUsers)
	c := freeClient(t, f)
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
	if text := f.Log(); !strings.Contains(text, "Login OK") {
		t.Error("the server logged no login")
	}
}

// TestFreeRADIUSEAP is a peer of EAP-MD5, RFC 3748 section 5.4.
func TestFreeRADIUSEAP(t *testing.T) {
	c := freeClient(t, freeradius.Start(t, freeUsers))
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
	c := freeClient(t, freeradius.Start(t, freeUsers))
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
	f := freeradius.Start(t, freeUsers)
	c, err := New(Config{NASIdentifier: "lns", Authentication: []Server{
		{Address: f.Authentication, Secret: NewSecret([]byte("another")), Timeout: 100 * time.Millisecond, Tries: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Authenticate(context.Background(), Request{User: "alice", Credentials: PAP{[]byte("wonderland")}})
	if err == nil || strings.Contains(err.Error(), "another") || strings.Contains(err.Error(), hex.EncodeToString([]byte("another"))) {
		t.Errorf("error %v, want one, without the secret", err)
	}
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
		Clients: []DynamicClient{{netip.MustParseAddr("127.0.0.1"), NewSecret([]byte(freeradius.Secret))}},
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
		out := freeradius.Radclient(t, d.Address(), v.kind, freeradius.Secret, v.attributes)
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
		{freeradius.Secret, `User-Name = "alice", Event-Timestamp = ` + fmt.Sprint(time.Now().Unix()-1000), "No reply"},
	} {
		if out := freeradius.Radclient(t, d.Address(), "disconnect", v.secret, v.attributes); !strings.Contains(out, v.want) {
			t.Errorf("%s: got\n%s, want %s", v.attributes, out, v.want)
		}
	}
	got := d.Counts()
	if want := (DynamicCounts{Forged: 2, Stale: 2, ACK: 7, NAK: 10}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}
