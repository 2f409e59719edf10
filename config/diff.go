package config

import (
	"maps"
	"reflect"
	"slices"

	"github.com/BurntSushi/toml"
)

// Diff returns the keys of whose values two readings of a file differ, as words, in the
// order of the words, but for what takes effect while all runs: where users are from.
// What is in the files of secrets is not compared.
func Diff(running, now *File) []string { return diff(nil, *running.text.root, *now.text.root) }

func diff(path toml.Key, a, b map[string]any) (all []string) {
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		at := join(path, key)
		if len(at) == 3 && at[0] == "ppp" && key == "users_file" {
			continue
		}
		x, isTable := a[key].(map[string]any)
		y, both := b[key].(map[string]any)
		switch {
		case isTable && both:
			all = append(all, diff(at, x, y)...)
		case !reflect.DeepEqual(a[key], b[key]):
			all = append(all, where(at))
		}
	}
	return all
}
