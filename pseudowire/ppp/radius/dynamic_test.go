package radius

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	layeh "layeh.com/radius"
)

// orders counts requests: the Identifier is all that tells two alike apart.
var orders atomic.Uint32

// order returns a signed request.
func order(code layeh.Code, secret string, attributes ...*layeh.AVP) []byte {
	p := layeh.New(code, []byte(secret))
	p.Identifier = byte(orders.Add(1))
	p.Attributes = attributes
	return must(seal(p))
}

func user(name string) *layeh.AVP {
	return &layeh.AVP{Type: attrUserName, Attribute: layeh.Attribute(name)}
}

func timestamp(at time.Time) *layeh.AVP {
	return &layeh.AVP{Type: attrEventTimestamp, Attribute: layeh.NewInteger(uint32(at.Unix()))}
}

// A judge is a Dynamic that a test has, and what it obeyed.
type judge struct {
	*Dynamic
	t      *testing.T
	conn   *net.UDPConn
	obeyed chan Order
	hold   chan struct{} // nil: obeys at once
}

func newJudge(t *testing.T, cfg DynamicConfig, hold chan struct{}) *judge {
	t.Helper()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	if cfg.Clients == nil {
		cfg.Clients = []DynamicClient{{netip.MustParseAddr("127.0.0.1"), NewSecret([]byte(fakeSecret))}}
	}
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	j := &judge{t: t, obeyed: make(chan Order, 1000), hold: hold}
	var err error
	j.Dynamic, err = newClient(t, Config{}).ListenDynamic(cfg, func(_ context.Context, o Order) ErrorCause {
		j.obeyed <- o
		if hold != nil {
			<-hold
		}
		return 0
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	j.conn = j.dial()
	return j
}

func (j *judge) dial() *net.UDPConn {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(j.Address()))
	if err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(func() { conn.Close() })
	return conn
}

// answer sends a request and returns the answer.
func (j *judge) answer(conn *net.UDPConn, request []byte) []byte {
	j.t.Helper()
	conn.Write(request)
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		j.t.Fatal(err)
	}
	return b[:n]
}

// settle waits until all that was sent has been looked at: requests of one socket
// are looked at in their order.
func (j *judge) settle() {
	j.t.Helper()
	if b := j.answer(j.conn, order(layeh.CodeDisconnectRequest, fakeSecret, user("the last"))); layeh.Code(b[0]) != layeh.CodeDisconnectACK {
		j.t.Fatalf("code %d, want Disconnect-ACK", b[0])
	}
	for (<-j.obeyed).Match.User == nil {
	}
}

