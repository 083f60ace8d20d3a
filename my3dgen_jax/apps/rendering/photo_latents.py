"""Latents that one starts from: anchors of a run, and inverted photos."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.apps.person import Person
from my3dgen_jax.data import album_files, latent_files
from my3dgen_jax.data.album_files import stem
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models.checkpoint import load_config, load_generator
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.storage import array_files
from my3dgen_jax.training import run_folder
from my3dgen_jax.types import Network

TUNED_FROM = "tuned_from"  # in the source of a bent generator
LATENT_SUFFIX = ".npz"  # of files that `apps.invert` writes
_SUFFIXES = (LATENT_SUFFIX, ".npy")
_TORCH_SUFFIXES = (".pt", ".pth")
ALL = "all"  # photos of the run
_LISTED = 6  # photos that a message names
# Weights that give a file's latent back to this share of its size are of the
# same anchors.
_RELATIVE_TOLERANCE = 1e-3


class PhotoLatent(NamedTuple):
  """A latent, and the photo that it is of.

  Attributes:
    name: name of the photo, or path of the file; see `public_name`.
    ws: [num_ws, w_dim].
    c: [25], the photo's camera label.
    alpha: weights of the person's anchors, [N] or [num_ws, N]; None: there
      are none that are known.
    generator: a generator tuned to this photo; None: the person's.
  """

  name: str
  ws: np.ndarray
  c: np.ndarray
  alpha: np.ndarray | None = None
  generator: Network | None = None


def files_of(
  found: Sequence[PhotoLatent], out: pathlib.Path
) -> list[pathlib.Path]:
  """The files of latents: of one `out`, of several `out` with their names.

  Args:
    found: the latents.
    out: the names come before its suffix: `head_photo003.ply`.
  """
  if len(found) == 1:
    return [out]
  return [out.with_name(f"{out.stem}_{one.name}{out.suffix}") for one in found]


def look_up(person: Person, name: str, *, flag: str) -> PhotoLatent:
  """Finds a latent.

  Args:
    person: the owner of the latent.
    name: a photo of the run, with or without its extension; or its number,
      from 0; or a file that `apps.invert` has written, NAME.npz. What bends
      the generator to the photo is read if it lies beside. Or a projector's
      file, see `data.latent_files`; it is shown from the front.
    flag: the flag that gives the name, for messages.

  Raises: UserError, CheckpointError: names what is not there.
  """
  if is_file(name):
    return _of_file(person, pathlib.Path(name).expanduser())
  known = () if person.anchors is None else person.anchors.names
  rows = {str(i): i for i in range(len(known))}
  rows.update((stem(photo), i) for i, photo in enumerate(known))
  rows.update((photo, i) for i, photo in enumerate(known))
  if name not in rows:
    listed = ", ".join(known[:_LISTED]) + ", …" * (len(known) > _LISTED)
    there = (
      f"{person.name} has {listed}"
      if known
      else f"{person.name} is a bare checkpoint, without photos"
    )
    raise UserError(
      f"{flag}: unknown photo {name!r}: {there}; files of my3dgen invert end "
      f"in {LATENT_SUFFIX}, a projector's in {' or '.join(_SUFFIXES)}"
    )
  row = rows[name]
  return PhotoLatent(
    known[row],
    np.asarray(person.anchors.ws[row]),
    np.asarray(person.anchors.c[row]),
    np.eye(len(known), dtype=np.float32)[row],
  )


def look_up_all(
  person: Person, names: Sequence[str], *, flag: str
) -> list[PhotoLatent]:
  """Finds latents.

  Args:
    person: the owner of the latents.
    names: see `look_up`; "all": each photo of the run.
    flag: the flag that gives the names, for messages.

  Raises: UserError, CheckpointError: names what is not there.
  """
  if person.anchors is not None:
    names = [
      photo
      for name in names
      for photo in (person.anchors.names if name == ALL else [name])
    ]
  return [look_up(person, name, flag=flag) for name in names]


def is_file(name: str) -> bool:
  """Whether a name is that of a latent's file, not of a photo."""
  return name.lower().endswith((*_SUFFIXES, *_TORCH_SUFFIXES))


