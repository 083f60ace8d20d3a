"""Goes from one latent of a person to another: a strip and a video.

    python -m my3dgen_jax.launch.interpolate --run=runs/obama \\
        --anchors=photo003,photo010,inverted/new.npz --camera=orbit --out=way

--anchors: two or more photos of the run (names, or numbers from 0), or files
that launch.invert has written. --camera: front, first (the first anchor's),
photos (from each anchor's to the next one's), orbit.
"""

from my3dgen_jax.apps import interpolate
from my3dgen_jax.data import provenance
from my3dgen_jax.launch.support import cli, person_flags

_ANCHORS = cli.listing("anchors", None, "Where the way comes by, see above; "
                       "default: the run's first and last photo.")
_FRAMES = cli.integer("frames", 49, "From one anchor to the next, both "
                      "counted.", lower_bound=2)
_STRIP = cli.integer("strip", 9, "Pictures of the strip.", lower_bound=1)
_SPHERICAL = cli.boolean("spherical", False, "Along great circles about the "
                         "mean of the run's anchors; else straight.")
_CAMERA = cli.enum("camera", "front", interpolate.CAMERAS, "See above.")
_YAW = cli.number("yaw", 0.35, "Of an orbit, radians to either side.")
_PITCH = cli.number("pitch", 0.25, "Of an orbit, radians up and down.")
_VIDEO = cli.enum("video", "mp4", [s[1:] for s in provenance.VIDEOS],
                  "Format of the video.")
_FPS = cli.number("fps", 24.0, "Frames a second.")
_BATCH_SIZE = cli.integer("batch_size", 4, "Images at a time, over all "
                          "devices.", lower_bound=1)


def main():
  config = interpolate.InterpolateConfig(
      frames=_FRAMES.value, strip=_STRIP.value, spherical=_SPHERICAL.value,
      camera=_CAMERA.value, yaw=_YAW.value, pitch=_PITCH.value,
      video="." + _VIDEO.value, fps=_FPS.value,
      batch_size=_BATCH_SIZE.value).validate()
  out = person_flags.out()
  interpolate.write_interpolation(person_flags.person(), config, out,
                                  names=_ANCHORS.value)
  print(f"{out}/{interpolate.STRIP_FILE}, "
        f"{interpolate.VIDEO_STEM}{config.video}")


if __name__ == "__main__":
  cli.run(main)
