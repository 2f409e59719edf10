package decode

import (
	"bytes"
	"fmt"
	"net/netip"

	"spanwire/l2tpv3/wire"
)

// dialogues know what digests are made with, as far as the capture has shown it.
type dialogues struct {
	secrets []*wire.Secret
	ends    map[end][]pair // the newest pair last
	order   []end          // the oldest first
}

// An end is a Control Connection ID and the node that assigned it.
type end struct {
	at netip.Addr
	id uint32
}

// A pair is the nonces of two sides of a connection. An ID may be used again, and
// who is behind one address may choose the same as a neighbour, so that an end may
// have several.
type pair struct {
	own      []byte // of who assigned the ID; empty: none
	other    []byte // of who sends to it
	complete bool   // the other's is known, be it that there is none
}

// What is remembered of a capture that does not end.
const (
	maxEnds  = 1 << 16
	maxPairs = 4
)

// learn remembers the nonces of a side. They complete what was known of its own.
func (d *dialogues) learn(e end, p pair) {
	all, known := d.ends[e]
	if !known {
		if len(d.order) == maxEnds {
			delete(d.ends, d.order[0])
			d.order = d.order[1:]
		}
		d.order = append(d.order, e)
	}
	p.own, p.other = bytes.Clone(p.own), bytes.Clone(p.other)
	for i, former := range all {
		same := bytes.Equal(former.own, p.own)
		if same && (!p.complete || former.complete && bytes.Equal(former.other, p.other)) {
			return
		}
		if same && !former.complete {
			all[i] = p
			return
		}
	}
	if all = append(all, p); len(all) > maxPairs {
		all = all[1:]
	}
	d.ends[e] = all
}

// A try is what a digest may be made with: the nonces of the sender and the
// receiver. Where that is certain, one that is not is wrong.
type try struct {
	sender, receiver []byte
	certain          bool
}

// tries returns what the digest of a message may be made with.
func (d *dialogues) tries(g *datagram, h wire.ControlHeader, message []byte, t wire.MessageType) (all []try) {
	pairs := d.ends[end{g.to.Addr(), h.ConnectionID}]
	switch {
	case t == wire.TypeSCCRQ:
		return []try{{certain: true}}
	case h.ConnectionID == 0:
		// A StopCCN by which the sender of an SCCRQ takes it back, before it
		// knows whom it has spoken to.
		p, _ := wire.Parse(message, &wire.Decoding{Lenient: true})
		if m, ok := p.Message.(*wire.StopCCN); ok {
			for _, p := range d.ends[end{g.from.Addr(), m.ConnectionID}] {
				all = append(all, try{p.own, nil, true})
			}
		}
		return all
	case t == wire.TypeSCCRP:
		for _, p := range pairs {
			all = append(all, try{wire.Nonce(message), p.own, true})
		}
		return all
	}
	for _, p := range pairs {
		if p.complete {
			all = append(all, try{p.other, p.own, true})
		}
		if t == wire.TypeStopCCN { // which refuses an SCCRQ
			all = append(all, try{nil, p.own, true})
		}
	}
	return all
}

// follow takes from a message what those after it are made with.
func (d *dialogues) follow(g *datagram, h wire.ControlHeader, message []byte, secret *wire.Secret) {
	to := end{g.to.Addr(), h.ConnectionID}
	p, _ := wire.Parse(message, &wire.Decoding{Lenient: true, Secret: secret})
	nonce := wire.Nonce(message)
	switch m := p.Message.(type) {
	case *wire.SCCRQ:
		if m.ConnectionID != 0 {
			d.learn(end{g.from.Addr(), m.ConnectionID}, pair{own: nonce})
		}
	case *wire.SCCRP:
		for _, former := range bytesOf(d.ends[to]) {
			d.learn(to, pair{former, nonce, true})
			if m.ConnectionID != 0 {
				d.learn(end{g.from.Addr(), m.ConnectionID}, pair{nonce, former, true})
			}
		}
	case *wire.StopCCN:
		// One that refuses an SCCRQ may tell an ID, by which it is to be
		// acknowledged.
		refuser := end{g.from.Addr(), m.ConnectionID}
		if m.ConnectionID == 0 || h.ConnectionID == 0 || d.ends[refuser] != nil {
			return
		}
		for _, former := range bytesOf(d.ends[to]) {
			d.learn(refuser, pair{nil, former, true})
		}
	}
}

// bytesOf returns the nonces that a side has had of its own, each once.
func bytesOf(pairs []pair) (all [][]byte) {
	for i, p := range pairs {
		if i == 0 || !bytes.Equal(p.own, pairs[i-1].own) {
			all = append(all, p.own)
		}
	}
	return all
}

// A verdict is what is known of a message's digest.
type verdict int

const (
	none verdict = iota // it has none
	right
	wrong
	unknown
)

// judge judges the digest of a message, and says in words what came of it. It
// returns the secret that what is hidden is hidden with, as far as can be told.
func (d *dialogues) judge(g *datagram, h wire.ControlHeader, message []byte, t wire.MessageType) (v verdict, words string, secret *wire.Secret) {
	var first *wire.Secret
	if len(d.secrets) > 0 {
		first = d.secrets[0]
	}
	if !wire.HasDigest(message) {
		return none, "", first
	}
	tries := d.tries(g, h, message, t)
	for _, n := range tries {
		if s, ok := wire.Verify(message, d.secrets, n.sender, n.receiver); ok {
			return right, fmt.Sprintf("digest right (%v)", s.Type), s.Secret
		}
	}
	if s, ok := wire.Verify(message, []*wire.Secret{integrity}, nil, nil); ok {
		return right, fmt.Sprintf("integrity right (%v)", s.Type), first
	}
	certain, authenticated := false, false
	for _, n := range tries {
		certain = certain || n.certain
		authenticated = authenticated || len(n.sender) > 0 || len(n.receiver) > 0
	}
	if t == wire.TypeSCCRQ {
		authenticated = len(wire.Nonce(message)) > 0
	}
	switch {
	case certain && !authenticated:
		return wrong, "integrity WRONG", nil
	case len(d.secrets) == 0:
		return unknown, "digest not checked: no secret", nil
	case !certain:
		return unknown, "digest not checked: the capture lacks the nonces", first
	}
	return wrong, "digest WRONG", nil
}

// integrity is the secret of the integrity check: none. RFC 3931 section 4.3.
var integrity = wire.NewSecret(nil)
