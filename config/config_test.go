package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"spanwire/cookie"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// good is a small file that has nothing wrong; bad ones differ from it in a line.
const good = `[node]
hostname = "lyon"

[tunnel.paris]
encap = "udp"
local = "192.0.2.1:1701"
peer  = "192.0.2.2:1701"

[tunnel.paris.session.office]
session_id      = 1001
peer_session_id = 2001
receive_cookie  = "a1b2c3d4e5f60718"
send_cookie     = "18f7e6d5c4b3a291"
sublayer        = "none"
tap             = "office0"
`

func TestGood(t *testing.T) {
	f, err := Parse("f.toml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	tunnel := f.Tunnels[0]
	session := tunnel.Sessions[0]
	for _, v := range []struct{ name, got, want string }{
		{"control", f.Node.Control, "/run/spanwire/lyon.sock"},
		{"log", f.Node.LogFormat + " " + f.Node.LogLevel, "text info"},
		{"mode", tunnel.Mode, "static"},
		{"tunnel", tunnel.Name, "paris"},
		{"local", tunnel.Socket.Local.String(), "192.0.2.1:1701"},
		{"peer", tunnel.Peer.Addr.String(), "192.0.2.2"},
		{"session", session.Params.Name, "paris/office"},
		{"receive cookie", session.Params.ReceiveCookie.Hex(), "a1b2c3d4e5f60718"},
		{"tap", session.TAP, "office0"},
	} {
		if v.got != v.want {
			t.Errorf("%s: %q, want %q", v.name, v.got, v.want)
		}
	}
	if tunnel.Socket.Fragment || tunnel.Socket.NoUDPChecksum || session.MTU != 0 || session.Params.Pseudowire != pseudowire.Ethernet {
		t.Errorf("defaults: %+v, MTU %d, %s", tunnel.Socket, session.MTU, session.Params.Pseudowire)
	}
	if len(f.Warnings) != 0 {
		t.Errorf("warnings %v", f.Warnings)
	}
}

// TestFull reads every key at another value than its default.
func TestFull(t *testing.T) {
	f, err := Parse("f.toml", []byte(`
node = { hostname = "lyon", router_id = "192.0.2.1", control = "/s", log_format = "json", log_level = "debug", half_open = 5, request_rate = 6, metrics = "[::1]:9170" }
[tunnel.paris]
mode = "static"
encap = "udp"
local = "[2001:db8::1]:1702"
peer = "paris.example.net:1703"
dscp = 46
ttl = 64
df = false
udp_csum = false
udp6_zero_csum_tx = true
udp6_zero_csum_rx = true
receive_buffer = "1 MiB"
send_buffer = 65536
[tunnel.paris.session."office"]
pseudowire = "ethernet"
session_id = 4294967295
peer_session_id = 1
receive_cookie = ""
send_cookie = "18F7E6D5"
sublayer = "default"
sequencing = "non-ip"
reorder_timeout = "5ms"
tap = "office0"
bridge = "br-lan"
mtu = 65521
mac = "02:00:00:00:00:01"
addresses = ["198.51.100.1/24", "2001:db8::1/64"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Node{"lyon", netip.MustParseAddr("192.0.2.1"), "/s", "json", "debug", 5, 6, netip.MustParseAddrPort("[::1]:9170")}); f.Node != want {
		t.Errorf("node %+v, want %+v", f.Node, want)
	}
	tunnel := f.Tunnels[0]
	wantTunnel := l2tpv3.TunnelConfig{
		Name: "paris",
		Socket: transport.Config{
			Encap: wire.UDP, Local: netip.MustParseAddrPort("[2001:db8::1]:1702"), ReceiveBuffer: 1 << 20, SendBuffer: 65536,
			Fragment: true, NoUDPChecksum: true, UDP6ZeroChecksumTx: true, UDP6ZeroChecksumRx: true,
		},
		Peer: l2tpv3.Host{Name: "paris.example.net", Port: 1703},
		DSCP: 46, TTL: 64,
	}
	if tunnel.TunnelConfig != wantTunnel {
		t.Errorf("tunnel %+v, want %+v", tunnel.TunnelConfig, wantTunnel)
	}
	s := tunnel.Sessions[0]
	q := s.Params
	if q.SessionID != 4294967295 || q.PeerSessionID != 1 || q.ReceiveCookie.Len() != 0 || q.SendCookie.Hex() != "18f7e6d5" ||
		q.Sublayer != pseudowire.DefaultSublayer || q.Sequencing != pseudowire.NonIPSequencing ||
		q.PeerSublayer != pseudowire.DefaultSublayer || q.PeerSequencing != pseudowire.NonIPSequencing || q.ReorderTimeout != 5*time.Millisecond {
		t.Errorf("parameters %+v", q)
	}
	if got, want := fmt.Sprint(s.TAP, s.Bridge, s.MTU, s.MAC, s.Addresses), "office0br-lan65521 02:00:00:00:00:01 [198.51.100.1/24 2001:db8::1/64]"; got != want {
		t.Errorf("segment %s, want %s", got, want)
	}
}

// TestAddresses reads every form of local and peer. A local address of unknown
// family still has its port.
//
// RFC 3931 section 4.1.2.2: "When negotiating a control connection over UDP, control
// messages MUST be sent as UDP datagrams using the registered UDP port 1701
// [RFC1700]." Another is the user's own word.
func TestAddresses(t *testing.T) {
	for _, v := range []struct{ encap, local, peer, want string }{
		{"udp", `local = "192.0.2.1"`, "192.0.2.2", "192.0.2.1 1701, 192.0.2.2 1701"},
		{"udp", `local = ":1702"`, "192.0.2.2:1703", "0.0.0.0 1702, 192.0.2.2 1703"},
		{"udp", ``, "2001:db8::2", ":: 1701, 2001:db8::2 1701"},
		{"udp", `local = "[2001:db8::1]:5000"`, "[2001:db8::2]:6000", "2001:db8::1 5000, 2001:db8::2 6000"},
		{"udp", `local = "::ffff:192.0.2.1"`, "[::ffff:192.0.2.2]:1701", "192.0.2.1 1701, 192.0.2.2 1701"},
		{"udp", `local = "fe80::1%eth0"`, "fe80::2%eth0", "fe80::1%eth0 1701, fe80::2%eth0 1701"},
		{"udp", ``, "paris.example.net:1705", "invalid IP 1701, paris.example.net 1705"},
		{"udp", `local = ":5000"`, "paris", "invalid IP 5000, paris 1701"},
		{"ip", `local = "192.0.2.1"`, "192.0.2.2", "192.0.2.1 0, 192.0.2.2 0"},
		{"ip", ``, "2001:db8::2", ":: 0, 2001:db8::2 0"},
		{"ip", ``, "paris.example.net", "invalid IP 0, paris.example.net 0"},
	} {
		text := strings.NewReplacer(`encap = "udp"`, `encap = "`+v.encap+`"`, `local = "192.0.2.1:1701"`, v.local, "192.0.2.2:1701", v.peer).Replace(good)
		f, err := Parse("f.toml", []byte(text))
		if err != nil {
			t.Errorf("%+v: %v", v, err)
			continue
		}
		local, peer := f.Tunnels[0].Socket.Local, f.Tunnels[0].Peer
		name := peer.Name
		if name == "" {
			name = peer.Addr.String()
		}
		if got := fmt.Sprintf("%s %d, %s %d", local.Addr(), local.Port(), name, peer.Port); got != v.want {
			t.Errorf("%+v: got %s", v, got)
		}
	}
}

// TestBad changes one line of the good file, and wants to be told what is wrong
// and nothing else.
func TestBad(t *testing.T) {
	const (
		hostname, encap, sublayer = `hostname = "lyon"`, `encap = "udp"`, `sublayer        = "none"`
		local, peer               = `"192.0.2.1:1701"`, `"192.0.2.2:1701"`
		ends                      = encap + "\nlocal = " + local + "\npeer  = " + peer
		receive, send             = `receive_cookie  = "a1b2c3d4e5f60718"`, `send_cookie     = "18f7e6d5c4b3a291"`
		paris, office             = "tunnel paris: ", "tunnel paris: session office: "
		wantLocal                 = `want an address, with a port or without: "192.0.2.1:1701", "[2001:db8::1]:1701", ":1701"`
		wantPeer                  = `want an address or a host name, with a port or without: "192.0.2.2:1701", "paris.example.net"`
		wantOctets                = `want octets from 4096 to 1 GiB, as integer or as string such as "4MiB"`
		wantPair                  = `missing, want what "spanwire cookie" prints, which makes a pair, or "" for none`
		wantName                  = `want an interface name of 1 to 15 octets without / : % and white space`
		wantPrefixes              = `want addresses with their prefix lengths: ["198.51.100.1/24", "2001:db8::1/64"]`
	)
	for _, v := range []struct {
		old, new string
		line     int
		want     string
	}{
		{hostname, `hostnam = "lyon"`, 2, `node: hostnam: unknown key, want "hostname"?`},
		{hostname, `colour = "blue"`, 2, `node: colour: unknown key`},
		{hostname, `"a\nb" = 1`, 2, `node: "a\nb": unknown key`},
		{hostname, `hostname = 5`, 2, `node: hostname: found integer 5, want string`},
		{hostname, `hostname = "a/b"`, 2, `node: hostname: found "a/b", want a name of 1 to 64 octets without / and white space`},
		{hostname, `router_id = "2001:db8::1"`, 2, `node: router_id: found "2001:db8::1", want an IPv4 address: "192.0.2.1"`},
		{hostname, `control = "here"`, 2, `node: control: found "here", want an absolute path of at most 107 octets`},
		{hostname, `log_format = "xml"`, 2, `node: log_format: found "xml", want "text" or "json"`},
		{hostname, `half_open = 0`, 2, `node: half_open: found 0, want integer from 1 to 1000000`},
		{hostname, `request_rate = 1000001`, 2, `node: request_rate: found 1000001, want integer from 1 to 1000000`},
		{hostname, `metrics = "9170"`, 2, `node: metrics: found "9170", want an address with a port: "192.0.2.1:3799"`},
		{hostname, `log_level = "loud"`, 2, `node: log_level: found "loud", want "debug" or "info" or "warn" or "error"`},
		{"[node]", "[nod]", 1, `nod: unknown key, want "node"?`},
		{"[node]\n" + hostname, `node = 5`, 1, `node: found integer, want [node]`},

		{encap, `encap = "gre"`, 5, paris + `encap: found "gre", want "udp" or "ip"`},
		{encap, `mode = "fixed"`, 5, paris + `mode: found "fixed", want "static" or "dial" or "accept"`},
		{encap, `mode = 1`, 5, paris + `mode: found integer 1, want string`},
		{encap, `hello = "60s"`, 5, paris + `hello: found in mode "static", want mode "dial" or "accept" for it`},
		{encap, `tie_breaker = false`, 5, paris + `tie_breaker: found in mode "static", want mode "dial" for it`},
		{encap, `secret = "abracadabra"`, 5, paris + `secret: found in mode "static", want mode "dial" or "accept" for it`},
		{encap, `peer_limit = 1`, 5, paris + `peer_limit: found in mode "static", want mode "accept" for it`},
		{peer, `"any"`, 7, paris + `peer: found "any", ` + wantPeer},
		{"[tunnel.paris]", "[tunnel.paris.x]\n[tunnel.paris]", 4, paris + `x: unknown key`},
		{encap, `dscp = 64`, 5, paris + `dscp: found 64, want integer from 0 to 63`},
		{encap, `dscp = 1.5`, 5, paris + `dscp: found float 1.5, want integer`},
		{encap, `ttl = 256`, 5, paris + `ttl: found 256, want integer from 0 to 255`},
		{encap, `df = "yes"`, 5, paris + `df: found string "yes", want boolean`},
		{encap, `df = 2024-01-02`, 5, paris + `df: found date or time, want boolean`},
		{encap, `send_buffer = "4 apples"`, 5, paris + `send_buffer: found "4 apples", ` + wantOctets},
		{encap, `send_buffer = "2GiB"`, 5, paris + `send_buffer: found "2GiB", ` + wantOctets},
		{encap, `send_buffer = 4095`, 5, paris + `send_buffer: found 4095, ` + wantOctets},
		{encap, `receive_buffer = true`, 5, paris + `receive_buffer: found boolean true, want string or integer`},
		{local, `"192.0.2.256"`, 6, paris + `local: found "192.0.2.256", ` + wantLocal},
		{local, "\"\"\"\n192.0.2.256\"\"\"", 6, paris + `local: found "192.0.2.256", ` + wantLocal},
		{peer, `"192.0.2.256"`, 7, paris + `peer: found "192.0.2.256", ` + wantPeer},
		{peer, `"192.0.2.2:0"`, 7, paris + `peer: found "192.0.2.2:0", ` + wantPeer},
		{peer, `""`, 7, paris + `peer: found "", ` + wantPeer},
		{peer, `"2001:db8::2"`, 7, paris + `peer: found 2001:db8::2, and local is 192.0.2.1: want both IPv4 or both IPv6`},
		{"peer  = " + peer, ``, 4, paris + `peer: missing, ` + wantPeer},
		{ends, "encap = \"ip\"\npeer = \"192.0.2.2:0\"", 6, paris + `peer: found "192.0.2.2:0", want an address or a host name, and no port for encap "ip": "192.0.2.2", "paris.example.net"`},
		{ends, "encap = \"ip\"\nlocal = \":1701\"\npeer = \"192.0.2.2\"", 6, paris + `local: found ":1701", want an address, and no port for encap "ip": "192.0.2.1"`},

		{`= 1001`, `= 0`, 10, office + `session_id: found 0, want integer from 1 to 4294967295`},
		{`= 1001`, `= "1001"`, 10, office + `session_id: found string "1001", want integer`},
		{`= 1001`, `= 4294967296`, 10, office + `session_id: found 4294967296, want integer from 1 to 4294967295`},
		{`peer_session_id = 2001`, ``, 9, office + `peer_session_id: missing, want an integer from 1 to 4294967295`},
		{receive, `receive_cookie = "a1b2c3d4e5f6"`, 12, office + `receive_cookie: found 12 digits, want 0, 8 or 16 hexadecimal digits in quotes`},
		{receive, `receive_cookie = "a1b2c3d4e5f6071z"`, 12, office + `receive_cookie: found other than hexadecimal digits, want 0, 8 or 16 hexadecimal digits in quotes`},
		{receive, `receive_cookie = 12345678`, 12, office + `receive_cookie: found integer, want string`},
		{receive, `receive_cookie = 99999999999999999999`, 12, `no TOML, want 0, 8 or 16 hexadecimal digits in quotes`},
		{receive, ``, 9, office + `receive_cookie: ` + wantPair},
		{send, ``, 9, office + `send_cookie: ` + wantPair},
		{sublayer, `sequencing = "all"`, 14, office + `sequencing: found "all", want sublayer = "default" with it, which carries the number, RFC 3931 section 4.6`},
		{sublayer, "sequencing = \"all\"\nsublayer = \"defualt\"", 15, office + `sublayer: found "defualt", want "none" or "default"`},
		{sublayer, `sequencing = "some"`, 14, office + `sequencing: found "some", want "none" or "non-ip" or "all"`},
		{sublayer, `reorder_timeout = "5ms"`, 14, office + `reorder_timeout: found "5ms", want sequencing with it: there is nothing to order by`},
		{sublayer, `reorder_timeout = "2s"`, 14, office + `reorder_timeout: found "2s", want a duration from "0s" to "1s"`},
		{sublayer, `cookie_size = 8`, 14, office + `cookie_size: found in mode "static", want mode "dial" or "accept" for it`},
		{sublayer, `any_end_id = true`, 14, office + `any_end_id: found in mode "static", want mode "accept" for it`},
		{sublayer, `mtu = 67`, 14, office + `mtu: found 67, want "auto" or integer from 68 to 65521`},
		{sublayer, `mtu = 65522`, 14, office + `mtu: found 65522, want "auto" or integer from 68 to 65521`},
		{sublayer, `mtu = "1500"`, 14, office + `mtu: found "1500", want "auto" or integer from 68 to 65521`},
		{sublayer, `mac = "01:00:5e:00:00:01"`, 14, office + `mac: found "01:00:5e:00:00:01", want the address of one station: "02:00:00:00:00:01"`},
		{sublayer, `addresses = "198.51.100.1/24"`, 14, office + `addresses: found string "198.51.100.1/24", want array`},
		{sublayer, "addresses = [\n \"198.51.100.1/24\",\n \"198.51.100.2\"]", 14, office + `addresses: found array, at place 2 "198.51.100.2", ` + wantPrefixes},
		{sublayer, `addresses = [{a = 1}]`, 14, office + `addresses: found array, at place 1 table, ` + wantPrefixes},
		{sublayer, `bridge = "office0"`, 14, office + `bridge: found "office0", which is the tap of tunnel paris: session office (line 15), want another`},
		{sublayer, `pseudowire = "atm"`, 14, office + `pseudowire: found "atm", want "ethernet" or "vlan" or "frame-relay" or "hdlc" or "ppp"`},
		{`"office0"`, `"sixteen-letters0"`, 15, office + `tap: found "sixteen-letters0", ` + wantName},
		{`"office0"`, `"of fice"`, 15, office + `tap: found "of fice", ` + wantName},
		{`tap             = "office0"`, ``, 9, office + `tap: missing, want what the session joins: tap, interface, serial or hub`},

		{`.session.office]`, `.session.office`, 10, `expected '.' or ']' to end table name, but got '\n' instead`},
		{`.session.office]`, `.session."of/fice"]`, 9, `tunnel paris: session "of/fice": want a name without / and white space`},
		{sublayer, `session_id = 3`, 14, `Key 'tunnel.paris.session.office.session_id' has already been defined.`},
		{sublayer, `send_cookie = ""`, 14, `Key 'tunnel.paris.session.office.send_cookie' has already been defined.`},
	} {
		text := strings.Replace(good, v.old, v.new, 1)
		if text == good {
			t.Fatalf("%q is not in the good file", v.old)
		}
		want := fmt.Sprintf("f.toml:%d: %s", v.line, v.want)
		if _, err := Parse("f.toml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", v.new, err, want)
		}
	}
}

// TestOrder wants tunnels in the order in which the file has them.
func TestOrder(t *testing.T) {
	var text strings.Builder
	var want []string
	for i, name := range []string{"z", "a", "m", "b"} {
		fmt.Fprintf(&text, "[tunnel.%s]\npeer = \"192.0.2.2\"\n[tunnel.%s.session.s]\nsession_id = %d\npeer_session_id = 1\nreceive_cookie = \"\"\nsend_cookie = \"\"\ntap = \"t%d\"\n", name, name, i+1, i)
		want = append(want, name)
	}
	f, err := Parse("f.toml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tunnel := range f.Tunnels {
		got = append(got, tunnel.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("tunnels %v, want %v", got, want)
	}
}

func TestEmpty(t *testing.T) {
	for text, want := range map[string]string{
		"":                "f.toml: tunnel: missing, want [tunnel.NAME]",
		"[tunnel]":        "f.toml:1: tunnel: empty, want [tunnel.NAME]",
		"\n[tunel.paris]": `f.toml:2: tunel: unknown key, want "tunnel"?`,
		"tunnel = 3":      "f.toml:1: tunnel: found integer, want [tunnel.NAME]",
		"[[tunnel]]":      "f.toml:1: tunnel: found array, want [tunnel.NAME]",
	} {
		if _, err := Parse("f.toml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// TestAllAtOnce wants several problems in the order of their lines.
func TestAllAtOnce(t *testing.T) {
	text := strings.NewReplacer("udp", "gre", "= 2001", "= -1", "a1b2c3d4e5f60718", "a1b2c3d4e5f607zz").Replace(good)
	_, err := Parse("f.toml", []byte(text))
	problems, ok := err.(Errors)
	if !ok || len(problems) != 3 || problems[0].Line != 5 || problems[1].Line != 11 || problems[2].Line != 12 {
		t.Errorf("got %v, want three problems, of lines 5, 11, 12", err)
	}
}

// TestSecret has cookies in every wrong form, and wants to see none.
func TestSecret(t *testing.T) {
	for _, v := range []string{
		`"a1b2c3d4e5f6071"`, `"a1b2c3d4e5f6071z"`, `a1b2c3d4e5f60718`, `0xa1b2c3d4e5f60718`, `abcdefab`, `18f7e6d5`,
		`99999999999999999999`, `012345678`, `12345678`, `1234.5678`, `2024-01-02`, `["a1b2c3d4"]`, `{a = "a1b2c3d4"}`,
		`"a1b2c3d4`, `"a1b2c3d4" a1`, `'''a1b2c3d4`, `1234567_`, `1234__5678`, "[\n 99999999999999999999\n]",
	} {
		secret := strings.TrimLeft(v, "\"'[{a= \n0x")[:4]
		for _, header := range []string{".session.office]", ".session]"} { // or with the name forgotten
			text := strings.NewReplacer(`"a1b2c3d4e5f60718"`, v, ".session.office]", header).Replace(good)
			_, err := Parse("f.toml", []byte(text))
			if err == nil {
				t.Errorf("%s below %s: nothing is wrong", v, header)
			} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "18f7") {
				t.Errorf("%s below %s: a cookie is shown: %v", v, header, err)
			}
		}
	}
}

