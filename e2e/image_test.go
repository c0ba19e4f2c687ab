//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestImage does by hand what the Dockerfile says: it builds the first stage in a copy of the sources, fills an
// empty root directory as the last stage does, and runs the program in it as the image's user.
func TestImage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("to change the root directory, this test must run as root")
	}
	im := &image{t: t, dirs: map[string]string{}, env: []string{"SECRET=0123456789abcdef0123456789abcdef"}}
	im.build("../Dockerfile")

	if im.user != "65532:65532" {
		t.Errorf("USER %s: want one without rights, by number", im.user)
	}
	files, err := os.ReadDir(im.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{"data", "etc", "genbrowser"}; !slices.Equal(names, want) {
		t.Errorf("the image holds %v, want %v", names, want)
	}

	p := startCommand(t, im.command(append(im.entrypoint, append(im.cmd, "--log-format", "json", "--data", "/data")...)...))
	resp, err := http.Get(p.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Errorf("the playground answers %s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	if out, err := im.command(im.health...).CombinedOutput(); err != nil {
		t.Errorf("health check of a healthy server: %v: %s", err, out)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if out, err := im.command(im.health...).CombinedOutput(); err == nil {
		t.Errorf("health check of no server passes: %s", out)
	}
}

// image is the state of a build: the stage under way, and the directories of those before.
type image struct {
	t               *testing.T
	dirs            map[string]string
	dir, workdir    string
	env             []string
	user            string
	entrypoint, cmd []string
	health          []string
}

// build carries out the instructions, those that docker, podman and buildah 1.28 all know.
func (im *image) build(dockerfile string) {
	im.t.Helper()
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		im.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		instruction, rest, _ := strings.Cut(line, " ")
		args := strings.Fields(rest)
		switch instruction {
		case "FROM":
			im.dir, im.workdir = im.t.TempDir(), "/"
			if len(args) == 3 && args[1] == "AS" {
				im.dirs[args[2]] = im.dir
			} else if args[0] != "scratch" {
				im.t.Errorf("the last stage is FROM %s, want scratch", args[0])
			}
		case "WORKDIR":
			im.workdir = args[0]
		case "COPY":
			im.copy(args)
		case "RUN":
			im.run(rest)
		case "USER":
			im.user = rest
		case "ENV":
			im.env = append(im.env, rest)
		case "EXPOSE":
		case "HEALTHCHECK":
			_, command, _ := strings.Cut(rest, "CMD ")
			im.health = im.list(command)
		case "ENTRYPOINT":
			im.entrypoint = im.list(rest)
		case "CMD":
			im.cmd = im.list(rest)
		default:
			im.t.Fatalf("%s: not every builder knows that", line)
		}
	}
}

// copy copies from the sources, as git has them, or from a stage before.
func (im *image) copy(args []string) {
	im.t.Helper()
	if stage, ok := strings.CutPrefix(args[0], "--from="); ok {
		owner, owned := strings.CutPrefix(args[1], "--chown=")
		if owned {
			args = args[1:]
		}
		from := filepath.Join(im.dirs[stage], args[1])
		if _, err := os.Stat(from); err != nil {
			from = args[1] // of the stage's own image, for which this machine stands in
		}
		to := filepath.Join(im.dir, args[2])
		im.sh("", "mkdir -p "+filepath.Dir(to)+" && cp -r "+from+" "+to)
		if owned {
			im.sh("", "chown -R "+owner+" "+to)
		}
		return
	}
	if strings.HasPrefix(args[0], "--") {
		im.t.Fatalf("COPY %s: not every builder knows that", args[0])
	}
	to := filepath.Join(im.dir, im.workdir)
	if slices.Equal(args, []string{".", "."}) {
		im.sh("..", "mkdir -p "+to+" && git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - | tar -x -C "+to)
		return
	}
	im.sh("..", "mkdir -p "+to+" && cp "+strings.Join(args[:len(args)-1], " ")+" "+to)
}

// run runs a command of the first stage; what it writes into the root goes into the stage's directory.
func (im *image) run(command string) {
	im.t.Helper()
	im.sh(filepath.Join(im.dir, im.workdir), strings.ReplaceAll(command, "-o /", "-o "+im.dir+"/"))
}

func (im *image) sh(dir, command string) {
	im.t.Helper()
	ctx, cancel := context.WithTimeout(im.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", command)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		im.t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func (im *image) list(text string) (list []string) {
	im.t.Helper()
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		im.t.Fatalf("%s: want a list in JSON: %v", text, err)
	}
	return list
}

// command runs in the image's root, as its user, with nothing of this machine's environment.
func (im *image) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = im.env
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: im.dir, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	return cmd
}
