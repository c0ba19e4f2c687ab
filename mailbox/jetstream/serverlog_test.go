package jetstream

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/testport"
)

// TestMisfits: nodes that do not fit together say what all must have in common, now and then, and each refusal only as a detail.
func TestMisfits(t *testing.T) {
	for name, test := range map[string]struct {
		differ         func(*Cluster)
		says, refusals string
	}{
		"another password": {func(c *Cluster) { c.Password = "another" }, "all need the same user and password", "uth"},
		"another name":     {func(c *Cluster) { c.Name = "another" }, "all need the same cluster name", "does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := testport.Addresses(t, 2)
			var said [2]lines
			ctx, cancel := context.WithCancel(within(t))
			var opening sync.WaitGroup
			began := time.Now()
			for i := range said {
				o := Options{Dir: t.TempDir(), Cluster: &Cluster{
					Name: "c", Node: string("ab"[i]), Listen: at[i], Join: []string{at[1-i]}, User: "u", Password: "p",
				}}
				o.Logger = slog.New(slog.NewTextHandler(&said[i], &slog.HandlerOptions{Level: slog.LevelDebug}))
				if i == 1 {
					test.differ(o.Cluster)
				}
				opening.Go(func() {
					if _, err := Open(ctx, o); err == nil {
						t.Error("it is opened, with half of its nodes")
					}
				})
			}
			until(t, "both refuse, and are refused", func() bool {
				return said[0].count("DEBUG", test.refusals) > 9 && said[1].count("DEBUG", test.refusals) > 9
			})
			cancel()
			opening.Wait()
			most := 1 + int(time.Since(began)/misfitEvery)
			for i := range said {
				if n := said[i].count("ERROR", test.says); n == 0 || n > most {
					t.Errorf("it says %d times what to do, want once, or each %v", n, misfitEvery)
				}
				if n := said[i].count("ERROR", test.refusals); n > said[i].count("ERROR", test.says) {
					t.Errorf("it repeats what the server says:\n%s", said[i].String())
				}
			}
		})
	}
}

// count returns how many lines of a level have these words.
func (l *lines) count(level, words string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "level="+level) && strings.Contains(line, words) {
			n++
		}
	}
	return n
}
