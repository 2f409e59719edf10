// Package users knows the users of a small LNS: what they prove who they are with,
// and what they get. What it says of who is wrong, and how long it takes, does not
// tell whether there is such a user.
package users

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"spanwire/pseudowire/ppp"
)

// A Method is how a user proves who he is.
type Method uint8

// The methods, as bits of a set.
const (
	PAP Method = 1 << iota
	CHAP
	MSCHAPv2

	Every = PAP | CHAP | MSCHAPv2
)

// Names are those of the methods, in the order of their bits.
var Names = []string{"pap", "chap", "mschapv2"}

// String returns the names of the methods in a set.
func (m Method) String() string {
	var names []string
	for i, name := range Names {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// A User is one user.
type User struct {
	Name    string
	Secret  Secret
	Methods Method // that he may use; 0: all that the Secret allows
	Links   int    // he may have at once; 0: any number

	Address   netip.Addr   // that is his; not valid: none
	Prefix    netip.Prefix // of IPv6 for the link, that is his
	Delegated netip.Prefix // that is his
	Routes    []netip.Prefix

	// The pools from which he gets what is not his; empty: the usual ones.
	Pool, IPv6Pool, DelegatedPool string

	SessionTimeout, IdleTimeout time.Duration // 0: none
}

// A Secret is what is known of a password. It does not show itself.
type Secret struct {
	hidden *hidden
}

// hidden is behind two pointers: package fmt follows one.
type hidden struct{ known *known }

type known struct {
	plain  []byte // nil: not known
	nt     []byte // 16 octets
	bcrypt []byte
	cost   int // of bcrypt
}

func (s Secret) known() known {
	if s.hidden == nil {
		return known{}
	}
	return *s.hidden.known
}

// Format does not write the secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "a secret") }

// MarshalText does not return the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte("a secret"), nil }

// Password returns a secret of which the password is known: it is good for every
// method.
func Password(password string) Secret {
	return Secret{&hidden{&known{plain: []byte(password), nt: ntHash([]byte(password))}}}
}

// NTHash returns a secret of which the MD4 of the password is known, as RFC 2759
// section 8.3 has it. For MS-CHAPv2 it is as good as the password.
func NTHash(hash [16]byte) Secret { return Secret{&hidden{&known{nt: slices.Clone(hash[:])}}} }

// MostCost bounds what a login may cost: 2 to the MostCost rounds of bcrypt, some
// seconds.
const MostCost = 15

// Bcrypt returns a secret of which bcrypt's hash is known: it is good for PAP alone.
// Its error does not show it.
func Bcrypt(hash string) (Secret, error) {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != 60 || hash[:2] != "$2" || strings.Trim(hash[7:], alphabet) != "" {
		return Secret{}, fmt.Errorf("users: %d octets that are no hash of bcrypt, want $2b$COST$ and 53 letters", len(hash))
	}
	if cost > MostCost {
		return Secret{}, fmt.Errorf("users: hash of bcrypt of cost %d, want at most %d", cost, MostCost)
	}
	return Secret{&hidden{&known{bcrypt: []byte(hash), cost: cost}}}, nil
}

// ntHash returns the NT hash of a password, RFC 2759 section 8.3.
func ntHash(password []byte) []byte {
	hash := ppp.NTPasswordHash(string(password))
	return hash[:]
}

// alphabet is that of bcrypt's base 64.
const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Methods returns the methods that a secret is good for.
func (s Secret) Methods() Method {
	switch k := s.known(); {
	case k.plain != nil:
		return Every
	case k.nt != nil:
		return PAP | MSCHAPv2
	case k.bcrypt != nil:
		return PAP
	}
	return 0
}

// A Set is all users. It does not change; its methods may be called at once. A check
// of PAP takes long if any user has a hash of bcrypt: whoever calls it shall bound
// how many go on at once.
type Set struct {
	users map[string]*User
	decoy known // what is not to be told from a user's
	cost  int   // the highest of bcrypt; 0: nobody has any
}

// New returns a set of users, of which no two have one name.
func New(all []User) (*Set, error) {
	s := &Set{users: make(map[string]*User, len(all)), decoy: known{plain: make([]byte, 16)}}
	rand.Read(s.decoy.plain)
	s.decoy.nt = ntHash(s.decoy.plain)
	for _, u := range all {
		if _, twice := s.users[u.Name]; twice {
			return nil, fmt.Errorf("users: %q: there are two", u.Name)
		}
		can := u.Secret.Methods()
		if u.Methods == 0 {
			u.Methods = can
		}
		if n := len(u.Name); n == 0 || n > 253 {
			return nil, fmt.Errorf("users: name of %d octets, want 1 to 253", n)
		}
		if can == 0 {
			return nil, fmt.Errorf("users: %q: no secret", u.Name)
		}
		if u.Methods&^can != 0 {
			return nil, fmt.Errorf("users: %q: %v cannot be used with the secret, which is for %v", u.Name, u.Methods&^can, can)
		}
		s.users[u.Name] = &u
		s.cost = max(s.cost, u.Secret.known().cost)
	}
	return s, nil
}

// Len returns how many users there are.
func (s *Set) Len() int { return len(s.users) }

// Lookup returns the user of a name, nil if there is none. It is for who has been
// let in otherwise.
func (s *Set) Lookup(name string) *User { return s.users[name] }

// may returns the user who may use a method, nil if there is none, and his secret or
// a decoy.
func (s *Set) may(name string, m Method) (*User, known) {
	u := s.users[name]
	if u == nil || u.Methods&m == 0 {
		return nil, s.decoy
	}
	return u, u.Secret.known()
}

// CheckPAP returns the user whose password it is, nil if it is nobody's. It takes as
// long for every name and password, but for what their lengths make.
func (s *Set) CheckPAP(name string, password []byte) *User {
	u, k := s.may(name, PAP)
	ok := false
	if k.bcrypt != nil {
		// bcrypt looks at no more than 72 octets: what is longer would pass
		// with any end.
		ok = bcrypt.CompareHashAndPassword(k.bcrypt, clip(password)) == nil && len(password) <= mostBcrypt
	}
	// What the dearest hash costs, all cost: one of cost n and one each of the
	// costs from n to m-1 make one of cost m.
	switch {
	case s.cost == 0:
	case k.bcrypt == nil:
		bcrypt.CompareHashAndPassword(nobodys(s.cost), clip(password))
	default:
		for cost := k.cost; cost < s.cost; cost++ {
			bcrypt.CompareHashAndPassword(nobodys(cost), clip(password))
		}
	}
	hash := ntHash(password)
	if k.bcrypt == nil {
		ok = hmac.Equal(hash, k.nt)
	}
	if k.plain != nil { // two passwords may have one NT hash, by letters that are no UTF-8
		ok = equal(password, k.plain) && ok
	}
	if !ok {
		return nil
	}
	return u
}

// equal compares in a time that does not tell how long b is.
func equal(a, b []byte) bool {
	x, y := md5.Sum(a), md5.Sum(b)
	return hmac.Equal(x[:], y[:]) && len(a) == len(b) && hmac.Equal(a, b)
}

// mostBcrypt is the octets of the longest password for bcrypt.
const mostBcrypt = 72

func clip(password []byte) []byte { return password[:min(len(password), mostBcrypt)] }

// nobodys returns a hash of bcrypt that no known password has.
func nobodys(cost int) []byte {
	return fmt.Appendf(nil, "$2b$%02d$%s", cost, "Nobody.Nobody.Nobody.uNobodys.Hash.Nobodys.Hash.Nobod")
}

// CheckCHAP returns the user whose response to a challenge it is, nil if it is
// nobody's. RFC 1994 section 4.1.
func (s *Set) CheckCHAP(name string, id byte, challenge []byte, response [16]byte) *User {
	u, k := s.may(name, CHAP)
	hash := md5.New()
	hash.Write([]byte{id})
	hash.Write(k.plain)
	hash.Write(challenge)
	if !hmac.Equal(hash.Sum(nil), response[:]) {
		return nil
	}
	return u
}

// CheckMSCHAPv2 returns the user whose proof by MS-CHAPv2 it is, and what is to be
// said to him, which proves that we know his password too and has the keys that come of
// it. nil: it is nobody's.
func (s *Set) CheckMSCHAPv2(p *ppp.Proof) (*User, ppp.Verdict) {
	u, k := s.may(p.Name, MSCHAPv2)
	v := p.VerifyHash([16]byte(k.nt))
	if !v.OK || u == nil {
		return nil, ppp.Verdict{}
	}
	return u, v
}

// Links counts the links of users, to hold them to User.Links. The zero value has
// none.
type Links struct{ links map[string]int }

// Enter takes one more link of a user, and reports whether he may have it.
func (l *Links) Enter(u *User) bool {
	if u.Links > 0 && l.links[u.Name] >= u.Links {
		return false
	}
	if l.links == nil {
		l.links = make(map[string]int)
	}
	l.links[u.Name]++
	return true
}

// Leave gives a link back, by the name: the user may be no more.
func (l *Links) Leave(name string) {
	if l.links[name]--; l.links[name] <= 0 {
		delete(l.links, name)
	}
}
