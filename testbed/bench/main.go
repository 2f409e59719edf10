// Command bench measures Spanwire next to Linux's own vxlan, each between two
// network namespaces over a veth pair of its own: TCP with one and four streams,
// and small frames at the receiver; and how fast a responder sets up tunnels and
// sessions. It needs root and iperf3.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/netlab"
)

// The addresses of every row: under the tunnel and in it.
const (
	underA, underB = "192.0.2.1", "192.0.2.2"
	overA, overB   = "198.51.100.1", "198.51.100.2"
)

// A row is one way of carrying frames between two hosts.
type row struct {
	name    string
	a, b    *netlab.Namespace
	results map[string][]float64
	stop    []*exec.Cmd
}

// A test is one thing that is measured, higher is better.
type test struct {
	name, unit string
	run        func(*row) (float64, error)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
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
	length := flag.Duration("length", 3*time.Second, "`duration` of one measurement")
	asJSON := flag.String("json", "", "also write the results to this `file`")
	only := flag.String("only", "", "measure `what` alone: throughput or setup")
	flag.Parse()
	if _, err := exec.LookPath("iperf3"); err != nil && *only != "setup" {
		return errors.New("iperf3 is missing: install it (Debian: iperf3)")
	}
	dir, err := os.MkdirTemp("", "spanwire-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	results := map[string]any{}
	if *only != "setup" {
		if err := throughput(dir, *spanwire, *rounds, *length, results); err != nil {
			return err
		}
	}
	if *only != "throughput" {
		all, err := setUps(dir, *spanwire)
		if err != nil {
			return err
		}
		printSetUps(os.Stdout, all)
		results["set-up"] = all
	}
	if *asJSON == "" {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*asJSON, append(text, '\n'), 0o644)
}

// throughput measures all ways of carrying frames.
func throughput(dir, spanwire string, rounds int, length time.Duration, results map[string]any) error {
	lab, err := netlab.New()
	if err != nil {
		return err
	}
	defer lab.Close()
	rows, err := build(lab, dir, spanwire)
	defer func() {
		for _, r := range rows {
			for _, p := range r.stop {
				p.Process.Signal(syscall.SIGTERM)
				p.Wait()
			}
		}
	}()
	if err != nil {
		return err
	}
	tests := []test{
		{"TCP x1", "Gbit/s", func(r *row) (float64, error) { return tcp(r, 1, length) }},
		{"TCP x4", "Gbit/s", func(r *row) (float64, error) { return tcp(r, 4, length) }},
		{"small frames", "kpps", func(r *row) (float64, error) { return small(r, length) }},
	}
	for round := range rounds {
		for _, t := range tests {
			for _, r := range rows {
				fmt.Fprintf(os.Stderr, "\rround %d of %d: %s over %-16s", round+1, rounds, t.name, r.name)
				v, err := t.run(r)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", r.name, t.name, err)
				}
				r.results[t.name] = append(r.results[t.name], v)
			}
		}
	}
	fmt.Fprint(os.Stderr, "\r\033[K")
	print(os.Stdout, rows, tests)
	for _, r := range rows {
		results[r.name] = r.results
	}
	return nil
}

// build makes all rows and waits until each carries something.
func build(lab *netlab.Lab, dir, spanwire string) (rows []*row, err error) {
	for _, kind := range []struct {
		name  string
		setUp func(*row) error
	}{
		{"vxlan", vxlan},
		{"spanwire udp", func(r *row) error { return r.spanwire(dir, spanwire, "udp") }},
		{"spanwire ip", func(r *row) error { return r.spanwire(dir, spanwire, "ip") }},
	} {
		r := &row{name: kind.name, results: map[string][]float64{}}
		if r.a, err = lab.Namespace(kind.name + " a"); err != nil {
			return rows, err
		}
		if r.b, err = lab.Namespace(kind.name + " b"); err != nil {
			return rows, err
		}
		if err := lab.Veth(r.a, "u0", r.b, "u0", 1500); err != nil {
			return rows, err
		}
		if err := errors.Join(r.a.Addr("u0", netip.MustParsePrefix(underA+"/24")), r.b.Addr("u0", netip.MustParsePrefix(underB+"/24"))); err != nil {
			return rows, err
		}
		rows = append(rows, r)
		if err := kind.setUp(r); err != nil {
			return rows, fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	return rows, nil
}

func vxlan(r *row) error {
	for _, end := range []struct {
		n              *netlab.Namespace
		from, to, over string
	}{{r.a, underA, underB, overA}, {r.b, underB, underA, overB}} {
		err := end.n.Do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.MTU = "o0", 1450
			l := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 7, Port: 4789,
				SrcAddr: netip.MustParseAddr(end.from).AsSlice(), Group: netip.MustParseAddr(end.to).AsSlice()}
			return errors.Join(netlink.LinkAdd(l), netlink.LinkSetUp(l))
		})
		if err := errors.Join(err, end.n.Addr("o0", netip.MustParsePrefix(end.over+"/24"))); err != nil {
			return err
		}
	}
	return nil
}

