"""Runs the examples and writes their pictures: docs/pictures/gallery/*.jpg.

    python docs/gallery.py            # from the repository's root; minutes
    python docs/gallery.py 02 09      # some of them

Examples return nothing, so what a picture shows is taken from the local
variables that `main` has at its end.
"""

import ast
import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

# Pictures of toys: what compiling saves is more than what running loses.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from my3dgen_jax import lora

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures" / "gallery"
MOST_BYTES = 60_000
SIDE = 160  # pixels of one image in a strip


def locals_of_main(path: pathlib.Path) -> dict[str, Any]:
  """Runs an example; the variables of its `main`, and those of the module.

  Args:
    path: the example's file.
  """
  module = ast.parse(path.read_text(encoding="utf-8"))
  for node in module.body:
    if isinstance(node, ast.FunctionDef) and node.name == "main":
      node.body += ast.parse("return locals()").body
  found: dict[str, Any] = {"__name__": path.stem}
  exec(compile(ast.fix_missing_locations(module), str(path), "exec"), found)
  return {**found, **found["main"]()}


def _of_adapters(found: Mapping[str, Any], adapters) -> list[Any]:
  """A face by the base, then by each (tree, config)."""
  base, variables = found["base"], dict(found["variables"])
  variables.pop("lora", None)  # an example may have put its own there
  images = [jax.jit(base.synthesize)(variables, found["ws"], found["c"])]
  for tree, config in adapters:
    generator, own = lora.personal(base, variables, (tree, config))
    images.append(jax.jit(generator.synthesize)(own, found["ws"], found["c"]))
  return [out.image[0] for out in images]


def _people(found):
  return _of_adapters(
    found,
    [found["ann"][:2], (found["between"], found["config"]), found["bob"][:2]],
  )


def _own_loss(found):
  own = lora.merge_collections(found["base"], found["tree"])
  ws, c = found["ws"], found["c"]
  start = jax.jit(found["generator"].synthesize)(found["base"], ws, c)
  tuned = jax.jit(found["personal"].synthesize)(own, ws, c)
  return [start.image[0], tuned.image[0], found["target"][0]]


def _mesh(found):
  out = jax.jit(found["base"].synthesize)(
    *(jax.device_get(found[name]) for name in ("variables", "ws", "c"))
  )
  return list(out.image)


def _export(found):
  ws, c = found["ws"], found["c"]
  return list(found["render"].call(found["paint"].call(ws), ws, c).image)


def _nnx(found):
  tuned = found["model"](found["ws"], found["c"], method="synthesis")
  return [*_of_adapters(found, []), tuned.image[0]]


# Pictures of the examples that write none.
DRAWN: dict[str, Callable[[Mapping[str, Any]], list[Any]]] = {
  "02": _people,
  "03": _own_loss,
  "04": lambda found: list(found["faces"]),
  "05": _mesh,
  "08": _export,
  "09": _nnx,
}


def picture(path: pathlib.Path) -> Image.Image:
  """Runs an example in an empty folder; what it shows.

  Args:
    path: the example's file.
  """
  with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    found = locals_of_main(path)
    written = sorted(pathlib.Path("out").glob("*.png"))
    if path.name[:2] in DRAWN:
      images = DRAWN[path.name[:2]](found)
      strip = np.asarray(jnp.concatenate(images, axis=1))
      pixels = np.clip(np.round(127.5 * (strip + 1)), 0, 255).astype(np.uint8)
      return Image.fromarray(pixels)
    return Image.open(written[0]).convert("RGB")


def main():
  """Writes the pictures of the examples whose numbers are given, or of all."""
  FOLDER.mkdir(parents=True, exist_ok=True)
  for path in sorted(ROOT.glob("examples/[0-9]*.py")):
    if sys.argv[1:] and path.name[:2] not in sys.argv[1:]:
      continue
    shown = picture(path)
    width = round(SIDE * shown.width / shown.height)
    target = FOLDER / f"{path.stem}.jpg"
    shown.resize((width, SIDE), Image.Resampling.LANCZOS).save(
      target, quality=88, optimize=True
    )
    assert target.stat().st_size <= MOST_BYTES, target
    print(target, target.stat().st_size, flush=True)
    jax.clear_caches()


if __name__ == "__main__":
  jax.config.update("jax_num_cpu_devices", 4)  # example 5 is about a mesh
  main()
