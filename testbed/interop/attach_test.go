package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spanwire/testbed/interop/station"
	"spanwire/testbed/netlab"
)

// A tag is one of a frame of these tests: its TPID and its TCI.
type tag [2]uint16

// Tags, outermost first: of a customer, of a provider.
func c(tci uint16) tag { return tag{0x8100, tci} }
func s(tci uint16) tag { return tag{0x88a8, tci} }

// priority is what a TCI has beside the VLAN.
const priority = 5 << 13

// magic is how frames of these tests begin behind their tags.
const magic = "\x88\xb5attached "

// tagged returns a frame that has tags, and what makes it another than the rest.
func tagged(number int, size int, tags ...tag) []byte {
	b := []byte{0x02, 0, 0, 0, 0, 0xbb, 0x02, 0, 0, 0, 0, 0xaa}
	for _, t := range tags {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, t[0]), t[1])
	}
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, uint32(number))
	for len(b) < size {
		b = append(b, byte(len(b)*number))
	}
	return b
}

// An attachment is how one end of a session is configured, and what a frame is on its
// segment.
type attachment struct {
	keys string // DEV stands for the device
	tags []tag  // of the frames that pass
}

// A joined is a session with a different attachment at each end.
type joined struct {
	name  string
	ends  [2]attachment
	stays [2][][]tag // tags of frames that must not pass, by the end that sends them
}

// replaced puts the device's name into the keys of an attachment.
func replaced(keys, device string) string { return strings.Replace(keys, "DEV", device, 1) }

func port(kind string) string { return kind + ` = "DEV"` }

func joins() []joined {
	ends := func(a, b attachment) [2]attachment { return [2]attachment{a, b} }
	return []joined{
		{"tap-tap", ends(attachment{port("tap"), []tag{c(7)}}, attachment{port("tap"), []tag{c(7)}}), [2][][]tag{}},
		{"interface-interface", ends(attachment{port("interface"), nil}, attachment{port("interface"), nil}), [2][][]tag{}},
		{"interface-tap, two tags", ends(attachment{port("interface"), []tag{s(priority | 42), c(7)}}, attachment{port("tap"), []tag{s(priority | 42), c(7)}}), [2][][]tag{}},
		{"VLAN 10 to VLAN 20", ends(
			attachment{port("interface") + "\nvlan = 10\npseudowire = \"vlan\"", []tag{c(priority | 10)}},
			attachment{port("interface") + "\nvlan = 20\npseudowire = \"vlan\"", []tag{c(priority | 20)}}),
			[2][][]tag{{nil, {c(20)}, {c(0)}}, {nil, {c(10)}, {s(21), c(20)}}}},
		{"VLAN to port, which the VLAN's end knows", ends(
			attachment{port("tap") + "\nvlan = 10", []tag{c(10)}},
			attachment{port("interface"), nil}),
			[2][][]tag{{nil, {c(11)}}, {}}},
		{"VLAN to port, which the port's end knows", ends(
			attachment{port("interface") + "\nvlan = 10\npseudowire = \"vlan\"", []tag{c(priority | 10)}},
			attachment{port("interface") + "\npeer_vlan = 10\npriority = 5\npseudowire = \"vlan\"", nil}),
			[2][][]tag{{nil, {c(11)}}, {}}},
		{"QinQ to QinQ", ends(
			attachment{port("interface") + "\nvlan = \"42.7\"\npseudowire = \"vlan\"", []tag{s(42), c(7)}},
			attachment{port("interface") + "\nvlan = \"43.9\"\nouter_tpid = 0x8100\npseudowire = \"vlan\"", []tag{c(43), c(9)}}),
			[2][][]tag{{{s(42)}, {s(42), c(8)}, {c(7)}}, {{s(43), c(9)}, {c(43)}}}},
		{"QinQ to VLAN", ends(
			attachment{port("interface") + "\nvlan = \"42.7\"\npseudowire = \"vlan\"", []tag{s(42), c(7)}},
			attachment{port("tap") + "\nvlan = 20\npseudowire = \"vlan\"", []tag{c(20)}}),
			[2][][]tag{{{s(42)}, {c(42)}}, {{c(7)}}}},
		{"priorities by the outer header alone", ends(
			attachment{port("interface") + "\nvlan = 10\npriority_dscp = \"5=46\"", []tag{c(priority | 10)}},
			attachment{port("tap") + "\nvlan = 20\npriority_dscp = \"class-selectors\"", []tag{c(priority | 20)}}),
			[2][][]tag{}},
		{"allowed VLANs", ends(
			attachment{port("interface") + "\nvlans = \"10,20-29\"", []tag{c(25)}},
			attachment{port("tap"), []tag{c(25)}}),
			[2][][]tag{{nil, {c(11)}, {c(30)}}, {nil, {c(19)}}}},
		{"allowed frames of no VLAN", ends(
			attachment{port("tap") + "\nvlans = \"0\"", []tag{c(priority)}},
			attachment{port("tap"), []tag{c(priority)}}),
			[2][][]tag{{{c(1)}}, {{c(1)}}}},
	}
}

