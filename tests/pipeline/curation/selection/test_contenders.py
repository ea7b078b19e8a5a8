from decimal import Decimal
from pathlib import Path

import pytest

from align2llava.pipeline.config.schema import SelectionConfig, load_config
from align2llava.pipeline.curation.selection.contenders import check_keeps, scan_to_select
from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.small_world import records, write_world


def test_map_of_keeps_needs_every_stratum_of_the_stages_that_are_on():
    strata = ["detail", "other"]
    partial = {"detail": Decimal("0.5")}
    check_keeps(strata, SelectionConfig(question_keep=partial, question=False))
    with pytest.raises(ConfigError, match=r"question_keep: no keep for stratum 'other'"):
        check_keeps(strata, SelectionConfig(question_keep=partial))
    check_keeps(strata, SelectionConfig(answer_keep={**partial, "other": Decimal(1)}))


def test_stratum_without_a_keep_is_refused(tmp_path: Path):
    sets = ("selection.question_keep={detail: 0.5}",)
    config = load_config(write_world(tmp_path, records(4)), sets=sets, environ={})
    with pytest.raises(ConfigError, match="no keep for stratum"):
        scan_to_select(config, LineProgress())
