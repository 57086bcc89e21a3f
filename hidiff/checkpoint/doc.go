// Package checkpoint reads and writes network weights and training states:
// PyTorch's .pth files (zip and the legacy format before PyTorch 1.6) and
// safetensors. It needs no Python, and it knows no network and no GPU.
//
// [Open] reads any of the three formats, found by content and never by
// extension, and returns the state_dicts of the file:
//
//	file, err := checkpoint.Open(ctx, "net_g.pth")
//	...
//	weights, err := file.Weights("params") // or "" for the usual one
//	for key, array := range weights.All() {
//		fmt.Println(key, array.Shape, array.DType)
//	}
//
// [WritePTH] writes what torch.load reads, [WriteSafetensors] one or several
// networks in one file, and [LoadPickle] any file of torch.save, such as the
// .state files of BasicSR. All writers are atomic, and equal input gives equal
// bytes.
//
// # Trust
//
// A .pth file is a pickle, and a pickle is a program. This package treats it as
// data: nothing is ever run. Of the names in a file, those of the few constructors
// of tensors and containers are known; what any other would make is passed over as
// an [Opaque] word. Every size in a file is checked against what the file holds before
// memory is allocated for it.
//
// # Python values
//
// [LoadPickle] and [WritePTH] share one mapping:
//
//	None                       nil
//	bool, int, float, str      bool, int64, float64, string
//	list, tuple                []any, Tuple
//	dict                       *Dict
//	OrderedDict of tensors     *StateDict
//	Tensor                     *Array
//
// Reading only: Counter, defaultdict and an OrderedDict of other values become
// *Dict, torch.Size becomes Tuple, a Parameter becomes *Array, and anything else Opaque;
// items of a dict whose keys are no numbers or strings are passed over.
package checkpoint
