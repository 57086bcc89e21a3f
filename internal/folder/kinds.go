package folder

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/hidiff/photo"
)

// Kinds count files by their extension in lower case, ".heic", or by [NoExtension].
type Kinds map[string]int

// NoExtension are files that have none, and hold a picture that could be read.
const NoExtension = "without extension"

// extensions are those of pictures, of cameras' raw files and of films.
var extensions = strings.Fields(`
	.heic .heif .heics .heifs .hif .avif .avifs .jxl .jp2 .j2k .j2c .jpc .jpf .jpx .jpm .jxr .wdp .hdp .bpg .jls .jng .mng .mpo .jps .pns
	.gif .apng .pjpeg .pjp .dib .ppm .pgm .pbm .pnm .pam .pfm .tga .pcx .qoi .dds .ico .cur .exr .hdr .psd .psb .xcf .kra .ora .svg .eps
	.sgi .rgb .ras .xbm .xpm .wbmp .fits .fit .dcm .jpg_large .jpeg_large
	.dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .raf .rw2 .rwl .raw .pef .srw .x3f .3fr .fff .iiq .mos .mrw .erf .kdc .dcr .dcs .mef
	.gpr .cap .lri .r3d .braw .insp
	.mp4 .m4v .mov .mkv .webm .avi .ts .mts .m2ts .mpg .mpeg .vob .wmv .flv .3gp .3g2 .ogv .ogm .asf .mxf .divx .f4v .insv .y4m`)

// Look counts a file that is no photo by its extension, if it looks like a picture or a film.
func (k Kinds) Look(path string) {
	ext := strings.ToLower(filepath.Ext(path))
	switch {
	case slices.Contains(extensions, ext):
		k[ext]++
	case ext == "" && holdsPhoto(path):
		k[NoExtension]++
	}
}

// holdsPhoto looks at a file's content.
func holdsPhoto(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	const head = 256 << 10 // behind EXIF and a profile
	data, err := io.ReadAll(io.LimitReader(f, head))
	if err != nil {
		return false
	}
	_, err = photo.Probe(data, path)
	return err == nil
}

// Add adds other counts.
func (k Kinds) Add(other Kinds) {
	for kind, n := range other {
		k[kind] += n
	}
}

// String is "2 .heic, 1 .dng": the most first.
func (k Kinds) String() string {
	kinds := slices.SortedFunc(maps.Keys(k), func(a, b string) int { return cmp.Or(cmp.Compare(k[b], k[a]), cmp.Compare(a, b)) })
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", k[kind], kind)
	}
	return strings.Join(kinds, ", ")
}

// Unread continues "holds no photo": " that hidiff reads (3 .heic)", or nothing where nothing was counted.
func (k Kinds) Unread() string {
	if len(k) == 0 {
		return ""
	}
	return fmt.Sprintf(" that hidiff reads (%s)", k)
}
