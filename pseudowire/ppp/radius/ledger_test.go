package radius

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A story is a ledger with its own clock.
type story struct {
	t *testing.T
	*ledger
	now time.Time
}

func newStory(t *testing.T, most, limit int, on bool) *story {
	now := time.Unix(1_700_000_000, 0)
	return &story{t, newLedger(most, limit, on, now), now}
}

func (s *story) after(d time.Duration) { s.now = s.now.Add(d) }

func (s *story) begin(id string, interim time.Duration, used *uint64) *entry {
	return s.ledger.start(&Session{ID: id, Interim: interim, Started: s.now}, func() Usage { return Usage{InputOctets: *used} })
}

func describe(e *entry, r record) string {
	name := map[kind]string{start: "start", stop: "stop", interim: "interim", accountingOn: "on", accountingOff: "off"}[r.kind]
	if e.session == nil {
		return name
	}
	return fmt.Sprintf("%s %s %d", name, e.session.ID, r.usage.InputOctets)
}

// want wants a record to be told now, and says what becomes of it.
func (s *story) want(want string, delivered bool) {
	s.t.Helper()
	s.done(s.take(want), delivered, s.now)
}

func (s *story) take(want string) *entry {
	s.t.Helper()
	e, r, ok := s.ledger.take(s.now)
	if !ok {
		s.t.Fatalf("nothing is told, want %q", want)
	}
	if got := describe(e, r); got != want {
		s.t.Fatalf("told %q, want %q", got, want)
	}
	return e
}

func (s *story) wantSilence() {
	s.t.Helper()
	if e, r, ok := s.ledger.take(s.now); ok {
		s.t.Fatalf("told %q, want silence", describe(e, r))
	}
}

func TestLedger(t *testing.T) {
	s := newStory(t, 4, 100, true)
	var used uint64
	a := s.begin("a", 5*time.Minute, &used)
	s.want("on", false) // nobody is there
	s.wantSilence()
	s.after(10 * time.Second)
	on := s.take("on")
	s.wantSilence() // for it may be that the On comes later than a start
	s.done(on, true, s.now)
	s.want("start a 0", true)
	s.wantSilence()
	if got, want := s.deadline(), s.now.Add(5*time.Minute); !got.Equal(want) {
		t.Errorf("deadline in %v, want 5 minutes", got.Sub(s.now))
	}
	used = 7
	s.after(5 * time.Minute)
	s.want("interim a 7", false)
	s.wantSilence() // the next one says more
	used = 9
	s.after(5 * time.Minute)
	s.want("interim a 9", true)
	used = 11
	s.after(time.Minute)
	s.stop(a, UserRequest, s.now)
	used = 12 // what is not its any more
	s.want("stop a 11", false)
	s.wantSilence()
	s.after(firstBackoff)
	s.want("stop a 11", true)
	if len(s.entries) != 0 || s.over != 0 || s.ended.Len() != 0 || len(s.live) != 0 {
		t.Errorf("left %d, %d, %d, %d, want nothing", len(s.entries), s.over, s.ended.Len(), len(s.live))
	}
	if _, ok := s.stop(a, UserRequest, s.now); ok {
		t.Error("stopped twice")
	}
	s.shut(s.now)
	s.want("off", true)
	if !s.settled() {
		t.Error("not settled")
	}
}

// TestLedgerOrder has a session end before its start was told.
func TestLedgerOrder(t *testing.T) {
	s := newStory(t, 4, 100, false)
	used := uint64(1)
	a := s.begin("a", time.Minute, &used)
	e := s.take("start a 0")
	s.stop(a, IdleTimeout, s.now)
	s.wantSilence() // never the two at once
	s.done(e, false, s.now)
	s.after(firstBackoff)
	s.want("start a 0", true)
	s.want("stop a 1", true)

	b := s.begin("b", time.Minute, &used)
	s.want("start b 0", true)
	s.after(time.Minute)
	e = s.take("interim b 1")
	used = 2
	s.stop(b, IdleTimeout, s.now)
	s.done(e, false, s.now)
	s.after(time.Second)
	s.want("stop b 2", true)

	c := s.begin("c", 0, &used)
	s.want("start c 0", true)
	if !s.deadline().IsZero() {
		t.Error("there is a deadline, want none without interim updates")
	}
	used = 3
	s.update(c, s.now)
	s.update(c, s.now)
	s.want("interim c 3", true)
	s.wantSilence()
	s.stop(c, IdleTimeout, s.now)
	s.want("stop c 3", true)
}

// TestLedgerLost has two sessions of an earlier run, of which one is of a kind that
// servers do not take.
func TestLedgerLost(t *testing.T) {
	s := newStory(t, 4, 100, true)
	for _, id := range []string{"a", "b"} {
		s.recover(&Session{ID: id}, record{kind: stop, usage: Usage{InputOctets: 5}}, s.now)
		s.after(time.Second)
	}
	used := uint64(0)
	s.begin("c", 0, &used)
	s.want("stop a 5", false)
	s.after(time.Second)
	s.want("stop b 5", true)
	s.wantSilence()
	for range lostTries - 1 {
		s.after(time.Minute)
		s.want("stop a 5", false)
	}
	s.after(time.Second)
	s.wantSilence()
	s.after(time.Minute)
	s.want("on", true)
	s.want("start c 0", true)
	s.want("stop a 5", true)
	s.wantSilence()
}

// TestLedgerOutage has no server for long, and a room for three.
func TestLedgerOutage(t *testing.T) {
	s := newStory(t, 2, 3, false)
	used := uint64(0)
	var dropped []string
	for i := range 5 {
		e := s.begin(fmt.Sprint(i), time.Minute, &used)
		gone, _ := s.stop(e, UserRequest, s.now)
		for _, e := range gone {
			dropped = append(dropped, e.session.ID)
		}
		s.after(time.Millisecond)
	}
	if got := strings.Join(dropped, " "); got != "0 1" {
		t.Errorf("dropped %q, want the oldest, 0 1", got)
	}
	a, b := s.take("start 2 0"), s.take("start 3 0")
	s.wantSilence() // two at once are what it may
	s.done(a, false, s.now)
	s.done(b, false, s.now)
	told := 0
	for end := s.now.Add(time.Hour); s.now.Before(end); s.after(time.Second) {
		for e, _, ok := s.ledger.take(s.now); ok; e, _, ok = s.ledger.take(s.now) {
			if s.flight > 1 {
				t.Fatal("two at once while no server answers, want one")
			}
			s.done(e, false, s.now)
			told++
		}
	}
	if told > 130 {
		t.Errorf("told %d times in an hour without a server, want no more than each 30 s", told)
	}
	s.after(time.Hour)
	for _, want := range []string{"start", "stop", "start", "stop", "start", "stop"} {
		e, r, ok := s.ledger.take(s.now)
		if !ok || !strings.HasPrefix(describe(e, r), "st") {
			t.Fatalf("nothing told, want %s", want)
		}
		s.done(e, true, s.now)
	}
	if len(s.entries) != 0 {
		t.Errorf("%d sessions left, want none", len(s.entries))
	}
}
