// The field in WebGL 2: unpacks what Python packed, and paints views of it.

const VOXELS = 128;  // of the baked volume, along a side

const VERTEX = `#version 300 es
void main() {  // one triangle over all of the picture
  gl_Position = vec4(vec2(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1),
                     0, 1);
}`;

// What has been painted, enlarged to the canvas by Catmull-Rom splines, which
// neither blur nor show the pixels.
const ENLARGE = `#version 300 es
precision highp float;
uniform sampler2D painted;
uniform float size;    // pixels of it that count
uniform float canvas;  // pixels
out vec4 shown;

vec4 weights(float t) {
  return 0.5 * vec4(t * (-1.0 + t * (2.0 - t)), 2.0 + t * t * (3.0 * t - 5.0),
                    t * (1.0 + t * (4.0 - 3.0 * t)), t * t * (t - 1.0));
}

void main() {
  vec2 at = gl_FragCoord.xy / canvas * size - 0.5;
  ivec2 corner = ivec2(floor(at)), most = ivec2(int(size) - 1);
  vec4 across = weights(fract(at.x)), down = weights(fract(at.y));
  vec3 color = vec3(0.0);
  for (int j = 0; j < 4; ++j)
    for (int i = 0; i < 4; ++i)
      color += across[i] * down[j] * texelFetch(painted,
          clamp(corner + ivec2(i, j) - 1, ivec2(0), most), 0).rgb;
  shown = vec4(clamp(color, 0.0, 1.0), 1.0);
}`;

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; ++i) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// A stop of a slider: {texels, skips}. They are packed by zlib, channel by
// channel, as differences from the byte to the left.
async function unpack(base64, {layers, side, cells}) {
  const packed = new Blob([bytesOf(base64)]).stream();
  const stream = packed.pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = layers * side * side * 4;
  if (bytes.length !== count + 2 * cells ** 3) throw new Error("damaged data");
  const texels = new Uint8Array(count);
  let from = 0;
  for (let layer = 0; layer < layers; ++layer)
    for (let channel = 0; channel < 4; ++channel) {
      let to = layer * side * side * 4 + channel;
      for (let y = 0; y < side; ++y)
        for (let x = 0, value = 0; x < side; ++x, to += 4)
          texels[to] = value = (value + bytes[from++]) & 255;
    }
  return {texels, skips: bytes.subarray(count)};
}

// The way between two stops: bytes are linear in features.
function mixed(one, two, share) {
  if (!two || share === 0) return one;
  const texels = new Uint8Array(one.texels.length);
  for (let i = 0; i < texels.length; ++i)
    texels[i] = one.texels[i] + share * (two.texels[i] - one.texels[i]) + 0.5;
  const skips = one.skips.map((value, i) => Math.min(value, two.skips[i]));
  return {texels, skips};
}

// The shader with its loops written out, and the decoder's numbers in it.
function written(text, {groups, hidden}, decoder) {
  const counts = {GROUPS: groups, HIDDEN: hidden};
  const innermost = /\/\/ each (\w) < (\w+)\n((?:(?!\/\/ each)[^])*?)\/\/ end\n/;
  for (let found; (found = innermost.exec(text));) {
    const [all, name, count, body] = found;
    const index = new RegExp(`(\\b|_)${name}\\b`, "g");
    const copies = Array.from(
      {length: counts[count]},
      (_, i) => body.replace(index, (_, before) => before + i));
    text = text.replace(all, () => copies.join(""));
  }
  let start = 0;
  const take = (kind, size) => {
    const numbers = decoder.subarray(start, start += size);
    return `${kind}(${Array.from(numbers, one => one.toExponential(7))})`;
  };
  const many = (count, kind, size) =>
    Array.from({length: count}, () => take(kind, size));
  const first = many(groups * hidden, "mat4", 16);
  const offset = many(hidden, "vec4", 4);
  const second = many(hidden, "mat4", 16);
  const last = take("vec4", 4);
  return text.replace(/\bFIRST\((\d+), (\d+)\)/g, (_, h, g) => first[h * groups + +g])
    .replace(/\bOFFSET\((\d+)\)/g, (_, h) => offset[h])
    .replace(/\bSECOND\((\d+)\)/g, (_, h) => second[h])
    .replace(/\bLAST\b/g, last);
}

