package netlab

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An ethtoolFeatures is the kernel's struct ethtool_sfeatures with room for four
// blocks of 32 features.
type ethtoolFeatures struct {
	command, size uint32
	blocks        [4]struct{ valid, requested uint32 }
}

const (
	featureName  = 32 // octets of a feature's name, with the zeros behind it
	featureNames = 4  // the kernel's ETH_SS_FEATURES: which of its sets of strings
)

// An ethtoolStrings is the kernel's struct ethtool_gstrings with room for as many
// names.
type ethtoolStrings struct {
	command, set, length uint32
	names                [4 * 32][featureName]byte
}

// An ethtoolSets is the kernel's struct ethtool_sset_info for one set of strings.
type ethtoolSets struct {
	command, _ uint32
	mask       uint64
	length     uint32
	_          uint32
}

// Features turns features of a device on and off, by the names that ethtool -k has for
// them. One that the kernel does not know is off.
func (n *Namespace) Features(device string, want map[string]bool) error {
	return n.Do(func() error {
		sets := &ethtoolSets{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << featureNames}
		if err := ethtool(device, unsafe.Pointer(sets)); err != nil {
			return fmt.Errorf("number of features of %s: %w", device, err)
		}
		names := &ethtoolStrings{command: unix.ETHTOOL_GSTRINGS, set: featureNames}
		if sets.length > uint32(len(names.names)) {
			return fmt.Errorf("%s has %d features, more than the %d there is room for", device, sets.length, len(names.names))
		}
		if err := ethtool(device, unsafe.Pointer(names)); err != nil {
			return fmt.Errorf("features of %s: %w", device, err)
		}
		set := &ethtoolFeatures{command: unix.ETHTOOL_SFEATURES, size: (sets.length + 31) / 32}
		for i, name := range names.names[:sets.length] {
			on, ok := want[strings.TrimRight(string(name[:]), "\x00")]
			if !ok {
				continue
			}
			set.blocks[i/32].valid |= 1 << (i % 32)
			if on {
				set.blocks[i/32].requested |= 1 << (i % 32)
			}
		}
		if err := ethtool(device, unsafe.Pointer(set)); err != nil {
			return fmt.Errorf("set features of %s: %w", device, err)
		}
		return nil
	})
}

// ethtool makes one request of a device.
func ethtool(device string, request unsafe.Pointer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifreq := struct { // the kernel's struct ifreq, of 40 octets
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: request}
	if len(device) >= len(ifreq.name) {
		return errors.New("the name is too long")
	}
	copy(ifreq.name[:], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
		return errno
	}
	return nil
}

// Checksums has a device of the calling thread's network namespace make the checksums
// of what is sent, or leave that to the kernel, which then does not cut super-frames
// there: before Linux 6.11 it even refuses to take them from a UDP socket.
func Checksums(device string, on bool) error {
	value := struct{ command, on uint32 }{command: unix.ETHTOOL_STXCSUM}
	if on {
		value.on = 1
	}
	if err := ethtool(device, unsafe.Pointer(&value)); err != nil {
		return fmt.Errorf("netlab: checksums of %s: %w", device, err)
	}
	return nil
}
