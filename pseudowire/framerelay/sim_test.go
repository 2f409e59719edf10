package framerelay

import (
	"bytes"
	"cmp"
	"container/heap"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"spanwire/testbed/relay"
)

// A line joins two LMIs; it loses, repeats and delays what they say, and its clock
// goes from one moment at which something happens to the next.
type line struct {
	t      rapid.TB
	now    time.Time
	ends   [2]*LMI
	judges [2]*relay.Judge
	clean  bool // nothing is lost any more
	onWay  arrivals
	sent   int
	frames [][]byte // that were sent
	events [2][]string
	heard  [2]map[uint32]Status // what events told
	at     [2]map[uint32]time.Time
}

type arrival struct {
	at     time.Time
	serial int // what was sent first arrives first, if nothing holds it
	to     int
	frame  []byte
}

// arrivals is a heap.
type arrivals []arrival

func (a arrivals) Len() int { return len(a) }
func (a arrivals) Less(i, j int) bool {
	return cmp.Or(a[i].at.Compare(a[j].at), cmp.Compare(a[i].serial, a[j].serial)) < 0
}
func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(x any)   { *a = append(*a, x.(arrival)) }
func (a *arrivals) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func join(t rapid.TB, a, b Config, i relay.Impairment) *line {
	l := &line{t: t, now: time.Unix(1e9, 0)}
	for n, cfg := range []Config{a, b} {
		end, err := NewLMI(cfg)
		if err != nil {
			t.Fatal(err)
		}
		l.ends[n], l.judges[n] = end, relay.NewJudge(i, uint64(n))
		l.heard[n], l.at[n] = map[uint32]Status{}, map[uint32]time.Time{}
	}
	for n, end := range l.ends {
		end.Advance(l.now)
		l.drain(n)
	}
	return l
}

// drain carries what an end sends and notes what it tells.
func (l *line) drain(n int) {
	for b, ok := l.ends[n].Transmit(nil); ok; b, ok = l.ends[n].Transmit(nil) {
		l.frames = append(l.frames, b)
		copies := []time.Duration{time.Millisecond}
		if !l.clean {
			copies = l.judges[n].Next(copies)
		}
		for _, d := range copies {
			l.sent++
			heap.Push(&l.onWay, arrival{l.now.Add(d), l.sent, 1 - n, b})
		}
	}
	for e, ok := l.ends[n].Event(); ok; e, ok = l.ends[n].Event() {
		l.events[n] = append(l.events[n], e.String())
		if e.Kind == PVCChanged {
			l.heard[n][e.DLCI], l.at[n][e.DLCI] = e.Status, l.now
		}
	}
}

// run lets time pass.
func (l *line) run(d time.Duration) {
	end := l.now.Add(d)
	for {
		at, who := end, -1
		for n, e := range l.ends {
			if d := e.Deadline(); !d.IsZero() && d.Before(at) {
				at, who = d, n
			}
		}
		if len(l.onWay) > 0 && l.onWay[0].at.Before(at) {
			a := heap.Pop(&l.onWay).(arrival)
			l.now = a.at
			l.ends[a.to].Receive(l.now, a.frame)
			l.drain(a.to)
			continue
		}
		l.now = at
		if who < 0 {
			return
		}
		l.ends[who].Advance(l.now)
		if d := l.ends[who].Deadline(); !d.IsZero() && !d.After(l.now) {
			l.t.Fatalf("deadline %v after Advance at %v", d, l.now)
		}
		l.drain(who)
	}
}

// set has an end say something of a PVC.
func (l *line) set(n int, dlci uint32, s Status) {
	if s == Deleted {
		l.ends[n].RemovePVC(dlci)
	} else if err := l.ends[n].SetPVC(dlci, s); err != nil {
		l.t.Fatal(err)
	}
	l.drain(n)
}

