package config

import (
	"slices"

	"github.com/BurntSushi/toml"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
)

// Versions are those of L2TP that a tunnel speaks.
type versions uint8

const (
	version3 versions = 1 << iota
	version2

	both = version3 | version2
)

// String returns the versions as the file has them.
func (v versions) String() string {
	return map[versions]string{version3: "3", version2: "2", both: `"auto"`}[v]
}

func version(to *versions) setter {
	return func(v any) string {
		switch v {
		case int64(3):
			*to = version3
		case int64(2):
			*to = version2
		case "auto":
			*to = both
		default:
			return `want 3, 2 or "auto"`
		}
		return ""
	}
}

// A Version2 is how a tunnel speaks L2TPv2.
type Version2 struct {
	l2tpv3.Version2Config
	PPP string // the name of the profile that all calls join
}

// version2Keys are those of tunnels that L2TPv3 has no use for, and version3Keys those
// that L2TPv2 has none for.
var (
	version2Keys = []string{"pseudowire", "ppp", "sequence"}
	version3Keys = []string{"router_id", "peer_router_id", "next_secret", "next_secret_file", "digest", "dialect", "language",
		"udp_csum", "udp6_zero_csum_tx", "udp6_zero_csum_rx"}
)

// lineSpeed is what the LNS is told of a line that has no speed of its own, in bit/s.
const lineSpeed = 1e9

// version2 makes what a tunnel is for L2TPv2 of what was read of it.
func (p *parser) version2(in named, t *Tunnel, d *draft, wrong map[string]bool) {
	at := func(key string) toml.Key { return join(in.path, key) }
	if t.Dynamic == nil {
		p.problem(at("version"), `found %v in mode "static", want mode "dial" or "accept" for it`, d.versions)
		return
	}
	if t.Encap() != wire.UDP && !wrong["encap"] {
		p.problem(at("encap"), `found "ip", want "udp" with version %v, RFC 2661 section 8.1`, d.versions)
	}
	if d.versions == version2 {
		for _, key := range version3Keys {
			if in.table[key] != nil && !wrong[key] {
				p.problem(at(key), "found with version 2, want version 3 for it")
			}
		}
		if in.table["session"] != nil {
			p.problem(at("session"), "found with version 2, whose calls all join ppp, want none")
		}
	}
	c := &t.Dynamic.Control
	v := &Version2{PPP: d.ppp}
	v.TunnelConfig, v.From = t.TunnelConfig, t.Dynamic.From
	v.Control = l2tpv2.TunnelConfig{
		Dial: c.Dial, Limit: c.Limit, PeerHostName: c.PeerHostName, HostName: c.HostName, Hide: c.Hide, Incoming: !c.Dial,
		Hello: c.Hello, Timeout: c.Timeout, MaxTimeout: c.MaxTimeout, Retries: c.Retries, DialRetries: c.DialRetries,
		ReceiveWindow: c.ReceiveWindow, SetupTimeout: c.SetupTimeout, RedialMin: c.RedialMin, RedialMax: c.RedialMax,
		RedialLimit: c.RedialLimit, SessionLimit: c.SessionLimit, TieBreaker: c.Dial && !c.NoTieBreaker,
	}
	if v.Control.Secret = d.secret.v2; v.Control.Secret == nil {
		v.Control.Secret = d.secretFile.v2
	}
	want := modeNames[3]
	if c.Dial {
		want = modeNames[4]
		v.Keep = &l2tpv2.IncomingCall{}
		v.Keep.Connected.TxSpeed, v.Keep.Connected.Framing, v.Keep.Connected.Sequence = lineSpeed, wire.SyncFraming, d.sequence
	} else {
		v.Number = d.sequence
	}
	if !wrong["ppp"] {
		p.joinsPPP(in, t, d.ppp, want)
	}
	t.Version2 = v
}

// joinsPPP has a tunnel join a profile of a mode.
func (p *parser) joinsPPP(in named, t *Tunnel, name, want string) {
	at := join(in.path, "ppp")
	i := slices.IndexFunc(p.read.PPP, func(q PPP) bool { return q.Name == name })
	switch {
	case name == "":
		p.problem(at, "missing, want the name of a section [ppp.NAME]")
	case i < 0:
		p.problem(at, "found %q, want [ppp.%s] with it", name, name)
	case p.read.PPP[i].Mode != want:
		p.problem(at, "found %q, which is of mode %q, want one of mode %q in a tunnel of mode %q", name, p.read.PPP[i].Mode, want, t.Mode)
	case p.read.PPP[i].Client != nil:
		// It has one link at a time.
		p.claim(at, &p.clients, name, "", name)
	}
}
