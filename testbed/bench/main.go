// Command bench measures Spanwire next to Linux's own vxlan and a bare veth, each
// between two network namespaces over a veth pair of its own, plain and like a
// wire: TCP with one and four streams, small frames at the receiver, pings idle and
// beside TCP, and the processors that were busy; and how fast a responder sets up
// tunnels and sessions. It needs root and iperf3.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"spanwire/testbed/netlab"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 && os.Args[1] == "respond" {
		return respond()
	}
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "blast":
			return blast(os.Args[2:])
		case "sink":
			return sink(os.Args[2:])
		case "dial":
			return dial(os.Args[2:])
		}
	}
	spanwire := flag.String("spanwire", "bin/spanwire", "the `binary` to measure")
	rounds := flag.Int("rounds", 3, "`rounds`, of which the median is taken")
	length := flag.Duration("length", 3*time.Second, "`duration` of one measurement of TCP x1, in whole seconds; TCP x4 and small frames take two thirds of it")
	asJSON := flag.String("json", "", "also write the results to this `file`")
	asSVG := flag.String("svg", "", "also draw the rows to this `file`")
	former := flag.String("compare", "", "also show what has changed since the run that wrote this `file` by -json")
	from := flag.String("from", "", "measure nothing, show the run that wrote this `file` by -json")
	only := flag.String("only", "", "measure these `sections` alone, by commas: "+strings.Join(sectionNames(), ", "))
	rows := flag.String("rows", "", "measure these `rows` alone, by commas: "+strings.Join(rowNames(), ", ")+"; over one underlay with /plain or /wire behind the name")
	flag.Parse()
	chosen, err := choose(*only, sectionNames())
	if err != nil {
		return err
	}
	selected, err := selectRows(*rows)
	if err != nil {
		return err
	}
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("%q: what is to be measured is said by flags", flag.Arg(0))
	case *rounds < 1:
		return errors.New("-rounds: want 1 or more")
	case *length < time.Second || *length%time.Second != 0:
		return errors.New("-length: want whole seconds")
	}
	var old *report
	if *former != "" { // it may be the file that is written
		if old, err = readReport(*former); err != nil {
			return err
		}
	}
	var found *report
	var wrong error
	if *from != "" {
		if found, err = readReport(*from); err != nil {
			return err
		}
	} else {
		two := max(*length*2/3, time.Second).Round(time.Second)
		b := bench{site: site{spanwire: *spanwire}, rounds: *rounds, say: newProgress(),
			lengths: lengths{one: *length, four: two, small: two, ping: chosen["ping"]}}
		found, wrong = b.measure(chosen, selected)
		b.say("")
	}
	found.Goals = found.goals()
	found.print(os.Stdout)
	if old != nil {
		printChanges(os.Stdout, old, compare(old, found))
	}
	if n := found.problems(); n > 0 && wrong == nil {
		wrong = fmt.Errorf("%d measurements went wrong", n)
	}
	if *asJSON != "" {
		text, err := json.MarshalIndent(found, "", "  ")
		if err != nil {
			return err
		}
		wrong = errors.Join(wrong, os.WriteFile(*asJSON, append(text, '\n'), 0o644))
	}
	if *asSVG != "" && len(found.Rows) > 0 {
		wrong = errors.Join(wrong, os.WriteFile(*asSVG, []byte(found.svg()), 0o644))
	}
	return wrong
}

// sectionNames are what -only knows.
func sectionNames() (names []string) {
	for _, s := range sections {
		names = append(names, s.name)
	}
	return append(names, "sessions", "idle", "setup")
}

func rowNames() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// choose returns the names of a list, or all if it is empty.
func choose(list string, all []string) (map[string]bool, error) {
	chosen := make(map[string]bool)
	for name := range strings.SplitSeq(list, ",") {
		switch {
		case list == "":
			for _, n := range all {
				chosen[n] = true
			}
		case slices.Contains(all, name):
			chosen[name] = true
		default:
			return nil, fmt.Errorf("there is no %q, only %s", name, strings.Join(all, ", "))
		}
	}
	return chosen, nil
}

// A selection is one row over one underlay.
type selection struct {
	kind
	underlay string
}

