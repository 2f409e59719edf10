// Package dataplane says what a session needs carried, whichever plane carries
// it, and what a plane counts.
package dataplane

import (
	"fmt"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// Params are the parameters of a session's data messages. They are configured
// for a static session and negotiated for a dynamic one.
type Params struct {
	Name          string // for logs: "paris/office"
	SessionID     uint32 // ours: what the peer puts in front, never 0
	PeerSessionID uint32 // the peer's: what we put in front, never 0
	ReceiveCookie cookie.Cookie
	SendCookie    cookie.Cookie
	Pseudowire    pseudowire.Type

	// Sublayer and Sequencing are what we require of what we receive, as our
	// AVPs say, and PeerSublayer and PeerSequencing what the peer requires of
	// what we send, as its AVPs say. RFC 3931 section 5.4.4: "the L2-Specific
	// Sublayer the sender of this AVP requires on all incoming data packets".
	Sublayer       pseudowire.Sublayer
	Sequencing     pseudowire.Sequencing
	PeerSublayer   pseudowire.Sublayer
	PeerSequencing pseudowire.Sequencing

	// ReorderTimeout is how long a frame that came early waits for those
	// before it; 0 delivers it at once. RFC 3931 appendix C.
	ReorderTimeout time.Duration
}

// Check reports what is wrong with the parameters themselves.
func (p *Params) Check() error {
	switch {
	case p.SessionID == 0:
		return fmt.Errorf("session_id: 0 is reserved for control messages, RFC 3931 section 4.1")
	case p.PeerSessionID == 0:
		return fmt.Errorf("peer_session_id: 0 is reserved for control messages, RFC 3931 section 4.1")
	case p.Sublayer > pseudowire.DefaultSublayer || p.PeerSublayer > pseudowire.DefaultSublayer:
		return fmt.Errorf("sublayer: %s for what we receive, %s for what we send, want none or default", p.Sublayer, p.PeerSublayer)
	case p.Sequencing > pseudowire.AllSequencing || p.PeerSequencing > pseudowire.AllSequencing:
		return fmt.Errorf("sequencing: %s for what we receive, %s for what we send, want none, non-ip or all", p.Sequencing, p.PeerSequencing)
	case p.Sequencing != pseudowire.NoSequencing && p.Sublayer == pseudowire.NoSublayer:
		return fmt.Errorf("sequencing %q of what we receive needs the default sublayer there, which carries the number, RFC 3931 section 4.6", p.Sequencing)
	case p.PeerSequencing != pseudowire.NoSequencing && p.PeerSublayer == pseudowire.NoSublayer:
		return fmt.Errorf("sequencing %q of what we send needs the default sublayer there, which carries the number, RFC 3931 section 4.6", p.PeerSequencing)
	case p.ReorderTimeout < 0:
		return fmt.Errorf("reorder_timeout: %v, want 0 or more", p.ReorderTimeout)
	case p.ReorderTimeout > 0 && p.Sequencing == pseudowire.NoSequencing:
		return fmt.Errorf("reorder_timeout: nothing to reorder by without sequencing of what we receive")
	}
	return nil
}

// Overhead returns how many octets stand between the front of the outer IP
// packet and the front of the frame in what we send. The outer header is IPv6's or IPv4's, by
// v6, without options.
func (p *Params) Overhead(e wire.Encap, v6 bool) int {
	ip := 20
	if v6 {
		ip = 40
	}
	return ip + e.TransportLen() + wire.DataHeaderLen(e, p.SendCookie.Len(), p.PeerSublayer)
}

// Stats are a session's counters since it was opened.
type Stats struct {
	TxPackets    uint64
	TxBytes      uint64 // of frames, without the headers around them
	RxPackets    uint64
	RxBytes      uint64
	RxOOSPackets uint64 // out of sequence: early or old; accepted or not
	RxReordered  uint64 // early, held, and delivered in their place
	RxLost       uint64 // numbers skipped in the sequence
	Drops        [pseudowire.Drops]uint64
	LastReceived time.Time // zero: nothing yet
	Misread      bool      // what comes makes sense only four octets off: one side has a sublayer, the other none
}

// Add adds the counters of another Link of the same session.
func (s *Stats) Add(o *Stats) {
	s.TxPackets += o.TxPackets
	s.TxBytes += o.TxBytes
	s.RxPackets += o.RxPackets
	s.RxBytes += o.RxBytes
	s.RxOOSPackets += o.RxOOSPackets
	s.RxReordered += o.RxReordered
	s.RxLost += o.RxLost
	for i, n := range o.Drops {
		s.Drops[i] += n
	}
	if o.LastReceived.After(s.LastReceived) {
		s.LastReceived = o.LastReceived
	}
	s.Misread = o.Misread
}

// A Plane carries the frames of sessions. Sockets stay with their owner, which
// hands the plane the data messages that come out of them.
type Plane interface {
	// Open makes a Link. Its Session ID is unique in the plane.
	Open(Params) (Link, error)

	// OpenV2 makes the Link of a session of L2TPv2. Its Tunnel ID and Session ID
	// together are unique in the plane.
	OpenV2(ParamsV2) (LinkV2, error)

	// NewReceiver returns where the one goroutine that reads conn puts the
	// data messages it finds.
	NewReceiver(conn *transport.Conn) Receiver

	// Drop counts a datagram that belongs to no session, and Drops returns
	// how many there were.
	Drop(why pseudowire.Drop)
	Drops() [pseudowire.Drops]uint64
}

// A Link is one session in a plane. All methods are safe for concurrent use, and
// while frames flow. Several Links may deliver to one port, and a port may turn
// from one Link to another: what the port has handed to the former before it is
// closed is sent.
type Link interface {
	// Send sends frames to the peer and reports how many the network took; the
	// rest is counted as dropped. It uses them until it returns, and may
	// overwrite their headroom.
	Send([]pseudowire.Frame) int

	// Attach says where frames from the peer go; nil: nowhere. They may be used
	// until deliver returns, which reports how many of them it took. A former
	// deliver may be called once more for each batch that is being read.
	Attach(deliver func([]pseudowire.Frame) int)

	// SetPath says how the peer is reached, and from where alone its frames
	// are accepted. A nil path: it is not reachable now.
	SetPath(*transport.Conn, *transport.Path)

	Stats() Stats

	// LastReceived returns when a frame last came, as Stats does; whoever looks
	// after thousands of Links asks for no more.
	LastReceived() time.Time

	// Close takes the session out of the plane, whose Session ID is free from
	// then on. It waits for calls of deliver that run: when it returns, none
	// runs and none will begin, not even for frames that were received before
	// and held. So it must be called neither from deliver nor under a lock that
	// deliver waits for. A Send that runs may still send, a later one drops all.
	// Attach and SetPath then do nothing, Stats goes on.
	Close()
}

// A Receiver is fed by one goroutine.
type Receiver interface {
	// Receive takes a data message: d.Frame begins after the Session ID.
	Receive(d *transport.Datagram, sessionID uint32)

	// ReceiveV2 takes a data message of L2TPv2: d.Frame is the whole datagram,
	// whose T bit is 0 and Ver 2.
	ReceiveV2(d *transport.Datagram)

	// Flush delivers what Receive has gathered, and is called after the last
	// datagram of each batch and whenever the time that it returned has
	// come; the zero time: no need.
	Flush(now time.Time) time.Time
}
