// Package browser drives a headless Chromium for tests of pages.
package browser

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

// Browser is a headless Chromium, spoken to by the DevTools protocol over pipes.
type Browser struct {
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

// Start ends the test where there is no Chromium.
func Start(t *testing.T) *Browser {
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
	b := &Browser{t: t, to: to, replies: make(chan reply, 100)}
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
	b.Call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.Call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	return b
}

// Call calls a method of the protocol in the tab; result may be nil.
func (b *Browser) Call(method string, params, result any) {
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

// Eval computes an expression of JavaScript in the page, into result.
func (b *Browser) Eval(expression string, result any) {
	b.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Text string }
	}
	b.Call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &answer)
	require.Nil(b.t, answer.ExceptionDetails, expression)
	require.NoError(b.t, json.Unmarshal(answer.Result.Value, result), expression)
}

// Look sets the size of the window, and whether the user prefers "light" or "dark".
func (b *Browser) Look(width, height int, scheme string) {
	b.t.Helper()
	b.Call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.Call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Open loads a page.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.Call("Page.navigate", map[string]any{"url": url}, nil)
	b.Until(`document.readyState === "complete" && location.href !== "about:blank"`)
}

// Until waits for an expression to be true.
func (b *Browser) Until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		ok := false
		if b.Eval("Boolean("+expression+")", &ok); ok {
			return
		}
		if time.Now().After(end) {
			text := ""
			b.Eval(`document.body.innerText`, &text)
			b.t.Fatalf("it never comes to %s; the page says: %s", expression, text)
		}
	}
}

// Mouse sends an event of the left button, such as mousePressed.
func (b *Browser) Mouse(kind string, x, y float64) {
	b.t.Helper()
	buttons := 1
	if kind == "mouseReleased" {
		buttons = 0
	}
	b.Call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1}, nil)
}

// Key presses a key.
func (b *Browser) Key(key string) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		b.Call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key}, nil)
	}
}

// Screenshot returns what is on screen, and keeps it where HIDIFF_SCREENSHOTS names a folder.
func (b *Browser) Screenshot(name string) image.Image {
	b.t.Helper()
	var shot struct{ Data string }
	b.Call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	require.NoError(b.t, err)
	if dir := os.Getenv("HIDIFF_SCREENSHOTS"); dir != "" {
		require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), data, 0o666))
	}
	img, err := png.Decode(bytes.NewReader(data))
	require.NoError(b.t, err)
	return img
}

// Choose gives files to an input of the page.
func (b *Browser) Choose(selector string, paths ...string) {
	b.t.Helper()
	var document struct{ Root struct{ NodeID int } }
	b.Call("DOM.getDocument", nil, &document)
	var found struct{ NodeID int }
	b.Call("DOM.querySelector", map[string]any{"nodeId": document.Root.NodeID, "selector": selector}, &found)
	b.Call("DOM.setFileInputFiles", map[string]any{"nodeId": found.NodeID, "files": paths}, nil)
}

// Drop drops files on the page.
func (b *Browser) Drop(x, y float64, paths ...string) {
	b.t.Helper()
	for _, kind := range []string{"dragEnter", "dragOver", "drop"} {
		b.Call("Input.dispatchDragEvent", map[string]any{"type": kind, "x": x, "y": y,
			"data": map[string]any{"items": []any{}, "files": paths, "dragOperationsMask": 1}}, nil)
	}
}

// Touch moves a finger along x at height y.
func (b *Browser) Touch(y float64, x ...float64) {
	b.t.Helper()
	for i := range x {
		kind := "touchMove"
		if i == 0 {
			kind = "touchStart"
		}
		b.Call("Input.dispatchTouchEvent", map[string]any{"type": kind, "touchPoints": []map[string]float64{{"x": x[i], "y": y}}}, nil)
	}
	b.Call("Input.dispatchTouchEvent", map[string]any{"type": "touchEnd", "touchPoints": []any{}}, nil)
}

// Downloads has the browser put what pages have it download into a folder, which it returns.
func (b *Browser) Downloads() string {
	b.t.Helper()
	dir := b.t.TempDir()
	b.Call("Page.setDownloadBehavior", map[string]any{"behavior": "allow", "downloadPath": dir}, nil)
	return dir
}
