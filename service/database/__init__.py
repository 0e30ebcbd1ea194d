"""PostgreSQL: connections, transactions, migrations and proofs."""
