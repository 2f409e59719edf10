package framerelay

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A story is a dialogue of one LMI with the other end of the line, which the test
// plays, on a clock of its own.
type story struct {
	t testing.TB
	*LMI
	now   time.Time
	lines [][]byte // all frames, in their order
}

// tell starts an LMI.
func tell(t testing.TB, cfg Config) *story {
	t.Helper()
	l, err := NewLMI(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, LMI: l, now: time.Unix(1e9, 0)}
	s.Advance(s.now)
	return s
}

// say has the other end send what message's describe would print.
func (s *story) say(text string) {
	s.t.Helper()
	b := compose(s.t, text).append(nil, s.cfg.HeaderLen)
	s.lines = append(s.lines, b)
	s.Receive(s.now, b)
}

// compose returns the message that describe prints as text.
func compose(t testing.TB, text string) *message {
	t.Helper()
	words := strings.Fields(text)
	forms := map[string]Form{"q933a": AnnexA, "ansi": AnnexD, "cisco": Cisco}
	reports := map[string]byte{"full": fullStatus, "verification": verification, "single": singlePVC}
	kinds := map[string]byte{"ENQUIRY": statusEnquiry, "STATUS": statusMessage}
	m := &message{form: forms[words[0]], kind: kinds[words[1]], report: reports[words[2]]}
	words = words[3:]
	if m.report != singlePVC {
		if _, err := fmt.Sscanf(words[0], "%d/%d", &m.send, &m.received); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		words = words[1:]
	}
	for _, w := range words {
		number, names, _ := strings.Cut(w, ":")
		var p pvcStatus
		if _, err := fmt.Sscan(number, &p.dlci); err != nil {
			t.Fatalf("%q: %v", w, err)
		}
		for name := range strings.SplitSeq(names, ",") {
			p.bits |= map[string]byte{"new": pvcNew, "deleted": pvcDeleted, "active": pvcActive}[name]
		}
		m.pvcs = append(m.pvcs, p)
	}
	if m.describe() != text {
		t.Fatalf("%q is %q", text, m.describe())
	}
	return m
}

// sent returns all that is sent now.
func (s *story) sent() (all []string) {
	s.t.Helper()
	for {
		b, ok := s.Transmit(nil)
		if !ok {
			return all
		}
		s.lines = append(s.lines, b)
		m, ok := parseMessage(b, s.cfg.HeaderLen, nil)
		if !ok {
			s.t.Fatalf("sent %x", b)
		}
		all = append(all, m.describe())
	}
}

// wantSent wants all that is sent now.
func (s *story) wantSent(want ...string) {
	s.t.Helper()
	if got := s.sent(); strings.Join(got, "; ") != strings.Join(want, "; ") {
		s.t.Errorf("sent\n %q, want\n %q", got, want)
	}
}

// wantEvents wants all that is told now.
func (s *story) wantEvents(want ...string) {
	s.t.Helper()
	var got []string
	for e, ok := s.Event(); ok; e, ok = s.Event() {
		got = append(got, e.String())
	}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		s.t.Errorf("told %q, want %q", got, want)
	}
}

// after lets time pass.
func (s *story) after(d time.Duration) {
	s.now = s.now.Add(d)
	s.Advance(s.now)
}

// wantDeadline wants the next Advance in d; 0: never.
func (s *story) wantDeadline(d time.Duration) {
	s.t.Helper()
	got := s.Deadline()
	if d == 0 && got.IsZero() {
		return
	}
	if got.Sub(s.now) != d {
		s.t.Errorf("deadline in %v, want %v", got.Sub(s.now), d)
	}
}

func (s *story) wantStats(want Stats) {
	s.t.Helper()
	if got := s.Stats(); got != want {
		s.t.Errorf("%+v, want\n%+v", got, want)
	}
}

// set says of a PVC what a story needs no error of.
func (s *story) set(dlci uint32, status Status) {
	s.t.Helper()
	if err := s.SetPVC(dlci, status); err != nil {
		s.t.Fatal(err)
	}
}

