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
[ppp.phones.pools.silver]
ranges = ["2001:db8:30::/48"]
length = 60
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
mtu      = 1300
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
	if v := phones.Version2; v == nil || !v.Control.Incoming || v.Control.Dial || !v.Number || v.Keep != nil || v.PPP != "phones" ||
		v.Control.Secret != nil || len(v.From) != 2 || phones.Dynamic != nil || len(phones.Sessions) > 0 {
		t.Errorf("phones: %+v", phones)
	}
	if v := head.Version2; v == nil || v.Control.Incoming || !v.Control.Dial || v.Number || v.Keep == nil || v.Keep.Connected.Sequence ||
		v.Control.Secret == nil || v.Control.Hello != 5*time.Second || v.Peer.Port != 1701 || v.Name != "head" || head.Dynamic != nil {
		t.Errorf("head: %+v", head)
	}
	server, client := f.PPP[0].Server, f.PPP[1].Client
	if server == nil || server.Name != "phones0" || server.Address != netip.MustParseAddr("10.20.0.1") || server.Pools["ipv4"].Size() != 254+5 ||
		server.Pools["ipv6"].Size() != 1<<16 || server.Pools["silver"].Size() != 1<<12 || len(server.Routes) != 3 || server.IdleTimeout != 10*time.Minute || f.PPP[0].RADIUS != "hq" {
		t.Errorf("profile of phones: %+v", server)
	}
	if d := cmp.Diff([]ppp.Method{ppp.ByCHAP, ppp.ByPAP}, server.Methods); d != "" {
		t.Errorf("methods (-want +got):\n%s", d)
	}
	if client == nil || client.Name != "head0" || client.User != "alice" || client.Password != "battery staple" || len(client.Routes) != 1 || client.Routes[0].Bits() != 0 {
		t.Errorf("profile of head: %+v", client)
	}
	if !f.PPP[0].AutoMTU || f.PPP[1].AutoMTU || client.MTU != 1300 {
		t.Errorf("MTUs %v %d and %v %d, want one as the path allows and one of 1300", f.PPP[0].AutoMTU, server.MTU, f.PPP[1].AutoMTU, client.MTU)
	}
	if r := f.RADIUS[0]; len(r.Authentication) != 1 || len(r.Accounting) != 1 || r.NASIdentifier != "lyon" {
		t.Errorf("RADIUS: %+v", r)
	}
}

// auto is a tunnel of both versions.
var auto = strings.NewReplacer("version = 2\nmode    = \"accept\"", "version = \"auto\"\npseudowire = \"ppp\"\nmode = \"accept\"\nsecret = \"abracadabra\"",
	"version = 2\nmode    = \"dial\"", "version = \"auto\"\nmode = \"dial\"", "[ppp.head]", "[tunnel.phones.session.lan]\nhub = \"lab\"\n[ppp.head]").
	Replace(dialIn) + "[tunnel.head.session.office]\ntap = \"office0\"\n[hub.lab]\n[hub.lab.port.lan]\ntap = \"lab0\"\n"

// TestBothVersions wants one tunnel to be read for each version that it speaks.
func TestBothVersions(t *testing.T) {
	f := parsed(t, auto)
	for _, tunnel := range f.Tunnels {
		d, v := tunnel.Dynamic, tunnel.Version2
		if d == nil || v == nil || len(d.Circuits) != 1 || d.Control.Dial != v.Control.Dial || d.Socket != v.Socket || len(d.From) != len(v.From) ||
			len(d.Control.Secrets) != 1 || v.Control.Secret == nil || v.PPP != tunnel.Name {
			t.Errorf("%s: %+v %+v", tunnel.Name, d, v)
		}
	}
}

