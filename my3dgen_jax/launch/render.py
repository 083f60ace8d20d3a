"""Pictures and videos of faces from any cameras.

    python -m my3dgen_jax.launch.render --checkpoint checkpoints/ffhq \\
        --seeds 0-3 --yaw -0.35,0,0.35 --grid --out out/
    python -m my3dgen_jax.launch.render --run=runs/obama --latents=photo003 \\
        --compare --camera=orbit --format=mp4 --out=out/

What: --seeds of a run's generator or a bare checkpoint; or --latents: photos
of the run (names, numbers from 0, or "all"), or files of launch.invert.
--between: the way from each latent to the next. --direction and --strengths:
each face so far along a direction, side by side. --compare: the run's base
beside the person.

From where (--camera): "grid", every --yaw at every --pitch; "orbit", a closed
way, so far to either side and up and down; "yaw" or "pitch", a sweep from the
first angle to the second, the other one staying; "own", the photo's camera
(between photos, the way from one's to the next's); or a JSON file: an album's
dataset.json, a list of 25-number labels, or key frames {"closed": false,
"keys": [{"yaw": -0.3, "pitch": 0, "radius": 2.7, "focal": 4.26}, ...]}, of
which any field can be missing; "time" spaces them unevenly. Angles in radians
from the front: yaw + towards +x, pitch + from below.

As what: --format, and --kinds: image, raw (before super-resolution), depth
(near is white, one scale for all frames), normals (x right, y up, z towards
the viewer, as red, green, blue).
"""

import dataclasses
import math
from typing import List

from my3dgen_jax import directions
from my3dgen_jax.apps.editing.config import APPLIES, UNITS, EditConfig
from my3dgen_jax.apps.rendering import frames, output, scenes, shots
from my3dgen_jax.apps.person import Person
from my3dgen_jax.config import MAX_RESOLUTION
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, person_flags
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.ops import cameras

_SEEDS = cli.listing("seeds", [], "Faces: 0-3 (default), or 1,5,8-10.")
_LATENTS = cli.listing("latents", [], "In place of seeds, see above.")
_BETWEEN = cli.enum("between", None, ["linear", "spherical"], "The way along "
                    "the latents: straight, or about their mean.")
_DIRECTION = cli.string("direction", None, "A .npy file: edits, side by side.")
_STRENGTHS = cli.listing("strengths", "-3,-2,-1,0,1,2,3", "Of the edits.")
_UNIT = cli.enum("unit", "spread", UNITS, "Of strengths, see "
                 "launch.edit.")
_APPLY = cli.enum("apply", None, APPLIES, "Of edits, see launch.edit; "
                  "default: w for a bare checkpoint, else alpha.")
_COMPARE = cli.boolean("compare", False, "Pretrained beside personalized.")
_CAMERA = cli.string("camera", shots.GRID, "grid, orbit, yaw, pitch, "
                     "own or a file, see above.")
_YAW = cli.listing("yaw", [], "Radians; default: -0.35,0,0.35 of a grid, "
                   "-0.35,0.35 of a sweep, 0.35 of an orbit.")
_PITCH = cli.listing("pitch", [], "Radians; default: 0, -0.25,0.25 of a "
                     "sweep, 0.25 of an orbit.")
_FOCAL = cli.number("focal", None, "In image sizes; default: the photo's, "
                    f"{cameras.FACE_FOCAL} of seeds.",
                    lower_bound=0.01, upper_bound=1000)
_FRAMES = cli.integer("frames", 48, "Of an orbit, a sweep, key frames; of a "
                      "way: from one latent to the next, both counted.",
                      lower_bound=1)
_PSI = cli.number("truncation_psi", 0.7, "1: as sampled, 0: the mean face.",
                  lower_bound=-10, upper_bound=10)
_CUTOFF = cli.integer("truncation_cutoff", None, "Rows of ws truncated; "
                      "default: all.", lower_bound=0)
_RESOLUTION = cli.integer(
    "neural_rendering_resolution", None, "Default: the checkpoint's.",
    lower_bound=1, upper_bound=MAX_RESOLUTION)
