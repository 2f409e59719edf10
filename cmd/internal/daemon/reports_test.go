package daemon

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
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
		session := l2tpv3.SessionStatus{Name: "paris/office", Control: &control.SessionStatus{State: control.Established, Params: control.Params{SessionID: id}}}
		session.Stats.Drops[pseudowire.DropPortWrite] = refused
		static := l2tpv3.SessionStatus{Name: "paris/static"}
		static.Stats.Drops[pseudowire.DropPortWrite] = 9
		told = nil
		r.look(&l2tpv3.Status{Tunnels: []l2tpv3.TunnelStatus{{Sessions: []l2tpv3.SessionStatus{session, static}}}}, now)
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
}
