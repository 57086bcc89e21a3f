package serve

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"hidiff/hidiff/photo"
)

// specification is openapi.yaml, whose schemas are those of JSON Schema 2020-12.
type specification struct {
	t        *testing.T
	root     map[string]any
	compiler *jsonschema.Compiler
	seen     map[string]bool // routes that were tried
}

const at = "https://hidiff.invalid/openapi.json"

func readSpecification(t *testing.T) *specification {
	t.Helper()
	var plain any
	require.NoError(t, yaml.Unmarshal(openAPI, &plain))
	text, err := json.Marshal(plain)
	require.NoError(t, err)
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	require.NoError(t, c.AddResource(at, root))
	return &specification{t, root.(map[string]any), c, map[string]bool{}}
}

// get follows keys, and references, to an object; nil if there is none.
func (s *specification) get(from map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		from, _ = from[key].(map[string]any)
		if ref, ok := from["$ref"].(string); ok {
			from = s.get(s.root, strings.Split(ref, "/")[1:]...)
		}
	}
	return from
}

var jobIDs = regexp.MustCompile(`jobs/[^/]+`)

// RoundTrip holds what is asked and answered to the document.
func (s *specification) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	response.Body = io.NopCloser(bytes.NewReader(body))
	path := jobIDs.ReplaceAllString(r.URL.Path, "jobs/{id}")
	s.seen[r.Method+" "+path] = true
	operation := s.get(s.root, "paths", path, strings.ToLower(r.Method))
	require.NotNil(s.t, operation, "%s %s", r.Method, path)
	parameters, _ := operation["parameters"].([]any)
	for key := range r.URL.Query() {
		require.True(s.t, slices.ContainsFunc(parameters, func(p any) bool {
			parameter := s.get(map[string]any{"p": p}, "p")
			return parameter["name"] == key && parameter["in"] == "query"
		}), "%s has no parameter %s", path, key)
	}
	described := s.get(operation, "responses", strconv.Itoa(response.StatusCode))
	require.NotNil(s.t, described, "%s %s: %d: %s", r.Method, path, response.StatusCode, body)
	contents := s.get(described, "content")
	if contents == nil {
		require.Empty(s.t, body)
		return response, nil
	}
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	require.NoError(s.t, err)
	if strings.HasPrefix(kind, "image/") {
		kind = "image/*"
	}
	require.Contains(s.t, contents, kind, "%s %s %d", r.Method, path, response.StatusCode)
	if strings.HasSuffix(kind, "json") {
		s.holds(body, contents[kind].(map[string]any)["schema"].(map[string]any)["$ref"].(string))
	}
	return response, nil
}

// holds checks JSON against a schema of the document.
func (s *specification) holds(body []byte, ref string) {
	schema, err := s.compiler.Compile(at + ref)
	require.NoError(s.t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	require.NoError(s.t, err)
	require.NoError(s.t, schema.Validate(value), string(body))
}

func TestOpenAPI(t *testing.T) {
	c := readSpecification(t)
	engine := &fakeEngine{}
	s := start(t, engine, Options{MaxPixels: 10000})
	require.Equal(t, openAPI, s.do("GET", "/api/v1/openapi.yaml", nil).body)
	s.http = &http.Client{Transport: c}
	png := somePNG(t)
	raw := []string{"Content-Type", "application/octet-stream"}
	require.Equal(t, 200, s.do("POST", "/api/v1/deblur?name=a.png&seed=3&model=other&ensemble=true&format=jpg&quality=90&strip=true&background=%23ff0000", png, raw...).StatusCode)
	require.Equal(t, 200, s.do("POST", "/api/v1/deblur", png, "Content-Type", "image/png").StatusCode)
	s.do("POST", "/api/v1/deblur?seed=x", png, raw...).isProblem(t, 400, "bad-request")
	s.do("POST", "/api/v1/deblur", []byte("x"), raw...).isProblem(t, 422, "bad-photo")
	s.do("POST", "/api/v1/jobs", encode(t, picture(200, 200), photo.EncodeOptions{Format: photo.PNG}), raw...).isProblem(t, 413, "too-large")
	s.do("POST", "/api/v1/jobs", png, append(raw, "Origin", "https://evil.example")...).isProblem(t, 403, "forbidden")
	job := decoded[jobInfo](t, s.do("POST", "/api/v1/jobs?name=b.png&format=bmp", png, append(raw, "Idempotency-Key", "k")...))
	for _, line := range strings.Split(string(s.do("GET", "/api/v1/jobs/"+job.ID+"/events", nil).body), "\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			c.holds([]byte(data), "#/components/schemas/job")
		}
	}
	s.waitFor(job.ID, done)
	require.Equal(t, 200, s.do("GET", "/api/v1/jobs/"+job.ID+"/result", nil).StatusCode)
	require.Equal(t, 204, s.do("DELETE", "/api/v1/jobs/"+job.ID, nil).StatusCode)
	s.do("GET", "/api/v1/jobs/"+job.ID, nil).isProblem(t, 404, "not-found")
	require.Equal(t, 200, s.do("GET", "/api/v1/models", nil).StatusCode)
	require.Equal(t, 200, s.do("GET", "/api/v1/plan?width=40&height=20&ensemble=true", nil).StatusCode)
	s.do("GET", "/api/v1/plan?width=5000&height=1", nil).isProblem(t, 422, "does-not-fit")
	require.Equal(t, 200, s.do("GET", "/healthz", nil).StatusCode)
	require.Equal(t, 200, s.do("GET", "/metrics", nil).StatusCode)
	require.Equal(t, 200, s.do("GET", "/api/v1/openapi.yaml", nil).StatusCode)

	// The document has every route, and no other; and every code of a problem.
	var described []string
	for path, item := range c.root["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	var routed, codes []string
	for _, file := range sources(t) {
		for _, m := range regexp.MustCompile(`"((?:GET|POST|DELETE) /(?:api/|healthz|metrics)[^"]*)"`).FindAllStringSubmatch(file, -1) {
			routed = append(routed, m[1])
		}
		for _, m := range regexp.MustCompile(`problemf\(http\.\w+, "([^"]+)"`).FindAllStringSubmatch(file, -1) {
			codes = append(codes, m[1])
		}
	}
	require.ElementsMatch(t, routed, described)
	for _, route := range routed {
		require.Contains(t, c.seen, route, "the test tries every route")
	}
	listed := c.get(c.root, "components", "schemas", "problem", "properties", "code")["enum"]
	slices.Sort(codes)
	require.ElementsMatch(t, slices.Compact(codes), listed)
}

// sources are the files of the package, but for tests.
func sources(t *testing.T) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".go") && !strings.HasSuffix(entry.Name(), "_test.go") {
			data, err := os.ReadFile(entry.Name())
			require.NoError(t, err)
			out = append(out, string(data))
		}
	}
	return out
}