// TestTwoPolls wants what changes at one end known at the other within two polls.
func TestTwoPolls(t *testing.T) {
	for _, v := range []struct {
		name string
		cfg  Config
		most time.Duration
	}{
		{"Annex A", Config{Form: AnnexA}, 10*time.Second + time.Second},
		{"Annex D", Config{Form: AnnexD}, 10*time.Second + time.Second},
		{"Cisco", Config{Form: Cisco}, 10*time.Second + time.Second},
		{"Annex D, 4 octets", Config{Form: AnnexD, HeaderLen: LongHeader}, 10*time.Second + time.Second},
		{"Annex A at once", Config{Form: AnnexA, Asynchronous: true}, time.Second},
		{"any form", Config{}, 10*time.Second + time.Second},
	} {
		t.Run(v.name, func(t *testing.T) {
			dce, dte := v.cfg, v.cfg
			dte.Role = DTE
			l := join(t, dce, dte, relay.Impairment{})
			l.set(0, 100, Inactive)
			l.run(30 * time.Second)
			for i := range 40 {
				want := []Status{Active, Inactive, Deleted, Inactive}[i%4]
				changed := l.now
				l.set(0, 100, want)
				l.run(20 * time.Second)
				// It must have come, and late enough to be this change's.
				if got, at := l.heard[1][100], l.at[1][100]; got != want || at.Sub(changed) > v.most || at.Before(changed) {
					t.Fatalf("change %d: %v after %v, want %v within %v", i, got, at.Sub(changed), want, v.most)
				}
				l.run(time.Duration(i) * 300 * time.Millisecond)
			}
			for n, e := range l.ends {
				s := e.Stats()
				if !e.Up() || s.Malformed+s.Timeouts != 0 {
					t.Errorf("end %d: up %v, %+v", n, e.Up(), s)
				}
			}
		})
	}
}

// TestBadLine has two ends agree in the end, whatever a line has done to what they
// said.
func TestBadLine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		form := rapid.SampledFrom([]Form{AnnexA, AnnexD, Cisco, Auto}).Draw(rt, "form")
		far := rapid.SampledFrom([]Form{form, Auto}).Draw(rt, "form of the other")
		role := rapid.SampledFrom([]Role{DCE, NNI}).Draw(rt, "role")
		async := rapid.Bool().Draw(rt, "asynchronous")
		peer := DTE
		if role == NNI {
			peer = NNI
		}
		l := join(rt, Config{Role: role, Form: form, Asynchronous: async}, Config{Role: peer, Form: far, Asynchronous: async}, relay.Impairment{
			Seed: rapid.Uint64().Draw(rt, "seed"),
			Loss: rapid.SampledFrom([]float64{0, 0.1, 0.5, 0.9}).Draw(rt, "loss"), Duplicate: rapid.SampledFrom([]float64{0, 0.3}).Draw(rt, "repeated"),
			Reorder: rapid.SampledFrom([]float64{0, 0.3}).Draw(rt, "late"), Hold: 12 * time.Second, Jitter: 300 * time.Millisecond,
		})
		said := [2]map[uint32]Status{{}, {}}
		for range rapid.IntRange(0, 30).Draw(rt, "changes") {
			n := rapid.IntRange(0, 1).Draw(rt, "end")
			dlci := rapid.Uint32Range(16, 20).Draw(rt, "DLCI")
			s := rapid.SampledFrom([]Status{Active, Inactive, Deleted}).Draw(rt, "status")
			if _, ok := said[n][dlci]; !ok && s != Deleted {
				l.heard[n][dlci] = Inactive // until an event tells otherwise
			}
			l.set(n, dlci, s)
			if said[n][dlci] = s; s == Deleted {
				delete(said[n], dlci)
			}
			l.run(time.Duration(rapid.IntRange(0, 40).Draw(rt, "seconds")) * time.Second)
		}
		l.clean = true
		l.run(3 * time.Minute)
		for n, e := range l.ends {
			if !e.Up() || e.Form() == Auto || e.Form() != l.ends[0].Form() {
				rt.Fatalf("end %d: up %v, form %v: %+v", n, e.Up(), e.Form(), e.Stats())
			}
			for dlci := range uint32(25) {
				_, ours := said[n][dlci]
				theirs, ok := said[1-n][dlci]
				want := Active // a DCE's, if only the line is there
				switch {
				case e.user.runs && ok:
					want = theirs
				case e.user.runs && ours:
					want = Deleted
				case !ours:
					want = Inactive // of which nobody is told
				}
				if got := e.PVC(dlci); got != want {
					rt.Fatalf("end %d, DLCI %d: %v, want %v: %+v", n, dlci, got, want, e.Stats())
				}
				// Events told the same.
				if got := l.heard[n][dlci]; ours && got != want {
					rt.Fatalf("end %d, DLCI %d: told %v, want %v", n, dlci, got, want)
				}
			}
			for dlci, c := range e.ours {
				if e.network.runs && c.isNew {
					rt.Fatalf("end %d, DLCI %d: still new", n, dlci)
				}
			}
		}
		// And they stay so.
		before := fmt.Sprint(l.events)
		l.run(5 * time.Minute)
		if after := fmt.Sprint(l.events); after != before {
			rt.Fatalf("told %s, then %s", before, after)
		}
	})
}

