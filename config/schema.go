package config

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A mode is how a tunnel is set up, or several ways.
type mode uint8

const (
	static mode = 1 << iota // by hand, on both sides
	dial                    // by a control connection that we ask for
	accept                  // by a control connection that the peer asks for

	lnsRole    // of PPP: users dial in
	clientRole // of PPP: we dial in

	dynamic = dial | accept
	every   = static | dynamic
)

var modeNames = []string{"static", "dial", "accept", "lns", "client"}

// modeOf returns the mode that has a name.
func modeOf(name string) mode {
	for i, n := range modeNames {
		if n == name {
			return 1 << i
		}
	}
	return 0
}

// String returns the name of the mode or, of several, the names.
func (m mode) String() string {
	var names []string
	for i, n := range modeNames {
		if m&(1<<i) != 0 {
			names = append(names, strconv.Quote(n))
		}
	}
	return strings.Join(names, " or ")
}

// Keys are fields that a section has in some modes.
type keys struct {
	modes  mode
	fields []field
}

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

// most is the most of what has no bound of its own.
const most = 1000000

// nodeFields are the keys of [node].
func nodeFields(n *Node) []keys {
	return []keys{{every, []field{
		{"hostname", textType, text(&n.Hostname, hostname), ""},
		{"router_id", textType, ipv4(&n.RouterID), ""},
		{"control", textType, text(&n.Control, socketPath), ""},
		{"log_format", textType, choice(&n.LogFormat, itself, []string{"text", "json"}), ""},
		{"log_level", textType, choice(&n.LogLevel, itself, []string{"debug", "info", "warn", "error"}), ""},
		{"half_open", integerType, number(&n.HalfOpen, 1, most), ""},
		{"request_rate", integerType, number(&n.RequestRate, 1, most), ""},
		{"metrics", textType, addressPort(&n.Metrics), ""},
	}}}
}

// modeField is the key of [tunnel.NAME] that says which others there are.
func modeField(t *Tunnel) field {
	return field{"mode", textType, choice(&t.Mode, itself, modeNames[:3]), ""}
}

// tunnelFields are the keys of [tunnel.NAME]. What local and peer may be depends
// on encap, which is read before them.
func tunnelFields(t *Tunnel, d *draft) []keys {
	s := &t.Socket
	c := &cmp.Or(t.Dynamic, new(l2tpv3.DynamicConfig)).Control
	dialects := []control.Dialect{control.Auto, control.IETF, control.Cisco}
	return []keys{
		{every, []field{
			modeField(t),
			{"version", textOrNumber, version(&d.versions), ""},
			{"encap", textType, choice(&s.Encap, wire.Encap.String, []wire.Encap{wire.UDP, wire.IP}), ""},
			{"local", textType, localAddress(t), ""},
		}},
		{static | dial, []field{
			{"peer", textType, peerAddress(t), wantPeer(wire.UDP)},
		}},
		{accept, []field{
			{"peer", textOrArray, peers(t, d), wantPeers},
		}},
		{every, []field{
			{"dscp", integerType, number(&t.DSCP, 0, 63), ""},
			{"ttl", integerType, number(&t.TTL, 0, 255), ""},
			{"df", booleanType, not(&s.Fragment), ""},
			{"udp_csum", booleanType, not(&s.NoUDPChecksum), ""},
			{"udp6_zero_csum_tx", booleanType, flag(&s.UDP6ZeroChecksumTx), ""},
			{"udp6_zero_csum_rx", booleanType, flag(&s.UDP6ZeroChecksumRx), ""},
			{"receive_buffer", textOrNumber, octets(&s.ReceiveBuffer), ""},
			{"send_buffer", textOrNumber, octets(&s.SendBuffer), ""},
		}},
		{dynamic, []field{
			{"pseudowire", textType, choice(new(pseudowire.Type), pseudowire.Type.String, []pseudowire.Type{pseudowire.PPP}), ""},
			{"ppp", textType, text(&d.ppp, pppName), ""},
			{"sequence", booleanType, flag(&d.sequence), ""},
			{"hostname", textType, text(&c.HostName, ourName), ""},
			{"router_id", textOrNumber, routerID(&c.RouterID), ""},
			{"peer_hostname", textType, text(&c.PeerHostName, peerName), ""},
			{"peer_router_id", textOrNumber, routerID(&c.PeerRouterID), ""},
			{"secret", textType, secretValue(&d.secret), ""},
			{"secret_file", textType, secretFile(&d.secretFile, d.dir), ""},
			{"next_secret", textType, secretValue(&d.next), ""},
			{"next_secret_file", textType, secretFile(&d.nextFile, d.dir), ""},
			{"digest", textType, choice(&d.digest, itself, []string{"auto", "sha1", "md5", "both", "none"}), ""},
			{"hide", booleanType, flag(&c.Hide), ""},
			{"hello", textType, duration(&c.Hello, 100*time.Millisecond, time.Hour), ""},
			{"retransmit_timeout", textType, duration(&c.Timeout, 10*time.Millisecond, time.Minute), ""},
			{"retransmit_cap", textType, duration(&c.MaxTimeout, 10*time.Millisecond, 10*time.Minute), ""},
			{"retransmit_limit", integerType, number(&c.Retries, 1, 1000), ""},
			{"receive_window", integerType, number(&c.ReceiveWindow, 1, 1024), ""},
			{"setup_timeout", textType, duration(&c.SetupTimeout, 100*time.Millisecond, time.Hour), ""},
			{"redial_min", textType, duration(&c.RedialMin, 10*time.Millisecond, time.Hour), ""},
			{"redial_max", textType, duration(&c.RedialMax, 10*time.Millisecond, 24*time.Hour), ""},
			{"session_limit", integerType, number(&c.SessionLimit, 1, most), ""},
			{"dialect", textType, choice(&c.Dialect, dialectName, dialects), ""},
			{"language", textType, text(&c.Language, language), ""},
		}},
		{dial, []field{
			{"dial_retransmit_limit", integerType, number(&c.DialRetries, 1, 1000), ""},
			{"redial_limit", integerType, number(&c.RedialLimit, 0, most), ""},
			{"tie_breaker", booleanType, not(&c.NoTieBreaker), ""},
		}},
		{accept, []field{
			{"peer_limit", integerType, number(&c.Limit, 1, most), ""},
		}},
	}
}

