package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/netlab"
)

// find returns where a program is: beside the measured binary, where `make
// bench-peers` puts what it builds, or where the system has programs.
func (s site) find(program string) (string, error) {
	for _, dir := range []string{filepath.Dir(s.spanwire), "/usr/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return filepath.Abs(p)
		}
	}
	return exec.LookPath(program)
}

// ready waits for a device, gives it an MTU and turns it on.
func ready(ctx context.Context, n *netlab.Namespace, device string, mtu int) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := n.Do(func() error {
			l, err := netlink.LinkByName(device)
			if err != nil {
				return err
			}
			return errors.Join(netlink.LinkSetMTU(l, mtu), netlink.LinkSetUp(l))
		})
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
	}
}

// wireguard runs wireguard-go, which carries IP packets and encrypts them, and
// tells it its keys over the socket that it listens on.
func wireguard(ctx context.Context, _ *netlab.Lab, r *row, s site) error {
	const port, mtu = 5555, 1420
	program, err := s.find("wireguard-go")
	if err != nil {
		return err
	}
	var keys [2]*ecdh.PrivateKey
	for i := range keys {
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return err
		}
	}
	for i := range 2 {
		n, _, over, far := r.end(i)
		// The name is the socket's too, which all namespaces see.
		device := fmt.Sprintf("wg%d%s%d", os.Getpid()%1e6, r.Underlay[:1], i)
		if err := r.start(ctx, n, program, "-f", device); err != nil {
			return err
		}
		if err := ready(ctx, n, device, mtu); err != nil {
			return err
		}
		err := tellWireguard(device, fmt.Sprintf("set=1\nprivate_key=%x\nlisten_port=%d\npublic_key=%x\nendpoint=%s:%d\nallowed_ip=%s\n\n",
			keys[i].Bytes(), port, keys[1-i].PublicKey().Bytes(), far, port, netip.MustParsePrefix(over+"/24").Masked()))
		if err := errors.Join(err, n.Addr(device, netip.MustParsePrefix(over+"/24"))); err != nil {
			return err
		}
	}
	return nil
}

// tellWireguard makes one request.
func tellWireguard(device, request string) error {
	const wait = 3 * time.Second
	conn, err := net.DialTimeout("unix", "/var/run/wireguard/"+device+".sock", wait)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(wait))
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	b := make([]byte, 256)
	n, err := conn.Read(b)
	if answer := string(b[:n]); err == nil && !strings.HasPrefix(answer, "errno=0\n") {
		err = fmt.Errorf("wireguard-go answers %q", answer)
	}
	return err
}

// openvpn runs OpenVPN with a TAP and neither cipher nor authentication, as a
// bridge of the same kind.
func openvpn(ctx context.Context, _ *netlab.Lab, r *row, s site) error {
	const mtu = 1450
	program, err := s.find("openvpn")
	if err != nil {
		return err
	}
	for i := range 2 {
		n, under, _, far := r.end(i)
		if err := r.start(ctx, n, program, "--dev", "o0", "--dev-type", "tap", "--proto", "udp", "--local", under, "--remote", far, "--port", "1194",
			"--cipher", "none", "--auth", "none", "--sndbuf", "2000000", "--rcvbuf", "2000000", "--txqueuelen", "1000", "--verb", "1"); err != nil {
			return err
		}
		if err := ready(ctx, n, "o0", mtu); err != nil {
			return err
		}
	}
	return r.addresses("o0")
}

// tinc runs tinc 1.0 as a switch, without cipher, digest and compression.
func tinc(ctx context.Context, _ *netlab.Lab, r *row, s site) error {
	const mtu = 1400
	program, err := s.find("tincd")
	if err != nil {
		return err
	}
	var dirs, hosts [2]string
	for i := range 2 {
		_, under, _, _ := r.end(i)
		if dirs[i], err = os.MkdirTemp(s.dir, "tinc-"); err != nil {
			return err
		}
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return err
		}
		private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		public := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
		hosts[i] = fmt.Sprintf("Address = %s\nCipher = none\nDigest = none\nMACLength = 0\nCompression = 0\nPMTUDiscovery = no\n%s", under, public)
		text := fmt.Sprintf("Name = n%d\nMode = switch\nInterface = o0\nDeviceType = tap\nAddressFamily = ipv4\n", i)
		if i == 0 {
			text += "ConnectTo = n1\n"
		}
		if err := errors.Join(
			os.WriteFile(filepath.Join(dirs[i], "tinc.conf"), []byte(text), 0o600),
			os.WriteFile(filepath.Join(dirs[i], "rsa_key.priv"), private, 0o600),
			os.Mkdir(filepath.Join(dirs[i], "hosts"), 0o700)); err != nil {
			return err
		}
	}
	for i := 1; i >= 0; i-- { // who connects is the last to begin
		for j, text := range hosts {
			if err := os.WriteFile(filepath.Join(dirs[i], "hosts", fmt.Sprintf("n%d", j)), []byte(text), 0o600); err != nil {
				return err
			}
		}
		n, _, _, _ := r.end(i)
		if err := r.start(ctx, n, program, "-c", dirs[i], "-D", "--pidfile="+filepath.Join(dirs[i], "pid")); err != nil {
			return err
		}
		if err := ready(ctx, n, "o0", mtu); err != nil {
			return err
		}
		if i == 1 {
			if err := listens(ctx, n, 655); err != nil {
				return err
			}
		}
	}
	return r.addresses("o0")
}
