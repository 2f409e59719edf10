package control

import (
	"spanwire/l2tpv3/wire"
)

// An auth is Control Message Authentication and the integrity check of one
// connection, RFC 3931 sections 4.3 and 5.4.1.
type auth struct {
	enabled    bool // there is a secret, and both sides must use it
	secrets    []*wire.Secret
	agreed     *wire.Secret // the peer's; nil: not known yet
	signatures []wire.Signature
	nonce      []byte
	peerNonce  []byte
	configured []wire.DigestType
}

// nonceSize is the octets of our nonces, of which RFC 3931 recommends 16.
const nonceSize = 16

// integrity is the secret of the integrity check: none.
var integrity = wire.NewSecret(nil)

func newAuth(cfg *TunnelConfig, random func([]byte)) auth {
	a := auth{enabled: len(cfg.Secrets) > 0, secrets: cfg.Secrets, configured: cfg.Digests}
	types := cfg.Digests
	if len(types) == 0 {
		types = []wire.DigestType{wire.SHA1}
	}
	switch {
	case a.enabled:
		a.nonce = make([]byte, nonceSize)
		random(a.nonce)
		a.sign(types, cfg.Secrets)
	case cfg.Integrity:
		a.sign(types, []*wire.Secret{integrity})
	}
	return a
}

// sign has messages signed with each of the secrets or, if there is but one, with
// each of the hashes: a message has two digests at most.
func (a *auth) sign(types []wire.DigestType, secrets []*wire.Secret) {
	a.signatures = nil
	if len(secrets) > 1 {
		for _, s := range secrets[:2] {
			a.signatures = append(a.signatures, wire.Signature{Type: types[0], Secret: s})
		}
		return
	}
	for _, t := range types[:min(len(types), 2)] {
		a.signatures = append(a.signatures, wire.Signature{Type: t, Secret: secrets[0]})
	}
}

// agree takes the secret and the hash with which the peer's first message was
// made: from now on one secret is used alone.
func (a *auth) agree(s wire.Signature) {
	a.agreed = s.Secret
	types := a.configured
	if len(types) == 0 {
		types = []wire.DigestType{s.Type}
	}
	a.sign(types, []*wire.Secret{s.Secret})
}

// seal signs a message of ours. An SCCRQ is signed without nonces, and so is what
// has an integrity check alone.
func (a *auth) seal(message []byte, sccrq bool) {
	switch {
	case len(a.signatures) == 0:
	case sccrq || !a.enabled:
		wire.Seal(message, a.signatures, nil, nil)
	default:
		wire.Seal(message, a.signatures, a.nonce, a.peerNonce)
	}
}

// begin judges an SCCRQ and takes from it what all later messages are signed
// with.
func (a *auth) begin(message []byte) Drop {
	nonce := wire.Nonce(message)
	switch {
	case !a.enabled && len(nonce) > 0:
		return DropWantsSecret
	case !a.enabled && !wire.HasDigest(message):
		return accepted
	case !a.enabled:
		if s, ok := wire.Verify(message, []*wire.Secret{integrity}, nil, nil); ok {
			a.agree(s)
			a.agreed = nil // which is no secret
			return accepted
		}
		return DropIntegrity
	case len(nonce) == 0 || !wire.HasDigest(message):
		return DropUnsigned
	}
	s, ok := wire.Verify(message, a.secrets, nil, nil)
	if !ok {
		return DropDigest
	}
	a.peerNonce = append([]byte(nil), nonce...)
	a.agree(s)
	return accepted
}

// verify judges a message of a connection. RFC 3931 section 5.4.1: "This
// message authenticity and integrity checking MUST be performed before utilizing
// any information contained within the control message. If the calculation fails,
// the message MUST be dropped."
func (a *auth) verify(h wire.ControlHeader, message []byte, t wire.MessageType) Drop {
	has := wire.HasDigest(message)
	switch {
	case !a.enabled && t == wire.TypeSCCRP && len(wire.Nonce(message)) > 0:
		return DropWantsSecret
	case !a.enabled && !has:
		return accepted
	case !a.enabled:
		if _, ok := wire.Verify(message, []*wire.Secret{integrity}, nil, nil); !ok {
			return DropIntegrity
		}
		return accepted
	case !has:
		return DropUnsigned
	case t == wire.TypeSCCRQ && a.agreed != nil: // come again
		if _, ok := wire.Verify(message, []*wire.Secret{a.agreed}, nil, nil); !ok {
			return DropDigest
		}
		return accepted
	case t == wire.TypeStopCCN && a.agreed != nil && h.ConnectionID == 0:
		// Who does not know our ID has not seen our nonce either.
		if _, ok := wire.Verify(message, []*wire.Secret{a.agreed}, a.peerNonce, nil); !ok {
			return DropDigest
		}
		return accepted
	case a.agreed != nil:
		if _, ok := wire.Verify(message, []*wire.Secret{a.agreed}, a.peerNonce, a.nonce); !ok {
			return DropDigest
		}
		return accepted
	}
	// The peer's nonce is in the SCCRP itself. A StopCCN that refuses our SCCRQ
	// comes from a peer that has told none, an acknowledgment of it likewise.
	nonce := wire.Nonce(message)
	if t == wire.TypeSCCRP && len(nonce) == 0 {
		return DropUnsigned
	}
	s, ok := wire.Verify(message, a.secrets, nonce, a.nonce)
	if !ok {
		return DropDigest
	}
	if t == wire.TypeSCCRP {
		a.peerNonce = append([]byte(nil), nonce...)
		a.agree(s)
	}
	return accepted
}

// A Drop is why a control message was not acted upon, and a counter's index.
// Nothing of what is dropped is answered.
type Drop uint8

// The reasons.
const (
	accepted        Drop = iota
	DropHeader           // a malformed header, RFC 3931 section 7.1
	DropConnection       // a Control Connection ID that is nobody's
	DropSource           // from elsewhere than the peer, without a proof that it is the peer
	DropDigest           // no Message Digest is right
	DropUnsigned         // no Message Digest or nonce, where there is a secret
	DropWantsSecret      // the peer wants Control Message Authentication, and there is no secret here
	DropIntegrity        // the integrity check failed
	DropSequence         // an Nr of what was never sent
	DropNoTunnel         // an SCCRQ that matches no tunnel
	DropRate             // an SCCRQ beyond its source's budget
	DropHalfOpen         // a half-open connection that made room for another
	DropRequest          // an SCCRQ that makes no sense
	DropVersion2         // an SCCRQ of L2TPv2 alone
	DropLimit            // an SCCRQ beyond a template's limit
	DropQueue            // from a peer that lets too much wait for its acknowledgment

	Drops // how many there are
)

var dropNames = [Drops]string{
	accepted:        "accepted",
	DropHeader:      "header",
	DropConnection:  "unknown_connection",
	DropSource:      "wrong_source",
	DropDigest:      "wrong_digest",
	DropUnsigned:    "no_digest",
	DropWantsSecret: "peer_wants_secret",
	DropIntegrity:   "integrity",
	DropSequence:    "sequence",
	DropNoTunnel:    "no_tunnel",
	DropRate:        "rate",
	DropHalfOpen:    "half_open",
	DropRequest:     "malformed_request",
	DropVersion2:    "version_2",
	DropLimit:       "limit",
	DropQueue:       "queue",
}

// String returns the name of the reason's counter.
func (d Drop) String() string {
	if d < Drops {
		return dropNames[d]
	}
	return "unknown"
}