// TestDCE is a network's day.
func TestDCE(t *testing.T) {
	s := tell(t, Config{})
	s.set(100, Inactive)
	s.set(200, Active)
	s.wantSent()
	s.wantEvents()
	s.wantDeadline(0) // nobody has asked

	// The first enquiry knows of nothing that we sent: it shows one direction only.
	s.say("q933a ENQUIRY full 1/0")
	s.wantSent("q933a STATUS full 1/1 100:new 200:new,active")
	s.wantEvents()
	s.wantDeadline(15 * time.Second)

	s.after(10 * time.Second)
	s.say("q933a ENQUIRY verification 2/1")
	s.wantEvents("link up, q933a", "DLCI 100 active", "DLCI 200 active")
	// They are known now, and it is told that they are new no more.
	s.wantSent("q933a STATUS full 2/2 100:inactive 200:active")

	s.after(10 * time.Second)
	s.say("q933a ENQUIRY verification 3/2")
	s.wantSent("q933a STATUS verification 3/3")

	// What changes is told at the next enquiry, and again until it has arrived.
	s.set(100, Active)
	s.wantSent()
	s.after(10 * time.Second)
	s.say("q933a ENQUIRY verification 4/3")
	s.wantSent("q933a STATUS full 4/4 100:active 200:active")
	s.after(10 * time.Second)
	s.say("q933a ENQUIRY verification 5/3")
	s.wantSent("q933a STATUS full 5/5 100:active 200:active")
	s.after(10 * time.Second)
	s.say("q933a ENQUIRY verification 6/5")
	s.wantSent("q933a STATUS verification 6/6")

	// A PVC that is removed and made anew between two enquiries is new.
	s.RemovePVC(200)
	s.set(200, Active)
	s.after(10 * time.Second)
	s.say("q933a ENQUIRY verification 7/6")
	s.wantEvents("DLCI 200 active")
	s.wantSent("q933a STATUS full 7/7 100:active 200:new,active")
	s.RemovePVC(100)
	s.RemovePVC(100)
	s.after(10 * time.Second)
	s.say("q933a ENQUIRY verification 8/7")
	s.wantSent("q933a STATUS full 8/8 200:active")
	s.after(10 * time.Second)
	s.say("q933a ENQUIRY full 9/8")
	s.wantSent("q933a STATUS full 9/9 200:active")
	s.set(200, Active) // as it was
	s.after(10 * time.Second)
	s.say("q933a ENQUIRY verification 10/9")
	s.wantSent("q933a STATUS verification 10/10")
	s.wantEvents()
	s.wantStats(Stats{EnquiriesReceived: 10, StatusesSent: 10, SequenceErrors: 1})
}

// TestDCELosesLink counts errors: N392, 3, among the last N393, 4, events.
func TestDCELosesLink(t *testing.T) {
	up := func(cfg Config) *story {
		t.Helper()
		s := tell(t, cfg)
		s.set(100, Active)
		s.say("ansi ENQUIRY full 1/0")
		s.wantSent("ansi STATUS full 1/1 100:new,active")
		s.say("ansi ENQUIRY verification 2/1")
		s.wantSent("ansi STATUS full 2/2 100:active")
		s.say("ansi ENQUIRY verification 3/2")
		s.wantSent("ansi STATUS verification 3/3")
		s.wantEvents("link up, ansi", "DLCI 100 active")
		return s
	}
	t.Run("silence", func(t *testing.T) {
		s := up(Config{})
		s.after(15*time.Second - 1)
		s.after(1)
		s.wantDeadline(15 * time.Second)
		s.after(15 * time.Second)
		s.wantEvents()
		s.after(15 * time.Second)
		s.wantEvents("link down", "DLCI 100 inactive")
		s.wantDeadline(0)
		s.wantSent()
		s.wantStats(Stats{EnquiriesReceived: 3, StatusesSent: 3, Timeouts: 3})

		// Three good events in a row bring it up again. The other end has begun
		// anew, so that its first is none.
		s.say("ansi ENQUIRY full 1/0")
		s.wantSent("ansi STATUS full 4/1 100:active")
		s.say("ansi ENQUIRY verification 2/4")
		s.say("ansi ENQUIRY verification 3/4")
		s.wantSent("ansi STATUS verification 5/3")
		s.wantEvents()
		s.say("ansi ENQUIRY verification 4/5")
		s.wantEvents("link up, ansi", "DLCI 100 active")
	})
	t.Run("sequence numbers", func(t *testing.T) {
		s := up(Config{})
		for i, off := range []uint8{5, 0, 5, 5} { // the second is right
			s.wantEvents()
			s.say(fmt.Sprintf("ansi ENQUIRY verification %d/%d", 4+i, s.network.sent+off))
			if len(s.sent()) != 1 {
				t.Error("no answer")
			}
		}
		s.wantEvents("link down", "DLCI 100 inactive")
		s.wantDeadline(15 * time.Second)
	})
	t.Run("other numbers", func(t *testing.T) {
		s := up(Config{T392: time.Second, N392: 1, N393: 1})
		s.after(time.Second)
		s.wantEvents("link down", "DLCI 100 inactive")
		s.say("ansi ENQUIRY verification 4/3")
		s.wantEvents("link up, ansi", "DLCI 100 active")
	})
	t.Run("errors that are long ago", func(t *testing.T) {
		s := up(Config{})
		for i := range 20 {
			// Of any four events two are errors.
			s.say(fmt.Sprintf("ansi ENQUIRY verification 4/%d", s.network.sent+uint8(i/2%2)))
			s.sent()
		}
		s.wantEvents()
		s.wantStats(Stats{EnquiriesReceived: 23, StatusesSent: 23, SequenceErrors: 10})
	})
}

