package lns

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Hook is a program that is called when something happens. It gets nothing but an
// environment, in which what a peer says has no octet that is not printable ASCII:
//
//	SPANWIRE_EVENT             up or down
//	SPANWIRE_INTERFACE         the TUN
//	SPANWIRE_LINK              whose it is, of tunnels and sessions
//	SPANWIRE_SESSION_ID        Acct-Session-Id
//	SPANWIRE_USER              who he is
//	SPANWIRE_PEER              the address of the tunnel's peer
//	SPANWIRE_CALLING, _CALLED  the numbers
//	SPANWIRE_LOCAL_ADDRESS     ours
//	SPANWIRE_ADDRESS           the user's; of a client, its own
//	SPANWIRE_PREFIX            of IPv6, of the link
//	SPANWIRE_DELEGATED         of IPv6, what is behind the user
//	SPANWIRE_ROUTES            more of it, with a space between
//	SPANWIRE_DNS               servers, with a space between
//	SPANWIRE_MTU               of the link
//	SPANWIRE_IN_OCTETS, _OUT_OCTETS, _SECONDS, _CAUSE of down
//
// What is not known is empty.
type Hook struct {
	Path    string        // absolute; empty: nothing is called
	Args    []string      // after it
	Timeout time.Duration // after which it is killed with all that it started; 0: 10 s
}

// hooksAtOnce and hooksWaiting bound the programs that run and that wait for it.
const (
	hooksAtOnce  = 8
	hooksWaiting = 1 << 16
)

// hooks calls programs, those of one link one after the other.
type hooks struct {
	log *slog.Logger

	mu      sync.Mutex
	idle    sync.Cond
	waiting []hookCall
	busy    map[any]bool // of whom one runs
	running int
	lost    uint64
}

type hookCall struct {
	of          any
	hook        *Hook
	name        string
	environment []string
}

func newHooks(log *slog.Logger) *hooks {
	h := &hooks{log: log, busy: make(map[any]bool)}
	h.idle.L = &h.mu
	return h
}

// do calls a program for somebody.
func (h *hooks) do(of any, name string, hook *Hook, environment []string) {
	if hook.Path == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiting) >= hooksWaiting {
		h.lost++
		return
	}
	h.waiting = append(h.waiting, hookCall{of, hook, name, environment})
	if h.running < hooksAtOnce {
		h.running++
		go h.work()
	}
}

func (h *hooks) work() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		next := -1
		for i := range h.waiting {
			if !h.busy[h.waiting[i].of] {
				next = i
				break
			}
		}
		if next < 0 {
			break // whoever is busy looks again
		}
		c := h.waiting[next]
		h.waiting = append(h.waiting[:next], h.waiting[next+1:]...)
		h.busy[c.of] = true
		h.mu.Unlock()
		if err := c.hook.run(c.environment); err != nil {
			h.log.Warn("script", "link", c.name, "path", c.hook.Path, "error", err)
		}
		h.mu.Lock()
		delete(h.busy, c.of)
	}
	h.running--
	h.idle.Broadcast()
}

// wait returns when all have been called.
func (h *hooks) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.running > 0 {
		h.idle.Wait()
	}
}

// run runs the program, and returns what became of it.
func (h *Hook) run(environment []string) error {
	timeout := h.Timeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	return command(timeout, environment, h.Path, h.Args...)
}

// command runs a program and kills it with all that it started when it takes too long.
func command(timeout time.Duration, environment []string, path string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	c.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, environment...)
	c.Dir = "/"
	var said tail
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	err := c.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("killed after %v", timeout)
	case err != nil && len(said.b) > 0:
		return fmt.Errorf("%w: %q", err, said.b)
	}
	return err
}

// A tail keeps the first octets of what is written.
type tail struct{ b []byte }

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	const most = 400
	t.b = append(t.b, b[:min(len(b), most-len(t.b))]...)
	return len(b), nil
}

// printable returns a text in which what is no printable ASCII is a question mark.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(bytes.TrimSpace(b))
}

// environment returns a Hook's environment. Its values are in pairs with their names.
func environment(pairs ...any) []string {
	var all []string
	for i := 0; i+1 < len(pairs); i += 2 {
		text := ""
		switch v := pairs[i+1].(type) {
		case netip.Addr:
			if v.IsValid() {
				text = v.String()
			}
		case netip.AddrPort:
			if v.IsValid() {
				text = v.String()
			}
		case netip.Prefix:
			if v.IsValid() {
				text = v.String()
			}
		case []netip.Prefix:
			text = strings.Trim(fmt.Sprint(v), "[]")
		case []netip.Addr:
			text = strings.Trim(fmt.Sprint(v), "[]")
		case uint64:
			text = strconv.FormatUint(v, 10)
		default:
			text = fmt.Sprint(v)
		}
		all = append(all, "SPANWIRE_"+pairs[i].(string)+"="+printable(text))
	}
	return all
}

// script calls a hook for a link. c is why it is down; nil: it is up.
func (l *Link) script(h *Hook, c *Closed) {
	s := l.server
	if h.Path == "" {
		return
	}
	st := l.status()
	pairs := []any{
		"EVENT", "up", "INTERFACE", s.device.Name(), "LINK", l.call.Name, "SESSION_ID", st.ID, "USER", st.User,
		"PEER", l.call.Peer, "CALLING", l.call.Port.CallingStationID, "CALLED", l.call.Port.CalledStationID,
		"LOCAL_ADDRESS", s.cfg.Address, "ADDRESS", st.Address, "PREFIX", st.Prefix, "DELEGATED", st.Delegated,
		"ROUTES", st.Routes, "DNS", l.grant.dns, "MTU", st.MTU,
	}
	if c != nil {
		pairs[1] = "down"
		pairs = append(pairs, "IN_OCTETS", st.InOctets, "OUT_OCTETS", st.OutOctets,
			"SECONDS", int(time.Since(l.since)/time.Second), "CAUSE", c.String())
	}
	s.hooks.do(l, l.String(), h, environment(pairs...))
}
