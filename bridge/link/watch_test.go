package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/testbed/netlab"
)

// watched runs a Watch in a namespace of its own, and f with its news.
func watched(t *testing.T, tell func(Change), f func(w *watch) error) {
	t.Helper()
	l, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := l.Namespace(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	w, done := new(watch), make(chan error, 1)
	go func() { done <- n.Do(func() error { return w.run(ctx, tell) }) }()
	if err := n.Do(func() error { return f(w) }); err != nil {
		t.Error(err)
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Watch: %v, want nil when its context has ended", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Watch does not end with its context")
	}
}

// TestWatch takes devices through what an administrator may do to them.
func TestWatch(t *testing.T) {
	changes := make(chan Change, 1000)
	watched(t, func(c Change) { changes <- c }, func(*watch) error {
		var last Change
		index := 0
		// want waits for news of the device, and wants what it was before it ends.
		want := func(when string, is func(Change) bool) {
			t.Helper()
			for {
				select {
				case last = <-changes:
					if index == 0 || last.Index == index {
						if last.Deleted && !is(last) {
							t.Fatalf("%s: told that it is deleted: %+v", when, last)
						}
						if is(last) {
							return
						}
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("%s: not told; last %+v", when, last)
				}
			}
		}
		want("there before", func(c Change) bool { return c.Name == "lo" && c.Up && c.Running && !c.Deleted })
		bridge, err := plain(&netlink.Bridge{}, "br0")
		if err != nil {
			return err
		}
		device, err := plain(&netlink.Veth{PeerName: "peer"}, "t0")
		if err != nil {
			return err
		}
		want("made", func(c Change) bool { return c.Name == "t0" && !c.Up && !c.Carrier && c.MTU == 1500 })
		index = last.Index
		if index != device.Attrs().Index {
			t.Errorf("index %d, want %d", index, device.Attrs().Index)
		}
		peer, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		do := func(when string, err error, is func(Change) bool) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			want(when, is)
		}
		do("up without a carrier", netlink.LinkSetUp(device), func(c Change) bool { return c.Up && !c.Carrier && !c.Running })
		do("with a carrier", netlink.LinkSetUp(peer), func(c Change) bool { return c.Up && c.Carrier && c.Running })
		do("MTU", netlink.LinkSetMTU(device, 1400), func(c Change) bool { return c.MTU == 1400 && c.Up })
		if err := errors.Join(netlink.LinkSetMaster(device, bridge), netlink.LinkSetNoMaster(device)); err != nil {
			return err
		}
		do("down", netlink.LinkSetDown(device), func(c Change) bool { return !c.Up && !c.Carrier })
		do("renamed", netlink.LinkSetName(device, "office0"), func(c Change) bool { return c.Name == "office0" })
		now, err := Read("office0")
		if err != nil || now != last.State {
			t.Errorf("Read: %+v, %v; want %+v as Watch has told", now, err, last.State)
		}
		do("deleted", netlink.LinkDel(device), func(c Change) bool { return c.Deleted && c.Name == "office0" })
		if _, err := Read("office0"); !errors.Is(err, fs.ErrNotExist) || err.Error() != "interface office0: file does not exist" {
			t.Errorf("Read of no device: %v", err)
		}
		return nil
	})
}