// TestNumbersBeginAgain wants 1 behind 255: 0 is none.
func TestNumbersBeginAgain(t *testing.T) {
	s := tell(t, Config{Role: DTE, Form: AnnexA, N391: 255})
	for i := range 600 {
		n := uint8(i%255 + 1)
		if i > 0 {
			s.after(10 * time.Second)
		}
		if got := s.sent(); len(got) != 1 || !strings.Contains(got[0], fmt.Sprintf(" %d/", n)) {
			t.Fatalf("enquiry %d: %q, want number %d", i, got, n)
		}
		s.say(fmt.Sprintf("q933a STATUS full %d/%d", n, n))
	}
	s.wantEvents("link up, q933a")
	d := tell(t, Config{})
	for i := range 600 {
		n := uint8(i%255 + 1)
		d.say(fmt.Sprintf("q933a ENQUIRY full %d/%d", n, d.network.sent))
		d.wantSent(fmt.Sprintf("q933a STATUS full %d/%d", n, n))
	}
	d.wantEvents("link up, q933a")
}

// TestNoLMI is a port without an LMI, whatever else is said of it, at the other end
// of which there is one all the same.
func TestNoLMI(t *testing.T) {
	for _, cfg := range []Config{{}, {Role: DTE}, {Role: NNI, Asynchronous: true}, {HeaderLen: LongHeader}} {
		cfg.Form = NoLMI
		s := tell(t, cfg)
		s.wantEvents("link up, none")
		for _, status := range []Status{Inactive, Active, Inactive} {
			s.set(100, status)
		}
		s.wantEvents("DLCI 100 active")
		s.say("ansi ENQUIRY full 1/0")
		s.say("q933a STATUS full 1/1")
		s.say("q933a STATUS single 100:deleted")
		s.Receive(s.now, []byte{0, 1, 3})
		s.after(time.Hour)
		s.RemovePVC(100)
		s.wantSent()
		s.wantEvents()
		s.wantDeadline(0)
		s.wantStats(Stats{Unexpected: 3, Malformed: 1})
		if !s.Up() || s.Form() != NoLMI || s.PVC(100) != Inactive {
			t.Errorf("%+v: up %v, form %v, a PVC that is gone %v; want true, none, inactive", cfg, s.Up(), s.Form(), s.PVC(100))
		}
	}
}

