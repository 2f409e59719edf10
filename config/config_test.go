package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

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

// TestAddresses reads every form of local and peer.
func TestAddresses(t *testing.T) {
	for _, v := range []struct{ encap, local, peer, wantLocal, wantPeer string }{
		{"udp", `local = "192.0.2.1"`, "192.0.2.2", "192.0.2.1:1701", "192.0.2.2 1701"},
		{"udp", `local = ":1702"`, "192.0.2.2:1703", "0.0.0.0:1702", "192.0.2.2 1703"},
		{"udp", ``, "2001:db8::2", "[::]:1701", "2001:db8::2 1701"},
		{"udp", `local = "[2001:db8::1]:5000"`, "[2001:db8::2]:6000", "[2001:db8::1]:5000", "2001:db8::2 6000"},
		{"udp", ``, "paris.example.net:1705", "invalid AddrPort", "paris.example.net 1705"},
		{"udp", `local = "fe80::1%eth0"`, "fe80::2%eth0", "[fe80::1%eth0]:1701", "fe80::2%eth0 1701"},
		{"ip", `local = "192.0.2.1"`, "192.0.2.2", "192.0.2.1:0", "192.0.2.2 0"},
		{"ip", ``, "2001:db8::2", "[::]:0", "2001:db8::2 0"},
	} {
		text := strings.NewReplacer(`encap = "udp"`, `encap = "`+v.encap+`"`, `local = "192.0.2.1:1701"`, v.local, "192.0.2.2:1701", v.peer).Replace(good)
		f, err := Parse("f.toml", []byte(text))
		if err != nil {
			t.Errorf("%+v: %v", v, err)
			continue
		}
		tunnel := f.Tunnels[0]
		peer := tunnel.Peer.Name
		if peer == "" {
			peer = tunnel.Peer.Addr.String()
		}
		if tunnel.Peer.Port != 0 || v.encap == "ip" {
			peer += " " + strings.TrimPrefix(":"+itoa(tunnel.Peer.Port), ":")
		}
		if got := tunnel.Socket.Local.String(); got != v.wantLocal || peer != v.wantPeer {
			t.Errorf("%+v: local %s, peer %s", v, got, peer)
		}
	}
}

func itoa(n uint16) string {
	var b []byte
	for {
		b = append([]byte{byte('0' + n%10)}, b...)
		if n /= 10; n == 0 {
			return string(b)
		}
	}
}

