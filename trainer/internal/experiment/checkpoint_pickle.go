package experiment

import (
	"fmt"

	"hidiff/hidiff/checkpoint"
)

// pickleReader takes values out of a pickle and remembers the first that is not as expected.
type pickleReader struct{ err error }

func (r *pickleReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// asType is value as a T, or else T's zero value.
func asType[T any](r *pickleReader, what string, value any) T {
	v, ok := value.(T)
	if !ok {
		r.fail(fmt.Errorf("%s is a %T instead of a %T", what, value, v))
	}
	return v
}

// dictItem is the value of key, or nil.
func dictItem(d *checkpoint.Dict, key string) any {
	if d == nil {
		return nil
	}
	value, _ := d.Get(key)
	return value
}

// entries are the items of a dict whose keys are strings.
func (r *pickleReader) entries(value any) map[string]any {
	out := map[string]any{}
	if d := asType[*checkpoint.Dict](r, `"best"`, value); d != nil {
		for key, item := range d.All() {
			out[asType[string](r, "a key", key)] = item
		}
	}
	return out
}

// only is the dict in a list of one: hidiff trains with one optimizer and scheduler.
func (r *pickleReader) only(d *checkpoint.Dict, key string) *checkpoint.Dict {
	list, _ := dictItem(d, key).([]any)
	if len(list) != 1 {
		r.fail(fmt.Errorf("%q is not a list of one", key))
		return nil
	}
	return asType[*checkpoint.Dict](r, fmt.Sprintf("%q", key), list[0])
}

func (r *pickleReader) number(d *checkpoint.Dict, key string) float64 {
	return r.float(key, dictItem(d, key))
}

func (r *pickleReader) numbers(d *checkpoint.Dict, key string) []float64 {
	value := dictItem(d, key)
	list, isList := value.([]any)
	if tuple, ok := value.(checkpoint.Tuple); ok {
		list, isList = tuple, true
	}
	if !isList {
		r.fail(fmt.Errorf("%q is missing or no list", key))
	}
	var out []float64
	for _, item := range list {
		out = append(out, r.float(key, item))
	}
	return out
}

// count reads what is a whole number, though PyTorch may hold it in a tensor.
func (r *pickleReader) count(d *checkpoint.Dict, key string) int {
	f := r.number(d, key)
	if f != float64(int(f)) || f < 0 {
		r.fail(fmt.Errorf("%q is %v", key, f))
		return 0
	}
	return int(f)
}

func (r *pickleReader) float(key string, value any) float64 {
	switch v := value.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	case *checkpoint.Array:
		if v.Len() == 1 {
			return v.Float64s()[0]
		}
	}
	r.fail(fmt.Errorf("%q is missing or no number", key))
	return 0
}
