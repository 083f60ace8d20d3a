// What every kind of content needs to paint in WebGL 2.

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

// The bytes that Python packed by zlib and base64.
async function inflated(base64) {
  const packed = new Blob([bytesOf(base64)]).stream();
  const stream = packed.pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Paints squares and shows them; throws where there is no WebGL 2.
class Painter {
  // camera: of the data.
  constructor(canvas, camera) {
    const gl = canvas.getContext("webgl2", {
      alpha: false, antialias: false, depth: false, stencil: false,
      powerPreference: "high-performance"});
    if (!gl) throw new Error("no WebGL 2");
    this.gl = gl;
    this.canvas = canvas;
    this.camera = camera;
    this.enlarge = this.program(ENLARGE);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.bindVertexArray(gl.createVertexArray());
    this.targets = [];
  }

  program(fragment, vertex = VERTEX) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex],
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
