// Package metrics tells Prometheus how a daemon stands. No label has a value that a peer
// chooses: there are as many series as the configuration has names.
package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"spanwire/cmd/internal/api"
)

// A collector makes metrics of a status.
type collector func() api.Status

// A page is where metrics go, family by family.
type page chan<- prometheus.Metric

// A sample is one value of a family. Its labels are in pairs: name, value.
type sample struct {
	labels []string
	value  float64
}

func one[T int | uint64 | float64](value T, labels ...string) sample {
	return sample{labels, float64(value)}
}

// family tells a family, whose samples all have labels of the same names.
func (p page) family(name string, kind prometheus.ValueType, help string, all ...sample) {
	if len(all) == 0 {
		return
	}
	var names []string
	for i := 0; i < len(all[0].labels); i += 2 {
		names = append(names, all[0].labels[i])
	}
	d := prometheus.NewDesc("spanwire_"+name, help, names, nil)
	for _, s := range all {
		var values []string
		for i := 1; i < len(s.labels); i += 2 {
			values = append(values, strings.ToValidUTF8(s.labels[i], "?"))
		}
		p <- prometheus.MustNewConstMetric(d, kind, s.value, values...)
	}
}

// by returns a sample for each of some counters, with one label.
func by(label string, c api.Counters, labels ...string) (all []sample) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		all = append(all, one(c[name], append(slices.Clone(labels), label, name)...))
	}
	return all
}

// only returns the counters whose names begin with a prefix, without it.
func only(c api.Counters, prefix string) api.Counters {
	found := api.Counters{}
	for name, n := range c {
		if rest, has := strings.CutPrefix(name, prefix); has {
			found[rest] = n
		}
	}
	return found
}

const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue

// Describe tells nothing beforehand: what there is depends on the configuration.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect tells how the daemon stands now.
func (c collector) Collect(to chan<- prometheus.Metric) {
	status, p := c(), page(to)
	s := &status
	p.family("info", gauge, "The daemon.", one(1, "hostname", s.Node.Hostname, "version", s.Node.Version))
	p.family("start_time_seconds", gauge, "When the daemon started, since 1970.", one(float64(s.Node.Started.UnixMilli())/1000))
	p.family("control_refused_total", counter, "Control messages that were not acted upon.", by("reason", s.Refused)...)
	p.family("stray_packets_total", counter, "Data packets that belong to no session.", by("reason", s.Drops)...)
	p.tunnels(s)
	p.sessions(s)
	p.ppp(s)
	p.radius(s)
	var stations []sample
	for _, h := range s.Hubs {
		stations = append(stations, one(h.Stations, "hub", h.Name))
	}
	p.family("hub_stations", gauge, "Stations that a hub knows.", stations...)
}

// of returns the name of a tunnel in the configuration.
func of(t *api.Tunnel) string {
	if t.Control != nil && t.Control.Template != "" {
		return t.Control.Template
	}
	return t.Name
}

// up reports whether a tunnel or a session is, in the words of either mode.
func up(state string) bool { return state == "up" || state == "established" }

func (p page) tunnels(s *api.Status) {
	type key struct{ name, version string }
	type sums struct{ up, sessions, calls int }
	all := make(map[key]*sums)
	var order []key
	for i := range s.Tunnels {
		t := &s.Tunnels[i]
		k := key{of(t), fmt.Sprint(t.Version)}
		if all[k] == nil {
			all[k] = new(sums)
			order = append(order, k)
		}
		if up(t.State) {
			all[k].up++
		}
		for _, session := range t.Sessions {
			if session.Call == nil || up(session.Call.State) {
				all[k].sessions++
			}
		}
		for _, call := range t.Calls {
			if up(call.State) {
				all[k].calls++
			}
		}
	}
	var ups, sessions, calls []sample
	for _, k := range order {
		labels := []string{"tunnel", k.name, "version", k.version}
		ups = append(ups, one(all[k].up, labels...))
		if k.version == "2" {
			calls = append(calls, one(all[k].calls, labels...))
		} else {
			sessions = append(sessions, one(all[k].sessions, labels...))
		}
	}
	p.family("tunnels_up", gauge, "Tunnels that are up, by the one that they are of in the configuration.", ups...)
	p.family("sessions_up", gauge, "Sessions of L2TPv3 that are up or static.", sessions...)
	p.family("calls_up", gauge, "Calls of L2TPv2 that are up.", calls...)
}

