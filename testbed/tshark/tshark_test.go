package tshark

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// packet is an IPv4 packet of protocol 59, "no next header".
var packet = []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0x66, 0xad, 10, 0, 0, 1, 10, 0, 0, 2}

var fields = []string{"frame.protocols", "ip.src", "udp.port"}

func TestReadFrames(t *testing.T) {
	short := packet[:19]
	all, err := ReadFrames(layers.LinkTypeRaw, [][]byte{packet, short}, fields, "-o", "ip.check_checksum:TRUE")
	if err != nil {
		t.Fatal(err)
	}
	if _, has := all[0]["udp.port"]; has || all[0]["frame.protocols"] != "raw:ip" || all[0]["ip.src"] != "10.0.0.1" || all[0].Complaint() != "" {
		t.Errorf("%q", all[0])
	}
	if all[1].Complaint() == "" {
		t.Errorf("%x: %q, and no complaint", short, all[1])
	}
}

// TestFailures has tshark refuse, show less than there is, and not be there.
func TestFailures(t *testing.T) {
	for _, v := range []struct {
		fields, options []string
		want            string
	}{
		{[]string{"no.such.field"}, nil, "no.such.field"},
		{fields, []string{"-Y", "udp"}, "tshark: 0 frames, want 1"},
	} {
		if _, err := ReadFrames(layers.LinkTypeRaw, [][]byte{packet}, v.fields, v.options...); err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%q %q: %v, want %q", v.fields, v.options, err, v.want)
		}
	}
	if _, err := Read([]byte("no capture"), fields); err == nil || !strings.Contains(err.Error(), "tshark: exit status") {
		t.Errorf("no capture: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Read(nil, fields); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "install (Debian name): tshark") {
		t.Errorf("no tshark: %v", err)
	}
}