// TestTogether has what is wrong only in company.
func TestTogether(t *testing.T) {
	lab := strings.NewReplacer("[node]\nhostname = \"lyon\"\n", "", "paris", "lab", "office0", "lab0", "1001", "1002").Replace(good)
	const shares = "(line 4), which shares its local address and port"
	for _, v := range []struct{ name, old, new, want string }{
		{"all well", "", "", ""},
		{"session ID", "1002", "1001", `f.toml:23: tunnel lab: session office: session_id: found 1001, which is that of tunnel paris: session office (line 10), want another: it alone says whose a frame is, RFC 3931 section 4.1`},
		{"tap", "lab0", "office0", `f.toml:28: tunnel lab: session office: tap: found "office0", which is that of tunnel paris: session office (line 15), want another`},
		{"bridge", `sublayer        = "none"`, `bridge = "office0"`, `f.toml:27: tunnel lab: session office: bridge: found "office0", which is the tap of tunnel paris: session office (line 15), want another`},
		{"socket", `encap = "udp"`, `df = false`, `f.toml:18: tunnel lab: df: found false, want true as tunnel paris ` + shares},
		{"buffer", `encap = "udp"`, `send_buffer = 65536`, `f.toml:18: tunnel lab: send_buffer: found 65536, want 4194304 as tunnel paris ` + shares},
		{"the default, said", `encap = "udp"`, `send_buffer = "4MiB"`, ``},
		{"another port", `local = "192.0.2.1:1701"`, "local = \"192.0.2.1:1702\"\ndf = false", ``},
		{"any address and one", `local = "192.0.2.1:1701"`, `df = false`, ``},
		{"IP", "encap = \"udp\"\nlocal = \"192.0.2.1:1701\"\npeer  = \"192.0.2.2:1701\"", "encap = \"ip\"\npeer = \"192.0.2.2\"\ndf = false", ``},
	} {
		_, err := Parse("f.toml", []byte(good+strings.Replace(lab, v.old, v.new, 1)))
		if v.want == "" && err != nil || v.want != "" && (err == nil || err.Error() != v.want) {
			t.Errorf("%s:\n got %v\nwant %s", v.name, err, v.want)
		}
	}

	// A peer's name may turn out to be of either family.
	wildcard := strings.Replace(good, `local = "192.0.2.1:1701"`, `local = "0.0.0.0"`, 1)
	named := strings.NewReplacer(`local = "192.0.2.1:1701"`, `udp_csum = false`, "192.0.2.2:1701", "lab.example.net").Replace(lab)
	want := `f.toml:19: tunnel lab: udp_csum: found false, want true as tunnel paris ` + shares
	if _, err := Parse("f.toml", []byte(wildcard+named)); err == nil || err.Error() != want {
		t.Errorf("a peer by name:\n got %v\nwant %s", err, want)
	}
}

