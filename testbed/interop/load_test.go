package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/interop/station"
)

// talkPort is where the rows' hosts listen, at their own addresses.
const talkPort = 7000

// talks are what the hosts of a row say to each other: here as super-frames of one
// kernel, there as the frames that another cuts and joins.
func talks(r row) map[string]station.Talk {
	return map[string]station.Talk{
		"TCP": station.Flow{Seed: uint64(r.index), Octets: 1 << 20},
		"UDP": station.Burst{Seed: uint64(r.index), Count: 200, Largest: r.mtu() - 28},
	}
}

func (b *bench) talkOut(r row, what station.Talk) error {
	_, them := r.inner()
	return b.talkTo(them.Addr(), what)
}

// talkTo has something said by a host here to an address of the guest.
func (b *bench) talkTo(them netip.Addr, what station.Talk) error {
	to := netip.AddrPortFrom(them, talkPort)
	return said(what, func(what station.Talk) error {
		came, err := b.remote.Listen(what, to, patience)
		if err != nil {
			return err
		}
		return errors.Join(b.host.Do(func() error { return what.Dial(to, patience) }), came())
	})
}

// said has something said, and what goes by UDP up to three times: an emulated guest
// loses a datagram by itself now and then. What the way there loses it loses each time.
func said(what station.Talk, say func(station.Talk) error) error {
	err := say(what)
	burst, ok := what.(station.Burst)
	for range 2 {
		if err == nil || !ok {
			break
		}
		burst.Seed += 1000
		err = say(burst)
	}
	return err
}

func (b *bench) talkIn(r row, what station.Talk) error {
	us, _ := r.inner()
	return b.talkFrom(us.Addr(), what)
}

// talkFrom has it said by the guest to an address here.
func (b *bench) talkFrom(us netip.Addr, what station.Talk) error {
	to := netip.AddrPortFrom(us, talkPort)
	return said(what, func(what station.Talk) error {
		var came func() error
		if err := b.host.Do(func() (err error) {
			came, err = what.Listen(to, patience)
			return err
		}); err != nil {
			return err
		}
		return errors.Join(b.remote.Dial(what, to, patience), came())
	})
}

