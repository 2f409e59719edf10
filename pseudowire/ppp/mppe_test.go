package ppp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"spanwire/pseudowire"
)

// encrypted returns packet n, encrypted.
func encrypted(m *mppe, n int) []byte {
	buf := fmt.Appendf(make([]byte, pseudowire.Headroom), "\x45%06d", n)
	return m.encrypt(pseudowire.NewFrame(buf, pseudowire.Headroom), IPv4).Bytes()
}

// TestMPPE wants encryption to get along with packets that are lost, as many as half of
// the counts in a row, and to drop those that come late, twice or are made up.
func TestMPPE(t *testing.T) {
	p := proveMSCHAP2(NTPasswordHash(vectorPassword), unhex(t, authChallenge), unhex(t, peerChallenge), vectorName)
	k := p.keys()
	a, b := newMPPE(k), newMPPE(keys{send: k.receive, receive: k.send})
	decrypt := func(packet []byte) (string, bool) {
		p, f, ok := b.decrypt(pseudowire.NewFrame(bytes.Clone(packet), 0))
		if ok && p != IPv4 {
			t.Fatalf("decrypted %v", p)
		}
		return string(f.Bytes()), ok
	}
	r := rand.New(rand.NewPCG(1, 2))
	n := 0
	for range 500 {
		lost := r.IntN(4)
		if r.IntN(50) == 0 {
			lost = mppeCounts/2 - 2
		}
		var late []byte
		for range lost {
			late = encrypted(a, n)
			n++
		}
		packet := encrypted(a, n)
		if want := 0x9000 | n%mppeCounts; int(packet[0])<<8|int(packet[1]) != want {
			t.Fatalf("packet %d: header % x, want %x", n, packet[:2], want)
		}
		if got, ok := decrypt(packet); !ok || got != fmt.Sprintf("\x45%06d", n) {
			t.Fatalf("packet %d: %q, %v", n, got, ok)
		}
		if _, ok := decrypt(packet); ok {
			t.Fatalf("packet %d: decrypted twice", n)
		}
		if _, ok := decrypt(late); ok {
			t.Fatalf("packet %d: decrypted late", n-1)
		}
		made := make([]byte, r.IntN(20))
		for i := range made {
			made[i] = byte(r.Uint32())
		}
		decrypt(made)
		n++
	}
}

// TestMPPEBits: "If the stateless option has been negotiated, this bit MUST be set on
// every encrypted packet." What is not encrypted is no packet.
func TestMPPEBits(t *testing.T) {
	for _, bit := range []byte{mppeFlushed >> 8, mppeEncrypted >> 8} {
		k := keys{send: [keyLen]byte{1}, receive: [keyLen]byte{1}}
		a, b := newMPPE(k), newMPPE(k)
		packet := encrypted(a, 1)
		packet[0] &^= bit
		if _, _, ok := b.decrypt(pseudowire.NewFrame(packet, 0)); ok || b.broken.Load() != 1 {
			t.Errorf("without %#x: decrypted %v, broken %d", bit, ok, b.broken.Load())
		}
	}
}
