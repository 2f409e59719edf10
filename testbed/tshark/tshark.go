// Package tshark has Wireshark's dissectors read frames, as a judge that had no hand
// in what wrote them.
package tshark

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// A Frame is what tshark says of one: the values of those fields that it has, by
// their names.
type Frame map[string]string

// Complaint returns what tshark finds wrong with a frame.
func (f Frame) Complaint() string {
	var all []string
	for _, name := range faults {
		if f[name] != "" {
			all = append(all, f[name])
		}
	}
	return strings.Join(all, ", ")
}

// faults are the fields in which tshark says what is wrong. It is always asked for them.
var faults = []string{"_ws.expert.message", "_ws.malformed"}

// Read returns what tshark says of the frames of a capture. Options are for its
// command line, those that filter among them.
func Read(capture []byte, fields []string, options ...string) (all []Frame, err error) {
	args := append([]string{"-n", "-r", "-", "-T", "fields"}, options...)
	fields = slices.Concat(fields, faults)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command("tshark", args...)
	cmd.Stdin = bytes.NewReader(capture)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w; please install (Debian name): tshark", err)
	case err != nil:
		return nil, fmt.Errorf("tshark: %w: %s", err, &complaint)
	}
	for line := range strings.Lines(string(out)) {
		values := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(values) != len(fields) {
			return nil, fmt.Errorf("tshark: %d fields, want %d: %q", len(values), len(fields), line)
		}
		frame := Frame{}
		for i, v := range values {
			if v != "" {
				frame[fields[i]] = v
			}
		}
		all = append(all, frame)
	}
	return all, nil
}

// ReadFrames returns what tshark says of each of the frames of a link.
func ReadFrames(link layers.LinkType, frames [][]byte, fields []string, options ...string) ([]Frame, error) {
	var capture bytes.Buffer
	w := pcapgo.NewWriter(&capture)
	if err := w.WriteFileHeader(1<<16, link); err != nil {
		return nil, err
	}
	for i, f := range frames {
		at := time.Unix(1e9, 0).Add(time.Duration(i) * time.Second)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(f), Length: len(f)}, f); err != nil {
			return nil, err
		}
	}
	all, err := Read(capture.Bytes(), fields, options...)
	if err == nil && len(all) != len(frames) {
		err = fmt.Errorf("tshark: %d frames, want %d", len(all), len(frames))
	}
	return all, err
}
