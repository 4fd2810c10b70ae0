"""The words that corpus mails are made of: a few languages, so that every charset carries text of its own.

Nothing here is drawn from real mail.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Language:
    """A language as its mails use it."""

    text: str
    """Its words, with spaces between."""
    names: Sequence[str]
    space: str
    """Between two words; none in Chinese and Japanese."""
    stop: str
    """At the end of a sentence."""
    wrote: str
    """The line above a quotation; `{name}` wrote it."""

    @functools.cached_property
    def words(self) -> Sequence[str]:
        return self.text.split()


LANGUAGES: Mapping[str, Language] = {
    "en": Language(
        (
            "the printer invoice order delivery account password since yesterday again does not work please help we "
            "cannot open file attached number received payment missing customer office update screen shows error after "
            "restart monday morning thank you for answer"
        ),
        ("Anna Bell", "Robert Stone", "Kim Lake", "Maria Hill"),
        " ",
        ".",
        "On Tuesday, {name} wrote:",
    ),
    "de": Language(
        (
            "die Rechnung für den Drucker fehlt noch bitte prüfen Sie die Lieferung über das Büro wir können uns nicht "
            "anmelden größere Störung seit Montag früh Grüße Kennwort ändern möglich zurück Gebühr höher geöffnet"
        ),
        ("Jörg Müller", "Käthe Groß", "Anna Weiß"),
        " ",
        ".",
        "Am Dienstag schrieb {name}:",
    ),
    "ru": Language(
        (
            "счёт за принтер не пришёл проверьте пожалуйста заказ доставка пароль вчера сегодня снова ошибка экран "
            "после перезагрузки мы не можем открыть файл оплата получена клиент офис спасибо за ответ номер договора"
        ),
        ("Анна Белова", "Иван Каменев", "Мария Озёрова"),
        " ",
        ".",
        "Во вторник {name} пишет:",
    ),
    "zh": Language(
        (
            "打印机 发票 没有 收到 请 检查 订单 交货 密码 昨天 今天 又 "
            "出现 错误 屏幕 重启 以后 我们 无法 打开 文件 付款 客户 谢谢"
        ),
        ("王小明", "李华", "陈静"),
        "",
        "。",
        "{name} 写道:",
    ),
    "ja": Language(
        (
            "プリンター 請求書 届いて いません ご確認 ください 注文 配送 パスワード "
            "昨日 今日 また エラー 画面 再起動 後 開けません 会社"
        ),
        ("山田太郎", "鈴木花子", "田中一郎"),
        "",
        "。",
        "{name} さんは書きました:",
    ),
}


def pick(rng: Random, items: Sequence[T]) -> T:
    """Return one of `items`. Only `Random.random` is promised to give the same on every version of Python."""
    return items[int(rng.random() * len(items))]


def between(rng: Random, low: int, high: int) -> int:
    """Return a number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def sentence(rng: Random, language: Language) -> str:
    """Return some words and a stop.

    >>> sentence(Random(1), LANGUAGES["en"]).endswith(".")
    True
    """
    words = [pick(rng, language.words) for _ in range(between(rng, 5, 11))]
    return language.space.join(words) + language.stop
