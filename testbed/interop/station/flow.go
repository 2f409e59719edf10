package station

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// A Flow is the octets that a TCP connection carries one way. Its receiver makes
// them again from the seed.
type Flow struct {
	Seed   uint64
	Octets int64
}

// largestWrite is the most that Send writes at once, somewhat more than fits a
// super-frame.
const largestWrite = 100_000

func (f Flow) source() *rand.ChaCha8 {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], f.Seed)
	return rand.NewChaCha8(seed)
}

// Send writes the flow, in writes of all sizes.
func (f Flow) Send(w io.Writer) error {
	source, b := f.source(), make([]byte, largestWrite)
	sizes := rand.New(rand.NewPCG(f.Seed, 0))
	for sent := int64(0); sent < f.Octets; {
		part := b[:min(f.Octets-sent, 1+sizes.Int64N(largestWrite))]
		source.Read(part)
		n, err := w.Write(part)
		sent += int64(n)
		if err != nil {
			return fmt.Errorf("flow: after %d of %d octets: %w", sent, f.Octets, err)
		}
	}
	return nil
}

// Expect reads until the end, and says where what came is not the flow.
func (f Flow) Expect(r io.Reader) error {
	source, got, want := f.source(), make([]byte, largestWrite), make([]byte, largestWrite)
	for at := int64(0); ; {
		n, err := r.Read(got)
		source.Read(want[:n])
		if !bytes.Equal(got[:n], want[:n]) {
			i := 0
			for got[i] == want[i] {
				i++
			}
			return fmt.Errorf("flow: octet %d of %d is %#02x, want %#02x", at+int64(i), f.Octets, got[i], want[i])
		}
		at += int64(n)
		switch {
		case at > f.Octets:
			return fmt.Errorf("flow: more than %d octets", f.Octets)
		case errors.Is(err, io.EOF) && at == f.Octets:
			return nil
		case err != nil:
			return fmt.Errorf("flow: after %d of %d octets: %w", at, f.Octets, err)
		}
	}
}