// TestAutodetection has a DCE follow the form of whoever asks, until it is silent.
func TestAutodetection(t *testing.T) {
	for _, form := range []Form{AnnexA, AnnexD, Cisco} {
		s := tell(t, Config{})
		s.set(100, Active)
		say := func(text string) { s.say(form.String() + text) }
		say(" ENQUIRY full 1/0")
		s.wantSent(form.String() + " STATUS full 1/1 100:new,active")
		say(" ENQUIRY full 2/1")
		s.wantEvents("link up, "+form.String(), "DLCI 100 active")
		s.sent()
		// Others are not heard.
		for _, other := range []Form{AnnexA, AnnexD, Cisco} {
			if other != form {
				s.say(other.String() + " ENQUIRY full 3/2")
				s.wantSent()
			}
		}
		if got := s.Stats().OtherForm; got != 2 {
			t.Errorf("%v: %d messages of another form, want 2", form, got)
		}
		for range 3 {
			s.after(15 * time.Second)
		}
		s.wantEvents("link down", "DLCI 100 inactive")
		if s.Form() != Auto {
			t.Errorf("silence: form %v, want any", s.Form())
		}
		other := form%Cisco + 1
		s.say(other.String() + " ENQUIRY full 1/0")
		s.wantSent(other.String() + " STATUS full 3/1 100:active")
	}
	// A form that is given stays.
	s := tell(t, Config{Form: AnnexD})
	s.say("cisco ENQUIRY full 1/0")
	s.wantSent()
	s.say("ansi ENQUIRY full 1/0")
	s.wantSent("ansi STATUS full 1/1")
	s.after(15 * time.Second)
	if s.Form() != AnnexD {
		t.Errorf("silence: form %v, want ansi", s.Form())
	}
	// One that asks in every form at once, as IOS does, is answered in its first.
	s = tell(t, Config{})
	s.say("ansi ENQUIRY full 1/0")
	s.say("q933a ENQUIRY full 1/0")
	s.say("cisco ENQUIRY full 1/0")
	s.wantSent("ansi STATUS full 1/1")
}

// TestDTE is a user's day.
func TestDTE(t *testing.T) {
	s := tell(t, Config{Role: DTE, Form: AnnexD})
	s.set(100, Inactive)
	s.wantSent("ansi ENQUIRY full 1/0")
	s.wantDeadline(10 * time.Second)
	s.say("ansi STATUS full 1/1 100:new,active 200:inactive")
	s.wantEvents("link up, ansi", "DLCI 100 new, active", "DLCI 200 inactive")
	for i := 2; i <= 6; i++ {
		s.after(10 * time.Second)
		s.wantSent(fmt.Sprintf("ansi ENQUIRY verification %d/%d", i, i-1))
		s.say(fmt.Sprintf("ansi STATUS verification %d/%d", i, i))
	}
	s.after(10 * time.Second)
	s.wantSent("ansi ENQUIRY full 7/6") // the N391th
	s.say("ansi STATUS full 7/7 100:active 200:active")
	s.wantEvents("DLCI 200 active")

	// A full status that was not asked for is one all the same.
	s.after(10 * time.Second)
	s.wantSent("ansi ENQUIRY verification 8/7")
	s.say("ansi STATUS full 8/8 100:inactive 300:active")
	s.wantEvents("DLCI 100 inactive", "DLCI 200 deleted", "DLCI 300 active")

	// And so is what is told of one PVC.
	s.say("ansi STATUS single 100:active")
	s.say("ansi STATUS single 300:deleted")
	s.say("ansi STATUS single 400:new,active")
	s.wantEvents("DLCI 100 active", "DLCI 300 deleted", "DLCI 400 new, active")
	s.say("ansi STATUS single 400:active")
	s.wantEvents()
	s.say("ansi STATUS single 400:new,active") // made anew before we knew that it was gone
	s.wantEvents("DLCI 400 new, active")

	// Of a PVC that we have from now on it is told once more.
	s.set(400, Inactive)
	s.wantEvents("DLCI 400 new, active")
	s.RemovePVC(400)
	s.wantEvents()

	// Without a PVC in the network ours is not there, and it is none of its own
	// that the other end forgets when we do.
	s.after(10 * time.Second)
	s.wantSent("ansi ENQUIRY verification 9/8")
	s.say("ansi STATUS full 9/9")
	s.wantEvents("DLCI 100 deleted", "DLCI 400 deleted")
	if got := s.PVC(100); got != Deleted {
		t.Errorf("DLCI 100 %v, want deleted", got)
	}
	s.RemovePVC(100)
	s.wantEvents()
	s.wantStats(Stats{EnquiriesSent: 9, StatusesReceived: 9 + 5})
}

