"""Microsoft's own client for Graph (`msgraph-sdk` of PyPI), used on the fake: what it cannot read is no Graph.

It is installed by `make witness`, as it is heavy.
"""

from __future__ import annotations

from typing import Any

import pytest


async def look_by_sdk(url: str, token: str) -> None:
    """Walk through a mailbox of twelve messages, and change it."""
    from kiota_abstractions.authentication import AuthenticationProvider
    from msgraph import GraphServiceClient
    from msgraph.generated.models.attachment_item import AttachmentItem
    from msgraph.generated.models.attachment_type import AttachmentType
    from msgraph.generated.models.mail_folder import MailFolder
    from msgraph.generated.models.message import Message
    from msgraph.generated.models.o_data_errors.o_data_error import ODataError
    from msgraph.generated.models.subscription import Subscription
    from msgraph.generated.users.item.messages.item.attachments.create_upload_session import (
        create_upload_session_post_request_body as upload_body,
    )
    from msgraph.generated.users.item.messages.item.move.move_post_request_body import MovePostRequestBody
    from msgraph.graph_request_adapter import GraphRequestAdapter

    class Bearer(AuthenticationProvider):  # type: ignore[misc, unused-ignore]
        async def authenticate_request(self, request: Any, additional_authentication_context: Any = None) -> None:
            request.headers.add("Authorization", f"Bearer {token}")

    adapter = GraphRequestAdapter(Bearer())
    adapter.base_url = url
    client = GraphServiceClient(request_adapter=adapter)

    user = await client.me.get()
    assert "@" in user.mail
    folders = await client.me.mail_folders.get()
    assert {folder.display_name for folder in folders.value} >= {"Inbox", "Sent Items"}

    inbox = client.me.mail_folders.by_mail_folder_id("inbox")
    page = await inbox.messages.delta.get()
    messages = list(page.value)
    while page.odata_next_link:
        page = await inbox.messages.delta.with_url(page.odata_next_link).get()
        messages += page.value
    assert page.odata_delta_link
    assert len(messages) == 12
    message = messages[0]
    assert message.received_date_time.tzinfo is not None
    assert message.from_.email_address.address
    assert set(message.additional_data) <= {"@odata.etag"}
    raw = await client.me.messages.by_message_id(message.id).content.get()
    assert raw.startswith(b"From: ")

    made = await client.me.mail_folders.post(MailFolder(display_name="Made by the SDK"))
    body = MovePostRequestBody(destination_id=made.id)
    moved = await client.me.messages.by_message_id(message.id).move.post(body)
    assert moved.id != message.id
    assert moved.parent_folder_id == made.id
    patched = await client.me.messages.by_message_id(moved.id).patch(Message(is_read=True, categories=["x"]))
    assert patched.is_read
    assert patched.categories == ["x"]

    draft = await client.me.messages.post(Message(subject="draft"))
    assert draft.is_draft
    item = AttachmentItem(name="a", size=4_000_000, attachment_type=AttachmentType.File)
    asked = upload_body.CreateUploadSessionPostRequestBody(attachment_item=item)
    session = await client.me.messages.by_message_id(draft.id).attachments.create_upload_session.post(asked)
    assert session.upload_url
    assert session.next_expected_ranges == ["0-"]
    await client.me.messages.by_message_id(draft.id).permanent_delete.post()
    with pytest.raises(ODataError) as missing:
        await client.me.messages.by_message_id(draft.id).get()
    assert missing.value.error.code == "ErrorItemNotFound"
    endless = Subscription(change_type="created", notification_url="http://127.0.0.1:9/", resource="me/messages")
    with pytest.raises(ODataError) as refused:
        await client.subscriptions.post(endless)
    assert refused.value.error.code == "InvalidRequest"
