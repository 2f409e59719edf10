package user

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// lns are the parameters of an LNS.
var lns = dataplane.ParamsV2{Name: "phones#17/18", TunnelID: 0x11, SessionID: 0x12, PeerTunnelID: 0x21, PeerSessionID: 0x22, LNS: true}

// mirrorV2 returns those of the other side.
func mirrorV2(p dataplane.ParamsV2) dataplane.ParamsV2 {
	p.TunnelID, p.SessionID, p.PeerTunnelID, p.PeerSessionID = p.PeerTunnelID, p.PeerSessionID, p.TunnelID, p.SessionID
	p.LNS = !p.LNS
	return p
}

// An endV2 is an end whose session is of L2TPv2.
type endV2 struct {
	*end
	v2 *LinkV2
}

func newEndV2(t testing.TB, local string, p dataplane.ParamsV2) *endV2 {
	t.Helper()
	e := &endV2{end: bareEnd(t, local)}
	l, err := e.plane.OpenV2(p)
	if err != nil {
		t.Fatal(err)
	}
	e.v2 = l.(*LinkV2)
	e.attach(&e.v2.Link)
	return e
}

// pairV2 returns an LNS and its LAC, who reach each other.
func pairV2(t testing.TB, p dataplane.ParamsV2) (server, client *endV2) {
	t.Helper()
	server, client = newEndV2(t, "127.0.0.1:0", p), newEndV2(t, "127.0.0.2:0", mirrorV2(p))
	server.reach(client.conn.LocalAddr())
	client.reach(server.conn.LocalAddr())
	return server, client
}

// messageV2 makes a data message for p with a header like h.
func messageV2(p *dataplane.ParamsV2, h wire.DataHeaderV2, frame []byte) []byte {
	h.TunnelID, h.SessionID = p.TunnelID, p.SessionID
	return append(wire.AppendDataHeaderV2(nil, h, len(frame)), frame...)
}

// ns is the header of a message with a number.
func ns(n uint16) wire.DataHeaderV2 { return wire.DataHeaderV2{Sequenced: true, Ns: n} }

func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var peerV2 = netip.MustParseAddrPort("127.0.0.9:1701")

// wantFate gives an end a datagram and wants it delivered as the frame, or dropped.
func (e *endV2) wantFate(t testing.TB, name string, d transport.Datagram, frame []byte, why pseudowire.Drop) {
	t.Helper()
	drops := func() [pseudowire.Drops]uint64 {
		n := e.v2.Stats().Drops
		for i, more := range e.plane.Drops() {
			n[i] += more
		}
		return n
	}
	want := drops()
	if why != pseudowire.NotDropped {
		want[why]++
	}
	e.got = nil
	e.receiver.ReceiveV2(&d)
	e.receiver.Flush(time.Now())
	if got := drops(); got != want {
		t.Errorf("%s: drops %v, want %v", name, got, want)
	}
	switch {
	case why == pseudowire.NotDropped && (len(e.got) != 1 || !bytes.Equal(e.got[0], frame)):
		t.Errorf("%s: delivered %x, want %x", name, e.got, frame)
	case why != pseudowire.NotDropped && len(e.got) != 0:
		t.Errorf("%s: delivered %x, want nothing", name, e.got)
	}
}

