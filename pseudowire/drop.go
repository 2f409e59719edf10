package pseudowire

// A Drop is the reason for which a frame went no further. On the data path it
// stands where an error would: it allocates nothing and indexes a counter.
type Drop uint8

// The reasons. The zero value means that the frame was not dropped.
const (
	NotDropped Drop = iota

	// From the network.
	DropShort      // ends before its headers do
	DropVersion    // neither L2TPv3 nor, over UDP, L2TPv2
	DropControl    // a control message, and there is no tunnel here that has any
	DropBusy       // a control message for which there was no room
	DropSession    // a Session ID that was not assigned
	DropSource     // a session's frame from elsewhere than its peer
	DropCookie     // RFC 3931 section 8.2
	DropSequence   // old or duplicate, RFC 3931 appendix C
	DropRunt       // shorter than the header of the frame that it should be
	DropEgressVLAN // not of the circuit's VLAN
	DropDetached   // for a session that has nothing attached yet
	DropPortWrite  // the local segment refused it

	// To the network.
	DropNoPeer      // there is no peer yet to send it to
	DropInactive    // the peer's circuit is not active, RFC 3931 section 5.4.5
	DropIngressVLAN // not of the circuit's VLAN
	DropMalformed   // a super-frame of the kernel's that cannot be cut
	DropTooBig      // larger than the path's MTU, and may not be fragmented
	DropUnreachable // no route to the peer
	DropNoBuffer    // the kernel has no room
	DropSend        // any other refusal

	Drops // how many there are
)

var dropNames = [Drops]string{
	NotDropped:      "not_dropped",
	DropShort:       "rx_invalid",
	DropVersion:     "rx_version",
	DropControl:     "rx_control",
	DropBusy:        "rx_control_busy",
	DropSession:     "rx_unknown_session",
	DropSource:      "rx_wrong_peer",
	DropCookie:      "rx_cookie_discards",
	DropSequence:    "rx_seq_discards",
	DropRunt:        "rx_runts",
	DropEgressVLAN:  "rx_other_vlan",
	DropDetached:    "rx_detached",
	DropPortWrite:   "rx_errors",
	DropNoPeer:      "tx_no_peer",
	DropInactive:    "tx_peer_inactive",
	DropIngressVLAN: "tx_other_vlan",
	DropMalformed:   "tx_malformed",
	DropTooBig:      "tx_too_big",
	DropUnreachable: "tx_unreachable",
	DropNoBuffer:    "tx_no_buffer",
	DropSend:        "tx_errors",
}

// String returns the name of the reason's counter: the one that Linux's L2TP
// uses (linux/l2tp.h, L2TP_ATTR_STATS) where it counts the same thing.
func (d Drop) String() string {
	if d < Drops {
		return dropNames[d]
	}
	return "unknown"
}

// Incoming reports whether frames from the network are dropped for this reason.
func (d Drop) Incoming() bool { return d >= DropShort && d <= DropPortWrite }
