package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/cmd/internal/api"
)

// TestFlaps has one end of a session go down and up, at random and as quickly as
// that goes, and wants the carrier of the other end to be what it is last.
func TestFlaps(t *testing.T) {
	t.Parallel()
	lyon, paris, l, _, k := dialled(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 6 {
		for range random.IntN(60) {
			var err error
			switch random.IntN(5) {
			case 0, 1:
				err = paris.links.LinkSetDown(paris.link(t, "office0"))
			case 2, 3:
				err = paris.links.LinkSetUp(paris.link(t, "office0"))
			case 4:
				// What one is taking over from cannot be rolled, which is no matter.
				api.Dial(l.socket).Do(context.Background(), "roll", "paris/office")
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
		}
		last := round%2 == 1
		set := paris.links.LinkSetDown
		if last {
			set = paris.links.LinkSetUp
		}
		if err := set(paris.link(t, "office0")); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("carrier %v after flaps", last), func() error {
			if got := carrier(lyon, t, "office0"); got != last {
				return fmt.Errorf("carrier %v", got)
			}
			return nil
		})
		if last {
			eventually(t, "an echo after flaps", func() error { return k.once(100) })
		}
		time.Sleep(300 * time.Millisecond)
		if got := carrier(lyon, t, "office0"); got != last {
			t.Fatalf("carrier %v, and later %v", last, got)
		}
	}

	// A TAP that is deleted comes again as the session is.
	if err := lyon.links.LinkDel(lyon.link(t, "office0")); err != nil {
		t.Fatal(err)
	}
	if err := paris.links.LinkSetDown(paris.link(t, "office0")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a TAP without carrier", func() error {
		link, err := lyon.links.LinkByName("office0")
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return errors.New("it has carrier")
		}
		return nil
	})
	paris.up(t, "office0")
	eventually(t, "an echo after it all", func() error { return k.once(101) })
}

// TestComesAgain has sessions that are made for a peer go and come again at once,
// many times, under the same names: so do their devices.
func TestComesAgain(t *testing.T) {
	t.Parallel()
	lyon, paris := twoSites(t)
	p := paris.start(t, `
[node]
hostname = "paris"
control  = "CONTROL"
[tunnel.any]
mode   = "accept"
peer   = "any"
local  = "192.0.2.2:1701"
secret = "correct horse battery staple"
[tunnel.any.session.any]
any_end_id = true
tap = "{peer}-{end}"
bridge = "br-lan"
`)
	l := lyon.start(t, strings.Replace(dialFile, "PEER", "192.0.2.2:1701", 1))
	eventually(t, "the bridge", func() error {
		_, err := paris.links.LinkByName("br-lan")
		return err
	})
	paris.address(t, "br-lan", "10.9.0.2/24")
	k := newTalk2(t, lyon, paris, l, p)
	do := func(command, name string) {
		t.Helper()
		if err := api.Dial(l.socket).Do(context.Background(), command, name); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		name := "paris/office"
		if i%5 == 4 {
			name = "paris"
		}
		do("down", name)
		time.Sleep(time.Duration(i%4) * 3 * time.Millisecond)
		do("up", name)
		time.Sleep(time.Duration(i%3) * 10 * time.Millisecond)
	}
	eventually(t, "an echo after it all", func() error { return k.once(100) })
	s := p.sessions(t, 1)
	for _, tunnel := range s.Tunnels {
		for _, session := range tunnel.Sessions {
			if session.TAP != "lyon-office" || session.MTU != 1438 {
				t.Errorf("TAP %q, MTU %d", session.TAP, session.MTU)
			}
		}
	}
	if log := p.logged(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "TAP not opened") {
		t.Error("a session had no TAP for a while")
	}
	if err := api.Dial(l.socket).Do(context.Background(), "down", "paris"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no device left", func() error {
		if left := paris.interfaces(t); len(left) != 3 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
}
