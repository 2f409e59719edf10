// Package kernelvm boots Debian's stock kernel under qemu's software emulation
// and runs a script in it, for what the running kernel lacks: L2TP, PPP, ESP,
// netem. The guest's root file system is this machine's, read-only below an
// overlay in memory, so what is installed here runs there.
package kernelvm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A Config is a guest.
type Config struct {
	Script   string   // text for /bin/sh, run as root
	TAPs     []string // names; they become eth0, eth1 and so on of the guest
	Share    string   // a directory that is /share in the guest, writable; "": none
	MemoryMB int      // 0: 1024
	CPUs     int      // 0: 1
	Output   io.Writer

	// Start starts qemu where the TAPs are, in some network namespace. nil:
	// in this one.
	Start func(*exec.Cmd) error
}

// needs are the programs that Run uses and where Debian has them.
var needs = []struct{ program, debian string }{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"modprobe", "kmod"},
	{"depmod", "kmod"},
	{"dpkg", "dpkg"},
	{"apt-get", "apt"},
	{"apt-cache", "apt"},
	{"go", "golang-go"},
}

// Run boots a guest and returns its script's exit status. It ends the guest when
// ctx is done; a guest whose Run was killed ends itself at ctx's deadline.
func Run(ctx context.Context, cfg Config) (status int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("kernelvm: %w", err)
		}
	}()
	if err := check(); err != nil {
		return 0, err
	}
	k, err := findKernel(ctx)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "kernelvm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(cfg.Script), 0o644); err != nil {
		return 0, err
	}
	initrd, err := os.Create(filepath.Join(dir, "initrd"))
	if err != nil {
		return 0, err
	}
	err = k.writeInitramfs(ctx, initrd, dir)
	if err := errors.Join(err, initrd.Close()); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", arguments(ctx, cfg, k, dir)...)
	cmd.WaitDelay = time.Second
	cmd.Stdout = cfg.Output
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	start := cfg.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	if err := start(cmd); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return 0, fmt.Errorf("the guest did not end: %w", context.Cause(ctx))
	}
	if err != nil {
		return 0, fmt.Errorf("qemu: %w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, errors.New("the guest ended before its script did: see its output")
	} else if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}

// check names every program that is missing, with the package to install.
func check() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("a machine of %s, want amd64", runtime.GOARCH)
	}
	var missing, install []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil {
			missing = append(missing, n.program)
			install = append(install, n.debian)
		}
	}
	if missing != nil {
		return fmt.Errorf("%s not found; please install (Debian names): %s", strings.Join(missing, ", "), strings.Join(install, " "))
	}
	return nil
}

// arguments are qemu's. Directories reach the guest over 9p, by the tags that
// the guest package mounts.
func arguments(ctx context.Context, cfg Config, k *kernel, dir string) []string {
	line := "console=ttyS0 quiet loglevel=3 panic=-1"
	if deadline, ok := ctx.Deadline(); ok {
		line += fmt.Sprintf(" kernelvm.seconds=%d", 1+int(time.Until(deadline).Seconds()))
	}
	memory := cfg.MemoryMB
	if memory == 0 {
		memory = 1024
	}
	args := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
		"-m", strconv.Itoa(memory), "-smp", strconv.Itoa(max(cfg.CPUs, 1)),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", k.image(), "-initrd", filepath.Join(dir, "initrd"), "-append", line,
	}
	mount := func(tag, path, more string) {
		// A comma separates qemu's options; doubled it is itself.
		args = append(args, "-virtfs", "local,security_model=none,multidevs=remap,mount_tag="+tag+more+
			",path="+strings.ReplaceAll(path, ",", ",,"))
	}
	mount("root", "/", ",readonly=on")
	mount("modules", k.modules(), ",readonly=on")
	mount("run", dir, "")
	if cfg.Share != "" {
		mount("share", cfg.Share, "")
	}
	// The guest's card leaves nothing to be done later: checksums and sizes at
	// the TAP are those that would be on a cable.
	const plain = "csum=off,gso=off,guest_csum=off"
	for i, tap := range cfg.TAPs {
		mac := net.HardwareAddr{0x52, 0x54, 5: 0}
		rand.Read(mac[2:])
		args = append(args,
			"-netdev", fmt.Sprintf("tap,id=n%d,ifname=%s,script=no,downscript=no", i, tap),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,%s,mac=%s", i, plain, mac))
	}
	return args
}
