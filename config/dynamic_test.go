package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// dialling and accepting are small files that have nothing wrong.
const dialling = `[node]
hostname = "lyon"

[tunnel.rome]
mode = "dial"
peer = "192.0.2.3"
secret = "abracadabra"
hello = "60s"

[tunnel.rome.session.office]
tap = "rome0"
`

const accepting = `[node]
hostname = "lyon"

[tunnel.branches]
mode = "accept"
peer = "198.51.100.0/24"
secret = "abracadabra"
hello = "60s"

[tunnel.branches.session.lan]
tap = "l2-{peer}"
`

// parsed reads a text that has nothing wrong.
func parsed(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("f.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDial reads every key of a tunnel that dials, and of its session, at another
// value than its default.
func TestDial(t *testing.T) {
	f := parsed(t, `
[tunnel.rome]
mode = "dial"
local = "192.0.2.1"
peer = "192.0.2.3:1703"
dscp = 46
hostname = "lyon.example.net"
router_id = "192.0.2.9"
peer_hostname = "rome"
peer_router_id = 4294967295
secret = "abracadabra"
next_secret = "open sesame"
digest = "md5"
hide = true
hello = "10s"
retransmit_timeout = "2s"
retransmit_cap = "16s"
retransmit_limit = 11
dial_retransmit_limit = 5
receive_window = 1024
setup_timeout = "20s"
redial_min = "2s"
redial_max = "3m"
redial_limit = 7
session_limit = 8
tie_breaker = false
dialect = "cisco"
language = "fr-CH"
[tunnel.rome.session.office]
remote_end_id = 100
cookie_size = 4
peer_cookie_size = 8
cookie_lifetime = "1h"
cookie_overlap = "10s"
sublayer = "default"
sequencing = "all"
reorder_timeout = "5ms"
call = "outgoing"
tie_breaker = false
tx_speed = "100 Mbit"
rx_speed = 64000
physical_channel_id = 7
tap = "rome0"
carrier = "always"
bridge = "br-lan"
[tunnel.rome.session.lab]
initiate = false
remote_end_id = "lab 7"
tap = "rome1"
`)
	tunnel := f.Tunnels[0]
	config := l2tpv3.TunnelConfig{
		Name:   "rome",
		Socket: transport.Config{Local: netip.MustParseAddrPort("192.0.2.1:1701"), ReceiveBuffer: 4 << 20, SendBuffer: 4 << 20},
		Peer:   l2tpv3.Host{Addr: netip.MustParseAddr("192.0.2.3"), Port: 1703},
		DSCP:   46,
	}
	want := &l2tpv3.DynamicConfig{
		TunnelConfig: config,
		Control: control.TunnelConfig{
			Dial: true, Limit: 1000,
			PeerHostName: "rome", PeerRouterID: 1<<32 - 1, HostName: "lyon.example.net", RouterID: 0xc0000209, Language: "fr-CH",
			Secrets: []*wire.Secret{wire.NewSecret([]byte("open sesame")), wire.NewSecret([]byte("abracadabra"))},
			Digests: []wire.DigestType{wire.MD5}, Hide: true,
			Hello: 10 * time.Second, Timeout: 2 * time.Second, MaxTimeout: 16 * time.Second, Retries: 11, DialRetries: 5, ReceiveWindow: 1024,
			SetupTimeout: 20 * time.Second, RedialMin: 2 * time.Second, RedialMax: 3 * time.Minute, RedialLimit: 7, SessionLimit: 8,
			NoTieBreaker: true, Dialect: control.Cisco,
		},
		Circuits: []l2tpv3.Circuit{{
			CircuitConfig: control.CircuitConfig{
				Name: "office", RemoteEndID: []byte{0, 0, 0, 100}, OtherEndID: []byte("100"), Pseudowire: pseudowire.Ethernet, CookieSize: 4, PeerCookieSize: 8,
				Sublayer: pseudowire.DefaultSublayer, Sequencing: pseudowire.AllSequencing, Initiate: true, Outgoing: true, NoTieBreaker: true,
				TxSpeed: 100e6, RxSpeed: 64000, PhysicalChannelID: 7, CookieLifetime: time.Hour, Overlap: 10 * time.Second,
			},
			ReorderTimeout: 5 * time.Millisecond,
		}, {
			CircuitConfig: control.CircuitConfig{
				Name: "lab", RemoteEndID: []byte("lab 7"), Pseudowire: pseudowire.Ethernet, CookieSize: 8, Overlap: 5 * time.Second,
			},
		}},
	}
	if d := cmp.Diff(want, tunnel.Dynamic, addresses); d != "" {
		t.Errorf("dynamic (-want +got):\n%s", d)
	}
	if tunnel.Mode != "dial" || tunnel.TunnelConfig != config {
		t.Errorf("mode %s, tunnel %+v, want dial and that of its dynamic", tunnel.Mode, tunnel.TunnelConfig)
	}
	office, lab := tunnel.Sessions[0], tunnel.Sessions[1]
	if office.Circuit != &tunnel.Dynamic.Circuits[0] || lab.Circuit != &tunnel.Dynamic.Circuits[1] {
		t.Error("the sessions' circuits are not those of the tunnel")
	}
	q := office.Params
	if office.Name != "office" || q.Name != "rome/office" || q.Pseudowire != pseudowire.Ethernet || q.ReorderTimeout != 5*time.Millisecond ||
		q.Sublayer != pseudowire.DefaultSublayer || q.PeerSublayer != q.Sublayer || q.Sequencing != pseudowire.AllSequencing || q.PeerSequencing != q.Sequencing {
		t.Errorf("parameters %+v", q)
	}
	if q := office.Assumed(); q.ReceiveCookie.Len() != 4 || q.SendCookie.Len() != 8 {
		t.Errorf("cookies of %v and %v assumed, want 4, and 8 that the peer must assign", q.ReceiveCookie, q.SendCookie)
	}
	if office.TAP != "rome0" || office.TAPPattern || office.Carrier != "always" || lab.Carrier != "follow" || office.Bridge != "br-lan" {
		t.Errorf("segment %+v, carrier of the other %s", office, lab.Carrier)
	}
}

// TestAccept reads what a tunnel that waits has otherwise than one that dials.
func TestAccept(t *testing.T) {
	tunnel := parsed(t, strings.NewReplacer(`hello = "60s"`, "peer_limit = 5", "tap =", "any_end_id = true\ntap =").Replace(accepting)).Tunnels[0]
	c, s := tunnel.Dynamic.Control, tunnel.Sessions[0]
	if c.Dial || !c.Many || c.Limit != 5 || c.Name != "" || c.Circuits != nil {
		t.Errorf("control %+v, want a template of 5", c)
	}
	if !s.Circuit.AnyEndID || s.Circuit.Initiate || s.Circuit.RemoteEndID != nil || s.TAP != "l2-{peer}" || !s.TAPPattern {
		t.Errorf("session %+v, circuit %+v, want one for any Remote End ID that waits", s, s.Circuit)
	}
}

// TestPeers reads every form of where an accepted peer comes from.
func TestPeers(t *testing.T) {
	for _, v := range []struct{ keys, want string }{
		{`peer = "192.0.2.3"`, "192.0.2.3 from [] at 0.0.0.0:1701"},
		{`peer = "::ffff:192.0.2.3"`, "192.0.2.3 from [] at 0.0.0.0:1701"},
		{`peer = "paris.example.net"`, "paris.example.net from [] at invalid AddrPort"},
		{`peer = "any"`, "template from [0.0.0.0/0 ::/0] at invalid AddrPort"},
		{`peer = "any"` + "\nlocal = \"192.0.2.1:1702\"", "template from [0.0.0.0/0] at 192.0.2.1:1702"},
		{`peer = "any"` + "\nlocal = \"::\"", "template from [::/0] at [::]:1701"},
		{`peer = "any"` + "\nencap = \"ip\"\nlocal = \"::\"", "template from [::/0] at [::]:0"},
		{`peer = "any"` + "\npeer_hostname = \"rome\"", "from [0.0.0.0/0 ::/0] at invalid AddrPort"},
		{`peer = "198.51.100.0/24"`, "template from [198.51.100.0/24] at 0.0.0.0:1701"},
		{`peer = "198.51.100.0/24"` + "\npeer_hostname = \"rome\"", "from [198.51.100.0/24] at 0.0.0.0:1701"},
		{`peer = ["2001:db8::/32", "2001:db9::1"]`, "template from [2001:db8::/32 2001:db9::1/128] at [::]:1701"},
		{`peer = ["2001:db8::/32", "192.0.2.3"]`, "template from [2001:db8::/32 192.0.2.3/32] at invalid AddrPort"},
	} {
		text := strings.Replace(accepting, `peer = "198.51.100.0/24"`, v.keys, 1)
		if !strings.Contains(v.want, "template") {
			text = strings.Replace(text, "l2-{peer}", "rome0", 1)
		}
		tunnel := parsed(t, text).Tunnels[0]
		got := fmt.Sprintf("from %v at %v", tunnel.Dynamic.From, tunnel.Socket.Local)
		if peer := tunnel.Peer; peer.Addr.IsValid() {
			got = peer.Addr.String() + " " + got
		} else if peer.Name != "" {
			got = peer.Name + " " + got
		}
		if tunnel.Dynamic.Control.Many {
			got = "template " + got
		}
		if got != v.want {
			t.Errorf("%s: %s, want %s", v.keys, got, v.want)
		}
	}
}

// TestDigest reads what signs messages, with a secret and without.
func TestDigest(t *testing.T) {
	for _, v := range []struct {
		digest    string
		secured   []wire.DigestType
		unsecured []wire.DigestType
	}{
		{"auto", nil, nil},
		{"sha1", []wire.DigestType{wire.SHA1}, []wire.DigestType{wire.SHA1}},
		{"md5", []wire.DigestType{wire.MD5}, []wire.DigestType{wire.MD5}},
		{"both", []wire.DigestType{wire.SHA1, wire.MD5}, []wire.DigestType{wire.SHA1, wire.MD5}},
	} {
		text := strings.Replace(dialling, `hello = "60s"`, fmt.Sprintf("digest = %q", v.digest), 1)
		c := parsed(t, text).Tunnels[0].Dynamic.Control
		if d := cmp.Diff(v.secured, c.Digests); d != "" || c.Integrity || len(c.Secrets) != 1 {
			t.Errorf("%s with a secret: integrity %v, %d secrets, digests (-want +got):\n%s", v.digest, c.Integrity, len(c.Secrets), d)
		}
		c = parsed(t, strings.Replace(text, `secret = "abracadabra"`, "", 1)).Tunnels[0].Dynamic.Control
		if d := cmp.Diff(v.unsecured, c.Digests); d != "" || c.Integrity != (v.digest != "auto") || c.Secrets != nil {
			t.Errorf("%s without a secret: integrity %v, %d secrets, digests (-want +got):\n%s", v.digest, c.Integrity, len(c.Secrets), d)
		}
	}
	none := strings.NewReplacer(`hello = "60s"`, `digest = "none"`, `secret = "abracadabra"`, "").Replace(dialling)
	if c := parsed(t, none).Tunnels[0].Dynamic.Control; c.Integrity || c.Digests != nil {
		t.Errorf("none: integrity %v, digests %v, want none", c.Integrity, c.Digests)
	}
}

// TestBadDynamic changes one place of a good file, and wants to be told what is
// wrong and nothing else.
func TestBadDynamic(t *testing.T) {
	const (
		hello, secret, tap = `hello = "60s"`, `secret = "abracadabra"`, `tap = "rome0"`
		rome, office       = "tunnel rome: ", "tunnel rome: session office: "
		branches, lan      = "tunnel branches: ", "tunnel branches: session lan: "
		network, pattern   = `"198.51.100.0/24"`, `tap = "l2-{peer}"`
		wantRouterID       = `want an IPv4 address, "192.0.2.1", or integer from 1 to 4294967295`
		wantName           = `want a name of 1 to 255 octets of US-ASCII without / and white space`
		wantEndID          = `want text of 1 to 255 octets, or integer from 0 to 4294967295`
		wantSpeed          = `want bits a second, 1 or more, as integer or as string such as "100Mbit"`
		wantLanguage       = `want a language tag of RFC 3066: "en", "fr-CH"`
		checksums          = `"UDP checksums MUST be enabled for L2TP control messages", RFC 3931 section 4.1.2.3`
	)
	long := strings.Repeat("x", 256)
	for _, v := range []struct {
		good, old, new string
		line           int
		want           string
	}{
		{dialling, `"192.0.2.3"`, `"any"`, 6, rome + `peer: found "any", want ` + wantPeer(wire.UDP)},
		{dialling, `"192.0.2.3"`, `["192.0.2.3"]`, 6, rome + `peer: found array, want string`},
		{dialling, `"dial"`, `"accept"` + "\nlocal = \"::1\"", 7, rome + `peer: found 192.0.2.3, and local is ::1: want both IPv4 or both IPv6`},
		{dialling, `"dial"`, `"static"`, 7, rome + `secret: found in mode "static", want mode "dial" or "accept" for it` + "\n" + // and all that it lacks
			`f.toml:8: ` + rome + `hello: found in mode "static", want mode "dial" or "accept" for it` + "\n" +
			`f.toml:10: ` + office + `peer_session_id: missing, want ` + needID + "\n" +
			`f.toml:10: ` + office + `receive_cookie: missing, want ` + needCookie + "\n" +
			`f.toml:10: ` + office + `send_cookie: missing, want ` + needCookie + "\n" +
			`f.toml:10: ` + office + `session_id: missing, want ` + needID},
		{dialling, `"dial"`, `"dail"`, 5, rome + `mode: found "dail", want "static" or "dial" or "accept"`},
		{dialling, hello, `colour = "blue"`, 8, rome + `colour: unknown key`},
		{dialling, hello, `helo = "60s"`, 8, rome + `helo: unknown key, want "hello"?`},
		{dialling, hello, `secrt = "open sesame"`, 8, rome + `secrt: unknown key, want "secret"?`},
		{dialling, hello, `peer_limit = 5`, 8, rome + `peer_limit: found in mode "dial", want mode "accept" for it`},
		{dialling, hello, `udp_csum = false`, 8, rome + `udp_csum: found false, want true in mode "dial": ` + checksums},
		{dialling, hello, `udp6_zero_csum_tx = true`, 8, rome + `udp6_zero_csum_tx: found true, want false in mode "dial": ` + checksums},
		{dialling, `"lyon"`, `"lÿon"`, 4, rome + `hostname: missing, and the node's, "lÿon", is no US-ASCII as RFC 3931 section 5.4.3 wants it`},
		{dialling, hello, `hostname = "lÿon"`, 8, rome + `hostname: found "lÿon", ` + wantName},
		{dialling, hello, `hostname = ""`, 8, rome + `hostname: found "", ` + wantName},
		{dialling, hello, `peer_hostname = "a\nb"`, 8, rome + `peer_hostname: found "a\nb", want a name of 1 to 255 octets`},
		{dialling, hello, `router_id = 0`, 8, rome + `router_id: found 0, ` + wantRouterID},
		{dialling, hello, `router_id = "0.0.0.0"`, 8, rome + `router_id: found "0.0.0.0", ` + wantRouterID},
		{dialling, hello, `peer_router_id = 4294967296`, 8, rome + `peer_router_id: found 4294967296, ` + wantRouterID},
		{dialling, hello, `peer_router_id = "2001:db8::1"`, 8, rome + `peer_router_id: found "2001:db8::1", ` + wantRouterID},
		{dialling, secret, `secret = ""`, 7, rome + `secret: found 0 octets, want 1 to 1024 octets`},
		{dialling, secret, `secret = "` + strings.Repeat("x", 1025) + `"`, 7, rome + `secret: found 1025 octets, want 1 to 1024 octets`},
		{dialling, hello, `secret_file = ""`, 8, rome + `secret_file: found "", want a path` + "\n" + `f.toml:8: ` + rome + `secret_file: found with secret, want one of the two`},
		{dialling, hello, `next_secret = ""`, 8, rome + `next_secret: found 0 octets, want 1 to 1024 octets`},
		{dialling, hello, `next_secret = "abracadabra"`, 8, rome + `next_secret: the same as secret, want another`},
		{dialling, secret, `next_secret = "abracadabra"`, 4, rome + `secret: missing, want with next_secret the one that the peer has now`},
		{dialling, hello, `digest = "sha256"`, 8, rome + `digest: found "sha256", want "auto" or "sha1" or "md5" or "both" or "none"`},
		{dialling, hello, `digest = "none"`, 8, rome + `digest: found "none", want "auto", "sha1", "md5" or "both" with a secret, which takes a digest in every message, RFC 3931 section 4.3`},
		{dialling, hello, "digest = \"both\"\nnext_secret = \"open sesame\"", 8, rome + `digest: found "both", want one with next_secret: a message has two digests at most, RFC 3931 section 5.4.1`},
		{dialling, secret, `hide = true`, 7, rome + `hide: found true, want a secret with it, RFC 3931 section 5.3`},
		{dialling, hello, `hello = "0s"`, 8, rome + `hello: found "0s", want a duration from "100ms" to "1h0m0s"`},
		{dialling, hello, `hello = 60`, 8, rome + `hello: found integer 60, want string`},
		{dialling, hello, `retransmit_timeout = "9ms"`, 8, rome + `retransmit_timeout: found "9ms", want a duration from "10ms" to "1m0s"`},
		{dialling, hello, `retransmit_cap = "11m"`, 8, rome + `retransmit_cap: found "11m", want a duration from "10ms" to "10m0s"`},
		{dialling, hello, "retransmit_timeout = \"10s\"\nretransmit_cap = \"9s\"", 9, rome + `retransmit_cap: found "9s", want at least retransmit_timeout, "10s"`},
		{dialling, hello, `retransmit_limit = 0`, 8, rome + `retransmit_limit: found 0, want integer from 1 to 1000`},
		{dialling, hello, `dial_retransmit_limit = 1001`, 8, rome + `dial_retransmit_limit: found 1001, want integer from 1 to 1000`},
		{dialling, hello, `receive_window = 1025`, 8, rome + `receive_window: found 1025, want integer from 1 to 1024`},
		{dialling, hello, `receive_window = 0`, 8, rome + `receive_window: found 0, want integer from 1 to 1024`},
		{dialling, hello, `setup_timeout = "2h"`, 8, rome + `setup_timeout: found "2h", want a duration from "100ms" to "1h0m0s"`},
		{dialling, hello, `redial_min = "2h"`, 8, rome + `redial_min: found "2h", want a duration from "10ms" to "1h0m0s"`},
		{dialling, hello, `redial_min = "2m"`, 8, rome + `redial_min: found "2m0s", want at most redial_max, "1m0s"`},
		{dialling, hello, `redial_max = "25h"`, 8, rome + `redial_max: found "25h", want a duration from "10ms" to "24h0m0s"`},
		{dialling, hello, `redial_limit = -1`, 8, rome + `redial_limit: found -1, want integer from 0 to 1000000`},
		{dialling, hello, `session_limit = 0`, 8, rome + `session_limit: found 0, want integer from 1 to 1000000`},
		{dialling, hello, "session_limit = 1\n[tunnel.rome.session.lab]\ntap = \"lab0\"", 8, rome + `session_limit: found 1, want 2 or more, which are in this file`},
		{dialling, hello, `tie_breaker = 1`, 8, rome + `tie_breaker: found integer 1, want boolean`},
		{dialling, hello, `dialect = "rfc"`, 8, rome + `dialect: found "rfc", want "auto" or "ietf" or "cisco"`},
		{dialling, hello, `language = "1en"`, 8, rome + `language: found "1en", ` + wantLanguage},
		{dialling, hello, `language = "en_US"`, 8, rome + `language: found "en_US", ` + wantLanguage},
		{dialling, `[tunnel.rome]`, "[tunnel.\"a:b\"]\nmode = \"dial\"\npeer = \"192.0.2.4\"\nsession.s.tap = \"s\"\n[tunnel.rome]", 4, `tunnel a:b: want a name without : and @, which stand in the names of instances`},
		{dialling, `[tunnel.rome]`, "[tunnel.\"a@b\"]\nmode = \"dial\"\npeer = \"192.0.2.4\"\nsession.s.tap = \"s\"\n[tunnel.rome]", 4, `tunnel a@b: want a name without : and @, which stand in the names of instances`},

		{dialling, `session.office]`, `session."of:fice"]`, 10, `tunnel rome: session of:fice: want a name without :, which stands in the names of instances`},
		{dialling, `session.office]`, `session.` + long + `]`, 10, `tunnel rome: session ` + long + `: remote_end_id: missing, and the session's name has 256 octets, want 1 to 255`},
		{dialling, tap, tap + "\npseudowire = \"ppp\"", 11, office + `tap: found with pseudowire "ppp", want serial for it`},
		{dialling, tap, tap + "\nsession_id = 5", 12, office + `session_id: found in mode "dial", want mode "static" for it`},
		{dialling, tap, tap + "\npeer_session_id = 5", 12, office + `peer_session_id: found in mode "dial", want mode "static" for it`},
		{dialling, tap, tap + "\nsend_cookie = \"\"", 12, office + `send_cookie: found in mode "dial", want mode "static" for it`},
		{dialling, tap, tap + "\nreceive_cookie = \"\"", 12, office + `receive_cookie: found in mode "dial", want mode "static" for it`},
		{dialling, tap, tap + "\nany_end_id = true", 12, office + `any_end_id: found in mode "dial", want mode "accept" for it`},
		{dialling, tap, tap + "\nremote_end_id = \"\"", 12, office + `remote_end_id: found "", ` + wantEndID},
		{dialling, tap, tap + "\nremote_end_id = \"" + long + `"`, 12, office + `remote_end_id: found "` + long + `", ` + wantEndID},
		{dialling, tap, tap + "\nremote_end_id = -1", 12, office + `remote_end_id: found -1, ` + wantEndID},
		{dialling, tap, tap + "\nremote_end_id = 4294967296", 12, office + `remote_end_id: found 4294967296, ` + wantEndID},
		{dialling, tap, tap + "\ncookie_size = 6", 12, office + `cookie_size: found 6, want 0 or 4 or 8`},
		{dialling, tap, tap + "\npeer_cookie_size = 16", 12, office + `peer_cookie_size: found 16, want 0 or 4 or 8`},
		{dialling, tap, tap + "\ncookie_lifetime = \"9s\"", 12, office + `cookie_lifetime: found "9s", want "0s", for ever, or a duration from "10s" to "8760h0m0s"`},
		{dialling, tap, tap + "\ncookie_overlap = \"0s\"", 12, office + `cookie_overlap: found "0s", want a duration from "100ms" to "10m0s"`},
		{dialling, tap, tap + "\ncookie_lifetime = \"20s\"\ncookie_overlap = \"20s\"", 13, office + `cookie_overlap: found "20s", want less than cookie_lifetime, "20s"`},
		{dialling, tap, tap + "\nsublayer = \"atm\"", 12, office + `sublayer: found "atm", want "none" or "default"`},
		{dialling, tap, tap + "\nsequencing = \"all\"", 12, office + `sequencing: found "all", want sublayer = "default" with it, which carries the number, RFC 3931 section 4.6`},
		{dialling, tap, tap + "\nreorder_timeout = \"5ms\"", 12, office + `reorder_timeout: found "5ms", want sequencing with it: there is nothing to order by`},
		{dialling, tap, tap + "\ncall = \"collect\"", 12, office + `call: found "collect", want "incoming" or "outgoing"`},
		{dialling, tap, tap + "\ncall = \"outgoing\"\ninitiate = false", 12, office + `call: found "outgoing", want initiate = true with it: the peer is asked to place the call, RFC 3931 section 7.4`},
		{dialling, tap, tap + "\ninitiate = \"yes\"", 12, office + `initiate: found string "yes", want boolean`},
		{dialling, tap, tap + "\ntie_breaker = \"no\"", 12, office + `tie_breaker: found string "no", want boolean`},
		{dialling, tap, tap + "\ntx_speed = 0", 12, office + `tx_speed: found 0, ` + wantSpeed},
		{dialling, tap, tap + "\ntx_speed = \"1.5Gbit\"", 12, office + `tx_speed: found "1.5Gbit", ` + wantSpeed},
		{dialling, tap, tap + "\nrx_speed = \"9223373Tbit\"", 12, office + `rx_speed: found "9223373Tbit", ` + wantSpeed},
		{dialling, tap, tap + "\nphysical_channel_id = 0", 12, office + `physical_channel_id: found 0, want integer from 1 to 4294967295`},
		{dialling, tap, `tap = ""`, 11, office + `tap: found "", ` + wantTAP},
		{dialling, tap, `tap = "rome:0"`, 11, office + `tap: found "rome:0", ` + wantTAP},
		{dialling, tap, `tap = "l2-{peer}"`, 11, office + `tap: found "l2-{peer}", want the name of an interface: a pattern is for templates`},
		{dialling, tap, tap + "\ncarrier = \"never\"", 12, office + `carrier: found "never", want "follow" or "always"`},
		{dialling, tap, `carrier = "always"`, 11, office + `carrier: found without tap, want tap with it`},
		{dialling, tap, `bridge = "br0"`, 11, office + `bridge: found without tap, want tap with it`},
		{dialling, tap, `mtu = 1500`, 11, office + `mtu: found without tap, want tap with it`},
		{dialling, tap, `mac = "02:00:00:00:00:01"`, 11, office + `mac: found without tap, want tap with it`},
		{dialling, tap, `addresses = ["198.51.100.1/24"]`, 11, office + `addresses: found without tap, want tap with it`},
		{dialling, tap, tap + "\n[tunnel.rome.session.lab]\ntap = \"rome0\"", 13, `tunnel rome: session lab: tap: found "rome0", which is that of tunnel rome: session office (line 11), want another`},
		{dialling, tap, tap + "\nbridge = \"rome0\"", 12, office + `bridge: found "rome0", which is the tap of tunnel rome: session office (line 11), want another`},
		{dialling, tap, tap + "\n[tunnel.rome.session.lab]\ntap = \"lab0\"\nremote_end_id = \"office\"", 14,
			`tunnel rome: session lab: remote_end_id: found "office", which is that of tunnel rome: session office (line 10), want another: it says which circuit a session is for, RFC 3931 section 5.4.4`},
		{dialling, tap, tap + "\nremote_end_id = \"100\"\n[tunnel.rome.session.lab]\ntap = \"lab0\"\nremote_end_id = 100", 15,
			`tunnel rome: session lab: remote_end_id: found "100", which is that of tunnel rome: session office (line 12), want another: it says which circuit a session is for, RFC 3931 section 5.4.4`},

		{accepting, network, `"198.51.100.1/24"`, 6, branches + `peer: found "198.51.100.1/24", want ` + wantPeers},
		{accepting, network, `"198.51.100.0/33"`, 6, branches + `peer: found "198.51.100.0/33", want ` + wantPeers},
		{accepting, network, `"192.0.2.2:1701"`, 6, branches + `peer: found "192.0.2.2:1701", want ` + wantPeers},
		{accepting, network, `"0.0.0.0"`, 6, branches + `peer: found "0.0.0.0", want ` + wantPeers},
		{accepting, network, `"ff00::/8"`, 6, branches + `peer: found "ff00::/8", want ` + wantPeers},
		{accepting, network, `[]`, 6, branches + `peer: found array, want ` + wantPeers},
		{accepting, network, `["198.51.100.0/24", "paris"]`, 6, branches + `peer: found array, at place 2 "paris", want ` + wantPeers},
		{accepting, network, `["198.51.100.0/24", 5]`, 6, branches + `peer: found array, at place 2 5, want ` + wantPeers},
		{accepting, network, `[{a = 1}]`, 6, branches + `peer: found array, at place 1 table, want ` + wantPeers},
		{accepting, network, `5`, 6, branches + `peer: found integer 5, want string or array`},
		{accepting, `peer = ` + network, ``, 4, branches + `peer: missing, want ` + wantPeers},
		{accepting, network, network + "\nlocal = \"::1\"", 6, branches + `peer: found 198.51.100.0, and local is ::1: want both IPv4 or both IPv6`},
		{accepting, hello, `udp_csum = false`, 8, branches + `udp_csum: found false, want true in mode "accept": ` + checksums},
		{accepting, hello, `redial_limit = 5`, 8, branches + `redial_limit: found in mode "accept", want mode "dial" for it`},
		{accepting, hello, `dial_retransmit_limit = 5`, 8, branches + `dial_retransmit_limit: found in mode "accept", want mode "dial" for it`},
		{accepting, hello, `tie_breaker = true`, 8, branches + `tie_breaker: found in mode "accept", want mode "dial" for it`},
		{accepting, hello, `peer_limit = 0`, 8, branches + `peer_limit: found 0, want integer from 1 to 1000000`},
		{dialling, `mode = "dial"`, "mode = \"accept\"\npeer_limit = 5", 6, rome + `peer_limit: found 5, want a template with it: as peer "any" or networks, without peer_hostname`},
		{accepting, pattern, `tap = "l2-0"`, 11, lan + `tap: found "l2-0", want a pattern with {peer} or {n}: the session is a template`},
		{accepting, pattern, `tap = "l2-{end}"`, 11, lan + `tap: found "l2-{end}", want a pattern with {peer} or {n}: the session is a template`},
		{accepting, pattern, `tap = "l2-{peers}"`, 11, lan + `tap: found "l2-{peers}", ` + wantTAP},
		{accepting, pattern, `tap = "l2-{peer"`, 11, lan + `tap: found "l2-{peer", ` + wantTAP},
		{accepting, pattern, `tap = "fourteen-and-a{peer}{n}"`, 11, lan + `tap: found "fourteen-and-a{peer}{n}", ` + wantTAP},
		{accepting, pattern, pattern + "\nmac = \"02:00:00:00:00:01\"", 12, lan + `mac: found in a template, want it in a session of one peer alone`},
		{accepting, pattern, pattern + "\naddresses = [\"198.51.100.1/24\"]", 12, lan + `addresses: found in a template, want it in a session of one peer alone`},
		{accepting, pattern, pattern + "\ncall = \"incoming\"", 12, lan + `call: found in mode "accept", want mode "dial" for it`},
		{accepting, pattern, pattern + "\nany_end_id = true\nremote_end_id = 5", 13, lan + `remote_end_id: found with any_end_id, want one of the two`},
		{accepting, pattern, pattern + "\nany_end_id = true\ninitiate = true", 13, lan + `initiate: found true, want false with any_end_id: the peer says what there is`},
		{accepting, pattern, pattern + "\nany_end_id = true\n[tunnel.branches.session.lab]\nany_end_id = true\ntap = \"{n}\"", 14,
			`tunnel branches: session lab: any_end_id: found true as in tunnel branches: session lan (line 12), want it once in a tunnel`},
		{accepting, network, network + "\npeer_hostname = \"rome\"\nsession.s.tap = \"l2-{peer}\"\nsession.s.any_end_id = true", 8,
			`tunnel branches: session s: tap: found "l2-{peer}", want a pattern with {end} or {n}: the session is a template` + "\n" +
				`f.toml:14: ` + lan + `tap: found "l2-{peer}", want the name of an interface: a pattern is for templates`},
	} {
		text := strings.Replace(v.good, v.old, v.new, 1)
		if text == v.good {
			t.Fatalf("%q is not in the good file", v.old)
		}
		want := fmt.Sprintf("f.toml:%d: %s", v.line, v.want)
		if _, err := Parse("f.toml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", v.new, err, want)
		}
	}
}

// TestPatterns has templates' TAPs that are all well.
func TestPatterns(t *testing.T) {
	for _, v := range []struct{ keys, taps string }{
		{"", "{peer} l2-{n} {peer}{end} 12345678901234{n}"},
		{"any_end_id = true\n", "{peer} {end} {n} {peer}-{end}-{n}"},
	} {
		for _, tap := range strings.Fields(v.taps) {
			parsed(t, strings.Replace(accepting, `tap = "l2-{peer}"`, fmt.Sprintf("%stap = %q", v.keys, tap), 1))
		}
	}
	// One peer, whatever it names.
	parsed(t, strings.NewReplacer(`"198.51.100.0/24"`, `"192.0.2.3"`, `"l2-{peer}"`, "\"{end}\"\nany_end_id = true").Replace(accepting))
}

// TestNamesOfInstances wants none of a tunnel that is no template.
func TestNamesOfInstances(t *testing.T) {
	_, err := Parse("f.toml", []byte(strings.ReplaceAll(good, "tunnel.paris", `tunnel."paris:lyon"`)))
	want := `f.toml:4: tunnel paris:lyon: want a name without : and @, which stand in the names of instances`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestShares has a static and a dynamic tunnel on one socket. RFC 3931 section
// 4.1.2.3: "UDP checksums MUST be enabled for L2TP control messages." So it is the
// static one that is wrong.
func TestShares(t *testing.T) {
	unchecked := strings.NewReplacer(`encap = "udp"`, `udp_csum = false`, `"192.0.2.1:1701"`, `"0.0.0.0"`).Replace(good)
	dynamic := strings.TrimPrefix(dialling, "[node]\nhostname = \"lyon\"\n")
	want := "f.toml:5: tunnel paris: udp_csum: found false, want true as tunnel rome (line 17), which shares its local address and port"
	if _, err := Parse("f.toml", []byte(unchecked+dynamic)); err == nil || err.Error() != want {
		t.Errorf("static first:\n got %v\nwant %s", err, want)
	}
	static := strings.TrimPrefix(unchecked, "[node]\nhostname = \"lyon\"\n")
	want = "f.toml:14: tunnel paris: udp_csum: found false, want true as tunnel rome (line 4), which shares its local address and port"
	if _, err := Parse("f.toml", []byte(dialling+static)); err == nil || err.Error() != want {
		t.Errorf("dynamic first:\n got %v\nwant %s", err, want)
	}
}

func TestDynamicWarnings(t *testing.T) {
	for _, v := range []struct{ good, old, new, want string }{
		{dialling, `"abracadabra"`, `"sesame"`, "f.toml:7: tunnel rome: secret: found 6 octets, which can be guessed, want 8 or more"},
		{dialling, `hello = "60s"`, `next_secret = "sesame"`, "f.toml:8: tunnel rome: next_secret: found 6 octets, which can be guessed, want 8 or more"},
		{dialling, `hello = "60s"`, `retransmit_cap = "4s"`, `f.toml:8: tunnel rome: retransmit_cap: found "4s", want "8s" or more: RFC 3931 section 4.2`},
		{dialling, `hello = "60s"`, `retransmit_timeout = "10s"`, ""}, // the cap is as much
		{dialling, `secret = "abracadabra"`, ``, ""},
		{dialling, `tap = "rome0"`, `cookie_size = 4` + "\ntap = \"rome0\"", "f.toml:11: tunnel rome: session office: cookie_size: found 4 octets, which strangers can guess, want 8: RFC 3931 section 8.2"},
		{dialling, `tap = "rome0"`, ``, "f.toml:10: tunnel rome: session office: tap: missing, so the session joins nothing"},
		{accepting, `"198.51.100.0/24"`, `"any"`, ""},
		{accepting, "\"198.51.100.0/24\"\nsecret = \"abracadabra\"", `"any"`, "f.toml:6: tunnel branches: peer: anybody may join, want a secret"},
		{accepting, "\"198.51.100.0/24\"\nsecret = \"abracadabra\"", `["0.0.0.0/0", "::/0"]`, "f.toml:6: tunnel branches: peer: anybody may join, want a secret"},
		{accepting, "\"198.51.100.0/24\"\nsecret = \"abracadabra\"", `"198.51.100.0/24"`, ""},
	} {
		text := strings.Replace(v.good, v.old, v.new, 1)
		if text == v.good {
			t.Fatalf("%q is not in the good file", v.old)
		}
		var got []string
		for _, w := range parsed(t, text).Warnings {
			got = append(got, w.String())
		}
		if strings.Join(got, "\n") != v.want {
			t.Errorf("%s: warnings %q, want %q", v.new, got, v.want)
		}
	}
}

// TestSecretFile reads secrets from files, and refuses those that others can read
// or that hold none.
func TestSecretFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	absolute := write("right", "abracadabra\n", 0o400)
	write("crlf", "abracadabra\r\n", 0o600)
	write("bare", "abracadabra", 0o600)
	write("lines", "abra\ncadabra\n\n", 0o600)
	write("short", "abra\n", 0o600)
	write("longest", strings.Repeat("x", 1024)+"\n", 0o600)
	write("longer", strings.Repeat("x", 1025), 0o600)
	write("more", strings.Repeat("x", 1024)+"\r\nx", 0o600)
	write("huge", strings.Repeat("x", 1<<20), 0o600)
	write("empty", "", 0o600)
	write("newline", "\n", 0o600)
	write("open", "abracadabra\n", 0o640)
	write("wide", "abracadabra\n", 0o602)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "f.toml")
	const rome = ":7: tunnel rome: secret_file: "
	if _, _, err := LoadSecret(filepath.Join(dir, "open")); err == nil || err.Error() != filepath.Join(dir, "open")+": which has mode 0640, by which others can read or change it, want 0600" {
		t.Errorf("open alone: %v", err)
	}
	for _, v := range []struct{ path, secret, warning, want string }{
		{"right", "abracadabra", "", ""},
		{absolute, "abracadabra", "", ""},
		{"folder/../right", "abracadabra", "", ""},
		{"crlf", "abracadabra", "", ""},
		{"bare", "abracadabra", "", ""},
		{"lines", "abra\ncadabra\n", "", ""},
		{"longest", strings.Repeat("x", 1024), "", ""},
		{"short", "abra", "found 4 octets, which can be guessed, want 8 or more", ""},
		{"longer", "", "", `found "longer", which has more than 1024 octets, want 1 to 1024`},
		{"more", "", "", `found "more", which has more than 1024 octets, want 1 to 1024`},
		{"huge", "", "", `found "huge", which has more than 1024 octets, want 1 to 1024`},
		{"empty", "", "", `found "empty", which is empty, want 1 to 1024 octets`},
		{"newline", "", "", `found "newline", which is empty, want 1 to 1024 octets`},
		{"open", "", "", `found "open", which has mode 0640, by which others can read or change it, want 0600`},
		{"wide", "", "", `found "wide", which has mode 0602, by which others can read or change it, want 0600`},
		{"folder", "", "", `found "folder", want a regular file`},
		{"/dev/null", "", "", `found "/dev/null", want a regular file`},
		{"not", "", "", `found "not", which cannot be read: no such file or directory`},
		{"right/not", "", "", `found "right/not", which cannot be read: not a directory`},
		{`a\u0000b`, "", "", `found "a\x00b", which cannot be read: invalid argument`},
	} {
		text := strings.Replace(dialling, `secret = "abracadabra"`, `secret_file = "`+v.path+`"`, 1)
		f, err := Parse(name, []byte(text))
		if v.want != "" {
			if err == nil || err.Error() != name+rome+v.want {
				t.Errorf("%s:\n got %v\nwant %s", v.path, err, name+rome+v.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.path, err)
			continue
		}
		if got, _, err := LoadSecret(filepath.Join(dir, strings.TrimPrefix(v.path, dir))); err != nil || !got.Equal(wire.NewSecret([]byte(v.secret))) {
			t.Errorf("%s alone: %v, or another secret than %d octets", v.path, err, len(v.secret))
		}
		if got := f.Tunnels[0].Dynamic.Control.Secrets; len(got) != 1 || !got[0].Equal(wire.NewSecret([]byte(v.secret))) {
			t.Errorf("%s: another secret than %d octets", v.path, len(v.secret))
		}
		if v.warning == "" && len(f.Warnings) > 0 || v.warning != "" && (len(f.Warnings) != 1 || f.Warnings[0].String() != name+rome+v.warning) {
			t.Errorf("%s: warnings %v, want %q", v.path, f.Warnings, v.warning)
		}
	}
}

// TestSecretIsNotShown has secrets in every wrong form, and in a good file that is
// printed, and wants to see none.
func TestSecretIsNotShown(t *testing.T) {
	for _, v := range []string{
		`abracadabra`, `"abracadabra`, `"abracadabra" abracadabra`, `'''abracadabra`, `"abracadabra\q"`, `["abracadabra"]`, `{a = "abracadabra"}`,
		"\"\"\"\nabracadabra", "\"\"\"\nabracadabra\\q\"\"\"", "[\n \"abracadabra\",\n abracadabra\n]", "\"abracadabra\n\"", "\"abracadabra\x01\"", `19991999`, `0x1999abra`, `1999-19-99`,
	} {
		for _, key := range []string{"secret", "next_secret"} {
			for _, where := range []string{"mode", "colour"} { // or in no mode at all
				text := strings.NewReplacer(`secret = "abracadabra"`, key+" = "+v, "mode =", where+" =").Replace(dialling)
				_, err := Parse("f.toml", []byte(text))
				if err == nil {
					t.Errorf("%s = %s: nothing is wrong", key, v)
				} else if strings.Contains(err.Error(), "abra") || strings.Contains(err.Error(), "1999") {
					t.Errorf("%s = %s: a secret is shown: %v", key, v, err)
				}
			}
		}
	}
	f := parsed(t, strings.Replace(dialling, `hello = "60s"`, `next_secret = "open sesame"`, 1))
	secret := f.Tunnels[0].Dynamic.Control.Secrets[0]
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{f, *f, f.Tunnels, f.Tunnels[0].Dynamic, *f.Tunnels[0].Dynamic, secret} {
			got := fmt.Sprintf(format, v)
			if strings.Contains(got, "abra") || strings.Contains(got, "sesame") {
				t.Errorf("a secret is shown as %s: %s", format, got)
			}
		}
	}
}

