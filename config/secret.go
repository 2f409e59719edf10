package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"spanwire/l2tpv3/wire"
)

// A sharedSecret is a shared secret, as the keys that are derived from it.
type sharedSecret struct {
	*wire.Secret                // nil: none
	v2           *wire.SecretV2 // the same for L2TPv2
	octets       int            // it had
}

// mostSecret is the octets of the longest secret.
const mostSecret = 1024

func (s *sharedSecret) set(secret []byte) (complaint string) {
	if len(secret) == 0 || len(secret) > mostSecret {
		return fmt.Sprintf("want 1 to %d octets", mostSecret)
	}
	*s = sharedSecret{wire.NewSecret(secret), wire.NewSecretV2(secret), len(secret)}
	return ""
}

func secretValue(to *sharedSecret) setter {
	return func(v any) string { return to.set([]byte(v.(string))) }
}

// secretFile takes a secret from a file. A relative path is below dir.
func secretFile(to *sharedSecret, dir string) setter {
	return func(v any) string {
		path := v.(string)
		if path == "" {
			return "want a path"
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return to.load(path)
	}
}

// LoadSecret reads a shared secret as a tunnel's secret_file is read, for both versions.
func LoadSecret(path string) (*wire.Secret, *wire.SecretV2, error) {
	var s sharedSecret
	if complaint := s.load(path); complaint != "" {
		return nil, nil, fmt.Errorf("%s: %s", path, complaint)
	}
	return s.Secret, s.v2, nil
}

// load reads a file, of which the last end of line is none of the secret.
func (s *sharedSecret) load(path string) (complaint string) {
	secret, complaint := readSecret(path)
	switch {
	case complaint != "":
		return complaint
	case len(secret) > mostSecret:
		return fmt.Sprintf("which has more than %[1]d octets, want 1 to %[1]d", mostSecret)
	case len(secret) == 0:
		return fmt.Sprintf("which is empty, want 1 to %d octets", mostSecret)
	}
	return s.set(secret)
}

// readSecret reads a file that nobody else can read, and of it no more than shows
// that it is too long: an octet beyond the longest and an end of line.
func readSecret(path string) (secret []byte, complaint string) {
	unreadable := func(err error) ([]byte, string) {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err // the path is told already
		}
		return nil, fmt.Sprintf("which cannot be read: %v", err)
	}
	// Other than a regular file is not even opened: of a device that may do
	// something, of a pipe it may last.
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return unreadable(err)
	case !info.Mode().IsRegular():
		return nil, "want a regular file"
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return unreadable(err)
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return unreadable(err)
	}
	mode := info.Mode()
	switch {
	case !mode.IsRegular():
		return nil, "want a regular file"
	case mode.Perm()&0o077 != 0:
		return nil, fmt.Sprintf("which has mode %04o, by which others can read or change it, want 0600", mode.Perm())
	}
	secret, err = io.ReadAll(io.LimitReader(file, mostSecret+3))
	if err != nil {
		return unreadable(err)
	}
	if rest, cut := bytes.CutSuffix(secret, []byte("\n")); cut {
		secret = bytes.TrimSuffix(rest, []byte("\r"))
	}
	return secret, ""
}
