package kernelvm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGuest(t *testing.T) {
	share := t.TempDir()
	if err := os.WriteFile(filepath.Join(share, "question"), []byte("six by nine"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var output strings.Builder
	status, err := Run(ctx, Config{
		Share:  share,
		Output: &output,
		// dummy is a module that nothing loads but the kernel's own request.
		Script: `set -e
echo release $(uname -r)
echo question $(cat /share/question)
echo 42 >/share/answer
ip link add d0 type dummy && ip -br link show d0
ip -br link show lo
touch /etc/kernelvm-was-here
exit 7
`,
	})
	if err != nil {
		t.Fatalf("%v; the guest said:\n%s", err, &output)
	}
	if status != 7 {
		t.Errorf("exit status %d, want the script's 7", status)
	}
	own, err := exec.Command("uname", "-r").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := output.String(); strings.Contains(got, "release "+string(own)) {
		t.Errorf("the guest runs this machine's kernel, %s", own)
	}
	for _, want := range []string{"release ", "question six by nine\n", "d0 ", "LOOPBACK,UP"} {
		if !strings.Contains(output.String(), want) {
			t.Errorf("no %q in the guest's output:\n%s", want, &output)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(share, "answer")); string(b) != "42\n" {
		t.Errorf("the guest wrote %q to the shared directory, want %q", b, "42\n")
	}
	if _, err := os.Lstat("/etc/kernelvm-was-here"); err == nil {
		os.Remove("/etc/kernelvm-was-here")
		t.Error("the guest wrote to this machine's root")
	}
}

func TestGuestEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	start := time.Now()
	if _, err := Run(ctx, Config{Script: "sleep 1000"}); err == nil {
		t.Error("no error, want one that says that the guest did not end")
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("Run returned after %v, want about 3s", d)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Run(t.Context(), Config{})
	if err == nil || !strings.Contains(err.Error(), "qemu-system-x86 kmod") {
		t.Errorf("Run: %v, want the Debian packages named", err)
	}
}
