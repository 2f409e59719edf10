package radius

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	layeh "layeh.com/radius"
)

// An AccountingConfig says how to account. The zero value is good, but forgets when
// the process ends what was not told.
type AccountingConfig struct {
	// Journal is the path of a file that keeps what was not told; empty: there is
	// none. What the process leaves when it is killed is told by the next: the
	// stops of the sessions that were open, with what they had used at the last
	// Checkpoint, and those that no server had taken.
	Journal    string
	Checkpoint time.Duration // between two writings of what all have used; 0: 1 minute

	// Interim is between two updates of a session; 0: what the server says of it.
	// "A locally configured value on the NAS MUST override the value found in an
	// Access-Accept", RFC 2869 section 2.1.
	Interim     time.Duration
	Concurrent  int // requests under way at once; 0: 32
	Undelivered int // sessions that are over and kept until a server takes them; 0: 65536

	// NoAccountingOn is for servers that do not answer it. Else sessions are told
	// only when they have.
	NoAccountingOn bool

	Log *slog.Logger // nil: slog.Default()
}

// Accounting tells the servers what users use. Its methods may be called at once.
type Accounting struct {
	client *Client
	cfg    AccountingConfig
	log    *slog.Logger
	cancel context.CancelFunc
	kick   chan struct{} // there is something new
	ended  chan struct{} // the run has

	mu      sync.Mutex
	ledger  *ledger
	journal *journal
	dropped uint64
	torn    bool // the journal could not be written
	closing bool
	settled chan struct{}
}

