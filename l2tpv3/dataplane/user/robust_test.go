package user

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/pseudowire/gso"
)

// bigFrame is one of TCP over IPv4 with so much payload, which begins with a number,
// to be cut into pieces of a size; tagged, it is of a VLAN.
func bigFrame(number uint32, payload, size int, tagged bool) pseudowire.Frame {
	at := pseudowire.Headroom
	b := make([]byte, at, at+18+40+payload)
	b = append(b, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1)
	if tagged {
		b = append(b, 0x81, 0, 0, 100)
	}
	b = append(b, 8, 0)
	ip := len(b)
	b = append(b, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2)
	binary.BigEndian.PutUint16(b[ip+2:], uint16(40+payload))
	tcp := len(b)
	b = append(b, 0x11, 0x51, 0x11, 0x52, 0, 0, 0, 0, 0, 0, 0, 9, 0x50, 0x10, 1, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[tcp+4:], number)
	sum := uint32(6 + 20 + payload) // of the pseudo-header
	for i := ip + 12; i < tcp; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[tcp+16:], uint16(sum))
	for i := range payload {
		b = append(b, byte(i*7+i>>8)+byte(number))
	}
	f := pseudowire.NewFrame(b, at)
	f.GSO = pseudowire.GSO{Kind: pseudowire.GSOTCPv4, HeaderLen: uint16(tcp + 20 - at), Size: uint16(size),
		ChecksumStart: uint16(tcp - at), ChecksumOffset: 16}
	return f
}

// pieces returns the frames that a super-frame stands for.
func pieces(t testing.TB, f pseudowire.Frame) (frames [][]byte) {
	t.Helper()
	var c gso.Cutter
	if err := c.Init(f); err != nil {
		t.Fatal(err)
	}
	for c.Count() > 0 {
		h, payload, _ := c.Next(nil)
		frames = append(frames, append(h, payload...))
	}
	return frames
}

// TestLongSuperFrames sends super-frames of 64 KB that the kernel cannot take as one
// message, for their octets or for their number of segments, among others and among
// plain frames: all frames come, in order and numbered.
func TestLongSuperFrames(t *testing.T) {
	const longest = 65535 - 40
	for _, size := range []int{0, 4, 8} {
		for _, sequencing := range []pseudowire.Sequencing{pseudowire.NoSequencing, pseudowire.AllSequencing} {
			t.Run(fmt.Sprintf("cookie %d, sequencing %v", size, sequencing), func(t *testing.T) {
				p := params(t)
				p.ReceiveCookie, p.SendCookie = newCookie(t, size), newCookie(t, size)
				if sequencing != pseudowire.NoSequencing {
					p.Sublayer, p.PeerSublayer = pseudowire.DefaultSublayer, pseudowire.DefaultSublayer
					p.Sequencing, p.PeerSequencing = sequencing, sequencing
				}
				a, b := newEnd(t, "127.0.0.1:0", p), newEnd(t, "127.0.0.2:0", mirror(p))
				a.reach(b.conn.LocalAddr())
				b.reach(a.conn.LocalAddr())
				total := 0
				for number, v := range []struct {
					payload, size, frames int
					tagged                bool
				}{
					{longest, 1448, 46, false}, // 67 KB with headers
					{longest, 1000, 66, true},  // more segments than one message has
					{longest, 500, 131, false},
					{longest, 100, 655, true}, // more packets than one batch has
					{longest, 9000, 8, false},
					{longest, 65000, 2, false},
					{1, 1448, 1, false},
				} {
					f := bigFrame(uint32(number), v.payload, v.size, v.tagged)
					want := pieces(t, f)
					plain, octets := frames(3)
					want = slices.Concat(octets[:1], want, octets[1:])
					if len(want) != v.frames+3 {
						t.Fatalf("%d frames of %d octets, want %d", len(want)-3, v.size, v.frames)
					}
					if n := a.link.Send([]pseudowire.Frame{plain[0], f, plain[1], plain[2]}); n != 4 {
						t.Errorf("Send took %d of 4", n)
					}
					b.got = nil
					b.take(len(want))
					if !slices.EqualFunc(b.got, want, bytes.Equal) {
						t.Errorf("%d octets in pieces of %d: what came differs from what went", v.payload, v.size)
					}
					total += len(want)
				}
				tx, rx := a.link.Stats(), b.link.Stats()
				if tx.TxPackets != uint64(total) || rx.RxPackets != uint64(total) || tx.TxBytes != rx.RxBytes || tx.Drops != rx.Drops ||
					rx.Drops != [pseudowire.Drops]uint64{} || rx.RxLost != 0 || rx.RxOOSPackets != 0 {
					t.Errorf("%d frames: sent %+v, received %+v", total, tx, rx)
				}
			})
		}
	}
}

