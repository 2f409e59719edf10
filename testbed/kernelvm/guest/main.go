// The guest program is the first process of a kernelvm guest: it puts the root
// file system together, runs the script in it and turns the machine off.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	status, err := run()
	if err == nil {
		err = os.WriteFile("/run/kernelvm/status", []byte(strconv.Itoa(status)), 0o644)
	}
	if err != nil {
		fmt.Println("kernelvm:", err)
	}
	powerOff()
}

func powerOff() {
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() (int, error) {
	plainConsole()
	if err := mount("proc", "proc", "/proc", ""); err != nil {
		return 0, err
	}
	if err := limit(); err != nil {
		return 0, err
	}
	if err := loadModules("/modules"); err != nil {
		return 0, err
	}
	if err := buildRoot("/new"); err != nil {
		return 0, err
	}
	if err := errors.Join(unix.Chroot("/new"), unix.Chdir("/")); err != nil {
		return 0, err
	}
	if err := up("lo"); err != nil {
		return 0, err
	}
	cmd := exec.Command("/bin/sh", "/run/kernelvm/script")
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if s := exit.Sys().(syscall.WaitStatus); s.Signaled() {
			return 128 + int(s.Signal()), nil // as a shell says it
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// plainConsole keeps the console from turning each \n into \r\n.
func plainConsole() {
	if t, err := unix.IoctlGetTermios(1, unix.TCGETS); err == nil {
		t.Oflag &^= unix.OPOST
		unix.IoctlSetTermios(1, unix.TCSETS, t)
	}
}

// limit turns the machine off at the deadline that the kernel's command line
// may give: whoever started it may be gone.
func limit() error {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	for _, word := range strings.Fields(string(line)) {
		if value, ok := strings.CutPrefix(word, "kernelvm.seconds="); ok {
			seconds, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("/proc/cmdline: %s: %w", word, err)
			}
			time.AfterFunc(time.Duration(seconds)*time.Second, powerOff)
		}
	}
	return nil
}

// loadModules loads what is in dir, in the order of the names.
func loadModules(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		flags := 0
		if !strings.HasSuffix(path, ".ko") {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		err = unix.FinitModule(int(f.Fd()), "", flags)
		f.Close()
		if err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

// buildRoot puts the guest's root together in dir: the machine's root below a
// writable layer in memory, the guest's own kernel's file systems over it.
func buildRoot(dir string) error {
	const p9 = "trans=virtio,version=9p2000.L,msize=512000"
	const p9fixed = p9 + ",cache=loose" // nobody changes it under us
	if err := errors.Join(
		mount("9p", "root", "/lower", p9fixed),
		mount("tmpfs", "tmpfs", "/upper", ""),
		os.Mkdir("/upper/files", 0o755),
		os.Mkdir("/upper/work", 0o755),
		mount("overlay", "overlay", dir, "lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work"),
	); err != nil {
		return err
	}
	for _, m := range []struct{ kind, source, target, options string }{
		{"proc", "proc", "/proc", ""},
		{"sysfs", "sysfs", "/sys", ""},
		{"devtmpfs", "devtmpfs", "/dev", ""},
		{"devpts", "devpts", "/dev/pts", ""},
		{"tmpfs", "tmpfs", "/run", ""},
		{"tmpfs", "tmpfs", "/tmp", ""},
		{"9p", "modules", "/usr/lib/modules", p9fixed}, // not by Debian's link at /lib, which leads out of dir
		{"9p", "run", "/run/kernelvm", p9},
	} {
		if err := mount(m.kind, m.source, dir+m.target, m.options); err != nil {
			return err
		}
	}
	// The machine may have nothing to share: then there is no such tag.
	if err := mount("9p", "share", dir+"/share", p9); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func mount(kind, source, target, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", source, target, err)
	}
	return nil
}

// up sets an interface up.
func up(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}
