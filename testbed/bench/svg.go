package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// A panel is one column of the picture.
type panel struct {
	title, what, format string
}

var panels = []panel{
	{"TCP, 1 stream, Gbit/s", tcpOne, "%.1f"},
	{"TCP, 4 streams, Gbit/s", tcpFour, "%.1f"},
	{"small frames, kpps", smallFrames, "%.0f"},
	{"ping, idle, µs (less is better)", idlePing, "%.0f"},
}

// titles are what the rows are called in the picture.
var titles = map[string]string{
	rawRow:   "bare veth",
	vxlanRow: "kernel vxlan",
	udpRow:   "Spanwire, UDP",
	ipRow:    "Spanwire, IP 115",

	interfaceRow: "interfaces taken",
	taggedRow:    "the same, tagged",
	vlanRow:      "VLAN 10 to VLAN 20",
	hubRow:       "a hub of four",

	wireguardGo: "wireguard-go",
	openvpnRow:  "openvpn tap, no cipher",
	tincRow:     "tinc switch, no cipher",
}

// The picture's measures, in its units.
const (
	margin     = 18
	labelWidth = 158
	panelWidth = 186
	barWidth   = 92 // of the longest
	barHeight  = 12
	rowHeight  = 21
)

// style gives the picture a ground of its own, so that it can be read on a light
// page and on a dark one.
const style = `text{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2328}
.quiet{fill:#59636e}.head{font-weight:600;font-size:13px}.number{font-size:11px}
.ground{fill:#ffffff;stroke:#d1d9e0}.bar{fill:#afb8c1}.base{fill:#818b98}.ours{fill:#0969da}.line{stroke:#d1d9e0}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.quiet{fill:#9198a1}
.ground{fill:#0d1117;stroke:#3d444d}.bar{fill:#4b535d}.base{fill:#7d8590}.ours{fill:#4493f8}.line{stroke:#3d444d}}`

// svg draws the rows: a bar for each figure, with the ratio to the baseline behind
// it.
func (r *report) svg() string {
	width := 2*margin + labelWidth + len(panels)*panelWidth
	var b strings.Builder
	y := margin + 10
	text := func(x, y int, class, s string) {
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" class=\"%s\">%s</text>\n", x, y, class, escape(s))
	}
	for _, underlay := range underlays {
		rows := r.over(underlay)
		if len(rows) == 0 {
			continue
		}
		text(margin, y, "head", "over "+article(underlay))
		for i, p := range panels {
			text(margin+labelWidth+i*panelWidth, y, "quiet", p.title)
		}
		y += 8
		fmt.Fprintf(&b, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" class=\"line\"/>\n", margin, y, width-margin, y)
		y += 6
		for _, f := range rows {
			base := y + barHeight - 2
			text(margin, base, "", titles[f.Row])
			for i, p := range panels {
				x := margin + labelWidth + i*panelWidth
				v, ok := f.median(p.what)
				if !ok {
					text(x, base, "quiet number", "–")
					continue
				}
				n := max(1, int(v/r.most(rows, p.what)*barWidth+0.5))
				fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"2\" class=\"%s\"/>\n", x, y, n, barHeight, class(f.Row))
				said := fmt.Sprintf(p.format, v)
				if to, ok := r.ratio(f, p.what); ok {
					said += fmt.Sprintf("  ×%.2f", to)
				}
				text(x+n+5, base, "number", said)
			}
			y += rowHeight
		}
		y += 20
	}
	text(margin, y, "quiet number", fmt.Sprintf("× is the ratio to kernel vxlan over the same underlay. Median of %d rounds in turn; %s; both ends and the load on the same machine.", r.Rounds, r.Machine))
	y += margin - 4
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="Spanwire next to kernel vxlan and others">
<style>%s</style>
<rect x="0.5" y="0.5" width="%d" height="%d" rx="8" class="ground"/>
%s</svg>
`, width, y, width, y, escape(style), width-1, y-1, b.String())
}

// most returns the largest median of some rows.
func (r *report) most(rows []*figures, what string) (most float64) {
	for _, f := range rows {
		v, _ := f.median(what)
		most = max(most, v)
	}
	return most
}

func article(underlay string) string {
	if underlay == wireLike {
		return "a wire-like veth"
	}
	return "a " + underlay
}

func class(row string) string {
	switch row {
	case udpRow, ipRow, interfaceRow, taggedRow, vlanRow, hubRow:
		return "ours"
	case baseline:
		return "base"
	}
	return "bar"
}

// escape makes text of an XML file of text.
func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // to a Builder, which never fails
	return b.String()
}
