package tap

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// SetCarrier gives the device its carrier or takes it, as if somebody plugged its
// cable in or out. It has one after Open, and taking it down and up or another MTU
// changes nothing of it. Without one the segment sends nothing, and what Send is
// given still reaches it.
func (t *TAP) SetCarrier(up bool) error {
	value := 0
	if up {
		value = 1
	}
	var err error
	if closed := t.raw.Control(func(fd uintptr) { err = unix.IoctlSetPointerInt(int(fd), unix.TUNSETCARRIER, value) }); closed != nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("tap %s: carrier: %w", t.cfg.Name, carrierError(err))
	}
	return nil
}

// carrierError puts into words what a kernel says that does not know the request.
func carrierError(err error) error {
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: this kernel cannot set a TAP's carrier, want Linux 5.0 or later", err)
	}
	return err
}
