package standstill

import (
	"testing"
	"time"
)

// TestClock: while the machine stands still the clock does, too, and at no other time.
func TestClock(t *testing.T) {
	began := time.Now()
	c := &Clock{last: began}
	var want time.Duration
	for _, step := range []struct{ passed, counts time.Duration }{
		{every, every}, {every + least - 1, every + least - 1}, {every + least, every}, {time.Hour, every}, {time.Second, every}, {0, 0},
	} {
		began = began.Add(step.passed)
		want += step.counts
		if got := c.at(began); got != want {
			t.Errorf("after %v: %v, want %v", step.passed, got, want)
		}
	}
	if got, want := c.stood, least+time.Hour+time.Second-2*every; got != want {
		t.Errorf("it stood still for %v, want %v", got, want)
	}
}

// TestStart: the clock runs by itself.
func TestStart(t *testing.T) {
	began := time.Now()
	c := Start(t)
	<-time.After(2 * (every + least))
	if got, whole := c.Elapsed(), time.Since(began); got < every+least || got > whole {
		t.Errorf("%v after %v", got, whole)
	}
}
