// Package cli is the hidiff program. Every command is three things: an options struct, a
// constructor that only parses into it, and a method of app that only works. Results go to
// standard output, messages and progress to standard error, and nothing but package main
// exits, so tests run whole commands in-process:
//
//	code := cli.Execute(ctx, []string{"deblur", "photo.jpg", "-m", "weights"}, os.Stdin, os.Stdout, os.Stderr)
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"hidiff/hidiff"
	"hidiff/hidiff/video"
	"hidiff/internal/suggest"
)

// Exit codes of the program.
const (
	exitOK          = 0
	exitFailed      = 1   // some or all of the work failed
	exitUsage       = 2   // the command line cannot be carried out as given
	exitInterrupted = 130 // Ctrl-C
)

// Execute runs the command line args (without the program's name) and returns the exit code:
// 0, 1 where work failed, 2 where the command line is wrong, 130 where ctx was cancelled.
func Execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: &messages{w: stderr}, open: openModel}
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		a.screen = f
	}
	return a.execute(ctx, args)
}

// app is what all commands share.
type app struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  *messages
	screen  io.Writer // standard error if it is a terminal, else nil
	verbose bool
	open    func(ctx context.Context, w *hidiff.Weights, o hidiff.Options) (restorer, error)
}

// logger prints warnings, and with -v everything, to standard error.
func (a *app) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelDebug}
	if !a.verbose {
		o.Level = slog.LevelWarn
		o.ReplaceAttr = func(_ []string, attr slog.Attr) slog.Attr {
			if attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		}
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

func (a *app) execute(ctx context.Context, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(longOpt(args))
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if file := dashed(args); file != "" {
			return usagef("%v; if %s is a file, write .%c%s, or -- before it", flagError(c, err), file, filepath.Separator, file)
		}
		return flagError(c, err)
	})
	command, err := root.ExecuteContextC(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintln(a.stderr, "hidiff: interrupted")
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "hidiff: %v\nSee '%s --help'.\n", err, command.CommandPath())
		return exitUsage
	case errors.Is(err, syscall.EPIPE): // nobody reads on, as in hidiff models | head -1
	case !errors.Is(err, errReported):
		fmt.Fprintf(a.stderr, "hidiff: %v\n", inFlags(err))
	}
	return exitFailed
}

// longOpt takes BasicSR's -opt for --opt.
func longOpt(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "-opt" || strings.HasPrefix(arg, "-opt=") {
			out[i] = "-" + arg
		}
	}
	return out
}

// errReported is returned by commands that have already said what failed.
var errReported = errors.New("failed")

// usageError is a mistake on the command line.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "hidiff",
		Short:         "Deblur photos with HI-Diff on any GPU",
		Version:       readVersion().Hidiff,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			var names []string
			for _, sub := range c.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name())
				}
			}
			return usagef("there is no command %q%s", args[0], suggest.Text(args[0], names))
		},
	}
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "log what is done to standard error")
	root.AddCommand(
		newDeblurCommand(a, a.deblur),
		newServeCommand(a, a.serve),
		newTrainCommand(a, a.train),
		newEvalCommand(a, a.eval),
		newSynthCommand(a, a.synth),
		newPrepareCommand(a, a.prepareGoPro, a.prepareCheck),
		newGPUsCommand(a, a.gpus),
		newInfoCommand(a, a.info),
		newConvertCommand(a, a.convert),
		newModelsCommand(a, a.models, a.pull),
		newDoctorCommand(a, a.doctor),
		newBenchCommand(a, a.bench),
		newVersionCommand(a, a.version),
		newManCommand(),
	)
	return root
}

// dashed returns the first argument that is taken for options and looks like a file, "" if there is none.
func dashed(args []string) string {
	for _, arg := range args {
		if arg == "--" {
			break
		}
		_, err := os.Lstat(arg)
		if len(arg) > 1 && arg[0] == '-' && (err == nil || isPhoto(arg) || video.Known(arg)) {
			return arg
		}
	}
	return ""
}

// flagError turns what pflag says into a usage error, with a suggestion for a mistyped flag.
func flagError(c *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		cause := errors.Unwrap(invalid)
		if number, ok := cause.(*strconv.NumError); ok {
			cause = number.Err
		}
		return usagef("--%s %s: %v", invalid.GetFlag().Name, invalid.GetValue(), cause)
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return usagef("%v", err)
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	name := "--" + unknown.GetSpecifiedName()
	return usagef("there is no option %s%s", name, suggest.Text(name, names))
}

// arguments makes cobra's complaints about positional arguments usage errors.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usagef("%v", err)
		}
		return nil
	}
}

// printJSON writes one line.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