// selectRows returns the rows of a list in the order of the kinds, by underlay.
func selectRows(list string) (selected []selection, _ error) {
	var names []string
	for _, n := range rowNames() {
		names = append(names, n, n+"/plain", n+"/wire")
	}
	chosen, err := choose(list, names)
	if err != nil {
		return nil, err
	}
	for _, u := range []struct{ name, suffix string }{{plain, "/plain"}, {wireLike, "/wire"}} {
		for _, k := range kinds {
			if (chosen[k.name] || chosen[k.name+u.suffix]) && !(k.plain && u.name != plain) {
				selected = append(selected, selection{k, u.name})
			}
		}
	}
	return selected, nil
}

// A bench is how a run is made.
type bench struct {
	site
	rounds  int
	lengths lengths
	say     progress
}

// measure measures the chosen sections. What was found before an error is returned
// with it.
func (b *bench) measure(chosen map[string]bool, selected []selection) (found *report, err error) {
	found = &report{Machine: machine(), Version: version(b.spanwire), Rounds: b.rounds, Length: b.lengths.one.String()}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if b.dir, err = os.MkdirTemp("", "spanwire-bench-"); err != nil {
		return found, err
	}
	defer os.RemoveAll(b.dir)
	var parts []section
	for _, s := range sections {
		if chosen[s.name] {
			parts = append(parts, s)
		}
	}
	if len(parts) > 0 {
		found.Missing = b.missing(selected)
		if found.Rows, err = b.carry(ctx, selected, parts); err != nil {
			return found, err
		}
	}
	if chosen["sessions"] {
		if found.Sessions, err = sessionCosts(ctx, b.rounds, b.say); err != nil {
			return found, err
		}
	}
	if chosen["idle"] {
		b.say("idle sessions")
		if found.Idle, err = idle(ctx, b.site); err != nil {
			return found, err
		}
	}
	if chosen["setup"] {
		if found.SetUp, err = setUps(ctx, b.site, b.say); err != nil {
			return found, err
		}
	}
	return found, nil
}

// carry builds all rows and measures them in turn, one part after the other, so
// that whatever else the machine does falls on all of them alike.
func (b *bench) carry(ctx context.Context, selected []selection, parts []section) (all []*figures, _ error) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		return nil, errors.New("iperf3 is missing: install it (Debian: iperf3)")
	}
	lab, err := netlab.New()
	if err != nil {
		return nil, err
	}
	defer lab.Close()
	var rows []*row
	for _, s := range selected {
		if s.program != "" {
			if _, err := b.find(s.program); err != nil {
				continue
			}
		}
		b.say("%s over %s begins", s.name, s.underlay)
		f := &figures{Row: s.name, Underlay: s.underlay}
		all = append(all, f)
		r, err := s.build(ctx, lab, f, b.site)
		defer r.close()
		switch {
		case ctx.Err() != nil:
			return all, ctx.Err()
		case err != nil:
			f.Problems = append(f.Problems, err.Error())
		default:
			rows = append(rows, r)
		}
	}
	for round := range b.rounds {
		for _, p := range parts {
			for _, r := range rows {
				b.say("round %d of %d: %s: %s over %s", round+1, b.rounds, p.name, r.Row, r.Underlay)
				err := p.run(ctx, r, b.lengths)
				if ctx.Err() != nil {
					return all, ctx.Err()
				}
				if err != nil { // the others are measured all the same
					r.Problems = append(r.Problems, fmt.Sprintf("round %d: %s: %v", round+1, p.name, err))
				}
			}
		}
	}
	return all, nil
}

// missing returns the programs that selected rows need and that are not there.
func (b *bench) missing(selected []selection) (programs []string) {
	for _, s := range selected {
		if s.program == "" || slices.Contains(programs, s.program) {
			continue
		}
		if _, err := b.find(s.program); err != nil {
			programs = append(programs, s.program)
		}
	}
	return programs
}

// progress says what is done now; the empty text: nothing more.
type progress func(format string, args ...any)

// newProgress returns one line on the terminal, if standard error is one.
func newProgress() progress {
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err != nil {
		return func(string, ...any) {}
	}
	return func(format string, args ...any) { fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...) }
}

// machine says what the figures were measured on.
func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return fmt.Sprintf("%d processors, Linux %s, %s", runtime.NumCPU(), release, runtime.GOARCH)
}

// version returns what a binary says of itself.
func version(binary string) string {
	out, err := exec.Command(binary, "version").Output()
	if err != nil {
		return err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(first, "spanwire ")
}
