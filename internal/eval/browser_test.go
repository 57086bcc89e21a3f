package eval

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/internal/browser"
)

// openReport opens the report in a folder, holds it to showing all its pictures and loading nothing from elsewhere, and
// returns how many pictures there are.
func openReport(t *testing.T, b *browser.Browser, dir string) (pictures int) {
	t.Helper()
	b.Look(1200, 900, "light")
	b.Open("file://" + dir + "/index.html")
	var broken []string
	b.Eval(`Promise.all(Array.from(document.images).map(function (i) { i.loading = "eager"; return i.decode().then(function () {}, function () { return i.src; }); }))
		.then(function (all) { return all.filter(Boolean); })`, &broken)
	require.Empty(t, broken, "every picture is shown")
	var outside []string
	b.Eval(`performance.getEntriesByType("resource").map(function (r) { return r.name; }).filter(function (n) { return n.indexOf(location.href.replace("index.html", "")) !== 0; })`, &outside)
	require.Empty(t, outside, "nothing is loaded from elsewhere")
	b.Eval(`document.images.length`, &pictures)
	return pictures
}

// OpenReport is openReport in a browser of its own, for tests outside of the package.
func OpenReport(t *testing.T, dir string) (pictures int) {
	t.Helper()
	return openReport(t, browser.Start(t), dir)
}

type box struct{ X, Y, Width, Height float64 }

// TestReportInBrowser opens a report as a file, drags its slider, and looks at the pixels.
func TestReportInBrowser(t *testing.T) {
	b := browser.Start(t)
	e, sources := whole(t)
	dir := filepath.Join(t.TempDir(), "report")
	require.NoError(t, e.WritePage(t.Context(), dir, sources, 24))
	require.Equal(t, 6*6, openReport(t, b, dir), "six images, each with two in the slider and four below")
	var titles []string
	b.Eval(`Array.from(document.querySelectorAll("h4"), function (h) { return h.textContent; })`, &titles)
	require.Contains(t, titles, `<script>alert("x")</script>`, "a name is text")

	// The picture that is compared first: dark where the target is bright, so that the slider shows in pixels.
	b.Eval(`document.querySelector(".compare").scrollIntoView({block: "center"}), 0`, new(int))
	var frame box
	b.Eval(`(function () { var r = document.querySelector(".compare").getBoundingClientRect(); return {x: r.x, y: r.y, width: r.width, height: r.height}; })()`, &frame)
	require.Greater(t, frame.Width, 300.0)
	at := func(share float64) float64 { return frame.X + share*frame.Width }
	middle := frame.Y + frame.Height/3
	value := func() (now int) {
		t.Helper()
		b.Eval(`Number(document.querySelector(".handle").getAttribute("aria-valuenow"))`, &now)
		return now
	}
	b.Eval(`document.querySelectorAll(".sides button")[2].click(), 0`, new(int)) // the error map is on the left
	b.Eval(`document.querySelector(".over").decode().then(function () { return 0; })`, new(int))
	require.Equal(t, 50, value())
	require.NotEmpty(t, b.Screenshot("light"))

	b.Mouse("mousePressed", at(0.5), middle)
	b.Mouse("mouseMoved", at(0.7), middle)
	b.Mouse("mouseMoved", at(0.9), middle)
	require.InDelta(t, 90, value(), 1)
	dragged := b.Screenshot("dragged")
	b.Mouse("mouseMoved", at(0.1), middle+500) // the pointer may leave the picture
	require.InDelta(t, 10, value(), 1)
	back := b.Screenshot("dragged-back")
	b.Mouse("mouseReleased", at(0.1), middle)
	b.Mouse("mouseMoved", at(0.6), middle)
	require.InDelta(t, 10, value(), 1, "after the button is up, nothing follows the pointer")

	changed, same := 0, 0
	for x := int(at(0.2)); x < int(at(0.8)); x += 3 {
		for y := int(frame.Y) + 40; y < int(frame.Y+frame.Height)-40; y += 3 {
			if dragged.At(x, y) != back.At(x, y) {
				changed++
			} else {
				same++
			}
		}
	}
	require.Greater(t, changed, 9*same, "the error map covers the restored photo where the slider says so")

	for _, c := range []struct {
		key  string
		want int
	}{{"ArrowRight", 12}, {"ArrowLeft", 10}, {"PageUp", 30}, {"PageDown", 10}, {"End", 100}, {"ArrowRight", 100}, {"Home", 0}, {"ArrowUp", 2}} {
		b.Key(c.key)
		require.Equal(t, c.want, value(), c.key)
	}

	// Sorting: by PSNR down and up, by name.
	var firsts []string
	b.Eval(`(function () {
		document.querySelectorAll("details").forEach(function (d) { d.open = true; });
		var table = document.querySelector(".sortable"), heads = table.querySelectorAll("th button");
		return [1, 1, 0].map(function (i) { heads[i].click(); return table.tBodies[0].rows[0].cells[0].textContent; });
	})()`, &firsts)
	require.Equal(t, []string{names(e.Datasets[0].ranked())[0], "01_coffee", "00_astronaut"}, firsts)

	b.Look(420, 800, "dark")
	b.Open("file://" + dir + "/index.html")
	var colour string
	b.Eval(`getComputedStyle(document.body).backgroundColor`, &colour)
	require.Equal(t, "rgb(22, 23, 26)", colour)
	var overflow float64
	b.Eval(`document.documentElement.scrollWidth - innerWidth`, &overflow)
	require.LessOrEqual(t, overflow, 0.0, "a telephone need not scroll sideways")
	b.Screenshot("dark")
	b.Look(1200, 900, "dark")
	b.Open("file://" + dir + "/index.html")
	b.Eval(`document.querySelectorAll("h2")[1].scrollIntoView(), 0`, new(int))
	b.Screenshot("dark-wide")
}
