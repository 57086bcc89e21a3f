package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hidiff/hidiff"
	"hidiff/hidiff/models"
	"hidiff/hidiff/serve"
)

// serveOptions are the options of serve as given.
type serveOptions struct {
	Listen    string
	Open      bool
	Weights   []string // each a model of its own
	GPU       string
	Memory    byteSize
	Queue     int
	MaxUpload byteSize
	MaxPixels int64
	MaxHeld   byteSize
	Keep      time.Duration
	TokenFile string
	NoAuth    bool
	Hosts     []string
	Origins   []string
	Cert, Key string
}

const serveLong = `Deblur photos in the browser, and for other programs over HTTP.

The page is at the address that is printed, http://127.0.0.1:8470/ unless --listen says otherwise. Below
/api/v1 is the API; /api/v1/openapi.yaml describes it. The same photo, name, seed and model give what deblur
writes. One photo is restored at a time; others wait in a queue, from which clients take turns.

Photos and results are in memory alone: a result until it is deleted, at most for --keep. No log has the name
of a photo.

Only this machine can reach the server, unless --listen names another address. Then clients must send the token
that --token-file holds; --no-auth lets in everybody who can reach the address. Names that the server goes by must be
given with --host; addresses need not.

Ctrl-C finishes the photo that is being restored, and ends; a second one ends at once.`

const serveExample = `  hidiff serve --open
  hidiff serve -m small -m gopro
  hidiff serve --listen 192.168.1.5:8470 --token-file token --cert cert.pem --key key.pem`

func newServeCommand(_ *app, run func(context.Context, *serveOptions) error) *cobra.Command {
	o := &serveOptions{MaxUpload: 256 << 20, MaxHeld: 1 << 30}
	c := &cobra.Command{
		Use:     "serve",
		Short:   "Deblur photos in the browser, and over HTTP",
		Long:    serveLong,
		Example: serveExample,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8470", "address and port; port 0 takes a free one")
	f.BoolVar(&o.Open, "open", false, "open the page in the browser")
	f.StringArrayVarP(&o.Weights, "model", "m", nil, "a model to choose from: a name that 'hidiff models' lists, a file or a folder; may be repeated, the first is the default (default: $HIDIFF_MODEL, else the built-in)")
	addGPUFlag(c, &o.GPU)
	f.Var(&o.Memory, "memory", "GPU memory that each model may use at most, such as 1.5GiB or 800M (units of 1024)")
	f.IntVar(&o.Queue, "queue", 16, "photos that may wait; more are refused")
	f.Var(&o.MaxUpload, "max-upload", "size of a photo's file at most")
	f.Int64Var(&o.MaxPixels, "max-pixels", 128<<20, "pixels of a photo at most")
	f.Var(&o.MaxHeld, "max-held", "memory for files and results at most")
	f.DurationVar(&o.Keep, "keep", 15*time.Minute, "how long a result is kept for its client")
	f.StringVar(&o.TokenFile, "token-file", "", "file with the token that clients must send")
	f.BoolVar(&o.NoAuth, "no-auth", false, "ask for no token, though other machines can reach the server")
	f.StringArrayVar(&o.Hosts, "host", nil, "name that the server goes by, such as photos.example; may be repeated")
	f.StringArrayVar(&o.Origins, "allow-origin", nil, "another site whose pages may use the API, such as https://photos.example; may be repeated")
	f.StringVar(&o.Cert, "cert", "", "TLS certificate, PEM, for https; with --key")
	f.StringVar(&o.Key, "key", "", "TLS key, PEM")
	return c
}

func (o *serveOptions) validate() error {
	host, port, err := net.SplitHostPort(o.Listen)
	switch {
	case err != nil || port == "":
		return usagef("--listen %s is no address and port, such as 127.0.0.1:8470", o.Listen)
	case !isLoopback(host) && o.TokenFile == "" && !o.NoAuth:
		return usagef("--listen %s lets other machines in: give the token they must send with --token-file, or --no-auth to let in all", o.Listen)
	case o.TokenFile != "" && o.NoAuth:
		return usagef("--token-file and --no-auth exclude each other")
	case (o.Cert == "") != (o.Key == ""):
		return usagef("--cert and --key belong together")
	case o.Queue < 1:
		return usagef("--queue %d must be at least 1", o.Queue)
	case o.MaxUpload < 1 || o.MaxHeld < 1 || o.MaxPixels < 1 || o.Keep <= 0:
		return usagef("--max-upload, --max-held, --max-pixels and --keep must be above 0")
	}
	return nil
}

// isLoopback reports whether nothing but this machine can reach a host. The empty one is all addresses.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (a *app) serve(ctx context.Context, o *serveOptions) error {
	options := serve.Options{
		Queue: o.Queue, MaxUpload: int64(o.MaxUpload), MaxPixels: o.MaxPixels, MaxHeld: int64(o.MaxHeld), Keep: o.Keep,
		Hosts: o.Hosts, AllowOrigins: o.Origins, Logger: a.logger(),
	}
	if host, _, err := net.SplitHostPort(o.Listen); err == nil && host != "" {
		options.Hosts = append(options.Hosts, host)
	}
	if o.TokenFile != "" {
		var err error
		if options.Token, err = readToken(o.TokenFile); err != nil {
			return err
		}
	}
	scheme := "http"
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return fmt.Errorf("--cert %s and --key %s cannot be used: %w", o.Cert, o.Key, err)
		}
		scheme, options.TLS = "https", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	l, err := net.Listen("tcp", o.Listen) // before weights are loaded, which takes a while
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.Listen, err)
	}
	defer l.Close()
	var engines []restorer
	defer func() {
		for _, engine := range engines {
			engine.Close()
		}
	}()
	arguments := [][]string{nil} // of $HIDIFF_MODEL, or none
	if len(o.Weights) > 0 {
		arguments = nil
		for _, weights := range o.Weights {
			arguments = append(arguments, []string{weights})
		}
	}
	for _, args := range arguments {
		m, engine, err := a.servedModel(ctx, o, args)
		if err != nil {
			return err
		}
		engines = append(engines, engine)
		options.Models = append(options.Models, m)
	}
	s, err := serve.New(options)
	if err != nil {
		return err
	}
	address := fmt.Sprintf("%s://%s/", scheme, l.Addr())
	fmt.Fprintf(a.stderr, "the page is at %s, Ctrl-C ends it\n", address)
	if o.Open {
		if err := openBrowser(address, options.Token); err != nil {
			fmt.Fprintf(a.stderr, "warning: no browser could be started: %v\n", err)
		}
	}
	return s.Serve(ctx, l)
}

