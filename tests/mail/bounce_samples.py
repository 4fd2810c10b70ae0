"""Notices as mail servers write them, without a delivery report: what each says of whom.

Written by us after the servers' formats. A sample is the header fields, the
text, and what is to be read: recipient, status, reply code, "hard" or "soft".
"""

from __future__ import annotations

from typing import NamedTuple

RETURNED = """Received: from mx.example.net by relay.example.net; Mon, 2 Mar 2026 10:00:00 +0000
Message-ID: <ours@example.com>
From: Support <support@example.com>
To: jane@example.org
Subject: Your ticket

Hello Jane
"""


class Sample(NamedTuple):
    name: str
    header: str
    text: str
    expected: tuple[tuple[str, str, str, str], ...]


DAEMON = "From: MAILER-DAEMON@mx.example.net\nReturn-Path: <>\n"
POSTMASTER = "From: Postmaster <postmaster@example.net>\nReturn-Path: <>\n"
ADMINISTRATOR = "From: System Administrator <postmaster@example.net>\nReturn-Path: <>\n"

SERVERS = (
    Sample(
        "qmail",
        DAEMON + "Subject: failure notice\n",
        """Hi. This is the qmail-send program at mx.example.net.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<jane@example.org>:
192.0.2.1 does not like recipient.
Remote host said: 550 5.1.1 <jane@example.org>... User Unknown
Giving up on 192.0.2.1.

<joe@example.org>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

Return-Path: <support@example.com>
"""
        + RETURNED,
        (("jane@example.org", "5.1.1", "550", "hard"), ("joe@example.org", "5.1.1", "", "hard")),
    ),
    Sample(
        "qmail-expired",
        DAEMON + "Subject: failure notice\n",
        """Hi. This is the qmail-send program at mx.example.net.
I'm afraid I wasn't able to deliver your message to the following addresses.

<jane@example.org>:
Connected to 192.0.2.1 but greeting failed.
Remote host said: 421 4.7.0 Too much mail from you
I'm not going to try again; this message has been in the queue too long.

--- Below this line is a copy of the message.

"""
        + RETURNED,
        (("jane@example.org", "4.7.0", "421", "soft"),),
    ),
    Sample(
        "exim",
        "From: Mail Delivery System <Mailer-Daemon@mx.example.net>\nAuto-Submitted: auto-replied\n"
        "X-Failed-Recipients: jane@example.org,\n  joe@example.org\n"
        "Subject: Mail delivery failed: returning message to sender\n",
        """This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  jane@example.org
    host mx.example.org [192.0.2.1]
    SMTP error from remote mail server after RCPT TO:<jane@example.org>:
    550-5.1.1 The email account that you tried to reach does not exist. Please try
    550 5.1.1 double-checking it
  joe@example.org
    mailbox is full: retry timeout exceeded

------ This is a copy of the message, including all the headers. ------

Return-path: <support@example.com>
"""
        + RETURNED,
        (("jane@example.org", "5.1.1", "550", "hard"), ("joe@example.org", "5.2.2", "", "soft")),
    ),
    Sample(
        "exim-one-fault-of-several",
        "From: Mail Delivery System <Mailer-Daemon@mx.example.net>\nSubject: Mail delivery failed\n",
        """This message was created automatically by mail delivery software.

A message that you sent could not be delivered to all of its recipients.
The following address(es) failed:

  jane@example.org
  joe@example.org
    Unrouteable address

------ This is a copy of the message, including all the headers. ------

"""
        + RETURNED,
        (("jane@example.org", "5.1.2", "", "hard"), ("joe@example.org", "5.1.2", "", "hard")),
    ),
    Sample(
        "exim-alias",
        "From: Mail Delivery System <Mailer-Daemon@mx.example.net>\nSubject: Mail delivery failed\n",
        """This message was created automatically by mail delivery software.
The following address(es) failed:

  archive@backup.example.org
    (generated from jane@example.org)
    SMTP error from remote mail server after end of data:
    552 5.3.4 Message size exceeds fixed limit

------ This is a copy of the message, including all the headers. ------

"""
        + RETURNED,
        (("jane@example.org", "5.3.4", "552", "soft"),),
    ),
    Sample(
        "exchange-5.5",
        ADMINISTRATOR + "Subject: Undeliverable: Your ticket\nX-Mailer: Internet Mail Service (5.5.2653.19)\n",
        """Your message

  To:      team@example.org
  Subject: Your ticket
  Sent:    Mon, 2 Mar 2026 10:00:00 +0000

did not reach the following recipient(s):

jane@example.org on Mon, 2 Mar 2026 10:00:05 +0000
    The recipient name is not recognized
\tThe MTS-ID of the original message is: c=us;a= ;p=example;l=MAIL-000302100000Z-1
    MSEXCH:IMS:EXAMPLE:HQ:MAIL 0 (000C05A6) Unknown Recipient
""",
        (("jane@example.org", "5.1.1", "", "hard"),),
    ),
    Sample(
        "exchange-2003",
        ADMINISTRATOR + "Subject: Undeliverable: Your ticket\n",
        """Your message did not reach some or all of the intended recipients.

      Subject:  Your ticket
      Sent:     3/2/2026 10:00 AM

The following recipient(s) could not be reached:

      jane@example.org on 3/2/2026 10:00 AM
            There was a SMTP communication problem with the recipient's email server.
            <mx.example.org #5.5.0 smtp;550 5.7.1 Message rejected as spam>
""",
        (("jane@example.org", "5.7.1", "550", "soft"),),
    ),
    Sample(
        "notes",
        POSTMASTER + "Subject: Undeliverable message\n",
        """------- Failure Reasons  --------

User not listed in public Name & Address Book
jane@example.org

------- Returned Message --------

"""
        + RETURNED,
        (("jane@example.org", "5.1.1", "", "hard"),),
    ),
    Sample(
        "domino",
        "From: Postmaster@example.net\nSubject: DELIVERY FAILURE: User jane (jane@example.org) not listed\n",
        """Your message

  Subject: Your ticket

was not delivered to:

  jane@example.org

because:

  User jane (jane@example.org) not listed in Domino Directory
""",
        (("jane@example.org", "5.1.1", "", "hard"),),
    ),
    Sample(
        "sendmail-5",
        "From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>\nSubject: Returned mail: User unknown\n",
        """   ----- Transcript of session follows -----
While talking to mx.example.org:
>>> RCPT To:<jane@example.org>
<<< 550 <jane@example.org>... User unknown
550 <jane@example.org>... User unknown
550 nowhere.example (smtp)... 550 Host unknown
554 <joe@nowhere.example>... 550 Host unknown (Authoritative answer from name server)

   ----- Unsent message follows -----
"""
        + RETURNED,
        (("jane@example.org", "5.1.1", "550", "hard"), ("joe@nowhere.example", "5.1.2", "550", "hard")),
    ),
    Sample(
        "sendmail-8-without-report",
        "From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>\n"
        "Subject: Returned mail: see transcript for details\n",
        """The original message was received at Mon, 2 Mar 2026 10:00:00 GMT
from relay.example.net [192.0.2.1]

   ----- The following addresses had permanent fatal errors -----
<jane@example.org>
    (reason: 550 5.1.1 <jane@example.org>... User unknown)

   ----- Transcript of session follows -----
... while talking to mx.example.org.:
>>> DATA
<<< 550 5.1.1 <jane@example.org>... User unknown
550 5.1.1 <jane@example.org>... User unknown
<<< 503 5.0.0 Need RCPT (recipient)

   ----- Message header follows -----
"""
        + RETURNED,
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "imail",
        POSTMASTER + "Subject: Undeliverable Mail\nX-Mailer: <SMTP32 v8.22>\n",
        """User mailbox exceeds allowed size: jane@example.org

Original message follows.

"""
        + RETURNED,
        (("jane@example.org", "5.2.2", "", "soft"),),
    ),
    Sample(
        "james",
        POSTMASTER + "Subject: [BOUNCE]\nMessage-ID: <1.0.JavaMail.james@example.net>\n",
        """Hi. This is the James mail server at mx.example.net.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

Error message below:
550 - Requested action not taken: no such user here

Message details:
  Subject: Your ticket
  Sent date: Mon Mar 02 10:00:00 GMT 2026
  MAIL FROM: support@example.com
  RCPT TO: jane@example.org
  From: Support <support@example.com>
  To: jane@example.org
  Size (in bytes): 1024
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "courier",
        'From: "Courier mail server at mx.example.net" <MAILER-DAEMON@mx.example.net>\n'
        "Subject: NOTICE: mail delivery status.\n",
        """This is a delivery status notification from mx.example.net,
running the Courier mail server, version 0.65.2.

UNDELIVERABLE MAIL

Your message to the following recipients cannot be delivered:

<jane@example.org>:
    mx.example.org [192.0.2.1]:
<<< 550 5.1.1 <jane@example.org>... User Unknown

---------------------------------------------------------------------------

If your message was also sent to additional recipients, their delivery
status is not included in this report.
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "opensmtpd",
        "From: Mailer Daemon <MAILER-DAEMON@mx.example.net>\nSubject: Delivery status notification: error\n",
        """    Hi!

    This is the MAILER-DAEMON, please DO NOT REPLY to this e-mail.

    An error has occurred while attempting to deliver a message for
    the following list of recipients:

jane@example.org: 550 5.1.1 <jane@example.org>: Recipient address rejected: User unknown
joe@example.org: 552 5.2.2 <joe@example.org>: Recipient address rejected: Mailbox full

    Below is a copy of the original message:

"""
        + RETURNED,
        (("jane@example.org", "5.1.1", "550", "hard"), ("joe@example.org", "5.2.2", "552", "soft")),
    ),
    Sample(
        "groupwise",
        POSTMASTER + "Subject: Message status - undeliverable\nX-Mailer: Novell GroupWise Internet Agent\n",
        """The attached file had the following undeliverable recipient(s):
\tjane@example.org

   Transcript of session follows:
Command:  jane@example.org
Response: 550 5.1.1 User unknown
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "messaging-server",
        POSTMASTER + "Subject: Delivery Notification: Delivery has failed\n",
        """This report relates to a message you sent with the following header fields:

  Message-id: <ours@example.com>
  Date: Mon, 02 Mar 2026 10:00:00 +0000
  From: support@example.com
  To: jane@example.org
  Subject: Your ticket

Your message cannot be delivered to the following recipients:

  Recipient address: jane@example.org
  Reason: Remote SMTP server has rejected address
  Diagnostic code: smtp;550 5.1.1 User Unknown: jane@example.org
  Remote system: dns;mx.example.org (TCP|192.0.2.2|1000|192.0.2.1|25)
""",
        (("jane@example.org", "5.1.1", "550", "hard"),),
    ),
    Sample(
        "dragonfly",
        "From: MAILER-DAEMON <>\nSubject: Mail delivery failed\n",
        """This is the DragonFly Mail Agent v0.13 at mx.example.net.

There was an error delivering your mail to <jane@example.org>.

mx.example.org [192.0.2.1] did not like our RCPT TO:
550 5.1.6 <jane@example.org>: Recipient address rejected: Destination mailbox has moved, No forwarding address

Message headers follow.

"""
        + RETURNED,
        (("jane@example.org", "5.1.6", "550", "hard"),),
    ),
    Sample(
        "relaying-refused",
        DAEMON + "Subject: Undeliverable mail\n",
        """Your message could not be delivered to:

jane@example.org: 550 Relaying denied
""",
        (("jane@example.org", "5.7.1", "550", "soft"),),
    ),
    Sample(
        "address-in-no-line-of-its-own",
        DAEMON + "Subject: Undelivered Mail\n",
        """Sorry, the mail to the customer (jane@example.org) was rejected, as there is no such user.
""",
        (("jane@example.org", "5.1.1", "", "hard"),),
    ),
)