func TestDynamicDrops(t *testing.T) {
	j := newJudge(t, DynamicConfig{WantTimestamp: false}, nil)
	good := func() []byte { return order(layeh.CodeDisconnectRequest, fakeSecret, user("alice")) }
	bit := good()
	bit[len(bit)-1] ^= 1
	wrongMAC := layeh.New(layeh.CodeDisconnectRequest, []byte(fakeSecret))
	wrongMAC.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
	overrun := order(layeh.CodeDisconnectRequest, fakeSecret, user("alice"))
	overrun[21]++
	overrun = resign(overrun)
	for _, b := range [][]byte{
		{}, {40}, good()[:19], good()[:22], make([]byte, 4097), overrun,
		must(layeh.New(layeh.CodeAccessRequest, []byte(fakeSecret)).Encode()),
		order(layeh.CodeDisconnectRequest, "another", user("alice")), bit, must(wrongMAC.Encode()),
		order(layeh.CodeDisconnectRequest, fakeSecret, user("alice"), timestamp(time.Now().Add(-time.Hour))),
		order(layeh.CodeDisconnectRequest, fakeSecret, user("alice"), timestamp(time.Now().Add(time.Hour))),
		order(layeh.CodeDisconnectRequest, fakeSecret, user("alice"), &layeh.AVP{Type: attrEventTimestamp, Attribute: layeh.Attribute{1}}),
	} {
		j.conn.Write(b)
	}
	j.settle()
	if got, want := j.Counts(), (DynamicCounts{Malformed: 7, Forged: 3, Stale: 3, ACK: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	strict := newJudge(t, DynamicConfig{WantTimestamp: true}, nil)
	strict.conn.Write(good())
	strict.answer(strict.conn, order(layeh.CodeDisconnectRequest, fakeSecret, user("alice"), timestamp(time.Now())))
	if got, want := strict.Counts(), (DynamicCounts{Stale: 1, ACK: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func resign(b []byte) []byte {
	clear(b[4:20])
	var zero layeh.Packet
	sign(b, &zero)
	return b
}

func TestDynamicStrangers(t *testing.T) {
	j := newJudge(t, DynamicConfig{Clients: []DynamicClient{{netip.MustParseAddr("192.0.2.1"), NewSecret([]byte(fakeSecret))}}}, nil)
	for range 100 {
		j.conn.Write(order(layeh.CodeDisconnectRequest, fakeSecret, user("alice")))
	}
	wait(t, func() bool { return j.Counts().Strangers == 100 })
	if len(j.obeyed) > 0 {
		t.Error("a stranger was obeyed")
	}
}

// TestDynamicRepeated sends requests again: they are answered as they were, and not
// obeyed twice.
func TestDynamicRepeated(t *testing.T) {
	j := newJudge(t, DynamicConfig{}, nil)
	plain := order(layeh.CodeDisconnectRequest, fakeSecret, user("alice"))
	dated := order(layeh.CodeDisconnectRequest, fakeSecret, user("alice"), timestamp(time.Now()))
	for _, b := range [][]byte{plain, dated} {
		if first, again := j.answer(j.conn, b), j.answer(j.conn, b); string(first) != string(again) {
			t.Errorf("answers %x and %x, want the same", first, again)
		}
	}
	if n := len(j.obeyed); n != 2 {
		t.Errorf("obeyed %d times, want 2", n)
	}
	// From another port, who replays what he saw gets nowhere if it is dated.
	other := j.dial()
	j.answer(other, dated)
	if n := len(j.obeyed); n != 2 {
		t.Errorf("obeyed %d times, want 2", n)
	}
	j.answer(other, plain)
	if n := len(j.obeyed); n != 3 {
		t.Errorf("obeyed %d times, want 3", n)
	}
}

func TestDynamicFlood(t *testing.T) {
	hold := make(chan struct{})
	j := newJudge(t, DynamicConfig{Concurrent: 1, Waiting: 2}, hold)
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // or there is no end of it if it fails
	j.conn.Write(order(layeh.CodeDisconnectRequest, fakeSecret, user("alice")))
	<-j.obeyed // and held
	again := order(layeh.CodeDisconnectRequest, fakeSecret, user("bob"))
	for range 10 {
		j.conn.Write(again)
	}
	for range 10 {
		j.conn.Write(order(layeh.CodeDisconnectRequest, fakeSecret, user("carol")))
	}
	wait(t, func() bool { return j.Counts().Busy == 9 && j.Counts().Repeated == 9 })
	release()
	wait(t, func() bool { return j.Counts().ACK == 3 })
}

func TestDynamicForgets(t *testing.T) {
	j := newJudge(t, DynamicConfig{}, nil)
	j.mu.Lock()
	now := time.Now()
	for i := range mostSeen + 10 {
		j.forget(now)
		s := &seen{key: seenKey{authenticator: [16]byte{byte(i), byte(i >> 8)}}, at: now}
		j.seen[s.key] = s
		j.oldest = append(j.oldest, s)
	}
	if len(j.seen) != mostSeen {
		t.Errorf("%d remembered, want %d", len(j.seen), mostSeen)
	}
	j.forget(now.Add(11 * time.Minute))
	if len(j.seen) != 0 {
		t.Errorf("%d remembered after the window, want none", len(j.seen))
	}
	j.mu.Unlock()
}

func TestListenDynamicRefuses(t *testing.T) {
	c := newClient(t, Config{})
	for _, cfg := range []DynamicConfig{
		{Window: -1},
		{Clients: []DynamicClient{{}}},
		{Clients: []DynamicClient{{Address: netip.MustParseAddr("127.0.0.1")}}},
		{Listen: netip.MustParseAddrPort("192.0.2.1:0")},
	} {
		if d, err := c.ListenDynamic(cfg, nil); err == nil {
			d.Close()
			t.Errorf("%+v: no error", cfg)
		}
	}
}

func FuzzOrder(f *testing.F) {
	f.Add([]byte{byte(attrUserName), 3, 'a'}, true)
	f.Add([]byte{byte(attrSessionTimeout), 6, 0, 0, 0, 1, byte(attrAcctSessionID), 3, 'a'}, false)
	f.Add([]byte{byte(attrFramedIPv6Prefix), 4, 0, 0, byte(attrFramedInterfaceID), 10, 1, 2, 3, 4, 5, 6, 7, 8}, true)
	c, err := New(Config{NASIdentifier: "lns"})
	if err != nil {
		f.Fatal(err)
	}
	d := &Dynamic{client: c}
	f.Fuzz(func(t *testing.T, b []byte, coa bool) {
		attributes, err := layeh.ParseAttributes(b)
		if err != nil {
			return
		}
		p := layeh.New(layeh.CodeDisconnectRequest, []byte("s"))
		if coa {
			p.Code = layeh.CodeCoARequest
		}
		p.Attributes = attributes
		o, cause := d.order(demand{packet: p})
		if cause == 0 && (o.Match == Match{} || (o.Change != nil) != coa) {
			t.Errorf("order %+v", o)
		}
		if answer := verdict(p, cause); len(b) < 3000 {
			must(seal(answer))
		}
	})
}

// FuzzAnswer has an answer whose attributes are anything, and anything for one.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{byte(attrFramedIPAddress), 6, 1, 2, 3, 4}, byte(layeh.CodeAccessAccept), byte(0))
	f.Add([]byte{byte(attrEAPMessage), 6, 1, 1, 0, 4}, byte(layeh.CodeAccessChallenge), byte(3))
	f.Add(append([]byte{byte(attrVendorSpecific), 15, 0, 0, 1, 55, msCHAP2Success, 9, 9}, "S=00E="...), byte(layeh.CodeAccessReject), byte(2))
	request := must(layeh.New(layeh.CodeAccessRequest, []byte("s")).Encode())
	f.Fuzz(func(t *testing.T, b []byte, code, method byte) {
		open(b, request, []byte("s"))
		attributes, err := layeh.ParseAttributes(b)
		if err != nil {
			return
		}
		p := &layeh.Packet{Code: layeh.Code(code), Attributes: attributes}
		r := &reply{p, &server{Server: Server{Secret: NewSecret([]byte("s"))}}, [16]byte{}}
		a := newAnswer(r, []Credentials{PAP{}, CHAP{}, MSCHAPv2{ID: 9}, EAP{}}[method%4])
		if a.Result == Accept && (code != byte(layeh.CodeAccessAccept) || a.Problem != "") {
			t.Errorf("accepted: %+v", a)
		}
	})
}

func FuzzParseRoute(f *testing.F) {
	f.Add("192.168.1.0/24 192.168.1.1 1")
	f.Add("2001:db8::/32 :: 1 2 3")
	f.Fuzz(func(t *testing.T, text string) {
		if r, ok := ParseRoute(text); ok && (!r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked()) {
			t.Errorf("%q: %+v", text, r)
		}
	})
}

func FuzzReadJournal(f *testing.F) {
	f.Add([]byte(`{"open":{"ID":"a"}}` + "\n" + `{"id":"a","usage":{"InputOctets":5},"cause":1}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, _, err := readJournal(reader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range all {
			if l.session == nil || l.session.ID == "" || l.end.kind != stop || l.end.cause == 0 {
				t.Errorf("left %+v", l)
			}
		}
	})
}

func reader(b []byte) io.Reader { return &octets{b} }

// octets gives what it has one by one.
type octets struct{ b []byte }

func (o *octets) Read(b []byte) (int, error) {
	if len(o.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 7)], o.b)
	o.b = o.b[n:]
	return n, nil
}
