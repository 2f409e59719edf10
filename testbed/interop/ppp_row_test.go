package interop

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"spanwire/testbed/interop/station"
)

// pppColumns are what is tested of each row, in this order.
var pppColumns = []string{"up", "ping", "TCP", "UDP", "down", "messages", "numbers", "tshark"}

// A pppRow is a link of PPP over L2TPv2.
type pppRow struct {
	name     string
	lac, lns *xl2tpd
	sequence bool         // data has numbers
	close    func() error // closes the link from one side
	messages []string     // of the control connection, from its beginning to its end

	results map[string]error
}

// rows are all links, their ends ready to be started.
func (l *pppLab) rows() (rows []*pppRow, err error) {
	opened := []string{"SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN"}
	for _, auth := range []string{"pap", "chap", "mschap-v2"} {
		lns, err := l.xl2tpd("lns-"+auth, "eth1")
		if err != nil {
			return nil, err
		}
		n := l.hosts
		lns.lines = []string{fmt.Sprintf("ip range = 10.66.%d.10-10.66.%d.20", n, n), fmt.Sprintf("local ip = 10.66.%d.1", n), "challenge = yes"}
		lns.pppd = []string{"require-" + auth, "mtu 1400", "mru 1400"}
		lac, err := l.xl2tpd("lac-"+auth, "eth0")
		if err != nil {
			return nil, err
		}
		lac.lac = lns.address.String()
		lac.lines = []string{"autodial = yes"}
		lac.pppd = []string{"user alice", "password " + pppPassword, "noauth", "mtu 1400", "mru 1400"}
		r := &pppRow{name: "xl2tpd to xl2tpd, " + auth, lac: lac, lns: lns, results: map[string]error{}}
		switch auth {
		case "pap":
			r.close, r.messages = lac.hangUp, append(opened, "CDN 1", "StopCCN 1")
		case "chap":
			r.close, r.messages = func() error { return lac.order("d peer") }, append(opened, "StopCCN 1")
		case "mschap-v2":
			r.close, r.messages = lns.hangUp, append(opened, "CDN 1", "StopCCN 1")
			r.sequence = true
			lns.pppd = append(lns.pppd, "pppol2tp_send_seq", "pppol2tp_recv_seq")
		}
		if err := errors.Join(lns.write(), lac.write()); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// test does all that is tested while a row is up.
func (r *pppRow) test() {
	if err := errors.Join(r.lns.start(), r.lac.start()); err != nil {
		r.results["up"] = err
		return
	}
	a, b, err := r.ends()
	r.results["up"] = err
	if err != nil {
		return
	}
	r.carry(a, b)
	r.results["down"] = r.close()
	for _, x := range []*xl2tpd{r.lac, r.lns} {
		_, err := x.up(0, pppPatience)
		r.add("down", err)
	}
	r.add("down", errors.Join(r.lac.stop(), r.lns.stop()))
}

// judge looks at what went over the wire.
func (r *pppRow) judge(all map[[2]netip.Addr]dialogue) {
	key := [2]netip.Addr{r.lns.address, r.lac.address}
	if r.lac.address.Less(r.lns.address) {
		slices.Reverse(key[:])
	}
	d := all[key]
	r.results["tshark"] = d.faults()
	r.results["numbers"] = d.numbered(r.lns.address, r.lac.address, r.sequence)
	r.results["messages"] = nil
	if got := d.control(); !slices.Equal(got, r.messages) {
		r.results["messages"] = fmt.Errorf("%q, want %q", got, r.messages)
	}
}

func (r *pppRow) logs() string { return r.lns.logs() + r.lac.logs() }

func pppMatrix(rows []*pppRow) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "PPP over L2TPv2\t%s\n", strings.Join(pppColumns, "\t"))
	for _, r := range rows {
		fmt.Fprint(w, r.name)
		for _, c := range pppColumns {
			switch err, done := r.results[c]; {
			case !done:
				fmt.Fprint(w, "\tnot run")
			case err == nil:
				fmt.Fprint(w, "\tok")
			default:
				fmt.Fprint(w, "\tFAIL")
			}
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return b.String()
}

// A party is a host of the guest's, or ours.
type party interface {
	run(script string) (string, error)
	listen(what station.Talk, at netip.AddrPort, within time.Duration) (came func() error, err error)
	dial(what station.Talk, to netip.AddrPort, within time.Duration) error
}

// A pppEnd is an end of a link.
type pppEnd struct {
	party
	v4, v6 netip.Addr // as the other end reaches it
	mtu    int
}

// ends waits until the row is up.
func (r *pppRow) ends() (a, b pppEnd, err error) {
	ends := []*pppEnd{&a, &b}
	var zones []string
	for i, x := range []*xl2tpd{r.lac, r.lns} {
		links, err := x.up(1, pppPatience)
		if err != nil {
			return a, b, err
		}
		*ends[i] = pppEnd{x, links[0].Ours, links[0].LinkLocal, links[0].MTU}
		zones = append(zones, links[0].Device)
	}
	// A link-local address is in a zone of whoever uses it.
	a.v6, b.v6 = a.v6.WithZone(zones[1]), b.v6.WithZone(zones[0])
	return a, b, nil
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
	for _, way := range [][2]pppEnd{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		r.add("ping", pingSizes(from, to.v4, 0, 1000, mtu-icmp4))
		r.add("ping", pingSizes(from, to.v6, 0, 1000, mtu-icmp6))
		if r.results["ping"] != nil {
			return // dead: the rest would wait in vain
		}
		for at, header := range map[netip.Addr]int{to.v4: 20, to.v6: 40} {
			r.add("TCP", say(station.Flow{Seed: 1, Octets: 256 << 10}, from, to, at))
			r.add("UDP", say(station.Burst{Seed: 2, Count: 100, Largest: mtu - header - udp}, from, to, at))
		}
	}
}

func (r *pppRow) add(column string, err error) {
	r.results[column] = errors.Join(r.results[column], err)
}

// pingSizes asks an address in these sizes, without fragments.
func pingSizes(from party, to netip.Addr, sizes ...int) error {
	words := strings.Trim(fmt.Sprint(sizes), "[]")
	_, err := from.run(fmt.Sprintf("for s in %s; do ping -n -q -M do -c 1 -W 10 -s $s %s; done", words, to))
	return err
}

// say has one party say something to an address of the other's.
func say(what station.Talk, from, to party, at netip.Addr) error {
	address := netip.AddrPortFrom(at, pppTalkPort)
	came, err := to.listen(what, netip.AddrPortFrom(unspecified(at), pppTalkPort), pppPatience)
	if err != nil {
		return err
	}
	if err := from.dial(what, address, pppPatience); err != nil {
		return fmt.Errorf("to %s, %T: %w", address, what, err)
	}
	if err := came(); err != nil {
		return fmt.Errorf("at %s, %T: %w", address, what, err)
	}
	return nil
}

// unspecified is any address of the same family.
func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
