package video

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// command prepares ffmpeg or ffprobe. It is killed when ctx ends; what it complains of is collected.
func command(ctx context.Context, program string, args ...string) (*exec.Cmd, *complaints, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, nil, fmt.Errorf("videos need the program %s, which was not found: install it with 'apt-get install ffmpeg', or from ffmpeg.org", program)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	keepFromTerminal(cmd)
	cmd.WaitDelay = time.Second
	c := &complaints{}
	cmd.Stderr = c
	return cmd, c, nil
}

// complaints is standard error, its beginning.
type complaints struct{ text []byte }

func (c *complaints) Write(p []byte) (int, error) {
	c.text = append(c.text, p[:min(len(p), 64<<10-len(c.text))]...)
	return len(p), nil
}

// speaker is what ffmpeg puts before its lines: a component and its address.
var speaker = regexp.MustCompile(`^\[[^\]]* @ 0x[0-9a-f]+\] *`)

// lines returns what was said, without who said it, each thing once.
func (c *complaints) lines() []string {
	var out []string
	seen := map[string]bool{}
	for line := range strings.Lines(string(c.text)) {
		for speaker.MatchString(line) {
			line = speaker.ReplaceAllString(line, "")
		}
		line = strings.TrimSpace(line)
		if line != "" && !seen[line] && !strings.HasPrefix(line, "Last message repeated") {
			out = append(out, line)
		}
		seen[line] = true
	}
	return out
}

// first returns the first complaint, which is the cause of those that follow, or else what err says.
func (c *complaints) first(err error) string {
	if lines := c.lines(); len(lines) > 0 {
		return lines[0]
	}
	return fmt.Sprint(err)
}

var versionPattern = regexp.MustCompile(`^ffmpeg version n?(\d+)\.(\d+)`)

// checkVersion refuses an ffmpeg older than 5.1: such ones lose the last frame of some files, and know other
// options. Versions that are no numbers are of new builds.
func checkVersion(ctx context.Context) error {
	cmd, said, err := command(ctx, "ffmpeg", "-version")
	if err != nil {
		return err
	}
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("ffmpeg does not run: %s", said.first(err))
	}
	if m := versionPattern.FindSubmatch(text); m != nil {
		major, _ := strconv.Atoi(string(m[1]))
		minor, _ := strconv.Atoi(string(m[2]))
		if major < 5 || major == 5 && minor < 1 {
			return fmt.Errorf("ffmpeg %d.%d is too old: videos need 5.1 or newer, from ffmpeg.org", major, minor)
		}
	}
	return nil
}
