package daemon

import (
	"log/slog"
	"testing"
	"time"

	"spanwire/l2tpv3"
	"spanwire/pseudowire"
)

// TestLookRests has a daemon look seldom while nothing happens, and each time while
// something does.
func TestLookRests(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	l := &look{drops: dropLog{log: log}, refused: refusalLog{log: log}}
	var g l2tpv3.Glance
	looks := func(times int) (n int) {
		for range times {
			if l.due() {
				l.look(&g, time.Time{})
				n++
			}
		}
		return n
	}
	if n := looks(100); n != 100/(restful+1) {
		t.Errorf("nothing happens: %d looks in 100 s, want %d", n, 100/(restful+1))
	}
	looks(restful) // up to the next one
	drops := func() { g.Drops[pseudowire.DropSession]++ }
	n := 0
	for range 10 {
		drops()
		n += looks(1)
	}
	if n < 9 {
		t.Errorf("frames are dropped: %d looks in 10 s, want each second", n)
	}
}