// TestHeaderV2 has the header as RFC 2661 section 3.1 draws it, bit by bit, and what
// becomes of the message.
func TestHeaderV2(t *testing.T) {
	const short, version = pseudowire.DropShort, pseudowire.DropVersion
	e := newEndV2(t, "127.0.0.1:0", lns)
	e.reach(peerV2)
	for _, v := range []struct {
		name, hex, frame string
		why              pseudowire.Drop
	}{
		{"the shortest", "0002 0011 0012 ff03c021", "ff03c021", 0},
		{"no frame", "0002 0011 0012", "", 0},
		{"one octet short", "0002 0011 00", "", short},
		{"two octets", "0002", "", short},
		{"one octet", "00", "", short},
		{"nothing", "", "", short},

		{"T: a control message", "8002 0011 0012 ff03c021", "", version},
		{"T, L and S: a control message as it is", "c802 000c 0011 0012 0000 0000", "", version},

		{"L", "4002 000c 0011 0012 ff03c021", "ff03c021", 0},
		{"L, and no frame", "4002 0008 0011 0012", "", 0},
		{"L, less than came", "4002 000b 0011 0012 ff03c021", "ff03c0", 0},
		{"L, nothing of the frame", "4002 0008 0011 0012 ff03c021", "", 0},
		{"L, more than came", "4002 000d 0011 0012 ff03c021", "", short},
		{"L, all that there may be", "4002 ffff 0011 0012 ff03c021", "", short},
		{"L, less than the header", "4002 0007 0011 0012 ff03c021", "", short},
		{"L of 0", "4002 0000 0011 0012 ff03c021", "", short},
		{"L without the field", "4002 0006", "", short},
		{"L without the IDs", "4002 0004 0011", "", short},

		{"S", "0802 0011 0012 0000 0000 ff03c021", "ff03c021", 0},
		// "In data messages, Nr is reserved and, if present (as indicated by the
		// S-bit), MUST be ignored upon receipt."
		{"S, with an Nr", "0802 0011 0012 0001 ffff ff03c021", "ff03c021", 0},
		{"S without Nr", "0802 0011 0012 0002", "", short},
		{"S, Nr cut off", "0802 0011 0012 0002 00", "", short},
		{"S behind the Length", "4802 000b 0011 0012 0002 0000 ff03c021", "", short},

		{"O of 0", "0202 0011 0012 0000 ff03c021", "ff03c021", 0},
		{"O of 3", "0202 0011 0012 0003 aabbcc ff03c021", "ff03c021", 0},
		{"O up to the end", "0202 0011 0012 0003 aabbcc", "", 0},
		{"O beyond the end", "0202 0011 0012 0004 aabbcc", "", short},
		{"O, all that there may be", "0202 0011 0012 ffff aabbcc", "", short},
		{"O cut off", "0202 0011 0012 00", "", short},
		{"O beyond the Length", "4202 000b 0011 0012 0002 aabb ff03c021", "", short},
		{"O up to the Length", "4202 000c 0011 0012 0002 aabb ff03c021", "", 0},

		{"P", "0102 0011 0012 ff03c021", "ff03c021", 0},
		{"L, S, O and P", "4b02 0014 0011 0012 0003 0000 0002 aabb ff03c021 77", "ff03c021", 0},
		{"all there are, and reserved bits", "7ff2 0014 0011 0012 0004 0000 0002 aabb ff03c021 77", "ff03c021", 0},

		// "Packets received with an unknown Ver field MUST be discarded."
		{"Ver 0", "0000 0011 0012 ff03c021", "", version},
		{"Ver 1, L2F", "0001 0011 0012 ff03c021", "", version},
		{"Ver 3", "0003 0011 0012 ff03c021", "", version},
		{"Ver 15", "000f 0011 0012 ff03c021", "", version},

		{"another tunnel", "0002 0010 0012 ff03c021", "", pseudowire.DropSession},
		{"another session", "0002 0011 0013 ff03c021", "", pseudowire.DropSession},
		{"the IDs in the wrong order", "0002 0012 0011 ff03c021", "", pseudowire.DropSession},
		{"the peer's own IDs", "0002 0021 0022 ff03c021", "", pseudowire.DropSession},
		{"no tunnel", "0002 0000 0012 ff03c021", "", pseudowire.DropSession},
		{"no session", "0002 0011 0000 ff03c021", "", pseudowire.DropSession},
		{"neither", "0002 0000 0000 ff03c021", "", pseudowire.DropSession},
	} {
		e.wantFate(t, v.name, from(peerV2, octets(t, v.hex)), octets(t, v.frame), v.why)
	}
}

// TestEveryFirstWord has a message with each first word there is, and all the fields
// that its bits say.
func TestEveryFirstWord(t *testing.T) {
	e := newEndV2(t, "127.0.0.1:0", lns)
	e.reach(peerV2)
	frame, next := []byte{0xff, 0x03, 0xc0, 0x21, 9}, uint16(0)
	for word := range 1 << 16 {
		b := binary.BigEndian.AppendUint16(nil, uint16(word))
		if word&0x4000 != 0 {
			b = append(b, 0, 0)
		}
		b = append(b, 0, 0x11, 0, 0x12)
		if word&0x0800 != 0 {
			b = binary.BigEndian.AppendUint16(b, next)
			b = append(b, 0xab, 0xcd)
		}
		if word&0x0200 != 0 {
			b = append(b, 0, 2, 0xee, 0xee)
		}
		b = append(b, frame...)
		if word&0x4000 != 0 {
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			b = append(b, 0xdd, 0xdd, 0xdd)
		}
		why := pseudowire.NotDropped
		if word&0x800f != 2 {
			why = pseudowire.DropVersion
		} else if word&0x0800 != 0 {
			next++
		}
		if e.wantFate(t, fmt.Sprintf("%04x", word), from(peerV2, b), frame, why); t.Failed() {
			return
		}
	}
}

// TestEveryLength has every Length and every Offset Size in a message of 20 octets.
func TestEveryLength(t *testing.T) {
	e := newEndV2(t, "127.0.0.1:0", lns)
	e.reach(peerV2)
	for n := range 1 << 16 {
		b := octets(t, "4002 0000 0011 0012 000102030405060708090a0b")
		binary.BigEndian.PutUint16(b[2:], uint16(n))
		if n >= 8 && n <= len(b) {
			e.wantFate(t, fmt.Sprintf("Length %d", n), from(peerV2, b), b[8:n], 0)
		} else {
			e.wantFate(t, fmt.Sprintf("Length %d", n), from(peerV2, b), nil, pseudowire.DropShort)
		}
		b = octets(t, "0202 0011 0012 0000 000102030405060708090a0b")
		binary.BigEndian.PutUint16(b[6:], uint16(n))
		if 8+n <= len(b) {
			e.wantFate(t, fmt.Sprintf("Offset Size %d", n), from(peerV2, b), b[8+n:], 0)
		} else {
			e.wantFate(t, fmt.Sprintf("Offset Size %d", n), from(peerV2, b), nil, pseudowire.DropShort)
		}
		if t.Failed() {
			return
		}
	}
}

