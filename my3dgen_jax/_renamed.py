"""Old names of modules, importable for one version."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings

_PACKAGE = __name__.rpartition(".")[0]
# Old to new names, within the package; removed in the next version.
RENAMED = {
  "apps.before_after": "apps.reports.before_after",
  "apps.camera_paths": "apps.rendering.camera_paths",
  "apps.claims": "apps.evaluation.claims",
  "apps.contact_sheets": "apps.preparation.contact_sheets",
  "apps.evaluate": "apps.evaluation.evaluate",
  "apps.frames": "apps.rendering.frames",
  "apps.mesh": "apps.meshing.mesh",
  "apps.photo_looks": "apps.preparation.looks",
  "apps.plots": "apps.evaluation.plots",
  "apps.prepare": "apps.preparation.prepare",
  "apps.protocols": "apps.evaluation.protocols",
  "apps.render": "apps.rendering.render",
  "apps.render_files": "apps.rendering.output",
  "apps.rendering.density": "apps.meshing.density",
  "apps.rendering.mesh": "apps.meshing.mesh",
  "apps.rendering.mesh_files": "apps.meshing.files",
  "apps.rendering.mesh_libraries": "apps.meshing.libraries",
  "apps.rendering.surface": "apps.meshing.surface",
  "apps.report": "apps.reports.report",
  "apps.report_page": "apps.reports.page",
  "apps.scenes": "apps.rendering.scenes",
  "apps.scores": "losses.scores",
  "apps.stations": "apps.rendering.photo_latents",
  "apps.tables": "apps.evaluation.tables",
  "apps.viewer.gate": "apps.gate",
  "apps.viewer_gate": "apps.gate",
  "apps.viewer_people": "apps.viewer.people",
  "apps.viewer_renderer": "apps.viewer.workers",
  "apps.viewer_scene": "apps.viewer.scene",
  "data.cat_face": "data.faces.cat_face",
  "data.face_align": "data.faces.face_align",
  "data.face_pose": "data.faces.face_pose",
  "data.files": "storage.files",
  "data.landmarks": "data.faces.landmarks",
  "data.mediapipe_models": "data.faces.mediapipe_models",
  "data.orbax_files": "storage.orbax_files",
  "data.photo_quality": "data.faces.photo_quality",
  "data.pose_spread": "data.faces.pose_spread",
  "data.synthetic": "data.provenance",
  "launch.cli": "launch.support.cli",
  "launch.person_flags": "launch.support.person_flags",
  "launch.programs": "launch.support.programs",
  "ops.density_grid": "ops.rendering.density_grid",
  "ops.grid_sample": "ops.rendering.grid_sample",
  "ops.normals": "ops.rendering.normals",
  "ops.platforms": "tracing.platforms",
  "ops.rays": "ops.rendering.rays",
  "ops.renderer": "ops.rendering.renderer",
  "ops.triplane": "ops.rendering.triplane",
  "ops.volume": "ops.rendering.volume",
  "training.devices": "jobs.devices",
  "training.events": "jobs.events",
  "training.interrupts": "jobs.interrupts",
  "training.logs": "jobs.logs",
  "training.processes": "jobs.processes",
  "training.progress": "jobs.progress",
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Imports the renamed module when its old name is imported."""

  def __init__(self):
    self._specs = {}

  def find_spec(self, fullname, path=None, target=None):
    package, _, old = fullname.partition(".")
    if package != _PACKAGE or old not in RENAMED:
      return None
    return importlib.machinery.ModuleSpec(fullname, self)

  def create_module(self, spec):
    new = f"{_PACKAGE}.{RENAMED[spec.name.partition('.')[2]]}"
    warnings.warn(
      f"{spec.name} is now {new}; the old name will be removed in the next version",
      DeprecationWarning,
      stacklevel=2,
    )
    module = importlib.import_module(new)
    self._specs[spec.name] = module.__spec__
    return module

  def exec_module(self, module):
    # `importlib` has replaced it by the old name's spec.
    module.__spec__ = self._specs.pop(module.__spec__.name)


def install():
  """Makes the old names importable; called once, by the package."""
  if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.append(_Finder())
