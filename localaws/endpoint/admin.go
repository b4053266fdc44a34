package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// adminPath is where the admin API lives; no bucket name may start with "_".
const adminPath = "/_localaws"

func (e *Endpoint) handleAdmin(mounted map[string]http.Handler) {
	mux := e.admin
	mux.HandleFunc("GET "+adminPath, e.index)
	mux.HandleFunc("GET "+adminPath+"/{$}", e.index)
	mux.HandleFunc("GET "+adminPath+"/health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET "+adminPath+"/faults", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, e.faults.List())
	})
	mux.HandleFunc("PUT "+adminPath+"/faults", e.putFaults)
	mux.HandleFunc("DELETE "+adminPath+"/faults", func(w http.ResponseWriter, _ *http.Request) {
		e.faults.Clear()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+adminPath+"/calls", e.listCalls)
	mux.HandleFunc("DELETE "+adminPath+"/calls", func(w http.ResponseWriter, _ *http.Request) {
		e.calls.clear()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST "+adminPath+"/reset", e.resetAll)
	for _, name := range slices.Sorted(maps.Keys(mounted)) {
		path := adminPath + "/" + name
		mux.Handle(path, mounted[name])
		mux.Handle(path+"/", mounted[name])
		e.mounted = append(e.mounted, path)
	}
}

// index says what is served, for one who finds the port with a browser.
func (e *Endpoint) index(w http.ResponseWriter, _ *http.Request) {
	services := *e.services.Load()
	names, operations := make([]string, 0, len(services)), make(map[string][]string, len(services))
	for _, service := range services {
		names = append(names, service.Name())
		operations[service.Name()] = service.Operations()
	}
	admin := []string{
		"GET /_localaws/health",
		"GET|PUT|DELETE /_localaws/faults",
		"GET|DELETE /_localaws/calls?service=&operation=&since=&limit=",
		"POST /_localaws/reset",
	}
	writeJSON(w, http.StatusOK, map[string]any{"services": names, "operations": operations, "admin": append(admin, e.mounted...)})
}

// resetAll empties everything, as for the next test: streams, objects, tables,
// statements, metrics, faults and the log of calls. Calls that are under way end first.
func (e *Endpoint) resetAll(w http.ResponseWriter, r *http.Request) {
	if e.reset == nil {
		writeJSON(w, http.StatusNotImplemented, problems{[]string{"this endpoint cannot be reset"}})
		return
	}
	e.faults.Clear() // what waits for one to end need not be waited for
	e.serving.Lock()
	defer e.serving.Unlock()
	services, kept, err := e.reset(context.WithoutCancel(r.Context()))
	if err != nil {
		e.log.Error("the reset failed; start the local AWS anew", "error", err)
		writeJSON(w, http.StatusInternalServerError, problems{[]string{"reset: " + err.Error() + "; start the local AWS anew"}})
		return
	}
	e.services.Store(&services)
	e.faults.Clear()
	e.calls.clear()
	if kept == nil {
		kept = []string{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"status": "empty", "kept": kept})
}

// problems is the body of a refused admin call.
type problems struct {
	Problems []string `json:"problems"`
}

// maxFaultsBody bounds a list of faults.
const maxFaultsBody = 1 << 20

// putFaults replaces the faults by those of the body, or lists everything that
// is wrong with it and changes nothing.
func (e *Endpoint) putFaults(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFaultsBody))
	if err != nil {
		writeJSON(w, http.StatusBadRequest, problems{[]string{"read the body: " + err.Error()}})
		return
	}
	var items []json.RawMessage // null is an empty list: so Go writes a list that was never filled
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
		if err := e.faults.Put(faults); err != nil {
			wrong = []string{err.Error()}
		}
	}
	if len(wrong) > 0 {
		writeJSON(w, http.StatusBadRequest, problems{wrong})
		return
	}
	writeJSON(w, http.StatusOK, e.faults.List())
}

func (e *Endpoint) listCalls(w http.ResponseWriter, r *http.Request) {
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
	writeJSON(w, http.StatusOK, e.calls.list(f))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // the client may be gone
}