// plain has the user make the TAPs of some rows, so that Spanwire has no super-frames
// there, and wants all that is said as it is.
func (b *bench) plain(t *testing.T) {
	b.stop(t)
	var some []row
	for _, r := range b.rows {
		if !r.sequence { // to whom the kernel has counted further
			some = append(some, r)
		}
	}
	err := b.host.Do(func() (err error) {
		for _, r := range some {
			tap := &netlink.Tuntap{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.TUNTAP_MODE_TAP}
			tap.Name = r.device()
			err = errors.Join(err, netlink.LinkAdd(tap))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	b.waitUp(t)
	for _, r := range some {
		for name, what := range talks(r) {
			if err := errors.Join(b.talkOut(r, what), b.talkIn(r, what)); err != nil {
				t.Errorf("%s: %s: %v", r, name, err)
			}
		}
	}
	b.stop(t)
	err = b.host.Do(func() (err error) {
		for _, r := range some {
			l, missing := netlink.LinkByName(r.device())
			if err = errors.Join(err, missing); missing == nil {
				err = errors.Join(err, netlink.LinkDel(l))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	b.waitUp(t)
}

// stop ends Spanwire.
func (b *bench) stop(t *testing.T) {
	t.Helper()
	b.spanwire.Process.Signal(syscall.SIGTERM)
	if err := b.spanwire.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A load is what iperf3 says of one of its runs.
type load struct {
	End struct {
		SumSent struct {
			Bytes       int64
			Retransmits int
		} `json:"sum_sent"`
		SumReceived struct {
			Bytes         int64
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct { // of UDP
			Packets     int
			LostPackets int `json:"lost_packets"`
		}
	}
	Error string
}

// What iperf3 carries in a run, so that its length is not that of the machine's
// patience: some 3000 segments, or 700 datagrams at a rate which no machine is too
// slow for.
const (
	loadTCP = "-J -n 4M"
	loadUDP = "-J -u -b 20M -n 1M"
)

// iperf3 has iperf3 go through Spanwire to the kernel and back, and in the guest
// through Spanwire alone and through the kernel alone: under its kernel, 6.1, TAPs
// have super-frames of TCP, and none of UDP. All must arrive, and hardly anything may
// have to be sent again.
func (b *bench) iperf3(t *testing.T) {
	const beside = `
sysctl -qw net.ipv6.conf.default.disable_ipv6=0
modprobe -a tun veth 8021q
beside() { # NAME: two hosts, NAMEa and NAMEb, on a wire
	for n in a b; do
		ip netns add $1$n
		ip -n $1$n link set lo up
	done
	ip -n $1a link add w0 type veth peer name w0 netns $1b
	ip -n $1a addr add 203.0.113.1/24 dev w0
	ip -n $1b addr add 203.0.113.2/24 dev w0
	ip -n $1a link set w0 up
	ip -n $1b link set w0 up
}
beside k
kernel() { # NAMESPACE LOCAL REMOTE
	ip netns exec $1 ip l2tp add tunnel tunnel_id 1 peer_tunnel_id 1 encap udp local 203.0.113.$2 remote 203.0.113.$3 udp_sport 1701 udp_dport 1701 udp_csum on
	ip netns exec $1 ip l2tp add session name pw0 tunnel_id 1 session_id $2 peer_session_id $3 cookie 000000000000000$2 peer_cookie 000000000000000$3 l2spec_type none
	ip -n $1 link set pw0 mtu 1438 up
	ip -n $1 addr add 10.0.0.$2/24 dev pw0
}
kernel ka 1 2
kernel kb 2 1
beside s
spanwire() { # NAMESPACE LOCAL REMOTE
	printf '[node]\nhostname = "%s"\ncontrol = "/run/%s.sock"\n[tunnel.t]\nlocal = "203.0.113.%s:1701"\npeer = "203.0.113.%s:1701"\n' $1 $1 $2 $3 >/run/$1.toml
	printf '[tunnel.t.session.s]\nsession_id = %s\npeer_session_id = %s\n' $2 $3 >>/run/$1.toml
	printf 'receive_cookie = "000000000000000%s"\nsend_cookie = "000000000000000%s"\ntap = "pw0"\naddresses = ["10.0.0.%s/24"]\n' $2 $3 $2 >>/run/$1.toml
	chmod 600 /run/$1.toml
	ip netns exec $1 /share/spanwire run -c /run/$1.toml >/dev/console 2>&1 &
}
spanwire sa 1 2
spanwire sb 2 1
for n in sa sb; do
	until ip -n $n addr show dev pw0 2>/dev/null | grep -q 10.0.0; do sleep 0.1; done
done
for n in ka kb sa sb; do
	ip -n $n link add link pw0 name vlan type vlan id 100
	ip -n $n link set vlan up
done
ip -n ka addr add 10.0.1.1/24 dev vlan
ip -n kb addr add 10.0.1.2/24 dev vlan
ip -n sa addr add 10.0.1.1/24 dev vlan
ip -n sb addr add 10.0.1.2/24 dev vlan
`
	if _, err := b.remote.Run(beside); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	w := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "iperf3\tTCP Mbit/s\tretransmits\tUDP lost\tof")
	// What is still under way at the end iperf3 does not count as come; the talks of
	// the matrix show that all comes.
	const segments, least, most = 3000, 1 << 20, 100
	report := func(name string, run func(args string) (string, error)) {
		var tcp, udp load
		for args, l := range map[string]*load{loadTCP: &tcp, loadUDP: &udp} {
			out, err := run(args)
			if err == nil {
				err = json.Unmarshal([]byte(out), l)
			}
			if err == nil && l.Error != "" { // which iperf3 exits with 0 from
				err = errors.New(l.Error)
			}
			if err != nil {
				t.Fatalf("%s: iperf3 %s: %v: %s", name, args, err, out)
			}
		}
		sent, came, udpSum := tcp.End.SumSent, tcp.End.SumReceived, udp.End.Sum
		fmt.Fprintf(w, "%s\t%.0f\t%d\t%d\t%d\n", name, came.BitsPerSecond/1e6, sent.Retransmits, udpSum.LostPackets, udpSum.Packets)
		if came.Bytes < least || sent.Retransmits > most {
			t.Errorf("%s: TCP: %d octets came, %d of some %d segments were sent again", name, came.Bytes, sent.Retransmits, segments)
		}
		if udpSum.Packets < 500 || udpSum.LostPackets > udpSum.Packets/10 {
			t.Errorf("%s: UDP: %d of %d datagrams lost", name, udpSum.LostPackets, udpSum.Packets)
		}
	}
	// A server has daemonised before it listens, and between two clients it does not.
	const server = "%[1]s iperf3 -s -1 -D; until %[1]s grep -q :1451 /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done; "
	for _, r := range b.rows {
		if r.cookie != 8 || r.sublayer {
			continue
		}
		_, them := r.inner()
		for _, way := range []string{"", " -R"} {
			report("Spanwire and kernel, "+r.String()+way, func(args string) (string, error) {
				if out, err := b.remote.Run(fmt.Sprintf(server, "")); err != nil {
					return out, err
				}
				return b.host.Run("iperf3", strings.Fields("-c "+them.Addr().String()+" "+args+way)...)
			})
		}
	}
	cuts := func() (yes bool) {
		out, err := b.remote.Run("ip netns exec sa /share/spanwire status --json --control /run/sa.sock")
		var s struct {
			Tunnels []struct {
				Socket struct {
					Segment *bool `json:"udp_segment"`
				}
			}
		}
		if err == nil {
			err = json.Unmarshal([]byte(out), &s)
		}
		if err != nil || len(s.Tunnels) != 1 || s.Tunnels[0].Socket.Segment == nil {
			t.Fatalf("status in the guest: %v: %s", err, out)
		}
		return *s.Tunnels[0].Socket.Segment
	}
	for _, v := range []struct{ name, kind, address, before string }{
		{"kernel and kernel, 6.1", "k", "10.0.0.2", ""},
		{"Spanwire and Spanwire, 6.1", "s", "10.0.0.2", ""},
		{"kernel and kernel, 6.1, VLAN", "k", "10.0.1.2", ""},
		{"Spanwire and Spanwire, 6.1, VLAN", "s", "10.0.1.2", ""},
		// For a device without checksums this kernel does not cut what sockets send.
		{"Spanwire and Spanwire, 6.1, one by one", "s", "10.0.0.2", "for n in sa sb; do ip netns exec $n /share/agent unsummed w0; done"},
	} {
		if v.before != "" {
			if !cuts() {
				t.Error("in the guest: the kernel does not cut what is sent")
			}
			if out, err := b.remote.Run(v.before); err != nil {
				t.Fatalf("%s: %v: %s", v.name, err, out)
			}
		}
		report(v.name, func(args string) (string, error) {
			const inside = "ip netns exec "
			return b.remote.Run(fmt.Sprintf(server, inside+v.kind+"b") + inside + v.kind + "a iperf3 -c " + v.address + " " + args)
		})
	}
	w.Flush()
	t.Log("\n" + lines.String())
	if cuts() {
		t.Error("in the guest: the kernel cuts for a device without checksums")
	}
	// That kernel gave super-frames: longer than a frame, on average.
	out, err := b.remote.Run("ip netns exec sa cat /sys/class/net/pw0/statistics/tx_bytes /sys/class/net/pw0/statistics/tx_packets")
	var octets, frames int
	if _, scan := fmt.Sscan(out, &octets, &frames); errors.Join(err, scan) != nil || octets < 2000*frames {
		t.Errorf("in the guest: %d octets in %d frames, %v; want super-frames", octets, frames, errors.Join(err, scan))
	}
}
