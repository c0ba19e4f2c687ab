package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// writeCertificate makes a certificate for this run, which servers that listen on TLS find in their environment.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		variable, name string
		block          pem.Block
	}{
		{"GENBROWSER_TLS_CERT", "cert.pem", pem.Block{Type: "CERTIFICATE", Bytes: cert}},
		{"GENBROWSER_TLS_KEY", "key.pem", pem.Block{Type: "PRIVATE KEY", Bytes: secret}},
	} {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&f.block), 0o600); err != nil {
			return err
		}
		os.Setenv(f.variable, path)
	}
	return nil
}
