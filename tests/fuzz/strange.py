"""Values that break readers: what stands in place of a good value of a tree, and of good bytes."""

import random

DIGITS = "9" * 5000
DEPTH = 4000

# Texts of JSON values, put into a document as they stand.
JSON_VALUES = (
    *("null", "true", "false", "0", "-1", "-0", "0.5", "1e999", "1e-400", "NaN", "Infinity"),
    *("-Infinity", DIGITS, f"-{DIGITS}", f"1.{DIGITS}", f"1e{DIGITS[:30]}", "4294967296"),
    *("9223372036854775808", "18446744073709551616", "01", "+1", ".5", "0x10", "1_000"),
    *(
        '""',
        '" "',
        '"\\u0000"',
        '"\\ud800"',
        '"a\\udc00b"',
        '"\\u001b[2J"',
        '"\\u202e"',
        '"<image>"',
    ),
    *(
        '"../../etc/passwd"',
        '"a/\\u0000b"',
        '"\\ufeff"',
        '"nan"',
        '"1"',
        f'"{"x" * 70_000}"',
        '"\t"',
    ),
    *("[]", "{}", "[null]", '{"":null}', '{"a":1,"a":2}', "[" * DEPTH, "[" * DEPTH + "]" * DEPTH),
    *(
        '{"a":' * DEPTH,
        '{"a":' * DEPTH + "1" + "}" * DEPTH,
        "[1,]",
        "{,}",
        "'a'",
        "undefined",
        '"\\x"',
    ),
    *(
        '"data:image/png;base64,AAAA"',
        '"AAAA\\nAAAA"',
        '"%%%"',
        '["a"]',
        '{"from":"human"}',
        "[[[]]]",
    ),
)

YAML_PIECES = (
    *(
        "\t",
        "---\n",
        "...\n",
        "%YAML 9.9\n",
        "? ",
        "&a ",
        "*a",
        "<<: *a\n",
        "- ",
        ": ",
        "#",
        "|\n",
        ">\n",
    ),
    *("!!python/object/apply:os.getcwd []", "!!binary x", "!!timestamp 2026-13-45", "!!float x"),
    *("!!int 1e5", "!!set {a, b}", "!!omap [a: 1]", "!!null x", "!!bool maybe", "!unknown x"),
    *("2026-13-45", "2026-11-27 25:61:61", "1:99:99", "0o9", "0x", "0b2", ".inf", "-.inf", ".nan"),
    *(
        DIGITS,
        f"0x{DIGITS}",
        f"{DIGITS}.5",
        f"1:{DIGITS}",
        f"1e{DIGITS}",
        "1e99999999",
        "1e-99999999",
    ),
    *(
        "~",
        "yes",
        "[",
        "{",
        "]",
        "}",
        "'",
        '"',
        '"\\ud800"',
        '"\\U00110000"',
        "[" * 900,
        "{a: " * 900,
    ),
    *(
        "&a [*a]",
        "&a [1, &b [*a, *a], *b, *b]",
        "{[a]: b}",
        "{{a: b}: c}",
        "x" * 70_000,
        "\x85",
        "\u2028",
    ),
    *(
        "NULL",
        "on",
        "30%",
        "50 %",
        "1,5",
        "$HOME",
        "~/x",
        "\x00",
        "\x1b[2J",
        "\ufeff",
        "\ud83d\ude00",
    ),
)

HEADER_VALUES = (
    *(
        b"",
        b" ",
        b"0",
        b"-1",
        b"+1",
        b"1.5",
        b"1e9",
        b"nan",
        b"inf",
        b"9" * 5000,
        b"0x10",
        b"1_000",
    ),
    *(b"\xb2", b"\xd9\xa3", b"\xff\xfe", b"a" * 9000, b",", b";", b"1,1", b"1;2", b"*/*;q=nan"),
    *(
        b"application/json;charset=utf-16",
        b"application/x-msgpack",
        b"APPLICATION/JSON",
        b"text/plain",
    ),
    *(
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"application/x-www-form-urlencoded",
    ),
    *(
        b"gzip",
        b"deflate",
        b"br",
        b"identity",
        b"gzip, gzip",
        b"zstd",
        b"chunked",
        b"Bearer",
        b"Bearer ",
    ),
    *(
        b"Bearer \xff",
        b"Basic !!!",
        b"bearer x",
        b"Bearer a b",
        b"100-continue",
        b"websocket",
        b"close",
    ),
    *(
        b"application/vnd.bentoml+pickle",
        b"image/png",
        b"application/json, application/json",
        b"=?",
    ),
)

MSGPACK_RAW = (
    *(
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
    ),
    *(b"\x91" * 600, b"\x91" * 5000, b"\x81\xa1a" * 600, b"\xd4\x05a", b"\xd6\xff\x00\x00\x00\x00"),
    *(
        b"\xd7\xff" + b"\xff" * 8,
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\xca\x7f\xc0\x00\x00",
        b"\xa1\xff",
    ),
    *(
        b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
        b"\xcf" + b"\xff" * 8,
        b"\xd3\x80" + b"\x00" * 7,
        b"\xc0",
    ),
    *(
        b"\xc4\x00",
        b"\xa3\xed\xa0\x80",
        b"\x81\x01\x02",
        b"\x81\x90\x01",
        b"\x82\xa1a\x01\xa1a\x02",
        b"\x80",
    ),
)

BYTES = (
    *(
        b"",
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xed\xa0\x80",
        b"\xc0\x80",
    ),
    *(
        b"\x1b[2J",
        b"\n",
        b"\r\n",
        b"\x80",
        b"\x7f",
        b"\xff" * 9,
        b"\x00" * 64,
        b"\x1f\x8b\x08",
        b"{",
        b"]",
    ),
    *(
        b'"',
        b",",
        b":",
        b"\\",
        b"PK\x03\x04",
        b"%PDF",
        b"PAR1",
        b"\xf0\x9f\x98",
        b"\xe2\x80\xae",
        b"<image>",
    ),
)


def any_json(rng: random.Random) -> str:
    return rng.choice(JSON_VALUES)
