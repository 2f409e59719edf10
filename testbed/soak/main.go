// Command soak has two hosts with Spanwire talk to each other for as long as you
// like, and checks every octet: TCP connections of real kernels, datagrams and
// Ethernet frames of all sizes, with and without VLAN tags, over sessions of several
// kinds at once, while MTUs change, links flap, TAPs vanish, cookies are exchanged
// and one of the paths loses, doubles and reorders packets. It prints a summary, and
// its exit status is not 0 if anything came otherwise than it went, or not at all
// where it had to. It needs root.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

func main() {
	var cfg config
	flag.DurationVar(&cfg.length, "length", 10*time.Minute, "`duration` of the talking")
	flag.Uint64Var(&cfg.seed, "seed", rand.Uint64(), "`number` that all sizes and troubles follow from")
	flag.StringVar(&cfg.spanwire, "spanwire", "", "the `binary` to run; built if there is none")
	flag.BoolVar(&cfg.race, "race", false, "build it with the race detector")
	flag.Parse()
	cfg.progress = os.Stderr
	if err := run(cfg, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(1)
	}
}

type config struct {
	length   time.Duration
	seed     uint64
	spanwire string
	race     bool
	progress io.Writer
}

// A soak is one run.
type soak struct {
	config
	*lab
	start time.Time
	count counts
	stop  chan struct{} // closed when no new talk is to begin

	mu       sync.Mutex
	failures []string
}

// fail notes what must not be; the first few in words.
func (s *soak) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 20
	if s.count.failures.Add(1) <= most {
		s.failures = append(s.failures, fmt.Sprintf("%6.1f s: %v", time.Since(s.start).Seconds(), err))
	}
}

func (s *soak) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// random returns a source for one worker.
func (s *soak) random(worker int) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed, uint64(worker)))
}

func run(cfg config, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "spanwire-soak-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			os.RemoveAll(dir)
		} else {
			fmt.Fprintf(out, "logs and configurations are in %s\n", dir)
		}
	}()
	if cfg.spanwire == "" {
		cfg.spanwire = filepath.Join(dir, "spanwire")
		args := []string{"build", "-o", cfg.spanwire}
		if cfg.race {
			args = append(args, "-race")
		}
		if b, err := exec.Command("go", append(args, "spanwire/cmd/spanwire")...).CombinedOutput(); err != nil {
			return fmt.Errorf("build spanwire: %w: %s", err, b)
		}
	}
	l, err := newLab(dir, cfg.spanwire)
	if err != nil {
		return err
	}
	defer l.close()
	s := &soak{config: cfg, lab: l, start: time.Now(), stop: make(chan struct{})}
	if err := s.settled(time.Minute); err != nil {
		return fmt.Errorf("before any trouble: %w", err)
	}
	if cfg.progress != nil {
		fmt.Fprintf(cfg.progress, "%s holds %s; %s holds %s\n", names[0], s.holds(0), names[1], s.holds(1))
	}

	var talks, troubles sync.WaitGroup
	worker := 0
	begin := func(g *sync.WaitGroup, work func(*rand.Rand)) {
		worker++
		random := s.random(worker)
		g.Go(func() { work(random) })
	}
	quiet := make(chan struct{})
	for _, x := range s.sessions {
		for range x.flows {
			begin(&talks, func(r *rand.Rand) { s.converse(r, x) })
		}
		begin(&talks, func(r *rand.Rand) { s.shout(r, x) })
		for from := range 2 {
			begin(&talks, func(r *rand.Rand) { s.sendFrames(r, x, from) })
		}
	}
	begin(&troubles, func(r *rand.Rand) { s.trouble(r, quiet) })
	s.report(cfg.length)
	close(quiet)
	troubles.Wait()
	close(s.stop)
	talks.Wait()
	if err := s.settled(time.Minute); err != nil {
		s.fail(fmt.Errorf("after all troubles: %w", err))
	}
	if c := &s.count; c.flows.Load() == 0 || c.datagramsCame.Load() == 0 || c.framesCame.Load() == 0 {
		s.fail(errors.New("of one kind nothing came"))
	}
	counters, holds := s.counters(), [2]string{s.holds(0), s.holds(1)}
	for _, err := range s.end() {
		s.fail(err)
	}
	s.summary(out, counters, holds)
	if n := s.count.failures.Load(); n > 0 {
		return fmt.Errorf("%d failures with seed %d", n, cfg.seed)
	}
	return nil
}

// report says how it goes, until length is over.
func (s *soak) report(length time.Duration) {
	end := time.Now().Add(length)
	for time.Now().Before(end) {
		time.Sleep(min(10*time.Second, time.Until(end)))
		if s.progress != nil {
			fmt.Fprintf(s.progress, "%6.0f s: %s\n", time.Since(s.start).Seconds(), &s.count)
		}
	}
}

// settled waits until each session carries frames and TCP both ways.
func (s *soak) settled(within time.Duration) error {
	if err := s.calm(within); err != nil {
		return err
	}
	var all error
	for _, x := range s.sessions {
		for from := range 2 {
			var err error
			for end := time.Now().Add(within); ; {
				if err = s.check(x, from); err == nil || time.Now().After(end) {
					break
				}
			}
			if err != nil {
				all = errors.Join(all, fmt.Errorf("session %s from %s: %w", x.name, names[from], err))
			}
		}
	}
	return all
}
