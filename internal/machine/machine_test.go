package machine

import (
	"runtime"
	"strings"
	"testing"
)

func TestID(t *testing.T) {
	seen := map[string]string{}
	for _, parts := range []string{"m,h,b", "m2,h,b", "m,h,b2", ",h,b", ",h2,b", ",m,b"} {
		p := strings.Split(parts, ",")
		got := id(p[0], p[1], p[2])
		if len(got) != 22 {
			t.Errorf("id(%s) = %q", parts, got)
		}
		if seen[got] != "" {
			t.Errorf("id(%s) = id(%s)", parts, seen[got])
		}
		seen[got] = parts
	}
	if id("m", "h", "b") != id("m", "other", "b") {
		t.Error("a machine is another one once it is renamed")
	}
	for _, parts := range []string{",,b", "m,h,", ",h,", ",,"} {
		p := strings.Split(parts, ",")
		if got := id(p[0], p[1], p[2]); got != "" {
			t.Errorf("id(%s) = %q, want none", parts, got)
		}
	}
}

func TestSame(t *testing.T) {
	if Same("") {
		t.Error("who says nothing is on this machine")
	}
	if Same("AAAAAAAAAAAAAAAAAAAAAA") {
		t.Error("another machine is this one")
	}
	if runtime.GOOS == "linux" && !Same(ID()) {
		t.Errorf("this machine, %q, is not itself", ID())
	}
}
