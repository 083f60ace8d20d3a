// The page: which face is shown, how sharp, and what the controls do.

const SIZES = [64, 96, 128, 192, 256, 320, 384, 512];  // pixels, moving
const MOST = 512;      // pixels of a picture at rest
const SLOW = 40;       // milliseconds of a picture; slower ones get smaller
const PATIENCE = 6;    // pictures in time before they get larger
// Of rays while it moves: from the field, and from the volume.
const ROUGH = {rough: true, pace: 2, fade: 4, dark: 0.03};
const BAKED = {rough: true, pace: 1.5, fade: 2, dark: 0.01};

const byId = id => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const canvas = byId("head");

class Head {
  constructor() {
    this.painter = new ContentPainter(canvas, data.camera,
                                      byId("field").textContent);
    this.stops = new Map();
    this.level = 0;
    this.place = {row: 0, stop: 0};
    this.shown = null;      // the place whose planes are painted
    this.held = false;      // a test looks at it
    this.sharp = null;      // rows that are painted of the sharp picture
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.motion = new Motion(canvas, data.limits, {
      swings: !still, wake: () => this.wake()});
    canvas.addEventListener("pointerdown", () => this.say());
    canvas.addEventListener("keydown", event => this.key(event));
    canvas.addEventListener("webglcontextlost", event => {
      event.preventDefault();
      this.held = true;
      document.body.classList.remove("turns");
    });
    canvas.addEventListener("webglcontextrestored", () => location.reload());
    new ResizeObserver(() => this.fit()).observe(canvas);
    this.buildControls();
    this.fit();
  }

  // Controls.

  buildControls() {
    const rows = byId("rows");
    data.rows.forEach((row, number) => {
      const button = document.createElement("button");
      button.textContent = row.label;
      button.addEventListener("click", () => this.choose(number, row.first));
      rows.append(button);
    });
    rows.hidden = data.rows.length < 2;
    const way = byId("way");
    way.addEventListener("input", () =>
      this.choose(this.place.row, Number(way.value)));
    byId("swing").addEventListener("click", () => {
      this.motion.swing(!this.motion.swings);
      this.say();
    });
    this.say();
  }

  // Says what is chosen.
  say() {
    const {row, stop} = this.place, {marks, label} = data.rows[row];
    [...byId("rows").children].forEach((button, number) =>
      button.setAttribute("aria-pressed", number === row));
    const way = byId("way"), nearest = marks[Math.round(stop)];
    way.max = marks.length - 1;
    way.value = stop;
    way.setAttribute("aria-valuetext", nearest);
    byId("between").hidden = marks.length < 2;
    byId("low").textContent = marks[0];
    byId("high").textContent = marks[marks.length - 1];
    way.setAttribute("aria-label", label);
    byId("swing").setAttribute("aria-pressed", this.motion.swings);
  }

  key(event) {
    const {row, stop} = this.place, steps = {PageUp: -1, PageDown: 1};
    if (event.key === " ") {
      this.motion.swing(!this.motion.swings);
    } else if (event.key in steps) {
      const count = data.rows.length;
      const next = (row + steps[event.key] + count) % count;
      this.choose(next, data.rows[next].first);
    } else if (event.key === "[" || event.key === "]") {
      const last = data.rows[row].marks.length - 1;
      const next = Math.round(stop * 4 + (event.key === "]" ? 1 : -1)) / 4;
      this.choose(row, Math.min(Math.max(next, 0), last));
    } else {
      if (event.key.startsWith("Arrow")) this.say();
      return;
    }
    event.preventDefault();
    this.say();
  }

  // Faces.

  choose(row, stop) {
    this.place = {row, stop};
    this.say();
    return this.load();
  }

  stop(row, number) {
    const id = data.rows[row].stops[number];
    if (!this.stops.has(id)) {
      this.stops.set(id, this.painter.unpack(byId(id).textContent));
      // A phone's memory holds a few.
      for (const old of [...this.stops.keys()].slice(0, -6))
        this.stops.delete(old);
    }
    return this.stops.get(id);
  }

  // Brings the chosen place's planes onto the screen; the last choice wins.
  async load() {
    const {row, stop} = this.place;
    const first = Math.floor(stop), share = stop - first;
    const [one, two] = await Promise.all([
      this.stop(row, first), share > 0 ? this.stop(row, first + 1) : null]);
    if (row !== this.place.row || stop !== this.place.stop) return;
    this.painter.use(data.rows[row],
                     this.painter.mixed(one, two, share));
    this.level = Math.min(this.level, 1);  // the volume is another's
    this.shown = this.place;
    this.moved = true;
    this.wake();
  }

  // Pictures.

  fit() {
    const ratio = Math.min(devicePixelRatio || 1, 3);
    const side = Math.max(Math.round(canvas.clientWidth * ratio), 1);
    if (canvas.width !== side || canvas.height !== side)
      canvas.width = canvas.height = side;
    this.moved = true;
    this.wake();
  }