_FORMAT = cli.enum("format", "png", [s[1:] for s in shots.FORMATS],
                   "Of what is written.")
_FPS = cli.number("fps", 24.0, "Frames a second of videos.")
_CRF = cli.integer("crf", 17, "Of MP4: every 6 more halve the file.",
                   lower_bound=0, upper_bound=51)
_SIDE = cli.integer("side", 0, "Of a face in the pictures, pixels; 0: as "
                    "rendered.", lower_bound=0)
_KINDS = cli.multi_enum("kinds", [], frames.KINDS, "What to write; repeat for "
                        "several. Default: all, of videos image.")
_GRID = cli.boolean("grid", False, "Also one picture of all.")
_BATCH_SIZE = cli.integer("batch_size", 0, "Frames at a time, over all "
                          "devices; 0: as suits them.", lower_bound=0)
_DTYPE = cli.enum("dtype", None, ["float32", "bfloat16"],
                  "Of activations; default: the checkpoint's.")


def main():
  if _SEEDS.value and _LATENTS.value:
    raise FlagError("--seeds and --latents: give one of them")
  seeds = cli.whole_numbers("seeds", _SEEDS.value or ["0-3"])
  angles = lambda flag, most: tuple(
      cli.numbers(flag.name, flag.value, most)) if flag.value else ()
  config = shots.RenderFilesConfig(
      camera=_CAMERA.value, yaws=angles(_YAW, math.pi),
      pitches=angles(_PITCH, math.pi / 2), focal=_FOCAL.value,
      frames=_FRAMES.value, format="." + _FORMAT.value, fps=_FPS.value,
      kinds=tuple(_KINDS.value), grid=_GRID.value, side=_SIDE.value,
      crf=_CRF.value, neural_rendering_resolution=_RESOLUTION.value,
      batch_size=_BATCH_SIZE.value).validate()
  if _BETWEEN.value and _DIRECTION.value:
    raise FlagError("--between and --direction: give one of them")
  out = person_flags.out()
  person = _with_dtype(person_flags.person(needs_run=_COMPARE.value))
  found = _scenes(person, seeds)
  if _COMPARE.value:
    if person.origin.adapter == "none":
      raise FlagError("--compare: the run has nothing personal to compare, or "
                      "--pretrained hides it")
    base = _with_dtype(person_flags.person(pretrained=True)).generator
    found = [scenes.compared(scene, base) for scene in found]
  output.write(person, found, config, out)


def _with_dtype(person: Person) -> Person:
  """The same, with activations as the flag says."""
  network = person.generator
  config = network.module.config
  module = Generator(dataclasses.replace(
      config, dtype=_DTYPE.value or config.dtype))
  return dataclasses.replace(person, generator=network.replace(module=module))


def _scenes(person: Person, seeds: List[int]) -> List[scenes.Scene]:
  """What the flags ask for."""
  details = {}
  if _LATENTS.value:
    latents = scenes.find(person, _LATENTS.value)
  else:
    details = {"truncation_psi": _PSI.value}
    latents = scenes.of_seeds(
        person, seeds, focal=_FOCAL.value or cameras.FACE_FOCAL,
        truncation_psi=_PSI.value, truncation_cutoff=_CUTOFF.value)
  if _BETWEEN.value:
    found = [scenes.way(person, latents, frames=_FRAMES.value,
                        spherical=_BETWEEN.value == "spherical")]
  elif _DIRECTION.value:
    model = person.generator.module.config
    found = scenes.edits(
        person, latents,
        directions.load(_DIRECTION.value, w_dim=model.w_dim,
                        num_ws=model.num_ws),
        EditConfig(
            strengths=tuple(cli.numbers("strengths", _STRENGTHS.value, 1000)),
            unit=_UNIT.value, apply=_APPLY.value or (
                "alpha" if person.anchors is not None else "w")))
  else:
    found = scenes.stills(person, latents)
  return [scene._replace(details={**scene.details, **details})
          for scene in found]


if __name__ == "__main__":
  cli.run(main)
