package serve

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/internal/browser"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
)

//go:embed testdata/axe.min.js
var axe string

// tab is the page in a browser.
type tab struct {
	*browser.Browser
	t         *testing.T
	downloads string
}

func openTab(t *testing.T, url string) *tab {
	t.Helper()
	b := &tab{Browser: browser.Start(t), t: t}
	b.downloads = b.Downloads()
	b.Call("Page.addScriptToEvaluateOnNewDocument", map[string]any{
		"source": `window.faults = []; for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"]) addEventListener(kind, (e) => faults.push(String(e.message || e.reason || e.blockedURI)))`}, nil)
	b.Call("Page.enable", nil, nil)
	b.Look(1200, 900, "light")
	b.Open(url)
	return b
}

// do runs statements of JavaScript.
func (b *tab) do(statements string) {
	b.t.Helper()
	b.Eval(statements+"; 0", new(int))
}

func (b *tab) click(selector string) {
	b.t.Helper()
	b.do(`document.querySelector(` + strconv.Quote(selector) + `).click()`)
}

func (b *tab) set(selector, value string) {
	b.t.Helper()
	b.do(`document.querySelector(` + strconv.Quote(selector) + `).value = ` + strconv.Quote(value))
}

// download waits for a file that the page makes.
func (b *tab) download(name string) []byte {
	b.t.Helper()
	path := filepath.Join(b.downloads, name)
	require.Eventually(b.t, func() bool { _, err := os.Stat(path); return err == nil }, 30*time.Second, 20*time.Millisecond)
	data, err := os.ReadFile(path)
	require.NoError(b.t, err)
	return data
}

// faultless checks that no script failed, and that nothing was loaded from elsewhere.
func (b *tab) faultless() {
	b.t.Helper()
	var faults, outside []string
	b.Eval(`faults`, &faults)
	require.Empty(b.t, faults)
	b.Eval(`performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith(location.origin + "/") && !n.startsWith("blob:"))`, &outside)
	require.Empty(b.t, outside, "nothing is loaded from elsewhere")
}

// accessible has axe look for faults that keep people out.
func (b *tab) accessible(where string) {
	b.t.Helper()
	var faults []string
	b.Eval(axe+`;axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.filter((v) => ["serious", "critical"].includes(v.impact))
		.map((v) => v.id + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; ")))`, &faults)
	require.Empty(b.t, faults, where)
}

// photoFile writes a photo that looks like something, and returns its path.
func photoFile(t *testing.T, dir, name string, o photo.EncodeOptions) string {
	t.Helper()
	p := &photo.Photo{Width: 320, Height: 240, Channels: 3, Max: 255, Pix: make([]uint16, 320*240*3)}
	for i := range p.Pix {
		x, y, c := i/3%320, i/3/320, i%3
		p.Pix[i] = uint16((x*(c+1)/2 + y + x/40%2*60) % 256)
	}
	path := filepath.Join(dir, name)
	require.NoError(t, photo.Save(path, p, o))
	return path
}

const slider = `document.querySelector(".handle")`

