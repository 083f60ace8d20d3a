"""How many operations our programs have for a GPU, so that none come unseen.

Each operation is traced, lowered, and compiled into something by XLA: what
brings hundreds back makes a GPU's first minute longer. Nothing of CUDA is
needed to lower for it.
"""

import dataclasses

import pytest
from absl.testing import absltest, parameterized

from benchmarks import programs
from my3dgen_jax import preset
from tests.support.tiny import TINY

pytestmark = pytest.mark.usefixtures("both_ways")

# As many layers as the published generators have; the sizes do not matter.
LAYERS = dataclasses.replace(
  TINY,
  neural_rendering_resolution=32,
  backbone=dataclasses.replace(TINY.backbone, resolution=256, channel_base=256),
  superresolution=dataclasses.replace(
    TINY.superresolution, input_resolution=32
  ),
)


# Layers of every kind: what one more operation in each costs is seen with few.
FEW = dataclasses.replace(
  LAYERS,
  backbone=dataclasses.replace(TINY.backbone, resolution=16, channel_base=64),
)


class OperationsTest(parameterized.TestCase):
  @parameterized.parameters(
    ("forward", 1, 2100),
    ("render", 1, 1625),
    ("full", 4, 7525),
    ("projection", 4, 6025),
    ("pivotal", 1, 5800),
    ("hull_fit", 4, 5075),
  )
  def test_of_small_programs(self, name, batch, most):
    self.check(name, FEW, batch, most)

  def test_of_tuning_at_full_size(self):
    """26,184 before operations were joined and the optimiser saw a vector."""
    self.check("tuning", preset("ffhqrebalanced512-128"), 4, 11350)

  def check(self, name, config, batch, most):
    config = programs.for_accelerator(
      programs.with_numbers(config, "float32", "default")
    )
    text = programs.lowered(
      programs.program(name, config, batch=batch)
    ).as_text()
    count = programs.counted(text)
    print(f"{name}: {count} operations")
    self.assertLessEqual(count, most)
    # Far fewer would mean that something else is counted.
    self.assertGreater(count, most // 2)


if __name__ == "__main__":
  absltest.main()