// TestWhatIsCutOffKeepsTheRest wants a frame that its Length shortens to have the DSCP
// and the headroom that it had, and what stands behind it, which is another's, as it
// was.
func TestWhatIsCutOffKeepsTheRest(t *testing.T) {
	e := newEndV2(t, "127.0.0.1:0", lns)
	e.reach(peerV2)
	message := octets(t, "4002 000a 0011 0012 ff03 5555")
	buf := append(make([]byte, 7), message...)
	var got pseudowire.Frame
	e.v2.Attach(func(f []pseudowire.Frame) int {
		got = f[0]
		return len(f)
	})
	d := transport.Datagram{From: peerV2, Frame: pseudowire.NewFrame(buf, 7)}
	d.Frame.ReceivedDSCP = pseudowire.DSCPOf(46)
	e.receiver.ReceiveV2(&d)
	e.receiver.Flush(time.Now())
	if !bytes.Equal(got.Bytes(), []byte{0xff, 0x03}) || got.Headroom() != 7+8 || got.ReceivedDSCP != pseudowire.DSCPOf(46) {
		t.Errorf("delivered %x, %d octets of headroom, DSCP %v", got.Bytes(), got.Headroom(), got.ReceivedDSCP)
	}
	if !bytes.Equal(buf[7:], message) {
		t.Errorf("%x became %x", message, buf[7:])
	}
}

// TestSourceV2 takes a session's messages from its peer alone, over the socket that it is
// reached by.
func TestSourceV2(t *testing.T) {
	e := newEndV2(t, "127.0.0.1:0", lns)
	message, frame := octets(t, "0002 0011 0012 ff03c021"), octets(t, "ff03c021")
	e.wantFate(t, "without a path", from(peerV2, message), nil, pseudowire.DropSource)
	e.reach(peerV2)
	e.wantFate(t, "from the peer", from(peerV2, message), frame, 0)
	for _, other := range []string{"127.0.0.10:1701", "127.0.0.9:1702", "[::1]:1701", "[::ffff:127.0.0.9]:1701"} {
		e.wantFate(t, "from "+other, from(netip.MustParseAddrPort(other), message), nil, pseudowire.DropSource)
	}
	// A number from elsewhere does not count.
	p := mirrorV2(lns)
	lac := newEndV2(t, "127.0.0.1:0", p)
	lac.reach(peerV2)
	lac.wantFate(t, "from elsewhere", from(netip.MustParseAddrPort("127.0.0.8:1701"), messageV2(&p, ns(9), frame)), nil, pseudowire.DropSource)
	if lac.v2.Numbering() {
		t.Error("a stranger had it send numbers")
	}

	// The peer is at another port: only that is good.
	moved := netip.MustParseAddrPort("127.0.0.9:4444")
	e.reach(moved)
	e.wantFate(t, "from where it was", from(peerV2, message), nil, pseudowire.DropSource)
	e.wantFate(t, "from where it is", from(moved, message), frame, 0)

	other := bareEnd(t, "127.0.0.1:0")
	e.receiver = e.plane.NewReceiver(other.conn).(*Receiver)
	e.wantFate(t, "over another socket", from(moved, message), nil, pseudowire.DropSource)
	e.receiver = e.plane.NewReceiver(e.conn).(*Receiver)
	e.v2.SetPath(nil, nil)
	e.wantFate(t, "without a path again", from(moved, message), nil, pseudowire.DropSource)
	e.v2.Close()
	e.wantFate(t, "closed", from(moved, message), nil, pseudowire.DropSession)
	if _, err := e.plane.OpenV2(lns); err != nil {
		t.Errorf("IDs not free after Close: %v", err)
	}
}

// TestOverUDPOnly has no path over IP protocol 115, which L2TPv2 does not have.
func TestOverUDPOnly(t *testing.T) {
	conn, err := transport.Listen(transport.Config{Encap: wire.IP, Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	path, err := conn.NewPath(transport.PathConfig{Peer: netip.MustParseAddrPort("127.0.0.9:0")})
	if err != nil {
		t.Fatal(err)
	}
	e := newEndV2(t, "127.0.0.1:0", lns)
	e.v2.SetPath(conn, path)
	if n := e.v2.Send(numbered(0)); n != 0 || e.v2.Stats().Drops[pseudowire.DropNoPeer] != 1 {
		t.Errorf("%d sent, drops %v", n, e.v2.Stats().Drops)
	}
}

// TestSentV2 wants the header that the RFC draws, with and without a number, over IPv4
// and IPv6.
func TestSentV2(t *testing.T) {
	for _, local := range []string{"127.0.0.1", "::1"} {
		ear, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local)})
		if err != nil {
			t.Fatal(err)
		}
		defer ear.Close()
		p := lns
		p.PeerTunnelID, p.PeerSessionID = 0xfedc, 0xba98
		e := newEndV2(t, netip.AddrPortFrom(netip.MustParseAddr(local), 0).String(), p)
		e.reach(netip.MustParseAddrPort(ear.LocalAddr().String()))
		send := func(headroom int) string {
			t.Helper()
			buf := append(bytes.Repeat([]byte{0xee}, headroom), 0xff, 0x03, 0xc0, 0x21)
			if n := e.v2.Send([]pseudowire.Frame{pseudowire.NewFrame(buf, headroom)}); n != 1 {
				t.Fatalf("not sent: %v", e.v2.Stats().Drops)
			}
			ear.SetReadDeadline(time.Now().Add(5 * time.Second))
			b := make([]byte, 2048)
			n, err := ear.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			return hex.EncodeToString(b[:n])
		}
		want := func(got, want string) {
			t.Helper()
			if want = strings.ReplaceAll(want, " ", ""); got != want {
				t.Errorf("%s: sent %s, want %s", local, got, want)
			}
		}
		for _, headroom := range []int{pseudowire.Headroom, 10, 6, 5, 0} {
			want(send(headroom), "0002 fedc ba98 ff03c021")
		}
		e.v2.Number(true)
		for i, headroom := range []int{pseudowire.Headroom, 10, 9, 6, 0} {
			want(send(headroom), fmt.Sprintf("0802 fedc ba98 %04x 0000 ff03c021", i))
		}
		e.v2.Number(false)
		want(send(10), "0002 fedc ba98 ff03c021")
		// "the sequence number state picks up where it left off before."
		e.v2.Number(true)
		want(send(10), "0802 fedc ba98 0005 0000 ff03c021")
		e.v2.out.next.Store(65535)
		want(send(10), "0802 fedc ba98 ffff 0000 ff03c021")
		want(send(10), "0802 fedc ba98 0000 0000 ff03c021")
		e.v2.out.next.Store(1<<32 - 1)
		want(send(10), "0802 fedc ba98 ffff 0000 ff03c021")
		want(send(10), "0802 fedc ba98 0000 0000 ff03c021")
		if s := e.v2.Stats(); s.TxPackets != 16 || s.TxBytes != 16*4 {
			t.Errorf("counted %d frames of %d octets, want 16 of 64", s.TxPackets, s.TxBytes)
		}
	}
}

