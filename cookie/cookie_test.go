package cookie

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	for _, size := range []int{0, 4, 8} {
		a, err := New(size)
		if err != nil || a.Len() != size || len(a.Append(nil)) != size {
			t.Fatalf("New(%d): %d octets, %v", size, a.Len(), err)
		}
		if b, _ := New(size); size > 0 && a == b {
			t.Errorf("New(%d) twice: the same", size)
		}
		if again, err := Parse(a.Hex()); err != nil || again != a {
			t.Errorf("Parse(Hex()): %v, %v", again == a, err)
		}
	}
	for _, size := range []int{-1, 1, 3, 5, 7, 9, 16} {
		if _, err := New(size); err == nil {
			t.Errorf("New(%d): no error", size)
		}
	}
}

// RFC 3931 section 8.2: "For protection against brute-force, blind, insertion
// attacks, a 64-bit Cookie MUST be used with all sessions."
func TestDefaultSize(t *testing.T) {
	if DefaultSize != 8 {
		t.Errorf("%d octets, want 8", DefaultSize)
	}
}

// TestRandom looks at many cookies.
//
// RFC 3931 section 8.2: "Each Assigned Cookie MUST be selected in a
// cryptographically random manner [RFC1750] such that a series of Assigned Cookies
// does not provide any indication of what a future Cookie will be."
func TestRandom(t *testing.T) {
	const cookies = 4096
	seen := make(map[Cookie]bool)
	var ones [8 * MaxSize]int
	for range cookies {
		c, err := New(MaxSize)
		if err != nil {
			t.Fatal(err)
		}
		seen[c] = true
		for bit := range ones {
			ones[bit] += int(c.octets[bit/8] >> (bit % 8) & 1)
		}
	}
	if len(seen) != cookies {
		t.Errorf("%d different cookies of %d", len(seen), cookies)
	}
	for bit, n := range ones { // ten standard deviations of 32
		if n < cookies/2-320 || n > cookies/2+320 {
			t.Errorf("bit %d is set in %d of %d", bit, n, cookies)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for s, want := range map[string]string{
		"a1b2c3":             "cookie: 3 octets, want 0, 4 or 8 octets",
		"a1b":                "cookie: 3 hexadecimal digits, want 0, 8 or 16",
		"a1b2c3zz":           "cookie: not a hexadecimal number",
		"0x010203":           "cookie: not a hexadecimal number",
		"a1b2c3d4e5f6071829": "cookie: 9 octets, want 0, 4 or 8 octets",
	} {
		if _, err := Parse(s); err == nil || err.Error() != want {
			t.Errorf("Parse(%q): %v, want %s", s, err, want)
		}
	}
}

// TestMatch changes every octet and cuts at every length.
func TestMatch(t *testing.T) {
	for _, size := range []int{0, 4, 8} {
		c, _ := New(size)
		b := c.Append(nil)
		if !c.Match(append(bytes.Clone(b), 1, 2, 3)) {
			t.Errorf("%s: does not match itself", c)
		}
		for i := range b {
			other := bytes.Clone(b)
			other[i] ^= 1
			if c.Match(other) {
				t.Errorf("%s: matches with octet %d changed", c, i)
			}
			if c.Match(b[:i]) {
				t.Errorf("%s: matches %d octets", c, i)
			}
		}
	}
}

// TestKeepsItsSecret prints a cookie in every way that a log might.
func TestKeepsItsSecret(t *testing.T) {
	c, _ := Parse("a1b2c3d4e5f60718")
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{c, &c, struct{ Cookie Cookie }{c}} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, "a1") || strings.Contains(s, "161") {
				t.Errorf("%s of %T: %s", format, v, s)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a1b2c3d4")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := Parse(s); err == nil && c.Hex() != strings.ToLower(s) {
			t.Errorf("Parse(%q).Hex() = %q", s, c.Hex())
		}
	})
}
