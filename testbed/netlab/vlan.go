package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// VLAN makes a device of a VLAN on a bridge: what leaves it has the tag on the bridge,
// and nothing else comes to it. It is what an 802.1Q device on the bridge is, also to
// super-frames, where the kernel has none. It is the one end of a cable, of which the
// other is an access port of the bridge, named as the device with "-port".
func (l *Lab) VLAN(n *Namespace, bridge, name string, vlan uint16, mtu int) error {
	port := name + "-port"
	if err := l.Veth(n, name, n, port, mtu); err != nil {
		return err
	}
	err := n.Do(func() error {
		p, err := device(port)
		if err != nil {
			return err
		}
		br, err := device(bridge)
		if err != nil {
			return err
		}
		return errors.Join(filters(p, push(vlan), pop(vlan)), netlink.LinkSetMaster(p, br))
	})
	if err != nil {
		return fmt.Errorf("netlab: namespace %s: VLAN %d on %s: %w", n.name, vlan, bridge, err)
	}
	return nil
}

// Tag makes all that goes out of a device of this VLAN, and takes from what comes in
// what is of it alone: all addresses of the device are as if on an 802.1Q device.
func (n *Namespace) Tag(name string, vlan uint16) error {
	err := n.Do(func() error {
		l, err := device(name)
		if err != nil {
			return err
		}
		return filters(l, pop(vlan), push(vlan))
	})
	if err != nil {
		return fmt.Errorf("netlab: namespace %s: tag %d on %s: %w", n.name, vlan, name, err)
	}
	return nil
}

// filters puts programs in the way of what comes in at a device and of what goes out.
func filters(l netlink.Link, in, out []instruction) error {
	attrs := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	return errors.Join(
		netlink.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: "clsact"}),
		filter(l, netlink.HANDLE_MIN_INGRESS, in),
		filter(l, netlink.HANDLE_MIN_EGRESS, out),
	)
}

// filter has all frames that come to a device, or leave it, go through a program.
func filter(l netlink.Link, parent uint32, program []instruction) error {
	fd, err := load(program)
	if err != nil {
		return err
	}
	defer unix.Close(fd) // the filter holds it
	return netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: parent, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:           fd,
		Name:         "tag",
		DirectAction: true,
	})
}

// An instruction is one of eBPF: Documentation/bpf/standardization/instruction-set.rst.
type instruction struct {
	code      uint8
	registers uint8 // the destination in the low four bits, the source above
	offset    int16
	immediate int32
}

// What instructions do, in the order of their names in linux/bpf.h.
const (
	setNumber    = 0xb7 // BPF_ALU64 | BPF_MOV | BPF_K
	and          = 0x57 // BPF_ALU64 | BPF_AND | BPF_K
	loadWord     = 0x61 // BPF_LDX | BPF_MEM | BPF_W
	jumpNotEqual = 0x55 // BPF_JMP | BPF_JNE | BPF_K
	call         = 0x85
	exit         = 0x95
)

// Helpers, fields of a struct __sk_buff, and what a filter may answer.
const (
	vlanPush, vlanPop    = 18, 19
	vlanPresent, vlanTCI = 20, 24
	pass, drop           = 0, 2
)

// push is a program that gives a frame a tag.
func push(vlan uint16) []instruction {
	return []instruction{
		{setNumber, 2, 0, int32(networkOrder(unix.ETH_P_8021Q))},
		{setNumber, 3, 0, int32(vlan)},
		{call, 0, 0, vlanPush},
		{setNumber, 0, 0, pass},
		{exit, 0, 0, 0},
	}
}

// pop is a program that takes a frame's tag, and drops a frame that has it not.
func pop(vlan uint16) []instruction {
	return []instruction{
		{setNumber, 0, 0, drop},
		{loadWord, 1<<4 | 2, vlanPresent, 0},
		{jumpNotEqual, 2, 5, 1}, // to the end
		{loadWord, 1<<4 | 2, vlanTCI, 0},
		{and, 2, 0, 0xfff},
		{jumpNotEqual, 2, 2, int32(vlan)}, // to the end
		{call, 0, 0, vlanPop},
		{setNumber, 0, 0, pass},
		{exit, 0, 0, 0},
	}
}

// load gives the kernel a program of type BPF_PROG_TYPE_SCHED_CLS.
func load(program []instruction) (fd int, err error) {
	const progLoad, schedCls, instructionLen = 5, 3, 8
	b := make([]byte, 0, len(program)*instructionLen)
	for _, i := range program {
		b = append(b, i.code, i.registers)
		b = binary.NativeEndian.AppendUint16(b, uint16(i.offset))
		b = binary.NativeEndian.AppendUint32(b, uint32(i.immediate))
	}
	license := []byte("Apache-2.0\x00")
	attr := struct {
		kind, count      uint32
		program, license uint64
		_                [12]uint64 // of a log, and more that is zero
	}{kind: schedCls, count: uint32(len(program))}
	attr.program, attr.license = uint64(uintptr(unsafe.Pointer(&b[0]))), uint64(uintptr(unsafe.Pointer(&license[0])))
	r, _, errno := unix.Syscall(unix.SYS_BPF, progLoad, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(b)
	runtime.KeepAlive(license)
	if errno != 0 {
		return 0, fmt.Errorf("load a program: %w", errno)
	}
	return int(r), nil
}
