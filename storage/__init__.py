"""Tables, queries, sealing, the key store, blobs and migrations.

Every function that touches a database takes a Connection first and runs inside
`Database.transaction`; nothing else opens a transaction.
"""
