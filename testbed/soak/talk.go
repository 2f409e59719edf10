package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/testbed/interop/station"
	"spanwire/testbed/netlab"
)

// counts are what was said and what came of it.
type counts struct {
	flows, octets                                 atomic.Uint64 // of TCP
	datagrams, datagramsCame                      atomic.Uint64
	frames, framesCame                            atomic.Uint64
	mtus, flaps, deleted, relays, rolls, failures atomic.Uint64
}

func (c *counts) String() string {
	return fmt.Sprintf("%d connections of %.2f GB, %d of %d datagrams, %d of %d frames; %d MTUs, %d flaps, %d TAPs deleted, %d relays, %d cookies rolled; %d failures",
		c.flows.Load(), float64(c.octets.Load())/1e9, c.datagramsCame.Load(), c.datagrams.Load(), c.framesCame.Load(), c.frames.Load(),
		c.mtus.Load(), c.flaps.Load(), c.deleted.Load(), c.relays.Load(), c.rolls.Load(), c.failures.Load())
}

// patience is how long a connection may take with all troubles that there are.
const patience = 2 * time.Minute

// ports gives each listener a port of its own, below those that kernels choose.
var ports atomic.Uint32

func nextPort() uint16 { return uint16(10000 + ports.Add(1)%20000) }

// converse makes one TCP connection after the other, which carries octets both ways.
func (s *soak) converse(r *rand.Rand, x *session) {
	for !s.stopped() {
		most := 8 << 20
		if x.rough {
			most = 300 << 10
		}
		t := conversation{
			from:  r.IntN(2),
			flows: [2]station.Flow{{Seed: r.Uint64(), Octets: 1 + r.Int64N(int64(most))}, {Seed: r.Uint64(), Octets: r.Int64N(int64(most) / 4)}},
			// The kernel's own choice is 0.
			segment: []int{0, 0, 536 + r.IntN(700)}[r.IntN(3)],
			control: []string{"", "reno", "cubic", "bbr"}[r.IntN(4)],
			noDelay: r.IntN(2),
		}
		t.at = netip.AddrPortFrom(x.address(1-t.from, r.IntN(2) == 0, r.IntN(2) == 0), nextPort())
		if err := s.connect(t); err != nil {
			s.fail(fmt.Errorf("session %s: %v: %w", x.name, t, err))
			continue
		}
		s.count.flows.Add(1)
		s.count.octets.Add(uint64(t.flows[0].Octets + t.flows[1].Octets))
	}
}

// A conversation is one TCP connection.
type conversation struct {
	from    int
	at      netip.AddrPort
	flows   [2]station.Flow // from who dials, and back
	segment int
	control string
	noDelay int
}

func (t conversation) String() string {
	return fmt.Sprintf("TCP from %s to %s, %d octets and %d back", names[t.from], t.at, t.flows[0].Octets, t.flows[1].Octets)
}

// prepare sets the options of a socket that dials.
func (t conversation) prepare(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		if t.segment > 0 {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, t.segment)
		}
		if t.control != "" { // which the kernel may not have
			unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, t.control)
		}
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, t.noDelay)
	})
}

func (s *soak) connect(t conversation) error {
	var l *net.TCPListener
	if err := s.hosts[1-t.from].Do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(t.at))
		return err
	}); err != nil {
		return err
	}
	defer l.Close()
	end, other := time.Now().Add(patience), make(chan error, 1)
	l.SetDeadline(end)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = exchange(c, end, t.flows[1], t.flows[0])
		}
		other <- err
	}()
	var c net.Conn
	for { // while a link is down the neighbour may not be found
		err := s.hosts[t.from].Do(func() (err error) {
			d := net.Dialer{Deadline: end, Control: t.prepare}
			c, err = d.DialContext(context.Background(), "tcp", t.at.String())
			return err
		})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EHOSTUNREACH) || time.Now().After(end) {
			l.Close()
			return errors.Join(err, <-other)
		}
	}
	return errors.Join(exchange(c, end, t.flows[0], t.flows[1]), <-other)
}

// exchange sends one flow and expects the other at the same time.
func exchange(c net.Conn, end time.Time, send, expect station.Flow) error {
	defer c.Close()
	c.SetDeadline(end)
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(send.Send(c), c.(*net.TCPConn).CloseWrite()) }()
	return errors.Join(expect.Expect(c), <-sent)
}