// TestWatchTellsOfNoLess does more than the kernel has room to tell of, while nobody
// listens: what is told then is how things are.
func TestWatchTellsOfNoLess(t *testing.T) {
	told := map[string]State{} // touched by Watch, and by the test while that stands still
	busy, goOn := make(chan struct{}), make(chan struct{})
	stand := true
	tell := func(c Change) {
		if c.Deleted {
			delete(told, c.Name)
		} else {
			told[c.Name] = c.State
		}
		if c.Name == "stand" && stand {
			stand = false
			close(busy)
			<-goOn
		}
	}
	watched(t, tell, func(w *watch) error {
		devices := map[string]netlink.Link{}
		add := func(name string) error {
			l, err := plain(&netlink.Bridge{}, name)
			devices[name] = l
			return err
		}
		// A first list that these disturb would be made anew, and be the only one.
		for w.lists.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		for _, name := range []string{"kept", "gone", "back", "stand"} {
			if err := add(name); err != nil {
				return err
			}
		}
		<-busy
		for i := range 3000 {
			if err := netlink.LinkSetMTU(devices["kept"], 1000+i%2); err != nil {
				return err
			}
		}
		// Of these the kernel tells nothing any more.
		if err := errors.Join(
			netlink.LinkDel(devices["gone"]),
			netlink.LinkDel(devices["back"]),
			add("back"),
			add("fresh"),
			netlink.LinkSetMTU(devices["kept"], 1234),
			netlink.LinkSetUp(devices["kept"]),
		); err != nil {
			return err
		}
		close(goOn)
		for range 10000 {
			if w.overruns.Load() > 0 && w.lists.Load() > 1 {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("news lost %d times, %d lists; want it lost, and a list after the first", w.overruns.Load(), w.lists.Load())
		return nil
	})
	// Watch has ended: told is ours.
	names := map[string]bool{}
	for name := range told {
		names[name] = true
	}
	if want := map[string]bool{"lo": true, "kept": true, "back": true, "fresh": true, "stand": true}; !maps.Equal(names, want) {
		t.Errorf("devices %v, want %v", names, want)
	}
	if s := told["kept"]; s.MTU != 1234 || !s.Up {
		t.Errorf("%+v, want up, MTU 1234", s)
	}
}

// TestWatchEnded watches with a context that has ended.
func TestWatchEnded(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := Watch(ctx, func(Change) {}); err != nil {
		t.Errorf("%v, want nil", err)
	}
}

// say makes a message as the kernel does.
func say(kind, flags uint16, family byte, index int32, ifFlags uint32, name string, mtu uint32) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, 64)
	b = append(b, family, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, ifFlags)
	b = binary.NativeEndian.AppendUint32(b, 0)
	attribute := func(kind uint16, value []byte) {
		b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	attribute(unix.IFLA_IFNAME, append([]byte(name), 0))
	attribute(unix.IFLA_MTU, binary.NativeEndian.AppendUint32(nil, mtu))
	return head(b, kind, flags)
}

func head(b []byte, kind, flags uint16) []byte {
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	return b
}

// done makes the end of a list.
func done(flags uint16, errno int32) []byte {
	return head(binary.NativeEndian.AppendUint32(make([]byte, unix.SizeofNlMsghdr), uint32(-errno)), unix.NLMSG_DONE, unix.NLM_F_MULTI|flags)
}

// TestWhatIsTold gives a watch what a kernel may say, in orders that are rare.
func TestWhatIsTold(t *testing.T) {
	const up, multi = unix.IFF_UP, unix.NLM_F_MULTI
	news := func(index int32, flags uint32, name string) []byte {
		return say(unix.RTM_NEWLINK, 0, 0, index, flags, name, 1500)
	}
	entry := func(index int32, flags uint32, name string) []byte {
		return say(unix.RTM_NEWLINK, multi, 0, index, flags, name, 1500)
	}
	gone := func(index int32) []byte { return say(unix.RTM_DELLINK, 0, 0, index, 0, "", 0) }
	list := []byte("list") // stands for asking for one
	for _, v := range []struct {
		name  string
		say   [][]byte
		want  []string
		stale bool
	}{
		{"list, then news", [][]byte{list, entry(1, up, "lo"), entry(2, 0, "a"), done(0, 0), news(2, up, "a"), gone(2)},
			[]string{"1 lo up", "2 a down", "2 a up", "2 a gone"}, false},
		{"the same again", [][]byte{news(1, up, "lo"), news(1, up, "lo")}, []string{"1 lo up"}, false},
		{"not known and gone", [][]byte{gone(7)}, nil, false},
		{"missing in the list", [][]byte{news(1, 0, "a"), news(2, 0, "b"), list, entry(2, 0, "b"), done(0, 0)},
			[]string{"1 a down", "2 b down", "1 a gone"}, false},
		{"missing in a list that was disturbed", [][]byte{news(1, 0, "a"), list, done(unix.NLM_F_DUMP_INTR, 0)},
			[]string{"1 a down"}, true},
		{"made while the list comes", [][]byte{list, news(3, 0, "c"), done(0, 0)}, []string{"3 c down"}, false},
		{"an entry that is older than the news", [][]byte{news(1, 0, "a"), list, news(1, up, "a"), entry(1, 0, "a"), done(0, 0)},
			[]string{"1 a down", "1 a up"}, false},
		{"an entry of what is gone", [][]byte{news(1, 0, "a"), list, gone(1), entry(1, 0, "a"), done(0, 0)},
			[]string{"1 a down", "1 a gone"}, false},
		{"name taken over", [][]byte{news(1, 0, "a"), list, entry(2, up, "a"), done(0, 0)},
			[]string{"1 a down", "1 a gone", "2 a up"}, false},
		{"names exchanged", [][]byte{news(1, 0, "a"), news(2, 0, "b"), list, entry(1, 0, "b"), entry(2, 0, "a"), done(0, 0)},
			[]string{"1 a down", "2 b down", "2 b gone", "1 b down", "2 a down"}, false},
		{"renamed, and the name used again", [][]byte{news(1, 0, "a"), news(1, 0, "b"), news(2, 0, "a")},
			[]string{"1 a down", "1 b down", "2 a down"}, false},
		{"a port that leaves its bridge", [][]byte{news(1, up, "a"), say(unix.RTM_DELLINK, 0, unix.AF_BRIDGE, 1, up, "a", 1500)},
			[]string{"1 a up"}, false},
		{"several at once", [][]byte{append(news(1, 0, "a"), news(2, 0, "b")...)}, []string{"1 a down", "2 b down"}, false},
	} {
		var got []string
		w := new(watch)
		w.init(func(c Change) {
			how := "down"
			if c.Up {
				how = "up"
			}
			if c.Deleted {
				how = "gone"
			}
			got = append(got, fmt.Sprint(c.Index, " ", c.Name, " ", how))
		})
		w.stale = false
		for _, b := range v.say {
			if string(b) == "list" {
				w.seen, w.gap = make(map[int]bool), false
			} else if err := w.take(b); err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
		}
		if !slices.Equal(got, v.want) || w.stale != v.stale {
			t.Errorf("%s:\n got %q, another list %v\nwant %q, %v", v.name, got, w.stale, v.want, v.stale)
		}
	}
	w := new(watch)
	w.init(func(Change) {})
	if err := w.take(done(0, int32(unix.EBUSY))); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a list that is refused: %v, want %v", err, unix.EBUSY)
	}
	if err := w.take(news(1, 0, "a")[:40]); err == nil {
		t.Error("a message that is cut off: no error")
	}
}

func FuzzTake(f *testing.F) {
	f.Add(say(unix.RTM_NEWLINK, 0, 0, 1, 1, "lo", 1500))
	f.Add(say(unix.RTM_DELLINK, 0, 0, 1, 1, "lo", 1500))
	f.Add(done(0, 0))
	f.Fuzz(func(_ *testing.T, b []byte) {
		w := new(watch)
		w.init(func(Change) {})
		w.seen = make(map[int]bool)
		_ = w.take(b)
	})
}
