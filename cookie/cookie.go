// Package cookie is the Cookie of the L2TPv3 data header, RFC 3931 sections 4.1
// and 8.2: a value of 0, 4 or 8 octets that each side assigns to a session and
// that the peer must put into every data message of it.
package cookie

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
)

// DefaultSize is the size of a new cookie in octets. RFC 3931 section 8.2: "For
// protection against brute-force, blind, insertion attacks, a 64-bit Cookie
// MUST be used with all sessions."
const DefaultSize = 8

// MaxSize is the size of the longest cookie in octets.
const MaxSize = 8

// A Cookie is comparable with == where time does not matter; its zero value is
// the cookie of no octets, which every message carries.
type Cookie struct {
	octets [MaxSize]byte
	size   uint8
}

var errSize = errors.New("want 0, 4 or 8 octets")

// New returns a random cookie of 0, 4 or 8 octets.
func New(size int) (Cookie, error) {
	var b [MaxSize]byte
	if !validSize(size) {
		return Cookie{}, fmt.Errorf("cookie: %d octets, %w", size, errSize)
	}
	rand.Read(b[:size]) // never fails
	return FromBytes(b[:size])
}

// FromBytes returns the cookie whose octets are b; it keeps nothing of b.
func FromBytes(b []byte) (Cookie, error) {
	if !validSize(len(b)) {
		return Cookie{}, fmt.Errorf("cookie: %d octets, %w", len(b), errSize)
	}
	c := Cookie{size: uint8(len(b))}
	copy(c.octets[:], b)
	return c, nil
}

// Parse reads a cookie of 0, 8 or 16 hexadecimal digits. Its errors do not
// repeat the text, which may be a good cookie but for one digit.
func Parse(s string) (Cookie, error) {
	b, err := hex.DecodeString(s)
	if errors.Is(err, hex.ErrLength) {
		return Cookie{}, fmt.Errorf("cookie: %d hexadecimal digits, want 0, 8 or 16", len(s))
	}
	if err != nil {
		return Cookie{}, errors.New("cookie: not a hexadecimal number")
	}
	return FromBytes(b)
}

func validSize(n int) bool { return n == 0 || n == 4 || n == 8 }

// Len returns the cookie's size in octets.
func (c Cookie) Len() int { return int(c.size) }

// Append appends the octets of the cookie to b.
func (c Cookie) Append(b []byte) []byte { return append(b, c.octets[:c.size]...) }

// Match reports whether b starts with the cookie. It takes the same time
// wherever they differ. RFC 3931 section 8.2.
func (c *Cookie) Match(b []byte) bool {
	n := int(c.size)
	return len(b) >= n && subtle.ConstantTimeCompare(c.octets[:n], b[:n]) == 1
}

// Hex returns the cookie in hexadecimal, as Parse reads it. Whoever knows it can
// put frames into the session: it belongs into a configuration, not into a log.
func (c Cookie) Hex() string { return hex.EncodeToString(c.octets[:c.size]) }

// String says how long the cookie is and nothing of what it is.
func (c Cookie) String() string { return fmt.Sprintf("%d octets", c.size) }

// GoString keeps the octets out of what %#v prints.
func (c Cookie) GoString() string { return "cookie.Cookie(" + c.String() + ")" }
