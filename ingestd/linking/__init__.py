"""OAuth: authorization, callback, whose mailbox it is, keeping tokens fresh."""
