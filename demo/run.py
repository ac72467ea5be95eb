"""Run the demo: `make demo`.

Everything it makes is in `.demo/` (or the folder given as the first argument),
which is emptied first. Ends with `demo: ok`, or with the failed step and a
non-zero exit code.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo import audit, rules, scenes
from demo.play import Play
from demo.stage import StepFailedError
from demo.transcript import Transcript

SCENES: Final[tuple[tuple[str, Callable[[Play], None]], ...]] = (
    ("A relay starts", scenes.curtain_up),
    ("Two nations set up their parties", scenes.parties),
    ("Devices enrol; an agreement is signed by both", scenes.agreement),
    ("A channel opens; words go both ways", scenes.first_words),
    ("An attachment of 5 MiB", scenes.attachment),
    ("Off watch, and a FLASH that overtakes", scenes.offline_and_flash),
    ("A third officer joins", scenes.joins),
    ("The relay loses power", scenes.power_cut),
    ("The agreement is amended", rules.amendment),
    ("What it forbids is refused", rules.refusal),
    ("Two persons release a notice", rules.release),
    ("An officer is removed", scenes.leaves),
    ("A nation suspends", rules.suspension),
    ("What auditors find", audit.bundles),
    ("What the relay knows", scenes.search_the_relay),
)
INTRO = """\
Liaison: secure messaging between nations, under an agreement both have signed.
One relay, two nations, every actor a process of its own, on this machine only."""


def main(folder: Path) -> int:
    """Play all scenes; return the exit code."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    transcript = Transcript(folder / "transcript.txt")
    transcript.plain(INTRO)
    play = Play(folder, transcript)
    try:
        for title, scene in SCENES:
            transcript.scene(title)
            try:
                scene(play)
            except StepFailedError as error:
                transcript.plain(f"\ndemo: failed at “{title}”: {error}")
                return 1
        transcript.plain(f"\nEverything is kept in {folder.name}/. The same words: transcript.txt.")
        transcript.plain("demo: ok")
        return 0
    finally:
        play.end()
        transcript.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(".demo")
    sys.exit(main(target.resolve()))
