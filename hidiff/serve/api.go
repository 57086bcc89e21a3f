package serve

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

//go:embed page
var pageFiles embed.FS

//go:embed openapi.yaml
var openAPI []byte

const jobsPath = "/api/v1/jobs/"

// routes is everything that is answered, without what keeps others out.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := answer(w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	handle("POST /api/v1/deblur", s.deblur)
	handle("POST /api/v1/jobs", s.postJob)
	handle("GET /api/v1/jobs/{id}", s.getJob)
	handle("DELETE /api/v1/jobs/{id}", s.deleteJob)
	handle("GET /api/v1/jobs/{id}/events", s.events)
	handle("GET /api/v1/jobs/{id}/result", s.result)
	handle("GET /api/v1/models", s.listModels)
	handle("GET /api/v1/plan", s.getPlan)
	handle("GET /api/v1/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(openAPI)
		return nil
	})
	handle("GET /healthz", s.health)
	mux.Handle("GET /metrics", s.metrics.handler())
	page, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // page is embedded
	}
	mux.Handle("GET /{$}", http.FileServerFS(page))
	for _, name := range []string{"page.css", "page.js", "backend.js", "compare.js", "zip.js", "icon.svg"} {
		mux.Handle("GET /"+name, http.FileServerFS(page))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refused := &refusal{header: http.Header{}}
		mux.ServeHTTP(refused, r)
		if allowed := refused.header.Get("Allow"); allowed != "" {
			w.Header().Set("Allow", allowed)
			problemf(http.StatusMethodNotAllowed, "method", "this address takes %s, not %s", allowed, quote(r.Method)).write(w)
			return
		}
		problemf(http.StatusNotFound, "not-found", "there is nothing at this address: /api/v1/openapi.yaml says what there is").write(w)
	})
}

// refusal is where the mux says, in plain text, which methods an address takes.
type refusal struct{ header http.Header }

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) Write(p []byte) (int, error) { return len(p), nil }
func (r *refusal) WriteHeader(int)             {}

// fail tells the client of an error, if it is still there.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *problem
	switch {
	case errors.As(err, &known):
		known.write(w)
	case r.Context().Err() == nil:
		problemf(http.StatusInternalServerError, "failed", "%v", err).write(w)
	}
}

// submit reads a photo and puts it into the queue. Where there is no place, it says so before it reads.
func (s *Server) submit(w http.ResponseWriter, r *http.Request) (*job, error) {
	client := clientOf(r)
	if err := s.queue.room(client); err != nil && r.Header.Get("Idempotency-Key") == "" {
		return nil, err
	}
	request, data, err := s.read(w, r)
	if err != nil {
		return nil, err
	}
	created := newJob(request, client, data)
	j, err := s.queue.add(created)
	if j != created { // nothing was added
		created.cancel()
		s.queue.give(int64(len(data)))
	}
	return j, err
}

// deblur restores a photo while the client waits. Whoever goes away frees the place.
func (s *Server) deblur(w http.ResponseWriter, r *http.Request) error {
	j, err := s.submit(w, r)
	if err != nil {
		return err
	}
	defer s.queue.watch(j)()
	for {
		info, changed := s.queue.look(j)
		if info.State.ended() {
			return s.sendResult(w, j)
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
}

func (s *Server) postJob(w http.ResponseWriter, r *http.Request) error {
	j, err := s.submit(w, r)
	if err != nil {
		return err
	}
	info, _ := s.queue.look(j)
	w.Header().Set("Location", jobsPath+j.id)
	writeJSON(w, http.StatusAccepted, "application/json", info)
	return nil
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request) error {
	j, err := s.queue.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	info, _ := s.queue.look(j)
	writeJSON(w, http.StatusOK, "application/json", info)
	return nil
}

func (s *Server) deleteJob(w http.ResponseWriter, r *http.Request) error {
	j, err := s.queue.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	s.queue.remove(j)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) result(w http.ResponseWriter, r *http.Request) error {
	j, err := s.queue.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.sendResult(w, j)
}

func (s *Server) sendResult(w http.ResponseWriter, j *job) error {
	result, err := s.queue.fetch(j)
	if err != nil {
		return err
	}
	info, _ := s.queue.look(j)
	h := w.Header()
	h.Set("Content-Type", "image/"+string(j.format))
	h.Set("Content-Length", strconv.Itoa(len(result)))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": j.output}))
	for _, warning := range info.Warnings {
		h.Add("Hidiff-Warning", strings.Trim(strconv.QuoteToASCII(warning), `"`))
	}
	control := http.NewResponseController(w)
	for part := 256 << 10; len(result) > 0; result = result[min(part, len(result)):] {
		_ = control.SetWriteDeadline(time.Now().Add(s.patience)) // where it cannot be set, nothing is sent over a network
		if _, err := w.Write(result[:min(part, len(result))]); err != nil {
			return nil // the client is gone
		}
	}
	return nil
}

// modelInfo is a model in JSON.
type modelInfo struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	License     string `json:"license,omitempty"`
	Hash        string `json:"hash"`
	Parameters  int    `json:"parameters"`
	Default     bool   `json:"default"`
}

func (s *Server) listModels(w http.ResponseWriter, _ *http.Request) error {
	list := struct {
		Models []modelInfo `json:"models"`
	}{}
	for i, m := range s.models {
		list.Models = append(list.Models, modelInfo{m.Name, m.Description, m.License, m.Hash, m.Parameters, i == 0})
	}
	writeJSON(w, http.StatusOK, "application/json", list)
	return nil
}

// getPlan says how a photo of a size would be restored. While another one is, that may take as long.
func (s *Server) getPlan(w http.ResponseWriter, r *http.Request) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("the address's parameters cannot be read")
	}
	var size [2]int
	for i, side := range []string{"width", "height"} {
		size[i], err = strconv.Atoi(values.Get(side))
		if err != nil || size[i] < 1 {
			return badRequest("%s=%s: it must be a number of pixels", side, quote(values.Get(side)))
		}
		values.Del(side)
	}
	if size[0] > int(s.options.MaxPixels)/size[1] {
		return problemf(http.StatusRequestEntityTooLarge, "too-large", "%d×%d pixels are more than the %d this server takes: shrink the picture", size[0], size[1], s.options.MaxPixels)
	}
	request, err := s.parameters(values)
	if err != nil {
		return err
	}
	plan, err := request.model.plan(r.Context(), size[0], size[1], request.restoreOptions())
	if err != nil {
		return planProblem(fmt.Sprintf("%d×%d", size[0], size[1]), err)
	}
	writeJSON(w, http.StatusOK, "application/json", plan)
	return nil
}

// health fails while the server shuts down, and where the last photo could not be restored: a GPU that is lost stays so.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	if err := s.queue.room(""); errors.Is(err, errShuttingDown) {
		return err
	}
	if !s.metrics.healthy.Load() {
		return problemf(http.StatusServiceUnavailable, "unhealthy", "the last photo could not be restored")
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
	return nil
}
