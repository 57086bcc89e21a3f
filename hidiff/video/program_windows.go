package video

import (
	"os/exec"
	"syscall"
)

// keepFromTerminal keeps Ctrl-C for us: ffmpeg would take it for a wish to end the video there.
func keepFromTerminal(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
