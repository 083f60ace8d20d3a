"""Files that commands read, sound ones, and what reads them."""

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.albums import open_album
from tests.support import albums

NUM_WS, W_DIM = 6, 8


class Kind(NamedTuple):
  """A kind of input.

  Attributes:
    make: writes sound files into an empty folder.
    read: reads what `make` has written, as commands do.
    files: patterns of those that are damaged, one at a time.
  """

  make: Callable[[pathlib.Path], None]
  read: Callable[[pathlib.Path], None]
  files: tuple[str, ...] = ("*",)


def _make_album(folder: pathlib.Path, **options):
  albums.make(
    folder / "album", size=16, latents=(NUM_WS, W_DIM), masks=True, **options
  )


def _read_album(path: pathlib.Path):
  album = open_album(path, num_ws=NUM_WS, w_dim=W_DIM)
  album.verify()
  album.split(test=1, reference=1)


def _make_zip(folder: pathlib.Path):
  _make_album(folder)
  albums.zip_folder(folder / "album", folder / "album.zip")
  shutil.rmtree(folder / "album")


def _make_transforms(folder: pathlib.Path):
  _make_album(folder)
  place = folder / "album" / "dataset.json"
  labels = dataset_json.read(place)
  place.unlink()
  frames = [
    {
      "file_path": name,
      "transform_matrix": (c[:16].reshape(4, 4) * [1, -1, -1, 1]).tolist(),
    }
    for name, c in labels.items()
  ]
  (folder / "album" / "transforms.json").write_text(
    json.dumps({"w": 16, "h": 16, "fl_x": 68.2, "frames": frames})
  )


def _make_cameras(folder: pathlib.Path):
  c = albums.labels(3)
  write = lambda name, content: (folder / name).write_text(json.dumps(content))
  write("list.json", c.tolist())
  write(
    "keys.json",
    {
      "closed": False,
      "keys": [
        {"time": 0, "yaw": -0.3, "pitch": 0, "radius": 2.7, "focal": 4.26},
        {"time": 1, "yaw": 0.3},
      ],
    },
  )
  write(
    "camera_path.json",
    {
      "camera_path": [
        {
          "camera_to_world": (one[:16].reshape(4, 4) * [1, -1, -1, 1])
          .ravel()
          .tolist(),
          "fov": 13.4,
        }
        for one in c
      ]
    },
  )


def _each(
  read: Callable[[pathlib.Path], object], *patterns: str
) -> Callable[[pathlib.Path], None]:
  def read_all(folder: pathlib.Path):
    for pattern in patterns:
      for path in sorted(folder.glob(pattern)):
        read(path)

  return read_all


def _read_cameras(path: pathlib.Path):
  from my3dgen_jax.apps.rendering import camera_paths

  camera_paths.read(path, RenderConfig(), frames=4)


def _make_photos(folder: pathlib.Path):
  pixels = albums.picture(0, 48)
  image = Image.fromarray(pixels)
  exif = Image.Exif()
  exif[0x0112] = 6
  for name, options in (
    ("a.jpg", {"exif": exif}),
    ("b.jpg", {"progressive": True}),
    ("c.png", {}),
    ("d.webp", {}),
    ("e.tif", {}),
    ("f.gif", {}),
    ("g.bmp", {}),
    ("h.tif", {"compression": "tiff_lzw"}),
  ):
    image.save(folder / name, **options)
  Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "i.png")
  image.convert("CMYK").save(folder / "j.jpg")


def _read_photo(path: pathlib.Path):
  from my3dgen_jax.data import photo_files

  photo_files.read_photo(path)


def _make_adapter(folder: pathlib.Path):
  import jax

  from my3dgen_jax import lora
  from my3dgen_jax.config import LoraConfig
  from tests.support.tiny import TINY

  lora.save(
    folder / "adapter.safetensors",
    lora.init(jax.random.key(0), TINY, LoraConfig()),
    LoraConfig(),
    metadata={"base_sha256": "0" * 64, "settings": '{"a": {"b": 1}}'},
  )


def _make_small_adapters(folder: pathlib.Path):
  """In few bits, alone and with the basis that one needs."""
  import jax

  from my3dgen_jax import lora
  from my3dgen_jax.config import LoraConfig
  from my3dgen_jax.lora import shared_basis
  from tests.support.tiny import TINY

  rng = np.random.default_rng(0)
  people = [
    jax.tree.map(
      lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32),
      lora.abstract(TINY, LoraConfig()),
    )
    for _ in range(3)
  ]
  basis = shared_basis.fit(people[1:], rank=3)
  shared_basis.write(folder / "a.basis.safetensors", basis)
  for name, dtype, needed in (
    ("int8", "int8", None),
    ("int4", "int4", None),
    ("coefficients", "int8", basis),
  ):
    lora.save(
      folder / f"{name}.safetensors",
      people[0],
      LoraConfig(),
      dtype=dtype,
      basis=needed,
      metadata={"base_sha256": "0" * 64},
    )


def _read_adapter(path: pathlib.Path):
  from my3dgen_jax import lora
  from my3dgen_jax.apps import describe, scrub
  from my3dgen_jax.errors import CheckpointError
  from tests.support.tiny import TINY

  del scrub
  found = None
  try:
    lora.load(path, TINY)
  except CheckpointError as error:
    found = error
  describe.describe_adapter(path)
  if found:
    raise found


