package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"spanwire/testbed/netlab"
)

// A section is what one run of a load measures. It puts what it finds into the
// row's figures.
type section struct {
	name string
	run  func(context.Context, *row, lengths) error
}

// lengths are how long the loads are.
type lengths struct {
	one, four, small time.Duration // seconds
	ping             bool          // also beside TCP x1, before that is counted
}

var sections = []section{
	{"ping", func(ctx context.Context, r *row, _ lengths) error {
		d, err := ping(ctx, r, pings{interval: 2 * time.Millisecond, length: time.Second, patience: 3 * time.Second})
		return r.addPing(idlePing, d, err)
	}},
	{"tcp1", func(ctx context.Context, r *row, l lengths) error { return tcp1(ctx, r, l.one, l.ping) }},
	{"tcp4", func(ctx context.Context, r *row, l lengths) error {
		v, c, err := tcp(ctx, r, 4, 1, l.four)
		if err != nil {
			return err
		}
		r.add(tcpFour, v, c)
		return nil
	}},
	{"small", func(ctx context.Context, r *row, l lengths) error {
		v, c, err := small(ctx, r, l.small)
		if err != nil {
			return err
		}
		r.add(smallFrames, v, c)
		return nil
	}},
}

// tcp1 measures one stream and, in the seconds that do not count for it, what pings
// take beside it.
func tcp1(ctx context.Context, r *row, length time.Duration, pinged bool) error {
	omit := 1
	pung := make(chan func() error, 1) // puts what pings took into the figures
	if pinged {
		omit = 2
		go func() {
			time.Sleep(400 * time.Millisecond)
			d, err := ping(ctx, r, pings{interval: 2 * time.Millisecond, length: 1400 * time.Millisecond, patience: 3 * time.Second})
			pung <- func() error { return r.addPing(loadedPing, d, err) }
		}()
	} else {
		pung <- func() error { return nil }
	}
	v, c, err := tcp(ctx, r, 1, omit, length)
	if err == nil {
		r.add(tcpOne, v, c)
	}
	return errors.Join(err, (<-pung)())
}

// tcp returns what iperf3 measures at the receiver, in Gbit/s, after the seconds
// that are omitted, and what was busy meanwhile.
func tcp(ctx context.Context, r *row, streams, omit int, length time.Duration) (rate float64, c cores, _ error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(omit)*time.Second+length+8*time.Second)
	defer cancel()
	server := command(ctx, "iperf3", "-s", "-1")
	if err := r.b.Start(server); err != nil {
		return 0, c, err
	}
	defer server.Wait()
	defer server.Process.Kill()
	if err := listens(ctx, r.b, iperfPort); err != nil {
		return 0, c, err
	}
	var out, said bytes.Buffer
	client := command(ctx, "iperf3", "-c", overB, "-P", strconv.Itoa(streams), "-t", strconv.Itoa(int(length.Seconds())), "-O", strconv.Itoa(omit), "-J", "--connect-timeout", "3000")
	client.Stdout, client.Stderr = &out, &said
	if err := r.a.Start(client); err != nil {
		return 0, c, err
	}
	const edge = 100 * time.Millisecond
	watched := watch(r.pids(), time.Duration(omit)*time.Second+edge, length-2*edge)
	ran := client.Wait()
	c, err := watched()
	if ctx.Err() != nil {
		return 0, c, fmt.Errorf("TCP x%d: no end of it: %w", streams, ctx.Err())
	}
	var report struct {
		Error string
		End   struct {
			SumReceived struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := errors.Join(err, json.Unmarshal(out.Bytes(), &report)); err != nil {
		return 0, c, errors.Join(ran, err, errors.New(said.String()))
	}
	if report.Error != "" || ran != nil {
		return 0, c, fmt.Errorf("TCP x%d: %s: %w", streams, report.Error, ran)
	}
	return report.End.SumReceived.BitsPerSecond / 1e9, c, nil
}

// iperfPort is where iperf3 listens.
const iperfPort = 5201

// listens waits until someone in a namespace listens on a TCP port.
func listens(ctx context.Context, n *netlab.Namespace, port int) error {
	want := fmt.Sprintf(":%04X ", port)
	for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		found := false
		err := n.Do(func() error {
			for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
				text, err := os.ReadFile(file)
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					return err
				}
				for line := range strings.Lines(string(text)) {
					const local, state, listen = 1, 3, "0A"
					f := strings.Fields(line)
					found = found || len(f) > state && strings.HasSuffix(f[local]+" ", want) && f[state] == listen
				}
			}
			return nil
		})
		if err != nil || found {
			return err
		}
	}
	return fmt.Errorf("nobody listens on port %d: %w", port, ctx.Err())
}

// small returns how many thousand of the smallest frames a second arrive, and what
// was busy meanwhile.
func small(ctx context.Context, r *row, length time.Duration) (rate float64, c cores, _ error) {
	ctx, cancel := context.WithTimeout(ctx, length+5*time.Second)
	defer cancel()
	sink := command(ctx, "/proc/self/exe", "sink", (length + 2*time.Second).String())
	sink.Stderr = os.Stderr
	pipe, err := sink.StdoutPipe()
	if err != nil {
		return 0, c, err
	}
	if err := r.b.Start(sink); err != nil {
		return 0, c, err
	}
	defer sink.Wait()
	defer io.Copy(io.Discard, pipe)
	lines := bufio.NewScanner(pipe)
	if !lines.Scan() || lines.Text() != "ready" {
		return 0, c, errors.New("the sink did not start")
	}
	blast := command(ctx, "/proc/self/exe", "blast", overB, length.String())
	blast.Stderr = os.Stderr
	if err := r.a.Start(blast); err != nil {
		return 0, c, err
	}
	const edge = 100 * time.Millisecond
	watched := watch(r.pids(), edge, length-2*edge)
	ran := blast.Wait()
	c, err = watched()
	if err := errors.Join(ran, err); err != nil {
		return 0, c, err
	}
	if !lines.Scan() {
		return 0, c, errors.New("the sink gave no figure")
	}
	rate, err = strconv.ParseFloat(lines.Text(), 64)
	return rate / 1e3, c, err
}
