package hostmemory

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestAvailable(t *testing.T) {
	got, err := Available()
	require.NoError(t, err)
	require.Positive(t, got)
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Skip("no /proc/meminfo to compare with")
	}
	_, rest, _ := strings.Cut(string(meminfo), "MemTotal:")
	total, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	require.LessOrEqual(t, got, total<<10)
}

func TestCgroupsLimitWhatIsFree(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"none": {map[string]string{}, math.MaxInt64},
		"version 2, no limit": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "4096\n",
		}, math.MaxInt64},
		"version 2, file cache can be dropped": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000000\n", "sys/fs/cgroup/memory.current": "600000\n",
			"sys/fs/cgroup/memory.stat": "anon 7\ninactive_file 50000\nactive_file 9\n",
		}, 450000},
		"version 2, one above is stricter": {map[string]string{
			"proc/self/cgroup":                      "0::/user/session\n",
			"sys/fs/cgroup/user/session/memory.max": "9000\n", "sys/fs/cgroup/user/session/memory.current": "1000\n",
			"sys/fs/cgroup/user/memory.max": "8000\n", "sys/fs/cgroup/user/memory.current": "7500\n",
		}, 500},
		"version 1, in a container that sees the host's path": {map[string]string{
			"proc/self/cgroup":                           "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n1:name=systemd:/\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "2000\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "1500\n",
			"sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 100\n",
		}, 600},
		"nothing left": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "10\n", "sys/fs/cgroup/memory.current": "20\n",
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for file, text := range c.files {
				root[file] = &fstest.MapFile{Data: []byte(text)}
			}
			require.Equal(t, c.want, leftByCgroups(root))
		})
	}
}
