package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/testbed/netlab"
)

// echoPort is where the far end answers.
const echoPort = 7778

// pings say how the way to the other end and back is measured: by small UDP
// datagrams, of which one is under way at a time. What needs no parsing of another
// program's output is measured to the microsecond.
type pings struct {
	interval time.Duration // at the least, for the next one waits for an answer
	length   time.Duration // for so long, and until there is one answer
	patience time.Duration // for the first answer
}

// A delay is what pings took.
type delay struct {
	p50, p99 time.Duration
	lost     int // not answered
}

// pingWait is how long one answer is waited for.
const pingWait = 250 * time.Millisecond

// ping has the row's first end ask and the second one answer.
func ping(ctx context.Context, r *row, p pings) (d delay, _ error) {
	echo, err := udpSocket(r.b, netip.AddrPortFrom(netip.IPv4Unspecified(), echoPort), 20*time.Millisecond)
	if err != nil {
		return d, err
	}
	end, ended := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		answer(end, echo)
	}()
	defer unix.Close(echo)
	defer func() { <-gone }()
	defer ended()
	fd, err := udpSocket(r.a, netip.AddrPort{}, pingWait)
	if err != nil {
		return d, err
	}
	defer unix.Close(fd)
	return p.ask(ctx, fd, netip.AddrPortFrom(netip.MustParseAddr(overB), echoPort))
}

// udpSocket opens a socket in a namespace that waits so long for a datagram.
func udpSocket(n *netlab.Namespace, local netip.AddrPort, wait time.Duration) (fd int, err error) {
	err = n.Do(func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		tv := unix.NsecToTimeval(int64(wait))
		err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
		if local.IsValid() {
			err = errors.Join(err, unix.Bind(fd, &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()}))
		}
		if err != nil {
			unix.Close(fd)
		}
		return err
	})
	return fd, err
}

// answer sends back what comes.
func answer(ctx context.Context, fd int) {
	b := make([]byte, 2048)
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err == nil && from != nil {
			unix.Sendto(fd, b[:n], 0, from)
		}
	}
}

// ask sends datagrams and waits for the answer to each.
func (p pings) ask(ctx context.Context, fd int, to netip.AddrPort) (d delay, _ error) {
	address := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	var took []time.Duration
	b := make([]byte, smallPayload)
	start := time.Now()
	for n := uint64(1); ; n++ {
		began := time.Now()
		if err := ctx.Err(); err != nil {
			return d, err
		}
		if len(took) > 0 && began.Sub(start) >= p.length {
			break
		}
		if len(took) == 0 && began.Sub(start) >= p.patience {
			return d, fmt.Errorf("none of %d was answered within %v", d.lost, p.patience)
		}
		binary.BigEndian.PutUint64(b, n)
		err := unix.Sendto(fd, b, 0, address)
		for err == nil {
			var got int
			got, _, err = unix.Recvfrom(fd, b, 0)
			if err == nil && got >= 8 && binary.BigEndian.Uint64(b) == n {
				took = append(took, time.Since(began))
				break
			}
		}
		if err != nil { // nothing came, or nothing could be sent yet
			d.lost++
		}
		time.Sleep(time.Until(began.Add(p.interval)))
	}
	slices.Sort(took)
	d.p50, d.p99 = took[len(took)/2], took[len(took)*99/100]
	return d, nil
}
