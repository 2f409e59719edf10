package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/l2tpv3/wire"
)

func TestDecodeCommand(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, mode os.FileMode, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := wire.NewSecret([]byte("a secret"))
	signatures := []wire.Signature{{Type: wire.SHA1, Secret: secret}}
	body := wire.AppendBody(nil, &wire.SCCRQ{LCCE: wire.LCCE{HostName: "lyon", ConnectionID: 7, Nonce: []byte("a nonce")}}, &wire.Encoding{Signatures: signatures})
	message := wire.AppendControl(nil, wire.ControlHeader{Version: 3}, body)
	wire.Seal(message, signatures, nil, nil)
	capture := func(message []byte) []byte {
		ip := append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, wire.Protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}, append(make([]byte, 4), message...)...)
		var b bytes.Buffer
		w := pcapgo.NewWriter(&b)
		if err := w.WriteFileHeader(1<<16, layers.LinkTypeRaw); err != nil {
			t.Fatal(err)
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, 0), CaptureLength: len(ip), Length: len(ip)}, ip); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	good := put("good.pcap", 0o600, capture(message))
	broken := put("broken.pcap", 0o600, capture(message[:len(message)-1]))
	ends := put("ends.pcap", 0o600, capture(message)[:60])
	text := put("text", 0o600, []byte("no capture at all"))
	right := put("right.secret", 0o600, []byte("a secret\n"))
	other := put("other.secret", 0o600, []byte("another secret\n"))
	open := put("open.secret", 0o644, []byte("a secret\n"))

	for _, test := range []struct {
		args           []string
		code           int
		stdout, stderr []string // what is in it; nil: it is empty
	}{
		{[]string{"--help"}, 0, []string{"--secret-file FILE", "Examples:", "not checked"}, nil},
		{[]string{}, 2, nil, []string{"spanwire decode --help"}},
		{[]string{filepath.Join(dir, "none")}, 2, nil, []string{"none", "no such file"}},
		{[]string{good}, 0, []string{"192.0.2.1 > 192.0.2.2 SCCRQ id 0 ns 0 nr 0, digest not checked: no secret", `Host Name: "lyon"`}, []string{"packets 1, control messages 1; digests right 0, wrong 0, not checked 1; malformed 0"}},
		{[]string{good, "--secret-file", right}, 0, []string{"digest right (sha1)"}, []string{"right 1, wrong 0"}},
		{[]string{good, "--secret", "a secret"}, 0, []string{"digest right (sha1)"}, []string{"right 1"}},
		{[]string{good, "--secret-file", other, "--secret-file", right}, 0, []string{"digest right (sha1)"}, []string{"right 1"}},
		{[]string{good, "--secret-file", other}, 1, []string{"digest WRONG"}, []string{"wrong 1", "wrong digests"}},
		{[]string{good, "--secret-file", open}, 2, nil, []string{open, "mode 0644", "want 0600"}},
		{[]string{good, "--secret-file", filepath.Join(dir, "none")}, 2, nil, []string{"none", "no such file"}},
		{[]string{good, "--secret", ""}, 2, nil, []string{"--secret", "want 1 octet"}},
		{[]string{broken}, 1, []string{"malformed control message header"}, []string{"malformed 1"}},
		{[]string{ends}, 1, nil, []string{ends, "it ends within a packet"}},
		{[]string{text}, 1, nil, []string{text, "no capture"}},
		{[]string{dir}, 1, nil, []string{dir, "is a directory"}},
	} {
		name := strings.Join(test.args, " ")
		code, stdout, stderr := run(append([]string{"decode"}, test.args...)...)
		if code != test.code {
			t.Errorf("spanwire decode %s: exit code %d, want %d; stderr: %s", name, code, test.code, stderr)
		}
		wantIn(t, "spanwire decode "+name+": stdout", stdout, test.stdout)
		wantIn(t, "spanwire decode "+name+": stderr", stderr, test.stderr)
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "decode", "-", "--secret-file", right)
	cmd.Env = append(os.Environ(), asSpanwire+"=1")
	cmd.Stdin = bytes.NewReader(capture(message))
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), "digest right (sha1)") {
		t.Errorf("standard input: %v\n%s", err, out)
	}
}