// FuzzLMI has a hostile end say what it likes at any time.
func FuzzLMI(f *testing.F) {
	for _, v := range messages {
		f.Add([]byte{byte(NNI), 0}, octets(f, v.hex))
	}
	f.Add([]byte{byte(DCE), 1, 5, 5, 200, 5}, octets(f, "00 01 03 08 00 75 51 01 00 53 02 01 00"))
	f.Add([]byte{byte(DTE), 2, 5, 200, 200, 200, 200, 5}, octets(f, "00 01 03 08 00 7d 51 01 00 53 02 01 01 57 03 06 a0 82"))
	f.Fuzz(func(t *testing.T, script, frame []byte) {
		if len(script) < 2 {
			return
		}
		cfg := Config{Role: Role(script[0] % 3), Form: Form(script[1] & 0xf % (byte(NoLMI) + 1)), Asynchronous: script[1]&0x10 != 0}
		if script[1]&0x20 != 0 && cfg.Form != Cisco {
			cfg.HeaderLen = LongHeader
		}
		l, err := NewLMI(cfg)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1e9, 0)
		l.Advance(now)
		for _, step := range script[2:] {
			switch {
			case step < 100: // the frame, with some octet that is different
				b := bytes.Clone(frame)
				if n := int(step); n < len(b) {
					b[n] += step
				}
				l.Receive(now, b)
			case step < 150:
				_ = l.SetPVC(uint32(step), Status(step%2))
			case step < 200:
				l.RemovePVC(uint32(step - 50))
			default:
				now = now.Add(time.Duration(step-200) * time.Second)
				l.Advance(now)
			}
			sent := 0
			for b, ok := l.Transmit(nil); ok; b, ok = l.Transmit(nil) {
				if _, ok := parseMessage(b, l.cfg.HeaderLen, nil); !ok {
					t.Fatalf("sent %x", b)
				}
				if sent++; sent > 4+len(l.ours)+50 {
					t.Fatalf("%d frames for one", sent)
				}
			}
			for _, ok := l.Event(); ok; _, ok = l.Event() {
			}
			if d := l.Deadline(); !d.IsZero() && d.Before(now) && step >= 200 {
				t.Fatalf("deadline %v, and it is %v", d, now)
			}
			if len(l.theirs) > MaxPVCs || len(l.told) > 2*MaxPVCs || len(l.async) > MaxPVCs {
				t.Fatalf("%d PVCs, %d told of, %d to tell of", len(l.theirs), len(l.told), len(l.async))
			}
		}
	})
}
