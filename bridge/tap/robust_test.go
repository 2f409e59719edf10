package tap

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanwire/bridge/vnet"
	"spanwire/pseudowire"
	"spanwire/testbed/netlab"
)

// segments are the frames of a TCP super-frame, which a Send joins again.
func segments(t *testing.T) (frames []pseudowire.Frame) {
	t.Helper()
	m := made{ip: layers.IPv4{Flags: layers.IPv4DontFragment}, payload: 20000, size: 1400}
	for _, b := range apart(t, m.frame(t)) {
		frames = append(frames, pseudowire.NewFrame(append(make([]byte, pseudowire.Headroom), b...), pseudowire.Headroom))
	}
	return frames
}

// descriptors counts the files that the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// eventuallyAtMost waits until a count is no more than it was.
func eventuallyAtMost(t *testing.T, what string, most int, count func() int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n := count()
		if n <= most {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d %s, want %d", n, what, most)
		}
	}
}

// TestDeletedUnderLoad deletes a TAP again and again while the segment sends as much as
// it can and frames are sent to it, one by one and joined. Run says why it ends, each
// frame that was not taken is counted, and no goroutine and no file is left.
func TestDeletedUnderLoad(t *testing.T) {
	n := lab(t)
	goroutines, files := 0, 0
	for round := range 8 {
		var tap *TAP
		in(t, n, func() (err error) {
			tap, err = Open(Config{Name: "t0", MTU: 1500})
			return err
		})
		tap.Attach(func(frames []pseudowire.Frame) int { return len(frames) })
		done := make(chan error, 1)
		go func() { done <- tap.Run() }()
		mouth, err := n.Capture("t0")
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var work sync.WaitGroup
		var sent, refused atomic.Uint64
		for i := range 3 {
			frames := segments(t)
			if i == 0 {
				frames = frames[:1]
			}
			work.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						n := tap.Send(frames)
						sent.Add(uint64(n))
						refused.Add(uint64(len(frames) - n))
						runtime.Gosched()
					}
				}
			})
		}
		frame := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 1000)...)
		work.Go(func() {
			for mouth.Send(frame) == nil {
			}
		})
		for tap.Stats().InFrames < 1000 || sent.Load() < 1000 {
			time.Sleep(time.Millisecond)
		}
		in(t, n, func() error { return netlink.LinkDel(tap.link) })
		if err := <-done; err == nil || err.Error() != "tap t0: the device was deleted" {
			t.Errorf("Run: %v", err)
		}
		for refused.Load() < 1000 {
			time.Sleep(time.Millisecond)
		}
		if round%2 == 0 { // Close while they send, or after
			in(t, n, tap.Close)
		}
		close(stop)
		work.Wait()
		in(t, n, tap.Close)
		mouth.Close()
		if s := tap.Stats(); s.OutFrames != sent.Load() || s.OutErrors != refused.Load() {
			t.Errorf("%+v, want %d frames out and %d errors", s, sent.Load(), refused.Load())
		}
		if round == 0 {
			goroutines, files = runtime.NumGoroutine(), descriptors(t)
		}
	}
	eventuallyAtMost(t, "goroutines", goroutines, runtime.NumGoroutine)
	eventuallyAtMost(t, "files", files, func() int { return descriptors(t) })
}

// TestNumberUsedAgain closes a TAP while frames are sent to it, and opens pipes at once,
// one of which has the number of its file: nothing is written there.
func TestNumberUsedAgain(t *testing.T) {
	n := lab(t)
	for range 10 {
		var tap *TAP
		in(t, n, func() (err error) {
			tap, err = Open(Config{Name: "t0", MTU: 1500})
			return err
		})
		stop := make(chan struct{})
		var work sync.WaitGroup
		for i := range 2 {
			frames := segments(t)[i : 1+i*9]
			work.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						tap.Send(frames)
						runtime.Gosched() // there is much to do
					}
				}
			})
		}
		time.Sleep(time.Millisecond)
		closed := make(chan error, 1)
		go func() { closed <- n.Do(tap.Close) }()
		var pipes [][2]int
		for range 40 {
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			pipes = append(pipes, p)
			time.Sleep(100 * time.Microsecond)
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		close(stop)
		work.Wait()
		for _, p := range pipes {
			if n, err := unix.Read(p[0], make([]byte, 100)); err != unix.EAGAIN {
				t.Errorf("%d octets in a pipe, %v", n, err)
			}
			unix.Close(p[0])
			unix.Close(p[1])
		}
	}
}

