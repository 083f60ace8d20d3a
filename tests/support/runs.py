"""Runs of `person.make`, as if they had been trained."""

import pathlib

import jax

from my3dgen_jax import lora
from my3dgen_jax.models.checkpoint import generator_digest
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.anchors import Anchors
from tests.support import albums, person

_COUNT = 4  # of photos


def write_run(
  folder: pathlib.Path,
  base: pathlib.Path,
  seed: int = 0,
  *,
  strength: float = 0.1,
) -> pathlib.Path:
  """Writes what a viewer or an application needs of a finished run.

  Args:
    folder: new.
    base: of `person.write`.
    seed: of the adapter; another one is another person.
    strength: how much of the adapter is more than its start.
  """
  made = person.make(_COUNT)
  folder.mkdir(parents=True)
  names = albums.names(_COUNT)
  Anchors(tuple(names), made.ws, made.c).save(folder / "anchors.npz")
  adapter = jax.tree.map(
    lambda leaf: leaf + strength,
    lora.init(jax.random.key(seed), person.MODEL, person.LORA),
  )
  digest = generator_digest(base)
  lora.save(
    folder / "adapter.safetensors",
    adapter,
    person.LORA,
    metadata={run_folder.BASE_DIGEST: digest},
  )
  run_folder.write_json(
    folder / "config.json",
    {
      "kind": "personalize",
      "format": run_folder.FORMAT,
      "version": "0",
      "base_sha256": digest,
      "generator": person.MODEL.to_dict(),
      "photos": {
        "train": dict.fromkeys(names, "0"),
        "test": {},
        "reference": {},
      },
      "settings": {
        "checkpoint": str(base),
        "album": "gone",
        "lpips": None,
        "identity": None,
        "tuning": {"mode": "lora"},
      },
    },
  )
  return folder
