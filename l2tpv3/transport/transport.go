// Package transport moves datagrams of L2TP over UDP and over IP protocol 115,
// IPv4 and IPv6, in batches. RFC 3931 section 4.1.
package transport

import (
	"net/netip"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A Config says what socket to open. Its values are comparable: tunnels whose
// Config is equal share one Conn.
type Config struct {
	Encap wire.Encap

	// Local is the address to receive on. An unspecified address, 0.0.0.0 or
	// ::, means any of that family. The port is 0 for wire.IP.
	Local netip.AddrPort

	ReceiveBuffer int // octets, as SO_RCVBUF counts them; 0: 4 MiB
	SendBuffer    int // octets, as SO_SNDBUF counts them; 0: 4 MiB

	// Fragment lets the outer packet be fragmented. By default it is not:
	// DF is set, and a frame too large for the path is dropped and counted.
	Fragment bool

	// UDP checksums, named and meant as Linux's L2TP has them.
	NoUDPChecksum      bool // udp_csum = false: send over IPv4 with checksum zero
	UDP6ZeroChecksumTx bool // udp6_zero_csum_tx: the same over IPv6
	UDP6ZeroChecksumRx bool // udp6_zero_csum_rx: accept zero over IPv6
}

// A Datagram is one datagram as it came, the outer headers taken off. Its Frame
// knows the ReceivedDSCP over IPv4 and protocol 115, where the IP header is read
// anyway, and else once Conn.ReceiveDSCP was called.
type Datagram struct {
	From  netip.AddrPort // the port is 0 for wire.IP
	To    netip.Addr     // which of our addresses it came to
	Frame pseudowire.Frame
}

// A Packet is one datagram to be sent: Head and then Body, either may be empty.
//
// The other two bits of the octet that the DSCP is in are ECN's, RFC 3168. They are
// 0 in all that is sent, whatever the frame says, and not looked at in what comes: a
// congestion that routers mark is not noticed, and they drop instead. RFC 6040 is
// not claimed.
type Packet struct {
	Head, Body []byte
	DSCP       pseudowire.DSCP // none: the path's
}

// Sent is what became of the packets of one Write. Packets add up to what was
// given; Err is the last refusal.
type Sent struct {
	Packets     int // handed to the network
	Octets      int // of those packets, Head and Body
	TooBig      int // larger than the path MTU and not to be fragmented
	Unreachable int // no route, or the local address is gone
	NoBuffer    int // the kernel had no room
	Failed      int // any other error
	Err         error
}

// defaultBuffer is the size of a socket's buffers where none is configured.
const defaultBuffer = 4 << 20

// ReceiveBufferSize returns the octets of receive buffer that are asked for.
func (c *Config) ReceiveBufferSize() int {
	if c.ReceiveBuffer == 0 {
		return defaultBuffer
	}
	return c.ReceiveBuffer
}

// SendBufferSize returns the octets of send buffer that are asked for.
func (c *Config) SendBufferSize() int {
	if c.SendBuffer == 0 {
		return defaultBuffer
	}
	return c.SendBuffer
}
