package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/cookie"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A field is one key of a section. Its set takes the value, or tells what is wanted.
type field struct {
	key string
	set func(v any) (want string)
}

// A parser walks through one file.
type parser struct {
	name     string
	root     map[string]any
	lines    map[string]int
	problems []Problem

	sessionIDs map[int64]string                   // whose they are
	taps       map[string]string                  // whose they are
	sockets    map[transport.Config]socketOptions // by encapsulation and address alone
	warnings   []Problem
}

type socketOptions struct {
	tunnel string
	cfg    transport.Config
}

func newParser(name string, text []byte) *parser {
	p := &parser{
		name:       name,
		lines:      lines(string(text)),
		sessionIDs: make(map[int64]string),
		taps:       make(map[string]string),
		sockets:    make(map[transport.Config]socketOptions),
	}
	if _, err := toml.Decode(string(text), &p.root); err != nil {
		line, what := 0, err.Error()
		if at := (toml.ParseError{}); errors.As(err, &at) {
			line, what = at.Position.Line, at.Message
		}
		p.problems = append(p.problems, Problem{File: name, Line: line, Text: what})
	}
	return p
}

// problem notes that something is wrong at a path, which names where in words.
func (p *parser) problem(path []string, format string, args ...any) {
	p.problems = append(p.problems, Problem{File: p.name, Line: p.line(path), Text: where(path) + fmt.Sprintf(format, args...)})
}

// line returns the line of the innermost part of a path that the file has.
func (p *parser) line(path []string) int {
	for n := len(path); n > 0; n-- {
		if line, ok := p.lines[strings.Join(path[:n], ".")]; ok {
			return line
		}
	}
	return 0
}

// where turns a path into words: "tunnel paris: session office: mtu: ".
func where(path []string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		b.WriteString(path[i])
		if (path[i] == "tunnel" || path[i] == "session") && i+1 < len(path) {
			i++
			b.WriteString(" " + path[i])
		}
		b.WriteString(": ")
	}
	return b.String()
}

// section gives the values of a table to its fields. Keys in others are read
// elsewhere.
func (p *parser) section(path []string, table map[string]any, fields []field, others ...string) {
	for key := range table {
		known := slices.ContainsFunc(fields, func(f field) bool { return f.key == key })
		if known || slices.Contains(others, key) {
			continue
		}
		p.problem(join(path, key), "unknown key%s", p.suggest(key, fields, others))
	}
	for _, f := range fields {
		v, ok := table[f.key]
		if !ok {
			continue
		}
		if want := f.set(v); want != "" {
			p.problem(join(path, f.key), "found %s, want %s", found(f.key, v), want)
		}
	}
}

func join(path []string, key string) []string { return append(slices.Clip(path), key) }

