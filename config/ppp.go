package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns"
	"spanwire/pseudowire/ppp/lns/address"
	"spanwire/pseudowire/ppp/lns/users"
	"spanwire/pseudowire/ppp/radius"
)

// A PPP is a profile: how an LNS or a client speaks PPP over the tunnels of L2TPv2
// that name it.
type PPP struct {
	Name   string
	Mode   string            // lns or client
	Server *lns.Config       // of an LNS, without RADIUS, Accounting, Event and Log
	Client *lns.ClientConfig // of a client, without Event and Log
	RADIUS string            // the name of a RADIUS; empty: none
}

// A RADIUS is the servers that users and their accounting are known to.
type RADIUS struct {
	Name string
	radius.Config
	Accounts radius.AccountingConfig // without Log
	Dynamic  radius.DynamicConfig    // Listen is not valid: nobody is obeyed
}

// A Version2 is a tunnel of L2TPv2: l2tpv3.DynamicConfig says over what, and this how.
type Version2 struct {
	l2tpv2.TunnelConfig
	PPP      string // the name of a profile
	Sequence bool   // data has sequence numbers
}

// The links of an LNS, in octets: IPv6's least MTU, RFC 8200 section 5.
const leastLink, mostLink = lns.MinMTU, 1500

// pppFields are the keys of [ppp.NAME].
func pppFields(q *PPP, d *profile) []keys {
	s, c := &lns.Config{}, &lns.ClientConfig{}
	if q.Server != nil {
		s = q.Server
	}
	if q.Client != nil {
		c = q.Client
	}
	encryptions := []ppp.Encryption{ppp.CCPRejected, ppp.MPPEOffered, ppp.MPPERequired}
	return []keys{
		{lnsRole | clientRole, []field{
			pppMode(q),
			{"tun", textType, text(&d.tun, interfaceName), "the name of an interface"},
			{"mtu", integerType, number(&d.mtu, leastLink, mostLink), ""},
			{"auth", arrayType, authentication(&d.methods), ""},
			{"mppe", textType, choice(&d.encryption, encryptionName, encryptions), ""},
			{"mss_clamp", booleanType, not(&d.keepMSS), ""},
			{"echo_interval", textType, duration(&d.echo, time.Second, time.Hour), ""},
			{"echo_failures", integerType, number(&d.echoFailures, 1, 100), ""},
			{"up_script", textType, hook(&d.up), ""},
			{"down_script", textType, hook(&d.down), ""},
		}},
		{lnsRole, []field{
			{"address", textType, ipv4(&s.Address), ""},
			{"addresses", arrayType, prefixes(&s.Addresses), ""},
			{"pool", textOrArray, pool(s, &d.routes, "ipv4", 32), ""},
			{"ipv6_pool", textOrArray, pool(s, &d.routes, "ipv6", 64), ""},
			{"delegated_pool", textOrArray, pool(s, &d.routes, "delegated", 56), ""},
			{"users_file", textType, usersFile(&s.Users, d), ""},
			{"radius", textType, text(&q.RADIUS, pppName), ""},
			{"attempts", integerType, number(&s.Attempts, 1, 100), ""},
			{"dns", arrayType, addressList(&s.DNS), ""},
			{"session_timeout", textType, duration(&s.SessionTimeout, 0, 365*24*time.Hour), ""},
			{"idle_timeout", textType, duration(&s.IdleTimeout, 0, 365*24*time.Hour), ""},
			{"user_links", integerType, number(&s.UserLinks, 0, most), ""},
			{"link_limit", integerType, number(&s.MaxLinks, 1, most), ""},
		}},
		{clientRole, []field{
			{"user", textType, text(&c.User, peerName), "the name that the peer knows us by"},
			{"password", textType, password(&c.Password), ""},
			{"password_file", textType, passwordFile(&c.Password, d.dir), ""},
			{"routes", arrayType, networks(&c.Routes), ""},
			{"dns_file", textType, text(&c.DNSFile, absolutePath), ""},
			{"ipv4", booleanType, not(&c.NoIPv4), ""},
			{"ipv6", booleanType, not(&c.NoIPv6), ""},
		}},
	}
}

func pppMode(q *PPP) field {
	return field{"mode", textType, choice(&q.Mode, itself, modeNames[3:]), ""}
}

func encryptionName(e ppp.Encryption) string {
	return map[ppp.Encryption]string{ppp.CCPRejected: "no", ppp.MPPEOffered: "offered", ppp.MPPERequired: "required"}[e]
}

// A profile is what the keys of both modes say.
type profile struct {
	dir          string
	tun          string
	mtu          int
	methods      []ppp.Method
	encryption   ppp.Encryption
	keepMSS      bool
	echo         time.Duration
	echoFailures int
	up, down     lns.Hook
	routes       []netip.Prefix // of pools
	warnings     []Problem
}

// profiles reads the profiles of PPP.
func (p *parser) profiles() {
	if p.root["ppp"] == nil {
		return
	}
	for _, in := range p.named(toml.Key{"ppp"}, p.root) {
		p.read.PPP = append(p.read.PPP, p.profile(in))
	}
}

