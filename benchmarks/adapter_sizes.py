"""Measures the quality of smaller adapters, over people of the demo.

    python -m benchmarks.adapter_sizes --out=runs/adapter_sizes
    python -m benchmarks.adapter_sizes --people=8 --basis_people=16

The first --people are personalized, and their adapters are written in every
variant of `_variants`. All variants are measured on the same held-out photos
from the same latents, found with the float32 adapter, so that only the numbers'
precision differs. Intervals are over people, each compared with themselves.

The next --basis_people are personalized only to fit shared bases. Each measured
person's basis is fitted to all other people.

Sizes are those of files: the demo's, and one for FFHQ's generator with random
numbers, which has no small singular values to drop. Run the same command again
to resume after an interruption.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from benchmarks import report
from my3dgen_jax import lora, LoraConfig, preset
from my3dgen_jax.apps import personalize
from my3dgen_jax.apps.evaluation import tables
from my3dgen_jax.apps.personalization.job import Job
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.apps.personalization.shared import Shared
from my3dgen_jax.apps.reports import before_after
from my3dgen_jax.config import ProjectionConfig, TuningConfig
from my3dgen_jax.demo.personal_runs import with_demo_person
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.interrupts import stopping_gently
from my3dgen_jax.launch.support import cli
from my3dgen_jax.lora import quantization, shared_basis
from my3dgen_jax.models.adapter import PAIR
from my3dgen_jax.models.checkpoint import weights_digest
from my3dgen_jax.storage.json_files import read
from my3dgen_jax.training import run_folder
from my3dgen_jax.types import Network

_PEOPLE = cli.integer(
  "people", 8, "Number of people to measure, >= 1.", lower_bound=1
)
_BASIS = cli.integer(
  "basis_people",
  16,
  "Number of additional people to fit the bases to, >= 0.",
  lower_bound=0,
)
_OUT = cli.string("out", "runs/adapter_sizes", "Folder for the runs.")
_STEPS = cli.integer(
  "steps", 70, "Tuning steps per person, >= 1.", lower_bound=1
)
_TRAIN = cli.integer(
  "photos", 10, "Number of photos to tune on, >= 2.", lower_bound=2
)
cli.define_cpu_devices()

_BITS = (3.0, 2.5, 2.0, 1.5)
_RANKS = (8, 32)  # ranks of the bases
_COLUMNS = (
  tables.Column("lpips", "LPIPS", -1, 4),
  tables.Column("psnr", "PSNR", 1, 3),
  tables.Column("psnr_marks", "PSNR at marks", 1, 3),
  tables.Column("id_sim", "ID_sim", 1, 4),
)
_REFERENCE = "float32"
_FFHQ = "ffhqrebalanced512-128"
_HEADER = 700  # approximate bytes of a packed file's header without the shapes


class Variant(NamedTuple):
  """An adapter, written in one variant and read again.

  Attributes:
    leaves: tensors by path.
    bytes: size of the file.
    error: relative error, see `quantization.relative_error`.
  """

  leaves: dict[tuple[str, ...], np.ndarray]
  bytes: int
  error: float


def main():
  out = pathlib.Path(_OUT.value)
  numbers = range(_PEOPLE.value)
  others = range(_PEOPLE.value, _PEOPLE.value + _BASIS.value)
  for number in (*numbers, *others):
    _personalized(out, number, measured=number in numbers)
  people = {n: _adapter(out, n).lora for n in (*numbers, *others)}
  measured, bases = [], {}
  for number in numbers:
    bases = _bases([one for n, one in people.items() if n != number])
    measured.append(_measured(out, number, bases))
  _report(measured, bases)


def _config(
  out: pathlib.Path, number: int, *, measured: bool
) -> PersonalizeConfig:
  """One person's run: `demo.flags` with fewer photos and steps."""
  config = PersonalizeConfig(
    checkpoint="",
    album="",
    out=str(out / f"person_{number}"),
    projection=ProjectionConfig(
      space="w",
      steps=20,
      batch_size=10,
      learning_rate=0.1,
      mse_weight=2,
      optimize_noise=False,
    ),
    tuning=TuningConfig(learning_rate=0.01, batch_size=2, steps=_STEPS.value),
    save_every=_STEPS.value,
    pictures=1,
    cache=str(out / "cache"),
    train=_TRAIN.value,
  )
  found = with_demo_person(config, number, log=lambda line: None)
  return found if measured else dataclasses.replace(found, test=0)


