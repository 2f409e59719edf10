package station

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestFlow(t *testing.T) {
	f := Flow{Seed: 7, Octets: 300_000}
	var sent bytes.Buffer
	if err := f.Send(&sent); err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(sent.Bytes())
	damaged[123_456] ^= 1
	for name, test := range map[string]struct {
		came io.Reader
		want string // of the error; "": none
	}{
		"as it was":   {bytes.NewReader(sent.Bytes()), ""},
		"in halves":   {iotest.HalfReader(bytes.NewReader(sent.Bytes())), ""},
		"damaged":     {bytes.NewReader(damaged), "octet 123456 of 300000"},
		"short":       {bytes.NewReader(sent.Bytes()[:299_999]), "after 299999 of 300000 octets: EOF"},
		"twice":       {io.MultiReader(bytes.NewReader(sent.Bytes()), strings.NewReader("more")), "flow: "},
		"of a reader": {iotest.ErrReader(io.ErrUnexpectedEOF), "unexpected EOF"},
	} {
		err := f.Expect(test.came)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestTalks sends what is expected and something else.
func TestTalks(t *testing.T) {
	const within = 10 * time.Second
	at := netip.MustParseAddrPort("127.0.0.1:17115")
	for _, test := range []struct {
		sent, expected Talk
		want           string
	}{
		{Flow{Seed: 1, Octets: 100_000}, Flow{Seed: 1, Octets: 100_000}, ""},
		{Flow{Seed: 1, Octets: 100_000}, Flow{Seed: 1, Octets: 100_001}, "after 100000 of 100001"},
		{Burst{Seed: 1, Count: 100, Largest: 1400}, Burst{Seed: 1, Count: 100, Largest: 1400}, ""},
		{Burst{Seed: 1, Count: 100, Largest: 9000}, Burst{Seed: 1, Count: 100, Largest: 9000}, ""},
		{Burst{Seed: 1, Count: 100, Largest: 1400}, Burst{Seed: 2, Count: 100, Largest: 1400}, "datagram 1 of 100 has"},
	} {
		came, err := test.expected.Listen(at, within)
		if err != nil {
			t.Fatal(err)
		}
		if err := test.sent.Dial(at, within); err != nil {
			t.Fatal(err)
		}
		switch err := came(); {
		case test.want == "" && err != nil:
			t.Errorf("%+v: %v", test.sent, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%+v for %+v: %v, want %q", test.sent, test.expected, err, test.want)
		}
	}
}
