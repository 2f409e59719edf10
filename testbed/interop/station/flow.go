package station

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A Talk is a Flow or a Burst.
type Talk interface {
	// Listen waits for it at an address of the calling thread's network namespace.
	// What it returns tells how it came, once it has, or that it did not in time.
	Listen(at netip.AddrPort, within time.Duration) (came func() error, err error)

	// Dial sends it to an address.
	Dial(to netip.AddrPort, within time.Duration) error
}

// A Flow is the octets that a TCP connection carries one way. Its receiver makes
// them again from the seed.
type Flow struct {
	Seed   uint64
	Octets int64
}

// largestWrite is the most that Send writes at once, somewhat more than fits a
// super-frame.
const largestWrite = 100_000

func source(seed uint64) *rand.ChaCha8 {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], seed)
	return rand.NewChaCha8(b)
}

// Send writes the flow, in writes of all sizes.
func (f Flow) Send(w io.Writer) error {
	source, b := source(f.Seed), make([]byte, largestWrite)
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
	source, got, want := source(f.Seed), make([]byte, largestWrite), make([]byte, largestWrite)
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

// Listen implements Talk.
func (f Flow) Listen(at netip.AddrPort, within time.Duration) (came func() error, err error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	end, result := time.Now().Add(within), make(chan error, 1)
	l.SetDeadline(end)
	go func() {
		c, err := l.Accept()
		l.Close() // before the result, for whoever has that may listen at once
		if err == nil {
			c.SetDeadline(end)
			err = f.Expect(c)
			c.Close()
		}
		result <- err
	}()
	return func() error { return <-result }, nil
}

// Dial implements Talk.
func (f Flow) Dial(to netip.AddrPort, within time.Duration) error {
	end := time.Now().Add(within)
	c, err := net.DialTimeout("tcp", to.String(), within)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(end)
	return f.Send(c)
}

// A Burst is some datagrams of UDP, that are sent in runs for the kernel to cut,
// where it does.
type Burst struct {
	Seed    uint64
	Count   int
	Largest int // octets of the largest, at least 100
}

// runs makes the datagrams: of each run all have the size of the first, but that the
// last may be shorter.
func (b Burst) runs() (runs [][][]byte) {
	const most = 40 // in a run
	source, sizes := source(b.Seed), rand.New(rand.NewPCG(b.Seed, 1))
	for left := b.Count; left > 0; {
		size := 100 + sizes.IntN(b.Largest-99)
		n := min(left, 1+sizes.IntN(min(most, 65000/size)))
		run := make([][]byte, n)
		for i := range run {
			if i == n-1 {
				size = 1 + sizes.IntN(size)
			}
			run[i] = make([]byte, size)
			source.Read(run[i])
		}
		runs = append(runs, run)
		left -= n
	}
	return runs
}

// Listen implements Talk: it wants all datagrams in their order.
func (b Burst) Listen(at netip.AddrPort, within time.Duration) (came func() error, err error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		}), err)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.SetDeadline(time.Now().Add(within))
	return func() error {
		defer c.Close()
		got, n := make([]byte, 1<<16), 0
		for _, run := range b.runs() {
			for _, want := range run {
				n++
				octets, err := c.Read(got)
				if err != nil {
					return fmt.Errorf("burst: datagram %d of %d: %w", n, b.Count, err)
				}
				if !bytes.Equal(got[:octets], want) {
					return fmt.Errorf("burst: datagram %d of %d has %d octets, want %d, or others", n, b.Count, octets, len(want))
				}
			}
		}
		return nil
	}, nil
}

// Dial implements Talk.
func (b Burst) Dial(to netip.AddrPort, _ time.Duration) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	segment := func(size int) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) }), err)
	}
	for _, run := range b.runs() {
		if err := segment(len(run[0])); err != nil {
			return err
		}
		_, err := c.Write(bytes.Join(run, nil))
		if !errors.Is(err, unix.EIO) { // the device sums nothing up, and so the kernel cuts nothing
			if err != nil {
				return fmt.Errorf("burst: %w", err)
			}
			continue
		}
		if err := segment(0); err != nil {
			return err
		}
		for _, datagram := range run {
			if _, err := c.Write(datagram); err != nil {
				return fmt.Errorf("burst: %w", err)
			}
		}
	}
	return nil
}