// TestBad changes one line of the good file, and wants to be told what is wrong.
func TestBad(t *testing.T) {
	for _, v := range []struct{ old, new, want string }{
		{`hostname = "lyon"`, `hostnam = "lyon"`, `f.toml:2: node: hostnam: unknown key, want "hostname"?`},
		{`hostname = "lyon"`, `hostname = 5`, `f.toml:2: node: hostname: found 5, want a text in quotes`},
		{`hostname = "lyon"`, `router_id = "2001:db8::1"`, `f.toml:2: node: router_id: found "2001:db8::1", want an IPv4 address in quotes`},
		{`hostname = "lyon"`, `control = "here"`, `f.toml:2: node: control: found "here", want an absolute path of at most 107 octets`},
		{`encap = "udp"`, `encap = "gre"`, `f.toml:5: tunnel paris: encap: found "gre", want "udp" or "ip"`},
		{`encap = "udp"`, `mode = "dial"`, `f.toml:5: tunnel paris: mode: found "dial", want "static"`},
		{`encap = "udp"`, `dscp = 64`, `f.toml:5: tunnel paris: dscp: found 64, want a number from 0 to 63`},
		{`encap = "udp"`, `df = "yes"`, `f.toml:5: tunnel paris: df: found "yes", want true or false`},
		{`encap = "udp"`, `send_buffer = "4 apples"`, `f.toml:5: tunnel paris: send_buffer: found "4 apples", want octets from 4096 to 1 GiB, as a number or a text such as "4MiB"`},
		{`"192.0.2.1:1701"`, `"192.0.2.256"`, `f.toml:6: tunnel paris: local: found "192.0.2.256", want an address, with a port if need be: "192.0.2.1:1701", "[2001:db8::1]:1701", ":1701"`},
		{`"192.0.2.2:1701"`, `"192.0.2.256"`, `f.toml:7: tunnel paris: peer: found "192.0.2.256", want an address or a host name, with a port if need be: "192.0.2.2:1701", "paris.example.net"`},
		{`"192.0.2.2:1701"`, `"2001:db8::2"`, `f.toml:7: tunnel paris: peer: found 2001:db8::2, and local is 192.0.2.1: want both IPv4 or both IPv6`},
		{`peer  = "192.0.2.2:1701"`, ``, `f.toml:4: tunnel paris: peer: missing, want an address or a host name, with a port if need be: "192.0.2.2:1701", "paris.example.net"`},
		{`= 1001`, `= 0`, `f.toml:10: tunnel paris: session office: session_id: found 0, want a number from 1 to 4294967295`},
		{`= 1001`, `= "1001"`, `f.toml:10: tunnel paris: session office: session_id: found "1001", want a number from 1 to 4294967295`},
		{`= 1001`, `= 4294967296`, `f.toml:10: tunnel paris: session office: session_id: found 4294967296, want a number from 1 to 4294967295`},
		{`peer_session_id = 2001`, ``, `f.toml:9: tunnel paris: session office: peer_session_id: missing`},
		{`"a1b2c3d4e5f60718"`, `"a1b2c3d4e5f6"`, `f.toml:12: tunnel paris: session office: receive_cookie: found 12 characters, want 0, 4 or 8 octets as 0, 8 or 16 hexadecimal digits in quotes, as "spanwire cookie" prints them`},
		{`receive_cookie  = "a1b2c3d4e5f60718"`, ``, `f.toml:9: tunnel paris: session office: receive_cookie: missing, want what "spanwire cookie" prints, or "" for none`},
		{`sublayer        = "none"`, `sequencing = "all"`, `f.toml:14: tunnel paris: session office: sequencing: found "all", want sublayer = "default" with it, which carries the number, RFC 3931 section 4.6`},
		{`sublayer        = "none"`, `reorder_timeout = "5ms"`, `f.toml:14: tunnel paris: session office: reorder_timeout: found 5ms, want sequencing with it: there is nothing to order by`},
		{`sublayer        = "none"`, `mtu = 20`, `f.toml:14: tunnel paris: session office: mtu: found 20, want "auto" or a number from 68 to 65517`},
		{`sublayer        = "none"`, `mac = "01:00:5e:00:00:01"`, `f.toml:14: tunnel paris: session office: mac: found "01:00:5e:00:00:01", want the address of one station: "02:00:00:00:00:01"`},
		{`sublayer        = "none"`, `addresses = ["198.51.100.1"]`, `f.toml:14: tunnel paris: session office: addresses: found an array, want an array of addresses with their prefix lengths: ["198.51.100.1/24"]`},
		{`sublayer        = "none"`, `bridge = "office0"`, `f.toml:14: tunnel paris: session office: bridge: found "office0", which is the tap, want another name`},
		{`"office0"`, `"a name too long for Linux"`, `f.toml:15: tunnel paris: session office: tap: found "a name too long for Linux", want an interface name of 1 to 15 characters without / : % and white space`},
		{`sublayer        = "none"`, `pseudowire = "vlan"`, `f.toml:14: tunnel paris: session office: pseudowire: found "vlan", want "ethernet"`},
		{`[tunnel.paris.session.office]`, `[tunnel.paris.session.office`, `f.toml:10: expected '.' or ']' to end table name, but got '\n' instead`},
	} {
		text := strings.Replace(good, v.old, v.new, 1)
		if text == good {
			t.Fatalf("%q is not in the good file", v.old)
		}
		_, err := Parse("f.toml", []byte(text))
		if err == nil || !strings.Contains("\n"+err.Error()+"\n", "\n"+v.want+"\n") {
			t.Errorf("%s:\n got %v\nwant %s", v.new, err, v.want)
		}
	}
}

// TestAllAtOnce wants several problems in the order of their lines, and no cookie
// in any of them.
func TestAllAtOnce(t *testing.T) {
	text := strings.NewReplacer("udp", "gre", "= 2001", "= -1", "a1b2c3d4e5f60718", "a1b2c3d4e5f607zz").Replace(good)
	_, err := Parse("f.toml", []byte(text))
	problems, ok := err.(Errors)
	if !ok || len(problems) != 3 || problems[0].Line != 5 || problems[1].Line != 11 || problems[2].Line != 12 {
		t.Errorf("got %v, want three problems, of lines 5, 11, 12", err)
	}
	if strings.Contains(err.Error(), "a1b2") {
		t.Errorf("a cookie is shown: %v", err)
	}
}

