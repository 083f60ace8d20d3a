"""A batch in which each face is another person's, against single calls.

    python -m benchmarks.stacked --people=8
    python -m benchmarks.stacked --people=4 --preset=ffhqrebalanced512-128

Prints how far `jax.vmap` over stacked adapters is from one call per person, and
its time against the same batch of one person. Adapters are random; the demo's
prior is used unless a preset, with random weights, is named.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from my3dgen_jax import (
  cameras,
  Generator,
  load_generator,
  lora,
  LoraConfig,
  preset,
)
from my3dgen_jax.demo import shipped
from my3dgen_jax.launch.support import cli
from my3dgen_jax.models.generator import init_variables

_PEOPLE = cli.integer("people", 8, "Number of people.", lower_bound=2)
_PRESET = cli.string("preset", None, "Preset to use instead of the demo.")
_CHANGE = cli.number(
  "change", 0.02, "Standard deviation of the adapters' numbers.", lower_bound=0
)
_REPEATS = cli.integer("repeats", 5, "Timed calls of each.", lower_bound=1)


def main():
  count, config = _PEOPLE.value, LoraConfig(rank=1)
  keys = jax.random.split(jax.random.key(0), count)
  c = jnp.stack([cameras.label(0.1 * i) for i in range(count)])
  if _PRESET.value:
    base = Generator(preset(_PRESET.value))
    variables = init_variables(keys[0], base.config)
  else:
    base, variables = load_generator(shipped.PRIOR)
  z = jax.random.normal(keys[1], (count, base.config.z_dim))
  ws = base.map_latents(variables, z, c)
  people = [_random(key, base, config) for key in keys]
  generator, _ = lora.personal(base, variables, (people[0], config))

  def synthesize(person: Any, ws: Any, c: Any) -> Any:
    return generator.synthesize({**variables, "lora": person}, ws, c)

  alone = jax.jit(synthesize)
  together = jax.jit(
    jax.vmap(lambda person, ws, c: synthesize(person, ws[None], c[None]))
  )
  stacked = lora.stack(people)
  single = [
    jax.device_get(alone(person, ws[i : i + 1], c[i : i + 1]))
    for i, person in enumerate(people)
  ]
  found = jax.device_get(together(stacked, ws, c))
  for name in ("image", "image_raw", "image_depth"):
    want = np.stack([getattr(one, name) for one in single])
    error = np.asarray(getattr(found, name)) - want
    print(
      f"{name}: relative error {np.linalg.norm(error) / np.linalg.norm(want):.1e}"
      f", largest difference {np.abs(error).max():.1e}",
      flush=True,
    )
  calls: dict[str, Callable[[], Any]] = {
    "each another person": lambda: together(stacked, ws, c),
    "all one person": lambda: alone(people[0], ws, c),
  }
  seconds = _seconds(calls, _REPEATS.value)
  ratio = seconds["each another person"] / seconds["all one person"]
  words = ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items())
  print(
    f"a batch of {count}: {words}; ratio {ratio:.2f}; "
    f"{report.peak_memory_gb():.1f} GB at most"
  )
  print(report.machine())


def _random(key: jax.Array, base: Any, config: LoraConfig) -> Any:
  tree = lora.init(key, base.config, config)
  leaves, shape = jax.tree.flatten(tree)
  return jax.tree.unflatten(
    shape,
    [
      leaf + _CHANGE.value * jax.random.normal(one, leaf.shape)
      for leaf, one in zip(leaves, jax.random.split(key, len(leaves)))
    ],
  )


def _seconds(
  calls: dict[str, Callable[[], Any]], repeats: int
) -> dict[str, float]:
  """The least time of each call, taken in turn after one that compiles."""
  best = dict.fromkeys(calls, np.inf)
  for i in range(repeats + 1):
    for name, call in calls.items():
      begun = time.perf_counter()
      jax.block_until_ready(call())
      if i:
        best[name] = min(best[name], time.perf_counter() - begun)
  return best


if __name__ == "__main__":
  cli.run(main)
