// Package hostmemory measures how much of the machine's memory is free.
package hostmemory

import (
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v4/mem"
)

// Available returns the bytes that programs can still take without swapping: what the
// operating system says, and on Linux no more than what this process's cgroups, such as a
// container's, leave. It fails where the system does not say.
func Available() (int64, error) {
	m, err := mem.VirtualMemory()
	if err != nil {
		return 0, err
	}
	return min(int64(m.Available), leftByCgroups(os.DirFS("/"))), nil
}

// Where cgroups lie, and the files that hold limit, usage and counters, in versions 1 and 2.
var cgroupVersions = map[string][]string{
	"memory": {"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
	"":       {"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
}

// leftByCgroups returns what the strictest of the process's cgroups and those above it leaves:
// its limit, less what is used and cannot be dropped. Without a limit that is math.MaxInt64.
// Source: Linux's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
func leftByCgroups(root fs.FS) int64 {
	left := int64(math.MaxInt64)
	memberships, _ := fs.ReadFile(root, "proc/self/cgroup") // elsewhere than on Linux there are none
	for line := range strings.Lines(string(memberships)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		version, ok := cgroupVersions[fields[min(1, len(fields)-1)]]
		if !ok || len(fields) < 3 {
			continue
		}
		// In a container the path may be the host's, of which only the root is seen.
		for group := path.Join("/", fields[2]); ; group = path.Dir(group) {
			dir := path.Join(version[0], group)
			limit, limited := number(root, path.Join(dir, version[1]))
			used, counted := number(root, path.Join(dir, version[2]))
			if limited && counted {
				left = min(left, max(0, limit-used+cached(root, path.Join(dir, "memory.stat"), version[3])))
			}
			if group == "/" {
				break
			}
		}
	}
	return left
}

// number reads a file that holds one number; "max" is none.
func number(root fs.FS, file string) (int64, bool) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// cached reads the bytes of file cache, which the system drops when memory is short.
func cached(root fs.FS, file, counter string) int64 {
	text, _ := fs.ReadFile(root, file)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, counter+" "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}
