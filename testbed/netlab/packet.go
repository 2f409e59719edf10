package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Capture is an ear and a mouth on a device: it hears all frames that come and
// go there, VLAN tags included, and can send others.
type Capture struct {
	fd      int
	index   int
	close   sync.Once
	buf     []byte // the frame from its fifth octet, so that a tag fits in
	control []byte
}

const (
	tagLen        = 4
	receiveBuffer = 32 << 20 // octets
)

// Capture opens a device, promiscuously.
func (n *Namespace) Capture(device string) (c *Capture, err error) {
	err = n.Do(func() error {
		c, err = open(device)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netlab: namespace %s: capture on %s: %w", n.name, device, err)
	}
	return c, nil
}

// networkOrder returns n as the kernel wants protocols in packet sockets.
func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

func open(device string) (*Capture, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	// With protocol 0 it hears nothing until it is bound, and so of no other device.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &Capture{fd: fd, index: i.Index, buf: make([]byte, 1<<16+64), control: make([]byte, 128)}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		// Only the machine's own root may exceed net.core.rmem_max.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	err = errors.Join(
		err,
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: i.Index}),
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC}),
	)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the capture, when no Next or Receive waits. It may be called again.
func (c *Capture) Close() { c.close.Do(func() { unix.Close(c.fd) }) }

// Send sends a frame out of the device.
func (c *Capture) Send(frame []byte) error {
	return unix.Sendto(c.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: c.index})
}

// Next returns the next frame that came or went, and when the kernel saw it. It is
// good until the following call. After the deadline the error is
// os.ErrDeadlineExceeded.
func (c *Capture) Next(deadline time.Time) (frame []byte, at time.Time, err error) {
	frame, at, _, err = c.next(deadline)
	return frame, at, err
}

// Receive returns the next frame that came in, and none that went out.
func (c *Capture) Receive(deadline time.Time) (frame []byte, err error) {
	for {
		frame, _, outgoing, err := c.next(deadline)
		if err != nil || !outgoing {
			return frame, err
		}
	}
}

func (c *Capture) next(deadline time.Time) (frame []byte, at time.Time, outgoing bool, err error) {
	for {
		wait := time.Until(deadline)
		if wait <= 0 {
			return nil, at, false, os.ErrDeadlineExceeded
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, int(wait.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, at, false, err
		}
		if n <= 0 {
			continue
		}
		n, oob, _, from, err := unix.Recvmsg(c.fd, c.buf[tagLen:], c.control, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, at, false, err
		}
		messages, err := unix.ParseSocketControlMessage(c.control[:oob])
		if err != nil {
			return nil, at, false, err
		}
		frame = c.buf[tagLen : tagLen+n]
		for _, m := range messages {
			switch {
			case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS:
				at = time.Unix((*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Unix())
			case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA:
				frame = c.restoreTag(frame, (*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0])))
			}
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		return frame, at, ok && link.Pkttype == unix.PACKET_OUTGOING, nil
	}
}

// restoreTag puts back the VLAN tag that the kernel has taken off the frame in
// c.buf[tagLen:].
func (c *Capture) restoreTag(frame []byte, aux *unix.TpacketAuxdata) []byte {
	const addresses = 12
	if aux.Status&unix.TP_STATUS_VLAN_VALID == 0 || len(frame) < addresses {
		return frame
	}
	kind := uint16(unix.ETH_P_8021Q)
	if aux.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		kind = aux.Vlan_tpid
	}
	copy(c.buf, frame[:addresses])
	binary.BigEndian.PutUint16(c.buf[addresses:], kind)
	binary.BigEndian.PutUint16(c.buf[addresses+2:], aux.Vlan_tci)
	return c.buf[:tagLen+len(frame)]
}
