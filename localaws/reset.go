package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// dataOf are the names in a data directory that are ours.
var dataOf = []string{"kinesis", "s3", "warehouse.duckdb", "warehouse.duckdb.wal"}

// reset closes all services, removes what they kept and opens them anew, with what the
// settings name. Tables in a PostgreSQL server stay: they are somebody's.
func (s *Server) reset(ctx context.Context) (services []wire.Service, kept []string, err error) {
	if err := s.Close(); err != nil {
		return nil, nil, err
	}
	s.closers = nil
	if s.config.DataDir != "" {
		for _, name := range dataOf {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.config.DataDir, name)))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("empty the data directory: %w", err)
		}
	}
	if strings.HasPrefix(s.config.Warehouse, "postgres") {
		kept = append(kept, "the tables in your PostgreSQL server: drop them yourself")
	}
	s.offset.Store(int64(s.config.ClockOffset))
	services, err = s.open(ctx)
	return services, kept, err
}

// clock answers /_localaws/clock: GET tells how far AWS's clock is ahead of this
// machine's, PUT {"offset":"2m"} sets it.
func (s *Server) clock() http.Handler {
	tell := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"offset": time.Duration(s.offset.Load()).String(), "now": s.now().UTC().Format(time.RFC3339Nano),
		})
	}
	refuse := func(w http.ResponseWriter, why string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string][]string{"problems": {why}})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { tell(w) })
	mux.HandleFunc("PUT /", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Offset *string }
		const most = 1 << 10
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, most)).Decode(&in); err != nil || in.Offset == nil {
			refuse(w, `give an offset like {"offset":"2m"}`)
			return
		}
		d, err := time.ParseDuration(*in.Offset)
		if err != nil {
			refuse(w, fmt.Sprintf("offset %q: not a duration like \"2m\" or \"-30s\"", *in.Offset))
			return
		}
		s.offset.Store(int64(d))
		tell(w)
	})
	return mux
}
