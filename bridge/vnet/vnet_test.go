package vnet

import (
	"testing"

	"spanwire/pseudowire"
)

// TestDescribe reads what Put writes, for every kind of frame.
func TestDescribe(t *testing.T) {
	for _, g := range []pseudowire.GSO{
		{},
		{ChecksumStart: 34, ChecksumOffset: 16},
		{Kind: pseudowire.GSOTCPv4, HeaderLen: 66, Size: 1448, ChecksumStart: 34, ChecksumOffset: 16},
		{Kind: pseudowire.GSOTCPv6, HeaderLen: 86, Size: 1428, ChecksumStart: 54, ChecksumOffset: 16},
		{Kind: pseudowire.GSOUDP, HeaderLen: 42, Size: 1200, ChecksumStart: 34, ChecksumOffset: 6},
	} {
		var h [HeaderLen]byte
		Put(&h, g, false)
		if got, ok := Describe(&h); !ok || got != g {
			t.Errorf("%+v, %v; want %+v", got, ok, g)
		}
		if h[1] |= gsoECN; g.Kind != pseudowire.GSONone {
			if got, ok := Describe(&h); !ok || got != g {
				t.Errorf("with ECN: %+v, %v; want %+v", got, ok, g)
			}
		}
	}
	var h [HeaderLen]byte
	Put(&h, pseudowire.GSO{}, true)
	if h != [HeaderLen]byte{dataValid} {
		t.Errorf("a verified frame: %x", h)
	}
	if _, ok := Describe(&[HeaderLen]byte{0, 3}); ok { // UFO, which nobody asked for
		t.Error("a kind that was not asked for was taken")
	}
}
