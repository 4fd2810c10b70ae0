"""English, German, French, Spanish, Portuguese, Italian and Dutch."""

from __future__ import annotations

from ingestd.mail.words.language import Words

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
    device=r"sent from \[?(?:my|mail for|mail on|outlook|yahoo|proton|samsung|the all new aol|aol|windows mail|surface|"
    r"an? |ios|iphone|ipad|android|gmail|spark|typeapp|blue|k-9|fairemail|zoho|tutanota|huawei|xiaomi|"
    r"posteo|hey|superhuman|newton|boxer|nine|aqua|[^ ]{1,30}$).{0,60}|sent (?:via|with|using|by) .{2,60}|"
    r"get \[?outlook for .{0,60}|download outlook for .{0,40}",
    below=r"\b(?:answers?|repl(?:y|ies)|comments?|responses?|remarks?|notes?)\b.{0,30}\b"
    r"(?:below|inline|in-line|in red|in blue|in green|in bold|in caps)\b|"
    r"\b(?:answered|replied|commented|responded|marked)\b.{0,20}\b(?:below|inline|in-line|in red|in blue|above)\b|"
    r"\bsee (?:inline|in-line|my inline)\b|\bsee below\s*[.!:]?\s*$|\binline below\b|^\s*(?:in-?line|see below)\b",
    first_person="i|I|we|my|our",
    second_person="you|your",
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
    below=r"\b(?:antwoord(?:en)?|reacties?|opmerkingen|commentaar)\b.{0,30}\b(?:hieronder|in rood|in de tekst|"
    r"tussen de tekst|in het rood)\b|\bzie (?:hieronder|onder|beneden)\s*[.!:]?\s*$|\bz\.o\.\s*$",
    first_person="ik|wij|mijn|onze|ons",
    second_person="uw|jij|jullie",
)
