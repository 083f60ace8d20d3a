// How a head turns: by fingers, mouse, wheel and keys, on its own, and to rest.

const FREE = 0.7;       // share of a limit that angles go through as they are
const TOO_FAR = 1.3;    // limits; beyond, nothing would change
const SLIDE = 0.25;     // seconds in which a let-go head loses most of its way
const WAY = 1.6;        // radians that a drag over all of the picture turns
const SWING = 11;       // seconds of a slow turn to both sides and back
const STEP = 0.12;      // radians that a key turns
const GLIDE = 0.09;     // seconds in which a key's turn is mostly done

// An angle that goes as told first, and slower the nearer it is to its limit.
function softLimit(angle, limit) {
  const free = FREE * limit, beyond = Math.abs(angle) - free;
  if (beyond <= 0) return angle;
  const room = Math.max(limit - free, 1e-9);
  return Math.sign(angle) * (free + room * Math.tanh(beyond / room));
}

class Motion {
  // limits: {yaw, pitch, zoom}; touched: called when somebody takes over.
  constructor(element, limits, {swings, wake}) {
    this.limits = limits;
    this.wake = wake;
    this.swings = swings;
    this.home();
    this.goal = null;
    this.phase = 0;
    this.pointers = new Map();
    const on = (name, act) => element.addEventListener(name, act,
                                                       {passive: false});
    on("pointerdown", event => this.down(event));
    on("pointermove", event => this.move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"])
      on(name, event => this.up(event));
    on("wheel", event => {
      event.preventDefault();
      this.take();
      const lines = event.deltaMode === 1 ? 16 : 1;  // Firefox counts lines
      this.zoomBy(Math.exp(-0.0015 * lines * event.deltaY));
    });
    on("keydown", event => this.key(event));
    on("dblclick", () => { this.take(); this.goal = {yaw: 0, pitch: 0, zoom: 1}; });
  }

  home() {
    this.yaw = this.pitch = 0;  // as told, before limits
    this.zoom = 1;
    this.speed = [0, 0];  // radians a second
  }

  // Somebody took over: it stops turning on its own.
  take() {
    this.swings = false;
    this.goal = null;
    this.speed = [0, 0];
    this.wake();
  }

  view() {
    return {yaw: softLimit(this.yaw, this.limits.yaw),
            pitch: softLimit(this.pitch, this.limits.pitch), zoom: this.zoom};
  }

  turnBy(yaw, pitch) {
    const within = (angle, limit) =>
      Math.min(Math.max(angle, -TOO_FAR * limit), TOO_FAR * limit);
    this.yaw = within(this.yaw + yaw, this.limits.yaw);
    this.pitch = within(this.pitch + pitch, this.limits.pitch);
  }

  zoomBy(factor) {
    this.zoom = Math.min(Math.max(this.zoom * factor, 1), this.limits.zoom);
    this.wake();
  }

  down(event) {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    event.target.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.take();
    this.when = event.timeStamp;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const apart = () => {
      const [one, two] = [...this.pointers.values()];
      return Math.hypot(one[0] - two[0], one[1] - two[1]);
    };
    if (this.pointers.size === 1) {
      const side = event.target.clientWidth * Math.sqrt(this.zoom);
      // The head follows the finger: the camera goes the other way.
      const turn = [0, 1].map(i => -WAY * (now[i] - before[i]) / side);
      this.turnBy(...turn);
      const passed = Math.max((event.timeStamp - this.when) / 1000, 0.004);
      const share = Math.min(passed / 0.05, 1);
      this.speed = this.speed.map(
        (speed, i) => speed + share * (turn[i] / passed - speed));
      this.when = event.timeStamp;
      this.pointers.set(event.pointerId, now);
      this.wake();
    } else {
      const was = apart();
      this.pointers.set(event.pointerId, now);
      if (this.pointers.size === 2) this.zoomBy(apart() / Math.max(was, 1));
    }
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    // A finger that rested before it left does not throw.
    if (this.pointers.size || event.timeStamp - this.when > 80)
      this.speed = [0, 0];
    this.wake();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const turns = {ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0],
                   ArrowUp: [0, STEP], ArrowDown: [0, -STEP]};
    const zooms = {"+": 1.15, "=": 1.15, "-": 1 / 1.15, "_": 1 / 1.15};
    const within = (angle, limit) => Math.min(Math.max(angle, -limit), limit);
    const goal = this.goal ?? {yaw: this.yaw, pitch: this.pitch,
                               zoom: this.zoom};
    if (turns[event.key]) {
      this.take();
      const [yaw, pitch] = turns[event.key];
      this.goal = {yaw: within(goal.yaw + yaw, this.limits.yaw),
                   pitch: within(goal.pitch + pitch, this.limits.pitch),
                   zoom: goal.zoom};
    } else if (zooms[event.key]) {
      this.take();
      this.zoomBy(zooms[event.key]);
    } else if (event.key === "Home") {
      this.take();
      this.goal = {yaw: 0, pitch: 0, zoom: 1};
    } else {
      return;
    }
    event.preventDefault();
  }

  // Begins or ends the slow turn.
  swing(on) {
    this.take();
    this.swings = on;
    this.zoom = 1;
    const most = FREE * this.limits.yaw;
    this.phase = Math.asin(Math.min(Math.max(this.yaw / most, -1), 1));
  }

  // Goes on by some seconds; whether anything moves.
  advance(seconds) {
    if (this.swings) {
      this.phase += 2 * Math.PI * seconds / SWING;
      this.yaw = FREE * this.limits.yaw * Math.sin(this.phase);
      const wanted = 0.25 * this.limits.pitch * Math.sin(2 * this.phase);
      this.pitch += (wanted - this.pitch) * (1 - Math.exp(-seconds));
      return true;
    }
    if (this.goal) {
      const share = 1 - Math.exp(-seconds / GLIDE);
      let left = 0;
      for (const name of ["yaw", "pitch", "zoom"]) {
        this[name] += share * (this.goal[name] - this[name]);
        left = Math.max(left, Math.abs(this.goal[name] - this[name]));
      }
      if (left < 1e-3) this.goal = null;
      return true;
    }
    if (this.pointers.size) return false;
    const speed = Math.hypot(...this.speed);
    if (speed < 0.02) return false;
    this.turnBy(this.speed[0] * seconds, this.speed[1] * seconds);
    const kept = Math.exp(-seconds / SLIDE);
    this.speed = this.speed.map(one => one * kept);
    return true;
  }
}
