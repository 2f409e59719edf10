package users

import (
	"crypto/des"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"

	//lint:ignore SA1019 RFC 2759 has it
	"golang.org/x/crypto/md4"
)

// ntHash returns the NT hash of a password: the MD4 of its UTF-16. RFC 2759 section
// 8.3.
func ntHash(password []byte) []byte {
	h := md4.New()
	var b []byte
	for _, unit := range utf16.Encode([]rune(string(password))) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	h.Write(b)
	return h.Sum(nil)
}

// challengeHash makes one challenge of both, RFC 2759 section 8.2. "Only the user
// name (as presented by the peer and excluding any prepended domain name) is used".
func challengeHash(peer, ours []byte, name string) []byte {
	h := sha1.New()
	h.Write(peer)
	h.Write(ours)
	h.Write([]byte(name[strings.LastIndexByte(name, '\\')+1:]))
	return h.Sum(nil)[:8]
}

// challengeResponse returns what a peer answers to a challenge, RFC 2759 section
// 8.5: it is encrypted by DES with each third of the hash, padded, as the key.
func challengeResponse(challenge, hash []byte) (response [24]byte) {
	var padded [21]byte
	copy(padded[:], hash)
	for i := range 3 {
		block, err := des.NewCipher(spread(padded[7*i : 7*i+7]))
		if err != nil {
			panic(err) // a key of 8 octets is always good
		}
		block.Encrypt(response[8*i:], challenge)
	}
	return response
}

// spread makes of 56 bits a key of DES, which has them in the high seven of each
// octet and does not look at the eighth.
func spread(key []byte) []byte {
	var bits uint64
	for _, b := range key {
		bits = bits<<8 | uint64(b)
	}
	out := make([]byte, 8)
	for i := range out {
		out[i] = byte(bits>>(49-7*i)) << 1
	}
	return out
}

// authenticatorResponse returns what proves to the peer that we know the hash, RFC
// 2759 section 8.7.
func authenticatorResponse(hash, response, challenge []byte) string {
	twice := md4.New()
	twice.Write(hash)
	h := sha1.New()
	h.Write(twice.Sum(nil))
	h.Write(response)
	h.Write([]byte("Magic server to client signing constant"))
	digest := h.Sum(nil)
	h = sha1.New()
	h.Write(digest)
	h.Write(challenge)
	h.Write([]byte("Pad to make it do more than one iteration"))
	return fmt.Sprintf("S=%X", h.Sum(nil))
}