func TestWarnings(t *testing.T) {
	same := strings.NewReplacer("a1b2c3d4e5f60718", "a1b2c3d4", "18f7e6d5c4b3a291", "a1b2c3d4").Replace(good)
	none := strings.NewReplacer("a1b2c3d4e5f60718", "", "18f7e6d5c4b3a291", "").Replace(good)
	path := filepath.Join(t.TempDir(), "f.toml")
	const office = "tunnel paris: session office: "
	const guess = " octets, which strangers can guess, want 8: RFC 3931 section 8.2"
	for _, v := range []struct {
		text string
		mode os.FileMode
		want []string
	}{
		{good, 0o600, nil},
		{good, 0o640, []string{": found mode 0640, by which others can read the cookies in it, want 0600"}},
		{same, 0o600, []string{
			":12: " + office + "receive_cookie: found 4" + guess,
			":13: " + office + "send_cookie: found 4" + guess,
			":13: " + office + "send_cookie: the same as receive_cookie, want another: who learns one knows both",
		}},
		{strings.Replace(good, `tap             = "office0"`, `tap             = "office0"`+"\npseudowire = \"vlan\"", 1), 0o600, []string{
			":16: " + office + `pseudowire: found "vlan", want vlan or peer_vlan with it: frames pass with whatever tags they have, or none`,
		}},
		{strings.Replace(good, `tap             = "office0"`, `tap             = "office0"`+"\npseudowire = \"vlan\"\npeer_vlan = 7", 1), 0o600, nil},
		{strings.Replace(good, `tap             = "office0"`, `tap             = "office0"`+"\npseudowire = \"vlan\"\nvlans = \"10\"", 1), 0o600, nil},
		{none, 0o644, []string{
			":12: " + office + "receive_cookie: found 0" + guess,
			":13: " + office + "send_cookie: found 0" + guess,
		}},
	} {
		if err := os.WriteFile(path, []byte(v.text), v.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, v.mode); err != nil {
			t.Fatal(err)
		}
		f, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range f.Warnings {
			got = append(got, strings.TrimPrefix(w.String(), path))
		}
		if d := cmp.Diff(v.want, got); d != "" {
			t.Errorf("mode %o (-want +got):\n%s", v.mode, d)
		}
	}
	if _, err := Load(path + ".not"); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// commented finds the keys of the reference that are commented out.
var commented = regexp.MustCompile(`(?m)^# (\w+ *= )`)

// TestReference wants the reference to be good, as it is and with all that is
// commented out, and to have every key that the parser knows.
func TestReference(t *testing.T) {
	f, err := Parse("reference.toml", []byte(Reference))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Warnings) > 0 {
		t.Errorf("warnings %v", f.Warnings)
	}
	dir := t.TempDir()
	for _, name := range []string{"branches.secret", "branches.next"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One of two: a device and another.
	reference := strings.NewReplacer("# interface = \"eth2\"\n", "", "# secret_file = \"radius.secret\"\n", "", "# password_file = \"head.password\"\n", "").Replace(Reference)
	if err := os.WriteFile(filepath.Join(dir, "users.toml"), []byte(UsersReference), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := commented.ReplaceAllString(reference, "$1")
	f, err = Parse(filepath.Join(dir, "reference.toml"), []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Warnings) > 0 {
		t.Errorf("warnings %v with what is commented out", f.Warnings)
	}
	if session := f.Tunnels[0].Sessions[0]; session.MAC == nil || len(session.Addresses) == 0 {
		t.Errorf("read %+v, want what is commented out too", session)
	}
	for _, tunnel := range f.Tunnels[1:] {
		if tunnel.Dynamic == nil {
			continue
		}
		if n := len(tunnel.Dynamic.Control.Secrets); n != 2 {
			t.Errorf("tunnel %s has %d secrets, want those that are commented out", tunnel.Name, n)
		}
	}

	var text map[string]any
	if _, err := toml.Decode(whole, &text); err != nil {
		t.Fatal(err)
	}
	table := func(v any) map[string]any { return v.(map[string]any) }
	has := make(map[string]bool)
	note := func(section string, in any) {
		for key := range table(in) {
			has[section+" "+key] = true
		}
	}
	note("node", text["node"])
	for _, tunnel := range table(text["tunnel"]) {
		note("tunnel", tunnel)
		if table(tunnel)["session"] == nil {
			continue
		}
		for _, session := range table(table(tunnel)["session"]) {
			note("session", session)
		}
	}
	for _, serial := range table(text["serial"]) {
		note("serial", serial)
	}
	for _, hub := range table(text["hub"]) {
		note("hub", hub)
	}
	for _, ppp := range table(text["ppp"]) {
		note("ppp", ppp)
		if pools, has := table(ppp)["pools"]; has {
			for _, pool := range table(pools) {
				note("pool", pool)
			}
		}
	}
	for _, radius := range table(text["radius"]) {
		note("radius", radius)
	}
	has["radius secret_file"], has["ppp password_file"] = true, true // each is one of two
	for section, all := range map[string][]keys{
		"node": nodeFields(new(Node)), "tunnel": tunnelFields(new(Tunnel), new(draft)), "session": sessionFields(new(Session), new(tags)),
		"serial": serialFields(new(SerialPort)), "hub": hubFields(new(Hub)),
		"pool": poolFields(new(blocks), new(int)),
		"ppp":  pppFields(new(PPP), new(profile)), "radius": radiusFields(new(RADIUS), new(radiusDraft)),
	} {
		for _, k := range all {
			for _, f := range k.fields {
				if !has[section+" "+f.key] {
					t.Errorf("the reference lacks %s of %s", f.key, section)
				}
			}
		}
	}
}

// TestDefaults wants what the reference gives as defaults to be what a file has
// that lacks them.
func TestDefaults(t *testing.T) {
	said, err := Parse("reference.toml", []byte(Reference))
	if err != nil {
		t.Fatal(err)
	}
	lacks, err := Parse("f.toml", []byte(good+`
[tunnel.rome]
mode = "dial"
peer = "192.0.2.3"
[tunnel.rome.session.office]
tap = "rome0"
[tunnel.branches]
mode = "accept"
peer = "198.51.100.0/24"
[tunnel.branches.session.lan]
tap = "l2-{peer}-{n}"
`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := said.Tunnels[0].TunnelConfig, lacks.Tunnels[0].TunnelConfig; got != want {
		t.Errorf("the reference has %+v, want the defaults %+v", got, want)
	}
	if d := cmp.Diff(lacks.Tunnels[1:], said.Tunnels[1:3], addresses); d != "" {
		t.Errorf("the reference (-want, the defaults +got):\n%s", d)
	}
	said.Node.RouterID = netip.Addr{}
	if said.Node != lacks.Node {
		t.Errorf("the reference has %+v, want the defaults %+v", said.Node, lacks.Node)
	}
}

// addresses has cmp compare what it cannot look into.
var addresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b cookie.Cookie) bool { return a == b }),
}

// positions reads a text and finds its keys.
func positions(text string) (*lines, error) {
	var root toml.Primitive
	md, err := toml.Decode(text, &root)
	if err != nil {
		return nil, err
	}
	return newLines(text, md, root), nil
}

// TestLines finds keys in all the forms that TOML has for them.
func TestLines(t *testing.T) {
	l, err := positions("a = 1\n# b = 2\n[t.\"x.y\"]\nc = '''\nd = 1\n'''\ne = [\n 1, # ]\n 2]\nf.g = {h = 1}\n[u] # c\ni=\"\\\"\"\n\"j\\u0041\"=1\n[v.w]\nx=1\n[v]\ny={\n z=1}\n")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, key := range l.md.Keys() {
		for n := range key {
			got[key[:n+1].String()] = l.of(key[:n+1])
		}
	}
	want := map[string]int{"a": 1, "t": 3, `t."x.y"`: 3, `t."x.y".c`: 4, `t."x.y".e`: 7, `t."x.y".f`: 10, `t."x.y".f.g`: 10, `t."x.y".f.g.h`: 10,
		"u": 11, "u.i": 12, "u.jA": 13, "v": 16, "v.w": 14, "v.w.x": 15, "v.y": 17, "v.y.z": 18}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
}

// FuzzLines holds the lines against the keys that the library has found: each
// stands on its line.
func FuzzLines(f *testing.F) {
	f.Add(good)
	f.Add(Reference)
	f.Add("a=1\r\nb.c='''\r\n'''\r\n[d]\r\ne=[\r\n1,\r\n{f=2}]\r\n[[g]]\r\nh={i=1,\r\nj=2}")
	bare := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.TrimPrefix(text, "\ufeff")
		l, err := positions(text)
		if err != nil {
			return
		}
		all := strings.Split(text, "\n")
		for _, key := range l.md.Keys() {
			if _, ok := l.values[key.String()]; !ok {
				continue // in an array
			}
			line := l.of(key)
			if line < 1 || line > len(all) {
				t.Fatalf("%s: line %d of %d", key, line, len(all))
			}
			// With a backslash it may be written otherwise.
			if last := key[len(key)-1]; bare.MatchString(last) && !strings.ContainsAny(all[line-1], `\`) && !strings.Contains(all[line-1], last) {
				t.Errorf("%s: line %d is %q", key, line, all[line-1])
			}
		}
	})
}

// FuzzParse wants a file that the engine takes or problems, each with a line of
// the file and in the order of these.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(Reference))
	f.Add([]byte(commented.ReplaceAllString(Reference, "$1")))
	f.Add([]byte(dialling))
	f.Add([]byte(accepting))
	f.Add([]byte("[node]\nnode = 1\n[tunnel]\nx = 3"))
	f.Add([]byte("tunnel = 1"))
	f.Add([]byte("[[tunnel.a]]\n[tunnel.b.session]\nsend_cookie = 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("f", text)
		if (file == nil) == (err == nil) {
			t.Fatalf("file %v and error %v", file, err)
		}
		if err == nil {
			for _, tunnel := range file.Tunnels {
				for _, s := range tunnel.Sessions {
					q := s.Assumed()
					if s.Circuit != nil {
						q.SessionID, q.PeerSessionID = 1, 1 // as they will be agreed upon
					}
					if err := q.Check(); err != nil {
						t.Errorf("the engine does not take %s: %v", s.Params.Name, err)
					}
				}
			}
			return
		}
		problems := err.(Errors)
		inOrder := slices.IsSortedFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
		if len(problems) == 0 || !inOrder {
			t.Errorf("problems %v, want some, in order", problems)
		}
		for _, p := range problems {
			if p.Line < 0 || p.Line > 1+strings.Count(string(text), "\n") || strings.Contains(p.Text, "\n") {
				t.Errorf("no such line, or not in a line: %q", p)
			}
		}
	})
}
