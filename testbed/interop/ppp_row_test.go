package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
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
	version  string   // of Spanwire's tunnel, as its file has it
	tunnel   []string // lines of [tunnel.NAME]
	session  string   // of L2TPv3 in the same tunnel
	profile  []string // lines of [ppp.NAME]

	crowd   *pppCrowd // that the link is one of
	refused string    // the link shall not be: what a log of the peer says then

	close    func(*pppRow) error // closes the link from one side
	messages []string            // of the control connection, from its beginning to its end
	goesOn   bool                // others follow
	stays    bool                // it is up until the end

	results map[string]error
}

// tun is the name of Spanwire's TUN.
func (r *pppRow) tun() string { return fmt.Sprintf("tun%d", r.inner) }

// The networks of a row.
func (r *pppRow) lnsAddress() netip.Addr { return netip.AddrFrom4([4]byte{10, 66, byte(r.inner), 1}) }
func (r *pppRow) ipv6(n int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("fd00:66:%x:%x::1/64", r.inner, n))
}

// Those of a session of L2TPv3, at our end, 1, and at the other, 2.
func (r *pppRow) tap() string { return fmt.Sprintf("tap%d", r.inner) }
func (r *pppRow) ethernet(end byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 67, byte(r.inner), end}), 24)
}
func (r *pppRow) ethernet6(end int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("fd00:67:%x::%d/64", r.inner, end))
}

