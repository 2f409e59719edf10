package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// TestControlHeader has headers that are good and bad.
func TestControlHeader(t *testing.T) {
	for _, v := range []struct {
		name   string
		hex    string
		length int // of the message; 0: an error
	}{
		{"nothing", "", 0},
		{"eleven octets", "c803000c 00000000 000000", 0},
		{"header alone", "c803000c 00000000 00000000", 12},
		{"octets behind it", "c803000c 00000000 00000000 ffffffff", 12},
		{"Length into what follows", "c803000d 00000000 00000000 ffffffff", 13},
		{"Length less than the header", "c803000b 00000000 00000000", 0},
		{"Length 0", "c8030000 00000000 00000000", 0},
		{"Length beyond the datagram", "c803000d 00000000 00000000", 0},
		{"Length 65535", "c803ffff 00000000 00000000", 0},
		// RFC 3931 section 4.7.3: an SCCRQ for both versions.
		{"version 2", "c802000c 00000000 00000000", 12},
		{"version 0", "c800000c 00000000 00000000", 0},
		{"version 1", "c801000c 00000000 00000000", 0},
		{"version 4", "c804000c 00000000 00000000", 0},
		{"version 15", "c80f000c 00000000 00000000", 0},
		// RFC 3931 section 3.2.1: "The T bit MUST be set to 1, indicating that
		// this is a control message."
		{"T bit clear", "4803000c 00000000 00000000", 0},
		// RFC 3931 section 3.2.1: "The L and S bits MUST be set to 1, indicating
		// that the Length field and sequence numbers are present."
		{"L bit clear", "8803000c 00000000 00000000", 0},
		{"S bit clear", "c003000c 00000000 00000000", 0},
		// RFC 3931 section 3.2.1: "All reserved bits MUST be set to 0 on outgoing
		// messages and ignored on incoming messages."
		{"reserved bits", "fff3000c 00000000 00000000", 12},
	} {
		_, message, err := ParseControl(octets(t, v.hex))
		if v.length == 0 {
			// RFC 3931 section 7.1: "A control message with a malformed header MUST
			// be discarded."
			if !errors.Is(err, errHeader) || message != nil {
				t.Errorf("%s: %x, %v; want an error", v.name, message, err)
			}
			continue
		}
		if err != nil || len(message) != v.length || cap(message) < v.length {
			t.Errorf("%s: %x, %v; want %d octets", v.name, message, err, v.length)
		}
	}
}

// TestControlHeaderSent looks at every bit of the headers that we send.
func TestControlHeaderSent(t *testing.T) {
	for _, h := range []ControlHeader{{3, 0, 0, 0}, {3, 0xffffffff, 0xffff, 0xffff}, {3, 1, 0x8000, 1}} {
		for _, body := range [][]byte{nil, make([]byte, 8), make([]byte, 3000)} {
			b := AppendControl(nil, h, body)
			// RFC 3931 section 3.2.1: "The T bit MUST be set to 1, indicating that
			// this is a control message."
			//
			// "The L and S bits MUST be set to 1, indicating that the Length field
			// and sequence numbers are present."
			//
			// "All reserved bits MUST be set to 0 on outgoing messages and ignored on
			// incoming messages."
			//
			// "On sending, this field MUST be set to 3 for all messages (unless
			// operating in an environment that includes L2TPv2 [RFC2661] and/or L2F
			// [RFC2341] as well, see Section 4.1 for details)."
			if word := binary.BigEndian.Uint16(b); word != 0xc803 {
				t.Errorf("%+v: first word %#04x, want 0xc803", h, word)
			}
			if n := int(binary.BigEndian.Uint16(b[2:])); n != len(b) || n != ControlHeaderLen+len(body) {
				t.Errorf("%+v: Length %d of %d octets", h, n, len(b))
			}
			got, message, err := ParseControl(b)
			if err != nil || got != h || !bytes.Equal(message, b) {
				t.Errorf("%+v, %v; want %+v", got, err, h)
			}
		}
	}
}
