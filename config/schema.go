package config

import (
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A field is one key of a section.
type field struct {
	key  string
	kind string // the types of value it may have
	set  setter
	need string // what is wanted where it is missing; empty: it is optional
}

// The MTU of a TAP, in octets: IPv4's least, RFC 791, and Linux's largest.
const leastMTU, mostMTU = 68, 65535 - 14

const (
	needID     = "an integer from 1 to 4294967295"
	needCookie = "what \"spanwire cookie\" prints, which makes a pair, or \"\" for none"
)

// nodeFields are the keys of [node].
func nodeFields(n *Node) []field {
	return []field{
		{"hostname", textType, text(&n.Hostname, hostname), ""},
		{"router_id", textType, ipv4(&n.RouterID), ""},
		{"control", textType, text(&n.Control, socketPath), ""},
		{"log_format", textType, choice(&n.LogFormat, itself, []string{"text", "json"}), ""},
		{"log_level", textType, choice(&n.LogLevel, itself, []string{"debug", "info", "warn", "error"}), ""},
	}
}

// tunnelFields are the keys of [tunnel.NAME]. What local and peer may be depends
// on encap, which is read before them.
func tunnelFields(t *Tunnel) []field {
	s := &t.Socket
	return []field{
		{"mode", textType, choice(&t.Mode, itself, []string{"static"}, "dial", "accept"), ""},
		{"encap", textType, choice(&s.Encap, wire.Encap.String, []wire.Encap{wire.UDP, wire.IP}), ""},
		{"local", textType, localAddress(t), ""},
		{"peer", textType, peerAddress(t), wantPeer(wire.UDP)},
		{"dscp", integerType, number(&t.DSCP, 0, 63), ""},
		{"ttl", integerType, number(&t.TTL, 0, 255), ""},
		{"df", booleanType, not(&s.Fragment), ""},
		{"udp_csum", booleanType, not(&s.NoUDPChecksum), ""},
		{"udp6_zero_csum_tx", booleanType, flag(&s.UDP6ZeroChecksumTx), ""},
		{"udp6_zero_csum_rx", booleanType, flag(&s.UDP6ZeroChecksumRx), ""},
		{"receive_buffer", textOrNumber, octets(&s.ReceiveBuffer), ""},
		{"send_buffer", textOrNumber, octets(&s.SendBuffer), ""},
	}
}

// sessionFields are the keys of [tunnel.NAME.session.NAME].
func sessionFields(s *Session) []field {
	q := &s.Params
	sublayers := []pseudowire.Sublayer{pseudowire.NoSublayer, pseudowire.DefaultSublayer}
	levels := []pseudowire.Sequencing{pseudowire.NoSequencing, pseudowire.NonIPSequencing, pseudowire.AllSequencing}
	return []field{
		{"pseudowire", textType, choice(&q.Pseudowire, pseudowire.Type.String, []pseudowire.Type{pseudowire.Ethernet},
			"vlan", "frame-relay", "hdlc", "ppp"), ""},
		{"session_id", integerType, number(&q.SessionID, 1, 1<<32-1), needID},
		{"peer_session_id", integerType, number(&q.PeerSessionID, 1, 1<<32-1), needID},
		{"receive_cookie", textType, cookieValue(&q.ReceiveCookie), needCookie},
		{"send_cookie", textType, cookieValue(&q.SendCookie), needCookie},
		{"sublayer", textType, choice(&q.Sublayer, pseudowire.Sublayer.String, sublayers), ""},
		{"sequencing", textType, choice(&q.Sequencing, pseudowire.Sequencing.String, levels), ""},
		{"reorder_timeout", textType, duration(&q.ReorderTimeout, time.Second), ""},
		{"tap", textType, text(&s.TAP, interfaceName), "the name of an interface"},
		{"bridge", textType, text(&s.Bridge, interfaceName), ""},
		{"mtu", textOrNumber, mtu(&s.MTU), ""},
		{"mac", textType, mac(&s.MAC), ""},
		{"addresses", arrayType, prefixes(&s.Addresses), ""},
	}
}