// content fills b with what follows from a seed and a number.
func content(b []byte, seed, n uint64) {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	binary.BigEndian.PutUint64(key[8:], n)
	rand.NewChaCha8(key).Read(b)
}

// A datagram says what it is: seed, number, length, and what follows from them.
const datagramHead = 8 + 4 + 4

func datagram(size int, seed uint64, n uint32) []byte {
	b := make([]byte, max(size, datagramHead))
	content(b[datagramHead:], seed, uint64(n))
	binary.BigEndian.PutUint64(b, seed)
	binary.BigEndian.PutUint32(b[8:], n)
	binary.BigEndian.PutUint32(b[12:], uint32(len(b)))
	return b
}

// largestSegment is the payload of a UDP datagram that fits every device.
const largestSegment = vlanMTU - 40 - 8

// shout sends bursts of datagrams one way or the other, in runs that the kernel is to
// cut and one by one, of which some are fragmented. Any may be lost.
func (s *soak) shout(r *rand.Rand, x *session) {
	for !s.stopped() {
		from := r.IntN(2)
		at := netip.AddrPortFrom(x.address(1-from, r.IntN(2) == 0, r.IntN(2) == 0), nextPort())
		if err := s.shoutAt(r, from, at); err != nil {
			s.fail(fmt.Errorf("session %s: UDP to %s: %w", x.name, at, err))
		}
	}
}

func (s *soak) shoutAt(r *rand.Rand, from int, at netip.AddrPort) error {
	var ear, mouth *net.UDPConn
	if err := errors.Join(
		s.hosts[1-from].Do(func() (err error) {
			ear, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
			return err
		}),
		s.hosts[from].Do(func() (err error) {
			mouth, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
			return err
		}),
	); err != nil {
		return err
	}
	defer ear.Close()
	defer mouth.Close()
	ear.SetReadBuffer(4 << 20)
	seed, heard := r.Uint64(), make(chan error, 1)
	go func() {
		for got := make([]byte, 1<<16); ; {
			n, err := ear.Read(got)
			if err != nil {
				heard <- nil // it was closed
				return
			}
			if n < datagramHead {
				heard <- fmt.Errorf("datagram of %d octets", n)
				return
			}
			if want := datagram(n, seed, binary.BigEndian.Uint32(got[8:])); !bytes.Equal(got[:n], want) {
				heard <- fmt.Errorf("datagram of %d octets is\n%x, want\n%x", n, got[:n], want)
				return
			}
			s.count.datagramsCame.Add(1)
		}
	}()
	raw, err := mouth.SyscallConn()
	if err != nil {
		return err
	}
	n := uint32(0)
	for range 20 + r.IntN(100) {
		size, count := datagramHead+r.IntN(largestSegment-datagramHead+1), 1+r.IntN(40)
		segment := size
		if r.IntN(4) == 0 { // one by one
			segment, count = 0, 1
			if r.IntN(3) == 0 {
				size = r.IntN(20000)
			}
		}
		var run []byte
		for i := range count {
			if i == count-1 && segment > 0 {
				size = datagramHead + r.IntN(size-datagramHead+1)
			}
			run = append(run, datagram(size, seed, n)...)
			n++
		}
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, segment) })
		if _, err := mouth.Write(run); err == nil { // else a link is down, or a device has no checksums
			s.count.datagrams.Add(uint64(count))
		}
		time.Sleep(time.Duration(r.IntN(4000)) * time.Microsecond)
	}
	time.Sleep(200 * time.Millisecond) // for what is under way
	ear.Close()
	return <-heard
}

