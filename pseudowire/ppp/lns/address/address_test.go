package address

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func pool(t *testing.T, length int, texts ...string) *Pool {
	t.Helper()
	var ranges []Range
	for _, text := range texts {
		r, err := ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, r)
	}
	p, err := New(length, ranges...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func take(t *testing.T, p *Pool, user, want string) netip.Prefix {
	t.Helper()
	got, ok := p.Take(user)
	if want == "" && ok || want != "" && got.String() != want {
		t.Errorf("%s got %v, want %q", user, got, want)
	}
	return got
}

func TestTake(t *testing.T) {
	p := pool(t, 32, "192.0.2.0/30", "192.0.2.9-192.0.2.10")
	if p.Size() != 4 {
		t.Errorf("size %d, want 4: first and last of the prefix are left out", p.Size())
	}
	a := take(t, p, "alice", "192.0.2.1/32")
	take(t, p, "bob", "192.0.2.2/32")
	take(t, p, "carol", "192.0.2.9/32")
	if !p.Free(a) || p.Free(a) {
		t.Error("freed never or twice")
	}
	dave := take(t, p, "dave", "192.0.2.10/32") // not alice's
	take(t, p, "alice", "192.0.2.1/32")
	take(t, p, "erin", "")
	if p.Used() != 4 {
		t.Errorf("used %d, want 4", p.Used())
	}
	p.Free(dave)
	p.Free(a)
	take(t, p, "erin", "192.0.2.10/32") // that given back for longest
	take(t, p, "dave", "192.0.2.1/32")
	take(t, p, "alice", "")
}

// TestSticky has a user with two links.
func TestSticky(t *testing.T) {
	p := pool(t, 64, "2001:db8::/56")
	a := take(t, p, "alice", "2001:db8::/64")
	b := take(t, p, "alice", "2001:db8:0:1::/64")
	p.Free(a)
	p.Free(b)
	take(t, p, "bob", "2001:db8:0:2::/64")
	take(t, p, "alice", "2001:db8:0:1::/64")
	take(t, p, "alice", "2001:db8::/64")
	take(t, p, "alice", "2001:db8:0:3::/64")
	for range 2 { // without a name nobody is known again
		p.Free(take(t, p, "", fmt.Sprintf("2001:db8:0:%x::/64", p.fresh)))
	}
}

func TestClaim(t *testing.T) {
	p := pool(t, 32, "192.0.2.0/29")
	for _, v := range []struct {
		prefix string
		want   bool
	}{
		{"192.0.2.2/32", true}, {"192.0.2.2/32", false}, {"192.0.2.0/32", false}, {"192.0.2.7/32", false},
		{"192.0.2.0/29", false}, {"2001:db8::1/128", false}, {"198.51.100.1/32", false}, {"192.0.2.6/32", true},
	} {
		if got := p.Claim("alice", netip.MustParsePrefix(v.prefix)); got != v.want {
			t.Errorf("claim of %s: %v, want %v", v.prefix, got, v.want)
		}
	}
	if user, ok := p.Owner(netip.MustParsePrefix("192.0.2.2/32")); user != "alice" || !ok {
		t.Errorf("owner %q, %v, want alice", user, ok)
	}
	p.Free(netip.MustParsePrefix("192.0.2.2/32"))
	if _, ok := p.Owner(netip.MustParsePrefix("192.0.2.2/32")); ok {
		t.Error("there is an owner, want none")
	}
	for _, want := range []string{"192.0.2.1/32", "192.0.2.3/32", "192.0.2.4/32", "192.0.2.5/32", "192.0.2.2/32", ""} {
		take(t, p, "bob", want)
	}
	if p.Contains(netip.Prefix{}) || p.Claim("x", netip.Prefix{}) || p.Free(netip.Prefix{}) {
		t.Error("no prefix is one of the pool's")
	}
}

func TestNew(t *testing.T) {
	for _, v := range []struct {
		length int
		ranges string
		want   string // a size, or part of an error
	}{
		{32, "10.0.0.0/8", "16777214"},
		{32, "10.0.0.0/31", "2"},
		{32, "10.0.0.0/32", "1"},
		{32, "0.0.0.0-255.255.255.255", "4294967296"},
		{24, "10.0.0.1-10.0.3.254", "2"},
		{24, "10.0.0.0-10.0.3.255", "4"},
		{64, "2001:db8::/48", "65536"},
		{56, "2001:db8::/32", "16777216"},
		{64, "2001:db8::/32 2001:db9::/32", "8589934592"},
		{128, "2001:db8::/66", "4611686018427387904"},
		{128, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1"},
		{128, "2001:db8::/64", "too many"},
		{64, "::/0", "too many"},
		{128, "::/0", "too many"},
		{112, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "no whole prefix"},
		{112, "::-::fffe", "no whole prefix"},
		{112, "::-::ffff", "1"},
		{1, "::/0", "2"},
		{64, "2001:db8::1-2001:db8::2", "no whole prefix"},
		{64, "2001:db8::1-2001:db8:0:1::2", "no whole prefix"},
		{33, "10.0.0.0/8", "want 1 to 32"},
		{0, "10.0.0.0/8", "want 1 to 32"},
		{32, "10.0.0.0/8 10.1.0.0/16", "in common"},
		{32, "10.0.0.0/8 2001:db8::/48", "want one of them"},
		{32, "", "no range"},
	} {
		var ranges []Range
		for _, text := range strings.Fields(v.ranges) {
			r, err := ParseRange(text)
			if err != nil {
				t.Fatal(err)
			}
			ranges = append(ranges, r)
		}
		p, err := New(v.length, ranges...)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(p.Size())
		}
		if is := v.want[0] < 'a'; is != (err == nil) || !strings.Contains(got, v.want) || is && got != v.want {
			t.Errorf("/%d of %q: %s, want %s", v.length, v.ranges, got, v.want)
		}
	}
	if _, err := New(32, Range{}); err == nil {
		t.Error("no error for no range")
	}
}

func TestParseRange(t *testing.T) {
	for _, v := range []struct{ text, want string }{
		{"192.0.2.0/24", "192.0.2.1-192.0.2.254"},
		{"192.0.2.0/31", "192.0.2.0-192.0.2.1"},
		{"192.0.2.9 - 192.0.2.10", "192.0.2.9-192.0.2.10"},
		{"2001:db8::/126", "2001:db8::-2001:db8::3"},
		{"192.0.2.1/24", "want 192.0.2.0/24"},
		{"192.0.2.9-192.0.2.8", "first before the last"},
		{"192.0.2.9-2001:db8::", "first before the last"},
		{"fe80::1%eth0-fe80::2%eth0", "want an address"},
		{"192.0.2.9", "want a prefix"},
		{"-", "want an address"},
		{"", "want a prefix"},
	} {
		r, err := ParseRange(v.text)
		got := fmt.Sprint(err)
		if err == nil {
			got = r.String()
		}
		if !strings.Contains(got, v.want) {
			t.Errorf("%q: %s, want %s", v.text, got, v.want)
		}
	}
}

// TestModel compares a pool with a map, while users come and go at random.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, _ := ParseRange("2001:db8::/61")
		b, _ := ParseRange("2001:db8:1::/62")
		p, err := New(64, b, a)
		if err != nil {
			t.Fatal(err)
		}
		users := rapid.SampledFrom([]string{"", "a", "b", "c", "d"})
		owner := make(map[netip.Prefix]string)
		var all []netip.Prefix // that were given ever
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch user := users.Draw(t, "user"); rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				got, ok := p.Take(user)
				if ok != (len(owner) < 12) {
					t.Fatalf("given %v with %d of 12 in use", ok, len(owner))
				}
				if !ok {
					continue
				}
				if _, taken := owner[got]; taken || !p.Contains(got) {
					t.Fatalf("given %v, which is taken or not of the pool", got)
				}
				owner[got] = user
				all = append(all, got)
			case 2:
				if len(all) > 0 {
					one := rapid.SampledFrom(all).Draw(t, "one")
					if _, taken := owner[one]; p.Free(one) != taken {
						t.Fatalf("free of %v, which is taken: %v", one, taken)
					}
					delete(owner, one)
				}
			case 3:
				one := p.prefix(uint64(rapid.IntRange(0, 11).Draw(t, "unit")))
				if _, taken := owner[one]; p.Claim(user, one) == taken {
					t.Fatalf("claim of %v, which is taken: %v", one, taken)
				} else if !taken {
					owner[one] = user
					all = append(all, one)
				}
			}
			if p.Used() != uint64(len(owner)) || len(p.free) != p.left.Len() {
				t.Fatalf("%d in use, want %d; %d and %d given back", p.Used(), len(owner), len(p.free), p.left.Len())
			}
		}
	})
}

