package eval

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/internal/testenv"
)

// browser is a headless Chromium, spoken to by the DevTools protocol over pipes.
type browser struct {
	t       *testing.T
	to      *os.File
	replies chan reply
	session string
	id      int
}

type reply struct {
	ID     int
	Result json.RawMessage
	Error  *struct{ Message string }
}

// startBrowser ends the test where there is no Chromium.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	program := testenv.Program(t, "BROWSER", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
	input, to, err := os.Pipe()
	require.NoError(t, err)
	output, from, err := os.Pipe()
	require.NoError(t, err)
	var log bytes.Buffer
	args := []string{
		"--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--remote-debugging-pipe", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(), "about:blank",
	}
	if os.Geteuid() == 0 {
		args = append([]string{"--no-sandbox"}, args...)
	}
	c := exec.Command(program, args...)
	c.ExtraFiles, c.Stderr = []*os.File{input, from}, &log // its files 3 and 4
	require.NoError(t, c.Start())
	require.NoError(t, input.Close())
	require.NoError(t, from.Close())
	b := &browser{t: t, to: to, replies: make(chan reply, 100)}
	go func() {
		defer close(b.replies)
		for r := bufio.NewReader(output); ; {
			text, err := r.ReadBytes(0)
			if err != nil {
				return
			}
			var m reply
			if json.Unmarshal(text[:len(text)-1], &m) == nil && m.ID != 0 {
				b.replies <- m
			}
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Chromium said: %s", log.String())
		}
		b.id++
		fmt.Fprintf(to, `{"id":%d,"method":"Browser.close"}`+"\x00", b.id)
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = c.Process.Kill()
			<-ended
		}
		_ = to.Close()
		_ = output.Close()
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	return b
}

func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.id++
	text, err := json.Marshal(struct {
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
		Session string `json:"sessionId,omitempty"`
	}{b.id, method, params, b.session})
	require.NoError(b.t, err)
	_, err = b.to.Write(append(text, 0))
	require.NoError(b.t, err)
	timeout := time.After(60 * time.Second)
	for {
		select {
		case m, ok := <-b.replies:
			require.True(b.t, ok, "Chromium has ended")
			if m.ID != b.id {
				continue
			}
			require.Nil(b.t, m.Error, "%s: %v", method, m.Error)
			if result != nil {
				require.NoError(b.t, json.Unmarshal(m.Result, result))
			}
			return
		case <-timeout:
			b.t.Fatalf("%s: no answer", method)
		}
	}
}

// eval computes an expression of JavaScript in the page, into result.
func (b *browser) eval(expression string, result any) {
	b.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Text string }
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &answer)
	require.Nil(b.t, answer.ExceptionDetails, expression)
	require.NoError(b.t, json.Unmarshal(answer.Result.Value, result), expression)
}

func (b *browser) open(url string, width, height int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	for range 200 {
		var ready bool
		if b.eval(`document.readyState === "complete" && location.protocol === "file:"`, &ready); ready {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.t.Fatal("the page is never complete")
}

func (b *browser) mouse(kind string, x, y float64) {
	b.t.Helper()
	buttons := 1
	if kind == "mouseReleased" {
		buttons = 0
	}
	b.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1}, nil)
}

func (b *browser) key(key string) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key}, nil)
	}
}

// screenshot returns what is on screen, and keeps it where HIDIFF_SCREENSHOTS names a folder.
func (b *browser) screenshot(name string) image.Image {
	b.t.Helper()
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	require.NoError(b.t, err)
	if dir := os.Getenv("HIDIFF_SCREENSHOTS"); dir != "" {
		require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), data, 0o666))
	}
	img, err := png.Decode(bytes.NewReader(data))
	require.NoError(b.t, err)
	return img
}

// openReport opens the report in a folder, holds it to showing all its pictures and loading nothing from elsewhere, and
// returns how many pictures there are.
func (b *browser) openReport(dir string) (pictures int) {
	b.t.Helper()
	b.open("file://"+dir+"/index.html", 1200, 900, "light")
	var broken []string
	b.eval(`Promise.all(Array.from(document.images).map(function (i) { i.loading = "eager"; return i.decode().then(function () {}, function () { return i.src; }); }))
		.then(function (all) { return all.filter(Boolean); })`, &broken)
	require.Empty(b.t, broken, "every picture is shown")
	var outside []string
	b.eval(`performance.getEntriesByType("resource").map(function (r) { return r.name; }).filter(function (n) { return n.indexOf(location.href.replace("index.html", "")) !== 0; })`, &outside)
	require.Empty(b.t, outside, "nothing is loaded from elsewhere")
	b.eval(`document.images.length`, &pictures)
	return pictures
}

