"""What makes a message a bounce or a delay notice: senders, subjects and sentences, by server and language.

A customer writes "my mail was rejected", too, and no word of his may make it a
bounce. So a notice needs a machine's name or an empty return path, and besides
it a subject or sentence of one: the weaker the first, the stronger the second.
"""

from __future__ import annotations

import re

from ingestd.mail.bounce_status import has_code
from ingestd.mail.mime import Part
from ingestd.mail.phrases import Phrases, prepare

_NOTICE_CHARS = 8000
_FIELD_CHARS = 500

# Nobody's name but a mail server's.
_DAEMON = Phrases("""
    mailer-daemon | mailer daemon | mailer.daemon | mailerdaemon | mail-daemon | mail daemon | maildaemon |
    mail delivery system | mail delivery subsystem | mail deliver system | mail.delivery.system |
    mail delivery service | maildelivery | mail-delivery-subsystem | delivery subsystem | mail relay daemon |
    microsoftexchange329e | post master@vtext.com
""")
# A server's, or its administrator's, who writes other things as well.
_SERVER = Phrases("""
    postmaster | post-master | post master | mail delivery | mail administrator | mail system | mailsystem |
    _mdaemon | mailadmin | mailserver | mail-server | mail server | smtpgw | smtp gateway | _root@ |
    microsoft outlook | _exchange server | microsoft exchange | system administrator | systemadministrator |
    administrateur syst | administrador del sistema | administrador de sistema | administrador do sistema |
    amministratore di sistema | amministratore sistema | systeembeheerder | administrator systemu |
    системный администратор | системний адміністратор | sistem yöneticisi | 系统管理员 | 系統管理員 | システム管理者 |
    시스템 관리자 | _bounce+ | _bounces+ | _bounce- | _bounces- | _bounce@ | _bounces@ | interscan | mailmarshal |
    mailscanner | e-mail administrator | email administrator | antispam | no-reply-bounce | delivery-status |
    delivery-notification | delivery-report
""")
_SUBJECT = Phrases("""
    undeliver | non-deliver | nondeliver | non deliver | not delivered | not be delivered | not deliver |
    cannot deliver | could not deliver | delivery status | delivery failure | delivery failed | delivery fail |
    delivery problem | delivery error | delivery report | delivery notification | delivery has failed |
    delivery notice | delivery incomplete | delivery delay | delivery unsuccessful | returned mail | returned e-mail |
    returned email | returned message | mail delivery | mail system error | mail could not | mail failure |
    mail failed | failure notice | failure notification | failure delivery | failed delivery | failed mail |
    failed message | failed to deliver | delivery has | delivary | message delay | message undeliver |
    message not deliver | message could | message delivery | message bounced | returned to sender |
    returning message to sender | returning mail to sender | returning to sender | returned to author | user unknown |
    unable to deliver | error sending your mail | problem delivering | _bounce | warning: could not |
    warning: message | rejected | ndn: | _ndr_ | deferred | delayed mail | sorry, your mail | considered unsolicited |
    loop alert | mail deferred | unknown recipient | address unknown | unzustellbar | nicht zugestellt | zustellung |
    fehlgeschlagen | konnte nicht | échec | non remis | impossible de remettre | impossible à remettre | remise |
    non distribu | no se pudo entregar | no se puede entregar | no se ha podido entregar | no entregado | devuelto |
    error de entrega | entrega retrasada | entrega diferida | entrega fallida | não foi entregue | não entregue |
    não foi possível | não é possível | falha na entrega | mensagem não | devolvid | mancato recapito | non recapit |
    mancata consegna | recapito | consegna | impossibile recapitare | onbestelbaar | niet bezorgd | niet afgeleverd |
    niet-bezorg | bezorging | nie dostarcz | niedostarcz | nie można dostarczyć | zwrot | opóźni | не доставлен |
    недоставлен | не удалось доставить | не удается доставить | ошибка доставки | сбой доставки | задержка доставки |
    доставка отложена | не вдалося доставити | помилка доставки | teslim edile | iletilemedi | gönderilemedi |
    teslimat | 退信 | 无法投递 | 投递失败 | 无法传递 | 未传递 | 無法傳遞 | 無法傳送 | 寄送失敗 | 传递延迟 | 配信不能 |
    配信エラー | 配信できません | 配信の遅延 | 送信エラー | エラー通知 | 不達 | 届きません | 반송 | 배달 | 발송 실패 |
    전송 실패 | olevererbar | kan ikke leveres | ikke leveret | kunde inte levereras | toimitus epäonnistui |
    nedoručiteln | nedorucitel | kézbesíthetetlen | nelivrat
""")
# Those of them that nobody writes over anything else: with an empty return path they are enough.
_SUBJECT_SURE = Phrases("""
    undeliver | non-deliver | nondeliver | delivery status notification | delivery failure | delivery has failed |
    delivery failed | returned mail | returned message | mail delivery | mail system error | failure notice |
    returned to sender | returning message to sender | unable to deliver | unzustellbar | non remis | onbestelbaar |
    недоставлен | не доставлен | 退信 | 配信不能 | 반송 | undelivered | non recapitabile | nie można dostarczyć |
    niedostarczaln | não entregue | no se puede entregar | teslim edilemedi | не удается доставить |
    не удалось доставить | не вдалося доставити | 无法传递 | 未传递 | 無法傳遞 | olevererbar | kan ikke leveres |
    niet bezorgd | 발송 실패 | 배달되지
""")
# Sentences that only a mail server writes; with one of them even a server's administrator is believed.
_SURE = Phrases("""
    this is the qmail | this is the mail system | this is the postfix | this is the mail delivery |
    this is the dragonfly | this is the mailer-daemon | this is the james mail server | qmail-send program |
    mail delivery software | created automatically by mail | created automatically by the mail |
    created automatically by the smtp | did not reach the following | not reach … recipient | could not be reached |
    following recipient … failed | following recipients … failed | following address … failed |
    following addresses … failed | following recipient … could not | following recipients … could not |
    following address … could not | following addresses … could not | following address had |
    following addresses had | following recipient has been delayed | following recipients were |
    following recipient s | following recipients was | following recipients … permanent |
    following recipients … problem | following recipients … rejected | following recipients … error |
    could not be delivered to | not be delivered to | was not delivered to | were not delivered to |
    unable to deliver your | unable to deliver the | unable to deliver this | unable to deliver mail |
    unable to deliver message | unable to deliver e-mail | not able to deliver your | not deliver your message |
    failed to deliver | permanent error | permanent fatal error | diagnostic information for administrators |
    diagnoseinformationen für administratoren | informations de diagnostic | información de diagnóstico |
    informações de diagnóstico | informazioni diagnostiche | informazioni di diagnostica | diagnostische |
    informacje diagnostyczne | диагностические сведения | діагностичні відомості | tanılama bilgileri | 诊断信息 |
    診斷資訊 | 診断情報 | 진단 정보 | delivery to the following | delivery has failed to |
    delivery status notification | non-delivery notification | non-delivery report | transcript of session follows |
    returned message follows | delivery attempts will continue | will be retried for | message is delayed |
    has not yet been delivered | host or domain name not found | error while attempting to deliver |
    error has occurred while attempting to deliver | error occurred while trying to deliver |
    error delivering your mail | could not deliver mail to | trouble delivering | mail that you sent … not |
    message that you sent … not | mail you sent … not | message you sent … not | mail sent by … not |
    message sent by … not | could not be delivered. | could not be delivered because | failure reasons |
    following mail could not | had delivery problem | had delivery errors | undeliverable to |
    could not be delivered for | konnte nicht zugestellt | konnten nicht zugestellt | konnte nicht ausgeliefert |
    konnte nicht übermittelt | zustellung an folgende | fehler bei der zustellung |
    fehler bei der nachrichtenzustellung | n'a pas pu être remis | n'a pas pu être délivré |
    n'a pas pu être distribué | n'ont pas pu être | échec de la remise | no se pudo entregar |
    no se ha podido entregar | no pudo ser entregado | não pôde ser entregue | não foi possível entregar |
    impossibile recapitare | impossibile consegnare | mancato recapito ai | kon niet worden bezorgd |
    kon niet worden afgeleverd | kan niet worden bezorgd | nie mogła zostać dostarcz | nie można dostarczyć |
    nie udało się dostarczyć | не может быть доставлено | не было доставлено | не удалось доставить |
    не доставлено следующ | может быть отправлено одному | сбой доставки следующим | не може бути доставлен |
    не вдалося доставити | teslim edilemedi | iletilemedi | 无法投递 | 无法送达 | 无法传递 | 投递失败 | 無法傳遞 |
    無法傳送 | 送信できませんでした | 配信できません | 配送できません | 送信に失敗しました | お届けできません |
    전송되지 | 배달하지 못 | 전달되지 않
""")
_BODY = Phrases("""
    could not be delivered | could not be sent | not be delivered | was not delivered | undeliverable | undelivered |
    delivery has failed | delivery failed | delivery temporarily suspended | delivery attempt | delivery error |
    delivery failure | did not reach | user unknown | unknown user | no such user | mailbox full | mailbox is full |
    mailbox unavailable | mailbox not found | mailbox disabled | mailbox exceeds | account is disabled |
    recipient rejected | recipient address rejected | recipient unknown | recipient not found | does not exist |
    message delivery | returned to sender | returned to the sender | over quota | quota exceeded | invalid recipient |
    not listed in | wird nicht | has been rejected | was rejected | failed recipient | cannot be delivered |
    not delivered | failed address | message log follows | no valid recipients | been returned |
    invalid user address | unbekannt | nicht zugestellt | не доставлен | не было доставлен | недоставлен |
    存在しません | duplicated message-id | see transcript | recipients were affected
""")
# Servers that use a person's envelope and none of the names above: a field, what it says, and a sentence.
_VENDORS = (
    ("m-FILTER", "x-mailer", Phrases("m-filter"), Phrases("送信に失敗しました | server message")),
    (
        "fml",
        "x-mlserver",
        Phrases("fml"),
        Phrases("duplicated message-id | loop | not a member | not member | reject | security alert"),
    ),
    (
        "vtext",
        "from",
        Phrases("@vtext.com | vzwpix.com"),
        Phrases("_error: | message details | could not be delivered to mobile"),
    ),
    ("KDDI", "from", Phrases("dion.ne.jp | auone-net.jp | ezweb.ne.jp"), Phrases("could not be delivered to")),
)
# Their mail is JSON, which `dsn` reads.
_NOTIFIERS = Phrases("@sns.amazonaws.com | @amazonses.com")
_DELAY = Phrases("""
    will be retried | will continue to | will keep trying | will retry | delivery is delayed |
    delivery has been delayed | has been delayed | is delayed for | warning message only | still being retried |
    not yet been delivered | delayed mail | no action is required | not need to re-send | not need to resend |
    notification delay | _delay: | _delayed: | delivery attempts will continue | temporarily suspended |
    will try again | keep trying | warning: could not send | warning: message | noch nicht zugestellt | verzögert |
    retardé | différée | retrasad | diferida | atrasad | in ritardo | ritardata | vertraagd | opóźni | задержк |
    отложен | затримк | gecik | 延迟 | 延遲 | 遅延 | 지연
""")
# "Delivery temporarily suspended" is what Postfix says in the end, too.
_FINAL = Phrases("""
    undelivered mail returned | returned mail | returned to sender | delivery failed | delivery failure |
    failure notice | undeliverable | returning message | unzustellbar | non remis | недоставлен
""")
_ANSWERS = re.compile(
    r"^\s*(?:re|aw|sv|antw|fwd?|wg|tr|rv|odp|ynt|回复|答复|转发|automatic reply|automatische antwort"
    r"|out of office)\s*[:：]",
    re.IGNORECASE,
)


