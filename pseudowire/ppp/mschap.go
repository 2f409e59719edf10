package ppp

import (
	"crypto/des"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"

	//lint:ignore SA1019 MS-CHAPv2 is made of it
	"golang.org/x/crypto/md4"
)

// MS-CHAP-V2, RFC 2759, and the keys for MPPE that come of it, RFC 3079 section 3. The
// functions have the names that they have there.

const (
	mschapChallengeLen = 16
	mschapResponseLen  = 49 // Peer-Challenge 16, reserved 8, NT-Response 24, flags 1
)

// challengeHash is of RFC 2759 section 8.2. "Only the user name (as presented by the
// peer and excluding any prepended domain name) is used".
func challengeHash(peerChallenge, challenge []byte, name string) [8]byte {
	if i := strings.LastIndexByte(name, '\\'); i >= 0 {
		name = name[i+1:]
	}
	h := sha1.New()
	h.Write(peerChallenge)
	h.Write(challenge)
	h.Write([]byte(name))
	return [8]byte(h.Sum(nil))
}

// NTPasswordHash is of RFC 2759 section 8.3: all that is needed of a password for
// MS-CHAPv2.
func NTPasswordHash(password string) [16]byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(password)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return hashNtPasswordHash(b)
}

// hashNtPasswordHash is of RFC 2759 section 8.4: MD4.
func hashNtPasswordHash(b []byte) [16]byte {
	h := md4.New()
	h.Write(b)
	return [16]byte(h.Sum(nil))
}

// challengeResponse is of RFC 2759 section 8.5.
func challengeResponse(challenge [8]byte, hash [16]byte) (response [24]byte) {
	var key [21]byte
	copy(key[:], hash[:])
	for i := range 3 {
		desEncrypt(response[8*i:], challenge[:], [7]byte(key[7*i:]))
	}
	return response
}

// desEncrypt is of RFC 2759 section 8.6. The key has no parity bits; DES looks at none.
func desEncrypt(dst, clear []byte, key [7]byte) {
	var k [8]byte
	bits := uint64(0)
	for _, b := range key {
		bits = bits<<8 | uint64(b)
	}
	for i := range k {
		k[i] = byte(bits>>(49-7*i)) << 1
	}
	c, err := des.NewCipher(k[:])
	if err != nil {
		panic(err) // a key of 8 octets is never refused
	}
	c.Encrypt(dst[:8], clear)
}

// generateNTResponse is of RFC 2759 section 8.1.
func generateNTResponse(challenge, peerChallenge []byte, name string, passwordHash [16]byte) [24]byte {
	return challengeResponse(challengeHash(peerChallenge, challenge, name), passwordHash)
}

// generateAuthenticatorResponse is of RFC 2759 section 8.7.
func generateAuthenticatorResponse(passwordHash [16]byte, ntResponse [24]byte, peerChallenge, challenge []byte, name string) string {
	hashHash := hashNtPasswordHash(passwordHash[:])
	h := sha1.New()
	h.Write(hashHash[:])
	h.Write(ntResponse[:])
	h.Write([]byte("Magic server to client signing constant"))
	digest := h.Sum(nil)
	hash := challengeHash(peerChallenge, challenge, name)
	h.Reset()
	h.Write(digest)
	h.Write(hash[:])
	h.Write([]byte("Pad to make it do more than one iteration"))
	return fmt.Sprintf("S=%X", h.Sum(nil))
}

// getMasterKey is of RFC 3079 section 3.4.
func getMasterKey(passwordHash [16]byte, ntResponse [24]byte) [keyLen]byte {
	hashHash := hashNtPasswordHash(passwordHash[:])
	h := sha1.New()
	h.Write(hashHash[:])
	h.Write(ntResponse[:])
	h.Write([]byte("This is the MPPE Master Key"))
	return [keyLen]byte(h.Sum(nil))
}

// The magic words of RFC 3079 section 3.4: for what the client sends, and for what the
// server sends.
const (
	clientSends = "On the client side, this is the send key; on the server side, it is the receive key."
	serverSends = "On the client side, this is the receive key; on the server side, it is the send key."
)

// getAsymmetricStartKey is of RFC 3079 section 3.4.
func getAsymmetricStartKey(master [keyLen]byte, magic string) [keyLen]byte {
	h := sha1.New()
	h.Write(master[:])
	h.Write(pad1[:])
	h.Write([]byte(magic))
	h.Write(pad2[:])
	return [keyLen]byte(h.Sum(nil))
}

// keys are the start keys of MPPE; those that are not there are zero.
type keys struct{ send, receive [keyLen]byte }

// An mschapProof is what both ends know once the peer has answered a challenge.
type mschapProof struct {
	passwordHash  [16]byte
	challenge     []byte
	peerChallenge []byte
	name          string
	ntResponse    [24]byte
}

func proveMSCHAP2(hash [16]byte, challenge, peerChallenge []byte, name string) mschapProof {
	p := mschapProof{passwordHash: hash, challenge: challenge, peerChallenge: peerChallenge, name: name}
	p.ntResponse = generateNTResponse(challenge, peerChallenge, name, p.passwordHash)
	return p
}

// value returns the Value of a Response packet, RFC 2759 section 4.
func (p *mschapProof) value() []byte {
	b := append(make([]byte, 0, mschapResponseLen), p.peerChallenge...)
	b = append(b, make([]byte, 8)...)
	return append(append(b, p.ntResponse[:]...), 0)
}

// matches reports whether a Response is the right one.
func (p *mschapProof) matches(response []byte) bool {
	return subtle.ConstantTimeCompare(response[24:48], p.ntResponse[:]) == 1
}

// success returns how the authenticator proves that it knows the password too.
func (p *mschapProof) success() string {
	return generateAuthenticatorResponse(p.passwordHash, p.ntResponse, p.peerChallenge, p.challenge, p.name)
}

// keys returns the start keys of the authenticator, which RFC 3079 calls the server.
func (p *mschapProof) keys() keys {
	master := getMasterKey(p.passwordHash, p.ntResponse)
	return keys{send: getAsymmetricStartKey(master, serverSends), receive: getAsymmetricStartKey(master, clientSends)}
}
