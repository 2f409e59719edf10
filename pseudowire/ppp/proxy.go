package ppp

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
)

// A Proxy is what an LAC agreed on with a peer, and tells the LNS in the AVPs of RFC
// 2661 section 4.4.5, by which a Link goes on from there. The requests are the options
// of Configure-Requests, without Code, Identifier and Length: "a copy of the body".
type Proxy struct {
	InitialReceived []byte // Initial Received LCP CONFREQ, of the peer
	LastSent        []byte // Last Sent LCP CONFREQ, to the peer
	LastReceived    []byte // Last Received LCP CONFREQ, of the peer

	// Type is the Proxy Authen Type: 0 if there is none.
	Type      ProxyType
	Name      string // Proxy Authen Name
	Challenge []byte // Proxy Authen Challenge
	ID        uint8  // Proxy Authen ID
	Response  []byte // Proxy Authen Response: of PAP the password
}

// A ProxyType is a Proxy Authen Type, RFC 2661 section 4.4.5.
type ProxyType uint16

// The types that are of use here. That of CHAP is MS-CHAPv2's too, if its algorithm is
// in the last CONFREQ sent.
const (
	ProxyCHAP ProxyType = 2
	ProxyPAP  ProxyType = 3
	ProxyNone ProxyType = 4
)

// OpenProxy goes on with what an LAC agreed on, and returns true, if it is what we
// would have agreed on ourselves. If not, it is Open: the peer has to begin again.
func (l *Link) OpenProxy(now time.Time, p Proxy) bool {
	ours, peer, ok := l.suits(&p)
	if !ok || l.lcp.state != Initial || l.reason != NotClosed {
		l.Open(now)
		return false
	}
	l.now = now
	l.setupAt = now.Add(l.cfg.Setup)
	c := &l.lcp
	c.state = Opened
	c.ours, c.peer, c.noMagic = ours, peer, ours.magic == 0
	c.sent = slices.Clone(p.LastSent)
	c.initial, c.current = slices.Clone(p.InitialReceived), slices.Clone(p.LastReceived)
	l.verifier.proxy = &p
	c.up()
	l.verifier.proxy = nil
	return true
}

// suits returns the terms in the requests, if they are such as we agree on.
func (l *Link) suits(p *Proxy) (ours, peer terms, ok bool) {
	if len(p.LastReceived) == 0 && len(p.LastSent) == 0 {
		return ours, peer, false // the LAC did not speak LCP at all
	}
	ours, ok1 := parseTerms(p.LastSent)
	peer, ok2 := parseTerms(p.LastReceived)
	switch {
	case !ok1 || !ok2, ours.mru > l.cfg.MRU, peer.mru < MinMRU, ours.magic != 0 && ours.magic == peer.magic:
		return ours, peer, false
	case ours.auth == NoMethod && len(l.cfg.Verify) > 0, ours.auth != NoMethod && !slices.Contains(l.cfg.Verify, ours.auth):
		return ours, peer, false
	case peer.auth != NoMethod && !slices.Contains(l.cfg.Prove, peer.auth):
		return ours, peer, false
	}
	return ours, peer, true
}

// parseTerms reads the options of a Configure-Request that was acknowledged. It is not
// ok if there is one that we would not have acknowledged.
func parseTerms(b []byte) (t terms, ok bool) {
	t = defaultTerms
	if len(b) > DefaultMRU || !wellFormed(b) {
		return t, false
	}
	for o := range options(b) {
		switch {
		case o.kind == optionMRU && len(o.data) == 2:
			t.mru = int(binary.BigEndian.Uint16(o.data))
		case o.kind == optionACCM && len(o.data) == 4:
		case o.kind == optionAuth && methodOf(o.data) != NoMethod:
			t.auth = methodOf(o.data)
		case o.kind == optionMagic && len(o.data) == 4:
			t.magic = binary.BigEndian.Uint32(o.data)
		case (o.kind == optionPFC || o.kind == optionACFC) && len(o.data) == 0:
		default:
			return t, false
		}
	}
	return t, true
}

// An Agreement is what an LNS tells an LAC of LCP in an SLI, RFC 2661 section 4.4.6 and RFC
// 3437 section 2.3.
type Agreement struct {
	// ACCM are the control characters that are to be escaped on an asynchronous line to
	// the peer, RFC 1662 section 7.1.
	ACCM uint32
	// Sent and Received are the options of the last Configure-Requests.
	Sent, Received []byte
}

// Agreement returns what LCP agreed on last.
func (l *Link) Agreement() Agreement {
	a := Agreement{ACCM: 0xffffffff, Sent: bytes.Clone(l.lcp.sent), Received: bytes.Clone(l.lcp.current)}
	for o := range options(a.Received) { // which were acknowledged, and so are well-formed
		if o.kind == optionACCM {
			a.ACCM = binary.BigEndian.Uint32(o.data)
		}
	}
	return a
}

// Proxy returns what an LAC tells an LNS of a Link that it began: from the event
// PeerProof on or, where nobody has to prove itself, from LCPUp on. The Link is to be
// left alone then.
func (l *Link) Proxy() (p Proxy, ok bool) {
	if l.lcp.state != Opened {
		return p, false
	}
	p = Proxy{InitialReceived: bytes.Clone(l.lcp.initial), LastSent: bytes.Clone(l.lcp.sent), LastReceived: bytes.Clone(l.lcp.current)}
	v := &l.verifier
	switch {
	case v.method == NoMethod:
		p.Type = ProxyNone
		return p, true
	case v.state != asking || v.method == ByEAP:
		return p, false
	case v.method == ByPAP:
		p.Type = ProxyPAP
	default:
		p.Type, p.Challenge = ProxyCHAP, bytes.Clone(v.challenge)
	}
	p.Name, p.ID, p.Response = v.name, v.id, bytes.Clone(v.response)
	return p, true
}
