"""What clients write around the history that they quote, a language at a time.

Read from the clients' own translations: Gmail, Outlook, Apple Mail,
Thunderbird, Yahoo, Yandex, Mail.ru and others. Entries are parted by "|".
`wrote`, `device` and `below` are regular expressions (each of `wrote` begins
with a letter, so that it is found quickly), all others plain words in lower
case. How they are put together says `attribution`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language."""

    begins: str = ""
    """Before the date of "On Monday, 2 March 2026, Jane wrote:"; weekdays as they are abbreviated."""
    wrote: str = ""
    from_: str = ""
    to: str = ""
    date: str = ""
    subject: str = ""
    copy: str = ""
    """Cc, and other labels that stand in a header block."""
    original: str = ""
    """Between dashes, above history."""
    forwarded: str = ""
    """Between dashes, above what is forwarded."""
    begin_forwarded: str = ""
    """Apple's line above what is forwarded."""
    above: str = ""
    """Helpdesks' "reply above this line"."""
    device: str = ""
    """Whole lines that a device adds beneath a text."""
    device_key: str = ""
    """What such a line holds, one of these at least: to pass most lines over quickly."""
    below: str = ""
    """By which a customer says that answers stand inside the history."""
    first_person: str = ""
    """Whom no client names: then it is the customer's own sentence. Case counts; none is a name elsewhere."""
    second_person: str = ""


