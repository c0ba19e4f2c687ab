// Package jsclient holds the bundles of the browser client, so that a Go server serves the client that fits it.
package jsclient

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
)

// Bundle holds dist/client.js, an ES module, and dist/client.global.js, a script that defines GenBrowser.
//
//go:embed dist/client.js dist/client.global.js
var Bundle embed.FS

// ETag returns the entity tag of one of the bundles.
func ETag(name string) string {
	body, err := Bundle.ReadFile("dist/" + name)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}
