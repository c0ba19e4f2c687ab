package jetstream

import "testing"

func TestReplicasAlone(t *testing.T) {
	if got, err := mustOpen(t, Options{Dir: t.TempDir()}).Replicas(within(t)); got != nil || err != nil {
		t.Errorf("a log alone has the replicas %v, %v", got, err)
	}
}

// awaitReplicas waits until the log of three nodes has a leader, and so many that are offline.
func awaitReplicas(t *testing.T, l *Log, offline int) {
	t.Helper()
	until(t, "three replicas", func() bool {
		got, err := l.Replicas(within(t))
		leaders, gone, names := 0, 0, map[string]bool{}
		for _, r := range got {
			names[r.Name] = true
			if r.Leader {
				leaders++
			}
			if r.Offline {
				gone++
			}
		}
		return err == nil && leaders == 1 && gone == offline && len(got) == 3 && names["n0"] && names["n1"] && names["n2"]
	})
}
