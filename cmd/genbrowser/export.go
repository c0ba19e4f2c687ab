package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/genbrowser/genbrowser/address"
)

// exports are the names that a listener's clients may find by whereis; nil: all that are exported. One that ends with *
// stands for all that begin so.
type exports []string

// parseExports reads ?export=ping,shop/*, which is no more in the query then.
func parseExports(query url.Values) (exports, error) {
	texts, limited := query["export"]
	if !limited {
		return nil, nil
	}
	query.Del("export")
	e := exports{}
	for _, name := range strings.Split(strings.Join(texts, ","), ",") {
		if plain := strings.TrimSuffix(name, "*"); name != "" && plain != "" && !address.ValidName(plain) {
			return nil, fmt.Errorf("export %q: want names, such as ping, or shop/* for all that begin so", name)
		}
		if name != "" {
			e = append(e, name)
		}
	}
	return e, nil
}

func (e exports) allow(name string) bool {
	return e == nil || slices.ContainsFunc(e, func(allowed string) bool {
		prefix, many := strings.CutSuffix(allowed, "*")
		return allowed == name || many && strings.HasPrefix(name, prefix)
	})
}

type exportsKey struct{}

// baseContext is for http.Server.BaseContext: it lets mayFind know by which listener a request came.
func baseContext(l net.Listener) context.Context {
	return context.WithValue(context.Background(), exportsKey{}, l.(listener).exports)
}

// mayFind is for web.Options.Exports.
func mayFind(r *http.Request, name string) bool {
	e, _ := r.Context().Value(exportsKey{}).(exports)
	return e.allow(name)
}

// splitListeners splits the lists of --listen at their commas, those within ?export=ping,shop/* apart.
func splitListeners(lists []string) (specs []string) {
	for _, list := range lists {
		begun := false // with a list of exports
		for _, part := range strings.Split(list, ",") {
			if begun && !strings.Contains(part, "://") {
				specs[len(specs)-1] += "," + part
				continue
			}
			specs = append(specs, part)
			begun = strings.Contains(part, "export=")
		}
	}
	return specs
}
