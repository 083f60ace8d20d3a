// A tri-plane radiance field, marched along each pixel's ray.
//
// Defined before this text: GROUPS and HIDDEN, fours of channels and of hidden
// features; AUTO, whether rays begin and end at the box; WHITE, the background;
// BAKED, whether radiance is read from a volume that this shader has filled
// before, which is quick enough for a head that moves.
// Before it is compiled, loops between "each" and "end" are written out, and
// the decoder's FIRST, OFFSET, SECOND and LAST become numbers: some compilers
// take ten times as long for what a loop or an array looks up.

precision highp float;
precision highp int;
precision highp sampler2DArray;
precision highp sampler3D;

uniform sampler2DArray planes;  // (x, y) by fours of channels, then (x, z)
uniform sampler3D skips;        // cells to the nearest that is not empty, / 255
uniform float size;             // pixels along a side
uniform float focal;            // image sizes
uniform vec2 middle;            // of the picture on its ray, image sizes
uniform mat3 turn;              // camera to world
uniform vec3 eye;               // world units
uniform vec2 range;             // where rays begin and end
uniform float box;              // side of the cube that planes span
uniform float reach;            // half a side of the grid
uniform float pace;             // between samples, world units
uniform float fade;             // paces that steps grow by as light fades
uniform float dark;             // light that is not followed any more
uniform sampler3D volume;       // baked: colors, and `packed` density
uniform float layer;            // of the volume to fill; below 0: a picture

out vec4 shown;

const int MOST = 1024;   // samples and leaps of a ray
// Paces of a step, at most, where nothing dense is near, and near to it if it
// would stop less than this share of the light.
const float HAZE = 8.0, THIN = 3.0, SOLID = 0.1;

float softplus(float x) {
  return max(x, 0.0) + log(1.0 + exp(-abs(x)));
}

#if BAKED

// Red, green, blue, and density, at a point.
vec4 field(vec3 point) {
  vec4 found = textureLod(volume, 0.5 * point / reach + 0.5, 0.0);
  float voxel = 2.0 * reach / float(textureSize(volume, 0).x);
  found.a = -log(max(1.0 - found.a * found.a, 1e-4)) / voxel;
  return found;
}

// What stops light, of what `field` gives.
float density(float given) {
  return given;
}

#else

// Softplus to the base of two, log2(1 + 2^x), to 0.0017: most of the time went
// into its exact functions.
vec4 softplus2(vec4 x) {
  vec4 t = max(1.0 - 0.1 * abs(x), 0.0);
  return max(x, 0.0) +
         t * t * (0.24325 + t * (-0.44657 + t * (0.02084 + t * 1.18414)));
}

// Red, green, blue in about [0, 1], and raw density, at a point.
vec4 field(vec3 point) {
  float side = float(textureSize(planes, 0).x);
  // The outermost texels are the ring of zeros.
  vec3 at = ((point / box + 0.5) * (side - 2.0) + 1.0) / side;
  // each g < GROUPS
  vec4 feature_g = textureLod(planes, vec3(at.xy, float(g)), 0.0) +
                   textureLod(planes, vec3(at.xz, float(g + GROUPS)), 0.0);
  // end
  vec4 found = LAST, x;
  // each h < HIDDEN
  x = OFFSET(h);
  // each g < GROUPS
  x += FIRST(h, g) * feature_g;
  // end
  found += SECOND(h) * softplus2(x);
  // end
  found.rgb = 1.002 / (1.0 + exp(-found.rgb)) - 0.001;
  return found;
}

float density(float given) {
  return softplus(given - 1.0);
}

// Density as a byte holds it: what a voxel stops, and more steps for haze.
float packed(float density) {
  float voxel = 2.0 * reach / size;
  return sqrt(1.0 - exp(-density * voxel));
}

#endif

// How far along a ray nothing is, and how far nothing dense is; 0: it may be
// here.
vec2 leaps(vec3 point, vec3 direction) {
  int cells = textureSize(skips, 0).x;
  float cell = 2.0 * reach / float(cells);
  vec3 at = point / cell + 0.5 * float(cells);
  ivec3 index = clamp(ivec3(floor(at)), ivec3(0), ivec3(cells - 1));
  vec2 away = floor(255.0 * texelFetch(skips, index, 0).rg + 0.5);
  vec3 slow = 1.0 / max(abs(direction), 1e-6);
  vec3 room = (sign(direction) * (vec3(index) + 0.5 - at) - 0.5) * slow;
  vec2 far = min(min(room.x + away * slow.x, room.y + away * slow.y),
                 room.z + away * slow.z);
  return mix(max(far, 0.0) * cell + 1e-4, vec2(0.0), equal(away, vec2(0.0)));
}

// Where a ray enters and leaves the box.
vec2 limits(vec3 direction) {
  vec3 one = (-0.5 * box - eye) / direction, two = (0.5 * box - eye) / direction;
  vec3 near = min(one, two), far = max(one, two);
  return vec2(max(near.x, max(near.y, near.z)), min(far.x, min(far.y, far.z)));
}

void main() {
#if !BAKED
  if (layer >= 0.0) {
    vec3 point = (2.0 * vec3(gl_FragCoord.xy, layer + 0.5) / size - 1.0) * reach;
    shown = vec4(0.0);
    if (leaps(point, vec3(1.0)).x > 0.0) return;
    vec4 found = field(point);
    shown = vec4(found.rgb, packed(density(found.a)));
    return;
  }
#endif
  vec2 place = gl_FragCoord.xy / size;
  place.y = 1.0 - place.y;
  vec3 direction = normalize(turn * vec3((place - middle) / focal, 1.0));
  vec2 ends = AUTO ? limits(direction) : range;

  vec3 color = vec3(0.0);
  float light = 1.0, depth = ends.x, before = 0.0;
  vec4 found_before = vec4(0.0);
  bool inside = false;
  for (int i = 0; i < MOST && depth <= ends.y && light > dark; ++i) {
    vec3 point = eye + depth * direction;
    vec2 far = leaps(point, direction);
    if (far.x > 0.0) {
      // Samples of all rays lie on the same shells, or else their edges show.
      depth = ends.x + ceil((depth + far.x - ends.x) / pace) * pace;
      inside = false;
      continue;
    }
    vec4 found = field(point);
    if (inside) {
      // As the renderer: densities and colors of an interval are those of its
      // ends, in the middle.
      float stops = density(0.5 * (found.a + found_before.a));
      float solid = 1.0 - exp(-stops * (depth - before));
      color += light * solid * 0.5 * (found.rgb + found_before.rgb);
      light *= 1.0 - solid;
    }
    found_before = found;
    before = depth;
    inside = true;
    // Longer steps where nothing dense is near, where this sample is thin, and
    // where little light is left to see them.
    float thin = density(found.a) * pace;
    depth += pace * max(max(min(floor(far.y / pace), HAZE),
                            min(SOLID / max(thin, 1e-6), THIN)),
                        1.0 + fade * (1.0 - light));
  }
  shown = vec4(clamp(WHITE ? color + light : color, 0.0, 1.0), 1.0);
}
