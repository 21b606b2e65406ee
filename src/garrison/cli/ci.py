"""What a build says of itself: labels of a report, from options and from its environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from garrison.errors import InvalidSettingError

# Label → variables that may hold it, in this order.
_GITHUB = {
    "repository": ("GITHUB_REPOSITORY",),
    "branch": ("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
    "commit": ("GITHUB_SHA",),
    "build": ("GITHUB_RUN_ID",),
}
_GITLAB = {
    "repository": ("CI_PROJECT_PATH",),
    "branch": ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"),
    "commit": ("CI_COMMIT_SHA",),
    "build": ("CI_PIPELINE_ID",),
    "url": ("CI_PIPELINE_URL",),
}
_JENKINS = {
    "repository": ("GIT_URL",),
    "branch": ("CHANGE_BRANCH", "BRANCH_NAME", "GIT_BRANCH"),
    "commit": ("GIT_COMMIT",),
    "build": ("BUILD_TAG",),
    "url": ("BUILD_URL",),
}
_SYSTEMS = (
    ("github", "GITHUB_ACTIONS", _GITHUB),
    ("gitlab", "GITLAB_CI", _GITLAB),
    ("jenkins", "JENKINS_URL", _JENKINS),
)


def labels(given: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """`--label NAME=VALUE` over what the build's environment tells.

    Raises: InvalidSettingError.
    """
    found = _of_build(environ)
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidSettingError(
                "label", f"--label {text!r} is no label", "Write it as NAME=VALUE."
            )
        found[name] = value
    return found


def _of_build(environ: Mapping[str, str]) -> dict[str, str]:
    for system, mark, names in _SYSTEMS:
        if not environ.get(mark):
            continue
        found = {"ci": system}
        for label, variables in names.items():
            if value := next((environ[each] for each in variables if environ.get(each)), ""):
                found[label] = _without_password(value)
        if system == "github" and "repository" in found and "build" in found:
            server = environ.get("GITHUB_SERVER_URL", "https://github.com")
            found["url"] = f"{server}/{found['repository']}/actions/runs/{found['build']}"
        return found
    return {}


def _without_password(text: str) -> str:
    """The address of a repository may hold one: `https://user:token@host/path`."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
