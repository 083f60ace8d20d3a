// Gaussian splats in WebGL 2: unpacks what Python packed, and paints views.
//
// Each splat is a square that covers its ellipse, drawn from back to front.
// Source: Kerbl et al. 2023, "3D Gaussian Splatting", equations 4 and 5.

const WIDE = 1024;        // texels along a side of the texture of splats
const TEXELS = 4;         // of a splat
const LOW_PASS = 0.05;    // variance added, in pixels^2 of the fitted views
const LEVELS = 1 << 16;   // of depth, for sorting

const SPLAT_VERTEX = `#version 300 es
precision highp float;
precision highp int;
uniform sampler2D splats;  // mean, opacity; color; covariance xx xy xz yy; yz zz
uniform mat3 turn;         // camera to world
uniform vec3 eye;          // world units
uniform float size;        // pixels along a side
uniform float focal;       // image sizes
uniform vec2 middle;       // of the picture, image sizes
uniform float added;       // variance, pixels^2
in uint number;            // of the splat
flat out vec4 shade;       // color and opacity
flat out vec3 conic;       // xx, xy, yy of the inverse covariance, 1 / pixels^2
out vec2 offset;           // pixels from its center

vec4 texel(uint part) {
  uint at = ${TEXELS}u * number + part;
  return texelFetch(splats, ivec2(at % ${WIDE}u, at / ${WIDE}u), 0);
}

void main() {
  vec4 place = texel(0u), spread = texel(2u), rest = texel(3u);
  vec3 local = (place.xyz - eye) * turn;
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);  // outside
  if (local.z < 0.05) return;
  float scale = size * focal;
  vec2 slant = local.xy / local.z;
  // Outside of the picture the linear map would run away.
  vec2 held = clamp(slant, vec2(-0.65 / focal), vec2(0.65 / focal));
  mat3 covariance = mat3(spread.xyz, spread.yw, rest.x, spread.z, rest.xy);
  // The rows of the projection's derivative, in the world.
  vec3 across = turn * (scale / local.z * vec3(1.0, 0.0, -held.x));
  vec3 down = turn * (scale / local.z * vec3(0.0, 1.0, -held.y));
  float xx = dot(across, covariance * across) + added;
  float xy = dot(across, covariance * down);
  float yy = dot(down, covariance * down) + added;
  float determinant = xx * yy - xy * xy;
  // Where its light falls below what a byte can show.
  float falls = 2.0 * log(255.0 * place.w);
  if (determinant <= 0.0 || falls <= 0.0) return;
  conic = vec3(yy, -xy, xx) / determinant;
  shade = vec4(texel(1u).rgb, place.w);
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  // Along the axes of the ellipse, the longer one first.
  float mean = 0.5 * (xx + yy), apart = sqrt(max(mean * mean - determinant, 0.0));
  vec2 axis = apart > 1e-6 * mean && abs(xy) > 1e-6 * mean
      ? normalize(vec2(xy, mean + apart - xx))
      : (xx >= yy ? vec2(1.0, 0.0) : vec2(0.0, 1.0));
  offset = corner.x * sqrt(falls * (mean + apart)) * axis +
           corner.y * sqrt(falls * max(mean - apart, 0.0)) * vec2(-axis.y, axis.x);
  vec2 pixel = size * middle + scale * slant + offset;
  gl_Position = vec4(2.0 * pixel / size - 1.0, 0.0, 1.0);
  gl_Position.y *= -1.0;
}`;

const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
flat in vec4 shade;
flat in vec3 conic;
in vec2 offset;
out vec4 shown;

