package main

import (
	"fmt"
	"time"

	"github.com/alecthomas/kong"
)

// zeros reports a flag that was set to 0 and has another default, which is what it would be taken for. Those with the tag
// zero mean something by it.
func zeros(flags []*kong.Flag) error {
	for _, f := range flags {
		switch f.Target.Interface().(type) {
		case int, int64, float64, time.Duration:
			if f.Target.IsZero() && f.HasDefault && f.Default != "0" && !f.Tag.Has("zero") {
				return fmt.Errorf("--%s: 0 is too little; leave it out for %s", f.Name, f.Default)
			}
		}
	}
	return nil
}
