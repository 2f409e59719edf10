package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// classes are what packets of a test ask for, one after another.
func classes() (packets []Packet, asked []pseudowire.DSCP) {
	const none = pseudowire.DSCP(0)
	of := pseudowire.DSCPOf
	asked = []pseudowire.DSCP{
		none, none, none, of(46), of(46), of(46), none, of(8), of(0), of(0), of(10), none, none, of(63), of(46), of(46),
	}
	for i, dscp := range asked {
		size := 300
		if i == 4 {
			size = 200 // the last of a run, though the next asks for the same
		}
		body := bytes.Repeat([]byte{byte(i + 1)}, size)
		packets = append(packets, Packet{Head: body[:size/3], Body: body[size/3:], DSCP: dscp})
	}
	return packets, asked
}

// testDSCP sends packets that ask for several DSCPs and for none, and wants each to
// come with its own, or the path's.
func testDSCP(t *testing.T, a, b *Conn) {
	if err := b.ReceiveDSCP(); err != nil {
		t.Fatal(err)
	}
	packets, asked := classes()
	r, w := b.NewReader(), a.NewWriter()
	cuts := a.segment.Load()
	for _, own := range []uint8{0, 10} {
		p, err := a.NewPath(PathConfig{Peer: b.LocalAddr(), DSCP: own})
		if err != nil {
			t.Fatal(err)
		}
		for _, cut := range []bool{true, false} { // by the kernel, if it does at all
			a.segment.Store(cuts && cut)
			if s := w.Write(p, packets); s.Packets != len(packets) {
				t.Fatalf("path of DSCP %d: %+v, want %d packets", own, s, len(packets))
			}
			for n := 0; n < len(packets); {
				got, err := r.Read(time.Now().Add(5 * time.Second))
				if err != nil {
					t.Fatalf("path of DSCP %d: after %d of %d: %v", own, n, len(packets), err)
				}
				for _, d := range got {
					want, is := asked[n].Value()
					if !is {
						want = own
					}
					octets := append(bytes.Clone(packets[n].Head), packets[n].Body...)
					if d.Frame.ReceivedDSCP != pseudowire.DSCPOf(want) || !bytes.Equal(d.Frame.Bytes(), octets) {
						t.Errorf("path of DSCP %d: datagram %d has %d octets, DSCP %#x; want %d, %#x", own, n,
							d.Frame.Len(), d.Frame.ReceivedDSCP, len(octets), pseudowire.DSCPOf(want))
					}
					n++
				}
			}
		}
	}
}

func TestDSCP(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			a, b := listen(t, k.a), listen(t, k.b)
			if k.name == "ip6" {
				b = a // raw sockets on one address all receive everything
			}
			testDSCP(t, a, b)
		})
	}
}

// TestDSCPOverAWire is TestDSCP over a device that cuts, and may join what it has cut.
func TestDSCPOverAWire(t *testing.T) {
	hostA, hostB := hosts(t)
	for _, k := range wired {
		t.Run(k.name, func(t *testing.T) { testDSCP(t, hostA.listen(t, k.a), hostB.listen(t, k.b)) })
	}
}

// TestRunsOfOneDSCP looks at the messages that packets become.
func TestRunsOfOneDSCP(t *testing.T) {
	packets, _ := classes()
	for _, v := range []struct {
		encap wire.Encap
		want  []int
	}{
		{wire.UDP, []int{3, 2, 1, 1, 1, 2, 1, 2, 1, 2}},
		{wire.IP, slices.Repeat([]int{1}, len(packets))},
	} {
		for _, own := range []uint8{0, 10} {
			c := listen(t, at(v.encap, "127.0.0.1:0"))
			w := c.NewWriter()
			peer := netip.MustParseAddrPort("127.0.0.2:1701")
			p, err := c.NewPath(PathConfig{Peer: peer, DSCP: own})
			if err != nil {
				t.Fatal(err)
			}
			n := w.pack(p, packets, 0)
			if got := w.packets[:n]; !slices.Equal(got, v.want) {
				t.Errorf("%v: runs of %v, want %v", v.encap, got, v.want)
			}
			// A packet as the path says costs no control message that the path has not.
			if without, with := w.messages[0].Hdr.Controllen, w.messages[n-1].Hdr.Controllen; own == 0 && v.encap == wire.IP && (without != 0 || with == 0) {
				t.Errorf("%d octets of control messages without a DSCP, %d with one; want none, and some", without, with)
			}
		}
	}
}

// TestDSCPUnasked wants it not told by who was not asked for it, unless the header
// is read anyway.
func TestDSCPUnasked(t *testing.T) {
	for _, k := range kinds {
		a, b := listen(t, k.a), listen(t, k.b)
		if k.name == "ip6" {
			b = a
		}
		packet := Packet{Body: []byte("x"), DSCP: pseudowire.DSCPOf(46)}
		a.NewWriter().Write(path(t, a, b.LocalAddr()), []Packet{packet})
		want := pseudowire.DSCP(0)
		if k.name == "ip4" {
			want = packet.DSCP
		}
		if _, d := read(t, b.NewReader(), 1); d.Frame.ReceivedDSCP != want {
			t.Errorf("%s: DSCP %#x, want %#x", k.name, d.Frame.ReceivedDSCP, want)
		}
	}
	c := listen(t, at(wire.UDP, "127.0.0.1:0"))
	c.Close()
	if err := c.ReceiveDSCP(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed Conn: %v, want %v", err, net.ErrClosed)
	}
}

// TestDSCPBesideECN has datagrams come whose ECN bits are set, and looks for them in
// what is sent.
func TestDSCPBesideECN(t *testing.T) {
	for _, v := range []struct {
		local              string
		level, class, tell int
	}{
		{"127.0.0.1:0", unix.SOL_IP, unix.IP_TOS, unix.IP_RECVTOS},
		{"[::1]:0", unix.SOL_IPV6, unix.IPV6_TCLASS, unix.IPV6_RECVTCLASS},
	} {
		peer, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(v.local)))
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		raw, _ := peer.SyscallConn()
		raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), v.level, v.class, 46<<2|3), unix.SetsockoptInt(int(fd), v.level, v.tell, 1))
		})
		if err != nil {
			t.Fatal(err)
		}
		c := listen(t, at(wire.UDP, v.local))
		if err := c.ReceiveDSCP(); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.WriteToUDPAddrPort([]byte("marked"), c.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		_, d := read(t, c.NewReader(), 1)
		if d.Frame.ReceivedDSCP != pseudowire.DSCPOf(46) {
			t.Errorf("%s: DSCP %#x, want %#x", v.local, d.Frame.ReceivedDSCP, pseudowire.DSCPOf(46))
		}
		c.NewWriter().Write(path(t, c, d.From), []Packet{{Body: []byte("answer"), DSCP: d.Frame.ReceivedDSCP}})
		peer.SetReadDeadline(time.Now().Add(5 * time.Second))
		oob := make([]byte, 256)
		_, n, _, _, err := peer.ReadMsgUDPAddrPort(make([]byte, 10), oob)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil {
			t.Fatal(err)
		}
		var octets []string
		for _, m := range messages {
			if int(m.Header.Type) == v.class {
				octets = append(octets, fmt.Sprint(m.Data[0]))
			}
		}
		if want := []string{fmt.Sprint(46 << 2)}; !slices.Equal(octets, want) {
			t.Errorf("%s: the answer's octet is %v, want %v", v.local, octets, want)
		}
	}
}