// TestDTELosesLink counts cycles without an answer.
func TestDTELosesLink(t *testing.T) {
	s := tell(t, Config{Role: DTE, Form: AnnexA})
	s.set(100, Inactive)
	s.after(10 * time.Second) // it may take a while
	s.after(10 * time.Second)
	s.wantSent("q933a ENQUIRY full 3/0")
	s.wantEvents()
	s.say("q933a STATUS full 5/3 100:active 200:active")
	s.wantEvents("link up, q933a", "DLCI 100 active", "DLCI 200 active")

	s.say("q933a STATUS full 5/3 100:inactive") // again: a duplicate
	s.after(10 * time.Second)
	s.wantSent("q933a ENQUIRY verification 4/5")
	s.say("q933a STATUS full 6/3 100:inactive") // late
	s.say("q933a STATUS full 6/5 100:inactive") // wrong
	s.after(10 * time.Second)
	s.wantSent("q933a ENQUIRY verification 5/5")
	s.after(10 * time.Second)
	s.wantEvents()
	s.wantSent("q933a ENQUIRY verification 6/5")
	s.after(10 * time.Second)
	s.wantEvents("link down", "DLCI 100 inactive", "DLCI 200 inactive")
	s.say("q933a STATUS single 100:active") // of which nothing can be known
	s.wantEvents()
	// As long as it is down every enquiry is for a full status.
	for i := 7; i < 10; i++ {
		if s.Up() {
			t.Errorf("up before three answers came in a row")
		}
		s.wantSent(fmt.Sprintf("q933a ENQUIRY full %d/%d", i, s.user.received))
		s.say(fmt.Sprintf("q933a STATUS full %d/%d 100:active", i-6, i))
		s.after(10 * time.Second)
	}
	s.wantEvents("link up, q933a", "DLCI 100 active", "DLCI 200 deleted")
	s.wantSent("q933a ENQUIRY verification 10/3")
	s.wantStats(Stats{EnquiriesSent: 8, StatusesReceived: 4, Timeouts: 5, SequenceErrors: 3, Unexpected: 1})
}

// TestDTEWithoutFullStatus has the network answer that it is there and no more.
func TestDTEWithoutFullStatus(t *testing.T) {
	s := tell(t, Config{Role: DTE, Form: AnnexA})
	s.set(100, Inactive)
	for i := 1; i < 4; i++ {
		s.wantSent(fmt.Sprintf("q933a ENQUIRY full %d/%d", i, i-1))
		s.say(fmt.Sprintf("q933a STATUS verification %d/%d", i, i))
		s.after(10 * time.Second)
	}
	s.wantEvents("link up, q933a")
	s.say("q933a STATUS full 4/4")
	s.wantEvents("DLCI 100 deleted")
}

// TestDTEAutodetection asks in each form until one is answered.
func TestDTEAutodetection(t *testing.T) {
	s := tell(t, Config{Role: DTE})
	all := []string{"ansi ENQUIRY full 1/0", "q933a ENQUIRY full 1/0", "cisco ENQUIRY full 1/0"}
	s.wantSent(all...)
	s.after(10 * time.Second)
	for i := range all {
		all[i] = strings.Replace(all[i], "1/0", "2/0", 1)
	}
	s.wantSent(all...)
	s.say("cisco STATUS full 1/1") // late
	s.wantEvents()
	s.say("cisco STATUS full 2/2 100:active")
	s.wantEvents("link up, cisco", "DLCI 100 active")
	s.say("ansi STATUS full 2/2")
	s.after(10 * time.Second)
	s.wantSent("cisco ENQUIRY verification 3/2")
	for range 3 {
		s.after(10 * time.Second)
	}
	s.wantEvents("link down", "DLCI 100 inactive")
	if got := s.sent(); len(got) != 3 {
		t.Errorf("sent %q, want three forms", got)
	}
	s.wantStats(Stats{EnquiriesSent: 6 + 1 + 3, StatusesReceived: 1, Timeouts: 4, SequenceErrors: 1, OtherForm: 1})

	long := tell(t, Config{Role: DTE, HeaderLen: LongHeader})
	long.wantSent("ansi ENQUIRY full 1/0", "q933a ENQUIRY full 1/0")
}