// frame makes a frame from a host of any size, with none, one or two VLAN tags, which
// a seed and a number behind its type tell.
func frame(x *session, from int, seed, n uint64) []byte {
	var dice [32]byte
	content(dice[:], ^seed, n)
	tags := int(dice[0]) % 3
	size := binary.BigEndian.Uint16(dice[2:])
	switch {
	case dice[1] < 32: // jumbo: lost on most paths
		size = 60 + size%9000
	default:
		size = 60 + size%(lowestMTU+14-60+1)
	}
	b := make([]byte, size)
	content(b, seed, n)
	copy(b, []byte{2, 0x50, 0, 0, byte(x.index), byte(1 - from)})
	copy(b[6:], []byte{2, 0x50, 0, 0, byte(x.index), byte(from)})
	if dice[4] < 32 {
		copy(b, "\xff\xff\xff\xff\xff\xff")
	}
	at := 12
	for i := range tags {
		binary.BigEndian.PutUint16(b[at:], 0x8100)
		if tags == 2 && i == 0 {
			binary.BigEndian.PutUint16(b[at:], 0x88a8)
		}
		binary.BigEndian.PutUint16(b[at+2:], uint16(dice[5+i])<<8&0xe000|200+uint16(dice[7+i])) // of nobody's VLAN
		at += 4
	}
	binary.BigEndian.PutUint16(b[at:], station.EtherType)
	binary.BigEndian.PutUint64(b[at+2:], seed)
	binary.BigEndian.PutUint64(b[at+10:], n)
	return b
}

// verify compares a frame with what it says that it is; ours is false for another's.
func verify(x *session, from int, seed uint64, got []byte) (ours bool, err error) {
	at := 12
	for at+4 <= len(got) && at < 20 && (binary.BigEndian.Uint16(got[at:]) == 0x8100 || binary.BigEndian.Uint16(got[at:]) == 0x88a8) {
		at += 4
	}
	if len(got) < at+18 || binary.BigEndian.Uint16(got[at:]) != station.EtherType {
		return false, nil
	}
	if want := frame(x, from, seed, binary.BigEndian.Uint64(got[at+10:])); !bytes.Equal(got, want) {
		return true, fmt.Errorf("frame of %d octets is\n%x, want\n%x", len(got), got, want)
	}
	return true, nil
}

// ends opens both ends of a session's way of frames.
func (s *soak) ends(x *session, from int) (mouth, ear *netlab.Capture, err error) {
	if mouth, err = s.hosts[from].Capture(x.port()); err != nil {
		return nil, nil, err
	}
	if ear, err = s.hosts[1-from].Capture(x.port()); err != nil {
		mouth.Close()
	}
	return mouth, ear, err
}

// sendFrames sends frames one way, some at a time. Any may be lost.
func (s *soak) sendFrames(r *rand.Rand, x *session, from int) {
	mouth, ear, err := s.ends(x, from)
	if err != nil {
		s.fail(err)
		return
	}
	defer mouth.Close()
	defer ear.Close()
	seed, n := r.Uint64(), uint64(0)
	for !s.stopped() {
		for range 1 + r.IntN(64) {
			if mouth.Send(frame(x, from, seed, n)) == nil {
				s.count.frames.Add(1)
			}
			n++
		}
		for end := time.Now().Add(time.Duration(1+r.IntN(30)) * time.Millisecond); ; {
			got, err := ear.Receive(end)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				s.fail(err)
				return
			}
			ours, err := verify(x, from, seed, got)
			if err != nil {
				s.fail(fmt.Errorf("session %s from %s: %w", x.name, names[from], err))
			}
			if ours {
				s.count.framesCame.Add(1)
			}
		}
	}
}

// check wants TCP to go over a session, and frames to come all and in order.
func (s *soak) check(x *session, from int) error {
	const octets = 200 << 10
	for _, tagged := range []bool{false, true} {
		t := conversation{from: from, at: netip.AddrPortFrom(x.address(1-from, tagged, tagged), nextPort()),
			flows: [2]station.Flow{{Seed: 1, Octets: octets}, {Seed: 2, Octets: octets}}}
		if err := s.connect(t); err != nil {
			return err
		}
	}
	mouth, ear, err := s.ends(x, from)
	if err != nil {
		return err
	}
	defer mouth.Close()
	defer ear.Close()
	seed := uint64(time.Now().UnixNano()) // not of frames that may still be under way
	var want [][]byte
	for n := uint64(0); len(want) < 50; n++ {
		if f := frame(x, from, seed, n); len(f) <= lowestMTU+14 {
			want = append(want, f)
		}
	}
	for _, f := range want {
		if err := mouth.Send(f); err != nil {
			return err
		}
	}
	for end := time.Now().Add(2 * time.Second); len(want) > 0; {
		got, err := ear.Receive(end)
		if err != nil {
			return fmt.Errorf("%d of 50 frames did not come: %w", len(want), err)
		}
		if bytes.Equal(got, want[0]) {
			want = want[1:]
		}
	}
	return nil
}
