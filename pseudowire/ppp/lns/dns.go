package lns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A dnsHandover tells the host which DNS servers the peer named. Its methods are called
// one at a time.
type dnsHandover struct {
	file, resolvectl, device string

	kept bool   // the file is ours, and this is what it was:
	was  []byte // nil: it was not there
}

const resolvectlTimeout = 10 * time.Second

// set hands the servers over. Where there are none, all is as it was before.
func (d *dnsHandover) set(servers []netip.Addr) error {
	if len(servers) == 0 {
		return d.revert()
	}
	var err error
	if d.file != "" {
		err = d.write(servers)
	}
	if d.resolvectl != "" {
		args := []string{"dns", d.device}
		for _, s := range servers {
			args = append(args, s.String())
		}
		err = errors.Join(err, command(resolvectlTimeout, nil, d.resolvectl, args...))
	}
	return err
}

func (d *dnsHandover) write(servers []netip.Addr) error {
	if !d.kept {
		was, err := os.ReadFile(d.file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && was == nil {
			was = []byte{}
		}
		d.kept, d.was = true, was
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# Of the PPP link %s.\n", d.device)
	for _, s := range servers {
		fmt.Fprintf(&text, "nameserver %v\n", s)
	}
	return replace(d.file, []byte(text.String()))
}

// replace writes a file so that who reads it finds the one text or the other.
func replace(path string, text []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// revert makes all as it was.
func (d *dnsHandover) revert() (err error) {
	if d.kept {
		d.kept = false
		if d.was == nil {
			err = os.Remove(d.file)
		} else {
			err = replace(d.file, d.was)
		}
		d.was = nil
		if d.resolvectl == "" {
			return err
		}
	}
	if d.resolvectl != "" {
		err = errors.Join(err, command(resolvectlTimeout, nil, d.resolvectl, "revert", d.device))
	}
	return err
}