// rows are all links, the files of both ends written.
func (l *pppLab) rows() (rows []*pppRow, err error) {
	opened := []string{"SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN"}
	then := func(more ...string) []string { return slices.Concat(opened, more) }
	add := func(name, method string) *pppRow {
		r := &pppRow{name: name, method: method, spanwire: l.spanwire, inner: len(rows) + 1, version: "2", results: map[string]error{}}
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
			fmt.Sprintf(`pool = "10.66.%d.10-10.66.%[1]d.40"`, r.inner),
			fmt.Sprintf("ipv6_pool = [%q]", netip.PrefixFrom(r.ipv6(0x100).Addr(), 56).Masked()), fmt.Sprintf("addresses = [%q]", r.ipv6(0))}
	}
	dialled := func(r *pppRow, cable string, pppd ...string) {
		r.lns = host("lns-"+r.name, cable)
		r.lns.lines = []string{fmt.Sprintf("ip range = 10.66.%d.10-10.66.%[1]d.20", r.inner), fmt.Sprintf("local ip = %s", r.lnsAddress())}
		r.lns.pppd = append(pppd, "require-"+map[string]string{"pap": "pap", "chap": "chap", "mschapv2": "mschap-v2"}[r.method])
		r.tunnel = []string{`mode = "dial"`}
		r.profile = []string{`mode = "client"`, fmt.Sprintf("user = %q", r.name), fmt.Sprintf("auth = [%q]", r.method)}
	}

	// How a link is closed.
	lacsPPP := func(r *pppRow) error { return r.lac.hangUp() }
	lacsTunnel := func(r *pppRow) error { return r.lac.order("d peer") }
	lnsTunnel := func(r *pppRow) error { return r.lns.stop() }
	oursPPP := func(r *pppRow) error { return r.spanwire.order("disconnect", r.name) }
	oursTunnel := func(r *pppRow) error { return r.spanwire.order("down", r.name) }
	comesBack := func(r *pppRow) error { // when the LNS's PPP hangs up
		if err := errors.Join(r.lns.hangUp(), r.lns.down()); err != nil {
			return err
		}
		if _, err := r.lns.links(1, false); err != nil {
			return err
		}
		return oursTunnel(r)
	}

	r := add("peers", "mschapv2") // what fails here is no fault of Spanwire's
	dialsIn(r, "require-mppe-128")
	dialled(r, "eth1", "pppol2tp_send_seq", "pppol2tp_recv_seq", "require-mppe-128")
	r.lac.lac, r.sequence, r.mppe, r.lns.lines = r.lns.address.String(), true, true, append(r.lns.lines, "challenge = yes")
	r.close, r.messages = lacsPPP, then(eithersCDN, "StopCCN 1")

	// Spanwire is the LNS.
	r = add("pap", "pap")
	dialsIn(r)
	r.close, r.messages, r.load = lacsPPP, then(eithersCDN, "StopCCN 1"), true

	r = add("chap-secret", "chap")
	dialsIn(r)
	r.lac.lines = append(r.lac.lines, "challenge = yes", "hidden bit = yes")
	r.tunnel = append(r.tunnel, fmt.Sprintf("secret = %q", pppSecret), "hide = true")
	r.close, r.messages = lacsTunnel, then("StopCCN 1")

	r = add("mppe", "mschapv2")
	dialsIn(r, "require-mppe-128")
	r.mppe = true
	r.close, r.messages = oursPPP, then("CDN 3", "StopCCN 1")

	r = add("numbers", "mschapv2")
	dialsIn(r, "pppol2tp_recv_seq")
	r.sequence = true
	r.close, r.messages = oursTunnel, then("CDN 3", "StopCCN 1")

	r = add("user-space", "chap")
	dialsIn(r)
	r.lac.terminal, r.lac.lines = true, append(r.lac.lines, "length bit = yes")
	r.stays, r.messages = true, then("CDN 3", "StopCCN 6")

	r = add("wrong-password", "mschapv2")
	dialsIn(r)
	r.lac.pppd = append(r.lac.pppd, "password wrong")
	r.refused, r.messages = "CHAP authentication failed", then(eithersCDN, "StopCCN 1")

	r = add("wrong-secret", "chap")
	dialsIn(r)
	r.lac.secret = "not the secret"
	r.tunnel = append(r.tunnel, fmt.Sprintf("secret = %q", pppSecret))
	r.refused, r.messages, r.goesOn = "wrong challenge response", []string{"SCCRQ", "SCCRP", "SCCCN", "StopCCN 4"}, true

	r = add("auto", "mschapv2") // L2TPv3 would be spoken, too
	dialsIn(r)
	r.version, r.session = `"auto"`, "tap = \"auto1\"\n"
	r.close, r.messages = lacsPPP, then(eithersCDN, "StopCCN 1")

	// L2TPv3 on the same port, with Spanwire in the guest and with the kernel.
	r = add("v3-auto", "chap")
	dialsIn(r)
	r.version, r.stays = `"auto"`, true
	r.session = fmt.Sprintf("tap = %q\nmtu = 1400\naddresses = [%q, %q]\n", r.tap(), r.ethernet(1), r.ethernet6(1))
	r.lac.instead = fmt.Sprintf(`cat >/run/v3.toml <<EOF
[node]
hostname = "v3-auto"
control = "/run/v3.sock"
[tunnel.hub]
mode = "dial"
peer = %q
[tunnel.hub.session.other]
tap = "wan"
mtu = 1400
addresses = [%q, %q]
EOF
chmod 600 /run/v3.toml
exec /share/spanwire run -c /run/v3.toml >%s 2>&1`, pppOurs, r.ethernet(2), r.ethernet6(2), r.lac.there("spanwire.log"))

	r = add("v3-kernel", "chap")
	dialsIn(r)
	r.version, r.stays = "3", true
	r.tunnel = []string{`mode = "static"`}
	r.session = fmt.Sprintf("session_id = 7\npeer_session_id = 8\nreceive_cookie = \"\"\nsend_cookie = \"\"\ntap = %q\nmtu = 1400\naddresses = [%q, %q]\n",
		r.tap(), r.ethernet(1), r.ethernet6(1))
	r.lac.instead = fmt.Sprintf(`ip -batch - <<EOF
l2tp add tunnel tunnel_id 1 peer_tunnel_id 1 encap udp local %s remote %s udp_sport 1701 udp_dport 1701 udp_csum on
l2tp add session name wan tunnel_id 1 session_id 8 peer_session_id 7 l2spec_type none
link set wan mtu 1400 up
addr add %s dev wan
addr add %s dev wan nodad
EOF`, r.lac.address, pppOurs, r.ethernet(2), r.ethernet6(2))

	// Many at once.
	crowd := new(pppCrowd)
	for i := range pppCrowdSize {
		r = add(fmt.Sprintf("%s-%d", pppCrowdName, i), "chap")
		dialsIn(r)
		r.crowd, r.close, r.messages = crowd, crowd.close, then("CDN 3", "StopCCN 1")
		crowd.rows = append(crowd.rows, r)
		crowd.together.Add(1)
		r.inner = crowd.rows[0].inner
	}

	// Spanwire is the client.
	r = add("to-pap", "pap")
	dialled(r, "eth0")
	r.close, r.messages = comesBack, then(eithersCDN, "ICRQ", "ICRP", "ICCN", "CDN 3", "StopCCN 1")

	r = add("to-chap-secret", "chap")
	dialled(r, "eth0")
	r.lns.lines = append(r.lns.lines, "challenge = yes", "hidden bit = yes")
	r.tunnel = append(r.tunnel, fmt.Sprintf("secret = %q", pppSecret), "hide = true")
	r.close, r.messages, r.load = oursTunnel, then("CDN 3", "StopCCN 1"), true

	r = add("to-mppe", "mschapv2")
	dialled(r, "eth0", "require-mppe-128")
	r.mppe = true
	r.close, r.messages, r.goesOn = lnsTunnel, then("StopCCN 1"), true

	r = add("to-numbers", "mschapv2")
	dialled(r, "eth0", "pppol2tp_send_seq", "pppol2tp_recv_seq")
	r.sequence = true
	r.close, r.messages = oursTunnel, then("CDN 3", "StopCCN 1")

	r = add("to-user-space", "chap")
	dialled(r, "eth0")
	r.lns.terminal, r.lns.lines = true, append(r.lns.lines, "length bit = yes")
	r.stays, r.messages = true, then("CDN 3", "StopCCN 6")

	r = add("to-wrong-password", "chap")
	dialled(r, "eth0")
	r.profile = append(r.profile, `password = "wrong"`)
	r.refused, r.messages, r.goesOn = "failed CHAP authentication", then(eithersCDN), true

	r = add("to-auto", "mschapv2")
	dialled(r, "eth0")
	r.version, r.session = `"auto"`, "tap = \"auto0\"\n"
	r.close, r.messages = oursTunnel, then("CDN 3", "StopCCN 1")

	for _, r := range rows {
		for _, x := range r.hosts() {
			err = errors.Join(err, x.write())
		}
	}
	return rows, errors.Join(err, l.spanwire.write(rows))
}

