package lns

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns/users"
	"spanwire/pseudowire/ppp/radius/freeradius"
)

// clear counts the packets of IP that can be read on the wire, and those that cannot.
type clear struct{ readable, encrypted int }

func (c *clear) look(frame []byte) bool {
	switch p := ppp.Protocol(frame[2])<<8 | ppp.Protocol(frame[3]); p {
	case ppp.IPv4, ppp.IPv6:
		c.readable++
	case ppp.Compressed:
		c.encrypted++
	}
	return false
}

// TestMPPE has local users encrypt, or not, as both ends have it.
func TestMPPE(t *testing.T) {
	const none = ppp.CCPRejected
	for _, v := range []struct {
		server, client ppp.Encryption
		m              ppp.Method
		want           string // encrypted, clear, or why there is no link
	}{
		{ppp.MPPERequired, ppp.MPPERequired, ppp.ByMSCHAP2, "encrypted"},
		{ppp.MPPERequired, ppp.MPPEOffered, ppp.ByMSCHAP2, "encrypted"},
		{ppp.MPPEOffered, ppp.MPPERequired, ppp.ByMSCHAP2, "encrypted"},
		{ppp.MPPEOffered, ppp.MPPEOffered, ppp.ByMSCHAP2, "encrypted"},
		{ppp.MPPEOffered, none, ppp.ByMSCHAP2, "clear"},
		{ppp.MPPEOffered, ppp.CCPEmpty, ppp.ByMSCHAP2, "clear"},
		{none, ppp.MPPEOffered, ppp.ByMSCHAP2, "clear"},
		{ppp.MPPEOffered, ppp.MPPEOffered, ppp.ByCHAP, "clear"}, // it brings no keys
		{ppp.MPPERequired, none, ppp.ByMSCHAP2, "no encryption"},
		{ppp.MPPERequired, ppp.CCPEmpty, ppp.ByMSCHAP2, "no encryption"},
		{ppp.MPPERequired, ppp.MPPEOffered, ppp.ByCHAP, "no encryption"},
		{none, ppp.MPPERequired, ppp.ByMSCHAP2, "closed by peer"},
	} {
		t.Run(fmt.Sprintf("%d/%d/%v", v.server, v.client, v.m), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cfg := usual(t)
				cfg.Encryption = v.server
				set, err := users.New([]users.User{{Name: "alice", Secret: users.Password("wonderland")}})
				if err != nil {
					t.Fatal(err)
				}
				cfg.Users = set
				w := begin(t, cfg)
				a, b := cable()
				var down, up clear
				a.lose, b.lose = down.look, up.look
				c := w.dialOver(a, b, ClientConfig{User: "alice", Password: "wonderland", Prove: []ppp.Method{v.m}, Encryption: v.client})
				settle(15 * time.Second)
				if v.want != "encrypted" && v.want != "clear" {
					want(t, "why", w.lastDown().Reason, v.want)
					if code := w.lastDown().Disconnect.Code; v.want == "no encryption" && code != 4 {
						t.Errorf("disconnect code %d, want 4", code)
					}
					c.end(t)
					w.end()
					return
				}
				near := c.link.Status()
				down, up = clear{}, clear{}
				there, back := datagram(near.Address.String(), "198.51.100.1", 500), datagram("198.51.100.1", near.Address.String(), 600)
				for range 3 {
					c.tun.send(there)
					w.tun.send(back)
				}
				synctest.Wait()
				want(t, "there", w.tun.take(), [][]byte{there, there, there})
				want(t, "back", c.tun.take(), [][]byte{back, back, back})
				encrypted := v.want == "encrypted"
				want(t, "encrypted", []bool{near.PPP.Encrypted, c.far.Status().PPP.Encrypted}, []bool{encrypted, encrypted})
				as := clear{readable: 3}
				if encrypted {
					as = clear{encrypted: 3}
				}
				want(t, "on the wire", []clear{down, up}, []clear{as, as})
				c.end(t)
				settle(time.Minute)
				w.end()
			})
		})
	}
}

// TestMPPEHash has a user encrypt of whose password the LNS has the hash alone.
func TestMPPEHash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := usual(t)
		cfg.Encryption = ppp.MPPERequired
		set, err := users.New([]users.User{{Name: "alice", Secret: users.NTHash(ppp.NTPasswordHash("wonderland"))}})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Users = set
		w := begin(t, cfg)
		c := w.dial(ClientConfig{User: "alice", Password: "wonderland", Encryption: ppp.MPPERequired})
		settle(15 * time.Second)
		want(t, "encrypted", c.far.Status().PPP.Encrypted, true)
		up := datagram(c.link.Status().Address.String(), "198.51.100.1", 500)
		c.tun.send(up)
		synctest.Wait()
		want(t, "there", w.tun.take(), [][]byte{up})
		c.end(t)
		settle(time.Minute)
		w.end()
	})
}

// TestFreeRADIUSKeys has the keys come from a RADIUS server.
func TestFreeRADIUSKeys(t *testing.T) {
	f := freeradius.Start(t, remoteUsers)
	cfg := remoteConfig(t, "", f)
	cfg.Encryption = ppp.MPPERequired
	w := begin(t, cfg)
	c := w.dial(ClientConfig{User: "alice", Password: "wonderland", Encryption: ppp.MPPERequired})
	c.untilUp(t)
	want(t, "encrypted", c.far.Status().PPP.Encrypted, true)
	up := datagram("203.0.113.7", "198.51.100.1", 500)
	c.tun.send(up)
	until(t, "there", func() bool { return c.far.Status().InPackets == 1 })
	want(t, "there", w.tun.take(), [][]byte{up})
	c.end(t)
	until(t, "gone", func() bool { return len(w.server.Links()) == 0 })
	w.endAll()
}
