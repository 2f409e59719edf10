package gso

import (
	"encoding/binary"
	"math/bits"
)

// sum returns the ones' complement sum of b's 16-bit words, in 16 bits; behind
// an odd number of octets it counts a zero. It is 0 only where b holds zeros
// alone. RFC 1071: the sum is the same whatever the width of the words that are
// added and, but for the order of its two octets, whatever order they are read in.
func sum(b []byte) uint64 {
	var s, c uint64
	for ; len(b) >= 64; b = b[64:] {
		w := (*[64]byte)(b)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[0:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[8:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[16:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[24:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[32:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[40:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[48:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(w[56:]), c)
	}
	for ; len(b) >= 8; b = b[8:] {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), c)
	}
	var last uint64
	if len(b) >= 4 {
		last = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	var odd uint64
	if len(b) >= 2 {
		odd = uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		odd += uint64(b[0])
	}
	s, c = bits.Add64(s, last+odd, c)
	// A carry out of this addition leaves s at 0: there is room for it.
	s, c = bits.Add64(s, 0, c)
	return uint64(bits.ReverseBytes16(fold(s + c)))
}

// fold returns a sum in 16 bits. It is 0 only for 0.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff // at most 2^33 - 2
	s = s>>16 + s&0xffff     // at most 2^17 + 2^16
	s = s>>16 + s&0xffff     // at most 2^16 + 1
	s = s>>16 + s&0xffff
	return uint16(s)
}
