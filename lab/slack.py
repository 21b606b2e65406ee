"""A stand-in for Slack's incoming webhooks that is as strict as the documentation.

Each message that Slack would take is kept; `/` shows them. What breaks a documented limit is
refused with Slack's own word for it, and the precise reason goes to the log.
"""

import html
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.authority import Authority
from lab.network import Network
from lab.wait import until
from lab.web import Handler, Journal, Server, Service, arguments, read_lines, serve

TEAM, CHANNEL = "T0GARRISON", "B0SECURITY"


@dataclass(frozen=True, slots=True)
class Message:
    """An accepted message."""

    time: float
    payload: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All words in it: `text`, then every block's."""
        return "\n".join(_words(self.payload))


class Slack(Service):
    """Takes messages at `webhook`. `answer(429, headers={"Retry-After": "1"})` scripts errors."""

    module: ClassVar[str] = "slack"
    host: ClassVar[str] = "hooks.slack.test"

    def __init__(
        self, net: Network, authority: Authority, *, host: str | None = None, port: int = 443
    ) -> None:
        super().__init__(net, authority, host=host, port=port)
        self.token = secrets.token_urlsafe(18).replace("-", "x").replace("_", "y")

    @property
    def webhook(self) -> str:
        """The secret address an alert profile is given."""
        return f"{self.url}/services/{TEAM}/{CHANNEL}/{self.token}"

    def messages(self) -> list[Message]:
        """What was accepted so far, oldest first."""
        return [Message(**each) for each in read_lines(self.folder / "messages.jsonl")]

    def refusals(self) -> Sequence[Mapping[str, Any]]:
        """What was not, with `reason`; empty for a well-behaved client."""
        return read_lines(self.folder / "refusals.jsonl")

    def wait_message(
        self, match: Callable[[Message], bool] = lambda message: True, *, timeout: float = 20
    ) -> Message:
        """The first accepted message that matches, now or within `timeout` seconds."""
        return until(
            lambda: next(filter(match, self.messages()), None),
            timeout=timeout,
            what="a message to Slack",
            alive=self.process.check,
            detail=lambda: f"messages: {self.messages()}\nrefusals: {self.refusals()}",
        )

    def arguments(self) -> Sequence[str]:
        return [f"--token={self.token}"]


