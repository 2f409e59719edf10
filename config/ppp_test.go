package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spanwire/pseudowire/ppp"
)

const dialIn = `[node]
hostname = "lyon"
[ppp.phones]
tun       = "phones0"
address   = "10.20.0.1"
pool      = ["10.20.0.0/24", "10.21.0.5-10.21.0.9"]
ipv6_pool = "2001:db8:20::/48"
radius    = "hq"
auth      = ["chap", "pap"]
dns       = ["192.0.2.53"]
idle_timeout = "10m"
[radius.hq]
servers    = ["192.0.2.10:1812"]
accounting = ["192.0.2.10:1813"]
secret     = "correct horse"
[tunnel.phones]
version = 2
mode    = "accept"
peer    = "any"
ppp     = "phones"
sequence = true
[ppp.head]
mode     = "client"
tun      = "head0"
user     = "alice"
password = "battery staple"
routes   = ["default"]
[tunnel.head]
version = 2
mode    = "dial"
peer    = "192.0.2.4"
secret  = "correct horse battery"
hello   = "5s"
ppp     = "head"
`

// TestVersion2 wants of tunnels of L2TPv2 and their profiles what their keys say.
func TestVersion2(t *testing.T) {
	f := parsed(t, dialIn)
	phones, head := f.Tunnels[0], f.Tunnels[1]
	if v := phones.Version2; v == nil || !v.Incoming || v.Dial || !v.Sequence || v.PPP != "phones" || v.Secret != nil || len(phones.Dynamic.From) == 0 || len(phones.Sessions) > 0 {
		t.Errorf("phones: %+v", phones)
	}
	if v := head.Version2; v == nil || v.Incoming || !v.Dial || v.Sequence || v.Secret == nil || v.Hello != 5*time.Second || head.Dynamic.Peer.Port != 1701 {
		t.Errorf("head: %+v", head)
	}
	server, client := f.PPP[0].Server, f.PPP[1].Client
	if server == nil || server.Name != "phones0" || server.Address != netip.MustParseAddr("10.20.0.1") || server.Pools["ipv4"].Size() != 254+5 ||
		server.Pools["ipv6"].Size() != 1<<16 || server.IdleTimeout != 10*time.Minute || f.PPP[0].RADIUS != "hq" {
		t.Errorf("profile of phones: %+v", server)
	}
	if d := cmp.Diff([]ppp.Method{ppp.ByCHAP, ppp.ByPAP}, server.Methods); d != "" {
		t.Errorf("methods (-want +got):\n%s", d)
	}
	if client == nil || client.Name != "head0" || client.User != "alice" || client.Password != "battery staple" || len(client.Routes) != 1 || client.Routes[0].Bits() != 0 {
		t.Errorf("profile of head: %+v", client)
	}
	if r := f.RADIUS[0]; len(r.Authentication) != 1 || len(r.Accounting) != 1 || r.NASIdentifier != "lyon" {
		t.Errorf("RADIUS: %+v", r)
	}
}

// TestBadVersion2 wants to be told what is wrong with them, and never a secret.
func TestBadVersion2(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users.toml")
	if err := os.WriteFile(users, []byte("[user.bob]\npassword = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct{ old, new, want string }{
		{"version = 2\nmode    = \"accept\"", "version = 4\nmode    = \"accept\"", `tunnel phones: version: found 4, want 3 or 2`},
		{"version = 2\nmode    = \"accept\"", "version = 2\nencap = \"ip\"\nmode    = \"accept\"", `tunnel phones: encap: found "ip", want "udp" with version 2, RFC 2661 section 8.1`},
		{"hello   = \"5s\"", "digest = \"sha1\"", `tunnel head: digest: found with version 2, want version 3 for it`},
		{"ppp     = \"head\"", "", `tunnel head: ppp: missing, want the name of a section [ppp.NAME]`},
		{"ppp     = \"head\"", `ppp = "phones"`, `tunnel head: ppp: found "phones", which is of mode "lns", want one of mode "client" in a tunnel of mode "dial"`},
		{"ppp     = \"head\"", `ppp = "feet"`, `tunnel head: ppp: found "feet", want [ppp.feet] with it`},
		{"ppp     = \"head\"", "ppp = \"head\"\n[tunnel.head.session.x]\ntap = \"a\"", `tunnel head: session: found with version 2, whose calls all join ppp, want none`},
		{`user     = "alice"`, `user = "alice"` + "\npool = \"10.0.0.0/8\"", `ppp head: pool: found in mode "client", want mode "lns" for it`},
		{`user     = "alice"`, ``, `ppp head: user: missing, want the name that the peer knows us by`},
		{`tun      = "head0"`, `tun = "phones0"`, `ppp head: tun: found "phones0", which is that of ppp phones (line 4), want another`},
		{`routes   = ["default"]`, `routes = ["10.0.0.1/8"]`, `ppp head: routes: found array, at place 1 "10.0.0.1/8", want networks: ["198.51.100.0/24", "default"]`},
		{`password = "battery staple"`, `password = 5`, `ppp head: password: found integer, want string`},
		{`address   = "10.20.0.1"`, ``, `ppp phones: address: missing, want our end's IPv4 address with pool`},
		{`ipv6_pool = "2001:db8:20::/48"`, `ipv6_pool = "10.0.0.0/8"`, `ppp phones: ipv6_pool: found "10.0.0.0/8", at place 1 "10.0.0.0/8", want prefixes or ranges of prefixes of length 64: "192.0.2.10-192.0.2.99", "2001:db8::/48"`},
		{`auth      = ["chap", "pap"]`, `auth = ["chap", "md5"]`, `ppp phones: auth: found array, at place 2 "md5", want methods, the best first: "mschapv2", "chap", "pap", "eap"`},
		{`auth      = ["chap", "pap"]`, "auth = [\"chap\"]\nmppe = \"required\"", `ppp phones: mppe: found "required", want "mschapv2" in auth with it, which makes the keys`},
		{`radius    = "hq"`, ``, `ppp phones: users_file: missing, want it or radius: nobody is known who could prove who he is`},
		{`radius    = "hq"`, `radius = "qh"`, `ppp phones: radius: found "qh", want [radius.qh] with it`},
		{`radius    = "hq"`, `users_file = "` + users + `"`, `ppp phones: users_file: found "` + users + `", which cannot be used: ` + users + `:2: user bob: password: found integer, want string`},
		{`secret     = "correct horse"`, ``, `radius hq: secret: missing, want what the servers know us by, or secret_file`},
		{`servers    = ["192.0.2.10:1812"]`, `servers = ["192.0.2.10"]`, `radius hq: servers: found array, at place 1 "192.0.2.10", want addresses with ports: ["192.0.2.10:1812", "[2001:db8::10]:1812"]`},
		{`servers    = ["192.0.2.10:1812"]`, "servers = [\"192.0.2.10:1812\"]\ndynamic = \"192.0.2.1:3799\"", `radius hq: dynamic: found without dynamic_clients, want those who may end sessions with it`},
	} {
		text := strings.Replace(dialIn, v.old, v.new, 1)
		if text == dialIn {
			t.Fatalf("%q is not in the good file", v.old)
		}
		_, err := Parse("f.toml", []byte(text))
		if err == nil || !strings.HasSuffix(err.Error(), ": "+v.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\n got %v\nwant %s", v.new, err, v.want)
		}
		if err != nil && (strings.Contains(err.Error(), "battery") || strings.Contains(err.Error(), "horse")) {
			t.Errorf("%s: a secret is shown: %v", v.new, err)
		}
	}
}
