package checkpoint

import "iter"

// Tuple is a Python tuple.
type Tuple []any

// Opaque is a value that this package does not read, such as a number of numpy or an object of
// a trainer: the Python name of what would make it.
type Opaque string

// orderedMap keeps the order in which keys were first set.
type orderedMap[K comparable, V any] struct {
	keys   []K
	values map[K]V
}

// Len returns the number of entries.
func (m *orderedMap[K, V]) Len() int { return len(m.keys) }

// Keys returns the keys in order, as a new slice.
func (m *orderedMap[K, V]) Keys() []K { return append([]K{}, m.keys...) }

// Get returns the value of key and whether there is one.
func (m *orderedMap[K, V]) Get(key K) (V, bool) {
	v, ok := m.values[key]
	return v, ok
}

// Set stores value under key; a new key goes to the end, a known one keeps its
// place.
func (m *orderedMap[K, V]) Set(key K, value V) {
	if m.values == nil {
		m.values = map[K]V{}
	}
	if _, known := m.values[key]; !known {
		m.keys = append(m.keys, key)
	}
	m.values[key] = value
}

// All yields the entries in order.
func (m *orderedMap[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range m.keys {
			if !yield(k, m.values[k]) {
				return
			}
		}
	}
}

// StateDict maps parameter names to arrays and keeps their registration order,
// on which the numbering in PyTorch's optimizer state depends. It stands for a
// collections.OrderedDict.
type StateDict struct{ orderedMap[string, *Array] }

// NewStateDict returns an empty StateDict.
func NewStateDict() *StateDict { return &StateDict{} }

// Dict is a Python dict: keys in insertion order, each nil, bool, int64,
// float64 or string.
type Dict struct{ orderedMap[any, any] }

// NewDict returns a Dict of keys and values in turn.
func NewDict(pairs ...any) *Dict {
	d := &Dict{}
	for i := 0; i < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}
