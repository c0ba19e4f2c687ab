//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a disk of some MiB.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a disk can't be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func remount(t *testing.T, disk string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|flags, options); err != nil {
		t.Skipf("a disk can't be mounted anew here: %v", err)
	}
}

// TestReadOnlyDisk holds that the program does not start where it can store nothing, new directory or old.
func TestReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t, "16m")
	dir := filepath.Join(disk, "old")
	p := startDurable(t, dir)
	a := openAccount(t, p)
	p.sendTo(t, a, "202", `"stored"`)
	p.kill()
	remount(t, disk, syscall.MS_RDONLY, "")
	expectNoStart(t, durable(dir), dir, "read-only file system")
	expectNoStart(t, durable(filepath.Join(disk, "new")), filepath.Join(disk, "new"), "read-only file system")
	remount(t, disk, 0, "")
	p = startDurable(t, dir)
	p.expectWaiting(t, a, `"stored"`)
	p.kill()
}

// TestDiskFull fills the disk, by messages alone and with the help of somebody else. Senders are refused until there
// is room, and told when to come back; whoever asks whether the program is ready learns that it is not; and all that
// was accepted is there after a restart.
func TestDiskFull(t *testing.T) {
	for _, ballast := range []int{0, 12 << 20} {
		t.Run(fmt.Sprint("ballast ", ballast), func(t *testing.T) {
			disk := smallDisk(t, "16m")
			dir, other := filepath.Join(disk, "data"), filepath.Join(disk, "ballast")
			p := startDurable(t, dir)
			var boxes []account
			for range 20 {
				boxes = append(boxes, openAccount(t, p))
			}
			if err := os.WriteFile(other, make([]byte, ballast), 0o600); err != nil {
				t.Fatal(err)
			}
			accepted := make([][]string, len(boxes))
			full := false
			for n := 0; !full && n < 1000; n++ {
				body := fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", 60_000))
				i := n % len(boxes)
				a, err := ask(http.DefaultClient, "POST", p.url+"/_gb/send/"+boxes[i].Address, "", body)
				if err != nil {
					t.Fatalf("%v\n%s", err, p.log)
				}
				switch {
				case a.status == 202:
					accepted[i] = append(accepted[i], body)
				case a.problem == "unavailable" && a.retryAfter != "":
					full = true
				default:
					t.Fatalf("on a full disk: %.200v, Retry-After %q", a, a.retryAfter)
				}
			}
			if !full {
				t.Fatal("the disk does not get full")
			}
			mustAsk(t, "503 unavailable", "GET", p.url+"/readyz", "", "")
			mustAsk(t, "200", "GET", p.url+"/healthz", "", "")
			p.sendTo(t, boxes[0], "503 unavailable", `1`)
			mustAsk(t, "503 unavailable", "POST", p.url+"/_gb/mailbox", "", "")
			mustAsk(t, "503 unavailable", "DELETE", p.url+"/_gb/mailbox", boxes[0].Key, "")
			if !strings.Contains(p.log.String(), "the log takes nothing") {
				t.Errorf("the log does not say what is wrong:\n%s", p.log)
			}
			p.kill()

			os.Remove(other)
			remount(t, disk, 0, "size=64m")
			p = startDurable(t, dir)
			mustAsk(t, "200", "GET", p.url+"/readyz", "", "")
			total := 0
			for i, a := range boxes {
				total += len(accepted[i])
				p.expectArrived(t, a, accepted[i])
				p.sendTo(t, a, "202", `"goes on"`)
			}
			t.Logf("%d messages were accepted, and are there", total)
			p.kill()
		})
	}
}

// expectArrived expects the messages of a mailbox, and perhaps one more that got no 202.
func (p *program) expectArrived(t *testing.T, a account, want []string) {
	t.Helper()
	s, gap, body, err := p.subscribe(http.DefaultClient, a, "")
	if err != nil || gap != 0 {
		t.Fatalf("gap %d, %v", gap, err)
	}
	defer body.Close()
	timer := time.AfterFunc(10*time.Second, func() { body.Close() })
	defer timer.Stop()
	for i := range want {
		if e, err := s.event(); err != nil || e.data != want[i] {
			t.Fatalf("message %d is %.50q, %v; want %.50q", i, e.data, err, want[i])
		}
	}
}
