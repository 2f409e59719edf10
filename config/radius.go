package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/pseudowire/ppp/radius"
)

// A RADIUS is the servers that users and their accounting are known to.
type RADIUS struct {
	Name string
	radius.Config
	Accounts radius.AccountingConfig // without Log
	Dynamic  radius.DynamicConfig    // Listen is not valid: nobody is obeyed
}

// radiusFields are the keys of [radius.NAME].
func radiusFields(r *RADIUS, d *radiusDraft) []keys {
	return []keys{{every, []field{
		{"servers", arrayType, addressPorts(&d.servers), `servers with ports: ["192.0.2.10:1812"]`},
		{"accounting", arrayType, addressPorts(&d.accounting), ""},
		{"secret", textType, sharedText(&d.secret), ""},
		{"secret_file", textType, sharedFile(&d.secretFile, d.dir), ""},
		{"timeout", textType, duration(&d.timeout, 100*time.Millisecond, time.Minute), ""},
		{"tries", integerType, number(&d.tries, 1, 20), ""},
		{"nas_identifier", textType, text(&r.NASIdentifier, peerName), ""},
		{"interim", textType, duration(&r.Accounts.Interim, 0, 24*time.Hour), ""},
		{"journal", textType, text(&r.Accounts.Journal, absolutePath), ""},
		{"dynamic", textType, addressPort(&r.Dynamic.Listen), ""},
		{"dynamic_clients", arrayType, addressList(&d.clients), ""},
	}}}
}

// A radiusDraft is what the keys of [radius.NAME] say before they are put together.
type radiusDraft struct {
	dir                 string
	servers, accounting []netip.AddrPort
	secret, secretFile  []byte
	timeout             time.Duration
	tries               int
	clients             []netip.Addr
}

// radii reads the sections of RADIUS servers.
func (p *parser) radii() {
	if p.root["radius"] == nil {
		return
	}
	for _, in := range p.named(toml.Key{"radius"}, p.root) {
		at := func(key string) toml.Key { return join(in.path, key) }
		r := RADIUS{Name: in.name}
		r.NASIdentifier = p.hostname
		d := radiusDraft{dir: filepath.Dir(p.name)}
		wrong := p.section(in.path, in.table, every, radiusFields(&r, &d))
		secret := d.secret
		switch here, there := in.table["secret"] != nil, in.table["secret_file"] != nil; {
		case here && there:
			p.problem(at("secret_file"), "found with secret, want one of the two")
		case there:
			secret = d.secretFile
		case !here:
			p.problem(at("secret"), "missing, want what the servers know us by, or secret_file")
		}
		p.inline = p.inline || in.table["secret"] != nil
		if len(secret) > 0 && len(secret) < leastSecret {
			p.warn(in.path, "a secret of %d octets can be guessed, want %d or more", len(secret), leastSecret)
		}
		server := func(a netip.AddrPort) radius.Server {
			return radius.Server{Address: a, Secret: radius.NewSecret(secret), Timeout: d.timeout, Tries: d.tries}
		}
		for _, a := range d.servers {
			r.Authentication = append(r.Authentication, server(a))
		}
		for _, a := range d.accounting {
			r.Accounting = append(r.Accounting, server(a))
		}
		for _, a := range d.clients {
			r.Dynamic.Clients = append(r.Dynamic.Clients, radius.DynamicClient{Address: a, Secret: radius.NewSecret(secret)})
		}
		if r.Dynamic.Listen.IsValid() && len(d.clients) == 0 && !wrong["dynamic_clients"] {
			p.problem(at("dynamic"), "found without dynamic_clients, want those who may end sessions with it")
		}
		p.read.RADIUS = append(p.read.RADIUS, r)
	}
}

func sharedText(to *[]byte) setter {
	return func(v any) string {
		if s := v.(string); s == "" || len(s) > mostSecret {
			return fmt.Sprintf("want 1 to %d octets", mostSecret)
		}
		*to = []byte(v.(string))
		return ""
	}
}

func sharedFile(to *[]byte, dir string) setter {
	return func(v any) string {
		secret, complaint := fileSecret(v.(string), dir)
		if complaint == "" {
			complaint = sharedText(to)(string(secret))
		}
		return complaint
	}
}

// fileSecret reads a secret from a file. A relative path is below dir.
func fileSecret(path, dir string) (secret []byte, complaint string) {
	if path == "" {
		return nil, "want a path"
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return readSecret(path)
}

func addressPort(to *netip.AddrPort) setter {
	return func(v any) string {
		a, err := netip.ParseAddrPort(v.(string))
		if err != nil || a.Port() == 0 {
			return `want an address with a port: "192.0.2.1:3799"`
		}
		*to = a
		return ""
	}
}

func addressPorts(to *[]netip.AddrPort) setter {
	return func(v any) string {
		const want = `want addresses with ports: ["192.0.2.10:1812", "[2001:db8::10]:1812"]`
		list, _ := v.([]any)
		if len(list) == 0 {
			return want
		}
		all := make([]netip.AddrPort, len(list))
		for i, v := range list {
			s, _ := v.(string)
			if addressPort(&all[i])(s) != "" {
				return fmt.Sprintf("at place %d %s, %s", i+1, found(v), want)
			}
		}
		*to = all
		return ""
	}
}

func addressList(to *[]netip.Addr) setter {
	return func(v any) string {
		const want = `want addresses: ["192.0.2.53", "2001:db8::53"]`
		list, _ := v.([]any)
		if list == nil {
			return want
		}
		var all []netip.Addr
		for i, v := range list {
			s, _ := v.(string)
			a, err := netip.ParseAddr(s)
			if err != nil || a.IsUnspecified() || a.IsMulticast() {
				return fmt.Sprintf("at place %d %s, %s", i+1, found(v), want)
			}
			all = append(all, a.Unmap())
		}
		*to = all
		return ""
	}
}
