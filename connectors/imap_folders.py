"""Which folder plays which role: override → SPECIAL-USE (RFC 6154) → XLIST → well-known names. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
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

_NOT_THERE = frozenset({"\\noselect", "\\nonexistent"})
_TOPS = frozenset({"INBOX", "[GMAIL]", "[GOOGLE MAIL]"})

_NAMES: Mapping[Role, tuple[str, ...]] = {
    "sent": (
        "sent", "sent items", "sent messages", "sent mail",
        "отправленные", "отправленные письма", "исходящие", "надіслані", "надіслані елементи", "відправлені",
        "gesendet", "gesendete elemente", "gesendete objekte", "gesendete nachrichten",
        "éléments envoyés", "envoyés", "messages envoyés", "courrier envoyé",
        "enviados", "elementos enviados", "mensajes enviados",
        "itens enviados", "e-mails enviados", "correio enviado", "mensagens enviadas", "enviado",
        "posta inviata", "inviata", "inviati", "wysłane", "elementy wysłane",
        "verzonden items", "verzonden", "verzonden berichten",
        "gönderilmiş öğeler", "gönderilmiş postalar", "gönderilmiş", "gönderilenler",
        "已发送", "已发送邮件", "已发邮件", "已傳送郵件", "寄件備份", "寄件备份",
        "送信済みアイテム", "送信済みメール", "送信済み", "보낸 편지함", "보낸편지함", "보낸메일함",
        "skickat", "sendt", "sendte elementer", "lähetetyt", "odeslaná pošta",
    ),
    "trash": (
        "trash", "deleted items", "deleted messages", "deleted", "bin",
        "корзина", "удаленные", "удалённые", "кошик", "видалені", "видалені елементи",
        "papierkorb", "gelöschte elemente", "gelöschte objekte", "gelöscht",
        "corbeille", "éléments supprimés", "messages supprimés",
        "papelera", "elementos eliminados", "lixeira", "itens excluídos", "itens eliminados", "lixo", "reciclagem",
        "cestino", "posta eliminata", "kosz", "elementy usunięte", "prullenbak", "verwijderde items",
        "silinmiş öğeler", "çöp kutusu", "çöp", "silinmiş", "silinenler",
        "已删除", "已删除邮件", "刪除的郵件", "垃圾桶", "废件箱",
        "ごみ箱", "ゴミ箱", "削除済みアイテム", "지운 편지함", "휴지통", "papperskorg",
    ),
    "junk": (
        "junk", "spam", "junk e-mail", "junk email", "junk mail", "bulk mail", "bulk",
        "спам", "нежелательная почта", "небажана пошта",
        "junk-e-mail", "unerwünscht", "unerwünschte werbung", "spamverdacht",
        "courrier indésirable", "indésirables", "pourriel", "correo no deseado", "correo basura",
        "lixo eletrônico", "lixo eletrónico", "lixo electrónico", "posta indesiderata",
        "wiadomości-śmieci", "ongewenste e-mail", "gereksiz e-posta", "önemsiz e-posta", "önemsiz posta",
        "垃圾邮件", "垃圾郵件", "迷惑メール", "정크 메일", "정크메일", "스팸함", "스팸메일함", "skräppost",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """A line of LIST or XLIST: flags in lower case, the hierarchy delimiter, the decoded name."""

    flags: frozenset[str]
    delimiter: str
    name: str


def role_of(wanted: str) -> Role | None:
    r"""Return the role that `\Junk` and the like name, None for the name of a folder.

    Raises ValueError for a role that is none of ours.

    >>> role_of("\\Junk"), role_of("Junk")
    ('junk', None)
    """
    if not wanted.startswith("\\"):
        return None
    for role in DEFAULT_NAMES:
        if wanted[1:].casefold() == role:
            return role
    raise ValueError(f"no role of a folder: {wanted}")


def find_folder(
    wanted: str,
    folders: Sequence[ListedFolder],
    *,
    prefix: str = "",
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    r"""Return the server's name of what a person calls `wanted`, a path or a role as `\Sent`; None where there is none.

    A path is written with the server's delimiter or with "/", with the prefix of the personal
    namespace or without. An override names the folder of a role, and is a path too.

    >>> courier = [ListedFolder(frozenset(), ".", "INBOX"), ListedFolder(frozenset(), ".", "INBOX.Support.New")]
    >>> find_folder("Support/New", courier, prefix="INBOX.")
    'INBOX.Support.New'
    """
    role = role_of(wanted)
    if role is not None and not overrides.get(role):
        return find_role(role, folders)
    path = wanted if role is None else overrides[role]
    by_name = {_normal(folder.name): folder.name for folder in folders if not folder.flags & _NOT_THERE}
    return next((by_name[name] for name in _spellings(path, folders, prefix) if name in by_name), None)


def is_listed(name: str, folders: Iterable[ListedFolder]) -> bool:
    return any(_normal(name) == _normal(folder.name) and not folder.flags & _NOT_THERE for folder in folders)


def find_role(role: Role, folders: Iterable[ListedFolder]) -> str | None:
    r"""Return the folder that plays `role`, or None.

    Flags are compared in lower case because Cyrus says `\sent`.

    >>> find_role("sent", [ListedFolder(frozenset(), "/", "INBOX/Отправленные")])
    'INBOX/Отправленные'
    >>> find_role("sent", [ListedFolder(frozenset(), "/", "Sent"), ListedFolder(frozenset({"\\sent"}), "/", "Out")])
    'Out'
    """
    usable = [folder for folder in folders if not folder.flags & _NOT_THERE]
    for folder in usable:
        if folder.flags & _FLAGS[role]:
            return folder.name
    by_name: dict[str, str] = {}
    for folder in usable:
        # A name deep in the tree (Projects/Sent) is somebody's own; only the top and INBOX's children count.
        path = folder.name.split(folder.delimiter) if folder.delimiter else [folder.name]
        if len(path) == 1 or (len(path) == 2 and path[0].upper() in _TOPS):
            by_name.setdefault(_normal(path[-1]).casefold(), folder.name)
    return next((by_name[name] for name in _NAMES[role] if name in by_name), None)


def personal_prefix(folders: Iterable[ListedFolder]) -> str:
    """Return "INBOX." where the server keeps all folders below INBOX, for servers that have no NAMESPACE.

    >>> personal_prefix([ListedFolder(frozenset(), ".", "INBOX"), ListedFolder(frozenset(), ".", "INBOX.Old")])
    'INBOX.'
    """
    others = [folder for folder in folders if folder.name.upper() != "INBOX"]
    below_inbox = others and all(f.delimiter and f.name.upper().startswith("INBOX" + f.delimiter) for f in others)
    return "INBOX" + others[0].delimiter if below_inbox else ""


def name_to_create(
    wanted: str,
    folders: Iterable[ListedFolder],
    *,
    prefix: str = "",
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> str:
    r"""Return the server's name for a new folder: delimiters translated, the personal prefix before it.

    >>> name_to_create("\\Sent", [ListedFolder(frozenset(), ".", "INBOX")], prefix="INBOX.")
    'INBOX.Sent'
    >>> name_to_create("Done/2026", [ListedFolder(frozenset(), ".", "INBOX")], prefix="INBOX.")
    'INBOX.Done.2026'
    """
    role = role_of(wanted)
    path = wanted if role is None else overrides.get(role) or DEFAULT_NAMES[role]
    delimiter = next((folder.delimiter for folder in folders if folder.delimiter), "/")
    name = path.replace("/", delimiter)
    if name.upper().startswith("INBOX" + delimiter):
        return "INBOX" + name[5:]
    return name if name.startswith(prefix) else prefix + name


def _spellings(path: str, folders: Sequence[ListedFolder], prefix: str) -> Iterator[str]:
    """Yield the names that a path can have on the server, the one as written first."""
    yield _normal(path)
    for delimiter in dict.fromkeys(folder.delimiter for folder in folders if folder.delimiter):
        name = _normal(path.replace("/", delimiter))
        if name.upper().startswith("INBOX" + delimiter):
            yield "INBOX" + name[5:]
        yield name
        yield prefix + name
        yield "INBOX" + delimiter + name


def _normal(name: str) -> str:
    """A name made on a Mac can be decomposed, and looks the same."""
    return unicodedata.normalize("NFC", name)
