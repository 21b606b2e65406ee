"""Evaluates a PAC file, in a process of its own: JSON lines in, JSON lines out.

Run by path, not imported, so that it starts with the standard library and QuickJS alone. The
script gets no network, no files and no clock of ours; names it wants resolved are collected, looked
up here where that is allowed, and the function is called again.
"""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import sys
import threading
from typing import Any

CPU_SECONDS = 1.0
MEMORY = 32 << 20
PROCESS_MEMORY = 1 << 30
STACK = 512 << 10
DNS_SECONDS = 2.0
DNS_ROUNDS = 8
MAX_RESULT = 4096

# One line, and the PAC file starts on the second: a place in line 1 of a stack is in here.
HELPERS = " ".join(
    line.strip()
    for line in r"""
var __now = null, __dns = {}, __asked = [], __me = "127.0.0.1", __timed = false;
function alert() {}
function __lower(x) { return String(x).toLowerCase(); }
function isPlainHostName(host) { return !/[.:]/.test(host); }
function dnsDomainIs(host, domain) { return __lower(host).endsWith(__lower(domain)); }
function localHostOrDomainIs(host, full) {
  host = __lower(host); full = __lower(full);
  return host === full || (host.indexOf(".") < 0 && full.startsWith(host + "."));
}
function dnsDomainLevels(host) { return String(host).split(".").length - 1; }
function __v4(text) {
  var part = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!part) return null;
  var number = 0;
  for (var i = 1; i < 5; i++) { if (+part[i] > 255) return null; number = number * 256 + +part[i]; }
  return number;
}
function convert_addr(text) { var number = __v4(text); return number === null ? 0 : number | 0; }
function __v6(text) {
  text = String(text).replace(/^\[|\]$/g, "");
  if (text.indexOf(":") < 0) return null;
  var tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (tail) {
    var low = __v4(tail[2]);
    if (low === null) return null;
    text = tail[1] + Math.floor(low / 65536).toString(16) + ":" + (low % 65536).toString(16);
  }
  var halves = text.split("::");
  if (halves.length > 2) return null;
  var left = halves[0] ? halves[0].split(":") : [];
  var right = halves.length === 2 && halves[1] ? halves[1].split(":") : [];
  var gap = 8 - left.length - right.length;
  if (halves.length === 2 ? gap < 1 : gap !== 0) return null;
  var words = left.concat(new Array(gap).fill("0"), right), value = 0n;
  for (var i = 0; i < 8; i++) {
    if (!/^[0-9a-f]{1,4}$/i.test(words[i])) return null;
    value = value * 65536n + BigInt(parseInt(words[i], 16));
  }
  return value;
}
function __addresses(host) {
  host = __lower(host).replace(/\.$/, "");
  if (__v4(host) !== null || __v6(host) !== null) return [host.replace(/^\[|\]$/g, "")];
  if (Object.prototype.hasOwnProperty.call(__dns, host)) return __dns[host];
  if (__asked.indexOf(host) < 0) __asked.push(host);
  return [];
}
function dnsResolve(host) {
  var found = __addresses(host).filter(function (one) { return __v4(one) !== null; });
  return found.length ? found[0] : null;
}
function dnsResolveEx(host) { return __addresses(host).join(";"); }
function isResolvable(host) { return dnsResolve(host) !== null; }
function isResolvableEx(host) { return __addresses(host).length > 0; }
function myIpAddress() { return __me; }
function myIpAddressEx() { return __me; }
function getClientVersion() { return "1.0"; }
function isInNet(host, pattern, mask) {
  var address = __v4(host) === null ? dnsResolve(host) : host;
  var a = address === null ? null : __v4(address), p = __v4(pattern), m = __v4(mask);
  return a !== null && p !== null && m !== null && ((a & m) === (p & m));
}
function isInNetEx(host, range) {
  var cut = String(range).split("/"), bits = parseInt(cut[1], 10);
  if (cut.length !== 2 || isNaN(bits)) return false;
  return __addresses(host).some(function (one) {
    var wide = __v4(cut[0]) !== null, size = wide ? 32 : 128;
    var a = wide ? __v4(one) : __v6(one), p = wide ? __v4(cut[0]) : __v6(cut[0]);
    if (a === null || p === null || bits < 0 || bits > size) return false;
    var shift = BigInt(size - bits);
    return (BigInt(a) >> shift) === (BigInt(p) >> shift);
  });
}
function sortIpAddressList(list) {
  var parts = String(list).split(";").map(function (one) { return one.trim(); });
  if (!list || parts.some(function (one) { return __v4(one) === null && __v6(one) === null; }))
    return false;
  return parts.sort(function (one, other) {
    var a = __v6(one), b = __v6(other);
    if ((a === null) !== (b === null)) return a === null ? 1 : -1;
    if (a === null) { a = __v4(one); b = __v4(other); }
    return a < b ? -1 : a > b ? 1 : 0;
  }).join(";");
}
function shExpMatch(text, pattern) {
  var source = String(pattern).replace(/[.+\\{}$]/g, "\\$&").replace(/\*/g, ".*")
    .replace(/\?/g, ".");
  try { return new RegExp("^(?:" + source + ")$", "s").test(text); } catch (e) { return false; }
}
function __time(args) {
  __timed = true;
  var list = Array.prototype.slice.call(args), date = __now === null ? new Date() : new Date(__now);
  var gmt = list.length > 0 && list[list.length - 1] === "GMT";
  if (gmt) list.pop();
  return {
    list: list,
    weekday: gmt ? date.getUTCDay() : date.getDay(),
    day: gmt ? date.getUTCDate() : date.getDate(),
    month: gmt ? date.getUTCMonth() : date.getMonth(),
    year: gmt ? date.getUTCFullYear() : date.getFullYear(),
    hour: gmt ? date.getUTCHours() : date.getHours(),
    minute: gmt ? date.getUTCMinutes() : date.getMinutes(),
    second: gmt ? date.getUTCSeconds() : date.getSeconds()
  };
}
function __round(from, now, to) {
  return from <= to ? from <= now && now <= to : now >= from || now <= to;
}
function weekdayRange() {
  var t = __time(arguments), names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
  var days = t.list.map(function (one) { return names.indexOf(one); });
  if (days.length < 1 || days.length > 2 || days.indexOf(-1) >= 0) return false;
  return __round(days[0], t.weekday, days[days.length - 1]);
}
function dateRange() {
  var t = __time(arguments), kinds = "";
  var names = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
  var list = t.list.map(function (one) {
    if (names.indexOf(one) >= 0) { kinds += "m"; return names.indexOf(one); }
    var number = parseInt(one, 10);
    kinds += isNaN(number) ? "x" : number > 31 ? "y" : "d";
    return number;
  });
  var one = { d: t.day, m: t.month, y: t.year };
  if (/^[dmy]$/.test(kinds)) return list[0] === one[kinds];
  if (!/^(dd|mm|yy|dmdm|mymy|dmydmy)$/.test(kinds)) return false;
  var half = list.length / 2, weight = { d: 1, m: 100, y: 10000 };
  function sum(values) {
    return values.reduce(function (all, value, at) { return all + value * weight[kinds[at]]; }, 0);
  }
  var shape = kinds.slice(0, half).split("");
  var now = sum(shape.map(function (kind) { return one[kind]; }));
  var from = sum(list.slice(0, half)), to = sum(list.slice(half));
  return kinds.indexOf("y") >= 0 ? from <= now && now <= to : __round(from, now, to);
}
function timeRange() {
  var t = __time(arguments);
  var list = t.list.map(function (one) { return parseInt(one, 10); });
  if (list.some(isNaN)) return false;
  var now = t.hour * 3600 + t.minute * 60 + t.second;
  switch (list.length) {
    case 1: return t.hour === list[0];
    case 2: return __round(list[0], t.hour, list[1]);
    case 4: return __round(list[0] * 3600 + list[1] * 60, now, list[2] * 3600 + list[3] * 60 + 59);
    case 6: return __round(list[0] * 3600 + list[1] * 60 + list[2], now,
                           list[3] * 3600 + list[4] * 60 + list[5]);
  }
  return false;
}
function __find(url, host, dns, me, now) {
  __dns = JSON.parse(dns); __asked = []; __me = me; __now = now; __timed = false;
  if (typeof FindProxyForURL !== "function") return JSON.stringify({ missing: true });
  var said = FindProxyForURL(url, host);
  return JSON.stringify({
    kind: said === null ? "null" : typeof said,
    said: typeof said === "string" ? said.slice(0, 4097) : "",
    asked: __asked, timed: __timed || /Date|random/.test(String(FindProxyForURL))
  });
}
""".splitlines()
)

