"""What customers write, in the languages and charsets in which they do: invented mails for the tests of charsets."""

from __future__ import annotations

TEXTS = {
    "ru": (
        "Добрый день! Вчера я оплатил заказ на вашем сайте, но письмо с подтверждением так и не пришло. Проверьте, "
        "пожалуйста, дошли ли деньги, и сообщите, когда ждать доставку. Если товара нет на складе, верните сумму "
        "на ту же карту. Ещё раз прошу ответить сегодня: завтра я уезжаю в отпуск. С уважением, Алексей Щербаков, "
        "главный инженер завода. Телефон для связи тот же, что и раньше, звоните после обеда."
    ),
    "uk": (
        "Доброго дня! Я замовив у вас телефон, але його досі не привезли. Перевірте, будь ласка, чи надійшла "
        "оплата, і напишіть, коли чекати на посилку. Якщо на складі вже нічого немає, поверніть гроші на мій "
        "рахунок. Її можна залишити у відділенні біля мого будинку. Дякую за швидку відповідь! З повагою, Євген "
        "Ґудзь, м. Київ. Мій номер ви вже маєте, телефонуйте в будь-який час після обіду."
    ),
    "bg": (
        "Здравейте! Поръчах при вас един принтер, но той пристигна без захранващ кабел. Моля, изпратете ми "
        "липсващата част или ми върнете парите. Прилагам снимка на кутията и копие от фактурата. Ще бъда "
        "благодарен, ако отговорите бързо, защото в сряда заминавам. Досега винаги съм бил доволен от обслужването "
        "ви. Поздрави, Красимир Желев, град Пловдив, улица Васил Левски номер пет."
    ),
    "sr": (
        "Поштовани, наручио сам код вас штампач, али је стигао без кабла за напајање. Молим вас да ми пошаљете део "
        "који недостаје или да вратите новац на рачун. У прилогу шаљем слику кутије и копију рачуна. Био бих "
        "захвалан када бисте одговорили што пре, јер у среду путујем. Његова гаранција још важи две године. "
        "Срдачан поздрав, Ђорђе Љубичић, Нови Сад. Телефон је исти као и раније, зовите после подне."
    ),
    "el": (
        "Καλημέρα σας, χθες πλήρωσα την παραγγελία μου στην ιστοσελίδα σας, αλλά δεν έλαβα ακόμη καμία "
        "επιβεβαίωση. Παρακαλώ ελέγξτε αν έφτασαν τα χρήματα και πείτε μου πότε θα γίνει η αποστολή. Αν το προϊόν "
        "δεν υπάρχει στην αποθήκη, θέλω να επιστραφεί το ποσό στην ίδια κάρτα. Σας ευχαριστώ πολύ για την άμεση "
        "απάντηση. Με εκτίμηση, Γιώργος Παπαδόπουλος, Θεσσαλονίκη. Το τηλέφωνό μου είναι το ίδιο όπως πριν."
    ),
    "he": (
        "שלום רב, אתמול שילמתי על ההזמנה באתר שלכם אבל עדיין לא קיבלתי אישור. אנא בדקו אם הכסף הגיע ועדכנו אותי "
        "מתי המשלוח אמור לצאת. אם המוצר אינו במלאי, אני מבקש להחזיר את הסכום לאותו כרטיס אשראי. אני יוצא לחופשה "
        "ביום רביעי ולכן חשוב לי לקבל תשובה היום. תודה רבה על העזרה והשירות. בברכה, יוסי לוי, חיפה. מספר הטלפון "
        "שלי הוא אותו מספר כמו קודם, אפשר להתקשר אחרי הצהריים."
    ),
    "ar": (
        "السلام عليكم، لقد دفعت ثمن الطلب على موقعكم أمس ولكن لم تصلني أي رسالة تأكيد حتى الآن. أرجو التحقق من "
        "وصول المبلغ وإخباري بموعد الشحن. إذا كان المنتج غير متوفر في المخزن فأرجو إعادة المبلغ إلى نفس البطاقة. "
        "سوف أسافر يوم الأربعاء ولذلك أحتاج إلى ردكم اليوم. شكرا جزيلا على المساعدة. مع تحياتي، أحمد المصري من "
        "القاهرة. رقم الهاتف هو نفسه كما كان من قبل، يمكنكم الاتصال بعد الظهر."
    ),
    "th": (
        "สวัสดีครับ เมื่อวานผมชำระเงินค่าสินค้าในเว็บไซต์ของคุณแล้ว แต่ยังไม่ได้รับอีเมลยืนยัน "
        "กรุณาตรวจสอบว่าเงินเข้าหรือยัง และแจ้งให้ผมทราบว่าจะส่งของเมื่อไร ถ้าสินค้าหมด "
        "ขอให้คืนเงินเข้าบัตรใบเดิมครับ ผมจะเดินทางวันพุธนี้ จึงอยากได้คำตอบภายในวันนี้ "
        "ขอบคุณมากสำหรับความช่วยเหลือ ด้วยความนับถือ สมชาย ใจดี กรุงเทพมหานคร เบอร์โทรศัพท์ยังเป็นเบอร์เดิม "
        "โทรได้หลังเที่ยง"
    ),
    "tr": (
        "Merhaba, dün sitenizden verdiğim siparişin ücretini ödedim ama onay mesajı hâlâ gelmedi. Lütfen paranın "
        "ulaşıp ulaşmadığını kontrol edin ve kargonun ne zaman çıkacağını bildirin. Ürün depoda yoksa tutarı aynı "
        "karta iade etmenizi istiyorum. Çarşamba günü tatile çıkıyorum, bugün cevap verirseniz sevinirim. İlginiz "
        "için çok teşekkür ederim. Saygılarımla, Gökhan Şahin, İstanbul. Telefon numaram değişmedi, öğleden sonra "
        "arayabilirsiniz."
    ),
    "pl": (
        "Dzień dobry, wczoraj opłaciłem zamówienie w Państwa sklepie, ale nie dostałem jeszcze potwierdzenia. "
        "Proszę sprawdzić, czy pieniądze już dotarły, i napisać, kiedy mogę się spodziewać przesyłki. Jeśli towaru "
        "nie ma w magazynie, proszę o zwrot kwoty na tę samą kartę. W środę wyjeżdżam na urlop, więc będę "
        "wdzięczny za odpowiedź jeszcze dziś. Dziękuję za pomoc. Z poważaniem, Łukasz Źrebiński, Łódź. Mój numer "
        "się nie zmienił."
    ),
    "cs": (
        "Dobrý den, včera jsem zaplatil objednávku ve vašem obchodě, ale potvrzení mi zatím nepřišlo. Prosím, "
        "ověřte, zda peníze dorazily, a napište mi, kdy mohu čekat zásilku. Pokud zboží není skladem, vraťte "
        "částku na stejnou kartu. Ve středu odjíždím na dovolenou, proto bych byl vděčný za odpověď ještě dnes. "
        "Děkuji za pomoc a přeji hezký den. S pozdravem Jiří Dvořák, Plzeň. Moje číslo zůstává stejné, volejte "
        "prosím až po obědě."
    ),
    "hu": (
        "Jó napot kívánok! Tegnap kifizettem a rendelésemet az önök oldalán, de a visszaigazolás még nem érkezett "
        "meg. Kérem, ellenőrizzék, hogy megjött-e a pénz, és írják meg, mikor várható a szállítás. Ha a termék "
        "nincs raktáron, kérem az összeget ugyanarra a kártyára visszautalni. Szerdán szabadságra megyek, ezért "
        "örülnék, ha még ma válaszolnának. Köszönöm szépen a segítségüket! Üdvözlettel: Szűcs Győző, Pécs. A "
        "számom nem változott."
    ),
    "ro": (
        "Bună ziua, ieri am plătit comanda de pe site-ul dumneavoastră, dar încă nu am primit nicio confirmare. Vă "
        "rog să verificaţi dacă au ajuns banii şi să îmi spuneţi când va fi livrat coletul. Dacă produsul nu mai "
        "este în stoc, aş vrea să îmi returnaţi suma pe acelaşi card. Miercuri plec în vacanţă, aşa că aş dori un "
        "răspuns astăzi. Vă mulţumesc pentru ajutor. Cu stimă, Ştefan Ţăranu, Iaşi. Numărul meu a rămas acelaşi."
    ),
    "lt": (
        "Laba diena, vakar jūsų svetainėje apmokėjau užsakymą, bet patvirtinimo laiško dar negavau. Prašau "
        "patikrinti, ar gavote pinigus, ir parašyti, kada galėsiu atsiimti siuntą. Jeigu prekės sandėlyje nebėra, "
        "grąžinkite sumą į tą pačią kortelę. Trečiadienį išvažiuoju atostogų, todėl būčiau dėkingas, jei "
        "atsakytumėte šiandien. Ačiū už pagalbą. Pagarbiai, Žygimantas Šilėnas, Kaunas. Mano telefono numeris "
        "nepasikeitė."
    ),
    "de": (
        "Guten Tag, gestern habe ich die Bestellung in Ihrem Geschäft bezahlt, aber noch keine Bestätigung "
        "erhalten. Bitte prüfen Sie, ob das Geld eingegangen ist, und schreiben Sie mir, wann ich mit der "
        "Lieferung rechnen kann. Falls die Ware nicht mehr verfügbar ist, möchte ich den Betrag zurück. Für eine "
        "schnelle Antwort wäre ich Ihnen sehr dankbar. Mit freundlichen Grüßen, Jörg Müller, Köln. Meine Nummer "
        "hat sich nicht geändert."
    ),
    "fr": (
        "Bonjour, j'ai payé hier ma commande sur votre site, mais je n'ai pas encore reçu de confirmation. "
        "Pourriez-vous vérifier que l'argent est bien arrivé et me préciser la date de livraison prévue ? Si le "
        "produit n'est plus disponible, je préfère être remboursé sur la même carte. Je pars en congé mercredi, "
        "une réponse rapide serait donc appréciée. Merci beaucoup de votre aide. Très cordialement, Hélène "
        "Lefèvre, Besançon, à bientôt."
    ),
    "es": (
        "Buenos días, ayer pagué mi pedido en su página, pero todavía no he recibido ninguna confirmación. "
        "¿Podrían comprobar si llegó el dinero y decirme cuándo saldrá el envío? Si el artículo ya no está en el "
        "almacén, quiero que me devuelvan el importe. El miércoles me voy de vacaciones y después no podré "
        "contestar. Muchas gracias por su atención, señores. Un saludo, Íñigo Muñoz, León. Mi teléfono es el "
        "mismo, llámenme por la mañana."
    ),
    "pt": (
        "Bom dia, ontem paguei a encomenda no vosso site, mas ainda não recebi nenhuma confirmação. Podem "
        "verificar se o dinheiro já chegou e informar quando será feita a expedição? Se o produto não estiver "
        "disponível, peço a devolução do valor para o mesmo cartão. Na quarta-feira vou de férias, por isso "
        "agradeço uma resposta até amanhã. Muito obrigado pela atenção. Cumprimentos, João Conceição, Évora. O "
        "número é o mesmo de sempre."
    ),
    "sv": (
        "Hej, jag betalade min beställning på er webbplats i går men har fortfarande inte fått någon bekräftelse. "
        "Kan ni vara snälla och kontrollera om pengarna har kommit fram och säga när varan skickas? Om den är slut "
        "vill jag få tillbaka beloppet på samma kort. Jag åker på semester på onsdag, så jag är tacksam för ett "
        "svar redan i dag. Vänliga hälsningar, Åsa Sjöström, Växjö. Mitt nummer är detsamma som förut, ring gärna "
        "på kvällen."
    ),
    "zh-Hans": (
        "您好，我昨天在贵公司网站上付了款，但是到现在还没有收到确认邮件。请帮我查一下钱是否已经到账，并告诉我什么时"
        "候可以发货。如果仓库里没有这个产品，请把钱退回到原来的银行卡。我星期三要出差，所以希望今天能得到您的回复。"
        "非常感谢您的帮助和支持。此致敬礼，王小明，上海市浦东新区。电话号码没有变，下午都可以联系我。"
    ),
    "zh-Hant": (
        "您好，我昨天在貴公司網站上付了款，但是到現在還沒有收到確認郵件。請幫我查一下錢是否已經到帳，並告訴我什麼時"
        "候可以出貨。如果倉庫裡沒有這個產品，請把錢退回到原來的信用卡。我星期三要出差，所以希望今天能得到您的回覆。"
        "非常感謝您的幫助與支持。敬祝商祺，陳志明，臺北市信義區。電話號碼沒有變，下午都可以聯絡我。"
    ),
    "ja": (
        "お世話になっております。昨日、御社のサイトで注文の代金を支払いましたが、確認のメールがまだ届いておりません"
        "。入金されているかどうかご確認のうえ、発送の予定日を教えていただけますでしょうか。在庫がない場合は、同じカ"
        "ードに返金をお願いします。水曜日から休暇に入りますので、本日中にお返事をいただけると助かります。よろしくお"
        "願いいたします。山田太郎、東京都新宿区。"
    ),
    "ko": (
        "안녕하세요. 어제 귀사 홈페이지에서 주문한 상품의 대금을 결제했는데 아직 확인 메일을 받지 못했습니다. "
        "입금이 되었는지 확인해 주시고 언제 배송되는지 알려 주시기 바랍니다. 재고가 없으면 같은 카드로 환불해 "
        "주세요. 수요일부터 휴가라서 오늘 중으로 답변해 주시면 감사하겠습니다. 도와주셔서 고맙습니다. 김민수 드림, "
        "서울시 강남구. 전화번호는 그대로이니 오후에 연락 주세요."
    ),
}

