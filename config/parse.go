package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"

	"spanwire/cookie"
	"spanwire/l2tpv3/transport"
	"spanwire/pseudowire"
)

// A parser walks through one file.
type parser struct {
	name     string
	root     map[string]any
	lines    *lines
	problems []Problem
	warnings []Problem

	hostname   string              // the node's
	inline     bool                // a secret stands in the file itself
	sessionIDs map[uint32]toml.Key // who has them
	sockets    []socket

	read     *File               // as far as it is
	devices  map[string][]claim  // by name
	lineEnds map[string][]claim  // own ends of serial lines
	clients  map[string][]claim  // profiles of PPP that are clients
	given    []given             // what pools have
	circuits map[string][]claim  // serial ports by name, and their DLCIs
	places   map[string][]claim  // of stations, by Hub and address
	ends     map[string]toml.Key // of the present tunnel, by Remote End ID
	anyEnd   toml.Key            // its session of any; nil: none
}

// A socket is what tunnels may share.
type socket struct {
	tunnel toml.Key
	mode   mode
	cfg    transport.Config
}

func newParser(name string) *parser {
	return &parser{
		name:       name,
		sessionIDs: make(map[uint32]toml.Key),
	}
}

// decode reads the TOML and reports whether it is any.
func (p *parser) decode(text string) bool {
	text = strings.TrimPrefix(text, "\ufeff")
	var root toml.Primitive
	md, err := toml.Decode(text, &root)
	if err == nil {
		err = md.PrimitiveDecode(root, &p.root)
	}
	if err != nil {
		p.syntax(text, err)
		return false
	}
	p.lines = newLines(text, md, root)
	return true
}

