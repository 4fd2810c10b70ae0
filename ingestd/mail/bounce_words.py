"""Phrases by which mail servers say why they refused, and the status of RFC 3463 that each kind means.

Data, in many servers' and customers' languages (`phrases` says how they are
written). Of the rows that match, the first counts: a full mailbox is often
called "unavailable", too, and a blocked sender "rejected", so what is more
exact stands above.
"""

from __future__ import annotations

from ingestd.mail.phrases import Phrases

# Subject and detail of the status; the phrases.
TABLE: tuple[tuple[str, Phrases], ...] = (
    (
        "2.2",  # mailbox full
        Phrases("""
            mailbox … full | mail box … full_ | mailfolder … full | mailfolder is full | mail folder … full_ |
            inbox … full_ | account is full | storage … full | full mailbox | quota exceed | quota … exceed |
            quota violat | quota … reached | quota is full | space has been used up | reached disk quota |
            exceed … quota | exceed … storage | exceed … mailbox | exceed … maildir | exceed … disk |
            over quota | over-quota | overquota | out of quota | over the quota | over its quota | over their quota |
            over disk quota | over … quota | not enough storage | not enough space | does not have enough space |
            insufficient storage space | insufficient disk quota | mailbox size limit | mailbox has exceeded |
            over the allowed | over the maximum | mailbox … exceed | mailbox … over_ | no space left |
            out of disk space | out of space | too much mail data | too many messages on the server |
            number of messages … exceeded | mail file size exceeds | exceeded storage allocation | boîte … pleine |
            boite … pleine | postfach … voll | buzón … llen | casella … piena | caixa … cheia |
            skrzynka … pełna | postvak … vol_ | ящик … переполнен | ящик … заполнен | скринька … переповнен |
            скринька … заповнен | kutusu … dolu | 邮箱 … 满 | 邮箱已满 | 信箱已滿 | メールボックス … 一杯 |
            メールボックス … 超え | メールボックス … 空き | 사서함 … 가득 | 사서함 … 초과
        """),
    ),
    (
        "3.4",  # message too big
        Phrases("""
            message … too big | message … too large | message … too long | mail … too big | mail … too large |
            too big a message | too large a message | too big message | too large message |
            message … exceeds … size | message … exceeds … limit | message … exceeds … maximum |
            message exceeds | message … exceeded … size | size limit exceeded | message length exceeds |
            maximum size exceeded | max message size exceeded | mail size limit | message size limit |
            message size exceed | mail size exceed | exceed … message size | exceed … size limit |
            exceed … maximum size | exceed … fixed size | exceed … size allowed | is larger than the … limit |
            larger than the … size | nachricht … zu groß | message trop volumineux | слишком больш | サイズ … 超 |
            メッセージサイズ
        """),
    ),
    (
        "7.2",  # a list or group that this sender may not write to
        Phrases("""
            google groups | groups.google.com | not a member of | are not member | not subscribed |
            not member article | only members | only subscribers | only accepts mail from specific |
            only accepting mail from specific | posting to … denied | post to … not allowed |
            sender not pre-approved | resolver.rst.notauthorized | not allowed to post |
            not allowed to send to this list | not allowed to send to this group
        """),
    ),
    # Exchange Online says this of addresses that its directory lacks.
    ("1.1", Phrases("recipient address rejected: access denied | recipient addresses rejected : access denied")),
    ("1.2", Phrases("account or domain may not exist")),
    (
        "1.6",  # the recipient has moved
        Phrases("""
            has moved | address … has been replaced | address … has been changed | no forwarding address |
            no longer at this address | has left the company | has left the organi | no longer works |
            no longer with_ | no longer employed | this address no longer accepts mail
        """),
    ),
    (
        "7.1",  # refused by policy: sender, content or network
        Phrases("""
            _spam | blacklist | black list | blocklist | block list | block-list | dnsbl | _rbl_ | barracudacentral |
            spamhaus | spamcop | reputation | unsolicited | bulk mail | virus | malware | phish | dmarc | _spf |
            dkim | _batv | backscatter | unauthenticated | not authenticated | authentication required |
            authentication failed | authentication is required | authentication check | relaying |
            relay access denied | relay not permitted | relay denied | relay … prohibited | relay … not allowed |
            unable to relay | cannot relay | not a gateway | not a relay | open relay | through this server |
            authenticated relay | reverse dns | reverse … lookup | reverse … hostname | reverse … fail |
            ptr record | no ptr | missing ptr | _rdns | unverifyable sending | unverifiable sending |
            cannot find your reverse | cannot find your host | client host rejected | _helo_ | ehlo command rejected |
            sender … rejected | sender … denied | sender … refused | sender … blocked | sender … invalid |
            sender … not accepted | sender … not allowed | sender … not valid | from … rejected | from … denied |
            from … blocked | from … invalid | from … not accepted | mail from not owned | sender verify failed |
            bogus mail from | null sender | empty envelope sender | invalid sender | access denied |
            access is denied | permission denied | not authorized | not authorised | not permitted to |
            not allowed to | administratively denied | administratively prohibited | administrative prohibition |
            administrative denied | is blocked | was blocked | been blocked | be blocked | are blocked |
            currently blocked | blocked by | blocked for | blocked using | blocked due | is blocking | banned |
            local policy | policy reason | policy violation | policy restriction | security policy | security reason |
            message rejected | message was rejected | message content rejected | content rejected | content filter |
            rejected for policy | rejected by policy | rejected due to content | rejected as spam |
            rejected by the message | refused by | refused due | refused to talk | user complaints | prohibited |
            use the smtp server of your isp | dynamic ip | not accept … from you | restricted | restriction |
            suspicious | transaction rejected | tls required | must issue a starttls | destinataire … refus |
            service refuse | emetteur invalide | unsigned dsn | third-party dsn | generally not accepted |
            message refused | unwanted
        """),
    ),
    (
        "2.1",  # mailbox disabled
        Phrases("""
            account … disabled | mailbox … disabled | user … disabled | recipient … disabled |
            address … disabled | account … suspended | mailbox … suspended | user … suspended |
            recipient … suspended | account … inactive | mailbox … inactive | user … inactive |
            address … inactive | recipient … inactive | account … not active | mailbox … not active |
            user … not active | account … deactivated | deactivated mailbox | user … deactivated |
            account … locked | mailbox … locked | user … locked | mailbox … frozen | account … frozen |
            account … closed | account … discontinued | mailbox … closed | account … expired |
            mailbox … expired | user … expired | account … on hold | account … limited | account … terminated |
            mailbox temporarily unavailable | account temporarily unavailable | disabled recipient |
            disabled account | disabled user | disabled mailbox | inactive recipient | inactive account |
            inactive user | inactive mailbox | suspended account | suspended user | locked account | expired account |
            suspend the service | extended inactivity | boite … archive | boîte … archiv | boîte … bloqu |
            konto … gesperrt | konto … deaktiviert | заблокирован | アカウント … 停止 | アカウント … 無効 |
            not accepting mail | not accepting any mail | not accepting messages | not accepting new mail |
            no longer accepts | refuse to accept | refuses to accept | refuse to receive | refuses to receive |
            refused due to recipient preferences | account is protected by
        """),
    ),
    (
        "4.6",  # loop
        Phrases("""
            mail loop | forwarding loop | loop back | loops back | loop detected | loop alert | loop was found |
            loop count | looping | too many hops | hop count | routing loop | loop condition | duplicated message-id
        """),
    ),
    (
        "1.10",  # the domain takes no mail
        Phrases("""
            null mx | does not accept mail | does not accept any mail | does not accept email |
            does not accept e-mail | no smtp service | no mail service | recipient address has null
        """),
    ),
    (
        "1.2",  # no such host
        Phrases("""
            host unknown | host is unknown | host not found_ | host … not found. | host or domain name not found |
            domain unknown | domain is unknown | domain … is unknown | domain not found | domain name not found |
            domain … not found | domain … does not exist | domain … not exist | domain … could not be found |
            domain … is not reachable | host does not exist | host name lookup fail | unknown host | unknown domain |
            unknown mail domain | unknown destination host | invalid host | invalid domain | illegal host |
            illegal domain | name service error | no such host | no such domain | name or service not known |
            domain must exist | unrouteable mail domain | unroutable mail domain | unrouteable domain |
            unrouteable address | unroutable address | no host found | no route found |
            destination computer was not found | bad destination host | bad destination system |
            bad destination domain | could not find a gateway | could not find a mail exchanger |
            could not find any host | could not find the host | could not find host | cannot find a route |
            cannot find mx | cannot find host | no mx record | no mx found | no mx host | mx records … not |
            dns error … not found | dns error … no data | dns error … does not exist | dns lookup fail |
            mx lookup fail | nxdomain | unable to lookup dns | unable to resolve | unable to look up |
            all relevant mx records point | name server: .: host not found | host address lookups failed permanently |
            dns records for … could not be found | hôte inconnu | domaine … inconnu | домен … не найден |
            домен … не существует | ドメイン … 見つか | ドメイン … 存在
        """),
    ),
    (
        "1.1",  # no such user
        Phrases("""
            user unknown | user … unknown | user is unknown | unknown user | unknown recipient | unknown mailbox |
            unknown account | unknown address | unknown addressee | unknown local | unknown alias |
            unknown virtual user | unknown email | unknown e-mail | recipient … unknown | addressee unknown |
            address … unknown | mailbox … unknown | account … unknown | alias … unknown | invalid user |
            invalid recipient | invalid mailbox | invalid address | invalid account | invalid local |
            invalid or unknown | invalid e-mail | invalid email | recipient … invalid | address … invalid |
            mailbox … invalid | user … invalid | no such user | no such recipient | no such mailbox |
            no such address | no such account | no such person | no such … user | no such … address |
            no such … mailbox | bad address | bad recipient | bad destination mailbox | bad local | illegal user |
            illegal alias | illegal recipient | unrecognized user | unrecognized recipient | nonexistent |
            non-existent | non existent | no valid recipient | no valid user | does not exist | not exist |
            user … not found | recipient … not found | mailbox … not found | address … not found |
            account … not found | user not known | user … not known | user … not listed | not listed in |
            recipient … not valid | recipient … not available | recipient … not local | recipient … not present |
            recipient … not recognized | recipient name is not recogni | name is not recogni | name is not found |
            address … not present | mailbox … not present | mailbox not available | user … not available |
            mailbox unavailable | mailbox … unavailable | mailbox unavaiable | account unavailable |
            account … unavailable | mailbox is unavailable | user … undeliverable | recipients was undeliverable |
            user does not have | does not have a … account | does not have an account | address … not be found |
            recipient … not be found | address … was not found | recipient … was not found |
            address could not be found | address was not found | address … misspelled | recipient rejected |
            address rejected | address was rejected | user rejected | mailbox rejected | user reject |
            addresses were unknown | rejected recipients | recipients rejected | not a known user | not a valid user |
            not a valid mailbox | not a valid recipient | not a valid address | not a local address |
            not a registered | not a recognized | is not local | no mailbox by that name |
            no mailbox here by that name | no mailbox here | no mailbox found | no mailbox … available |
            no mail box | no account by that name | no account here | no one at this address | no user … here |
            no longer valid | not our customer | cannot accept user | is not in my list | not in my list |
            in my badrecipientto | badrcptto | validrcptto | isn't in my control | not in my control | resolver.adr |
            not known here | unknown in | missing home directory | envelope recipient has been denied |
            not an active address | not email addresses | recipient not ok | recipient not accepted |
            recipient is not accepted | recipient was not accepted | recipients for this mm | utilisateur … inconnu |
            destinataire … inconnu | destinataire … invalide | adresse … inconnue | adresse … n'existe |
            n'existe pas | usuario … no existe | usuario desconocido | no existe | no encontrado |
            destinatario … sconosciut | destinatario … inesistente | utente … sconosciut | utente … inesistente |
            nessun utente | non esiste | destinatário … desconhecid | destinatário … inexistente | não existe |
            não encontrado | benutzer … unbekannt | empfänger … unbekannt | empfänger … nicht |
            postfach … existiert | existiert nicht | adresse … nicht gefunden | nicht gefunden | nicht bekannt |
            nicht vorhanden | niet gevonden | niet bekend | nie istnieje | nie znaleziono | не найден |
            не существует | не зарегистрирован | нет такого | неизвестн | не знайдено | не існує | bulunamadı |
            不存在 | 未找到 | 找不到 | 用户不 | 見つかりません | 見つからない | 存在しません | リストにありません |
            存在しない | 존재하지 | 찾을 수 없 | please check if address | unable to deliver message to
        """),
    ),
    (
        "4.7",  # expired, or nobody answered
        Phrases("""
            expired | retry timeout | delivery timeout | delivery time-out | timed out | time out | timeout |
            giving up._ | giving up_ | giving up, | too long | multiple retries | could not deliver for |
            aborted after | delivered after | failing for | not delivered within | for the last | _for … hours_ |
            _for … days_ | no longer be retried | not accept our requests to connect | not respond | not responding |
            socket error | not reachable | unreachable | connection refused | connection dropped | connection lost |
            connection was closed | connection reset | lost connection | no route to host | not make contact |
            still undelivered | unable to connect | cannot connect | could not connect | could not contact |
            could not be contacted | connect … failed | connection … failed | in the queue |
            has not been collected | within the allowed queue period | host not found, try again
        """),
    ),
    (
        "4.5",  # congestion, rates
        Phrases("""
            too many | rate limit | rate control | throttl | greylist | graylist | grey-list | try later |
            try again later | temporarily | temporary | resources | server busy | server too busy | limit exceeded |
            exceeded … limit | deferred | slow down | service unavailable | service currently unavailable |
            service is unavailable | service not available | not accepting connections | high load
        """),
    ),
    ("3.1", Phrases("insufficient system | disk full | insufficient disk | file system full | system storage")),
    (
        "3.5",  # system broken, or configured wrongly
        Phrases("""
            configuration error | config error | configuration problem | system error | internal error |
            internal server error | local error | server error | i/o error | cannot create | cannot open |
            unable to create | mailer error | command died | command failed | command execution | child status |
            unexpected | remote protocol error | lookup failure | _ldap | database | misconfigured |
            local delivery failed | forbidden | interrupted
        """),
    ),
    (
        "6.0",  # content or form of the message
        Phrases("""
            _mime_ | content-type | content type | 8bit | 8-bit | header error | header is | header field | charset |
            conversion | not rfc | rfc 1035 | rfc 5322 | rfc 2822 | rfc violation | non-compliant | noncompliant |
            bare lf | missing from | missing date | missing header | line too long | too many received
        """),
    ),
    (
        "5.0",  # protocol
        Phrases("""
            syntax error | command not | command un | unrecognized command | protocol error | bad sequence | nested |
            rcpt first | malformed
        """),
    ),
)
