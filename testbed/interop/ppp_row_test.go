package interop

import (
	"encoding/json"
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
var pppColumns = []string{"up", "ping", "TCP", "UDP", "iperf3", "status", "down", "messages", "numbers", "tshark"}

// A pppRow is a link of PPP over L2TPv2.
type pppRow struct {
	name     string  // in the guest too, and that of the tunnel, the profile and the user
	lac, lns *xl2tpd // nil: Spanwire is it
	spanwire *pppSpanwire
	inner    int      // number of the link's networks
	method   string   // of authentication, as Spanwire names it
	mppe     bool     // packets are encrypted
	sequence bool     // data has numbers
	load     bool     // by iperf3
	tunnel   []string // lines of Spanwire's [tunnel.NAME]
	profile  []string // and of [ppp.NAME]

	close    func(*pppRow) error // closes the link from one side
	messages []string            // of the control connection, from its beginning to its end
	goesOn   bool                // others follow
	stays    bool                // it is up until the end

	results map[string]error
}

// The networks of a row.
func (r *pppRow) lnsAddress() netip.Addr { return netip.AddrFrom4([4]byte{10, 66, byte(r.inner), 1}) }
func (r *pppRow) ipv6(n int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("fd00:66:%x:%x::1/64", r.inner, n))
}

