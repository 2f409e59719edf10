package packet

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"spanwire/pseudowire/ethernet"
)

// networkOrder returns n as the kernel wants protocols in packet sockets.
func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// attachFilter has the socket take what comes in with such tags, and nothing else.
func attachFilter(fd int, vlan []ethernet.Tag) error {
	raw, err := bpf.Assemble(filter(vlan))
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("vlan filter: %w", os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err))
	}
	return nil
}

// filter returns the program. Before a packet socket sees a frame, the kernel has taken
// the outermost tag off it and keeps it beside; a second one stands where the first
// was.
func filter(vlan []ethernet.Tag) (program []bpf.Instruction) {
	const (
		inner = 12 // where the second tag is
		all   = 1 << 18
	)
	refuse := bpf.RetConstant{Val: 0}
	// unless refuses what is not as cond says.
	unless := func(cond bpf.JumpTest, value uint32) {
		program = append(program, bpf.JumpIf{Cond: cond, Val: value, SkipTrue: 1}, refuse)
	}
	kind := func(tpid uint16) {
		if tpid != 0 {
			unless(bpf.JumpEqual, uint32(tpid))
			return
		}
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: ethernet.CTag, SkipTrue: 2})
		unless(bpf.JumpEqual, ethernet.STag)
	}
	identifier := func(vid uint16) {
		if vid != 0 {
			program = append(program, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0fff})
			unless(bpf.JumpEqual, uint32(vid))
		}
	}
	program = append(program, bpf.LoadExtension{Num: bpf.ExtType})
	unless(bpf.JumpNotEqual, unix.PACKET_OUTGOING)
	if len(vlan) > 0 {
		program = append(program, bpf.LoadExtension{Num: bpf.ExtVLANTagPresent})
		unless(bpf.JumpNotEqual, 0)
		if tpid := vlan[0].TPID; tpid != 0 {
			program = append(program, bpf.LoadExtension{Num: bpf.ExtVLANProto})
			kind(tpid)
		}
		program = append(program, bpf.LoadExtension{Num: bpf.ExtVLANTag})
		identifier(vlan[0].VID)
	}
	if len(vlan) > 1 {
		program = append(program, bpf.LoadAbsolute{Off: inner, Size: 2})
		kind(vlan[1].TPID)
		program = append(program, bpf.LoadAbsolute{Off: inner + 2, Size: 2})
		identifier(vlan[1].VID)
	}
	return append(program, bpf.RetConstant{Val: all})
}
