package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/kernelvm"
	"spanwire/testbed/netlab"
)

// The wire of the lab: ours and the guest's own address, those of its hosts are in the
// same network.
var (
	pppNetwork = netip.MustParsePrefix("192.0.2.0/24")
	pppOurs    = netip.MustParseAddr("192.0.2.1")
	pppGuests  = netip.MustParseAddr("192.0.2.2")
)

// pppPatience is how long a link may take, with many beside it, on a busy machine whose
// guest is emulated.
const pppPatience = 100 * time.Second

// pppFirstHost is where the addresses of the guest's hosts begin.
const pppFirstHost = 64

// pppSlots is how many rows are begun and tested at once: with more each of them takes
// longer than peers wait for each other.
const pppSlots = 8

// A pppLab is a wire with Spanwire at one end, and hosts with xl2tpd and pppd at the
// other.
type pppLab struct {
	dir      string
	lab      *netlab.Lab
	host     *netlab.Namespace // Spanwire's
	guest    *pppGuest
	hosts    int // how many there are
	spanwire *pppSpanwire
}

// TestKernelPPP is Spanwire's L2TPv2 and PPP against xl2tpd, pppd and the kernel's L2TP.
func TestKernelPPP(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root, for network namespaces and TAPs")
	}
	for program, debian := range map[string]string{"tshark": "tshark", "ping": "iputils-ping", "iperf3": "iperf3", "xl2tpd": "xl2tpd", "pppd": "ppp"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v; please install (Debian name): %s", err, debian)
		}
	}
	dir, err := os.MkdirTemp("", "spanwire-ppp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and captures are in %s", dir)
		} else {
			os.RemoveAll(dir)
		}
	})
	l := &pppLab{dir: dir}
	l.lay(t)
	share := filepath.Join(dir, "share")
	if err := os.Mkdir(share, 0o755); err != nil {
		t.Fatal(err)
	}
	build(t, filepath.Join(share, "spanwire"), "spanwire/cmd/spanwire")
	ended := l.boot(t, share)
	ear, err := capturePPP(l.host, "wire0")
	if err != nil {
		t.Fatal(err)
	}
	l.spanwire = &pppSpanwire{Namespace: l.host, dir: dir}
	rows, err := l.rows()
	if err != nil {
		t.Fatal(err)
	}
	secretive, err := l.xl2tpd("hidden", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	secretive.debug, secretive.lines = true, []string{"challenge = yes"}
	if err := errors.Join(secretive.write(), secretive.start()); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.lns != nil {
			err = errors.Join(err, r.lns.start())
		}
	}
	for _, r := range rows {
		if r.lns != nil { // before it is dialled
			err = errors.Join(err, r.lns.says("Listening on"))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := l.spanwire.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.spanwire.process.Process.Kill() // already ended if all went well
		l.spanwire.process.Wait()
	})
	var work sync.WaitGroup
	slots := make(chan struct{}, pppSlots)
	for _, r := range rows {
		work.Go(func() { r.test(slots) })
	}
	t.Run("hidden", func(t *testing.T) { l.hidden(t, secretive) })
	work.Wait()
	if err := l.spanwire.exit(); err != nil {
		t.Error(err)
	}
	if err := ear.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ppp.pcap"), ear.pcap.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
	dialogues, err := judgePPP(ear.pcap.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		r.judge(dialogues)
	}
	if n := dialogues[between(pppOurs, secretive.address)].hides("ICRQ"); n != 2 {
		t.Errorf("%d AVPs were hidden, want 2, Called Number and Calling Number", n)
	}
	t.Log("\n" + pppMatrix(rows))
	for _, r := range rows {
		for _, column := range pppColumns {
			if err := r.results[column]; err != nil {
				t.Errorf("%s: %s: %v", r.name, column, err)
			}
		}
	}
	l.guest.client.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// lay lays two cables to the guest, and joins them.
func (l *pppLab) lay(t *testing.T) {
	var err error
	if l.lab, err = netlab.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.lab.Close)
	if l.host, err = l.lab.Namespace("spanwire"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wire0", "wire1"} {
		if err := l.host.Do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			if err := netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI}); err != nil {
				return err
			}
			link, err := netlink.LinkByName(name)
			return errors.Join(err, netlink.LinkSetUp(link))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.lab.Bridge(l.host, "br0", "wire0", "wire1"), l.host.Addr("br0", netip.PrefixFrom(pppOurs, pppNetwork.Bits()))); err != nil {
		t.Fatal(err)
	}
}

// boot boots the guest, and tells when and how it ended.
func (l *pppLab) boot(t *testing.T, share string) <-chan error {
	if err := copyItself(share); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(l.dir, "guest.log"))
	if err != nil {
		t.Fatal(err)
	}
	// Debian's options and scripts would have a say in every link.
	script := fmt.Sprintf(`set -e
modprobe -a macvlan l2tp_ppp l2tp_eth ppp_async ppp_mppe tun
ip -batch - <<EOF
link set eth0 up
link set eth1 up
addr add %[1]s/%[2]d dev eth0
EOF
mkdir -p /run/xl2tpd
rm -rf /etc/ppp/ip-* /etc/ppp/ipv6-*
: >/etc/ppp/options
echo '* * %[3]s *' >/etc/ppp/pap-secrets
cp /etc/ppp/pap-secrets /etc/ppp/chap-secrets
exec /share/%[4]s %[4]s %[1]s:%[5]d
`, pppGuests, pppNetwork.Bits(), pppPassword, pppGuestVerb, agentPort)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer log.Close()
		status, err := kernelvm.Run(ctx, kernelvm.Config{
			TAPs: []string{"wire0", "wire1"}, Share: share, Script: script, Output: log, Start: l.host.Start,
		})
		if err == nil && status != 0 {
			err = fmt.Errorf("exit status %d", status)
		}
		if err != nil {
			err = fmt.Errorf("guest: %w: see %s", err, log.Name())
		}
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	registerTalks()
	for {
		var conn net.Conn
		err := l.host.Do(func() (err error) {
			conn, err = net.DialTimeout("tcp", fmt.Sprintf("%s:%d", pppGuests, agentPort), time.Second)
			return err
		})
		if err == nil {
			l.guest = &pppGuest{rpc.NewClient(conn)}
			return ended
		}
		select {
		case err := <-ended:
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("the guest ended before it could be reached: %v; it said:\n%s", err, said)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// xl2tpd makes a host of the guest on one of its cables.
func (l *pppLab) xl2tpd(name, cable string) (*xl2tpd, error) {
	l.hosts++
	address := netip.AddrFrom4([4]byte{192, 0, 2, byte(pppFirstHost + l.hosts)})
	x := &xl2tpd{pppHost: pppHost{l.guest, name}, address: address, secret: pppSecret, dir: filepath.Join(l.dir, "share", name)}
	return x, errors.Join(os.Mkdir(x.dir, 0o755),
		l.guest.call("Join", GuestCall{Host: name, Device: cable, Prefix: netip.PrefixFrom(address, pppNetwork.Bits())}))
}
