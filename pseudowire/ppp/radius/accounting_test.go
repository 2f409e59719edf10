package radius

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	layeh "layeh.com/radius"

	"spanwire/pseudowire/ppp/radius/freeradius"
)

func TestFreeRADIUSAccounting(t *testing.T) {
	f := freeradius.Start(t, freeUsers)
	c := freeClient(t, f)
	a, err := c.OpenAccounting(AccountingConfig{Journal: filepath.Join(t.TempDir(), "journal")})
	if err != nil {
		t.Fatal(err)
	}
	used := Usage{5<<32 + 1, 6<<32 + 2, 3, 4}
	session := Session{
		ID: c.NewSessionID(), User: "alice", Port: port, Class: alices.Class, Authentic: ByRADIUS,
		Started: time.Now().Add(-90 * time.Second), Address: alices.Address,
		IPv6Prefix: alices.IPv6Prefix, InterfaceID: 7,
	}
	account := a.Start(session, func() Usage { return used })
	if account.ID() != session.ID {
		t.Errorf("ID %s, want %s", account.ID(), session.ID)
	}
	other := a.Start(session, nil) // as an ID must not be used twice
	if other.ID() == session.ID {
		t.Error("two sessions with one ID")
	}
	wait(t, func() bool { return len(f.Records()) == 3 }) // on, and both starts
	account.Update(func(s *Session) { s.Delegated = alices.Delegated })
	wait(t, func() bool { return len(f.Records()) == 4 })
	account.Stop(IdleTimeout)
	account.Stop(UserRequest)
	other.Stop(AdminReboot)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	all := f.Records()
	if len(all) != 7 {
		t.Fatalf("%d records, want 7:\n%v", len(all), f.Records())
	}
	common := map[string]string{
		"NAS-IP-Address": "192.0.2.1", "NAS-Identifier": "lns.example", "User-Name": "alice", "Acct-Session-Id": session.ID,
		"NAS-Port": "7", "NAS-Port-Type": "Virtual", "NAS-Port-Id": "tunnel 3 session 7", "Service-Type": "Framed-User", "Framed-Protocol": "PPP",
		"Calling-Station-Id": "5556789", "Called-Station-Id": "5551234", "Connect-Info": "100000000",
		"Class": "0x676f6c64,0x73696c766572", "Acct-Authentic": "RADIUS", "Framed-IP-Address": "203.0.113.7",
		"Framed-IPv6-Prefix": "2001:db8:7::/64", "Framed-Interface-Id": "0:0:0:7",
		"Tunnel-Type:0": "L2TP", "Tunnel-Medium-Type:0": "IPv4", "Tunnel-Client-Endpoint:0": "198.51.100.1", "Tunnel-Server-Endpoint:0": "198.51.100.2",
		"Tunnel-Client-Auth-Id:0": "lac", "Tunnel-Server-Auth-Id:0": "lns", "Tunnel-Assignment-Id:0": "3", "Acct-Tunnel-Connection": "81",
	}
	seen := make(map[string]int)
	for _, d := range all {
		status := d.Get("Acct-Status-Type")
		if id := d.Get("Acct-Session-Id"); status != "Accounting-On" && status != "Accounting-Off" && id != session.ID {
			continue
		}
		seen[status]++
		if d.Get("Event-Timestamp") == "" || d.Get("Acct-Delay-Time") == "" {
			t.Errorf("%s without Event-Timestamp or Acct-Delay-Time", status)
		}
		switch status {
		case "Accounting-On", "Accounting-Off":
			d.Want(t, map[string]string{"NAS-IP-Address": "192.0.2.1", "NAS-Identifier": "lns.example", "User-Name": "", "Acct-Terminate-Cause": ""})
			continue
		case "Start":
			d.Want(t, map[string]string{"Acct-Input-Octets": "", "Acct-Session-Time": "", "Acct-Terminate-Cause": ""})
		case "Stop":
			d.Want(t, map[string]string{"Acct-Terminate-Cause": "Idle-Timeout"})
			fallthrough
		case "Interim-Update":
			d.Want(t, map[string]string{
				"Acct-Input-Octets": "1", "Acct-Output-Octets": "2", "Acct-Input-Gigawords": "5", "Acct-Output-Gigawords": "6",
				"Acct-Input-Packets": "3", "Acct-Output-Packets": "4", "Delegated-IPv6-Prefix": "2001:db8:700::/56",
			})
			if n := d.Get("Acct-Session-Time"); len(n) < 2 || n < "90" && len(n) == 2 {
				t.Errorf("Acct-Session-Time %s, want 90 or more", n)
			}
		}
		d.Want(t, common)
	}
	if want := map[string]int{"Accounting-On": 1, "Start": 1, "Interim-Update": 1, "Stop": 1, "Accounting-Off": 1}; !reflect.DeepEqual(seen, want) {
		t.Errorf("records %v, want %v", seen, want)
	}
	if first, last := all[0].Get("Acct-Status-Type"), all[6].Get("Acct-Status-Type"); first != "Accounting-On" || last != "Accounting-Off" {
		t.Errorf("from %s to %s, want from Accounting-On to Accounting-Off", first, last)
	}
}

