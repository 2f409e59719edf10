package config

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/cookie"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/wire"
)

// A draft is what the keys of a dynamic tunnel say before they are put together.
type draft struct {
	dir                                string // of the file, where relative paths begin
	secret, secretFile, next, nextFile sharedSecret
	digest                             string
	versions                           versions
	ppp                                string // of version 2
	sequence                           bool
	any                                bool           // the peer may come from anywhere
	from                               []netip.Prefix // or from these networks
}

// newDynamic returns a dynamic tunnel that has its defaults, those of RFC 3931
// sections 4.2 and 4.4 where it has any.
func newDynamic(m mode) *l2tpv3.DynamicConfig {
	return &l2tpv3.DynamicConfig{Control: control.TunnelConfig{
		Dial:          m == dial,
		Limit:         1000,
		Hello:         time.Minute,
		Timeout:       time.Second,
		MaxTimeout:    leastCap,
		Retries:       10,
		DialRetries:   4,
		ReceiveWindow: 128,
		SetupTimeout:  30 * time.Second,
		RedialMin:     time.Second,
		RedialMax:     time.Minute,
		SessionLimit:  65536,
	}}
}

// newCircuit returns a session's circuit that has its defaults.
func newCircuit(name string, m mode) *l2tpv3.Circuit {
	return &l2tpv3.Circuit{CircuitConfig: control.CircuitConfig{
		Name:       name,
		CookieSize: cookie.DefaultSize,
		Initiate:   m == dial,
		Overlap:    5 * time.Second,
	}}
}

// leastCap is the cap of RFC 3931 section 4.2: "This cap SHOULD be no less than 8
// seconds per retransmission."
const leastCap = 8 * time.Second

// leastSecret is the octets below which a secret is called short.
const leastSecret = 8

