package station

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
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
