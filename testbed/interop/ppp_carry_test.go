package interop

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"spanwire/testbed/interop/station"
)

// A party is a host of the guest's, or ours.
type party interface {
	run(script string) (string, error)
	listen(what station.Talk, at netip.AddrPort, within time.Duration) (came func() error, err error)
	dial(what station.Talk, to netip.AddrPort, within time.Duration) error
}

// A pppEnd is an end of a link.
type pppEnd struct {
	party
	device string
	v4, v6 netip.Addr // as the other end reaches it
	mtu    int
}

// Ports that tshark knows no protocol of.
const (
	pppTalkPort = 47000
	pppLoadPort = 47001
)

// carry has two ends ping each other, and speak by TCP and UDP, in sizes up to the MTU.
func (r *pppRow) carry(a, b pppEnd) {
	const udp, icmp4, icmp6 = 8, 20 + 8, 40 + 8
	mtu := min(a.mtu, b.mtu)
	if r.crowd != nil { // the rest is tested of others
		r.results["ping"] = pingSizes(b, a.v4, 0, mtu-icmp4)
		r.results["TCP"] = say(station.Flow{Seed: 1, Octets: 64 << 10}, b, a, a.v4)
		return
	}
	for _, way := range [][2]pppEnd{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		r.add("ping", pingSizes(from, to.v4, 0, mtu-icmp4))
		r.add("ping", pingSizes(from, to.v6, 0, mtu-icmp6))
		if r.results["ping"] != nil {
			return // dead: the rest would wait in vain
		}
		for at, header := range map[netip.Addr]int{to.v4: 20, to.v6: 40} {
			r.add("TCP", say(station.Flow{Seed: 1, Octets: 128 << 10}, from, to, at))
			r.add("UDP", said(station.Burst{Seed: 2, Count: r.burst(), Largest: mtu - header - udp}, func(what station.Talk) error { return say(what, from, to, at) }))
		}
	}
}

// burst is how many datagrams are sent at once: xl2tpd drops what its terminal has no
// room for.
func (r *pppRow) burst() int {
	for _, x := range r.hosts() {
		if x.terminal {
			return 20
		}
	}
	return 60
}

// press has iperf3 press a link from our end: by TCP both ways, and by UDP.
func press(ours, theirs pppEnd) error {
	// Of UDP half may be lost: the guest is emulated, and on a busy machine does not keep up.
	// That nothing is lost by itself carry wants, datagram by datagram.
	const octets, lost = 512 << 10, 2
	// A server has daemonised before it listens, and between two clients it does not.
	server := fmt.Sprintf("iperf3 -s -1 -D -p %d; until grep -q ':%04X 0*:0000 0A' /proc/net/tcp6; do sleep 0.1; done", pppLoadPort, pppLoadPort)
	for _, how := range []string{"-w 64K", "-w 64K -R", "-u -b 4M -l 1200", "-u -b 4M -l 1200 -R"} {
		if _, err := theirs.run(server); err != nil {
			return err
		}
		out, err := ours.run(fmt.Sprintf("iperf3 --json -c %s -p %d -n %d %s", theirs.v4, pppLoadPort, octets, how))
		if err != nil {
			return err
		}
		var said struct {
			End struct {
				Received struct{ Bytes int } `json:"sum_received"`
				UDP      *struct {
					Lost    int `json:"lost_packets"`
					Packets int
				} `json:"sum"`
			}
		}
		if err := json.Unmarshal([]byte(out), &said); err != nil {
			return err
		}
		switch u := said.End.UDP; {
		case u == nil && said.End.Received.Bytes < octets/4: // what is under way at the end does not count
			return fmt.Errorf("iperf3 %s: %d octets came, want %d: %s", how, said.End.Received.Bytes, octets, out)
		case u != nil && (u.Packets < octets/1200 || u.Lost > u.Packets/lost):
			return fmt.Errorf("iperf3 %s: %d of %d datagrams lost", how, u.Lost, u.Packets)
		}
	}
	return nil
}

// pingSizes asks an address in these sizes, without fragments.
func pingSizes(from party, to netip.Addr, sizes ...int) error {
	words := strings.Trim(fmt.Sprint(sizes), "[]")
	_, err := from.run(fmt.Sprintf("for s in %s; do ping -n -q -M do -c 1 -W 10 -s $s %s; done", words, to))
	return err
}

// say has one end say something to an address of the other's.
func say(what station.Talk, from, to pppEnd, at netip.Addr) error {
	listens := at
	if at.Zone() != "" {
		listens = at.WithZone(to.device)
	}
	came, err := to.listen(what, netip.AddrPortFrom(listens, pppTalkPort), pppPatience)
	if err != nil {
		return err
	}
	address := netip.AddrPortFrom(at, pppTalkPort)
	if err := from.dial(what, address, pppPatience); err != nil {
		return fmt.Errorf("to %s, %T: %w", address, what, err)
	}
	if err := came(); err != nil {
		return fmt.Errorf("at %s, %T: %w", address, what, err)
	}
	return nil
}
