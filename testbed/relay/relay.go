// Package relay is a bad network: a relay of UDP datagrams or IP packets between
// two hosts that loses, duplicates, delays and reorders what it carries, the same
// for the same seed.
package relay

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// An Impairment says how bad the network is. Its zero value is a perfect one.
type Impairment struct {
	Seed      uint64
	Loss      float64 // share of the datagrams, 0 to 1
	Duplicate float64
	Reorder   float64       // share of those that are held back by Hold
	Hold      time.Duration // so that later ones overtake them
	Delay     time.Duration // of every datagram
	Jitter    time.Duration // at most, on top of Delay
}

// A Judge decides on datagrams one after the other. It reads no clock, so that a
// simulation can use it as well as the relay.
type Judge struct {
	impairment Impairment
	random     *rand.Rand
	counts     Counts
}

// Counts are what became of the datagrams.
type Counts struct{ Carried, Lost, Duplicated, Held int }

// NewJudge returns a judge for one direction; stream tells directions of one seed
// apart.
func NewJudge(i Impairment, stream uint64) *Judge {
	return &Judge{impairment: i, random: rand.New(rand.NewPCG(i.Seed, stream))}
}

// Next returns in copies, which it overwrites, after how long each copy of the next
// datagram arrives: none if it is lost.
func (j *Judge) Next(copies []time.Duration) []time.Duration {
	// All dice are thrown for every datagram, so that a change of one share does
	// not change the others' fate.
	lost, twice, held := j.random.Float64() < j.impairment.Loss, j.random.Float64() < j.impairment.Duplicate, j.random.Float64() < j.impairment.Reorder
	jitter := time.Duration(j.random.Float64() * float64(j.impairment.Jitter))
	copies = copies[:0]
	if lost {
		j.counts.Lost++
		return copies
	}
	delay := j.impairment.Delay + jitter
	if held {
		j.counts.Held++
		delay += j.impairment.Hold
	}
	j.counts.Carried++
	copies = append(copies, delay)
	if twice {
		j.counts.Duplicated++
		copies = append(copies, delay)
	}
	return copies
}

// A Relay carries datagrams between two peers, each of which takes one of its
// addresses for the other's.
type Relay struct {
	ends [2]net.PacketConn
	work sync.WaitGroup

	mu     sync.Mutex
	judges [2]*Judge
}

// New returns a relay that has an address for each peer: what a sends to ATo leaves
// from BTo to b, and the other way round. The two addresses are local to the
// namespace in which New is called; port 0 takes a free one.
func New(aTo, bTo netip.AddrPort, a, b netip.AddrPort, i Impairment) (*Relay, error) {
	return between("udp", aTo.String(), bTo.String(), net.UDPAddrFromAddrPort(a), net.UDPAddrFromAddrPort(b), i)
}

// NewIP returns a relay like New's for IP protocol 115, which is L2TP's. It needs
// root.
func NewIP(aTo, bTo netip.Addr, a, b netip.Addr, i Impairment) (*Relay, error) {
	return between("ip:115", aTo.String(), bTo.String(), &net.IPAddr{IP: a.AsSlice()}, &net.IPAddr{IP: b.AsSlice()}, i)
}

func between(network, aTo, bTo string, a, b net.Addr, i Impairment) (*Relay, error) {
	r := &Relay{judges: [2]*Judge{NewJudge(i, 1), NewJudge(i, 2)}}
	for n, at := range []string{aTo, bTo} {
		c, err := net.ListenPacket(network, at)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("relay: %w", err)
		}
		c.(interface{ SetReadBuffer(int) error }).SetReadBuffer(4 << 20)
		r.ends[n] = c
	}
	r.work.Go(func() { r.carry(0, b) })
	r.work.Go(func() { r.carry(1, a) })
	return r, nil
}

// ATo returns the address that a takes for b's. It has no use for a relay of IP
// packets, whose addresses the caller knows.
func (r *Relay) ATo() netip.AddrPort { return r.ends[0].LocalAddr().(*net.UDPAddr).AddrPort() }

// BTo returns the address that b takes for a's, as ATo does for a.
func (r *Relay) BTo() netip.AddrPort { return r.ends[1].LocalAddr().(*net.UDPAddr).AddrPort() }

// Counts returns what became of the datagrams of both directions.
func (r *Relay) Counts() (fromA, fromB Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judges[0].counts, r.judges[1].counts
}

// Close ends the relay; what is under way is lost.
func (r *Relay) Close() {
	for _, c := range r.ends {
		if c != nil {
			c.Close()
		}
	}
	r.work.Wait()
}

// A flight is the datagrams under way, the first to arrive first.
type flight []datagram

type datagram struct {
	at    time.Time
	order int // of those that arrive together
	b     []byte
}

func (f flight) Len() int { return len(f) }
func (f flight) Less(i, j int) bool {
	return f[i].at.Before(f[j].at) || f[i].at.Equal(f[j].at) && f[i].order < f[j].order
}
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flight) Push(d any)   { *f = append(*f, d.(datagram)) }
func (f *flight) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

// carry reads one end and writes to the peer of the other.
func (r *Relay) carry(end int, peer net.Addr) {
	in, out := r.ends[end], r.ends[1-end]
	var under flight
	var copies []time.Duration
	buf := make([]byte, 65536)
	for order := 0; ; order++ {
		for len(under) > 0 && !under[0].at.After(time.Now()) {
			d := heap.Pop(&under).(datagram)
			out.WriteTo(d.b, peer) // what does not go is lost, as on a network
		}
		deadline := time.Time{}
		if len(under) > 0 {
			deadline = under[0].at
		}
		in.SetReadDeadline(deadline)
		n, _, err := in.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the deadline
		}
		r.mu.Lock()
		copies = r.judges[end].Next(copies)
		r.mu.Unlock()
		now := time.Now()
		for _, delay := range copies {
			heap.Push(&under, datagram{at: now.Add(delay), order: order, b: append([]byte(nil), buf[:n]...)})
		}
	}
}
