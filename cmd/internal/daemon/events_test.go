package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanwire/cmd/internal/api"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/wire"
)

// TestShowErrors has a peer report errors of its circuit.
func TestShowErrors(t *testing.T) {
	e := control.Event{Kind: control.SessionErrors, Tunnel: "paris", Session: "paris/office", Errors: wire.CircuitErrors{BufferOverruns: 3, AlignmentErrors: 1}}
	want := api.Event{Event: "session errors", Tunnel: "paris", Session: "paris/office",
		Errors: &api.Errors{BufferOverruns: 3, AlignmentErrors: 1}}
	if d := cmp.Diff(want, show(&l2tpv3.Event{Event: e})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
