package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"spanwire/pseudowire/ppp/lns/users"
)

const someUsers = `
[user.alice]
password = "wonderland"
methods = ["chap", "mschapv2"]
links = 2
address = "203.0.113.7"
ipv6_prefix = "2001:db8:7::/64"
delegated_prefix = "2001:db8:700::/56"
routes = ["192.0.2.0/25", "2001:db8:77::/48"]
session_timeout = "1h"
idle_timeout = "10m"

[user."bob@example.org"]
bcrypt = "$2b$10$Nobody.Nobody.Nobody.uNobodys.Hash.Nobodys.Hash.Nobod"
pool = "homes"
ipv6_pool = "links"
delegated_pool = "sites"

[user.'DOMAIN\carol smith']
nt_hash = "44EBBA8D5312B8D611474411F56989AE"
`

func TestParseUsers(t *testing.T) {
	u, err := ParseUsers("users.toml", []byte(someUsers))
	if err != nil {
		t.Fatal(err)
	}
	if len(u.All) != 3 || len(u.Warnings) != 0 {
		t.Fatalf("%d users, %d warnings, want 3 and none", len(u.All), len(u.Warnings))
	}
	set, err := users.New(u.All)
	if err != nil {
		t.Fatal(err)
	}
	if set.CheckPAP("alice", []byte("wonderland")) != nil || set.CheckPAP(`DOMAIN\carol smith`, []byte("clientPass")) == nil {
		t.Error("wrong passwords or methods")
	}
	alice := u.All[0]
	alice.Secret = users.Secret{}
	want := users.User{
		Name: "alice", Methods: users.CHAP | users.MSCHAPv2, Links: 2,
		Address: netip.MustParseAddr("203.0.113.7"), Prefix: netip.MustParsePrefix("2001:db8:7::/64"), Delegated: netip.MustParsePrefix("2001:db8:700::/56"),
		Routes:         []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("2001:db8:77::/48")},
		SessionTimeout: time.Hour, IdleTimeout: 10 * time.Minute,
	}
	if !reflect.DeepEqual(alice, want) {
		t.Errorf("got %+v, want %+v", alice, want)
	}
	if bob := u.All[1]; bob.Name != "bob@example.org" || bob.Pool != "homes" || bob.IPv6Pool != "links" || bob.DelegatedPool != "sites" {
		t.Errorf("bob: %+v", bob)
	}
	if u, err := ParseUsers("", nil); err != nil || len(u.All) != 0 {
		t.Errorf("of an empty file: %v, want no users", err)
	}
}

// TestUsersReference wants every key in the reference, and the reference to be right.
func TestUsersReference(t *testing.T) {
	u, err := ParseUsers("users.toml", []byte(UsersReference))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.New(u.All); err != nil {
		t.Error(err)
	}
	for _, k := range userFields(new(users.User), new(userDraft)) {
		for _, f := range k.fields {
			if !strings.Contains(UsersReference, "\n"+f.key+" ") {
				t.Errorf("the reference has no %s", f.key)
			}
		}
	}
}

