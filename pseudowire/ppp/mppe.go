package ppp

import (
	"bytes"
	"crypto/rc4"
	"crypto/sha1"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"spanwire/pseudowire"
)

// keyLen is the size of a session key of 128 bits.
const keyLen = 16

// An mppe encrypts what a Link carries: Microsoft Point-To-Point Encryption, RFC 3078,
// in stateless mode.
type mppe struct {
	sending, receiving mppeKey
	broken             atomic.Uint32 // packets in a row that could not be decrypted
}

// tooBroken is how many of them tell that the ends will not get in step again.
const tooBroken = 1000

// An mppeKey is one direction's. Its count is the coherency count of the last packet.
type mppeKey struct {
	mu             sync.Mutex
	start, session [keyLen]byte
	count          uint16
}

// What stands in front of encrypted data, RFC 3078 section 3.1: the bits A and D and 12
// bits of coherency count.
const (
	mppeHeaderLen = 2
	mppeFlushed   = 0x8000
	mppeEncrypted = 0x1000
	mppeCounts    = 0x1000 // how many coherency counts there are
)

func newMPPE(k keys) *mppe {
	m := new(mppe)
	m.sending.init(k.send)
	m.receiving.init(k.receive)
	return m
}

// init takes a start key. The first packet has the count 0 and a new key, as any other.
func (k *mppeKey) init(start [keyLen]byte) {
	k.start = start
	k.session = newKeyFromSHA(start, start)
	k.count = mppeCounts - 1
}

// pad1 and pad2 are SHSpad1 and SHSpad2 of RFC 3079.
var pad1, pad2 = [40]byte{}, [40]byte(bytes.Repeat([]byte{0xf2}, 40))

// newKeyFromSHA is GetNewKeyFromSHA of RFC 3078 section 7.3 and RFC 3079.
func newKeyFromSHA(start, session [keyLen]byte) (interim [keyLen]byte) {
	var b [2*keyLen + 80]byte
	copy(b[0:], start[:])
	copy(b[keyLen:], pad1[:])
	copy(b[keyLen+40:], session[:])
	copy(b[2*keyLen+40:], pad2[:])
	digest := sha1.Sum(b[:])
	return [keyLen]byte(digest[:keyLen])
}

// crypt encrypts, or decrypts, b with a key.
func crypt(key [keyLen]byte, b []byte) {
	c, err := rc4.NewCipher(key[:])
	if err != nil {
		panic(err) // a key of this size is never refused
	}
	c.XORKeyStream(b, b)
}

// changed returns the session key that comes after another, RFC 3078 section 7.3.
func (k *mppeKey) changed(session [keyLen]byte) [keyLen]byte {
	interim := newKeyFromSHA(k.start, session)
	session = interim
	crypt(interim, session[:])
	return session
}

// encrypt puts p in front of a packet, encrypts both and puts an MPPE header in front
// of it.
func (m *mppe) encrypt(f pseudowire.Frame, p Protocol) pseudowire.Frame {
	binary.BigEndian.PutUint16(f.Prepend(2), uint16(p))
	f = f.Grow(2)
	k := &m.sending
	k.mu.Lock()
	k.count = (k.count + 1) % mppeCounts
	k.session = k.changed(k.session)
	count, session := k.count, k.session
	k.mu.Unlock()
	crypt(session, f.Bytes())
	binary.BigEndian.PutUint16(f.Prepend(mppeHeaderLen), mppeFlushed|mppeEncrypted|count)
	return f.Grow(mppeHeaderLen)
}

// decrypt reverses encrypt, in place. Packets may have been lost, as many as half of
// the counts, and one that was overtaken cannot be read any more. A key is only changed
// for what turns out to be a packet of IP: who makes up packets cannot, but for one in
// several thousand, bring the ends out of step.
func (m *mppe) decrypt(f pseudowire.Frame) (Protocol, pseudowire.Frame, bool) {
	if f.Len() <= mppeHeaderLen {
		return 0, f, false
	}
	h := binary.BigEndian.Uint16(f.Bytes())
	f = f.Skip(mppeHeaderLen)
	k := &m.receiving
	k.mu.Lock()
	defer k.mu.Unlock()
	changes := (h%mppeCounts - k.count + mppeCounts) % mppeCounts
	if h&mppeFlushed == 0 || h&mppeEncrypted == 0 || changes == 0 || changes >= mppeCounts/2 {
		m.broken.Add(1)
		return 0, f, false
	}
	session := k.session
	for range changes {
		session = k.changed(session)
	}
	crypt(session, f.Bytes())
	p, n := header(f.Bytes())
	if !isIP(p, f.Bytes()[n:]) {
		m.broken.Add(1)
		return 0, f, false
	}
	k.session, k.count = session, h%mppeCounts
	m.broken.Store(0)
	return p, f.Skip(n), true
}

// isIP reports whether a packet is of the version of IP that its protocol says.
func isIP(p Protocol, packet []byte) bool {
	return len(packet) > 0 && (p == IPv4 && packet[0]>>4 == 4 || p == IPv6 && packet[0]>>4 == 6)
}