// TestPartlyRefused has a device that is down, or takes no such super-frame, refuse
// one that stands for many frames: all of them are counted.
func TestPartlyRefused(t *testing.T) {
	n := lab(t)
	var tap *TAP
	in(t, n, func() (err error) {
		tap, err = Open(Config{Name: "t0", MTU: 1500})
		return err
	})
	defer n.Do(tap.Close)
	frames := segments(t)
	if sent := tap.Send(frames); sent != len(frames) {
		t.Fatalf("%d of %d sent", sent, len(frames))
	}
	short := pseudowire.NewFrame([]byte{1, 2, 3}, 0)
	if sent := tap.Send([]pseudowire.Frame{frames[0], frames[1], short, frames[2], frames[3]}); sent != 4 {
		t.Errorf("%d sent of 4 and one that is too short", sent)
	}
	in(t, n, func() error { return netlink.LinkSetDown(tap.link) })
	if sent := tap.Send(frames); sent != 0 {
		t.Errorf("%d sent to a device that is down", sent)
	}
	octets := 0
	for _, f := range frames {
		octets += f.Len()
	}
	for _, f := range frames[:4] {
		octets += f.Len()
	}
	// What joins has one head for all.
	if s := tap.Stats(); s.OutFrames != uint64(len(frames)+4) || s.OutErrors != uint64(1+len(frames)) || s.OutOctets > uint64(octets) {
		t.Errorf("%+v, want %d frames of %d octets at most, and %d errors", s, len(frames)+4, octets, 1+len(frames))
	}
	// What is said to be a super-frame and is none is refused by the kernel.
	bad := frames[0]
	bad.GSO = pseudowire.GSO{Kind: pseudowire.GSOTCPv4, HeaderLen: 54, Size: 0, ChecksumStart: 34, ChecksumOffset: 16}
	in(t, n, func() error { return netlink.LinkSetUp(tap.link) })
	before := tap.Stats()
	if sent := tap.Send([]pseudowire.Frame{bad}); sent != 0 || tap.Stats().OutErrors != before.OutErrors+1 {
		t.Errorf("a super-frame of segments without size: %d sent", sent)
	}
}

