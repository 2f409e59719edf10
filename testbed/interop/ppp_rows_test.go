package interop

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

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
		r.lac.pppd = append(pppd, "user "+r.name, "noauth", "debug")
		r.tunnel = []string{`mode = "accept"`}
		r.profile = []string{`mode = "lns"`, fmt.Sprintf("auth = [%q]", r.method), fmt.Sprintf("address = %q", r.lnsAddress()),
			fmt.Sprintf(`pool = "10.66.%d.10-10.66.%[1]d.40"`, r.inner),
			fmt.Sprintf("ipv6_pool = [%q]", netip.PrefixFrom(r.ipv6(0x100).Addr(), 56).Masked()), fmt.Sprintf("addresses = [%q]", r.ipv6(0))}
	}
	dialled := func(r *pppRow, cable string, pppd ...string) {
		r.lns = host("lns-"+r.name, cable)
		r.lns.lines = []string{fmt.Sprintf("ip range = 10.66.%d.10-10.66.%[1]d.20", r.inner), fmt.Sprintf("local ip = %s", r.lnsAddress())}
		r.lns.pppd = append(pppd, "debug", "require-"+map[string]string{"pap": "pap", "chap": "chap", "mschapv2": "mschap-v2"}[r.method])
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
	r.close, r.messages = oursTunnel, then(ourCDN, "StopCCN 1")

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
		r.lac.pppd = slices.DeleteFunc(r.lac.pppd, func(line string) bool { return line == "debug" }) // which costs much
		r.crowd, r.close, r.messages = crowd, crowd.close, then(ourCDN, "StopCCN 1")
		crowd.rows = append(crowd.rows, r)
		crowd.together.Add(1)
		r.inner = crowd.rows[0].inner
	}

	// Spanwire is the client.
	r = add("to-pap", "pap")
	dialled(r, "eth0")
	r.close, r.messages = comesBack, then(eithersCDN, "ICRQ", "ICRP", "ICCN", ourCDN, "StopCCN 1")

	r = add("to-chap-secret", "chap")
	dialled(r, "eth0")
	r.lns.lines = append(r.lns.lines, "challenge = yes", "hidden bit = yes")
	r.tunnel = append(r.tunnel, fmt.Sprintf("secret = %q", pppSecret), "hide = true")
	r.close, r.messages, r.load = oursTunnel, then(ourCDN, "StopCCN 1"), true

	r = add("to-mppe", "mschapv2")
	dialled(r, "eth0", "require-mppe-128")
	r.mppe = true
	r.close, r.messages, r.goesOn = lnsTunnel, then("StopCCN 1"), true

	r = add("to-numbers", "mschapv2")
	dialled(r, "eth0", "pppol2tp_send_seq", "pppol2tp_recv_seq")
	r.sequence = true
	r.close, r.messages = oursTunnel, then(ourCDN, "StopCCN 1")

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
	r.close, r.messages = oursTunnel, then(ourCDN, "StopCCN 1")

	for _, r := range rows {
		for _, x := range r.hosts() {
			err = errors.Join(err, x.write())
		}
	}
	return rows, errors.Join(err, l.spanwire.write(rows))
}
