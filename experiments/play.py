"""A page to play with a trained model, from a server or as one file without any.

  python -m experiments.play --workdir=RUN --open
  python -m experiments.play --workdir=RUN --export=model.html

RUN is a run of charlm, classify (of texts), tag or forecast. The first serves a page on
this machine alone, and prints its address; Ctrl-C ends it. Of a language model the page
shows a text go on token by token: probabilities, surprise, states and gates; any token
can be gone back to. The second writes the page of a language model with the model
inside, which any browser runs; with the same seed it writes what charlm
--mode=sample does.
"""

import threading
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from experiments.session import door
from experiments.session.settings import Page, Settings
from experiments.session.terminal import warn
from unroll import files, loading, stops
from unroll.playing.pages import played, whole_page
from unroll.playing.server import server
from unroll.settings import setting
from unroll.types import BadInput


@dataclass(frozen=True)
class Play:
  """Playing"""

  workdir: str = setting("", "the folder of a run", kind="path", role="call")
  checkpoint: str = setting(
    "best",
    "the checkpoint to play with: best, newest or a step",
    kind="checkpoint",
    role="call",
  )
  port: int = setting(
    0, "of the address; 0: one that is free", least=0, most=65535, role="call"
  )
  open: bool = setting(False, "opens the page in a browser", role="call")
  export: str = setting(
    "",
    "the file to write the page of a language model to, such as model.html, with the "
    "model inside; empty: the page is served",
    kind="path",
    role="call",
  )


def main(settings: Settings) -> None:
  """Serves the page until Ctrl-C, or writes it."""
  chosen = settings[Play]
  if not chosen.workdir:
    raise BadInput("give `workdir`, the folder of a run, such as one of charlm")
  loaded = loading.load(chosen.workdir, checkpoint=chosen.checkpoint, warn=warn)
  title = Path(chosen.workdir).resolve().name
  if chosen.export:
    path = Path(chosen.export)
    files.write(path, whole_page(loaded, title).encode("utf-8", "backslashreplace"))
    print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB, step {loaded.at}")
    if chosen.open:
      webbrowser.open(path.resolve().as_uri())
    return
  page, answers = played(loaded, title)
  with stops.collected() as asked, server(page, answers, chosen.port) as serving:
    thread = threading.Thread(target=serving.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{serving.server_address[1]}/"
    print(f"{address} until Ctrl-C", flush=True)
    if chosen.open:
      webbrowser.open(address)
    while not asked:
      time.sleep(0.1)
    serving.shutdown()


PAGE = Page("play", main, (Play,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
