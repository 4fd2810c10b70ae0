"""Runs django-helpdesk's `get_email` on one IMAP mailbox, in the environment of its own that it is installed in.

    python django_helpdesk.py FOLDER PORT USER PASSWORD

Its settings are those of its documentation, with SQLite in FOLDER; mail goes nowhere. Prints one line of JSON:
`seconds` that the command took, and `messages` that it stored.
"""

import json
import logging
import sys
import time
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = []


def main(folder: str, port: str, user: str, password: str) -> None:
    settings.configure(
        SECRET_KEY="not-a-secret",  # noqa: S106
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(folder) / "helpdesk.db")}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.sites",
            "django.contrib.humanize",
            "rest_framework",
            "helpdesk",
        ],
        MEDIA_ROOT=str(Path(folder) / "media"),
        ROOT_URLCONF=__name__,
        SITE_ID=1,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        USE_TZ=True,
        HELPDESK_KBITEM_TEAM_GETTER=lambda _: None,
        HELPDESK_TEAMS_MIGRATION_DEPENDENCIES=[],
        HELPDESK_TEAMS_MODEL="auth.User",
    )
    django.setup()
    logging.disable(logging.CRITICAL)
    urlpatterns.append(path("", include("helpdesk.urls", namespace="helpdesk")))
    call_command("migrate", verbosity=0)
    from helpdesk.models import FollowUp, Queue  # noqa: PLC0415 (only after the set-up)

    Queue.objects.create(
        title="Support",
        slug="support",
        allow_email_submission=True,
        email_box_type="imap",
        email_box_host="localhost",
        email_box_port=int(port),
        email_box_ssl=True,
        email_box_user=user,
        email_box_pass=password,
        email_box_imap_folder="INBOX",
        email_box_interval=0,
    )
    began = time.perf_counter()
    call_command("get_email", "--quiet")
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "messages": FollowUp.objects.count()}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
