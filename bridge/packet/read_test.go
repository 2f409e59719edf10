package packet

import (
	"bytes"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"spanwire/bridge/vnet"
	"spanwire/pseudowire"
)

// arrive puts a message into a reader as the kernel does.
func (r *reader) arrive(header [vnet.HeaderLen]byte, frame []byte, aux *unix.TpacketAuxdata) {
	b := r.buffer(0)[front-vnet.HeaderLen:]
	n := copy(b, header[:])
	m := &r.messages[0]
	m.Len = uint32(n + copy(b[n:], frame))
	m.Hdr.Flags = 0
	m.Hdr.SetControllen(0)
	if aux == nil {
		return
	}
	c := unsafe.Pointer(&r.controls[0])
	h := (*unix.Cmsghdr)(c)
	h.Level, h.Type = unix.SOL_PACKET, unix.PACKET_AUXDATA
	h.SetLen(unix.CmsgLen(int(unsafe.Sizeof(*aux))))
	*(*unix.TpacketAuxdata)(unsafe.Add(c, unix.SizeofCmsghdr)) = *aux
	m.Hdr.SetControllen(unix.CmsgSpace(int(unsafe.Sizeof(*aux))))
}

// TestUnpack has the kernel say one thing or another beside a frame.
func TestUnpack(t *testing.T) {
	plain := frame(2, 60, 0x88, 0xb5)
	header := func(g pseudowire.GSO) (h [vnet.HeaderLen]byte) {
		vnet.Put(&h, g, false)
		return h
	}
	const valid, tpid = unix.TP_STATUS_VLAN_VALID, unix.TP_STATUS_VLAN_TPID_VALID
	with := func(tag ...byte) []byte { return append(append(bytes.Clone(plain[:12]), tag...), plain[12:]...) }
	tcp := pseudowire.GSO{Kind: pseudowire.GSOTCPv4, HeaderLen: 54, Size: 10, ChecksumStart: 34, ChecksumOffset: 16}
	moved := tcp
	moved.HeaderLen, moved.ChecksumStart = 58, 38
	for _, v := range []struct {
		name    string
		header  [vnet.HeaderLen]byte
		frame   []byte
		aux     *unix.TpacketAuxdata
		want    []byte // nil: an error
		wantGSO pseudowire.GSO
	}{
		{name: "nothing", frame: plain, want: plain},
		{name: "no tag", frame: plain, aux: &unix.TpacketAuxdata{Vlan_tci: 5}, want: plain},
		{name: "tag of old kernels", frame: plain, aux: &unix.TpacketAuxdata{Status: valid, Vlan_tci: 0xe00a}, want: with(0x81, 0, 0xe0, 10)},
		{name: "tag", frame: plain, aux: &unix.TpacketAuxdata{Status: valid | tpid, Vlan_tci: 10, Vlan_tpid: 0x88a8}, want: with(0x88, 0xa8, 0, 10)},
		{name: "super-frame", header: header(tcp), frame: plain, want: plain, wantGSO: tcp},
		{name: "super-frame with a tag", header: header(tcp), frame: plain, aux: &unix.TpacketAuxdata{Status: valid, Vlan_tci: 10}, want: with(0x81, 0, 0, 10), wantGSO: moved},
		{name: "hint too long", header: header(pseudowire.GSO{Kind: pseudowire.GSOUDP, HeaderLen: 65535, Size: 1}), frame: plain, aux: &unix.TpacketAuxdata{Status: valid},
			want: with(0x81, 0, 0, 0), wantGSO: pseudowire.GSO{Kind: pseudowire.GSOUDP, HeaderLen: 65535, Size: 1}},
		{name: "checksum beyond it", header: header(pseudowire.GSO{ChecksumStart: 65534}), frame: plain, aux: &unix.TpacketAuxdata{Status: valid}},
		{name: "of no kind", header: [vnet.HeaderLen]byte{1: 3}, frame: plain},
		{name: "short", frame: plain[:13]},
		{name: "empty"},
	} {
		r := newReader()
		r.arrive(v.header, v.frame, v.aux)
		r.unpack(0)
		if v.want == nil {
			if len(r.frames) != 0 || r.errors != 1 {
				t.Errorf("%s: %d frames, %d errors", v.name, len(r.frames), r.errors)
			}
			continue
		}
		if len(r.frames) != 1 || r.errors != 0 || r.octets != len(v.want) {
			t.Errorf("%s: %d frames of %d octets, %d errors", v.name, len(r.frames), r.octets, r.errors)
			continue
		}
		if f := r.frames[0]; !bytes.Equal(f.Bytes(), v.want) || f.GSO != v.wantGSO || f.Headroom() < pseudowire.Headroom {
			t.Errorf("%s: %x, %+v, headroom %d; want %x, %+v", v.name, f.Bytes(), f.GSO, f.Headroom(), v.want, v.wantGSO)
		}
	}
	for _, flag := range []int{unix.MSG_TRUNC, unix.MSG_CTRUNC} {
		r := newReader()
		r.arrive([vnet.HeaderLen]byte{}, plain, nil)
		r.messages[0].Hdr.Flags = int32(flag)
		if r.unpack(0); len(r.frames) != 0 || r.errors != 1 {
			t.Errorf("cut off: %d frames, %d errors", len(r.frames), r.errors)
		}
	}
}
