import pytest

from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.yaml_text import yaml_documents, yaml_value


def bomb(form: str) -> str:
    """Returns nine levels, each of nine of the one before."""
    levels = (f"- &a{n} {form.format(','.join([f'*a{n - 1}'] * 9))}\n" for n in range(1, 10))
    return "- &a0 {k: 1}\n" + "".join(levels)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: 1\nb: 2\na: 3", "'a' stands in line 1 and again in line 3", id="twice"),
        pytest.param("b: {c: 1, c: 2}", "'c' stands in line 1 and again", id="twice below"),
        pytest.param('- {"a": 1,\n   a: 2}', "'a' stands in line 1", id="twice, once in quotes"),
        pytest.param("a: [", "expected the node content", id="cut off"),
        pytest.param("a: \x00", "unacceptable character", id="a zero byte"),
        pytest.param("[" * 800, "nested too deeply", id="800 levels"),
        pytest.param("a: " + "7" * 5000, "4300 digits", id="5,000 digits"),
        pytest.param("a: 0x" + "7" * 5000, "more than 64 bits", id="5,000 digits of sixteen"),
        pytest.param("a: &a [b, *a]", "more than 100,000 values", id="an alias inside itself"),
        pytest.param(bomb("[{}]"), "more than 100,000 values", id="aliases of aliases"),
        pytest.param(bomb("{{<<: [{}]}}"), "more than 100,000 values", id="merges of merges"),
        pytest.param("a: 2001-99-99", "month must be in 1..12", id="no date"),
        pytest.param("a: !!bool x", "a tag does not fit: 'x'", id="no boolean"),
        pytest.param("a: !!timestamp x", "a tag does not fit", id="no time"),
        pytest.param("a: !!python/name:os.system", "could not determine", id="foreign tag"),
        pytest.param("? [a]\n: 1", "unhashable key", id="a list for a key"),
        pytest.param("a: *b", "undefined alias", id="no anchor"),
    ],
)
def test_no_text_does_more_than_be_refused(text: str, words: str):
    for read in (yaml_value, yaml_documents):
        with pytest.raises(ConfigError) as caught:
            read(text, source="here")
        assert str(caught.value).startswith("here: no YAML: ")
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_same_key_in_two_mappings_or_over_a_merged_one_is_fine():
    text = "base: &base {a: 1}\nother: {<<: *base, a: 2}"
    assert yaml_value(text, source="here") == {"base": {"a": 1}, "other": {"a": 2}}
    assert yaml_documents("a: 1\n---\na: 2", source="here") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("number", ["1.0e-99999", "0.0e+99999", f"1.{'0' * 500}"])
def test_number_that_nobody_could_write_out_is_refused(number: str):
    with pytest.raises(ConfigError, match="has more than 400 digits"):
        yaml_value(f"a: {number}", source="here")
