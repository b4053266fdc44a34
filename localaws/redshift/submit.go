package redshift

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// submitReply is the reply of ExecuteStatement and BatchExecuteStatement.
type submitReply struct {
	ID                string `json:"Id"`
	ClusterIdentifier string `json:",omitempty"`
	WorkgroupName     string `json:",omitempty"`
	SecretArn         string `json:",omitempty"`
	Database          string
	DbUser            string
	SessionID         string `json:"SessionId,omitempty"`
	CreatedAt         float64
}

func (s *Service) executeStatement(_ context.Context, in members) (any, error) {
	return s.submit(in, "ExecuteStatement")
}

func (s *Service) batchExecuteStatement(_ context.Context, in members) (any, error) {
	return s.submit(in, "BatchExecuteStatement")
}

// submit checks the call and starts its statements, which then run whether or
// not the caller stays.
func (s *Service) submit(in members, operation string) (any, error) {
	sub, err := readSubmission(in, operation)
	if err != nil {
		return nil, err
	}
	if name, ok := unusedParameter(&sub, s.engine.dialect()); ok {
		return nil, invalid("Parameters list contains unused parameters. Unused parameters: [%s]", name)
	}
	if sub.cluster != "" && s.opts.Named != nil {
		s.opts.Named(sub.cluster)
	}
	active, open := 0, 0
	if s.opts.Limits {
		active, open = maxActive, maxSessions
	}
	j := newJob(newID(), sub, time.Now())
	ctx, cancel := context.WithCancelCause(s.ctx)
	j.cancel = cancel
	var own *session
	known, err := s.jobs.admit(j, active, func() error {
		own, err = s.sessions.claim(j, open)
		if err == nil {
			s.running.Add(1)
		}
		return err
	})
	switch {
	case err != nil:
		cancel(nil)
		if errors.Is(err, errClosing) {
			return nil, &wire.Error{Code: "InternalServerException", Message: err.Error(), Status: http.StatusInternalServerError}
		}
		return nil, err
	case known != nil:
		cancel(nil)
		j = known
	default:
		go s.run(ctx, j, own)
	}
	return submitReply{
		ID: j.id, ClusterIdentifier: j.sub.cluster, WorkgroupName: j.sub.workgroup, SecretArn: j.sub.secret,
		Database: j.sub.database, DbUser: j.sub.user, SessionID: j.session, CreatedAt: epoch(j.created),
	}, nil
}
