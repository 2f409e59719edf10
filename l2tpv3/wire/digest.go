package wire

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"fmt"
	"hash"
	"io"
	"sync"
)

// A DigestType is the hash of a Message Digest, RFC 3931 section 5.4.1.
type DigestType uint8

// The digest types. RFC 3931 gives 0 and 1 in its table; that its last sentence
// on the AVP counts from 1 is a slip of its.
const (
	MD5  DigestType = 0 // HMAC-MD5
	SHA1 DigestType = 1 // HMAC-SHA-1
)

// Size returns the octets of a digest, 0 for a type that is unknown.
func (t DigestType) Size() int {
	switch t {
	case MD5:
		return md5.Size
	case SHA1:
		return sha1.Size
	}
	return 0
}

func (t DigestType) hash() func() hash.Hash {
	if t == SHA1 {
		return sha1.New
	}
	return md5.New
}

// String returns the type's name as configurations have it.
func (t DigestType) String() string {
	switch t {
	case MD5:
		return "md5"
	case SHA1:
		return "sha1"
	}
	return fmt.Sprintf("digest type %d", uint8(t))
}

// A Secret is what two LCCEs share, as the keys derived from it. The secret
// itself is not kept.
type Secret struct {
	digest [md5.Size]byte // RFC 3931 section 5.4.1
	hiding [md5.Size]byte // RFC 3931 section 5.3

	// macs are hashes that have digest's key in them already and are not in
	// use, by Digest Type: to put it in takes longer than to hash a message.
	macs *[2]sync.Pool
}

// NewSecret derives the keys of a shared secret. The empty secret makes a digest
// that is an integrity check alone, RFC 3931 section 4.3.
func NewSecret(secret []byte) *Secret {
	s := &Secret{macs: new([2]sync.Pool)}
	for octet, key := range map[byte]*[md5.Size]byte{1: &s.hiding, 2: &s.digest} {
		mac := hmac.New(md5.New, secret)
		mac.Write([]byte{octet})
		mac.Sum(key[:0])
	}
	return s
}

// Equal reports whether two secrets are the same; it takes as long whatever they
// are.
func (s *Secret) Equal(o *Secret) bool {
	if s == nil || o == nil {
		return s == o
	}
	return hmac.Equal(s.digest[:], o.digest[:]) && hmac.Equal(s.hiding[:], o.hiding[:])
}

// String keeps the keys out of whatever prints a Secret.
func (Secret) String() string { return "secret" }

// Format keeps the keys out of what %d, %x and %#v print.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// A Signature is a Message Digest to be made: its hash and its secret.
type Signature struct {
	Type   DigestType
	Secret *Secret
}

// maxDigests is how many Message Digest AVPs a message may have.
const maxDigests = 2

// digestOffset is where the first Message Digest AVP stands: "immediately after
// the Message Type AVP", RFC 3931 section 5.4.1.
const digestOffset = ControlHeaderLen + avpHeaderLen + 2

// A digestField is a Message Digest within a message. Its type may be one that we
// do not know: "to allow for graceful switchover to a new [...] hash algorithm"
// there may be such a one beside one that we know.
type digestField struct {
	kind       DigestType
	start, end int // of the digest, behind the Digest Type
}

// valid reports whether the digest has a type that we know, and its size.
func (f digestField) valid() bool { return f.kind.Size() != 0 && f.end-f.start == f.kind.Size() }

// digestFields finds the Message Digests of a message.
func digestFields(message []byte) (all [maxDigests]digestField, n int) {
	if _, ok := TypeOf(message); !ok {
		return all, 0
	}
	for at := digestOffset; n < maxDigests; n++ {
		a, rest, err := nextAVP(message[at:])
		if err != nil || a.hidden || !a.digest() || len(a.value) == 0 {
			break
		}
		end := len(message) - len(rest)
		all[n] = digestField{DigestType(a.value[0]), end - len(a.value) + 1, end}
		at = end
	}
	return all, n
}

func (a *avp) digest() bool {
	if a.vendor == vendorCisco {
		return ciscoAttributes[uint16(a.attr)] == AttrMessageDigest
	}
	return a.vendor == 0 && a.attr == AttrMessageDigest
}

// HasDigest reports whether a message carries a Message Digest of a type that we
// know, which Verify is to find right.
func HasDigest(message []byte) bool {
	fields, n := digestFields(message)
	for _, f := range fields[:n] {
		if f.kind.Size() != 0 {
			return true
		}
	}
	return false
}

// zeros stand in the place of digests.
var zeros [longest]byte

// compute returns the digest of a message with all its digests taken as zero.
func (s Signature) compute(sum []byte, nonces [2][]byte, message []byte, fields []digestField) []byte {
	pool := &s.Secret.macs[min(s.Type, SHA1)]
	mac, ok := pool.Get().(hash.Hash)
	if ok {
		mac.Reset()
	} else {
		mac = hmac.New(s.Type.hash(), s.Secret.digest[:])
	}
	defer pool.Put(mac)
	mac.Write(nonces[0])
	mac.Write(nonces[1])
	at := 0
	for _, f := range fields {
		mac.Write(message[at:f.start])
		mac.Write(zeros[:f.end-f.start])
		at = f.end
	}
	mac.Write(message[at:])
	return mac.Sum(sum)
}

// Seal puts the digests into a message, one for each signature that its body was
// appended with. The nonces are those of this side and of the peer; an SCCRQ and
// an integrity check have none.
func Seal(message []byte, signatures []Signature, local, remote []byte) {
	fields, n := digestFields(message)
	var sums [maxDigests][sha1.Size]byte
	for i := range min(n, len(signatures)) {
		signatures[i].compute(sums[i][:0], [2][]byte{local, remote}, message, fields[:n])
	}
	for i, f := range fields[:min(n, len(signatures))] {
		if f.valid() && f.kind == signatures[i].Type {
			copy(message[f.start:f.end], sums[i][:])
		}
	}
}

// Verify reports whether one of the message's digests was made with one of the
// secrets, and with which. The nonces are the sender's and the receiver's.
func Verify(message []byte, secrets []*Secret, sender, receiver []byte) (s Signature, ok bool) {
	fields, n := digestFields(message)
	var sum [sha1.Size]byte
	for _, secret := range secrets {
		for _, f := range fields[:n] {
			if !f.valid() {
				continue
			}
			try := Signature{f.kind, secret}
			if hmac.Equal(try.compute(sum[:0], [2][]byte{sender, receiver}, message, fields[:n]), message[f.start:f.end]) && !ok {
				s, ok = try, true
			}
		}
	}
	return s, ok
}

// Nonce returns the Control Message Authentication Nonce of a message, nil if it
// has none. It is what a digest is made with, so it is read before the digest is
// known to be right. An empty one is none.
func Nonce(message []byte) []byte {
	if len(message) < ControlHeaderLen {
		return nil
	}
	for rest := message[ControlHeaderLen:]; len(rest) > 0; {
		a, next, err := nextAVP(rest)
		if err != nil {
			return nil
		}
		a.extended()
		nonce := a.vendor == 0 && a.attr == AttrNonce || a.vendor == vendorCisco && ciscoAttributes[uint16(a.attr)] == AttrNonce
		if nonce && !a.hidden && len(a.value) > 0 {
			return a.value
		}
		rest = next
	}
	return nil
}
