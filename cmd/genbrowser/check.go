package main

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// check reports a flag that was given and would be taken for something else, or for nothing.
func check(command *kong.Context) error {
	for _, f := range given(command) {
		if err := zero(f); err != nil {
			return err
		}
		if err := empty(f); err != nil {
			return err
		}
		if err := needs(f, command.Flags()); err != nil {
			return err
		}
	}
	return nil
}

// given returns the flags that were set on the command line or in the environment.
func given(command *kong.Context) (flags []*kong.Flag) {
	for _, f := range command.Flags() {
		set := slices.ContainsFunc(command.Path, func(p *kong.Path) bool { return p.Flag == f })
		for _, name := range f.Envs {
			_, inEnvironment := os.LookupEnv(name)
			set = set || inEnvironment
		}
		if set {
			flags = append(flags, f)
		}
	}
	return flags
}

// zero reports a flag that was set to 0 and has another default, which is what it would be taken for. Those with the tag
// zero mean something by it.
func zero(f *kong.Flag) error {
	switch f.Target.Interface().(type) {
	case int, int64, float64, time.Duration:
		if f.Target.IsZero() && f.HasDefault && f.Default != "0" && !f.Tag.Has("zero") {
			return fmt.Errorf("--%s: 0 is too little; leave it out for %s", f.Name, f.Default)
		}
	}
	return nil
}

// empty reports a flag that is empty, of a variable that is not set, maybe: taken for none, it could let in everybody. A list
// with the tag empty means something by it, and is not nil then.
func empty(f *kong.Flag) error {
	list, isList := f.Target.Interface().([]string)
	text, isText := f.Target.Interface().(string)
	switch {
	case isList && len(list) == 0 && f.Tag.Has("empty"):
		f.Target.Set(reflect.ValueOf([]string{}))
	case isList && (len(list) == 0 || slices.Contains(list, "")), isText && text == "":
		return fmt.Errorf("--%s: is empty, of a variable that is not set, maybe; give it a value, or leave it out", f.Name)
	}
	return nil
}

// needs reports a flag that has no effect without one of those in its tag needs, such as needs:"data,sync=interval": whoever
// gave it counts on something that is not so. 0 and false are what is there without it.
func needs(f *kong.Flag, all []*kong.Flag) error {
	if !f.Tag.Has("needs") || f.Target.IsZero() {
		return nil
	}
	wanted := strings.Split(f.Tag.Get("needs"), ",")
	for _, other := range all {
		for _, want := range wanted {
			name, value, exact := strings.Cut(want, "=")
			if name == other.Name && !other.Target.IsZero() && (!exact || value == fmt.Sprint(other.Target)) {
				return nil
			}
		}
	}
	return fmt.Errorf("--%s: needs --%s", f.Name, strings.Join(wanted, " or --"))
}
