"""Which folder plays which role: override → SPECIAL-USE (RFC 6154) → XLIST → well-known names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["sent", "trash", "junk"]

DEFAULT_NAMES: Mapping[Role, str] = {"sent": "Sent", "trash": "Trash", "junk": "Junk"}
"""The name a folder is created under where there is none."""

_FLAGS: Mapping[Role, frozenset[str]] = {
    "sent": frozenset({"\\sent"}),
    "trash": frozenset({"\\trash"}),
    # XLIST says \Spam (Yandex, old Gmail), RFC 6154 says \Junk.
    "junk": frozenset({"\\junk", "\\spam"}),
}

_NAMES: Mapping[Role, tuple[str, ...]] = {
    "sent": (
        "sent", "sent items", "sent messages", "sent mail", "отправленные", "отправленные письма",
        "исходящие", "надіслані", "gesendet", "gesendete elemente", "gesendete objekte", "éléments envoyés",
        "envoyés", "messages envoyés", "enviados", "elementos enviados", "itens enviados", "posta inviata",
        "inviata", "verzonden items", "verzonden", "wysłane", "elementy wysłane", "skickat", "sendt",
        "sendte elementer", "lähetetyt", "odeslaná pošta", "gönderilmiş öğeler", "已发送",
        "已发送邮件", "送信済みアイテム",
    ),
    "trash": (
        "trash", "deleted items", "deleted messages", "deleted", "bin", "корзина", "удаленные", "удалённые",
        "кошик", "papierkorb", "gelöschte elemente", "corbeille", "éléments supprimés", "papelera",
        "elementos eliminados", "lixeira", "itens excluídos", "cestino", "posta eliminata", "prullenbak",
        "verwijderde items", "kosz", "elementy usunięte", "papperskorg", "已删除", "ごみ箱",
    ),
    "junk": (
        "junk", "spam", "junk e-mail", "junk email", "bulk mail", "bulk", "спам", "нежелательная почта",
        "junk-e-mail", "unerwünscht", "courrier indésirable", "indésirables", "correo no deseado",
        "lixo eletrônico", "posta indesiderata", "ongewenste e-mail", "wiadomości-śmieci", "skräppost",
        "垃圾邮件", "迷惑メール",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """A line of LIST or XLIST: flags in lower case, the hierarchy delimiter, the decoded name."""

    flags: frozenset[str]
    delimiter: str
    name: str


def find_role(role: Role, folders: Iterable[ListedFolder], override: str | None = None) -> str | None:
    r"""Return the folder that plays `role`, or None.

    Flags are compared in lower case because Cyrus says `\sent`.

    >>> find_role("sent", [ListedFolder(frozenset(), "/", "INBOX/Отправленные")])
    'INBOX/Отправленные'
    >>> find_role("sent", [ListedFolder(frozenset(), "/", "Sent"), ListedFolder(frozenset({"\\sent"}), "/", "Out")])
    'Out'
    """
    if override:
        return override
    usable = [folder for folder in folders if not folder.flags & {"\\noselect", "\\nonexistent"}]
    for folder in usable:
        if folder.flags & _FLAGS[role]:
            return folder.name
    by_name: dict[str, str] = {}
    for folder in usable:
        # A name deep in the tree (Projects/Sent) is somebody's own; only the top and INBOX's children count.
        path = folder.name.split(folder.delimiter) if folder.delimiter else [folder.name]
        if len(path) == 1 or (len(path) == 2 and path[0].upper() in ("INBOX", "[GMAIL]")):
            by_name.setdefault(path[-1].casefold(), folder.name)
    return next((by_name[name] for name in _NAMES[role] if name in by_name), None)


def name_to_create(role: Role, folders: Iterable[ListedFolder]) -> str:
    """Return the name for a new folder, below INBOX where the server keeps all folders there (Courier).

    >>> name_to_create("sent", [ListedFolder(frozenset(), ".", "INBOX"), ListedFolder(frozenset(), ".", "INBOX.Old")])
    'INBOX.Sent'
    """
    others = [folder for folder in folders if folder.name.upper() != "INBOX"]
    below_inbox = others and all(f.delimiter and f.name.upper().startswith("INBOX" + f.delimiter) for f in others)
    prefix = "INBOX" + others[0].delimiter if below_inbox else ""
    return prefix + DEFAULT_NAMES[role]
