//go:build unix

package video

import (
	"os/exec"
	"syscall"
)

// keepFromTerminal keeps Ctrl-C for us: ffmpeg would take it for a wish to end the video there.
func keepFromTerminal(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
