// Package serial is serial lines as emulators carry them: the frames of HDLC, PPP or
// Frame Relay, without flags and FCS, each in a datagram of UDP or of a unix socket.
// A Line is a bridge.Port, which carries whatever is on it (RFC 4349); a FrameRelay
// makes many of one, a PVC each (RFC 4591).
//
// Dynamips, and so GNS3, calls the one nio_udp and the other nio_unix.
package serial

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"spanwire/pseudowire"
)

// A Line is one end of a serial line.
type Line struct {
	cfg     Config
	socket  net.PacketConn
	raw     syscall.RawConn
	peer    address
	file    os.FileInfo // of a unix socket that is ours
	deliver atomic.Pointer[func([]pseudowire.Frame) int]
	capture atomic.Pointer[Capture]
	closed  atomic.Bool
	stats   counters

	mu     sync.Mutex // of the writer
	writer writer
}

// Stats are a line's counters since it was opened.
type Stats struct {
	InFrames, InOctets   uint64
	InForeign            uint64 // datagrams from elsewhere than the peer
	InErrors             uint64 // datagrams too long or empty
	OutFrames, OutOctets uint64
	OutErrors            uint64 // refused by the kernel, as when there is no peer or it is slow
}

type counters struct {
	inFrames, inOctets, inForeign, inErrors, outFrames, outOctets, outErrors atomic.Uint64
}

// socketBuffer is what a line has for bursts, as far as the system allows.
const socketBuffer = 1 << 20

// Open opens a line.
func Open(cfg Config) (*Line, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l := &Line{cfg: cfg}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("serial %s: %w", cfg, cause(err))
	}
	l.writer.init(&l.peer)
	return l, nil
}

// cause takes off err what package net puts around it and the configuration tells.
func cause(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	if call := (*os.SyscallError)(nil); errors.As(err, &call) {
		err = call.Err
	}
	return err
}

func (l *Line) open() (err error) {
	if l.cfg.Network == Unix {
		l.peer.setPath(l.cfg.Peer)
		l.socket, err = listenUnix(l.cfg.Local)
	} else {
		peer := netip.MustParseAddrPort(l.cfg.Peer)
		if err = l.peer.setUDP(peer); err != nil {
			return err
		}
		network := "udp4"
		if peer.Addr().Is6() {
			network = "udp6"
		}
		l.socket, err = net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(l.cfg.Local)))
	}
	if err != nil {
		return err
	}
	if l.cfg.Network == Unix {
		if l.file, err = os.Lstat(l.cfg.Local); err != nil {
			return errors.Join(err, l.socket.Close())
		}
	}
	// Less is no error: it is room for a shorter burst.
	buffered := l.socket.(interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	})
	_ = buffered.SetReadBuffer(socketBuffer)
	_ = buffered.SetWriteBuffer(socketBuffer)
	if l.raw, err = l.socket.(syscall.Conn).SyscallConn(); err != nil {
		return errors.Join(err, l.Close())
	}
	return nil
}

// listenUnix binds a datagram socket. A socket at its path that no process has, as
// one leaves that was killed, gives way.
func listenUnix(path string) (net.PacketConn, error) {
	at := &net.UnixAddr{Name: path, Net: "unixgram"}
	socket, err := net.ListenUnixgram("unixgram", at)
	if !errors.Is(err, unix.EADDRINUSE) {
		return socket, err
	}
	there, dialled := net.DialUnix("unixgram", nil, at)
	if dialled == nil {
		return nil, errors.Join(err, there.Close())
	}
	// Whatever is no socket refuses connections just so.
	if f, bad := os.Lstat(path); bad != nil || f.Mode().Type() != os.ModeSocket || !errors.Is(dialled, unix.ECONNREFUSED) {
		return nil, err
	}
	if bad := os.Remove(path); bad != nil {
		return nil, errors.Join(err, bad)
	}
	return net.ListenUnixgram("unixgram", at)
}

// Config returns what the line was opened with.
func (l *Line) Config() Config { return l.cfg }

// LocalAddr returns the address or path of the line's own end.
func (l *Line) LocalAddr() string { return l.socket.LocalAddr().String() }

// Attach implements bridge.Port.
func (l *Line) Attach(deliver func([]pseudowire.Frame) int) { l.deliver.Store(&deliver) }

// Run hands on the frames that the peer sends, from the goroutine that it is called
// in, until the line is closed: then it returns nil.
func (l *Line) Run() error {
	r := newReader()
	for {
		messages, err := r.read(l.raw)
		frames, octets := r.frames[:0], 0
		for i := range messages {
			switch f, why := r.frame(i, &l.peer); why {
			case good:
				frames, octets = append(frames, f), octets+f.Len()
			case foreign:
				l.stats.inForeign.Add(1)
			default:
				l.stats.inErrors.Add(1)
			}
		}
		l.stats.inFrames.Add(uint64(len(frames)))
		l.stats.inOctets.Add(uint64(octets))
		if c := l.capture.Load(); c != nil {
			c.write(frames)
		}
		if deliver := l.deliver.Load(); deliver != nil && len(frames) > 0 {
			(*deliver)(frames)
		}
		switch {
		case l.closed.Load():
			return nil
		case err != nil:
			return fmt.Errorf("serial %s: read: %w", l.cfg, err)
		}
	}
}

// Send implements bridge.Port. What the kernel has no room for is dropped: a line
// has its pace, and nothing waits for it.
func (l *Line) Send(frames []pseudowire.Frame) (sent int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	octets, refused := 0, 0
	for rest := frames; len(rest) > 0; {
		n, err := l.writer.write(l.raw, rest)
		for i := range rest[:n] {
			octets += rest[i].Len()
		}
		if c := l.capture.Load(); c != nil && n > 0 {
			c.write(rest[:n])
		}
		sent += n
		rest = rest[n:]
		switch {
		case err == nil:
		case err == unix.EMSGSIZE: // so is this frame, and not the next
			refused++
			rest = rest[1:]
		default:
			refused += len(rest)
			rest = nil
		}
	}
	l.stats.outFrames.Add(uint64(sent))
	l.stats.outOctets.Add(uint64(octets))
	l.stats.outErrors.Add(uint64(refused))
	return sent
}

// Capture has a capture take all frames from now on, in both directions; nil: none.
func (l *Line) Capture(c *Capture) { l.capture.Store(c) }

// Stats returns the counters.
func (l *Line) Stats() Stats {
	c := &l.stats
	return Stats{
		InFrames: c.inFrames.Load(), InOctets: c.inOctets.Load(), InForeign: c.inForeign.Load(), InErrors: c.inErrors.Load(),
		OutFrames: c.outFrames.Load(), OutOctets: c.outOctets.Load(), OutErrors: c.outErrors.Load(),
	}
}

// Close closes the line. Its path goes, unless somebody else has it by now.
func (l *Line) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	var err error
	if l.file != nil {
		if f, bad := os.Lstat(l.cfg.Local); bad == nil && os.SameFile(f, l.file) {
			err = os.Remove(l.cfg.Local)
		}
	}
	if err = errors.Join(err, l.socket.Close()); err != nil {
		return fmt.Errorf("serial %s: %w", l.cfg, err)
	}
	return nil
}
