"""The page at `/`: which service this is, whether it answers, its routes, and a call to paste.

One file of HTML that asks nobody for anything, and whose policy forbids it. Knows no runtime.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from shlex import quote

from align2llava.services.surfaces.rest.examples import Example

_STYLE = """
:root { color-scheme: light dark; --text: #1d2129; --soft: #5b6472; --back: #fff; --box: #f3f4f6;
  --line: #d9dde3; --link: #0b5cad; --good: #14713d; --bad: #a33a12; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --soft: #a3abb6; --back: #16181c;
  --box: #22262c; --line: #383e47; --link: #7ab7f5; --good: #6cd39a; --bad: #f2a07b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 3rem; color: var(--text);
  background: var(--back); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } a { color: var(--link); } .soft { color: var(--soft); }
.state { font-weight: 600; color: var(--bad); } .ready { color: var(--good); }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: .75rem;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid var(--line); padding: .35rem .75rem .35rem 0; vertical-align: top;
  overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

READY = "ready"
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_LINKS = (
    ("/docs.json", "the OpenAPI document: every route, message, error and example"),
    ("/v1/model", "which model this is"),
    ("/metrics", "counts and times, for Prometheus"),
    ("/readyz", "whether requests are welcome now"),
    ("/livez", "whether the process should live on"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the page says of the process."""

    kind: str
    description: str
    state: str  # READY, or why it is not
    model: str  # empty where none is loaded
    grpc_port: int
    needs_key: bool


def page(standing: Standing, examples: Sequence[Example], *, origin: str) -> str:
    """Returns the page; `origin` is where the reader found it, as `http://HOST:PORT`."""
    shown = examples[0]
    is_ready = "state ready" if standing.state == READY else "state"
    reply = json.dumps(shown.reply, separators=(",", ":"))
    routes = [(f"{one.method} {one.path}", one.summary) for one in examples]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(standing.kind)} - align2llava</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escape(standing.kind)}</h1>",
            f'<p class="soft">align2llava. {escape(standing.description)}</p>',
            f'<p>State: <span class="{is_ready}">{escape(standing.state)}</span></p>',
            _model(standing),
            f"<p>gRPC, with reflection and health, is on port {standing.grpc_port}.</p>",
            "<h2>Routes</h2>",
            _table((f"<code>{escape(route)}</code>", escape(says)) for route, says in routes),
            "<h2>A call to paste</h2>",
            f"<pre>{escape(curl(shown, origin=origin, needs_key=standing.needs_key))}</pre>",
            '<p class="soft">What the small model of examples/blocks answers:</p>',
            f"<pre>{escape(reply)}</pre>",
            "<h2>More</h2>",
            _table((f'<a href="{path}">{path}</a>', escape(says)) for path, says in _LINKS),
            "</body></html>",
        ]
    )


def _model(standing: Standing) -> str:
    return f"<p>Model: <code>{escape(standing.model)}</code></p>" if standing.model else ""


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><td>{one}</td><td>{two}</td></tr>" for one, two in rows)
    return f"<table>{lines}</table>"


def curl(example: Example, *, origin: str, needs_key: bool) -> str:
    """Returns the command that sends an example."""
    key = ' -H "authorization: Bearer $KEY"' if needs_key else ""
    url = f"{origin}{example.path}"
    if example.request is None:
        return f"curl -s{key} {url}"
    body = quote(json.dumps(example.request))
    return f"curl -s{key} {url} -H 'content-type: application/json' -d {body}"


def origin_of(scheme: str, host: str, *, otherwise: str) -> str:
    """Returns the origin a request names, or `otherwise` where that is no plain host and port."""
    return f"{scheme}://{host}" if _HOST.fullmatch(host) else otherwise
