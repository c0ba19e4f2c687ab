package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// variant is a server to be compared.
type variant struct {
	name    string
	kind    string // how to talk to it: the load's -kind
	command []string
	addrs   []string
	tls     bool
}

// genBrowser is GenBrowser by its command, in which {addr} stands for the spare address. It is reached where its
// --listen flags say; without any, it is given the spare one.
func genBrowser(name string, command []string, spare string) variant {
	for i, arg := range command {
		command[i] = strings.ReplaceAll(arg, "{addr}", spare)
	}
	v := variant{name: name, kind: "genbrowser", command: command}
	for i, arg := range command {
		url, found := strings.CutPrefix(arg, "--listen=")
		if arg == "--listen" && i+1 < len(command) {
			url, found = command[i+1], true
		}
		if found {
			scheme, addr, _ := strings.Cut(url, "://")
			v.addrs = append(v.addrs, addr)
			v.tls = scheme == "tls"
		}
	}
	if v.addrs == nil {
		v.addrs = []string{spare}
		v.command = append(v.command, "--listen=tcp4://"+spare)
	}
	return v
}

// commandIn is the command for a run that has a directory for itself.
func (v *variant) commandIn(dir string) []string {
	command := make([]string, len(v.command))
	for i, arg := range v.command {
		command[i] = strings.ReplaceAll(arg, "{dir}", dir)
	}
	return command
}

//go:embed nchan.conf
var nchanConf []byte

// nchan is nginx with nchan, or why there is none.
func nchan(dir, addr string) (variant, error) {
	const modules = "/usr/lib/nginx/modules"
	nginx, err := exec.LookPath("nginx")
	if err == nil {
		_, err = os.Stat(filepath.Join(modules, "ngx_nchan_module.so"))
	}
	if err != nil {
		return variant{}, fmt.Errorf("%w (Debian has it in nginx and libnginx-mod-nchan)", err)
	}
	dir = filepath.Join(dir, "nchan")
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o777); err != nil {
		return variant{}, err
	}
	if err := os.Symlink(modules, filepath.Join(dir, "modules")); err != nil {
		return variant{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "nchan.conf"), bytes.ReplaceAll(nchanConf, []byte("127.0.0.1:8091"), []byte(addr)), 0o666); err != nil {
		return variant{}, err
	}
	return variant{name: "nchan", kind: "nchan", command: []string{nginx, "-p", dir, "-c", "nchan.conf"}, addrs: []string{addr}}, nil
}
