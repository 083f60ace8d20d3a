// The field in WebGL 2: unpacks what Python packed, and paints views of it.

const VOXELS = 128;  // of the baked volume, along a side

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

// Paints views of the field.
class ContentPainter extends Painter {
  // camera: of the data; shader: the text of field.glsl.
  constructor(canvas, camera, shader) {
    super(canvas, camera);
    const gl = this.gl;
    this.shader = shader;
    this.fields = new Map();  // programs by their decoders
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
  }

  // A stop of a slider: {texels, skips}. They are packed by zlib, channel by
  // channel, as differences from the byte to the left.
  async unpack(base64) {
    const {layers, side, cells} = this.camera;
    const bytes = await inflated(base64);
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
  mixed(one, two, share) {
    if (!two || share === 0) return one;
    const texels = new Uint8Array(one.texels.length);
    for (let i = 0; i < texels.length; ++i)
      texels[i] = one.texels[i] + share * (two.texels[i] - one.texels[i]) + 0.5;
    const skips = one.skips.map((value, i) => Math.min(value, two.skips[i]));
    return {texels, skips};
  }

  // Whether the volume is full.
  get isBaked() {
    return this.layers === VOXELS;
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
}
