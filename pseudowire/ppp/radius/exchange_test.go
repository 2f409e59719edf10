package radius

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	layeh "layeh.com/radius"

	"spanwire/pseudowire/ppp/radius/freeradius"
)

const fakeSecret = "a fake's secret"

// A fake is a server that answers as a test has it.
type fake struct {
	Server
	asked atomic.Int64
}

// newFake answers each request, of which n is the count from 1, with datagrams.
func newFake(t *testing.T, answer func(n int, request *layeh.Packet) [][]byte) *fake {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f := &fake{Server: Server{Address: netip.MustParseAddrPort(conn.LocalAddr().String()), Secret: NewSecret([]byte(fakeSecret)), Timeout: 50 * time.Millisecond}}
	go func() {
		for b := make([]byte, 4096); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			p, err := layeh.Parse(slices.Clone(b[:n]), []byte(fakeSecret))
			if err != nil {
				t.Error(err)
				return
			}
			for _, b := range answer(int(f.asked.Add(1)), p) {
				conn.WriteTo(b, from)
			}
		}
	}()
	return f
}

// accepting returns an Accept of a request that is right in all.
func accepting(request *layeh.Packet, more ...*layeh.AVP) []byte {
	p := request.Response(layeh.CodeAccessAccept)
	p.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
	p.Attributes = append(p.Attributes, more...)
	return must(seal(p))
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func accept(_ int, request *layeh.Packet) [][]byte { return [][]byte{accepting(request)} }
func silence(int, *layeh.Packet) [][]byte          { return nil }

func newClient(t *testing.T, cfg Config, fakes ...*fake) *Client {
	t.Helper()
	cfg.NASIdentifier = "lns"
	for _, f := range fakes {
		cfg.Authentication = append(cfg.Authentication, f.Server)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var alice = Request{User: "alice", Credentials: PAP{[]byte("wonderland")}}

func authenticate(t *testing.T, c *Client) netip.AddrPort {
	t.Helper()
	a, err := c.Authenticate(context.Background(), alice)
	if err != nil {
		t.Fatal(err)
	}
	if a.Result != Accept {
		t.Fatalf("%v %q, want Access-Accept", a.Result, a.Problem)
	}
	return a.Server
}

func TestFailover(t *testing.T) {
	var up atomic.Bool
	first := newFake(t, func(_ int, r *layeh.Packet) [][]byte {
		if up.Load() {
			return accept(0, r)
		}
		return nil
	})
	second := newFake(t, accept)
	second.Timeout = 10 * time.Second
	c := newClient(t, Config{DeadTime: time.Hour}, first, second)
	for range 3 {
		if got := authenticate(t, c); got != second.Address {
			t.Errorf("answered by %v, want the second", got)
		}
	}
	if n := c.Servers()[0].Sent; n != 3 {
		t.Errorf("the first was asked %d times, want 3, then none while it is dead", n)
	}
	if s := c.Servers()[0]; s.DeadUntil.IsZero() || s.Lost != 3 {
		t.Errorf("first: %+v, want it dead", s)
	}
	// Its time comes, and it is still silent: one request finds out.
	revive := func() {
		c.authentication[0].mu.Lock()
		c.authentication[0].dead = time.Now()
		c.authentication[0].mu.Unlock()
	}
	revive()
	authenticate(t, c)
	authenticate(t, c)
	if n := c.Servers()[0].Sent; n != 6 {
		t.Errorf("the first was asked %d times, want 6: one probed it", n)
	}
	up.Store(true)
	revive()
	for range 2 {
		c.authentication[0].Timeout = 10 * time.Second
		if got := authenticate(t, c); got != first.Address {
			t.Errorf("answered by %v, want the first, which is back", got)
		}
	}
}

// TestDeadIsAsked has no other server than a dead one.
func TestDeadIsAsked(t *testing.T) {
	f := newFake(t, func(n int, r *layeh.Packet) [][]byte {
		if n <= 3 {
			return nil
		}
		return accept(0, r)
	})
	c := newClient(t, Config{DeadTime: time.Hour}, f)
	if _, err := c.Authenticate(context.Background(), alice); err == nil || !strings.Contains(err.Error(), "silent for 3 × 50ms") {
		t.Errorf("error %v, want that it is silent", err)
	}
	c.authentication[0].Timeout = 10 * time.Second
	authenticate(t, c)
}

func TestLostAnswer(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]int)
	f := newFake(t, func(n int, r *layeh.Packet) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		seen[fmt.Sprint(r.Identifier, r.Authenticator)]++
		if n < 3 {
			return nil
		}
		return accept(0, r)
	})
	f.Tries = 100
	c := newClient(t, Config{}, f)
	authenticate(t, c)
	mu.Lock()
	defer mu.Unlock()
	// RFC 2865 section 2.5: a retransmission is the same, that it may be told.
	if len(seen) != 1 {
		t.Errorf("%d different requests, want one, sent again and again", len(seen))
	}
	if s := c.Servers()[0]; s.Lost < 2 || s.Answers != 1 || !s.DeadUntil.IsZero() {
		t.Errorf("%+v, want 2 or more lost, 1 answer", s)
	}
}

