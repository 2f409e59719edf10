package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is how the kernel counts processor time for user space.
const tick = 10 * time.Millisecond

// A used is what a process has used.
type used struct {
	cpu    time.Duration
	memory int // octets resident
}

func usage(pid int) (u used, _ error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const utime, stime, rss = 11, 12, 21
	user, _ := strconv.Atoi(f[utime])
	system, _ := strconv.Atoi(f[stime])
	pages, _ := strconv.Atoi(f[rss])
	return used{time.Duration(user+system) * tick, pages * os.Getpagesize()}, nil
}

// busy returns for how long the machine's processors have worked since it started,
// all of them together, from the first line of /proc/stat.
func busy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	const user, steal = 1, 8 // user nice system idle iowait irq softirq steal guest guest_nice
	const idle, iowait = 4, 5
	if len(f) <= steal || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var sum time.Duration
	for i := user; i < steal; i++ { // what was stolen did no work here
		v, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != idle && i != iowait {
			sum += time.Duration(v) * tick
		}
	}
	return sum, nil
}

// A cores is how many processors were busy: in all, with both ends and whatever
// makes the traffic, and for the processes of the row alone.
type cores struct{ all, own float64 }

// A moment is what had been used at a time.
type moment struct {
	at       time.Time
	all, own time.Duration
}

func now(pids []int) (m moment, _ error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m, err
	}
	if m.all, err = busy(string(stat)); err != nil {
		return m, err
	}
	for _, pid := range pids {
		u, err := usage(pid)
		if err != nil {
			return m, err
		}
		m.own += u.cpu
	}
	m.at = time.Now()
	return m, nil
}

// since returns what was busy from one moment to another.
func (m moment) since(before moment) cores {
	d := m.at.Sub(before.at).Seconds()
	return cores{(m.all - before.all).Seconds() / d, (m.own - before.own).Seconds() / d}
}

// watch measures what is busy in a time to come: it begins after a while and is of the
// given length. The function returned waits for the end of it.
func watch(pids []int, after, length time.Duration) func() (cores, error) {
	type outcome struct {
		cores
		error
	}
	done := make(chan outcome, 1)
	go func() {
		time.Sleep(after)
		a, err := now(pids)
		if err != nil {
			done <- outcome{error: err}
			return
		}
		time.Sleep(length)
		b, err := now(pids)
		done <- outcome{b.since(a), err}
	}()
	return func() (cores, error) {
		o := <-done
		return o.cores, o.error
	}
}
