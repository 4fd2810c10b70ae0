"""Values that are never printed, and the three ways to give one.

A secret field `x` of the configuration can be written as

* `x: ${NAME}`: from the environment;
* `x_file: /run/secrets/x`: from a file, without its final line break;
* `x_credential: NAME`: from systemd's `$CREDENTIALS_DIRECTORY/NAME` (`LoadCredential=`).

Writing it in the YAML file itself works too, and is left to the operator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

from pydantic import SecretStr, Strict
from pydantic.fields import FieldInfo

from config.files import read_regular, reason

SECRET_BYTES_MAX: Final = 64 * 1024
"""No secret of ours is longer; a bigger file is a mistake (a disk image, /dev/zero)."""

_REFERENCE: Final = re.compile(r"(\$)?\$\{([^}]*)(\})?")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CREDENTIAL_NAME: Final = re.compile(r"[A-Za-z0-9_.@:-]+\Z")


class Secret(SecretStr):
    """Text that repr, str, format, JSON and error messages show as asterisks.

    It refuses to be pickled: a secret must not travel to another process by
    mistake (the parser's processes run without any).

    >>> Secret("hunter2")
    Secret('**********')
    >>> f"{Secret('hunter2')}"
    '**********'
    """

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


class _Masked:
    """Marks a text field whose value may hold a password (a database address)."""


MASKED: Final = _Masked()
SecretUrl = Annotated[str, Strict(), MASKED]
"""An address that may hold a password: plain text to the code, but never printed by repr, dumps or errors."""


def is_secret(field: FieldInfo) -> bool:
    """Whether a field takes `_file` and `_credential` siblings and is hidden in errors."""
    return MASKED in field.metadata or "Secret" in _type_names(field.annotation)


def _type_names(annotation: object) -> set[str]:
    """The class names in an annotation such as `Secret | None`."""
    parts = getattr(annotation, "__args__", ())
    return {getattr(annotation, "__name__", "")}.union(*(_type_names(part) for part in parts))


def mask_url(url: str) -> str:
    """Return the address with its password replaced.

    >>> mask_url("postgresql://ingestd:hunter2@db.example.com/mail")
    'postgresql://ingestd:***@db.example.com/mail'
    >>> mask_url("sqlite:///mail.db")
    'sqlite:///mail.db'
    """
    masked = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*pass[^=&]*)=[^&]*", r"\1=***", masked)


class SecretError(ValueError):
    """A reference to a value that cannot be had. The text says why and what to do, never the value."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace every `${NAME}` by the environment's value; `$${` stands for `${` itself.

    Raises SecretError for a name that is not set, is malformed or is never closed.

    >>> expand("postgresql://u:${PW}@db", {"PW": "x"})
    'postgresql://u:x@db'
    >>> expand("$${PW}", {})
    '${PW}'
    """

    def value(match: re.Match[str]) -> str:
        escaped, name, closed = match.groups()
        if escaped:
            return match.group(0)[1:]
        if not closed:
            raise SecretError("${ is never closed by }; write $${ for a literal ${")
        if not _ENV_NAME.match(name):
            raise SecretError("what stands in ${…} is not the name of an environment variable; write $${ for ${")
        if name not in environ:
            raise SecretError(f"the environment variable {name} is not set; set it, or use a _file or _credential key")
        return environ[name]

    return _REFERENCE.sub(value, text)


def read_secret_file(path: Path, *, private: bool) -> str:
    """Return the file's text without the final line break.

    `private` also refuses a file that its group or others may touch, as the
    master key opens everything. Raises SecretError.
    """
    try:
        content, mode = read_regular(path, SECRET_BYTES_MAX)
    except OSError as error:
        raise SecretError(f"cannot read {path}: {reason(error)}; check the path and who may read it") from None
    if private and mode & 0o077:
        raise SecretError(f"{path} can be read or changed by other users; run: chmod 600 {path}")
    return _decode(content, path)


def _decode(content: bytes, path: Path) -> str:
    if len(content) > SECRET_BYTES_MAX:
        raise SecretError(f"{path} is larger than {SECRET_BYTES_MAX} bytes; it cannot be a secret of ingestd")
    try:
        text = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretError(f"{path} is not UTF-8 text; write the secret as text (keys as base64)") from None
    if not text.strip():
        raise SecretError(f"{path} is empty; write the secret into it")
    return text


def read_credential(name: str, environ: Mapping[str, str]) -> str:
    """Return a systemd credential (systemd.exec(5), LoadCredential=). Raises SecretError."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SecretError(
            "CREDENTIALS_DIRECTORY is not set; start ingestd by systemd with LoadCredential=, or use a _file key"
        )
    if not _CREDENTIAL_NAME.match(name) or name in {".", ".."}:
        raise SecretError("a credential is given by its name in LoadCredential=, not by a path")
    # systemd's folder is private to the service, with modes (0440) of its own making.
    return read_secret_file(Path(folder) / name, private=False)