// TestNNI asks and is asked, and is up if both go well.
func TestNNI(t *testing.T) {
	s := tell(t, Config{Role: NNI, Form: AnnexA})
	s.set(100, Active)
	s.set(200, Inactive)
	s.wantSent("q933a ENQUIRY full 1/0")
	s.say("q933a STATUS full 1/1 100:active 200:active")
	s.wantEvents() // it can still not know that the other end hears us
	s.say("q933a ENQUIRY full 1/0")
	s.wantSent("q933a STATUS full 1/1 100:new,active 200:new")
	s.wantDeadline(10 * time.Second)
	s.after(10 * time.Second)
	s.wantSent("q933a ENQUIRY verification 2/1")
	s.say("q933a ENQUIRY verification 2/1")
	s.wantEvents("link up, q933a", "DLCI 100 active", "DLCI 200 active")
	s.wantSent("q933a STATUS full 2/2 100:active 200:inactive")
	s.say("q933a STATUS full 2/2 100:inactive 200:active")
	s.wantEvents("DLCI 100 inactive")

	// It answers, and asks no more: 15 s after its last enquiry that is an error, and
	// twice again.
	number := 2
	for _, d := range []time.Duration{10, 5, 5, 10, 10} {
		s.after(d * time.Second)
		if len(s.sent()) > 0 {
			number++
			s.say(fmt.Sprintf("q933a STATUS verification %d/%d", number, number))
		}
		s.wantEvents()
	}
	s.after(5 * time.Second)
	s.wantEvents("link down", "DLCI 200 inactive")
	if number != 6 {
		t.Errorf("%d enquiries, want 6", number)
	}
}

// TestAsynchronous tells of a change at once.
func TestAsynchronous(t *testing.T) {
	for _, form := range []Form{AnnexA, AnnexD} {
		s := tell(t, Config{Asynchronous: true})
		s.set(100, Active)
		s.set(200, Active)
		s.wantSent()
		name := form.String()
		s.say(name + " ENQUIRY full 1/0")
		s.sent()
		s.say(name + " ENQUIRY full 2/1")
		s.wantSent(name + " STATUS full 2/2 100:active 200:active")
		s.set(200, Inactive)
		s.set(100, Inactive)
		s.set(100, Active)
		s.set(300, Inactive)
		s.wantSent(name+" STATUS single 100:active", name+" STATUS single 200:inactive", name+" STATUS single 300:new")
		s.RemovePVC(300)
		s.wantSent(name + " STATUS single 300:deleted")
		// And once more, for nobody confirms those.
		s.say(name + " ENQUIRY verification 3/2")
		s.wantSent(name + " STATUS full 3/3 100:active 200:inactive")
		s.set(200, Active)
		s.say(name + " ENQUIRY verification 4/3")
		s.wantSent(name + " STATUS full 4/4 100:active 200:active") // which says it all
		for range 3 {
			s.after(15 * time.Second)
		}
		s.set(200, Inactive)
		s.wantSent()
	}
	s := tell(t, Config{Asynchronous: true})
	s.say("cisco ENQUIRY full 1/0")
	s.sent()
	s.say("cisco ENQUIRY full 2/1")
	s.sent()
	s.set(100, Active)
	s.wantSent()
}

// TestWhatIsNotForIt is counted and changes nothing.
func TestWhatIsNotForIt(t *testing.T) {
	s := tell(t, Config{})
	s.say("q933a STATUS full 1/0 100:active")
	s.say("q933a STATUS single 100:active")
	s.Receive(s.now, octets(t, "00 01 03 08 00 75 51 01 00 53 02 01"))
	s.Receive(s.now, nil)
	s.Receive(s.now, make([]byte, 100))
	s.wantSent()
	s.wantEvents()
	s.wantDeadline(0)
	s.wantStats(Stats{Malformed: 3, Unexpected: 2})

	s = tell(t, Config{Role: DTE, Form: AnnexA})
	s.sent()
	s.say("q933a ENQUIRY full 1/0")
	s.wantSent()
	s.wantStats(Stats{EnquiriesSent: 1, Unexpected: 1})
}

