package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = time.Second
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		p := patience{limit: limit, end: cancel}
		still := func(how string) {
			t.Helper()
			synctest.Wait()
			if ctx.Err() != nil {
				t.Fatalf("%s: %v", how, context.Cause(ctx))
			}
		}
		time.Sleep(10 * limit)
		still("nothing was asked yet")
		p.ask()
		time.Sleep(limit - 1)
		p.ask()
		p.answered()
		time.Sleep(limit - 1)
		still("one answer came, and the other's time is not over")
		p.answered()
		time.Sleep(10 * limit)
		still("all was answered")
		p.ask()
		time.Sleep(limit - 1)
		p.ask() // which gains the first no time
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := context.Cause(ctx); got != lateError(limit) {
			t.Errorf("no answer came, and it ends with %v", got)
		}
	})
}
