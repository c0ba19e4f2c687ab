package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// How long an answer may take before it is sought in another way: to a publish, which waits for disks, and to a
// question, which a server that has just started may not hear.
const (
	patience    = 5 * time.Second
	apiPatience = 2 * time.Second
)

// apiError is what JetStream says when it refuses.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return e.Description }

// Is puts refusals for want of room under [ErrFull].
func (e *apiError) Is(target error) bool {
	if target != ErrFull {
		return false
	}
	switch e.ErrCode {
	case insufficientResources, accountResourcesExceeded, storageResourcesExceeded, streamStoreFailed:
		return true
	}
	return false
}

func (e *apiError) transient() bool {
	switch e.ErrCode {
	case clusterNotAvailable, clusterNotLeader, jetStreamNotEnabled, jetStreamNotEnabledForAccount, streamOffline, tooManyRequests:
		return true
	}
	return false
}

// The error codes of JetStream that matter here; they are part of its API.
const (
	accountResourcesExceeded      = 10002
	noSuitablePeers               = 10005
	clusterNotAvailable           = 10008
	clusterNotLeader              = 10009
	insufficientResources         = 10023
	noMessageFound                = 10037
	jetStreamNotEnabledForAccount = 10039
	storageResourcesExceeded      = 10047
	streamNameInUse               = 10058
	streamNotFound                = 10059
	wrongLastSequence             = 10071
	replicasNotSupported          = 10074
	jetStreamNotEnabled           = 10076
	streamStoreFailed             = 10077
	streamOffline                 = 10118
	wrongLastSequenceInProgress   = 10164 // another publish on the subject is under way
	tooManyRequests               = 10167
)

// call asks JetStream's API, which the leader of the stream, or of the cluster, answers.
func (l *Log) call(ctx context.Context, what string, request, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	return l.retry(ctx, func() error {
		answer, err := l.request(ctx, "$JS.API."+what, body)
		if err != nil {
			return err
		}
		var refused struct {
			Error *apiError `json:"error"`
		}
		if err := json.Unmarshal(answer.Data, &refused); err != nil {
			return fmt.Errorf("an answer of JetStream that can't be read: %w", err)
		}
		if refused.Error != nil {
			return refused.Error
		}
		return json.Unmarshal(answer.Data, response)
	})
}

func (l *Log) request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	waiting, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	answer, err := l.conn.RequestWithContext(waiting, subject, body)
	if l.conn.IsClosed() {
		return nil, ErrClosed
	}
	return answer, err
}