// OpenAccounting begins to account. First what an earlier run left is told, then
// that the NAS is on.
func (c *Client) OpenAccounting(cfg AccountingConfig) (*Accounting, error) {
	if len(c.accounting) == 0 {
		return nil, errors.New("radius: accounting: no server")
	}
	cfg.Checkpoint = cmp.Or(cfg.Checkpoint, time.Minute)
	cfg.Concurrent = cmp.Or(cfg.Concurrent, 32)
	cfg.Undelivered = cmp.Or(cfg.Undelivered, 65536)
	if cfg.Checkpoint < 0 || cfg.Interim < 0 || cfg.Concurrent < 0 || cfg.Undelivered < 0 {
		return nil, errors.New("radius: accounting: a limit below zero")
	}
	a := &Accounting{
		client: c, cfg: cfg, log: cfg.Log,
		kick: make(chan struct{}, 1), ended: make(chan struct{}), settled: make(chan struct{}),
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	now := time.Now()
	a.ledger = newLedger(cfg.Concurrent, cfg.Undelivered, !cfg.NoAccountingOn, now)
	if cfg.Journal != "" {
		j, all, torn, err := openJournal(cfg.Journal)
		if err != nil {
			return nil, fmt.Errorf("radius: accounting: journal: %w", err)
		}
		a.journal = j
		if torn > 0 {
			a.log.Warn("lines of the accounting journal are not readable", "journal", cfg.Journal, "lines", torn)
		}
		for _, l := range all {
			a.drop(a.ledger.recover(l.session, l.end, now))
		}
		if len(all) > 0 {
			a.log.Info("sessions of an earlier run are told to be over", "sessions", len(all))
		}
		if err := j.renew(a.lines()); err != nil {
			j.close()
			return nil, fmt.Errorf("radius: accounting: journal: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go a.run(ctx)
	return a, nil
}

// An Account is the accounting of one session.
type Account struct {
	accounting *Accounting
	entry      *entry
}

// Start tells that a session has started. usage returns what it has used since; it
// is called now and then, with a lock held: it must be quick and call nothing here.
// A session without ID, or with that of another, gets one.
func (a *Accounting) Start(s Session, usage func() Usage) *Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, taken := a.ledger.entries[s.ID]; taken || s.ID == "" {
		s.ID = a.client.NewSessionID()
	}
	if s.Started.IsZero() {
		s.Started = time.Now()
	}
	if a.cfg.Interim > 0 {
		s.Interim = a.cfg.Interim
	}
	e := a.ledger.start(&s, usage)
	a.note(line{Open: &s, User: []byte(s.User)})
	a.wake()
	return &Account{a, e}
}

// ID returns the Acct-Session-Id.
func (t *Account) ID() string {
	t.accounting.mu.Lock()
	defer t.accounting.mu.Unlock()
	return t.entry.session.ID
}

// Update changes what is said of the session, all but its ID, and tells it: that it
// now has an IPv6 prefix, or another Class.
func (t *Account) Update(change func(*Session)) {
	a := t.accounting
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.entry.stopped {
		return
	}
	s := *t.entry.session // the old one may be being told
	change(&s)
	s.ID, s.Started = t.entry.session.ID, t.entry.session.Started
	t.entry.session = &s
	a.ledger.update(t.entry, time.Now())
	a.note(line{Open: &s, User: []byte(s.User)})
	a.wake()
}

// Stop tells that the session is over, what it used, and why. A second one does
// nothing.
func (t *Account) Stop(cause Cause) {
	a := t.accounting
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	dropped, ok := a.ledger.stop(t.entry, cause, now)
	if !ok {
		return
	}
	e := t.entry
	a.note(line{ID: e.session.ID, Usage: &e.last, At: &now, Cause: cause})
	a.drop(dropped)
	a.wake()
}

// An AccountingStatus is how accounting does.
type AccountingStatus struct {
	Open        int    // sessions that go on
	Undelivered int    // sessions that are over, which no server knows yet
	Dropped     uint64 // sessions that are over and were forgotten, since there were too many
	On          bool   // the servers know that we are there
}

// Status returns how accounting does.
func (a *Accounting) Status() AccountingStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AccountingStatus{len(a.ledger.entries) - a.ledger.over, a.ledger.over, a.dropped, a.ledger.on == nil}
}

// Close tells what is yet to be told, and at last that the NAS is off, as long as
// ctx allows. Sessions that go on should have been stopped before. What was not
// told stays in the journal.
func (a *Accounting) Close(ctx context.Context) error {
	a.mu.Lock()
	a.ledger.shut(time.Now())
	a.closing = true
	a.wake()
	a.mu.Unlock()
	select {
	case <-a.settled:
	case <-ctx.Done():
	}
	a.cancel()
	<-a.ended
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.journal.renew(a.lines())
	a.journal.close()
	a.journal = nil
	if n := len(a.ledger.entries); err == nil && n > 0 {
		err = fmt.Errorf("radius: accounting: %d sessions are not told to be over", n)
	}
	return err
}

// wake has the run look again.
func (a *Accounting) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// note writes to the journal. That it cannot is said once.
func (a *Accounting) note(l line) { a.journaled(a.journal.write(l)) }

func (a *Accounting) journaled(err error) {
	if err != nil && !a.torn {
		a.log.Error("the accounting journal cannot be written", "journal", a.cfg.Journal, "error", err)
	}
	a.torn = err != nil
}

func (a *Accounting) drop(dropped []*entry) {
	for _, e := range dropped {
		a.dropped++
		a.note(line{ID: e.session.ID, Done: true})
	}
}

// lines are those of a journal that says all that is to be told.
func (a *Accounting) lines() (lines []line) {
	for _, e := range a.ledger.entries {
		usage, at := e.last, e.lastAt // they are written when these may be others
		l := line{Open: e.session, User: []byte(e.session.User), Usage: &usage, At: &at}
		if e.stopped {
			l.Cause = e.pending[len(e.pending)-1].cause
		}
		lines = append(lines, l)
	}
	return lines
}

// run tells what is due.
func (a *Accounting) run(ctx context.Context) {
	defer close(a.ended)
	var under sync.WaitGroup
	defer under.Wait()
	checkpoint := time.NewTicker(a.cfg.Checkpoint)
	defer checkpoint.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for settled := false; ; {
		a.mu.Lock()
		now := time.Now()
		e, r, ok := a.ledger.take(now)
		var s *Session
		if ok {
			s = e.session
		}
		deadline := a.ledger.deadline()
		closed := a.closing && a.ledger.settled()
		a.mu.Unlock()
		if ok {
			under.Go(func() { a.deliver(ctx, e, s, r) })
			continue
		}
		if !settled && closed {
			settled = true
			close(a.settled)
		}
		timer.Stop()
		if !deadline.IsZero() {
			timer.Reset(time.Until(deadline))
		}
		select {
		case <-timer.C:
		case <-a.kick:
		case <-checkpoint.C:
			under.Go(a.checkpoint)
		case <-ctx.Done():
			return
		}
	}
}

// checkpoint writes the journal anew, unless that goes on already. Nothing waits for
// the disk.
func (a *Accounting) checkpoint() {
	a.mu.Lock()
	j := a.journal
	if j == nil || j.renewing {
		a.mu.Unlock()
		return
	}
	now := time.Now()
	for _, e := range a.ledger.entries {
		e.look(now)
	}
	lines := a.lines()
	j.begin()
	a.mu.Unlock()
	next, err := j.fill(lines)
	a.mu.Lock()
	a.journaled(j.finish(next, err))
	a.mu.Unlock()
}

// deliver tells one record. s is its session as it was then.
func (a *Accounting) deliver(ctx context.Context, e *entry, s *Session, r record) {
	_, err := a.client.exchange(ctx, a.client.accounting, func(to *server) (*layeh.Packet, error) {
		return a.client.accountingRequest(to, s, r, time.Now())
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && ctx.Err() == nil && a.ledger.failing == 0 {
		a.log.Warn("accounting waits for a server", "error", err)
	}
	if err == nil && a.ledger.failing > 0 {
		a.log.Info("accounting goes on", "undelivered", a.ledger.over)
	}
	if a.ledger.done(e, err == nil, time.Now()) {
		a.note(line{ID: s.ID, Done: true})
	}
	a.wake()
}