// OpenReport is openReport in a browser of its own, for tests outside of the package.
func OpenReport(t *testing.T, dir string) (pictures int) { return startBrowser(t).openReport(dir) }

type box struct{ X, Y, Width, Height float64 }

// TestReportInBrowser opens a report as a file, drags its slider, and looks at the pixels.
func TestReportInBrowser(t *testing.T) {
	b := startBrowser(t)
	e, sources := whole(t)
	dir := filepath.Join(t.TempDir(), "report")
	require.NoError(t, e.WritePage(t.Context(), dir, sources, 24))
	require.Equal(t, 6*6, b.openReport(dir), "six images, each with two in the slider and four below")
	var titles []string
	b.eval(`Array.from(document.querySelectorAll("h4"), function (h) { return h.textContent; })`, &titles)
	require.Contains(t, titles, `<script>alert("x")</script>`, "a name is text")

	// The picture that is compared first: dark where the target is bright, so that the slider shows in pixels.
	b.eval(`document.querySelector(".compare").scrollIntoView({block: "center"}), 0`, new(int))
	var frame box
	b.eval(`(function () { var r = document.querySelector(".compare").getBoundingClientRect(); return {x: r.x, y: r.y, width: r.width, height: r.height}; })()`, &frame)
	require.Greater(t, frame.Width, 300.0)
	at := func(share float64) float64 { return frame.X + share*frame.Width }
	middle := frame.Y + frame.Height/3
	value := func() (now int) {
		t.Helper()
		b.eval(`Number(document.querySelector(".handle").getAttribute("aria-valuenow"))`, &now)
		return now
	}
	b.eval(`document.querySelectorAll(".sides button")[2].click(), 0`, new(int)) // the error map is on the left
	b.eval(`document.querySelector(".over").decode().then(function () { return 0; })`, new(int))
	require.Equal(t, 50, value())
	require.NotEmpty(t, b.screenshot("light"))

	b.mouse("mousePressed", at(0.5), middle)
	b.mouse("mouseMoved", at(0.7), middle)
	b.mouse("mouseMoved", at(0.9), middle)
	require.InDelta(t, 90, value(), 1)
	dragged := b.screenshot("dragged")
	b.mouse("mouseMoved", at(0.1), middle+500) // the pointer may leave the picture
	require.InDelta(t, 10, value(), 1)
	back := b.screenshot("dragged-back")
	b.mouse("mouseReleased", at(0.1), middle)
	b.mouse("mouseMoved", at(0.6), middle)
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
		b.key(c.key)
		require.Equal(t, c.want, value(), c.key)
	}

	// Sorting: by PSNR down and up, by name.
	var firsts []string
	b.eval(`(function () {
		document.querySelectorAll("details").forEach(function (d) { d.open = true; });
		var table = document.querySelector(".sortable"), heads = table.querySelectorAll("th button");
		return [1, 1, 0].map(function (i) { heads[i].click(); return table.tBodies[0].rows[0].cells[0].textContent; });
	})()`, &firsts)
	require.Equal(t, []string{names(e.Datasets[0].ranked())[0], "01_coffee", "00_astronaut"}, firsts)

	b.open("file://"+dir+"/index.html", 420, 800, "dark")
	var colour string
	b.eval(`getComputedStyle(document.body).backgroundColor`, &colour)
	require.Equal(t, "rgb(22, 23, 26)", colour)
	var overflow float64
	b.eval(`document.documentElement.scrollWidth - innerWidth`, &overflow)
	require.LessOrEqual(t, overflow, 0.0, "a telephone need not scroll sideways")
	b.screenshot("dark")
	b.open("file://"+dir+"/index.html", 1200, 900, "dark")
	b.eval(`document.querySelectorAll("h2")[1].scrollIntoView(), 0`, new(int))
	b.screenshot("dark-wide")
}
