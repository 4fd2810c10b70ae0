"""What makes a message a bounce or a delay notice: senders, subjects and sentences, by server and language.

A customer writes "my mail was rejected", too, and no word of his may make it a
bounce. So a notice needs a machine's name or an empty return path, and besides
it a subject or sentence of one: the weaker the first, the stronger the second.
"""

from __future__ import annotations

import re

from ingestd.mail.headers import decode_value
from ingestd.mail.mime import Part

_NOTICE_CHARS = 8000

# Nobody's name but a mail server's.
_DAEMON = re.compile(
    r"mailer[-_. ]?daemon|mail[-_ ]?daemon|maildelivery[-_. ]?(?:system|subsystem)"
    r"|mail[-_. ]deliver[yi]?[-_. ]?(?:sub)?system|delivery subsystem"
    r"|mail delivery service|microsoftexchange[0-9a-f]{10,}|^\s*(?:\"\"\s*)?<>\s*$|post_?master@vtext\.com"
    r"|mail relay daemon",
    re.IGNORECASE,
)
# A server's, or its administrator's, who writes other things as well.
_SERVER = re.compile(
    r"post[-_ ]?master|mail (?:delivery|administrator|system)|mdaemon|mailadmin|mail-?server|smtp-?gw|smtp gateway"
    r"|^\s*<?root@|microsoft outlook"
    r"|^\s*\"?exchange|system ?administrator|administrateur syst|administrador del? sistema"
    r"|amministratore (?:di )?sistema|systeembeheerder|administrator systemu"
    r"|системный администратор|системний адміністратор|sistem yöneticisi"
    r"|系统管理员|系統管理員|システム管理者|시스템 관리자|bounces?[+-]"
    r"|interscan|mailmarshal"
    r"|mailscanner|e-?mail administrator|antispam|no-?reply-bounce|delivery[-_]?(?:status|notification|report)",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"undeliver|non[- ]?deliver|not? (?:be )?deliver|delivery (?:status|failure|fail|problem|error|report"
    r"|notification|has failed|notice|incomplete|delayed|delay)"
    r"|returned (?:mail|e-?mail|message)|mail (?:delivery|system error|could not|failure|failed)|failure (?:noti"
    r"|delivery)|failed (?:delivery|mail|message|to deliver)"
    r"|deliver[iy]* (?:failed|has)|mail failure|message (?:delay|undeliver|not deliver|could|delivery|bounced)"
    r"|returned to sender|return(?:ing)? (?:message|mail) to sender"
    r"|returning to sender|user unknown|unable to deliver|there was an error sending your mail|error sending your"
    r"|problem delivering|bounce"
    r"|warning: (?:could not|message)|rejected|ndn:|\bndr\b|deferred|delayed mail|sorry, your mail"
    r"|considered unsolicited|loop alert"
    r"|unzustellbar|nicht zugestellt|zustellung|unzustellbarkeit|fehlgeschlagen|échec|non remis"
    r"|impossible de remettre|remise"
    r"|no (?:se )?(?:pudo|puede) entregar|no entregado|devuelto|error de entrega|entrega (?:retrasada|diferida)"
    r"|não (?:foi )?(?:entreg|possível)|falha na entrega"
    r"|mensagem não|devolvid|mancato recapito|non recapit|mancata consegna|recapito|consegna|onbestelbaar"
    r"|niet (?:bezorgd|afgeleverd)|bezorging"
    r"|nie ?dostarcz|nie można dostarczyć|zwrot|opóźni|не ?доставлен|недоставлен|не удалось доставить"
    r"|не удается доставить|ошибка доставки|сбой доставки"
    r"|задержка доставки|доставка отложена|не вдалося доставити|недоставлен|помилка доставки|teslim edile"
    r"|iletilemedi|gönderilemedi|teslimat"
    r"|退信|无法投递|投递失败|无法传递|未传递|無法傳遞|無法傳送|寄送失敗|传递延迟"
    r"|系统退信|配信不能|配信エラー|配信できません|配信の遅延|送信エラー"
    r"|エラー通知|不達|반송|배달|전송 실패"
    r"|olevererbar|kan ikke leveres|ikke leveret|kunde inte levereras|toimitus epäonnistui|nedoru[cč]iteln"
    r"|kézbesíthetetlen|nelivrat|mail system error",
    re.IGNORECASE,
)
# Those of them that nobody writes over anything else: with an empty return path they are enough.
_SUBJECT_SURE = re.compile(
    r"undeliver|non[- ]?deliver|delivery (?:status notification|failure|has failed)|returned (?:mail|message)"
    r"|mail (?:delivery|system error)|failure notice"
    r"|returned to sender|unable to deliver|unzustellbar|non remis|onbestelbaar"
    r"|недоставлен|не доставлен|退信|配信不能|반송",
    re.IGNORECASE,
)
# Sentences that only a mail server writes; with one of them even a server's administrator is believed.
_SURE = re.compile(
    r"this is the (?:qmail|mail system|postfix|mail delivery|dragonfly|mailer-daemon)|qmail-send program"
    r"|mail delivery software|created automatically by (?:the )?(?:mail|smtp)"
    r"|did(?: no|n')t reach the following|(?:did|could) not (?:reach|be reached)[^.\n]{0,40}recipient"
    r"|following (?:recipients?|address(?:es)?|destination)[^\n]{0,60}"
    r"(?:failed|fatal|could not|couldn't|problem|error|were not|was not|permanent|undeliverable|delay|rejected)"
    r"|could not be delivered to|couldn't be delivered to"
    r"|was(?: no|n')t delivered to|was not delivered to|unable to deliver (?:your |the |this )?(?:mail|message"
    r"|e-?mail)|failed to deliver|permanent (?:fatal )?errors?"
    r"|diagnostic information for administrators|diagnose(?:informationen)? für administratoren"
    r"|informations de diagnostic|información de diagnóstico"
    r"|informações de diagnóstico|informazioni (?:di )?diagnostic|diagnostische|informacje diagnostyczne"
    r"|диагностические сведения|діагностичні відомості"
    r"|tanılama bilgileri|诊断信息|診斷資訊|診断情報|진단 정보|delivery (?:to the following|has failed to)"
    r"|delivery status notification|non-?delivery (?:notification|report)"
    r"|transcript of session follows|returned message follows|delivery attempts will continue|will be retried for"
    r"|message is delayed|has not yet been delivered"
    r"|host or domain name not found|error while attempting to deliver|error (?:has )?occurred while (?:trying"
    r"|attempting) to deliver|could not deliver mail to|we had trouble delivering"
    r"|(?:mail|message) (?:that )?you sent[^\n]{0,60}(?:not|could)|could not be delivered[^.\n]{0,40}(?:following"
    r"|address|recipient|for)|failure reasons|following mail could not"
    r"|konnte(?:n)? nicht (?:zugestellt|ausgeliefert)|zustellung an folgende|n'a pas pu être (?:remis|délivré"
    r"|distribué)|n’a pas pu être|échec de la remise|no se (?:pudo|ha podido) entregar"
    r"|não (?:pôde|foi possível) (?:ser )?entreg|impossibile (?:recapitare|consegnare)|kon niet worden (?:bezorgd"
    r"|afgeleverd)|nie (?:mogła|można|udało się) (?:zostać )?dostarcz"
    r"|не может быть доставлено|не было доставлено|не удалось доставить|может быть отправлено одному"
    r"|не може бути доставлен|не вдалося доставити|teslim edilemedi|iletilemedi"
    r"|无法(?:投递|送达|传递)|無法(?:傳遞|傳送)|送信できませんでした"
    r"|配信できません|配送できません|送信に失敗しました|お届けできません"
    r"|전송되지|배달하지 못|전달되지 않",
    re.IGNORECASE,
)
_BODY = re.compile(
    r"could(?: no|n'|n’)t be (?:delivered|sent)|was(?: no|n'|n’)t delivered|undeliver(?:able|ed)"
    r"|delivery (?:has failed|failed|temporarily suspended|attempt|error|failure)"
    r"|did not reach|user unknown|unknown user|no such user|mailbox (?:is )?(?:full|unavailable|not found|disabled"
    r"|exceeds)|recipient(?:'s)? (?:address )?(?:rejected|unknown|not found)"
    r"|does not exist|doesn't exist|message delivery|returned to (?:the )?sender|over quota|quota exceeded"
    r"|invalid recipient|not listed in|wird nicht"
    r"|has been rejected|was rejected|was undeliverable|failed recipient|cannot be delivered|not delivered"
    r"|failed address|message log follows|no valid recipients|been returned"
    r"|invalid user address|unbekannt|nicht zugestellt|не (?:было )?доставлен|存在しません|duplicated message-id"
    r"|see transcript",
    re.IGNORECASE,
)
# Servers that use a person's envelope and none of the names above: a field, what it says, and a sentence.
_VENDORS = (
    ("m-FILTER", "x-mailer", re.compile(r"m-filter", re.IGNORECASE), re.compile(r"送信に失敗しました|server message")),
    (
        "fml",
        "subject",
        re.compile(r"loop alert|error message from|ng article", re.IGNORECASE),
        re.compile(r"duplicated message-id|loop", re.IGNORECASE),
    ),
    (
        "vtext",
        "from",
        re.compile(r"@vtext\.com|@vzwpix\.com", re.IGNORECASE),
        re.compile(r"^\s*error: |message details", re.IGNORECASE),
    ),
    (
        "KDDI",
        "from",
        re.compile(r"no-?reply@[^>]*\.(?:dion|auone-net|ezweb|au)\.?[a-z]*", re.IGNORECASE),
        re.compile(r"could not be delivered to", re.IGNORECASE),
    ),
    (
        "Amazon SNS",
        "from",
        re.compile(r"@sns\.amazonaws\.com|@amazonses\.com", re.IGNORECASE),
        re.compile(r'"notificationtype":\s*"bounce"', re.IGNORECASE),
    ),
)
_DELAY = re.compile(
    r"will (?:be retried|continue to|keep trying|retry)|delivery (?:is |has been )?delayed|has been delayed"
    r"|is delayed for|warning message only|still being retried"
    r"|not yet been delivered|delayed mail|no action is required|do not need to re-?send|notification \(delay\)"
    r"|^delay(?:ed)?:|delivery attempts will continue"
    r"|temporarily suspended|will try again|keep trying|warning: (?:could not send|message)|noch nicht zugestellt"
    r"|verzögert|retardé|différée|retrasad|diferida|atrasad"
    r"|in ritardo|ritardata|vertraagd|opóźni|задержк|отложен|затримк|gecik|延迟|延遲|遅延|지연",
    re.IGNORECASE | re.MULTILINE,
)
_NOT_NOTICE = re.compile(
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
    sender = decode_value(root.get("from")) or decode_value(root.get("sender"))
    if _DAEMON.search(sender) is not None or _SERVER.search(sender) is not None:
        return True
    return any(says.search(decode_value(root.get(field))) for _, field, says, _ in _VENDORS)


def evidence_of_notice(root: Part, notice: str) -> tuple[str, ...]:
    """Return why a message without a report is a bounce or delay notice; () where it is none.

    `notice`: its text without the returned message.
    """
    sender = decode_value(root.get("from")) or decode_value(root.get("sender"))
    null_path = null_return_path(root)
    daemon = _DAEMON.search(sender) is not None
    server = daemon or null_path or _SERVER.search(sender) is not None
    start = notice[:_NOTICE_CHARS]
    if not server:
        return _vendor(root, start)
    subject = decode_value(root.get("subject"))
    in_subject = _SUBJECT.search(subject) is not None and _NOT_NOTICE.match(subject) is None
    sure = _SURE.search(start) is not None
    weak = sure or _BODY.search(start) is not None
    # An answer to a message names it, and a person's out-of-office note has an empty path: only a daemon's name or a
    # sentence of a server outweighs that.
    if not daemon and not sure and (root.get("in-reply-to") or _NOT_NOTICE.match(subject)):
        return _vendor(root, start)
    enough = in_subject or weak if daemon else (in_subject and weak) or sure
    enough = enough or (null_path and in_subject and "@" in start and _SUBJECT_SURE.search(subject) is not None)
    if not enough or (not daemon and not null_path and not in_subject):
        return _vendor(root, start)
    seen = ["sender is a mail daemon"] if daemon else []
    seen += ["null return path"] if null_path else []
    seen += ["sender is a mail server"] if server and not seen else []
    seen += ["subject of a bounce"] if in_subject else []
    seen += ["text of a bounce"] if weak else []
    return tuple(seen)


def _vendor(root: Part, start: str) -> tuple[str, ...]:
    for name, field, says, sentence in _VENDORS:
        if says.search(decode_value(root.get(field))) and sentence.search(start):
            return (f"text of {name}",)
    return ()


def says_delayed(root: Part, notice: str) -> bool:
    """Tell whether a notice says that the server goes on trying."""
    subject = decode_value(root.get("subject"))
    return _DELAY.search(subject) is not None or _DELAY.search(notice[:4000]) is not None
