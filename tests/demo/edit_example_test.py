"""The README's edit: one person of the demo, and a change that one sees.

`tests/golden/demo_run` is what `make demo` made; the golden README says when.
"""

import json
import pathlib

import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps import edit
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.labels import measured
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.apps.viewer import scene
from my3dgen_jax.demo import attributes, edits, shipped
from tests.support import golden

ROOT = pathlib.Path(__file__).resolve().parents[2]
PHOTOS = ("photo003", "photo010")  # of the README's command
LEAST = 0.5  # change of the smile, of 1
MOST_AGE = 0.1


class EditExampleTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.person = load_person(
      run=golden.FOLDER / "demo_run", checkpoint=shipped.PRIOR
    )
    cls.smile = edits.shipped_directions(cls.person.origin.base)[0]

  def test_the_default_edit_smiles(self):
    config = EditConfig()
    measure = attributes.shipped_measure()
    ends = [config.strengths[0], 0.0, config.strengths[-1]]
    for start in edit.find_starts(self.person, PHOTOS, config):
      with self.subTest(start.name):
        edited = edit.edit_strip(
          self.person,
          start,
          self.smile,
          self.smile.spread * np.array(ends),
          apply=config.apply,
          edge=config.edge,
          beta=config.beta,
        )
        found = measured(measure, edited.images)
        smile, age = (np.asarray(found[name]) for name in ("smile", "age"))
        self.assertGreater(smile[2] - smile[0], LEAST, smile)
        self.assertTrue((np.diff(smile) > 0).all(), smile)
        self.assertLess(np.ptp(age), MOST_AGE)
        # The slider of the viewer does the same.
        steps = scene.edit_steps(self.person, [self.smile], within=True)
        ws = scene.latents_of(
          self.person,
          scene.Choice(
            start="a photo",
            first=start.name + ".png",
            edits=((self.smile.name, ends[2]),),
          ),
          steps,
          mean=scene.mean_of(self.person),
          sampled={},
        )
        np.testing.assert_allclose(ws, edited.ws[2], atol=1e-3)

  def test_it_is_whom_the_demo_and_the_readme_show(self):
    flags = (ROOT / "launch" / "demo.flags").read_text().splitlines()
    album = json.loads(
      (golden.FOLDER / "demo_run" / "config.json").read_text()
    )["settings"]["album"]
    self.assertIn(f"--demo_person={album.rpartition('_')[2]}", flags)
    readme = (ROOT / "docs/edit.md").read_text()
    self.assertIn(
      "launch.edit --run=runs/demo --demo_attribute=smile --without=age \\\n"
      f"    --start={','.join(PHOTOS)} ",
      readme,
    )


if __name__ == "__main__":
  absltest.main()
