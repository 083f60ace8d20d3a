"""Samples of a generator: drawn, and written to files for labeling."""

import os
import pathlib
from collections.abc import Iterator

import chex
import jax
import numpy as np

from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.data import images, provenance
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.jobs.interrupts import stopping_gently
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.ops import checks
from my3dgen_jax.storage.array_files import read_npz
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.types import Network

SAMPLES_FILE = "samples.npz"
_SAMPLES_AT_ONCE = 1000


def sample_latents(
  key: chex.PRNGKey,
  generator: Network,
  count: int,
  *,
  truncation_psi: float = 1.0,
) -> np.ndarray:
  """Draws latents, conditioned on the average camera.

  Args:
    key: the PRNG key.
    generator: the generator, whose mapping network is used.
    count: how many to draw.
    truncation_psi: see `Generator.mapping`.

  Returns: w, [count, w_dim]; a larger count keeps the first ones.
  """
  config = generator.module.config
  front = render.view_labels(config.rendering, [0.0], [0.0])

  @jax.jit
  def sample(generator, key):
    z = jax.random.normal(key, (_SAMPLES_AT_ONCE, config.z_dim))
    return generator(z, front, truncation_psi=truncation_psi, method="mapping")[
      :, 0
    ]

  parts = [
    np.asarray(sample(generator, jax.random.fold_in(key, i)))
    for i in range(-(-count // _SAMPLES_AT_ONCE))
  ]
  return np.concatenate(parts)[:count]


def samples_of(person: Person, config: EditConfig) -> np.ndarray:
  """The samples that a config asks for, [N, w_dim]."""
  return sample_latents(
    jax.random.key(config.seed),
    person.generator,
    config.samples,
    truncation_psi=config.truncation_psi,
  )


def pictures_from_the_front(
  person: Person, w: np.ndarray, batch_size: int
) -> Iterator[np.ndarray]:
  """Renders latents as the average camera sees them.

  Args:
    person: the owner of the generator.
    w: [N, w_dim].
    batch_size: pictures per batch, over all devices.

  Yields: pictures, [H, W, 3] float32 in [-1, 1].
  """
  if not len(w):
    return iter(())
  model = person.generator.module.config
  front = render.view_labels(model.rendering, [0.0], [0.0])
  return render.synthesize_many(
    person.generator,
    np.broadcast_to(w[:, None], (len(w), model.num_ws, model.w_dim)),
    np.broadcast_to(front, (len(w), front.shape[1])),
    devices=person.devices,
    batch_size=batch_size,
  )


def write_samples(
  person: Person, config: EditConfig, folder: str | os.PathLike
):
  """Draws samples for a person or a program to label.

  Args:
    person: the owner of the generator.
    config: the count of samples and the seed.
    folder: folder for `0000.png`, … and `samples.npz`; existing pictures stay.

  Raises:
    UserError: the folder holds other samples.
    Interrupted: SIGTERM or SIGINT; the same command continues.
  """
  config.validate()
  folder = pathlib.Path(folder).expanduser()
  w = samples_of(person, config)
  path = folder / SAMPLES_FILE
  if path.exists():
    known = read_npz(path)
    if str(known.get("digest")) != person.digest or not np.array_equal(
      known.get("w"), w
    ):
      raise UserError(f"{folder}: holds other samples; choose another folder")
  folder.mkdir(parents=True, exist_ok=True)
  names = _sample_names(len(w))
  with stopping_gently() as stop:
    if not path.exists():
      with replacing(path) as file:
        np.savez(
          file,
          w=w,
          digest=person.digest,
          seed=config.seed,
          truncation_psi=config.truncation_psi,
          base=person.origin.base,
        )
    missing = [
      i for i, name in enumerate(names) if not (folder / name).exists()
    ]
    progress = Progress(
      "samples", len(w), "pictures", start=len(w) - len(missing)
    )
    shown = pictures_from_the_front(person, w[missing], config.batch_size)
    for done, (i, image) in enumerate(zip(missing, shown), progress.start + 1):
      provenance.write_picture(
        folder / names[i],
        images.to_uint8(image),
        person.made(
          "edit",
          sample=i,
          seed=config.seed,
          truncation_psi=config.truncation_psi,
        ),
      )
      progress.update(done)
      if done < len(w):
        stop.raise_if_wanted(
          f"stopped after {done} of {len(w)} samples; the same command resumes"
        )


def read_samples(
  folder: str | os.PathLike, *, w_dim: int, base: str | None = None
) -> tuple[np.ndarray, list[str]]:
  """Reads the latents of `write_samples`, and their pictures' names.

  Args:
    folder: the samples' folder.
    w_dim: the generator's width of w.
    base: id of its base, which defines W; None: any.

  Returns: w [N, w_dim], names.
  Raises: CheckpointError, UserError: name the file.
  """
  path = pathlib.Path(folder).expanduser() / SAMPLES_FILE
  arrays = read_npz(path)
  w = arrays.get("w")
  if w is None:
    raise CheckpointError(
      f"{path}: has no w; expected a folder written by --write_samples"
    )
  if base and str(arrays.get("base", base)) != base:
    raise CheckpointError(
      f"{path}: holds samples of another base generator; "
      "write and label samples of this one"
    )
  w = np.asarray(checks.as_float32(f"{path}: w", w, ("N", w_dim)))
  return w, _sample_names(len(w))


def _sample_names(count: int) -> list[str]:
  digits = max(4, len(str(count - 1)))
  return [f"{i:0{digits}d}.png" for i in range(count)]
