package serve

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are a registry of their own, so that several servers may be in one process.
type metrics struct {
	registry *prometheus.Registry
	photos   *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	running  prometheus.Gauge
	requests *prometheus.CounterVec
	answers  *prometheus.HistogramVec
	healthy  atomic.Bool // whether the last photo could be restored
}

func newMetrics(q *queue) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		photos:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hidiff_photos_total", Help: "Photos that were taken from the queue, by how they ended."}, []string{"model", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hidiff_photo_seconds", Help: "Time from the queue to the result.",
			Buckets: prometheus.ExponentialBuckets(0.1, 2, 14)}, []string{"model"}),
		running:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "hidiff_running", Help: "Photos that are being restored, 0 or 1."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hidiff_http_requests_total", Help: "Requests by route and status."}, []string{"route", "status"}),
		answers: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hidiff_http_request_seconds", Help: "Time of requests by route.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)}, []string{"route"}),
	}
	m.healthy.Store(true)
	m.registry.MustRegister(m.photos, m.seconds, m.running, m.requests, m.answers,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hidiff_waiting", Help: "Photos in the queue."}, func() float64 {
			waiting, _ := q.sizes()
			return float64(waiting)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hidiff_held_bytes", Help: "Bytes of files and results in memory."}, func() float64 {
			_, held := q.sizes()
			return float64(held)
		}),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// observed counts and logs requests by their route: paths name jobs, and parameters photos.
func (s *Server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		route := r.Pattern
		if route == "" {
			route = "none"
		}
		took := time.Since(began).Seconds()
		s.metrics.requests.WithLabelValues(route, strconv.Itoa(seen.status)).Inc()
		s.metrics.answers.WithLabelValues(route).Observe(took)
		s.log.Debug("request", "route", route, "status", seen.status, "seconds", took)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