// TestModeOfFile wants the file itself to be for its owner alone if a secret
// stands in it, and not if one stands in a file of its own.
func TestModeOfFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.toml")
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("abracadabra"), 0o600); err != nil {
		t.Fatal(err)
	}
	static := strings.TrimPrefix(good, "[node]\nhostname = \"lyon\"\n")
	for _, v := range []struct{ text, want string }{
		{dialling, "secrets"},
		{dialling + strings.Replace(static, `encap = "udp"`, "", 1), "secrets and cookies"},
		{strings.Replace(dialling, `secret = "abracadabra"`, `secret_file = "secret"`, 1), ""},
		{strings.Replace(dialling, `secret = "abracadabra"`, "secret_file = \"secret\"\nnext_secret = \"open sesame\"", 1), "secrets"},
		{strings.Replace(dialling, `secret = "abracadabra"`, "", 1), ""},
	} {
		if err := os.WriteFile(path, []byte(v.text), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		var got, want string
		if len(f.Warnings) > 0 {
			got = f.Warnings[0].Text
		}
		if v.want != "" {
			want = "found mode 0644, by which others can read the " + v.want + " in it, want 0600"
		}
		if got != want {
			t.Errorf("warning %q, want %q, of\n%s", got, want, v.text)
		}
	}
}

