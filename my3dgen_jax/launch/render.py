"""Renders pictures and videos of faces from any camera.

    my3dgen render --checkpoint checkpoints/ffhq --seeds 0-3 \\
        --yaw -0.35,0,0.35 --grid --out out/
    my3dgen render --run=runs/obama --latents=photo003 --compare \\
        --camera=orbit --format=mp4 --out=out/

Faces: --seeds (default: 0-3) of a run's generator or of a bare checkpoint; or
--latents: photos of the run by name or number from 0, "all", or files of
my3dgen invert. --between interpolates from each latent to the next. --direction
with --strengths shows each face at several strengths of an edit, side by side.
--compare shows the run's base beside the person.

Cameras (--camera): "grid", every --yaw with every --pitch; "orbit", a closed
path with --yaw and --pitch as its largest angles; "yaw" or "pitch", a sweep
from the first angle to the second while the other one stays; "own", the photo's
camera (between photos, from one camera to the next); or a JSON file: an album's
dataset.json, a list of 25-number camera labels, or key frames {"closed": false,
"keys": [{"yaw": -0.3, "pitch": 0, "radius": 2.7, "focal": 4.26}, ...]}, where
every field is optional and "time" spaces the keys unevenly. Angles are in
radians from the front: yaw is positive towards +x, pitch from below.

Output: --format, and --kinds: image, raw (before super-resolution), depth
(near is white, one scale for all frames), normals (x right, y up, z towards
the viewer, as red, green, blue).
"""

from my3dgen_jax.apps.rendering import output, scenes, shots
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_SCENES = config_flags.define(scenes.ScenesConfig)
_FILES = config_flags.define(
  shots.RenderFilesConfig, names={"yaws": "yaw", "pitches": "pitch"}
)
_COMPARE = cli.boolean(
  "compare", False, "Show the run's base beside the person."
)
_DTYPE = cli.enum(
  "dtype",
  None,
  ["float32", "bfloat16"],
  "Dtype of activations; default: the checkpoint's.",
)


def main():
  wanted = _SCENES()
  if wanted.latents.seeds and wanted.latents.latents:
    raise FlagError("--seeds and --latents exclude each other; give one")
  config = _FILES().validate()
  if wanted.between and wanted.direction:
    raise FlagError("--between and --direction exclude each other; give one")
  out = person_flags.out()
  person = person_flags.person(needs_run=_COMPARE.value).with_dtype(
    _DTYPE.value
  )
  found = scenes.find_scenes(
    person, wanted, frames=config.frames, focal=config.focal
  )
  if _COMPARE.value:
    if person.origin.adapter == "none":
      raise FlagError(
        "--compare needs a personal generator; the run has none, or "
        "--pretrained replaces it"
      )
    base = person_flags.person(pretrained=True).with_dtype(_DTYPE.value)
    found = [scenes.compared(scene, base.generator) for scene in found]
  output.write(person, found, config, out)


if __name__ == "__main__":
  cli.run(main)