func TestRefused(t *testing.T) {
	nobody := &fake{Server: Server{Address: freeradius.FreePort(t), Secret: NewSecret([]byte("x")), Timeout: time.Hour}}
	c := newClient(t, Config{}, nobody, newFake(t, accept))
	authenticate(t, c) // in less than an hour
}

func TestForged(t *testing.T) {
	signed := func(p *layeh.Packet) []byte { return must(p.Encode()) } // without Message-Authenticator
	for _, v := range []struct {
		name string
		bad  func(r *layeh.Packet) []byte
		want string
	}{
		// As who forges an MD5 could make an Accept of a Reject: CVE-2024-3596.
		{"no Message-Authenticator", func(r *layeh.Packet) []byte { return signed(r.Response(layeh.CodeAccessAccept)) }, "without Message-Authenticator"},
		{"wrong Message-Authenticator", func(r *layeh.Packet) []byte {
			p := r.Response(layeh.CodeAccessAccept)
			p.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
			return signed(p)
		}, "wrong Message-Authenticator"},
		{"two Message-Authenticators", func(r *layeh.Packet) []byte {
			p := r.Response(layeh.CodeAccessAccept)
			p.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
			p.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
			return must(seal(p))
		}, "wrong Message-Authenticator"},
		{"short Message-Authenticator", func(r *layeh.Packet) []byte {
			p := r.Response(layeh.CodeAccessAccept)
			p.Add(attrMessageAuthenticator, make(layeh.Attribute, 15))
			return signed(p)
		}, "wrong Message-Authenticator"},
		{"wrong secret", func(r *layeh.Packet) []byte {
			q := *r
			q.Secret = []byte("another")
			return accepting(&q)
		}, "right secret"},
		{"one bit", func(r *layeh.Packet) []byte {
			b := accepting(r)
			b[len(b)-1] ^= 1
			return b
		}, "right secret"},
		{"other Identifier", func(r *layeh.Packet) []byte {
			q := *r
			q.Identifier++
			return accepting(&q)
		}, "not to this request"},
		{"other code", func(r *layeh.Packet) []byte { return signed(r.Response(layeh.CodeAccountingResponse)) }, "not to this request"},
		{"the request itself", func(r *layeh.Packet) []byte { return must(r.Encode()) }, "not to this request"},
		{"empty", func(*layeh.Packet) []byte { return []byte{} }, "length"},
		{"cut", func(r *layeh.Packet) []byte { b := accepting(r); return b[:len(b)-1] }, "length"},
		{"attributes that overrun", func(r *layeh.Packet) []byte {
			b := accepting(r)
			b[21]++
			sign(b, r)
			return b
		}, "malformed"},
		{"an attribute of length 0", func(r *layeh.Packet) []byte {
			b := accepting(r, &layeh.AVP{Type: attrReplyMessage, Attribute: layeh.Attribute("x")})
			b[len(b)-2] = 0
			sign(b, r)
			return b
		}, "malformed"},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(n int, r *layeh.Packet) [][]byte {
				if n < 3 {
					return [][]byte{v.bad(r), v.bad(r)}
				}
				return [][]byte{v.bad(r), accepting(r)}
			})
			f.Tries = 100
			authenticate(t, newClient(t, Config{}, f)) // the one that is right counts
			f = newFake(t, func(_ int, r *layeh.Packet) [][]byte { return [][]byte{v.bad(r)} })
			f.Timeout, f.Tries = 200*time.Millisecond, 2
			c := newClient(t, Config{}, f)
			_, err := c.Authenticate(context.Background(), alice)
			if err == nil || !strings.Contains(err.Error(), v.want) || !strings.Contains(err.Error(), " dropped: ") || strings.Contains(err.Error(), fakeSecret) {
				t.Errorf("error %v, want some dropped: %s", err, v.want)
			}
			if s := c.Servers()[0]; s.Forged+s.Malformed == 0 || s.Answers > 0 {
				t.Errorf("%+v, want some forged or malformed, and no answer", s)
			}
		})
	}
}

