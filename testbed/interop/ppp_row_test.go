package interop

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
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
	// On a busy machine PPP's goodbye may last longer than Spanwire waits for it.
	if i := slices.Index(r.messages, ourCDN); i >= 0 && len(got) == len(r.messages)-1 {
		got = slices.Insert(got, i, ourCDN)
	}
	if r.goesOn {
		got = got[:min(len(got), len(r.messages))]
	}
	if !slices.EqualFunc(got, r.messages, func(got, want string) bool {
		return got == want || want == eithersCDN && isCDN(got) || want == ourCDN && got == "CDN 3"
	}) {
		r.results["messages"] = fmt.Errorf("%q, want %q", got, r.messages)
	}
}

// eithersCDN stands for the CDNs after PPP's Terminate-Request: both sides see that the
// link is closed, and each may be the first to say so, Spanwire with result code 3 and
// xl2tpd with 1.
const eithersCDN = "CDN 1 or 3"

// ourCDN stands for the CDN that Spanwire sends before the StopCCN of a tunnel that is
// closed by command, if PPP is closed by then.
const ourCDN = "CDN 3, in time"

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

func (r *pppRow) add(column string, err error) {
	r.results[column] = errors.Join(r.results[column], err)
}
