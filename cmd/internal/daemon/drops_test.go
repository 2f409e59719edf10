package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanwire/pseudowire"
)

// newDropLog returns a log of drops and what it has written since last asked.
func newDropLog() (*dropLog, func() string) {
	var b bytes.Buffer
	bare := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}
	l := &dropLog{log: slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: bare}))}
	return l, func() string {
		defer b.Reset()
		return b.String()
	}
}

// A dropsOf is what is dropped of no session and of two.
type dropsOf struct {
	none [pseudowire.Drops]uint64
	all  []counted
}

func twoSessions() *dropsOf { return &dropsOf{all: []counted{{name: "paris/a"}, {name: "rome/b"}}} }

func TestDropLogTellsWhatGrew(t *testing.T) {
	l, written := newDropLog()
	s := twoSessions()
	a, b := &s.all[0].drops, &s.all[1].drops
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"nothing yet", func() {}, ""},
		{"no session's", func() { s.none[pseudowire.DropSession] = 3 },
			"msg=\"frames dropped\" reason=rx_unknown_session count=3\n"},
		{"nothing new", func() {}, ""},
		{"one session's", func() { a[pseudowire.DropCookie] = 5 },
			"msg=\"frames dropped\" reason=rx_cookie_discards count=5 sessions=paris/a\n"},
		{"one reason in two sessions, another in one", func() {
			a[pseudowire.DropCookie] = 6
			b[pseudowire.DropCookie] = 10
			b[pseudowire.DropTooBig] = 1
		}, "msg=\"frames dropped\" reason=rx_cookie_discards count=11 sessions=\"paris/a rome/b\"\n" +
			"msg=\"frames dropped\" reason=tx_too_big count=1 sessions=rome/b\n"},
	} {
		step.do()
		l.look(&s.none, s.all)
		if d := cmp.Diff(step.want, written()); d != "" {
			t.Errorf("%s: log (-want +got):\n%s", step.what, d)
		}
	}
}

func TestDropLogIsIdleWhenNothingDrops(t *testing.T) {
	l, _ := newDropLog()
	s := twoSessions()
	s.all[0].drops[pseudowire.DropCookie] = 5
	l.look(&s.none, s.all)
	if n := testing.AllocsPerRun(100, func() { l.look(&s.none, s.all) }); n != 0 {
		t.Errorf("%v allocations a look, want 0", n)
	}
}

// TestDropLogAndSessionsThatComeAndGo has sessions removed, of which one comes again
// and counts from 0.
func TestDropLogAndSessionsThatComeAndGo(t *testing.T) {
	l, written := newDropLog()
	s := twoSessions()
	s.all[0].drops[pseudowire.DropCookie] = 1000
	l.look(&s.none, s.all)
	written()
	s.all[0].drops[pseudowire.DropCookie] = 2
	l.look(&s.none, s.all)
	if got, want := written(), "msg=\"frames dropped\" reason=rx_cookie_discards count=2 sessions=paris/a\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for i := range 10000 {
		gone := counted{name: fmt.Sprint(i)}
		gone.drops[pseudowire.DropCookie] = 1
		l.look(&s.none, []counted{gone})
	}
	if n := len(l.sessions); n > 1000 {
		t.Errorf("%d sessions are known, and there is one", n)
	}
}

// TestDropLogOfWhatGoesOn wants a line now and then, of few names, which together
// tell all.
func TestDropLogOfWhatGoesOn(t *testing.T) {
	l, written := newDropLog()
	all := make([]counted, 1000)
	for i := range all {
		all[i].name = fmt.Sprint(i)
	}
	var none [pseudowire.Drops]uint64
	lines, octets := 0, 0
	for range 600 {
		for i := range all {
			all[i].drops[pseudowire.DropTooBig]++
		}
		l.look(&none, all)
		got := written()
		lines += strings.Count(got, "\n")
		octets = max(octets, len(got))
	}
	if lines < 10 || lines > 20 || octets > 300 {
		t.Errorf("%d lines in 10 minutes, one of %d octets", lines, octets)
	}
}
