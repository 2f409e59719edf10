package decode

import (
	"fmt"
	"net/netip"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/ppp"
)

// challenges are what tunnels of L2TPv2 were asked to prove, as far as the capture has
// shown it: by whoever assigned the Tunnel ID.
type challenges struct {
	secrets []*wire.SecretV2
	asked   map[tunnelEnd][]byte
	order   []tunnelEnd // the oldest first
}

// A tunnelEnd is a Tunnel ID and the node that assigned it.
type tunnelEnd struct {
	at netip.AddrPort
	id uint16
}

func (c *challenges) learn(e tunnelEnd, challenge []byte) {
	if _, known := c.asked[e]; !known {
		if len(c.order) == maxEnds {
			delete(c.asked, c.order[0])
			c.order = c.order[1:]
		}
		c.order = append(c.order, e)
	}
	c.asked[e] = append([]byte(nil), challenge...)
}

// secret returns the secret that a message is hidden with and answers the Challenge of
// to with, as far as can be told, and what is known of that answer, RFC 2661 section
// 5.1.1.
func (c *challenges) secret(to tunnelEnd, t wire.MessageType, message []byte) (secret *wire.SecretV2, v verdict) {
	response := func(s *wire.SecretV2) []byte {
		p, _ := wire.ParseV2(message, &wire.DecodingV2{Lenient: true, Secret: s})
		switch m := p.Message.(type) {
		case *wire.SCCRPV2:
			return m.Response
		case *wire.SCCCNV2:
			return m.Response
		}
		return nil
	}
	var first *wire.SecretV2
	if len(c.secrets) > 0 {
		first = c.secrets[0]
	}
	if len(response(first)) == 0 {
		return first, none
	}
	challenge, known := c.asked[to]
	if !known || first == nil {
		return first, unknown
	}
	for _, s := range c.secrets {
		if s.Verify(t, challenge, response(s)) {
			return s, right
		}
	}
	return first, wrong
}

// version2 prints a message of L2TPv2, control or PPP's own.
func (p *printer) version2(g *datagram, b []byte) {
	if !wire.ControlV2(b) {
		p.ppp(g, b)
		return
	}
	h, message, err := wire.ParseControlV2(b)
	switch {
	case err != nil && g.partial != "":
		p.n.Partial++
		p.line(g, "a control message of L2TPv2", g.partial+": not decoded")
		return
	case err != nil:
		p.n.Malformed++
		p.line(g, "L2TPv2", err.Error())
		return
	}
	p.n.Messages++
	t, has := wire.TypeOf(message)
	name := "ZLB"
	if has {
		name = t.String()
	} else if len(message) > wire.ControlHeaderLen {
		name = "message without type"
	}
	what := []string{fmt.Sprintf("L2TPv2 %s tunnel %d session %d ns %d nr %d", name, h.TunnelID, h.SessionID, h.Ns, h.Nr)}
	secret, v := p.challenges.secret(tunnelEnd{g.to, h.TunnelID}, t, message)
	switch v {
	case right:
		p.n.Right++
		what = append(what, "challenge response right")
	case wrong:
		p.n.Wrong++
		what = append(what, "challenge response WRONG")
	case unknown:
		p.n.Unknown++
		why := "the capture lacks the challenge"
		if len(p.challenges.secrets) == 0 {
			why = "no secret"
		}
		what = append(what, "challenge response not checked: "+why)
	}
	p.line(g, what...)
	parsed, _ := wire.ParseV2(message, &wire.DecodingV2{Lenient: true, Secret: secret})
	switch m := parsed.Message.(type) {
	case *wire.SCCRQV2:
		p.challenges.learn(tunnelEnd{g.from, m.TunnelID}, m.Challenge)
	case *wire.SCCRPV2:
		p.challenges.learn(tunnelEnd{g.from, m.TunnelID}, m.Challenge)
	}
	all, err := wire.DescribeV2(message, secret)
	p.avps(all, has, err)
}

// ppp prints what PPP says for itself in a data message, not what it carries.
func (p *printer) ppp(g *datagram, b []byte) {
	h, frame, err := wire.ParseDataV2(b)
	if err != nil {
		return
	}
	if words, ok := ppp.Describe(frame); ok {
		p.n.PPP++
		p.line(g, fmt.Sprintf("L2TPv2 data tunnel %d session %d: %s", h.TunnelID, h.SessionID, words))
	}
}
