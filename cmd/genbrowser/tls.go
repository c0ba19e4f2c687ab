package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// certificates says where tls listeners get theirs from.
type certificates struct {
	TLSCert string `help:"Certificate chain for tls listeners, in PEM." type:"existingfile" placeholder:"FILE"`
	TLSKey  string `help:"Its private key, in PEM." type:"existingfile" placeholder:"FILE"`

	ACMEDomain    []string `help:"Get certificates for this domain by ACME (RFC 8555), and renew them; this accepts the authority's terms. It calls back on port 443. May be repeated." placeholder:"DOMAIN"`
	ACMECache     string   `help:"Directory that keeps them across restarts." placeholder:"DIR"`
	ACMEEmail     string   `help:"Whom the authority may write to." placeholder:"EMAIL"`
	ACMEDirectory string   `help:"The authority." default:"https://acme-v02.api.letsencrypt.org/directory" placeholder:"URL"`
}

// config returns nil if no certificate is to be had.
func (c *certificates) config() (*tls.Config, error) {
	switch {
	case c.TLSCert != "" && len(c.ACMEDomain) > 0:
		return nil, errors.New("--tls-cert and --acme-domain: want one of them")
	case c.TLSCert != "":
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert: %w", err)
		}
		return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}, nil
	case len(c.ACMEDomain) == 0:
		return nil, nil
	case c.ACMECache == "":
		return nil, errors.New("--acme-domain: needs --acme-cache, or every restart asks for new certificates until the authority refuses")
	}
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: autocert.HostWhitelist(c.ACMEDomain...),
		Cache:      autocert.DirCache(c.ACMECache),
		Email:      c.ACMEEmail,
		Client:     &acme.Client{DirectoryURL: c.ACMEDirectory, HTTPClient: http.DefaultClient, UserAgent: "genbrowser"},
	}
	config := m.TLSConfig()
	config.MinVersion = tls.VersionTLS12
	return config, nil
}

// mutualTLS is for connections on which both ends show a certificate of the same authorities.
func mutualTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", caFile)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: authorities, ClientCAs: authorities,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}, nil
}
