package ethernet

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseVLAN(t *testing.T) {
	for _, v := range []struct {
		text string
		want []Tag
	}{
		{"1", []Tag{{VID: 1}}},
		{"4094", []Tag{{VID: 4094}}},
		{"42.7", []Tag{{VID: 42}, {VID: 7}}},
		{"", nil}, {"0", nil}, {"4095", nil}, {"65578", nil}, {"-1", nil}, {"+1", nil}, {"01", nil}, {" 1", nil}, {"x", nil},
		{"1.", nil}, {".1", nil}, {"1.0", nil}, {"1.2.3", nil}, {"4095.1", nil},
	} {
		got, err := ParseVLAN(v.text)
		if len(got) != len(v.want) || (err != nil) != (v.want == nil) {
			t.Errorf("%q: %v, %v; want %v", v.text, got, err, v.want)
			continue
		}
		for i := range got {
			if got[i] != v.want[i] {
				t.Errorf("%q: %v, want %v", v.text, got, v.want)
			}
		}
	}
	_, err := ParseVLAN("4095")
	if want := `vlan: found "4095", want 1 to 4094, or two such as 42.7`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestParseVLANs(t *testing.T) {
	for _, v := range []struct {
		text, want string
		n          int
	}{
		{"10,20-29", "10,20-29", 11},
		{"10, 20-29", "10,20-29", 11},
		{"0", "0", 1},
		{"0-4094", "0-4094", 4095},
		{"3,2,1,1-2", "1-3", 3},
		{"4094,63-64", "63-64,4094", 3},
	} {
		got, err := ParseVLANs(v.text)
		if err != nil || got.String() != v.want || got.Len() != v.n {
			t.Errorf("%q: %v, %v; want %s with %d", v.text, got, err, v.want, v.n)
		}
	}
	for _, text := range []string{"", ",", "1,", "4095", "1-4095", "2-1", "1-2-3", "1 - 2", "-", "a", "1.2"} {
		if got, err := ParseVLANs(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
	_, err := ParseVLANs("10,29-20")
	if want := `vlans: found "29-20", want 0 to 4094 or a range such as 20-29`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if new(VLANs).Has(4095) || new(VLANs).Has(0xffff) || new(VLANs).String() != "" {
		t.Error("the empty set has something")
	}
}

// TestVLANsAgainstAMap holds the set to a map, and reads what it writes.
func TestVLANsAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := rapid.MapOf(rapid.Uint16Range(0, MaxVID), rapid.Just(true)).Draw(t, "vids")
		v := new(VLANs)
		for vid := range model {
			v.bits[vid/64] |= 1 << (vid % 64)
		}
		if v.Len() != len(model) {
			t.Errorf("%d in it, want %d", v.Len(), len(model))
		}
		if len(model) == 0 {
			return
		}
		again, err := ParseVLANs(v.String())
		if err != nil || *again != *v {
			t.Fatalf("%s read again: %v, %v", v, again, err)
		}
		for vid := uint16(0); vid <= MaxVID; vid++ {
			if again.Has(vid) != model[vid] {
				t.Errorf("%d: %v, want %v", vid, again.Has(vid), model[vid])
			}
		}
	})
}

func TestVID(t *testing.T) {
	for _, v := range []struct {
		hex  string
		want uint16
	}{
		{"0200000000aa 0200000000bb 0800 4500", 0},
		{"0200000000aa 0200000000bb 8100 e064 0800", 100},
		{"0200000000aa 0200000000bb 8100 2000 0800", 0},
		{"0200000000aa 0200000000bb 88a8 1007 8100 0064 0800", 7},
		{"0200000000aa 0200000000bb 9100 0007 0800", 0},
		{"0200000000aa 0200000000bb 8100 0064 08", 0},
		{"0200000000aa 0200000000", 0},
		{"", 0},
	} {
		if got := VID(decode(t, v.hex)); got != v.want {
			t.Errorf("%s: %d, want %d", v.hex, got, v.want)
		}
	}
}
