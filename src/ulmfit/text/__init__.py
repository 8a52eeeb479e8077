"""From strings to ids and back: text rules, the check of Unicode, the tokenizer."""