func TestPage(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error)}
	s := start(t, engine, Options{})
	b := openTab(t, s.url)
	b.Until(`document.querySelector("[name=model]").options.length === 2`)
	b.accessible("the page")
	b.Screenshot("page")

	dir := t.TempDir()
	one, two := photoFile(t, dir, "one.png", photo.EncodeOptions{}), photoFile(t, dir, "<b>two.jpg", photo.EncodeOptions{})
	b.Drop(300, 200, one)
	b.Choose("#files", two)
	b.Until(`document.querySelectorAll(".photo").length === 2`)
	b.Until(`document.querySelectorAll(".plan")[1].textContent === "320×240, exact, in up to 3 bands, feature maps in ordinary memory: slower; GPU memory: 3.0 MiB of 4.0 MiB at most"`)
	var names []string
	b.Eval(`Array.from(document.querySelectorAll(".name"), (n) => n.textContent)`, &names)
	require.Equal(t, []string{"one.png", "<b>two.jpg"}, names, "a name is text")
	b.set("[name=seed]", "7")
	b.set("[name=format]", "webp")
	b.click("#start")
	b.Until(`document.querySelector(".state").textContent.startsWith("restoring: 25 %, about ")`)
	b.Until(`document.querySelector("progress").value === 0.25`)
	b.Until(`document.querySelectorAll(".state")[1].textContent === "waiting: number 1 in the queue"`)
	b.accessible("at work")
	b.Screenshot("progress")
	engine.gate <- nil
	engine.gate <- nil
	b.Until(`document.querySelectorAll(".state.good").length === 2`)
	require.Equal(t, uint64(7), engine.seen[0].Seed)
	b.Until(`document.querySelector(".after").complete && document.querySelector(".after").naturalWidth === 320`)
	s.heldNothing() // the page has fetched and deleted its results

	// The slider, by keyboard, mouse and touch.
	value := func() (now int) {
		t.Helper()
		b.Eval(`Number(`+slider+`.getAttribute("aria-valuenow"))`, &now)
		return now
	}
	b.do(slider + `.focus()`)
	require.Equal(t, 50, value())
	for _, c := range []struct {
		key  string
		want int
	}{{"ArrowRight", 52}, {"ArrowLeft", 50}, {"PageUp", 70}, {"PageDown", 50}, {"End", 100}, {"ArrowRight", 100}, {"Home", 0}, {"ArrowUp", 2}} {
		b.Key(c.key)
		require.Equal(t, c.want, value(), c.key)
	}
	b.do(`document.querySelector("#compare").scrollIntoView()`)
	var frame struct{ X, Y, Width, Height float64 }
	b.Eval(`(() => { const r = document.querySelector(".frame").getBoundingClientRect(); return {X: r.x, Y: r.y, Width: r.width, Height: r.height}; })()`, &frame)
	require.Equal(t, 320.0, frame.Width)
	x, y := func(share float64) float64 { return frame.X + share*frame.Width }, frame.Y+frame.Height/3
	b.Mouse("mousePressed", x(0.3), y)
	b.Mouse("mouseMoved", x(0.6), y)
	require.InDelta(t, 60, value(), 1)
	b.Mouse("mouseMoved", x(0.25), y+900) // the pointer may leave the picture
	b.Mouse("mouseReleased", x(0.25), y)
	b.Mouse("mouseMoved", x(0.9), y)
	require.InDelta(t, 25, value(), 1)
	b.Touch(y, x(0.25), x(0.4), x(0.5))
	require.InDelta(t, 50, value(), 1)
	var shares []float64 // where the line stands, and where the photo as it was ends, in the frame
	edges := `(() => {
		const f = document.querySelector(".frame").getBoundingClientRect(), h = ` + slider + `.getBoundingClientRect(), i = document.querySelector(".before"), r = i.getBoundingClientRect();
		const cut = parseFloat(i.style.clipPath.split(" ")[1]);
		return [(h.x + h.width / 2 - f.x) / f.width, (r.right - cut - f.x) / f.width];
	})()`
	b.Eval(edges, &shares)
	require.InDeltaSlice(t, []float64{0.5, 0.5}, shares, 0.01)
	b.Screenshot("result")
	for _, zoom := range []struct {
		factor string
		width  int
	}{{"1", 320}, {"4", 1280}} {
		b.click(`[name=zoom][value="` + zoom.factor + `"]`)
		var width int
		b.Eval(`document.querySelector(".after").clientWidth`, &width)
		require.Equal(t, zoom.width, width)
		b.Eval(edges, &shares)
		require.InDeltaSlice(t, []float64{0.5, 0.5}, shares, 0.01, "the line stays where it is")
	}
	b.accessible("the result")
	b.Screenshot("zoomed")
	b.click(`[name=zoom][value="0"]`)

	// Downloads: one, and all as a zip.
	data, err := os.ReadFile(one)
	require.NoError(t, err)
	want := negative(t, data, photo.EncodeOptions{Format: photo.WebP})
	b.click(`[data-do="save"]`)
	require.Equal(t, want, b.download("one_deblurred.webp"))
	b.click("#save-all")
	packed := b.download("deblurred.zip")
	archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	require.NoError(t, err)
	require.Len(t, archive.File, 2)
	file, err := archive.File[0].Open()
	require.NoError(t, err)
	got, err := io.ReadAll(file) // checks the sum
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, "<b>two_deblurred.webp", archive.File[1].Name)

	// Cancel and retry, and an error in the words of the program.
	b.click(`[data-do="retry"]`)
	b.Until(`document.querySelector(".state").textContent.startsWith("restoring")`)
	b.click(`[data-do="cancel"]`)
	b.Until(`document.querySelector(".state").textContent === "cancelled"`)
	s.heldNothing()
	b.click(`[data-do="retry"]`)
	engine.gate <- errors.New("a value that is not finite came out")
	b.Until(`document.querySelector(".state.bad")?.textContent === "one.png: a value that is not finite came out"`)
	broken := filepath.Join(dir, "broken.png")
	require.NoError(t, os.WriteFile(broken, data[:len(data)-100], 0o666))
	b.Choose("#files", broken)
	b.Until(`document.querySelectorAll(".photo").length === 3`)
	b.click("#start")
	b.Until(`document.querySelectorAll(".state.bad").length === 2`)
	text := ""
	b.Eval(`document.querySelectorAll(".state.bad")[1].textContent`, &text)
	require.Contains(t, text, "broken.png: ")
	b.accessible("errors")
	b.Screenshot("error")

	b.Look(390, 844, "dark")
	b.Screenshot("phone-dark")
	var overflow float64
	b.Eval(`document.documentElement.scrollWidth - innerWidth`, &overflow)
	require.LessOrEqual(t, overflow, 0.0, "a telephone need not scroll sideways")
	b.accessible("on a telephone, in the dark")
	b.Look(390, 844, "light")
	b.Screenshot("phone")
	b.Look(1200, 900, "dark")
	b.Screenshot("dark")
	b.click("#clear")
	b.Until(`document.querySelectorAll(".photo").length === 0 && document.activeElement.id === "files"`)
	b.faultless()
}