// TestBadVersion2 wants to be told what is wrong with them, and never a secret.
func TestBadVersion2(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users.toml")
	if err := os.WriteFile(users, []byte("[user.bob]\npassword = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	strangers := filepath.Join(dir, "strangers.toml")
	if err := os.WriteFile(strangers, []byte("[user.carol]\npassword = \"tulips\"\npool = \"gold\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct{ old, new, want string }{
		{"version = 2\nmode    = \"accept\"", "version = 4\nmode    = \"accept\"", `tunnel phones: version: found 4, want 3, 2 or "auto"`},
		{"version = 2\nmode    = \"accept\"", "version = 2\npseudowire = \"ethernet\"\nmode = \"accept\"", `tunnel phones: pseudowire: found "ethernet", want "ppp"`},
		{"ppp     = \"head\"", "ppp = \"head\"\n[tunnel.foot]\nversion = 2\nmode = \"dial\"\npeer = \"192.0.2.5\"\nppp = \"head\"", `tunnel foot: ppp: found "head", which is that of tunnel head (line 38), want another`},
		{"version = 2\nmode    = \"accept\"", "version = 2\nencap = \"ip\"\nmode    = \"accept\"", `tunnel phones: encap: found "ip", want "udp" with version 2, RFC 2661 section 8.1`},
		{"hello   = \"5s\"", "digest = \"sha1\"", `tunnel head: digest: found with version 2, want version 3 for it`},
		{"ppp     = \"head\"", "", `tunnel head: ppp: missing, want the name of a section [ppp.NAME]`},
		{"ppp     = \"head\"", `ppp = "phones"`, `tunnel head: ppp: found "phones", which is of mode "lns", want one of mode "client" in a tunnel of mode "dial"`},
		{"ppp     = \"head\"", `ppp = "feet"`, `tunnel head: ppp: found "feet", want [ppp.feet] with it`},
		{"ppp     = \"head\"", "ppp = \"head\"\n[tunnel.head.session.x]\ntap = \"a\"", `tunnel head: session: found with version 2, whose calls all join ppp, want none`},
		{`user     = "alice"`, `user = "alice"` + "\npool = \"10.0.0.0/8\"", `ppp head: pool: found in mode "client", want mode "lns" for it`},
		{`password = "battery staple"`, ``, `ppp head: password: missing, want it or password_file, or auth = [] for a peer that wants no proof`},
		{"mtu      = 1300", "mtu = 1279", `ppp head: mtu: found 1279, want "auto" or integer from 1280 to 1500`},
		{`radius    = "hq"`, `users_file = "` + strangers + `"`, `ppp phones: users_file: user carol is to get from pool "gold", want one of ipv4, ipv6, silver`},
		{`user     = "alice"`, ``, `ppp head: user: missing, want the name that the peer knows us by`},
		{`tun      = "head0"`, `tun = "phones0"`, `ppp head: tun: found "phones0", which is that of ppp phones (line 4), want another`},
		{`routes   = ["default"]`, `routes = ["10.0.0.1/8"]`, `ppp head: routes: found array, at place 1 "10.0.0.1/8", want networks: ["198.51.100.0/24", "default"]`},
		{`password = "battery staple"`, `password = 5`, `ppp head: password: found integer, want string`},
		{`address   = "10.20.0.1"`, ``, `ppp phones: address: missing, want our end's IPv4 address with pool`},
		{`ipv6_pool = "2001:db8:20::/48"`, `ipv6_pool = "10.0.0.0/8"`, `ppp phones: ipv6_pool: found "10.0.0.0/8", want ranges of IPv6`},
		{`ranges = ["2001:db8:30::/48"]`, ``, `ppp phones: pools silver: ranges: missing, want prefixes or ranges: "192.0.2.10-192.0.2.99", "2001:db8::/48"`},
		{`ranges = ["2001:db8:30::/48"]`, `ranges = ["2001:db8:30::/48", "10.0.0.0/8"]`, `ppp phones: pools silver: ranges: found array, at place 2 "10.0.0.0/8", want prefixes or ranges: "192.0.2.10-192.0.2.99", "2001:db8::/48", all of IPv4 or all of IPv6`},
		{`ranges = ["2001:db8:30::/48"]`, `ranges = ["2001:db8:20::/52"]`, `ppp phones: pools silver: ranges: found 2001:db8:20::-2001:db8:20:fff:ffff:ffff:ffff:ffff, of which some are in ipv6_pool of ppp phones (line 7), want others`},
		{`"10.21.0.5-10.21.0.9"`, `"10.20.0.5-10.20.0.9"`, `ppp phones: pool: found array, which cannot be used: 10.20.0.1-10.20.0.254 and 10.20.0.5-10.20.0.9 have addresses in common`},
		{`length = 60`, `length = 40`, `ppp phones: pools silver: ranges: which cannot be used: 2001:db8:30::-2001:db8:30:ffff:ffff:ffff:ffff:ffff has no whole prefix of 40 bits`},
		{`ranges = ["2001:db8:30::/48"]`, `ranges = "10.30.0.0/24"`, `ppp phones: pools silver: length: found 60, want 32 for addresses of IPv4`},
		{`pools.silver`, `pools.ipv4`, `ppp phones: pools ipv4: found the name of a pool that the profile has already, want another`},
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

// TestVersion2Belongs wants keys of one version to be refused with the other.
func TestVersion2Belongs(t *testing.T) {
	for _, v := range []struct{ text, old, new, want string }{
		{dialling, `hello = "60s"`, `ppp = "head"`, `f.toml:8: tunnel rome: ppp: found with version 3, want version 2 or "auto" for it`},
		{dialling, `hello = "60s"`, `sequence = true`, `f.toml:8: tunnel rome: sequence: found with version 3, want version 2 or "auto" for it`},
		{dialling, `hello = "60s"`, `pseudowire = "ppp"`, `f.toml:8: tunnel rome: pseudowire: found with version 3, want version 2 or "auto" for it`},
		{good, `encap = "udp"`, `version = 2`, `f.toml:5: tunnel paris: version: found 2 in mode "static", want mode "dial" or "accept" for it`},
		{good, `encap = "udp"`, `version = "auto"`, `f.toml:5: tunnel paris: version: found "auto" in mode "static", want mode "dial" or "accept" for it`},
		{good, `encap = "udp"`, `ppp = "x"`, `f.toml:5: tunnel paris: ppp: found in mode "static", want mode "dial" or "accept" for it`},
		{auto, "[tunnel.phones.session.lan]\nhub = \"lab\"\n", "", `f.toml:19: tunnel phones: session: missing, want [tunnel.phones.session.NAME]`},
		{auto, "version = \"auto\"\nmode = \"dial\"", "version = \"auto\"\nencap = \"ip\"\nmode = \"dial\"", `f.toml:38: tunnel head: encap: found "ip", want "udp" with version "auto", RFC 2661 section 8.1`},
	} {
		text := strings.Replace(v.text, v.old, v.new, 1)
		if text == v.text {
			t.Fatalf("%q is not in the good file", v.old)
		}
		if _, err := Parse("f.toml", []byte(text)); err == nil || err.Error() != v.want {
			t.Errorf("%s:\n got %v\nwant %s", v.new, err, v.want)
		}
	}
}
