package localaws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/localaws/fault"
)

// adminPath is where the admin API lives; no bucket name may start with "_".
const adminPath = "/_localaws"

func (s *Server) handleAdmin(mux *http.ServeMux) {
	mux.HandleFunc("GET "+adminPath, s.index)
	mux.HandleFunc("GET "+adminPath+"/{$}", s.index)
	mux.HandleFunc("GET "+adminPath+"/health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET "+adminPath+"/faults", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.faults.List())
	})
	mux.HandleFunc("PUT "+adminPath+"/faults", s.putFaults)
	mux.HandleFunc("DELETE "+adminPath+"/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.faults.Clear()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+adminPath+"/calls", s.listCalls)
	mux.HandleFunc("DELETE "+adminPath+"/calls", func(w http.ResponseWriter, _ *http.Request) {
		s.calls.clear()
		w.WriteHeader(http.StatusNoContent)
	})
	if s.imds != nil {
		mux.Handle(adminPath+"/imds", s.imds)
		mux.Handle(adminPath+"/imds/", s.imds)
	}
}

// index says what is served, for one who finds the port with a browser.
func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	names := make([]string, 0, len(s.services))
	for _, service := range s.services {
		names = append(names, service.Name())
	}
	admin := []string{
		"GET /_localaws/health",
		"GET|PUT|DELETE /_localaws/faults",
		"GET|DELETE /_localaws/calls?service=&operation=&since=&limit=",
	}
	if s.imds != nil {
		admin = append(admin, "/_localaws/imds")
	}
	writeJSON(w, http.StatusOK, map[string]any{"services": names, "admin": admin, "limits": s.config.Limits})
}

// problems is the body of a refused admin call.
type problems struct {
	Problems []string `json:"problems"`
}

// maxFaultsBody bounds a list of faults.
const maxFaultsBody = 1 << 20

// putFaults replaces the faults by those of the body, or lists everything that
// is wrong with it and changes nothing.
func (s *Server) putFaults(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFaultsBody))
	if err != nil {
		writeJSON(w, http.StatusBadRequest, problems{[]string{"read the body: " + err.Error()}})
		return
	}
	var items []json.RawMessage
	if err := json.Unmarshal(body, &items); err != nil {
		writeJSON(w, http.StatusBadRequest, problems{[]string{`not a JSON array of faults like [{"service":"kinesis","operation":"GetRecords","fault":"throttle","count":3}]: ` + err.Error()}})
		return
	}
	faults := make([]fault.Fault, len(items))
	var wrong []string
	for i, item := range items {
		decoder := json.NewDecoder(bytes.NewReader(item))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&faults[i]); err != nil {
			wrong = append(wrong, fmt.Sprintf("fault %d: %v", i, err))
			continue
		}
		for _, p := range faults[i].Problems() {
			wrong = append(wrong, fmt.Sprintf("fault %d: %s", i, p))
		}
	}
	if len(wrong) == 0 {
		if err := s.faults.Put(faults); err != nil {
			wrong = []string{err.Error()}
		}
	}
	if len(wrong) > 0 {
		writeJSON(w, http.StatusBadRequest, problems{wrong})
		return
	}
	writeJSON(w, http.StatusOK, s.faults.List())
}

func (s *Server) listCalls(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f := callFilter{service: query.Get("service"), operation: query.Get("operation")}
	var wrong []string
	if text := query.Get("since"); text != "" {
		var err error
		if f.since, err = strconv.ParseUint(text, 10, 64); err != nil {
			if f.after, err = time.Parse(time.RFC3339Nano, text); err != nil {
				wrong = append(wrong, fmt.Sprintf("since %q: give the seq of a call, or a time like 2026-01-02T15:04:05Z", text))
			}
		}
	}
	if text := query.Get("limit"); text != "" {
		var err error
		if f.limit, err = strconv.Atoi(text); err != nil || f.limit < 1 {
			wrong = append(wrong, fmt.Sprintf("limit %q: give a number from 1", text))
		}
	}
	if len(wrong) > 0 {
		writeJSON(w, http.StatusBadRequest, problems{wrong})
		return
	}
	writeJSON(w, http.StatusOK, s.calls.list(f))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	_ = encoder.Encode(v) // the client may be gone
}
