// Package jsclient holds the bundles of the browser client, so that a Go server serves the client that fits it.
package jsclient

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
)

//go:embed dist/client.js dist/client.global.js
var bundles embed.FS

// Bundle is a script, as it is and compressed, each with its entity tag.
type Bundle struct {
	Plain, Gzip    []byte
	ETag, GzipETag string
}

// Load returns one of the bundles: client.js, an ES module, or client.global.js, a script that defines GenBrowser.
func Load(name string) (*Bundle, error) {
	text, err := bundles.ReadFile("dist/" + name)
	if err != nil {
		return nil, fmt.Errorf("jsclient: %w", err)
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w.Write(text) // to memory, which takes it
	w.Close()
	sum := sha256.Sum256(text)
	tag := hex.EncodeToString(sum[:8])
	return &Bundle{Plain: text, Gzip: out.Bytes(), ETag: `"` + tag + `"`, GzipETag: `"` + tag + `-gzip"`}, nil
}