// TestAttachments has one session for each way to join what is at its ends. What is
// sent on one segment arrives on the other with the tags that it should have there and
// else octet for octet, in sizes up to the MTU, and what is none of the session's stays
// where it is. RFC 4719.
func TestAttachments(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "spanwire")
	build(t, binary, "spanwire/cmd/spanwire")
	lab, sites := connected(t, 2)
	rows := joins()
	devices := make([][2]string, len(rows)) // where the segment is heard
	for end, site := range sites {
		text := fmt.Sprintf("[tunnel.t]\nlocal = \"192.0.2.%d\"\npeer = \"192.0.2.%d\"\n", end+1, 2-end)
		for i, r := range rows {
			device := fmt.Sprintf("seg%d", i)
			devices[i][end] = device
			if strings.HasPrefix(r.ends[end].keys, "interface") {
				devices[i][end] = fmt.Sprintf("ce%d", i)
				if err := lab.Veth(site.Namespace, device, site.Namespace, devices[i][end], 1600); err != nil {
					t.Fatal(err)
				}
			}
			text += fmt.Sprintf("[tunnel.t.session.s%d]\nsession_id = %d\npeer_session_id = %[2]d\nreceive_cookie = \"\"\nsend_cookie = \"\"\n%s\n",
				i, i+1, replaced(r.ends[end].keys, device))
		}
		site.start(t, binary, text)
	}
	for _, site := range sites {
		site.status(t, binary, len(rows))
	}
	for i, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			var ears [2]*netlab.Capture
			for end, site := range sites {
				var err error
				if ears[end], err = site.Capture(devices[i][end]); err != nil {
					t.Fatal(err)
				}
				defer ears[end].Close()
			}
			// A device lets one tag pass that its MTU does not count.
			largest := 1438 - 4*max(0, len(r.ends[0].tags)-1, len(r.ends[1].tags)-1)
			number := 0
			for from := range ears {
				to := 1 - from
				// What stays is sent first, so that it would be there before what passes.
				for _, tags := range r.stays[from] {
					number++
					if err := ears[from].Send(tagged(number, 100, tags...)); err != nil {
						t.Fatal(err)
					}
				}
				for _, size := range []int{60, 100, 1000, largest} {
					number++
					in, want := tagged(number, 0, r.ends[from].tags...), tagged(number, 0, r.ends[to].tags...)
					body := bytes.Repeat([]byte{byte(size)}, size-len(magic))
					in, want = append(in, body...), append(want, body...)
					if err := ears[from].Send(in); err != nil {
						t.Fatal(err)
					}
					if got, err := next(ears[to]); err != nil {
						t.Errorf("from end %d, %d octets: %v", from, len(in), err)
					} else if !bytes.Equal(got, want) {
						t.Errorf("from end %d: sent\n% x\ngot\n% x\nwant\n% x", from, in[:min(64, len(in))], got[:min(64, len(got))], want[:min(64, len(want))])
					}
				}
			}
		})
	}
}

// next returns the next frame of these tests that is received.
func next(ears *netlab.Capture) ([]byte, error) {
	for end := time.Now().Add(patience); ; {
		frame, err := ears.Receive(end)
		if err != nil || bytes.Contains(frame, []byte(magic)) {
			return frame, err
		}
	}
}

// heard returns the numbers of all frames of these tests that are received.
func heard(ears *netlab.Capture, within time.Duration) (numbers []int, err error) {
	for end := time.Now().Add(within); ; {
		frame, err := ears.Receive(end)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return numbers, nil
		}
		if err != nil {
			return numbers, err
		}
		if _, rest, ours := bytes.Cut(frame, []byte(magic)); ours && len(rest) >= 4 {
			numbers = append(numbers, int(binary.BigEndian.Uint32(rest)))
		}
	}
}

// broadcast returns a frame to all stations from the one of a number.
func broadcast(number int) []byte {
	b := tagged(number, 100)
	copy(b, bytes.Repeat([]byte{0xff}, 6))
	b[11] = byte(number)
	return b
}

