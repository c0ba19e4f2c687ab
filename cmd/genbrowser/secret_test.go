package main_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/internal/testport"
	"github.com/genbrowser/genbrowser/web/problem"
)

func TestKeyNew(t *testing.T) {
	one, two := ok(t, "", "key", "new"), ok(t, "", "key", "new")
	if one == two {
		t.Error("two secrets are the same")
	}
	if b, err := base64.RawURLEncoding.DecodeString(one); err != nil || len(b) != 32 {
		t.Errorf("a secret has %d bytes, %v", len(b), err)
	}
	s := serve(t, 1, []string{"SECRET=" + one}, "--listen", "tcp4://127.0.0.1:0")
	openBox(t, s.client(t))
}

// Mailboxes end with their server, so that what a key ring thinks of an address shows in how it is refused.
func TestSecrets(t *testing.T) {
	const older, newer = "older-older-older-older-older-old", "newer-newer-newer-newer-newer-new"
	signed := func(env ...string) string {
		s := serve(t, 1, env, "--listen", "tcp4://127.0.0.1:0")
		defer s.stop()
		return openBox(t, s.client(t)).Address().String()
	}
	verifies := func(text string, env ...string) bool {
		s := serve(t, 1, env, "--listen", "tcp4://127.0.0.1:0")
		defer s.stop()
		r := run(t, "", "send", s.urls[0], text, "1")
		fails(t, r)
		switch {
		case strings.Contains(r.err, problem.Gone.Title):
			return true
		case strings.Contains(r.err, problem.InvalidCapability.Title):
			return false
		}
		t.Fatal(r.err)
		return false
	}
	byOlder := signed("SECRET=" + older)
	byNewer := signed("GENBROWSER_SECRET="+newer+","+older, "SECRET=ignored")
	for _, test := range []struct {
		text string
		env  string
		want bool
	}{
		{byOlder, "GENBROWSER_SECRET=" + older, true},
		{byOlder, "SECRET=" + newer + ", " + older, true}, // while it is rotated
		{byOlder, "SECRET=" + newer, false},               // once it is
		{byNewer, "SECRET=" + newer, true},                // the first one signed
		{byNewer, "SECRET=" + older, false},
	} {
		if got := verifies(test.text, test.env); got != test.want {
			t.Errorf("%s verifies: %v, want %v", test.env, got, test.want)
		}
	}
}

func TestSecretIsRefusedAndNotPrinted(t *testing.T) {
	const short = "hunter2hunter2hunter2"
	for _, env := range []string{
		"SECRET=" + short, "GENBROWSER_SECRET=" + short, "SECRET=" + secret + "," + short, "SECRET=" + short + ",", "GENBROWSER_CLUSTER_SECRET=" + short,
	} {
		name, _, _ := strings.Cut(env, "=")
		with, args := []string{env}, []string{"serve", "--listen", "tcp4://127.0.0.1:0"}
		if name == "GENBROWSER_CLUSTER_SECRET" {
			with = append(with, "SECRET="+secret)
			args = append(args, "--data", t.TempDir(), "--cluster-name=c", "--cluster-node=n", "--cluster-listen="+testport.Address(t), "--join=127.0.0.1:1")
		}
		r := finish(t, command(t, with, args...), "")
		fails(t, r, name+":", "32", "genbrowser key new")
		if strings.Contains(r.err, "hunter2") || strings.Contains(r.err, secret) {
			t.Errorf("the complaint repeats the secret: %s", r.err)
		}
	}
}

// TestSecretOfADataDir: one that was given a secret at first gets no other one unasked, with which all addresses would end.
func TestSecretOfADataDir(t *testing.T) {
	dir := t.TempDir()
	args := []string{"serve", "--listen", "tcp4://127.0.0.1:0", "--data", dir}
	serve(t, 1, []string{"SECRET=" + secret}, args[1:]...).stop()
	fails(t, finish(t, command(t, nil, args...), ""), "no SECRET is set", dir)
	if _, err := os.Stat(filepath.Join(dir, "secret")); err == nil {
		t.Error("one was made")
	}
	serve(t, 1, []string{"SECRET=" + secret}, args[1:]...).stop()
}

func TestSecretIsMadeIfThereIsNone(t *testing.T) {
	s := serve(t, 1, nil, "--listen", "tcp4://127.0.0.1:0")
	if log := s.text(); !strings.Contains(log, `"level":"WARN"`) || !strings.Contains(log, "no SECRET is set") {
		t.Errorf("no warning in the log:\n%s", log)
	}
	c := s.client(t)
	box := openBox(t, c)
	if err := c.Send(t.Context(), box.Address(), 1); err != nil {
		t.Error(err)
	}
	other := serve(t, 1, nil, "--listen", "tcp4://127.0.0.1:0")
	if err := other.client(t).Send(t.Context(), box.Address(), 1); !errors.Is(err, problem.InvalidCapability) {
		t.Errorf("another run's address: %v", err)
	}
}