class _Refused(Exception):
    """Slack's word for it, and why."""

    def __init__(self, word: str, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.word, self.reason, self.status = word, reason, status


def check(payload: object) -> None:
    """Do nothing for a payload that an incoming webhook takes.

    Raises:
        _Refused: else. Source: docs.slack.dev, "Sending messages using incoming webhooks" and
            the reference of Block Kit.
    """
    if not isinstance(payload, dict):
        raise _Refused("invalid_payload", "the body is no JSON object")
    text, blocks = payload.get("text"), payload.get("blocks")
    if not text and not blocks and not payload.get("attachments"):
        raise _Refused("no_text", "neither text nor blocks")
    if text is not None:
        _string(text, 40_000, "text", word="invalid_payload")
    if blocks is None:
        return
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 50:
        raise _Refused("invalid_blocks", "blocks: a list of 1 to 50 is expected")
    seen: set[str] = set()
    for number, block in enumerate(blocks):
        where = f"blocks[{number}]"
        if not isinstance(block, dict) or block.get("type") not in _BLOCKS:
            raise _Refused("invalid_blocks", f"{where}: unknown type")
        if (name := block.get("block_id")) is not None:
            _string(name, 255, f"{where}.block_id")
            if name in seen:
                raise _Refused("invalid_blocks", f"{where}.block_id is used twice")
            seen.add(name)
        _BLOCKS[block["type"]](block, where)


def _only(value: Mapping[str, Any], where: str, *keys: str) -> None:
    if unknown := set(value) - {"type", "block_id", *keys}:
        raise _Refused("invalid_blocks", f"{where}: unknown {sorted(unknown)}")


def _string(value: object, limit: int, where: str, *, word: str = "invalid_blocks") -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= limit:
        raise _Refused(word, f"{where}: a string of 1 to {limit} characters is expected")


def _text(value: object, limit: int, where: str, kinds: Sequence[str]) -> None:
    if not isinstance(value, dict) or value.get("type") not in kinds:
        raise _Refused("invalid_blocks", f"{where}: a text object of {kinds} is expected")
    plain = value["type"] == "plain_text"
    _only(value, where, "text", "emoji" if plain else "verbatim")
    _string(value.get("text"), limit, f"{where}.text")


_PLAIN = ("plain_text",)
_ANY_TEXT = ("plain_text", "mrkdwn")


def _header(block: Mapping[str, Any], where: str) -> None:
    _only(block, where, "text")
    _text(block.get("text"), 150, f"{where}.text", _PLAIN)


def _section(block: Mapping[str, Any], where: str) -> None:
    _only(block, where, "text", "fields", "accessory", "expand")
    if "text" not in block and "fields" not in block:
        raise _Refused("invalid_blocks", f"{where}: text or fields is expected")
    if "text" in block:
        _text(block["text"], 3000, f"{where}.text", _ANY_TEXT)
    if "fields" in block:
        for number, each in enumerate(_list(block["fields"], 10, f"{where}.fields")):
            _text(each, 2000, f"{where}.fields[{number}]", _ANY_TEXT)
    if "accessory" in block:
        _element(block["accessory"], f"{where}.accessory")


def _context(block: Mapping[str, Any], where: str) -> None:
    _only(block, where, "elements")
    for number, each in enumerate(_list(block.get("elements"), 10, f"{where}.elements")):
        if isinstance(each, dict) and each.get("type") == "image":
            _image_element(each, f"{where}.elements[{number}]")
        else:
            _text(each, 3000, f"{where}.elements[{number}]", _ANY_TEXT)


def _actions(block: Mapping[str, Any], where: str) -> None:
    _only(block, where, "elements")
    for number, each in enumerate(_list(block.get("elements"), 25, f"{where}.elements")):
        _element(each, f"{where}.elements[{number}]")


def _divider(block: Mapping[str, Any], where: str) -> None:
    _only(block, where)


def _image(block: Mapping[str, Any], where: str) -> None:
    _only(block, where, "image_url", "alt_text", "title")
    _image_element({k: v for k, v in block.items() if k not in ("title", "block_id")}, where)
    if "title" in block:
        _text(block["title"], 2000, f"{where}.title", _PLAIN)


def _image_element(element: Mapping[str, Any], where: str) -> None:
    _only(element, where, "image_url", "alt_text")
    _string(element.get("image_url"), 3000, f"{where}.image_url")
    _string(element.get("alt_text"), 2000, f"{where}.alt_text")


def _element(element: object, where: str) -> None:
    if not isinstance(element, dict) or element.get("type") not in ("button", "image"):
        raise _Refused("invalid_blocks", f"{where}: unknown element")
    if element["type"] == "image":
        _image_element(element, where)
        return
    _only(element, where, "text", "action_id", "url", "value", "style", "accessibility_label")
    _text(element.get("text"), 75, f"{where}.text", _PLAIN)
    for key, limit in (("action_id", 255), ("url", 3000), ("value", 2000)):
        if key in element:
            _string(element[key], limit, f"{where}.{key}")
    if element.get("style", "primary") not in ("primary", "danger"):
        raise _Refused("invalid_blocks", f"{where}.style: primary or danger is expected")


def _list(value: object, limit: int, where: str) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= limit:
        raise _Refused("invalid_blocks", f"{where}: a list of 1 to {limit} is expected")
    return value


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any], str], None]] = {
    "actions": _actions,
    "context": _context,
    "divider": _divider,
    "header": _header,
    "image": _image,
    "section": _section,
}


