package station

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
)

// A Datagram is an L2TP packet as somebody else could make it: it goes out past
// the socket that has its port.
type Datagram struct {
	From, To netip.AddrPort // without ports: IP protocol 115 instead of UDP
	Payload  []byte
}

// Inject sends the datagram from the calling thread's network namespace.
func (d Datagram) Inject() error {
	network, payload := "115", d.Payload
	if d.To.Port() != 0 {
		network, payload = "17", d.udp()
	}
	if d.To.Addr().Is4() {
		network = "ip4:" + network
	} else {
		network = "ip6:" + network
	}
	conn, err := net.ListenIP(network, &net.IPAddr{IP: d.From.Addr().AsSlice()})
	if err != nil {
		return fmt.Errorf("inject: %w", err)
	}
	defer conn.Close()
	_, err = conn.WriteToIP(payload, &net.IPAddr{IP: d.To.Addr().AsSlice()})
	return err
}

// udp puts the header of RFC 768 in front of the payload.
func (d Datagram) udp() []byte {
	const protocol, headerLen = 17, 8
	length := headerLen + len(d.Payload)
	b := binary.BigEndian.AppendUint16(nil, d.From.Port())
	b = binary.BigEndian.AppendUint16(b, d.To.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, 0, 0)
	b = append(b, d.Payload...)

	pseudo := append(d.From.Addr().AsSlice(), d.To.Addr().AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(length))
	pseudo = binary.BigEndian.AppendUint32(pseudo, protocol)
	sum := ^fold(add(add(0, pseudo), b))
	if sum == 0 {
		sum = 0xffff // 0 would mean that there is none
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// add adds 16-bit words to a sum as RFC 1071 has it.
func add(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// Ping asks an address of the other end's kernel for an echo, after ARP.
func Ping(address netip.Addr) error {
	out, err := exec.Command("ping", "-n", "-c", "2", "-i", "0.1", "-W", "3", address.String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ping %s: %w: %s", address, err, out)
	}
	return nil
}
