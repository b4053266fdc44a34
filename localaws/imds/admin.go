package imds

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxSettings bounds the body that sets the settings, in bytes.
const maxSettings = 1 << 20

// Admin sets what the metadata say, for tests and demos; it is to be served
// under /_localaws/imds. GET lists the settings by their path under meta-data;
// PUT takes a JSON object of those to change (a string, or for notices an
// object; null takes one away); DELETE goes back to the defaults.
func (s *Service) Admin() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			s.list(w)
		case http.MethodPut:
			s.set(w, r)
		case http.MethodDelete:
			s.mu.Lock()
			s.settings = defaults()
			s.mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", "GET, PUT, DELETE")
			problems(w, http.StatusMethodNotAllowed, errors.New("use GET, PUT or DELETE"))
		}
	})
}

func (s *Service) list(w http.ResponseWriter) {
	s.mu.Lock()
	now := maps.Clone(s.settings)
	s.mu.Unlock()
	text, err := json.MarshalIndent(now, "", "  ")
	if err != nil { // strings always marshal
		text = []byte("{}")
	}
	write(w, http.StatusOK, "application/json", string(text)+"\n")
}

// set changes the settings of the body, or none if any is wrong.
func (s *Service) set(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSettings))
	if err != nil {
		problems(w, http.StatusRequestEntityTooLarge, fmt.Errorf("read the settings: %w", err))
		return
	}
	var in map[string]json.RawMessage
	if err := json.Unmarshal(body, &in); err != nil || in == nil {
		problems(w, http.StatusBadRequest, errors.New(`the body must be a JSON object, like {"autoscaling/target-lifecycle-state":"Terminated"}`))
		return
	}
	texts := map[string]string{}
	var wrong []error
	for _, path := range slices.Sorted(maps.Keys(in)) {
		text, err := settingOf(path, in[path])
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%q: %w", path, err))
		}
		texts[path] = text
	}
	if len(wrong) > 0 {
		problems(w, http.StatusBadRequest, wrong...)
		return
	}
	s.mu.Lock()
	for path, text := range texts {
		if text == "" {
			delete(s.settings, path)
		} else {
			s.settings[path] = text
		}
	}
	s.mu.Unlock()
	s.list(w)
}

// settingOf is the text of a setting; "" takes it away.
func settingOf(path string, raw json.RawMessage) (string, error) {
	if path == "" || strings.Trim(path, "/") != path || strings.Contains(path, "//") {
		return "", errors.New("write the path under meta-data, like spot/instance-action")
	}
	if bytes.Equal(raw, []byte("null")) {
		return "", nil
	}
	var text string
	if raw[0] == '{' {
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return "", err
		}
		text = compact.String()
	} else if json.Unmarshal(raw, &text) != nil || strings.TrimSpace(text) == "" {
		return "", errors.New("give a string, an object, or null to take it away")
	}
	return text, checkNotice(path, text)
}

// checkNotice checks the settings that are JSON, so that a mistake shows here and
// not as a worker that does not react.
func checkNotice(path, text string) error {
	switch path {
	case "spot/instance-action":
		var n struct {
			Action string    `json:"action"`
			Time   time.Time `json:"time"`
		}
		if json.Unmarshal([]byte(text), &n) != nil || !slices.Contains([]string{"terminate", "stop", "hibernate"}, n.Action) || n.Time.IsZero() {
			return errors.New(`a notice is like {"action":"terminate","time":"2026-11-23T08:00:00Z"}; actions are terminate, stop and hibernate`)
		}
	case "events/recommendations/rebalance":
		var n struct {
			NoticeTime time.Time `json:"noticeTime"`
		}
		if json.Unmarshal([]byte(text), &n) != nil || n.NoticeTime.IsZero() {
			return errors.New(`a recommendation is like {"noticeTime":"2026-11-23T08:00:00Z"}`)
		}
	}
	return nil
}

// problems answers with all that is wrong.
func problems(w http.ResponseWriter, status int, wrong ...error) {
	texts := make([]string, len(wrong))
	for i, err := range wrong {
		texts[i] = err.Error()
	}
	body, err := json.Marshal(map[string][]string{"problems": texts})
	if err != nil { // strings always marshal
		body = []byte("{}")
	}
	write(w, status, "application/json", string(body)+"\n")
}