def _read_small_adapter(path: pathlib.Path):
  from my3dgen_jax.lora import shared_basis

  if path.match(shared_basis.PATTERN):
    shared_basis.read(path)
  else:
    _read_adapter(path)


def _make_generator(folder: pathlib.Path):
  from my3dgen_jax.models.checkpoint import save_generator
  from tests.support.tiny import random_variables, TINY

  save_generator(folder / "base", TINY, random_variables(0, TINY))


def _read_generator(path: pathlib.Path):
  from my3dgen_jax.models.checkpoint import load_generator

  load_generator(path)


def _make_network(folder: pathlib.Path):
  from my3dgen_jax.demo import shipped

  shutil.copytree(shipped.IDENTITY, folder / "identity")
  for path in (folder / "identity").iterdir():
    if path.name != "weights.safetensors":
      path.unlink()


def _read_network(path: pathlib.Path):
  from my3dgen_jax.losses import identity

  identity.load_identity(path)


def _make_run(folder: pathlib.Path):
  shutil.copytree(
    pathlib.Path(__file__).parents[1] / "golden" / "old_run" / "run",
    folder / "run",
  )


def _read_run(path: pathlib.Path):
  from my3dgen_jax.apps import describe
  from my3dgen_jax.training import run_folder

  run_folder.read_config(path)
  describe.describe_run(path)


def _make_torch(folder: pathlib.Path):
  from tests.support import official_files, rule_weights
  from tests.support.tiny import TINY

  arrays = rule_weights.fill(official_files.generator_shapes(TINY))
  for name, write in (
    ("zip.pth", official_files.zip_file),
    ("legacy.pth", official_files.legacy_file),
    ("plain.pkl", official_files.plain_pickle),
  ):
    (folder / name).write_bytes(write(arrays))


def _read_torch(path: pathlib.Path):
  from converters import torch_reader

  torch_reader.state_dict(torch_reader.load(str(path)))


def _make_latents(folder: pathlib.Path):
  from tests.support import person

  model, made = person.MODEL, person.make(1)
  del model
  np.savez(folder / "a.npz", ws=made.ws[0], c=made.c[0])
  np.savez(folder / "b.npz", w=made.ws[:1])
  np.save(folder / "c.npy", made.ws[0])
  np.savez(
    folder / "anchors.npz", names=np.array(["a.png"]), ws=made.ws, c=made.c
  )
  np.save(folder / "direction.npy", np.ones(W_DIM, np.float32))


def _read_latents(path: pathlib.Path):
  from my3dgen_jax import directions
  from my3dgen_jax.apps.rendering import photo_latents
  from my3dgen_jax.training.anchors import Anchors
  from tests.support.persons import tiny_person

  if path.name == "anchors.npz":
    Anchors.load(path)
  elif path.name == "direction.npy":
    directions.load(path, w_dim=W_DIM, num_ws=NUM_WS)
  else:
    photo_latents.look_up(tiny_person(1), str(path), flag="latents")


def _make_texts(folder: pathlib.Path):
  (folder / "labels.csv").write_text("name,smile\n0,1\n1,0.5\n2,true\n")
  (folder / "job.flags").write_text("# a run\n--steps=3\n--out=x\n")
  (folder / "test.txt").write_text("photo00\n# first\nphoto01.png\n")
  face = np.random.default_rng(0).uniform(0, 99, (68, 2)).tolist()
  (folder / "landmarks.json").write_text(
    json.dumps({"a.jpg": [{"points": face, "score": 0.9}], "b.jpg": face})
  )


def _read_texts(path: pathlib.Path):
  from my3dgen_jax import directions
  from my3dgen_jax.data import photo_selection
  from my3dgen_jax.data.faces import landmarks
  from my3dgen_jax.launch.support import flagfiles

  if path.suffix == ".csv":
    directions.read_labels(path, 3)
  elif path.suffix == ".flags":
    flagfiles.expanded([f"--flagfile={path}"])
  elif path.suffix == ".txt":
    photo_selection.find(
      ("photo00.png", "photo01.png"), "test", "album", str(path)
    )
  else:
    landmarks.read_json(path)


KINDS = {
  "album": Kind(_make_album, lambda f: _read_album(f / "album"), ("album/*",)),
  "album zip": Kind(_make_zip, lambda f: _read_album(f / "album.zip")),
  "transforms": Kind(
    _make_transforms, lambda f: _read_album(f / "album"), ("album/*.json",)
  ),
  "cameras": Kind(_make_cameras, _each(_read_cameras, "*.json")),
  "photos": Kind(_make_photos, _each(_read_photo, "*")),
  "adapter": Kind(_make_adapter, _each(_read_adapter, "*")),
  "small adapters": Kind(
    _make_small_adapters, _each(_read_small_adapter, "*.safetensors")
  ),
  "generator": Kind(
    _make_generator, _each(_read_generator, "base"), ("base/*", "base/**/*")
  ),
  "network": Kind(
    _make_network, _each(_read_network, "identity"), ("identity/*",)
  ),
  "run": Kind(_make_run, _each(_read_run, "run"), ("run/*",)),
  "torch": Kind(_make_torch, _each(_read_torch, "*")),
  "latents": Kind(_make_latents, _each(_read_latents, "*")),
  "texts": Kind(_make_texts, _each(_read_texts, "*")),
}
