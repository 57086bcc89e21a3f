import * as backend from "./backend.js";
import { Compare } from "./compare.js";
import { zip } from "./zip.js";

const $ = (id) => document.getElementById(id);
const compare = new Compare($("compare"));
const photos = [];
const atOnce = 2; // photos that are on their way to the server or in its queue

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let n = 0;
  for (; bytes >= 1024 && n < 4; n++) bytes /= 1024;
  return `${n ? bytes.toFixed(bytes < 10 ? 1 : 0) : bytes} ${units[n]}`;
}

function duration(seconds) {
  if (seconds < 90) return `${seconds < 10 && seconds % 1 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function options() {
  const form = $("options"), data = Object.fromEntries(new FormData(form));
  data.ensemble = form.ensemble.checked;
  data.strip = form.strip.checked;
  if (!data.format) delete data.format;
  return data;
}

class Photo {
  constructor(file) {
    this.file = file;
    this.state = "ready";
    this.url = URL.createObjectURL(file);
    this.element = $("photo").content.firstElementChild.cloneNode(true);
    this.part = (selector) => this.element.querySelector(selector);
    this.part(".name").textContent = file.name;
    this.part("progress").setAttribute("aria-label", `progress of ${file.name}`);
    for (const button of this.element.querySelectorAll("[data-do]")) {
      button.setAttribute("aria-label", `${button.textContent} ${file.name}`);
      button.addEventListener("click", () => this[button.dataset.do]());
    }
    this.part(".thumb").addEventListener("click", () => this.compare());
    this.part(".thumb").setAttribute("aria-label", `compare ${file.name}`);
    this.draw();
  }

  // look makes the thumbnail, and learns the size.
  async look() {
    try {
      const bitmap = await createImageBitmap(this.file);
      const canvas = this.part("canvas"), scale = Math.min(320 / bitmap.width, 240 / bitmap.height, 1);
      [canvas.width, canvas.height] = [Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale)];
      canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      [this.width, this.height] = [bitmap.width, bitmap.height];
      bitmap.close();
    } catch {
      this.width = 0; // a format that this browser does not show; the server may
    }
    this.tellPlan();
  }

  // tellPlan asks for the plan when the others' have come. While a photo is restored, that takes as long.
  tellPlan() { planning = planning.then(() => this.askPlan()); }

  async askPlan() {
    if (!this.width || this.state !== "ready") return;
    const { model, ensemble } = options();
    try {
      this.showPlan(await backend.plan({ width: this.width, height: this.height, model, ensemble }));
    } catch (error) {
      this.showPlan(null, error.message);
    }
  }

  showPlan(plan, error) {
    let text = error || "";
    if (plan) {
      text = `${this.width}×${this.height}, ${plan.exact ? "exact" : "in tiles, inexact"}, ${plan.bands > 1 ? `in up to ${plan.bands} bands` : "whole"}`;
      if (plan.offload) text += ", feature maps in ordinary memory: slower";
      text += `; GPU memory: ${size(plan.peak_memory)}${plan.memory_budget ? " of " + size(plan.memory_budget) : ""} at most`;
    }
    this.part(".plan").textContent = text;
    this.part(".plan").classList.toggle("bad", !plan && text !== "");
  }

  get busy() { return this.state === "queued" || this.state === "waiting" || this.state === "running"; }

  set(state, text, kind = "") {
    this.state = state;
    const line = this.part(".state");
    line.textContent = text;
    line.className = "state " + kind;
    this.draw();
    summarize();
  }

  draw() {
    const show = { compare: this.state === "done", save: this.state === "done", cancel: this.busy, retry: this.state === "failed" || this.state === "cancelled" || this.state === "done", remove: !this.busy };
    for (const button of this.element.querySelectorAll("[data-do]")) button.hidden = !show[button.dataset.do];
    this.part("progress").hidden = this.state !== "running";
    this.part(".thumb").disabled = this.state !== "done";
  }

  change(job) {
    this.part("progress").value = job.fraction || 0;
    if (job.state === "running") {
      if (job.plan) this.showPlan(job.plan);
      const left = job.seconds_left == null ? "" : `, about ${duration(Math.max(1, Math.round(job.seconds_left)))} left`;
      this.set("running", `restoring: ${Math.floor((job.fraction || 0) * 100)} %${left}`);
    } else {
      this.set("waiting", job.note || (job.position ? `waiting: number ${job.position} in the queue` : "waiting"));
    }
  }

  async run() {
    this.work = new AbortController();
    this.set("waiting", "sending");
    try {
      this.result = await backend.deblur(this.file, this.options, { signal: this.work.signal, change: (job) => this.change(job) });
      this.resultURL = URL.createObjectURL(this.result.blob);
      const warnings = this.part(".warnings");
      warnings.replaceChildren(...this.result.warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
      warnings.hidden = this.result.warnings.length === 0;
      this.set("done", `restored in ${duration(this.result.seconds)}`, "good");
      announce(`${this.file.name} is restored`);
      if (!shown || shown.state !== "done") this.compare(false);
    } catch (error) {
      if (this.work.signal.aborted) {
        this.set("cancelled", "cancelled");
      } else if (error instanceof backend.Unauthorized) {
        await signIn(true);
        return this.run();
      } else {
        this.set("failed", error.message, "bad");
        announce(`${this.file.name} could not be restored`);
      }
    }
  }

  enqueue() {
    this.forget();
    this.options = options();
    this.set("queued", "waiting");
  }

  forget() {
    if (shown === this) { shown = null; compare.hide(); this.element.classList.remove("shown"); }
    if (this.resultURL) URL.revokeObjectURL(this.resultURL);
    this.result = this.resultURL = null;
    this.part(".warnings").hidden = true;
  }

  compare(scroll = true) {
    if (shown) shown.element.classList.remove("shown");
    shown = this;
    this.element.classList.add("shown");
    compare.show(this.file.name, this.url, this.resultURL);
    if (scroll) $("compare").scrollIntoView({ block: "nearest" });
  }

  save() { download(this.resultURL, this.result.name); }

  cancel() {
    if (this.state === "queued") this.set("cancelled", "cancelled"); else this.work.abort();
  }

  retry() {
    if (!$("options").reportValidity()) return;
    this.enqueue();
    pump();
    this.part('[data-do="cancel"]').focus();
  }

  remove() {
    const next = this.element.nextElementSibling || this.element.previousElementSibling;
    this.discard();
    summarize();
    (next ? next.querySelector('[data-do="remove"]:not([hidden]), [data-do="cancel"]') : $("files")).focus();
  }

  discard() {
    this.forget();
    URL.revokeObjectURL(this.url);
    this.element.remove();
    photos.splice(photos.indexOf(this), 1);
  }
}

let shown = null, working = 0, looking = Promise.resolve(), planning = Promise.resolve();

async function pump() {
  while (working < atOnce) {
    const next = photos.find((photo) => photo.state === "queued");
    if (!next) return;
    working++;
    next.run().finally(() => { working--; pump(); });
  }
}

function announce(text) { $("status").textContent = `${text}; ${counts()}`; }

function counts() {
  const done = photos.filter((photo) => photo.state === "done").length;
  const failed = photos.filter((photo) => photo.state === "failed").length;
  return `restored ${done} of ${photos.length} ${photos.length === 1 ? "photo" : "photos"}${failed ? `, ${failed} failed` : ""}`;
}

function summarize() {
  const ready = photos.filter((photo) => photo.state === "ready").length;
  const done = photos.filter((photo) => photo.state === "done").length;
  $("start").disabled = ready === 0;
  $("start").textContent = ready > 1 ? `Deblur ${ready} photos` : "Deblur";
  $("save-all").hidden = done < 2;
  $("clear").hidden = photos.length === 0 || photos.some((photo) => photo.busy);
  $("photos-title").hidden = photos.length === 0;
}

function add(files) {
  for (const file of files) {
    const photo = new Photo(file);
    photos.push(photo);
    $("photos").append(photo.element);
    looking = looking.then(() => photo.look()); // one at a time: big photos take much memory
  }
  summarize();
  if (files.length) $("status").textContent = `${files.length} ${files.length === 1 ? "photo" : "photos"} added`;
}

function download(url, name) {
  const link = document.createElement("a");
  [link.href, link.download] = [url, name];
  link.click();
}

$("files").addEventListener("change", (event) => { add([...event.target.files]); event.target.value = ""; });
addEventListener("paste", (event) => add([...event.clipboardData.files]));
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const end of ["dragleave", "drop"]) addEventListener(end, (event) => {
  if (end === "drop" || !event.relatedTarget) $("drop").classList.remove("over");
});
addEventListener("drop", (event) => { event.preventDefault(); add([...event.dataTransfer.files]); });
addEventListener("beforeunload", (event) => { if (photos.some((photo) => photo.busy)) event.preventDefault(); });

$("options").addEventListener("submit", (event) => event.preventDefault());
for (const name of ["model", "ensemble"]) $("options")[name].addEventListener("change", () => {
  for (const photo of photos) photo.tellPlan();
});

$("start").addEventListener("click", () => {
  if (!$("options").reportValidity()) return;
  photos.filter((photo) => photo.state === "ready").forEach((photo) => photo.enqueue());
  $("status").textContent = "restoring";
  pump();
});

$("save-all").addEventListener("click", async () => {
  try {
    const url = URL.createObjectURL(await zip(photos.filter((photo) => photo.state === "done").map((photo) => photo.result)));
    download(url, "deblurred.zip");
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) {
    $("status").textContent = error.message;
  }
});

$("clear").addEventListener("click", () => {
  for (const photo of [...photos]) photo.discard();
  $("status").textContent = "";
  summarize();
  $("files").focus();
});

let asking = null;

// signIn asks for the token, once for all who need it.
function signIn(wrong) {
  asking ??= new Promise((resolve) => {
    $("sign-in-note").hidden = !wrong;
    $("sign-in").addEventListener("close", () => { setToken($("token").value); asking = null; resolve(); }, { once: true });
    $("sign-in").showModal();
  });
  return asking;
}

function setToken(token) {
  backend.signIn(token);
  sessionStorage.setItem("token", token);
}

// begin fills in the models. The token may come in the address, behind #, which no server is sent.
async function begin() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) history.replaceState(null, "", location.pathname);
  const token = given || sessionStorage.getItem("token");
  if (token) setToken(token);
  for (let wrong = Boolean(token); ; wrong = true) {
    try {
      const models = await backend.models();
      $("options").model.replaceChildren(...models.map((m) => Object.assign(document.createElement("option"), { value: m.name, textContent: m.name, title: m.description || "" })));
      return;
    } catch (error) {
      if (!(error instanceof backend.Unauthorized)) {
        $("status").textContent = error.message;
        return;
      }
      await signIn(wrong);
    }
  }
}

begin();
