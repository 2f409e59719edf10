package config

import (
	"fmt"
	"io"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/l2tpv3/dataplane"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns"
	"spanwire/pseudowire/ppp/lns/address"
	"spanwire/pseudowire/ppp/lns/users"
)

// A PPP is a profile: how an LNS or a client speaks PPP over the tunnels of L2TPv2
// that name it.
type PPP struct {
	Name      string
	Mode      string            // lns or client
	Server    *lns.Config       // of an LNS, without RADIUS, Accounting, Event and Log
	Client    *lns.ClientConfig // of a client, without Event and Log
	AutoMTU   bool              // the MTU is as the path allows
	RADIUS    string            // the name of a RADIUS; empty: none
	UsersFile string            // where its users are from; empty: it has none of its own
}

// Format does not write a password, whatever the verb.
func (q PPP) Format(f fmt.State, _ rune) { io.WriteString(f, "ppp "+q.Name) }

// TUN returns the name of the profile's TUN.
func (q *PPP) TUN() string {
	if q.Client != nil {
		return q.Client.Name
	}
	return q.Server.Name
}

// LinkMTU returns the MTU that a profile begins with, which is also the largest that its
// links come to have. As the path allows it is what a path of 1500 octets carries of the
// tunnels that join the profile.
func (f *File) LinkMTU(q *PPP) int {
	if c := q.Client; c != nil && !q.AutoMTU {
		return c.MTU
	} else if c == nil && !q.AutoMTU {
		return q.Server.MTU
	}
	least := mostLink
	for _, t := range f.Tunnels {
		if t.Version2 == nil || t.Version2.PPP != q.Name {
			continue
		}
		v6, known := t.V6()
		least = min(least, mostLink-new(dataplane.ParamsV2).Overhead(v6 || !known)-pppHeader)
	}
	return least
}

// pppHeader is the octets of PPP in front of a packet, with Address and Control.
const pppHeader = 4

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
			{"mtu", textOrNumber, linkMTU(&d.mtu), ""},
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
			{"pool", textOrArray, pool(s, d, "pool", poolIPv4, 32), ""},
			{"ipv6_pool", textOrArray, pool(s, d, "ipv6_pool", poolIPv6, 64), ""},
			{"delegated_pool", textOrArray, pool(s, d, "delegated_pool", poolDelegated, 56), ""},
			{"users_file", textType, usersFile(&s.Users, &q.UsersFile, d), ""},
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
			{"resolvectl", textType, text(&c.Resolvectl, absolutePath), ""},
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
	pools        []given
	users        []users.User
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
	var tables []string
	if m == lnsRole {
		tables = append(tables, "pools")
	}
	wrong := p.section(in.path, in.table, m, pppFields(&q, &d), tables...)
	p.warnings = append(p.warnings, d.warnings...)
	if !wrong["tun"] {
		p.claim(at("tun"), &p.devices, d.tun, "", d.tun)
	}
	if d.encryption != ppp.CCPRejected && !slices.Contains(d.methods, ppp.ByMSCHAP2) && !wrong["auth"] {
		p.problem(at("mppe"), `found %q, want "mschapv2" in auth with it, which makes the keys`, encryptionName(d.encryption))
	}
	if c := q.Client; c != nil {
		q.AutoMTU = d.mtu == 0
		c.Name, c.MTU, c.Prove, c.Encryption, c.KeepMSS = d.tun, d.mtu, d.methods, d.encryption, d.keepMSS
		c.EchoInterval, c.EchoFailures, c.UpScript, c.DownScript = d.echo, d.echoFailures, d.up, d.down
		if in.table["password"] != nil && in.table["password_file"] != nil {
			p.problem(at("password_file"), "found with password, want one of the two")
		}
		if c.Password == "" && len(d.methods) > 0 && !wrong["password"] && !wrong["password_file"] {
			p.problem(at("password"), "missing, want it or password_file, or auth = [] for a peer that wants no proof")
		}
		p.inline = p.inline || in.table["password"] != nil
		return q
	}
	s := q.Server
	p.pools(in, s, &d)
	for _, g := range d.pools {
		p.give(given{g.Range, append(slices.Clone(in.path), g.key...)})
	}
	s.Name, s.MTU, s.Methods, s.Encryption, s.KeepMSS, s.Routes = d.tun, d.mtu, d.methods, d.encryption, d.keepMSS, d.routes
	s.EchoInterval, s.EchoFailures, s.UpScript, s.DownScript = d.echo, d.echoFailures, d.up, d.down
	s.HostName, q.AutoMTU = p.hostname, d.mtu == 0
	if s.Pool != "" && !s.Address.IsValid() && !wrong["address"] {
		p.problem(at("address"), "missing, want our end's IPv4 address with pool")
	}
	if len(s.Methods) > 0 && s.Users == nil && q.RADIUS == "" && !wrong["users_file"] && !wrong["radius"] {
		p.problem(at("users_file"), "missing, want it or radius: nobody is known who could prove who he is")
	}
	if len(s.Methods) == 0 {
		p.warn(at("auth"), "anybody may come in, want a method")
	}
	if slices.Contains(s.Methods, ppp.ByEAP) && q.RADIUS == "" && !wrong["radius"] {
		p.problem(at("auth"), `found "eap", want radius with it, whose servers alone speak it`)
	}
	for _, u := range d.users {
		for _, name := range []string{u.Pool, u.IPv6Pool, u.DelegatedPool} {
			if _, has := s.Pools[name]; name != "" && !has {
				p.problem(at("users_file"), "user %s is to get from pool %q, want one of %s", printable(u.Name), name, strings.Join(slices.Sorted(maps.Keys(s.Pools)), ", "))
			}
		}
	}
	if q.RADIUS != "" && !slices.ContainsFunc(p.read.RADIUS, func(r RADIUS) bool { return r.Name == q.RADIUS }) {
		p.problem(at("radius"), "found %q, want [radius.%s] with it", q.RADIUS, q.RADIUS)
	}
	return q
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

