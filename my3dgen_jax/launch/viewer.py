"""Opens persons in the browser, to be turned, edited, compared and saved.

    python -m my3dgen_jax.launch.viewer --run=runs/obama
    python -m my3dgen_jax.launch.viewer --runs=runs --out=saved
    python -m my3dgen_jax.launch.viewer --runs=adapters \\
        --checkpoint=checkpoints/ffhq
    python -m my3dgen_jax.launch.viewer --bank=people.bank --person=obama \\
        --checkpoint=checkpoints/ffhq

--runs: runs, folders of runs, adapters' files (.safetensors) or folders of
them; adapters alone need --checkpoint, their base, and so does a --bank, of
which --person names some, or all are shown if they are few. It listens on this machine
alone; from another one: ssh -L 8080:localhost:8080 MACHINE. --host=0.0.0.0
listens for all, --share asks viser's public service for an address; both are
for those alone who know the --token, which --share needs.
"""

from my3dgen_jax.apps.viewer import serving
from my3dgen_jax.apps.viewer.people import People
from my3dgen_jax.apps.viewer.server import Viewer, ViewerConfig
from my3dgen_jax.demo import edits
from my3dgen_jax.errors import FlagError
from my3dgen_jax.jobs.devices import local_devices
from my3dgen_jax.jobs.interrupts import stopping_gently
from my3dgen_jax.launch.support import cli, config_flags

_RUN = cli.string("run", None, "Folder of a run of launch.personalize.")
_RUNS = cli.listing("runs", [], "Runs, adapters' files, or folders of them.")
_BANK = cli.string("bank", None, "Folder of launch.bank.")
_PERSON = cli.listing("person", [], "Who of the bank; default: everybody.")
_CHECKPOINT = cli.string(
  "checkpoint", None, "Folder where the base is now; or a bare base to look at."
)
_DIRECTIONS = cli.listing(
  "directions",
  [],
  "Files (.npy) of edits; default: smile and age, for people of the demo.",
)
_OPEN = cli.boolean(
  "open", False, "Open the page in this machine's browser, if it has a screen."
)
_CONFIG = config_flags.define(ViewerConfig)
_NOBODY = "give a run by --run, several by --runs, or a base by --checkpoint"


def main():
  config = _CONFIG()
  if config.share and not config.token:
    raise FlagError("--share lets anybody on the internet look; give a --token")
  config.validate()
  places = [*filter(None, [_RUN.value]), *_RUNS.value]
  if not (places or _CHECKPOINT.value or _BANK.value):
    raise FlagError(_NOBODY)
  people = People(
    places,
    checkpoint=_CHECKPOINT.value,
    bank=_BANK.value,
    of_bank=_PERSON.value,
    devices=local_devices(1),
    precision=cli.precision(),
  )
  with stopping_gently() as stop:
    viewer = Viewer(
      people,
      config,
      directions=edits.directions_for(
        people.load(people.first()[0]).base, _DIRECTIONS.value
      ),
    )
    serving.serve(viewer, stop, open_browser=_OPEN.value)
  print("closed")


if __name__ == "__main__":
  cli.run(main)
