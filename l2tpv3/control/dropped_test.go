package control

import (
	"net/netip"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
)

// TestLastDropped tells of each reason's last message when it came and from where,
// for who looks for the peer with the wrong secret.
func TestLastDropped(t *testing.T) {
	s := signed(t, accepts(office(false)), wire.SHA1)
	if got := s.LastDropped(); got != [Drops]Dropped{} {
		t.Errorf("%v, want none", got)
	}
	request := s.write(0, s.request())
	request[len(request)-1] ^= 1
	for _, peer := range []string{"192.0.2.2:1701", "192.0.2.2:40000"} {
		s.now = s.now.Add(time.Second)
		s.at = from(peer)
		s.receive(request)
		s.wantSilence()
		want := Dropped{Time: s.now, From: netip.MustParseAddrPort(peer)}
		if got := s.LastDropped(); got[DropDigest] != want {
			t.Errorf("from %s: %v, want %v", peer, got[DropDigest], want)
		}
	}
	s.receive([]byte{0xc8, 3})
	if got := s.LastDropped(); got[DropHeader] != (Dropped{Time: s.now, From: s.at.Peer}) || got[DropDigest].From != s.at.Peer || got[DropUnsigned] != (Dropped{}) {
		t.Errorf("after a malformed header: %v", got)
	}
}
