package daemon

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spanwire/cmd/internal/api"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/l2tpv2"
)

func TestRefusals(t *testing.T) {
	at := time.Unix(1e9, 0)
	var s l2tpv3.Status
	if got := refusals(&s); got != nil {
		t.Errorf("%v, want none", got)
	}
	s.Refused[control.DropDigest] = l2tpv3.Refusal{Count: 3, Last: control.Dropped{Time: at, From: netip.MustParseAddrPort("192.0.2.2:1701")}}
	s.Refused[control.DropNoTunnel] = l2tpv3.Refusal{Count: 1, Last: control.Dropped{Time: at, From: netip.MustParseAddrPort("[2001:db8::1]:0")}}
	want := []api.Refusal{
		{Reason: "wrong_digest", Count: 3, Last: at, From: "192.0.2.2:1701", Meaning: meanings[control.DropDigest]},
		{Reason: "no_tunnel", Count: 1, Last: at, From: "2001:db8::1", Meaning: meanings[control.DropNoTunnel]},
	}
	if d := cmp.Diff(want, refusals(&s)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for why := control.Drop(1); why < control.Drops; why++ {
		if meanings[why] == "" {
			t.Errorf("%v has no meaning", why)
		}
	}
	for why := l2tpv2.Drop(1); why < l2tpv2.Drops; why++ {
		if meaningsV2[why] == "" {
			t.Errorf("%v of L2TPv2 has no meaning", why)
		}
	}
	s.RefusedV2[l2tpv2.DropTie] = l2tpv3.Refusal{Count: 2, Last: control.Dropped{Time: at, From: netip.MustParseAddrPort("192.0.2.3:1701")}}
	if got := refusals(&s); len(got) != 3 || got[2].Reason != "v2_tie" || got[2].Count != 2 || got[2].Meaning == "" {
		t.Errorf("%+v, want a tie of L2TPv2 behind the others", got)
	}
}

// TestRefusalLog has more refused than there are lines for: each look has one, and
// no reason waits for ever.
func TestRefusalLog(t *testing.T) {
	d, written := newDropLog()
	l := refusalLog{log: d.log}
	var s l2tpv3.Status
	refuse := func(why control.Drop, n uint64) {
		s.Refused[why].Count += n
		s.Refused[why].Last.From = netip.MustParseAddrPort("192.0.2.2:1701")
	}
	look := func() {
		counts := refusedOf(&s.Refused, &s.RefusedV2)
		l.look(&counts)
	}
	look()
	if got := written(); got != "" {
		t.Errorf("%q, want nothing", got)
	}
	refuse(control.DropDigest, 2)
	look()
	if got, want := written(), "msg=\"control messages refused\" reason=wrong_digest count=2 from=192.0.2.2:1701 meaning=\"no secret here makes the digest: the secrets of the two sides differ\"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	look()
	if got := written(); got != "" {
		t.Errorf("%q, want nothing", got)
	}
	// A flood of one reason, while others come once.
	refuse(control.DropNoTunnel, 1)
	refuse(control.DropQueue, 1)
	var lines []string
	for range 20 {
		refuse(control.DropDigest, 1e6)
		look()
		got := written()
		if strings.Count(got, "\n") > 1 {
			t.Fatalf("%q, want one line", got)
		}
		if got != "" {
			lines = append(lines, strings.Join(strings.Fields(got)[3:5], " "))
		}
	}
	want := []string{"reason=no_tunnel count=1", "reason=queue count=1", "reason=wrong_digest count=3000000", "reason=wrong_digest count=1000000",
		"reason=wrong_digest count=1000000", "reason=wrong_digest count=2000000", "reason=wrong_digest count=4000000", "reason=wrong_digest count=8000000"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for range 200 {
		look()
	}
	if got := written(); strings.Count(got, "\n") != 1 {
		t.Errorf("%q, want the rest in one line", got)
	}
	refuse(control.DropDigest, 1) // again, after it was quiet
	look()
	if got := written(); !strings.Contains(got, "count=1 ") {
		t.Errorf("%q, want a line at once", got)
	}
	if n := testing.AllocsPerRun(100, look); n != 0 {
		t.Errorf("%v allocations a look at nothing new, want 0", n)
	}
}
