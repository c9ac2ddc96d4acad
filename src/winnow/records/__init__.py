"""Conversations: reading any of the common shapes and files, ids, loss masks, tokens, export."""
