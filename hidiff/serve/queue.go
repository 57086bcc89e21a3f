package serve

import (
	"math"
	"net/http"
	"slices"
	"sync"
	"time"
)

// queue holds all jobs. Those that wait are taken from one client after the other, in turns.
type queue struct {
	places int           // how many may wait
	limit  int64         // bytes that uploads and results may take
	keep   time.Duration // how long a result is kept

	mu      sync.Mutex
	jobs    map[string]*job
	keys    map[string]*job   // by client and Idempotency-Key
	waiting map[string][]*job // by client
	turns   []string          // the clients that have jobs waiting, the next one first
	count   int               // of those that wait
	held    int64
	pace    float64 // seconds that a job takes, of late
	closed  bool
	wake    chan struct{}
}

func newQueue(places int, limit int64, keep time.Duration) *queue {
	return &queue{
		places: places, limit: limit, keep: keep, jobs: map[string]*job{}, keys: map[string]*job{}, waiting: map[string][]*job{}, wake: make(chan struct{}, 1),
	}
}

// room returns why a job of this client cannot wait here. Of a longer queue, a client alone gets three quarters, so
// that others find a place.
func (q *queue) room(client string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.roomLocked(client)
}

func (q *queue) roomLocked(client string) error {
	switch {
	case q.closed:
		return errShuttingDown
	case q.count >= q.places:
		return problemf(http.StatusServiceUnavailable, "queue-full", "all %d places in the queue are taken: try again in a little while", q.places).after(q.retry())
	case len(q.waiting[client]) >= q.places-q.places/4:
		return problemf(http.StatusServiceUnavailable, "queue-full", "%d of your photos are waiting, the rest of the queue is for others: try again in a little while",
			len(q.waiting[client])).after(q.retry())
	}
	return nil
}

// retry is in how many seconds a place should be free.
func (q *queue) retry() int { return int(min(max(math.Ceil(q.pace), 1), 60)) }

// take accounts for n more bytes of an upload, or says that there is no room for them.
func (q *queue) take(n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held+n > q.limit {
		return problemf(http.StatusServiceUnavailable, "memory-full", "too many photos and results are held in memory: fetch and delete results, or try again in a little while").after(q.retry())
	}
	q.held += n
	return nil
}

func (q *queue) give(n int64) {
	q.mu.Lock()
	q.held -= n
	q.mu.Unlock()
}

// add lets a job wait, whose upload is accounted for, or returns the one that its client sent before under the same key.
func (q *queue) add(j *job) (*job, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if earlier := q.keys[j.keyed()]; j.key != "" && earlier != nil {
		if earlier.fingerprint != j.fingerprint {
			return nil, problemf(http.StatusUnprocessableEntity, "key-reused", "this Idempotency-Key belongs to another request: use a new one")
		}
		return earlier, nil
	}
	if err := q.roomLocked(j.client); err != nil {
		return nil, err
	}
	q.jobs[j.id] = j
	if j.key != "" {
		q.keys[j.keyed()] = j
	}
	if len(q.waiting[j.client]) == 0 {
		q.turns = append(q.turns, j.client)
	}
	q.waiting[j.client] = append(q.waiting[j.client], j)
	q.count++
	q.signal()
	return j, nil
}