// come completes from where peers may come, and whether they are many.
func (t *Tunnel) come(d *draft, named bool) {
	c := t.Dynamic
	if d.any {
		local := t.Socket.Local.Addr()
		if !local.IsValid() || local.Is4() {
			c.From = append(c.From, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
		}
		if !local.IsValid() || local.Is6() {
			c.From = append(c.From, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
		}
	} else {
		c.From = d.from
	}
	// Who has a name is one peer, wherever it is.
	c.Control.Many = len(c.From) > 0 && !named
}

// dynamic has the keys of a dynamic tunnel agree with each other, and adds to
// what is wrong.
func (p *parser) dynamic(in named, t *Tunnel, d *draft, wrong map[string]bool) {
	c := &t.Dynamic.Control
	at := func(key string) toml.Key { return join(in.path, key) }
	has := func(key string) bool { return in.table[key] != nil }

	if t.Encap() == wire.UDP {
		for _, option := range []struct {
			key        string
			bad, found bool
		}{{"udp_csum", t.Socket.NoUDPChecksum, false}, {"udp6_zero_csum_tx", t.Socket.UDP6ZeroChecksumTx, true}} {
			if option.bad {
				p.problem(at(option.key), `found %v, want %v in mode %v: "UDP checksums MUST be enabled for L2TP control messages", RFC 3931 section 4.1.2.3`,
					option.found, !option.found, modeOf(t.Mode))
				wrong[option.key] = true
			}
		}
	}
	if name := p.hostname; c.HostName == "" && !wrong["hostname"] && ourName(name) != "" {
		p.problem(at("hostname"), "missing, and the node's, %q, is no US-ASCII as RFC 3931 section 5.4.3 wants it", name)
	}

	next, nextKey := p.secret(in, "next_secret", d.next, d.nextFile)
	secret, key := p.secret(in, "secret", d.secret, d.secretFile)
	switch {
	case next != nil && !has("secret") && !has("secret_file"):
		p.problem(key, "missing, want with next_secret the one that the peer has now")
	case next != nil && secret != nil && next.Equal(secret):
		p.problem(nextKey, "the same as secret, want another")
	}
	for _, s := range []*wire.Secret{next, secret} {
		if s != nil {
			c.Secrets = append(c.Secrets, s)
		}
	}
	secured := has("secret") || has("secret_file")
	p.digest(at("digest"), c, d.digest, secured, has("next_secret") || has("next_secret_file"))
	if c.Hide && !secured {
		p.problem(at("hide"), "found true, want a secret with it, RFC 3931 section 5.3")
	}

	if has("peer_limit") && !c.Dial && !c.Many && d.versions == version3 && !wrong["peer"] {
		p.problem(at("peer_limit"), `found %d, want a template with it: as peer "any" or networks, without peer_hostname`, c.Limit)
	}
	for _, from := range t.Dynamic.From {
		if from.Bits() == 0 && !secured && d.versions&version3 != 0 { // with 2 it is PPP that proves who comes
			p.warn(at("peer"), "anybody may join, want a secret")
			break
		}
	}

	if !has("retransmit_cap") {
		c.MaxTimeout = max(c.MaxTimeout, c.Timeout)
	}
	switch {
	case wrong["retransmit_timeout"] || wrong["retransmit_cap"]:
	case c.MaxTimeout < c.Timeout:
		p.problem(at("retransmit_cap"), `found "%v", want at least retransmit_timeout, "%v"`, c.MaxTimeout, c.Timeout)
	case c.MaxTimeout < leastCap:
		p.warn(at("retransmit_cap"), `found "%v", want "%v" or more: RFC 3931 section 4.2`, c.MaxTimeout, leastCap)
	}
	if c.RedialMin > c.RedialMax && !wrong["redial_min"] && !wrong["redial_max"] {
		p.problem(at("redial_min"), `found "%v", want at most redial_max, "%v"`, c.RedialMin, c.RedialMax)
	}
}

// secret returns a secret that stands in the file or in one of its own, nil if
// there is none, and where.
func (p *parser) secret(in named, key string, here, there sharedSecret) (*wire.Secret, toml.Key) {
	s, path := here, join(in.path, key)
	if in.table[key+"_file"] != nil {
		if in.table[key] != nil {
			p.problem(join(in.path, key+"_file"), "found with %s, want one of the two", key)
			return nil, path
		}
		s, path = there, join(in.path, key+"_file")
	}
	if s.Secret != nil && s.octets < leastSecret {
		p.warn(path, "found %d octets, which can be guessed, want %d or more", s.octets, leastSecret)
	}
	p.inline = p.inline || here.Secret != nil
	return s.Secret, path
}

// digest takes which Message Digests we send. RFC 3931 sections 4.3 and 5.4.1.
func (p *parser) digest(at toml.Key, c *control.TunnelConfig, digest string, secured, next bool) {
	switch digest {
	case "none":
		if secured {
			p.problem(at, `found "none", want "auto", "sha1", "md5" or "both" with a secret, which takes a digest in every message, RFC 3931 section 4.3`)
		}
		return
	case "sha1":
		c.Digests = []wire.DigestType{wire.SHA1}
	case "md5":
		c.Digests = []wire.DigestType{wire.MD5}
	case "both":
		c.Digests = []wire.DigestType{wire.SHA1, wire.MD5}
		if next {
			p.problem(at, `found "both", want one with next_secret: a message has two digests at most, RFC 3931 section 5.4.1`)
		}
	default:
		return
	}
	c.Integrity = !secured
}

// circuit has the keys of a dynamic session agree with each other.
func (p *parser) circuit(in named, s *Session, t *Tunnel, peerWrong bool, wrong map[string]bool) {
	c := s.Circuit
	at := func(key string) toml.Key { return join(in.path, key) }
	has := func(key string) bool { return in.table[key] != nil }
	c.Pseudowire, c.Sublayer, c.Sequencing, c.ReorderTimeout = s.Params.Pseudowire, s.Params.Sublayer, s.Params.Sequencing, s.Params.ReorderTimeout

	if strings.Contains(s.Name, ":") {
		p.problem(in.path, "want a name without :, which stands in the names of instances")
	}
	p.endID(in, c, wrong)
	if c.AnyEndID && c.Initiate {
		p.problem(at("initiate"), "found true, want false with any_end_id: the peer says what there is")
	}
	if c.Outgoing && !c.Initiate {
		p.problem(at("call"), `found "outgoing", want initiate = true with it: the peer is asked to place the call, RFC 3931 section 7.4`)
	}
	if c.CookieSize < cookie.DefaultSize && !wrong["cookie_size"] {
		p.warn(at("cookie_size"), "found %d octets, which strangers can guess, want %d: RFC 3931 section 8.2", c.CookieSize, cookie.DefaultSize)
	}
	if c.CookieLifetime > 0 && c.Overlap >= c.CookieLifetime && !wrong["cookie_overlap"] {
		p.problem(at("cookie_overlap"), `found "%v", want less than cookie_lifetime, "%v"`, c.Overlap, c.CookieLifetime)
	}

	switch s.Kind {
	case Nothing:
		if !slices.ContainsFunc(kindKeys[TAP:], has) {
			p.warn(at("tap"), "missing, so the session joins nothing")
		}
	default:
		p.pattern(in, s, t.Dynamic.Control.Many, peerWrong || wrong[kindKeys[s.Kind]])
	}
}

// pattern has a session that is a template join what can be there for each, as a
// TAP whose name is a pattern, and no other session.
func (p *parser) pattern(in named, s *Session, many, unsure bool) {
	at := func(key string) toml.Key { return join(in.path, key) }
	holds := func(part string) bool { return strings.Contains(s.TAP, part) }
	each := s.Circuit.AnyEndID
	switch {
	case unsure:
		return
	case !many && !each:
		if s.TAPPattern {
			p.problem(at("tap"), "found %q, want the name of an interface: a pattern is for templates", s.TAP)
		}
		return
	case s.Kind == InHub:
	case s.Kind != TAP:
		p.problem(at(kindKeys[s.Kind]), "found in a template, want tap or hub: one peer alone may have it")
		return
	case holds(leastFree), many && holds(peerPart), each && holds(endPart):
	default:
		var want []string
		if many {
			want = append(want, peerPart)
		}
		if each {
			want = append(want, endPart)
		}
		p.problem(at("tap"), "found %q, want a pattern with %s or %s: the session is a template", s.TAP, strings.Join(want, ", "), leastFree)
	}
	for _, key := range []string{"mac", "addresses", "stations"} {
		if in.table[key] != nil {
			p.problem(at(key), "found in a template, want it in a session of one peer alone")
		}
	}
}

// endID has each circuit of a tunnel be called otherwise. RFC 3931 section 5.4.4:
// "a variable-length field whose value is unique for a given LCCE peer".
func (p *parser) endID(in named, c *l2tpv3.Circuit, wrong map[string]bool) {
	at := join(in.path, "remote_end_id")
	if c.AnyEndID {
		if in.table["remote_end_id"] != nil {
			p.problem(at, "found with any_end_id, want one of the two")
		}
		if p.anyEnd != nil {
			p.problem(join(in.path, "any_end_id"), "found true as in %s, want it once in a tunnel", p.other(p.anyEnd, "any_end_id"))
		}
		p.anyEnd, c.RemoteEndID, c.OtherEndID = in.path, nil, nil
		return
	}
	if in.table["remote_end_id"] == nil {
		c.RemoteEndID = []byte(c.Name)
		if len(c.Name) > mostName {
			p.problem(at, "missing, and the session's name has %d octets, want 1 to %d", len(c.Name), mostName)
			return
		}
	}
	if wrong["remote_end_id"] {
		return
	}
	for _, id := range [][]byte{c.RemoteEndID, c.OtherEndID} {
		if other, twice := p.ends[string(id)]; twice && id != nil {
			p.problem(at, "found %s, which is that of %s, want another: it says which circuit a session is for, RFC 3931 section 5.4.4",
				wire.EndID(id), p.other(other, "remote_end_id"))
			return
		}
	}
	p.ends[string(c.RemoteEndID)] = in.path
	if c.OtherEndID != nil {
		p.ends[string(c.OtherEndID)] = in.path
	}
}

// complete puts a dynamic tunnel together when all of it is read.
func (t *Tunnel) complete() {
	d := t.Dynamic
	d.TunnelConfig = t.TunnelConfig
	d.Circuits = make([]l2tpv3.Circuit, len(t.Sessions))
	for i := range t.Sessions {
		d.Circuits[i] = *t.Sessions[i].Circuit
		t.Sessions[i].Circuit = &d.Circuits[i]
	}
}

// Control returns what all control connections of the node have in common, but
// for where randomness comes from.
func (f *File) Control() control.Config {
	n := &f.Node
	c := control.Config{
		HostName:     n.Hostname,
		VendorName:   "Spanwire",
		Capabilities: Pseudowires,
		HalfOpen:     n.HalfOpen,
		RequestRate:  n.RequestRate,
	}
	if n.RouterID.IsValid() {
		c.RouterID = toUint32(n.RouterID)
		return c
	}
	// RFC 3931 section 5.4.3: the Router ID "can be obtained [...] via
	// unspecified implementation-specific means".
	h := fnv.New32a()
	fmt.Fprint(h, n.Hostname)
	c.RouterID = max(h.Sum32(), 1)
	return c
}

// Assumed returns the parameters of a session as far as they are known before the
// peer has had a say: it is taken to do as we do, and to assign a cookie as long as
// ours.
func (s *Session) Assumed() dataplane.Params {
	q := s.Params
	if c := s.Circuit; c != nil {
		var octets [cookie.MaxSize]byte
		q.ReceiveCookie, _ = cookie.FromBytes(octets[:c.CookieSize])
		q.SendCookie, _ = cookie.FromBytes(octets[:max(c.CookieSize, c.PeerCookieSize)])
	}
	return q
}
