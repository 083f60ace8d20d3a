"""Pictures and videos of faces from any cameras.

    python -m my3dgen_jax.launch.render --checkpoint checkpoints/ffhq \\
        --seeds 0-3 --yaw -0.35,0,0.35 --grid --out out/
    python -m my3dgen_jax.launch.render --run=runs/obama --latents=photo003 \\
        --compare --camera=orbit --format=mp4 --out=out/

What: --seeds (default: 0-3) of a run's generator or a bare checkpoint; or
--latents: photos of the run (names, numbers from 0, or "all"), or files of
launch.invert. --between: the way from each latent to the next. --direction and
--strengths: each face so far along a direction, side by side. --compare: the
run's base beside the person.

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
  "Type of activations; default: the checkpoint's.",
)


def main():
  wanted = _SCENES()
  if wanted.latents.seeds and wanted.latents.latents:
    raise FlagError("--seeds and --latents: give one of them")
  config = _FILES().validate()
  if wanted.between and wanted.direction:
    raise FlagError("--between and --direction: give one of them")
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
        "--compare: the run has nothing personal to compare, or "
        "--pretrained hides it"
      )
    base = person_flags.person(pretrained=True).with_dtype(_DTYPE.value)
    found = [scenes.compared(scene, base.generator) for scene in found]
  output.write(person, found, config, out)


if __name__ == "__main__":
  cli.run(main)