// TestThereAndBackV2 sends frames both ways, with and without numbers.
func TestThereAndBackV2(t *testing.T) {
	for _, on := range []bool{false, true} {
		server, client := pairV2(t, lns)
		server.v2.Number(on)
		for _, way := range [][2]*endV2{{server, client}, {client, server}} {
			send, want := frames(150)
			if n := way[0].v2.Send(send); n != len(send) {
				t.Fatalf("Send took %d of %d", n, len(send))
			}
			way[1].take(len(send))
			if !slices.EqualFunc(way[1].got, want, bytes.Equal) {
				t.Fatal("what came differs from what went")
			}
			length := uint64(0)
			for _, f := range want {
				length += uint64(len(f))
			}
			tx, rx := way[0].v2.Stats(), way[1].v2.Stats()
			if tx.TxPackets != 150 || tx.TxBytes != length || rx.RxPackets != 150 || rx.RxBytes != length {
				t.Errorf("counted %d frames of %d octets out, %d of %d in; want 150 of %d", tx.TxPackets, tx.TxBytes, rx.RxPackets, rx.RxBytes, length)
			}
			if rx.Drops != [pseudowire.Drops]uint64{} || rx.LastReceived.IsZero() || rx.Misread {
				t.Errorf("%+v", rx)
			}
			if got := way[0].v2.Numbering(); got != on {
				t.Errorf("numbers: %v, want %v", got, on)
			}
		}
	}
}

// TestSwitching has the LNS switch numbers on and off, and the LAC follow. RFC 2661
// section 5.4: "if the LAC receives a data message without sequence numbers present, it
// MUST stop sending sequence numbers in future data messages. If the LAC receives a data
// message with sequence numbers present, it MUST begin sending sequence numbers in
// future outgoing data messages."
func TestSwitching(t *testing.T) {
	server, client := pairV2(t, lns)
	if server.v2.Numbering() || client.v2.Numbering() {
		t.Error("numbers before the LNS has them")
	}
	for i, on := range []bool{false, true, false, true, true, false, false, true} {
		server.v2.Number(on)
		was := client.v2.Numbering()
		client.v2.Number(!was) // it is not the LAC that decides
		if server.v2.Numbering() != on || client.v2.Numbering() != was {
			t.Errorf("%d: numbers at the LNS %v, at the LAC %v; want %v, %v", i, server.v2.Numbering(), client.v2.Numbering(), on, was)
		}
		server.v2.Send(numbered(0))
		client.take(1)
		if client.v2.Numbering() != on {
			t.Errorf("%d: the LNS sends numbers: %v, the LAC: %v", i, on, !on)
		}
		client.v2.Send(numbered(0))
		server.take(1)
		if server.v2.Numbering() != on {
			t.Errorf("%d: the LNS does as the LAC does", i)
		}
	}
	for _, e := range []*endV2{server, client} {
		if s := e.v2.Stats(); s.RxPackets != 8 || s.RxLost != 0 || s.RxOOSPackets != 0 || s.Drops != [pseudowire.Drops]uint64{} {
			t.Errorf("%+v", s)
		}
		if got := e.v2.out.next.Load(); got != 4 {
			t.Errorf("the next number is %d, want 4", got)
		}
	}
}