func (p *parser) profile(in named) PPP {
	at := func(key string) toml.Key { return join(in.path, key) }
	q := PPP{Name: in.name, Mode: modeNames[3]}
	if v, ok := in.table["mode"]; ok && !p.field(at("mode"), pppMode(&q), v) {
		return q
	}
	m := modeOf(q.Mode)
	d := profile{dir: filepath.Dir(p.name), methods: []ppp.Method{ppp.ByMSCHAP2, ppp.ByCHAP}}
	if m == lnsRole {
		q.Server = &lns.Config{}
	} else {
		q.Client = &lns.ClientConfig{}
	}
	wrong := p.section(in.path, in.table, m, pppFields(&q, &d))
	p.warnings = append(p.warnings, d.warnings...)
	if !wrong["tun"] {
		p.claim(at("tun"), &p.devices, d.tun, "", d.tun)
	}
	if d.encryption != ppp.CCPRejected && !slices.Contains(d.methods, ppp.ByMSCHAP2) && !wrong["auth"] {
		p.problem(at("mppe"), `found %q, want "mschapv2" in auth with it, which makes the keys`, encryptionName(d.encryption))
	}
	if c := q.Client; c != nil {
		c.Name, c.MTU, c.Prove, c.Encryption, c.KeepMSS = d.tun, d.mtu, d.methods, d.encryption, d.keepMSS
		c.EchoInterval, c.EchoFailures, c.UpScript, c.DownScript = d.echo, d.echoFailures, d.up, d.down
		if in.table["password"] != nil && in.table["password_file"] != nil {
			p.problem(at("password_file"), "found with password, want one of the two")
		}
		p.inline = p.inline || in.table["password"] != nil
		return q
	}
	s := q.Server
	s.Name, s.MTU, s.Methods, s.Encryption, s.KeepMSS, s.Routes = d.tun, d.mtu, d.methods, d.encryption, d.keepMSS, d.routes
	s.EchoInterval, s.EchoFailures, s.UpScript, s.DownScript = d.echo, d.echoFailures, d.up, d.down
	s.HostName = p.hostname
	if s.Pool != "" && !s.Address.IsValid() && !wrong["address"] {
		p.problem(at("address"), "missing, want our end's IPv4 address with pool")
	}
	if len(s.Methods) > 0 && s.Users == nil && q.RADIUS == "" && !wrong["users_file"] && !wrong["radius"] {
		p.problem(at("users_file"), "missing, want it or radius: nobody is known who could prove who he is")
	}
	if len(s.Methods) == 0 {
		p.warn(at("auth"), "anybody may come in, want a method")
	}
	if q.RADIUS != "" && !slices.ContainsFunc(p.read.RADIUS, func(r RADIUS) bool { return r.Name == q.RADIUS }) {
		p.problem(at("radius"), "found %q, want [radius.%s] with it", q.RADIUS, q.RADIUS)
	}
	return q
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

// version3Keys are those of tunnels that L2TPv2 has no use for.
var version3Keys = []string{"router_id", "peer_router_id", "next_secret", "next_secret_file", "digest", "dialect", "language",
	"udp_csum", "udp6_zero_csum_tx", "udp6_zero_csum_rx"}

// version2 makes a tunnel of L2TPv2 of what was read of one of L2TPv3.
func (p *parser) version2(in named, t *Tunnel, d *draft, wrong map[string]bool) {
	at := func(key string) toml.Key { return join(in.path, key) }
	if t.Dynamic == nil {
		p.problem(at("version"), `found 2 in mode "static", want mode "dial" or "accept" for it`)
		return
	}
	if t.Encap() != wire.UDP && !wrong["encap"] {
		p.problem(at("encap"), `found "ip", want "udp" with version 2, RFC 2661 section 8.1`)
	}
	for _, key := range version3Keys {
		if in.table[key] != nil && !wrong[key] {
			p.problem(at(key), "found with version 2, want version 3 for it")
		}
	}
	if in.table["session"] != nil {
		p.problem(at("session"), "found with version 2, whose calls all join ppp, want none")
	}
	c := &t.Dynamic.Control
	v := &Version2{PPP: d.ppp, Sequence: d.sequence}
	v.TunnelConfig = l2tpv2.TunnelConfig{
		Name: t.Name, Dial: c.Dial, Limit: c.Limit, PeerHostName: c.PeerHostName, HostName: c.HostName, Hide: c.Hide, Incoming: !c.Dial,
		Hello: c.Hello, Timeout: c.Timeout, MaxTimeout: c.MaxTimeout, Retries: c.Retries, DialRetries: c.DialRetries,
		ReceiveWindow: min(c.ReceiveWindow, 1024), SetupTimeout: c.SetupTimeout, RedialMin: c.RedialMin, RedialMax: c.RedialMax,
		RedialLimit: c.RedialLimit, SessionLimit: min(c.SessionLimit, 65535), TieBreaker: c.Dial && !c.NoTieBreaker,
	}
	if s := d.secret; s.v2 != nil {
		v.Secret = s.v2
	} else {
		v.Secret = d.secretFile.v2
	}
	want := modeNames[3]
	if c.Dial {
		want = modeNames[4]
	}
	switch i := slices.IndexFunc(p.read.PPP, func(q PPP) bool { return q.Name == d.ppp }); {
	case d.ppp == "" && !wrong["ppp"]:
		p.problem(at("ppp"), "missing, want the name of a section [ppp.NAME]")
	case i < 0 && !wrong["ppp"]:
		p.problem(at("ppp"), "found %q, want [ppp.%s] with it", d.ppp, d.ppp)
	case i >= 0 && p.read.PPP[i].Mode != want:
		p.problem(at("ppp"), "found %q, which is of mode %q, want one of mode %q in a tunnel of mode %q", d.ppp, p.read.PPP[i].Mode, want, t.Mode)
	}
	t.Dynamic.TunnelConfig = t.TunnelConfig
	t.Version2 = v
}

func pppName(s string) string {
	if !plain(s) {
		return "want the name of a section"
	}
	return ""
}

func absolutePath(s string) string {
	if !filepath.IsAbs(s) || strings.ContainsRune(s, 0) {
		return "want an absolute path"
	}
	return ""
}

// authentication takes methods, the best first; an empty list is none.
func authentication(to *[]ppp.Method) setter {
	return func(v any) string {
		const want = `want methods, the best first: "mschapv2", "chap", "pap", "eap"`
		list, ok := v.([]any)
		if !ok {
			return want
		}
		all := []ppp.Method{}
		for i, v := range list {
			name, _ := v.(string)
			m, err := ppp.ParseMethod(name)
			if err != nil || slices.Contains(all, m) {
				return fmt.Sprintf("at place %d %s, %s", i+1, found(v), want)
			}
			all = append(all, m)
		}
		*to = all
		return ""
	}
}

func hook(to *lns.Hook) setter {
	return func(v any) string {
		if complaint := absolutePath(v.(string)); complaint != "" {
			return complaint + " of a program"
		}
		to.Path = v.(string)
		return ""
	}
}

// pool makes a pool of ranges, and has their prefixes lead to the LNS.
func pool(s *lns.Config, routes *[]netip.Prefix, name string, length int) setter {
	return func(v any) string {
		want := fmt.Sprintf(`want prefixes or ranges of prefixes of length %d: "192.0.2.10-192.0.2.99", "2001:db8::/48"`, length)
		list, is := v.([]any)
		if !is {
			list = []any{v}
		}
		var ranges []address.Range
		for i, v := range list {
			text, _ := v.(string)
			r, err := address.ParseRange(text)
			if err != nil || r.First.Is4() != (length == 32) {
				return fmt.Sprintf("at place %d %s, %s", i+1, found(v), want)
			}
			ranges = append(ranges, r)
			if prefix, err := netip.ParsePrefix(text); err == nil {
				*routes = append(*routes, prefix.Masked())
			}
		}
		p, err := address.New(length, ranges...)
		if err != nil || p.Size() == 0 {
			return want
		}
		s.Pools = mapped(s.Pools)
		s.Pools[name] = p
		switch name {
		case "ipv4":
			s.Pool = name
		case "ipv6":
			s.IPv6Pool = name
		case "delegated":
			s.DelegatedPool = name
		}
		return ""
	}
}

// usersFile reads a file of users, whose problems are its own.
func usersFile(to **users.Set, d *profile) setter {
	return func(v any) string {
		path := v.(string)
		if path == "" {
			return "want a path"
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(d.dir, path)
		}
		all, err := LoadUsers(path)
		if err != nil {
			return "which cannot be used: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		d.warnings = append(d.warnings, all.Warnings...)
		set, err := users.New(all.All)
		if err != nil {
			return "which cannot be used: " + err.Error()
		}
		*to = set
		return ""
	}
}

func password(to *string) setter {
	return func(v any) string {
		if s := v.(string); s == "" || len(s) > 255 {
			return "want 1 to 255 octets"
		}
		*to = v.(string)
		return ""
	}
}

func passwordFile(to *string, dir string) setter {
	return func(v any) string {
		secret, complaint := fileSecret(v.(string), dir)
		if complaint == "" {
			complaint = password(to)(string(secret))
		}
		return complaint
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

// networks takes where routes lead to; "default" is all of IPv4.
func networks(to *[]netip.Prefix) setter {
	return func(v any) string {
		const want = `want networks: ["198.51.100.0/24", "default"]`
		list, _ := v.([]any)
		if list == nil {
			return want
		}
		var all []netip.Prefix
		for i, v := range list {
			s, _ := v.(string)
			prefix, err := netip.ParsePrefix(s)
			if s == "default" {
				prefix, err = netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
			}
			if err != nil || prefix != prefix.Masked() {
				return fmt.Sprintf("at place %d %s, %s", i+1, found(v), want)
			}
			all = append(all, prefix)
		}
		*to = all
		return ""
	}
}
