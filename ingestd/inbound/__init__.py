"""Reading mailboxes: leases, one worker a mailbox, parse, decide, one commit a batch."""
