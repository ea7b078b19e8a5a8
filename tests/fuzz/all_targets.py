"""Every parser at a trust boundary, by name."""

from tests.fuzz import answers, files, images, runs, wire
from tests.fuzz.campaign import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (*files.TARGETS, *images.TARGETS, *wire.TARGETS, *answers.TARGETS, *runs.TARGETS)
}
