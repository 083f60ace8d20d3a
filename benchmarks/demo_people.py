"""Measures what personalization improves, over people of the demo.

    python -m benchmarks.demo_people --people=8 --out=runs/people
    python -m benchmarks.demo_people --people=8 --variants=4 --out=runs/people

Each person is personalized with `demo.flags`, by LoRA and by tuning all
weights. The control is the next person's adapter on this person's held-out
photos. With --variants=N, the first N people are also personalized with every
other setting that the paper compares (`VARIANTS`), for my3dgen evaluate. Run
the same command again to resume after an interruption; existing runs are kept.
"""

import pathlib
import subprocess
import sys

import numpy as np

from my3dgen_jax.apps.person import load_person
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.errors import UserError
from my3dgen_jax.launch.support import cli
from my3dgen_jax.models.checkpoint import save_generator
from my3dgen_jax.training import run_folder

_PEOPLE = cli.integer("people", 8, "Number of people, >= 2.", lower_bound=2)
_FIRST = cli.integer(
  "first", 0, "Number of the first procedural person, >= 0.", lower_bound=0
)
_VARIANTS = cli.integer(
  "variants", 0, "Number of people with all variants, >= 0.", lower_bound=0
)
_OUT = cli.string("out", "runs/people", "Folder for the runs.")
_FULL_RATE = cli.number(
  "full_rate", 0.005, "Learning rate when tuning all weights, > 0."
)
_FLAGFILE = cli.string("job", "demo.flags", "Flagfile of every run.")

# Name of the run's folder -> flags that differ from the flagfile.
VARIANTS = {
  "rank4": ["--lora_rank=4"],
  "rank16": ["--lora_rank=16"],
  "original": ["--lora_conv_rank=original"],
  "plain": ["--lora_conv_rank=rank"],
  "lpips0.1": ["--lpips_weight=0.1"],
  "lpips10": ["--lpips_weight=10"],
}
_SIZES = (10, 50, 100)  # numbers of training photos, as in the paper's table 6

_METRICS = {"id_sim": 1, "lpips": -1, "psnr": 1, "psnr_marks": 1}


def main():
  out = pathlib.Path(_OUT.value)
  numbers = [_FIRST.value + i for i in range(_PEOPLE.value)]
  for n in numbers:
    folder = out / f"person_{n}"
    _personalize(folder / "lora", n, album=folder / "album")
    _personalize(
      folder / "full",
      n,
      "--mode=full",
      f"--learning_rate={_FULL_RATE.value}",
      album=folder / "album",
    )
  for i, n in enumerate(numbers):
    other = out / f"person_{numbers[(i + 1) % len(numbers)]}" / "lora"
    folder = out / f"person_{n}"
    merged = folder / "other"
    if not merged.exists():
      generator = load_person(run=other).generator
      save_generator(
        merged,
        generator.module.config,
        generator.variables,
        source={"merged_from": str(other)},
      )
    _personalize(
      folder / "control",
      n,
      "--mode=none",
      f"--checkpoint={merged}",
      album=folder / "album",
    )
  for n in numbers[: _VARIANTS.value]:
    folder = out / f"person_{n}"
    for name, flags in VARIANTS.items():
      _personalize(folder / name, n, *flags, album=folder / "album")
    many = folder / "album_large"
    demo_album.write_demo_album(many, n, max(_SIZES))
    for size in _SIZES:
      _personalize(folder / f"photos{size}", n, f"--train={size}", album=many)
  _report([out / f"person_{n}" for n in numbers])


def _personalize(
  out: pathlib.Path, number: int, *flags: str, album: pathlib.Path
):
  """Runs the command once, unless the run exists."""
  if (out / run_folder.SUMMARY_FILE).exists():
    return
  demo_album.write_demo_album(album, number)
  print(f"{out}", flush=True)
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "my3dgen_jax.launch.personalize",
      f"--flagfile={_FLAGFILE.value}",
      f"--demo_person={number}",
      f"--album={album}",
      f"--test={album / demo_album.TEST_FILE}",
      f"--reference={album / demo_album.REFERENCE_FILE}",
      f"--out={out}",
      "--resume",
      *flags,
    ],
    check=False,
  )
  if done.returncode:
    raise UserError(f"{out}: personalization failed, see above")


def _report(folders: list[pathlib.Path]):
  """Prints means and differences, with standard errors."""
  summaries = {
    kind: [
      run_folder.read_json(folder / kind / run_folder.SUMMARY_FILE)
      for folder in folders
    ]
    for kind in ("lora", "full", "control")
  }
  rows = {
    "pretrained": _values(summaries["lora"], "pretrained"),
    "LoRA, rank 1": _values(summaries["lora"], "personalized"),
    "all weights": _values(summaries["full"], "personalized"),
    "another's LoRA": _values(summaries["control"], "pretrained"),
  }
  print(
    f"\n{len(folders)} people, mean over held-out photos, mean and "
    "standard error over people\n"
  )
  print("| | " + " | ".join(_METRICS) + " |")
  print("|---" * (len(_METRICS) + 1) + "|")
  for name, values in rows.items():
    print(
      f"| {name} | "
      + " | ".join(_mean(values[metric]) for metric in _METRICS)
      + " |"
    )
  before = rows["pretrained"]
  for name, values in list(rows.items())[1:]:
    print(
      f"| {name}: gain | "
      + " | ".join(
        _mean(sign * (values[metric] - before[metric]))
        for metric, sign in _METRICS.items()
      )
      + " |"
    )
  seconds = [summary["seconds"] for summary in summaries["lora"]]
  print(f"\nseconds of a LoRA run: {np.mean(seconds):.0f}")


def _values(summaries: list[dict], row: str) -> dict[str, np.ndarray]:
  return {
    metric: np.array([summary[row][metric] for summary in summaries])
    for metric in _METRICS
  }


def _mean(values: np.ndarray) -> str:
  error = values.std(ddof=1) / len(values) ** 0.5
  return f"{values.mean():.3f} ± {error:.3f}"


if __name__ == "__main__":
  cli.run(main)