def null_return_path(root: Part) -> bool:
    """The envelope had no sender (RFC 5321 §4.5.5): nobody must ever answer it."""
    values = root.get_all("return-path")
    return bool(values) and values[0].replace(b" ", b"").lower() in (b"<>", b"<mailer-daemon>")


def may_be_notice(root: Part) -> bool:
    """Tell from the header alone whether a message is worth reading as a notice; ordinary mail is not."""
    if null_return_path(root):
        return True
    sender = _sender(root)
    if _is_daemon(root, sender) or _SERVER.search(sender) or _NOTIFIERS.search(sender):
        return True
    for _, field, says, _ in _VENDORS:
        if (text := sender if field == "from" and root.text("from") else _field(root, field)) and says.search(text):
            return True
    return False


def evidence_of_notice(root: Part, notice: str) -> tuple[str, ...]:
    """Return why a message without a report is a bounce or delay notice; () where it is none.

    `notice`: its text without the returned message.
    """
    sender = _sender(root)
    null_path = null_return_path(root)
    daemon = _is_daemon(root, sender)
    named = daemon or _SERVER.search(sender)
    start = prepare(notice, _NOTICE_CHARS)
    subject = _field(root, "subject")
    answers = _ANSWERS.match(subject) is not None
    in_subject = not answers and _SUBJECT.search(subject)
    sure = _SURE.search(start)
    weak = sure or _BODY.search(start)
    if daemon:
        enough = in_subject or weak or has_code(notice)  # in a language that is not listed here, numbers speak
    elif not (named or null_path) or (not sure and (answers or root.get("in-reply-to"))):
        enough = False  # a person; an answer, or an out-of-office note, which has an empty path, too
    elif named:
        whom = "@" in start or has_code(notice)
        enough = (in_subject and weak and whom) or (sure and (null_path or in_subject))
    else:
        enough = in_subject and (sure or has_code(notice))
    if not enough and null_path and in_subject and not root.get("in-reply-to"):
        enough = "@" in start and _SUBJECT_SURE.search(subject)
    if not enough:
        return _vendor(root, start)
    seen = ["sender is a mail daemon"] if daemon else []
    seen += ["null return path"] if null_path else []
    seen += ["sender is a mail server"] if not seen else []
    seen += ["subject of a bounce"] if in_subject else []
    seen += ["text of a bounce"] if weak else []
    return tuple(seen)


def _sender(root: Part) -> str:
    return prepare(root.text("from") or root.text("sender"), _FIELD_CHARS)


def _field(root: Part, name: str) -> str:
    return prepare(text, _FIELD_CHARS) if (text := root.text(name)) else ""


def _is_daemon(root: Part, sender: str) -> bool:
    """The name of one, or `From: <>` (m-FILTER)."""
    return _DAEMON.search(sender) or (not sender.strip() and bool(root.get("from")))


def _vendor(root: Part, start: str) -> tuple[str, ...]:
    for name, field, says, sentence in _VENDORS:
        if says.search(_field(root, field)) and sentence.search(start):
            return (f"text of {name}",)
    return ()


def says_delayed(root: Part, notice: str) -> bool:
    """Tell whether a notice says that the server goes on trying; its subject counts more than its words."""
    subject = _field(root, "subject")
    if _DELAY.search(subject):
        return True
    return not _FINAL.search(subject) and _DELAY.search(prepare(notice, _NOTICE_CHARS // 2))
