package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Ways in which FuzzParse reads and writes.
const (
	fuzzSecret = 1 << iota
	fuzzLenient
	fuzzHide
	fuzzCisco
	fuzzDigest
)

func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		for _, ways := range []byte{0, fuzzSecret | fuzzHide | fuzzDigest, fuzzLenient | fuzzCisco, 0xff} {
			f.Add(octets(f, v.hex), ways)
		}
		if v.message != nil {
			e := &Encoding{Hide: NewSecret([]byte("secret")), Random: fives}
			f.Add(message(AppendBody(nil, v.message, e)), byte(fuzzSecret))
		}
	}
	f.Add(AppendControl(nil, ControlHeader{Version: 2}, octets(f, both)), byte(0))
	for _, text := range hostile {
		f.Add(message(slices.Concat(with(vectors[4].lines(f), 1, appendAVP(nil, 0, 0, uint16(AttrHostName), []byte(text))))...), byte(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, ways byte) {
		h, b, err := ParseControl(b)
		if err != nil {
			return
		}
		secret := NewSecret([]byte("secret"))
		d, e := &Decoding{Lenient: ways&fuzzLenient != 0}, &Encoding{Cisco: ways&fuzzCisco != 0, Random: fives}
		if ways&fuzzSecret != 0 {
			d.Secret = secret
		}
		if ways&fuzzDigest != 0 {
			e.Signatures = []Signature{{SHA1, secret}, {MD5, secret}}
		}
		before := slices.Clone(b)
		p, problem := Parse(b, d)
		if !slices.Equal(before, b) {
			t.Fatalf("changed %x to %x", before, b)
		}
		typ, typed := TypeOf(b)
		switch {
		case problem != nil && (!harmless(problem.Error()) || problem.Code == ErrorNone):
			t.Fatalf("%x: %v, error %d", b, problem, problem.Code)
		case p.Message != nil && (p.Message.Type() != p.Type || !typed || typ != p.Type):
			t.Fatalf("%x: a %s of type %s, or %s", b, p.Message.Type(), p.Type, typ)
		case p.Message == nil && !p.Ignored && problem == nil && len(b) != ControlHeaderLen:
			t.Fatalf("%x: nothing", b)
		}
		if problem != nil || p.Message == nil {
			return
		}
		if ways&fuzzHide != 0 && len(endOf(p.Message)) <= longest-2 {
			e.Hide, d.Secret = secret, secret
		}
		again := AppendControl(nil, ControlHeader{3, h.ConnectionID, h.Ns, h.Nr}, AppendBody(nil, p.Message, e))
		Seal(again, e.Signatures, ours, theirs)
		if _, ok := Verify(again, []*Secret{secret}, ours, theirs); ok != (e.Signatures != nil) {
			t.Fatalf("%x: verified %v", again, ok)
		}
		h2, again, err := ParseControl(again)
		if err != nil || h2.ConnectionID != h.ConnectionID || h2.Ns != h.Ns || h2.Nr != h.Nr {
			t.Fatalf("%+v became %+v, %v", h, h2, err)
		}
		// Appended, it is for strict readers.
		d.Lenient = false
		p2, problem := Parse(again, d)
		if problem != nil {
			t.Fatalf("%x became %x: %v", b, again, problem)
		}
		inASCII(p.Message)
		if d := cmp.Diff(p.Message, p2.Message, sameCookie); d != "" {
			t.Fatalf("%x became %x:\n%s", b, again, d)
		}
	})
}

// endOf returns the Remote End ID of a message that has one.
func endOf(m Message) []byte {
	switch m := m.(type) {
	case *ICRQ:
		return m.RemoteEndID
	case *OCRQ:
		return m.RemoteEndID
	}
	return nil
}

// inASCII does to the texts of a message what AppendBody does: a question mark for
// each character that is not of US-ASCII.
func inASCII(m Message) {
	var l *LCCE
	switch m := m.(type) {
	case *SCCRQ:
		l = &m.LCCE
	case *SCCRP:
		l = &m.LCCE
	default:
		return
	}
	for _, s := range []*string{&l.HostName, &l.VendorName, &l.Language} {
		*s = strings.Map(func(r rune) rune {
			if r >= 0x80 {
				return '?'
			}
			return r
		}, *s)
	}
}