// test does all that is tested of a row while it is up.
func (r *pppRow) test(slots chan struct{}) {
	if r.crowd != nil {
		defer r.crowd.arrive(r)
	}
	slots <- struct{}{}
	up := r.open()
	<-slots
	if !up || r.stays {
		return
	}
	if r.crowd != nil {
		r.crowd.arrive(r)
		r.crowd.together.Wait()
	}
	if r.results["down"] = r.close(r); r.results["down"] != nil {
		return
	}
	for _, x := range r.hosts() {
		r.add("down", x.down())
	}
	if !r.isPeers() {
		r.add("down", r.spanwire.down(r.name))
	}
	for _, x := range r.hosts() {
		if r.crowd == nil {
			r.add("down", x.stop())
		}
	}
}

// open has the row come up, and tests what it carries.
func (r *pppRow) open() (up bool) {
	if r.lac != nil {
		if r.results["up"] = r.lac.start(); r.results["up"] != nil {
			return false
		}
	}
	if r.refused != "" {
		r.results["up"] = r.hosts()[0].says(r.refused)
		r.results["down"] = r.hosts()[0].stop()
		return false
	}
	a, b, err := r.ends()
	if r.results["up"] = err; err != nil {
		return false
	}
	r.carry(a, b)
	switch {
	case r.load && r.lns == nil:
		r.results["iperf3"] = press(b, a)
	case r.load:
		r.results["iperf3"] = press(a, b)
	}
	if !r.isPeers() && !r.isVersion3() {
		r.results["status"] = r.check()
	}
	return true
}

// isPeers says that the row is without Spanwire.
func (r *pppRow) isPeers() bool { return r.lac != nil && r.lns != nil }

