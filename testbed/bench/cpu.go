package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is in what the kernel counts the machine's processor time.
const tick = 10 * time.Millisecond

// processCPU returns what a process has used of processors, to the nanosecond.
func processCPU(pid int) (time.Duration, error) {
	// The kernel's clock of another process, as clock_getcpuclockid(3) makes it.
	const scheduled = 2
	return cpuClock(^int32(pid)<<3 | scheduled)
}

// threadCPU returns what the calling thread has used of processors.
func threadCPU() (time.Duration, error) { return cpuClock(unix.CLOCK_THREAD_CPUTIME_ID) }

func cpuClock(id int32) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// resident returns the octets of memory that a process holds.
func resident(pid int) (int, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	const pages = 1
	n, err := strconv.Atoi(strings.Fields(string(stat))[pages])
	return n * os.Getpagesize(), err
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
		used, err := processCPU(pid)
		if err != nil {
			return m, err
		}
		m.own += used
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