func TestControl(t *testing.T) {
	f := parsed(t, strings.Replace(dialling, `hostname = "lyon"`, "hostname = \"lyon\"\nrouter_id = \"192.0.2.1\"\nhalf_open = 5\nrequest_rate = 6", 1))
	want := control.Config{HostName: "lyon", RouterID: 0xc0000201, VendorName: "Spanwire", Capabilities: Pseudowires, HalfOpen: 5, RequestRate: 6}
	if d := cmp.Diff(want, f.Control()); d != "" {
		t.Errorf("control (-want +got):\n%s", d)
	}
	for hostname, want := range map[string]uint32{
		"a":   0xe40c292c, // as the authors of FNV-1a have it
		"":    0x811c9dc5, // its basis
		zero0: 1,
	} {
		f := File{Node: Node{Hostname: hostname}}
		if got := f.Control().RouterID; got != want {
			t.Errorf("Router ID of %q: %#x, want %#x", hostname, got, want)
		}
	}
}

// zero0 is a text whose FNV-1a of 32 bits is 0.
const zero0 = "68m* "

// TestSpeeds reads every form of a speed.
func TestSpeeds(t *testing.T) {
	for text, want := range map[string]uint64{
		`1`: 1, `9223372036854775807`: 1<<63 - 1, `"64000"`: 64000, `"64kbit"`: 64e3, `"100Mbit"`: 100e6, `"1 Gbit"`: 1e9, `"400Gbit"`: 400e9, `"2Tbit"`: 2e12,
	} {
		f := parsed(t, strings.Replace(dialling, `tap =`, "tx_speed = "+text+"\ntap =", 1))
		if got := f.Tunnels[0].Sessions[0].Circuit.TxSpeed; got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// TestEndIDs reads every form of a Remote End ID.
func TestEndIDs(t *testing.T) {
	for _, v := range []struct{ text, end, other string }{
		{`"100"`, "100", ""},
		{`"größe 1"`, "größe 1", ""},
		{`0`, "\x00\x00\x00\x00", "0"},
		{`100`, "\x00\x00\x00d", "100"},
		{`4294967295`, "\xff\xff\xff\xff", "4294967295"},
	} {
		c := parsed(t, strings.Replace(dialling, `tap =`, "remote_end_id = "+v.text+"\ntap =", 1)).Tunnels[0].Sessions[0].Circuit
		if string(c.RemoteEndID) != v.end || string(c.OtherEndID) != v.other {
			t.Errorf("%s: %q and %q, want %q and %q", v.text, c.RemoteEndID, c.OtherEndID, v.end, v.other)
		}
	}
	// Of different tunnels they may be alike.
	parsed(t, dialling+strings.NewReplacer("[node]\nhostname = \"lyon\"\n", "", "tunnel.rome", "tunnel.oslo", "rome0", "oslo0").Replace(dialling))
}
