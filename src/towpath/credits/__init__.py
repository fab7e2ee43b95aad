"""What nodes owe one another: receipts, the ledger, who is served when it is crowded, and how credit reaches us."""
