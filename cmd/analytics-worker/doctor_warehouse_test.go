package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// TestCopyRoleIsJudgedByItsText: the texts are those that Redshift has been seen
// to answer.
func TestCopyRoleIsJudgedByItsText(t *testing.T) {
	const bucket = "s3://staging/loads"
	refused := func(kind error, text string) error {
		return fmt.Errorf("run: %w", &warehouse.StatementError{Index: 1, Message: text, Kind: kind})
	}
	for name, c := range map[string]struct {
		err  error
		want level
	}{
		"nothing there":      {refused(nil, "ERROR: The specified S3 prefix 'x' does not exist"), levelOK},
		"no such key":        {refused(warehouse.ErrUnavailable, "ERROR: S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey"), levelOK},
		"role not attached":  {refused(warehouse.ErrDenied, "ERROR: User arn:aws:redshift:us-east-1:1:dbuser:c/u is not authorized to assume IAM Role arn:aws:iam::1:role/r"), levelFail},
		"bucket denied":      {refused(warehouse.ErrDenied, "ERROR: S3ServiceException:Access Denied,Status 403,Error AccessDenied"), levelFail},
		"no bucket":          {refused(warehouse.ErrUnavailable, "ERROR: S3ServiceException:The specified bucket does not exist,Status 404,Error NoSuchBucket"), levelFail},
		"no default role":    {refused(nil, "ERROR: No default IAM role is associated with the cluster"), levelFail},
		"cancelled":          {refused(warehouse.ErrUnavailable, "ERROR: Query (150) canceled on user's request"), levelWarn},
		"no answer":          {errors.New("no answer within 30s"), levelWarn},
		"nothing was copied": {nil, levelWarn},
	} {
		if got := copyRoleFinding(bucket, c.err); got.Level != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
	for name, c := range map[string]struct {
		err  error
		want level
		says string
	}{
		"may read":     {refused(warehouse.ErrUnavailable, "ERROR: Problem reading manifest file - S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey"), levelOK, "and read there"},
		"may list":     {refused(warehouse.ErrUnavailable, "ERROR: Problem reading manifest file - S3ServiceException:Access Denied,Status 403,Error AccessDenied"), levelFail, "not read there"},
		"says neither": {refused(nil, "ERROR: COPY with MANIFEST parameter requires full path of an S3 object."), levelOK, "not found out"},
		"no answer":    {errors.New("no answer within 30s"), levelOK, "not found out"},
	} {
		if got := manifestFinding(bucket, c.err); got.Level != c.want || !strings.Contains(got.Detail, c.says) {
			t.Errorf("%s: %+v, want %s that says %q", name, got, c.want, c.says)
		}
	}
}

func TestDatabaseIsJudged(t *testing.T) {
	if f := collationFinding("dev", "case_sensitive"); f != nil {
		t.Errorf("a database that compares with case: %+v", f)
	}
	if f := collationFinding("dev", "case_insensitive"); len(f) != 1 || f[0].Level != levelFail {
		t.Errorf("a database that compares without case: %+v", f)
	}
}

func TestLockIsJudged(t *testing.T) {
	now := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	reader := lockHold{"7", "bi", "AccessShareLock", now.Add(-5 * time.Minute), true}
	load := lockHold{"8", "loader", "AccessExclusiveLock", now.Add(-5 * time.Second), true}
	old := lockHold{"8", "loader", "AccessExclusiveLock", now.Add(-5 * time.Minute), true}
	waits := lockHold{"9", "loader", "AccessExclusiveLock", now.Add(-4 * time.Minute), false}
	for name, c := range map[string]struct {
		held []lockHold
		want level
		says string
	}{
		"nobody":              {nil, levelOK, "nobody holds"},
		"a load":              {[]lockHold{load}, levelOK, "as loads do"},
		"loads queue":         {[]lockHold{load, waits}, levelOK, "as loads do"},
		"a load that is long": {[]lockHold{old}, levelWarn, "process 8 of user loader"},
		"a reader":            {[]lockHold{reader}, levelWarn, "process 7 of user bi"},
		"a reader in the way": {[]lockHold{reader, waits}, levelFail, "loads wait for it"},
		"out of sight":        {[]lockHold{waits}, levelWarn, "does not see who holds it"},
	} {
		f := lockFindings(c.held, now)
		if len(f) != 1 || f[0].Level != c.want || !strings.Contains(f[0].Detail, c.says) {
			t.Errorf("%s: %+v, want %s that says %q", name, f, c.want, c.says)
		}
	}
}

// TestDoctorNamesWhoHoldsTheLoadLock: a session reads worker_load_lock and stays
// in its transaction, so that all loads wait. doctor neither waits for it nor calls
// the tables unknown, and names the session.
func TestDoctorNamesWhoHoldsTheLoadLock(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := simulation.NewWorld(ctx, simulation.Options{Warehouse: pgtest.Start(t), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	m := &machine{t: t, env: sessionEnvironment("http://"+w.Addr(), t.TempDir())}
	if out, _ := m.run("doctor"); !strings.Contains(out, "OK    load lock     nobody holds worker_load_lock") {
		t.Errorf("before: %s", out)
	}
	session := dataAPI(t, w, `"ClusterIdentifier":"c","DbUser":"bi","Database":"analytics","SessionKeepAliveSeconds":600,"Sql":"BEGIN"`)
	dataAPI(t, w, `"SessionId":"`+session+`","Sql":"SELECT COUNT(*) FROM worker_load_lock"`)
	out := m.doctorSays(ctx, "holds worker_load_lock (AccessShareLock)")
	if !strings.Contains(out, "WARN  load lock") || !strings.Contains(out, "OK    tables") || !strings.Contains(out, "pg_terminate_backend(") {
		t.Errorf("a reader: %s", out)
	}
	loaded := make(chan error, 1)
	go func() {
		_, err := w.DB.Run(ctx, warehouse.Token(), []string{"LOCK TABLE worker_load_lock", "SELECT 1"})
		loaded <- err
	}()
	if out = m.doctorSays(ctx, "loads wait for it"); !strings.Contains(out, "FAIL  load lock") || !strings.Contains(out, "OK    tables") {
		t.Errorf("a reader and a load: %s", out)
	}
	dataAPI(t, w, `"SessionId":"`+session+`","Sql":"ROLLBACK"`)
	if err := <-loaded; err != nil {
		t.Error(err)
	}
}

// doctorSays asks doctor until it says so, and returns all that it said.
func (m *machine) doctorSays(ctx context.Context, text string) (out string) {
	m.t.Helper()
	err := simulation.Await(ctx, "doctor says: "+text, func() (bool, error) {
		out, _ = m.run("doctor")
		return strings.Contains(out, text), nil
	})
	if err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	return out
}

// dataAPI submits a statement and returns the session that it is in. A session
// takes one statement at a time, so it is asked until it is free.
func dataAPI(t *testing.T, w *simulation.World, members string) (session string) {
	t.Helper()
	err := simulation.Await(t.Context(), "the session takes the statement", func() (bool, error) {
		r, err := http.NewRequest(http.MethodPost, "http://"+w.Addr()+"/", strings.NewReader("{"+members+"}"))
		if err != nil {
			return false, err
		}
		r.Header.Set("X-Amz-Target", "RedshiftData.ExecuteStatement")
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		client := w.Client(nil)
		defer client.CloseIdleConnections()
		answer, err := client.Do(r)
		if err != nil {
			return false, err
		}
		defer answer.Body.Close()
		var reply struct{ SessionId, Message string }
		if err := json.NewDecoder(answer.Body).Decode(&reply); err != nil {
			return false, err
		}
		session = reply.SessionId
		if answer.StatusCode != http.StatusOK && !strings.Contains(reply.Message, "busy") {
			return false, errors.New(reply.Message)
		}
		return answer.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return session
}
