package config

import (
	"cmp"
	_ "embed" // the reference
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/pseudowire/ppp/lns/users"
)

// UsersReference is a file of users that has every key, with its meaning.
//
//go:embed users.toml
var UsersReference string

// A Users is what a file of the users of an LNS says.
type Users struct {
	All      []users.User // in the order of the file
	Warnings []Problem    // what works but should not stay so
}

// LoadUsers reads a file of users. Its error is one of the system's, or Errors.
func LoadUsers(path string) (*Users, error) {
	text, mode, err := read(path)
	if err != nil {
		return nil, err
	}
	u, err := ParseUsers(path, text)
	if err != nil {
		return nil, err
	}
	if len(u.All) > 0 {
		u.Warnings = append(exposed(path, mode, "read or change the passwords"), u.Warnings...)
	}
	return u, nil
}

// ParseUsers reads a file of users, a table [user.NAME] for each; name stands in the
// problems. No problem shows a password or what is like one.
func ParseUsers(name string, text []byte) (*Users, error) {
	p := newParser(name)
	if !p.decode(string(text)) {
		// What is wrong may be a password, and the library shows it.
		for i := range p.problems {
			if !strings.HasSuffix(p.problems[i].Text, "has already been defined.") {
				p.problems[i].Text = "no TOML, want [user.NAME] and lines such as KEY = \"VALUE\""
			}
		}
		return nil, Errors(p.problems)
	}
	p.section(nil, p.root, every, nil, "user")
	u := &Users{All: p.users()}
	if len(p.problems) > 0 {
		return nil, Errors(sorted(p.problems))
	}
	u.Warnings = sorted(p.warnings)
	return u, nil
}

func (p *parser) users() (all []users.User) {
	const want = "[user.NAME]"
	path := toml.Key{"user"}
	v, ok := p.root["user"]
	if !ok {
		return nil
	}
	owners := make(map[netip.Prefix]toml.Key)
	var tables []named
	for name, v := range p.table(path, v, want) {
		at := join(path, name)
		if table := p.table(at, v, want); table != nil {
			tables = append(tables, named{name, at, table})
		}
	}
	slices.SortFunc(tables, func(a, b named) int {
		return cmp.Compare(p.lines.first[a.path.String()], p.lines.first[b.path.String()])
	})
	for _, t := range tables {
		before := len(p.problems)
		u := p.user(t)
		for _, prefix := range []netip.Prefix{single(u.Address), u.Prefix, u.Delegated} {
			if !prefix.IsValid() {
				continue
			}
			if owner, taken := owners[prefix]; taken {
				p.problem(t.path, "%v is %s's already", prefix, whoseUser(owner))
				continue
			}
			owners[prefix] = t.path
		}
		if len(p.problems) == before {
			all = append(all, u)
		}
	}
	return all
}

func whoseUser(path toml.Key) string { return "user " + printable(path[1]) }

