"""A small API server over real HTTP: jobs, cronjobs, pods and events, with watches, logs and faults.

Keeps what a client depends on: uid, generateName, resourceVersion, selectors, the status
subresource, propagation of deletes, `Status` objects. Knows no controller: tests play that part.
"""

import copy
import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
KINDS = {"jobs": "Job", "cronjobs": "CronJob", "pods": "Pod", "events": "Event"}


class RefusedError(Exception):
    """What the server answers instead."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": code,
        }


@dataclass
class Faults:
    """What goes wrong; counts go down with each time."""

    gone_watches: int = 0  # answered by an ERROR event 410
    refused_watches: int = 0  # answered by HTTP 410
    dropped_watches: int = 0  # the connection closes in the middle
    silent_watches: int = 0  # stays open, says nothing
    unavailable: int = 0  # GETs of a job answered by HTTP 503
    dropped_logs: int = 0  # follows that end in the middle, after one line
    refuse: dict[tuple[str, str], tuple[int, str, str]] = field(default_factory=dict)


class FakeApi:
    """The state behind the server; all access under one lock."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.logs: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._history: list[tuple[int, str, str, str, Object]] = []
        self._version = 100
        self._changed = threading.Condition()
        self._closing = False

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def refusal(self, verb: str, plural: str) -> None:
        if (verb, plural) in self.faults.refuse:
            raise RefusedError(*self.faults.refuse[verb, plural])

    def took(self, fault: str) -> bool:
        """Whether this fault is due; one less is left."""
        with self._changed:
            left = getattr(self.faults, fault)
            setattr(self.faults, fault, max(0, left - 1))
            return left > 0

    def create(self, plural: str, namespace: str, body: Object) -> Object:
        meta = body["metadata"]
        if not meta.get("name"):
            meta["name"] = f"{meta['generateName']}{uuid.uuid4().hex[:5]}"
        key = (plural, namespace, meta["name"])
        with self._changed:
            if key in self._objects:
                message = f'{plural}.batch "{meta["name"]}" already exists'
                raise RefusedError(409, "AlreadyExists", message)
            meta |= {
                "uid": str(uuid.uuid4()),
                "namespace": namespace,
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            return self._put(key, body, "ADDED")

    def get(self, plural: str, namespace: str, name: str) -> Object:
        with self._changed:
            found = self._objects.get((plural, namespace, name))
            if found is None:
                raise RefusedError(404, "NotFound", f'{plural} "{name}" not found')
            return copy.deepcopy(found)

    def patch_status(self, plural: str, namespace: str, name: str, status: Object) -> Object:
        with self._changed:
            found = self.get(plural, namespace, name)
            found["status"] = {**found.get("status", {}), **status}
            return self._put((plural, namespace, name), found, "MODIFIED")

    def delete(self, plural: str, namespace: str, name: str, *, policy: str | None) -> None:
        with self._changed:
            found = self.get(plural, namespace, name)
            self._put((plural, namespace, name), found, "DELETED")
            if policy not in ("Background", "Foreground"):
                return  # the server's default for jobs leaves their pods behind
            uid = found["metadata"]["uid"]
            for key, one in list(self._objects.items()):
                if uid in [o["uid"] for o in one["metadata"].get("ownerReferences", [])]:
                    self._put(key, one, "DELETED")

    def listed(self, plural: str, namespace: str, query: dict[str, str]) -> Object:
        with self._changed:
            items = [
                copy.deepcopy(one)
                for (kind, space, _), one in self._objects.items()
                if kind == plural and space == namespace and _selected(one, query)
            ]
            version = str(self._version)
            return {"metadata": {"resourceVersion": version}, "items": items}

    def events(self, plural: str, namespace: str, query: dict[str, str]) -> Iterator[Object]:
        seen = int(query.get("resourceVersion", "0"))
        ends = time.monotonic() + int(query.get("timeoutSeconds", "60"))
        silent = self.took("silent_watches")
        while not self._closing and (left := ends - time.monotonic()) > 0:
            with self._changed:
                fresh = [] if silent else [one for one in self._history if one[0] > seen]
                if not fresh:
                    self._changed.wait(min(left, 0.5))
                    continue
            for version, kind, space, change, one in fresh:
                seen = version
                if (kind, space) == (plural, namespace) and _selected(one, query):
                    yield {"type": change, "object": one}

    def _put(self, key: tuple[str, str, str], body: Object, change: str) -> Object:
        self._version += 1
        group = "batch/v1" if key[0] in ("jobs", "cronjobs") else "v1"
        body |= {"apiVersion": group, "kind": KINDS[key[0]]}
        body["metadata"]["resourceVersion"] = str(self._version)
        if change == "DELETED":
            self._objects.pop(key, None)
        else:
            self._objects[key] = body
        kept = copy.deepcopy(body)
        self._history.append((self._version, key[0], key[1], change, kept))
        self._changed.notify_all()
        return kept


def _selected(one: Object, query: dict[str, str]) -> bool:
    labels = one["metadata"].get("labels") or {}
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = pair.partition("=")
        if labels.get(key) != value:
            return False
    for pair in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = pair.partition("=")
        found: Any = one
        for word in path.split("."):
            found = found.get(word, {})
        if found != value:
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: FakeApi

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Says nothing."""

    def do_GET(self) -> None:
        self._answer("get")

    def do_POST(self) -> None:
        self._answer("create")

    def do_PATCH(self) -> None:
        self._answer("patch")

    def do_DELETE(self) -> None:
        self._answer("delete")

    def _answer(self, verb: str) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        namespace, plural, *rest = words[words.index("namespaces") + 1 :]
        name = rest[0] if rest else ""
        real = "watch" if "watch" in query else "list" if verb == "get" and not rest else verb
        real = "log" if rest[1:] == ["log"] else real
        self.api.asked.append(f"{real} {plural}")
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        try:
            self.api.refusal(real, plural)
            if real == "watch":
                self._watch(plural, namespace, query)
            elif real == "log":
                self._log(name, query)
            else:
                self._send(200, self._plain(real, (plural, namespace, name), (query, body)))
        except RefusedError as error:
            self._send(error.code, error.status)

    def _plain(
        self, verb: str, where: tuple[str, str, str], asked: tuple[dict[str, str], Object]
    ) -> Object:
        plural, namespace, name = where
        query, body = asked
        if verb == "create":
            return self.api.create(plural, namespace, body)
        if verb == "patch":
            return self.api.patch_status(plural, namespace, name, body["status"])
        if verb == "list":
            return self.api.listed(plural, namespace, query)
        if verb == "delete":
            policy = query.get("propagationPolicy")
            self.api.delete(plural, namespace, name, policy=policy)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if plural == "jobs" and self.api.took("unavailable"):
            raise RefusedError(503, "ServiceUnavailable", "apiserver is shutting down")
        return self.api.get(plural, namespace, name)

    def _watch(self, plural: str, namespace: str, query: dict[str, str]) -> None:
        gone = RefusedError(410, "Expired", "too old resource version")
        if self.api.took("refused_watches"):
            raise gone
        self._start()
        if self.api.took("dropped_watches"):
            self._drop()
            return
        if self.api.took("gone_watches"):
            self._chunk(json.dumps({"type": "ERROR", "object": gone.status}))
        else:
            for event in self.api.events(plural, namespace, query):
                self._chunk(json.dumps(event))
        self._end()

    def _log(self, pod: str, query: dict[str, str]) -> None:
        lines = self.api.logs.get(pod)
        if lines is None:
            raise RefusedError(400, "BadRequest", f"container job in pod {pod} is waiting")
        drops = "follow" in query and query["follow"] == "true" and self.api.took("dropped_logs")
        self._start()
        for line in lines[:1] if drops else lines:
            self._chunk(line)
        if drops:
            self._drop()
        else:
            self._end()

    def _send(self, code: int, body: Object) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _start(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, line: str) -> None:
        content = f"{line}\n".encode()
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            self.wfile.flush()
        except OSError:
            self._drop()  # the client left

    def _end(self) -> None:
        if not self.close_connection:
            self.wfile.write(b"0\r\n\r\n")

    def _drop(self) -> None:
        self.wfile.flush()
        self.close_connection = True


class Server(ThreadingHTTPServer):
    """Serves one `FakeApi` on a free port."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, api: FakeApi) -> None:
        super().__init__(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle of an answer is no event."""
