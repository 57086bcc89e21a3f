package checkpoint

import (
	"errors"
	"fmt"
)

// Limits on the tree of values a pickle unfolds to. A pickle may share and nest
// lists, so a short one can stand for a tree that no walk would ever finish.
const (
	maxNodes = 1 << 22
	maxDepth = 100
)

// resolver turns raw values into those callers see, each shared value once.
type resolver struct {
	done map[any]*resolved // by pointer; nil while in progress
	// gather is how many bytes strided tensors may still unfold to: an expanded
	// tensor (stride 0) is larger than its storage.
	gather int64
}

type resolved struct {
	value        any
	nodes, depth int
}

// resolve converts a raw value of a file of the given size, whose storages are
// filled.
func resolve(raw any, fileSize int64) (any, error) {
	r := &resolver{done: map[any]*resolved{}, gather: 8*min(fileSize, 1<<48) + 32<<20}
	out, err := r.value(raw, 0)
	return out.value, err
}

func (r *resolver) value(raw any, depth int) (resolved, error) {
	switch raw := raw.(type) {
	case nil, bool, int64, float64, string:
		return resolved{value: raw, nodes: 1}, nil
	case global:
		return resolved{value: Opaque(raw), nodes: 1}, nil
	case *storage:
		return resolved{value: Opaque("a storage"), nodes: 1}, nil
	case *opaque:
		return resolved{value: Opaque(raw.name), nodes: 1}, nil
	default:
		if known, seen := r.done[raw]; known != nil {
			return *known, nil
		} else if seen {
			return resolved{}, errors.New("a value contains itself")
		}
		if depth > maxDepth {
			return resolved{}, errDepth
		}
		r.done[raw] = nil
		out, err := r.container(raw, depth+1)
		switch {
		case err != nil:
			return resolved{}, err
		case out.depth > maxDepth:
			return resolved{}, errDepth
		case out.nodes > maxNodes:
			return resolved{}, errors.New("the pickle unfolds to too many values: not weights")
		}
		r.done[raw] = &out
		return out, nil
	}
}

var errDepth = fmt.Errorf("values are nested deeper than %d", maxDepth)

func (r *resolver) container(raw any, depth int) (resolved, error) {
	out := resolved{nodes: 1}
	// child resolves a member and accounts for it.
	child := func(raw any) (any, error) {
		v, err := r.value(raw, depth)
		out.nodes = min(out.nodes+v.nodes, maxNodes+1)
		out.depth = max(out.depth, v.depth+1)
		return v.value, err
	}
	switch raw := raw.(type) {
	case *tensor:
		array, err := r.array(raw)
		out.value = array
		return out, err
	case *sequence:
		items := make([]any, len(raw.items))
		for i, item := range raw.items {
			var err error
			if items[i], err = child(item); err != nil {
				return out, fmt.Errorf("[%d]: %w", i, err)
			}
		}
		out.value = items
		if raw.tuple {
			out.value = Tuple(items)
		}
	case *mapping:
		dict := NewDict()
		for key, item := range raw.dict.All() {
			v, err := child(item)
			if err != nil {
				return out, fmt.Errorf("%.100q: %w", fmt.Sprint(key), err)
			}
			dict.Set(key, v)
		}
		out.value = dict
		if state, ok := stateDict(dict); ok && raw.ordered {
			out.value = state
		}
	}
	return out, nil
}

// stateDict returns the tensors of a dict that holds nothing else.
func stateDict(d *Dict) (*StateDict, bool) {
	state := NewStateDict()
	for key, value := range d.All() {
		name, isName := key.(string)
		array, isArray := value.(*Array)
		if !isName || !isArray {
			return nil, false
		}
		state.Set(name, array)
	}
	return state, true
}

// array lays a tensor out densely. A tensor that already is dense shares the
// storage's memory.
func (r *resolver) array(t *tensor) (*Array, error) {
	size := t.storage.dtype.size()
	n, err := elements(t.shape)
	if err != nil {
		return nil, err
	}
	a := &Array{Shape: t.shape, DType: t.storage.dtype, Data: []byte{}}
	if n == 0 {
		return a, nil
	}
	// The last element must lie in the storage. Comparing by division keeps
	// hostile strides from overflowing.
	room := t.storage.count - 1 - t.offset
	dense, step := true, 1
	for d := len(t.shape) - 1; d >= 0 && room >= 0; d-- {
		steps := t.shape[d] - 1
		if steps == 0 {
			continue
		}
		if t.stride[d] > room/steps {
			room = -1
			break
		}
		room -= steps * t.stride[d]
		dense = dense && t.stride[d] == step
		step *= t.shape[d]
	}
	if room < 0 {
		return nil, fmt.Errorf("tensor of shape %v, strides %v at %d reaches past its storage %q of %d elements",
			t.shape, t.stride, t.offset, t.storage.key, t.storage.count)
	}
	if dense {
		from, to := t.offset*size, (t.offset+n)*size
		a.Data = t.storage.data[from:to:to]
		return a, nil
	}
	if int64(n) > r.gather/int64(size) {
		return nil, fmt.Errorf("expanded tensors, such as one of shape %v, are far larger than the file: save them again after .contiguous()", t.shape)
	}
	r.gather -= int64(n * size)
	a.Data = gather(t, n, size)
	return a, nil
}

// gather copies the n elements of a strided tensor in row-major order.
func gather(t *tensor, n, size int) []byte {
	out := make([]byte, 0, n*size)
	index := make([]int, len(t.shape))
	at := t.offset
	for range n {
		out = append(out, t.storage.data[at*size:(at+1)*size]...)
		for d := len(index) - 1; d >= 0; d-- {
			index[d]++
			at += t.stride[d]
			if index[d] < t.shape[d] {
				break
			}
			at -= t.stride[d] * t.shape[d]
			index[d] = 0
		}
	}
	return out
}
