package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestExpandTAP(t *testing.T) {
	for _, v := range []struct{ pattern, peer, end, taken, want string }{
		{"l2-{peer}", "lyon", "office", "", "l2-lyon"},
		{"l2-{end}", "lyon", "office", "", "l2-office"},
		{"{peer}.{end}", "lyon", "office", "", "lyon.office"},
		{"{peer}-{n}", "lyon", "office", "", "lyon-0"},
		{"{peer}-{n}", "lyon", "office", "lyon-0 lyon-1 lyon-3", "lyon-2"},
		{"{n}{peer}{n}", "lyon", "office", "0lyon0", "1lyon1"},
		{"l2-{end}", "lyon", `"office"`, "", "l2-office"}, // as wire.EndID shows it
		{"l2-{end}", "lyon", "100", "", "l2-100"},
		{"l2-{peer}", "", "", "", "l2-"},
		{"l2-{peer}", "a b/c:d%e\n\x00f", "", "", "l2-a_b_c_d_e__f"},
		{"l2-{peer}", "größe", "", "", "l2-gr__e"},
		{"l2-{peer}", "\xff\xfe", "", "", "l2-__"},
		{"l2-{peer}", "lyon.example.net", "", "", "l2-lyon.example"},
		{"l2-{peer}-{n}", "lyon.example.net", "", "", "l2-lyon.examp-0"},
		{"{peer}-{end}", "lyon.example.net", "office", "", "lyon.exa-office"},
		{"{peer}-{end}", "lyon", "the.office.upstairs", "", "lyon-the.office"},
		{"{peer}-{end}", "lyon.example.net", "the.office.upstairs", "", "lyon.ex-the.off"},
		{"{peer}{peer}", "lyon.example.net", "", "", "lyon.exlyon.ex"},
		{"{peer}", strings.Repeat("x", 5000), "", "", "xxxxxxxxxxxxxxx"},
		{"{peer}", "{n}", "", "", "_n_"},
	} {
		taken := strings.Fields(v.taken)
		got, err := ExpandTAP(v.pattern, v.peer, v.end, func(name string) bool { return slices.Contains(taken, name) })
		if err != nil || got != v.want {
			t.Errorf("%s of %q and %q: %q, %v, want %q", v.pattern, v.peer, v.end, got, err, v.want)
		}
	}
}

func TestExpandTAPRefuses(t *testing.T) {
	all := func(string) bool { return true }
	none := func(string) bool { return false }
	for _, v := range []struct {
		pattern, peer string
		taken         func(string) bool
		want          string
	}{
		{"l2-{peer}", "lyon", all, `tap "l2-{peer}": l2-lyon is taken, want {n} in the pattern`},
		{"{n}", "lyon", all, `tap "{n}": all of 100000 names are taken`},
		{"12345678901234{n}", "lyon", all, `tap "12345678901234{n}": "1234567890123410" is no name of an interface`},
		{"{peer}", "", none, `tap "{peer}": "" is no name of an interface`},
		{"{peer}", "..", none, `tap "{peer}": ".." is no name of an interface`},
	} {
		if got, err := ExpandTAP(v.pattern, v.peer, "", v.taken); err == nil || err.Error() != v.want {
			t.Errorf("%s of %q: %q, %v, want %s", v.pattern, v.peer, got, err, v.want)
		}
	}
}

// FuzzExpandTAP wants of whatever peers call themselves the name of an interface
// or an error.
func FuzzExpandTAP(f *testing.F) {
	f.Add("l2-{peer}-{n}", "lyon", "office")
	f.Add("{end}{peer}", "größe\x00/", "..")
	f.Fuzz(func(t *testing.T, pattern, peer, end string) {
		if !isPattern(pattern) {
			return
		}
		name, err := ExpandTAP(pattern, peer, end, func(name string) bool { return strings.HasSuffix(name, "0") })
		if err == nil && interfaceName(name) != "" {
			t.Error(fmt.Sprintf("%q of %q and %q", name, peer, end), "is no name of an interface")
		}
	})
}