// wired returns two TAPs of two hosts with a wire between them, which Run until the
// test ends.
func wired(t *testing.T) (taps [2]*TAP, hosts [2]func(func() error), spaces [2]*netlab.Namespace) {
	t.Helper()
	for i := range taps {
		n := lab(t)
		spaces[i] = n
		hosts[i] = func(f func() error) { in(t, n, f) }
		hosts[i](func() (err error) {
			taps[i], err = Open(Config{Name: "t0", MTU: 1400, Addresses: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}), 24),
				netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", i+1)),
			}})
			return err
		})
	}
	done := make(chan error, 2)
	for i, tap := range taps {
		w := &wire{t: t, to: taps[1-i]}
		tap.Attach(w.send)
		go func() { done <- tap.Run() }()
	}
	t.Cleanup(func() {
		for i, tap := range taps {
			hosts[i](tap.Close)
		}
		for range taps {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return taps, hosts, spaces
}

// TestMTUWhileTCPRuns changes the MTU of both TAPs all the while.
func TestMTUWhileTCPRuns(t *testing.T) {
	taps, hosts, spaces := wired(t)
	stop, changed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { changed <- n }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			n++
			mtu := []int{1400, 1281, 9000, 1333}[n%4] // IPv6 stays
			for i, tap := range taps {
				if err := spaces[i].Do(func() error { return tap.SetMTU(mtu) }); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for _, network := range []string{"tcp4", "tcp6"} {
		transfer(t, network, hosts)
	}
	close(stop)
	t.Logf("the MTU was changed %d times", <-changed)
}

// TestFullQueue has the kernel hold three frames at most for who reads, so that it
// drops most of what is sent at once: TCP gets through all the same, and what the
// kernel dropped it has counted.
func TestFullQueue(t *testing.T) {
	_, hosts, spaces := wired(t)
	for _, n := range spaces {
		in(t, n, func() error { return netlink.LinkSetTxQLen(mustLink(t, "t0"), 3) })
	}
	mouth, err := spaces[0].Capture("t0")
	if err != nil {
		t.Fatal(err)
	}
	defer mouth.Close()
	frame := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 60)...)
	dropped := func() (n uint64) {
		in(t, spaces[0], func() error {
			n = mustLink(t, "t0").Attrs().Statistics.TxDropped
			return nil
		})
		return n
	}
	for end := time.Now().Add(20 * time.Second); dropped() == 0; {
		for range 1000 {
			if err := mouth.Send(frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
				t.Fatal(err)
			}
		}
		if time.Now().After(end) {
			t.Fatal("nothing was dropped")
		}
	}
	transfer(t, "tcp4", hosts)
	t.Logf("%d frames dropped", dropped())
}

// TestLateReader has frames wait for a Run that begins late: what the queue holds comes
// as it was, super-frames too, and no more.
func TestLateReader(t *testing.T) {
	n := lab(t)
	var tap *TAP
	in(t, n, func() (err error) {
		if tap, err = Open(Config{Name: "t0", MTU: 1500}); err != nil {
			return err
		}
		return netlink.LinkSetTxQLen(mustLink(t, "t0"), 10)
	})
	mouth, err := n.Capture("t0")
	if err != nil {
		t.Fatal(err)
	}
	defer mouth.Close()
	head := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}
	var want [][]byte
	for i := range 100 {
		f := append(bytes.Clone(head), bytes.Repeat([]byte{byte(i)}, 100)...)
		want = append(want, f)
		if err := mouth.Send(f); err != nil && !errors.Is(err, unix.ENOBUFS) {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var got [][]byte
	tap.Attach(func(frames []pseudowire.Frame) int {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range frames {
			if bytes.HasPrefix(f.Bytes(), head) {
				got = append(got, bytes.Clone(f.Bytes()))
			}
		}
		return len(frames)
	})
	done := make(chan error, 1)
	go func() { done <- tap.Run() }()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		some := len(got) > 0
		mu.Unlock()
		if some || time.Now().After(end) {
			break
		}
	}
	time.Sleep(10 * time.Millisecond)
	in(t, n, tap.Close)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(got) == 0 || len(got) > 20 {
		t.Fatalf("%d frames came through a queue of 10", len(got))
	}
	same(t, "what came", got, want[:len(got)])
}

// TestUnaskedSuperFrame has the device give a super-frame of a kind that was not asked
// for, as no kernel should: it is counted, and the frames around it go on.
func TestUnaskedSuperFrame(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[1])
	file := os.NewFile(uintptr(ends[0]), "t0")
	defer file.Close()
	tap := &TAP{cfg: Config{Name: "t0"}, offload: true}
	if tap.raw, err = file.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	var got []string
	tap.Attach(func(frames []pseudowire.Frame) int {
		for _, f := range frames {
			got = append(got, string(f.Bytes()))
		}
		if len(got) == 2 {
			tap.closed.Store(true)
		}
		return len(frames)
	})
	const fragments = 3 // VIRTIO_NET_HDR_GSO_UDP
	for _, v := range []struct {
		kind  byte
		frame string
	}{{0, "before"}, {fragments, "unasked"}, {0, ""}, {0, "after"}} {
		if _, err := unix.Write(ends[1], append([]byte{0, v.kind, vnet.HeaderLen - 1: 0}, v.frame...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tap.Run(); err != nil {
		t.Fatal(err)
	}
	if s := tap.Stats(); !slices.Equal(got, []string{"before", "after"}) || s.InFrames != 2 || s.InErrors != 2 {
		t.Errorf("%q, %+v; want two frames, and two errors", got, s)
	}
}
