package transport

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/wire"
)

// mmsghdr is the kernel's struct mmsghdr, one message of sendmmsg and recvmmsg.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// mmsg sends or receives messages without waiting.
func mmsg(trap, fd uintptr, m []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (c *Conn) raw115() bool { return c.cfg.Encap == wire.IP }
