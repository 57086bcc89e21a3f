// The page's way to the models: over HTTP, to the server it is from. Another backend exports the same:
//
//   signIn(token)                           for those who were told Unauthorized
//   models()                                [{name, description, default}]
//   plan({width, height, model, ensemble})  {exact, bands, offload, peak_memory, memory_budget}
//   deblur(file, options, {signal, change}) {blob, name, warnings, seconds}; change is told {state, position, fraction,
//                                           seconds_left, note}; where signal aborts, the work ends
//
// Errors have a message for people.

export class Unauthorized extends Error {}

let token = "";

export function signIn(value) { token = value; }

function headers(more) {
  return token ? { ...more, Authorization: "Bearer " + token } : { ...more };
}

async function failure(response) {
  let problem = {};
  try { problem = await response.json(); } catch { /* not from this server */ }
  const text = problem.detail || `the server answers ${response.status}`;
  return response.status === 401 ? new Unauthorized(text) : new Error(text);
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw Object.assign(new Error("the server cannot be reached"), { offline: true });
  }
  return response;
}

async function getJSON(path) {
  const response = await call(path);
  if (!response.ok) throw await failure(response);
  return response.json();
}

export async function models() { return (await getJSON("api/v1/models")).models; }

export function plan(query) { return getJSON("api/v1/plan?" + new URLSearchParams(query)); }

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal.removeEventListener("abort", abort); resolve(); }, seconds * 1000);
    signal.addEventListener("abort", abort, { once: true });
  });
}

// again repeats what fails because the connection does, a few times.
async function again(signal, work) {
  for (let left = 4; ; left--) {
    try {
      return await work();
    } catch (error) {
      if (!error.offline || left === 0) throw error;
      await pause(2, signal);
    }
  }
}

// submit sends a photo until the server has a place for it. The key keeps a repeated request from being a second job.
async function submit(file, options, { signal, change }) {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
  const path = "api/v1/jobs?" + new URLSearchParams({ name: file.name, ...options });
  for (;;) {
    const response = await again(signal, () => call(path, {
      method: "POST", body: file, signal, headers: { "Content-Type": "application/octet-stream", "Idempotency-Key": key },
    }));
    if (response.ok) return response.json();
    const after = Number(response.headers.get("Retry-After"));
    const error = await failure(response);
    if (response.status !== 503 || !after) throw error;
    change({ state: "waiting", note: error.message });
    await pause(after, signal);
  }
}

// follow reads server-sent events until the job has ended.
async function follow(path, { signal, change }) {
  const response = await call(path + "/events", { signal });
  if (!response.ok) throw await failure(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data: "));
        if (!data) continue;
        const job = JSON.parse(data.slice(6));
        if (["done", "failed", "cancelled"].includes(job.state)) return job;
        change(job);
      }
    }
  } catch (error) {
    if (signal.aborted) throw error;
  }
  throw Object.assign(new Error("the connection to the server was lost"), { offline: true });
}

const unfinished = new Set();

function remove(path) {
  unfinished.delete(path);
  return fetch(path, { method: "DELETE", keepalive: true, headers: headers() }).catch(() => {}); // it expires by itself
}

addEventListener("pagehide", () => unfinished.forEach(remove));

export async function deblur(file, options, { signal, change }) {
  const job = await submit(file, options, { signal, change });
  const path = "api/v1/jobs/" + job.id;
  unfinished.add(path);
  try {
    signal.throwIfAborted();
    const ended = await again(signal, () => follow(path, { signal, change }));
    if (ended.state === "cancelled") throw new Error("the server gave this photo up");
    if (ended.state === "failed") throw new Error(ended.error.detail);
    const blob = await again(signal, async () => {
      const response = await call(path + "/result", { signal });
      if (!response.ok) throw await failure(response);
      return response.blob();
    });
    return { blob, name: ended.output, warnings: ended.warnings, seconds: ended.seconds };
  } finally {
    remove(path);
  }
}
