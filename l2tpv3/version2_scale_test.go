package l2tpv3

import (
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane/user"
	"spanwire/l2tpv3/l2tpv2"
)

// silent returns an endpoint that tells of its calls alone: how many are up.
func silent(t testing.TB, name string, up *atomic.Int64) *Endpoint {
	e := New(user.New(), slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn})), control.Config{HostName: name, RouterID: 1})
	t.Cleanup(e.Close)
	e.NotifyVersion2(func(v Version2Event) {
		switch v.Kind {
		case l2tpv2.SessionUp:
			up.Add(1)
		case l2tpv2.SessionDown:
			up.Add(-1)
		}
	})
	return e
}

// callsUp returns an LNS to whom a LAC has indicated so many calls, in tunnels of
// 10,000, and how long it took.
func callsUp(t testing.TB, n int) (lac, lns *Endpoint, up *atomic.Int64, took time.Duration) {
	const most = 10000
	upA, upB := new(atomic.Int64), new(atomic.Int64)
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.2")
	dial, accept := lacAndLNS(here, there)
	b := silent(t, "lns", upB)
	accept.Control.ReceiveWindow = 256
	accept.Control.Timeout, accept.Control.MaxTimeout = time.Second, time.Second
	if err := b.AddVersion2(accept); err != nil {
		t.Fatal(err)
	}
	a := silent(t, "lac", upA)
	dial.Keep = nil
	dial.Control.ReceiveWindow = 256
	dial.Control.Timeout, dial.Control.MaxTimeout = time.Second, time.Second
	names := []string{}
	for i := range (n + most - 1) / most {
		dial.Name = string(rune('a' + i))
		names = append(names, dial.Name)
		if err := a.AddVersion2(dial); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "the tunnels", func() error {
		if g := b.Glance(); g.Up != len(names) {
			return io.ErrNoProgress
		}
		return nil
	})
	begin := time.Now()
	for i := range n {
		if _, err := a.Indicate(names[i/most], aCall("555")); err != nil {
			t.Fatal(err)
		}
	}
	for upA.Load() < int64(n) || upB.Load() < int64(n) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("%d and %d calls are up after %v", upA.Load(), upB.Load(), time.Since(begin))
		}
		time.Sleep(time.Millisecond)
	}
	return a, b, upB, time.Since(begin)
}

// TestManyCalls has thousands of calls set up and ended at once, and wants each to cost
// little memory while nothing comes.
func TestManyCalls(t *testing.T) {
	const calls = 10000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	a, b, up, took := callsUp(t, calls)
	each := (heap() - before) / (2 * calls)
	t.Logf("%d calls in %v; %d octets for each end", calls, took, each)
	if each > 3<<10 {
		t.Errorf("%d octets for each end of a call, want no more than 3 KiB", each)
	}
	c := b.channel
	c.mu.Lock()
	begin := time.Now()
	for _, one := range c.allV2 {
		c.attendV2(one)
	}
	if took := time.Since(begin); took > 100*time.Millisecond {
		t.Errorf("looking after them took %v", took)
	}
	c.mu.Unlock()
	if err := b.Down("phones"); err != nil {
		t.Fatal(err)
	}
	within(t, "the end of all", func() error {
		if up.Load() != 0 || b.Glance().Calls != 0 || a.Glance().Calls != 0 {
			return io.ErrNoProgress
		}
		return nil
	})
}

// BenchmarkCalls sets up calls through one pair of endpoints.
func BenchmarkCalls(b *testing.B) {
	_, _, _, took := callsUp(b, b.N)
	b.ReportMetric(float64(b.N)/took.Seconds(), "calls/s")
}