// TestSwitchWhileFramesFlow has an LNS switch numbers on and off, and paths set again,
// while both sides send: every frame arrives, whole.
func TestSwitchWhileFramesFlow(t *testing.T) {
	server, client := pairV2(t, lns)
	const frames, window = 2000, 50
	arrived := map[*endV2]*station{}
	var readers, senders, rest sync.WaitGroup
	for _, e := range []*endV2{server, client} {
		s := &station{times: make([]atomic.Int32, frames)}
		arrived[e] = s
		e.v2.Attach(s.Send)
		readers.Go(func() {
			for {
				d, err := e.reader.Read(time.Time{})
				if err != nil {
					return
				}
				for i := range d {
					e.put(d[i])
				}
				e.receiver.Flush(time.Now())
			}
		})
	}
	stop := make(chan struct{})
	rest.Go(func() {
		for on := true; ; on = !on {
			select {
			case <-stop:
				return
			default:
				server.v2.Number(on)
				client.v2.Number(on)
				client.v2.Numbering()
				server.reach(client.conn.LocalAddr())
				client.reach(server.conn.LocalAddr())
				time.Sleep(10 * time.Microsecond)
			}
		}
	})
	for _, way := range [][2]*endV2{{server, client}, {client, server}} {
		senders.Go(func() {
			for n := range frames {
				if way[0].v2.Send(numbered(n)) != 1 {
					t.Errorf("frame %d not sent", n)
				}
				for n%window == 0 && arrived[way[1]].arrived.Load() < int64(n) && !t.Failed() {
					time.Sleep(10 * time.Microsecond)
				}
			}
		})
	}
	senders.Wait()
	close(stop)
	rest.Wait()
	for _, e := range []*endV2{server, client} {
		arrived[e].await(t, frames)
		for i := range arrived[e].times {
			if n := arrived[e].times[i].Load(); n != 1 {
				t.Errorf("frame %d arrived %d times", i, n)
			}
		}
		if s := e.v2.Stats(); s.RxOOSPackets != 0 || s.RxLost != 0 || s.Drops != [pseudowire.Drops]uint64{} {
			t.Errorf("%+v", s)
		}
	}
	for _, on := range []bool{true, false} {
		server.v2.Number(on)
		server.v2.Send(numbered(0))
		arrived[client].await(t, frames+1)
		arrived[client].arrived.Store(frames)
		if client.v2.Numbering() != on {
			t.Errorf("the LAC sends numbers: %v, want %v", !on, on)
		}
	}
	server.conn.Close()
	client.conn.Close()
	readers.Wait()
}

// TestFollowsWhatIsLate has a LAC follow a message that it drops.
func TestFollowsWhatIsLate(t *testing.T) {
	p := mirrorV2(lns)
	e := newEndV2(t, "127.0.0.1:0", p)
	e.reach(peerV2)
	frame := []byte{0xff, 3}
	e.wantFate(t, "with a number", from(peerV2, messageV2(&p, ns(7), frame)), frame, 0)
	e.wantFate(t, "without", from(peerV2, messageV2(&p, wire.DataHeaderV2{}, frame)), frame, 0)
	if e.v2.Numbering() {
		t.Error("numbers after a message without")
	}
	e.wantFate(t, "late", from(peerV2, messageV2(&p, ns(7), frame)), nil, pseudowire.DropSequence)
	if !e.v2.Numbering() {
		t.Error("no numbers after a message with one")
	}
}

// TestRequired has numbers always there, whatever anybody says. RFC 2661 section 5.4: "If
// this AVP is present during session setup, sequence numbers MUST be present at all
// times."
func TestRequired(t *testing.T) {
	required := lns
	required.Sequence = true
	for _, p := range []dataplane.ParamsV2{required, mirrorV2(required)} {
		e := newEndV2(t, "127.0.0.1:0", p)
		e.reach(peerV2)
		frame := []byte{0xff, 3}
		want := func(what string) {
			t.Helper()
			if !e.v2.Numbering() {
				t.Errorf("LNS %v: no numbers %s", p.LNS, what)
			}
		}
		want("at the beginning")
		e.v2.Number(false)
		want("after they were switched off")
		e.wantFate(t, "without a number", from(peerV2, messageV2(&p, wire.DataHeaderV2{}, frame)), nil, pseudowire.DropSequence)
		want("after a message without")
		e.wantFate(t, "with a number", from(peerV2, messageV2(&p, ns(0), frame)), frame, 0)
		if s := e.v2.Stats(); s.RxOOSPackets != 0 || s.RxLost != 0 {
			t.Errorf("%+v", s)
		}
	}
	server, client := pairV2(t, required)
	client.v2.Send(numbered(1)) // before the LNS has sent anything
	server.take(1)
	server.v2.Send(numbered(2))
	client.take(1)
	if len(server.got) != 1 || len(client.got) != 1 {
		t.Errorf("%d, %d delivered", len(server.got), len(client.got))
	}
}

