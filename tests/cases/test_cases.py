"""Every case of ../shared/cases ends as it must; `python -m tests.cases` prints the table."""

from collections.abc import Iterator

import pytest

from tests.cases.all_cases import CASES, run_case
from tests.cases.bench import SHARED, Bench

shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/cases here")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("cases")) as at:
        yield at


@shared
def test_every_folder_of_shared_cases_has_its_case():
    assert sorted(CASES) == sorted(path.name for path in SHARED.iterdir() if path.is_dir())


@shared
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_case_ends_as_it_must(name: str, bench: Bench):
    result = run_case(CASES[name], bench)
    assert result.holds, result.now
