package interop

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
)

// hidden has xl2tpd read what we hide, RFC 2661 section 4.3. What Spanwire hides is
// numbers of calls and what an LAC has of PPP, and as a client it has neither: here a
// Node of its own has a call to indicate. xl2tpd itself hides nothing.
func (l *pppLab) hidden(t *testing.T, lns *xl2tpd) {
	const called, calling = "+33 4 7200 0000", "a number of more than sixteen octets"
	node := l2tpv2.New(l2tpv2.Config{HostName: "hiding", Random: func(b []byte) { rand.Read(b) }})
	if err := node.Add(time.Now(), l2tpv2.TunnelConfig{Name: "lns", Dial: true, Secret: wire.NewSecretV2([]byte(pppSecret)), Hide: true}); err != nil {
		t.Fatal(err)
	}
	node.Bind(time.Now(), "lns", l2tpv2.Binding{At: l2tpv2.Address{Peer: netip.AddrPortFrom(lns.address, 1701)}})
	call := l2tpv2.IncomingCall{Request: wire.ICRQV2{CalledNumber: called, CallingNumber: calling}}
	call.Connected.TxSpeed, call.Connected.Framing = 64000, wire.SyncFraming
	if _, err := node.Indicate(time.Now(), "lns", call); err != nil {
		t.Fatal(err)
	}
	var conn *net.UDPConn
	if err := l.host.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: pppOurs.AsSlice()})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := fmt.Sprintf("peer reports dialing number '%s'", calling)
	said := make(chan error, 1)
	go func() {
		said <- errors.Join(lns.says(fmt.Sprintf("peer reports dialed number '%s'", called)), lns.says(read))
	}()
	buffer := make([]byte, 1500)
	for {
		for b, to, ok := node.Transmit(nil); ok; b, to, ok = node.Transmit(nil) {
			if _, err := conn.WriteToUDPAddrPort(b, to.Peer); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case err := <-said:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
		conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		switch {
		case err == nil:
			node.Receive(time.Now(), l2tpv2.Address{Peer: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}, buffer[:n])
		case !errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatal(err)
		}
		node.Advance(time.Now())
	}
}
