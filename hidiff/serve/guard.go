package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/rs/cors"
)

// policy lets the page use nothing but what this server sends, and photos of its own.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guarded puts around the routes what keeps others out.
func (s *Server) guarded(routes http.Handler) (http.Handler, error) {
	sites := http.NewCrossOriginProtection()
	for _, origin := range s.options.AllowOrigins {
		if err := sites.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("%s is no origin, such as https://photos.example: %w", origin, err)
		}
	}
	sites.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problemf(http.StatusForbidden, "forbidden", "pages of other sites may not use this server").write(w)
	}))
	handler := sites.Handler(s.authenticated(routes))
	if len(s.options.AllowOrigins) > 0 {
		handler = cors.New(cors.Options{
			AllowedOrigins: s.options.AllowOrigins, AllowedMethods: []string{http.MethodGet, http.MethodPost, http.MethodDelete},
			AllowedHeaders: []string{"Authorization", "Content-Type", "Idempotency-Key"},
			ExposedHeaders: []string{"Content-Disposition", "Hidiff-Warning", "Location", "Retry-After"},
		}).Handler(handler)
	}
	return s.observed(s.paced(s.named(handler))), nil
}

// named sets the headers of every answer, and refuses requests to names that are not the server's: to those, pages of
// other sites may have led the browser.
func (s *Server) named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if len(s.options.AllowOrigins) == 0 {
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
		}
		h.Set("Cache-Control", "no-store")
		if !s.goesBy(r.Host) {
			problemf(http.StatusMisdirectedRequest, "wrong-host", "this server does not go by the name %s: use its address, or have the name allowed", quote(r.Host)).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// goesBy reports whether a Host header is an address, which no name can stand for, or a name of the server's.
func (s *Server) goesBy(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return host == "localhost" || slices.ContainsFunc(s.options.Hosts, func(known string) bool { return strings.EqualFold(known, host) })
}

// authenticated asks for the token, but for the page, which asks people for it, and for what tells nothing.
func (s *Server) authenticated(next http.Handler) http.Handler {
	if s.options.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(s.options.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		private := strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/metrics"
		if private && subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			problemf(http.StatusUnauthorized, "unauthorized", "the token is missing or wrong: send it as 'Authorization: Bearer TOKEN'").write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// clientOf tells clients apart by their address; of IPv6, by the network, in which they may choose theirs.
func clientOf(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address := at.Addr().Unmap()
	bits := 64
	if address.Is4() {
		bits = 32
	}
	network, _ := address.WithZone("").Prefix(bits)
	return network.String()
}