// syntax notes what the library says of a text that is no TOML. It may quote the
// value, which nobody shall see where it is a cookie or a secret.
func (p *parser) syntax(text string, err error) {
	line, what := 0, err.Error()
	if at := (toml.ParseError{}); errors.As(err, &at) {
		line, what = at.Position.Line, at.Message
		suspect := at.LastKey
		if all := strings.Split(text, "\n"); line >= 1 && line <= len(all) {
			suspect += all[line-1]
		}
		twice := strings.HasSuffix(what, "has already been defined.") // quotes the key alone
		switch {
		case twice:
		case strings.Contains(suspect, "cook"):
			what = "no TOML, " + wantCookie
		case strings.Contains(suspect, "secr"), strings.Contains(suspect, "passw"):
			what = "no TOML, want a string in quotes"
		}
	}
	what = strings.Map(func(r rune) rune { // a problem is a line
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, what)
	p.problems = append(p.problems, Problem{File: p.name, Line: line, Text: what})
}

// problem notes that something is wrong at a path.
func (p *parser) problem(path toml.Key, format string, args ...any) {
	p.problems = append(p.problems, p.at(path, format, args...))
}

// warn notes that something should be better at a path.
func (p *parser) warn(path toml.Key, format string, args ...any) {
	p.warnings = append(p.warnings, p.at(path, format, args...))
}

func (p *parser) at(path toml.Key, format string, args ...any) Problem {
	what := fmt.Sprintf(format, args...)
	if len(path) > 0 {
		what = where(path) + ": " + what
	}
	return Problem{File: p.name, Line: p.lines.of(path), Text: what}
}

// where turns a path into words: "tunnel paris: session office: mtu".
func where(path toml.Key) string {
	var words []string
	for i := 0; i < len(path); i++ {
		word := printable(path[i])
		if i%2 == 0 && i+1 < len(path) && slices.Contains([]string{"tunnel", "session", "serial", "hub", "port", "ppp", "pools", "radius", "user"}, word) {
			i++
			word += " " + printable(path[i])
		}
		words = append(words, word)
	}
	return strings.Join(words, ": ")
}

// printable returns a name as it is, or in quotes if it would spoil a line.
func printable(name string) string {
	if plain(name) {
		return name
	}
	return strconv.Quote(name)
}

// section gives the values of a table to the fields that it has in a mode, and
// returns the keys that are wrong. The keys in others are read elsewhere.
func (p *parser) section(path toml.Key, table map[string]any, m mode, all []keys, others ...string) (wrong map[string]bool) {
	wrong = make(map[string]bool)
	known := slices.Clone(others)
	for _, k := range all {
		if k.modes&m == 0 {
			continue
		}
		for _, f := range k.fields {
			known = append(known, f.key)
			if v, present := table[f.key]; (present || f.need != "") && !p.field(join(path, f.key), f, v) {
				wrong[f.key] = true
			}
		}
	}
	for key := range table {
		at := join(path, key)
		switch elsewhere := modesOf(all, key); {
		case slices.Contains(known, key):
		case elsewhere != 0:
			p.problem(at, "found in mode %v, want mode %v for it", m, elsewhere)
		default:
			p.problem(at, "unknown key%s", suggest(key, known))
		}
	}
	return wrong
}

// field gives a value, nil if there is none, to a field, and reports whether that
// takes it.
func (p *parser) field(at toml.Key, f field, v any) bool {
	switch {
	case v == nil:
		p.problem(at, "missing, want %s", f.need)
	case !strings.Contains(f.kind, typeOf(v)):
		p.problem(at, "found %s, want %s", mistyped(f.key, v), f.kind)
	default:
		complaint := f.set(v)
		if complaint == "" {
			return true
		}
		p.problem(at, "found %s, %s", shown(f.key, v), complaint)
	}
	return false
}

// modesOf returns the modes that have a key.
func modesOf(all []keys, key string) (m mode) {
	for _, k := range all {
		if slices.ContainsFunc(k.fields, func(f field) bool { return f.key == key }) {
			m |= k.modes
		}
	}
	return m
}

// mistyped shows a value that has the wrong type.
func mistyped(key string, v any) string {
	kind, value := typeOf(v), found(v)
	if secret(key) || value == kind {
		return kind
	}
	return kind + " " + value
}

// shown shows a value as the file has it, but for what is secret.
func shown(key string, v any) string {
	if s, is := v.(string); is && secret(key) {
		if !strings.HasSuffix(key, "_cookie") {
			return fmt.Sprintf("%d octets", len(s))
		}
		if strings.Trim(s, "0123456789abcdefABCDEF") != "" {
			return "other than hexadecimal digits"
		}
		return fmt.Sprintf("%d digits", len(s))
	}
	return found(v)
}

// secret reports whether the value of a key is not to be shown.
func secret(key string) bool {
	return strings.HasSuffix(key, "_cookie") || strings.HasSuffix(key, "secret") ||
		key == "password" || key == "nt_hash" || key == "bcrypt"
}

// suggest names the key that was likely meant, if one is near.
func suggest(key string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(key, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", want %q?", best)
}

// distance is how many letters to change, put in or leave out make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// table returns the table at a path. It does not show what else is there: below
// a forgotten name it may be a cookie.
func (p *parser) table(path toml.Key, v any, want string) map[string]any {
	t, ok := v.(map[string]any)
	if !ok {
		p.problem(path, "found %s, want %s", typeOf(v), want)
	}
	return t
}

// A named is a table that has a name of the user's.
type named struct {
	name  string
	path  toml.Key
	table map[string]any
}

// named returns the tables below the key at the end of path, in the order in
// which they begin.
func (p *parser) named(path toml.Key, in map[string]any) (all []named) {
	want := "[" + path.String() + ".NAME]"
	v, ok := in[path[len(path)-1]]
	if !ok {
		p.problem(path, "missing, want %s", want)
		return nil
	}
	tables := p.table(path, v, want)
	for name, v := range tables {
		at := join(path, name)
		if !plain(name) {
			p.problem(at, "want a name without / and white space")
		}
		if table := p.table(at, v, want); table != nil {
			all = append(all, named{name, at, table})
		}
	}
	if tables != nil && len(tables) == 0 {
		p.problem(path, "empty, want %s", want)
	}
	slices.SortFunc(all, func(a, b named) int {
		return cmp.Compare(p.lines.first[a.path.String()], p.lines.first[b.path.String()])
	})
	return all
}

func (p *parser) file() *File {
	f := &File{Path: p.name}
	p.read = f
	p.section(nil, p.root, every, nil, "node", "tunnel", "serial", "hub", "ppp", "radius")
	p.node(&f.Node)
	p.hostname = f.Node.Hostname
	p.serials()
	p.hubs()
	p.radii()
	p.profiles()
	if p.root["tunnel"] != nil || len(p.problems) == 0 { // it may be there, misspelt
		for _, t := range p.named(toml.Key{"tunnel"}, p.root) {
			f.Tunnels = append(f.Tunnels, p.tunnel(t))
		}
	}
	p.bridges()
	f.Warnings, f.inline, f.text = p.warnings, p.inline, &contents{&p.root}
	return f
}

func (p *parser) node(n *Node) {
	n.LogFormat, n.LogLevel, n.HalfOpen, n.RequestRate = "text", "info", 16384, 1000
	if v, ok := p.root["node"]; ok {
		path := toml.Key{"node"}
		if table := p.table(path, v, "[node]"); table != nil {
			p.section(path, table, every, nodeFields(n))
		}
	}
	if n.Hostname == "" {
		n.Hostname, _ = os.Hostname()
	}
	if hostname(n.Hostname) != "" {
		n.Hostname = "localhost" // the kernel has none, or one that is no file name
	}
	if n.Control == "" {
		n.Control = "/run/spanwire/" + n.Hostname + ".sock"
	}
}

func (p *parser) tunnel(in named) Tunnel {
	t := Tunnel{Mode: modeNames[0]}
	t.Name = in.name
	if strings.ContainsAny(in.name, ":@") {
		p.problem(in.path, "want a name without : and @, which stand in the names of instances")
	}
	if v, ok := in.table["mode"]; ok && !p.field(join(in.path, "mode"), modeField(&t), v) {
		return t // of which nothing can be told
	}
	m := modeOf(t.Mode)
	d := draft{dir: filepath.Dir(p.name), versions: version3}
	if m&dynamic != 0 {
		t.Dynamic = newDynamic(m)
	}
	wrong := p.section(in.path, in.table, m, tunnelFields(&t, &d), "session")
	if wrong["version"] {
		return t
	}
	s := &t.Socket
	if in.table["local"] == nil {
		s.Local = netip.AddrPortFrom(netip.Addr{}, defaultPort(t.Encap()))
	}
	var peers []netip.Addr // as far as they are known before a name is resolved
	if t.Peer.Addr.IsValid() {
		peers = append(peers, t.Peer.Addr)
	}
	if t.Dynamic != nil {
		t.come(&d, in.table["peer_hostname"] != nil)
		for _, from := range t.Dynamic.From {
			peers = append(peers, from.Addr())
		}
	}
	p.family(in.path, s, peers)
	// The defaults are written out, for sockets are shared by what is equal.
	s.ReceiveBuffer, s.SendBuffer = s.ReceiveBufferSize(), s.SendBufferSize()
	if t.Dynamic != nil {
		p.dynamic(in, &t, &d, wrong)
	}
	if !wrong["encap"] && !wrong["local"] && !wrong["peer"] {
		p.shared(socket{in.path, m, t.Socket}, wrong)
	}
	if d.versions&version2 != 0 {
		p.version2(in, &t, &d, wrong)
	}
	if d.versions == version2 {
		t.Dynamic = nil
		return t
	}
	for _, key := range version2Keys {
		if in.table[key] != nil && d.versions == version3 && m&dynamic != 0 && !wrong[key] {
			p.problem(join(in.path, key), `found with version 3, want version 2 or "auto" for it`)
		}
	}
	p.ends, p.anyEnd = make(map[string]toml.Key), nil
	for _, session := range p.named(join(in.path, "session"), in.table) {
		s := p.session(session, &t, wrong["peer"])
		t.ReceiveDSCP = t.ReceiveDSCP || s.Ethernet.DSCP != nil
		t.Sessions = append(t.Sessions, s)
	}
	if t.Dynamic != nil {
		if c := &t.Dynamic.Control; c.SessionLimit < len(t.Sessions) {
			p.problem(join(in.path, "session_limit"), "found %d, want %d or more, which are in this file", c.SessionLimit, len(t.Sessions))
		}
		t.complete()
	}
	return t
}

// family has both ends be of one family. An end that may be any address of ours is
// of the peer's, if that is known.
func (p *parser) family(tunnel toml.Key, s *transport.Config, peers []netip.Addr) {
	local, alike := s.Local.Addr(), len(peers) > 0
	for _, peer := range peers {
		if local.IsValid() && local.Is4() != peer.Is4() {
			p.problem(join(tunnel, "peer"), "found %s, and local is %s: want both IPv4 or both IPv6", peer, local)
			return
		}
		alike = alike && peer.Is4() == peers[0].Is4()
	}
	if local.IsValid() || !alike {
		return
	}
	wildcard := netip.IPv6Unspecified()
	if peers[0].Is4() {
		wildcard = netip.IPv4Unspecified()
	}
	s.Local = netip.AddrPortFrom(wildcard, s.Local.Port())
}

// shared has tunnels over one socket agree on it.
func (p *parser) shared(t socket, wrong map[string]bool) {
	for _, other := range p.sockets {
		if !sameSocket(t.cfg, other.cfg) {
			continue
		}
		for _, option := range socketOptions {
			a, b := t, other
			if option.control && a.mode != static && b.mode == static {
				a, b = b, a // for the one with control messages is right
			}
			if got, want := option.of(&a.cfg), option.of(&b.cfg); got != want && !wrong[option.key] {
				p.problem(join(a.tunnel, option.key), "found %v, want %v as %s, which shares its local address and port",
					got, want, p.other(b.tunnel, option.key))
			}
		}
		return // which agrees with the rest, or has been told
	}
	p.sockets = append(p.sockets, t)
}

// socketOptions are what tunnels share with a socket.
var socketOptions = []struct {
	key     string
	of      func(*transport.Config) any
	control bool // RFC 3931 leaves no choice where there are control messages
}{
	{"df", func(c *transport.Config) any { return !c.Fragment }, false},
	{"udp_csum", func(c *transport.Config) any { return !c.NoUDPChecksum }, true},
	{"udp6_zero_csum_tx", func(c *transport.Config) any { return c.UDP6ZeroChecksumTx }, true},
	{"udp6_zero_csum_rx", func(c *transport.Config) any { return c.UDP6ZeroChecksumRx }, false},
	{"receive_buffer", func(c *transport.Config) any { return c.ReceiveBuffer }, false},
	{"send_buffer", func(c *transport.Config) any { return c.SendBuffer }, false},
}

// sameSocket reports whether two tunnels may come to share a socket. An address
// of unknown family may be either wildcard once the peer's name is resolved.
func sameSocket(a, b transport.Config) bool {
	if a.Encap != b.Encap || a.Local.Port() != b.Local.Port() {
		return false
	}
	x, y := a.Local.Addr(), b.Local.Addr()
	return x == y || !x.IsValid() && y.IsUnspecified() || x.IsUnspecified() && !y.IsValid()
}

// other names another place in the file.
func (p *parser) other(path toml.Key, key string) string {
	return fmt.Sprintf("%s (line %d)", where(path), p.lines.of(join(path, key)))
}

func (p *parser) session(in named, t *Tunnel, peerWrong bool) Session {
	m := modeOf(t.Mode)
	s := Session{Carrier: "always"}
	s.Name = in.name
	q := &s.Params
	q.Name, q.Pseudowire = t.Name+"/"+in.name, pseudowire.Ethernet
	if m != static {
		s.Circuit, s.Carrier = newCircuit(in.name, m), "follow"
	}
	var d tags
	wrong := p.section(in.path, in.table, m, sessionFields(&s, &d))
	q.PeerSublayer, q.PeerSequencing = q.Sublayer, q.Sequencing // without control messages, or a word of the peer, both directions are alike
	p.unique(in.path, &s, wrong)
	d.travels = q.Pseudowire == pseudowire.EthernetVLAN
	p.segment(in, &s, &d, wrong)

	// dataplane.Params.Check, each at its own key.
	if q.Sequencing != pseudowire.NoSequencing && q.Sublayer == pseudowire.NoSublayer && !wrong["sublayer"] {
		p.problem(join(in.path, "sequencing"), `found %q, want sublayer = "default" with it, which carries the number, RFC 3931 section 4.6`, q.Sequencing)
	}
	if q.ReorderTimeout > 0 && q.Sequencing == pseudowire.NoSequencing && !wrong["sequencing"] {
		p.problem(join(in.path, "reorder_timeout"), `found "%v", want sequencing with it: there is nothing to order by`, q.ReorderTimeout)
	}

	if m != static {
		p.circuit(in, &s, t, peerWrong, wrong)
		return s
	}
	for _, c := range []struct {
		key    string
		cookie cookie.Cookie
	}{{"receive_cookie", q.ReceiveCookie}, {"send_cookie", q.SendCookie}} {
		if c.cookie.Len() < cookie.DefaultSize && !wrong[c.key] {
			p.warn(join(in.path, c.key), "found %s, which strangers can guess, want %d: RFC 3931 section 8.2", c.cookie, cookie.DefaultSize)
		}
	}
	if q.ReceiveCookie.Len() > 0 && q.ReceiveCookie == q.SendCookie {
		p.warn(join(in.path, "send_cookie"), "the same as receive_cookie, want another: who learns one knows both")
	}
	return s
}

// unique has a session share its Session ID with no other, as far as it is known.
func (p *parser) unique(path toml.Key, s *Session, wrong map[string]bool) {
	if id := s.Params.SessionID; !wrong["session_id"] && s.Circuit == nil {
		if other, twice := p.sessionIDs[id]; twice {
			p.problem(join(path, "session_id"), "found %d, which is that of %s, want another: it alone says whose a frame is, RFC 3931 section 4.1",
				id, p.other(other, "session_id"))
		} else {
			p.sessionIDs[id] = path
		}
	}
}

// segment has what a session joins suit it.
func (p *parser) segment(in named, s *Session, d *tags, wrong map[string]bool) {
	if !p.attachment(in, &s.Attachment, d, wrong, TAP, Interface, Serial, InHub) {
		if s.Kind == Nothing && s.Circuit == nil && !wrong["tap"] && !wrong["interface"] && !wrong["serial"] && !wrong["hub"] {
			p.problem(join(in.path, "tap"), "missing, want what the session joins: tap, interface, serial or hub")
		}
		return
	}
	switch s.Params.Pseudowire {
	case pseudowire.Ethernet, pseudowire.EthernetVLAN:
		if s.Kind == Serial && !wrong["pseudowire"] {
			p.problem(join(in.path, "serial"), `found with pseudowire %q, want "frame-relay", "hdlc" or "ppp"`, s.Params.Pseudowire)
			return
		}
	default:
		if s.Kind != Serial {
			key := kindKeys[s.Kind]
			p.problem(join(in.path, key), "found with pseudowire %q, want serial for it", s.Params.Pseudowire)
			return
		}
	}
	if e := &s.Ethernet; d.travels && len(e.Segment)+len(e.Wire) == 0 && e.VLANs == nil && !wrong["vlan"] && !wrong["vlans"] && !wrong["peer_vlan"] {
		p.warn(join(in.path, "pseudowire"), `found %q, want vlan or peer_vlan with it: frames pass with whatever tags they have, or none`, s.Params.Pseudowire)
	}
	switch s.Kind {
	case Serial:
		p.serialPort(in, s, wrong)
	case InHub:
		p.member(in, s)
	}
}

// bridges has no bridge be a device of somebody's too, of whichever session or hub.
func (p *parser) bridges() {
	check := func(path toml.Key, bridge string) {
		if claims := p.devices[bridge]; bridge != "" && len(claims) > 0 {
			at := claims[0].path
			owner, key := at[:len(at)-1], at[len(at)-1]
			p.problem(join(path, "bridge"), "found %q, which is the %s of %s, want another", bridge, key, p.other(owner, key))
		}
	}
	for _, t := range p.read.Tunnels {
		for _, s := range t.Sessions {
			check(toml.Key{"tunnel", t.Name, "session", s.Name}, s.Bridge)
		}
	}
	for _, h := range p.read.Hubs {
		for _, port := range h.Ports {
			check(toml.Key{"hub", h.Name, "port", port.Name}, port.Bridge)
		}
	}
}

// sorted puts problems into the order of their lines.
func sorted(problems []Problem) []Problem {
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), strings.Compare(a.Text, b.Text))
	})
	return problems
}
