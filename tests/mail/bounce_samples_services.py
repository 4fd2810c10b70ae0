"""Notices of mail providers, gateways and carriers, without a delivery report; see `bounce_samples`."""

from __future__ import annotations

from tests.mail.bounce_samples import POSTMASTER, RETURNED, Sample

SERVICES = (
    Sample(
        "exchange-365",
        "From: Microsoft Outlook\n <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@example.com>\nReturn-Path: <>\n"
        "Subject: Undeliverable: Your ticket\n",
        """Delivery has failed to these recipients or groups:

jane@example.org<mailto:jane@example.org>
The email address you entered couldn't be found. Please check the recipient's email address and try to resend.

Diagnostic information for administrators:

Generating server: AM0PR01.eurprd01.prod.outlook.com

jane@example.org
Remote Server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup'

Original message headers:

"""
        + RETURNED,
        (("jane@example.org", "5.1.10", "550", "hard"),),
    ),
    Sample(
        "exchange-365-german",
        "From: Microsoft Outlook <postmaster@example.com>\nReturn-Path: <>\nSubject: Unzustellbar: Your ticket\n",
        """Fehler bei der Nachrichtenzustellung an folgende Empfänger oder Gruppen:

jane@example.org<mailto:jane@example.org>
Das Postfach des Empfängers ist voll und kann zurzeit keine Nachrichten annehmen.

Diagnoseinformationen für Administratoren:

Generierender Server: MX.example.org

jane@example.org
Remote Server returned '554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException'

Ursprüngliche Nachrichtenkopfzeilen:

"""
        + RETURNED,
        (("jane@example.org", "5.2.2", "554", "soft"),),
    ),
    Sample(
        "exchange-french-without-codes",
        "From: Microsoft Outlook <postmaster@example.com>\nReturn-Path: <>\nSubject: Non remis : Your ticket\n",
        """Échec de la remise à ces destinataires ou groupes :

jane@example.org
L'adresse de messagerie que vous avez entrée est introuvable. Destinataire inconnu.
""",
        (("jane@example.org", "5.1.1", "", "hard"),),
    ),
    Sample(
        "exchange-russian-without-codes",
        "From: =?utf-8?B?0KHQuNGB0YLQtdC80L3Ri9C5INCw0LTQvNC40L3QuNGB0YLRgNCw0YLQvtGA?= <postmaster@example.com>\n"
        "Return-Path: <>\nSubject: =?utf-8?B?0J3QtdC00L7RgdGC0LDQstC70LXQvdC+OiBZb3VyIHRpY2tldA==?=\n",
        """Не удалось доставить следующим получателям или группам:

jane@example.org
Почтовый ящик получателя переполнен.
""",
        (("jane@example.org", "5.2.2", "", "soft"),),
    ),
    Sample(
        "gmail-old",
        "From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>\nReturn-Path: <>\n"
        "X-Failed-Recipients: jane@example.org\nSubject: Delivery Status Notification (Failure)\n",
        """Delivery to the following recipient failed permanently:

     jane@example.org

Technical details of permanent failure:
Google tried to deliver your message, but it was rejected by the server for the recipient domain example.org by mx.
 [192.0.2.1].

The error that the other server returned was:
550 5.2.1 The email account that you tried to reach is disabled.

----- Original message -----

DKIM-Signature: v=1; a=rsa-sha256
"""
        + RETURNED,
        (("jane@example.org", "5.2.1", "550", "soft"),),
    ),
    Sample(
        "gmail-no-domain",
        "From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>\nX-Failed-Recipients: jane@nowhere.example\n"
        "Subject: Delivery Status Notification (Failure)\n",
        """Delivery to the following recipient failed permanently:

     jane@nowhere.example

Technical details of permanent failure:
DNS Error: Domain name not found

----- Original message -----

"""
        + RETURNED,
        (("jane@nowhere.example", "5.1.2", "", "hard"),),
    ),
    Sample(
        "google-groups",
        "From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>\nIn-Reply-To: <ours@example.com>\n"
        "X-Failed-Recipients: team@example.org\nSubject: Delivery Status Notification (Failure)\n",
        """Hello support@example.com,

We're writing to let you know that the group you tried to contact (team) may not exist, or you may not have permission.

If you have questions, visit the Help Center at https://groups.google.com/support/.

----- Original message -----

"""
        + RETURNED,
        (("team@example.org", "5.7.2", "", "soft"),),
    ),
    Sample(
        "mail.ru",
        "From: mailer-daemon@corp.mail.ru\nReturn-Path: <>\nX-Failed-Recipients: jane@example.org\n"
        "Subject: =?utf-8?B?0JLQsNGI0LUg0YHQvtC+0LHRidC10L3QuNC1INC90LUg0LTQvtGB0YLQsNCy0LvQtdC90L4=?=\n",
        """Это письмо создано автоматически сервером Mail.Ru, отвечать на него не нужно.

К сожалению, Ваше письмо не может быть доставлено одному или нескольким получателям:

  jane@example.org
    SMTP error from remote mail server after RCPT TO:<jane@example.org>:
    host mx.example.org [192.0.2.1]: 550 user not found

------ This is a copy of the message, including all the headers. ------

"""
        + RETURNED,
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "yahoo",
        "From: MAILER-DAEMON@yahoo.com\nReturn-Path: <>\nSubject: Failure Notice\n",
        """Sorry, we were unable to deliver your message to the following address.

<jane@example.org>:
554: delivery error: dd This user doesn't have a example.org account (jane@example.org) [0] - mta1

--- Below this line is a copy of the message.

"""
        + RETURNED,
        (("jane@example.org", "5.1.1", "554", "hard"),),
    ),
    Sample(
        "zoho-delay-summary",
        "From: mailer-daemon@mail.zoho.com\nSubject: Undelivered Mail Returned to Sender\n",
        """This message was created automatically by mail delivery software.
 A message that you sent could not be delivered to one or more of its recipients. This is a permanent error.

 jane@example.org Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 <jane@example.org>... User Unknown

Received:from mail.zoho.com by mx.zohomail.com
\twith SMTP id 1; Mon, 2 Mar 2026 10:00:00 +0000
Message-ID:<ours@example.com>
From:Support <support@example.com>
To:jane@example.org
Subject:Your ticket
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "mailmarshal",
        'From: postmaster@example.net\nSubject: Undeliverable Mail: "Your ticket"\n',
        """Your message:
   From:    support@example.com
   Subject: Your ticket

Could not be delivered because of

550 5.1.1 User unknown

The following recipients were affected:
   jane@example.org

Additional Information
======================
Original Sender:    <support@example.com>
Sender-MTA:         <192.0.2.1>
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "active-hunter",
        'From: "MAILER-DAEMON" <postmaster@example.net>\nSubject: FAILURE NOTICE :\nX-AHMAILID: 1\n',
        """  ----- The following addresses had permanent fatal errors -----

>>> jane@example.org <jane@example.org>

  ----- Transcript of session follows -----
550 sorry, no mailbox here by that name (#5.1.1 - chkusr)
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "barracuda",
        POSTMASTER + "Subject: **Message you sent blocked by our bulk email filter**\n",
        """Your message to: jane@example.org
was blocked by our Spam Firewall. The email you sent with the following subject has NOT BEEN DELIVERED:

Subject: Your ticket

550 5.7.1 Message content rejected, UBE
""",
        (("jane@example.org", "5.7.1", "550", "soft"),),
    ),
    Sample(
        "mcafee",
        POSTMASTER + "Subject: Undelivered Mail Returned to Sender\nX-NAI-Header: Modified by McAfee\n",
        """--- The following addresses had delivery problems ---

<jane@example.org>   (User not known: 550 5.1.1 Unknown user jane@example.org)

--- Original message ---
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "interscan",
        'From: postmaster@example.net ("InterScan Notification")\nSubject: Mail could not be delivered\n',
        """****** Message from InterScan Messaging Security Suite ******

Sent <<< RCPT TO:<jane@example.org>
Received >>> 550 5.1.1 <jane@example.org>... user unknown

Unable to deliver message to <jane@example.org>.
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "kddi",
        "From: no-reply@mail.dion.ne.jp\nReturn-Path: <>\nSubject: Mail\n",
        """Your mail sent on: Mon, 2 Mar 2026 10:00:00 +0900
     Could not be delivered to: <jane@example.org>
     As their mailbox is full.
""",
        (("jane@example.org", "5.2.2", "", "soft"),),
    ),
    Sample(
        "ezweb",
        "From: Postmaster@ezweb.ne.jp\nReturn-Path: <>\nSubject: Mail System Error - Returned Mail\n",
        """The user(s) account is temporarily over quota.

<jane@example.org>
""",
        (("jane@example.org", "4.2.2", "", "soft"),),
    ),
    Sample(
        "docomo",
        "From: Mail Delivery Subsystem <MAILER-DAEMON@docomo.ne.jp>\nSubject: Returned mail\n",
        """   ----- The following addresses had delivery problems -----
<jane@example.org>   (unrecoverable error)

   ----- Transcript of session follows -----
552 too much mail data
""",
        (("jane@example.org", "5.2.2", "552", "soft"),),
    ),
    Sample(
        "vtext",
        "From: post_master@vtext.com\nIn-Reply-To: <ours@example.com>\nSubject: Re: Your ticket\n",
        """Error: Invalid user address
Error message below:
550 - Requested action not taken: no such user here

Message details:
  Subject: Your ticket
  Sent date: Mon Mar 02 10:00:00 GMT 2026
  MAIL FROM: support@example.com
  RCPT TO: 5550100@vtext.com
""",
        (("5550100@vtext.com", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "fml",
        "From: list-admin@example.org\nX-MLServer: fml [fml 4.0.3]\nSubject: NOT MEMBER article from support\n",
        """You are not a member of this mailing list <list@example.org>.

If you know the general guide of this list, please send mail with the mail body.
""",
        (("list@example.org", "5.7.2", "", "soft"),),
    ),
    Sample(
        "unknown-1",
        'From: "Mail Deliver System" <MAILER-DAEMON@mx.example.net>\nSubject: Returned Mail: User unknown\n',
        """The original message was received at Mon, 2 Mar 2026 10:00:00 +0900
from support@example.com

---The following addresses had delivery errors---
jane@example.org [User unknown]
""",
        (("jane@example.org", "5.1.1", "", "hard"),),
    ),
    Sample(
        "unknown-2",
        "From: MAILER-DAEMON@example.net\nSubject: Delivery failure\n",
        """Message from example.net.
Unable to deliver message to the following address(es).

<jane@example.org>:
Sorry your message to jane@example.org cannot be delivered. This account has been disabled or discontinued [#102].

--- Original message follows.

"""
        + RETURNED,
        (("jane@example.org", "5.2.1", "", "soft"),),
    ),
    Sample(
        "unknown-3",
        "From: Mail Delivery System <Mail.Delivery.System@mx.example.net>\nSubject: Delivery status notification\n",
        """============================================================================
      This is an automatically generated Delivery Status Notification.

Delivery to the following recipients failed permanently:

   * jane@example.org

============================================================================
                             Technical details:

SMTP:RCPT host 192.0.2.8: 553 5.3.0 <jane@example.org>... No such user here
""",
        (("jane@example.org", "5.3.0", "553", "hard"),),
    ),
    Sample(
        "unknown-4",
        "From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n",
        """Your mail message to the following address(es) could not be delivered. This
is a permanent error. Please verify the addresses and try again.

<jane@example.org>:
child status 100...The e-mail message could not be delivered because the user's mailfolder is full.

--- Below this line is a copy of the message.

"""
        + RETURNED,
        (("jane@example.org", "5.2.2", "", "soft"),),
    ),
    Sample(
        "unknown-6",
        "From: mailer-daemon@example.net\nSubject: There was an error sending your mail\n",
        """We had trouble delivering your message. Full details follow:

Subject: 'Your ticket'
Date: 'Mon, 2 Mar 2026 10:00:00 +0000'

1 error(s):

The following recipients returned permanent errors: jane@example.org. Reason: SMTP Server <192.0.2.1> refused to
accept your message (DATA), with the following error message: [554 5.4.6 Hop count exceeded - possible mail loop]
""",
        (("jane@example.org", "5.4.6", "554", "soft"),),
    ),
)
