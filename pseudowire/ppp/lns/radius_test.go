package lns

import (
	"bufio"
	"context"
	"crypto/md5"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns/address"
	"spanwire/pseudowire/ppp/radius"
	"spanwire/pseudowire/ppp/radius/freeradius"
)

// Those whom RADIUS knows.
const remoteUsers = `
alice	Cleartext-Password := "wonderland"
	Service-Type = Framed-User,
	Framed-Protocol = PPP,
	Framed-IP-Address = 203.0.113.7,
	Framed-Route = "192.0.2.0/25 0.0.0.0 1",
	Framed-IPv6-Prefix = 2001:db8:7::/64,
	Delegated-IPv6-Prefix = 2001:db8:700::/56,
	Framed-IPv6-Route = "2001:db8:77::/48 :: 1",
	MS-Primary-DNS-Server = 192.0.2.153,
	MS-Secondary-DNS-Server = 192.0.2.154,
	DNS-Server-IPv6-Address = 2001:db8::153,
	Session-Timeout = 3600,
	Idle-Timeout = 600,
	Acct-Interim-Interval = 300,
	Class = "gold",
	Framed-MTU = 1300

bob	Cleartext-Password := "builder"
	Framed-IP-Address = 255.255.255.254,
	Framed-Pool = "homes",
	Framed-IPv6-Pool = "links",
	Delegated-IPv6-Prefix-Pool = "sites"

carol	Cleartext-Password := "sings"
	Session-Timeout = 1

dave	Cleartext-Password := "idles"
	Idle-Timeout = 1

erin	Cleartext-Password := "chooses"
	Framed-IP-Address = 255.255.255.255

frank	Cleartext-Password := "logs in"
	Service-Type = Login-User

grace	Cleartext-Password := "nowhere"
	Framed-Pool = "of nobody",
	Framed-IPv6-Pool = "of nobody"

DEFAULT	Auth-Type := Reject
	Reply-Message = "Who are you?"
`

