package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDemo runs each demo as a user does.
func TestDemo(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		args string
		want []string
	}{
		{"demo", []string{"ARP  198.51.100.2     is at ", "ARP who has 198.51.100.2, 42 octets", "established", "Gbit/s", "\nOK: "}},
		{"demo vlan", []string{
			"trunk in lyon   VLAN 10 ", "| VLAN 10 ", "trunk in paris  VLAN 20 ", "| VLAN 20 ", // the same frames
			"trunk in lyon  VLAN 11 ", "seen nowhere else",
			"interface trunk, vlan 10", "interface trunk, vlan 20", "\nOK: ",
		}},
		{"demo frame-relay", []string{
			"line in lyon   DLCI 100 ", "| DLCI 100 ", "line in paris  DLCI 200 ", "| DLCI 200 ",
			"LMI q933a STATUS, full, ", "LMI cisco STATUS, full, ", "SLI ", "PVC 100 inactive", "dlci 200 (active)", "\nOK: ",
		}},
		{"demo ppp", []string{
			"alice is in after ", "ping 2001:db8::2      answered in ", ", from 10.20.0.2", ", from 2001:db8:20:", "L2TPv2 ICRQ ", "LCP Configure-Ack id 1",
			"IPv4 10.20.0.2 > 198.51.100.2 echo request", "LCP Terminate-Request", "L2TPv2 CDN ", "\nOK: ",
		}},
	} {
		t.Run(v.args, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(self, strings.Fields(v.args)...)
			cmd.Env = append(os.Environ(), asSpanwire+"=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			wantIn(t, v.args, string(out), v.want)
		})
	}
}