def _words(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        links = [value["url"]] if isinstance(value.get("url"), str) else []
        rest = [word for key in value if key != "url" for word in _words(value[key])]
        return own + links + rest
    if isinstance(value, list):
        return [word for each in value for word in _words(each)]
    return []


class _Server(Server):
    def __init__(self, handler: type[Handler], given: Any) -> None:
        super().__init__(handler, given)
        self.messages = Journal(self.folder / "messages.jsonl")
        self.refusals = Journal(self.folder / "refusals.jsonl")


class _Handler(Handler):
    server: _Server

    def respond(self) -> None:
        body = self.read_body()
        if self.command == "GET" and self.path == "/":
            self.reply(200, self._page(), content_type="text/html; charset=utf-8")
            return
        try:
            payload = self._accept(body)
        except _Refused as refused:
            shown = body.decode(errors="replace")
            self.server.refusals.write({"reason": refused.reason, "body": shown})
            self.reply(refused.status, refused.word.encode())
            return
        self.server.messages.write({"time": time.time(), "payload": payload})
        self.reply(200, b"ok")

    def _accept(self, body: bytes) -> object:
        found = re.fullmatch(r"/services/(T\w+)/(B\w+)/(\w+)", self.path)
        if found is None or found[1] != TEAM or found[2] != CHANNEL:
            raise _Refused("no_service", f"no webhook at {self.path}", 404)
        if found[3] != self.server.arguments.token:
            raise _Refused("invalid_token", "another token", 403)
        if self.command != "POST":
            raise _Refused("invalid_payload", f"{self.command} instead of POST")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise _Refused("invalid_payload", f"Content-Type {kind!r}")
        try:
            payload = json.loads(body)
        except ValueError as error:
            raise _Refused("invalid_payload", f"not JSON: {error}") from error
        check(payload)
        return payload

    def _page(self) -> bytes:
        shown = read_lines(self.server.folder / "messages.jsonl")
        items = "".join(_rendered(each) for each in reversed(shown))
        return _PAGE.replace("ITEMS", items or "<p>No messages yet.</p>").encode()


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>#security</title>
<meta http-equiv="refresh" content="3"><meta name="viewport" content="width=device-width">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; color: #1d1c1d }
article { border-left: 4px solid #999; padding: .25rem 1rem; margin: 1.5rem 0 }
time, .context { color: #616061; font-size: .85em } h2 { font-size: 1.1em; margin: .2rem 0 }
p { margin: .3rem 0; white-space: pre-wrap } hr { border: 0; border-top: 1px solid #ddd }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem 1rem }
a.button { border: 1px solid #999; border-radius: 4px; padding: .2rem .7rem; margin-right: .5rem;
text-decoration: none; color: inherit } code { background: #f4f4f4; padding: 0 .2rem }
</style><h1># security</h1>ITEMS</html>
"""


def _rendered(message: Mapping[str, Any]) -> str:
    payload = message["payload"]
    clock = time.strftime("%H:%M:%S", time.localtime(message["time"]))
    blocks = payload.get("blocks")
    inner = "".join(map(_block, blocks)) if blocks else f"<p>{_markup(payload['text'])}</p>"
    return f"<article><time>Garrison, {clock}</time>{inner}</article>"


def _block(block: Mapping[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f"<h2>{html.escape(block['text']['text'])}</h2>"
        case "divider":
            return "<hr>"
        case "context":
            parts = [_markup(each.get("text", "")) for each in block["elements"]]
            return f'<p class="context">{" · ".join(parts)}</p>'
        case "actions":
            return "<p>" + "".join(map(_button, block["elements"])) + "</p>"
        case "section":
            text = f"<p>{_markup(block['text']['text'])}</p>" if "text" in block else ""
            fields = "".join(f"<p>{_markup(each['text'])}</p>" for each in block.get("fields", []))
            button = _button(block["accessory"]) if "accessory" in block else ""
            return text + (f'<div class="fields">{fields}</div>' if fields else "") + button
        case _:
            return ""


def _button(element: Mapping[str, Any]) -> str:
    if element["type"] != "button":
        return ""
    target = html.escape(str(element.get("url", "#")))
    return f'<a class="button" href="{target}">{html.escape(element["text"]["text"])}</a>'


def _markup(text: str) -> str:
    """Slack's mrkdwn, as far as alerts use it; it comes with &, < and > already escaped."""
    shown = html.escape(html.unescape(re.sub(r"<([^|>]+)\|([^>]+)>", "\x01\\1\x02\\2\x03", text)))
    shown = re.sub("\x01(.*?)\x02(.*?)\x03", r'<a href="\1">\2</a>', shown)
    shown = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", shown)
    return re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<b>\1</b>", shown)


if __name__ == "__main__":
    parser = arguments()
    parser.add_argument("--token", required=True)
    serve(_Handler, parser.parse_args(), _Server)
