package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// strict wants every requirement quoted in a test or given a reason, not both.
const strict = true

func TestUpToDate(t *testing.T) {
	files, err := generate(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.got != f.want {
			t.Errorf("make conformance changes:\n%s", difference(f.name, f.got, f.want))
		}
	}
}

func TestCovered(t *testing.T) {
	list, err := collect(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range uncovered(list) {
		if strict {
			t.Error(problem)
		}
	}
}

// TestList holds the list to the number of sentences with MUST that the RFC has,
// and the tables to showing each as another.
func TestList(t *testing.T) {
	list, err := parse(rfc3931)
	if err != nil {
		t.Fatal(err)
	}
	got, shortened, seen := map[string]int{}, map[string]string{}, map[string]bool{}
	for _, r := range list {
		top, _, _ := strings.Cut(r.section, ".")
		if strings.Contains(r.text, "MUST") {
			got[top]++
		}
		if seen[r.place()+r.text] {
			t.Errorf("%s: twice: %s", r.place(), r.text)
		}
		seen[r.place()+r.text] = true
		short := shorten(r.text)
		if other, ok := shortened[short]; ok && other != r.text {
			t.Errorf("%q stands for %q and %q", short, other, r.text)
		}
		shortened[short] = r.text
		if n := len([]rune(short)); n > width {
			t.Errorf("%q: %d characters, want at most %d", short, n, width)
		}
		if strings.Contains(r.text, "MUST") && !strings.Contains(short, "MUST") {
			t.Errorf("%q shortened to %q", r.text, short)
		}
	}
	for _, v := range []struct {
		section string
		want    int
	}{{"3", 8}, {"4", 26}, {"5", 84}, {"7", 8}, {"8", 2}} {
		if got[v.section] != v.want {
			t.Errorf("section %s: %d sentences, want %d", v.section, got[v.section], v.want)
		}
	}
	if len(got) != len(titles) {
		t.Errorf("sections %v, want those of %v", got, titles)
	}
}

func TestParse(t *testing.T) {
	got, err := parse(`
# 1

Frames MUST
go.

# 5.4.1 Message Type

A well- known thing MUST be.
No test: it binds
nobody.

idle: Receive SCCRQ: Send StopCCN
Departure: silence is safer.
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []requirement{
		{section: "1", text: "Frames MUST go."},
		{section: "5.4.1", avp: "Message Type", text: "A well-known thing MUST be.", reason: "it binds nobody."},
		{section: "5.4.1", avp: "Message Type", text: "idle: Receive SCCRQ: Send StopCCN", reason: "silence is safer.", departs: true},
	}
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for _, v := range []struct{ text, want string }{
		{"It MUST be.", `"It MUST be." stands under no section`},
		{"# 1\n\nNo test: no.", `section 1: a reason without a sentence: "no."`},
		{"# 1\n\nIt MUST be.\nDeparture:", `section 1: "It MUST be.": no reason given`},
		{"# 1\n\nIt is.", `section 1: "It is.": no MUST and no departure`},
	} {
		if _, err := parse(v.text); err == nil || err.Error() != v.want {
			t.Errorf("%q: %v, want %s", v.text, err, v.want)
		}
	}
}

func same(a, b requirement) bool {
	return a.place() == b.place() && a.text == b.text && a.reason == b.reason && a.departs == b.departs
}

func TestCoveredBy(t *testing.T) {
	r := requirement{text: `The "loser" MUST drop vendor-specific AVPs.`}
	for _, v := range []struct {
		comment string
		want    bool
	}{
		{"TestX drops. RFC 3931: \"The \"loser\" MUST\ndrop vendor-\nspecific AVPs.\"", true},
		{"“The 'loser' MUST drop vendor-specific AVPs”, and more", true},
		{"The loser MUST drop AVPs.", false},
		{"The loser must drop vendor-specific AVPs.", false},
		{"", false},
	} {
		if got := r.covered(v.comment); got != v.want {
			t.Errorf("%q: %t, want %t", v.comment, got, v.want)
		}
	}
}

func TestQuotes(t *testing.T) {
	module := fstest.MapFS{
		"l2tpv3/wire/a_test.go": {Data: []byte(`// Package wire is not a quote.
package wire

// Free-standing.

// Vectors are for all.
var vectors = []int{
	1, // one
}

// TestFirst uses nothing.
func TestFirst(t *testing.T) {
	// Inside.
	_ = 1 // Behind.
}

// TestSecond uses all.
func TestSecond(t *testing.T) { help(t) }

// Nobody calls it.
func orphan() {}

// TestMain is no test.
func TestMain(m *testing.M) {}
`)},
		"l2tpv3/wire/b_test.go":      {Data: []byte("package wire_test\n\n// Help.\nfunc help() { _ = vectors }\n")},
		"l2tpv3/wire/c.go":           {Data: []byte("package wire\n\n// TestThird is none.\nfunc TestThird() {}\n")},
		"l2tpv3/wire/testdata/d.go":  {Data: []byte("not Go")},
		"testbed/conformance/e.go":   {Data: []byte("not Go")},
		"l2tpv3/control/con_test.go": {Data: []byte("package control\n\n// FuzzX.\nfunc FuzzX(f *testing.F) {}\n")},
	}
	found, err := quotes(module)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range found {
		got = append(got, q.file+" "+q.test+": "+strings.TrimSpace(q.text))
	}
	want := []string{
		"l2tpv3/control/con_test.go control.FuzzX: FuzzX.",
		"l2tpv3/wire/a_test.go wire.TestFirst: Behind.",
		"l2tpv3/wire/a_test.go wire.TestFirst: Inside.",
		"l2tpv3/wire/a_test.go wire.TestFirst: TestFirst uses nothing.",
		"l2tpv3/wire/a_test.go wire.TestSecond: Help.",
		"l2tpv3/wire/a_test.go wire.TestSecond: TestSecond uses all.",
		"l2tpv3/wire/a_test.go wire.TestSecond: Vectors are for all.",
		"l2tpv3/wire/a_test.go wire.TestSecond: one",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	module["broken_test.go"] = &fstest.MapFile{Data: []byte("package")}
	if _, err := quotes(module); err == nil || !strings.Contains(err.Error(), "broken_test.go") {
		t.Errorf("a test that is not Go: %v, want an error that names it", err)
	}
}

func TestUncovered(t *testing.T) {
	shown := []quote{{test: "wire.TestX"}}
	got := uncovered([]requirement{
		{section: "1", text: "a", quotes: shown},
		{section: "2", text: "b", reason: "no"},
		{section: "3", text: "c"},
		{section: "4", text: "d", reason: "no", quotes: shown},
	})
	want := []string{
		"3: no test quotes it: c",
		"4: quoted in wire.TestX, and has a reason for not being quoted: d",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestShorten(t *testing.T) {
	long := strings.Repeat("word ", 40)
	for _, v := range []struct{ text, want string }{
		{"It MUST be.", "It MUST be."},
		{"It MUST be " + long, "It MUST be " + strings.TrimSpace(long[:125]) + " …"},
		{long + "and then it MUST be " + long, long[:55] + "… word word word and then it MUST be word word word word word word word word …"},
	} {
		if got := shorten(v.text); got != v.want {
			t.Errorf("%q: %q, want %q", v.text, got, v.want)
		}
	}
}

func TestTables(t *testing.T) {
	list := []requirement{
		{section: "3.1", text: "It MUST | be.", quotes: []quote{{"a.TestA", "a_test.go", ""}, {"a.TestA", "a_test.go", ""}, {"b.TestB", "b_test.go", ""}}},
		{section: "4", text: "It MUST go.", reason: "Nobody goes."},
		{section: "5.4.1", avp: "Host Name", text: "Nor MUST it.", reason: "It does.", departs: true},
		{section: "7", text: "It MUST stay."},
	}
	full := everything(list)
	for _, row := range []string{
		"| 3.1 | It MUST \\| be. | [`a.TestA`](a_test.go), [`b.TestB`](b_test.go) |\n",
		"| 4 | It MUST go. | Nobody goes. |\n",
		"| 5.4.1 Host Name | Nor MUST it. | **Departure.** It does. |\n",
		"| 7 | It MUST stay. | *open* |\n",
	} {
		if !strings.Contains(full, row) {
			t.Errorf("no row %q in\n%s", row, full)
		}
	}
	part := summary(list)
	for _, row := range []string{
		"| 3 Protocol Overview | 1 | 1 | 0 | 0 | 0 |\n",
		"| 5 Control Message Attribute Value Pairs | 1 | 0 | 0 | 1 | 0 |\n",
		"| all | 4 | 1 | 1 | 1 | 1 |\n",
		"| 4 | It MUST go. | Nobody goes. |\n",
		"| 5.4.1 Host Name | Nor MUST it. | **Departure.** It does. |\n",
	} {
		if !strings.Contains(part, row) {
			t.Errorf("no row %q in\n%s", row, part)
		}
	}
}

func TestInsert(t *testing.T) {
	got, err := insert("above\n"+begin+"old\n"+end+"below\n", "new\n")
	if want := "above\n" + begin + "\nnew\n\n" + end + "below\n"; got != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, readme := range []string{"", begin, end + begin} {
		if got, err := insert(readme, "new\n"); err == nil {
			t.Errorf("%q: %q, want an error", readme, got)
		}
	}
}

func TestDifference(t *testing.T) {
	for _, v := range []struct{ got, want, say string }{
		{"a\nb\n", "a\nb\n", ""},
		{"a\nb\n", "a\nc\n", "f: - b\nf: + c\n"},
		{"a\nb\n", "b\na\n", "f: its lines stand in another order\n"},
	} {
		if say := difference("f", v.got, v.want); say != v.say {
			t.Errorf("%q to %q: %q, want %q", v.got, v.want, say, v.say)
		}
	}
}

// TestFiles writes into a module and finds nothing to do afterwards.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir); err == nil {
		t.Error("a folder without README.md: no error")
	}
	if err := os.WriteFile(dir+"/README.md", []byte("# X\n\n"+begin+end), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := compare(dir); err == nil {
		t.Error("nothing written yet: no error")
	}
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	if err := compare(dir); err != nil {
		t.Errorf("after writing: %v", err)
	}
}
