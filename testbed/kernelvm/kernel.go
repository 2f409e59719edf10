package kernelvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// A kernel is Debian's kernel package, extracted.
type kernel struct {
	root    string
	release string // as uname -r says it
}

func (k *kernel) image() string   { return filepath.Join(k.root, "boot/vmlinuz-"+k.release) }
func (k *kernel) modules() string { return filepath.Join(k.root, "lib/modules") }

// findKernel returns the kernel in the cache, and puts Debian's present one there
// if there is none. Remove the cache to have a newer one.
func findKernel(ctx context.Context) (*kernel, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	// Tests of several packages run at once: one fetches, the others wait.
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", cache, err)
	}
	// The name comes last and by rename, so what has it is whole.
	root := filepath.Join(cache, "kernel")
	if _, err := os.Stat(root); errors.Is(err, os.ErrNotExist) {
		if err := fetchKernel(ctx, cache, root); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	release, err := releaseIn(root)
	if err != nil {
		return nil, err
	}
	return &kernel{root, release}, nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv("SPANWIRE_KERNELVM_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "spanwire-kernelvm"), err
}

// dependency is a line of apt-cache depends: the metapackage depends on the
// kernel that is Debian's present one.
var dependency = regexp.MustCompile(`(?m)^ *Depends: (linux-image-\S+)$`)

func fetchKernel(ctx context.Context, cache, root string) error {
	dir, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		var complaint strings.Builder
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
		}
		return string(out), nil
	}
	const metapackage = "linux-image-amd64"
	out, err := run("apt-cache", "depends", metapackage)
	if err != nil {
		return fmt.Errorf("%w (does apt-get update help?)", err)
	}
	found := dependency.FindStringSubmatch(out)
	if found == nil {
		return fmt.Errorf("apt-cache depends %s: no kernel in %q", metapackage, out)
	}
	if _, err := run("apt-get", "-q", "download", found[1]); err != nil {
		return fmt.Errorf("%w (does apt-get update help?)", err)
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download %s: %d packages came, want 1", found[1], len(debs))
	}
	extracted := filepath.Join(dir, "root")
	if _, err := run("dpkg", "-x", debs[0], extracted); err != nil {
		return err
	}
	release, err := releaseIn(extracted)
	if err != nil {
		return err
	}
	if _, err := run("depmod", "-b", extracted, release); err != nil {
		return err
	}
	return os.Rename(extracted, root)
}

// releaseIn returns the release of the one kernel below root.
func releaseIn(root string) (string, error) {
	images, _ := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if len(images) != 1 {
		return "", fmt.Errorf("%s: %d kernels, want 1; remove it to have it fetched again", root, len(images))
	}
	return strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-"), nil
}