// TestSequenceV2 takes numbers in the order in which they come: late ones and those that
// come twice are dropped and counted, and those that never came.
func TestSequenceV2(t *testing.T) {
	for _, v := range []struct {
		name      string
		come      []uint16
		want      []uint16 // what is delivered
		lost, oos uint64
	}{
		{"in order", []uint16{0, 1, 2}, []uint16{0, 1, 2}, 0, 0},
		{"begun before", []uint16{40000, 40001}, []uint16{40000, 40001}, 0, 0},
		{"wrap", []uint16{65533, 65534, 65535, 0, 1}, []uint16{65533, 65534, 65535, 0, 1}, 0, 0},
		{"twice", []uint16{0, 1, 1, 2, 2, 2}, []uint16{0, 1, 2}, 0, 3},
		{"twice over the wrap", []uint16{65535, 0, 65535, 0, 1}, []uint16{65535, 0, 1}, 0, 2},
		{"loss", []uint16{0, 1, 5, 6}, []uint16{0, 1, 5, 6}, 3, 1},
		{"loss over the wrap", []uint16{65534, 2, 3}, []uint16{65534, 2, 3}, 3, 1},
		{"late", []uint16{0, 2, 1, 3}, []uint16{0, 2, 3}, 1, 2},
		{"late over the wrap", []uint16{65534, 0, 65535, 1}, []uint16{65534, 0, 1}, 1, 2},
		// "considered less than or equal to the last received number if its value
		// lies in the range of the last received number and the preceding 32767
		// values, inclusive. For example, if the last received sequence number was
		// 15, then messages with sequence numbers 0 through 15, as well as 32784
		// through 65535, would be considered less than or equal."
		{"the RFC's example: new", []uint16{15, 32783}, []uint16{15, 32783}, 32767, 1},
		{"the RFC's example: old", []uint16{15, 32784, 65535, 0, 15}, []uint16{15}, 0, 4},
		{"the peer counts anew", []uint16{1000, 0, 1, 2, 3, 4, 5}, []uint16{1000, 4, 5}, 0, 5},
		{"old ones without order stay old", []uint16{1000, 0, 2, 4, 6, 8, 10}, []uint16{1000}, 0, 6},
	} {
		e := newEndV2(t, "127.0.0.1:0", lns)
		e.reach(peerV2)
		for _, n := range v.come {
			e.put(from(peerV2, messageV2(&lns, ns(n), binary.BigEndian.AppendUint16(nil, n))))
		}
		e.receiver.Flush(time.Now())
		var got []uint16
		for _, f := range e.got {
			got = append(got, binary.BigEndian.Uint16(f))
		}
		s := e.v2.Stats()
		if dropped := uint64(len(v.come) - len(v.want)); !slices.Equal(got, v.want) || s.RxLost != v.lost || s.RxOOSPackets != v.oos || s.Drops[pseudowire.DropSequence] != dropped {
			t.Errorf("%s: delivered %v, %d lost, %d out of sequence, %d dropped; want %v, %d, %d, %d",
				v.name, got, s.RxLost, s.RxOOSPackets, s.Drops[pseudowire.DropSequence], v.want, v.lost, v.oos, dropped)
		}
	}
}

// TestLateAfterASilence has a late message after a silence: a session of L2TPv2 is not
// there before its peer's is, so no peer begins again in it.
func TestLateAfterASilence(t *testing.T) {
	e := newEndV2(t, "127.0.0.1:0", lns)
	e.reach(peerV2)
	frame := []byte{0xff, 3}
	e.wantFate(t, "the first", from(peerV2, messageV2(&lns, ns(7), frame)), frame, 0)
	time.Sleep(resyncSilence + 10*time.Millisecond)
	e.wantFate(t, "the same", from(peerV2, messageV2(&lns, ns(7), frame)), nil, pseudowire.DropSequence)
}

// TestAnotherSocketBeginsAnew moves a session to another socket and back: what comes over
// it begins where it begins, and what its former reader still has in hand is dropped.
func TestAnotherSocketBeginsAnew(t *testing.T) {
	e := newEndV2(t, "127.0.0.1:0", lns)
	other := bareEnd(t, "127.0.0.1:0")
	frame := []byte{0xff, 3}
	receivers := map[*transport.Conn]*Receiver{e.conn: e.receiver, other.conn: e.plane.NewReceiver(other.conn).(*Receiver)}
	first := uint16(40000)
	for _, conn := range []*transport.Conn{e.conn, other.conn, e.conn, other.conn} {
		path, err := conn.NewPath(transport.PathConfig{Peer: peerV2})
		if err != nil {
			t.Fatal(err)
		}
		e.v2.SetPath(conn, path)
		e.receiver = receivers[conn]
		for n := first; n < first+3; n++ {
			e.wantFate(t, fmt.Sprint(n), from(peerV2, messageV2(&lns, ns(n), frame)), frame, 0)
		}
		e.wantFate(t, "the same again", from(peerV2, messageV2(&lns, ns(first), frame)), nil, pseudowire.DropSequence)
		for c, r := range receivers { // which have passed the check of the source just before
			if c == conn {
				continue
			}
			if why := r.sequence(&e.v2.Link, pseudowire.NewFrame(frame, 0), uint32(first)+3); why != pseudowire.DropSource {
				t.Errorf("what came over the former socket: %v", why)
			}
		}
		first -= 10000 // it is older each time
	}
	if s := e.v2.Stats(); s.RxLost != 0 || s.RxOOSPackets != 4 {
		t.Errorf("%+v", s)
	}
}

// TestNumbersComeAndGo mixes messages with and without numbers: the latter are no part of
// the sequence.
func TestNumbersComeAndGo(t *testing.T) {
	e := newEndV2(t, "127.0.0.1:0", lns)
	e.reach(peerV2)
	frame := []byte{0xff, 3}
	for _, n := range []int{0, 1, -1, -1, 2, -1, 3} {
		h := wire.DataHeaderV2{}
		if n >= 0 {
			h = ns(uint16(n))
		}
		e.wantFate(t, fmt.Sprint(n), from(peerV2, messageV2(&lns, h, frame)), frame, 0)
	}
	if s := e.v2.Stats(); s.RxLost != 0 || s.RxOOSPackets != 0 {
		t.Errorf("%+v", s)
	}
}

