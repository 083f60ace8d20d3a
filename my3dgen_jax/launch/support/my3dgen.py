"""The command `my3dgen`: one name for all commands.

    my3dgen personalize --flagfile=obama.flags
    my3dgen convert --input ffhqrebalanced512-128.pkl --output checkpoints/ffhq

`my3dgen NAME` is `python -m my3dgen_jax.launch.NAME`, or a converter.
"""

import ast
import importlib.util
import pathlib
import pkgutil
import runpy
import sys
from collections.abc import Mapping, Sequence

from my3dgen_jax.launch.support.help import nearest

_COMMANDS = "my3dgen_jax.launch"
CONVERTERS = {
  "convert": "converters.torch_to_flax",
  "convert-arcface": "converters.arcface_to_flax",
  "convert-direction": "converters.direction_to_npy",
  "convert-dists": "converters.dists_to_flax",
  "convert-latent": "converters.latent_to_npy",
  "convert-lpips": "converters.lpips_to_flax",
  "export": "converters.flax_to_torch",
}
# Every command, in the order in which help lists them.
GROUPS: Mapping[str, Sequence[str]] = {
  "Make a person": ("prepare", "personalize", "report"),
  "Use a person": (
    *("render", "viewer", "edit", "interpolate", "synthesize"),
    *("invert", "enhance", "mesh", "splats", "evaluate"),
  ),
  "Share": ("share",),
  "Many people": ("fleet", "bank"),
  "Weights": ("info", *CONVERTERS, "train-encoder"),
  "Train the demo's networks": ("pretrain-demo", "train-demo-networks"),
}
_HELP = ("--help", "-h", "-?", "--helpshort", "--helpfull", "help")


def commands() -> dict[str, str]:
  """The module of each command, by the command's name."""
  folder = str(pathlib.Path(__file__).parents[1])
  return {
    **{
      module.name.replace("_", "-"): f"{_COMMANDS}.{module.name}"
      for module in pkgutil.iter_modules([folder])
      if not module.ispkg
    },
    **CONVERTERS,
  }


def summary(module: str) -> str:
  """The first line of a module's docstring; the module is not imported."""
  spec = importlib.util.find_spec(module)
  assert spec is not None and spec.origin is not None, module
  text = pathlib.Path(spec.origin).read_text(encoding="utf-8")
  return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def as_text() -> str:
  """What `my3dgen --help` prints: each command in its group."""
  known = commands()
  width = max(map(len, known))
  lines = ["usage: my3dgen COMMAND --FLAG=VALUE …"]
  for title, names in GROUPS.items():
    lines += ["", f"{title}:"]
    lines += [f"  {name:{width}}  {summary(known[name])}" for name in names]
  return "\n".join(
    [
      *lines,
      "",
      "my3dgen COMMAND --help shows examples and flags. --flagfile=FILE reads",
      "flags from a file; later flags override earlier ones.",
      "Start with: my3dgen personalize --flagfile=demo.flags",
    ]
  )


def main():
  """Runs the command that the first argument names, with the others."""
  known = commands()
  name = sys.argv[1] if len(sys.argv) > 1 else "--help"
  if name in _HELP:
    print(as_text())
    return
  if name == "--version":
    from my3dgen_jax._version import __version__

    print(__version__)
    return
  module = known.get(name.replace("_", "-"))
  if module is None:
    meant = nearest(name.replace("_", "-"), known)
    print(
      f"error: unknown command {name!r}{meant or ';'} "
      "my3dgen --help lists the commands",
      file=sys.stderr,
    )
    sys.exit(2)
  sys.argv = [f"my3dgen {name}", *sys.argv[2:]]
  runpy.run_module(module, run_name="__main__", alter_sys=True)