// suggest names the key that was likely meant, if one is near.
func (p *parser) suggest(key string, fields []field, others []string) string {
	best, least := "", 3
	for _, f := range fields {
		others = append(slices.Clip(others), f.key)
	}
	for _, k := range others {
		if d := distance(key, k); d < least {
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

// found shows a value as the file has it, but for what is secret.
func found(key string, v any) string {
	switch v := v.(type) {
	case string:
		if strings.HasSuffix(key, "cookie") {
			return fmt.Sprintf("%d characters", len(v))
		}
		return strconv.Quote(v)
	case int64, float64, bool:
		if strings.HasSuffix(key, "cookie") {
			return "a number"
		}
		return fmt.Sprint(v)
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprintf("%v", v)
}

// Setters of values.

func text(to *string, valid func(string) string) func(any) string {
	return func(v any) string {
		s, ok := v.(string)
		if !ok {
			return "a text in quotes"
		}
		if valid != nil {
			if want := valid(s); want != "" {
				return want
			}
		}
		*to = s
		return ""
	}
}

func flag(to *bool) func(any) string {
	return func(v any) string {
		b, ok := v.(bool)
		if !ok {
			return "true or false"
		}
		*to = b
		return ""
	}
}

func number[T ~int | ~int64 | ~uint8 | ~uint32](to *T, least, most int64) func(any) string {
	return func(v any) string {
		n, ok := v.(int64)
		if !ok || n < least || n > most {
			return fmt.Sprintf("a number from %d to %d", least, most)
		}
		*to = T(n)
		return ""
	}
}

func choice[T any](to *T, names []string, values []T) func(any) string {
	return func(v any) string {
		s, _ := v.(string)
		if i := slices.Index(names, s); i >= 0 {
			*to = values[i]
			return ""
		}
		return `"` + strings.Join(names, `" or "`) + `"`
	}
}

// octets takes a number or a text such as "4MiB".
func octets(to *int) func(any) string {
	const want = `octets from 4096 to 1 GiB, as a number or a text such as "4MiB"`
	return func(v any) string {
		n, ok := v.(int64)
		if s, isText := v.(string); isText {
			unit := int64(1)
			for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
				if rest, has := strings.CutSuffix(s, suffix); has {
					s, unit = strings.TrimSpace(rest), u
					break
				}
			}
			digits, err := strconv.ParseInt(s, 10, 32)
			n, ok = digits*unit, err == nil
		}
		if !ok || n < 4096 || n > 1<<30 {
			return want
		}
		*to = int(n)
		return ""
	}
}

func cookieOf(to *cookie.Cookie, present *bool) func(any) string {
	return func(v any) string {
		*present = true
		s, ok := v.(string)
		c, err := cookie.Parse(s)
		if !ok || err != nil {
			return `0, 4 or 8 octets as 0, 8 or 16 hexadecimal digits in quotes, as "spanwire cookie" prints them`
		}
		*to = c
		return ""
	}
}

func duration(to *time.Duration, most time.Duration) func(any) string {
	return func(v any) string {
		s, _ := v.(string)
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > most {
			return fmt.Sprintf(`a duration from "0s" to "%v"`, most)
		}
		*to = d
		return ""
	}
}

// interfaceName is what Linux takes as the name of a network interface.
func interfaceName(s string) string {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/:% \t\n\r") {
		return "an interface name of 1 to 15 characters without / : % and white space"
	}
	return ""
}

// The sections.

func (p *parser) file() *File {
	f := &File{Path: p.name}
	p.section(nil, p.root, nil, "node", "tunnel")
	p.node(f)
	if len(p.problems) == 0 && p.root["tunnel"] == nil {
		p.problem(nil, "no tunnel, want [tunnel.NAME]")
	}
	for _, name := range p.names([]string{"tunnel"}, p.root) {
		if t, ok := p.tunnel([]string{"tunnel", name}, name); ok {
			f.Tunnels = append(f.Tunnels, t)
		}
	}
	f.Warnings = p.warnings
	return f
}

// names returns the names of the tables below path's last part in the file's own
// order.
func (p *parser) names(path []string, in map[string]any) (names []string) {
	key := path[len(path)-1]
	v, ok := in[key]
	if !ok {
		return nil
	}
	tables, ok := v.(map[string]any)
	if !ok {
		p.problem(path, "found %s, want a table [%s.NAME]", found(key, v), strings.Join(path, "."))
		return nil
	}
	for name := range tables {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := p.line(join(path, a)) - p.line(join(path, b)); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

// table returns the table at a path, below in.
func (p *parser) table(path []string, in any) (map[string]any, bool) {
	t, ok := in.(map[string]any)
	if !ok {
		p.problem(path, "found %s, want a table", found("", in))
	}
	return t, ok
}

func (p *parser) node(f *File) {
	n := &f.Node
	n.LogFormat, n.LogLevel = "text", "info"
	if v, ok := p.root["node"]; ok {
		path := []string{"node"}
		if table, ok := p.table(path, v); ok {
			p.section(path, table, []field{
				{"hostname", text(&n.Hostname, func(s string) string {
					if s == "" || strings.ContainsAny(s, "/ \t\n") {
						return "a name without / and white space"
					}
					return ""
				})},
				{"router_id", func(v any) string {
					s, _ := v.(string)
					a, err := netip.ParseAddr(s)
					if err != nil || !a.Is4() {
						return `an IPv4 address in quotes`
					}
					n.RouterID = a
					return ""
				}},
				{"control", text(&n.Control, func(s string) string {
					if !filepath.IsAbs(s) || len(s) > 107 {
						return "an absolute path of at most 107 octets"
					}
					return ""
				})},
				{"log_format", choice(&n.LogFormat, []string{"text", "json"}, []string{"text", "json"})},
				{"log_level", choice(&n.LogLevel, []string{"debug", "info", "warn", "error"}, []string{"debug", "info", "warn", "error"})},
			})
		}
	}
	if n.Hostname == "" {
		n.Hostname, _ = os.Hostname() // empty: "localhost" will do
	}
	if n.Hostname == "" {
		n.Hostname = "localhost"
	}
	if n.Control == "" {
		n.Control = "/run/spanwire/" + n.Hostname + ".sock"
	}
}

func (p *parser) tunnel(path []string, name string) (t Tunnel, ok bool) {
	table, ok := p.table(path, p.root["tunnel"].(map[string]any)[name])
	if !ok {
		return t, false
	}
	t.Mode, t.Name = "static", name
	var local, peer string
	df, checksum := true, true
	s := &t.Socket
	p.section(path, table, []field{
		{"mode", choice(&t.Mode, []string{"static"}, []string{"static"})},
		{"encap", choice(&s.Encap, []string{"udp", "ip"}, []wire.Encap{wire.UDP, wire.IP})},
		{"local", text(&local, nil)},
		{"peer", text(&peer, nil)},
		{"dscp", number(&t.DSCP, 0, 63)},
		{"ttl", number(&t.TTL, 1, 255)},
		{"df", flag(&df)},
		{"udp_csum", flag(&checksum)},
		{"udp6_zero_csum_tx", flag(&s.UDP6ZeroChecksumTx)},
		{"udp6_zero_csum_rx", flag(&s.UDP6ZeroChecksumRx)},
		{"receive_buffer", octets(&s.ReceiveBuffer)},
		{"send_buffer", octets(&s.SendBuffer)},
	}, "session")
	s.Fragment, s.NoUDPChecksum = !df, !checksum
	p.addresses(path, table, &t, local, peer)
	p.shared(path, &t)
	for _, name := range p.names(join(path, "session"), table) {
		if session, ok := p.session(append(join(path, "session"), name), table["session"].(map[string]any)[name], &t, name); ok {
			t.Sessions = append(t.Sessions, session)
		}
	}
	if table["session"] == nil {
		p.problem(path, "no session, want [%s.session.NAME]", strings.Join(path, "."))
	}
	return t, true
}

// addresses reads where a tunnel begins and ends.
func (p *parser) addresses(path []string, table map[string]any, t *Tunnel, local, peer string) {
	port := uint16(wire.Port)
	wantLocal, wantPeer := `an address, with a port if need be: "192.0.2.1:1701", "[2001:db8::1]:1701", ":1701"`,
		`an address or a host name, with a port if need be: "192.0.2.2:1701", "paris.example.net"`
	if t.Encap() == wire.IP {
		port = 0
		wantLocal, wantPeer = `an address without a port: "192.0.2.1"`, `an address or a host name without a port: "192.0.2.2"`
	}
	localPort, peerPort := port, port
	var localAddr netip.Addr
	if _, is := table["local"].(string); is {
		host, n, err := splitPort(local, port)
		if err == nil && host != "" {
			localAddr, err = netip.ParseAddr(host)
		}
		if err != nil || localAddr.IsMulticast() || t.Encap() == wire.IP && (n != 0 || host == "") {
			p.problem(join(path, "local"), "found %q, want %s", local, wantLocal)
		}
		localAddr, localPort = localAddr.Unmap(), n
	}
	if v, is := table["peer"]; !is {
		p.problem(path, "peer: missing, want %s", wantPeer)
	} else if _, is := v.(string); is {
		host, n, err := splitPort(peer, port)
		addr, notAddr := netip.ParseAddr(host)
		switch {
		case err != nil, t.Encap() == wire.IP && n != 0, t.Encap() == wire.UDP && n == 0,
			notAddr != nil && !hostName(host),
			notAddr == nil && (addr.IsUnspecified() || addr.IsMulticast()):
			p.problem(join(path, "peer"), "found %q, want %s", peer, wantPeer)
		case notAddr == nil:
			t.Peer.Addr = addr.Unmap()
		default:
			t.Peer.Name = host
		}
		peerPort = n
	}
	t.Peer.Port = peerPort
	known := t.Peer.Addr
	if localAddr.IsValid() && known.IsValid() && localAddr.Is4() != known.Is4() {
		p.problem(join(path, "peer"), "found %s, and local is %s: want both IPv4 or both IPv6", known, localAddr)
	}
	if !localAddr.IsValid() && known.IsValid() {
		localAddr = netip.IPv6Unspecified()
		if known.Is4() {
			localAddr = netip.IPv4Unspecified()
		}
	}
	t.Socket.Local = netip.AddrPortFrom(localAddr, localPort)
}

// splitPort parts an address from its port, if it has one.
func splitPort(s string, otherwise uint16) (host string, port uint16, err error) {
	if _, err := netip.ParseAddr(s); err == nil || !strings.Contains(s, ":") {
		if s == "" {
			return "", 0, errors.New("empty")
		}
		return s, otherwise, nil
	}
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	return host, uint16(n), err
}

// hostName reports whether s can be one: RFC 1123 section 2.1, and underscores.
func hostName(s string) bool {
	digitsOnly := true
	for _, label := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_'
			if !letter && (c < '0' || c > '9') {
				return false
			}
			digitsOnly = digitsOnly && !letter
		}
	}
	return len(s) <= 253 && !digitsOnly // digits alone are a mistyped address
}

// shared has tunnels over one socket agree on it.
func (p *parser) shared(path []string, t *Tunnel) {
	key := transport.Config{Encap: t.Socket.Encap, Local: t.Socket.Local}
	if !key.Local.Addr().IsValid() {
		return // its family shows when the peer's name is resolved
	}
	other, ok := p.sockets[key]
	if !ok {
		p.sockets[key] = socketOptions{t.Name, t.Socket}
		return
	}
	if other.cfg != t.Socket {
		p.problem(path, "shares the socket %s %s with tunnel %s, but not its df, checksums or buffers: want them equal", key.Encap, key.Local, other.tunnel)
	}
}

func (p *parser) session(path []string, v any, t *Tunnel, name string) (s Session, ok bool) {
	table, ok := p.table(path, v)
	if !ok {
		return s, false
	}
	s.SessionConfig = l2tpv3.SessionConfig{Name: name}
	q := &s.Params
	q.Name, q.Pseudowire = t.Name+"/"+name, pseudowire.Ethernet
	var receive, send bool
	sublayers := []pseudowire.Sublayer{pseudowire.NoSublayer, pseudowire.DefaultSublayer}
	levels := []pseudowire.Sequencing{pseudowire.NoSequencing, pseudowire.NonIPSequencing, pseudowire.AllSequencing}
	p.section(path, table, []field{
		{"pseudowire", choice(&q.Pseudowire, []string{"ethernet"}, []pseudowire.Type{pseudowire.Ethernet})},
		{"session_id", number(&q.SessionID, 1, 1<<32-1)},
		{"peer_session_id", number(&q.PeerSessionID, 1, 1<<32-1)},
		{"receive_cookie", cookieOf(&q.ReceiveCookie, &receive)},
		{"send_cookie", cookieOf(&q.SendCookie, &send)},
		{"sublayer", choice(&q.Sublayer, []string{"none", "default"}, sublayers)},
		{"sequencing", choice(&q.Sequencing, []string{"none", "non-ip", "all"}, levels)},
		{"reorder_timeout", duration(&q.ReorderTimeout, time.Second)},
		{"tap", text(&s.TAP, interfaceName)},
		{"bridge", text(&s.Bridge, interfaceName)},
		{"mtu", func(v any) string {
			if v == "auto" {
				return ""
			}
			if want := number(&s.MTU, 68, 65517)(v); want != "" {
				return `"auto" or ` + want
			}
			return ""
		}},
		{"mac", func(v any) string {
			text, _ := v.(string)
			mac, err := net.ParseMAC(text)
			if err != nil || len(mac) != 6 || mac[0]&1 != 0 || slices.Max(mac) == 0 {
				return `the address of one station: "02:00:00:00:00:01"`
			}
			s.MAC = mac
			return ""
		}},
		{"addresses", func(v any) string {
			list, ok := v.([]any)
			for _, v := range list {
				text, _ := v.(string)
				prefix, err := netip.ParsePrefix(text)
				ok = ok && err == nil
				s.Addresses = append(s.Addresses, prefix)
			}
			if !ok {
				return `an array of addresses with their prefix lengths: ["198.51.100.1/24"]`
			}
			return ""
		}},
	})
	p.complete(path, table, &s, receive, send)
	return s, true
}

// complete reports what a session lacks, and what does not go together.
func (p *parser) complete(path []string, table map[string]any, s *Session, receive, send bool) {
	q := &s.Params
	for _, key := range []string{"session_id", "peer_session_id", "tap"} {
		if table[key] == nil {
			p.problem(path, "%s: missing", key)
		}
	}
	for key, present := range map[string]bool{"receive_cookie": receive, "send_cookie": send} {
		if !present {
			p.problem(path, `%s: missing, want what "spanwire cookie" prints, or "" for none`, key)
		}
	}
	name := q.Name
	if other, twice := p.sessionIDs[int64(q.SessionID)]; twice && q.SessionID != 0 {
		p.problem(join(path, "session_id"), "%d is that of session %s too, want another: the Session ID alone says whose a frame is, RFC 3931 section 4.1", q.SessionID, other)
	}
	p.sessionIDs[int64(q.SessionID)] = name
	if other, twice := p.taps[s.TAP]; twice && s.TAP != "" {
		p.problem(join(path, "tap"), "%q is that of session %s too, want another", s.TAP, other)
	}
	p.taps[s.TAP] = name
	if s.Bridge != "" && s.Bridge == s.TAP {
		p.problem(join(path, "bridge"), "found %q, which is the tap, want another name", s.Bridge)
	}
	if q.Sequencing != pseudowire.NoSequencing && q.Sublayer == pseudowire.NoSublayer {
		p.problem(join(path, "sequencing"), `found %q, want sublayer = "default" with it, which carries the number, RFC 3931 section 4.6`, q.Sequencing)
	}
	if q.ReorderTimeout > 0 && q.Sequencing == pseudowire.NoSequencing {
		p.problem(join(path, "reorder_timeout"), "found %v, want sequencing with it: there is nothing to order by", q.ReorderTimeout)
	}
	if receive && q.ReceiveCookie.Len() < cookie.DefaultSize {
		p.warn(join(path, "receive_cookie"), "%s: strangers can guess it, RFC 3931 section 8.2 wants 8", q.ReceiveCookie)
	}
	if receive && send && q.ReceiveCookie.Len() > 0 && q.ReceiveCookie == q.SendCookie {
		p.warn(join(path, "send_cookie"), "the same as receive_cookie: who learns one knows both")
	}
}

func (p *parser) warn(path []string, format string, args ...any) {
	p.warnings = append(p.warnings, Problem{File: p.name, Line: p.line(path), Text: where(path) + fmt.Sprintf(format, args...)})
}