def _personalized(out: pathlib.Path, number: int, *, measured: bool):
  """Makes one run, unless it exists."""
  config = _config(out, number, measured=measured)
  if (pathlib.Path(config.out) / run_folder.SUMMARY_FILE).exists():
    return
  summary = personalize.personalize(config, resume=True, log=lambda line: None)
  seconds = summary["seconds"] if summary else 0
  print(f"person {number}: {seconds} s", flush=True)


def _adapter(out: pathlib.Path, number: int) -> lora.Loaded:
  return lora.load(out / f"person_{number}" / run_folder.ADAPTER_FILE)


def _bases(others: Sequence[Any]) -> dict[int, shared_basis.Basis]:
  """Bases fitted to other people, by rank."""
  return {
    rank: shared_basis.fit(others, rank=rank) for rank in _RANKS if others
  }


def _variants(
  lora_config: LoraConfig,
  collection: Any,
  bases: Mapping[int, shared_basis.Basis],
  folder: pathlib.Path,
) -> dict[str, Variant]:
  """An adapter in every variant."""
  folder.mkdir(parents=True, exist_ok=True)
  leaves = {path: np.asarray(x) for path, x in flatten_dict(collection).items()}
  found: dict[str, Variant] = {}

  def keep(name: str, own: Mapping[tuple[str, ...], Any], size: int):
    own = {path: np.asarray(leaf) for path, leaf in own.items()}
    error = quantization.relative_error(leaves, own)
    found[name] = Variant(own, size, error)

  def written(name: str, dtype: str, basis: shared_basis.Basis | None = None):
    path = folder / f"{name.replace(' ', '_')}.safetensors"
    lora.save(path, collection, lora_config, dtype=dtype, basis=basis)
    if basis is not None:
      shared_basis.write(folder / "people.basis.safetensors", basis)
    keep(name, flatten_dict(lora.load(path).lora), path.stat().st_size)

  for dtype in lora.files.DTYPES:
    written(dtype, dtype)
  keep("4 bits in each row", _alike(leaves), 0)
  for bits in _BITS:
    packed = quantization.pack(leaves, "int4", bits=bits)
    spared = quantization.pack(leaves, "int4").codes.size - packed.codes.size
    shapes = {path: leaf.shape for path, leaf in leaves.items()}
    keep(
      f"{bits} bits",
      quantization.unpack(shapes, packed),
      found["int4"].bytes - spared,
    )
  for rank, basis in bases.items():
    for dtype in quantization.DTYPES:
      written(f"basis {rank} {dtype}", dtype, basis)
  return found


def _alike(
  leaves: Mapping[tuple[str, ...], np.ndarray],
) -> dict[tuple[str, ...], np.ndarray]:
  """Plain rounding of A and B to four bits per row, to compare with int4."""
  found = {}
  for path, leaf in leaves.items():
    axes = tuple(range(leaf.ndim - 1)) if path[-1] == PAIR[0] else leaf.ndim - 1
    step = np.abs(leaf).max(axes, keepdims=True) / 7 if leaf.ndim else leaf
    found[path] = np.rint(leaf / np.where(step, step, 1)) * step
  return found


def _measured(
  out: pathlib.Path, number: int, bases: Mapping[int, shared_basis.Basis]
) -> dict[str, dict[str, float]]:
  """One person's scores by variant; known scores are not measured again."""
  folder = out / f"person_{number}" / "sizes"
  kept = folder.with_suffix(".json")
  known: dict[str, dict[str, float]] = read(kept) if kept.exists() else {}
  loaded = _adapter(out, number)
  variants = _variants(loaded.config, loaded.lora, bases, folder)
  missing = [
    name
    for name, variant in variants.items()
    if known.get(name, {}).get("error") != variant.error
  ]
  if missing:
    with stopping_gently() as stop:
      config = _config(out, number, measured=True).validate()
      quietly = lambda line: None
      shared = Shared.load(config, devices_lib.all_devices(None), log=quietly)
      job = Job.open(config, shared, quietly)
      shared.read_networks(config)
      merged = functools.partial(
        lora.merge_into_params, shared.base.variables, lora_config=loaded.config
      )
      module = shared.base.module
      variables = merged(loaded.lora)
      anchors = job.finder(
        out, Network(variables, module), weights_digest(variables)
      ).find(job.split.test, stop, title="held-out photos")
      for name in missing:
        tree = jax.tree.map(
          jax.numpy.asarray, unflatten_dict(variants[name].leaves)
        )
        scores, _ = before_after.compare(
          job.split.test,
          {name: (Network(merged(tree), module), anchors)},
          reference=job.split.reference,
          lpips=shared.networks["lpips"],
          identity=shared.networks["identity"],
          stop=stop,
        )
        known[name] = {
          **{key: float(value or 0) for key, value in scores[name].items()},
          "bytes": variants[name].bytes,
          "error": variants[name].error,
        }
        kept.write_text(json.dumps(known, indent=1))
      print(f"person {number}: measured", flush=True)
  return {name: known[name] for name in variants}


