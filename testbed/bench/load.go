package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Small frames: UDP datagrams of 18 octets, which make Ethernet frames of 60, the
// least there is.
const (
	smallPayload = 18
	burst        = 64
	sinkPort     = 7777
)

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// A train is memory for one sendmmsg or recvmmsg.
type train struct {
	buffers  [burst][2048]byte
	vectors  [burst]unix.Iovec
	messages [burst]mmsghdr
}

func newTrain(size int) *train {
	t := new(train)
	for i := range t.messages {
		t.vectors[i].Base = &t.buffers[i][0]
		t.vectors[i].SetLen(size)
		t.messages[i].header.Iov = &t.vectors[i]
		t.messages[i].header.SetIovlen(1)
	}
	return t
}

func (t *train) call(trap uintptr, fd, flags int) (int, error) {
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&t.messages[0])), burst, uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// blast sends small datagrams as fast as it can for the given seconds.
func blast(args []string) error {
	to, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	length, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: sinkPort, Addr: to.As4()}); err != nil {
		return err
	}
	t := newTrain(smallPayload)
	for end := time.Now().Add(length); time.Now().Before(end); {
		_, err := t.call(unix.SYS_SENDMMSG, fd, 0)
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
	}
	return nil
}

// sink receives datagrams until no more come, for the given seconds at most, and
// prints how many came a second, from the first to the last.
func sink(args []string) error {
	length, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
		return err
	}
	wait := unix.NsecToTimeval(int64(200 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: sinkPort}); err != nil {
		return err
	}
	fmt.Println("ready")
	t := newTrain(2048)
	var count int
	var first, last time.Time
	for end := time.Now().Add(length); time.Now().Before(end); {
		n, err := t.call(unix.SYS_RECVMMSG, fd, unix.MSG_WAITFORONE)
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n == 0 && count > 0 && time.Since(last) > 300*time.Millisecond {
			break
		}
		if n > 0 {
			last = time.Now()
			if first.IsZero() {
				first = last
			}
			count += n
		}
	}
	rate := 0.0
	if d := last.Sub(first).Seconds(); d > 0.1 {
		rate = float64(count) / d
	}
	_, err = os.Stdout.WriteString(strconv.FormatFloat(rate, 'f', 0, 64) + "\n")
	return err
}
