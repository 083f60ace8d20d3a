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


def commands() -> dict[str, str]:
  """Names of commands to their modules."""
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


def main():
  """Runs the command that the first argument names, with the others."""
  known = commands()
  name = sys.argv[1] if len(sys.argv) > 1 else "--help"
  if name in ("--help", "-h", "--helpshort", "help"):
    width = max(map(len, known))
    print("usage: my3dgen COMMAND --FLAG=VALUE …   (--helpshort: its flags)\n")
    for command, module in sorted(known.items()):
      print(f"  {command:{width}}  {summary(module)}")
    return
  if name == "--version":
    from my3dgen_jax._version import __version__

    print(__version__)
    return
  module = known.get(name.replace("_", "-"))
  if module is None:
    print(
      f"error: unknown command {name!r}; my3dgen --help lists them",
      file=sys.stderr,
    )
    sys.exit(2)
  sys.argv = [f"my3dgen {name}", *sys.argv[2:]]
  runpy.run_module(module, run_name="__main__", alter_sys=True)
