package lns

import (
	"testing"
	"testing/synctest"
	"time"

	"spanwire/pseudowire/ppp"
)

// TestFit has both ends send no larger packets than the path carries, with what
// encryption adds.
func TestFit(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			cfg := usual(t)
			more := 0
			client := ClientConfig{User: "alice", Password: "wonderland"}
			if encrypted {
				more = ppp.EncryptionLen
				cfg.Encryption, client.Encryption = ppp.MPPERequired, ppp.MPPERequired
			}
			w := begin(t, cfg)
			c := w.dial(client)
			settle(15 * time.Second)
			mtus := func() []int { return []int{c.far.Status().MTU, c.link.Status().MTU} }
			want(t, "before", mtus(), []int{DefaultMTU - more, DefaultMTU - more})
			for _, v := range []struct{ path, want int }{{1300, 1300}, {1350, 1350}, {2000, DefaultMTU}, {1320, 1320}} {
				c.far.Fit(v.path)
				c.link.Fit(v.path)
				want(t, "on a path", mtus(), []int{v.want - more, v.want - more})
			}
			// As large as it may be, headers included, and an octet more, which is cut into two.
			fits := datagram("198.51.100.1", c.link.Status().Address.String(), 1320-28-more)
			w.tun.send(fits, datagram("198.51.100.1", c.link.Status().Address.String(), 1321-28-more))
			synctest.Wait()
			if got := c.tun.take(); len(got) != 3 || len(got[0]) != len(fits) || len(got[1]) > len(fits) {
				t.Errorf("%d packets arrive, want one, and two that were one", len(got))
			}
			c.end(t)
			settle(time.Minute)
			w.end()
		})
	}
}

// TestAgreed has the owner of a call be told what LCP agreed on.
func TestAgreed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := begin(t, usual(t))
		a, b := cable()
		var told []ppp.Agreement
		if _, err := w.server.Open(a, Call{Name: "test", Agreed: func(a ppp.Agreement) { told = append(told, a) }}, nil); err != nil {
			t.Fatal(err)
		}
		c := w.client(b, ClientConfig{User: "alice", Password: "wonderland"})
		settle(15 * time.Second)
		if len(told) != 1 || told[0].ACCM != 0xffffffff || len(told[0].Sent) == 0 || len(told[0].Received) == 0 {
			t.Errorf("told %+v, want once, and the ACCM of RFC 1662 section 7.1", told)
		}
		c.end(t)
		settle(time.Minute)
		w.end()
	})
}
