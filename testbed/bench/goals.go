package main

import (
	"fmt"
	"io"
)

// A goal is what a figure is wanted to be.
type goal struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit,omitempty"` // empty: a ratio
	Value float64 `json:"value"`          // as measured
	Least float64 `json:"at least"`       // or at most
	Aim   float64 `json:"aim"`
	Most  bool    `json:"at most,omitempty"` // the lower the better
	Met   string  `json:"met"`
}

// What is said of a goal.
const (
	notMet   = "no"
	leastMet = "yes"
	aimMet   = "aim"
)

// goals returns those whose figures were measured.
func (r *report) goals() (met []goal) {
	for _, g := range []struct {
		goal
		measured func() (float64, bool)
	}{
		{goal{Name: "UDP: TCP x1 to vxlan, plain veth", Least: 0.50, Aim: 0.75}, r.to(vxlanRow, udpRow, plain, tcpOne)},
		{goal{Name: "UDP: TCP x1 to vxlan, wire-like", Least: 0.65, Aim: 0.90}, r.to(vxlanRow, udpRow, wireLike, tcpOne)},
		{goal{Name: "UDP: TCP x4 to vxlan, wire-like", Least: 0.35, Aim: 0.60}, r.to(vxlanRow, udpRow, wireLike, tcpFour)},
		{goal{Name: "UDP: small frames to vxlan, plain veth", Least: 1.25, Aim: 1.5}, r.to(vxlanRow, udpRow, plain, smallFrames)},
		{goal{Name: "UDP: TCP x1 to wireguard-go, plain veth", Least: 3, Aim: 4}, r.to(wireguardGo, udpRow, plain, tcpOne)},
		{goal{Name: "IP 115: TCP x1 to vxlan, plain veth", Least: 0.14, Aim: 0.30}, r.to(vxlanRow, ipRow, plain, tcpOne)},
		{goal{Name: "VLAN rewritten: TCP x1 to port mode, plain veth", Least: 0.97, Aim: 1}, r.to(taggedRow, vlanRow, plain, tcpOne)},
		{goal{Name: "a frame's cost, 10,000 sessions to 1", Least: 1.10, Aim: 1.02, Most: true}, func() (float64, bool) { return r.manyToOne(inBursts) }},
		{goal{Name: "UDP: idle ping beyond vxlan's, plain veth", Unit: "us", Least: 40, Aim: 15, Most: true}, func() (float64, bool) { return r.added(r.find(udpRow, plain)) }},
		{goal{Name: "calls of L2TPv2 a second, without PPP", Unit: "/s", Least: 10000, Aim: 35000}, r.rate(callsAlone)},
		{goal{Name: "calls of L2TPv2 a second, with PPP and CHAP", Unit: "/s", Least: 3000, Aim: 6000}, r.rate(callsCHAP)},
	} {
		v, ok := g.measured()
		if !ok {
			continue
		}
		g.Value = v
		g.Met = g.judge()
		met = append(met, g.goal)
	}
	return met
}

// judge says whether the goal is met.
func (g *goal) judge() string {
	reaches := func(want float64) bool {
		if g.Most {
			return g.Value <= want
		}
		return g.Value >= want
	}
	switch {
	case reaches(g.Aim):
		return aimMet
	case reaches(g.Least):
		return leastMet
	}
	return notMet
}

// to returns a function that gives a row's median to another row's, on the same
// underlay.
func (r *report) to(base, row, underlay, what string) func() (float64, bool) {
	return func() (float64, bool) { return ratio(r.find(row, underlay), r.find(base, underlay), what) }
}

// rate returns a function that gives how many sessions a second a load came to.
func (r *report) rate(load string) func() (float64, bool) {
	return func() (float64, bool) {
		for _, s := range r.SetUp {
			if s.Load == load {
				return s.SessionRate, true
			}
		}
		return 0, false
	}
}

// printGoals prints goals.
func printGoals(w io.Writer, goals []goal) {
	var rows [][]string
	for _, g := range goals {
		format, bound := "%.2f", "at least "
		if g.Unit != "" {
			format = "%.0f " + g.Unit
		}
		if g.Most {
			bound = "at most "
		}
		rows = append(rows, []string{g.Name, fmt.Sprintf(format, g.Value), bound + fmt.Sprintf(format, g.Least), fmt.Sprintf(format, g.Aim), g.Met})
	}
	if len(rows) > 0 {
		printTable(w, [][]string{{"goals", "value", "wanted", "aim", "met"}}, rows)
	}
}
