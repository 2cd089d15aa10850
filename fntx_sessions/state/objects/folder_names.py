"""Names of objects as paths in a folder: one to one, and never out of it."""

from urllib.parse import quote, unquote

from fntx_sessions.exceptions import InvalidArgument

SUFFIX = ".object"
_FIX = "Use parts of 1 to 200 characters joined by /, as in sessions/ID/save."
# What a file system takes for one name, less the suffix.
_LONGEST = 255 - len(SUFFIX)


def path_of(name: str) -> tuple[tuple[str, ...], str]:
    """Return an object's directories and its file; raises InvalidArgument for a name that cannot be one."""
    *directories, last = map(_quoted, name.split("/"))
    if not all(directories) or not last or max(map(len, (*directories, last))) > _LONGEST:
        raise InvalidArgument("object", f"{name[:300]!r} cannot be an object's name", _FIX)
    return tuple(directories), last + SUFFIX


def name_of(entry: str) -> str:
    """Return the part of a name that a directory, or a file without its suffix, stands for."""
    return unquote(entry.removesuffix(SUFFIX))


def _quoted(part: str) -> str:
    # No dot is left in a directory's name: `..` is none, and none ends like an object's file.
    return quote(part, safe="-_", errors="surrogatepass").replace(".", "%2E")
