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

// names are some that a listener's clients may find by whereis, or register. One that ends with * stands for all that
// begin so.
type names []string

// parseNames reads a list such as ?export=ping,shop/*, which is no more in the query then; nil if there is none.
func parseNames(query url.Values, list string) (names, error) {
	texts, limited := query[list]
	if !limited {
		return nil, nil
	}
	query.Del(list)
	n := names{}
	for _, name := range strings.Split(strings.Join(texts, ","), ",") {
		if plain := strings.TrimSuffix(name, "*"); name != "" && plain != "" && !address.ValidName(plain) {
			return nil, fmt.Errorf("%s %q: want names, such as ping, or shop/* for all that begin so", list, name)
		}
		if name != "" {
			n = append(n, name)
		}
	}
	return n, nil
}

func (n names) have(name string) bool {
	return slices.ContainsFunc(n, func(one string) bool {
		prefix, many := strings.CutSuffix(one, "*")
		return one == name || many && strings.HasPrefix(name, prefix)
	})
}

type listenerKey struct{}

// baseContext is for http.Server.BaseContext: it lets mayFind and mayRegister know by which listener a request came.
func baseContext(l net.Listener) context.Context {
	return context.WithValue(context.Background(), listenerKey{}, l.(listener))
}

// mayFind is for web.Options.Exports: without a list, all can be found.
func mayFind(r *http.Request, name string) bool {
	l, _ := r.Context().Value(listenerKey{}).(listener)
	return l.exports == nil || l.exports.have(name)
}

// mayRegister is for web.Options.Register: without a list, none can be registered.
func mayRegister(r *http.Request, name string) bool {
	l, _ := r.Context().Value(listenerKey{}).(listener)
	return l.registers.have(name)
}

// splitListeners splits the lists of --listen at their commas, those within ?export=ping,shop/* or ?register= apart.
func splitListeners(lists []string) (specs []string) {
	for _, list := range lists {
		begun := false // with a list of names
		for _, part := range strings.Split(list, ",") {
			if begun && !strings.Contains(part, "://") {
				specs[len(specs)-1] += "," + part
				continue
			}
			specs = append(specs, part)
			begun = strings.Contains(part, "export=") || strings.Contains(part, "register=")
		}
	}
	return specs
}