// Paints views; throws where there is no WebGL 2.
class Painter {
  // camera: of the data; shader: the text of field.glsl.
  constructor(canvas, camera, shader) {
    const gl = canvas.getContext("webgl2", {
      alpha: false, antialias: false, depth: false, stencil: false,
      powerPreference: "high-performance"});
    if (!gl) throw new Error("no WebGL 2");
    this.gl = gl;
    this.canvas = canvas;
    this.camera = camera;
    this.shader = shader;
    this.fields = new Map();  // programs by their decoders
    this.enlarge = this.program(ENLARGE);
    this.baked = this.program(this.defined(true, shader));
    const {side, layers, cells} = camera;
    this.texture(0, gl.TEXTURE_2D_ARRAY, gl.LINEAR);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA8, side, side, layers);
    this.texture(1, gl.TEXTURE_3D, gl.NEAREST);
    gl.texStorage3D(gl.TEXTURE_3D, 1, gl.RG8, cells, cells, cells);
    this.volume = this.texture(3, gl.TEXTURE_3D, gl.LINEAR);
    gl.texStorage3D(gl.TEXTURE_3D, 1, gl.RGBA8, VOXELS, VOXELS, VOXELS);
    this.layers = 0;  // of it that are filled
    this.layerFrame = gl.createFramebuffer();
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.bindVertexArray(gl.createVertexArray());
    this.targets = [];
  }

  // The shader with what is defined before it.
  defined(baked, text) {
    const {groups, hidden, start, white} = this.camera;
    return `#version 300 es
#define GROUPS ${groups}
#define HIDDEN ${hidden}
#define AUTO ${start === null}
#define WHITE ${white}
#define BAKED ${Number(baked)}
${text}`;
  }

  program(fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX],
                                [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) &&
        !gl.isContextLost()) {
      const logs = gl.getAttachedShaders(program).map(
        one => gl.getShaderInfoLog(one));
      throw new Error(`${gl.getProgramInfoLog(program)} ${logs.join(" ")}`);
    }
    const places = {};
    return {program, at: name => places[name] ??=
      gl.getUniformLocation(program, name)};
  }

  texture(unit, kind, filter) {
    const gl = this.gl, texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(kind, texture);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER])
      gl.texParameteri(kind, name, filter);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T,
                        gl.TEXTURE_WRAP_R])
      gl.texParameteri(kind, name, gl.CLAMP_TO_EDGE);
    return texture;
  }

  // A square to paint into, kept by its number.
  target(number, size) {
    const gl = this.gl;
    let target = this.targets[number];
    if (!target || target.size !== size) {
      if (target) gl.deleteTexture(target.texture);
      target ??= {frame: gl.createFramebuffer()};
      this.targets[number] = target;
      target.size = size;
      target.texture = this.texture(2, gl.TEXTURE_2D, gl.NEAREST);
      gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, size, size);
      gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0,
                              gl.TEXTURE_2D, target.texture, 0);
    }
    return target;
  }

  // Sets whose face is painted: a row of the data, and what `mixed` returns.
  use(row, stop) {
    const gl = this.gl, {side, layers, cells} = this.camera;
    this.row = row;
    this.layers = 0;
    if (!this.fields.has(row.decoder)) {
      const numbers = new Float32Array(bytesOf(row.decoder).buffer);
      this.fields.set(row.decoder, this.program(this.defined(
        false, written(this.shader, this.camera, numbers))));
    }
    this.field = this.fields.get(row.decoder);
    gl.activeTexture(gl.TEXTURE0);
    gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, 0, side, side, layers,
                     gl.RGBA, gl.UNSIGNED_BYTE, stop.texels);
    gl.activeTexture(gl.TEXTURE1);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, 0, cells, cells, cells, gl.RG,
                     gl.UNSIGNED_BYTE, stop.skips);
  }

  // Fills some layers of the volume.
  bake(count) {
    const gl = this.gl, {at} = this.field;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.layerFrame);
    this.begin(this.field, VOXELS, {yaw: 0, pitch: 0});
    for (const end = Math.min(this.layers + count, VOXELS); this.layers < end;
         ++this.layers) {
      gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0,
                                 this.volume, 0, this.layers);
      gl.uniform1f(at("layer"), this.layers);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
  }

  // Paints rows of pixels, from the bottom, of a square of `size` pixels; from
  // the volume if that is full and the view may be rough.
  paint(number, size, view, from = 0, to = size) {
    const gl = this.gl, target = this.target(number, size);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
    const baked = view.rough && this.layers === VOXELS;
    this.begin(baked ? this.baked : this.field, size, view);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, from, size, to - from);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.SCISSOR_TEST);
  }

  // Sets all that a program of the shader reads.
  begin({at, program}, size, view) {
    const gl = this.gl, {camera, row} = this;
    const {turn, eye} = lookAt(view, camera);
    gl.viewport(0, 0, size, size);
    gl.useProgram(program);
    gl.uniform1i(at("planes"), 0);
    gl.uniform1i(at("skips"), 1);
    gl.uniform1i(at("volume"), 3);
    gl.uniform1f(at("layer"), -1);
    gl.uniform1f(at("size"), size);
    gl.uniform1f(at("focal"), row.focal * (view.zoom ?? 1));
    gl.uniform2f(at("middle"), 0.5 + (view.right ?? 0), 0.5 + (view.down ?? 0));
    gl.uniformMatrix3fv(at("turn"), false, turn);
    gl.uniform3fv(at("eye"), eye);
    gl.uniform2f(at("range"), camera.start ?? 0, camera.end ?? 0);
    gl.uniform1f(at("box"), camera.box);
    gl.uniform1f(at("reach"), row.reach);
    gl.uniform1f(at("pace"), (view.pace ?? 1) * camera.pace);
    gl.uniform1f(at("fade"), view.fade ?? 2);
    gl.uniform1f(at("dark"), view.dark ?? 0.004);
  }

  // Shows what was painted.
  show(number) {
    const gl = this.gl, {at, program} = this.enlarge;
    const {texture, size} = this.targets[number];
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE2);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.uniform1i(at("painted"), 2);
    gl.uniform1f(at("size"), size);
    gl.uniform1f(at("canvas"), this.canvas.width);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // The bytes of what was painted, rows from the top.
  read(number) {
    const gl = this.gl, {frame, size} = this.targets[number];
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    const bytes = new Uint8Array(4 * size * size);
    gl.readPixels(0, 0, size, size, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
    const turned = new Uint8ClampedArray(bytes.length);
    for (let y = 0; y < size; ++y)
      turned.set(bytes.subarray(4 * size * y, 4 * size * (y + 1)),
                 4 * size * (size - 1 - y));
    return turned;
  }
}

// A camera on a sphere about the origin that looks at the pivot: columns of
// its matrix, which are right, down and ahead; yaw and pitch are radians from
// the front as EG3D has them.
function lookAt({yaw, pitch}, {radius, pivot}) {
  const share = Math.min(Math.max(pitch / Math.PI + 0.5, 1e-5), 1 - 1e-5);
  const height = 1 - 2 * share, level = Math.sqrt(1 - height * height);
  const eye = [radius * level * Math.sin(yaw), radius * height,
               radius * level * Math.cos(yaw)];
  const ahead = unit(pivot.map((value, i) => value - eye[i]));
  const right = unit(cross(ahead, [0, 1, 0]));
  const down = cross(ahead, right);
  return {eye, turn: [...right, ...down, ...ahead]};
}

function cross([a, b, c], [x, y, z]) {
  return [b * z - c * y, c * x - a * z, a * y - b * x];
}

function unit(vector) {
  const length = Math.hypot(...vector);
  return vector.map(value => value / length);
}