func (j *job) keyed() string { return j.client + "\x00" + j.key }

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for a job and marks it as running; it returns nil when the queue is closed.
func (q *queue) next() *job {
	for {
		q.mu.Lock()
		if len(q.turns) > 0 {
			j := q.waiting[q.turns[0]][0]
			client := q.leave(j)
			if len(q.waiting[client]) > 0 {
				q.turns = append(q.turns[1:], client)
			}
			j.state, j.started = running, time.Now()
			q.notifyWaiting()
			j.notify()
			q.mu.Unlock()
			return j
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		<-q.wake
	}
}

// leave takes a job from those that wait.
func (q *queue) leave(j *job) (client string) {
	at := slices.Index(q.waiting[j.client], j)
	q.waiting[j.client] = slices.Delete(q.waiting[j.client], at, at+1)
	if len(q.waiting[j.client]) == 0 {
		delete(q.waiting, j.client)
		q.turns = slices.DeleteFunc(q.turns, func(c string) bool { return c == j.client })
	}
	q.count--
	return j.client
}

func (j *job) notify() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// notifyWaiting tells those that wait that they have moved up.
func (q *queue) notifyWaiting() {
	for _, jobs := range q.waiting {
		for _, j := range jobs {
			j.notify()
		}
	}
}

// update changes a job; what it holds in memory may change.
func (q *queue) update(j *job, change func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := j.held()
	change()
	if q.jobs[j.id] == j {
		q.held += j.held() - before
	} else { // deleted meanwhile
		q.held -= before
		j.data, j.result = nil, nil
	}
	j.notify()
}

// end is a job's last change of state. Its result is kept for a while.
func (q *queue) end(j *job, result []byte, problem *problem, gone bool) {
	q.update(j, func() {
		j.took, j.data = time.Since(j.started), nil
		switch {
		case gone:
			j.state = cancelled
		case problem != nil:
			j.state, j.problem = failed, problem
		default:
			j.state, j.result, j.fraction = done, result, 1
			if q.pace == 0 {
				q.pace = j.took.Seconds()
			}
			q.pace += (j.took.Seconds() - q.pace) / 4
		}
	})
	time.AfterFunc(q.keep, func() { q.remove(j) })
}

// remove forgets a job, wherever it is. One that runs ends soon.
func (q *queue) remove(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.removeLocked(j)
}

func (q *queue) removeLocked(j *job) {
	if q.jobs[j.id] != j {
		return
	}
	j.cancel()
	delete(q.jobs, j.id)
	if q.keys[j.keyed()] == j {
		delete(q.keys, j.keyed())
	}
	if j.state == waiting {
		q.leave(j)
		q.notifyWaiting()
	}
	if !j.state.ended() {
		j.state = cancelled
	}
	q.held -= j.held()
	j.data, j.result = nil, nil
	j.notify()
}

// watch counts a request that waits for a job's result. When the last one goes before the job has ended, nobody wants it.
func (q *queue) watch(j *job) (stop func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j.watchers++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if j.watchers--; j.watchers == 0 && (j.key == "" || !j.state.ended()) {
			q.removeLocked(j)
		}
	}
}

// find returns a job by its number.
func (q *queue) find(id string) (*job, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j := q.jobs[id]; j != nil {
		return j, nil
	}
	return nil, errNoSuchJob
}

// look returns what a job is like now, and a channel that is closed when that changes.
func (q *queue) look(j *job) (jobInfo, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return j.info(q.position(j)), j.changed
}

// position is 1 for the job whose turn is next, and 0 for those that do not wait.
func (q *queue) position(j *job) int {
	at := slices.Index(q.waiting[j.client], j)
	if at < 0 {
		return 0
	}
	before := 0 // of the others, in full rounds and in the last one
	turn := slices.Index(q.turns, j.client)
	for i, client := range q.turns {
		if client != j.client {
			rounds := at
			if i < turn {
				rounds++
			}
			before += min(len(q.waiting[client]), rounds)
		}
	}
	return before + at + 1
}

// fetch returns a job's result, or why there is none.
func (q *queue) fetch(j *job) ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case j.problem != nil:
		return nil, j.problem
	case j.state == cancelled || q.jobs[j.id] != j:
		return nil, errNoSuchJob
	case j.state != done:
		return nil, problemf(http.StatusConflict, "not-finished", "this photo is not finished yet: it is %s", j.state).after(q.retry())
	}
	j.fetched = true
	return j.result, nil
}

// close refuses further jobs and fails those that wait.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for len(q.turns) > 0 {
		j := q.waiting[q.turns[0]][0]
		q.leave(j)
		q.held -= j.held()
		j.state, j.problem, j.data = failed, errShuttingDown, nil
		j.notify()
	}
	q.signal()
}

// unfetched reports whether a result lies there that nobody has got.
func (q *queue) unfetched() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range q.jobs {
		if j.state == done && !j.fetched {
			return true
		}
	}
	return false
}

// sizes are for the metrics.
func (q *queue) sizes() (waiting int, held int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count, q.held
}
