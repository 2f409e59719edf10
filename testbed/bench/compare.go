package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
)

// A change is what became of one figure.
type change struct {
	where, what string
	format      string // of the figures
	old, new    []float64
	// beside is how the baseline of the same run has changed, new to old; 0: there
	// is none. What the machine did differently has changed it too.
	beside float64
}

// comparedSeries are what is compared of a row, with their formats.
var comparedSeries = []struct{ what, format string }{
	{tcpOne, "%.2f"}, {tcpOne + ownCPU, "%.2f"},
	{tcpFour, "%.2f"}, {tcpFour + ownCPU, "%.2f"},
	{smallFrames, "%.0f"}, {smallFrames + ownCPU, "%.2f"},
	{idlePing, "%.0f"}, {idlePing + p99, "%.0f"},
	{loadedPing, "%.0f"}, {loadedPing + p99, "%.0f"},
}

// compare returns what changed from an old report to a new one, of all that both
// have.
func compare(old, new *report) (changes []change) {
	add := func(c change) {
		if len(c.old) > 0 && len(c.new) > 0 && (median(c.old) != 0 || median(c.new) != 0) {
			changes = append(changes, c)
		}
	}
	for _, f := range new.Rows {
		was := old.find(f.Row, f.Underlay)
		if was == nil {
			continue
		}
		for _, s := range comparedSeries {
			c := change{where: f.Row + " over " + f.Underlay, what: s.what, format: s.format, old: was.Values[s.what], new: f.Values[s.what]}
			before, ok := old.find(baseline, f.Underlay).median(s.what)
			after, also := new.find(baseline, f.Underlay).median(s.what)
			if ok && also && before > 0 && f.Row != baseline {
				c.beside = after / before
			}
			add(c)
		}
	}
	for _, n := range new.Sessions {
		for _, o := range old.Sessions {
			if o.Turn == n.Turn && o.Sessions == n.Sessions {
				add(change{where: fmt.Sprintf("%d sessions", n.Sessions), what: n.Turn + ", ns", format: "%.0f", old: o.Nanoseconds, new: n.Nanoseconds})
			}
		}
	}
	if old.Idle != nil && new.Idle != nil {
		add(change{where: fmt.Sprintf("idle, %d sessions", new.Idle.Sessions), what: "% CPU", format: "%.2f", old: []float64{old.Idle.Percent}, new: []float64{new.Idle.Percent}})
	}
	for _, n := range new.SetUp {
		i := slices.IndexFunc(old.SetUp, func(s setUp) bool { return s.Load == n.Load })
		if i < 0 {
			continue
		}
		o := old.SetUp[i]
		if n.SessionRate > 0 {
			add(change{where: n.Load, what: "sessions/s", format: "%.0f", old: []float64{o.SessionRate}, new: []float64{n.SessionRate}})
		} else {
			add(change{where: n.Load, what: "tunnels/s", format: "%.0f", old: []float64{o.TunnelRate}, new: []float64{n.TunnelRate}})
		}
		add(change{where: n.Load, what: "octets each", format: "%.0f", old: []float64{o.Memory}, new: []float64{n.Memory}})
	}
	return changes
}

// ratio returns the new median to the old one.
func (c *change) ratio() float64 { return median(c.new) / median(c.old) }

// within reports whether the rounds before and after overlap, so that the change
// may be chance.
func (c *change) within() bool {
	return slices.Min(c.new) <= slices.Max(c.old) && slices.Min(c.old) <= slices.Max(c.new)
}

// printChanges prints what changed.
func printChanges(w io.Writer, old *report, changes []change) {
	var rows [][]string
	for _, c := range changes {
		beside, rounds := "-", "-"
		if c.beside > 0 {
			beside = fmt.Sprintf("%+.1f %%", 100*(c.ratio()/c.beside-1))
		}
		if len(c.old) > 1 && len(c.new) > 1 {
			rounds = "apart"
			if c.within() {
				rounds = "overlap"
			}
		}
		rows = append(rows, []string{c.where + ": " + c.what,
			fmt.Sprintf(c.format, median(c.old)), fmt.Sprintf(c.format, median(c.new)),
			fmt.Sprintf("%+.1f %%", 100*(c.ratio()-1)), beside, rounds})
	}
	if len(rows) == 0 {
		fmt.Fprintf(w, "nothing to compare with %s\n", old.Version)
		return
	}
	printTable(w, [][]string{{"compared with " + old.Version, "before", "now", "change", "vxlan's taken off", "rounds"}}, rows)
}

// readReport reads what -json wrote.
func readReport(name string) (*report, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}
