package interop

import (
	"errors"
	"fmt"
	"sync"
)

// A pppCrowd is many rows that are up at once, as users of one profile.
type pppCrowd struct {
	rows     []*pppRow
	together sync.WaitGroup // until each has come, or cannot
	mu       sync.Mutex
	came     map[*pppRow]bool
}

const (
	pppCrowdName = "crowd"
	pppCrowdSize = 20
)

func (c *pppCrowd) arrive(r *pppRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.came == nil {
		c.came = map[*pppRow]bool{}
	}
	if !c.came[r] {
		c.came[r] = true
		c.together.Done()
	}
}

// results are those of all.
func (c *pppCrowd) results() map[string]error {
	all := map[string]error{}
	for _, r := range c.rows {
		for column, err := range r.results {
			all[column] = errors.Join(all[column], err)
		}
	}
	return all
}

// close closes all, when they are there at once. The first one tells whether they were.
func (c *pppCrowd) close(r *pppRow) error {
	if r != c.rows[0] {
		return nil
	}
	var all []error
	addresses := map[string]bool{}
	for _, r := range c.rows {
		links, err := r.spanwire.links(r.name)
		if err != nil || len(links) != 1 {
			all = append(all, fmt.Errorf("%s: %d links, want 1; %v", r.name, len(links), err))
			continue
		}
		addresses[links[0].Address] = true
	}
	if len(addresses) != len(c.rows) {
		all = append(all, fmt.Errorf("%d users have %d addresses", len(c.rows), len(addresses)))
	}
	return errors.Join(append(all, r.spanwire.order("down", pppCrowdName))...)
}