// sign makes a changed answer authentic but for its Message-Authenticator.
func sign(b []byte, r *layeh.Packet) {
	copy(b[4:20], r.Authenticator[:])
	sum := md5.Sum(append(slices.Clone(b), fakeSecret...))
	copy(b[4:20], sum[:])
}

// TestFlood drowns the one right answer in wrong ones.
func TestFlood(t *testing.T) {
	f := newFake(t, func(_ int, r *layeh.Packet) (all [][]byte) {
		for range 50 {
			b := accepting(r)
			b[10] ^= 0xff
			all = append(all, b)
		}
		return append(all, append(accepting(r), "padding, which is ignored"...))
	})
	f.Timeout = 10 * time.Second
	authenticate(t, newClient(t, Config{}, f))
}

func TestBounds(t *testing.T) {
	hold := make(chan struct{})
	f := newFake(t, func(n int, r *layeh.Packet) [][]byte {
		if n == 1 {
			<-hold
		}
		return accept(0, r)
	})
	f.Timeout = 10 * time.Second
	c := newClient(t, Config{Concurrent: 1, Waiting: 2}, f)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() { authenticate(t, c) })
	}
	for len(c.slots) < 1 || c.waiting.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	if _, err := c.Authenticate(context.Background(), alice); err != ErrBusy {
		t.Errorf("error %v, want ErrBusy", err)
	}
	close(hold)
	group.Wait()
	if len(c.slots) != 0 || c.waiting.Load() != 0 {
		t.Errorf("%d under way, %d wait, want none", len(c.slots), c.waiting.Load())
	}
}

func TestGivenUp(t *testing.T) {
	f := newFake(t, silence)
	f.Timeout = time.Hour
	c := newClient(t, Config{}, f)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Authenticate(ctx, alice); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("error %v, want that of the context", err)
	}
	if s := c.Servers()[0]; !s.DeadUntil.IsZero() {
		t.Error("the server is held for dead, though it had no time")
	}
}

func TestState(t *testing.T) {
	challenge := func(n int, r *layeh.Packet) [][]byte {
		if r.Get(attrState) != nil {
			return [][]byte{accepting(r, &layeh.AVP{Type: attrEAPMessage, Attribute: layeh.Attribute{3, 2, 0, 4}})}
		}
		p := r.Response(layeh.CodeAccessChallenge)
		p.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
		p.Add(attrState, layeh.Attribute("state"))
		for range 2 { // an EAP packet of two attributes
			p.Add(attrEAPMessage, bytes.Repeat([]byte{1}, 253))
		}
		return [][]byte{must(seal(p))}
	}
	first, second := newFake(t, silence), newFake(t, challenge)
	second.Timeout = 10 * time.Second
	c := newClient(t, Config{}, first, second)
	r := Request{User: "alice", Credentials: EAP{bytes.Repeat([]byte{2}, 600)}}
	a, err := c.Authenticate(context.Background(), r)
	if err != nil || a.Result != Challenge || len(a.EAP) != 506 {
		t.Fatalf("%v, %v, EAP of %d octets, want a challenge of 506", err, a.Result, len(a.EAP))
	}
	c.authentication[0].dead = time.Time{} // the other is preferred again
	r.State = a.State
	if a, err = c.Authenticate(context.Background(), r); err != nil || a.Result != Accept || a.Server != second.Address {
		t.Errorf("%v, %v from %v, want an Accept from who has the state", err, a.Result, a.Server)
	}
	// Without EAP, a challenge is a reject.
	if a, err = c.Authenticate(context.Background(), alice); err != nil || a.Result != Reject || a.Problem == "" {
		t.Errorf("%v, %v, want a Reject with a problem", err, a.Result)
	}
}

