package wire

import (
	"bytes"
	"testing"
)

// TestPutNsV2 wants the numbers that a header is made with, and any other.
func TestPutNsV2(t *testing.T) {
	for _, n := range []uint32{0, 1, 0x1234, 65535, 65536, 1<<32 - 1} {
		want := AppendDataHeaderV2(nil, DataHeaderV2{TunnelID: 1, SessionID: 2, Sequenced: true, Ns: uint16(n)}, 0)
		got := bytes.Repeat([]byte{0xee}, 4)
		if PutNsV2(got, n); !bytes.Equal(got, want[6:]) || len(want) != MaxDataHeaderLenV2 {
			t.Errorf("%d: %x, want %x", n, got, want[6:])
		}
	}
}
