"""Java archives: what a jar is, and what is inside it.

Names come from `pom.properties`, else from where `pom.xml` is, else from the file's name and the
manifest. The rules for what none of them says are in docs/reference/scanning.md, "Java".

Source: maven.apache.org/shared/maven-archiver; the JAR file specification, "JAR Manifest"; OSGi
Core 3.2.1; docs.spring.io, "The Executable Jar Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from garrison.images import FileError
from garrison.packages.package import Position
from garrison.packages.readers.archive import LOCAL_MARK, Archive, Member, Pieces
from garrison.packages.readers.facts import Component, Contents, Unread, checked

ENDINGS = (".jar", ".war", ".ear", ".par", ".hpi", ".jpi")
MAX_WHOLE = 64 << 20
"""Bytes of an archive that is kept while it is read; of larger ones only what matters is."""
MAX_KEPT = 32 << 20
"""Bytes kept of such a larger one."""
MAX_DEPTH = 4
"""Archives in archives: an ear has wars that have jars, and some of those carry jars."""
MAX_ARCHIVES = 5000
MAX_UNPACKED = 256 << 20
"""Bytes of all inner archives of one file that have to be decompressed."""
MAX_PROPERTIES = 64 << 10
MAX_MANIFEST = 256 << 10
"""Bytes of a manifest that are read: its main part comes first."""
MAX_UNREAD = 100

_POM = re.compile(r"(?:^|.*/)META-INF/maven/([^/]+)/([^/]+)/pom\.(properties|xml)")
_MANIFEST = "META-INF/MANIFEST.MF"
_VERSION = r"v?[0-9][0-9A-Za-z]*(?:[._+-][0-9A-Za-z]+)*"
_FILE_NAME = re.compile(rf"(?P<name>[A-Za-z].*?)-(?P<version>{_VERSION})")
_CLASSIFIER = re.compile(
    r"[-.](?:jre|android|shaded|all|uber|fat|standalone|jar-with-dependencies|runtime|classes|exec|"
    r"boot|javadoc|sources|tests?|nodep|no_aop|bundle|osgi|full|linux|windows|osx|macos|aarch_?64|"
    r"x86_?64|arm64|amd64|native|natives)(?:[-._].*)?$"
)
_PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]*", re.ASCII)

# Groups of artifacts that are often built without Maven's files, by the artifact's beginning; the
# longest that fits decides.
_GROUPS = {
    "spring-": "org.springframework",
    "spring-boot": "org.springframework.boot",
    "spring-security-": "org.springframework.security",
    "spring-data-": "org.springframework.data",
    "spring-cloud-": "org.springframework.cloud",
    "spring-integration-": "org.springframework.integration",
    "spring-batch-": "org.springframework.batch",
    "spring-kafka": "org.springframework.kafka",
    "spring-ldap-": "org.springframework.ldap",
    "spring-session-": "org.springframework.session",
    "spring-ws-": "org.springframework.ws",
    "spring-webflow": "org.springframework.webflow",
    "micrometer-": "io.micrometer",
    "reactor-core": "io.projectreactor",
    "reactor-netty": "io.projectreactor.netty",
    "hibernate-core": "org.hibernate",
    "hibernate-validator": "org.hibernate.validator",
    "netty-": "io.netty",
    "log4j-": "org.apache.logging.log4j",
    "tomcat-": "org.apache.tomcat",
    "tomcat-embed-": "org.apache.tomcat.embed",
    "jackson-core": "com.fasterxml.jackson.core",
    "jackson-databind": "com.fasterxml.jackson.core",
    "jackson-annotations": "com.fasterxml.jackson.core",
    "jackson-dataformat-": "com.fasterxml.jackson.dataformat",
    "jackson-datatype-": "com.fasterxml.jackson.datatype",
    "jackson-module-": "com.fasterxml.jackson.module",
    "groovy": "org.codehaus.groovy",
    "kotlin-": "org.jetbrains.kotlin",
    "kotlinx-": "org.jetbrains.kotlinx",
    "scala-": "org.scala-lang",
    "kafka-": "org.apache.kafka",
    "kafka_": "org.apache.kafka",
    "okhttp": "com.squareup.okhttp3",
    "okio": "com.squareup.okio",
    "rxjava": "io.reactivex.rxjava2",
    "lucene-": "org.apache.lucene",
    "elasticsearch": "org.elasticsearch",
    "mysql-connector-java": "mysql",
    "mysql-connector-j": "com.mysql",
    "ojdbc": "com.oracle.database.jdbc",
    "bcprov-": "org.bouncycastle",
    "bcpkix-": "org.bouncycastle",
    "bcutil-": "org.bouncycastle",
    "bctls-": "org.bouncycastle",
    "bcpg-": "org.bouncycastle",
    "antlr": "antlr",
    "aopalliance": "aopalliance",
    "checker-": "org.checkerframework",
    "grpc-": "io.grpc",
    "hibernate-commons-annotations": "org.hibernate.common",
    "jna": "net.java.dev.jna",
    "perfmark-": "io.perfmark",
    "serializer": "xalan",
    "velocity": "org.apache.velocity",
    "xmlbeans": "org.apache.xmlbeans",
    "xmlpull": "xmlpull",
    "xpp3": "xpp3",
    "xpp3_min": "xpp3",
    "aspectjweaver": "org.aspectj",
    "aspectjrt": "org.aspectj",
    "snakeyaml": "org.yaml",
    "xstream": "com.thoughtworks.xstream",
    "jruby-": "org.jruby",
    "opentelemetry-": "io.opentelemetry",
    "postgresql": "org.postgresql",
    "h2": "com.h2database",
    "hsqldb": "org.hsqldb",
    "antlr4-runtime": "org.antlr",
    "struts2-core": "org.apache.struts",
    "javax.inject": "javax.inject",
    "jsr305": "com.google.code.findbugs",
    "xalan": "xalan",
    "xercesImpl": "xerces",
    "xml-apis": "xml-apis",
    "classworlds": "classworlds",
    "oro": "oro",
    "dom4j": "org.dom4j",
    "log4j": "log4j",
    "ant": "org.apache.ant",
    "ant-": "org.apache.ant",
    "c3p0": "com.mchange",
    "cglib": "cglib",
    "jython": "org.python",
    "junit": "junit",
}
_UMBRELLAS = frozenset(
    {"com.github", "com.google", "com.sun", "io.github", "org.apache", "org.codehaus",
     "org.eclipse", "org.glassfish", "org.jboss"}
)  # fmt: skip
"""Under which others publish, each in a group of its own."""
_OF_JAVA = frozenset({"jrt-fs", "rt", "jce", "jsse", "charsets", "resources", "tools"})
"""Parts of a Java runtime, which its own packages stand for."""
# Tomcat calls its files otherwise than its artifacts.
_TOMCAT = {
    "catalina-tribes": "tomcat-tribes",
    **{
        name: f"tomcat-{name}"
        for name in (
            "annotations-api", "catalina", "catalina-ant", "catalina-ha", "catalina-ssi",
            "catalina-storeconfig", "el-api", "jasper", "jasper-el", "jaspic-api", "jsp-api",
            "servlet-api", "websocket-api", "websocket-client-api",
        )
    },
}  # fmt: skip
_WHOLE_NAMES = frozenset(name for name in _GROUPS if not name.endswith(("-", "_")))


@dataclass(slots=True)
class _Budget:
    """What all archives inside one file may cost together."""

    archives: int = field(default_factory=lambda: MAX_ARCHIVES)
    unpacked: int = field(default_factory=lambda: MAX_UNPACKED)
    unread: list[Unread] = field(default_factory=list)

    def skip(self, inside: str, reason: str, code: str = "packages.unreadable") -> None:
        if len(self.unread) < MAX_UNREAD:
            self.unread.append(Unread(inside, code, reason))
        elif len(self.unread) == MAX_UNREAD:
            self.unread.append(Unread("", "packages.more_skipped", "and more parts of it"))


def is_archive(path: str) -> bool:
    """Whether `path` is called as Java archives are."""
    return path.endswith(ENDINGS)


class JavaSieve:
    """Keeps an archive that flows by, whole, or of a larger one what is needed of it."""

    def __init__(self, path: str, size: int) -> None:
        self._name = path.rpartition("/")[2]
        self._size = size
        self._whole = bytearray() if size <= MAX_WHOLE else None
        self._parts = _Parts(size)

    def feed(self, data: bytearray, start: int, end: int) -> None:
        if self._whole is None:
            self._parts.feed(data, start, end)
            return
        if len(self._whole) + end - start > MAX_WHOLE:
            raise FileError(f"an archive that grew beyond {MAX_WHOLE} bytes while it was read")
        self._whole += memoryview(data)[start:end]

    def facts(self) -> object | None:
        if self._whole is None:
            return read(self._name, self._parts.pieces())
        return read(self._name, Pieces.whole(self._whole))


class _Parts:
    """What matters of a large archive: directories, manifests and pom files, also of archives
    that are stored in it uncompressed. They are known by the marks before them."""

    _AHEAD = 512
    """Bytes of a header that must be seen at once."""
    _FILE = 16 << 10
    """Bytes kept of a manifest or pom file whose header does not tell its compressed size."""
    _DIRECTORY = 8 << 20

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen = 0
        self._rest = b""
        self._pieces: list[tuple[int, bytearray, int]] = []
        self._kept = 0
        self._open: list[int] = []
        self._directory: int | None = None

    def feed(self, data: bytearray, start: int, end: int) -> None:
        for number in self._open:
            self._grow(number, data, start, end)
        self._open = [n for n in self._open if len(self._pieces[n][1]) < self._pieces[n][2]]
        buffer = self._rest + data[start:end]
        base = self._seen - len(self._rest)
        self._seen += end - start
        last = self._seen == self._size
        limit = len(buffer) if last else max(0, len(buffer) - self._AHEAD)
        at = buffer.find(b"PK", 0, limit)
        while at >= 0:
            self._look(buffer, at, base)
            at = buffer.find(b"PK", at + 2, limit)
        self._rest = b"" if last else buffer[limit:]

    def pieces(self) -> Pieces:
        """What was kept."""
        found = Pieces(self._size)
        for start, piece, _ in sorted(self._pieces, key=lambda item: item[0]):
            found.add(start, bytes(piece))
        return found

    def _look(self, buffer: bytes, at: int, base: int) -> None:
        mark = buffer[at : at + 4]
        if mark == LOCAL_MARK:
            length = int.from_bytes(buffer[at + 26 : at + 28], "little")
            name = buffer[at + 30 : at + 30 + length]
            wanted = name == b"META-INF/MANIFEST.MF" or name.endswith(b"/pom.properties")
            if wanted:
                compressed = int.from_bytes(buffer[at + 18 : at + 22], "little")
                extra = int.from_bytes(buffer[at + 28 : at + 30], "little")
                room = min(compressed, MAX_MANIFEST) or self._FILE
                self._keep(buffer, at, base, 30 + length + extra + room)
            elif name.endswith(_STORED_ENDINGS):
                self._keep(buffer, at, base, 30)
        elif mark == b"PK\1\2" and self._directory is None:
            self._directory = self._keep(buffer, at, base, self._DIRECTORY)
        elif mark == b"PK\5\6":
            comment = int.from_bytes(buffer[at + 20 : at + 22], "little")
            if self._directory is not None:
                start, piece, _ = self._pieces[self._directory]
                size = base + at + 22 + comment - start
                if size > self._DIRECTORY:
                    return
                if size <= len(piece):
                    self._kept -= len(piece) - size
                    del piece[size:]
                self._pieces[self._directory] = (start, piece, size)
                self._directory = None

    def _keep(self, buffer: bytes, at: int, base: int, limit: int) -> int | None:
        if self._kept >= MAX_KEPT:
            return None
        piece = bytearray(buffer[at : at + limit])
        self._kept += len(piece)
        self._pieces.append((base + at, piece, limit))
        if len(piece) < limit:
            self._open.append(len(self._pieces) - 1)
        return len(self._pieces) - 1

    def _grow(self, number: int, data: bytearray, start: int, end: int) -> None:
        at, piece, limit = self._pieces[number]
        wanted = min(limit - len(piece), end - start)
        taken = min(wanted, MAX_KEPT - self._kept)
        piece += memoryview(data)[start : start + taken]
        self._kept += taken
        if taken < wanted:  # what follows later would not fit on
            self._pieces[number] = (at, piece, len(piece))


def _is_wanted(name: bytes) -> bool:
    return name.endswith(_NAME_ENDINGS)


_STORED_ENDINGS = tuple(ending.encode() for ending in ENDINGS)
_NAME_ENDINGS = (*_STORED_ENDINGS, b"/pom.properties", b"/pom.xml", _MANIFEST.encode())


def read(name: str, pieces: Pieces) -> Contents | None:
    """The packages in the archive called `name`. Raises FileError: it is no archive."""
    budget = _Budget()
    found = list(_packages(name, pieces, "", 0, budget))
    packages = tuple(dict.fromkeys(found))
    return Contents(packages, tuple(budget.unread)) if packages or budget.unread else None


def _packages(
    name: str, pieces: Pieces, inside: str, depth: int, budget: _Budget,
    span: tuple[int, int] | None = None,
) -> Iterator[Component]:  # fmt: skip
    archive = Archive(pieces, *(span or (0, pieces.size)))
    members = archive.members(_is_wanted)
    yield from _own(name, archive, members, inside, budget)
    for member in members:
        if member.name.endswith(ENDINGS):
            yield from _inner(archive, pieces, member, inside, depth, budget)


def _inner(
    archive: Archive, pieces: Pieces, member: Member, inside: str, depth: int, budget: _Budget
) -> Iterator[Component]:
    path = f"{inside}!/{member.name}" if inside else member.name
    name = member.name.rpartition("/")[2]
    if len(path) > 4096 or not path.isprintable():
        budget.skip(inside, "an archive with an impossible name")
        return
    if depth + 1 >= MAX_DEPTH:
        budget.skip(path, f"archives are read {MAX_DEPTH} deep")
        return
    if budget.archives <= 0:
        budget.skip(path, f"more than {MAX_ARCHIVES} archives in one file")
        return
    budget.archives -= 1
    try:
        if member.method == 0 and not member.encrypted:
            yield from _packages(name, pieces, path, depth + 1, budget, archive.place(member))
            return
        if budget.unpacked <= 0:
            raise FileError(f"archives in one file unpack to more than {MAX_UNPACKED} bytes")
        data = archive.read(member, min(MAX_WHOLE, budget.unpacked))
        budget.unpacked -= len(data)
        yield from _packages(name, Pieces.whole(data), path, depth + 1, budget)
    except FileError as error:
        budget.skip(path, error.message)
        if by_name := _by_name(name, {}):
            yield replace(by_name, inside=path, position="vendored")


def _own(
    file_name: str, archive: Archive, members: Iterable[Member], inside: str, budget: _Budget
) -> Iterator[Component]:
    """The archive itself, and what was merged into it."""
    named: list[Component] = []
    places: list[tuple[str, str]] = []
    manifest: dict[str, str] = {}
    for member in members:
        try:
            if member.name == _MANIFEST:
                manifest = attributes(archive.read(member, MAX_MANIFEST, cut=True))
            elif "META-INF/maven/" in member.name and (match := _POM.fullmatch(member.name)):
                if match[3] == "properties":
                    named.append(_properties(archive.read(member, MAX_PROPERTIES)))
                else:
                    places.append((match[1], match[2]))
        except FileError as error:
            path = f"{inside}!/{member.name}" if inside else member.name
            budget.skip(path, error.message)
    known = {(one.namespace, one.name) for one in named}
    own = _chosen(file_name, named)
    if own is None:
        own = _by_name(file_name, manifest, [place for place in places if place not in known])
    top: Position = "vendored" if inside else "installed"
    if own is not None:
        yield replace(own, inside=inside, position=top)
        if not own.namespace:
            budget.skip(
                inside,
                f"{own.name} {own.version}: nothing says its Maven group, so it is not matched",
                "packages.unknown_group",
            )
    for one in named:
        if one != own:
            yield replace(one, inside=inside, position="vendored")


def _properties(data: bytes) -> Component:
    """What a pom.properties says. Raises FileError."""
    values: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.lstrip().startswith(("#", "!")):
            values.setdefault(key.strip(), value.strip())
    name = checked(values.get("artifactId", ""), "artifactId")
    group = checked(values.get("groupId", ""), f"groupId of {name}")
    version = checked(values.get("version", ""), f"version of {name}")
    if "${" in name + group + version:
        raise FileError("its pom.properties was never filled in")
    return Component("maven", group, name, version)


def _chosen(file_name: str, named: list[Component]) -> Component | None:
    """Which of the artifacts in one archive the archive itself is; None: it has merged others only.

    The one whose words are all in the file's name; of several the longest.
    """
    words = _words(file_name.rpartition(".")[0])
    fitting = [one for one in named if _words(one.name) <= words]
    if not fitting and len(named) == 1 and _words(named[0].name) & words:
        return named[0]
    return max(fitting, key=lambda one: len(one.name), default=None)


def _words(name: str) -> frozenset[str]:
    """The words of a name, without the numbers behind them: distributions call maven-core
    maven3-core."""
    found = (re.sub(r"\d+$", "", word) for word in re.split(r"[-._]", name.lower()))
    return frozenset(word for word in found if word)


def _by_name(
    file_name: str, manifest: dict[str, str], places: Iterable[tuple[str, str]] = ()
) -> Component | None:
    """An archive without pom.properties: by its name and its manifest; None: they do not say."""
    stem = file_name.rpartition(".")[0]
    match = _FILE_NAME.fullmatch(stem)
    name = match["name"] if match else stem
    version = match["version"] if match else ""
    plain = _CLASSIFIER.sub("", version) if version else ""
    version = plain or version
    declared = next(
        (
            value
            for key in ("implementation-version", "bundle-version", "specification-version")
            if _version(value := manifest.get(key, "").partition(" ")[0])
        ),
        "",
    )
    # Bundle versions have four parts; the file's name says what was published.
    version = version or declared
    place = next((place for place in places if place[1] == name), None)
    only = list(places)
    if place is None and len(only) == 1:
        place = only[0]
    if place is not None:
        name = place[1]
    elif manifest.get("implementation-title") == "Apache Tomcat":
        name = _TOMCAT.get(name, name)
    elif not match:
        name = _title(manifest, name)
    if not version or not _PLAIN.fullmatch(name) or name in _OF_JAVA:
        return None
    group = place[0] if place is not None else _group(name, manifest)
    return Component("maven", group, name[:512], version[:512])


def _title(manifest: dict[str, str], name: str) -> str:
    """The artifact of a file whose name has no version: the title, if it is no sentence."""
    title = manifest.get("implementation-title", "")
    if _PLAIN.fullmatch(title) and ("-" in title or title.lower() == name.lower()):
        return title.rpartition(":")[2]
    return name


def _version(text: str) -> bool:
    return re.fullmatch(_VERSION, text) is not None


def _group(name: str, manifest: dict[str, str]) -> str:
    """The Maven group of an artifact, by the documented rules; empty if none applies."""
    if name.startswith("commons-"):
        old = re.fullmatch(r"commons-[a-z]+", name) and name in _OLD_COMMONS
        return name if old else "org.apache.commons"
    fitting = [
        begin
        for begin in _GROUPS
        if (name == begin if begin in _WHOLE_NAMES else name.startswith(begin))
        or (begin in _WHOLE_NAMES and name.startswith(f"{begin}-"))
    ]
    if fitting:
        return _GROUPS[max(fitting, key=len)]
    vendor = manifest.get("implementation-vendor-id", "")
    if _is_group(vendor):
        return vendor
    bundle = manifest.get("bundle-symbolicname", "").partition(";")[0].strip()
    for full in (bundle, manifest.get("automatic-module-name", "")):
        if not _is_group(full):
            continue
        return _group_of_bundle(full, name)
    return ""


def _group_of_bundle(full: str, name: str) -> str:
    """What Maven's bundle plugin made `full` of, for the artifact `name`.

    It joins group and artifact, and leaves out of the artifact what the group ends in.
    """
    rest = name.partition("-")[2]
    for end in (name, rest, rest.replace("-", "."), name.replace("-", "."), name.replace("-", "_")):
        if end and full.endswith(f".{end}"):
            group = full[: -len(end) - 1]
            if "." in group and group not in _UMBRELLAS:
                return group
    return full


def _is_group(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z][\w-]*(?:\.[\w-]+)+", text, re.ASCII) is not None


_OLD_COMMONS = frozenset(
    f"commons-{name}"
    for name in (
        "beanutils", "betwixt", "chain", "cli", "codec", "collections", "configuration", "daemon",
        "dbcp", "dbutils", "digester", "discovery", "el", "email", "fileupload", "httpclient",
        "io", "jexl", "jxpath", "lang", "launcher", "logging", "math", "modeler", "net", "pool",
        "primitives", "validator", "vfs",
    )
)  # fmt: skip
"""Those published before Apache had one group for all; their group is their name."""


def attributes(data: bytes) -> dict[str, str]:
    """The main attributes of a manifest, keys in lower case."""
    values: dict[str, str] = {}
    text = re.sub(r"\r?\n |\r(?!\n) ", "", data.decode("utf-8", "replace"))
    for line in text.splitlines():
        if not line:
            break
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip().lower(), value.strip())
    return values