// TestSuperFramesRefused counts all frames of super-frames that are not sent, for
// whatever reason, and those that are none once.
func TestSuperFramesRefused(t *testing.T) {
	p := params(t)
	send := func(e *end, frames ...pseudowire.Frame) (drops [pseudowire.Drops]uint64, sent uint64) {
		before := e.link.Stats()
		e.link.Send(frames)
		after := e.link.Stats()
		for i := range drops {
			drops[i] = after.Drops[i] - before.Drops[i]
		}
		return drops, after.TxPackets - before.TxPackets
	}
	want := func(what string, got [pseudowire.Drops]uint64, sent uint64, why pseudowire.Drop, dropped, went uint64) {
		t.Helper()
		all := [pseudowire.Drops]uint64{}
		all[why] = dropped
		if got != all || sent != went {
			t.Errorf("%s: %d sent, dropped %v; want %d, and %d %v", what, sent, got, went, dropped, why)
		}
	}
	plain, _ := frames(1)
	super := bigFrame(1, 30000, 1000, false)

	a, b := newEnd(t, "127.0.0.1:0", p), newEnd(t, "127.0.0.2:0", mirror(p))
	got, sent := send(a, super, plain[0])
	want("without a peer", got, sent, pseudowire.DropNoPeer, 2, 0)

	a.reach(b.conn.LocalAddr())
	bad := super
	bad.GSO.Size = 0
	worse := super
	worse.GSO.ChecksumStart = 60000
	cut := pseudowire.NewFrame(super.Bytes()[:30], 0)
	cut.GSO = super.GSO
	unsummed := pseudowire.NewFrame(plain[0].Bytes()[:60], 0)
	unsummed.GSO = pseudowire.GSO{ChecksumStart: 58, ChecksumOffset: 16}
	got, sent = send(a, bad, super, worse, plain[0], cut, unsummed, plain[0])
	want("among what is none", got, sent, pseudowire.DropMalformed, 4, 32)

	strange, err := a.conn.NewPath(transport.PathConfig{Peer: b.conn.LocalAddr(), Local: netip.MustParseAddr("192.0.2.77")})
	if err != nil {
		t.Fatal(err)
	}
	a.link.SetPath(a.conn, strange)
	got, sent = send(a, super, plain[0])
	want("from nobody's address", got, sent, pseudowire.DropUnreachable, 31, 0)

	a.reach(b.conn.LocalAddr())
	// With headers it is longer than any IP packet.
	long := pseudowire.NewFrame(make([]byte, pseudowire.Headroom+65530), pseudowire.Headroom)
	got, sent = send(a, super, long, plain[0])
	want("too long", got, sent, pseudowire.DropTooBig, 1, 31)

	a.conn.Close()
	got, sent = send(a, super, plain[0], super)
	want("closed", got, sent, pseudowire.DropSend, 61, 0)
}

// TestSuperFramesOfManyLinks has the Links of one Conn, with two peers, send at once:
// each session's frames come in their order, and nobody's are others'.
func TestSuperFramesOfManyLinks(t *testing.T) {
	const links, rounds = 6, 30
	hub := newEnd(t, "127.0.0.1:0", params(t))
	type far struct {
		*end
		links [links]*Link
		got   [links][][]byte
	}
	peers := [2]*far{}
	var work sync.WaitGroup
	for i := range peers {
		p := params(t)
		p.SessionID, p.PeerSessionID = 1, 1
		peers[i] = &far{end: newEnd(t, fmt.Sprintf("127.0.0.%d:0", i+2), p)}
	}
	open := func(plane *Plane, p dataplane.Params) *Link {
		l, err := plane.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		return l.(*Link)
	}
	var wanted [2][links][][]byte
	for i, peer := range peers {
		for j := range links {
			p := params(t)
			p.SessionID, p.PeerSessionID = uint32(10000*(i+1)+j), uint32(20000*(i+1)+j)
			p.ReceiveCookie, p.SendCookie = newCookie(t, 4*(j%3)), newCookie(t, 4*(j%3))
			if j >= 3 {
				p.Sublayer, p.PeerSublayer = pseudowire.DefaultSublayer, pseudowire.DefaultSublayer
				p.Sequencing, p.PeerSequencing = pseudowire.AllSequencing, pseudowire.AllSequencing
			}
			near := open(hub.plane, p)
			to, err := hub.conn.NewPath(transport.PathConfig{Peer: peer.conn.LocalAddr()})
			if err != nil {
				t.Fatal(err)
			}
			near.SetPath(hub.conn, to)
			peer.links[j] = open(peer.plane, mirror(p))
			back, err := peer.conn.NewPath(transport.PathConfig{Peer: hub.conn.LocalAddr()})
			if err != nil {
				t.Fatal(err)
			}
			peer.links[j].SetPath(peer.conn, back)
			peer.links[j].Attach(func(frames []pseudowire.Frame) int {
				for _, f := range frames {
					peer.got[j] = append(peer.got[j], bytes.Clone(f.Bytes()))
				}
				return len(frames)
			})
			work.Go(func() {
				for k := range rounds {
					f := bigFrame(uint32(i*links+j)<<16+uint32(k), 3000+500*j, 700+100*j, k%2 == 0)
					wanted[i][j] = append(wanted[i][j], pieces(t, f)...)
					near.Send([]pseudowire.Frame{f})
					time.Sleep(time.Millisecond) // for the readers, whose buffer is not without end
				}
			})
		}
	}
	for _, peer := range peers {
		work.Go(func() {
			for {
				d, err := peer.reader.Read(time.Now().Add(time.Second))
				if err != nil {
					return
				}
				for i := range d {
					_, id, rest := wire.Classify(wire.UDP, d[i].Frame.Bytes())
					d[i].Frame = d[i].Frame.Skip(d[i].Frame.Len() - len(rest))
					peer.receiver.Receive(&d[i], id)
				}
				peer.receiver.Flush(time.Now())
			}
		})
	}
	work.Wait()
	for i, peer := range peers {
		for j := range links {
			if !slices.EqualFunc(peer.got[j], wanted[i][j], bytes.Equal) {
				t.Errorf("peer %d, link %d: %d frames came, want %d, or others", i, j, len(peer.got[j]), len(wanted[i][j]))
			}
			if s := peer.links[j].Stats(); s.Drops != [pseudowire.Drops]uint64{} || s.RxLost+s.RxOOSPackets != 0 {
				t.Errorf("peer %d, link %d: %+v", i, j, s)
			}
		}
	}
}
