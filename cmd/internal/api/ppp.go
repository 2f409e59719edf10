package api

import "time"

// A PPP is a profile of PPP: the links of an LNS, or that of a client.
type PPP struct {
	Name     string   `json:"name"`
	Mode     string   `json:"mode"` // lns or client
	TUN      string   `json:"tun"`
	State    string   `json:"device_state"` // of the TUN: "up" or "missing"
	MTU      int      `json:"mtu"`
	Links    []Link   `json:"links"`
	Pools    []Pool   `json:"pools,omitempty"`
	Counters Counters `json:"counters"`

	LastError *LinkError `json:"last_error,omitempty"`
}

// A LinkError is a link that came to nothing, or that ended in another way than by a
// wish of either side.
type LinkError struct {
	Text string    `json:"text"`
	User string    `json:"user,omitempty"`
	Peer string    `json:"peer"`
	Time time.Time `json:"time"`
}

// A Pool is how much of a pool is given out.
type Pool struct {
	Name string `json:"name"`
	Used uint64 `json:"used"`
	Size uint64 `json:"size"`
}

// A Link is one link of PPP.
type Link struct {
	Name       string    `json:"name"` // its call's
	ID         string    `json:"id"`   // Acct-Session-Id
	Peer       string    `json:"peer"` // of the tunnel
	User       string    `json:"user,omitempty"`
	Method     string    `json:"method,omitempty"` // by which he had to prove who he is
	Encryption string    `json:"encryption"`       // "mppe" or "none"
	Opened     time.Time `json:"opened"`
	Since      time.Time `json:"since,omitzero"` // when it began to carry packets
	Phase      string    `json:"phase"`          // RFC 1661 section 3
	LCP        string    `json:"lcp"`            // states of RFC 1661 section 4.2
	IPCP       string    `json:"ipcp"`
	IPV6CP     string    `json:"ipv6cp"`
	CCP        string    `json:"ccp"`

	Address   string   `json:"address,omitempty"` // the user's; of a client ours
	Prefix    string   `json:"prefix,omitempty"`  // of the link
	Delegated string   `json:"delegated,omitempty"`
	Routes    []string `json:"routes,omitempty"` // what else is behind the user
	DNS       []string `json:"dns,omitempty"`    // that a client was told

	MTU         int       `json:"mtu"` // of what we send
	MRU         int       `json:"mru,omitempty"`
	PeerMRU     int       `json:"peer_mru,omitempty"`
	SessionEnd  time.Time `json:"session_end,omitzero"`
	IdleTimeout string    `json:"idle_timeout,omitempty"`
	Counters    Counters  `json:"counters"` // in is from the peer
}

// A RADIUS is the servers that profiles of PPP ask and tell.
type RADIUS struct {
	Name       string         `json:"name"`
	Servers    []RADIUSServer `json:"servers"`
	Accounting *Accounting    `json:"accounting,omitempty"`
}

// A RADIUSServer is one of them.
type RADIUSServer struct {
	Address   string    `json:"address"`
	For       string    `json:"for"`   // "authentication" or "accounting"
	State     string    `json:"state"` // "alive", or "dead" while it is left alone since it did not answer
	DeadUntil time.Time `json:"dead_until,omitzero"`
	Counters  Counters  `json:"counters"`
}

// An Accounting is what accounting servers know.
type Accounting struct {
	Open        int    `json:"open"`        // sessions that go on
	Undelivered int    `json:"undelivered"` // sessions that are over, which no server knows yet
	Dropped     uint64 `json:"dropped"`     // that were forgotten, since there were too many
	On          bool   `json:"on"`          // the servers know that we are there
}
