package users

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"spanwire/pseudowire/ppp"
)

func octets(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRFC2759 is the example of section 9.2.
func TestRFC2759(t *testing.T) {
	ours := octets(t, "5B 5D 7C 7D 7B 3F 2F 3E 3C 2C 60 21 32 26 26 28")
	peer := octets(t, "21 40 23 24 25 5E 26 2A 28 29 5F 2B 3A 33 7C 7E")
	hash := octets(t, "44 EB BA 8D 53 12 B8 D6 11 47 44 11 F5 69 89 AE")
	nt := octets(t, "82 30 9E CD 8D 70 8B 5E A0 8F AA 39 81 CD 83 54 42 33 11 4A 3D 85 D6 DF")
	key := octets(t, "8B 7C DC 14 9B 99 3A 1B A1 18 CB 15 3F 56 DC CB") // RFC 3079 section 3.5.3
	const success = "S=407A5589115FD0D6209F510FE9C04566932CDA56"
	if got := ntHash([]byte("clientPass")); string(got) != string(hash) {
		t.Errorf("hash %x, want %x", got, hash)
	}
	response := make([]byte, 49)
	copy(response, peer)
	copy(response[24:], nt)
	proof := func(name string, response []byte) *ppp.Proof {
		return &ppp.Proof{Method: ppp.ByMSCHAP2, Name: name, Challenge: ours, Response: response}
	}
	for _, secret := range []Secret{Password("clientPass"), NTHash([16]byte(hash))} {
		s := set(t, User{Name: "User", Secret: secret}, User{Name: `DOMAIN\User`, Secret: secret})
		for _, name := range []string{"User", `DOMAIN\User`} {
			if u, v := s.CheckMSCHAPv2(proof(name, response)); u == nil || u.Name != name || v.Message != success || !bytes.Equal(v.SendKey, key) {
				t.Errorf("%s: %v, %s, key %x, want %s, %x", name, u, v.Message, v.SendKey, success, key)
			}
		}
		if u, v := s.CheckMSCHAPv2(proof("user", response)); u != nil || v.OK || v.SendKey != nil {
			t.Error("another is taken for the user")
		}
		for i := range response {
			wrong := bytes.Clone(response)
			wrong[i] ^= 1
			u, _ := s.CheckMSCHAPv2(proof("User", wrong))
			if reserved := i >= 16 && i < 24 || i == 48; (u != nil) != reserved {
				t.Errorf("octet %d is wrong: taken %v", i, u != nil)
			}
		}
		if u, _ := s.CheckMSCHAPv2(proof("User", response[:48])); u != nil {
			t.Error("a short response is taken")
		}
	}
}

func set(t *testing.T, all ...User) *Set {
	t.Helper()
	s, err := New(all)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hashed(t *testing.T, password string, cost int) Secret {
	t.Helper()
	b, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Bcrypt(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", 72)
	s := set(t,
		User{Name: "alice", Secret: Password("wonderland")},
		User{Name: "bob", Secret: hashed(t, "builder", 4)},
		User{Name: "carol", Secret: NTHash([16]byte(ntHash([]byte("käse"))))},
		User{Name: "dave", Secret: hashed(t, long, 5)},
		User{Name: "erin", Secret: Password("empty"), Methods: CHAP},
		User{Name: "frank", Secret: Password("")},
		User{Name: "grace", Secret: Password("\xff")},
	)
	for _, v := range []struct {
		name, password string
		pap, chap      bool
	}{
		{"alice", "wonderland", true, true},
		{"alice", "Wonderland", false, false},
		{"alice", "wonderlan", false, false},
		{"alice", "", false, false},
		{"Alice", "wonderland", false, false},
		{"bob", "builder", true, false},
		{"bob", "wonderland", false, false},
		{"bob", "builder\x00", false, false},
		{"carol", "käse", true, false},
		{"carol", "kase", false, false},
		{"dave", long, true, false},
		{"dave", long + "y", false, false}, // of which bcrypt does not see the end
		{"erin", "empty", false, true},
		{"frank", "", true, true},
		{"frank", "x", false, false},
		{"grace", "\xff", true, true},
		{"grace", "\xfe", false, false}, // both are no UTF-8, and have one NT hash
		{"nobody", "x", false, false},
		{"", "", false, false},
		{"nobody", strings.Repeat("y", 300), false, false},
	} {
		if u := s.CheckPAP(v.name, []byte(v.password)); (u != nil) != v.pap || u != nil && u.Name != v.name {
			t.Errorf("PAP of %s with %q: %v, want %v", v.name, v.password, u != nil, v.pap)
		}
		response := md5.Sum([]byte("\x07" + v.password + "challenge"))
		if u := s.CheckCHAP(v.name, 7, []byte("challenge"), response); (u != nil) != v.chap {
			t.Errorf("CHAP of %s with %q: %v, want %v", v.name, v.password, u != nil, v.chap)
		}
	}
	if s.Lookup("alice") == nil || s.Lookup("nobody") != nil || s.Len() != 7 {
		t.Error("wrong users")
	}
}

// TestDecoy wants that the decoys are hashes of bcrypt, for else they take no time,
// and nobody's.
func TestDecoy(t *testing.T) {
	for cost := bcrypt.MinCost; cost <= 6; cost++ {
		if _, err := Bcrypt(string(nobodys(cost))); err != nil {
			t.Error(err)
		}
		if err := bcrypt.CompareHashAndPassword(nobodys(cost), []byte("x")); err != bcrypt.ErrMismatchedHashAndPassword {
			t.Errorf("cost %d: error %v, want that of a mismatch", cost, err)
		}
	}
	// Nobody comes in with what the decoys are of.
	s := set(t, User{Name: "alice", Secret: Password("wonderland")})
	if s.CheckPAP("nobody", s.decoy.plain) != nil {
		t.Error("nobody is a user")
	}
	s.decoy.nt = ntHash([]byte("clientPass"))
	response := make([]byte, 49)
	copy(response, octets(t, "21 40 23 24 25 5E 26 2A 28 29 5F 2B 3A 33 7C 7E"))
	copy(response[24:], octets(t, "82 30 9E CD 8D 70 8B 5E A0 8F AA 39 81 CD 83 54 42 33 11 4A 3D 85 D6 DF"))
	proof := &ppp.Proof{Method: ppp.ByMSCHAP2, Name: "User", Challenge: octets(t, "5B 5D 7C 7D 7B 3F 2F 3E 3C 2C 60 21 32 26 26 28"), Response: response}
	if !proof.VerifyHash([16]byte(s.decoy.nt)).OK {
		t.Fatal("it is no proof by the decoy")
	}
	if u, v := s.CheckMSCHAPv2(proof); u != nil || v.OK || v.SendKey != nil {
		t.Error("nobody is a user")
	}
}

func TestNew(t *testing.T) {
	p := Password("x")
	for _, v := range []struct {
		users []User
		want  string
	}{
		{nil, "<nil>"},
		{[]User{{Name: "a", Secret: p}, {Name: "a", Secret: p}}, "two"},
		{[]User{{Name: "", Secret: p}}, "0 octets"},
		{[]User{{Name: strings.Repeat("x", 254), Secret: p}}, "254 octets"},
		{[]User{{Name: "a"}}, "no secret"},
		{[]User{{Name: "a", Secret: NTHash([16]byte{}), Methods: CHAP}}, "chap cannot be used with the secret, which is for pap, mschapv2"},
		{[]User{{Name: "a", Secret: hashed(t, "x", 4), Methods: Every}}, "chap, mschapv2 cannot"},
	} {
		if _, err := New(v.users); !strings.Contains(fmt.Sprint(err), v.want) {
			t.Errorf("error %v, want %s", err, v.want)
		}
	}
	for _, hash := range []string{"", "hunter2", "$2b$10$", "$2b$10$" + strings.Repeat("!", 53), "$2b$16$" + strings.Repeat("a", 53), "$1b$10$" + strings.Repeat("a", 53), "$2b$10$" + strings.Repeat("a", 54)} {
		if _, err := Bcrypt(hash); err == nil || len(hash) > 0 && strings.Contains(err.Error(), hash) {
			t.Errorf("hash %q: error %v, want one without it", hash, err)
		}
	}
}

func TestLinks(t *testing.T) {
	var l Links
	two, any := &User{Name: "two", Links: 2}, &User{Name: "any"}
	for i := range 3 {
		if got := l.Enter(two); got != (i < 2) {
			t.Errorf("link %d: %v", i, got)
		}
		if !l.Enter(any) {
			t.Error("a limit for who has none")
		}
	}
	l.Leave("two")
	if first, second := l.Enter(two), l.Enter(two); !first || second {
		t.Error("want one more link, and no other")
	}
	for range 5 {
		l.Leave("two")
		l.Leave("any")
		l.Leave("nobody")
	}
	if len(l.links) != 0 {
		t.Errorf("%v left, want nothing", l.links)
	}
	for i := range 3 {
		if got := l.Enter(two); got != (i < 2) {
			t.Errorf("link %d again: %v", i, got)
		}
	}
}

func TestSecretIsHidden(t *testing.T) {
	u := User{Name: "alice", Secret: Password("hunter2")}
	s := set(t, u)
	text, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	shown := string(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, u) + fmt.Sprintf(verb, &u) + fmt.Sprintf(verb, s.users) + fmt.Sprintf(verb, []any{u, &u}) + fmt.Sprintf(verb, struct{ s Secret }{u.Secret})
	}
	for _, bad := range []string{"hunter2", "68756e74657232", "104 117 110", "aHVudGVyMg"} {
		if strings.Contains(strings.ToLower(shown), strings.ToLower(bad)) {
			t.Errorf("%q is shown in %s", bad, shown)
		}
	}
}
