package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fake returns a report of three rounds over a plain veth, in which Spanwire carries
// so many Gbit/s, and vxlan 16, 10 and 12.
func fake(udp ...float64) *report {
	return &report{
		Machine: "2 processors", Version: "v1", Rounds: 3,
		Rows: []*figures{
			{Row: vxlanRow, Underlay: plain, Values: map[string][]float64{tcpOne: {16, 10, 12}, idlePing: {50, 52, 54}}},
			{Row: udpRow, Underlay: plain, Values: map[string][]float64{tcpOne: udp, idlePing: {80, 82, 84}}},
		},
	}
}

func TestGoals(t *testing.T) {
	got := fake(6, 9, 3).goals()
	want := []goal{
		{Name: "UDP: TCP x1 to vxlan, plain veth", Value: 0.5, Least: 0.50, Aim: 0.75, Met: leastMet},
		{Name: "UDP: idle ping beyond vxlan's, plain veth", Unit: "us", Value: 30, Least: 40, Aim: 15, Most: true, Met: leastMet},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("goals of what was measured, -want +got:\n%s", diff)
	}
	for _, test := range []struct {
		g    goal
		want string
	}{
		{goal{Value: 0.49, Least: 0.5, Aim: 0.75}, notMet},
		{goal{Value: 0.75, Least: 0.5, Aim: 0.75}, aimMet},
		{goal{Value: 41, Least: 40, Aim: 15, Most: true}, notMet},
		{goal{Value: 40, Least: 40, Aim: 15, Most: true}, leastMet},
		{goal{Value: 15, Least: 40, Aim: 15, Most: true}, aimMet},
	} {
		if got := test.g.judge(); got != test.want {
			t.Errorf("%+v: %s, want %s", test.g, got, test.want)
		}
	}
}

func TestCompare(t *testing.T) {
	old, now := fake(6, 6, 6), fake(9, 8, 10)
	for _, f := range now.Rows { // a machine that is half as fast again
		if f.Row == vxlanRow {
			f.Values[tcpOne] = []float64{18, 18, 18}
		}
	}
	now.Rows = append(now.Rows, &figures{Row: ipRow, Underlay: plain, Values: map[string][]float64{tcpOne: {1}}})
	var b strings.Builder
	printChanges(&b, old, compare(old, now))
	want := `compared with v1                  before    now   change  vxlan's taken off   rounds
vxlan over plain veth: TCP x1      12.00  18.00  +50.0 %                  -    apart
vxlan over plain veth: ping idle      52     52   +0.0 %                  -  overlap
udp over plain veth: TCP x1         6.00   9.00  +50.0 %             +0.0 %    apart
udp over plain veth: ping idle        82     82   +0.0 %             +0.0 %  overlap

`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("changes, -want +got:\n%s", diff)
	}
	b.Reset()
	printChanges(&b, &report{Version: "v0"}, compare(&report{}, now))
	if got, want := b.String(), "nothing to compare with v0\n"; got != want {
		t.Errorf("against an empty report: %q, want %q", got, want)
	}
}

func TestReportIsReadAsWritten(t *testing.T) {
	want := fake(6, 9, 3)
	want.Goals = want.goals()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "old.json")
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read again, -want +got:\n%s", diff)
	}
	if err := os.WriteFile(name, []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readReport(name); err == nil || !strings.HasPrefix(err.Error(), name) {
		t.Errorf("what is no report: %v, want an error that names the file", err)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	printTable(&b, [][]string{{"row", "a", "b"}}, [][]string{{"one", "-", "1.00"}, {"µ", "-", "-"}})
	if diff := cmp.Diff("row     b\none  1.00\nµ       -\n\n", b.String()); diff != "" {
		t.Errorf("a table, -want +got:\n%s", diff)
	}
	b.Reset()
	printTable(&b, [][]string{{"row", "a"}}, [][]string{{"one", "-"}})
	if b.Len() > 0 {
		t.Errorf("a table without figures: %q, want nothing", b.String())
	}
}

func TestPicture(t *testing.T) {
	r := fake(6, 9, 3)
	r.Machine = "<2 & more>"
	picture := r.svg()
	bars, texts := 0, ""
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, picture)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "rect" {
				bars++
			}
		case xml.CharData:
			texts += string(token) + "\n"
		}
	}
	if want := 1 + 4; bars != want {
		t.Errorf("%d rectangles, want %d: the ground, and two bars a row", bars, want)
	}
	for _, want := range []string{"Spanwire, UDP", "6.0  ×0.50", "82  ×1.58", "<2 & more>"} {
		if !strings.Contains(texts, want) {
			t.Errorf("the picture does not say %q:\n%s", want, texts)
		}
	}
}

func TestSelectRows(t *testing.T) {
	selected, err := selectRows("ip/wire,vxlan")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range selected {
		got = append(got, s.name+" over "+s.underlay)
	}
	want := []string{vxlanRow + " over " + plain, vxlanRow + " over " + wireLike, ipRow + " over " + wireLike}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows, -want +got:\n%s", diff)
	}
	if _, err := selectRows("vxlan,pigeons"); err == nil || !strings.Contains(err.Error(), `"pigeons"`) {
		t.Errorf("a row that there is not: %v, want an error that names it", err)
	}
}
