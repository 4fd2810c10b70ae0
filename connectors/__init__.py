"""One module for each way to reach a mailbox, behind the Protocols of `connectors.base`."""
