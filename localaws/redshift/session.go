package redshift

import (
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	maxSessionLife = 24 * time.Hour // after which AWS closes a session even if it is used
	// rememberedSessions bounds the ids of closed sessions, which get another
	// error than ids that never were.
	rememberedSessions = 10_000
)

// session is a database session that outlives its request. It runs one
// statement at a time.
type session struct {
	id      string
	owner   submission // the call that opened it: where it is connected, and as whom
	opened  time.Time
	backend *backend // opened by the first statement; used by the job that holds the session

	// Guarded by sessions.mu.
	busy      bool
	keepAlive time.Duration // after each statement
	timer     *time.Timer   // closes the session; nil while busy
}

// sessions holds the open sessions.
type sessions struct {
	mu     sync.Mutex // guards what follows
	byID   map[string]*session
	closed map[string]bool
	order  []string // of closed, oldest first
}

func newSessions() *sessions {
	return &sessions{byID: make(map[string]*session), closed: make(map[string]bool)}
}

// claim gives the job the session that it asks for, or a new one, and marks it
// busy. It returns nil for a job without a session.
func (s *sessions) claim(j *job, limit int) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.sub.sessionID == "" {
		if j.sub.keepAlive < 0 {
			return nil, nil
		}
		return s.open(j, limit)
	}
	own := s.byID[j.sub.sessionID]
	switch {
	case own == nil && s.closed[j.sub.sessionID]:
		return nil, invalid("Session is not available.")
	case own == nil:
		return nil, invalid("Session with Id: %s is invalid.", j.sub.sessionID)
	case own.busy:
		return nil, invalid("Session with Id: %s is busy: it runs one statement at a time.", own.id)
	case j.sub.database != "" && j.sub.database != own.owner.database:
		return nil, invalid("Session with Id: %s is connected to the database %s.", own.id, own.owner.database)
	}
	if own.timer != nil && !own.timer.Stop() {
		// The timer has fired and waits for the lock.
		return nil, invalid("Session is not available.")
	}
	if j.sub.keepAlive >= 0 {
		own.keepAlive = time.Duration(j.sub.keepAlive) * time.Second
	}
	own.busy, own.timer = true, nil
	o := own.owner
	j.sub.cluster, j.sub.workgroup, j.sub.secret, j.sub.database, j.sub.user = o.cluster, o.workgroup, o.secret, o.database, o.user
	j.session = own.id
	return own, nil
}

func (s *sessions) open(j *job, limit int) (*session, error) {
	if limit > 0 && len(s.byID) >= limit {
		return nil, wire.Errorf("ActiveSessionsExceededException", "Active sessions exceeded the allowed quota (%d).", limit)
	}
	own := &session{
		id: newID(), owner: j.sub, opened: j.created, busy: true,
		keepAlive: time.Duration(j.sub.keepAlive) * time.Second,
	}
	own.owner.sqls, own.owner.params = nil, nil
	s.byID[own.id] = own
	j.session = own.id
	return own, nil
}

// release ends the job's use of the session, and the session where it is not
// to be kept.
func (s *sessions) release(own *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own.busy = false
	left := min(own.keepAlive, maxSessionLife-time.Since(own.opened))
	if left <= 0 || own.backend == nil || !own.backend.conn.usable() {
		s.drop(own)
		return
	}
	own.timer = time.AfterFunc(left, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.byID[own.id] == own && !own.busy {
			s.drop(own)
		}
	})
}

// drop closes the session. Its open transaction is rolled back.
func (s *sessions) drop(own *session) {
	delete(s.byID, own.id)
	s.closed[own.id] = true
	s.order = append(s.order, own.id)
	if len(s.order) > rememberedSessions {
		delete(s.closed, s.order[0])
		s.order = s.order[1:]
	}
	if own.backend != nil {
		// Nobody is left to tell, and the connection is gone in any case.
		_ = own.backend.close()
	}
}

// close closes every session; no job runs any more.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, own := range s.byID {
		if own.timer != nil {
			own.timer.Stop()
		}
		s.drop(own)
	}
}