// TestMalformedAccept wants what has an attribute that is not as it must be as a
// reject, with nothing of it used.
func TestMalformedAccept(t *testing.T) {
	ms := func(t byte, v ...byte) layeh.Attribute {
		b := binary.BigEndian.AppendUint32(nil, microsoft)
		return append(append(b, t, byte(2+len(v))), v...)
	}
	for _, v := range []layeh.AVP{
		{Type: attrFramedIPAddress, Attribute: layeh.Attribute{1, 2, 3}},
		{Type: attrFramedIPNetmask, Attribute: layeh.Attribute{1, 2, 3, 4, 5}},
		{Type: attrServiceType, Attribute: layeh.NewInteger(1)},
		{Type: attrServiceType, Attribute: layeh.Attribute{2}},
		{Type: attrFramedProtocol, Attribute: layeh.NewInteger(2)},
		{Type: attrFramedMTU, Attribute: layeh.NewInteger(63)},
		{Type: attrFramedMTU, Attribute: layeh.NewInteger(65536 + 1500)},
		{Type: attrSessionTimeout, Attribute: nil},
		{Type: attrAcctInterimInterval, Attribute: layeh.Attribute{1}},
		{Type: attrFramedIPv6Prefix, Attribute: layeh.Attribute{0, 64, 0x20}},
		{Type: attrFramedIPv6Prefix, Attribute: layeh.Attribute{0, 129}},
		{Type: attrFramedIPv6Prefix, Attribute: layeh.Attribute{0, 8, 0x20, 1}},
		{Type: attrDelegatedIPv6Prefix, Attribute: make(layeh.Attribute, 19)},
		{Type: attrFramedInterfaceID, Attribute: make(layeh.Attribute, 7)},
		{Type: attrDNSServerIPv6Address, Attribute: make(layeh.Attribute, 4)},
		{Type: attrFramedRoute, Attribute: layeh.Attribute("nonsense")},
		{Type: attrFramedRoute, Attribute: layeh.Attribute("2001:db8::/32")},
		{Type: attrVendorSpecific, Attribute: layeh.Attribute{0, 0, 1}},
		{Type: attrVendorSpecific, Attribute: ms(msPrimaryDNSServer, 1, 2, 3)},
		{Type: attrVendorSpecific, Attribute: ms(msMPPESendKey, make([]byte, 18)...)},
		{Type: attrVendorSpecific, Attribute: append(ms(msPrimaryDNSServer, 1, 2, 3, 4), 1, 0)},
		{Type: attrVendorSpecific, Attribute: append(ms(msPrimaryDNSServer, 1, 2, 3, 4), 1)},
	} {
		f := newFake(t, func(_ int, r *layeh.Packet) [][]byte {
			return [][]byte{accepting(r, &v, &layeh.AVP{Type: attrFramedPool, Attribute: layeh.Attribute("pool")})}
		})
		f.Timeout = 10 * time.Second
		a, err := newClient(t, Config{}, f).Authenticate(context.Background(), alice)
		if err != nil || a.Result != Reject || a.Problem == "" || a.Service.Pool != "" {
			t.Errorf("attribute %d %x: %v, %+v, want a Reject", v.Type, v.Attribute, err, a)
		}
	}
	// Those of other vendors, and unknown ones, are no trouble.
	f := newFake(t, func(_ int, r *layeh.Packet) [][]byte {
		return [][]byte{accepting(r, &layeh.AVP{Type: attrVendorSpecific, Attribute: layeh.Attribute{0, 0, 0, 9, 0xff}}, &layeh.AVP{Type: 250, Attribute: layeh.Attribute{1}})}
	})
	f.Timeout = 10 * time.Second
	authenticate(t, newClient(t, Config{}, f))
}

