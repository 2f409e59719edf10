package kernelvm

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// firstModules are what the guest needs before it sees the modules' directory, and
// its network card, for which nothing loads a driver later.
var firstModules = []string{"virtio_pci", "virtio_net", "9p", "9pnet_virtio", "overlay"}

// writeInitramfs writes what the kernel starts from: the guest program as /init,
// and the first modules in the order in which they are to be loaded.
func (k *kernel) writeInitramfs(ctx context.Context, w io.Writer, scratch string) error {
	init := filepath.Join(scratch, "init")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", init, "spanwire/testbed/kernelvm/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // there is no libc to link with
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the guest's init: %w: %s", err, out)
	}
	modules, err := k.withDependencies(ctx, firstModules)
	if err != nil {
		return err
	}
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	a := archive{w: z}
	a.directory("modules")
	a.file("init", init)
	for i, path := range modules {
		a.file(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(path)), path)
	}
	a.end()
	return errors.Join(a.err, z.Close())
}

// withDependencies returns the files of modules, each after those it needs.
func (k *kernel) withDependencies(ctx context.Context, modules []string) ([]string, error) {
	var paths []string
	seen := map[string]bool{}
	for _, m := range modules {
		out, err := exec.CommandContext(ctx, "modprobe", "-d", k.root, "-S", k.release, "--show-depends", m).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("module %s: %w: %s", m, err, out)
		}
		for line := range strings.Lines(string(out)) {
			// "insmod PATH", or "builtin NAME".
			f := strings.Fields(line)
			if len(f) >= 2 && f[0] == "insmod" && !seen[f[1]] {
				seen[f[1]] = true
				paths = append(paths, f[1])
			}
		}
	}
	return paths, nil
}

// An archive is a cpio archive in the "new ASCII" format, the one that the kernel
// unpacks: Documentation/driver-api/early-userspace/buffer-format.rst. After the
// first error it writes nothing more.
type archive struct {
	w   io.Writer
	ino int
	err error
}

func (a *archive) directory(name string) { a.entry(name, 0o040755, nil) }
func (a *archive) end()                  { a.entry("TRAILER!!!", 0, nil) }
func (a *archive) file(name, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		a.err = errors.Join(a.err, err)
		return
	}
	a.entry(name, 0o100755, b)
}

func (a *archive) entry(name string, mode int, content []byte) {
	if a.err != nil {
		return
	}
	a.ino++
	const links, none = 1, 0
	header := "070701"
	for _, field := range []int{
		a.ino, mode, none /* uid */, none /* gid */, links, none /* mtime */, len(content),
		none, none /* device it is on */, none, none /* device it is */, len(name) + 1, none, /* checksum */
	} {
		header += fmt.Sprintf("%08X", field)
	}
	header += name + "\x00"
	for _, part := range [][]byte{[]byte(header), content} {
		if _, a.err = a.w.Write(append(part, make([]byte, -len(part)&3)...)); a.err != nil {
			return
		}
	}
}
