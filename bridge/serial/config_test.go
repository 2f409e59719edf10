package serial

import (
	"strings"
	"testing"
)

var configs = []struct{ text, want string }{
	{"udp:127.0.0.1:10001,127.0.0.1:10002", ""},
	{"udp:0.0.0.0:10001,192.0.2.1:10001", ""},
	{"udp:[::1]:10001,[::1]:10002", ""},
	{"udp:[::]:1,[fe80::1%lo]:2", ""},
	{"unix:/run/a.sock,/run/b.sock", ""},
	{"unix:/run/a:b,/run/b=c", ""},

	{"", `serial "": want udp:LOCAL,PEER or unix:LOCAL,PEER`},
	{"udp", `serial "udp": want udp:LOCAL,PEER or unix:LOCAL,PEER`},
	{"udp:127.0.0.1:10001", `serial "udp:127.0.0.1:10001": found one end, "127.0.0.1:10001", want udp:LOCAL,PEER or unix:LOCAL,PEER`},
	{"tcp:127.0.0.1:1,127.0.0.1:2", `serial "tcp:127.0.0.1:1,127.0.0.1:2": found the network "tcp", want udp:LOCAL,PEER or unix:LOCAL,PEER`},
	{"udp:localhost:1,127.0.0.1:2", `serial udp:localhost:1,127.0.0.1:2: local: found "localhost:1", want an IP address and a port, as 192.0.2.1:10001 or [2001:db8::1]:10001`},
	{"udp::1,127.0.0.1:2", `serial udp::1,127.0.0.1:2: local: found ":1", want an IP address and a port, as 192.0.2.1:10001 or [2001:db8::1]:10001`},
	{"udp:127.0.0.1:1,127.0.0.1", `serial udp:127.0.0.1:1,127.0.0.1: peer: found "127.0.0.1", want an IP address and a port, as 192.0.2.1:10001 or [2001:db8::1]:10001`},
	{"udp:127.0.0.1:1,127.0.0.1:65536", `serial udp:127.0.0.1:1,127.0.0.1:65536: peer: found "127.0.0.1:65536", want an IP address and a port, as 192.0.2.1:10001 or [2001:db8::1]:10001`},
	{"udp:127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", `serial udp:127.0.0.1:1,127.0.0.1:2,127.0.0.1:3: peer: found "127.0.0.1:2,127.0.0.1:3", want an IP address and a port, as 192.0.2.1:10001 or [2001:db8::1]:10001`},
	{"udp:127.0.0.1:0,127.0.0.1:2", `serial udp:127.0.0.1:0,127.0.0.1:2: local: found "127.0.0.1:0", want a port other than 0, which the other end must know`},
	{"udp:127.0.0.1:1,127.0.0.1:0", `serial udp:127.0.0.1:1,127.0.0.1:0: peer: found "127.0.0.1:0", want a port other than 0`},
	{"udp:127.0.0.1:1,0.0.0.0:2", `serial udp:127.0.0.1:1,0.0.0.0:2: peer: found "0.0.0.0:2", want one address`},
	{"udp:127.0.0.1:1,224.0.0.1:2", `serial udp:127.0.0.1:1,224.0.0.1:2: peer: found "224.0.0.1:2", want a unicast IPv4 or IPv6 address`},
	{"udp:127.0.0.1:1,[::ffff:127.0.0.1]:2", `serial udp:127.0.0.1:1,[::ffff:127.0.0.1]:2: peer: found "[::ffff:127.0.0.1]:2", want a unicast IPv4 or IPv6 address`},
	{"udp:127.0.0.1:1,[::1]:2", `serial udp:127.0.0.1:1,[::1]:2: found IPv4 at one end and IPv6 at the other, want the same at both`},
	{"udp:127.0.0.1:1,127.0.0.1:1", `serial udp:127.0.0.1:1,127.0.0.1:1: found "127.0.0.1:1" at both ends, want two that differ`},
	{"unix:a.sock,/run/b.sock", `serial unix:a.sock,/run/b.sock: local: found "a.sock", want an absolute path without commas`},
	{"unix:/run/a.sock,", `serial unix:/run/a.sock,: peer: found "", want an absolute path without commas`},
	{"unix:/a,/b,/c", `serial unix:/a,/b,/c: peer: found "/b,/c", want an absolute path without commas`},
	{"unix:/a,/" + strings.Repeat("b", 107), `serial unix:/a,/` + strings.Repeat("b", 107) + `: peer: found "/` + strings.Repeat("b", 107) + `", which has 108 octets, want a path of 107 at most`},
}

func TestParseConfig(t *testing.T) {
	for _, v := range configs {
		c, err := ParseConfig(v.text)
		switch {
		case err != nil && err.Error() != v.want:
			t.Errorf("%s: %v, want %s", v.text, err, v.want)
		case err == nil && (v.want != "" || c.String() != v.text):
			t.Errorf("%s: %s, want %q", v.text, c, v.want)
		}
	}
	if _, err := Open(Config{Network: "tcp"}); err == nil || err.Error() != `serial tcp:,: found the network "tcp", want udp or unix` {
		t.Errorf("another network: %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, v := range configs {
		f.Add(v.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig(text)
		if err != nil {
			return
		}
		again, err := ParseConfig(c.String())
		if err != nil || again != c || c.String() != text {
			t.Errorf("%q: %+v, then %+v: %v", text, c, again, err)
		}
		var a address // of which nothing depends on what there is on this machine
		if c.Network == Unix {
			a.setPath(c.Peer)
			if !a.is(a.raw[:a.len]) {
				t.Errorf("%q is not itself", c.Peer)
			}
		}
	})
}
