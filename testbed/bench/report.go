package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A report is all that a run found; -json writes it, -compare reads it.
type report struct {
	Machine  string        `json:"machine"`
	Version  string        `json:"version"` // of the binary that was measured
	Rounds   int           `json:"rounds"`
	Length   string        `json:"length"` // of one measurement of TCP x1
	Rows     []*figures    `json:"rows,omitempty"`
	Sessions []sessionCost `json:"sessions,omitempty"`
	Idle     *idling       `json:"idle,omitempty"`
	Missing  []string      `json:"missing,omitempty"` // programs of rows that were left out
	SetUp    []setUp       `json:"set-up,omitempty"`
	Goals    []goal        `json:"goals,omitempty"`
}

// find returns a row, or nil.
func (r *report) find(row, underlay string) *figures {
	i := slices.IndexFunc(r.Rows, func(f *figures) bool { return f.Row == row && f.Underlay == underlay })
	if i < 0 {
		return nil
	}
	return r.Rows[i]
}

// baseline is the row that others are compared with, on the same underlay.
const baseline = vxlanRow

// ratio returns a row's median to that of the baseline.
func (r *report) ratio(f *figures, what string) (float64, bool) {
	return ratio(f, r.find(baseline, f.Underlay), what)
}

// ratio returns the median of one row to that of another.
func ratio(f, base *figures, what string) (float64, bool) {
	v, ok := f.median(what)
	to, also := base.median(what)
	return v / to, ok && also && to > 0
}

// print prints all that there is.
func (r *report) print(w io.Writer) {
	r.printRows(w)
	r.printSessions(w)
	r.printIdle(w)
	printSetUps(w, r.SetUp)
	printGoals(w, r.Goals)
}

// problems returns how many measurements went wrong.
func (r *report) problems() (n int) {
	for _, f := range r.Rows {
		n += len(f.Problems)
	}
	return n
}

// underlays are in the order in which they are shown.
var underlays = []string{plain, wireLike}

// over returns the rows of an underlay.
func (r *report) over(underlay string) (rows []*figures) {
	for _, f := range r.Rows {
		if f.Underlay == underlay {
			rows = append(rows, f)
		}
	}
	return rows
}

// printRows prints what the rows carried and what pings took, by underlay, and
// what went wrong.
func (r *report) printRows(w io.Writer) {
	for _, underlay := range underlays {
		var carried, pinged [][]string
		for _, f := range r.over(underlay) {
			carried = append(carried, r.carried(f))
			pinged = append(pinged, r.pinged(f))
		}
		printTable(w, [][]string{
			{"", tcpOne, "", "", "", tcpFour, "", "", "", smallFrames, "", "", ""},
			{"over " + underlay, "Gbit/s", "to vxlan", "CPU", "own", "Gbit/s", "to vxlan", "CPU", "own", "kpps", "to vxlan", "CPU", "own"},
		}, carried)
		printTable(w, [][]string{
			{"", "idle", "", "", "TCP x1", ""},
			{"ping over " + underlay, "p50 us", "to vxlan", "p99 us", "p50 us", "p99 us"},
		}, pinged)
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(w, "Not installed, and so not measured: %s. `make bench-peers` installs them.\n\n", strings.Join(r.Missing, ", "))
	}
	for _, f := range r.Rows {
		for _, p := range f.Problems {
			fmt.Fprintf(w, "%s over %s: %s\n", f.Row, f.Underlay, p)
		}
	}
}

// cell returns a figure as text, if there is one.
func cell(format string, v float64, ok bool) string {
	if !ok {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

func (f *figures) cell(format, what string) string {
	v, ok := f.median(what)
	return cell(format, v, ok)
}

// carried returns the cells of what a row carried.
func (r *report) carried(f *figures) []string {
	cells := []string{f.Row}
	for _, what := range []string{tcpOne, tcpFour, smallFrames} {
		format := "%.2f"
		if what == smallFrames {
			format = "%.0f"
		}
		v, ok := r.ratio(f, what)
		cells = append(cells, f.cell(format, what), cell("%.2f", v, ok), f.cell("%.2f", what+cpu), f.cell("%.2f", what+ownCPU))
	}
	return cells
}

// pinged returns the cells of what pings took.
func (r *report) pinged(f *figures) []string {
	v, ok := r.added(f)
	return []string{f.Row, f.cell("%.0f", idlePing), cell("%+.0f", v, ok), f.cell("%.0f", idlePing+p99), f.cell("%.0f", loadedPing), f.cell("%.0f", loadedPing+p99)}
}

// added returns how many microseconds more than over the baseline an idle ping
// takes.
func (r *report) added(f *figures) (float64, bool) {
	if f == nil {
		return 0, false
	}
	v, ok := f.median(idlePing)
	base, also := r.find(baseline, f.Underlay).median(idlePing)
	return v - base, ok && also
}

// printTable prints cells in columns, the first to the left, the others to the
// right. A column without a figure is left out, and a table without figures too.
func printTable(w io.Writer, heads, rows [][]string) {
	var width []int // 0: left out
	for i := range heads[0] {
		if i > 0 && !slices.ContainsFunc(rows, func(row []string) bool { return row[i] != "-" }) {
			width = append(width, 0)
			continue
		}
		most := 0
		for _, line := range slices.Concat(heads, rows) {
			most = max(most, utf8.RuneCountInString(line[i]))
		}
		width = append(width, most)
	}
	if !slices.ContainsFunc(width[1:], func(n int) bool { return n > 0 }) {
		return
	}
	for _, line := range slices.Concat(heads, rows) {
		var b strings.Builder
		for i, c := range line {
			pad := strings.Repeat(" ", max(0, width[i]-utf8.RuneCountInString(c)))
			switch {
			case i == 0:
				b.WriteString(c + pad)
			case width[i] > 0:
				b.WriteString("  " + pad + c)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	fmt.Fprintln(w)
}
