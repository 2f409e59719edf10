package netlab

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Checksums has a device of the calling thread's network namespace make the checksums
// of what is sent, or leave that to the kernel, which then does not cut super-frames
// there: before Linux 6.11 it even refuses to take them from a UDP socket.
// linux/ethtool.h.
func Checksums(device string, on bool) error {
	const setTxChecksum = 0x17 // ETHTOOL_STXCSUM
	value := struct{ command, on uint32 }{command: setTxChecksum}
	if on {
		value.on = 1
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	request.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("netlab: checksums of %s: %w", device, errno)
	}
	return nil
}
