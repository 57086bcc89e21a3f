package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// storageTypes are PyTorch's storage classes and their element types.
var storageTypes = map[global]DType{
	"torch.HalfStorage": F16, "torch.BFloat16Storage": BF16, "torch.FloatStorage": F32, "torch.DoubleStorage": F64,
	"torch.CharStorage": I8, "torch.ShortStorage": I16, "torch.IntStorage": I32, "torch.LongStorage": I64,
	"torch.ByteStorage": U8, "torch.BoolStorage": BOOL,
}

// constructors are the callables a state_dict or training state is built with.
// They build this package's own values; no name in a file ever leads to code
// outside this list.
var constructors = map[global]func(args []any) (any, error){
	"collections.OrderedDict":                    newOrderedDict,
	"collections.Counter":                        newCounter,
	"collections.defaultdict":                    newDefaultDict,
	"torch.Size":                                 newSize,
	"torch._utils._rebuild_tensor_v2":            rebuildTensor,
	"torch._utils._rebuild_parameter":            rebuildParameter,
	"torch._utils._rebuild_parameter_with_state": rebuildParameter,
}

// rebuildFromType calls another constructor, its first argument, with its third: so tensors
// are stored that have attributes or a class of their own.
const rebuildFromType global = "torch._tensor._rebuild_from_type_v2"

// global pushes a name the file refers to: a word, whatever it names.
func (u *unpickler) global() error {
	module, err := u.line()
	if err != nil {
		return err
	}
	name, err := u.line()
	if err != nil {
		return err
	}
	return u.push(global(module + "." + name))
}

// reduce calls a constructor with a tuple of arguments. What another callable would make is opaque.
func (u *unpickler) reduce() error {
	call, err := u.popN(2)
	if err != nil {
		return err
	}
	args, ok := call[1].(*sequence)
	if !ok || !args.tuple {
		return errors.New("damaged pickle: a call without arguments")
	}
	v, err := construct(call[0], args.items)
	if err != nil {
		return err
	}
	return u.push(v)
}

func construct(callable any, args []any) (any, error) {
	name, isName := callable.(global)
	if passed, ok := callable.(*opaque); ok {
		return passed, nil
	}
	if !isName {
		return nil, errors.New("damaged pickle: a call without constructor")
	}
	if name == rebuildFromType && len(args) == 4 {
		inner, isName := args[0].(global)
		tuple, isTuple := args[2].(*sequence)
		if isName && isTuple {
			name, args = inner, tuple.items
		}
	}
	build := constructors[name]
	if build == nil {
		return &opaque{string(name)}, nil
	}
	for _, arg := range args {
		if passed, ok := arg.(*opaque); ok { // a tensor over a storage of unknown type
			return passed, nil
		}
	}
	v, err := build(args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", string(name), err)
	}
	return v, nil
}

// build drops the attributes of an OrderedDict: PyTorch keeps its modules'
// version numbers there (`_metadata`). Those of what is opaque go the same way.
func (u *unpickler) build() error {
	attributes, err := u.pop()
	if err != nil {
		return err
	}
	target, err := u.top()
	if err != nil {
		return err
	}
	if _, passed := target.(*opaque); passed {
		return nil
	}
	_, attributesOK := attributes.(*mapping)
	if d, ok := target.(*mapping); !ok || !d.ordered || !attributesOK {
		return errors.New("damaged pickle: attributes on something that has none")
	}
	return nil
}

// persistent pushes the storage a tensor refers to:
// ("storage", class, key, device, element count), and None in legacy files.
func (u *unpickler) persistent(id any) error {
	tuple, ok := id.(*sequence)
	if !ok || !tuple.tuple || len(tuple.items) < 5 || tuple.items[0] != "storage" {
		return errors.New("damaged pickle: a reference that is no storage")
	}
	class, isClass := tuple.items[1].(global)
	key, isKey := tuple.items[2].(string)
	count, isCount := tuple.items[4].(int64)
	dtype := storageTypes[class]
	if isClass && dtype == "" {
		return u.push(&opaque{string(class)})
	}
	if dtype == "" || !isKey || !isCount {
		return errors.New("damaged pickle: a storage without type, key or size")
	}
	if slices.ContainsFunc(tuple.items[5:], func(v any) bool { return v != nil }) {
		return errors.New("views of storages (PyTorch before 0.4) are not supported: save the file again with a newer PyTorch")
	}
	if count < 0 || count > math.MaxInt/8 {
		return fmt.Errorf("storage %q has an impossible size of %d elements", key, count)
	}
	s, known := u.storages.Get(key)
	if !known {
		s = &storage{key: key, dtype: dtype, count: int(count)}
		u.storages.Set(key, s)
	}
	if s.dtype != dtype || s.count != int(count) {
		return fmt.Errorf("storage %q is described in two ways", key)
	}
	return u.push(s)
}

var errArguments = errors.New("unexpected arguments")

func newOrderedDict(args []any) (any, error) {
	if len(args) != 0 {
		return nil, errArguments
	}
	return &mapping{dict: NewDict(), ordered: true}, nil
}

func newCounter(args []any) (any, error) {
	switch len(args) {
	case 0:
		return &mapping{dict: NewDict()}, nil
	case 1:
		if d, ok := args[0].(*mapping); ok {
			return d, nil
		}
	}
	return nil, errArguments
}

// newDefaultDict passes over the factory, which is never called.
func newDefaultDict(args []any) (any, error) {
	if len(args) > 1 {
		return nil, errArguments
	}
	return &mapping{dict: NewDict()}, nil
}

func newSize(args []any) (any, error) {
	if len(args) == 1 {
		if t, ok := args[0].(*sequence); ok && t.tuple {
			return t, nil
		}
	}
	return nil, errArguments
}

// rebuildParameter drops requires_grad, the hooks and, in newer files, attributes.
func rebuildParameter(args []any) (any, error) {
	if len(args) == 3 || len(args) == 4 {
		if t, ok := args[0].(*tensor); ok {
			return t, nil
		}
	}
	return nil, errArguments
}

// rebuildTensor takes (storage, offset, shape, stride, requires_grad, hooks) and
// perhaps metadata, which is empty unless the tensor is a lazy negation or
// conjugate.
func rebuildTensor(args []any) (any, error) {
	if len(args) != 6 && len(args) != 7 {
		return nil, errArguments
	}
	s, isStorage := args[0].(*storage)
	offset, isInt := args[1].(int64)
	if !isStorage || !isInt || offset < 0 || int64(int(offset)) != offset {
		return nil, errArguments
	}
	if len(args) == 7 && args[6] != nil {
		if m, ok := args[6].(*mapping); !ok || m.dict.Len() != 0 {
			return nil, errors.New("the tensor is a lazy view: save it again after .clone()")
		}
	}
	shape, err := ints(args[2])
	if err != nil {
		return nil, err
	}
	stride, err := ints(args[3])
	if err != nil {
		return nil, err
	}
	if len(shape) != len(stride) {
		return nil, errArguments
	}
	return &tensor{storage: s, offset: int(offset), shape: shape, stride: stride}, nil
}

// ints converts a tuple of dimensions or strides, none of them negative.
func ints(v any) ([]int, error) {
	const maxDims = 64 // PyTorch's own limit
	t, ok := v.(*sequence)
	if !ok || !t.tuple || len(t.items) > maxDims {
		return nil, errArguments
	}
	out := make([]int, len(t.items))
	for i, item := range t.items {
		n, ok := item.(int64)
		if !ok || n < 0 || int64(int(n)) != n {
			return nil, errArguments
		}
		out[i] = int(n)
	}
	return out, nil
}