func TestParseUsersProblems(t *testing.T) {
	for _, v := range []struct{ text, want string }{
		{"[user.a]\n", "users:1: user a: no password, want one of password, nt_hash and bcrypt"},
		{"[user.a]\npassword = \"x\"\nnt_hash = \"44EBBA8D5312B8D611474411F56989AE\"\n", "users:1: user a: found password and nt_hash, want one of them"},
		{"[user.a]\npassword = \"\"\n", "users:2: user a: password: found 0 octets, want 1 to 255 octets"},
		{"[user.a]\npassword = 12345\n", "users:2: user a: password: found integer, want string"},
		{"[user.a]\nnt_hash = \"hunter2\"\n", "users:2: user a: nt_hash: found 7 octets, want 32 hexadecimal digits"},
		{"[user.a]\nbcrypt = \"hunter2\"\n", "users:2: user a: bcrypt: found 7 octets, want a hash of bcrypt: $2b$COST$ and 53 letters, with a cost of at most 15"},
		{"[user.a]\npasword = \"hunter2\"\n", "users:1: user a: no password, want one of password, nt_hash and bcrypt\nusers:2: user a: pasword: unknown key, want \"password\"?"},
		{"[user.a]\nnt_hash = \"44EBBA8D5312B8D611474411F56989AE\"\nmethods = [\"chap\"]\n", "users:3: user a: methods: found chap, want of nt_hash no other than pap, mschapv2"},
		{"[user.a]\npassword = \"x\"\nmethods = []\n", `users:3: user a: methods: found array, want an array of "pap", "chap" and "mschapv2"`},
		{"[user.a]\npassword = \"x\"\nmethods = [\"eap\"]\n", `users:3: user a: methods: found array, with "eap", want an array of "pap", "chap" and "mschapv2"`},
		{"[user.a]\npassword = \"x\"\nlinks = -1\n", "users:3: user a: links: found -1, want integer from 0 to 1000000"},
		{"[user.a]\npassword = \"x\"\naddress = \"2001:db8::1\"\n", `users:3: user a: address: found "2001:db8::1", want an IPv4 address: "192.0.2.1"`},
		{"[user.a]\npassword = \"x\"\nipv6_prefix = \"2001:db8::/56\"\n", `users:3: user a: ipv6_prefix: found "2001:db8::/56", want an IPv6 prefix of 64 bits`},
		{"[user.a]\npassword = \"x\"\ndelegated_prefix = \"2001:db8::1/56\"\n", `users:3: user a: delegated_prefix: found "2001:db8::1/56", want 2001:db8::/56`},
		{"[user.a]\npassword = \"x\"\nroutes = [\"192.0.2.1/24\"]\n", `users:3: user a: routes: found array, with "192.0.2.1/24", want 192.0.2.0/24`},
		{"[user.a]\npassword = \"x\"\nroutes = [7]\n", `users:3: user a: routes: found array, with 7, want prefixes in quotes`},
		{"[user.a]\npassword = \"x\"\nsession_timeout = \"soon\"\n", `users:3: user a: session_timeout: found "soon", want a duration from "0s" to "87600h0m0s"`},
		{"[user.a]\npassword = \"x\"\npool = \"a b\"\n", `users:3: user a: pool: found "a b", want the name of a pool`},
		{"[user.a]\npassword = \"x\"\naddress = \"192.0.2.1\"\n[user.\"b c\"]\npassword = \"x\"\naddress = \"192.0.2.1\"\n", `users:4: user "b c": 192.0.2.1/32 is user a's already`},
		{"[user.\"\"]\npassword = \"x\"\n", `users:1: user "": name of 0 octets, want 1 to 253`},
		{"[users.a]\npassword = \"x\"\n", `users:1: users: unknown key, want "user"?`},
		{"user = 3\n", "users:1: user: found integer, want [user.NAME]"},
		{"[user]\na = \"hunter2\"\n", "users:2: user a: found string, want [user.NAME]"},
		{"[user.a]\npassword = hunter2\n", "users:2: no TOML, want [user.NAME] and lines such as KEY = \"VALUE\""},
		{"[user.a]\npassword = \"hunter2\n", "users:2: no TOML, want [user.NAME] and lines such as KEY = \"VALUE\""},
		{"hunter2", "users:1: no TOML, want [user.NAME] and lines such as KEY = \"VALUE\""},
		{"[user.a]\npassword = \"x\"\n[user.a]\n", "users:3: Key 'user.a' has already been defined."},
	} {
		_, err := ParseUsers("users", []byte(v.text))
		if err == nil {
			t.Errorf("%q: no error, want %s", v.text, v.want)
			continue
		}
		if err.Error() != v.want {
			t.Errorf("%q: error\n%v, want\n%s", v.text, err, v.want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error shows the password", v.text)
		}
	}
}

func TestLoadUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.toml")
	if _, err := LoadUsers(path); err == nil {
		t.Error("no error for no file")
	}
	for _, v := range []struct {
		mode os.FileMode
		want string
	}{{0o600, ""}, {0o640, path + ": found mode 0640, by which others can read or change the passwords in it, want 0600"}} {
		if err := os.WriteFile(path, []byte(someUsers), v.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, v.mode); err != nil {
			t.Fatal(err)
		}
		u, err := LoadUsers(path)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, w := range u.Warnings {
			got += w.String()
		}
		if got != v.want {
			t.Errorf("mode %v: warning %q, want %q", v.mode, got, v.want)
		}
	}
}

// FuzzParseUsers wants users whom an LNS takes, or problems that show nothing that
// stands behind a password's key.
func FuzzParseUsers(f *testing.F) {
	f.Add(someUsers)
	f.Add("[user.a]\npassword = \"x\"\n[user]\nb.password = 'y'\n")
	f.Add("user = [{password = \"x\"}]")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseUsers("users", []byte(text))
		if err == nil {
			if _, err := users.New(u.All); err != nil {
				t.Error(err)
			}
			return
		}
		problems, ok := err.(Errors)
		if !ok || len(problems) == 0 {
			t.Fatalf("error %v, want problems", err)
		}
		for _, p := range problems {
			if strings.Contains(p.String(), "\n") || p.Line < 0 || p.Line > strings.Count(text, "\n")+1 {
				t.Errorf("problem %q", p)
			}
		}
	})
}
