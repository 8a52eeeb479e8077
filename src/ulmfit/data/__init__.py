"""From files to batches: documents, splits, token files, lanes, batches of whole documents."""