func TestMSCHAPAnswer(t *testing.T) {
	m, _ := mschap("alice", "x")
	good := "S=" + strings.Repeat("0A", 20)
	for _, v := range []struct{ success, err, wantSuccess, wantErr string }{
		{"\x09" + good, "", good, ""},
		{"\x09" + good + " M=hello", "", good + " M=hello", ""},
		{"\x08" + good, "", "", ""},
		{good, "", "", ""},
		{"\x09" + strings.ToLower(good), "", "", ""},
		{"", "", "", ""},
		{"", "\x09E=691 R=1 C=00 V=3\x00", "", "E=691 R=1 C=00 V=3"},
		{"", "E=691 R=1", "", "E=691 R=1"},
		{"", "\x09nonsense", "", ""},
	} {
		f := newFake(t, func(_ int, r *layeh.Packet) [][]byte {
			p := r.Response(layeh.CodeAccessAccept)
			p.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
			if v.success != "" {
				addMicrosoft(p, msCHAP2Success, []byte(v.success))
			}
			if v.err != "" {
				p.Code = layeh.CodeAccessReject
				addMicrosoft(p, msCHAPError, []byte(v.err))
			}
			return [][]byte{must(seal(p))}
		})
		f.Timeout = 10 * time.Second
		a, err := newClient(t, Config{}, f).Authenticate(context.Background(), Request{User: "alice", Credentials: m})
		if err != nil || a.MSCHAP2Success != v.wantSuccess || a.MSCHAPError != v.wantErr || (a.Result == Accept) != (v.wantSuccess != "") {
			t.Errorf("%q %q: %v, %v %q %q, want %q %q", v.success, v.err, err, a.Result, a.MSCHAP2Success, a.MSCHAPError, v.wantSuccess, v.wantErr)
		}
	}
}

// TestHostileRequest sends what the longest and strangest texts of a peer make.
func TestHostileRequest(t *testing.T) {
	long := strings.Repeat("\x01", 5000)
	requests := make(chan *layeh.Packet, 1)
	f := newFake(t, func(_ int, r *layeh.Packet) [][]byte { requests <- r; return accept(0, r) })
	f.Timeout = 10 * time.Second
	c := newClient(t, Config{}, f)
	r := Request{User: long[:253], Credentials: EAP{make([]byte, 1500)}, SessionID: c.NewSessionID(), Port: Port{
		ID: long, CalledStationID: long, CallingStationID: long, ConnectInfo: long, MTU: 1500,
		Tunnel: Tunnel{netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::1"), long, "x" + long, long, long}}}
	if _, err := c.Authenticate(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	got := <-requests
	if got.Attributes[0].Type != attrMessageAuthenticator {
		t.Error("Message-Authenticator is not the first")
	}
	if a, ok := got.Lookup(attrTunnelClientAuthID); ok {
		t.Errorf("Tunnel-Client-Auth-ID %.4x..., want none that looks like a tag", a)
	}
	if a := string(got.Get(attrTunnelClientEndpoint)); a != "fe80::1" {
		t.Errorf("Tunnel-Client-Endpoint %q", a)
	}
	for _, r := range []Request{
		{}, {User: "alice"}, {User: long, Credentials: PAP{}}, {User: "alice", Credentials: PAP{make([]byte, 129)}},
		{User: "alice", Credentials: CHAP{}}, {User: "alice", Credentials: CHAP{Challenge: make([]byte, 254)}},
		{User: "alice", Credentials: EAP{}}, {User: "alice", Credentials: EAP{make([]byte, 3001)}},
	} {
		if _, err := c.Authenticate(context.Background(), r); err == nil {
			t.Errorf("%.40v: no error", r)
		}
	}
	if s := c.Servers()[0]; s.Sent != 1 {
		t.Errorf("sent %d, want 1", s.Sent)
	}
}

func TestNewRefuses(t *testing.T) {
	good := Server{Address: netip.MustParseAddrPort("127.0.0.1:1812"), Secret: NewSecret([]byte("s"))}
	for _, v := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "neither"},
		{Config{NASIdentifier: strings.Repeat("x", 254)}, "254 octets"},
		{Config{NASIdentifier: "x", Concurrent: -1}, "below zero"},
		{Config{NASIdentifier: "x", Authentication: []Server{{Secret: good.Secret}}}, "an address"},
		{Config{NASIdentifier: "x", Authentication: []Server{{Address: good.Address}}}, "secret of 0 octets"},
		{Config{NASIdentifier: "x", Accounting: []Server{{Address: good.Address, Secret: good.Secret, Tries: -1}}}, "below zero"},
	} {
		if _, err := New(v.cfg); err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("error %v, want one of %q", err, v.want)
		}
	}
}

func TestSecretIsHidden(t *testing.T) {
	s := NewSecret([]byte("hunter2"))
	server := Server{Secret: s}
	c, err := New(Config{NASIdentifier: "x", Accounting: []Server{{Address: netip.MustParseAddrPort("127.0.0.1:1"), Secret: s}}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(server)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "server", server)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "server", server)
	shown := string(text) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, server) + fmt.Sprintf(verb, c.cfg) + fmt.Sprintf(verb, []any{&s, &server}) + fmt.Sprintf(verb, struct{ s Secret }{s}) +
			fmt.Sprintf(verb, Request{Credentials: PAP{[]byte("hunter2")}})
	}
	for _, bad := range []string{"hunter2", "68756e74657232", "104 117 110", "aHVudGVyMg"} {
		if strings.Contains(strings.ToLower(shown), strings.ToLower(bad)) {
			t.Errorf("%q is shown in %s", bad, shown)
		}
	}
}

func TestSessionIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 3 {
		c := newClient(t, Config{})
		for range 100 {
			seen[c.NewSessionID()] = true
		}
	}
	if len(seen) != 300 {
		t.Errorf("%d different, want 300", len(seen))
	}
}

func TestParseRoute(t *testing.T) {
	for _, v := range []struct{ text, want string }{
		{"192.168.1.0/24 192.168.1.1 1", "192.168.1.0/24 192.168.1.1 1"},
		{"192.168.1.0/24 192.168.1.1 1 2 -1", ""},
		{"192.168.1.0/24 192.168.1.1 1 2 3 400", "192.168.1.0/24 192.168.1.1 1"},
		{"192.168.1.0/24 0.0.0.0 7", "192.168.1.0/24 invalid IP 7"},
		{"192.168.1.0/24", "192.168.1.0/24 invalid IP 0"},
		{"10.0.0.0", "10.0.0.0/8 invalid IP 0"},
		{"172.16.0.0", "172.16.0.0/16 invalid IP 0"},
		{"192.168.1.0 10.0.0.1", "192.168.1.0/24 10.0.0.1 0"},
		{"224.0.0.0", ""},
		{"192.168.1.77/24\x00", "192.168.1.0/24 invalid IP 0"},
		{"2001:db8::/32 :: 1", "2001:db8::/32 invalid IP 1"},
		{"2001:db8::/32 fe80::1", "2001:db8::/32 fe80::1 0"},
		{"2001:db8::/32 10.0.0.1", ""},
		{"fe80::1%eth0 ::", ""},
		{"10.0.0.0/33", ""},
		{"10.0.0.0/8 10.0.0.1 99999999999", ""},
		{"::ffff:10.0.0.0/104", ""},
		{"", ""}, {" ", ""}, {"default", ""}, {strings.Repeat(" ", 300) + "10.0.0.0/8", ""},
	} {
		r, ok := ParseRoute(v.text)
		got := ""
		if ok {
			got = fmt.Sprint(r.Prefix, " ", r.Gateway, " ", r.Metric)
		}
		if got != v.want {
			t.Errorf("%q: %q, want %q", v.text, got, v.want)
		}
	}
}
