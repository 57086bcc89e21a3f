package wgpu

/*
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// wgpu-native's extension, linked in with the binding but not offered by it.
typedef struct { const char *data; size_t length; } hidiff_string;
typedef struct { void *next; uint32_t type; } hidiff_chain;
typedef struct { hidiff_chain chain; hidiff_string code; } hidiff_wgsl;
typedef struct { hidiff_chain *next; hidiff_string label; } hidiff_module;
extern void *wgpuDeviceCreateShaderModuleTrusted(void *device, const void *descriptor, uint64_t checks);

static void *hidiff_create_trusted(void *device, const char *label, size_t label_len, const char *code, size_t code_len) {
	hidiff_wgsl wgsl = { { NULL, 2 }, { code, code_len } }; // WGPUSType_ShaderSourceWGSL
	hidiff_module desc = { &wgsl.chain, { label, label_len } };
	return wgpuDeviceCreateShaderModuleTrusted(device, &desc, 0);
}
*/
import "C"

import (
	"os"
	"unsafe"

	gpu "github.com/oliverbestmann/webgpu/wgpu"
)

// checked asks for the bounds checks and loop bounds that wgpu adds to foreign
// shaders. Ours are guarded by construction and pass conformance with the
// checks on (the tests run both ways), so the checks only cost time.
var checked = os.Getenv("HIDIFF_CHECKED") != ""

// createModule compiles WGSL. The checked path validates first, because the
// trusted one reports errors only as a dead module.
func createModule(d *Device, label, code string) (*gpu.ShaderModule, error) {
	m, err := d.dev.TryCreateShaderModule(&gpu.ShaderModuleDescriptor{Label: label, WGSLSource: &gpu.ShaderSourceWGSL{Code: code}})
	if err != nil || checked {
		return m, err
	}
	m.Release()
	cLabel, cCode := C.CString(label), C.CString(code)
	defer C.free(unsafe.Pointer(cLabel))
	defer C.free(unsafe.Pointer(cCode))
	// The binding's objects begin with the native handle.
	device := *(*unsafe.Pointer)(unsafe.Pointer(d.dev))
	trusted := new(gpu.ShaderModule)
	*(*unsafe.Pointer)(unsafe.Pointer(trusted)) = C.hidiff_create_trusted(device, cLabel, C.size_t(len(label)), cCode, C.size_t(len(code)))
	return trusted, nil
}
