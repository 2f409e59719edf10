package daemon

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// TestErrorReports has a segment refuse frames, and wants the peer told no more
// than once in 60 seconds, and of what is new alone.
func TestErrorReports(t *testing.T) {
	var told []string
	r := errorReports{report: func(session string, e wire.CircuitErrors) {
		told = append(told, fmt.Sprintf("%s %d", session, e.BufferOverruns))
	}}
	now := time.Unix(1000, 0)
	look := func(id uint32, refused uint64, want ...string) {
		t.Helper()
		session, static := counted{name: "paris/office", dynamic: true, id: id}, counted{name: "paris/static", id: 3}
		session.drops[pseudowire.DropPortWrite] = refused
		static.drops[pseudowire.DropPortWrite] = 9
		told = nil
		r.look([]counted{session, static}, now)
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	}
	look(7, 0)
	look(7, 3, "paris/office 3")
	now = now.Add(59 * time.Second)
	look(7, 5)
	now = now.Add(time.Second)
	look(7, 5, "paris/office 5")
	now = now.Add(time.Minute)
	look(7, 5)
	look(8, 5) // another call, which counts from 0
	look(8, 6, "paris/office 1")
	now = now.Add(time.Minute)
	look(9, 2) // the session was removed and came again
	look(9, 4, "paris/office 2")
}