void main() {
  float power = 0.5 * (conic.x * offset.x * offset.x +
                       conic.z * offset.y * offset.y) +
                conic.y * offset.x * offset.y;
  float alpha = min(shade.a * exp(-power), 0.99);
  if (alpha < 1.0 / 255.0) discard;
  shown = vec4(shade.rgb * alpha, alpha);
}`;

// Paints views of splats.
class ContentPainter extends Painter {
  // camera: of the data.
  constructor(canvas, camera) {
    super(canvas, camera);
    const gl = this.gl;
    this.splats = this.program(SPLAT_FRAGMENT, SPLAT_VERTEX);
    this.numbers = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.numbers);
    const number = gl.getAttribLocation(this.splats.program, "number");
    gl.enableVertexAttribArray(number);
    gl.vertexAttribIPointer(number, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(number, 1);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  // A stop of a slider: {count, means, texels}. It is packed by zlib, attribute
  // by attribute.
  async unpack(base64) {
    const bytes = await inflated(base64);
    const {means, colors, sizes} = this.camera.ranges;
    const count = bytes.length / 17;
    if (!Number.isInteger(count)) throw new Error("damaged data");
    let from = 0;
    const take = most => {
      const values = new Float32Array(count);
      for (let i = 0; i < count; ++i) values[i] = bytes[from + i];
      from += count;
      if (most > 255)
        for (let i = 0; i < count; ++i) values[i] += 256 * bytes[from + i];
      if (most > 255) from += count;
      return values;
    };
    const scaled = ([low, high], most) => {
      const values = take(most);
      for (let i = 0; i < count; ++i)
        values[i] = low + values[i] / most * (high - low);
      return values;
    };
    const three = (range, most) => [0, 1, 2].map(() => scaled(range, most));
    const mean = three(means, 65535), color = three(colors, 255);
    const size = three(sizes, 255);
    const turn = [0, 1, 2, 3].map(() => scaled([-1, 1], 255));
    const opacity = scaled([0, 1], 255);
    const rows = Math.ceil(count * TEXELS / WIDE);
    const texels = new Float32Array(rows * WIDE * 4);
    for (let i = 0; i < count; ++i) {
      const spread = covariance(turn.map(one => one[i]),
                                size.map(one => Math.exp(one[i])));
      texels.set([mean[0][i], mean[1][i], mean[2][i], opacity[i],
                  color[0][i], color[1][i], color[2][i], 0, ...spread],
                 4 * TEXELS * i);
    }
    return {count, means: mean, texels, rows};
  }

  // Splats of two stops have nothing in common: the nearer one is shown.
  mixed(one, two, share) {
    return two && share >= 0.5 ? two : one;
  }

  // Nothing is to be prepared for a head that moves.
  get isBaked() {
    return true;
  }

  bake() {}

  // Sets whose face is painted: a row of the data, and a stop.
  use(row, stop) {
    const gl = this.gl;
    this.row = row;
    if (this.stop === stop) return;
    this.stop = stop;
    this.sorted = null;
    if (this.texels) gl.deleteTexture(this.texels);
    this.texels = this.texture(0, gl.TEXTURE_2D, gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, WIDE, stop.rows);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, WIDE, stop.rows, gl.RGBA, gl.FLOAT,
                     stop.texels);
  }

  // Paints rows of pixels, from the bottom, of a square of `size` pixels.
  paint(number, size, view, from = 0, to = size) {
    const gl = this.gl, {at, program} = this.splats, {row, camera} = this;
    const {turn, eye} = lookAt(view, camera), zoom = view.zoom ?? 1;
    this.sort(turn.slice(6));
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target(number, size).frame);
    gl.viewport(0, 0, size, size);
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.texels);
    gl.uniform1i(at("splats"), 0);
    gl.uniform1f(at("size"), size);
    gl.uniform1f(at("focal"), row.focal * zoom);
    gl.uniform2f(at("middle"), 0.5 + (view.right ?? 0), 0.5 + (view.down ?? 0));
    gl.uniformMatrix3fv(at("turn"), false, turn);
    gl.uniform3fv(at("eye"), eye);
    gl.uniform1f(at("added"),
                 LOW_PASS * Math.max(1, zoom * size / camera.fitted) ** 2);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, from, size, to - from);
    const empty = Number(camera.white);
    gl.clearColor(empty, empty, empty, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.stop.count);
    gl.disable(gl.BLEND);
    gl.disable(gl.SCISSOR_TEST);
  }

  // Puts the splats' numbers in order, the farthest one first.
  sort(ahead) {
    if (this.sorted === String(ahead)) return;
    this.sorted = String(ahead);
    const {count, means: [x, y, z]} = this.stop;
    const depths = new Float32Array(count);
    let low = Infinity, high = -Infinity;
    for (let i = 0; i < count; ++i) {
      const depth = ahead[0] * x[i] + ahead[1] * y[i] + ahead[2] * z[i];
      depths[i] = depth;
      if (depth < low) low = depth;
      if (depth > high) high = depth;
    }
    const scale = (LEVELS - 1) / Math.max(high - low, 1e-9);
    const levels = new Uint16Array(count), starts = new Uint32Array(LEVELS + 1);
    for (let i = 0; i < count; ++i) {
      levels[i] = (high - depths[i]) * scale;
      ++starts[levels[i] + 1];
    }
    for (let i = 0; i < LEVELS; ++i) starts[i + 1] += starts[i];
    const order = new Uint32Array(count);
    for (let i = 0; i < count; ++i) order[starts[levels[i]]++] = i;
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.numbers);
    gl.bufferData(gl.ARRAY_BUFFER, order, gl.DYNAMIC_DRAW);
  }
}

// The covariance of an ellipsoid, [xx, xy, xz, yy, yz, zz, 0, 0].
function covariance(quaternion, sizes) {
  const [w, x, y, z] = unit(quaternion);
  const axes = [  // columns of its rotation, times its sizes
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ].map((axis, i) => axis.map(value => value * sizes[i]));
  const product = (i, j) => axes.reduce(
    (sum, axis) => sum + axis[i] * axis[j], 0);
  return [product(0, 0), product(0, 1), product(0, 2), product(1, 1),
          product(1, 2), product(2, 2), 0, 0];
}
