"""Makes a pretrained generator somebody's own: an adapter of 0.96 MB.

    python -m my3dgen_jax.launch.personalize --checkpoint=checkpoints/ffhq \\
        --album=data/obama --lpips=checkpoints/lpips_alex --test=10 \\
        --out=runs/obama

or --flagfile=obama.flags; or --demo_person=0, which needs nothing: an album of
a procedural person is drawn, and the networks of the package are used. What a
run leaves: `training/run_folder.py`.

Several processes, on one machine or many, share each batch over all devices of
all of them, and make what one process with as many devices would. Each is
started with the same command and

    --coordinator=HOST:PORT --num_processes=2 --process_id=0    # 1 for the next

HOST:PORT is a free port of the machine of process 0 that all can reach; under
SLURM or Open MPI --coordinator=auto says all of this. All processes must find
the checkpoint, the networks and the album (their paths may differ); process 0
alone writes the run's folder, and reads it with --resume. SIGTERM to any of
them stops all, with the state saved; when one dies, so do the others.
"""

import dataclasses

from my3dgen_jax.apps import personalize
from my3dgen_jax.config import (LoraConfig, LossConfig, ProjectionConfig,
                                TuningConfig)
from my3dgen_jax.data.photo_selection import parse_selection
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.demo import shipped
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli
from my3dgen_jax.training.anchors import default_cache

_TEXT, _INT = cli.string, cli.integer
_RUN = {holder.name: holder for holder in (
    _TEXT("checkpoint", None, "Generator folder."),
    _TEXT("album", None, "Folder or zip of photos."),
    _TEXT("out", None, "Folder of the run."),
    _TEXT("lpips", None, "Folder of LPIPS's weights."),
    _TEXT("identity", None, "Folder of a face recognition network."),
    _INT("split_seed", 0, "Of a split by number.", lower_bound=0),
    _INT("neural_rendering_resolution", None, "Side of image_raw; default: "
         "the checkpoint's.", lower_bound=1),
    cli.enum("dtype", None, ["float32", "bfloat16"],
             "Of activations; default: the checkpoint's."),
    cli.enum("adapter_dtype", "float32", ["float32", "float16"],
             "Of the adapter's file."),
    _TEXT("cache", default_cache(), "Folder of anchors found before; "
          "empty: none."),
    _INT("devices", None, "Of this machine (of each process); default: all.",
         lower_bound=1),
    _INT("save_every", 500, "Steps between saved states.", lower_bound=1),
    _INT("log_every", 10, "Steps between logged ones.", lower_bound=1),
    _INT("pictures", 4, "Photos in before_after.png.", lower_bound=1),
    cli.boolean("report", True, "Write report/index.html at the end."))}
_TEST = _TEXT("test", "0", "Photos held out: a number, a share, or a file "
              "with a name a line.")
_REFERENCE = _TEXT("reference", None, "Photos that identity is compared with; "
                   "default: all.")
_TRAIN = _TEXT("train", None, "Photos to learn from, of those that are left; "
               "default: all of them.")
_DEMO = cli.integer("demo_person", None, "Draw the album of this procedural "
                    "person, and use the networks of the package.",
                    lower_bound=0)
cli.define_cpu_devices()
cli.define_processes()
_RESUME = cli.boolean("resume", False, "Go on with the run in --out.")
_PARTS = {"lora": cli.define_config(LoraConfig, "lora_"),
          "projection": cli.define_config(ProjectionConfig, "anchor_"),
          "loss": cli.define_config(LossConfig),
          "tuning": cli.define_config(TuningConfig)}


def main():
  demo = _DEMO.value is not None
  for name in ("out",) if demo else ("checkpoint", "album", "out"):
    if not _RUN[name].value:
      raise FlagError(f"--{name} is missing; --flagfile=demo.flags needs "
                      "neither checkpoint nor photos")
  config = personalize.PersonalizeConfig(
      precision=cli.precision(
          lambda: personalize.begun_precision(_RUN["out"].value)
          if _RESUME.value else None),
      test=parse_selection(_TEST.value),
      reference=_REFERENCE.value and parse_selection(_REFERENCE.value),
      train=_TRAIN.value and parse_selection(_TRAIN.value),
      **{name: holder.value for name, holder in _RUN.items()},
      **{name: read() for name, read in _PARTS.items()})
  if demo:
    config = _with_demo(config, _DEMO.value)
  summary = personalize.personalize(
      config, resume=_RESUME.value, flags=cli.flags_as_text(skip=["resume"]))
  if summary is not None:  # of several processes one says it
    print(personalize.describe(summary, config.out))


def _with_demo(config: personalize.PersonalizeConfig,
               person: int) -> personalize.PersonalizeConfig:
  """The config with the demo's album and networks, where it names none."""
  album = config.album or f"{config.out.rstrip('/')}_album_{person}"
  if not config.album:
    print(f"drawing photos of person {person} in {album}", flush=True)
    demo_album.write_demo_album(album, person)
  own = {} if config.album else {
      "test": f"{album}/{demo_album.TEST_FILE}",
      "reference": f"{album}/{demo_album.REFERENCE_FILE}"}
  return dataclasses.replace(
      config, album=album, checkpoint=config.checkpoint or str(shipped.PRIOR),
      lpips=config.lpips or str(shipped.LPIPS),
      identity=config.identity or str(shipped.IDENTITY), **own)


if __name__ == "__main__":
  cli.run(main)