// sessionFields are the keys of [tunnel.NAME.session.NAME].
func sessionFields(s *Session, d *tags) []keys {
	q := &s.Params
	c := cmp.Or(s.Circuit, new(l2tpv3.Circuit))
	sublayers := []pseudowire.Sublayer{pseudowire.NoSublayer, pseudowire.DefaultSublayer}
	levels := []pseudowire.Sequencing{pseudowire.NoSequencing, pseudowire.NonIPSequencing, pseudowire.AllSequencing}
	return []keys{
		{every, []field{
			{"pseudowire", textType, choice(&q.Pseudowire, pseudowire.Type.String, Pseudowires), ""},
		}},
		{static, []field{
			{"session_id", integerType, number(&q.SessionID, 1, 1<<32-1), needID},
			{"peer_session_id", integerType, number(&q.PeerSessionID, 1, 1<<32-1), needID},
			{"receive_cookie", textType, cookieValue(&q.ReceiveCookie), needCookie},
			{"send_cookie", textType, cookieValue(&q.SendCookie), needCookie},
		}},
		{dynamic, []field{
			{"remote_end_id", textOrNumber, endID(&c.CircuitConfig), ""},
		}},
		{accept, []field{
			{"any_end_id", booleanType, flag(&c.AnyEndID), ""},
		}},
		{dynamic, []field{
			{"cookie_size", integerType, oneOf(&c.CookieSize, 0, 4, 8), ""},
			{"peer_cookie_size", integerType, oneOf(&c.PeerCookieSize, 0, 4, 8), ""},
			{"cookie_lifetime", textType, lifetime(&c.CookieLifetime), ""},
			{"cookie_overlap", textType, duration(&c.Overlap, 100*time.Millisecond, 10*time.Minute), ""},
		}},
		{every, []field{
			{"sublayer", textType, choice(&q.Sublayer, pseudowire.Sublayer.String, sublayers), ""},
			{"sequencing", textType, choice(&q.Sequencing, pseudowire.Sequencing.String, levels), ""},
			{"reorder_timeout", textType, duration(&q.ReorderTimeout, 0, time.Second), ""},
		}},
		{dial, []field{
			{"call", textType, choice(&c.Outgoing, callName, []bool{false, true}), ""},
		}},
		{dynamic, []field{
			{"initiate", booleanType, flag(&c.Initiate), ""},
			{"tie_breaker", booleanType, not(&c.NoTieBreaker), ""},
			{"tx_speed", textOrNumber, speed(&c.TxSpeed), ""},
			{"rx_speed", textOrNumber, speed(&c.RxSpeed), ""},
			{"physical_channel_id", integerType, number(&c.PhysicalChannelID, 1, 1<<32-1), ""},
		}},
		{static, []field{
			{"tap", textType, text(&s.TAP, interfaceName), ""},
		}},
		{dynamic, []field{
			{"tap", textType, tap(s), ""},
			{"carrier", textType, choice(&s.Carrier, itself, []string{"follow", "always"}), ""},
		}},
		{every, []field{
			{"interface", textType, text(&s.Interface, interfaceName), ""},
			{"serial", textType, text(&s.Serial, serialName), ""},
			{"hub", textType, text(&s.Hub, hubName), ""},
		}},
		{every, tapFields(&s.Attachment)},
		{every, ethernetFields(&s.Attachment, d)},
		{every, []field{
			{"dlci", integerType, number(&s.DLCI, 1, 1<<23-1), ""},
		}},
		{every, portFields(&s.Attachment)},
	}
}

// Pseudowires are the types that a session may be of.
var Pseudowires = []pseudowire.Type{pseudowire.Ethernet, pseudowire.EthernetVLAN, pseudowire.FrameRelay, pseudowire.HDLC, pseudowire.PPP}

func dialectName(d control.Dialect) string { return [...]string{"auto", "ietf", "cisco"}[d] }

func callName(outgoing bool) string {
	if outgoing {
		return "outgoing"
	}
	return "incoming"
}
