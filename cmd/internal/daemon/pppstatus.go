package daemon

import (
	"maps"
	"slices"
	"time"

	"spanwire/cmd/internal/api"
	"spanwire/pseudowire/ppp/lns"
)

// showPPP tells how the profiles stand, by name.
func (d *daemon) showPPP() (all []api.PPP) {
	for _, p := range d.allProfiles() {
		all = append(all, p.show())
	}
	return all
}

func (p *profile) show() api.PPP {
	server, client := p.ends()
	a := api.PPP{Name: p.cfg.Name, Mode: p.cfg.Mode, TUN: p.cfg.TUN(), State: api.Up, MTU: p.mtu, Links: []api.Link{}}
	var drops lns.Drops
	var links []lns.Status
	switch {
	case server != nil:
		drops, links = server.Drops(), server.Links()
		pools := server.Pools()
		for _, name := range slices.Sorted(maps.Keys(pools)) {
			a.Pools = append(a.Pools, api.Pool{Name: name, Used: pools[name].Used, Size: pools[name].Size})
		}
	case client != nil:
		drops = client.Drops()
		if l := client.Link(); l != nil {
			links = append(links, l.Status())
		}
	default:
		a.State = api.Missing
	}
	for i := range links {
		a.Links = append(a.Links, showLink(&links[i]))
	}
	p.mu.Lock()
	if e := p.last; e.text != "" {
		a.LastError = &api.LinkError{Text: e.text, User: e.user, Peer: e.peer.String(), Time: e.time}
	}
	p.mu.Unlock()
	n := p.total(links)
	a.Counters = api.Counters{
		"links_opened": n.Opened, "links_refused": n.Refused, "links_up": n.Up, "links_closed": n.Closed,
		"no_room": n.NoRoom, "pool_depleted": n.Depleted,
		"in_packets": n.InPackets, "in_octets": n.InOctets, "out_packets": n.OutPackets, "out_octets": n.OutOctets,
	}
	maps.Copy(a.Counters, api.Counters{
		"drop_no_link": drops.NoLink, "drop_malformed": drops.Malformed, "drop_too_big": drops.TooBig,
		"drop_closed": drops.Closed, "drop_spoofed": drops.Spoofed, "drop_refused": drops.Refused,
	})
	return a
}

// showLink tells how a link stands.
func showLink(s *lns.Status) api.Link {
	a := api.Link{
		Name: s.Call.Name, ID: s.ID, Peer: s.Call.Peer.String(), User: s.User, Method: method(s), Encryption: encryption(s),
		Opened: s.Opened, Since: s.Since, Phase: s.PPP.Phase.String(),
		LCP: s.PPP.LCP.String(), IPCP: s.PPP.IPCP.String(), IPV6CP: s.PPP.IPV6CP.String(), CCP: s.PPP.CCP.String(),
		Address: known(s.Address), Prefix: known(s.Prefix), Delegated: known(s.Delegated),
		MTU: s.MTU, MRU: s.PPP.MRU, PeerMRU: s.PPP.PeerMRU, SessionEnd: s.SessionEnd,
		Counters: api.Counters{
			"in_packets": s.InPackets, "in_octets": s.InOctets, "out_packets": s.OutPackets, "out_octets": s.OutOctets,
			"spoofed": s.Spoofed,
		},
	}
	for _, p := range s.Routes {
		a.Routes = append(a.Routes, p.String())
	}
	for _, server := range s.PPP.DNS {
		if server.IsValid() {
			a.DNS = append(a.DNS, server.String())
		}
	}
	if s.IdleTimeout > 0 {
		a.IdleTimeout = s.IdleTimeout.String()
	}
	return a
}

// showRADIUS tells how RADIUS servers do, by the name of their section.
func (d *daemon) showRADIUS(now time.Time) (all []api.RADIUS) {
	d.mu.Lock()
	nases := maps.Clone(d.nases)
	d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(nases)) {
		n := nases[name]
		a := api.RADIUS{Name: name, Servers: []api.RADIUSServer{}}
		for _, s := range n.client.Servers() {
			server := api.RADIUSServer{
				Address: s.Address.String(), For: "authentication", State: "alive",
				Counters: api.Counters{"sent": s.Sent, "answers": s.Answers, "lost": s.Lost, "forged": s.Forged, "malformed": s.Malformed},
			}
			if s.Accounting {
				server.For = "accounting"
			}
			if s.DeadUntil.After(now) {
				server.State, server.DeadUntil = "dead", s.DeadUntil
			}
			a.Servers = append(a.Servers, server)
		}
		if n.accounting != nil {
			s := n.accounting.Status()
			a.Accounting = &api.Accounting{Open: s.Open, Undelivered: s.Undelivered, Dropped: s.Dropped, On: s.On}
		}
		all = append(all, a)
	}
	return all
}