// single returns the prefix that is an address.
func single(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// A userDraft is what a table says of a user's secret, of which there is one.
type userDraft struct {
	password, ntHash, bcrypt users.Secret
}

// userFields are the keys of [user.NAME].
func userFields(u *users.User, d *userDraft) []keys {
	const longest = 10 * 365 * 24 * time.Hour
	return []keys{{every, []field{
		{"password", textType, userPassword(&d.password), ""},
		{"nt_hash", textType, ntHash(&d.ntHash), ""},
		{"bcrypt", textType, bcryptHash(&d.bcrypt), ""},
		{"methods", arrayType, userMethods(&u.Methods), ""},
		{"links", integerType, number(&u.Links, 0, most), ""},
		{"address", textType, ipv4(&u.Address), ""},
		{"ipv6_prefix", textType, ipv6Prefix(&u.Prefix, 64, 64), ""},
		{"delegated_prefix", textType, ipv6Prefix(&u.Delegated, 1, 64), ""},
		{"routes", arrayType, userRoutes(&u.Routes), ""},
		{"pool", textType, text(&u.Pool, poolName), ""},
		{"ipv6_pool", textType, text(&u.IPv6Pool, poolName), ""},
		{"delegated_pool", textType, text(&u.DelegatedPool, poolName), ""},
		{"session_timeout", textType, duration(&u.SessionTimeout, 0, longest), ""},
		{"idle_timeout", textType, duration(&u.IdleTimeout, 0, longest), ""},
	}}}
}

func (p *parser) user(t named) (u users.User) {
	u.Name = t.name
	if n := len(t.name); n == 0 || n > 253 {
		p.problem(t.path, "name of %d octets, want 1 to 253", n)
	}
	var d userDraft
	wrong := p.section(t.path, t.table, every, userFields(&u, &d))
	var found []string
	for _, s := range []struct {
		key    string
		secret users.Secret
	}{{"password", d.password}, {"nt_hash", d.ntHash}, {"bcrypt", d.bcrypt}} {
		if t.table[s.key] != nil {
			found = append(found, s.key)
			u.Secret = s.secret
		}
	}
	switch can := u.Secret.Methods(); {
	case len(found) == 0:
		p.problem(t.path, "no password, want one of password, nt_hash and bcrypt")
	case len(found) > 1:
		p.problem(t.path, "found %s, want one of them", strings.Join(found, " and "))
	case wrong[found[0]] || wrong["methods"]:
	case u.Methods&^can != 0:
		p.problem(join(t.path, "methods"), "found %v, want of %s no other than %v", u.Methods&^can, found[0], can)
	}
	return u
}

// mostPassword is the octets of the longest password that PAP can say.
const mostPassword = 255

func userPassword(to *users.Secret) setter {
	return func(v any) string {
		if n := len(v.(string)); n == 0 || n > mostPassword {
			return fmt.Sprintf("want 1 to %d octets", mostPassword)
		}
		*to = users.Password(v.(string))
		return ""
	}
}

func ntHash(to *users.Secret) setter {
	return func(v any) string {
		b, err := hex.DecodeString(v.(string))
		if err != nil || len(b) != 16 {
			return "want 32 hexadecimal digits"
		}
		*to = users.NTHash([16]byte(b))
		return ""
	}
}

func bcryptHash(to *users.Secret) setter {
	return func(v any) string {
		s, err := users.Bcrypt(v.(string))
		if err != nil {
			return fmt.Sprintf("want a hash of bcrypt: $2b$COST$ and 53 letters, with a cost of at most %d", users.MostCost)
		}
		*to = s
		return ""
	}
}

func userMethods(to *users.Method) setter {
	return func(v any) string {
		const want = `want an array of "pap", "chap" and "mschapv2"`
		list, ok := v.([]any)
		if !ok || len(list) == 0 {
			return want
		}
		var all users.Method
		for _, v := range list {
			name, _ := v.(string)
			i := slices.Index(users.Names, name)
			if i < 0 {
				return fmt.Sprintf("with %s, %s", found(v), want)
			}
			all |= 1 << i
		}
		*to = all
		return ""
	}
}

func ipv6Prefix(to *netip.Prefix, least, most int) setter {
	want := "want an IPv6 prefix of " + strconv.Itoa(least) + " to " + strconv.Itoa(most) + " bits"
	if least == most {
		want = "want an IPv6 prefix of " + strconv.Itoa(least) + " bits"
	}
	return func(v any) string {
		p, complaint := prefix(v.(string))
		if complaint == "" && (p.Addr().Is4() || p.Bits() < least || p.Bits() > most) {
			complaint = want
		}
		if complaint != "" {
			return complaint
		}
		*to = p
		return ""
	}
}

// prefix reads a prefix behind which no bit is set.
func prefix(s string) (netip.Prefix, string) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, "want a prefix, ADDRESS/BITS"
	case p != p.Masked():
		return netip.Prefix{}, "want " + p.Masked().String()
	}
	return p, ""
}

func userRoutes(to *[]netip.Prefix) setter {
	return func(v any) string {
		list, ok := v.([]any)
		if !ok {
			return "want an array of prefixes in quotes"
		}
		var all []netip.Prefix
		for _, v := range list {
			s, ok := v.(string)
			if !ok {
				return fmt.Sprintf("with %s, want prefixes in quotes", found(v))
			}
			p, complaint := prefix(s)
			if complaint != "" {
				return fmt.Sprintf("with %q, %s", s, complaint)
			}
			all = append(all, p)
		}
		*to = all
		return ""
	}
}

func poolName(s string) string {
	if !plain(s) || len(s) > 253 {
		return "want the name of a pool"
	}
	return ""
}
