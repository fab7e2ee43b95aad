"""Who helped is helped: accounts, receipts, the ledger, and what a balance is worth when a relay is crowded."""
