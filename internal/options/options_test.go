package options

import (
	"testing"
	"time"
)

type limits struct {
	Name   string
	Most   int
	Rate   float64
	Within time.Duration
	inside int
}

func TestNotNegative(t *testing.T) {
	for _, c := range []struct {
		options limits
		want    string
	}{
		{limits{}, ""},
		{limits{Most: 1, Rate: 0.5, Within: 1, inside: -1}, ""},
		{limits{Most: -1}, "Most is -1; want 0, for the default, or more"},
		{limits{Rate: -0.5, Within: -1}, "Rate is -0.5; want 0, for the default, or more"},
		{limits{Within: -time.Second}, "Within is -1s; want 0, for the default, or more"},
	} {
		got := ""
		if err := NotNegative(c.options); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.options, got, c.want)
		}
	}
	if err := NotNegative(limits{Most: -1}, "Most"); err != nil {
		t.Errorf("excepted: %v", err)
	}
}
