package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// secrets are what signs addresses, and where they came from.
type secrets struct{ value, from string }

// secretsOf finds the secrets of a server: in the environment, else in the data directory, where the first start
// puts one, else made for this run only. Nodes that share mailboxes must be given the same.
func secretsOf(s *storage, log *slog.Logger) (secrets, error) {
	for _, name := range []string{"GENBROWSER_SECRET", "SECRET"} {
		if value := os.Getenv(name); value != "" {
			return secrets{value, name}, nil
		}
	}
	switch {
	case s.shared():
		return secrets{}, errors.New("no SECRET is set: the nodes of a cluster need the same one; make it with: genbrowser key new")
	case s.Data != "":
		file := filepath.Join(s.Data, "secret")
		value, err := lastingSecret(file)
		return secrets{value, file}, err
	}
	log.Warn("no SECRET is set: one was made for this run, and addresses end with it; make a lasting one with: genbrowser key new")
	return secrets{address.NewSecret(), "the secret made for this run"}, nil
}

// lastingSecret reads the secret in a file, or makes both. The file appears whole or not at all.
func lastingSecret(file string) (string, error) {
	value, err := os.ReadFile(file)
	if err == nil {
		return strings.TrimSpace(string(value)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("--data: %w", err)
	}
	dir := filepath.Dir(file)
	if used, err := jetstream.IsDataDir(dir); err != nil {
		return "", fmt.Errorf("--data: %w", err)
	} else if used {
		return "", fmt.Errorf("no SECRET is set, and there is no %s: the addresses of the mailboxes in %s were made with a SECRET, "+
			"which must be set again", file, dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("--data: %w", err)
	}
	secret := address.NewSecret()
	f, err := os.CreateTemp(filepath.Dir(file), "secret-")
	if err != nil {
		return "", fmt.Errorf("--data: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(secret + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	if err := os.Link(f.Name(), file); errors.Is(err, fs.ErrExist) { // another start was faster
		return lastingSecret(file)
	} else if err != nil {
		return "", err
	}
	return secret, nil
}

func (s secrets) list() [][]byte {
	var all [][]byte
	for secret := range strings.SplitSeq(s.value, ",") {
		all = append(all, []byte(strings.TrimSpace(secret)))
	}
	return all
}

func (s secrets) ring() (*address.Ring, error) {
	ring, err := address.NewRing(s.list()...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; make one with: genbrowser key new", s.from, err)
	}
	return ring, nil
}

// clusterPassword is what the nodes show each other: made of a secret of its own, or of the oldest one. Both give the same
// if they are the same, so that the one can be set while nodes run that go by the other.
func (s secrets) clusterPassword() (string, error) {
	if own := os.Getenv("GENBROWSER_CLUSTER_SECRET"); own != "" {
		s = secrets{own, "GENBROWSER_CLUSTER_SECRET"}
		if _, err := s.ring(); err != nil {
			return "", err
		}
	}
	all := s.list()
	secret := all[len(all)-1]
	password, err := hkdf.Key(sha256.New, secret, nil, "gen-browser cluster routes", 32)
	if err != nil {
		panic(err) // 32 bytes are always to be had
	}
	return base64.RawURLEncoding.EncodeToString(password), nil
}

type key struct {
	New keyNew `cmd:"" help:"Print a new secret: 32 random bytes in base64url, for the environment variable SECRET."`
}

type keyNew struct{}

func (keyNew) Run() error {
	fmt.Fprintln(stdout, address.NewSecret())
	return nil
}