func wait(t *testing.T, until func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !until(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing came for a minute")
		}
	}
}

// TestMain is also the process that a test kills: it accounts for two sessions and
// a third that ends, of which no more than the start is told.
func TestMain(m *testing.M) {
	server := os.Getenv("SPANWIRE_TEST_ACCOUNT")
	if server == "" {
		os.Exit(m.Run())
	}
	c, err := New(Config{NASIdentifier: "lns", Accounting: []Server{
		{Address: netip.MustParseAddrPort(server), Secret: NewSecret([]byte(freeradius.Secret)), Timeout: 100 * time.Millisecond}}})
	if err != nil {
		panic(err)
	}
	a, err := c.OpenAccounting(AccountingConfig{Journal: os.Getenv("SPANWIRE_TEST_JOURNAL"), Checkpoint: 20 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	for i, user := range []string{"alice", "bob", "c\xffrol"} {
		account := a.Start(Session{User: user, Started: time.Now().Add(-time.Hour)}, func() Usage { return Usage{InputOctets: uint64(100 + i)} })
		fmt.Println(account.ID())
		if i == 2 {
			account.Stop(UserRequest)
		}
	}
	time.Sleep(100 * time.Millisecond) // for a checkpoint; without one the test finds other counts
	for a.journalHas() < 3 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	select {}
}

// journalHas returns how many sessions of the journal have used something.
func (a *Accounting) journalHas() (n int) {
	text, _ := os.ReadFile(a.cfg.Journal)
	return strings.Count(string(text), `"InputOctets":10`)
}

// TestFreeRADIUSAfterKill kills a process that accounts without warning, and wants
// the next to tell what it left.
func TestFreeRADIUSAfterKill(t *testing.T) {
	f := freeradius.Start(t, freeUsers)
	journal := filepath.Join(t.TempDir(), "journal")
	nobody := freeradius.FreePort(t) // the servers are away when it is killed
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SPANWIRE_TEST_ACCOUNT="+nobody.String(), "SPANWIRE_TEST_JOURNAL="+journal)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		ids = append(ids, lines.Text())
	}
	c := freeClient(t, f)
	if _, err := c.OpenAccounting(AccountingConfig{Journal: journal}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error %v, want that another process has the journal", err)
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	if len(ids) != 3 {
		t.Fatalf("%d sessions, want 3", len(ids))
	}
	a, err := c.OpenAccounting(AccountingConfig{Journal: journal})
	if err != nil {
		t.Fatal(err)
	}
	a.Start(Session{User: "dave"}, nil).Stop(UserRequest)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	all := f.Records()
	if len(all) != 7 { // three stops, on, start, stop, off
		t.Fatalf("%d records, want 7:\n%v", len(all), f.Records())
	}
	stops := make(map[string]freeradius.Record)
	for _, d := range all[:3] {
		stops[d.Get("Acct-Session-Id")] = d
	}
	for i, id := range ids {
		cause := "NAS-Reboot"
		if i == 2 {
			cause = "User-Request"
		}
		stops[id].Want(t, map[string]string{"Acct-Status-Type": "Stop", "Acct-Terminate-Cause": cause,
			"Acct-Input-Octets": fmt.Sprint(100 + i), "User-Name": []string{"alice", "bob", `c\377rol`}[i]})
		if n := stops[id].Get("Acct-Session-Time"); n < "3600" || len(n) != 4 {
			t.Errorf("%s: Acct-Session-Time %q, want an hour or a bit more", id, n)
		}
	}
	all[3].Want(t, map[string]string{"Acct-Status-Type": "Accounting-On"})
	if text, err := os.ReadFile(journal); err != nil || len(text) != 0 {
		t.Errorf("journal %q, %v, want an empty one", text, err)
	}
}

func TestAccountingWithoutServer(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal")
	c, err := New(Config{NASIdentifier: "lns", Accounting: []Server{
		{Address: freeradius.FreePort(t), Secret: NewSecret([]byte("s")), Timeout: time.Millisecond}}})
	if err != nil {
		t.Fatal(err)
	}
	for run := range 3 {
		a, err := c.OpenAccounting(AccountingConfig{Journal: journal})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Status(); got.Undelivered != run || got.On {
			t.Errorf("run %d: %+v, want as many sessions undelivered", run, got)
		}
		a.Start(Session{User: "alice"}, nil).Stop(UserRequest)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := a.Close(ctx); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d sessions", run+1)) {
			t.Errorf("run %d: error %v, want one of %d sessions", run, err, run+1)
		}
	}
}

func TestReadJournal(t *testing.T) {
	text := `{"open":{"ID":"a","Started":"2026-01-01T00:00:00Z"},"user":"YQ=="}
{"open":{"ID":"b","Started":"2026-01-01T00:00:00Z"},"user":"/w=="}
nonsense
{"id":"a","usage":{"InputOctets":5},"at":"2026-01-01T00:01:00Z"}
{"id":"b","done":true}
{"id":"b","cause":3}
{"id":"nobody","done":true}
{}
{"open":{"ID":"c","Started":"2026-01-01T00:00:00Z"},"user":"/w=="}
{"id":"c","usage":{"InputOctets":6},"at":"2026-01-01T00:02:00Z","cause":4}
` + strings.Repeat("x", 3*longestLine) + "\n" + `{"id":"c","done":tr`
	all, torn, err := readJournal(strings.NewReader(text))
	if err != nil || torn != 4 || len(all) != 2 {
		t.Fatalf("%d sessions, %d torn lines, error %v, want 2, 4 and none", len(all), torn, err)
	}
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	want := []left{
		{&Session{ID: "a", User: "a", Started: began}, record{stop, began.Add(time.Minute), Usage{InputOctets: 5}, NASReboot}},
		{&Session{ID: "c", User: "\xff", Started: began}, record{stop, began.Add(2 * time.Minute), Usage{InputOctets: 6}, IdleTimeout}},
	}
	if !reflect.DeepEqual(all, want) {
		t.Errorf("got %+v, want %+v", all, want)
	}
	if _, _, err := readJournal(failing{}); err == nil {
		t.Error("no error of the disk")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken") }

// TestAccountingOverLoss has many sessions come and go, with servers that lose every
// third request and every third answer. Each session is told whole and in order.
func TestAccountingOverLoss(t *testing.T) {
	var mu sync.Mutex
	type told struct{ starts, stops, octets int }
	sessions := make(map[string]*told)
	on, seen := 0, make(map[[16]byte]bool)
	random := rand.New(rand.NewPCG(1, 2))
	f := newFake(t, func(_ int, r *layeh.Packet) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(3) == 0 {
			return nil
		}
		answer := must(r.Response(layeh.CodeAccountingResponse).Encode())
		id := string(r.Get(attrAcctSessionID))
		s := sessions[id]
		switch status, _ := integer(r.Get(attrAcctStatusType)); kind(status) {
		case accountingOn:
			if len(sessions) > 0 {
				t.Error("Accounting-On after a session")
			}
			on++
		case start:
			if s == nil {
				s = new(told)
				sessions[id] = s
			}
			if s.stops > 0 && !seen[r.Authenticator] {
				t.Errorf("%s: a start after the stop", id)
			}
			s.starts++
		case stop:
			if s == nil {
				t.Errorf("%s: a stop before the start", id)
				return nil
			}
			n, _ := integer(r.Get(attrAcctInputOctets))
			s.stops++
			s.octets = int(n)
		}
		seen[r.Authenticator] = true
		if random.IntN(3) == 0 {
			return nil
		}
		return [][]byte{answer, answer}
	})
	f.Timeout, f.Tries = 20*time.Millisecond, 50
	c, err := New(Config{NASIdentifier: "lns", Accounting: []Server{f.Server}})
	if err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(t.TempDir(), "journal")
	a, err := c.OpenAccounting(AccountingConfig{Journal: journal, Checkpoint: 5 * time.Millisecond, Concurrent: 64})
	if err != nil {
		t.Fatal(err)
	}
	const many = 300
	ids := make([]string, many)
	var group sync.WaitGroup
	for i := range many {
		group.Go(func() {
			account := a.Start(Session{User: "alice"}, func() Usage { return Usage{InputOctets: uint64(i)} })
			ids[i] = account.ID()
			if i%2 == 0 {
				time.Sleep(time.Duration(i) * time.Millisecond)
				account.Update(func(*Session) {})
			}
			account.Stop(UserRequest)
		})
	}
	group.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if on == 0 || len(sessions) != many {
		t.Errorf("Accounting-On %d times, %d sessions, want 1 or more and %d", on, len(sessions), many)
	}
	for i, id := range ids {
		if s := sessions[id]; s == nil || s.starts == 0 || s.stops == 0 || s.octets != i {
			t.Errorf("session %d: told %+v", i, s)
		}
	}
	if text, err := os.ReadFile(journal); err != nil || len(text) != 0 {
		t.Errorf("journal of %d octets, %v, want an empty one", len(text), err)
	}
}
