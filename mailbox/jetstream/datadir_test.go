package jetstream

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func wantRefused(t *testing.T, o Options, parts ...string) {
	t.Helper()
	o.Logger = quiet
	l, err := Open(within(t), o)
	if err == nil {
		l.Close()
		t.Fatalf("%s is opened", o.Dir)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("open %s: %q does not say %q", o.Dir, err, part)
		}
	}
}

func TestSecondOpener(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	wantRefused(t, Options{Dir: dir}, dir, "in use by process "+strconv.Itoa(os.Getpid()))
	mustAppend(t, l, "1")
	l.Close()
	l = mustOpen(t, Options{Dir: dir})
	if got := entries(t, l); len(got) != 1 {
		t.Errorf("%d entries, want 1", len(got))
	}
}

func TestDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "deep")
	mustOpen(t, Options{Dir: dir}).Close()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory: %v, %v; want it for its owner only", info.Mode(), err)
	}
	file := filepath.Join(dir, "format")
	for text, parts := range map[string][]string{
		`{"version":2}`:                          {dir, "format 2", "up to 1"},
		`{"version":1,"cluster":"c","node":"n"}`: {dir, "made for node n of cluster c", "a server alone"},
		"":                                       {dir, "format can't be read"},
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, Options{Dir: dir}, parts...)
	}
	wantRefused(t, Options{Dir: file}, file, "not a directory")
	wantRefused(t, Options{Dir: filepath.Join(file, "below")}, file, "not a directory")
}

func TestNoPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, Options{Dir: dir}, dir, "permission denied")
}

// TestServerCannotStart: the reason is in the error.
func TestServerCannotStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, Options{Dir: dir}, dir, "JetStream", "directory")
	busy := external(t, t.TempDir(), -1).Addr().String()
	dir = t.TempDir()
	wantRefused(t, Options{Dir: dir, Cluster: &Cluster{
		Name: "c", Node: "n", Listen: busy, Join: []string{"127.0.0.1:1"}, User: "u", Password: "p",
	}}, dir, "address already in use")
}

func TestMaxBytes(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir(), MaxBytes: 64 << 10})
	entry := strings.Repeat("x", 10<<10)
	var err error
	for err == nil {
		_, err = l.Append(within(t), []byte(entry))
	}
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "maximum bytes exceeded") {
		t.Fatalf("append to a full log: %v, want ErrFull", err)
	}
	if err := l.Trim(within(t), 3); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "another")
}

func TestOptions(t *testing.T) {
	node := Cluster{Name: "c", Node: "n", Listen: ":6222", Join: []string{"b:6222"}, User: "u", Password: "p"}
	for want, change := range map[string]func(o *Options){
		"a log needs":              func(o *Options) { o.Dir = "" },
		"not both":                 func(o *Options) { o.URLs = []string{"nats://a"} },
		"log name":                 func(o *Options) { o.Name = "a.b" },
		"MaxBytes is -1":           func(o *Options) { o.MaxBytes = -1 },
		"a data directory has one": func(o *Options) { o.Cluster, o.Replicas = nil, 2 },
		"cluster name":             func(o *Options) { o.Cluster.Name = "" },
		"node name":                func(o *Options) { o.Cluster.Node = "a b" },
		"of the other nodes":       func(o *Options) { o.Cluster.Join = nil },
		"come together":            func(o *Options) { o.Cluster.User = "" },
		"needs a password, or TLS": func(o *Options) { o.Cluster.User, o.Cluster.Password = "", "" },
		`"b": want host:port`:      func(o *Options) { o.Cluster.Join = []string{"b"} },
		"want a port":              func(o *Options) { o.Cluster.Listen = "a:0" },
	} {
		c := node
		o := Options{Dir: t.TempDir(), Cluster: &c}
		change(&o)
		wantRefused(t, o, want)
	}
}
