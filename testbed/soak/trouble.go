package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/relay"
)

// What takes Spanwire some seconds comes not before it has dealt with the last: it
// looks at the path every 5 s, and waits the longer for a lost TAP the oftener it was
// lost of late. TCP would have to wait for ever longer than it does by itself.
const (
	betweenMTUs      = 8 * time.Second
	betweenDeletions = 15 * time.Second
)

// trouble makes one trouble after the other, until quiet is closed.
func (s *soak) trouble(r *rand.Rand, quiet <-chan struct{}) {
	begun, summed := time.Now(), true
	var mtus, deletions time.Time
	due := func(last *time.Time, every time.Duration) bool {
		if time.Since(*last) < every {
			return false
		}
		*last = time.Now()
		return true
	}
	for {
		select {
		case <-quiet:
			return
		case <-time.After(time.Duration(100+r.IntN(1200)) * time.Millisecond):
		}
		var err error
		x, end := s.sessions[r.IntN(len(s.sessions))], r.IntN(2)
		switch r.IntN(8) {
		case 0, 1: // another MTU of the cable, often an odd one
			if !due(&mtus, betweenMTUs) {
				continue
			}
			mtu := []int{1420 + r.IntN(81), 1420 + r.IntN(500), 9000}[r.IntN(3)]
			err = s.cable(mtu)
			s.count.mtus.Add(1)
		case 2: // of a TAP, which is lower than what the path carries
			err = s.with(end, x.tap(), func(d netlink.Link) error {
				return netlink.LinkSetMTU(d, lowestMTU+r.IntN(max(1, d.Attrs().MTU-lowestMTU+1)))
			})
			s.count.mtus.Add(1)
		case 3: // the cable
			err = s.flap(end, "wan", time.Duration(20+r.IntN(800))*time.Millisecond)
			s.count.flaps.Add(1)
		case 4: // a TAP
			err = s.flap(end, x.tap(), time.Duration(20+r.IntN(400))*time.Millisecond)
			s.count.flaps.Add(1)
		case 5: // a TAP that somebody deletes comes again
			if !due(&deletions, betweenDeletions) {
				continue
			}
			err = s.with(end, x.tap(), netlink.LinkDel)
			s.count.deleted.Add(1)
		case 6:
			i := relay.Impairment{Seed: r.Uint64()}
			if r.IntN(4) > 0 {
				i.Loss, i.Duplicate, i.Reorder = r.Float64()*0.03, r.Float64()*0.03, r.Float64()*0.1
				i.Hold, i.Jitter = time.Duration(r.IntN(30))*time.Millisecond, time.Duration(r.IntN(3))*time.Millisecond
			}
			err = s.impair(i)
			s.count.relays.Add(1)
		case 7:
			if !x.static {
				// A session that is not up, or that another is taking over from, is not rolled.
				if exec.Command(s.binary, "roll", x.tunnel+"/"+x.name, "--control", s.socket(end)).Run() == nil {
					s.count.rolls.Add(1)
				}
			}
		}
		// A TAP may be gone for the moment.
		if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
			s.fail(fmt.Errorf("trouble: %w", err))
		}
		if summed && time.Since(begun) > s.length*2/3 {
			// For a device without checksums the kernel cuts early or, before Linux
			// 6.11, not at all.
			if err := s.summed(0, false); err != nil {
				s.fail(err)
			}
			summed = false
		}
	}
}

// cable sets the MTU of the cable between the hosts.
func (s *soak) cable(mtu int) (err error) {
	for end := range s.hosts {
		err = errors.Join(err, s.with(end, "wan", func(d netlink.Link) error { return netlink.LinkSetMTU(d, mtu) }))
	}
	return err
}

// flap takes a device down for a while. Its addresses of IPv6 go with it.
func (s *soak) flap(end int, device string, long time.Duration) error {
	return s.with(end, device, func(d netlink.Link) error {
		if err := netlink.LinkSetDown(d); err != nil {
			return err
		}
		time.Sleep(long)
		return netlink.LinkSetUp(d)
	})
}
