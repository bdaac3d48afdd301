"""A page and what it asks, served to this machine alone.

It keeps nothing between requests. A browser lets any page send requests here: so the
name that it was called by must be ours, and what changes nothing is all there is.
"""

import json
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, cast

from unroll.types import BadInput

LARGEST = 2**20  # bytes of a request
DRAINED = 16 * LARGEST  # of a request that is too large
PATIENCE = 30.0  # seconds for a request to come in
Answers = Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]


def server(page: str, answers: Answers, port: int = 0) -> ThreadingHTTPServer:
  """A server of 127.0.0.1, to be run by `serve_forever`.

  Args:
    page: what GET / answers, HTML.
    answers: path -> what POST answers there: from a JSON object to another; `BadInput`
      is a sentence for whoever asked.
    port: 0 takes a free one.

  Raises:
    BadInput: the port is taken, or not allowed.
  """
  body = page.encode("utf-8", "backslashreplace")

  class Handler(_Handler):
    page, asked = body, answers

  try:
    return _Server(("127.0.0.1", port), Handler)
  except OSError as error:
    raise BadInput(
      f"port={port} cannot be had ({error.strerror}): give another, or 0 for a free one"
    ) from None


class _Server(ThreadingHTTPServer):
  daemon_threads = True
  block_on_close = False

  def server_bind(self) -> None:
    """Takes the port, and asks nobody for the name of this machine."""
    TCPServer.server_bind(self)
    self.server_name, self.server_port = self.server_address[:2]  # type: ignore

  def handle_error(self, request: Any, client_address: Any) -> None:
    """Says nothing of readers that went away."""
    if not isinstance(sys.exception(), OSError):
      super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  server_version, sys_version = "unroll", ""
  timeout = PATIENCE
  disable_nagle_algorithm = True  # which holds a body back for 40 ms behind its head
  page: bytes
  asked: Answers

  def do_GET(self) -> None:
    """Answers with the page."""
    if self._is_ours():
      if self.path != "/":
        self._fail(404, "there is one page here, at /")
      else:
        self._send(200, self.page, "text/html; charset=utf-8")

  def do_POST(self) -> None:
    """Answers what the page asks."""
    if not self._is_ours():
      return
    self.close_connection = True  # unless the request has been read to its end
    if self.path not in self.asked:
      return self._fail(404, f"ask one of {', '.join(self.asked)}")
    if self.headers.get_content_type() != "application/json":
      return self._fail(415, "the request is not application/json")
    length = self.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()):
      return self._fail(411, "the request has no Content-Length")
    if len(length) > 9 or int(length) > LARGEST:
      self._pass_over(int(length[:9]))
      return self._fail(413, f"the request has more than {LARGEST} bytes")
    data = self.rfile.read(int(length))
    if len(data) < int(length):
      return
    self.close_connection = self.headers.get("Connection", "").lower() == "close"
    self._answer(data)

  def _pass_over(self, length: int) -> None:
    """Reads what is too much: who still sends does not hear an answer."""
    left = min(length, DRAINED)
    while left > 0 and (part := self.rfile.read(min(left, LARGEST))):
      left -= len(part)

  def _answer(self, data: bytes) -> None:
    try:
      given = json.loads(data)
    except (ValueError, RecursionError):
      return self._fail(400, "the request is not JSON")
    if not isinstance(given, dict):
      return self._fail(400, "the request is not a JSON object")
    try:
      found = json.dumps(self.asked[self.path](given)).encode()
    except BadInput as error:
      self._fail(400, str(error))
    except Exception as error:
      print(f"{self.path}: {type(error).__name__}: {error}", file=sys.stderr)
      self._fail(500, "this went wrong; the terminal says what")
    else:
      self._send(200, found, "application/json")

  def _is_ours(self) -> bool:
    """Whether a request is for this server, by its name, and from its own page."""
    port = cast(_Server, self.server).server_port
    names = {f"{host}:{port}" for host in ("127.0.0.1", "localhost")}
    if port == 80:
      names |= {"127.0.0.1", "localhost"}
    hosts, origin = self.headers.get_all("Host", []), self.headers.get("Origin")
    if len(hosts) != 1 or hosts[0] not in names:
      self._fail(403, "this server answers to 127.0.0.1 and localhost alone")
    elif origin is not None and origin.removeprefix("http://") not in names:
      self._fail(403, "another page has no business here")
    else:
      return True
    self.close_connection = True
    return False

  def _fail(self, code: int, sentence: str) -> None:
    self._send(code, json.dumps({"error": sentence}).encode(), "application/json")

  def _send(self, code: int, body: bytes, kind: str) -> None:
    self.send_response(code)
    for name, value in (
      ("Content-Type", kind),
      ("Content-Length", str(len(body))),
      ("X-Content-Type-Options", "nosniff"),
      ("X-Frame-Options", "DENY"),
      ("Cross-Origin-Resource-Policy", "same-origin"),
      ("Referrer-Policy", "no-referrer"),
      ("Cache-Control", "no-store"),
    ):
      self.send_header(name, value)
    if self.close_connection:
      self.send_header("Connection", "close")
    self.end_headers()
    self.wfile.write(body)

  def send_error(self, code: int, message: Any = None, explain: Any = None) -> None:
    """What the library has to say of a request, as a sentence too."""
    self.close_connection = True
    self._fail(code, message or self.responses.get(code, ("a faulty request",))[0])

  def log_message(self, format: str, *args: Any) -> None:
    """Writes nothing of requests."""