// isVersion3 says that the row is a session of L2TPv3.
func (r *pppRow) isVersion3() bool { return r.lac != nil && r.lac.instead != "" }

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
	if r.isVersion3() {
		return
	}
	if r.refused == "" {
		r.results["numbers"] = d.numbered(lns, lac, r.sequence)
	}
	r.results["messages"] = nil
	got := d.control()
	if slices.Contains(r.messages, eithersCDN) {
		got = slices.CompactFunc(got, func(a, b string) bool { return isCDN(a) && isCDN(b) })
	}
	if r.goesOn {
		got = got[:min(len(got), len(r.messages))]
	}
	if !slices.EqualFunc(got, r.messages, func(got, want string) bool { return got == want || want == eithersCDN && isCDN(got) }) {
		r.results["messages"] = fmt.Errorf("%q, want %q", got, r.messages)
	}
}

// eithersCDN stands for the CDNs after PPP's Terminate-Request: both sides see that the
// link is closed, and each may be the first to say so, Spanwire with result code 3 and
// xl2tpd with 1.
const eithersCDN = "CDN 1 or 3"

func isCDN(message string) bool { return message == "CDN 1" || message == "CDN 3" }

func pppMatrix(rows []*pppRow) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "PPP over L2TPv2\t%s\n", strings.Join(pppColumns, "\t"))
	for _, r := range rows {
		name, results := r.name, r.results
		if r.crowd != nil {
			if r != r.crowd.rows[0] {
				continue
			}
			name, results = fmt.Sprintf("%s of %d", pppCrowdName, pppCrowdSize), r.crowd.results()
		}
		fmt.Fprint(w, name)
		for _, c := range pppColumns {
			switch err, done := results[c]; {
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

// A pppCrowd is many rows that are up at once, as users of one profile.
type pppCrowd struct {
	rows     []*pppRow
	together sync.WaitGroup // until each has come, or cannot
	mu       sync.Mutex
	came     map[*pppRow]bool
}

const (
	pppCrowdName = "crowd"
	pppCrowdSize = 20
)

func (c *pppCrowd) arrive(r *pppRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.came == nil {
		c.came = map[*pppRow]bool{}
	}
	if !c.came[r] {
		c.came[r] = true
		c.together.Done()
	}
}

// results are those of all.
func (c *pppCrowd) results() map[string]error {
	all := map[string]error{}
	for _, r := range c.rows {
		for column, err := range r.results {
			all[column] = errors.Join(all[column], err)
		}
	}
	return all
}

// close closes all, when they are there at once. The first one tells whether they were.
func (c *pppCrowd) close(r *pppRow) error {
	if r != c.rows[0] {
		return nil
	}
	var all []error
	addresses := map[string]bool{}
	for _, r := range c.rows {
		links, err := r.spanwire.links(r.name)
		if err != nil || len(links) != 1 {
			all = append(all, fmt.Errorf("%s: %d links, want 1; %v", r.name, len(links), err))
			continue
		}
		addresses[links[0].Address] = true
	}
	if len(addresses) != len(c.rows) {
		all = append(all, fmt.Errorf("%d users have %d addresses", len(c.rows), len(addresses)))
	}
	return errors.Join(append(all, r.spanwire.order("down", pppCrowdName))...)
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
	if r.isVersion3() {
		lac = pppEnd{r.lac, "wan", r.ethernet(2).Addr(), r.ethernet6(2).Addr(), 1400}
		lns = pppEnd{r.spanwire, r.tap(), r.ethernet(1).Addr(), r.ethernet6(1).Addr(), 1400}
		_, err := r.spanwire.run(fmt.Sprintf("timeout %d sh -c 'until ping -n -q -c 1 -W 1 %s >/dev/null; do sleep 0.1; done'", int(pppPatience.Seconds()), lac.v4))
		return lac, lns, err
	}
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
			if lac, err = r.spanwire.client(r.name, r.tun()); err != nil {
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
	if r.crowd != nil { // the rest is tested of others
		r.results["ping"] = pingSizes(b, a.v4, 0, mtu-icmp4)
		r.results["TCP"] = say(station.Flow{Seed: 1, Octets: 64 << 10}, b, a, a.v4)
		return
	}
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
