package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/netlab"
	"spanwire/testbed/relay"
)

// calm undoes all troubles, and waits until all sessions are up and their TAPs have
// an MTU that everything fits that is to come.
func (s *soak) calm(within time.Duration) error {
	if err := errors.Join(s.cable(wanMTU), s.impair(relay.Impairment{})); err != nil {
		return err
	}
	for end := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		err := s.up()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func (s *soak) up() error {
	for end := range s.hosts {
		st, err := s.status(end)
		if err != nil {
			return err
		}
		up := 0
		for _, t := range st.Tunnels {
			for range t.Sessions {
				if t.State == "up" || t.State == "established" {
					up++
				}
			}
		}
		if up < len(s.sessions) {
			return fmt.Errorf("%s has %d of %d sessions up", names[end], up, len(s.sessions))
		}
		for _, x := range s.sessions {
			if err := s.with(end, x.tap(), func(d netlink.Link) error {
				if mtu := d.Attrs().MTU; mtu < lowestMTU {
					return fmt.Errorf("MTU %d, want %d at least", mtu, lowestMTU)
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// summed has the cable's device of a host make checksums, or not.
func (s *soak) summed(end int, on bool) error {
	return s.hosts[end].Do(func() error { return netlab.Checksums("wan", on) })
}

// summary says what was said, what came, and what Spanwire counted.
func (s *soak) summary(out io.Writer, counters [2]map[string]uint64, holds [2]string) {
	fmt.Fprintf(out, "soak of %s with seed %d: %s\n", s.length, s.seed, &s.count)
	for end, sums := range counters {
		fmt.Fprintf(out, "  %s holds %s and counts", names[end], holds[end])
		all := make([]string, 0, len(sums))
		for name, n := range sums {
			if n > 0 {
				all = append(all, fmt.Sprintf(" %s %d", name, n))
			}
		}
		slices.Sort(all)
		fmt.Fprintf(out, "%s\n", strings.Join(all, ","))
	}
	for _, f := range s.failures {
		fmt.Fprintf(out, "  %s\n", f)
	}
}

// keepAddresses has IPv6 addresses stay where a device goes down.
func keepAddresses() error {
	return os.WriteFile("/proc/sys/net/ipv6/conf/all/keep_addr_on_down", []byte("1"), 0)
}