// TestLongHeader has DLCIs of 23 bits.
func TestLongHeader(t *testing.T) {
	s := tell(t, Config{HeaderLen: LongHeader})
	s.set(100, Active)
	s.set(1<<17+5, Inactive)
	s.say("ansi ENQUIRY full 1/0")
	s.wantSent("ansi STATUS full 1/1 100:new,active 131077:new")
	// Of a port with headers of two octets.
	s.Receive(s.now, octets(t, "00 01 03 08 00 75 51 01 00 53 02 02 01"))
	s.wantSent()
	s.wantStats(Stats{EnquiriesReceived: 1, StatusesSent: 1, Malformed: 1})
}

// TestManyPVCs has as many as there can be.
func TestManyPVCs(t *testing.T) {
	for _, form := range []Form{AnnexA, Cisco} {
		dce, dte := tell(t, Config{}), tell(t, Config{Role: DTE, Form: form})
		for dlci := range uint32(MaxPVCs) {
			dce.set(dlci+16, Active)
		}
		err := dce.SetPVC(15, Active)
		if want := "lmi: DLCI 15, want 16 to 1007 with a header of 2 octets"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		b, _ := dte.Transmit(nil)
		dce.Receive(dce.now, b)
		b, _ = dce.Transmit(nil)
		dte.Receive(dte.now, b)
		for dlci := range uint32(MaxPVCs) {
			if got := dte.PVC(dlci + 16); got != Active {
				t.Errorf("DLCI %d: %v, want active", dlci+16, got)
			}
		}
	}
	long := tell(t, Config{HeaderLen: LongHeader})
	for dlci := range uint32(MaxPVCs) {
		long.set(dlci+100, Active)
	}
	err := long.SetPVC(50, Active)
	if want := "lmi: DLCI 50: there are 992 PVCs, and may be no more"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	// Nor are more of them remembered than a port can have.
	dte := tell(t, Config{Role: DTE, Form: AnnexA, HeaderLen: LongHeader})
	dte.say("q933a STATUS full 1/1")
	for dlci := range uint32(2 * MaxPVCs) {
		dte.say(fmt.Sprintf("q933a STATUS single %d:active", dlci+16))
	}
	if len(dte.theirs) != MaxPVCs || len(dte.told) != MaxPVCs {
		t.Errorf("%d PVCs and %d told of, want %d", len(dte.theirs), len(dte.told), MaxPVCs)
	}
}

func TestConfig(t *testing.T) {
	for _, v := range []struct {
		cfg  Config
		want string
	}{
		{Config{Role: 3}, "lmi: role 3, want DCE, DTE or NNI"},
		{Config{Form: 5}, "lmi: form 5, want Auto, AnnexA, AnnexD, Cisco or NoLMI"},
		{Config{HeaderLen: 3}, "lmi: headers of 3 octets, want 2 or 4"},
		{Config{HeaderLen: 4, Form: Cisco}, "lmi: form cisco, which has no headers of 4 octets"},
		{Config{T391: -1}, "lmi: T391 -1ns, T392 15s, want them positive"},
		{Config{N391: 256}, "lmi: N391 256, want 1 to 255"},
		{Config{N393: 11}, "lmi: N393 11, want 1 to 10"},
		{Config{N392: 5}, "lmi: N392 5, want 1 to N393, which is 4"},
		{Config{N392: -1}, "lmi: N392 -1, want 1 to N393, which is 4"},
		{Config{Role: NNI, Form: AnnexD, HeaderLen: 4, N391: 255, N392: 10, N393: 10}, ""},
	} {
		_, err := NewLMI(v.cfg)
		if got := fmt.Sprint(err); got != v.want && (err != nil || v.want != "") {
			t.Errorf("%+v: %s, want %s", v.cfg, got, v.want)
		}
	}
	l, _ := NewLMI(Config{})
	if err := l.SetPVC(100, Deleted); err == nil || err.Error() != "lmi: DLCI 100: status deleted, want active or inactive" {
		t.Errorf("a PVC that is deleted: %v", err)
	}
}
