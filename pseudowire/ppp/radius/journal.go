package radius

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A journal is a file that says what must yet be told, should we end without
// notice: a line for each session that started, for each that ended, and for each
// whose end was told. Now and then it is written anew, with what the sessions have
// used so far. What the kernel took is kept however the process ends; at a loss of
// power the last lines may be lost, and a torn one is left out.
type journal struct {
	path string
	lock *os.File
	file *os.File

	renewing bool
	since    []byte // lines since begin
}

// A line is a line of a journal.
type line struct {
	Open  *Session   `json:"open,omitempty"`
	User  []byte     `json:"user,omitempty"` // of Open: it may be no UTF-8, which JSON wants
	ID    string     `json:"id,omitempty"`   // of another
	Usage *Usage     `json:"usage,omitempty"`
	At    *time.Time `json:"at,omitempty"`    // when it was this
	Cause Cause      `json:"cause,omitempty"` // it ended then
	Done  bool       `json:"done,omitempty"`  // and that was told
}

// A left session is one that a journal has and that was not told to its end.
type left struct {
	session *Session
	end     record
}

// openJournal opens a journal or makes one, and returns what an earlier run left,
// in the order of the starts, and how many lines it could not read. No two
// processes have one journal.
func openJournal(path string) (j *journal, all []left, torn int, err error) {
	j = &journal{path: path}
	if j.lock, err = os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, 0, err
	}
	if err := unix.Flock(int(j.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		j.lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil, 0, fmt.Errorf("%s: another process has it", path)
		}
		return nil, nil, 0, fmt.Errorf("%s: %w", j.lock.Name(), err)
	}
	old, err := os.Open(path)
	switch {
	case err == nil:
		all, torn, err = readJournal(old)
		old.Close()
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		j.lock.Close()
		return nil, nil, 0, err
	}
	return j, all, torn, nil
}

// longestLine is more octets than a line that we wrote has.
const longestLine = 64 << 10

func readJournal(r io.Reader) (all []left, torn int, err error) {
	at := make(map[string]int) // in all; -1: told
	lines := bufio.NewReaderSize(r, longestLine)
	for {
		text, err := lines.ReadSlice('\n')
		switch {
		case err == io.EOF:
			if len(text) > 0 {
				torn++
			}
			kept := all[:0]
			for i, l := range all {
				if at[l.session.ID] == i {
					kept = append(kept, l)
				}
			}
			return kept, torn, nil
		case errors.Is(err, bufio.ErrBufferFull):
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			torn++
			continue
		case err != nil:
			return nil, 0, err
		}
		var l line
		if json.Unmarshal(text, &l) != nil || l.Open == nil && l.ID == "" || l.Open != nil && l.Open.ID == "" {
			torn++
			continue
		}
		if l.Open != nil {
			l.ID = l.Open.ID
			l.Open.User = string(l.User)
			if i, again := at[l.ID]; again && i >= 0 {
				all[i].session = l.Open
			} else if !again {
				at[l.ID] = len(all)
				// Until it is said otherwise it ended as it began, for
				// the reason that we end without notice.
				all = append(all, left{l.Open, record{kind: stop, at: l.Open.Started, cause: NASReboot}})
			}
		}
		i, known := at[l.ID]
		if !known || i < 0 {
			continue
		}
		if l.Usage != nil {
			all[i].end.usage = *l.Usage
		}
		if l.At != nil {
			all[i].end.at = *l.At
		}
		if l.Cause != 0 {
			all[i].end.cause = l.Cause
		}
		if l.Done {
			at[l.ID] = -1
		}
	}
}

// write adds lines, once the journal has been written anew.
func (j *journal) write(lines ...line) error {
	if j == nil || j.file == nil {
		return nil
	}
	b, err := appendLines(nil, lines)
	if err != nil {
		return err
	}
	if j.renewing {
		j.since = append(j.since, b...)
	}
	_, err = j.file.Write(b)
	return err
}

func appendLines(b []byte, lines []line) ([]byte, error) {
	for _, l := range lines {
		text, err := json.Marshal(l)
		if err != nil {
			return nil, err
		}
		b = append(append(b, text...), '\n')
	}
	return b, nil
}

// renew puts lines in the place of all that is there, whole or not at all. No other
// call may be made meanwhile, but for write: it takes begin, fill and finish to have
// those made.
func (j *journal) renew(lines []line) error {
	if j == nil {
		return nil
	}
	j.begin()
	next, err := j.fill(lines)
	return j.finish(next, err)
}

// begin has lines that are written from now on be part of the next file too.
func (j *journal) begin() { j.renewing, j.since = true, nil }

// fill writes the next file. It takes as long as the disk does.
func (j *journal) fill(lines []line) (*os.File, error) {
	b, err := appendLines(nil, lines)
	if err != nil {
		return nil, err
	}
	next, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = next.Write(b); err == nil {
		err = next.Sync()
	}
	if err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

// finish puts the next file in its place, if there is one.
func (j *journal) finish(next *os.File, err error) error {
	since := j.since
	j.renewing, j.since = false, nil
	if err != nil {
		return err
	}
	if _, err = next.Write(since); err == nil {
		err = os.Rename(next.Name(), j.path)
	}
	if err != nil {
		next.Close()
		return err
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file = next
	return nil
}

func (j *journal) close() {
	if j == nil {
		return
	}
	if j.file != nil {
		j.file.Close()
	}
	j.lock.Close()
}