// sessions tells of the sessions that are in the configuration themselves, and not of
// those that peers have of templates.
func (p page) sessions(s *api.Status) {
	var packets, octets, dropped []sample
	for _, t := range s.Tunnels {
		if t.Control != nil && t.Control.Template != "" {
			continue
		}
		for _, session := range t.Sessions {
			if session.Call != nil && strings.Contains(session.Name, ":") { // of any Remote End ID
				continue
			}
			c := session.Counters
			packets = append(packets, one(c["rx_packets"], "session", session.Name, "direction", "in"), one(c["tx_packets"], "session", session.Name, "direction", "out"))
			octets = append(octets, one(c["rx_bytes"], "session", session.Name, "direction", "in"), one(c["tx_bytes"], "session", session.Name, "direction", "out"))
			for _, name := range slices.Sorted(maps.Keys(c)) {
				switch name {
				case "rx_packets", "tx_packets", "rx_bytes", "tx_bytes":
				default:
					dropped = append(dropped, one(c[name], "session", session.Name, "event", name))
				}
			}
		}
	}
	p.family("session_packets_total", counter, "Frames of a session.", packets...)
	p.family("session_octets_total", counter, "Octets of a session's frames.", octets...)
	p.family("session_events_total", counter, "What became of packets otherwise: drops, losses and reordering.", dropped...)
}

func (p page) ppp(s *api.Status) {
	var links, device, packets, octets, dropped, used, size []sample
	counts := []struct {
		key, help string
		all       []sample
	}{
		{"links_opened", "Links that were begun.", nil},
		{"links_up", "Links that came to carry packets.", nil},
		{"links_refused", "Proofs that were wrong, and users who may not come in.", nil},
		{"links_closed", "Links that ended.", nil},
		{"no_room", "Links refused because there are as many as may be.", nil},
		{"pool_depleted", "Users for whom there was no address.", nil},
	}
	for _, q := range s.PPP {
		ppp := []string{"ppp", q.Name}
		carrying := 0
		for _, l := range q.Links {
			if !l.Since.IsZero() {
				carrying++
			}
		}
		links = append(links, one(len(q.Links)-carrying, "ppp", q.Name, "state", "opening"), one(carrying, "ppp", q.Name, "state", "up"))
		there := 0
		if q.State == api.Up {
			there = 1
		}
		device = append(device, one(there, ppp...))
		for i := range counts {
			counts[i].all = append(counts[i].all, one(q.Counters[counts[i].key], ppp...))
		}
		for _, direction := range []string{"in", "out"} {
			labels := append(slices.Clone(ppp), "direction", direction)
			packets = append(packets, one(q.Counters[direction+"_packets"], labels...))
			octets = append(octets, one(q.Counters[direction+"_octets"], labels...))
		}
		dropped = append(dropped, by("reason", only(q.Counters, "drop_"), ppp...)...)
		for _, pool := range q.Pools {
			labels := append(slices.Clone(ppp), "pool", pool.Name)
			used, size = append(used, one(pool.Used, labels...)), append(size, one(pool.Size, labels...))
		}
	}
	p.family("ppp_links", gauge, "Links that there are.", links...)
	p.family("ppp_tun_up", gauge, "Whether the TUN of a profile is there.", device...)
	for _, c := range counts {
		p.family("ppp_"+c.key+"_total", counter, c.help, c.all...)
	}
	p.family("ppp_packets_total", counter, "Packets of users, in from them and out to them.", packets...)
	p.family("ppp_octets_total", counter, "Octets of those packets.", octets...)
	p.family("ppp_dropped_total", counter, "Packets that went nowhere.", dropped...)
	p.family("ppp_pool_used", gauge, "Addresses or prefixes of a pool that are given out.", used...)
	p.family("ppp_pool_size", gauge, "Addresses or prefixes of a pool.", size...)
}

func (p page) radius(s *api.Status) {
	var alive, events, open, undelivered, dropped []sample
	for _, r := range s.RADIUS {
		for _, server := range r.Servers {
			labels := []string{"radius", r.Name, "server", server.Address, "for", server.For}
			lives := 0
			if server.State == "alive" {
				lives = 1
			}
			alive = append(alive, one(lives, labels...))
			events = append(events, by("event", server.Counters, labels...)...)
		}
		if a := r.Accounting; a != nil {
			open = append(open, one(a.Open, "radius", r.Name))
			undelivered = append(undelivered, one(a.Undelivered, "radius", r.Name))
			dropped = append(dropped, one(a.Dropped, "radius", r.Name))
		}
	}
	p.family("radius_server_alive", gauge, "Whether a RADIUS server answers, as far as it is known.", alive...)
	p.family("radius_messages_total", counter, "Messages that were sent to a server, and what became of them.", events...)
	p.family("radius_sessions_open", gauge, "Sessions that accounting is told of.", open...)
	p.family("radius_sessions_undelivered", gauge, "Sessions that are over, which no accounting server knows yet.", undelivered...)
	p.family("radius_sessions_dropped_total", counter, "Sessions that no accounting server will know of.", dropped...)
}