// remoteConfig is that of an LNS whose users RADIUS servers know.
func remoteConfig(t testing.TB, journal string, servers ...*freeradius.Server) Config {
	t.Helper()
	var authentication, accounting []radius.Server
	for _, s := range servers {
		common := radius.Server{Secret: radius.NewSecret([]byte(freeradius.Secret)), Timeout: 300 * time.Millisecond}
		a, b := common, common
		a.Address, b.Address = s.Authentication, s.Accounting
		authentication, accounting = append(authentication, a), append(accounting, b)
	}
	c, err := radius.New(radius.Config{Authentication: authentication, Accounting: accounting, NASIdentifier: "lns.example"})
	if err != nil {
		t.Fatal(err)
	}
	account, err := c.OpenAccounting(radius.AccountingConfig{Journal: journal, Checkpoint: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Name: "lns0", Address: local, HostName: "lns", Methods: []ppp.Method{ppp.ByMSCHAP2, ppp.ByCHAP, ppp.ByPAP},
		RADIUS: c, Accounting: account,
		Pools: map[string]*address.Pool{
			"v4": newPool(t, 32, "10.0.0.0/24"), "v6": newPool(t, 64, "2001:db8:1::/60"),
			"homes": newPool(t, 32, "10.1.0.0/24"), "links": newPool(t, 64, "2001:db8:2::/60"), "sites": newPool(t, 56, "2001:db8:9000::/40"),
		},
		Pool: "v4", IPv6Pool: "v6", DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
	}
}

// until waits until something is so.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

// untilUp waits until a caller has what he gets of both protocols.
func (c *caller) untilUp(t testing.TB) {
	t.Helper()
	until(t, "up", func() bool {
		near, far := c.link.Status(), c.far.Status()
		return near.Address.IsValid() && near.Prefix.IsValid() && far.Address.IsValid() && far.Prefix.IsValid()
	})
}

// endAll ends a Server of remoteConfig and its accounting.
func (w *world) endAll() {
	w.t.Helper()
	w.end()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.server.cfg.Accounting.Close(ctx); err != nil {
		w.t.Error(err)
	}
}

// of returns the records of a session.
func of(all []freeradius.Record, id string) (some []freeradius.Record) {
	for _, r := range all {
		if r.Get("Acct-Session-Id") == id {
			some = append(some, r)
		}
	}
	return some
}

// kinds returns what records are.
func kinds(all []freeradius.Record) (kinds []string) {
	for _, r := range all {
		kinds = append(kinds, r.Get("Acct-Status-Type"))
	}
	return kinds
}

func TestFreeRADIUS(t *testing.T) {
	f := freeradius.Start(t, remoteUsers)
	w := begin(t, remoteConfig(t, "", f))
	for _, m := range w.server.cfg.Methods {
		c := w.dial(ClientConfig{User: "alice", Password: "wonderland", Prove: []ppp.Method{m}})
		c.untilUp(t)
		until(t, "DNS of IPv6", func() bool { c.link.mu.Lock(); defer c.link.mu.Unlock(); return c.link.dns6 != nil })
		near, far := c.link.Status(), c.far.Status()
		want(t, "method", far.Method, m)
		want(t, "address", near.Address, "203.0.113.7")
		want(t, "prefix", near.Prefix, "2001:db8:7::/64")
		want(t, "prefix at the LNS", far.Prefix, "2001:db8:7::/64")
		want(t, "delegated", far.Delegated, "2001:db8:700::/56")
		want(t, "routes", far.Routes, "[192.0.2.0/25 2001:db8:77::/48]")
		want(t, "DNS", near.PPP.DNS, "[192.0.2.153 192.0.2.154]")
		want(t, "DNS of IPv6", c.link.dns6, "[2001:db8::153]")
		want(t, "MTU", far.MTU, 1300)
		want(t, "idle timeout", far.IdleTimeout, 10*time.Minute)
		if left := time.Until(far.SessionEnd); left > time.Hour || left < 58*time.Minute {
			t.Errorf("session ends in %v, want an hour or a bit less", left)
		}
		c.end(t)
		until(t, "gone", func() bool { return len(w.server.Links()) == 0 })
	}

	bob := w.dial(ClientConfig{User: "bob", Password: "builder"})
	bob.untilUp(t)
	far := bob.far.Status()
	want(t, "of the pool", far.Address, "10.1.0.1")
	want(t, "of the pool", far.Prefix, "2001:db8:2::/64")
	want(t, "of the pool", far.Delegated, "2001:db8:9000::/56")
	want(t, "DNS of all", bob.link.Status().PPP.DNS[0], "192.0.2.53")
	bob.end(t)

	erin := w.dial(ClientConfig{User: "erin", Password: "chooses", Address: netip.MustParseAddr("198.51.100.77")})
	erin.untilUp(t)
	want(t, "as she likes", erin.far.Status().Address, "198.51.100.77")
	erin.end(t)
	until(t, "gone", func() bool { return len(w.server.Links()) == 0 })
	w.endAll()
}

func TestFreeRADIUSRefuses(t *testing.T) {
	f := freeradius.Start(t, remoteUsers)
	w := begin(t, remoteConfig(t, "", f))
	for _, v := range []struct {
		user, password string
		m              ppp.Method
	}{
		{"alice", "x", ppp.ByPAP},
		{"alice", "x", ppp.ByCHAP},
		{"alice", "x", ppp.ByMSCHAP2},
		{"mallory", "wonderland", ppp.ByPAP},
		{"frank", "logs in", ppp.ByCHAP},    // a login is no PPP
		{"grace", "nowhere", ppp.ByMSCHAP2}, // there is no such pool
	} {
		w.happened()
		c := w.dial(ClientConfig{User: v.user, Password: v.password, Prove: []ppp.Method{v.m}})
		until(t, "closed", func() bool { return c.closed.Load() != nil && len(w.server.Links()) == 0 })
		want(t, "events", w.happened(), fmt.Sprintf("[refused %s down %s]", v.user, v.user))
		want(t, "reason", w.lastDown().Reason, ppp.AuthFailed)
		want(t, "the client", c.closed.Load().Reason, ppp.ProofRefused)
		c.end(t)
	}
	want(t, "counts", w.server.Counts().Up, 0)
	w.endAll()
	want(t, "told", kinds(f.Records()), "[Accounting-On Accounting-Off]")
}

// TestFreeRADIUSEAP has a peer prove who he is by EAP-MD5, RFC 3748 section 5.4, which
// the LNS does not look into.
func TestFreeRADIUSEAP(t *testing.T) {
	f := freeradius.Start(t, remoteUsers)
	cfg := remoteConfig(t, "", f)
	cfg.Methods = []ppp.Method{ppp.ByEAP}
	w := begin(t, cfg)
	const request, response, identity, challenge = 1, 2, 1, 4
	for password, code := range map[string]int{"wonderland": 3, "x": 4} {
		var m *mallory
		m = w.dialRaw(func(p ppp.Protocol, b []byte) {
			switch {
			case p != ppp.EAP || b[0] != request:
			case b[4] == identity:
				m.say(said(ppp.EAP, response, b[1], append([]byte{identity}, "alice"...)...))
			case b[4] == challenge:
				sum := md5.Sum(slices.Concat(b[1:2], []byte(password), b[6:6+int(b[5])]))
				m.say(said(ppp.EAP, response, b[1], append([]byte{challenge, 16}, sum[:]...)...))
			}
		})
		m.say(said(ppp.LCP, 1, 1))
		until(t, "judged", func() bool { return m.count("EAP/3")+m.count("EAP/4") > 0 })
		want(t, "as it should be", m.count(fmt.Sprintf("EAP/%d", code)), 1)
		if code == 3 {
			until(t, "IPCP", func() bool { return m.count("IPCP/1") > 0 })
			want(t, "user", m.link.Status().User, "alice")
			want(t, "method", m.link.Status().Method, ppp.ByEAP)
		} else {
			until(t, "terminated", func() bool { return m.count("LCP/5") > 0 })
		}
		m.link.Close(radius.UserRequest)
	}
	want(t, "refused", w.server.Counts().Refused, 1)
	w.endAll()
}

// TestFreeRADIUSAccounts wants all that is to be told of a link to be told, and orders
// of the server to be obeyed.
func TestFreeRADIUSAccounts(t *testing.T) {
	f := freeradius.Start(t, remoteUsers)
	w := begin(t, remoteConfig(t, filepath.Join(t.TempDir(), "journal"), f))
	d, err := w.server.cfg.RADIUS.ListenDynamic(radius.DynamicConfig{
		Listen:  netip.MustParseAddrPort("127.0.0.1:0"),
		Clients: []radius.DynamicClient{{Address: netip.MustParseAddr("127.0.0.1"), Secret: radius.NewSecret([]byte(freeradius.Secret))}},
	}, w.server.Obey)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	order := func(kind, attributes, want string) {
		t.Helper()
		if out := freeradius.Radclient(t, d.Address(), kind, freeradius.Secret, attributes); !strings.Contains(out, want) {
			t.Errorf("%s %s: got\n%s, want %s", kind, attributes, out, want)
		}
	}
	c := w.dial(ClientConfig{User: "alice", Password: "wonderland"})
	c.untilUp(t)
	id := c.far.Status().ID
	until(t, "started", func() bool { return len(of(f.Records(), id)) > 0 })
	until(t, "told of", func() bool { return w.server.cfg.Accounting.Status().On })
	for range 3 {
		c.tun.send(datagram("203.0.113.7", "198.51.100.1", 100))
	}
	w.tun.send(datagram("198.51.100.1", "203.0.113.7", 1000))
	until(t, "packets", func() bool { st := c.far.Status(); return st.InPackets == 3 && st.OutPackets == 1 })

	order("coa", `Acct-Session-Id = "`+id+`", Class = "silver", Session-Timeout = 7200, Idle-Timeout = 60`, "Received CoA-ACK")
	far := c.far.Status()
	want(t, "idle timeout", far.IdleTimeout, time.Minute)
	if left := time.Until(far.SessionEnd); left > 2*time.Hour || left < 118*time.Minute {
		t.Errorf("session ends in %v, want two hours or a bit less", left)
	}
	until(t, "update", func() bool {
		all := of(f.Records(), id)
		return all[len(all)-1].Get("Acct-Status-Type") == "Interim-Update" && all[len(all)-1].Get("Class") == "0x73696c766572"
	})
	order("coa", `Acct-Session-Id = "x`+id+`", Session-Timeout = 1`, "Session-Context-Not-Found")
	order("disconnect", `User-Name = "bob"`, "Session-Context-Not-Found")
	order("disconnect", `User-Name = "alice", Framed-IP-Address = 203.0.113.7`, "Received Disconnect-ACK")
	until(t, "closed", func() bool { return c.closed.Load() != nil && len(w.server.Links()) == 0 })
	want(t, "the client", c.closed.Load().Reason, ppp.ByPeer)
	want(t, "cause", w.lastDown().Cause, radius.AdminReset)
	want(t, "disconnect", w.lastDown().Disconnect.Code, 1)

	// CoA may end a link by its time alone.
	e := w.dial(ClientConfig{User: "bob", Password: "builder"})
	e.untilUp(t)
	other := e.far.Status().ID
	order("coa", `User-Name = "bob", Session-Timeout = 1`, "Received CoA-ACK")
	until(t, "closed", func() bool { return e.closed.Load() != nil && len(w.server.Links()) == 0 })
	c.end(t)
	e.end(t)
	w.endAll()

	records := f.Records()
	all := of(records, id)
	if k := kinds(all); k[0] != "Start" || k[len(k)-1] != "Stop" || slices.ContainsFunc(k[1:len(k)-1], func(s string) bool { return s != "Interim-Update" }) {
		t.Errorf("told %v, want Start, Interim-Update, Stop", k)
	}
	for _, r := range all {
		r.Want(t, map[string]string{
			"User-Name": "alice", "NAS-Identifier": "lns.example",
			"Acct-Authentic": "RADIUS", "Service-Type": "Framed-User", "Framed-Protocol": "PPP",
		})
	}
	all[0].Want(t, map[string]string{"Class": "0x676f6c64", "Acct-Input-Octets": ""})
	all[len(all)-1].Want(t, map[string]string{
		"Acct-Terminate-Cause": "Admin-Reset", "Class": "0x73696c766572", "Acct-Input-Packets": "3", "Acct-Output-Packets": "1",
		"Acct-Input-Octets": "384", "Acct-Output-Octets": "1028", "Framed-IP-Address": "203.0.113.7", "Framed-IPv6-Prefix": "2001:db8:7::/64",
		"Delegated-IPv6-Prefix": "2001:db8:700::/56",
	})
	all = of(records, other)
	all[len(all)-1].Want(t, map[string]string{"Acct-Status-Type": "Stop", "Acct-Terminate-Cause": "Session-Timeout"})
	want(t, "first and last", []string{kinds(records)[0], kinds(records)[len(records)-1]}, "[Accounting-On Accounting-Off]")
}

func TestFreeRADIUSTimeouts(t *testing.T) {
	f := freeradius.Start(t, remoteUsers)
	w := begin(t, remoteConfig(t, "", f))
	var ids []string
	for user, password := range map[string]string{"carol": "sings", "dave": "idles"} {
		c := w.dial(ClientConfig{User: user, Password: password})
		c.untilUp(t)
		ids = append(ids, c.far.Status().ID)
		until(t, "closed", func() bool { return c.closed.Load() != nil && len(w.server.Links()) == 0 })
		c.end(t)
	}
	w.endAll()
	causes := map[string]string{"carol": "Session-Timeout", "dave": "Idle-Timeout"}
	for _, id := range ids {
		all := of(f.Records(), id)
		stop := all[len(all)-1]
		stop.Want(t, map[string]string{"Acct-Status-Type": "Stop", "Acct-Terminate-Cause": causes[stop.Get("User-Name")]})
		if n, err := strconv.Atoi(stop.Get("Acct-Session-Time")); err != nil || n < 1 || n > 10 {
			t.Errorf("Acct-Session-Time %q, want a second or somewhat more", stop.Get("Acct-Session-Time"))
		}
	}
}

// TestFreeRADIUSFailover has the first of two servers die while a link is up.
func TestFreeRADIUSFailover(t *testing.T) {
	first, second := freeradius.Start(t, remoteUsers), freeradius.Start(t, remoteUsers)
	w := begin(t, remoteConfig(t, filepath.Join(t.TempDir(), "journal"), first, second))
	alice := w.dial(ClientConfig{User: "alice", Password: "wonderland"})
	alice.untilUp(t)
	id := alice.far.Status().ID
	until(t, "started", func() bool { return len(of(first.Records(), id)) > 0 })
	first.Stop()
	bob := w.dial(ClientConfig{User: "bob", Password: "builder"})
	bob.untilUp(t)
	other := bob.far.Status().ID
	until(t, "told the other", func() bool { return len(of(second.Records(), other)) > 0 })
	alice.end(t)
	bob.end(t)
	until(t, "gone", func() bool { return len(w.server.Links()) == 0 })
	w.endAll()
	for user, id := range map[string]string{"alice": id, "bob": other} {
		all := of(second.Records(), id)
		if len(all) == 0 {
			t.Fatalf("%s: the other is not told", user)
		}
		all[len(all)-1].Want(t, map[string]string{"Acct-Status-Type": "Stop", "User-Name": user, "Acct-Terminate-Cause": "User-Request"})
	}
	dead := 0
	for _, s := range w.server.cfg.RADIUS.Servers() {
		if !s.DeadUntil.IsZero() {
			dead++
		}
	}
	want(t, "servers that are left alone", dead, 2)
}

// killed is the process that TestFreeRADIUSKilled kills: an LNS with links that are up.
func killed(journal, authentication, accounting string) {
	t := &testing.T{}
	f := &freeradius.Server{Authentication: netip.MustParseAddrPort(authentication), Accounting: netip.MustParseAddrPort(accounting)}
	w := begin(t, remoteConfig(t, journal, f))
	for _, v := range []ClientConfig{{User: "alice", Password: "wonderland"}, {User: "bob", Password: "builder"}} {
		c := w.dial(v)
		c.untilUp(t)
		st := c.far.Status()
		for range 5 {
			c.tun.send(datagram(st.Address.String(), "198.51.100.1", 172))
		}
		until(t, "packets", func() bool { return c.far.Status().InPackets == 5 })
		fmt.Println(st.ID)
	}
	until(t, "in the journal", func() bool {
		text, _ := os.ReadFile(journal)
		return strings.Count(string(text), `"InputOctets":1000`) >= 2
	})
	fmt.Println("ready")
	select {}
}

// TestFreeRADIUSKilled kills an LNS without warning, and wants the next to tell what
// became of its users.
func TestFreeRADIUSKilled(t *testing.T) {
	f := freeradius.Start(t, remoteUsers)
	journal := filepath.Join(t.TempDir(), "journal")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), killedEnv+"="+strings.Join([]string{journal, f.Authentication.String(), f.Accounting.String()}, " "))
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
	if len(ids) != 2 {
		t.Errorf("it said %q, want two links", ids)
	}
	until(t, "both started", func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return len(of(f.Records(), id)) == 0 })
	})
	cmd.Process.Kill()
	cmd.Wait()

	w := begin(t, remoteConfig(t, journal, f))
	carol := w.dial(ClientConfig{User: "alice", Password: "wonderland"}) // the same user again
	carol.untilUp(t)
	again := carol.far.Status().ID
	carol.end(t)
	until(t, "gone", func() bool { return len(w.server.Links()) == 0 })
	w.endAll()
	records := f.Records()
	for i, id := range ids {
		all := of(records, id)
		if k := kinds(all); k[0] != "Start" || k[len(k)-1] != "Stop" || slices.Index(k, "Stop") != len(k)-1 {
			t.Errorf("%s: told %v, want one Start and one Stop", id, k)
		}
		all[len(all)-1].Want(t, map[string]string{"Acct-Terminate-Cause": "NAS-Reboot", "Acct-Input-Octets": "1000", "Acct-Input-Packets": "5",
			"User-Name": []string{"alice", "bob"}[i], "Framed-IP-Address": []string{"203.0.113.7", "10.1.0.1"}[i]})
	}
	if slices.Contains(ids, again) {
		t.Errorf("session %s is told twice", again)
	}
	all := of(records, again)
	want(t, "the next", []string{kinds(all)[0], kinds(all)[len(all)-1]}, "[Start Stop]")
}