// TestTogether has what is wrong only in company.
func TestTogether(t *testing.T) {
	second := strings.NewReplacer("[node]", "", `hostname = "lyon"`, "", "paris", "lab", "office0", "lab0", "1001", "1002")
	for _, v := range []struct {
		name, old, new, want string
	}{
		{"all well", "", "", ""},
		{"session ID", "1002", "1001", `tunnel lab: session office: session_id: 1001 is that of session paris/office too, want another: the Session ID alone says whose a frame is, RFC 3931 section 4.1`},
		{"tap", "lab0", "office0", `tunnel lab: session office: tap: "office0" is that of session paris/office too, want another`},
		{"socket", `encap = "udp"`, `df = false`, `tunnel lab: shares the socket udp 192.0.2.1:1701 with tunnel paris, but not its df, checksums or buffers: want them equal`},
	} {
		text := good + strings.Replace(second.Replace(good), v.old, v.new, 1)
		_, err := Parse("f.toml", []byte(text))
		if v.want == "" && err != nil || v.want != "" && (err == nil || !strings.HasSuffix(err.Error(), v.want)) {
			t.Errorf("%s: got %v, want %s", v.name, err, v.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	text := strings.NewReplacer("a1b2c3d4e5f60718", "a1b2c3d4", "18f7e6d5c4b3a291", "a1b2c3d4").Replace(good)
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Warnings) != 3 {
		t.Errorf("warnings %v, want a short cookie, an equal one and the mode", f.Warnings)
	}
	if _, err := Load(path + ".not"); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestReference wants the reference to be good, as it is and with all that is
// commented out, and to have every key that the parser knows.
func TestReference(t *testing.T) {
	if _, err := Parse("reference.toml", []byte(Reference)); err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`(?m)^# (\w+ *= )`).ReplaceAllString(Reference, "$1")
	f, err := Parse("reference.toml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	session := f.Tunnels[0].Sessions[0]
	if f.Tunnels[0].TTL != 64 || session.MAC == nil || len(session.Addresses) != 2 || session.Params.ReorderTimeout != 0*time.Second || f.Tunnels[0].Encap() != wire.UDP {
		t.Errorf("read %+v", f.Tunnels[0])
	}
	var has map[string]any
	if _, err := toml.Decode(whole, &has); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("parse.go")
	if err != nil {
		t.Fatal(err)
	}
	tunnel := has["tunnel"].(map[string]any)["paris"].(map[string]any)
	sections := []map[string]any{has["node"].(map[string]any), tunnel, tunnel["session"].(map[string]any)["office"].(map[string]any)}
	keys := regexp.MustCompile(`\{"(\w+)", (?:text|flag|number|choice|octets|cookieOf|duration|func)`).FindAllStringSubmatch(string(source), -1)
	if len(keys) < 30 {
		t.Fatalf("%d keys found in the parser, want all", len(keys))
	}
	for _, key := range keys {
		found := false
		for _, s := range sections {
			_, ok := s[key[1]]
			found = found || ok
		}
		if !found {
			t.Errorf("the reference lacks %s", key[1])
		}
	}
}

// TestLines finds keys in all the forms that TOML has for them.
func TestLines(t *testing.T) {
	got := lines("a = 1\n# b = 2\n[t.\"x y\"]\nc = '''\nd = 1\n'''\ne = [\n 1, # ]\n 2]\nf.g = {h = 1}\n[u] # c\ni=\"\\\"\"\nj=1")
	for path, line := range map[string]int{"a": 1, "t": 3, "t.x y": 3, "t.x y.c": 4, "t.x y.e": 7, "t.x y.f.g": 10, "u": 11, "u.i": 12, "u.j": 13} {
		if got[path] != line {
			t.Errorf("%s: line %d, want %d", path, got[path], line)
		}
	}
	for _, path := range []string{"b", "d", "t.x y.d"} {
		if _, ok := got[path]; ok {
			t.Errorf("%s: found, and is none", path)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(Reference))
	f.Add([]byte("[node]\nnode = 1\n[tunnel]\nx = 3"))
	f.Add([]byte("tunnel = 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if file, err := Parse("f", text); (file == nil) == (err == nil) {
			t.Errorf("file %v and error %v", file, err)
		}
	})
}
