package lns

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// TestDNSHandover wants the peer's servers in the file and told to the program, and all
// as it was after.
func TestDNSHandover(t *testing.T) {
	servers := []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}
	for _, was := range []string{"nameserver 198.51.100.1\n", "", "missing"} {
		dir := t.TempDir()
		file, log, program := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "log"), filepath.Join(dir, "resolvectl")
		if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho \"$@\" >>%s\n", log), 0o700); err != nil {
			t.Fatal(err)
		}
		if was != "missing" {
			if err := os.WriteFile(file, []byte(was), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		read := func(name string) string {
			b, err := os.ReadFile(name)
			if err != nil {
				return "missing"
			}
			return string(b)
		}
		d := dnsHandover{file: file, resolvectl: program, device: "ppp7"}
		for range 2 { // the link begins again without having been down
			if err := d.set(servers); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := read(file), "# Of the PPP link ppp7.\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"; got != want {
			t.Errorf("%q: while the link is up %q, want %q", was, got, want)
		}
		if err := d.set(nil); err != nil {
			t.Fatal(err)
		}
		if got := read(file); got != was {
			t.Errorf("afterwards %q, want %q", got, was)
		}
		const up = "dns ppp7 192.0.2.53 2001:db8::53\n"
		if got, want := read(log), up+up+"revert ppp7\n"; got != want {
			t.Errorf("%q: the program was called so:\n%swant\n%s", was, got, want)
		}
	}
	d := dnsHandover{file: filepath.Join(t.TempDir(), "no", "such"), device: "ppp7"}
	if err := d.set(servers); err == nil {
		t.Error("no error where the file cannot be written")
	}
}
