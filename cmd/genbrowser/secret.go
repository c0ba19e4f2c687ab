package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/genbrowser/genbrowser/address"
)

// ring makes the key ring from the environment, or from a secret made for this run.
func ring(log *slog.Logger) (*address.Ring, error) {
	name := "GENBROWSER_SECRET"
	value := os.Getenv(name)
	if value == "" {
		name = "SECRET"
		value = os.Getenv(name)
	}
	if value == "" {
		log.Warn("no SECRET is set: one was made for this run, and addresses end with it; make a lasting one with: genbrowser key new")
		value = address.NewSecret()
	}
	var secrets [][]byte
	for secret := range strings.SplitSeq(value, ",") {
		secrets = append(secrets, []byte(strings.TrimSpace(secret)))
	}
	ring, err := address.NewRing(secrets...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; make one with: genbrowser key new", name, err)
	}
	return ring, nil
}

type key struct {
	New keyNew `cmd:"" help:"Print a new secret: 32 random bytes in base64url, for the environment variable SECRET."`
}

type keyNew struct{}

func (keyNew) Run() error {
	fmt.Println(address.NewSecret())
	return nil
}
