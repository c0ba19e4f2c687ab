package main

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/genbrowser/genbrowser/web"
)

// clientNames are those that a client's certificate must have one of; with none of them, any will do.
type clientNames []string

func parseClientNames(texts []string) (clientNames, error) {
	var names clientNames
	for _, text := range texts {
		if strings.Contains(text, "://") {
			if u, err := url.Parse(text); err != nil || u.Host == "" {
				return nil, fmt.Errorf("--tls-client-name %q: no URI; want one such as spiffe://example.com/backend", text)
			}
			names = append(names, text)
			continue
		}
		name := strings.TrimPrefix(text, "*.")
		if name == "" || strings.ContainsAny(name, "*:/ ") || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			return nil, fmt.Errorf("--tls-client-name %q: want a DNS name, *.example.com, or a URI such as spiffe://example.com/backend", text)
		}
		names = append(names, strings.ToLower(text))
	}
	return names, nil
}

// verify is for tls.Config.VerifyConnection. It runs for each connection, after the certificate was verified.
func (n clientNames) verify(s tls.ConnectionState) error {
	if len(s.VerifiedChains) == 0 {
		return fmt.Errorf("the client's certificate was not verified")
	}
	shown := web.CertificateNames(s.VerifiedChains[0][0])
	if len(n) > 0 && !slices.ContainsFunc(shown, n.admit) {
		return fmt.Errorf("the client's certificate is for %q, want one of %q (--tls-client-name)", shown, []string(n))
	}
	return nil
}

// admit reports whether a certificate's name is one of them. *.example.com is a.example.com, not a.b.example.com or
// example.com, as in certificates.
func (n clientNames) admit(name string) bool {
	return slices.ContainsFunc(n, func(wanted string) bool {
		if wanted == name {
			return true
		}
		suffix, wild := strings.CutPrefix(wanted, "*")
		label, ok := strings.CutSuffix(name, suffix)
		return wild && ok && label != "" && !strings.ContainsAny(label, ".*:/")
	})
}
