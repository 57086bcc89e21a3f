package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// heartbeat keeps proxies from taking a quiet stream for a dead one.
const heartbeat = 15 * time.Second

// events sends a job's state whenever it changes, as server-sent events, until it has ended.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	j, err := s.queue.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	send := func(text string) error {
		_ = control.SetWriteDeadline(time.Now().Add(s.patience)) // where it cannot be set, nothing is sent over a network
		if _, err := fmt.Fprint(w, text); err != nil {
			return err
		}
		return control.Flush()
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		info, changed := s.queue.look(j)
		text, err := json.Marshal(info)
		if err != nil {
			return err
		}
		if send(fmt.Sprintf("event: %s\ndata: %s\n\n", info.State, text)) != nil || info.State.ended() {
			return nil
		}
		for quiet := true; quiet; {
			select {
			case <-changed:
				quiet = false
			case <-beat.C:
				if send(":\n\n") != nil {
					return nil
				}
			case <-r.Context().Done():
				return nil
			}
		}
	}
}