CHARSETS = {
    "ru": ("windows-1251", "koi8-r", "cp866", "iso-8859-5", "mac-cyrillic"),
    "uk": ("windows-1251", "koi8-u", "mac-cyrillic"),
    "bg": ("windows-1251", "iso-8859-5"),
    "sr": ("windows-1251", "iso-8859-5"),
    "el": ("windows-1253", "iso-8859-7"),
    "he": ("windows-1255",),
    "ar": ("windows-1256", "iso-8859-6"),
    "th": ("windows-874",),
    "tr": ("windows-1254",),
    "pl": ("windows-1250", "iso-8859-2"),
    "cs": ("windows-1250", "iso-8859-2"),
    "hu": ("windows-1250", "iso-8859-2"),
    "ro": ("windows-1250",),
    "lt": ("windows-1257",),
    "de": ("windows-1252", "mac-roman", "cp850"),
    "fr": ("windows-1252", "mac-roman", "cp850"),
    "es": ("windows-1252", "mac-roman"),
    "pt": ("windows-1252",),
    "sv": ("windows-1252", "mac-roman"),
    "zh-Hans": ("gb18030",),
    "zh-Hant": ("big5",),
    "ja": ("shift_jis", "euc-jp", "iso-2022-jp"),
    "ko": ("euc-kr", "iso-2022-kr"),
}
"""The legacy charsets in which mail of a language is met."""
