"""Russian, Ukrainian, Polish, Turkish, Chinese, Japanese, Korean, and what we know of others."""

from __future__ import annotations

from ingestd.mail.words.language import Words

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
    device=r"skickat från .{2,40}|(?:hämta|hent|lataa|stáhnout) outlook .{2,30}|"
    r"sendt fra .{2,40}|lähetetty .{2,40}(?:sta|stä)\.?|odesláno z .{2,40}|"
    r"odoslané z .{2,40}|trimis de pe .{2,40}|küldve .{2,40}|iphone-omról küldve|poslano (?:s|sa|iz) .{2,40}|"
    r"στάλθηκε από .{2,40}|изпратено от .{2,40}|enviat des de .{2,40}|dikirim dari .{2,40}|"
    r"(?:được gửi|đã gửi) từ .{2,40}|נשלח מ.{2,40}|(?:أُرسلت|أرسلت|تم الإرسال) من .{2,40}",
)