_FRAME = re.compile(r"<input>:(\d+)")


class Sandbox:
    """One script in one context; a fault of time or memory spoils it."""

    def __init__(self, script: str) -> None:
        import quickjs

        self._faults: tuple[type[Exception], ...] = (quickjs.JSException, quickjs.StackOverflow)
        self._context = quickjs.Context()
        self._context.set_memory_limit(MEMORY)
        self._context.set_max_stack_size(STACK)
        self._context.set_time_limit(CPU_SECONDS)
        self._context.eval(HELPERS)
        self._context.eval("\n" + script)
        # Taken now: a script may hide what it finds, and may not replace what calls it.
        self._find = self._context.get("__find")
        self._known: dict[str, list[str]] = {}

    def find(self, url: str, host: str, dns: bool, now: float | None) -> dict[str, Any]:
        unresolved: list[str] = []
        for _ in range(DNS_ROUNDS):
            found: dict[str, Any] = json.loads(
                self._find(url, host, json.dumps(self._known), own_address(), now)
            )
            asked = found.get("asked") or []
            if not dns or not asked:
                return {**found, "unresolved": asked if not dns else unresolved}
            for name in asked:
                self._known[name] = look_up(name)
        self._known.clear()
        return found


def look_up(name: str) -> list[str]:
    """Its addresses; none when that takes too long."""
    found: list[str] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        found.extend(dict.fromkeys(str(row[4][0]) for row in rows))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(DNS_SECONDS)
    return list(found)


def own_address() -> str:
    """The address from which this machine reaches the world; nothing is sent to find it."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def fault(error: BaseException) -> dict[str, Any]:
    """What went wrong, and in which line of the PAC file."""
    text = str(error)
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    lines = [int(number) - 1 for number in _FRAME.findall(text) if int(number) > 1]
    kind = "script"
    if "interrupted" in first:
        kind = "time"
    elif "out of memory" in first or isinstance(error, MemoryError) or "stack overflow" in first:
        kind = "memory"
    return {"kind": kind, "message": first[:300], "line": lines[0] if lines else None}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (PROCESS_MEMORY, PROCESS_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sandbox: Sandbox | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "script" in asked:
                sandbox = None
                sandbox = Sandbox(asked["script"])
                answer: dict[str, Any] = {"ok": True}
            elif sandbox is None:
                answer = {"error": {"kind": "lost", "message": "no script", "line": None}}
            else:
                answer = sandbox.find(asked["url"], asked["host"], asked["dns"], asked.get("now"))
        except ImportError:
            answer = {"error": {"kind": "missing", "message": "no QuickJS", "line": None}}
        except Exception as error:
            answer = {"error": fault(error)}
            if answer["error"]["kind"] != "script":
                sandbox = None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)
