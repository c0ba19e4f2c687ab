package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// certificates says where tls and mtls listeners get theirs from, and whose they take.
type certificates struct {
	TLSCert string `help:"Certificate chain for tls and mtls listeners, in PEM. It is read again when it changes." type:"existingfile" placeholder:"FILE" needs:"tls-key"`
	TLSKey  string `help:"Its private key, in PEM." type:"existingfile" placeholder:"FILE" needs:"tls-cert"`
	TLSMin  string `help:"Oldest version of TLS that tls and mtls listeners speak: 1.2 or 1.3." enum:"1.2,1.3" default:"1.3"`

	TLSClientCA   string   `help:"Authorities that the clients' certificates of mtls listeners must be of, in PEM. It is read again when it changes." type:"existingfile" placeholder:"FILE"`
	TLSClientName []string `help:"Name that such a certificate must have: a DNS name, a URI, or *.example.com for any DNS name one label longer; default: any. May be repeated." placeholder:"NAME" needs:"tls-client-ca"`

	ACMEDomain    []string `help:"Get certificates for this domain by ACME (RFC 8555), and renew them; this accepts the authority's terms. It calls back on port 443. May be repeated." placeholder:"DOMAIN"`
	ACMECache     string   `help:"Directory that keeps them across restarts." placeholder:"DIR" needs:"acme-domain"`
	ACMEEmail     string   `help:"Whom the authority may write to." placeholder:"EMAIL" needs:"acme-domain"`
	ACMEDirectory string   `help:"The authority." default:"https://acme-v02.api.letsencrypt.org/directory" placeholder:"URL" needs:"acme-domain"`
}

// tlsConfigs are for the listeners that speak TLS.
type tlsConfigs struct {
	tls  *tls.Config // nil if no certificate is to be had
	mtls *tls.Config // nil, too, if no client's would be taken
}

// configs returns an error if what was given can't be used, or not by listeners at such places; what was not given, listeners
// will ask for.
func (c *certificates) configs(listen []string, log *slog.Logger) (tlsConfigs, error) {
	names, err := parseClientNames(c.TLSClientName)
	if err != nil {
		return tlsConfigs{}, err
	}
	if c.TLSClientCA != "" && !slices.ContainsFunc(splitListeners(listen), isMutual) {
		return tlsConfigs{}, errors.New("--tls-client-ca: needs a listener that asks clients for certificates, such as --listen mtls://:8444")
	}
	plain, err := c.config(log)
	if err != nil || plain == nil || c.TLSClientCA == "" {
		return tlsConfigs{tls: plain}, err
	}
	authorities, err := reload(log, func() (*x509.CertPool, error) { return readAuthorities(c.TLSClientCA) }, c.TLSClientCA)
	if err != nil {
		return tlsConfigs{}, fmt.Errorf("--tls-client-ca: %w", err)
	}
	return tlsConfigs{plain, mutual(plain, authorities.get, names)}, nil
}

// config returns nil if no certificate is to be had.
func (c *certificates) config(log *slog.Logger) (*tls.Config, error) {
	var config *tls.Config
	var err error
	switch {
	case c.TLSCert != "" && len(c.ACMEDomain) > 0:
		return nil, errors.New("--tls-cert and --acme-domain: want one of them")
	case c.TLSCert != "":
		config, err = c.fromFiles(log)
	case len(c.ACMEDomain) > 0:
		config, err = c.fromACME()
	}
	if config != nil {
		config.MinVersion = c.minVersion()
	}
	return config, err
}

func (c *certificates) minVersion() uint16 {
	if c.TLSMin == "1.2" {
		return tls.VersionTLS12
	}
	return tls.VersionTLS13
}

func (c *certificates) fromFiles(log *slog.Logger) (*tls.Config, error) {
	pair, err := reload(log, func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		return &cert, err
	}, c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil },
		NextProtos:     []string{"h2", "http/1.1"},
	}, nil
}

func (c *certificates) fromACME() (*tls.Config, error) {
	if c.ACMECache == "" {
		return nil, errors.New("--acme-domain: needs --acme-cache, or every restart asks for new certificates until the authority refuses")
	}
	m := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: autocert.HostWhitelist(c.ACMEDomain...),
		Cache:      autocert.DirCache(c.ACMECache),
		Email:      c.ACMEEmail,
		Client:     &acme.Client{DirectoryURL: c.ACMEDirectory, HTTPClient: http.DefaultClient, UserAgent: "genbrowser"},
	}
	// The authority's challenge (RFC 8737) comes with no certificate of a client, and maybe with TLS 1.2. It gets the
	// handshake and no more: net/http serves nothing over acme-tls/1.
	challenge := m.TLSConfig()
	challenge.NextProtos, challenge.MinVersion = []string{acme.ALPNProto}, tls.VersionTLS12
	config := m.TLSConfig()
	config.NextProtos = []string{"h2", "http/1.1"}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, challenge.NextProtos) {
			return challenge, nil
		}
		return nil, nil
	}
	return config, nil
}

// mutual is plain for clients that show a certificate of these authorities, for one of these names.
func mutual(plain *tls.Config, authorities func() *x509.CertPool, names clientNames) *tls.Config {
	config := plain.Clone()
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, authorities()
	config.SessionTicketsDisabled = true // so that each connection's certificate is verified, by the authorities of now
	config.VerifyConnection = names.verify
	each := config.Clone()
	each.GetConfigForClient = nil
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if plain.GetConfigForClient != nil {
			if special, err := plain.GetConfigForClient(hello); special != nil || err != nil {
				return special, err
			}
		}
		current := each.Clone()
		current.ClientCAs = authorities()
		return current, nil
	}
	return config
}

func readAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return authorities, nil
}

// mutualTLS is for connections on which both ends show a certificate of the same authorities.
func mutualTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	authorities, err := readAuthorities(caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: authorities, ClientCAs: authorities,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}, nil
}
