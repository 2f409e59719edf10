package wire

import "testing"

// TestAllocations bounds what a message costs. Hostile ones come at any rate.
func TestAllocations(t *testing.T) {
	secret := NewSecret([]byte("secret"))
	secrets := []*Secret{secret}
	plain, signed := &Encoding{}, &Encoding{Signatures: []Signature{{SHA1, secret}}}
	icrq := vectors[indexOf(t, "ICRQ, all")].message
	b := AppendControl(nil, ControlHeader{Version: 3}, AppendBody(nil, icrq, signed))
	Seal(b, signed.Signatures, ours, theirs)
	d := &Decoding{}
	buffer := make([]byte, 0, 4096)
	for _, v := range []struct {
		name string
		most float64
		f    func()
	}{
		{"Parse", 3, func() { Parse(b, d) }},
		{"AppendBody", 2, func() { AppendBody(buffer, icrq, plain) }},
		{"AppendBody with a digest", 2, func() { AppendBody(buffer, icrq, signed) }},
		{"AppendControl", 0, func() { AppendControl(buffer, ControlHeader{Version: 3}, b) }},
		{"ParseControl", 0, func() { ParseControl(b) }},
		{"Seal", 12, func() { Seal(b, signed.Signatures, ours, theirs) }},
		{"Verify", 12, func() { Verify(b, secrets, ours, theirs) }},
		{"Nonce, HasDigest, TypeOf", 0, func() { Nonce(b); HasDigest(b); TypeOf(b) }},
	} {
		got := testing.AllocsPerRun(100, v.f)
		t.Logf("%s: %v allocations", v.name, got)
		if got > v.most {
			t.Errorf("%s: %v allocations, want %v at most", v.name, got, v.most)
		}
	}
}

// indexOf returns where a vector is in the table.
func indexOf(t *testing.T, name string) int {
	t.Helper()
	for i, v := range vectors {
		if v.name == name {
			return i
		}
	}
	t.Fatalf("no vector %q", name)
	return 0
}
