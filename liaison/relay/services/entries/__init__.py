"""Drafts of the log's entries, one module for each family.

Pure: what a service has done goes in, what the log is to say of it comes out. The recorder seals a
draft and gives it its place; docs/protocol/log.md tells what each field means. Digests are base64,
devices and endpoints as in certificates, ids in hex, times of documents in Unix seconds.
"""
