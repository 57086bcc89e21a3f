package wgpu

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"

	gpu "github.com/oliverbestmann/webgpu/wgpu"
)

// Adapter describes one GPU, or a software renderer.
type Adapter struct {
	Index    int    // position in the list of [Adapters], for Options.GPU
	Name     string // as the driver reports it
	Driver   string // driver name and version, where reported
	Backend  string // "Vulkan", "Metal" or "D3D12"
	Kind     string // "discrete", "integrated", "software" or "other"
	Software bool   // runs on the CPU (llvmpipe, SwiftShader, WARP)
}

func (a Adapter) String() string {
	return fmt.Sprintf("%d: %s (%s, %s)", a.Index, a.Name, a.Kind, a.Backend)
}

// NoAdapterError says that no usable GPU driver was found, or none matched.
type NoAdapterError struct {
	Want string    // what the user asked for; empty if any would have done
	Have []Adapter // what there is
}

func (e *NoAdapterError) Error() string {
	if len(e.Have) == 0 {
		switch runtime.GOOS {
		case "linux":
			return "no GPU driver found: install your GPU's Vulkan driver, or a software one (Debian and Ubuntu: apt install mesa-vulkan-drivers)"
		case "darwin":
			return "no GPU found: hidiff needs Metal, which every Mac since 2012 has"
		}
		return "no GPU driver found: install your GPU's Vulkan or DirectX 12 driver"
	}
	names := make([]string, len(e.Have))
	for i, a := range e.Have {
		names[i] = a.String()
	}
	return fmt.Sprintf("no GPU matches %q: use a number or part of a name from: %s", e.Want, strings.Join(names, "; "))
}

// instance is created once per process: drivers are loaded with it.
var instance = sync.OnceValue(func() *gpu.Instance {
	gpu.SetLogLevel(gpu.LogLevelOff)
	const vulkan, metal, dx12 = 1 << 0, 1 << 2, 1 << 3
	return gpu.CreateInstance(&gpu.InstanceDescriptor{Backends: vulkan | metal | dx12})
})

// enumerate lists adapters in hidiff's order: as the system lists them, but
// software renderers last, so that index 0 is the default choice.
func enumerate() ([]*gpu.Adapter, []Adapter) {
	var raw []*gpu.Adapter
	var infos []Adapter
	all := instance().EnumerateAdapters(nil)
	for _, kinds := range [][]string{{"discrete"}, {"integrated", "other"}, {"software"}} {
		for _, a := range all {
			info := describe(a.GetInfo())
			for _, k := range kinds {
				if info.Kind == k {
					info.Index = len(infos)
					raw, infos = append(raw, a), append(infos, info)
				}
			}
		}
	}
	return raw, infos
}

func describe(in gpu.AdapterInfo) Adapter {
	a := Adapter{Name: in.Device, Driver: strings.TrimSpace(in.Description), Kind: "other"}
	switch in.AdapterType {
	case gpu.AdapterTypeDiscreteGPU:
		a.Kind = "discrete"
	case gpu.AdapterTypeIntegratedGPU:
		a.Kind = "integrated"
	case gpu.AdapterTypeCPU:
		a.Kind, a.Software = "software", true
	}
	switch in.BackendType {
	case gpu.BackendTypeVulkan:
		a.Backend = "Vulkan"
	case gpu.BackendTypeMetal:
		a.Backend = "Metal"
	case gpu.BackendTypeD3D12:
		a.Backend = "D3D12"
	default:
		a.Backend = in.BackendType.String()
	}
	return a
}

// Adapters lists the usable adapters, hardware before software. The list is
// empty where no driver is installed.
func Adapters() []Adapter {
	raw, infos := enumerate()
	for _, a := range raw {
		a.Release()
	}
	return infos
}

// choose returns the position in infos that want names: empty for the first,
// an index, or a case-insensitive part of a name, which may be a number from 100 on.
func choose(infos []Adapter, want string) (int, error) {
	if len(infos) == 0 {
		return 0, &NoAdapterError{Want: want}
	}
	if want == "" {
		return 0, nil
	}
	if i, err := strconv.Atoi(want); err == nil && i < 100 {
		if i >= 0 && i < len(infos) {
			return i, nil
		}
		return 0, &NoAdapterError{Want: want, Have: infos}
	}
	for i, a := range infos {
		if strings.Contains(strings.ToLower(a.Name), strings.ToLower(want)) {
			return i, nil
		}
	}
	return 0, &NoAdapterError{Want: want, Have: infos}
}