// linkMTU takes the MTU of links; 0: as the path allows.
func linkMTU(to *int) setter {
	return func(v any) string {
		n, ok := v.(int64)
		if v != "auto" && (!ok || n < leastLink || n > mostLink) {
			return fmt.Sprintf(`want "auto" or integer from %d to %d`, leastLink, mostLink)
		}
		*to = int(n)
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

// The names of the pools that users get from of whom nothing else is said.
const (
	poolIPv4      = "ipv4"
	poolIPv6      = "ipv6"
	poolDelegated = "delegated"
)

// poolFields are the keys of [ppp.NAME.pools.NAME].
func poolFields(all *blocks, length *int) []keys {
	return []keys{{every, []field{
		{"ranges", textOrArray, ranges(all), wantRanges[len("want "):]},
		{"length", integerType, number(length, 1, 64), ""},
	}}}
}

const wantRanges = `want prefixes or ranges: "192.0.2.10-192.0.2.99", "2001:db8::/48"`

// given are addresses that users get, and the key that says so.
type given struct {
	address.Range
	key toml.Key
}

// give has no address be in two pools.
func (p *parser) give(g given) {
	for _, other := range p.given {
		if g.First.Is4() == other.First.Is4() && !g.Last.Less(other.First) && !other.Last.Less(g.First) {
			last := len(other.key) - 1
			p.problem(g.key, "found %v, of which some are in %s of %s, want others", g.Range, other.key[last], p.other(other.key[:last], other.key[last]))
			return
		}
	}
	p.given = append(p.given, g)
}

// blocks are what a pool has.
type blocks struct {
	ranges   []address.Range
	prefixes []netip.Prefix // those that were written as such
}

func (b *blocks) is4() bool { return b.ranges[0].First.Is4() }

// ranges takes one or several, all of one family.
func ranges(to *blocks) setter {
	return func(v any) string {
		list, is := v.([]any)
		if !is {
			list = []any{v}
		}
		var all blocks
		for i, v := range list {
			text, _ := v.(string)
			r, err := address.ParseRange(text)
			if err != nil || i > 0 && r.First.Is4() != all.is4() {
				return fmt.Sprintf("at place %d %s, %s, all of IPv4 or all of IPv6", i+1, found(v), wantRanges)
			}
			all.ranges = append(all.ranges, r)
			if prefix, err := netip.ParsePrefix(text); err == nil {
				all.prefixes = append(all.prefixes, prefix)
			}
		}
		if len(all.ranges) == 0 {
			return wantRanges
		}
		*to = all
		return ""
	}
}

// pool makes a pool of ranges, and has their prefixes lead to the LNS.
func pool(s *lns.Config, d *profile, key, name string, length int) setter {
	return func(v any) string {
		var all blocks
		if complaint := ranges(&all)(v); complaint != "" {
			return complaint
		}
		switch v4 := name == poolIPv4; {
		case v4 && !all.is4():
			return "want ranges of IPv4"
		case !v4 && all.is4():
			return "want ranges of IPv6"
		}
		if complaint := addPool(s, d, toml.Key{key}, name, length, &all); complaint != "" {
			return complaint
		}
		switch name {
		case poolIPv4:
			s.Pool = name
		case poolIPv6:
			s.IPv6Pool = name
		case poolDelegated:
			s.DelegatedPool = name
		}
		return ""
	}
}

func addPool(s *lns.Config, d *profile, key toml.Key, name string, length int, all *blocks) (complaint string) {
	p, err := address.New(length, all.ranges...)
	if err != nil {
		return "which cannot be used: " + strings.TrimPrefix(err.Error(), "address: ")
	}
	d.routes = append(d.routes, all.prefixes...)
	for _, r := range all.ranges {
		d.pools = append(d.pools, given{r, key})
	}
	s.Pools = mapped(s.Pools)
	s.Pools[name] = p
	return ""
}

// pools reads those that users and RADIUS servers know by names.
func (p *parser) pools(in named, s *lns.Config, d *profile) {
	if in.table["pools"] == nil {
		return
	}
	for _, pool := range p.named(join(in.path, "pools"), in.table) {
		var all blocks
		length := 0
		if wrong := p.section(pool.path, pool.table, every, poolFields(&all, &length)); len(wrong) > 0 {
			continue
		}
		at := join(pool.path, "length")
		switch v4 := all.is4(); {
		case v4 && length != 0 && length != 32:
			p.problem(at, "found %d, want 32 for addresses of IPv4", length)
			continue
		case v4:
			length = 32
		case length == 0:
			length = 64
		}
		if _, twice := s.Pools[pool.name]; twice {
			p.problem(pool.path, "found the name of a pool that the profile has already, want another")
			continue
		}
		if complaint := addPool(s, d, toml.Key{"pools", pool.name, "ranges"}, pool.name, length, &all); complaint != "" {
			p.problem(join(pool.path, "ranges"), "%s", complaint)
		}
	}
}

// usersFile reads a file of users, whose problems are its own.
func usersFile(to **users.Set, file *string, d *profile) setter {
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
		d.warnings, d.users, *file = append(d.warnings, all.Warnings...), all.All, path
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