// TestHubs has sites that meet in hubs, and wants what each floods to reach whom it
// should, once: in a full mesh of six all others; in a star of three the centre alone
// where its pseudowires are of one split horizon, and all where they are not.
func TestHubs(t *testing.T) {
	spanwire := filepath.Join(t.TempDir(), "spanwire")
	build(t, spanwire, "spanwire/cmd/spanwire")
	mesh := func(n int) (links [][2]int) {
		for i := range n {
			for j := range i {
				links = append(links, [2]int{j, i})
			}
		}
		return links
	}
	star := [][2]int{{0, 1}, {0, 2}}
	for _, v := range []struct {
		name   string
		sites  int
		links  [][2]int
		member string // keys of a session
		reach  func(from int) []int
	}{
		{"full mesh with split horizon", 6, mesh(6), "group = 1", func(from int) []int {
			return slices.DeleteFunc([]int{0, 1, 2, 3, 4, 5}, func(i int) bool { return i == from })
		}},
		{"star with split horizon", 3, star, "group = 1", func(from int) []int { return [][]int{{1, 2}, {0}, {0}}[from] }},
		{"star of spokes", 3, star, "spoke = true", func(from int) []int { return [][]int{{1, 2}, {0}, {0}}[from] }},
		{"star", 3, star, "", func(from int) []int { return [][]int{{1, 2}, {0, 2}, {0, 1}}[from] }},
	} {
		t.Run(v.name, func(t *testing.T) {
			_, sites := connected(t, v.sites)
			ears := make([]*netlab.Capture, len(sites))
			for i, site := range sites {
				text, sessions := "[hub.lab]\n[hub.lab.port.lan]\ntap = \"lan0\"\n", 0
				for _, link := range v.links {
					at := slices.Index(link[:], i)
					if at < 0 {
						continue
					}
					peer := link[1-at]
					sessions++
					text += fmt.Sprintf("[tunnel.t%d]\nlocal = \"192.0.2.%d\"\npeer = \"192.0.2.%d\"\n[tunnel.t%[1]d.session.s]\nsession_id = %[4]d\npeer_session_id = %[5]d\n"+
						"receive_cookie = \"\"\nsend_cookie = \"\"\nhub = \"lab\"\n%[6]s\n", peer, i+1, peer+1, 10*i+peer+1, 10*peer+i+1, v.member)
				}
				site.start(t, spanwire, text)
				site.status(t, spanwire, sessions)
				ears[i] = awaitTAP(t, site.Namespace)
				t.Cleanup(ears[i].Close)
			}
			want := make([][]int, len(sites))
			for from := range sites {
				if err := ears[from].Send(broadcast(from + 1)); err != nil {
					t.Fatal(err)
				}
				for _, to := range v.reach(from) {
					want[to] = append(want[to], from+1)
				}
			}
			for i := range sites {
				got, err := heard(ears[i], 500*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				slices.Sort(got)
				if !slices.Equal(got, want[i]) {
					t.Errorf("site %d heard %v, want %v, each once", i, got, want[i])
				}
			}
			// Now that the stations are known, what is for one goes to it alone.
			if to := v.reach(1)[0]; len(sites) > 2 {
				direct := tagged(100, 100)
				direct[5], direct[11] = 0xaa, 2
				copy(direct[:6], broadcast(to + 1)[6:12])
				if err := ears[1].Send(direct); err != nil {
					t.Fatal(err)
				}
				for i := range sites {
					got, err := heard(ears[i], 200*time.Millisecond)
					if err != nil {
						t.Fatal(err)
					}
					if len(got) != 0 != (i == to) {
						t.Errorf("site %d heard %v of a frame for a station of site %d", i, got, to)
					}
				}
			}
		})
	}
}

// TestAttachedHosts has hosts behind devices that Spanwire takes, one of them with a
// VLAN, say all that there is to say: in frames that stand for several too.
func TestAttachedHosts(t *testing.T) {
	spanwire := filepath.Join(t.TempDir(), "spanwire")
	build(t, spanwire, "spanwire/cmd/spanwire")
	for _, v := range []struct {
		name string
		keys [2]string
		tags [2]uint16 // of the hosts
	}{
		{"ports", [2]string{port("interface"), port("interface")}, [2]uint16{}},
		{"VLAN to VLAN", [2]string{port("interface") + "\nvlan = 10\npseudowire = \"vlan\"", port("interface") + "\nvlan = 20\npseudowire = \"vlan\""}, [2]uint16{10, 20}},
		{"VLAN to port", [2]string{port("interface") + "\nvlan = 10", port("interface")}, [2]uint16{10, 0}},
	} {
		t.Run(v.name, func(t *testing.T) {
			lab, sites := connected(t, 2)
			for end, s := range sites {
				if err := lab.Veth(s.Namespace, "seg", s.Namespace, "ce", 1438); err != nil {
					t.Fatal(err)
				}
				if tag := v.tags[end]; tag != 0 {
					if err := s.Tag("ce", tag); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Addr("ce", netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", end+1))); err != nil {
					t.Fatal(err)
				}
				s.start(t, spanwire, fmt.Sprintf("[tunnel.t]\nlocal = \"192.0.2.%d\"\npeer = \"192.0.2.%d\"\n[tunnel.t.session.s]\nsession_id = 1\npeer_session_id = 1\n"+
					"receive_cookie = \"\"\nsend_cookie = \"\"\n%s\n", end+1, 2-end, replaced(v.keys[end], "seg")))
			}
			for end, s := range sites {
				s.status(t, spanwire, 1)
				at := netip.MustParseAddrPort(fmt.Sprintf("10.9.0.%d:7000", end+1))
				for _, what := range []station.Talk{
					station.Flow{Seed: uint64(end), Octets: 4 << 20}, // the neighbour is found
					station.Burst{Seed: uint64(end), Count: 300, Largest: 1410},
				} {
					if err := talk(sites[1-end].Namespace, s.Namespace, at, what); err != nil {
						t.Errorf("to end %d: %+v: %v", end, what, err)
					}
				}
			}
		})
	}
}
