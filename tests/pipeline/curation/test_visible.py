from align2llava.pipeline.curation.visible import visible


def test_controls_and_turned_text_are_named():
    assert visible("a\x1b[2J\x00\x9b\u202eb\ufeff") == (
        "a<U+001B>[2J<U+0000><U+009B><U+202E>b<U+FEFF>"
    )


def test_lines_tabs_joiners_and_every_letter_stay():
    text = "two\nlines\tand \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u00e9 \U0001f468\u200d\U0001f469"
    assert visible(text) == text
    assert visible("a\r\nb\rc") == "a\nb<U+000D>c"