ENGLISH = Words(
    begins="on|at|mon|tue|wed|thu|fri|sat|sun|monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    wrote=r"wrote|writes|said|sent|replied",
    from_="from|sender",
    to="to",
    date="sent|date|sent at|sent on|received",
    subject="subject",
    copy="cc|bcc|reply-to|reply to|importance|attachments|organization|resent-from|in reply to",
    original="original message|original mail|original email|original e-mail|original appointment|reply message|"
    "original meeting|replied message",
    forwarded="forwarded message|forwarded mail|forwarded email|forwarded by|forward message|begin forwarded message",
    begin_forwarded="begin forwarded message",
    above="reply above this line|write above this line|type your reply above this line|respond above this line|"
    "reply above the line|respond to this email above this line|your reply above this line|post above this line|"
    "please type your reply above|enter your reply above|add your comment above this line",
    device_key="sent|outlook",
    device=r"sent from (?:my|mail for|mail on|outlook|yahoo|proton|samsung|the all new aol|aol|windows mail|surface|"
    r"an? |ios|iphone|ipad|android|gmail|spark|typeapp|blue|k-9|fairemail|zoho|tutanota|huawei|xiaomi|"
    r"posteo|hey|superhuman|newton|boxer|nine|aqua|[^ ]{1,30}$).{0,60}|sent (?:via|with|using|by) .{2,60}|"
    r"get outlook for .{0,40}|download outlook for .{0,40}",
    below=r"\b(?:answers?|repl(?:y|ies)|comments?|responses?|remarks?|notes?)\b.{0,30}\b"
    r"(?:below|inline|in-line|in line|in red|in blue|in green|in bold|in caps|in between|within)\b|"
    r"\b(?:answered|replied|commented|responded|marked)\b.{0,20}\b(?:below|inline|in-line|in red|in blue|above)\b|"
    r"\bsee (?:inline|in-line|my inline)\b|\bsee below\s*[.!:]?\s*$|\binline below\b|^\s*(?:in-?line|see below)\b",
    first_person="i|I|we|my|our",
    second_person="you|your",
)
RUSSIAN = Words(
    begins="в|во|от|пн|вт|ср|чт|пт|сб|вс|понедельник|вторник|среда|среду|четверг|пятница|пятницу|суббота|субботу|"
    "воскресенье",
    wrote=r"пишет|писал(?:\(а\)|а|и)?|написал(?:\(а\)|а|\(-а\)|\(\.а\)|и)?",
    from_="от|от кого|отправитель",
    to="кому|получатель",
    date="отправлено|дата|дата отправки|послано|отправлен",
    subject="тема",
    copy="копия|скрытая копия|важность|вложения|обратный адрес",
    original="исходное сообщение|исходное письмо|оригинальное сообщение|оригинальное письмо|первоначальное сообщение|"
    "оригинал сообщения|предыдущее сообщение",
    forwarded="пересылаемое сообщение|пересланное сообщение|пересылаемое письмо|пересланное письмо|"
    "перенаправленное сообщение|начало пересылаемого сообщения|начало переадресованного сообщения|"
    "конец пересылаемого сообщения",
    begin_forwarded="начало переадресованного сообщения|начало пересылаемого сообщения|начало пересылаемого письма",
    above="пишите ответ выше|введите ответ выше|напишите ответ выше|ответьте выше этой линии|"
    "ваш ответ выше этой линии|ответ выше этой черты|отвечайте выше этой линии",
    device_key="отправлено|послано|скачать",
    device=r"(?:отправлено|послано) (?:с|из|через|при помощи) .{2,60}|скачать outlook для .{2,30}",
    below=r"\b(?:ответ(?:ы|ил|ила|или|им)?|коммент\w{0,12})\b.{0,30}\b(?:ниже|в тексте|по тексту|красным|внутри)\b|"
    r"\bсм\.?\s?ниже\s*[.!:]?\s*$|\b(?:ниже|по тексту)\b.{0,20}\bответ",
    first_person="я|мы|мой|моя|наш",
    second_person="вы|вам|вас|ваш",
)
UKRAINIAN = Words(
    begins="в|у|від|пн|вт|ср|чт|пт|сб|нд|понеділок|вівторок|середа|середу|четвер|пʼятниця|п'ятниця|п’ятниця|субота|"
    "неділя",
    wrote=r"пише|писав|писала|писали|написав(?:\(ла\)|\(-ла\)|\(а\)|/ла)?|написала|написали",
    from_="від|від кого|відправник",
    to="кому|одержувач",
    date="надіслано|дата|відправлено|дата надсилання",
    subject="тема",
    copy="копія|прихована копія",
    original="вихідне повідомлення|початкове повідомлення|оригінальне повідомлення|вихідний лист|оригінальний лист|"
    "початковий лист",
    forwarded="переслане повідомлення|пересилається повідомлення|пересланий лист|переадресоване повідомлення",
    begin_forwarded="початок листа, який пересилається|початок переадресованого повідомлення|"
    "початок пересланого повідомлення",
    above="напишіть відповідь вище|введіть відповідь вище|відповідайте вище цієї лінії",
    device_key="надіслано|відправлено|послано|отримати|завантажити",
    device=r"(?:надіслано|відправлено|послано) (?:з|із|зі|за допомогою|через) .{2,60}|"
    r"(?:отримати|завантажити) outlook для .{2,30}",
    below=r"\b(?:відпові\w{1,6}|комент\w{0,10})\b.{0,30}\b(?:нижче|у тексті|в тексті|червоним)\b|"
    r"\bдив\.?\s?нижче\s*[.!:]?\s*$",
    first_person="я|ми|мій|моя|наш",
    second_person="ви|вам|вас|ваш",
)
GERMAN = Words(
    begins="am|mo|di|mi|do|fr|sa|so|montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag",
    wrote=r"schrieb(?:en)?|schreibt|geschrieben",
    from_="von|absender",
    to="an|empfänger",
    date="gesendet|datum|gesendet am|gesendet um",
    subject="betreff",
    copy="kopie|cc|bcc|wichtigkeit|antwort an|priorität|anlagen|anhänge",
    original="ursprüngliche nachricht|ursprungliche nachricht|originalnachricht|original-nachricht|original nachricht|"
    "ursprüngliche mail|ursprüngliche e-mail|originalmail|antwort-nachricht|original e-mail|ursprünglicher termin|"
    "originale nachricht|original-mail",
    forwarded="weitergeleitete nachricht|weitergeleitete mail|weitergeleitete e-mail|weitergeleitet von|"
    "ende der weitergeleiteten nachricht",
    begin_forwarded="anfang der weitergeleiteten nachricht|beginn der weitergeleiteten nachricht|"
    "beginn der weitergeleiteten e-mail",
    above="antworten sie oberhalb|bitte antworten sie oberhalb|antwort oberhalb dieser linie|"
    "bitte geben sie ihre antwort oberhalb|schreiben sie ihre antwort über diese|antworten sie über dieser linie|"
    "bitte oberhalb dieser linie antworten",
    device_key="gesendet|verschickt|versandt|versendet|holen sie|hole dir|laden sie",
    device=r"von meinem? .{2,60} gesendet\.?|vo[nm] .{2,40} gesendet\.?|"
    r"(?:diese (?:nachricht|e-?mail) wurde )?(?:gesendet|verschickt|versandt|versendet) (?:von|mit|aus|über|via) "
    r".{2,80}|diese (?:nachricht|e-?mail) wurde (?:von|mit) .{2,60} (?:gesendet|verschickt)\.?|"
    r"(?:holen sie sich|hole dir|laden sie) outlook für .{2,30}|outlook für .{2,20} (?:beziehen|herunterladen)",
    below=r"\b(?:antwort(?:en)?|kommentare?|anmerkung(?:en)?)\b.{0,30}\b(?:unten|im text|inline|in rot|rot|in blau|"
    r"darunter|dazwischen|unterhalb)\b|\bsiehe (?:unten|im text|inline)\s*[.!:]?\s*$|\bs\. ?u\.\s*$|"
    r"\b(?:unten|im text)\b.{0,20}\b(?:beantwortet|geantwortet)\b",
    first_person="ich|wir|mein|meine|unser|unsere",
    second_person="sie|ihnen|ihre|Sie|Ihnen|Ihre",
)
FRENCH = Words(
    begins="le|en date de|lun|mar|mer|jeu|ven|sam|dim|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche",
    wrote=r"a écrit|a ecrit|écrit|écrivait|écrivit|a répondu",
    from_="de|expéditeur",
    to="à|a|pour|destinataire|destinataires",
    date="envoyé|envoyé le|envoyée|envoyé à|date|date d'envoi|date d’envoi|envoyé par|message du",
    subject="objet|sujet",
    copy="cc|cci|copie à|copie|répondre à|importance|pièces jointes",
    original="message d'origine|message d’origine|message original|message initial|mail original|e-mail d'origine|"
    "e-mail d’origine|courriel original|message précédent|message de départ",
    forwarded="message transféré|message transmis|message réexpédié|courriel transféré|mail transféré|"
    "e-mail transféré|transféré par",
    begin_forwarded="début du message transféré|début du message réexpédié|début de l'e-mail transféré|"
    "début de l’e-mail transféré",
    above="répondre au-dessus|répondez au-dessus|veuillez répondre au-dessus|écrivez votre réponse au-dessus|"
    "saisissez votre réponse au-dessus|merci de répondre au-dessus",
    device_key="envoyé|obten|provenance|télécharge",
    device=r"envoyé (?:de(?:puis)?|à partir de|avec|par|via) .{2,60}|envoyé de mon .{2,40}|"
    r"(?:obtenir|obtenez|télécharger|téléchargez) outlook pour .{2,30}|provenance ?: .{2,50}",
    below=r"\b(?:réponses?|commentaires?|remarques?)\b.{0,30}\b(?:ci-dessous|dans le texte|en rouge|en bleu|en gras|"
    r"ci-après|plus bas)\b|\bvoir ci-dessous\s*[.!:]?\s*$|\brépondu\b.{0,20}\b(?:ci-dessous|dans le texte|en rouge)\b",
    first_person="je|j'ai|j’ai|nous|notre",
    second_person="vous|votre",
)
SPANISH = Words(
    begins="el|lun|mar|mié|jue|vie|sáb|dom|lunes|martes|miércoles|jueves|viernes|sábado|domingo",
    wrote=r"escribió|escribio|escribe|ha escrito|escribía",
    from_="de|remitente|desde",
    to="para|a|destinatario",
    date="enviado|enviado el|enviada|enviada el|enviado a|fecha|fecha de envío|enviados",
    subject="asunto",
    copy="cc|cco|copia|responder a|importancia|con copia|datos adjuntos",
    original="mensaje original|correo original|mensaje inicial|correo electrónico original|cita original",
    forwarded="mensaje reenviado|correo reenviado|reenviado por|mensaje de reenvío",
    begin_forwarded="inicio del mensaje reenviado|comienzo del mensaje reenviado|inicio del correo reenviado",
    above="responda por encima de esta línea|responder por encima de esta línea|escriba su respuesta por encima|"
    "por favor, escriba su respuesta por encima|escriba su respuesta encima|responda encima de esta línea|"
    "por favor responda encima",
    device_key="enviad|obt|descargar",
    device=r"enviad[oa] (?:desde|con|por|a través de) .{2,60}|(?:obtener|descargar|obtén) outlook para .{2,30}|"
    r"obtenga outlook para .{2,30}",
    below=r"\b(?:respuestas?|comentarios?|contestaciones)\b.{0,30}\b(?:abajo|más abajo|en rojo|en azul|en el texto|"
    r"debajo|entre líneas)\b|\b(?:ver|véase|mira) (?:abajo|más abajo)\s*[.!:]?\s*$|"
    r"\b(?:respondo|contesto|respondido)\b.{0,20}\b(?:abajo|en rojo|en el texto)\b",
    first_person="yo|nosotros|nuestro",
    second_person="usted|ustedes",
)
PORTUGUESE = Words(
    begins="em|no dia|a|seg|ter|qua|qui|sex|sáb|dom|segunda-feira|terça-feira|quarta-feira|quinta-feira|sexta-feira|"
    "sábado|domingo|segunda|terça|quarta|quinta|sexta",
    wrote=r"escreveu|escreve|escrevia",
    from_="de|remetente",
    to="para|destinatário",
    date="enviado|enviada|enviado em|enviada em|data|enviado a|data de envio",
    subject="assunto",
    copy="cc|cco|cópia|responder a|importância|anexos",
    original="mensagem original|mensagem inicial|e-mail original|email original",
    forwarded="mensagem encaminhada|mensagem reencaminhada|e-mail encaminhado|encaminhado por|mensagem reenviada",
    begin_forwarded="início da mensagem encaminhada|início da mensagem reencaminhada|início do e-mail encaminhado",
    above="responda acima desta linha|responder acima desta linha|por favor, responda acima|"
    "escreva sua resposta acima|escreva a sua resposta acima|digite sua resposta acima",
    device_key="enviad|obt|baix",
    device=r"enviad[oa] (?:do|da|de|pelo|pela|via|por|a partir d[eo]|através d[eo]|com) .{2,60}|"
    r"(?:obter|obtenha|baixar|baixe)(?: o)? outlook para .{2,30}",
    below=r"\b(?:respostas?|comentários?)\b.{0,30}\b(?:abaixo|em vermelho|em azul|no texto|no corpo|mais abaixo)\b|"
    r"\b(?:ver|vide|veja) abaixo\s*[.!:]?\s*$|\brespond(?:i|ido|endo)\b.{0,20}\b(?:abaixo|em vermelho|no texto)\b",
    first_person="eu|nós|meu|minha|nosso",
    second_person="você|vocês",
)
ITALIAN = Words(
    begins="il|il giorno|in data|lun|mar|mer|gio|ven|sab|dom|lunedì|martedì|mercoledì|giovedì|venerdì|sabato|domenica",
    wrote=r"ha scritto|scrive|scrisse|scriveva",
    from_="da|mittente",
    to="a|per|destinatario",
    date="inviato|inviata|data|inviato il|inviata il|data di invio|ricevuto",
    subject="oggetto",
    copy="cc|ccn|copia|rispondi a|priorità|allegati|p.c",
    original="messaggio originale|messaggio iniziale|mail originale|e-mail originale|messaggio originario",
    forwarded="messaggio inoltrato|mail inoltrata|e-mail inoltrata|messaggio inoltrato da|inoltrato da",
    begin_forwarded="inizio messaggio inoltrato|inizio del messaggio inoltrato",
    above="rispondere sopra questa riga|rispondi sopra questa riga|scrivere la risposta sopra|"
    "scrivi la tua risposta sopra|si prega di rispondere sopra",
    device_key="inviat|scarica|ottieni",
    device=r"inviat[oa] (?:da|dal|dalla|con|tramite|via) .{2,60}|"
    r"(?:scarica|ottieni|scaricare) outlook per .{2,30}",
    below=r"\b(?:rispost[ae]|comment[oi])\b.{0,30}\b(?:sotto|di seguito|in rosso|in blu|nel testo|qui sotto)\b|"
    r"\bvedi (?:sotto|di seguito)\s*[.!:]?\s*$|\brispos?[tn]\w{0,4}\b.{0,20}\b(?:sotto|in rosso|nel testo)\b",
    first_person="io|noi|nostro",
    second_person="vostro",
)
POLISH = Words(
    begins="w dniu|dnia|dn|pon|wt|śr|czw|pt|sob|niedz|poniedziałek|wtorek|środa|czwartek|piątek|sobota|niedziela|"
    "wiadomość napisana",
    wrote=r"pisze|napisał(?:\(a\)|a|/a|\(-a\)|/-a)?|napisan[ae] przez|pisał\(a\)|napisali",
    from_="od|nadawca",
    to="do|adresat|odbiorca",
    date="wysłano|wysłane|data|data wysłania|wysłana",
    subject="temat",
    copy="dw|udw|kopia|do wiadomości|odpowiedz do|ważność|załączniki",
    original="oryginalna wiadomość|wiadomość oryginalna|pierwotna wiadomość|treść oryginalnej wiadomości|"
    "oryginalny e-mail|oryginalny mail|wiadomość pierwotna",
    forwarded="przekazana wiadomość|wiadomość przekazana|treść przekazanej wiadomości|przesłana wiadomość|"
    "przesyłana wiadomość|przekazany e-mail",
    begin_forwarded="początek przekazywanej wiadomości|początek przesyłanej wiadomości|początek przekazanej wiadomości",
    above="odpowiedz powyżej tej linii|proszę odpowiedzieć powyżej|wpisz odpowiedź powyżej|napisz odpowiedź powyżej",
    device_key="wysłan|pobierz",
    device=r"wysłan[eoya] (?:z|ze|za pomocą|przez|przy użyciu) .{2,60}|pobierz (?:aplikację )?outlook dla .{2,40}",
    below=r"\b(?:odpowied\w{1,5}|komentarz\w{0,4}|uwagi)\b.{0,30}\b(?:poniżej|w tekście|na czerwono|niżej)\b|"
    r"\b(?:patrz|zob\.|zobacz) (?:poniżej|niżej)\s*[.!:]?\s*$|\bodpisał\w{0,3}\b.{0,20}\b(?:poniżej|niżej|w tekście)\b",
    first_person="ja|mój|moja|nasz",
    second_person="państwo|wasz",
)
DUTCH = Words(
    begins="op|ma|di|wo|do|vr|za|zo|maandag|dinsdag|woensdag|donderdag|vrijdag|zaterdag|zondag",
    wrote=r"schreef|schrijft|geschreven|schreven",
    from_="van|afzender",
    to="aan|naar",
    date="verzonden|datum|verzonden op|verstuurd|verzenddatum",
    subject="onderwerp",
    copy="cc|bcc|kopie|antwoord aan|urgentie|bijlagen",
    original="oorspronkelijk bericht|origineel bericht|oorspronkelijke e-mail|oorspronkelijke afspraak|"
    "originele bericht|oorspronkelijke bericht|originele e-mail",
    forwarded="doorgestuurd bericht|doorgezonden bericht|doorgestuurde e-mail|doorgestuurd door",
    begin_forwarded="begin doorgestuurd bericht|begin van doorgestuurd bericht|begin van het doorgestuurde bericht",
    above="reageer boven deze regel|antwoord boven deze regel|gelieve boven deze lijn|antwoord boven deze lijn|"
    "typ uw antwoord boven|beantwoord boven deze regel|reageer boven deze lijn",
    device_key="verzonden|verstuurd|gestuurd|outlook",
    device=r"(?:verzonden|verstuurd|gestuurd) (?:vanaf|vanuit|met|via|van|door) .{2,60}|"
    r"(?:download )?outlook voor .{2,20} (?:downloaden|ophalen|verkrijgen)|"
    r"(?:download|verkrijg) outlook voor .{2,30}",
    below=r"\b(?:antwoord(?:en)?|reacties?|opmerkingen|commentaar)\b.{0,30}\b(?:hieronder|onder|in rood|in de tekst|"
    r"tussen de tekst|in het rood)\b|\bzie (?:hieronder|onder|beneden)\s*[.!:]?\s*$|\bz\.o\.\s*$",
    first_person="ik|wij|mijn|onze|ons",
    second_person="uw|jij|jullie",
)
TURKISH = Words(
    begins="pzt|sal|çar|per|cum|cmt|paz|pazartesi|salı|çarşamba|perşembe|cuma|cumartesi|pazar",
    wrote=r"yazdı|yazmış|yazıyor",
    from_="kimden|gönderen",
    to="kime|alıcı",
    date="gönderildi|gönderme tarihi|tarih|gönderim tarihi|gönderilme tarihi|gönderilen",
    subject="konu",
    copy="bilgi|cc|bcc|gizli|yanıt adresi|önem|ekler",
    original="orijinal ileti|orijinal mesaj|özgün ileti|özgün mesaj|asıl ileti|orijinal e-posta|ilk mesaj",
    forwarded="iletilen mesaj|iletilmiş mesaj|yönlendirilmiş ileti|yönlendirilen ileti|yönlendirilen mesaj|"
    "iletilen ileti|iletilmiş ileti",
    begin_forwarded="iletilmiş mesajın başlangıcı|iletilen mesajın başlangıcı|yönlendirilen mesajın başlangıcı|"
    "i̇letilen mesajın başlangıcı|i̇letilmiş mesajın başlangıcı",
    above="bu satırın üzerine yanıt|bu çizginin üstüne yanıt|yanıtınızı bu satırın üstüne|"
    "lütfen yanıtınızı bu satırın üzerine",
    device_key="gönderildi|edinin",
    device=r".{2,40}(?:dan|den|tan|ten|imden|ımdan|umdan|ümden|ndan|nden) gönderildi\.?|"
    r".{2,30} için outlook.{0,4} edinin|.{2,40} ile gönderildi\.?",
    below=r"\b(?:cevap\w{0,9}|yanıt\w{0,9}|yorum\w{0,9})\b.{0,30}\b(?:aşağıda\w{0,4}|metin içinde|kırmızı\w{0,4})|"
    r"\başağı(?:da|ya)\b.{0,25}\b(?:cevap|yanıt)|\başağıya bak\w{0,6}\s*[.!:]?\s*$",
    first_person="biz|benim|bizim",
    second_person="sizin",
)
CHINESE = Words(
    begins="在|于|於|周|週|星期",
    wrote=r"写道|寫道|来信|來信|写了|寫了|撰写|撰寫|写到|寫到",
    from_="发件人|发自|寄件者|寄件人|發件人|发送者|寄信人",
    to="收件人|收件者|至|收信人|发送至",
    date="发送时间|发送日期|日期|时间|發送時間|傳送時間|寄件日期|發送日期|寄送日期|时 间|時間|已发送|已傳送|傳送日期",
    subject="主题|主旨|主題|标题|標題|主 题",
    copy="抄送|副本|密件抄送|密送|密件副本|抄 送|重要性|附件|答复|回复|回覆",
    original="原始邮件|原始郵件|原邮件|原郵件|邮件原件|郵件原件|原始信件|回复的原邮件|回覆的原郵件|原始消息|"
    "原始讯息|原始訊息|原信|原约会|原始约会|回复的邮件",
    forwarded="转发的邮件|轉寄的郵件|轉發的郵件|转发邮件|轉寄郵件|转发邮件信息|转发的原邮件|被转发的邮件|"
    "轉寄信件|转发自|已转发邮件|轉寄的信件",
    begin_forwarded="以下是转发的邮件|以下是轉寄的郵件|以下是轉寄的信件|开始转发邮件|开始转发的邮件|開始轉寄郵件|"
    "下面是被转发的邮件|以下為轉寄郵件|以下为转发邮件",
    above="请在此行上方回复|請在此行上方回覆|请在此线以上回复|请在本行上方回复|請在此線以上回覆",
    device_key="发|發|送|寄|来自|获取|下载|取得|下載",
    device=r"(?:从|從|通过|透過|用|使用).{2,40}(?:发送|傳送|發送|寄出)|(?:发自|發自|发送自|發送自|傳送自|来自|寄自).{2,40}|"
    r"(?:获取|下载|取得|下載) ?outlook.{0,30}|(?:获取|取得|下载|下載).{0,20}outlook",
    below=r"(?:回复|答复|回覆|答覆|回答|意见|意見|批注).{0,15}(?:如下|下面|下方|红字|紅字|红色|紅色|文中|以下)|"
    r"(?:见|見|看)(?:下文|下面|下方|下|以下|红字|紅字|文中)(?:回复|回覆|答复|答覆)?\s*[。！.!：:]?\s*$",
    first_person="我|我们|我們",
    second_person="您|你",
)
JAPANESE = Words(
    begins="月曜|火曜|水曜|木曜|金曜|土曜|日曜|平成|令和",
    wrote=r"のメール|書きました|からのメッセージ|は次のように書|は以下のように書",
    from_="差出人|送信者|送信元|発信者|差出人名",
    to="宛先|受信者|送信先|あて先",
    date="送信日時|日時|日付|送信日|受信日時|送信時刻",
    subject="件名|題名|表題",
    copy="同報|写し|ｃｃ|重要度|添付ファイル|返信先",
    original="元のメッセージ|オリジナルメッセージ|元のメール|オリジナル メッセージ|返信元メッセージ|引用元メッセージ|"
    "元のメッセージここから|original message",
    forwarded="転送メッセージ|転送されたメッセージ|転送メール|転送|転送元メッセージ|転送されたメール",
    begin_forwarded="転送されたメッセージ|以下は転送されたメッセージ|転送するメッセージ",
    above="この線より上に返信|この行より上に返信|この行の上に返信|この線の上に返信",
    device_key="送信|入手|取得|ダウンロード",
    device=r".{2,30}から送信(?:しました|されました)?。?|.{0,20}outlook.{0,20}(?:を入手|を取得|をダウンロード).{0,4}|"
    r".{2,30}で送信(?:しました)?",
    below=r"(?:回答|返信|返答|コメント).{0,15}(?:以下|下記|赤字|文中|青字|本文中|インライン)|"
    r"(?:以下|下記|赤字|文中|本文中).{0,10}(?:回答|返信|返答|コメント)",
    first_person="私|弊社",
    second_person="御社|貴社|あなた",
)
KOREAN = Words(
    begins="월요일|화요일|수요일|목요일|금요일|토요일|일요일",
    wrote=r"님이 작성|작성(?:함|했습니다|하였습니다)?|님이 쓴|쓴 글|썼습니다|보낸 메일|보낸 메시지|님의 말",
    from_="보낸 사람|보낸사람|보낸이|발신자|발신|발신인|보내는 사람",
    to="받는 사람|받는사람|받는이|수신자|수신|수신인",
    date="보낸 날짜|보낸날짜|날짜|보낸 시간|보낸시간|발신일|일시|보냄|전송 날짜|보낸 일시|전송일",
    subject="제목",
    copy="참조|숨은 참조|숨은참조|중요도|첨부 파일|첨부",
    original="원본 메시지|원본 메일|원본메시지|원본메일|원래 메시지|원본 이메일|원본 내용",
    forwarded="전달된 메시지|전달된 메일|전달 메시지|전달받은 메일|전달한 메시지|전달받은 메시지",
    begin_forwarded="전달된 메시지 시작|전달된 메시지|다음은 전달된 메시지입니다",
    above="이 줄 위에 회신|이 선 위에 답장|이 줄 위에 답장|이 줄 위에 답변",
    device_key="보냄|보낸|전송|발송|보내짐|outlook",
    device=r".{1,30}에서 (?:보냄|보낸 메일입니다|전송|발송|보내짐)\.?|"
    r".{0,20}outlook.{0,20}(?:다운로드|가져오기|받기|얻기)",
    below=r"(?:답변|회신|답장|의견|코멘트).{0,15}(?:아래|하단|빨간|본문|적색)|(?:아래|하단|본문).{0,15}(?:답변|회신|답장)",
    first_person="저는|제가|나는|내가|우리",
    second_person="당신|귀하|귀사",
)
OTHERS = Words(
    # Czech, Slovak, Hungarian, Romanian, Greek, Bulgarian, Serbian and Croatian, the north, Catalan, Vietnamese,
    # Indonesian, Hebrew, Arabic: their customers write to us, too.
    begins="dne|dňa|den|på|pe|ma|ti|ke|to|la|su|lør|søn|man|tir|ons|tor|tors|fre|lör|sön|mån|tis|στις|vào|kl|"
    "la data de|на|у|pada|út|st|čt|pá|so|ne|po|luni|marți|miercuri|joi|vineri|sâmbătă|duminică|בתאריך|ב|في|يوم|"
    "dl|dt|dc|dj|dv|ds",
    wrote=r"skrev|skriver|kirjoitti|a scris|napsal(?:\(a\)|a)?|napísal(?:\(a\)|a)?|píše|"
    r"napisao(?: je)?|napisala(?: je)?|je napisao|је написао|написа|írta|ezt írta|έγραψε|"
    r"ha escrit|va escriure|"
    r"viết|menulis|כתב(?:/ה|ה)?|מאת|كتب(?:ت)?|rašė|rakstīja|kirjutas",
    from_="från|fra|lähettäjä|feladó|de la|odesílatel|odosielateľ|από|av|šalje|dari|מאת|من|от",
    to="till|til|vastaanottaja|címzett|komu|către|catre|προς|za|prima|kepada|אל|إلى|до",
    date="skickat|sendt|dato|lähetetty|päivämäärä|päiväys|küldve|dátum|odesláno|odoslané|trimis|dată|data|ημερομηνία|"
    "στάλθηκε|poslano|datum|tanggal|dikirim|נשלח|תאריך|التاريخ|تاريخ الإرسال|изпратено",
    subject="ämne|emne|aihe|tárgy|předmět|predmet|subiect|θέμα|assumpte|tiêu đề|chủ đề|subjek|perihal|נושא|הנושא|"
    "الموضوع|относно|teema",
    copy="kopia|kopi|kopio|másolatot kap|κοιν|צדדים|עותק|نسخة|viktighet",
    original="opprinnelig melding|ursprungligt meddelande|originalmeddelande|oprindelig meddelelse|oprindelig besked|"
    "original besked|original melding|původní zpráva|původní e-mail|pôvodná správa|alkuperäinen viesti|"
    "eredeti üzenet|eredeti levél|mesaj original|mesajul original|αρχικό μήνυμα|оригинално съобщение|"
    "izvorna poruka|originalna poruka|izvorno sporočilo|missatge original|thư gốc|tin nhắn gốc|pesan asli|"
    "הודעה מקורית|ההודעה המקורית|الرسالة الأصلية|الرسالة الاصلية|algne kiri",
    forwarded="vidarebefordrat meddelande|videresendt meddelelse|videresendt melding|videresendt besked|"
    "přeposlaná zpráva|přeposlaný e-mail|preposlaná správa|välitetty viesti|edelleenlähetetty viesti|"
    "továbbított üzenet|továbbított levél|mesaj redirecționat|mesaj transmis|προωθημένο μήνυμα|"
    "препратено съобщение|препратен имейл|proslijeđena poruka|prosleđena poruka|missatge reenviat|"
    "thư đã chuyển tiếp|tin nhắn được chuyển tiếp|pesan diteruskan|הודעה שהועברה|الرسالة المعاد توجيهها",
    begin_forwarded="vidarebefordrat brev|videresendt meddelelse|začátek přeposílané zprávy|"
    "välitetty viesti alkaa|továbbított levél kezdete",
    above="odpovězte nad tento řádek|svar over denne linje|svara ovanför denna rad|vastaa tämän rivin yläpuolelle|"
    "válaszát e fölé a sor fölé",
    device_key="skickat|sendt|lähetetty|odesláno|odoslané|trimis|küldve|poslano|στάλθηκε|изпратено|enviat|dikirim|gửi|נשלח|رسلت|الإرسال",
    device=r"skickat från .{2,40}|sendt fra .{2,40}|lähetetty .{2,40}(?:sta|stä)\.?|odesláno z .{2,40}|"
    r"odoslané z .{2,40}|trimis de pe .{2,40}|küldve .{2,40}|iphone-omról küldve|poslano (?:s|sa|iz) .{2,40}|"
    r"στάλθηκε από .{2,40}|изпратено от .{2,40}|enviat des de .{2,40}|dikirim dari .{2,40}|"
    r"(?:được gửi|đã gửi) từ .{2,40}|נשלח מ.{2,40}|(?:أُرسلت|أرسلت|تم الإرسال) من .{2,40}",
)

LANGUAGES = (
    *(ENGLISH, RUSSIAN, UKRAINIAN, GERMAN, FRENCH, SPANISH, PORTUGUESE, ITALIAN, POLISH, DUTCH, TURKISH),
    *(CHINESE, JAPANESE, KOREAN, OTHERS),
)
