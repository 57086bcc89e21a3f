package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// problem is an error as RFC 9457 has clients told of it. Code says which one to programs, Detail to people.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`

	retry int // seconds to wait before trying again; 0 does not say
}

func (p *problem) Error() string { return p.Detail }

func problemf(status int, code, format string, args ...any) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...), Code: code}
}

func (p *problem) after(seconds int) *problem {
	p.retry = seconds
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// writeJSON drops a failure to write: the client is gone.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// What clients are told in more than one place.
var (
	errShuttingDown = problemf(http.StatusServiceUnavailable, "shutting-down", "the server is shutting down: try again when it is back").after(10)
	errNoSuchJob    = problemf(http.StatusNotFound, "not-found", "there is no such job: it was deleted, or its result was kept long enough")
)