// TestSequenceV2Property is the property behind the table: over a network that loses,
// doubles and delays, what is delivered goes forward, and is either that or dropped.
func TestSequenceV2Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sequence{mask: wire.SequenceMaskV2}
		first := rapid.Uint16().Draw(t, "first")
		sent, last, began := uint32(0), uint32(0), false
		delivered, lost, late := uint32(0), uint32(0), uint32(0)
		for range rapid.IntRange(1, 300).Draw(t, "messages") {
			// Either the next, or one of the last four again: never five late ones in a
			// row that follow each other.
			n := sent
			if sent > 4 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				n = sent - 1 - rapid.Uint32Range(0, 3).Draw(t, "back")
			} else {
				sent++
				if rapid.IntRange(0, 4).Draw(t, "lose") == 0 {
					continue
				}
			}
			v, missing, _ := s.judge((uint32(first)+n)&wire.SequenceMaskV2, false)
			switch {
			case v == old:
				if !began || n > last {
					t.Fatalf("%d is old after %d", n, last)
				}
				late++
				continue
			case began && n <= last:
				t.Fatalf("%d delivered after %d", n, last)
			case began && missing != n-last-1:
				t.Fatalf("%d missing between %d and %d", missing, last, n)
			case began:
				lost += missing
			default:
				began, delivered = true, n // those before the first
			}
			last = n
			delivered++
		}
		if began && delivered+lost != last+1 {
			t.Fatalf("%d delivered, %d lost of %d", delivered, lost, last+1)
		}
	})
}

// TestSuperFrameIsCutV2 cuts a super-frame into messages with numbers of their own.
func TestSuperFrameIsCutV2(t *testing.T) {
	for _, on := range []bool{false, true} {
		server, client := pairV2(t, lns)
		server.v2.Number(on)
		super := superFrame(60*1000+10, 1000)
		plain, octets := frames(2)
		want := slices.Concat(octets[:1], pieces(t, super), octets[1:])
		if n := server.v2.Send([]pseudowire.Frame{plain[0], super, plain[1], superFrame(3000, 0)}); n != 4 {
			t.Errorf("Send took %d of 4", n) // it counts what a super-frame stands for
		}
		client.take(len(want))
		if !slices.EqualFunc(client.got, want, bytes.Equal) {
			t.Errorf("numbers %v: what came differs from what went", on)
		}
		tx, rx := server.v2.Stats(), client.v2.Stats()
		if tx.Drops[pseudowire.DropMalformed] != 1 || tx.TxBytes != rx.RxBytes || rx.RxPackets != uint64(len(want)) || rx.RxLost != 0 || rx.RxOOSPackets != 0 {
			t.Errorf("sent %+v, received %+v", tx, rx)
		}
		if next := server.v2.out.next.Load(); on && next != uint32(len(want)) || !on && next != 0 {
			t.Errorf("numbers %v: the next is %d", on, next)
		}
	}
}

// TestAnswersFromWhereItIsSentTo has a socket that is bound to no address.
func TestAnswersFromWhereItIsSentTo(t *testing.T) {
	e := newEndV2(t, "0.0.0.0:0", lns)
	peer := newEndV2(t, "127.0.0.9:0", mirrorV2(lns))
	e.reach(peer.conn.LocalAddr())
	peer.reach(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), e.conn.LocalAddr().Port()))
	peer.v2.Send(numbered(0))
	e.take(1)
	e.v2.Send(numbered(0))
	peer.take(1) // which takes nothing from elsewhere
	if len(e.got) != 1 || len(peer.got) != 1 {
		t.Errorf("%d, %d delivered; drops %v", len(e.got), len(peer.got), peer.v2.Stats().Drops)
	}
}