  wake() {
    if (this.waits || this.held) return;
    this.waits = true;
    requestAnimationFrame(now => {
      this.waits = false;
      if (!this.held) this.frame(now);
    });
  }

  frame(now) {
    const seconds = Math.min((now - (this.last ?? now)) / 1000, 0.1);
    this.last = now;
    const moves = this.motion.advance(seconds);
    const view = this.motion.view(), seen = JSON.stringify(view);
    if (seen !== this.seen) this.moved = true;
    this.seen = seen;
    if (!this.shown || !this.done()) return this.wake();
    if (this.bakes && !this.painter.isBaked) {
      // Pictures and layers by turns.
      this.bakes = !this.moved;
      this.slices ??= 1;
      this.painter.bake(this.slices);
      this.begin((milliseconds, polls) => {
        if (polls === 1) this.slices *= 2;
        else if (milliseconds > SLOW) this.slices = (this.slices >> 1) || 1;
      });
      return this.wake();
    }
    if (this.moved) {
      this.moved = false;
      this.sharp = 0;
      const size = SIZES[this.level];
      this.painter.paint(0, size, {...view, ...this.rough()});
      this.painter.show(0);
      this.bakes = true;
      this.begin((milliseconds, polls) => this.adapt(milliseconds, polls));
      document.body.classList.add("turns");
      return this.wake();
    }
    if (moves) return this.wake();
    if (this.sharp === null) {  // all is done
      this.last = undefined;
      return;
    }
    const size = Math.min(canvas.width, MOST), from = this.sharp;
    this.rows ??= 8;
    const to = Math.min(from + this.rows, size);
    this.painter.paint(1, size, view, from, to);
    this.sharp = to;
    this.begin((milliseconds, polls) => {
      if (polls === 1) this.rows *= 2;
      else if (milliseconds > SLOW) this.rows = Math.max(this.rows >> 1, 2);
    });
    if (to === size) {
      this.painter.show(1);
      this.sharp = null;
    }
    this.wake();
  }

  // How rays are marched while it moves.
  rough() {
    return this.painter.isBaked ? BAKED : ROUGH;
  }

  // Whether the graphics processor has done what it was given; its time is told
  // to whoever waits.
  done() {
    if (!this.fence) return true;
    const {gl} = this.painter;
    ++this.polls;
    if (gl.getSyncParameter(this.fence, gl.SYNC_STATUS) !== gl.SIGNALED)
      return false;
    gl.deleteSync(this.fence);
    this.fence = null;
    this.tell(performance.now() - this.began, this.polls);
    return true;
  }

  begin(tell) {
    const {gl} = this.painter;
    this.began = performance.now();
    this.tell = tell;
    this.polls = 0;
    this.fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
  }

  // Larger pictures where they are done before the next one is due, smaller
  // ones where they are late.
  adapt(milliseconds, polls) {
    this.frames = (this.frames ?? 0) + 1;
    if (this.frames < 3) return;  // the shader's compiler takes its time
    this.quick = polls === 1 ? (this.quick ?? 0) + 1 : 0;
    this.slow = milliseconds > SLOW ? (this.slow ?? 0) + 1 : 0;
    const larger = SIZES[this.level + 1];
    if (this.slow > 1 && this.level > 0) {
      // What was too slow is not tried again soon.
      this.ceiling = {level: this.level, until: performance.now() + 5000};
      --this.level;
      this.slow = 0;
    } else if (this.quick >= PATIENCE && larger <= canvas.width) {
      const {level, until} = this.ceiling ?? {};
      if (this.level + 1 === level && performance.now() < until) return;
      ++this.level;
      this.quick = 0;
    }
  }

  // For tests: one view, {yaw, pitch, zoom, right, down, size, row, stop, pace,
  // fade, dark, rough}, as bytes from the top left. The page rests from then on.
  async view({size = 128, row = 0, stop = data.rows[row].first, ...view}) {
    this.held = true;
    if (this.shown?.row !== row || this.shown.stop !== stop)
      await this.choose(row, stop);
    if (view.rough) this.painter.bake(Infinity);
    this.painter.paint(2, size, {yaw: 0, pitch: 0, ...view});
    return {size, pixels: Array.from(this.painter.read(2))};
  }

  // For tests: pictures a second of a size, all of them waited for.
  speed({size = 256, count = 10, ...quality} = {}) {
    this.held = true;
    const {limits} = data, rough = {...this.rough(), ...quality};
    const began = performance.now();
    for (let i = 0; i < count; ++i) {
      const yaw = limits.yaw * Math.sin(2 * Math.PI * i / count);
      this.painter.paint(2, size, {yaw, pitch: 0, ...rough});
      this.painter.read(2);
    }
    return 1000 * count / (performance.now() - began);
  }
}

try {
  window.head = new Head();
  window.head.ready = window.head.choose(0, data.rows[0].first);
  window.head.ready.catch(refuse);
} catch (error) {
  refuse(error);
}

// The poster stays, and a line says why.
function refuse(error) {
  document.body.classList.remove("turns");
  byId("still").hidden = false;
  console.warn(`the head cannot be turned here: ${error.message}`);
}