// A page in which nothing is busy waits for its turn, and a page that is closed frees its places.
func TestPageInFullQueue(t *testing.T) {
	engine := &fakeEngine{gate: make(chan error)}
	s := start(t, engine, Options{Queue: 1})
	first := s.post("0.png", somePNG(t))
	s.waitFor(first.ID, running)
	second := s.post("1.png", somePNG(t))
	b := openTab(t, s.url)
	b.Until(`document.querySelector("[name=model]").options.length === 2`)
	b.Choose("#files", photoFile(t, t.TempDir(), "late.png", photo.EncodeOptions{}))
	b.Until(`document.querySelector("canvas").width === 320`)
	b.Choose("#files", photoFile(t, t.TempDir(), "later.png", photo.EncodeOptions{}))
	b.Until(`document.querySelectorAll("canvas")[1]?.width === 320`) // though no plan is made now
	b.do(`document.querySelectorAll('[data-do="remove"]')[1].click()`)
	b.click("#start")
	b.Until(`document.querySelector(".state").textContent.startsWith("1 of your photos are waiting") || document.querySelector(".state").textContent.startsWith("all 1 places")`)
	s.do("DELETE", "/api/v1/jobs/"+second.ID, nil)
	b.Until(`document.querySelector(".state").textContent === "waiting: number 1 in the queue"`)
	b.Call("Page.navigate", map[string]any{"url": "about:blank"}, nil)
	require.Eventually(t, func() bool { n, _ := s.queue.sizes(); return n == 0 }, 10*time.Second, 5*time.Millisecond)
}

func TestPageSignsIn(t *testing.T) {
	s := start(t, &fakeEngine{}, Options{Token: "0123456789abcdef"})
	b := openTab(t, s.url)
	b.Until(`document.querySelector("#sign-in").open`)
	b.accessible("signing in")
	b.Screenshot("sign-in")
	b.set("#token", "wrong")
	b.click("#sign-in button")
	b.Until(`document.querySelector("#sign-in").open && !document.querySelector("#sign-in-note").hidden`)
	b.set("#token", "0123456789abcdef")
	b.click("#sign-in button")
	b.Until(`document.querySelector("[name=model]").options.length === 2 && !document.querySelector("#sign-in").open`)
	b.Choose("#files", photoFile(t, t.TempDir(), "one.png", photo.EncodeOptions{}))
	b.Until(`!document.querySelector("#start").disabled`)
	b.click("#start")
	b.Until(`document.querySelector(".state.good")`)

	b = openTab(t, s.url+"#token=0123456789abcdef")
	b.Until(`document.querySelector("[name=model]").options.length === 2`)
	address := ""
	b.Eval(`location.href`, &address)
	require.NotContains(t, address, "token")
	b.faultless()
}

// TestPageEndToEnd has the program serve the tests' small model, and compares with what deblur writes.
func TestPageEndToEnd(t *testing.T) {
	testenv.Long(t)
	testgpu.Need(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "hidiff")
	out, err := exec.Command("go", "build", "-o", program, "hidiff/cli/hidiff").CombinedOutput()
	require.NoError(t, err, string(out))
	model, err := filepath.Abs("../../conformance/testdata/checkpoints")
	require.NoError(t, err)
	path := photoFile(t, dir, "street.jpg", photo.EncodeOptions{})
	out, err = exec.Command(program, "deblur", path, "-m", model, "--seed", "5").CombinedOutput()
	require.NoError(t, err, string(out))
	want, err := os.ReadFile(filepath.Join(dir, "street_deblurred.jpg"))
	require.NoError(t, err)

	c := exec.Command(program, "serve", "--listen", "127.0.0.1:0", "-m", model)
	said, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	url := ""
	for buffer := ""; url == ""; {
		part := make([]byte, 1000)
		n, err := said.Read(part)
		require.NoError(t, err, buffer)
		buffer += string(part[:n])
		if _, rest, ok := strings.Cut(buffer, "the page is at "); ok && strings.Contains(rest, ",") {
			url, _, _ = strings.Cut(rest, ",")
		}
	}
	b := openTab(t, url)
	b.Until(`document.querySelector("[name=model]").options.length === 1`)
	b.Drop(300, 200, path)
	b.Until(`document.querySelector(".plan")?.textContent.startsWith("320×240, exact, ")`)
	b.set("[name=seed]", "5")
	b.do(`window.told = []; new MutationObserver(() => told.push(document.querySelector("progress").value)).observe(document.querySelector("progress"), {attributes: true})`)
	b.click("#start")
	b.Until(`document.querySelector(".state.good")`)
	var told []float64
	b.Eval(`told`, &told)
	require.GreaterOrEqual(t, len(told), 3, "progress was seen: %v", told)
	b.do(slider + `.focus()`)
	b.Key("ArrowRight")
	b.Until(slider + `.getAttribute("aria-valuenow") === "52"`)
	b.click(`[data-do="save"]`)
	require.Equal(t, want, b.download("street_deblurred.jpg"))
	b.Screenshot("end-to-end")
	b.faultless()
	require.NoError(t, c.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(said)
	require.NoError(t, err)
	require.NoError(t, c.Wait(), "Ctrl-C is how it ends")
	require.NotContains(t, string(rest), "street")
}