func TestNothingIsAllocatedV2(t *testing.T) {
	for _, on := range []bool{false, true} {
		server, client := pairV2(t, lns)
		server.v2.Number(on)
		take := func(f []pseudowire.Frame) int { return len(f) }
		server.v2.Attach(take)
		client.v2.Attach(take)
		send, _ := frames(64)
		super := superFrame(20*1000, 1000)
		send = append(send, super)
		n := testing.AllocsPerRun(100, func() {
			server.v2.Send(send)
			client.take(64 + 20)
			client.v2.Send(send)
			server.take(64 + 20)
		})
		if n != 0 {
			t.Errorf("numbers %v: %v allocations for 168 frames sent and received, want 0", on, n)
		}
	}
	// Nor for what is malformed, cut off, of nobody or late, or has the LAC switch.
	p := mirrorV2(lns)
	e := newEndV2(t, "127.0.0.1:0", p)
	e.reach(peerV2)
	e.v2.Attach(func(f []pseudowire.Frame) int { return len(f) })
	messages := [][]byte{
		octets(t, "4002 ffff 0021 0022"), octets(t, "0002 0021 0023"), octets(t, "4002 0009 0021 0022 ff03c021"),
		octets(t, "0802 0021 0022 0001 0000 ff03"), octets(t, "0802 0021 0022 0001 0000 ff03"), octets(t, "0002 0021 0022 ff03"),
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, m := range messages {
			d := from(peerV2, m)
			e.receiver.ReceiveV2(&d)
		}
		e.receiver.Flush(time.Time{})
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// TestTableV2 opens every session of some tunnels and finds each, and no other.
func TestTableV2(t *testing.T) {
	plane := New()
	want := map[uint32]*LinkV2{}
	for _, tunnel := range []uint16{1, 2, 3, 255, 256, 0x8000, 65535} {
		for session := range uint16(2000) {
			p := lns
			p.TunnelID, p.SessionID = tunnel, session*31+1
			l, err := plane.OpenV2(p)
			if err != nil {
				t.Fatal(err)
			}
			want[bothIDs(p.TunnelID, p.SessionID)] = l.(*LinkV2)
		}
	}
	p := lns
	p.TunnelID, p.SessionID = 255, 32
	if _, err := plane.OpenV2(p); err == nil || !strings.Contains(err.Error(), "session ID 32 of tunnel ID 255 belongs to session phones#17/18 already") {
		t.Errorf("opened twice: %v", err)
	}
	// One of L2TPv3 with the same 32 bits is another.
	if _, err := plane.Open(dataplane.Params{SessionID: bothIDs(255, 32), PeerSessionID: 1}); err != nil {
		t.Error(err)
	}
	for tunnel := range uint32(4) {
		for session := range uint32(65536) {
			id := tunnel<<16 | session
			if l, w := plane.tableV2.lookup(id), want[id]; w == nil && l != nil || w != nil && l != &w.Link {
				t.Fatalf("session %d of tunnel %d: got %v, want %v", session, tunnel, l, w)
			}
		}
	}
	for _, l := range want {
		l.Close()
	}
	if plane.tableV2.live != 0 {
		t.Errorf("%d live after all were closed", plane.tableV2.live)
	}
	p.PeerTunnelID = 0
	if _, err := plane.OpenV2(p); err == nil {
		t.Error("opened without a tunnel ID of the peer")
	}
}

// TestProbes wants sessions found after few steps, however their IDs were given: one
// after the other or at random, few tunnels with many sessions or many with few.
func TestProbes(t *testing.T) {
	for _, v := range []struct {
		name string
		id   func(i int) uint32
	}{
		{"one tunnel, sessions in order", func(i int) uint32 { return bothIDs(1, uint16(i+1)) }},
		{"tunnels in order, one session each", func(i int) uint32 { return bothIDs(uint16(i+1), 1) }},
		{"tunnels in order, eight sessions each", func(i int) uint32 { return bothIDs(uint16(i/8+1), uint16(i%8+1)) }},
		{"tunnels in steps of 256, sessions in order", func(i int) uint32 { return bothIDs(uint16(i%200)<<8|1, uint16(i/200+1)) }},
		{"ID of the tunnel and of the session the same", func(i int) uint32 { return bothIDs(uint16(i+1), uint16(i+1)) }},
		{"at random", func(i int) uint32 { return uint32(i)*2246822519 ^ 0x5bd1e995 }},
	} {
		const sessions = 40000
		var tab table
		for i := range sessions {
			if other := tab.insert(&Link{rest: &rest{params: dataplane.Params{SessionID: v.id(i)}}}); other != nil {
				t.Fatalf("%s: ID %x twice", v.name, v.id(i))
			}
		}
		slots, probes, worst := *tab.slots.Load(), 0, 0
		for i := range sessions {
			id, n := v.id(i), 1
			for at := slotOf(id, len(slots)); slots[at].id != id || slots[at].link.Load() == nil; at = (at + 1) & (len(slots) - 1) {
				n++
			}
			probes += n
			worst = max(worst, n)
		}
		t.Logf("%s: %.2f steps, %d at most", v.name, float64(probes)/sessions, worst)
		if probes > 2*sessions {
			t.Errorf("%s: %.2f steps on average, want 2 at most", v.name, float64(probes)/sessions)
		}
	}
}

// FuzzReceiveV2 gives the plane whatever may come, and reads it by the letter of RFC 2661
// section 3.1, field by field, to know what is to become of it.
func FuzzReceiveV2(f *testing.F) {
	e := newEndV2(f, "127.0.0.1:0", lns)
	e.reach(peerV2)
	for _, seed := range []string{
		"", "0002 0011 0012 ff03", "4002 000a 0011 0012 ff03", "0802 0011 0012 0000 0000 ff03", "0202 0011 0012 0002 aabb ff03",
		"4b02 0014 0011 0012 0003 0000 0002 aabb ff03c021 77", "7ff2 0014 0011 0012 0004 0000 0002 aabb ff03c021 77", "4002 ffff 0011 0012", "c802 000c 0011 0012 0000 0000",
	} {
		f.Add(octets(f, seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, why := letter(b)
		if why == pseudowire.NotDropped && len(b) > 0 && b[0]&0x08 != 0 {
			// What a number means is for other tests: this one is the first.
			e.v2.order.Store(nil)
		}
		e.wantFate(t, hex.EncodeToString(b), from(peerV2, bytes.Clone(b)), frame, why)
	})
}

// letter takes the fields of a message for lns one after the other.
func letter(b []byte) (frame []byte, why pseudowire.Drop) {
	take := func(n int) (v int, ok bool) {
		if len(b) < n {
			return 0, false
		}
		for _, o := range b[:n] {
			v = v<<8 | int(o)
		}
		b = b[n:]
		return v, true
	}
	if len(b) < 6 {
		return nil, pseudowire.DropShort
	}
	word, _ := take(2)
	if word&0x8000 != 0 || word&15 != 2 {
		return nil, pseudowire.DropVersion
	}
	if word&0x4000 != 0 {
		length, ok := take(2)
		if !ok || length < 4 || length-4 > len(b) {
			return nil, pseudowire.DropShort
		}
		b = b[:length-4]
	}
	ids, ok := take(4)
	if ok && word&0x0800 != 0 {
		_, ok = take(4)
	}
	if ok && word&0x0200 != 0 {
		var padding int
		if padding, ok = take(2); ok {
			if ok = padding <= len(b); ok {
				b = b[padding:]
			}
		}
	}
	switch {
	case !ok:
		return nil, pseudowire.DropShort
	case ids != 0x110012:
		return nil, pseudowire.DropSession
	}
	return b, pseudowire.NotDropped
}
