package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"spanwire/cmd/internal/api"
)

var status = api.Status{
	Node:    api.Node{Hostname: `ly"on\`, Version: "v1.2", Started: time.UnixMilli(1500)},
	Drops:   api.Counters{"rx_short": 3},
	Refused: api.Counters{"wrong_digest": 2, "v2_rate": 0},
	Tunnels: []api.Tunnel{
		{Name: "paris", Version: 3, State: "up", Sessions: []api.Session{{Name: "paris/office", Counters: api.Counters{"rx_packets": 1, "rx_bytes": 2, "tx_packets": 3, "tx_bytes": 4, "rx_lost": 5}}}},
		{Name: "branches", Version: 3, State: "template"},
		{Name: "branches:bonn", Version: 3, State: "established", Control: &api.Control{Template: "branches"}, Sessions: []api.Session{{Name: "branches:bonn/lan", Call: &api.Call{State: "established"}}}},
		{Name: "branches:rome", Version: 3, State: "established", Control: &api.Control{Template: "branches"}},
		{Name: "phones", Version: 2, State: "template"},
		{Name: "phones#7", Version: 2, State: "established", Control: &api.Control{Template: "phones"}, Calls: []api.PPPCall{{State: "established"}, {State: "wait-connect"}}},
	},
	PPP: []api.PPP{{Name: "phones", State: api.Up, Links: []api.Link{{User: "alice", Since: time.Unix(1, 0)}, {User: "bob"}},
		Pools:    []api.Pool{{Name: "ipv4", Used: 1, Size: 254}},
		Counters: api.Counters{"links_up": 8, "links_refused": 9, "in_octets": 10, "drop_spoofed": 11}}},
	RADIUS: []api.RADIUS{{Name: "hq", Servers: []api.RADIUSServer{{Address: "192.0.2.10:1812", For: "authentication", State: "dead", Counters: api.Counters{"sent": 12}}},
		Accounting: &api.Accounting{Open: 13, Undelivered: 14}}},
	Hubs: []api.Hub{{Name: "lab", Stations: 15}},
}

// TestCollect wants all that is known, and nothing that a peer can multiply.
func TestCollect(t *testing.T) {
	registry := prometheus.NewPedanticRegistry() // which refuses what is not consistent
	registry.MustRegister(collector(func() api.Status { return status }))
	asked := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(asked, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	page := asked.Body.String()
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for _, want := range []string{
		`spanwire_info{hostname="ly\"on\\",version="v1.2"} 1`,
		`spanwire_start_time_seconds 1.5`,
		`spanwire_control_refused_total{reason="v2_rate"} 0`,
		`spanwire_stray_packets_total{reason="rx_short"} 3`,
		`spanwire_tunnels_up{tunnel="paris",version="3"} 1`,
		`spanwire_tunnels_up{tunnel="branches",version="3"} 2`,
		`spanwire_tunnels_up{tunnel="phones",version="2"} 1`,
		`spanwire_sessions_up{tunnel="branches",version="3"} 1`,
		`spanwire_calls_up{tunnel="phones",version="2"} 1`,
		`spanwire_session_packets_total{direction="in",session="paris/office"} 1`,
		`spanwire_session_octets_total{direction="out",session="paris/office"} 4`,
		`spanwire_session_events_total{event="rx_lost",session="paris/office"} 5`,
		`spanwire_ppp_links{ppp="phones",state="opening"} 1`,
		`spanwire_ppp_links{ppp="phones",state="up"} 1`,
		`spanwire_ppp_tun_up{ppp="phones"} 1`,
		`spanwire_ppp_links_up_total{ppp="phones"} 8`,
		`spanwire_ppp_links_refused_total{ppp="phones"} 9`,
		`spanwire_ppp_octets_total{direction="in",ppp="phones"} 10`,
		`spanwire_ppp_dropped_total{ppp="phones",reason="spoofed"} 11`,
		`spanwire_ppp_pool_used{pool="ipv4",ppp="phones"} 1`,
		`spanwire_ppp_pool_size{pool="ipv4",ppp="phones"} 254`,
		`spanwire_radius_server_alive{for="authentication",radius="hq",server="192.0.2.10:1812"} 0`,
		`spanwire_radius_messages_total{event="sent",for="authentication",radius="hq",server="192.0.2.10:1812"} 12`,
		`spanwire_radius_sessions_open{radius="hq"} 13`,
		`spanwire_radius_sessions_undelivered{radius="hq"} 14`,
		`spanwire_hub_stations{hub="lab"} 15`,
	} {
		if !strings.Contains(page, "\n"+want+"\n") {
			t.Errorf("%s is not there", want)
		}
	}
	for _, name := range []string{"alice", "bob", "bonn"} {
		if strings.Contains(page, name) {
			t.Errorf("%s is named, and there may be any number", name)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
	empty := prometheus.NewPedanticRegistry()
	empty.MustRegister(collector(func() (s api.Status) { return s }))
	if _, err := empty.Gather(); err != nil {
		t.Error(err)
	}
}

// TestServer asks for the page, and for what is not there.
func TestServer(t *testing.T) {
	s, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), func() api.Status { return status })
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- s.Serve() }()
	for _, v := range []struct {
		method, path string
		code         int
	}{{http.MethodGet, "/metrics", 200}, {http.MethodPost, "/metrics", 405}, {http.MethodGet, "/v1/status", 404}} {
		r, err := http.NewRequest(v.method, fmt.Sprintf("http://%v%s", s.Addr(), v.path), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != v.code {
			t.Errorf("%s %s: %s", v.method, v.path, answer.Status)
		}
		if v.code == 200 && (!strings.Contains(string(text), "spanwire_info{") || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain; version=0.0.4")) {
			t.Errorf("%v %s", answer.Header, text)
		}
	}
	if _, err := Listen(netip.MustParseAddrPort(s.Addr().String()), nil); err == nil {
		t.Error("one address for two")
	}
	s.Close()
	if err := <-ended; err != http.ErrServerClosed {
		t.Errorf("it ends with %v", err)
	}
}
