// Compare is the slider between a photo before and after. The line stands in the frame; the photo may be zoomed and moved behind it.
export class Compare {
  constructor(section) {
    this.section = section;
    this.frame = section.querySelector(".frame");
    this.view = section.querySelector(".view");
    this.stage = section.querySelector(".stage");
    this.before = section.querySelector(".before");
    this.after = section.querySelector(".after");
    this.handle = section.querySelector(".handle");
    this.note = section.querySelector(".note");
    this.title = section.querySelector("h2");
    this.zoom = 0;
    this.at = 50;
    section.querySelectorAll("[name=zoom]").forEach((radio) => radio.addEventListener("change", () => this.setZoom(Number(radio.value))));
    this.handle.addEventListener("keydown", (event) => this.key(event));
    this.handle.addEventListener("pointerdown", (event) => this.drag(event, this.handle));
    this.view.addEventListener("pointerdown", (event) => {
      if (this.zoom === 0) this.drag(event, this.view); else if (event.pointerType === "mouse") this.pan(event);
    });
    this.view.addEventListener("scroll", () => this.draw());
    addEventListener("resize", () => this.layout());
  }

  // show takes two addresses of pictures. It can be told another pair before this one has come.
  async show(title, before, after) {
    this.title.textContent = title;
    this.section.hidden = false;
    const pair = Symbol();
    this.pair = pair;
    [this.before.src, this.after.src] = [before, after];
    const shown = await Promise.all([this.before, this.after].map((img) => img.decode().then(() => true, () => false)));
    if (this.pair !== pair) return;
    this.note.hidden = shown[0] && shown[1];
    this.frame.hidden = !this.note.hidden;
    this.layout();
  }

  hide() {
    this.section.hidden = true;
    this.pair = null;
    [this.before, this.after].forEach((img) => img.removeAttribute("src"));
  }

  setZoom(zoom) {
    const middle = [this.view.scrollLeft + this.view.clientWidth / 2, this.view.scrollTop + this.view.clientHeight / 2];
    const width = this.stage.clientWidth;
    this.zoom = zoom;
    this.layout();
    const grown = this.stage.clientWidth / width;
    this.view.scrollTo(middle[0] * grown - this.view.clientWidth / 2, middle[1] * grown - this.view.clientHeight / 2);
    this.draw(); // the event of scrolling comes later
  }

  layout() {
    if (this.section.hidden || !this.after.naturalWidth) return;
    const { naturalWidth: w, naturalHeight: h } = this.after;
    const room = this.section.clientWidth;
    const scale = this.zoom ? this.zoom / devicePixelRatio : Math.min(1, room / w, innerHeight * 0.75 / h);
    this.frame.classList.toggle("zoomed", this.zoom > 0);
    this.stage.style.width = w * scale + "px";
    this.stage.style.height = h * scale + "px";
    this.frame.style.width = Math.min(room, w * scale) + "px";
    this.draw();
  }

  draw() {
    const edge = this.frame.getBoundingClientRect().left + this.at / 100 * this.frame.clientWidth - this.stage.getBoundingClientRect().left;
    this.before.style.clipPath = `inset(0 ${Math.max(0, this.stage.clientWidth - edge)}px 0 0)`;
    this.handle.style.left = this.at + "%";
    this.handle.setAttribute("aria-valuenow", Math.round(this.at));
    this.handle.setAttribute("aria-valuetext", `${Math.round(this.at)} % before, ${100 - Math.round(this.at)} % restored`);
  }

  move(at) {
    this.at = Math.min(100, Math.max(0, at));
    this.draw();
  }

  key(event) {
    const steps = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -20, PageUp: 20, Home: -100, End: 100 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.move(this.at + steps[event.key]);
  }

  // follow calls moved with the pointer's way until it is let go.
  follow(event, element, moved) {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    const stop = new AbortController();
    element.addEventListener("pointermove", moved, { signal: stop.signal });
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => stop.abort(), { signal: stop.signal });
  }

  drag(event, element) {
    const to = ({ clientX }) => {
      const frame = this.frame.getBoundingClientRect();
      this.move((clientX - frame.left) / frame.width * 100);
    };
    this.follow(event, element, to);
    to(event);
    this.handle.focus({ preventScroll: true });
    event.preventDefault();
  }

  pan(event) {
    const { clientX: x, clientY: y } = event, { scrollLeft: left, scrollTop: top } = this.view;
    this.follow(event, this.view, (moved) => this.view.scrollTo(left + x - moved.clientX, top + y - moved.clientY));
  }
}
