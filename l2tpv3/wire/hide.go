package wire

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
)

// A hidingKey is what the values of AVPs are hidden with: RFC 3931 section 5.3
// derives it of the secret, in RFC 2661 section 4.3 it is the secret.
type hidingKey []byte

func (s *Secret) hide(attr Attr, vector, value []byte, random func([]byte)) []byte {
	return s.key().hide(attr, vector, value, random)
}

func (s *Secret) unhide(attr Attr, vector, hidden []byte) ([]byte, error) {
	return s.key().unhide(attr, vector, hidden)
}

// key returns the key of a secret, nil if there is none.
func (s *Secret) key() hidingKey {
	if s == nil {
		return nil
	}
	return s.hiding[:]
}

// stream runs the hiding of RFC 3931 section 5.3 over b in place. The blocks of
// ciphertext, which the next block's hash is made of, are b's own before or after.
func (k hidingKey) stream(b []byte, attr Attr, vector []byte, hide bool) {
	h := md5.New()
	var number [2]byte
	binary.BigEndian.PutUint16(number[:], uint16(attr))
	h.Write(number[:])
	h.Write(k)
	h.Write(vector)
	var mask, cipher [md5.Size]byte
	for len(b) > 0 {
		h.Sum(mask[:0])
		n := min(len(b), md5.Size)
		if !hide {
			copy(cipher[:], b[:n])
		}
		for i := range n {
			b[i] ^= mask[i]
		}
		if hide {
			copy(cipher[:], b[:n])
		}
		h.Reset()
		h.Write(k)
		h.Write(cipher[:n])
		b = b[n:]
	}
}

// hide returns the value of a hidden AVP: the Hidden AVP Subformat, padded with
// random octets to full blocks so that it tells little of the value's length. A
// value that is too long is the caller's mistake.
func (k hidingKey) hide(attr Attr, vector, value []byte, random func([]byte)) []byte {
	n := 2 + len(value)
	if n > longest {
		panic(fmt.Sprintf("wire: attribute %d: %d octets to hide, want %d at most", attr, len(value), longest-2))
	}
	padded := min((n+md5.Size-1)/md5.Size*md5.Size, longest)
	b := make([]byte, padded)
	binary.BigEndian.PutUint16(b, uint16(len(value)))
	copy(b[2:], value)
	random(b[n:])
	k.stream(b, attr, vector, true)
	return b
}

// unhide returns the value that a hidden AVP holds.
func (k hidingKey) unhide(attr Attr, vector, hidden []byte) ([]byte, error) {
	if len(hidden) < 2 {
		return nil, fmt.Errorf("hidden in %d octets, want 2", len(hidden))
	}
	b := append([]byte(nil), hidden...)
	k.stream(b, attr, vector, false)
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b)-2 {
		return nil, fmt.Errorf("hidden length %d in %d octets: hidden with another secret?", n, len(b)-2)
	}
	return b[2 : 2+n : 2+n], nil
}