def _ffhq_bytes(names: list[str]) -> dict[str, int]:
  """File sizes of random adapters of rank 1 for FFHQ's generator."""
  rng = np.random.default_rng(0)
  config = LoraConfig()
  leaves = {
    path: rng.standard_normal(leaf.shape).astype(np.float32)
    for path, leaf in flatten_dict(lora.abstract(preset(_FFHQ), config)).items()
  }
  sizes = {}
  for name in names:
    shaped, dtype, bits = leaves, name, None
    if name.startswith("basis"):
      _, rank, dtype = name.split()
      shaped = {
        path: rng.standard_normal((int(rank), leaf.shape[-1]))
        if path[-1] == PAIR[0] and np.prod(leaf.shape[:-1]) > int(rank)
        else leaf
        for path, leaf in leaves.items()
      }
    elif name.endswith(" bits"):
      dtype, bits = "int4", float(name.split()[0])
    elif name in ("float32", "float16"):
      path = pathlib.Path(_OUT.value) / "ffhq.safetensors"
      lora.save(path, unflatten_dict(leaves), config, dtype=name)
      sizes[name] = path.stat().st_size
      continue
    elif name not in quantization.DTYPES:
      sizes[name] = 0
      continue
    packed = quantization.pack(shaped, dtype, bits=bits)
    shapes = {path: list(leaf.shape) for path, leaf in shaped.items()}
    text = json.dumps(unflatten_dict(shapes), separators=(",", ":"))
    sizes[name] = sum(array.nbytes for array in packed) + len(text) + _HEADER
  return sizes


def _report(
  measured: list[dict[str, dict[str, float]]],
  bases: Mapping[int, shared_basis.Basis],
):
  """Prints the table, with each variant's difference from float32."""
  names = list(measured[0])
  values: dict[str, dict[str, Sequence[float]]] = {}
  for name in names:
    rows_of = [one[name] for one in measured]
    values[name] = {
      column.name: [row[column.name] for row in rows_of] for column in _COLUMNS
    }
  table = tables.Table("adapter_sizes", "Adapters", _COLUMNS, values)
  ffhq = _ffhq_bytes(names)
  rows = []
  for name in names:
    row = [
      name,
      _kilobytes(np.mean([one[name]["bytes"] for one in measured])),
      _kilobytes(ffhq[name]),
      f"{100 * np.mean([one[name]['error'] for one in measured]):.2f} %",
    ]
    for column in _COLUMNS:
      value = tables.estimate(table.rows[name][column.name])
      text = f"{value.mean:.{column.digits}f}" if value else "–"
      gap = tables.difference(table, column.name, name, _REFERENCE)
      if gap is not None and name != _REFERENCE:
        text += (
          f" ({gap.mean:+.{column.digits}f} [{gap.low:+.{column.digits}f}, "
          f"{gap.high:+.{column.digits}f}])"
        )
      row.append(text)
    rows.append(row)
  header = ["", "demo, kB", "FFHQ, kB", "relative error"]
  header += [column.heading for column in _COLUMNS]
  print(
    f"\n{report.machine()}\n\n{len(measured)} people, "
    f"{_STEPS.value} steps on {_TRAIN.value} photos; means over held-out photos "
    "and people, and differences from float32 with 95 % intervals\n"
  )
  print(report.table(header, rows))
  for rank, basis in bases.items():
    print(
      f"basis {rank}: fitted to {basis.people} other people, "
      f"{_kilobytes(len(basis.data))} kB for the demo's generator"
    )


def _kilobytes(size: float) -> str:
  return f"{size / 1000:.1f}" if size else "–"


if __name__ == "__main__":
  cli.run(main)
