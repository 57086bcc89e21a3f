package dataset

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"hidiff/internal/textfile"
)

// pair is one pair of photos: its name, and the files as the sources know them.
type pair struct{ name, lq, gt string }

// matchPairs pairs the photos of two sources by name. listed, unless nil, are the names of gt to use, in this order.
func matchPairs(o Options, lq, gt map[string]string, listed []string) ([]pair, error) {
	names := listed
	if names == nil {
		for name := range gt {
			names = append(names, name)
		}
		slices.SortFunc(names, compareNatural)
	}
	var pairs []pair
	var complaints, noGT, noLQ, alone []string
	used := map[string]bool{}
	for _, name := range names {
		want := lqName(o.FilenameTmpl, name)
		used[want] = true
		p := pair{name: name, lq: lq[want], gt: gt[name]}
		switch {
		case p.gt == "":
			noGT = append(noGT, name)
		case p.lq == "":
			noLQ = append(noLQ, want)
		}
		pairs = append(pairs, p)
	}
	if listed == nil {
		for name := range lq {
			if !used[name] {
				alone = append(alone, name)
			}
		}
		slices.SortFunc(alone, compareNatural)
	}
	complain := func(names []string, format string, args ...any) {
		if len(names) > 0 {
			complaints = append(complaints, fmt.Sprintf(format, args...)+": "+firstTen(names, ", "))
		}
	}
	complain(noGT, "meta_info_file %s lists %d photos that %s %s does not hold", o.MetaInfoFile, len(noGT), o.GTName, o.DatarootGT)
	complain(noLQ, "%s %s lacks %d of %d photos (filename_tmpl is %q)", o.LQName, o.DatarootLQ, len(noLQ), len(names), o.FilenameTmpl)
	complain(alone, "%s %s holds %d photos without a partner in %s %s", o.LQName, o.DatarootLQ, len(alone), o.GTName, o.DatarootGT)
	if len(complaints) > 0 {
		return nil, fmt.Errorf("the photos do not pair up; complete the folders or correct the paths or filename_tmpl\n%s", strings.Join(complaints, "\n"))
	}
	return pairs, nil
}

// lqName is the name of gt's partner: filename_tmpl with the last element of gt's name for {}.
func lqName(tmpl, gt string) string {
	dir, stem := path.Split(gt)
	return dir + strings.Replace(tmpl, "{}", stem, 1)
}

// readMetaInfo reads the names of photos from a meta_info file: the first word of each line, a path
// below dataroot_gt. What follows, such as the size, is not needed.
func readMetaInfo(file string) ([]string, error) {
	data, err := textfile.Read(file)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) > 0 {
			name, _ := photoName(path.Clean(words[0]))
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s lists no photo", file)
	}
	return names, nil
}

// compareNatural orders names as people do: digits by the number they make, all else by bytes.
func compareNatural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		n, m := digits(x), digits(y)
		if n == 0 || m == 0 {
			if c := cmp.Compare(x[0], y[0]); c != 0 {
				return c
			}
			x, y = x[1:], y[1:]
			continue
		}
		v, w := strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")
		if c := cmp.Or(cmp.Compare(len(v), len(w)), strings.Compare(v, w)); c != 0 {
			return c
		}
		x, y = x[n:], y[m:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

// digits is how many digits s begins with.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}

// firstTen joins items, at most ten of them, and says how many more there are.
func firstTen(items []string, separator string) string {
	if n := len(items) - 10; n > 0 {
		items = append(slices.Clone(items[:10]), fmt.Sprintf("and %d more", n))
	}
	return strings.Join(items, separator)
}
