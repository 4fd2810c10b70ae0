"""Phrases by which mail servers say why they refused, and the status of RFC 3463 that each kind means.

Data, in many servers' and customers' languages. Of the rows that match, the
first counts: a full mailbox is often called "unavailable", too, and a blocked
sender "rejected", so what is more exact stands above.
"""

from __future__ import annotations

import re

_WHO = r"(?:user|recipient|addressee|mail ?box|inbox|account|address|alias)"
# Within a sentence: the dots of an address end none.
_SOME = r"(?:[^.\n]|\.(?=\S)){0,60}?"

# Subject and detail of the status; the phrases, which are joined to one pattern. <who> and <some> stand for the above.
_ROWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "2.2",  # mailbox full
        (
            r"(?:mail ?(?:box|folder|drop|dir)|inbox|account|storage)<some>(?:\bfull\b|exceed|over\b)|full mailbox",
            r"quota<some>(?:exceed|violat|reached|full)|space has been used up|reached disk quota",
            r"exceed<some>(?:quota|storage|mailbox|maildir|disk)",
            r"(?:over|out of|disk|above) ?(?:the |their |its )?quota|not enough (?:storage|space)",
            r"does not have enough space|insufficient (?:disk )?(?:storage|quota)(?! system)",
            r"(?:mailbox|maildir|inbox) (?:over ?quota|has exceeded|size limit)",
            r"over the (?:allowed|maximum) (?:quota|size)|user is over<some>quota|no space left",
            r"out of (?:disk )?space|too much mail data|too many messages on the|number of messages<some>exceeded",
            r"mail file size exceeds|bo[iî]te<some>pleine|postfach<some>voll|buzón<some>llen|casella<some>piena",
            r"caixa<some>cheia|skrzynka<some>pełna|postvak<some>vol\b|ящик<some>(?:переполнен|заполнен)",
            r"скринька<some>(?:переповнен|заповнен)|kutusu<some>dolu|邮箱<some>满|信箱已滿",
            r"メールボックス<some>(?:一杯|超え|空きが)|사서함<some>(?:가득|초과)",
        ),
    ),
    (
        "3.4",  # message too big
        (
            r"(?:message|mail|e-?mail)<some>too (?:big|large|long)|too (?:big|large) (?:a )?(?:message|mail|for)",
            r"message<some>exceeds?\b<some>(?:size|limit|maximum)|size limit exceeded|message length exceeds",
            r"max(?:imum)? (?:message )?size exceeded|(?:mail|message) size (?:limit|exceed)|too large message",
            r"exceed<some>(?:message size|size limit|maximum size|fixed size|size allowed)",
            r"is larger than the<some>limit|nachricht<some>zu groß|message trop volumineux|слишком больш",
            r"サイズ<some>超|メッセージサイズ",
        ),
    ),
    (
        "7.2",  # a list or group that this sender may not write to
        (
            r"google groups|groups\.google\.com|not (?:a )?(?:member|subscribed)|are not member",
            r"only (?:members|subscribers)|post(?:ing)? (?:to|permission)<some>(?:denied|allowed)",
            r"sender not pre-approved|resolver\.rst\.notauthorized|only accept(?:s|ing) mail from specific",
            r"not allowed to (?:post|send) to this (?:list|group)",
        ),
    ),
    # Exchange Online says this of addresses that its directory lacks.
    ("1.1", (r"recipient address(?:es)? rejected ?: access denied",)),
    (
        "1.2",
        (r"account or domain may not exist",),
    ),
    (
        "1.6",  # the recipient has moved
        (
            r"has moved|address<some>has been (?:replaced|changed)|no forwarding address|no longer at this address",
            r"has left the (?:company|organi[sz]ation)|no longer (?:works|with|employed)",
            r"this address no longer accepts mail",
        ),
    ),
    (
        "7.1",  # refused by policy: sender, content or network
        (
            r"\bspam|black ?-?list|block ?-?list|dnsbl|\brbl\b|barracudacentral|reputation|unsolicited|\bbulk mail",
            r"virus|malware|phish|dmarc|\bspf\b|dkim|\bbatv\b|backscatter|unauthenticated|not authenticated",
            r"authentication (?:required|failed|is required)|auth(?:entication)? checks?",
            r"relay(?:ing)? (?:access )?(?:is )?(?:not )?(?:denied|prohibited|permitted|allowed|disallowed)",
            r"unable to relay|cannot relay|not (?:a )?(?:gateway|relay)|open relay|\brelaying\b|through this server",
            r"authenticated relay|(?:reverse|ptr|rdns)<some>(?:dns|record|lookup|hostname|entry|fail|missing)|no ptr",
            r"missing ptr|reverse dns|\brdns\b|unverif[iy]able sending|cannot (?:find|resolve) your (?:reverse )?host",
            r"client host rejected|\bhelo\b|ehlo command rejected",
            r"(?:sender|from)<some>(?:rejected|denied|refused|blocked|invalid|not (?:accepted|allowed|valid|owned))",
            r"sender verify failed|bogus mail from|null sender|empty envelope sender|invalid sender",
            r"access (?:is )?denied|permission denied|not (?:authori[sz]ed|permitted|allowed) to|not authori[sz]ed",
            r"administrative(?:ly)? (?:denied|prohibit)|(?:is|was|been|be|are) (?:currently )?block(?:ed|ing)",
            r"blocked (?:by|for|using|due)|banned|local policy|policy (?:reasons?|violation|restriction)",
            r"security (?:policy|reason)|message (?:content )?(?:was )?rejected|content (?:rejected|filter)",
            r"rejected (?:for|by|due to|as) (?:policy|content|the message)|refused (?:by|due|to talk)|user complaints",
            r"prohibited|(?:use|via) the smtp server of your isp|dynamic ip|not accept<some>from you",
            r"restrict(?:ed|ion)|suspicious|transaction rejected|tls required|must issue a starttls",
            r"destinataire<some>refus|service refuse|emetteur invalide|unsigned dsn|third-party dsn",
            r"generally not accepted",
        ),
    ),
    (
        "2.1",  # mailbox disabled
        (
            r"<who><some>(?:disabled|suspended|inactive|not active|deactivated)",
            r"<who><some>(?:locked|frozen|discontinued|closed|expired|on hold)",
            r"<who><some>temporar(?:y|ily) (?:unavailable|limited|locked)|account (?:has been|is) terminated",
            r"(?:disabled|inactive|suspended|deactivated|expired|locked) (?:recipient|account|user|mailbox|address)",
            r"suspend the service|extended inactivity|bo[iî]te<some>(?:archiv|inactiv|bloqu)",
            r"konto<some>(?:gesperrt|deaktiviert)|заблокирован|アカウント<some>(?:停止|無効)",
            r"not accepting (?:any )?(?:mail|messages)|no longer accepts|refuses? to (?:accept|receive)",
            r"refused due to recipient preferences|account is protected by",
        ),
    ),
    (
        "4.6",  # loop
        (
            r"mail (?:forwarding )?loop|loops? (?:back|detected|alert|was found|count)|too many hops|hop count",
            r"routing loop|looping",
        ),
    ),
    (
        "1.10",  # the domain takes no mail
        (
            r"null mx|does not accept (?:any )?(?:e-?)?mail|doesn't accept (?:any )?mail|no smtp service",
            r"no mail service|recipient address has null|esmtp not accepting connections permanently",
        ),
    ),
    (
        "1.2",  # no such host
        (
            r"(?:host|domain)(?: or domain)?(?: name)?(?: is)? (?:unknown|not found|doesn'?t exist|does not exist)",
            r"(?:host|domain)(?: name)? lookup fail",
            r"unknown (?:host|domain|mail domain|destination host)|(?:invalid|illegal) (?:host|domain)",
            r"name service error|no such (?:host|domain)",
            r"domain<some>(?:not found|is unknown|doesn'?t exist|does not exist|not exist)",
            r"domain<some>(?:couldn't be found|could not be found|is not reachable|no mx)|name or service not known",
            r"domain must exist|unrout(?:e)?able (?:mail )?(?:domain|address)|no host found",
            r"bad destination (?:host|system|domain)",
            r"(?:couldn't|could not|cannot) (?:find|locate) (?:a |any |the |)(?:host|route|gateway|mx|domain)",
            r"(?:couldn't|could not|cannot) find a mail exchanger",
            r"no mx (?:record|found|host)",
            r"(?:dns|mx) (?:error|lookup|server)<some>(?:fail|not found|nxdomain|does not exist|no data)|nxdomain",
            r"unable to (?:lookup|resolve|look up)|all relevant mx records point|name server: \.: host not found",
            r"host address lookups failed permanently|hôte inconnu|domaine<some>inconnu",
            r"домен<some>не (?:найден|существует)|未找到域|ドメイン<some>(?:見つか|存在)",
        ),
    ),
    (
        "1.1",  # no such user
        (
            r"<who><some>(?:unknown|doesn'?t exist|does not exist|invalid)",
            r"<who><some>not (?:be )?(?:found|known|valid|listed|exist|present)",
            r"<who><some>not (?:recogni[sz]ed|available|local|a (?:valid|known|local))",
            r"<who><some>(?:doesn't have an?|unavailable|unavaiable|undeliverable)",
            r"<who><some>(?:non-?existent|wasn.t found|couldn.t be found|misspelled)",
            r"(?:user|recipient|address|mailbox)(?: address)? (?:was |is |has been )?rejected|addresses were unknown",
            r"rejected recipients",
            r"(?:unknown|invalid|no such|bad|illegal|unrecogni[sz]ed|non-?existent|no valid) (?:local |virtual )?<who>",
            r"(?:unknown|invalid|no such|bad|illegal|no valid) (?:local[- ]?part|person|e-?mail|destination)",
            r"not a (?:known|valid|local|registered|recogni[sz]ed)",
            r"no (?:mail ?box|account|one|user|mail box)<some>(?:by that name|here|found|at this)|not listed in",
            r"not our customer|doesn'?t exist|does not exist|not exist|name is not (?:recogni[sz]ed|found)",
            r"can't accept user|isn't in my (?:list|control|validrcptto)|badrcptto|badrecipientto|validrcptto",
            r"resolver\.adr|no such<some>(?:user|address|recipient|mailbox)|not known here|unknown in",
            r"account by that name|no one at this address|missing home directory|no valid recipients",
            r"(?:utilisateur|destinataire|adresse)<some>(?:inconnu|invalide|n'existe)",
            r"usuario<some>(?:no existe|desconocido)|no existe",
            r"destinatari[oa]<some>(?:desconhecid|sconosciut|inesistente|non)|utente<some>(?:sconosciut|inesistente)",
            r"nessun utente|(?:benutzer|empfänger|adresse|postfach)<some>(?:unbekannt|nicht|existiert)|no encontrado",
            r"non (?:esiste|existe)|existiert nicht|nicht (?:gefunden|bekannt|vorhanden)|n'existe pas",
            r"niet (?:gevonden|bekend)|nie (?:istnieje|znaleziono)|não (?:existe|encontrado)",
            r"не (?:найден|существует|зарегистрирован)|нет такого|неизвестн|не (?:знайдено|існує)|bulunamadı|不存在",
            r"未找到|找不到|用户不|見つかりません|存在しません|リストにありません|ありません.{0,10}アドレス|존재하지",
            r"찾을 수 없|please check if (?:the )?address|unable to deliver message to <",
        ),
    ),
    (
        "4.7",  # expired, or nobody answered
        (
            r"expired|(?:retry|delivery) time-?out|timed?[- ]?out|giving up(?! on)|too long|multiple retries",
            r"could not deliver for|(?:aborted|delivered|failing) (?:after|for|within)|for the last \d",
            r"for \d+ (?:hours|days)|no longer be retried|(?:did|does) not (?:accept our requests to connect|respond)",
            r"is not responding|socket error|not reachable|unreachable",
            r"connection (?:refused|timed out|dropped|lost|was closed|reset)|no route to host|couldn't make contact",
            r"still undelivered|(?:could not|unable to|can't|cannot|couldn't) (?:be )?(?:connect|contact)",
            r"connect(?:ion)? (?:to<some> )?failed|in the queue|has not been collected|host not found, try again",
            r"within the allowed queue period",
        ),
    ),
    (
        "4.5",  # congestion, rates
        (
            r"too many (?:connections|recipients|messages|errors|concurrent|sessions|hits)|rate (?:limit|control)",
            r"throttl|gr[ae]y-?list|try (?:again )?later",
            r"temporar(?:y|ily) (?:unavailable|deferred|rejected|fail|local|suspended|lookup)|resources temporarily",
            r"server (?:too )?busy|limit exceeded|exceeded<some>limit|deferred|slow down",
            r"service (?:is )?(?:currently )?unavailable|service not available|not accepting connections|high load",
        ),
    ),
    (
        "3.1",
        (r"insufficient system (?:storage|resources)|disk full|insufficient disk|file system full|system storage",),
    ),
    (
        "3.5",  # system broken, or configured wrongly
        (
            r"config(?:uration)? (?:error|problem)|system error|internal (?:server )?error",
            r"local (?:configuration )?error|server error|i/o error|can't create|cannot open|unable to create",
            r"mailer error|command (?:died|failed|execution)|child status|unexpected|remote protocol error",
            r"lookup failure|\bldap\b|database|misconfigured|local delivery failed|forbidden",
        ),
    ),
    (
        "6.0",  # content or form of the message
        (
            r"\bmime\b|content[- ]type|8-?bit|header (?:error|is|field)|charset|conversion|not rfc",
            r"rfc ?\d{3,4} (?:violation|compliant)|non-?compliant|bare lf|missing (?:from|date|header)|line too long",
            r"too many \"?received",
        ),
    ),
    (
        "5.0",
        (
            r"syntax error|command (?:not|un)|unrecogni[sz]ed command|protocol error|bad sequence|nested|rcpt first",
            r"malformed",
        ),
    ),
)

TABLE: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (suffix, re.compile("|".join(phrases).replace("<who>", _WHO).replace("<some>", _SOME), re.IGNORECASE))
    for suffix, phrases in _ROWS
)