// rows are all links, the files of both ends written.
func (l *pppLab) rows() (rows []*pppRow, err error) {
	opened := []string{"SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN"}
	then := func(more ...string) []string { return slices.Concat(opened, more) }
	add := func(name, method string) *pppRow {
		r := &pppRow{name: name, method: method, spanwire: l.spanwire, inner: len(rows) + 1, results: map[string]error{}}
		rows = append(rows, r)
		return r
	}
	host := func(name, cable string) *xl2tpd {
		x, e := l.xl2tpd(name, cable)
		err = errors.Join(err, e)
		return x
	}
	dialsIn := func(r *pppRow, pppd ...string) {
		r.lac = host(r.name, "eth0")
		r.lac.lac = pppOurs.String()
		r.lac.lines = []string{"autodial = yes"}
		r.lac.pppd = append(pppd, "user "+r.name, "noauth")
		r.tunnel = []string{`mode = "accept"`}
		r.profile = []string{`mode = "lns"`, fmt.Sprintf("auth = [%q]", r.method), fmt.Sprintf("address = %q", r.lnsAddress()),
			fmt.Sprintf(`pool = "10.66.%d.10-10.66.%[1]d.20"`, r.inner),
			fmt.Sprintf("ipv6_pool = [%q]", netip.PrefixFrom(r.ipv6(0x100).Addr(), 56).Masked()), fmt.Sprintf("addresses = [%q]", r.ipv6(0))}
	}
	dialled := func(r *pppRow, cable string, pppd ...string) {
		r.lns = host("lns-"+r.name, cable)
		r.lns.lines = []string{fmt.Sprintf("ip range = 10.66.%d.10-10.66.%[1]d.20", r.inner), fmt.Sprintf("local ip = %s", r.lnsAddress())}
		r.lns.pppd = append(pppd, "require-"+map[string]string{"pap": "pap", "chap": "chap", "mschapv2": "mschap-v2"}[r.method])
		r.tunnel = []string{`mode = "dial"`}
		r.profile = []string{`mode = "client"`, fmt.Sprintf("user = %q", r.name), fmt.Sprintf("password = %q", pppPassword), fmt.Sprintf("auth = [%q]", r.method)}
	}

	// How a link is closed.
	lacsPPP := func(r *pppRow) error { return r.lac.hangUp() }
	lacsTunnel := func(r *pppRow) error { return r.lac.order("d peer") }
	lnsPPP := func(r *pppRow) error { return r.lns.hangUp() }
	lnsTunnel := func(r *pppRow) error { return r.lns.stop() }
	oursPPP := func(r *pppRow) error { return r.spanwire.order("disconnect", r.name) }
	oursTunnel := func(r *pppRow) error { return r.spanwire.order("down", r.name) }

	r := add("peers", "mschapv2") // what fails here is no fault of Spanwire's
	dialsIn(r, "require-mppe-128")
	dialled(r, "eth1", "pppol2tp_send_seq", "pppol2tp_recv_seq", "require-mppe-128")
	r.lac.lac, r.sequence, r.mppe, r.lns.lines = r.lns.address.String(), true, true, append(r.lns.lines, "challenge = yes")
	r.close, r.messages = lacsPPP, then("CDN 1", "StopCCN 1")

	// Spanwire is the LNS.
	r = add("pap", "pap")
	dialsIn(r)
	r.close, r.messages, r.load = lacsPPP, then("CDN 1", "StopCCN 1"), true

	r = add("chap-secret", "chap")
	dialsIn(r)
	r.lac.lines = append(r.lac.lines, "challenge = yes", "hidden bit = yes")
	r.tunnel = append(r.tunnel, fmt.Sprintf("secret = %q", pppSecret))
	r.close, r.messages = lacsTunnel, then("StopCCN 1")

	r = add("mppe", "mschapv2")
	dialsIn(r, "require-mppe-128")
	r.mppe = true
	r.close, r.messages = oursPPP, then("CDN 3", "StopCCN 1")

	r = add("numbers", "mschapv2")
	dialsIn(r, "pppol2tp_recv_seq")
	r.sequence = true
	r.close, r.messages = oursTunnel, then("StopCCN 1")

	r = add("user-space", "chap")
	dialsIn(r)
	r.lac.terminal, r.lac.lines = true, append(r.lac.lines, "length bit = yes")
	r.stays, r.messages = true, then("CDN 3", "StopCCN 6")

	// Spanwire is the client.
	r = add("to-pap", "pap")
	dialled(r, "eth0")
	r.close, r.messages, r.goesOn = lnsPPP, then("CDN 1", "ICRQ", "ICRP", "ICCN"), true

	r = add("to-chap-secret", "chap")
	dialled(r, "eth0")
	r.lns.lines = append(r.lns.lines, "challenge = yes", "hidden bit = yes")
	r.tunnel = append(r.tunnel, fmt.Sprintf("secret = %q", pppSecret))
	r.close, r.messages, r.load = oursTunnel, then("StopCCN 1"), true

	r = add("to-mppe", "mschapv2")
	dialled(r, "eth0", "require-mppe-128")
	r.mppe = true
	r.close, r.messages, r.goesOn = lnsTunnel, then("StopCCN 1"), true

	r = add("to-numbers", "mschapv2")
	dialled(r, "eth0", "pppol2tp_send_seq", "pppol2tp_recv_seq")
	r.sequence = true
	r.close, r.messages = oursTunnel, then("StopCCN 1")

	r = add("to-user-space", "chap")
	dialled(r, "eth0")
	r.lns.terminal, r.lns.lines = true, append(r.lns.lines, "length bit = yes")
	r.stays, r.messages = true, then("CDN 3", "StopCCN 6")

	for _, r := range rows {
		for _, x := range r.hosts() {
			err = errors.Join(err, x.write())
		}
	}
	return rows, errors.Join(err, l.spanwire.write(rows))
}

// test does all that is tested while a row is up.
func (r *pppRow) test() {
	if r.lac != nil {
		if r.results["up"] = r.lac.start(); r.results["up"] != nil {
			return
		}
	}
	a, b, err := r.ends()
	r.results["up"] = err
	if err != nil {
		return
	}
	r.carry(a, b)
	switch {
	case r.load && r.lns == nil:
		r.results["iperf3"] = press(b, a)
	case r.load:
		r.results["iperf3"] = press(a, b)
	}
	if !r.isPeers() {
		r.results["status"] = r.check()
	}
	if r.stays {
		return
	}
	r.results["down"] = r.close(r)
	if r.results["down"] != nil {
		return
	}
	for _, x := range r.hosts() {
		r.add("down", x.down())
	}
	if !r.isPeers() {
		r.add("down", r.spanwire.down(r.name))
	}
	for _, x := range r.hosts() {
		r.add("down", x.stop())
	}
}

