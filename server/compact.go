package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Compacted is what [Compact] did.
type Compacted struct {
	Before, After mailbox.LogStats
	Mailboxes     int64
}

// Compact writes all that a log must say anew, trims the rest, and closes the log, which nobody else may use meanwhile.
// Nothing else happens: nobody is told anything, and nothing ends, until a server has the log again. It needs no keys,
// and so knows of no address whether it still holds: it keeps all of them.
func Compact(ctx context.Context, log mailbox.Log, logger *slog.Logger) (c Compacted, err error) {
	if c.Before, err = log.Stats(ctx); err != nil {
		return c, errors.Join(err, log.Close())
	}
	keys, err := address.NewRing([]byte(address.NewSecret())) // signs nothing that gets out
	if err != nil {
		return c, errors.Join(err, log.Close())
	}
	limits := mailbox.AsTheyAre()
	limits.Names = mostNames(log)
	s, err := New(Options{Keys: keys, Log: log, Limits: limits, Logger: logger, offline: true})
	if err != nil {
		return c, errors.Join(err, log.Close())
	}
	if err = s.Snapshot(ctx); err == nil {
		c.After, err = log.Stats(ctx)
	}
	c.Mailboxes = s.Stats().Mailboxes
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err = errors.Join(err, s.Shutdown(end), s.Stop(end)); err != nil {
		return c, fmt.Errorf("server: compact: %w", err)
	}
	return c, nil
}