// TestMany gives out what a big LNS has: it is a matter of milliseconds.
func TestMany(t *testing.T) {
	p := pool(t, 32, "10.0.0.0/8")
	const users = 50_000
	first := make(map[string]netip.Prefix, users)
	for i := range users {
		user := fmt.Sprint(i)
		first[user], _ = p.Take(user)
	}
	for _, a := range first {
		p.Free(a)
	}
	for user, a := range first {
		if got, _ := p.Take(user); got != a {
			t.Fatalf("%s got %v, want %v again", user, got, a)
		}
	}
	// A pool of more than can be remembered reuses what was given back.
	p = pool(t, 64, "2001:db8::/32")
	for i := range mostLeft + 100 {
		a, _ := p.Take(fmt.Sprint(i))
		p.Free(a)
	}
	if p.left.Len() != mostLeft || len(p.byUser) != mostLeft {
		t.Errorf("%d and %d remembered, want %d", p.left.Len(), len(p.byUser), mostLeft)
	}
}

func FuzzParseRange(f *testing.F) {
	f.Add("192.0.2.0/24", 32)
	f.Add("2001:db8::-2001:db8:ffff::", 56)
	f.Fuzz(func(t *testing.T, text string, length int) {
		r, err := ParseRange(text)
		if err != nil {
			return
		}
		p, err := New(length, r)
		if err != nil {
			return
		}
		for _, unit := range []uint64{0, p.size / 2, p.size - 1} {
			a := p.prefix(unit)
			if got, ok := p.unit(a); !ok || got != unit || a.Addr().Less(r.First) || r.Last.Less(last(a)) {
				t.Errorf("unit %d of %v is %v, which is %d, %v", unit, r, a, got, ok)
			}
		}
	})
}