// isPeers says that the row is without Spanwire.
func (r *pppRow) isPeers() bool { return r.lac != nil && r.lns != nil }

// hosts are those in the guest.
func (r *pppRow) hosts() []*xl2tpd {
	return slices.DeleteFunc([]*xl2tpd{r.lac, r.lns}, func(x *xl2tpd) bool { return x == nil })
}

// addresses are those of the LAC and of the LNS.
func (r *pppRow) addresses() (lac, lns netip.Addr) {
	lac, lns = pppOurs, pppOurs
	if r.lac != nil {
		lac = r.lac.address
	}
	if r.lns != nil {
		lns = r.lns.address
	}
	return lac, lns
}

// judge looks at what went over the wire.
func (r *pppRow) judge(all map[[2]netip.Addr]dialogue) {
	lac, lns := r.addresses()
	d := all[between(lac, lns)]
	r.results["tshark"] = d.faults()
	r.results["numbers"] = d.numbered(lns, lac, r.sequence)
	r.results["messages"] = nil
	got := d.control()
	if r.goesOn {
		got = got[:min(len(got), len(r.messages))]
	}
	if !slices.Equal(got, r.messages) {
		r.results["messages"] = fmt.Errorf("%q, want %q", got, r.messages)
	}
}

func pppMatrix(rows []*pppRow) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "PPP over L2TPv2\t%s\n", strings.Join(pppColumns, "\t"))
	for _, r := range rows {
		fmt.Fprint(w, r.name)
		for _, c := range pppColumns {
			switch err, done := r.results[c]; {
			case !done:
				fmt.Fprint(w, "\t-")
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
	device string
	v4, v6 netip.Addr // as the other end reaches it
	mtu    int
}

// ends waits until the row is up.
func (r *pppRow) ends() (lac, lns pppEnd, err error) {
	if r.lac != nil {
		link, err := r.lac.up(!r.isPeers())
		if err != nil {
			return lac, lns, err
		}
		lac = pppEnd{r.lac, link.Device, link.Ours, link.LinkLocal, link.MTU}
		lns = pppEnd{r.spanwire, "", r.lnsAddress(), r.ipv6(0).Addr(), link.MTU}
		if r.lns == nil {
			lac.v6 = link.Global[0]
		}
	}
	if r.lns != nil {
		link, err := r.lns.up(false)
		if err != nil {
			return lac, lns, err
		}
		lns = pppEnd{r.lns, link.Device, link.Ours, link.LinkLocal, link.MTU}
		if r.lac == nil {
			if lac, err = r.spanwire.client(r.name); err != nil {
				return lac, lns, err
			}
		}
		// A link-local address is in a zone of whoever uses it.
		lac.v6, lns.v6 = lac.v6.WithZone(lns.device), lns.v6.WithZone(lac.device)
	}
	return lac, lns, nil
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
			r.add("UDP", say(station.Burst{Seed: 2, Count: r.burst(), Largest: mtu - header - udp}, from, to, at))
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
	return 100
}

func (r *pppRow) add(column string, err error) {
	r.results[column] = errors.Join(r.results[column], err)
}

// press has iperf3 press a link from our end: by TCP both ways, and by UDP.
func press(ours, theirs pppEnd) error {
	const octets, lost = 1 << 20, 10 // of which UDP may lose a tenth
	// A server has daemonised before it listens, and between two clients it does not.
	server := fmt.Sprintf("iperf3 -s -1 -D -p %d; until grep -q ':%04X 0*:0000 0A' /proc/net/tcp6; do sleep 0.1; done", pppLoadPort, pppLoadPort)
	for _, how := range []string{"", "-R", "-u -b 4M -l 1200", "-u -b 4M -l 1200 -R"} {
		if _, err := theirs.run(server); err != nil {
			return err
		}
		out, err := ours.run(fmt.Sprintf("iperf3 --json -w 64K -c %s -p %d -n %d %s", theirs.v4, pppLoadPort, octets, how))
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
