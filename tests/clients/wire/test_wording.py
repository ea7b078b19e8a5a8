from align2llava.clients.wire.wording import one_line


def test_an_error_is_told_on_one_line_and_by_its_class_where_it_says_nothing():
    assert one_line(ValueError("needed,\n  larger")) == "needed, larger"
    assert one_line(ValueError()) == "ValueError"
