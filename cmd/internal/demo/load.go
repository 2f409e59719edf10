package demo

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// errNoAnswer is of a ping that was not answered.
var errNoAnswer = errors.New("no answer")

// ping sends echo requests to an address until one is answered, and returns how
// long the answer took.
func ping(to netip.Addr, limit time.Duration) (time.Duration, error) {
	network, protocol := "ip4:icmp", 1
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if to.Is6() {
		network, protocol = "ip6:ipv6-icmp", 58
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	c, err := icmp.ListenPacket(network, netip.IPv6Unspecified().String())
	if to.Is4() {
		c, err = icmp.ListenPacket(network, netip.IPv4Unspecified().String())
	}
	if err != nil {
		return 0, err
	}
	defer c.Close()
	id := os.Getpid() & 0xffff
	buf := make([]byte, 1500)
	for seq, end := 1, time.Now().Add(limit); time.Now().Before(end); seq++ {
		m := icmp.Message{Type: request, Body: &icmp.Echo{ID: id, Seq: seq, Data: []byte("spanwire")}}
		b, err := m.Marshal(nil)
		if err != nil {
			return 0, err
		}
		sent := time.Now()
		if _, err := c.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			time.Sleep(50 * time.Millisecond) // no neighbour or no carrier yet
			continue
		}
		c.SetReadDeadline(sent.Add(300 * time.Millisecond))
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				break
			}
			answer, err := icmp.ParseMessage(protocol, buf[:n])
			if err != nil || answer.Type != reply {
				continue
			}
			if e, ok := answer.Body.(*icmp.Echo); ok && e.ID == id && e.Seq == seq {
				return time.Since(sent), nil
			}
		}
	}
	return 0, fmt.Errorf("ping %s: %w within %v", to, errNoAnswer, limit)
}

const loadBlock = 128 << 10

// receive takes one TCP connection and returns the octets a second that came
// through it.
func receive(l net.Listener) (float64, error) {
	c, err := l.Accept()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	began := time.Now()
	c.SetDeadline(began.Add(10 * time.Second))
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, loadBlock))
	return float64(n) / time.Since(began).Seconds(), err
}

// transmit fills a TCP connection for a while.
func transmit(to string, length time.Duration) error {
	c, err := net.DialTimeout("tcp", to, 3*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(length))
	block := make([]byte, loadBlock)
	for {
		if _, err := c.Write(block); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
