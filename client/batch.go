package client

import (
	"context"
	"errors"
	"fmt"
)

// BatchError says what became of a batch of which not every message was accepted.
type BatchError struct {
	Errors []error // of each message, nil for those that were accepted
}

// Error implements error.
func (e *BatchError) Error() string {
	failed, first := 0, error(nil)
	for i, err := range e.Errors {
		if err != nil {
			if failed++; failed == 1 {
				first = fmt.Errorf("message %d: %w", i, err)
			}
		}
	}
	return fmt.Sprintf("client: %d of %d messages were not accepted: %v", failed, len(e.Errors), first)
}

// Unwrap returns the errors of those that were not accepted.
func (e *BatchError) Unwrap() []error {
	var all []error
	for _, err := range e.Errors {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// SendBatch sends messages as [Peer.Send] does, in their order, without waiting for one before the next: many share the
// cost of each write. It returns once the server has answered all, with a [*BatchError] unless it accepted all. The ID
// of each message is set here.
func (p *Peer) SendBatch(ctx context.Context, batch []Outgoing) error {
	letters := make([]*letter, len(batch))
	failed := &BatchError{Errors: make([]error, len(batch))}
	for i, o := range batch {
		letters[i], failed.Errors[i] = p.up.post(o)
	}
	for i, l := range letters {
		if l != nil {
			failed.Errors[i] = p.up.answered(ctx, l)
		}
	}
	if errors.Join(failed.Errors...) == nil {
		return nil
	}
	return failed
}
