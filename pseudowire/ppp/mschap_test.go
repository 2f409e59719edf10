package ppp

import (
	"bytes"
	"testing"
)

// The values of RFC 2759 section 9.2, which RFC 3079 section 3.5 has too.
const (
	vectorName     = "User"
	vectorPassword = "clientPass"
	authChallenge  = "5B 5D 7C 7D 7B 3F 2F 3E 3C 2C 60 21 32 26 26 28"
	peerChallenge  = "21 40 23 24 25 5E 26 2A 28 29 5F 2B 3A 33 7C 7E"
)

// TestHashExample is RFC 2759 section 9.2.
func TestHashExample(t *testing.T) {
	challenge, peer := unhex(t, authChallenge), unhex(t, peerChallenge)
	hash := NTPasswordHash(vectorPassword)
	hashHash := hashNtPasswordHash(hash[:])
	hashed := challengeHash(peer, challenge, vectorName)
	p := proveMSCHAP2(NTPasswordHash(vectorPassword), challenge, peer, vectorName)
	for _, v := range []struct {
		what string
		got  []byte
		want string
	}{
		{"Challenge", hashed[:], "D0 2E 43 86 BC E9 12 26"},
		{"PasswordHash", hash[:], "44 EB BA 8D 53 12 B8 D6 11 47 44 11 F5 69 89 AE"},
		{"NT-Response", p.ntResponse[:], "82 30 9E CD 8D 70 8B 5E A0 8F AA 39 81 CD 83 54 42 33 11 4A 3D 85 D6 DF"},
		{"PasswordHashHash", hashHash[:], "41 C0 0C 58 4B D2 D9 1C 40 17 A2 A1 2F A5 9F 3F"},
	} {
		if !bytes.Equal(v.got, unhex(t, v.want)) {
			t.Errorf("%s: % X, want %s", v.what, v.got, v.want)
		}
	}
	if got, want := p.success(), "S=407A5589115FD0D6209F510FE9C04566932CDA56"; got != want {
		t.Errorf("AuthenticatorResponse: %s, want %s", got, want)
	}
}

// TestDESKeys is RFC 2759 section 9.3: the parity is of no matter to DES.
func TestDESKeys(t *testing.T) {
	hash := NTPasswordHash("MyPw")
	if want := unhex(t, "FC 15 6A F7 ED CD 6C 0E DD E3 33 7D 42 7F 4E AC"); !bytes.Equal(hash[:], want) {
		t.Errorf("PasswordHash: % X, want % X", hash, want)
	}
}

// TestSampleKeyDerivation is RFC 3079 section 3.5.3.
func TestSampleKeyDerivation(t *testing.T) {
	p := proveMSCHAP2(NTPasswordHash(vectorPassword), unhex(t, authChallenge), unhex(t, peerChallenge), vectorName)
	master := getMasterKey(p.passwordHash, p.ntResponse)
	send := p.keys().send
	session := newKeyFromSHA(send, send)
	message := []byte("test message")
	crypt(session, message)
	for _, v := range []struct {
		what string
		got  []byte
		want string
	}{
		{"MasterKey", master[:], "FD EC E3 71 7A 8C 83 8C B3 88 E5 27 AE 3C DD 31"},
		{"SendStartKey128", send[:], "8B 7C DC 14 9B 99 3A 1B A1 18 CB 15 3F 56 DC CB"},
		{"SendSessionKey128", session[:], "40 5C B2 24 7A 79 56 E6 E2 11 00 7A E2 7B 22 D4"},
		{"message", message, "81 84 83 17 DF 68 84 62 72 FB 5A BE"},
	} {
		if !bytes.Equal(v.got, unhex(t, v.want)) {
			t.Errorf("%s: % X, want %s", v.what, v.got, v.want)
		}
	}
}

// TestDomain: "excluding any prepended domain name".
func TestDomain(t *testing.T) {
	a, b := unhex(t, authChallenge), unhex(t, peerChallenge)
	if challengeHash(a, b, `BIGCO\User`) != challengeHash(a, b, "User") {
		t.Error("the domain is hashed")
	}
}

// TestVerify wants the right proof of each method taken, and no other.
func TestVerify(t *testing.T) {
	challenge := unhex(t, authChallenge)
	m := proveMSCHAP2(NTPasswordHash(vectorPassword), challenge, unhex(t, peerChallenge), vectorName)
	for _, p := range []Proof{
		{Method: ByPAP, Password: []byte(vectorPassword)},
		{Method: ByCHAP, ID: 7, Challenge: challenge, Response: chapMD5(7, vectorPassword, challenge)},
		{Method: ByMSCHAP2, Challenge: challenge, Response: m.value(), Name: vectorName},
	} {
		if v := p.Verify(vectorPassword); !v.OK {
			t.Errorf("%v: the right password is wrong", p.Method)
		}
		for _, other := range []string{"", "clientPas", "clientPass ", "ClientPass"} {
			if v := p.Verify(other); v.OK || v.SendKey != nil {
				t.Errorf("%v: password %q is right", p.Method, other)
			}
		}
		for i := range p.Response { // all but what is of no meaning: reserved, flags
			q := p
			q.Response = bytes.Clone(p.Response)
			q.Response[i] ^= 1
			if meaning := p.Method == ByCHAP || i < 16 || i >= 24 && i < 48; q.Verify(vectorPassword).OK == meaning {
				t.Errorf("%v: octet %d of the response changed: %v, want %v", p.Method, i, meaning, !meaning)
			}
		}
	}
	for _, p := range []Proof{{}, {Method: ByEAP}, {Method: ByMSCHAP2}, {Method: ByCHAP}} {
		if p.Verify("").OK {
			t.Errorf("%v: nothing is a proof", p.Method)
		}
	}
}

// TestParseFailure takes what RADIUS servers say apart.
func TestParseFailure(t *testing.T) {
	for _, v := range []struct{ message, e, r, m string }{
		{"E=691 R=1 C=0123456789ABCDEF0123456789ABCDEF V=3 M=Authentication failed", "691", "1", "Authentication failed"},
		{"E=649 R=0", "649", "0", ""},
		{"E=691 R=0 M=a M=b", "691", "0", "a M=b"},
		{"no such user", "691", "", "no such user"},
		{"", "691", "", ""},
		{"E=", "691", "", ""},
		{"E=1 R=9999999999999", "1", "", ""},
		{"E=-1 R=x E", "691", "", ""},
	} {
		if e, r, m := parseFailure(v.message); e != v.e || r != v.r || m != v.m {
			t.Errorf("%q: E=%q R=%q M=%q, want %q %q %q", v.message, e, r, m, v.e, v.r, v.m)
		}
	}
}
