// Package station is an Ethernet station at one end of a pseudowire: it sends
// frames that its counterpart at the other end can make again from a seed, and
// so compares what came with what was sent, octet by octet and in order.
package station

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// EtherType is what the station's frames carry, "IEEE Std 802 - Local
// Experimental Ethertype 1": kernels neither send nor answer it.
const EtherType = 0x88b5

const (
	headerLen = 14
	shortest  = 60 // an Ethernet frame without its FCS
)

// A Stream is a sequence of frames.
type Stream struct {
	Seed    uint64
	Count   int
	Largest int // octets of the largest frame, its header included
}

// destinations are what frames go to: a host, everybody, and groups of which an
// IEEE 802.1D bridge keeps STP and LLDP to itself.
var destinations = [][6]byte{
	{0x02, 0, 0, 0, 0, 0x42},
	{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	{0x33, 0x33, 0, 0, 0, 0xfb},
	{0x01, 0x80, 0xc2, 0, 0, 0x00},
	{0x01, 0x80, 0xc2, 0, 0, 0x0e},
}

// Frames makes the stream's frames: the first is the shortest there is, the
// second the largest, the others of any size between.
func (s Stream) Frames() [][]byte {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], s.Seed)
	source := rand.NewChaCha8(seed)
	random := rand.New(source)
	frames := make([][]byte, s.Count)
	for i := range frames {
		size := shortest + random.IntN(s.Largest-shortest+1)
		switch i {
		case 0:
			size = shortest
		case 1:
			size = s.Largest
		}
		f := make([]byte, size)
		source.Read(f)
		to := destinations[random.IntN(len(destinations))]
		copy(f, to[:])
		f[6] = 0x02 // locally administered, not a group
		binary.BigEndian.PutUint16(f[headerLen-2:], EtherType)
		frames[i] = f
	}
	return frames
}

// A Station is on one interface.
type Station struct {
	fd    int
	index int
}

// Open puts a station on an interface of the calling thread's network namespace.
func Open(device string) (*Station, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("station: %s: %w", device, err)
	}
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, EtherType))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("station: %w", err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: i.Index}),
	); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("station: %s: %w", device, err)
	}
	return &Station{fd, i.Index}, nil
}

// Close takes the station off.
func (s *Station) Close() { unix.Close(s.fd) }

// Send sends the stream.
func (s *Station) Send(stream Stream) error {
	for i, f := range stream.Frames() {
		if err := unix.Sendto(s.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: s.index}); err != nil {
			return fmt.Errorf("station: frame %d of %d, %d octets: %w", i+1, stream.Count, len(f), err)
		}
	}
	return nil
}

// Expect receives the stream, and says what came that is not the stream or that
// within the time nothing came.
func (s *Station) Expect(stream Stream, within time.Duration) error {
	got := make([]byte, 1<<16)
	for i, want := range stream.Frames() {
		n, err := s.receive(got, time.Now().Add(within))
		switch {
		case err != nil:
			return fmt.Errorf("station: frame %d of %d, %d octets: %w", i+1, stream.Count, len(want), err)
		case !bytes.Equal(got[:n], want):
			return fmt.Errorf("station: frame %d of %d is\n%x, want\n%x", i+1, stream.Count, got[:n], want)
		}
	}
	return nil
}

// errSilence says that no frame came in time.
var errSilence = errors.New("nothing came")

func (s *Station) receive(b []byte, deadline time.Time) (int, error) {
	for {
		wait := time.Until(deadline)
		if wait < 0 {
			return 0, errSilence
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, int(wait.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, err
		}
		n, _, err := unix.Recvfrom(s.fd, b, unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
