package wire

import "encoding/binary"

// SequenceMaskV2 has the 16 bits of an Ns.
const SequenceMaskV2 = 0xffff

// MaxDataHeaderLenV2 is the length of the longest data header that we send: with Ns and
// Nr, and without Length and Offset Size.
const MaxDataHeaderLenV2 = 10

// PutNsV2 makes b, the four octets of Ns and Nr in a data message of L2TPv2, carry the
// number n modulo 2^16. RFC 2661 section 3.1: "In data messages, Nr is reserved".
func PutNsV2(b []byte, n uint32) { binary.BigEndian.PutUint32(b, n<<16) }