// servedModel prepares a model on the GPU. It goes by the name it was given, or its file's.
func (a *app) servedModel(ctx context.Context, o *serveOptions, args []string) (serve.Model, restorer, error) {
	w, err := loadModel(ctx, hidiff.LoadOptions{}, args)
	if err != nil {
		return serve.Model{}, nil, err
	}
	engine, err := a.open(ctx, w, hidiff.Options{GPU: o.GPU, Memory: int64(o.Memory), Logger: a.logger()})
	if err != nil {
		return serve.Model{}, nil, err
	}
	if args == nil {
		args = filepath.SplitList(os.Getenv("HIDIFF_MODEL"))
	}
	name := models.Default
	if len(args) > 0 {
		name = filepath.Base(args[0])
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	d := models.Describe(w)
	return serve.Model{Name: name, Description: d.Description, License: d.License, Hash: d.Hash, Parameters: d.Parameters, Engine: engine}, engine, nil
}

// readToken reads a token of a line, which must not be guessed.
func readToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := string(bytes.TrimSpace(data))
	if len(token) < 16 || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s: a token is one word of at least 16 characters, such as 'openssl rand -hex 16' prints", path)
	}
	return token, nil
}

// openBrowser starts the browser at an address. The token goes behind #, which browsers keep to themselves.
func openBrowser(address, token string) error {
	if token != "" {
		address += "#" + url.Values{"token": {token}}.Encode()
	}
	program := map[string][]string{"darwin": {"open"}, "windows": {"rundll32", "url.dll,FileProtocolHandler"}}[runtime.GOOS]
	if program == nil {
		program = []string{"xdg-open"}
	}
	c := exec.Command(program[0], append(program[1:], address)...)
	if err := c.Start(); err != nil {
		return err
	}
	go func() { _ = c.Wait() }() // it may go on for as long as the browser does
	return nil
}
