"""Who the parties are, what they agreed, and what follows from it.

Documents are read strictly (unknown fields are refused) and signed over their
canonical JSON. Nothing here touches a file, a clock or a network, and nothing
knows MLS: `liaison.trust` joins agreements with groups.
"""
