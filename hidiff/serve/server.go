// Package serve offers hidiff's models over HTTP: a page for people, and an API for programs, which openapi.yaml describes.
// One photo is restored at a time; others wait in a bounded queue, from which clients take turns. Photos and results are in
// memory alone.
//
//	s, err := serve.New(serve.Options{Models: []serve.Model{{Name: "small", Engine: model}}})
//	…
//	l, err := net.Listen("tcp", "127.0.0.1:8470")
//	…
//	err = s.Serve(ctx, l) // until ctx ends and the photo on the GPU is finished
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Options say what is served, and to whom.
type Options struct {
	Models []Model // of different names; the first is the default

	Queue     int           // photos that may wait; 0 is 16
	MaxUpload int64         // bytes of a file; 0 is 256 MiB
	MaxPixels int64         // of a photo; 0 is 128 Mi
	MaxHeld   int64         // bytes of files and results in memory; 0 is 1 GiB. The last result may exceed it.
	Keep      time.Duration // that a result is kept for; 0 is 15 minutes
	MaxConns  int           // connections; 0 is 256

	Token        string   // that clients must send as a bearer token; "" asks for none
	Hosts        []string // names that the server goes by, besides localhost and all addresses
	AllowOrigins []string // of other sites whose pages may use the API, such as https://photos.example
	TLS          *tls.Config
	Logger       *slog.Logger // nil is silent. Names of photos and of jobs are never logged.
}

// Server is the API and the page.
type Server struct {
	options  Options
	models   []*Model
	queue    *queue
	metrics  *metrics
	handler  http.Handler
	log      *slog.Logger
	patience time.Duration // for headers, for the start of a body, and for each part of an answer
}

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Queue < 0 || o.MaxUpload < 0 || o.MaxPixels < 0 || o.MaxHeld < 0 || o.Keep < 0 || o.MaxConns < 0 {
		return nil, errors.New("a limit of the server is negative")
	}
	setDefault(&o.Queue, 16)
	setDefault(&o.MaxUpload, 256<<20)
	setDefault(&o.MaxPixels, 128<<20)
	setDefault(&o.MaxHeld, 1<<30)
	setDefault(&o.Keep, 15*time.Minute)
	setDefault(&o.MaxConns, 256)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Models) == 0 {
		return nil, errors.New("there is no model to serve")
	}
	s := &Server{options: o, queue: newQueue(o.Queue, o.MaxHeld, o.Keep), log: o.Logger, patience: 30 * time.Second}
	for _, m := range o.Models {
		if s.model(m.Name) != nil {
			return nil, fmt.Errorf("two models are called %s: clients could not tell them apart", m.Name)
		}
		s.models = append(s.models, &m)
	}
	s.metrics = newMetrics(s.queue)
	var err error
	s.handler, err = s.guarded(s.routes())
	return s, err
}

func setDefault[T comparable](value *T, to T) {
	if *value == *new(T) {
		*value = to
	}
}

func (s *Server) model(name string) *Model {
	for _, m := range s.models {
		if m.Name == name {
			return m
		}
	}
	return nil
}

func (s *Server) modelNames() (names []string) {
	for _, m := range s.models {
		names = append(names, m.Name)
	}
	return names
}

// Serve serves until ctx ends. Then it takes no more photos, fails those that wait, finishes the one that is being restored,
// gives its client some seconds to fetch it, and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s.handler, TLSConfig: s.options.TLS, ReadHeaderTimeout: s.patience, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	defer server.Close()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		s.work()
	}()
	defer s.queue.close()
	ended := make(chan error, 1)
	go func() {
		l := netutil.LimitListener(l, s.options.MaxConns)
		if s.options.TLS != nil {
			ended <- server.ServeTLS(l, "", "")
		} else {
			ended <- server.Serve(l)
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	s.queue.close()
	<-worked
	for patience := 50; patience > 0 && s.queue.unfetched(); patience-- {
		time.Sleep(100 * time.Millisecond)
	}
	answering, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = server.Shutdown(answering) // those who do not listen are not waited for
	return nil
}