// spanwire runs the binary at both ends.
func (r *row) spanwire(dir, binary, encap string) error {
	port := ""
	if encap == "udp" {
		port = ":1701"
	}
	for i, n := range []*netlab.Namespace{r.a, r.b} {
		addr, over := [2]string{underA, underB}, [2]string{overA, overB}
		cookies := [2]string{"a1b2c3d4e5f60718", "18f7e6d5c4b3a291"}
		name := fmt.Sprintf("%s-%d", encap, i)
		file := filepath.Join(dir, name+".toml")
		text := fmt.Sprintf(`[node]
hostname = %q
control = %q
[tunnel.t]
encap = %q
local = %q
peer = %q
[tunnel.t.session.s]
session_id = %d
peer_session_id = %d
receive_cookie = %q
send_cookie = %q
tap = "o0"
addresses = [%q]
`, name, filepath.Join(dir, name+".sock"), encap, addr[i]+port, addr[1-i]+port, i+1, 2-i, cookies[i], cookies[1-i], over[i]+"/24")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		p := exec.Command(binary, "run", "-c", file, "--log-level", "error")
		p.Stderr = os.Stderr
		if err := n.Start(p); err != nil {
			return err
		}
		r.stop = append(r.stop, p)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := errors.Join(r.a.Do(hasDevice), r.b.Do(hasDevice))
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func hasDevice() error {
	_, err := netlink.LinkByName("o0")
	return err
}

// tcp returns what iperf3 measures at the receiver, in Gbit/s.
func tcp(r *row, streams int, length time.Duration) (float64, error) {
	server := exec.Command("iperf3", "-s", "-1")
	server.Stdout = io.Discard
	if err := r.b.Start(server); err != nil {
		return 0, err
	}
	defer server.Wait()
	defer server.Process.Kill()
	time.Sleep(300 * time.Millisecond)
	out, err := r.a.Run("iperf3", "-c", overB, "-P", strconv.Itoa(streams), "-t", strconv.Itoa(int(length.Seconds())), "-O", "1", "-J")
	if err != nil {
		return 0, err
	}
	var report struct {
		End struct {
			SumReceived struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return 0, err
	}
	return report.End.SumReceived.BitsPerSecond / 1e9, nil
}

// small returns how many thousand of the smallest frames a second arrive.
func small(r *row, length time.Duration) (float64, error) {
	sink := exec.Command("/proc/self/exe", "sink", (length + time.Second).String(), "")
	sink.Stderr = os.Stderr
	pipe, err := sink.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := r.b.Start(sink); err != nil {
		return 0, err
	}
	defer sink.Wait()
	lines := bufio.NewScanner(pipe)
	if !lines.Scan() || lines.Text() != "ready" {
		return 0, errors.New("the sink did not start")
	}
	if _, err := r.a.Run("/proc/self/exe", "blast", overB, length.String()); err != nil {
		return 0, err
	}
	if !lines.Scan() {
		return 0, errors.New("the sink gave no figure")
	}
	rate, err := strconv.ParseFloat(lines.Text(), 64)
	return rate / 1e3, err
}

// print prints medians, and their ratios to those of the first row.
func print(w io.Writer, rows []*row, tests []test) {
	fmt.Fprintf(w, "%-14s", "")
	for _, t := range tests {
		fmt.Fprintf(w, "  %12s %-8s %-9s", t.name, t.unit, "to "+rows[0].name)
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		line := fmt.Sprintf("%-14s", r.name)
		for _, t := range tests {
			v, base := median(r.results[t.name]), median(rows[0].results[t.name])
			line += fmt.Sprintf("  %12.2f %-8s %-9.2f", v, "", v/base)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
