package daemon

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/dataplane"
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

func twoSessions() (s *l2tpv3.Status, a, b *dataplane.Stats) {
	s = &l2tpv3.Status{Tunnels: []l2tpv3.TunnelStatus{
		{Sessions: []l2tpv3.SessionStatus{{Name: "paris/a"}}},
		{Sessions: []l2tpv3.SessionStatus{{Name: "rome/b"}}},
	}}
	return s, &s.Tunnels[0].Sessions[0].Stats, &s.Tunnels[1].Sessions[0].Stats
}

func TestDropLogTellsWhatGrew(t *testing.T) {
	l, written := newDropLog()
	s, a, b := twoSessions()
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"nothing yet", func() {}, ""},
		{"no session's", func() { s.Drops[pseudowire.DropSession] = 3 },
			"msg=\"frames dropped\" reason=rx_unknown_session count=3\n"},
		{"nothing new", func() {}, ""},
		{"one session's", func() { a.Drops[pseudowire.DropCookie] = 5 },
			"msg=\"frames dropped\" reason=rx_cookie_discards count=5 sessions=paris/a\n"},
		{"one reason in two sessions, another in one", func() {
			a.Drops[pseudowire.DropCookie] = 6
			b.Drops[pseudowire.DropCookie] = 10
			b.Drops[pseudowire.DropTooBig] = 1
		}, "msg=\"frames dropped\" reason=rx_cookie_discards count=11 sessions=\"paris/a rome/b\"\n" +
			"msg=\"frames dropped\" reason=tx_too_big count=1 sessions=rome/b\n"},
	} {
		step.do()
		l.look(s)
		if d := cmp.Diff(step.want, written()); d != "" {
			t.Errorf("%s: log (-want +got):\n%s", step.what, d)
		}
	}
}

func TestDropLogIsIdleWhenNothingDrops(t *testing.T) {
	l, _ := newDropLog()
	s, a, _ := twoSessions()
	a.Drops[pseudowire.DropCookie] = 5
	l.look(s)
	if n := testing.AllocsPerRun(100, func() { l.look(s) }); n != 0 {
		t.Errorf("%v allocations a look, want 0", n)
	}
}