def public_name(latent: PhotoLatent) -> str:
  """The photo's name, or the file's alone, as pictures may tell anybody."""
  if is_file(latent.name):
    return pathlib.Path(latent.name).stem
  return latent.name


def with_file_names(
  found: Sequence[PhotoLatent], *, flag: str
) -> list[PhotoLatent]:
  """The latents under names that are valid file names.

  Args:
    found: latents from `look_up`.
    flag: the flag that gives the names, for messages.

  Raises: UserError: one comes twice.
  """
  called = [
    public_name(one) if is_file(one.name) else stem(one.name).replace("/", "_")
    for one in found
  ]
  for name in called:
    if called.count(name) > 1:
      raise UserError(
        f"{flag}: {name!r} appears twice; give each once, and give files "
        "different names"
      )
  return [one._replace(name=name) for one, name in zip(found, called)]


def _of_file(person: Person, path: pathlib.Path) -> PhotoLatent:
  if path.suffix.lower() in _TORCH_SUFFIXES:
    raise CheckpointError(latent_files.convert_hint(str(path)))
  arrays = {}
  if path.suffix.lower() == LATENT_SUFFIX:
    arrays = array_files.read_npz(path)
  if not {"c", "base"} & set(arrays):
    return _of_projector(person, path)
  for name in ("ws", "c"):
    if name not in arrays:
      raise CheckpointError(
        f"{path}: has no {name}; expected a file from my3dgen invert"
      )
  model = person.generator.module.config
  if str(arrays.get("base", person.origin.base)) != person.origin.base:
    raise CheckpointError(
      f"{path}: is a latent of another base generator; use the run that the "
      "photo was inverted with"
    )
  ws = np.asarray(
    checks.as_float32(f"{path}: ws", arrays["ws"], (model.num_ws, model.w_dim))
  )
  c = checks.as_float32(f"{path}: c", arrays["c"], (cameras.LABEL_SIZE,))
  c = np.asarray(cameras.check_label(c[None], f"{path}: c"))[0]
  return PhotoLatent(
    str(path),
    ws,
    c,
    _of_same_anchors(person, ws, arrays.get("alpha")),
    _bent(person, path),
  )


def _of_projector(person: Person, path: pathlib.Path) -> PhotoLatent:
  """A latent that another program has found."""
  model = person.generator.module.config
  try:
    with path.open("rb") as file:
      found = latent_files.read(file)
  except OSError as error:
    raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
  except CheckpointError as error:
    raise CheckpointError(f"{path}: {error}") from None
  ws = album_files.check_latent(found, str(path), model.num_ws, model.w_dim)
  c = np.asarray(cameras.label(0.0, 0.0, model.rendering))
  return PhotoLatent(str(path), ws, c)


def _of_same_anchors(
  person: Person, ws: np.ndarray, alpha: np.ndarray | None
) -> np.ndarray | None:
  """Weights if they are of this person's anchors; those of others mislead."""
  if person.anchors is None or alpha is None:
    return None
  hull = person.hull(0.0)
  if alpha.shape not in ((hull.size,), (ws.shape[0], hull.size)):
    return None
  found = np.asarray(hull.latents(alpha[None]))[0]
  if np.linalg.norm(found - ws) > _RELATIVE_TOLERANCE * np.linalg.norm(ws):
    return None
  return alpha.astype(np.float32)


def _bent(person: Person, path: pathlib.Path) -> Network | None:
  """The generator that pivotal tuning fitted to a photo, or None."""
  adapter = path.with_suffix(".safetensors")
  folder = path.with_name(f"{path.stem}_generator")
  if folder.is_dir():
    if load_config(folder)[1].get(TUNED_FROM) != person.digest:
      raise CheckpointError(
        f"{folder}: was tuned from another generator; use the run that the "
        "photo was inverted with"
      )
    generator, variables = load_generator(folder)
    return Network(variables, generator)
  if not adapter.exists():
    return None
  model = person.generator.module.config
  found = lora_lib.load(adapter, model)
  if found.metadata.get(run_folder.BASE_DIGEST) != person.digest:
    raise CheckpointError(
      f"{adapter}: belongs to another generator; use the run that the photo "
      "was inverted with"
    )
  return Network(
    lora_lib.merge_into_params(
      person.generator.variables, found.lora, found.config
    ),
    person.generator.module,
  )
