package options

import (
	"embed"
	"strings"
)

//go:embed presets/*.yml
var presets embed.FS

// Presets lists the option files that come with the program, by name: those that HI-Diff was
// trained (GoPro_S1, …) and tested with (GoPro, RealBlur_J, RealBlur_R), and those of the model
// that comes with hidiff (Small_S1, Small_S2, Small).
func Presets() []string {
	entries, err := presets.ReadDir("presets")
	if err != nil {
		panic(err) // it is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yml"))
	}
	return names
}

// Preset returns the text of an option file that comes with the program.
func Preset(name string) (text []byte, ok bool) {
	text, err := presets.ReadFile("presets/" + name + ".yml")
	return text, err == nil
}
