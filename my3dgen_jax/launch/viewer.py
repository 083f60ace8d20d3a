"""Opens persons in the browser, to be turned, edited, compared and saved.

    python -m my3dgen_jax.launch.viewer --run=runs/obama
    python -m my3dgen_jax.launch.viewer --runs=runs --out=saved
    python -m my3dgen_jax.launch.viewer --runs=adapters \\
        --checkpoint=checkpoints/ffhq

--runs: runs, folders of runs, adapters' files (.safetensors) or folders of
them; adapters alone need --checkpoint, their base. It listens on this machine
alone; from another one: ssh -L 8080:localhost:8080 MACHINE. --host=0.0.0.0
listens for all, --share asks viser's public service for an address; both are
for those alone who know the --token, which --share needs.
"""

import os
import sys
import time
import webbrowser

from my3dgen_jax.apps.viewer import gate
from my3dgen_jax.apps.rendering.mesh_files import MESHES
from my3dgen_jax.apps.viewer.server import Viewer, ViewerConfig
from my3dgen_jax.apps.viewer.people import People
from my3dgen_jax.apps.viewer.orbits import Limits
from my3dgen_jax.data import provenance
from my3dgen_jax.demo import edits
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli
from my3dgen_jax.jobs.devices import local_devices
from my3dgen_jax.jobs.interrupts import stopping_gently

_DEFAULT = ViewerConfig()

_RUN = cli.string("run", None, "Folder of a run of launch.personalize.")
_RUNS = cli.listing("runs", [], "Several, see above.")
_CHECKPOINT = cli.string("checkpoint", None, "Where the base is now; or a "
                         "bare base to look at.")
_DIRECTIONS = cli.listing("directions", [], "Files (.npy) of edits; default: "
                          "smile and age, for people of the demo.")
_OUT = cli.string("out", None, "Folder where saved files are kept, besides "
                  "going to the browser.")
_HOST = cli.string("host", _DEFAULT.host, "That it listens on.")
_PORT = cli.integer("port", _DEFAULT.port, "The first that is tried.",
                    lower_bound=1, upper_bound=65535)
_TOKEN = cli.string("token", None, "That a browser must bring: at least 8 "
                    "letters and digits.")
_SHARE = cli.boolean("share", False, "Through viser's public service.")
_OPEN = cli.boolean("open", False, "Opens it in this machine's browser, if it "
                    "has a screen.")
_YAW = cli.number("yaw", Limits.yaw, "How far the camera turns, radians.")
_PITCH = cli.number("pitch", Limits.pitch, "How far it nods, radians.")
_VIDEO = cli.enum("video", "mp4", [s[1:] for s in provenance.VIDEOS],
                  "Format of saved videos.")
_MESH = cli.enum("mesh", "glb", [s[1:] for s in MESHES], "Of saved meshes.")


def main():
  if _SHARE.value and not _TOKEN.value:
    raise FlagError("--share lets anybody on the internet look; give a "
                    "--token, too")
  config = ViewerConfig(
      host=_HOST.value, port=_PORT.value, token=_TOKEN.value,
      share=_SHARE.value, out=_OUT.value,
      limits=Limits(_YAW.value, _PITCH.value), video="." + _VIDEO.value,
      mesh="." + _MESH.value).validate()
  places = [*filter(None, [_RUN.value]), *_RUNS.value]
  if not places and not _CHECKPOINT.value:
    raise FlagError("give a run by --run, several by --runs, or a bare base "
                    "by --checkpoint")
  people = People(places, checkpoint=_CHECKPOINT.value,
                  devices=local_devices(1), precision=cli.precision())
  with stopping_gently() as stop:
    viewer = Viewer(people, config, directions=edits.directions_for(
        people.load(people.first()[0]).base, _DIRECTIONS.value))
    address = viewer.start()
    if not gate.is_local(config.host) and config.token is None:
      print("warning: whoever reaches this machine can look; --token lets in "
            "only those who know it", file=sys.stderr)
    print(f"open {address} (Ctrl-C ends it)", flush=True)
    if _OPEN.value and _has_screen():
      webbrowser.open(address)
    while stop.signal is None:
      time.sleep(0.1)
    viewer.stop()
  print("closed")


def _has_screen() -> bool:
  """Without one, a browser in the terminal would take it over."""
  return sys.platform != "linux" or any(
      os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


if __name__ == "__main__":
  cli.run(main)
