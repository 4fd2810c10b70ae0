"""Bytes and their labels: honest ones, lies, and none. The texts are in `texts`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.mail.charset import decode
from ingestd.mail.labels import python_codec
from tests.mail.texts import CHARSETS, TEXTS

RARE = ("mac-roman", "cp850")
"""Western text in these is told from windows-1252 by a label, or by a dozen letters."""
CYRILLIC = ("windows-1251", "koi8-r", "cp866", "iso-8859-5", "x-mac-cyrillic")
SIZES = (20, 80, 400)


def pieces(size_bytes: int) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield language, charset, text and bytes: stretches of about that size that begin and end with a word."""
    for language, charsets in CHARSETS.items():
        text = TEXTS[language]
        for charset in charsets:
            codec = python_codec(charset)
            assert codec is not None
            chars = max(3, size_bytes * len(text) // len(text.encode(codec)))
            for start in range(0, max(1, len(text) - chars), max(1, (len(text) - chars) // 6)):
                begin = text.index(" ", start) + 1 if start and " " in text[start : start + 12] else start
                piece = text[begin : begin + chars]
                piece = piece.rpartition(" ")[0] if len(piece) > 12 and " " in piece else piece
                raw = piece.encode(codec)
                if not raw.isascii() or "2022" in charset:
                    yield language, charset, piece, raw


def rate(size_bytes: int, labels: Callable[[str, str], tuple[str, ...]]) -> tuple[float, list[tuple[str, ...]]]:
    """Return the share of texts that are read as they were written, and those that are not."""
    wrong: list[tuple[str, ...]] = []
    count = 0
    for language, charset, piece, raw in pieces(size_bytes):
        for label in labels(language, charset):
            count += 1
            text, used, _ = decode(raw, label)
            if text != piece:
                wrong.append((language, charset, label, used, piece, text))
    assert count > 3
    return 1 - len(wrong) / count, wrong


def honest(language: str, charset: str) -> tuple[str, ...]:
    return (charset,)


def none(language: str, charset: str) -> tuple[str, ...]:
    return () if charset in RARE else ("",)


def called_latin_1(language: str, charset: str) -> tuple[str, ...]:
    return () if charset in (*RARE, "mac-cyrillic") or "2022" in charset else ("iso-8859-1", "windows-1252")


def called_utf_8(language: str, charset: str) -> tuple[str, ...]:
    return () if charset in RARE or "2022" in charset else ("utf-8",)


def another_cyrillic(language: str, charset: str) -> tuple[str, ...]:
    """The label of another Cyrillic charset; koi8-r and koi8-u differ in no letter of Russian."""
    if charset not in (*CYRILLIC, "koi8-u"):
        return ()  # text of Apple's under another label is read as Windows', which differs in few letters
    return tuple(one for one in CYRILLIC if one[:4] != charset[:4])


def another_of_its_script(language: str, charset: str) -> tuple[str, ...]:
    japanese, chinese = ("shift_jis", "euc-jp"), {"gb18030": "big5", "big5": "gb2312"}
    if charset in japanese:
        return tuple(one for one in japanese if one != charset)
    return (chinese[charset],) if charset in chinese else ()


def chinese_for_all(language: str, charset: str) -> tuple[str, ...]:
    return ("gb2312",) if charset in CYRILLIC else ()


@pytest.mark.parametrize(
    ("labels", "floors"),
    [
        (honest, (1.0, 1.0, 1.0)),
        (none, (0.98, 1.0, 1.0)),
        (called_latin_1, (0.92, 0.99, 1.0)),
        (called_utf_8, (0.98, 1.0, 1.0)),
        (another_cyrillic, (0.98, 0.99, 1.0)),
        (another_of_its_script, (0.97, 1.0, 1.0)),
        (chinese_for_all, (0.6, 0.9, 1.0)),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_texts_are_read_as_they_were_written(
    labels: Callable[[str, str], tuple[str, ...]], floors: tuple[float, ...]
) -> None:
    for size_bytes, floor in zip(SIZES, floors, strict=True):
        reached, wrong = rate(size_bytes, labels)
        assert reached >= floor, (size_bytes, wrong)


WORDS = {
    "iso-8859-1": (
        "20 °C ± 0,5 µm, Ø 12 × 3 mm|½ Pfund, ¾ Liter, £ 20, ¥ 500, § 12|EL NIÑO ESTÁ AQUÍ|GRÜSSE AUS KÖLN|SØREN ÆRØ|Õ|"
        "ÀÉÈ|naïve café|Beyoncé|Ångström|¿Señor Muñoz?|ÇA VA?|João|Þór Björnsson|«Bonjour»|¡Hola!|Öl|Ö3|ø|à|Mª José|"
        "Nº 5|Määrä"
    ),
    "windows-1252": "L’été est là…|“Hello” – she said ‘yes’|Qualité: €100|ACME™ ®|100 €|Œuvre|Ÿ|• einmal • zweimal",
    "windows-1251": (
        "Привет|Ё|СРОЧНО!!!|ВНИМАНИЕ: ОПЛАТА|Юля|Счёт № 5|ООО «Ромашка»|Ірина|Їжак|ТЗ|да|НДС|Эй|спс|В ч.|"
        "Живјела|Ќе|Џон|Ґудзик"
    ),
    "koi8-r": "Привет|СРОЧНО!!!|Юля|ООО|да|Эй|НДС|ВНИМАНИЕ",
    "windows-1250": "Łódź|Źle|Čau|GYŐR|ŁUKASZ|Ő|ß|Ďakujem|Ţara|Šibenik|č. 5|ść|WAŻNE|Příliš žluťoučký kůň",
    "iso-8859-2": "Łódź|Źle|Čau|GYŐR|łąka|ść|PROŚBA|Zażółć gęślą jaźń|Příliš žluťoučký kůň",
    "iso-8859-15": "100 €|Œuvre|Žižek|café",
    "windows-1253": "Καλημέρα|Άννα|ΠΡΟΣΟΧΗ|ναι",
    "windows-1254": "İstanbul|Şahin|ığdır|TEŞEKKÜRLER|çok|hâlâ",
    "windows-1255": "שלום|לא|דוד",
    "windows-1256": "مرحبا|لا|أحمد",
    "windows-1257": "Žygis|ačiū|Rīga|õhtu|ķēķis",
    "windows-874": "สวัสดี|ครับ",
    "gb2312": "你好|谢谢|是|发票|回复: 订单|重要通知",
    "big5": "你好|謝謝|王小明|發票",
    "shift_jis": "こんにちは|山田|はい|ﾃｽﾄ|①|㈱山田|髙橋",
    "euc-jp": "こんにちは|山田|はい",
    "euc-kr": "안녕|네|김민수",
    "koi8-u": "Ірина|Їжак",
    "ks_c_5601-1987": "똠방각하",
}


@pytest.mark.parametrize("charset", WORDS)
def test_an_honest_label_is_believed_for_a_word_or_a_letter(charset: str) -> None:
    codec = python_codec(charset)
    assert codec is not None
    for text in WORDS[charset].split("|"):
        assert decode(text.encode(codec), charset) == (text, decode(b"", charset)[1], None)


@pytest.mark.parametrize("charset", ["windows-1251", "koi8-r"])
@pytest.mark.parametrize("word", ["Привет", "Заказ", "Оплата счета", "Вопрос", "Срочно!", "Добрый день"])
def test_a_russian_subject_of_one_word_has_no_label(word: str, charset: str) -> None:
    assert decode(word.encode(charset))[:2] == (word, charset)


@pytest.mark.parametrize("hint", ["windows-1251", "koi8-r"])
def test_where_letters_do_not_tell_the_rest_of_the_mail_does(hint: str) -> None:
    assert decode("НДС".encode(hint), "", [hint])[:2] == ("НДС", hint)


SUPERSETS = [
    ("gb2312", "gb18030", "镕基"),
    ("iso-8859-1", "cp1252", "€ 12"),
    ("iso-8859-9", "cp1254", "€ 12"),
    ("tis-620", "cp874", "€ ครับ"),
    ("ks_c_5601-1987", "cp949", "똠방각하"),
    ("shift_jis", "cp932", "①㈱髙﨑ﾃｽﾄ"),
    ("big5", "big5hkscs", "啫係咁"),
    ("iso-8859-8-i", "cp1255", "שָׁלוֹם"),
]


@pytest.mark.parametrize(("label", "codec", "text"), SUPERSETS)
def test_a_label_is_read_as_what_is_meant_by_it(label: str, codec: str, text: str) -> None:
    assert decode(text.encode(codec), label)[0] == text


def test_nec_and_ibm_characters_stand_under_the_labels_of_standards_without_them() -> None:
    assert decode(b"\x1b$B-!-j|b66\x1b(B\x1b(I3E\x1b(B ok", "iso-2022-jp")[0] == "①㈱髙橋ｳﾅ ok"
    assert decode(b"\xad\xa1\xad\xea\xfc\xe2\xb6\xb6\x8e\xb3", "euc-jp")[0] == "①㈱髙橋ｳ"
    assert decode("山田です".encode("iso2022_jp"))[:2] == ("山田です", "iso-2022-jp")
    assert decode("山田です、ﾃｽﾄ".encode("cp932"), "iso-2022-jp")[0] == "山田です、ﾃｽﾄ"


GERMAN, RUSSIAN = "Grüße aus Köln, schöne Tage", "Спасибо, получил"


@pytest.mark.parametrize(
    ("what_is_wrong", "data", "label", "text"),
    [
        ("hz under its own label", b"~{Dc:C~} ok", "hz-gb-2312", "你好 ok"),
        ("hz under the label of what it carries", b"~{Dc:C~} ok", "gb2312", "你好 ok"),
        ("iso-2022-kr", b"\x1b$)C\x0e0(;g\x0f!", "iso-2022-kr", "감사!"),
        ("iso-2022-kr whose designator was lost", b"\x0e0(;g\x0f!", "iso-2022-kr", "감사!"),
        ("utf-7", b"Gr+APwA3w-e", "utf-7", "Grüße"),
        ("utf-16 with a mark", "\ufeffПривет".encode("utf-16-be"), "utf-16", "Привет"),
        ("utf-16 with a mark and no label", "\ufeffПривет".encode("utf-16-le"), "", "Привет"),
        ("utf-16 with a mark and the wrong label", "\ufeffHello".encode("utf-16-le"), "iso-8859-1", "Hello"),
        ("utf-16 without a mark", "Hello, Grüße".encode("utf-16-le"), "utf-16", "Hello, Grüße"),
        ("utf-16 without mark and label", "Hello, Grüße".encode("utf-16-be"), "", "Hello, Grüße"),
        ("what is called utf-16 and is ASCII", b"Hello", "utf-16", "Hello"),
        ("what is called utf-16 and is UTF-8", "Grüße".encode(), "unicode", "Grüße"),
        ("a mark of UTF-8 under another label", "\ufeffGrüße".encode(), "iso-8859-1", "Grüße"),
        ("one letter of UTF-8 called latin-1", "café".encode(), "iso-8859-1", "café"),
        ("UTF-8 called windows-1251", "Привет".encode(), "windows-1251", "Привет"),
        ("UTF-8 called gb2312", "谢谢您的回复".encode(), "gb2312", "谢谢您的回复"),
        ("UTF-8 encoded twice", "Größe für Öl".encode().decode("cp1252").encode(), "utf-8", "Größe für Öl"),
        ("UTF-8 read as windows-1251", "Добрый вечер".encode().decode("cp1251").encode(), "utf-8", "Добрый вечер"),
        ("an example of wrong characters", "Statt ä, ö, ü: Ã¤, Ã¶, Ã¼".encode(), "utf-8", "Statt ä, ö, ü: Ã¤, Ã¶, Ã¼"),
        ("emoji as surrogates", b"ok \xed\xa0\xbd\xed\xb8\x80 gr\xc3\xbc\xc3\x9fe", "utf-8", "ok 😀 grüße"),
        ("UTF-8 that was cut", "Grüße aus Kö".encode()[:-1], "utf-8", "Grüße aus K\ufffd"),
        ("a footer of another charset", GERMAN.encode() + "\nfür Sie".encode("cp1252"), "utf-8", GERMAN + "\nfür Sie"),
        ("a quotation of another charset", RUSSIAN.encode() + "\n> Да".encode("cp1251"), "utf-8", RUSSIAN + "\n> Да"),
        ("a label in quotes with a comment's rest", "Привет".encode("koi8-r"), '"KOI8-R"', "Привет"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_read_all_the_same(what_is_wrong: str, data: bytes, label: str, text: str) -> None:
    assert decode(data, label)[0] == text


LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8 utf8mb4 UTF_8 cp65001",
    "cp866": "866 cp866 csibm866 ibm866",
    "cp1252": "cp1252 cp819 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 l1 latin1 "
    "csisolatin1 windows1252 win-1252 windows-1252http-equivcontent-type latin-1 iso-8859-1-windows-3.1-latin-1",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso_8859-5:1988",
    "iso8859-6": "arabic asmo-708 csiso88596e csisolatinarabic ecma-114 iso-8859-6-e iso-8859-6-i iso-ir-127",
    "iso8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 sun_eu_greek",
    "cp1255": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-i iso-ir-138 visual logical windows-1255",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 l6 latin6",
    "iso8859-13": "iso-8859-13 iso885913",
    "iso8859-15": "csisolatin9 iso-8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r cp20866",
    "koi8-u": "koi8-ru koi8-u",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp874": "dos-874 iso-8859-11 iso885911 tis-620 windows-874",
    "cp1251": "cp1251 windows-1251 x-cp1251 win1251 cp-1251",
    "cp1254": "csisolatin5 iso-8859-9 iso-ir-148 l5 latin5 windows-1254",
    "cp1258": "cp1258 windows-1258",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030 cp936",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5 cp950",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp": "csiso2022jp iso-2022-jp iso-2022-jp-ms cp50221",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 windows-949",
    "utf-16-be": "unicodefffe utf-16be",
    "utf-16-le": "unicodefeff utf-16le",
    "utf-16": "csunicode iso-10646-ucs-2 ucs-2 unicode utf-16",
    "hz": "hz-gb-2312",
}


@pytest.mark.parametrize("codec", LABELS)
def test_labels_of_browsers_and_mailers(codec: str) -> None:
    assert {label: python_codec(label) for label in LABELS[codec].split()} == dict.fromkeys(
        LABELS[codec].split(), codec
    )


@pytest.mark.parametrize(
    "label",
    ["us-ascii", "ANSI_X3.4-1968", "unknown-8bit", "x-user-defined", "rot13", "idna", "zlib", "iso-8859-17", "\0", "ü"],
)
def test_labels_that_claim_nothing(label: str) -> None:
    assert python_codec(label) is None


@given(st.binary(max_size=200), st.sampled_from(["", "x", *LABELS, "iso-2022-kr", "utf-32", "utf-7", "cp037", "johab"]))
def test_decode_is_total(data: bytes, label: str) -> None:
    text, charset, _ = decode(data, label, [label])
    text.encode()  # no lone surrogates: what is stored must be text
    assert charset


@pytest.mark.parametrize(
    "unit", [b"\xc3", b"\xe9 ", b"\xcf\xf0\xe8 ", b"\x81\n", b"\x1b$B", b"\xd0\xbf\xff\n", b"\xa4\xe9", b"\x0e"]
)
@pytest.mark.parametrize("label", ["", "utf-8", "koi8-r", "gb2312", "iso-2022-jp", "euc-jp"])
def test_two_megabytes_take_no_longer_than_their_length(unit: bytes, label: str) -> None:
    data = unit * (2 * 1024 * 1024 // len(unit))
    begun = time.process_time()
    decode(data, label)
    assert time.process_time() - begun < 5
